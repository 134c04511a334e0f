// Plots of the report: each function turns a plot's table into the datasets and axes of Chart.js.

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const OWN_COLOURS = 4;
// A method has one colour and one dash in all plots; whatever is none of these is a factor set of the user.
const METHODS = new Map(Object.entries({
  none: {colour: "--untouched", dash: [2, 3]},
  base: {colour: "--untouched", dash: [2, 3]},
  pi: {colour: "--pi", dash: [9, 4]},
  ntk: {colour: "--ntk", dash: [4, 3]},
  yarn: {colour: "--yarn", dash: [9, 3, 2, 3]},
  dynamic_ntk: {colour: "--dynamic", dash: [4, 3, 1, 3]},
  published: {colour: "--published", dash: [2, 6]},
}));
const POINTS = ["circle", "triangle", "rect", "rectRot", "star", "cross", "crossRot"];

/** Colour, dash and points of a line: of its method, or of our own lines that of number `own`. */
function lineStyle(method, own) {
  const known = METHODS.get(method);
  const shade = colour(known ? known.colour : `--own-${own % OWN_COLOURS}`);
  return {
    borderColor: shade, backgroundColor: shade, borderDash: known ? known.dash : [], borderWidth: known ? 1.75 : 2.5,
    pointStyle: known ? "circle" : POINTS[own % POINTS.length],
  };
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

function line(label, points, style, more = {}) {
  return {type: "line", label, data: points, pointRadius: 3, pointHoverRadius: 6, clip: 10, ...style, ...more};
}

/** Own lines are numbered in the order of the table: each call gives the style of the next series. */
function styles() {
  let own = 0;
  return series => {
    const [method, window] = series.split(", window ");
    const style = lineStyle(method, METHODS.has(method) ? 0 : own++);
    return window ? {...style, borderDash: [1, 4]} : style;
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
  const references = plot.references ?? [];
  const last = Math.max(1, ...rows.map(row => row.k));
  const point = key => row => ({x: row.k, y: row[key], row});
  // The best so far at a candidate mostly belongs to an earlier one, whose name and interval its tooltip shows.
  const holders = rows.map(row => rows.find(one => one.perplexity === row.best) ?? row);
  const best = rows.map((row, index) => ({x: row.k, y: row.best, row: holders[index]}));
  const marks = {borderWidth: 1.5, showLine: false};
  const winner = finalists.filter(row => row.k === plot.winner);
  const values = rows.map(row => row.perplexity);
  const heldOut = finalists.map(row => row.heldout);
  // A reference line that is not much above the candidates belongs into the plot.
  const top = Math.max(visibleTop(values), ...heldOut);
  const room = (top / Math.min(...values)) ** 1.5 * Math.min(...values) * 1.02;
  const near = references.map(one => one.perplexity).filter(value => value <= room);
  const y = logarithmicAxis("perplexity", [...values.filter(value => value <= top), ...heldOut, ...near]);
  const above = rows.filter(row => row.perplexity > y.max);
  const far = references.filter(one => one.perplexity > y.max);
  // Intervals of few documents are wider than the plot, and would only hide the points.
  const measured = rows.filter(row => row.perplexity <= y.max && intervalOf(row));
  const cut = measured.filter(row => row.low < y.min || row.high > y.max).length;
  const own = lineStyle("searched", 0);
  const datasets = [
    line("candidates", rows.filter(row => row.perplexity <= y.max).map(point("perplexity")), own, {...marks, pointRadius: 2.5}),
    line("above the plot", above.map(row => ({x: row.k, y: y.max, row})), own, {...marks, pointStyle: "triangle", pointRadius: 5}),
    line("95 % intervals", measured.map(point("perplexity")), own, {
      ...marks, pointRadius: 0, pointHoverRadius: 0, intervals: measured.map(intervalOf), silent: true,
      hidden: 2 * cut > measured.length,
    }),
    line("best so far", best, lineStyle("searched", 1), {stepped: true, pointRadius: 0, borderWidth: 2, pointStyle: "circle"}),
    line("finalists, held out", finalists.map(point("heldout")), lineStyle("searched", 2), {...marks, pointStyle: "rectRot", pointRadius: 6}),
    line("winner, held out", winner.map(point("heldout")), lineStyle("searched", 3), {
      ...marks, pointStyle: "star", pointRadius: 10, borderWidth: 2.5}),
    // A line that is far above the candidates stands at the upper edge, and its name says so.
    ...references.map(one => line(
        far.includes(one) ? `${one.name} ↑ ${formatted(one.perplexity, "perplexity")}` : one.name,
        [0, last].map(x => ({x, y: Math.min(one.perplexity, y.max), value: one.perplexity})), lineStyle(one.method, 0), {pointRadius: 0})),
  ];
  const hidden = [
    ...(above.length ? [`${above.length} of ${rows.length} candidates, drawn as triangles at its upper edge`] : []),
    ...far.map(one => `${one.name} (${formatted(one.perplexity, "perplexity")}), drawn along that edge`),
  ];
  return {
    datasets: datasets.filter(dataset => dataset.data.length > 0),
    scales: {x: linearAxis("candidate", {min: 0, max: last, ticks: {precision: 0}}), y},
    note: hidden.length > 0 ? `Above the plot: ${hidden.join("; ")}. The table has all of them.` : "",
    // The interval is that of the search documents: a held-out perplexity has none here.
    tooltip: ({row, y, value}, {label}) => {
      if (!row) return [`${label.split(" ↑")[0]}: ${formatted(value, "perplexity")}`];
      const shown = label === "above the plot" ? row.perplexity : y;
      const place = label === "candidates" ? "" : `${label}: `;
      return [`${place}candidate ${row.k} (${row.origin}): ${formatted(shown, "perplexity")}`,
        ...(shown === row.perplexity ? intervalText(row) : [])];
    },
  };
}

function factors(plot) {
  const rows = records(plot.table);
  // With several stages the closed forms of the longest are enough; the table has the others.
  const all = plot.table.columns.slice(1);
  const longest = all.reduce((best, column) => column.length > best.length ? column : best, all[0]).stage;
  const lines = all.filter(column => column.method === "searched" || column.stage === longest);
  const datasets = lines.map(column => line(
      column.name, rows.map(row => ({x: row.pair, y: row[column.key]})), lineStyle(column.method, column.stage), {
        pointRadius: column.method === "searched" ? 2.5 : 0,
      }));
  return {
    datasets,
    note: lines.length < all.length ? "The closed forms of the other stages are in the table." : "",
    scales: {
      x: linearAxis("rotary pair", {min: 0, max: rows.length - 1, ticks: {precision: 0}}),
      y: logarithmicAxis("λ", rows.flatMap(row => lines.map(column => row[column.key]))),
    },
    tooltip: ({x, y}, dataset) => [`${dataset.label}, pair ${x}: ${formatted(y, "number")}`],
  };
}

const SMOOTHED_STEPS = 5;  // or a twentieth of all, whichever is more

/** The mean of `values` over `width` neighbours of each. */
function smoothed(values, width) {
  return values.map((_, at) => {
    const near = values.slice(Math.max(0, at - Math.floor(width / 2)), at + Math.ceil(width / 2));
    return near.reduce((sum, value) => sum + value, 0) / near.length;
  });
}

function loss(plot) {
  const datasets = [];
  let own = 0;
  for (const [series, group] of bySeries(plot.table)) {
    const style = lineStyle("searched", own++);
    const means = smoothed(group.map(row => row.loss), Math.max(SMOOTHED_STEPS, Math.round(group.length / 20)));
    datasets.push(line(series, group.map((row, at) => ({x: row.step, y: means[at], row})), style, {pointRadius: 0}));
    datasets.push(line(`${series}, steps`, group.map(row => ({x: row.step, y: row.loss, row})), style, {
      showLine: false, pointRadius: 1.5}));
  }
  const rows = records(plot.table);
  return {
    datasets,
    scales: {
      x: linearAxis("step", {min: Math.min(...rows.map(row => row.step)), max: Math.max(...rows.map(row => row.step)), ticks: {precision: 0}}),
      y: linearAxis("loss in nats per token", {min: Math.min(...rows.map(row => row.loss)), max: visibleTop(rows.map(row => row.loss))}),
    },
    tooltip: ({row}) => [`${row.series}, step ${row.step}: ${formatted(row.loss, "number")}`,
      `learning rate ${formatted(row.rate, "number")}, norm of the gradient ${formatted(row.norm, "number")}`],
  };
}

const ENDS = ["scored", "open", "failed", "rejected", "expired", "released"];

/** Bars from `from` to `to` for each row, on the line of the row's `name`. */
function bars(label, rows, name, from, to, shade, more = {}) {
  return {
    label, data: rows.map(row => ({x: [row[from], row[to]], y: row[name], row})), backgroundColor: shade,
    borderColor: colour("--ground"), borderWidth: {left: 0.5, right: 0, top: 0, bottom: 0}, borderSkipped: false, grouped: false,
    minBarLength: 2, ...more,
  };
}

/** A plot with a line for each of `names` and time from left to right. */
function barPlot(datasets, names, unit, end, tooltip) {
  return {
    type: "bar", datasets, height: `${4.5 + 2.5 * names.length}rem`,
    options: {indexAxis: "y"},
    scales: {
      x: linearAxis(unit, {min: 0, max: end}),
      // Long names would leave no room for the bars.
      y: {type: "category", labels: names, ticks: {
        autoSkip: false, callback: at => names[at].length > 16 ? names[at].slice(0, 15) + "…" : names[at],
      }},
    },
    tooltip,
  };
}

function timeline(plot) {
  const rows = records(plot.table);
  const datasets = [];
  for (const end of ENDS) {
    const shown = rows.filter(row => row.end === end && row.computing !== null);
    const shade = colour(end === "scored" ? "--own-0" : end === "open" ? "--own-2" : "--bad");
    const more = {order: 1, barPercentage: 0.7};
    if (shown.length) datasets.push(bars(end === "scored" ? "computing" : end, shown, "worker", "computing", "ended", shade, more));
    const other = rows.filter(row => row.end === end && row.computing === null);
    if (other.length) datasets.push(bars(end, other, "worker", "granted", "ended", shade, more));
  }
  const waited = rows.filter(row => row.computing !== null && row.computing > row.granted);
  if (waited.length) {
    datasets.push(bars("waiting", waited, "worker", "granted", "computing", colour("--line"), {order: 2, barPercentage: 0.9}));
  }
  const workers = [...new Set(rows.map(row => row.worker))];
  return barPlot(datasets, workers, "seconds", Math.max(0.1, ...rows.map(row => row.ended)), ({row}) => [
    `${row.worker}: candidate ${row.candidate}`, `document ${row.document}`,
    `${formatted(row.granted, "seconds")} s to ${formatted(row.ended, "seconds")} s: ${row.end}`]);
}

const STATES = {finished: "--own-0", running: "--own-2", failed: "--bad", waiting: "--untouched", skipped: "--untouched"};

function stages(plot) {
  const rows = records(plot.table);
  const datasets = Object.keys(STATES).filter(state => rows.some(row => row.state === state)).map(state => bars(
      state, rows.filter(row => row.state === state), "stage", "begun", "ended", colour(STATES[state])));
  return barPlot(datasets, rows.map(row => row.stage), "minutes", Math.max(0.01, ...rows.map(row => row.ended)), ({row}) => [
    `${row.stage} (${row.kind}): ${row.state}`,
    `minute ${formatted(row.begun, "seconds")} to ${formatted(row.ended, "seconds")}`]);
}

function byLength(plot) {
  const rows = records(plot.table);
  const lengths = [...new Set(rows.map(row => row.length))].sort((a, b) => a - b);
  const styleOf = styles();
  const datasets = [...bySeries(plot.table)].map(([series, group]) => line(
    series, group.map(row => ({x: row.length, y: row.perplexity, row})), styleOf(series), {intervals: group.map(intervalOf)}));
  return {
    datasets,
    scales: {x: lengthAxis(lengths), y: logarithmicAxis("perplexity", rows.map(row => row.perplexity))},
    tooltip: ({row}) => [`${row.series} at ${formatted(row.length, "integer")}: ${formatted(row.perplexity, "perplexity")}`,
      ...intervalText(row)],
  };
}

function byPosition(plot) {
  const rows = records(plot.table);
  const styleOf = styles();
  const datasets = [...bySeries(plot.table)].map(([series, group]) => line(
    series, group.map(row => ({x: (row.from + row.to) / 2, y: row.perplexity, row})), styleOf(series)));
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

const CHARTS = {history, factors, loss, timeline, stages, by_length: byLength, by_position: byPosition};

/** Draws `plot` on `canvas`; `view` has the ends of axes that are zoomed: {x: [min, max], y: [min, max]}. */
function draw(plot, canvas, view) {
  const made = CHARTS[plot.kind](plot);
  for (const [axis, [min, max]] of Object.entries(view)) Object.assign(made.scales[axis], {min, max});
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
