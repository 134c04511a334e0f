"use strict";
// Tables of the report: how values are written, and tables as elements. Whatever comes from the data becomes text.

const integers = new Intl.NumberFormat("en", {maximumFractionDigits: 1});
const twoDigits = new Intl.NumberFormat("en", {minimumFractionDigits: 2, maximumFractionDigits: 2});
const fiveDigits = new Intl.NumberFormat("en", {maximumSignificantDigits: 5});
const percents = new Intl.NumberFormat("en", {style: "percent", maximumFractionDigits: 1});

const written = {
  text: String,
  integer: value => integers.format(value),
  number: value => fiveDigits.format(value),
  perplexity: value => value < 1e6 ? fiveDigits.format(value) : value.toExponential(2),
  share: value => percents.format(value),
  seconds: value => twoDigits.format(value),
};

function formatted(value, format) {
  return value === null ? "–" : written[format](value);
}

/** An element with properties and children; strings become text. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** The rows as objects, by the keys of the columns. */
function records(table) {
  return table.rows.map(row => Object.fromEntries(table.columns.map((column, index) => [column.key, row[index]])));
}

/** What is shown of a best number; the mark is read out, for colour and weight are not. */
function starred(...children) {
  const star = element("span", {className: "star", title: "the best"}, "★");
  star.setAttribute("role", "img");
  star.setAttribute("aria-label", "the best:");
  return [star, " ", ...children];
}

/** Which cells of a table are the best of those that they are compared with. */
function bestCells(table) {
  const cells = new Set((table.best ?? []).map(([row, column]) => `${row} ${column}`));
  return (row, column) => cells.has(`${row} ${column}`);
}

const LONG_WORDS = 24;  // characters; shorter texts stay on one line where they can

function tableElement(table, caption) {
  const isBest = bestCells(table);
  const head = element("tr");
  for (const column of table.columns) {
    head.append(element("th", {scope: "col", className: column.format === "text" ? "" : "number"}, column.name));
  }
  const body = element("tbody");
  table.rows.forEach((row, at) => {
    const line = element("tr");
    row.forEach((value, index) => {
      const format = table.columns[index].format;
      const words = String(value).length > LONG_WORDS ? "words long" : "words";
      const properties = {className: format === "text" ? words : "number"};
      if (index === 0) properties.scope = "row";
      const best = isBest(at, index);
      if (best) properties.className += " best";
      const shown = formatted(value, format);
      line.append(element(index === 0 ? "th" : "td", properties, ...(best ? starred(shown) : [shown])));
    });
    body.append(line);
  });
  return element("table", {}, element("caption", {className: "unseen"}, caption), element("thead", {}, head), body);
}

/** A part of the page that scrolls by itself must be reachable by keyboard. */
function scrolling(label, tall, child) {
  const box = element("div", {className: tall ? "scroll tall" : "scroll", tabIndex: 0}, child);
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", label);
  return box;
}

/** The table of a plot, folded; its rows are made when it is opened, for there may be thousands. */
function foldedTable(table, label) {
  const details = element("details", {}, element("summary", {}, `Table: ${label} (${integers.format(table.rows.length)} rows)`));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) {
      details.append(scrolling(label, true, tableElement(table, label)));
    }
  });
  return details;
}

/** Lengths and depths down, methods across, with a shade for each cell. */
function gridElement(table, label) {
  const cells = records(table);
  const isBest = bestCells(table);
  const accuracy = table.columns.findIndex(column => column.key === "accuracy");
  // Own factor sets come first: on a narrow screen they are what must be seen.
  const methods = [...new Set(cells.map(cell => cell.method))].sort((a, b) => METHODS.has(a) - METHODS.has(b));
  const places = [...new Map(cells.map(cell => [`${cell.length} ${cell.depth}`, cell])).values()]
      .sort((a, b) => a.length - b.length || a.depth - b.depth);
  const head = element("tr", {}, element("th", {scope: "col"}, "length, depth"));
  for (const method of methods) head.append(element("th", {scope: "col", className: "number"}, method));
  const body = element("tbody");
  for (const {length, depth} of places) {
    const line = element("tr", {}, element("th", {scope: "row"}, `${integers.format(length)}, ${percents.format(depth)}`));
    for (const method of methods) {
      const at = cells.findIndex(one => one.method === method && one.length === length && one.depth === depth);
      if (at < 0) {
        line.append(element("td", {}, "–"));
        continue;
      }
      const cell = cells[at];
      const interval = `${percents.format(cell.low)} to ${percents.format(cell.high)}`;
      const best = isBest(at, accuracy);
      const text = percents.format(cell.accuracy);
      const shown = element("td", {
        title: `${method}: ${cell.right} of ${cell.answers} right; 95 % interval ${interval}`, className: best ? "best" : "",
      }, ...(best ? starred(text) : [text]), element("small", {}, `${cell.right} of ${cell.answers}`));
      shown.style.setProperty("--share", cell.accuracy);
      line.append(shown);
    }
    body.append(line);
  }
  return element("table", {className: "grid"}, element("caption", {className: "unseen"}, label), element("thead", {}, head), body);
}
