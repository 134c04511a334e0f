// Plots of the report: each function turns a plot's table into the datasets and axes of Chart.js.

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const SERIES_COLOURS = 7;
const POINTS = ["circle", "triangle", "rect", "rectRot", "star", "cross", "crossRot"];
const DASHES = {searched: [], none: [1, 3], pi: [9, 4], ntk: [3, 3], yarn: [9, 3, 2, 3], published: [2, 6]};

function seriesColour(index) {
  return colour(`--series-${index % SERIES_COLOURS}`);
}

/** Marks of a logarithmic axis: 1-2-5 over decades, rounder and closer steps below one decade. */
function logarithmicMarks(low, high) {
  const marks = [];
  if (high / low < 8) {
    const step = [1, 2, 5, 10].map(unit => unit * 10 ** Math.floor(Math.log10((high - low) / 6)))
        .find(size => (high - low) / size <= 7);
    for (let count = Math.ceil(low / step - 1e-9); count * step <= high * (1 + 1e-12); ++count) marks.push(count * step);
    return marks;
  }
  const parts = high / low > 1e4 ? [1] : high / low > 50 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
  for (let decade = Math.floor(Math.log10(low)); 10 ** decade <= high; ++decade) {
    for (const part of parts) {
      const mark = part * 10 ** decade;
      if (mark >= low * (1 - 1e-12) && mark <= high * (1 + 1e-12)) marks.push(mark);
    }
  }
  return marks;
}

/** A logarithmic axis around `values`, with a little room. */
function logarithmicAxis(title, values) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = Math.max(1.02, (high / low) ** 0.06);
  return {
    type: "logarithmic", min: low / room, max: high * room, title: {display: true, text: title},
    afterBuildTicks: axis => { axis.ticks = logarithmicMarks(axis.min, axis.max).map(value => ({value})); },
    ticks: {callback: value => fiveDigits.format(Number(value.toPrecision(4)))},
  };
}

/** A logarithmic axis with marks exactly at the lengths that were measured. */
function lengthAxis(lengths) {
  return {
    type: "logarithmic", min: lengths[0] / 1.1, max: lengths[lengths.length - 1] * 1.1,
    title: {display: true, text: "length in tokens"},
    afterBuildTicks: axis => { axis.ticks = lengths.map(value => ({value})); },
    ticks: {callback: value => integers.format(value), autoSkip: true, maxRotation: 60},
  };
}

function linearAxis(title, more = {}) {
  // A mark at the very end of the data is in the way of the last round one.
  return {type: "linear", title: {display: true, text: title}, ...more, ticks: {includeBounds: false, ...more.ticks}};
}

/** Draws the intervals of a dataset's points as bars, cut at the edge of the plot. */
const intervalBars = {
  id: "intervalBars",
  beforeDatasetsDraw(chart) {
    const {ctx, chartArea, scales: {y}} = chart;
    chart.data.datasets.forEach((dataset, index) => {
      if (!dataset.intervals || !chart.isDatasetVisible(index)) return;
      ctx.save();
      ctx.beginPath();
      ctx.rect(chartArea.left, chartArea.top, chartArea.width, chartArea.height);
      ctx.clip();
      ctx.strokeStyle = dataset.borderColor;
      ctx.globalAlpha = 0.45;
      ctx.beginPath();
      chart.getDatasetMeta(index).data.forEach((point, at) => {
        const interval = dataset.intervals[at];
        if (!interval) return;
        for (const value of interval) {
          const height = y.getPixelForValue(value);
          ctx.moveTo(point.x - 3, height);
          ctx.lineTo(point.x + 3, height);
        }
        ctx.moveTo(point.x, y.getPixelForValue(interval[0]));
        ctx.lineTo(point.x, y.getPixelForValue(interval[1]));
      });
      ctx.stroke();
      ctx.restore();
    });
  },
};

function line(label, points, index, more = {}) {
  return {
    type: "line", label, data: points, borderColor: seriesColour(index), backgroundColor: seriesColour(index),
    pointStyle: POINTS[index % POINTS.length], borderWidth: 2, pointRadius: 3, pointHoverRadius: 6,
    clip: 10, ...more,
  };
}

function intervalOf(row) {
  return row.low === null || row.high === null ? null : [row.low, row.high];
}

/** The line of a tooltip that gives the interval of a row's perplexity; none where there is no interval. */
function intervalText(row) {
  if (!intervalOf(row)) return [];
  return [`95 %: ${formatted(row.low, "perplexity")} to ${formatted(row.high, "perplexity")}`];
}

/** The rows in groups of one `series`, in the order of the table. */
function bySeries(table) {
  const groups = new Map();
  for (const row of records(table)) groups.set(row.series, [...(groups.get(row.series) ?? []), row]);
  return groups;
}

function history(plot) {
  const rows = records(plot.table).filter(row => row.perplexity !== null);
  const finalists = rows.filter(row => row.heldout !== null);
  const point = key => row => ({x: row.k, y: row[key], row});
  // The best so far at a candidate mostly belongs to an earlier one, whose name and interval its tooltip shows.
  const holders = rows.map(row => rows.find(one => one.perplexity === row.best) ?? row);
  const best = rows.map((row, index) => ({x: row.k, y: row.best, row: holders[index]}));
  const marks = {borderWidth: 1.5, showLine: false};
  const winner = finalists.filter(row => row.k === plot.winner);
  // A seed such as PI may be far away from everything that matters: the axis ends at three times the best.
  const lowest = Math.min(...rows.map(row => row.perplexity));
  const values = [...rows.map(row => row.perplexity), ...finalists.map(row => row.heldout)];
  const near = values.filter(value => value <= 3 * lowest);
  const beyond = values.length - near.length;
  const y = logarithmicAxis("perplexity", near);
  // Those of few documents are wider than the plot, and would only hide the points.
  const measured = rows.filter(row => row.perplexity <= 3 * lowest && intervalOf(row));
  const cut = measured.filter(row => row.low < y.min || row.high > y.max).length;
  const datasets = [
    line("candidates", rows.map(point("perplexity")), 0, {...marks, pointRadius: 2.5}),
    line("95 % intervals", measured.map(point("perplexity")), 0, {
      ...marks, pointRadius: 0, pointHoverRadius: 0, intervals: measured.map(intervalOf), silent: true,
      hidden: 2 * cut > measured.length,
    }),
    line("best so far", best, 1, {stepped: true, pointRadius: 0}),
    line("finalists, held out", finalists.map(point("heldout")), 2, {...marks, pointStyle: "rectRot", pointRadius: 6}),
    line("winner, held out", winner.map(point("heldout")), 3, {...marks, pointStyle: "star", pointRadius: 10, borderWidth: 2.5}),
  ];
  return {
    datasets: datasets.filter(dataset => dataset.data.length > 0),
    scales: {x: linearAxis("candidate", {min: 0, max: Math.max(1, ...rows.map(row => row.k)), ticks: {precision: 0}}), y},
    note: beyond > 0 ? `${beyond} of ${values.length} figures lie above the plot; the table has all of them.` : "",
    // The interval is that of the search documents: a held-out perplexity has none here.
    tooltip: ({row, y}, {label}) => [
      `${label === "candidates" ? "" : `${label}: `}candidate ${row.k} (${row.origin}): ${formatted(y, "perplexity")}`,
      ...(y === row.perplexity ? intervalText(row) : [])],
  };
}

function factors(plot) {
  const rows = records(plot.table);
  const lines = plot.table.columns.slice(1);
  const lastStage = Math.max(...lines.map(column => column.stage));
  const datasets = lines.map(column => line(column.name, rows.map(row => ({x: row.pair, y: row[column.key]})), column.stage, {
    borderDash: DASHES[column.method] ?? [], pointRadius: column.method === "searched" ? 2.5 : 0,
    borderWidth: column.method === "searched" ? 2.5 : 1.5,
    borderColor: column.method === "searched" || lastStage > 0 ? seriesColour(column.stage) :
        seriesColour(1 + ["pi", "ntk", "yarn", "none", "published"].indexOf(column.method)),
    // With several stages the closed forms of one are enough to begin with.
    hidden: column.method !== "searched" && column.stage !== lastStage,
  }));
  return {
    datasets,
    scales: {
      x: linearAxis("rotary pair", {min: 0, max: rows.length - 1, ticks: {precision: 0}}),
      y: logarithmicAxis("λ", rows.flatMap(row => lines.map(column => row[column.key]))),
    },
    tooltip: ({x, y}, dataset) => [`${dataset.label}, pair ${x}: ${formatted(y, "number")}`],
  };
}

const ENDS = ["scored", "open", "failed", "rejected", "expired", "released"];

function timeline(plot) {
  const rows = records(plot.table);
  const workers = [...new Set(rows.map(row => row.worker))];
  const ends = ENDS.filter(end => rows.some(row => row.end === end));
  const bars = (label, shown, from, shade, more) => ({
    label, data: shown.map(row => ({x: [row[from], row.ended], y: row.worker, row})), backgroundColor: shade,
    borderColor: colour("--ground"), borderWidth: {left: 0.5, right: 0, top: 0, bottom: 0}, borderSkipped: false, grouped: false,
    minBarLength: 2, ...more,
  });
  const datasets = [];
  for (const end of ends) {
    const shown = rows.filter(row => row.end === end && row.computing !== null);
    const shade = end === "scored" ? seriesColour(0) : end === "open" ? seriesColour(2) : colour("--bad");
    if (shown.length) datasets.push(bars(end === "scored" ? "computing" : end, shown, "computing", shade, {order: 1, barPercentage: 0.7}));
    const other = rows.filter(row => row.end === end && row.computing === null);
    if (other.length) datasets.push(bars(end, other, "granted", shade, {order: 1, barPercentage: 0.7}));
  }
  const waited = rows.filter(row => row.computing !== null && row.computing > row.granted)
      .map(row => ({...row, ended: row.computing}));
  if (waited.length) datasets.push(bars("waiting", waited, "granted", colour("--line"), {order: 2, barPercentage: 0.9}));
  return {
    type: "bar", datasets, height: `${4.5 + 2.5 * workers.length}rem`,
    options: {indexAxis: "y"},
    scales: {
      x: linearAxis("seconds", {min: 0, max: Math.max(0.1, ...rows.map(row => row.ended))}),
      // Long names would leave no room for the bars.
      y: {type: "category", labels: workers, ticks: {
        autoSkip: false, callback: at => workers[at].length > 16 ? workers[at].slice(0, 15) + "…" : workers[at],
      }},
    },
    tooltip: ({row}) => [`${row.worker}: candidate ${row.candidate}`, `document ${row.document}`,
      `${formatted(row.granted, "seconds")} s to ${formatted(row.ended, "seconds")} s: ${row.end}`],
  };
}

function byLength(plot) {
  const rows = records(plot.table);
  const lengths = [...new Set(rows.map(row => row.length))].sort((a, b) => a - b);
  const datasets = [...bySeries(plot.table)].map(([series, group], index) => line(
    series, group.map(row => ({x: row.length, y: row.perplexity, row})), index, {intervals: group.map(intervalOf)}));
  return {
    datasets,
    scales: {x: lengthAxis(lengths), y: logarithmicAxis("perplexity", rows.map(row => row.perplexity))},
    tooltip: ({row}) => [`${row.series} at ${formatted(row.length, "integer")}: ${formatted(row.perplexity, "perplexity")}`,
      ...intervalText(row)],
  };
}

function byPosition(plot) {
  const rows = records(plot.table);
  const datasets = [...bySeries(plot.table)].map(([series, group], index) => line(
    series, group.map(row => ({x: (row.from + row.to) / 2, y: row.perplexity, row})), index));
  return {
    datasets,
    scales: {
      x: linearAxis("position in tokens", {min: 0, max: Math.max(...rows.map(row => row.to))}),
      y: logarithmicAxis("perplexity", rows.map(row => row.perplexity)),
    },
    tooltip: ({row}) => [`${row.series}, ${formatted(row.from, "integer")} to ${formatted(row.to, "integer")}: ` +
        formatted(row.perplexity, "perplexity")],
  };
}

const CHARTS = {history, factors, timeline, by_length: byLength, by_position: byPosition};

/** Draws `plot` on `canvas`. */
function draw(plot, canvas) {
  const made = CHARTS[plot.kind](plot);
  const grid = {color: colour("--line"), borderColor: colour("--muted")};
  for (const axis of Object.values(made.scales)) {
    axis.grid = grid;
    axis.ticks = {color: colour("--muted"), ...axis.ticks};
    if (axis.title) axis.title.color = colour("--text");
  }
  const chart = new Chart(canvas, {
    type: made.type ?? "line",
    data: {datasets: made.datasets},
    plugins: [intervalBars],
    options: {
      animation: false, responsive: true, maintainAspectRatio: false, ...(made.type === "bar" ? {} : {parsing: false}),
      normalized: true, scales: made.scales,
      interaction: {mode: "nearest", intersect: false, axis: "xy"},
      plugins: {
        legend: {display: false},
        tooltip: {
          filter: item => !item.dataset.silent,
          callbacks: {title: () => "", label: item => made.tooltip(item.raw, item.dataset)},
        },
      },
      ...made.options,
    },
  });
  return {chart, made};
}
