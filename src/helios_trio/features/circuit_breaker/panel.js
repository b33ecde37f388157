// Circuits: how each backend does against its limits, and orders to hold a circuit open or closed, or to reset it.

import { segment } from "../api.js";
import { el, patch } from "../dom.js";
import { clock, milliseconds, number, percent, seconds, utc, words } from "../format.js";
import { badge, bar, carryOut, facts, heading, nothing, order, toneOf } from "../parts.js";

const ORDERS = {
  open: {
    verb: "Hold open",
    danger: true,
    text: "Nothing is sent to it until somebody closes or resets the circuit. Its sessions are moved away where they can be.",
    done: "is held open",
  },
  close: {
    verb: "Hold closed",
    text: "It gets its traffic, whatever is measured, until somebody resets the circuit.",
    done: "is held closed",
  },
  reset: {
    verb: "Reset",
    text: "The circuit is closed, what was measured is forgotten, and it is held no more.",
    done: "was reset",
  },
};

class Circuits {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.head = el("div", {});
    this.list = el("div", { class: "cards" });
    root.append(this.head, this.list);
  }

  update(_, data) {
    const open = data.backends.filter((each) => each.circuit_state !== "closed").length;
    const line = open ? `${number(open)} of ${number(data.backends.length)} ${open === 1 ? "is" : "are"} not closed` : "All are closed";
    const shed = data.requests_shed ? `; ${number(data.requests_shed)} requests were shed` : "";
    patch(
      this.head,
      heading("Circuit breakers", `${line}${shed}.`),
      data.cascade && el("p", { class: "problem" }, "So many are open that load is shed."),
    );
    patch(
      this.list,
      data.backends.length
        ? data.backends.map((each) => this.card(each))
        : nothing("No backend has a circuit breaker."),
    );
  }

  card(circuit) {
    const tone = circuit.circuit_state === "closed" ? "" : toneOf(circuit.circuit_state);
    return el(
      "article",
      { class: `card ${tone}`, key: circuit.backend, "aria-label": circuit.backend },
      el(
        "header",
        {},
        el("h2", { class: "mono" }, circuit.backend),
        badge(words(circuit.circuit_state), toneOf(circuit.circuit_state)),
        circuit.held && badge(`held ${words(circuit.held)}`, "careful"),
      ),
      circuit.reason && el("p", { class: "state" }, circuit.reason),
      measures(circuit),
      el("details", {}, el("summary", {}, "Details"), details(circuit)),
      el(
        "div",
        { class: "buttons" },
        Object.entries(ORDERS).map(([verb, what]) =>
          order(this.ctx, what.verb, () => this.ask(circuit.backend, verb, what), { danger: what.danger }),
        ),
      ),
    );
  }

  async ask(backend, verb, { text, danger, done, verb: label }) {
    const given = await this.ctx.confirm({ title: `${label}: ${backend}`, text, verb: label, danger });
    if (given === null) return;
    const path = `/api/v1/circuit-breaker/${segment(backend)}/${verb}`;
    await carryOut(this.ctx, () => this.ctx.api("POST", path, given), `The circuit of ${backend} ${done}`);
  }
}

/** Figures against the limits beyond which it opens. */
function measures(circuit) {
  return el(
    "dl",
    { class: "measures" },
    measure("p95", circuit.latency_p95_ms, circuit.latency_limit_p95_ms, milliseconds),
    measure("p99", circuit.latency_p99_ms, circuit.latency_limit_p99_ms, milliseconds),
    measure("Connections", circuit.connection_saturation * 100, 100, percent),
    measure("Errors", circuit.error_rate * 100, 100, percent),
  );
}

function measure(name, value, limit, format) {
  const share = Math.min(1, (value ?? 0) / (limit || 1));
  const tone = share >= 1 ? "bad" : share > 0.75 ? "careful" : "tone-1";
  const told = format === percent ? format(value) : `${format(value)} of ${format(limit)}`;
  return el(
    "div",
    {},
    el("dt", {}, name),
    el("dd", {}, bar([{ share, tone }], `${name}: ${told}`), el("span", {}, told)),
  );
}

function details(circuit) {
  return facts([
    ["Requests/s", number(circuit.requests_per_second)],
    ["p50", milliseconds(circuit.latency_p50_ms)],
    ["Waiting", number(circuit.queue_depth)],
    ["Lag", circuit.lag_seconds === null ? null : seconds(circuit.lag_seconds)],
    [
      "In this state since",
      circuit.state_since &&
        el("time", { datetime: circuit.state_since, title: utc(circuit.state_since) }, clock(circuit.state_since)),
    ],
    ["Opened", `${number(circuit.trips)} times`],
    ["Failures", number(circuit.failures)],
    ["Last failure", circuit.last_failure_time && clock(circuit.last_failure_time)],
    ["Traffic that is back", percent(circuit.recovery_percent)],
    ["Mode", circuit.mode],
    [
      "Statements refused",
      circuit.open_patterns.length > 0 &&
        el(
          "ul",
          { class: "mono" },
          circuit.open_patterns.map((each) => el("li", {}, each)),
        ),
    ],
    ["Users kept apart", circuit.isolated_users.join(", ")],
  ]);
}

export default {
  topics: ["circuits"],
  mount(root, ctx) {
    const panel = new Circuits(root, ctx);
    return { update: (topic, data) => panel.update(topic, data), unmount() {} };
  },
};
