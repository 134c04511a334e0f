// Puts the report together: answers, sections, plots with legends and tables, and what colour scheme and printing ask for.

const report = JSON.parse(document.getElementById("report-data").textContent);
const drawings = [];  // for every canvas {plot, canvas, legend, note, view, chart, all}

/** A sample of a line as it is drawn, for the legend. */
function sample(dataset, isBar) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("width", "26");
  picture.setAttribute("height", "10");
  picture.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", isBar ? "rect" : "line");
  const properties = isBar ? {width: 26, height: 10, fill: dataset.backgroundColor} : {
    x1: 0, x2: 26, y1: 5, y2: 5, stroke: dataset.borderColor, "stroke-width": 3,
    "stroke-dasharray": (dataset.borderDash ?? []).join(" "),
  };
  for (const [name, value] of Object.entries(properties)) shape.setAttribute(name, value);
  picture.append(shape);
  return picture;
}

function fillLegend({legend, chart}, isBar) {
  legend.replaceChildren();
  chart.data.datasets.forEach((dataset, index) => {
    const button = element("button", {type: "button"}, sample(dataset, isBar), dataset.label);
    button.setAttribute("aria-pressed", String(chart.isDatasetVisible(index)));
    button.addEventListener("click", () => {
      const visible = !chart.isDatasetVisible(index);
      chart.setDatasetVisibility(index, visible);
      chart.update();
      button.setAttribute("aria-pressed", String(visible));
    });
    legend.append(element("li", {}, button));
  });
}

function redraw(drawing) {
  const shown = drawing.chart?.data.datasets.map((_, index) => drawing.chart.isDatasetVisible(index));
  drawing.chart?.destroy();
  const {chart, made} = draw(drawing.plot, drawing.canvas, drawing.view);
  drawing.chart = chart;
  // The ends without zoom, which zooming stays between.
  if (!drawing.view.x) drawing.all = [made.scales.x.min, made.scales.x.max];
  shown?.forEach((visible, index) => chart.setDatasetVisibility(index, visible));
  chart.update();
  drawing.note.textContent = made.note ?? "";
  if (made.height) drawing.canvas.parentElement.style.height = made.height;
  fillLegend(drawing, made.type === "bar");
}

function figure(plot) {
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Plot: ${plot.heading}. Its numbers are in the table below.`);
  const legend = element("ul", {className: "legend"});
  legend.setAttribute("aria-label", "Lines of the plot; a button hides or shows one");
  const note = element("p");
  const drawing = {plot, canvas, legend, note, view: {}};
  drawings.push(drawing);
  const frame = element("div", {className: "canvas"}, canvas);
  const show = view => {
    drawing.view = view;
    redraw(drawing);
  };
  zoomByDragging(drawing, show);
  return element("figure", {}, legend, frame, element("div", {className: "below"}, note, zoomButtons(drawing, show)));
}

/** One line for each stage that says what came out, before all tables. */
function answers() {
  const longest = Math.max(...report.stages.filter(stage => stage.final).map(stage => stage.length));
  return report.stages.flatMap(stage => {
    const name = report.stages.length > 1 ? `${stage.search === stage.stage ? "" : `${stage.search}, `}${stage.stage}: ` : "";
    // The verdict says the same with its certainty, and then what it rests on.
    const [headline, ...more] = [stage.verdict?.text ?? stage.text].flat();
    const line = element("p", {className: "answer"}, name, element("b", {}, headline), `; ${stage.cost}`);
    if (stage.final && stage.length === longest) line.classList.add("longest");
    if (stage.verdict?.judgement === "worse") line.classList.add("worse");
    return [line, ...more.map(sentence => element("p", {}, sentence))];
  });
}

function plotElement(plot) {
  const parts = [element("h3", {}, plot.heading)];
  if (plot.text) parts.push(element("p", {}, plot.text));
  if (plot.kind === "table") {
    parts.push(scrolling(plot.heading, false, tableElement(plot.table, plot.heading)));
  } else {
    parts.push(plot.kind === "retrieval" ? scrolling(plot.heading, false, gridElement(plot.table, plot.heading)) : figure(plot));
    parts.push(foldedTable(plot.table, plot.heading));
  }
  return element("article", {className: plot.kind === "table" ? "wide" : ""}, ...parts);
}

function build() {
  const main = document.getElementById("report");
  const contents = element("ul");
  let plots = null;
  let name = null;
  document.getElementById("answers").append(...answers());
  report.plots.forEach((plot, index) => {
    if (plot.section !== name) {
      name = plot.section;
      const heading = element("h2", {id: `section-${index}`}, name);
      plots = element("div", {className: "plots"});
      const about = plot.about ? [element("p", {}, plot.about)] : [];
      const section = element("section", {}, heading, ...about, plots);
      section.setAttribute("aria-labelledby", heading.id);
      main.append(section);
      contents.append(element("li", {}, element("a", {href: `#section-${index}`}, name)));
    }
    plots.append(plotElement(plot));
  });
  document.getElementById("contents").append(contents);
  for (const group of document.querySelectorAll(".plots")) {
    const narrow = group.querySelectorAll("article:not(.wide)");
    if (narrow.length === 1) narrow[0].classList.add("wide");
  }
  drawings.forEach(redraw);
}

Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
build();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawings.forEach(redraw));
// Paper is white whatever the screen is.
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("printing");
  drawings.forEach(redraw);
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("printing");
  drawings.forEach(redraw);
});
