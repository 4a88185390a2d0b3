/** Small charts as SVG. */
import { language, say } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM] = [460, 190, 48, 10, 12, 24];

function svg(name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

const short = new Intl.NumberFormat(language, { notation: "compact", maximumSignificantDigits: 3 });

/**
 * A line through points, with the extremes on its axes and the nearest value under the pointer.
 * @param {HTMLElement} place Is filled anew.
 * @param {[number, number][]} points
 * @param {{title: string, x: (value: number) => string, none: string, fromZero?: boolean}} about
 */
export function drawLine(place, points, { title, x: nameX, none, fromZero = false }) {
  if (points.length < 2) {
    const empty = document.createElement("p");
    empty.className = "none";
    empty.textContent = none;
    return place.replaceChildren(empty);
  }
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const [y0, y1] = [fromZero ? 0 : Math.min(...ys), Math.max(...ys)];
  const atX = (x) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDE - LEFT - RIGHT);
  const atY = (y) => HIGH - BOTTOM - ((y - y0) / (y1 - y0 || 1)) * (HIGH - TOP - BOTTOM);
  const chart = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" });
  const last = points.at(-1);
  chart.append(
    svg("title", {}, say("chart.last", { title, value: short.format(last[1]), where: nameX(last[0]) })),
    svg("line", { class: "axis", x1: LEFT, y1: HIGH - BOTTOM, x2: WIDE - RIGHT, y2: HIGH - BOTTOM }),
    svg("line", { class: "axis", x1: LEFT, y1: TOP, x2: LEFT, y2: HIGH - BOTTOM }),
    svg("text", { x: LEFT - 6, y: HIGH - BOTTOM, "text-anchor": "end" }, short.format(y0)),
    svg("text", { x: LEFT - 6, y: TOP + 8, "text-anchor": "end" }, short.format(y1)),
    svg("text", { x: LEFT, y: HIGH - 8 }, nameX(x0)),
    svg("text", { x: WIDE - RIGHT, y: HIGH - 8, "text-anchor": "end" }, nameX(x1)),
    svg("polyline", { class: "line", points: points.map(([x, y]) => `${atX(x).toFixed(1)},${atY(y).toFixed(1)}`).join(" ") }),
  );
  const dot = svg("circle", { class: "dot", r: 4, visibility: "hidden" });
  const says = svg("text", { y: TOP + 8, "text-anchor": "middle", visibility: "hidden" });
  chart.append(dot, says);
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDE;
    const near = points.reduce((a, b) => (Math.abs(atX(b[0]) - at) < Math.abs(atX(a[0]) - at) ? b : a));
    dot.setAttribute("cx", atX(near[0]));
    dot.setAttribute("cy", atY(near[1]));
    says.setAttribute("x", Math.min(WIDE - 70, Math.max(LEFT + 70, atX(near[0]))));
    says.textContent = say("chart.point", { value: short.format(near[1]), where: nameX(near[0]) });
    for (const element of [dot, says]) element.setAttribute("visibility", "visible");
  });
  chart.addEventListener("pointerleave", () => {
    for (const element of [dot, says]) element.setAttribute("visibility", "hidden");
  });
  place.replaceChildren(chart);
}

/**
 * A share with its interval on a line from 0 to 1.
 * @param {{value: number, low: number, high: number}} share
 */
export function shareBar({ value, low, high }) {
  const bar = svg("svg", { viewBox: "0 0 80 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  bar.append(
    svg("line", { class: "whole", x1: 0, y1: 5, x2: 80, y2: 5 }),
    svg("line", { class: "range", x1: low * 80, y1: 5, x2: high * 80, y2: 5 }),
    svg("line", { class: "value", x1: value * 80, y1: 0, x2: value * 80, y2: 10 }),
  );
  return bar;
}
