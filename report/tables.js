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

function tableElement(table, caption) {
  const head = element("tr");
  for (const column of table.columns) {
    head.append(element("th", {scope: "col", className: column.format === "text" ? "" : "number"}, column.name));
  }
  const body = element("tbody");
  for (const row of table.rows) {
    const line = element("tr");
    row.forEach((value, index) => {
      const format = table.columns[index].format;
      const properties = {className: format === "text" ? "words" : "number"};
      if (index === 0) properties.scope = "row";
      line.append(element(index === 0 ? "th" : "td", properties, formatted(value, format)));
    });
    body.append(line);
  }
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

/** Length × depth with a shade for each cell. */
function gridElement(table, label) {
  const cells = records(table);
  const lengths = [...new Set(cells.map(cell => cell.length))].sort((a, b) => a - b);
  const depths = [...new Set(cells.map(cell => cell.depth))].sort((a, b) => a - b);
  const head = element("tr", {}, element("th", {scope: "col"}, "depth \\ length"));
  for (const length of lengths) head.append(element("th", {scope: "col", className: "number"}, integers.format(length)));
  const body = element("tbody");
  for (const depth of depths) {
    const line = element("tr", {}, element("th", {scope: "row"}, percents.format(depth)));
    for (const length of lengths) {
      const cell = cells.find(one => one.length === length && one.depth === depth);
      if (!cell) {
        line.append(element("td", {}, "–"));
        continue;
      }
      const interval = `${percents.format(cell.low)} to ${percents.format(cell.high)}`;
      const shown = element("td", {
        title: `${cell.right} of ${cell.answers} right; 95 % interval ${interval}`,
      }, percents.format(cell.accuracy), element("small", {}, `${cell.right} of ${cell.answers}`));
      shown.style.setProperty("--share", cell.accuracy);
      line.append(shown);
    }
    body.append(line);
  }
  return element("table", {className: "grid"}, element("caption", {className: "unseen"}, label), element("thead", {}, head), body);
}
