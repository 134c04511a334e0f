// Puts the report together: sections, plots with legends and tables, and what colour scheme and printing ask for.

const report = JSON.parse(document.getElementById("report-data").textContent);
const drawings = [];  // for every canvas {plot, canvas, legend, note, chart}

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
  const {chart, made} = draw(drawing.plot, drawing.canvas);
  drawing.chart = chart;
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
  drawings.push({plot, canvas, legend, note});
  return element("figure", {}, legend, element("div", {className: "canvas"}, canvas), note);
}

function plotElements(plot) {
  const parts = [element("h3", {}, plot.heading)];
  if (plot.text) parts.push(element("p", {}, plot.text));
  if (plot.kind === "table") return [...parts, scrolling(plot.heading, false, tableElement(plot.table, plot.heading))];
  parts.push(plot.kind === "retrieval" ? scrolling(plot.heading, false, gridElement(plot.table, plot.heading)) : figure(plot));
  return [...parts, foldedTable(plot.table, plot.heading)];
}

function build() {
  const main = document.getElementById("report");
  const contents = element("ul");
  let section = null;
  let name = null;
  report.plots.forEach((plot, index) => {
    if (plot.section !== name) {
      name = plot.section;
      const heading = element("h2", {id: `section-${index}`}, name);
      section = element("section", {}, heading);
      section.setAttribute("aria-labelledby", heading.id);
      main.append(section);
      contents.append(element("li", {}, element("a", {href: `#section-${index}`}, name)));
    }
    section.append(...plotElements(plot));
  });
  document.getElementById("contents").append(contents);
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
