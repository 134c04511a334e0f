// Axes of the plots: where they end and where their marks are.

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

const MOST_OF_THE_HEIGHT = 4;  // in units of the distance, on a logarithmic axis, from the lowest value to the median

/**
 * Upper end of what a logarithmic axis shows of `values`: few that are far above the others (a seed such as PI) would
 * press all others into a line. Half of the values fill at least a quarter of the height.
 */
function visibleTop(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const low = sorted[0], median = sorted[Math.floor(sorted.length / 2)];
  const limit = low * Math.max((median / low) ** MOST_OF_THE_HEIGHT, 1.02);
  return Math.max(...sorted.filter(value => value <= limit));
}
