// Queries, errors, times and waiting clients over the last hour, and what each server has of it now.

import { withQuery } from "../api.js";
import { sharedCursor, timeChart } from "../charts.js";
import { el, patch } from "../dom.js";
import { milliseconds, number } from "../format.js";
import { heading, nothing, problemBox, section, select, table } from "../parts.js";

/** [value, text, seconds between samples] */
const SPANS = [
  ["60", "1 minute", 1],
  ["300", "5 minutes", 1],
  ["900", "15 minutes", 2],
  ["3600", "1 hour", 10],
];

const CHARTS = [
  {
    title: "Queries per second",
    format: number,
    series: [{ name: "queries_per_second", label: "queries", tone: 1, area: true }],
  },
  {
    title: "Time of a query",
    format: milliseconds,
    series: [
      { name: "p50_ms", label: "p50", tone: 1 },
      { name: "p95_ms", label: "p95", tone: 2 },
      { name: "p99_ms", label: "p99", tone: 3 },
    ],
  },
  {
    title: "Errors per second",
    format: number,
    series: [{ name: "errors_per_second", label: "errors", tone: 4, area: true }],
  },
  {
    title: "Clients",
    format: number,
    series: [
      { name: "clients", label: "connected", tone: 1 },
      { name: "active", label: "active", tone: 2 },
      { name: "waiting", label: "waiting", tone: 4 },
    ],
  },
  {
    title: "Server connections",
    format: number,
    series: [{ name: "server_connections", label: "open", tone: 5, area: true }],
  },
];

const COLUMNS = [
  { title: "Backend", cell: ([name]) => el("span", { class: "mono" }, name) },
  { title: "Queries/s", class: "figure", cell: ([, it]) => number(it.queries_per_second) },
  { title: "Errors/s", class: "figure", cell: ([, it]) => number(it.errors_per_second) },
  { title: "p99", class: "figure", cell: ([, it]) => milliseconds(it.p99_ms) },
];

class Traffic {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.samples = [];
    this.span = ctx.params.seconds in stepsBySpan() ? ctx.params.seconds : "3600";
    const cursor = sharedCursor();
    this.charts = CHARTS.map((each) => timeChart({ ...each, cursor }));
    this.backends = el("div", {});
    this.problem = el("div", {});
    const choice = select(
      "span",
      SPANS.map(([value, text]) => [value, text]),
      this.span,
      {
        "aria-label": "Time span",
        onchange: (event) => this.show(event.target.value),
      },
    );
    root.append(
      heading(
        "Traffic",
        "Of all clients together. Where a point stands for several seconds: the mean of rates, the worst of everything else.",
        choice,
      ),
      this.problem,
      el(
        "div",
        { class: "charts" },
        this.charts.map((chart) => chart.node),
      ),
      this.backends,
    );
    this.load();
  }

  show(span) {
    this.span = span;
    this.load();
  }

  get step() {
    return stepsBySpan()[this.span];
  }

  async load() {
    try {
      const path = withQuery("/api/v1/traffic", { seconds: this.span, step: this.step });
      const { samples } = await this.ctx.api("GET", path);
      this.samples = samples.map(parsed);
      patch(this.problem);
      this.draw();
    } catch (error) {
      patch(this.problem, problemBox(error));
    }
  }

  /** A sample of one second becomes part of the newest one of `step` seconds, as the proxy puts them together. */
  update(_, data) {
    const fresh = parsed(data);
    const newest = this.samples.at(-1);
    if (newest === undefined || this.groupOf(fresh) !== this.groupOf(newest)) this.samples.push(fresh);
    else if (fresh.at > newest.at)
      this.samples[this.samples.length - 1] = together(newest, fresh, this.secondOf(newest));
    this.draw();
  }

  groupOf(sample) {
    return Math.floor(sample.at / 1000 / this.step);
  }

  /** How many seconds of its group have been, with this one. */
  secondOf(sample) {
    return (Math.floor(sample.at / 1000) % this.step) + 1;
  }

  draw() {
    const to = this.samples.at(-1)?.at ?? Date.now();
    const from = to - Number(this.span) * 1000;
    while (this.samples.length && this.samples[0].at < from) this.samples.shift();
    this.charts.forEach((chart) => chart.draw(this.samples, from, to));
    this.drawBackends();
  }

  drawBackends() {
    const rows = Object.entries(this.samples.at(-1)?.backends ?? {});
    const shown = rows.length
      ? table(COLUMNS, rows, { caption: "Backends, now", key: ([name]) => name })
      : nothing("No backend has answered a query yet.");
    patch(this.backends, section("Backends, now", shown));
  }
}

function stepsBySpan() {
  return Object.fromEntries(SPANS.map(([value, , step]) => [value, step]));
}

function parsed(sample) {
  return { ...sample, at: new Date(sample.at).getTime() };
}

/** Means of rates, and the worst of everything else: percentiles have no mean. */
function together(sample, fresh, seconds) {
  const rates = ["queries_per_second", "errors_per_second"];
  const mean = (name) => (sample[name] * seconds + fresh[name]) / (seconds + 1);
  const worst = (name) => (sample[name] === null ? fresh[name] : Math.max(sample[name], fresh[name] ?? 0));
  const worsts = ["p50_ms", "p95_ms", "p99_ms", "clients", "active", "waiting", "server_connections"];
  return {
    ...fresh,
    ...Object.fromEntries(rates.map((name) => [name, mean(name)])),
    ...Object.fromEntries(worsts.map((name) => [name, worst(name)])),
  };
}

export default {
  topics: ["traffic"],
  mount(root, ctx) {
    const panel = new Traffic(root, ctx);
    return {
      update: (topic, data) => panel.update(topic, data),
      resumed: () => panel.load(),
      unmount() {},
    };
  },
};
