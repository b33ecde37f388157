// Charts over time, as plain SVG: lines and areas, axes, and a cursor for the mouse and the keyboard.

import { el, patch, svg } from "./dom.js";
import { NOTHING } from "./format.js";

const HEIGHT = 150;
const MARGIN = { left: 62, right: 10, top: 8, bottom: 20 };
const STEPS = [1, 2, 5, 10];
const MINUTE = 60_000;
/** Distances of the marks on the time axis, and how near to each other they may be (pixels). */
const TIME_STEPS = [
  10_000,
  30_000,
  MINUTE,
  2 * MINUTE,
  5 * MINUTE,
  10 * MINUTE,
  15 * MINUTE,
  30 * MINUTE,
  60 * MINUTE,
];
const NEAREST = 70;

/** A moment that several charts point at together; null: none. */
export function sharedCursor() {
  const listeners = new Set();
  return {
    at: null,
    listen: (listener) => listeners.add(listener),
    move(at) {
      this.at = at;
      listeners.forEach((listener) => listener(at));
    },
  };
}

/**
 * A chart over time: `{node, draw(samples, from, to)}`. A sample has `at` (milliseconds since 1970) and a value (or
 * null) for each of `series`: `{name, label, tone (1 to 5), area}`. `format(value)` says a value in words.
 */
export function timeChart({ title, series, format, cursor = sharedCursor() }) {
  const chart = new TimeChart(title, series, format, cursor);
  return { node: chart.node, draw: (samples, from, to) => chart.take(samples, from, to) };
}

class TimeChart {
  constructor(title, series, format, cursor) {
    Object.assign(this, { title, series, format, cursor, samples: [], from: 0, to: 1, width: 0 });
    this.legend = el("ul", { class: "legend" });
    this.time = el("span", { class: "muted chart-time" });
    this.picture = this.buildPicture();
    this.node = el(
      "figure",
      { class: "chart" },
      el("figcaption", {}, el("b", {}, title), this.time),
      this.legend,
      this.picture,
    );
    cursor.listen(() => this.point());
    new ResizeObserver(() => this.resize()).observe(this.picture);
  }

  /** It is a slider over time for those who use the keyboard or listen. */
  buildPicture() {
    return svg("svg", {
      class: "chart-picture",
      height: HEIGHT,
      tabindex: "0",
      role: "slider",
      "aria-label": `${this.title}, over time`,
      "aria-valuemin": "0",
      "aria-valuemax": "0",
      "aria-valuenow": "0",
      "aria-valuetext": "no figures yet",
      onmousemove: (event) =>
        this.cursor.move(this.atOf(event.clientX - this.picture.getBoundingClientRect().left)),
      onmouseleave: () => this.cursor.move(null),
      onblur: () => this.cursor.move(null),
      onkeydown: (event) => this.onKey(event),
    });
  }

  take(samples, from, to) {
    Object.assign(this, { samples, from, to });
    this.draw();
  }

  resize() {
    const width = this.picture.clientWidth;
    if (width === this.width) return;
    this.width = width;
    this.draw();
  }

  // -- places ----------------------------------------------------------------------------------------------------

  x(at) {
    const room = this.width - MARGIN.left - MARGIN.right;
    return MARGIN.left + (room * (at - this.from)) / (this.to - this.from);
  }

  y(value) {
    const room = HEIGHT - MARGIN.top - MARGIN.bottom;
    return MARGIN.top + room * (1 - value / this.top);
  }

  atOf(x) {
    const room = this.width - MARGIN.left - MARGIN.right;
    return this.from + ((x - MARGIN.left) / room) * (this.to - this.from);
  }

  // -- the picture -----------------------------------------------------------------------------------------------

  draw() {
    if (this.width < MARGIN.left + MARGIN.right) return;
    const step = niceStep(this.highest());
    this.top = step * Math.max(1, Math.ceil(this.highest() / step));
    patch(
      this.picture,
      this.rows(step),
      this.columns(),
      this.series.map((each) => this.curve(each)),
      this.mark(),
    );
    this.point();
  }

  highest() {
    let found = 0;
    for (const sample of this.samples) {
      for (const { name } of this.series) found = Math.max(found, sample[name] ?? 0);
    }
    return found || 1;
  }

  rows(step) {
    const lines = [];
    for (let value = 0; value <= this.top + step / 2; value += step) {
      const y = this.y(value);
      lines.push(svg("line", { class: "grid", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }));
      lines.push(
        svg("text", { class: "tick", x: MARGIN.left - 6, y: y + 3.5, "text-anchor": "end" }, this.format(value)),
      );
    }
    return lines;
  }

  columns() {
    const room = this.width - MARGIN.left - MARGIN.right;
    const span = this.to - this.from;
    const step = TIME_STEPS.find((each) => (room * each) / span >= NEAREST) ?? TIME_STEPS.at(-1);
    const marks = [];
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      const x = this.x(at);
      if (x > this.width - 22) break; // its text would be cut off
      marks.push(svg("text", { class: "tick", x, y: HEIGHT - 5, "text-anchor": "middle" }, timeOf(at, step)));
    }
    return marks;
  }

  curve({ name, tone, area }) {
    const runs = unbroken(this.samples, name);
    const line = runs.map((run) => this.path(run, name)).join("");
    return svg(
      "g",
      { class: `series tone-${tone}` },
      area && svg("path", { class: "area", d: runs.map((run) => this.areaPath(run, name)).join("") }),
      svg("path", { class: "curve", d: line }),
    );
  }

  path(run, name) {
    const points = run.map((each) => `${this.x(each.at).toFixed(1)} ${this.y(each[name]).toFixed(1)}`);
    return points.length === 1 ? `M${points[0]}h1` : `M${points.join("L")}`;
  }

  areaPath(run, name) {
    const floor = this.y(0).toFixed(1);
    return `${this.path(run, name)}L${this.x(run.at(-1).at).toFixed(1)} ${floor}L${this.x(run[0].at).toFixed(1)} ${floor}Z`;
  }

  // -- the cursor ------------------------------------------------------------------------------------------------

  mark() {
    return svg("line", { class: "cursor", visibility: "hidden", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
  }

  /** Show the values at the cursor, or the newest ones. */
  point() {
    const index = this.cursor.at === null ? this.samples.length - 1 : nearest(this.samples, this.cursor.at);
    const sample = this.samples[index];
    const mark = this.picture.lastElementChild;
    if (mark !== null) this.placeMark(mark, this.cursor.at === null ? undefined : sample);
    this.time.textContent =
      this.cursor.at === null || !sample ? "" : new Date(sample.at).toLocaleTimeString("en-GB");
    patch(
      this.legend,
      this.series.map((each) => this.legendOf(each, sample)),
    );
    this.tell(index, sample);
  }

  placeMark(mark, sample) {
    mark.setAttribute("visibility", sample ? "visible" : "hidden");
    if (!sample) return;
    mark.setAttribute("x1", this.x(sample.at));
    mark.setAttribute("x2", this.x(sample.at));
  }

  legendOf({ name, label, tone }, sample) {
    const swatch = svg(
      "svg",
      { class: "swatch", viewBox: "0 0 12 8", "aria-hidden": "true" },
      svg("path", { class: `curve tone-${tone}`, d: "M0 4h12" }),
    );
    return el("li", {}, swatch, el("span", {}, label), el("b", {}, sample ? this.format(sample[name]) : NOTHING));
  }

  tell(index, sample) {
    const values = this.series.map(({ name, label }) => `${label} ${sample ? this.format(sample[name]) : NOTHING}`);
    const when = sample ? new Date(sample.at).toLocaleTimeString("en-GB") : "no figures yet";
    this.picture.setAttribute("aria-valuemax", Math.max(0, this.samples.length - 1));
    this.picture.setAttribute("aria-valuenow", Math.max(0, index));
    this.picture.setAttribute("aria-valuetext", `${when}: ${values.join(", ")}`);
  }

  onKey(event) {
    const last = this.samples.length - 1;
    const now = this.cursor.at === null ? last : nearest(this.samples, this.cursor.at);
    const next = {
      ArrowLeft: now - 1,
      ArrowRight: now + 1,
      PageUp: now - 20,
      PageDown: now + 20,
      Home: 0,
      End: last,
    };
    if (event.key === "Escape") this.cursor.move(null);
    if (!(event.key in next) || last < 0) return;
    event.preventDefault();
    this.cursor.move(this.samples[Math.min(last, Math.max(0, next[event.key]))].at);
  }
}

/** A round distance between marks, so that there are three or four of them. */
function niceStep(highest) {
  const rough = highest / 3;
  const size = 10 ** Math.floor(Math.log10(rough));
  return size * STEPS.find((each) => each * size >= rough);
}

function timeOf(at, step) {
  const text = new Date(at).toLocaleTimeString("en-GB");
  return step < MINUTE ? text : text.slice(0, 5);
}

/** Samples in a row that have a value. */
function unbroken(samples, name) {
  const runs = [];
  let run = null;
  for (const sample of samples) {
    if (sample[name] === null || sample[name] === undefined) run = null;
    else if (run !== null) run.push(sample);
    else runs.push((run = [sample]));
  }
  return runs;
}

/** Index of the sample nearest to a moment. */
function nearest(samples, at) {
  let low = 0;
  let high = samples.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (samples[middle].at < at) low = middle;
    else high = middle;
  }
  return high >= 0 && Math.abs(samples[high].at - at) < Math.abs(samples[low].at - at) ? high : low;
}
