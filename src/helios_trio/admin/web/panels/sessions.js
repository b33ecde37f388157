// Who is connected: found, looked at, moved to another backend, or ended.

import { segment, withQuery } from "../api.js";
import { el, patch } from "../dom.js";
import { amounts, clock, count, milliseconds, number, seconds, utc, words } from "../format.js";
import {
  badge,
  bar,
  carryOut,
  facts,
  field,
  heading,
  nothing,
  order,
  problemBox,
  select,
  table,
} from "../parts.js";
import { search } from "../session_search.js";

const STATES = ["idle", "active", "idle in transaction", "waiting for a connection", "held", "moving"];
const TONES = {
  active: "good",
  "idle in transaction": "careful",
  "waiting for a connection": "bad",
  held: "careful",
  moving: "careful",
};
/** What is counted is who has a server connection; the states of the table are of another kind. */
const COUNTED = {
  active: "on a server connection",
  waiting: "waiting for one",
  idle: "without one",
  login: "logging in",
};
const FILTERS = ["text", "user", "database", "tenant", "backend", "state", "pinned"];
const PAGE = 100;
const REFRESH = 3000;
/** Colours of backends: none of them says that something is wrong. */
const TONES_OF_PLACES = ["tone-1", "tone-2", "tone-3", "tone-5"];
/** Typing is over when nothing has been typed for so long. */
const PATIENCE = 300;

class Sessions {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.opened = new Set();
    this.wanted = Object.fromEntries(FILTERS.map((name) => [name, ctx.params[name] ?? ""]));
    this.before = [];
    this.after = 0;
    this.regions = {
      head: el("div", {}),
      list: el("div", { "aria-live": "off" }),
      pages: el("div", { class: "pages" }),
    };
    this.form = this.buildForm();
    root.append(this.regions.head, this.form, this.regions.list, this.regions.pages);
    this.drawHead();
    this.timer = setInterval(() => document.hidden || this.load(), REFRESH);
    this.load();
  }

  update(topic, data) {
    if (topic === "sessions") this.counts = data;
    else this.offerBackends(data.nodes.map((node) => node.name));
    this.drawHead();
  }

  // -- what is asked for -----------------------------------------------------------------------------------------

  buildForm() {
    const text = (name, label, more = {}) =>
      field(
        label,
        el("input", { name, value: this.wanted[name], autocomplete: "off", spellcheck: "false", ...more }),
      );
    const any = (choices) => [["", "any"], ...choices.map((each) => [each, each])];
    this.backend = select("backend", any(this.wanted.backend ? [this.wanted.backend] : []), this.wanted.backend);
    return el(
      "form",
      {
        class: "filters",
        role: "search",
        onsubmit: (event) => event.preventDefault(),
        oninput: () => this.typed(),
      },
      text("text", "Search", { type: "search", "data-search": true, placeholder: "user, address, pin …" }),
      field("State", select("state", any(STATES), this.wanted.state)),
      field("Backend", this.backend),
      field(
        "Pins",
        select(
          "pinned",
          [
            ["", "any"],
            ["true", "pinned"],
            ["false", "free"],
          ],
          this.wanted.pinned,
        ),
      ),
      text("user", "User"),
      text("database", "Database"),
      text("tenant", "Tenant"),
    );
  }

  offerBackends(names) {
    const chosen = this.backend.value;
    const offered = [...new Set([...names, ...(chosen ? [chosen] : [])])];
    patch(
      this.backend,
      [["", "any"], ...offered.map((each) => [each, each])].map(([value, text]) =>
        el("option", { value, key: value, selected: value === chosen }, text),
      ),
    );
  }

  typed() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => {
      this.wanted = Object.fromEntries(new FormData(this.form));
      this.before = [];
      this.after = 0;
      this.load();
    }, PATIENCE);
  }

  async load() {
    const asked = (this.asked = {});
    const { text, ...filters } = this.wanted;
    try {
      const found = text
        ? await search(this.ctx.api, filters, text)
        : await this.ctx.api(
            "GET",
            withQuery("/api/v1/sessions", { ...filters, limit: PAGE, after: this.after || "" }),
          );
      if (asked !== this.asked) return; // something else has been asked for meanwhile
      this.found = found;
      this.draw();
    } catch (error) {
      const gone = error.status === 0 && this.found; // the last picture is better than none
      if (asked === this.asked && !gone) patch(this.regions.list, problemBox(error));
    }
  }

  // -- what is shown ---------------------------------------------------------------------------------------------

  drawHead() {
    const { counts } = this;
    const line =
      counts &&
      [
        count(counts.total, "session"),
        ...Object.entries(counts.by_state)
          .filter(([, times]) => times > 0)
          .map(([state, times]) => `${number(times)} ${COUNTED[state] ?? state}`),
      ].join(" · ");
    patch(this.regions.head, heading("Sessions", line), counts && this.shares(counts));
  }

  shares(counts) {
    const total = counts.total || 1;
    const places = Object.entries(counts.by_backend);
    const label = places.map(([name, times]) => `${name} ${number(times)}`).join(", ");
    const parts = places.map(([, times], at) => ({ share: times / total, tone: toneAt(at) }));
    const keys = places.map(([name, times], at) =>
      el(
        "li",
        {},
        el("span", { class: `swatch-box ${toneAt(at)}`, "aria-hidden": "true" }),
        name,
        el("b", {}, number(times)),
      ),
    );
    return el(
      "div",
      { class: "shares" },
      bar(parts, `Sessions by backend: ${label}`),
      el("ul", { class: "legend" }, keys),
    );
  }

  draw() {
    const { sessions, total } = this.found;
    const shown = sessions.length
      ? table(this.columns(), sessions, {
          caption: "Sessions",
          key: (row) => row.id,
          after: (row) => this.detail(row),
        })
      : nothing("No session is like that.");
    patch(this.regions.list, shown);
    patch(this.regions.pages, this.pages(sessions.length, total));
  }

  columns() {
    const toggle = (row) =>
      el(
        "button",
        {
          type: "button",
          class: "quiet mono",
          "aria-expanded": String(this.opened.has(row.id)),
          onclick: () => this.toggle(row.id),
        },
        `${this.opened.has(row.id) ? "▾" : "▸"} ${row.id}`,
      );
    return [
      { title: "Id", class: "figure", cell: toggle },
      { title: "State", cell: (row) => badge(row.state, TONES[row.state]) },
      { title: "User", class: "name", cell: (row) => row.user },
      { title: "Database", class: "name", cell: (row) => row.database },
      { title: "Application", class: "name", cell: (row) => row.application_name },
      { title: "Address", class: "mono", cell: (row) => row.address },
      { title: "Backend", class: "name", cell: (row) => placeOf(row) },
      { title: "Pins", cell: (row) => pinsOf(row) },
      { title: "Idle", class: "figure", cell: (row) => seconds(row.idle_seconds) },
    ];
  }

  toggle(id) {
    if (!this.opened.delete(id)) this.opened.add(id);
    this.draw();
  }

  detail(row) {
    if (!this.opened.has(row.id)) return null;
    const reasons = row.immovable.map((reason) => el("li", {}, reason));
    return el(
      "div",
      { class: "more" },
      facts([
        ["Tenant", row.tenant],
        ["Connected since", el("time", { datetime: row.since, title: utc(row.since) }, clock(row.since))],
        ["Pooling", row.mode],
        ["Server process", row.server_pid && el("span", { class: "mono" }, row.server_pid)],
        ["Belongs to", row.home && row.home !== row.backend ? row.home : null],
        ["Keeps its connection for", amounts(row.pins)],
        ["Would take along", amounts(row.sizes)],
        ["Cannot be moved now", reasons.length > 0 && el("ul", {}, reasons)],
      ]),
      el(
        "div",
        { class: "buttons" },
        this.ctx.has("migrations") && order(this.ctx, "Move …", () => this.move(row)),
        order(this.ctx, "End …", () => this.end(row), { danger: true }),
      ),
    );
  }

  pages(here, total) {
    if (this.found.searched !== undefined) {
      const all =
        this.found.searched < this.found.of
          ? `the first ${number(this.found.searched)} of ${number(this.found.of)}`
          : `all ${number(this.found.of)}`;
      return el(
        "p",
        { class: "line" },
        `${number(here)} of ${number(total)} found are shown; ${all} sessions were looked at.`,
      );
    }
    const back = el(
      "button",
      { type: "button", disabled: !this.before.length, onclick: () => this.page(this.before.pop(), false) },
      "Back",
    );
    const on = el(
      "button",
      { type: "button", disabled: this.found.next === null, onclick: () => this.page(this.found.next, true) },
      "Next",
    );
    return [el("p", { class: "line" }, `${number(here)} of ${number(total)}`), back, on];
  }

  page(after, forward) {
    if (forward) this.before.push(this.after);
    this.after = after;
    this.load();
  }

  // -- orders ----------------------------------------------------------------------------------------------------

  async move(row) {
    const names = placesFor(row, this.ctx.latest("topology")?.nodes ?? []);
    if (!names.length) {
      this.ctx.toast(
        `No other backend is a name for the same server as ${row.backend}. ` +
          "To a standby, sessions go by a migration or a switchover.",
        "bad",
      );
      return;
    }
    const given = await this.ctx.confirm({
      title: `Move session ${row.id}`,
      text: [
        `${who(row)}, now on ${row.backend}. Its client stays connected, and waits while its state is carried over.`,
        row.immovable.length ? `It cannot be moved now: ${row.immovable.join("; ")}.` : "",
      ].filter(Boolean),
      verb: "Move it",
      fields: [field("To", choice("target", names))],
    });
    if (given === null) return;
    const told = await carryOut(
      this.ctx,
      () => this.ctx.api("POST", `/api/v1/sessions/${row.id}/migrate`, given),
      outcomeOf,
      (move) => move.result === "moved",
    );
    if (told) this.load();
  }

  async end(row) {
    const given = await this.ctx.confirm({
      title: `End session ${row.id}`,
      text: `${who(row)}. Its client gets FATAL 57P01; what it has not committed is lost.`,
      verb: "End it",
      danger: true,
    });
    if (given === null) return;
    const path = withQuery(`/api/v1/sessions/${segment(row.id)}`, { reason: given.reason });
    const told = await carryOut(
      this.ctx,
      () => this.ctx.api("DELETE", path),
      (found) => (found.ended ? `Session ${row.id} was ended` : `Session ${row.id} had ended already`),
    );
    if (told) this.load();
  }

  unmount() {
    clearInterval(this.timer);
    clearTimeout(this.typing);
    this.asked = null;
  }
}

/** A single session goes where its data are: to another name of the same server. */
function placesFor(row, nodes) {
  const here = nodes.find((node) => node.name === row.backend);
  const same = (node, name) => node[name] === null || here?.[name] === null || node[name] === here?.[name];
  return nodes
    .filter((node) => node !== here && same(node, "system_identifier") && same(node, "in_recovery"))
    .map((node) => node.name);
}

function choice(name, values) {
  const choices = values.map((value) => [value, value]);
  return select(name, choices, values[0]);
}

function toneAt(at) {
  return TONES_OF_PLACES[at % TONES_OF_PLACES.length];
}

function placeOf(row) {
  const away = row.home && row.home !== row.backend;
  return away ? el("span", { title: `belongs to ${row.home}` }, `${row.backend} `, badge("moved")) : row.backend;
}

function pinsOf(row) {
  const pins = amounts(row.pins);
  return [pins, row.immovable.length > 0 && badge("immovable", "careful")]
    .filter(Boolean)
    .flatMap((each) => [each, " "]);
}

function who(row) {
  return `${row.user} in ${row.database}${row.application_name ? ` (${row.application_name})` : ""}, from ${row.address}`;
}

function outcomeOf(move) {
  const carried = amounts(move.carried);
  const moved = `it waited ${milliseconds(move.pause_ms)}${carried ? `, with ${carried}` : ""}`;
  return `Session ${move.id}: ${words(move.result)}; ${move.result === "moved" ? moved : move.reasons.join("; ")}`;
}

export default {
  topics: ["sessions", "topology"],
  mount(root, ctx) {
    const panel = new Sessions(root, ctx);
    return {
      update: (topic, data) => panel.update(topic, data),
      resumed: () => panel.load(),
      unmount: () => panel.unmount(),
    };
  },
};
