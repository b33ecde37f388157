// What happened, newest first, and what happens now.

import { withQuery } from "../api.js";
import { el, patch } from "../dom.js";
import { clock, number, utc } from "../format.js";
import { heading, nothing, problemBox, select, table } from "../parts.js";

const PAGE = 200;
/** So many are kept in the page; the proxy keeps 1,000. */
const KEPT = 1000;

/** Which kinds belong together, by words in them; the first that fits. */
const GROUPS = [
  ["failover", "Failover", /failover|primary|fenced/],
  ["migration", "Migrations", /migration/],
  ["circuit", "Circuits", /circuit|shed|pattern|isolated/],
  ["server", "Servers", /server|backend/],
  ["session", "Sessions", /session/],
  ["other", "Everything else", /./],
];
const BAD = /unhealthy|failed|lost|is gone|difficult|opened|held open|terminated|left$|needs somebody|interrupted/;
const GOOD = /is healthy|completed|recovered|circuit closed/;

class Events {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.events = new Map();
    this.wanted = { text: ctx.params.text ?? "", group: ctx.params.group ?? "" };
    this.stopped = null;
    this.regions = { head: el("div", {}), list: el("div", {}), foot: el("div", { class: "pages" }) };
    root.append(this.regions.head, this.buildForm(), this.regions.list, this.regions.foot);
    this.drawHead();
    this.load();
  }

  buildForm() {
    const choose = (name) => (event) => {
      this.wanted[name] = event.target.value;
      this.draw();
    };
    const groups = [["", "all kinds"], ...GROUPS.map(([name, title]) => [name, title])];
    return el(
      "div",
      { class: "filters", role: "search" },
      el("input", {
        type: "search",
        "data-search": true,
        "aria-label": "Filter events",
        placeholder: "Filter: kind, subject, who, reason",
        value: this.wanted.text,
        oninput: choose("text"),
      }),
      select("group", groups, this.wanted.group, { "aria-label": "Kinds", onchange: choose("group") }),
    );
  }

  async load(before = null) {
    try {
      const found = await this.ctx.api("GET", withQuery("/api/v1/events", { limit: PAGE, before }));
      found.events.forEach((event) => this.events.set(event.id, event));
      if (before !== null || this.older === undefined) this.older = found.next;
      this.draw();
    } catch (error) {
      patch(this.regions.foot, problemBox(error));
    }
  }

  update(_, event) {
    this.events.set(event.id, event);
    if (this.events.size > KEPT) this.events.delete(Math.min(...this.events.keys()));
    if (this.stopped === null) this.draw();
    else this.drawHead();
  }

  drawHead() {
    const waiting = this.stopped === null ? 0 : [...this.events.keys()].filter((id) => id > this.stopped).length;
    const label = this.stopped === null ? "Hold still" : `Go on${waiting ? ` (${number(waiting)} new)` : ""}`;
    const button = el(
      "button",
      { type: "button", "aria-pressed": String(this.stopped !== null), onclick: () => this.hold() },
      label,
    );
    patch(
      this.regions.head,
      heading("Events", "What operators ordered, and what happened by itself. The log has them all.", button),
    );
  }

  /** New ones wait, so that one can read. */
  hold() {
    this.stopped = this.stopped === null ? Math.max(0, ...this.events.keys()) : null;
    this.draw();
  }

  draw() {
    this.drawHead();
    const newest = this.stopped ?? Infinity;
    const shown = [...this.events.values()]
      .filter((event) => event.id <= newest && this.wants(event))
      .sort((one, other) => other.id - one.id);
    const options = {
      caption: "Events, newest first",
      key: (event) => event.id,
      rowClass: (event) => toneOf(event),
    };
    patch(
      this.regions.list,
      shown.length ? table(COLUMNS, shown, options) : nothing("Nothing like that has happened."),
    );
    const more = this.older !== null && this.older !== undefined;
    patch(
      this.regions.foot,
      more && el("button", { type: "button", onclick: () => this.load(this.older) }, "Older ones"),
    );
  }

  wants(event) {
    const text = [event.kind, event.subject, event.who, event.reason].join("\n").toLowerCase();
    const group = this.wanted.group;
    return text.includes(this.wanted.text.toLowerCase()) && (!group || groupOf(event) === group);
  }
}

const COLUMNS = [
  {
    title: "When",
    class: "mono when",
    cell: (event) => el("time", { datetime: event.at, title: utc(event.at) }, clock(event.at)),
  },
  { title: "What", class: "what", cell: (event) => event.kind },
  { title: "Subject", class: "wrap subject", cell: (event) => event.subject },
  { title: "Who", class: "name", cell: (event) => event.who },
  { title: "Why", class: "wrap", cell: (event) => event.reason },
  { title: "Id", class: "figure muted", cell: (event) => event.id },
];

function groupOf(event) {
  return GROUPS.find(([, , words]) => words.test(event.kind))[0];
}

function toneOf(event) {
  if (BAD.test(event.kind)) return "bad";
  return GOOD.test(event.kind) ? "good" : null;
}

export default {
  topics: ["events"],
  mount(root, ctx) {
    const panel = new Events(root, ctx);
    return {
      update: (topic, data) => panel.update(topic, data),
      resumed: () => panel.load(),
      unmount() {},
    };
  },
};
