// Zoom: dragging over a part of a plot shows that part, a double click all of it. The buttons do the same along the
// horizontal axis for fingers and keyboards.

const SMALLEST_DRAG = 8;  // pixels; less is a click
const ZOOM_STEP = 2;
const MOVE_STEP = 0.25;   // of what is shown

/** `shown`, moved by `move` of its length and scaled by `scale` about its middle, but kept inside of `all`. */
function zoomed(shown, all, scale, move, logarithmic) {
  const plain = ends => logarithmic ? ends.map(Math.log) : ends;
  const [low, high] = plain(shown), [first, last] = plain(all);
  const length = Math.min((high - low) * scale, last - first);
  const middle = (low + high) / 2 + move * (high - low);
  const begin = Math.min(Math.max(middle - length / 2, first), last - length);
  const ends = [begin, begin + length];
  return logarithmic ? ends.map(Math.exp) : ends;
}

/** The ends of an axis between two pixels, inside of the plot. */
function valuesBetween(scale, area, first, second) {
  const horizontal = scale.isHorizontal();
  const [low, high] = horizontal ? [area.left, area.right] : [area.top, area.bottom];
  const inside = pixel => Math.min(Math.max(pixel, low), high);
  return [first, second].map(pixel => scale.getValueForPixel(inside(pixel))).sort((a, b) => a - b);
}

/** Lets the reader drag over the canvas of `drawing`; `show(view)` draws it again. */
function zoomByDragging(drawing, show) {
  const {canvas} = drawing;
  const frame = canvas.parentElement;
  const marker = element("div", {className: "marker", hidden: true});
  frame.append(marker);
  let start = null;
  const place = event => {
    const box = canvas.getBoundingClientRect();
    return {x: event.clientX - box.left, y: event.clientY - box.top};
  };
  const end = event => {
    if (!start) return;
    const from = start, to = place(event);
    start = null;
    marker.hidden = true;
    if (Math.abs(to.x - from.x) < SMALLEST_DRAG) return;
    const {scales, chartArea} = drawing.chart;
    const view = {x: valuesBetween(scales.x, chartArea, from.x, to.x)};
    const alongBoth = scales.y.type !== "category" && Math.abs(to.y - from.y) >= SMALLEST_DRAG;
    if (alongBoth) view.y = valuesBetween(scales.y, chartArea, from.y, to.y);
    show({...drawing.view, ...view});
  };
  // A finger scrolls the page.
  canvas.addEventListener("pointerdown", event => {
    if (event.pointerType === "touch" || event.button !== 0) return;
    start = place(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", event => {
    if (!start) return;
    const at = place(event);
    marker.hidden = false;
    Object.assign(marker.style, {
      left: `${Math.min(start.x, at.x)}px`, top: `${Math.min(start.y, at.y)}px`,
      width: `${Math.abs(at.x - start.x)}px`, height: `${Math.abs(at.y - start.y)}px`,
    });
  });
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", () => { start = null; marker.hidden = true; });
  canvas.addEventListener("dblclick", () => show({}));
}

/** Buttons that zoom and move along the horizontal axis of `drawing`. */
function zoomButtons(drawing, show) {
  const along = (scale, move) => () => {
    const {min, max, type} = drawing.chart.scales.x;
    show({...drawing.view, x: zoomed([min, max], drawing.all, scale, move, type === "logarithmic")});
  };
  const button = (text, label, act) => {
    const made = element("button", {type: "button", title: label}, text);
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  };
  const group = element("div", {className: "zoom"},
      button("+", "Zoom in", along(1 / ZOOM_STEP, 0)), button("−", "Zoom out", along(ZOOM_STEP, 0)),
      button("←", "Move left", along(1, -MOVE_STEP)), button("→", "Move right", along(1, MOVE_STEP)),
      button("all", "Show all", () => show({})));
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Zoom; or drag over a part of the plot, and double click to see all");
  return group;
}
