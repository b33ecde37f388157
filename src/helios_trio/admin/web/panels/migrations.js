// Migrations: what runs, phase by phase, what has run, and the words an operator can say to one.

import { el, patch } from "../dom.js";
import { isOver } from "../failover_history.js";
import { amounts, clock, count, milliseconds, number, percent, seconds, utc, words } from "../format.js";
import { migrationForm } from "../migration_form.js";
import {
  badge,
  bar,
  carryOut,
  facts,
  field,
  heading,
  lookOnly,
  nothing,
  order,
  section,
  select,
  toneOf,
} from "../parts.js";

/** What can be said in which state, as the proxy has it. */
const TURNS = {
  pause: {
    states: ["scheduled", "running", "completing"],
    verb: "Pause",
    text: "No more sessions are moved; those that were moved stay.",
  },
  resume: {
    states: ["paused"],
    verb: "Resume",
    text: "It goes on with its phase, or with the next one in manual mode.",
  },
  complete: {
    states: ["running", "paused", "completing", "rolling_back"],
    verb: "Complete",
    text: "All sessions that are left are moved, without further phases.",
  },
  rollback: {
    states: ["scheduled", "running", "paused", "completing", "completed"],
    verb: "Roll back",
    danger: true,
    text: "Those that were moved are moved back, and new sessions go to the source again.",
  },
};
const LEFTOVERS = [
  ["", "as was ordered"],
  ["wait", "wait for them"],
  ["leave", "leave them where they are"],
  ["terminate", "end them (57P01)"],
];
const LISTED = 50;

class Migrations {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.regions = { head: el("div", {}), form: el("div", {}), now: el("div", {}), past: el("div", {}) };
    root.append(...Object.values(this.regions));
    if (ctx.params.start !== undefined) this.openForm();
    this.drawHead();
  }

  drawHead() {
    const button =
      this.ctx.role === "operator" &&
      !this.form &&
      el("button", { type: "button", class: "primary", onclick: () => this.openForm() }, "Start a migration …");
    patch(
      this.regions.head,
      heading(
        "Migrations",
        "Sessions move from one backend to another while their clients stay connected.",
        button,
      ),
      lookOnly(this.ctx, "Starting and stopping migrations"),
    );
  }

  openForm() {
    const close = () => {
      this.form = null;
      this.regions.form.replaceChildren();
      this.drawHead();
    };
    this.form = migrationForm(this.ctx, close);
    this.regions.form.replaceChildren(this.form.node);
    if (this.topology) this.form.offer(this.topology);
    this.drawHead();
  }

  update(topic, data) {
    if (topic === "topology") {
      this.topology = data;
      this.form?.offer(data);
      return;
    }
    const under = data.migrations.filter((each) => !isOver(each.status));
    const over = data.migrations.filter((each) => isOver(each.status));
    patch(
      this.regions.now,
      section(
        "Under way",
        under.length ? under.map((each) => this.card(each)) : nothing("No migration is under way."),
      ),
    );
    patch(
      this.regions.past,
      over.length > 0 &&
        section(
          "Over",
          over.slice(0, LISTED).map((each) => this.past(each)),
        ),
    );
  }

  card(migration) {
    return el(
      "article",
      { class: "card migration", key: migration.migration_id, "aria-label": `Migration ${migration.migration_id}` },
      el("header", {}, el("h3", {}, titleOf(migration)), badge(words(migration.status), toneOf(migration.status))),
      migration.status_reason && el("p", { class: "state" }, migration.status_reason),
      phaseTrack(migration),
      sessionsBar(migration),
      this.body(migration),
      this.orders(migration),
    );
  }

  past(migration) {
    return el(
      "details",
      { class: "episode", key: migration.migration_id },
      el(
        "summary",
        {},
        el("time", { datetime: migration.history[0].at }, clock(migration.history[0].at)),
        ` ${titleOf(migration)} `,
        badge(words(migration.status), toneOf(migration.status)),
        ` ${count(migration.sessions_migrated, "session")} moved`,
      ),
      this.body(migration),
      this.orders(migration),
    );
  }

  body(migration) {
    return el(
      "div",
      { class: "columns" },
      summary(migration),
      el("div", { class: "stack" }, comparison(migration), staying(migration), history(migration)),
    );
  }

  orders(migration) {
    const possible = Object.entries(TURNS).filter(
      ([turn, { states }]) =>
        states.includes(migration.status) && (turn !== "rollback" || migration.rollback_available),
    );
    const buttons = possible.map(([turn, what]) =>
      order(this.ctx, `${what.verb} …`, () => this.say(migration, turn, what), { danger: what.danger }),
    );
    return buttons.length > 0 && el("div", { class: "buttons" }, buttons);
  }

  async say(migration, turn, { verb, text, danger }) {
    const fields =
      turn === "complete" ? [field("Sessions that cannot be moved", select("leftovers", LEFTOVERS, ""))] : [];
    const given = await this.ctx.confirm({ title: `${verb}: ${titleOf(migration)}`, text, verb, danger, fields });
    if (given === null) return;
    const body = { ...given, leftovers: given.leftovers || undefined };
    await carryOut(
      this.ctx,
      () => this.ctx.api("POST", `/api/v1/migration/${migration.migration_id}/${turn}`, body),
      (status) => `Migration ${status.migration_id} is ${words(status.status)}`,
    );
  }
}

function titleOf(migration) {
  return `${migration.migration_id}: ${migration.source} → ${migration.target}`;
}

/** One mark for each phase; how long the current one lasts is told in words. */
function phaseTrack(migration) {
  const {
    number: current,
    of,
    traffic_percent: share,
    duration_seconds: length,
    remaining_seconds: left,
  } = migration.current_phase;
  const marks = Array.from({ length: of }, (_, at) =>
    el(
      "li",
      {
        class: at + 1 < current ? "done" : at + 1 === current ? "current" : "",
        "aria-current": at + 1 === current ? "step" : null,
      },
      `Phase ${at + 1}`,
    ),
  );
  const told = `Phase ${current} of ${of}: ${percent(share)} of the sessions belong to ${migration.target}`;
  const time = left > 0 ? `, for ${seconds(left)} more` : length > 0 ? `, for ${seconds(length)}` : "";
  const parts = length > 0 ? [{ share: 1 - left / length, tone: "tone-1" }] : [];
  return el(
    "div",
    { class: "phases" },
    el("ol", { class: "track" }, marks),
    el("p", { class: "line" }, `${told}${time}.`),
    parts.length > 0 && bar(parts, `${percent(Math.round(100 * (1 - left / length)))} of this phase is over`),
  );
}

function sessionsBar(migration) {
  const groups = [
    ["moved", migration.sessions_migrated, "good"],
    ["moving", migration.sessions_moving.length, "careful"],
    ["left", Math.max(0, migration.sessions_remaining - migration.sessions_moving.length), "tone-quiet"],
  ];
  const total = groups.reduce((all, [, times]) => all + times, 0) || 1;
  const label = groups.map(([name, times]) => `${number(times)} ${name}`).join(", ");
  return el(
    "div",
    { class: "progress" },
    bar(
      groups.map(([, times, tone]) => ({ share: times / total, tone })),
      `Sessions: ${label}`,
    ),
    el("span", {}, label),
  );
}

function summary(migration) {
  const share = Object.entries(migration.traffic_allocation)
    .map(([name, part]) => `${name} ${percent(part)}`)
    .join(", ");
  const writes = Object.entries(migration.write_allocation)
    .map(([name, part]) => `${name} ${percent(part)}`)
    .join(", ");
  return facts([
    ["Sessions belong to", share],
    ["Writes go to", writes === share ? null : writes],
    ["Mode", `${migration.mode}, shares of ${migration.share_of}`],
    ["Data", migration.data],
    ["Tenants", migration.tenant_filter.join(", ")],
    ["Left-overs", migration.leftovers],
    ["Begins", migration.scheduled_for && clock(migration.scheduled_for)],
    ["Should be done", migration.estimated_completion && clock(migration.estimated_completion)],
    ["Each took", migration.sessions_migrated ? seconds(migration.mean_seconds) : null],
    ["Longest pause of a client", migration.sessions_migrated ? seconds(migration.longest_pause_seconds) : null],
    ["Carried", amounts(migration.carried)],
    [
      "Errors",
      migration.error_count
        ? `${number(migration.error_count)}, of which clients noticed ${number(migration.client_errors)}`
        : null,
    ],
    ["Ordered by", migration.ordered_by],
    ["Why", migration.reason],
  ]);
}

/** How the two servers do, side by side. */
function comparison(migration) {
  const found = migration.performance_comparison;
  if (found === null) return null;
  const side = (name, { queries, p99_ms: p99, error_rate: errors }) =>
    el(
      "tr",
      { key: name },
      el("th", { scope: "row" }, name),
      el("td", { class: "figure" }, number(queries)),
      el("td", { class: "figure" }, milliseconds(p99)),
      el("td", { class: "figure" }, percent(errors === null ? null : 100 * errors)),
    );
  const titles = ["Backend", "Queries", "p99", "Errors"].map((title) => el("th", { scope: "col" }, title));
  return el(
    "table",
    { class: "small" },
    el("caption", {}, "Performance"),
    el("thead", {}, el("tr", {}, titles)),
    el("tbody", {}, side(migration.source, found.source), side(migration.target, found.target)),
  );
}

function staying(migration) {
  const groups = [
    ["Cannot be moved", migration.sessions_pinned],
    ["In transactions", migration.sessions_busy],
    ["Failed", migration.sessions_failed],
  ];
  return groups
    .filter(([, sessions]) => sessions.length)
    .map(([title, sessions]) =>
      el(
        "details",
        { class: "staying" },
        el("summary", {}, `${title}: ${number(sessions.length)}`),
        el(
          "ul",
          {},
          sessions
            .slice(0, LISTED)
            .map(({ id, reason, attempts }) =>
              el("li", { key: id }, el("b", { class: "mono" }, id), ` ${reason} (${count(attempts, "attempt")})`),
            ),
        ),
      ),
    );
}

function history(migration) {
  const rows = migration.history.map(({ at, state, who, reason }) =>
    el(
      "li",
      {},
      el("time", { datetime: at, title: utc(at) }, clock(at)),
      el("span", {}, words(state)),
      el("span", { class: "muted wrap" }, [who, reason].filter(Boolean).join(": ")),
    ),
  );
  return el("details", {}, el("summary", {}, "History"), el("ol", { class: "timeline" }, rows));
}

export default {
  topics: ["migrations", "topology"],
  mount(root, ctx) {
    const panel = new Migrations(root, ctx);
    return { update: (topic, data) => panel.update(topic, data), unmount: () => panel.form?.stop() };
  },
};
