// Pools: how many server connections each has, what they are doing, and who waits for one.

import { el, patch } from "../dom.js";
import { amounts, count, number, seconds } from "../format.js";
import { badge, bar, heading, nothing, table } from "../parts.js";

/** Parts of a bar in this order, with what the API calls them. */
const PARTS = [
  ["active", "tone-1"],
  ["busy", "tone-2"],
  ["connecting", "tone-3"],
  ["idle", "tone-quiet"],
];

class Pools {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.pools = null;
    this.order = { column: 5, down: true };
    this.rates = new Map();
    this.head = el("div", {});
    this.list = el("div", {});
    const search = el("input", {
      type: "search",
      "data-search": true,
      "aria-label": "Filter pools",
      placeholder: "Filter by backend, database, user",
      value: ctx.params.text,
      oninput: (event) => this.filter(event.target.value),
    });
    this.text = ctx.params.text ?? "";
    root.append(this.head, el("div", { class: "filters" }, search), this.list);
  }

  filter(text) {
    this.text = text.toLowerCase();
    this.draw();
  }

  update(_, data) {
    this.measure(data.pools);
    this.pools = data.pools;
    this.draw();
  }

  /** Queries per second since the picture before. */
  measure(pools) {
    const now = performance.now();
    const before = this.measured;
    this.measured = { at: now, queries: new Map(pools.map((pool) => [keyOf(pool), pool.queries])) };
    if (before === undefined) return;
    for (const pool of pools) {
      const earlier = before.queries.get(keyOf(pool));
      if (earlier !== undefined)
        this.rates.set(keyOf(pool), Math.max(0, (1000 * (pool.queries - earlier)) / (now - before.at)));
    }
  }

  draw() {
    if (this.pools === null) return;
    const shown = this.pools.filter((pool) => keyOf(pool).toLowerCase().includes(this.text));
    patch(this.head, heading("Pools", this.line()));
    patch(
      this.list,
      shown.length
        ? this.table(shown)
        : nothing(
            this.pools.length
              ? "No pool is like that."
              : "There are no pools yet: they come with the first client.",
          ),
    );
  }

  line() {
    const sum = (name) => this.pools.reduce((all, pool) => all + pool[name], 0);
    return [
      count(this.pools.length, "pool"),
      `${number(sum("active"))} connections in use`,
      `${number(sum("idle"))} idle`,
      `${count(sum("waiting"), "client")} waiting`,
    ].join(" · ");
  }

  table(pools) {
    const redraw = (order) => {
      this.order = order;
      this.draw();
    };
    return table(this.columns(), pools, { caption: "Pools", key: keyOf, order: this.order, onorder: redraw });
  }

  columns() {
    const text = (title, name) => ({
      title,
      class: "name",
      cell: (pool) => pool[name],
      sort: (pool) => pool[name],
    });
    const figure = (title, cell, sort) => ({ title, class: "figure", cell, sort });
    return [
      text("Backend", "backend"),
      text("Database", "database"),
      text("User", "user"),
      text("Mode", "mode"),
      { title: "Connections", cell: usage, sort: (pool) => used(pool) / pool.max },
      figure(
        "Waiting",
        (pool) => (pool.waiting ? badge(number(pool.waiting), "bad") : "0"),
        (pool) => pool.waiting,
      ),
      figure(
        "Waits",
        (pool) => number(pool.waits),
        (pool) => pool.waits,
      ),
      figure(
        "Each",
        (pool) => seconds(pool.waits ? pool.wait_seconds / pool.waits : null),
        (pool) => pool.wait_seconds / (pool.waits || 1),
      ),
      figure(
        "Timed out",
        (pool) => number(pool.wait_timeouts),
        (pool) => pool.wait_timeouts,
      ),
      figure(
        "Queries/s",
        (pool) => number(this.rates.get(keyOf(pool)) ?? null),
        (pool) => this.rates.get(keyOf(pool)) ?? 0,
      ),
      figure(
        "Errors",
        (pool) => number(pool.errors),
        (pool) => pool.errors,
      ),
      figure(
        "Opened",
        (pool) => number(pool.created),
        (pool) => pool.created,
      ),
      figure(
        "Closed",
        (pool) => el("span", { title: amounts(pool.closed_by_reason) }, number(pool.closed)),
        (pool) => pool.closed,
      ),
    ];
  }
}

function keyOf(pool) {
  return `${pool.backend} ${pool.database} ${pool.user}`;
}

function used(pool) {
  return pool.active + pool.busy + pool.connecting;
}

function usage(pool) {
  const words = PARTS.map(([name]) => `${pool[name]} ${name}`).join(", ");
  const parts = PARTS.map(([name, tone]) => ({ share: pool[name] / (pool.max || 1), tone }));
  return el(
    "span",
    { class: "usage" },
    bar(parts, `${words} of at most ${pool.max}`),
    el("span", {}, `${pool.active} + ${pool.idle} idle / ${pool.max}`),
  );
}

export default {
  topics: ["pools"],
  mount(root, ctx) {
    const panel = new Pools(root, ctx);
    return { update: (topic, data) => panel.update(topic, data), unmount() {} };
  },
};
