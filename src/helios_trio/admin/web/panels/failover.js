// Failovers and planned switchovers: the one under way, step by step, those that are over, and how to order one.

import { el, patch } from "../dom.js";
import { clock, count, number, percent, seconds, utc } from "../format.js";
import { episodesOf, isOver, isPartOfOne, StepClock } from "../failover_history.js";
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
  problemBox,
  section,
  select,
  stats,
  toneOf,
} from "../parts.js";
import { lagOf } from "../topology_map.js";

class Failover {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.steps = new StepClock();
    this.events = new Map();
    this.switchovers = [];
    this.regions = Object.fromEntries(["head", "now", "order", "past"].map((name) => [name, el("div", {})]));
    root.append(...Object.values(this.regions));
    this.buildOrder();
    this.loadPast();
  }

  update(topic, data) {
    if (topic === "failover") this.show(data);
    if (topic === "topology") this.offer(data);
    if (topic === "migrations") this.takeSwitchovers(data.migrations);
    if (topic === "events" && isPartOfOne(data)) {
      this.events.set(data.id, data);
      this.drawPast();
    }
  }

  // -- now -------------------------------------------------------------------------------------------------------

  show(status) {
    const steps = this.steps.take(status);
    const line = status.failover_active ? "One is under way." : "None is under way.";
    patch(this.regions.head, heading("Failover", line));
    patch(
      this.regions.now,
      section(
        status.failover_active ? "Now" : "The last one",
        status.kind ? this.picture(status, steps) : nothing("There has been none since the proxy started."),
      ),
      this.sinceStart(status),
    );
  }

  picture(status, steps) {
    const state = status.failover_active ? "running" : (status.outcome ?? "over");
    return el(
      "article",
      { class: "card" },
      el(
        "header",
        {},
        el(
          "h3",
          {},
          `${titleOf(status.kind)}: ${status.source_backend} → ${status.target_backend ?? "not chosen yet"}`,
        ),
        badge(state, status.failover_active ? "careful" : toneOf(state)),
      ),
      facts([
        ["Why", status.trigger_reason],
        ["Step", status.failover_active ? status.step : null],
        ["What went wrong", status.failure],
        [status.failover_active ? "For" : "Took", seconds(status.elapsed_seconds)],
        ["Writes were held", status.write_pause_seconds === null ? null : seconds(status.write_pause_seconds)],
        ["Sessions", `${number(status.sessions_migrated)} moved, ${number(status.sessions_remaining)} left`],
        ["Clients that lost their session", status.client_errors ? number(status.client_errors) : null],
        ["Waits for", listOf(status.waiting_for)],
        ["Warnings", listOf(status.warnings)],
        ["Errors", listOf(status.migration_errors)],
      ]),
      status.failover_active && progressOf(status),
      steps.length > 0 && gantt(steps),
    );
  }

  sinceStart(status) {
    const { committed, replayed, unknown } = status.outcomes;
    return section(
      "Since the proxy started",
      stats([
        ["Transactions done again elsewhere", number(status.transactions_replayed)],
        ["With another result", number(status.replay_mismatches)],
        [
          "COMMITs whose answer was lost",
          `${number(committed)} had happened, ${number(replayed)} were done again, ${number(unknown)} nobody can tell`,
        ],
      ]),
    );
  }

  // -- orders ----------------------------------------------------------------------------------------------------

  buildOrder() {
    if (this.ctx.role !== "operator") return patch(this.regions.order, lookOnly(this.ctx, "A planned switchover"));
    this.target = select("target", [], "", { onchange: () => this.explainTarget() });
    this.consequences = el("div", { class: "consequences", "aria-live": "polite" });
    this.manual = el("div", {});
    const button = el("button", { type: "button", class: "primary", onclick: () => this.start() }, "Switch over …");
    this.regions.order.append(
      section(
        "Planned switchover",
        el("div", { class: "row" }, field("New primary", this.target), button),
        this.consequences,
      ),
      this.manual,
    );
  }

  offer(topology) {
    this.topology = topology;
    if (this.target === undefined) return;
    const standbys = topology.nodes.filter((node) => node.name !== topology.primary && node.in_recovery !== false);
    const chosen = this.target.value || this.ctx.params.target || "";
    patch(
      this.target,
      standbys.map((node) =>
        el("option", { value: node.name, key: node.name, selected: node.name === chosen }, node.name),
      ),
    );
    this.explainTarget();
    patch(this.manual, topology.provider === "manual" && this.manualOrders(topology));
  }

  explainTarget() {
    const { nodes, primary } = this.topology;
    const target = nodes.find((node) => node.name === this.target.value);
    const source = nodes.find((node) => node.name === primary);
    patch(
      this.consequences,
      target && source
        ? consequencesOf(source, target)
        : nothing("There is no standby that could become the primary, or no primary."),
    );
  }

  async start() {
    const target = this.target.value;
    if (!target) return;
    const older = el(
      "label",
      { class: "check" },
      el("input", { type: "checkbox", name: "allow_older", value: "yes" }),
      "Also to an older major version of PostgreSQL",
    );
    const given = await this.ctx.confirm({
      title: `Make ${target} the primary`,
      text: "Writes are held until it is done; sessions stay connected. Before the promotion everything can be undone, and is, if something goes wrong; afterwards nothing can.",
      verb: "Switch over",
      danger: true,
      typed: target,
      fields: [older],
    });
    if (given === null) return;
    const body = { target, reason: given.reason, allow_older: given.allow_older === "yes" };
    await carryOut(
      this.ctx,
      () => this.ctx.api("POST", "/api/v1/failover/start", body),
      `The switchover to ${target} has begun`,
    );
  }

  /** Where an operator's word decides who is primary. */
  manualOrders(topology) {
    const say = (action, name, verb, text) =>
      order(this.ctx, `${verb} …`, () => this.say({ action, name }, verb, text), { danger: action !== "confirm" });
    const name = this.target.value;
    return section(
      "Who is primary, by your word",
      el(
        "p",
        { class: "line" },
        `Now: ${topology.primary ?? topology.pending_primary ?? "nobody"} (${topology.primary_status}).`,
      ),
      el(
        "div",
        { class: "buttons" },
        say("set", name, `Name ${name}`, `Nobody gets writes until ${name} is confirmed.`),
        topology.pending_primary &&
          say(
            "confirm",
            topology.pending_primary,
            `Confirm ${topology.pending_primary}`,
            "It gets the writes as soon as it answers as a primary.",
          ),
        say("clear", undefined, "Nobody is", "Nobody gets writes."),
      ),
    );
  }

  async say(body, verb, text) {
    const given = await this.ctx.confirm({ title: verb, text, verb, danger: true, typed: body.name });
    if (given === null) return;
    const done = (view) => `The primary is ${view.primary ?? "nobody"} (${view.status})`;
    await carryOut(this.ctx, () => this.ctx.api("POST", "/api/v1/failover/primary", { ...body, ...given }), done);
  }

  // -- the past --------------------------------------------------------------------------------------------------

  async loadPast() {
    try {
      const { events } = await this.ctx.api("GET", "/api/v1/events?limit=1000");
      events.filter(isPartOfOne).forEach((event) => this.events.set(event.id, event));
      this.drawPast();
    } catch (error) {
      patch(this.regions.past, problemBox(error));
    }
  }

  takeSwitchovers(migrations) {
    this.switchovers = migrations.filter((each) => each.data === "physical" && isOver(each.status));
    this.drawPast();
  }

  drawPast() {
    const found = episodesOf([...this.events.values()], this.switchovers);
    patch(
      this.regions.past,
      section("Before", found.length ? found.map(episode) : nothing("Nothing is known of earlier ones.")),
    );
  }
}

function titleOf(kind) {
  return kind === "switchover" ? "Planned switchover" : "Failover";
}

function listOf(texts) {
  return (
    texts.length > 0 &&
    el(
      "ul",
      {},
      texts.map((text) => el("li", {}, text)),
    )
  );
}

function progressOf(status) {
  const label = `${percent(Math.round(100 * status.migration_progress))} of the sessions are moved`;
  return el(
    "div",
    { class: "progress" },
    bar([{ share: status.migration_progress, tone: "tone-1" }], label),
    el("span", {}, label),
  );
}

/** Each step with its place in time. */
function gantt(steps) {
  const total = steps.reduce((all, each) => all + each.seconds, 0) || 1;
  let at = 0;
  const rows = steps.map(({ step, seconds: length, running }) => {
    const before = at;
    at += length;
    const parts = [
      { share: before / total, tone: "none" },
      { share: Math.max(length / total, 0.004), tone: running ? "careful" : "tone-1" },
    ];
    return el(
      "li",
      {},
      el("span", {}, step),
      bar(parts, `${step}: ${seconds(length)}`),
      el("b", {}, running ? `${seconds(length)} …` : seconds(length)),
    );
  });
  return el("ol", { class: "gantt" }, rows);
}

/** What a switchover to this server would mean, before it is ordered. */
function consequencesOf(source, target) {
  const warnings = [
    target.healthy !== true &&
      `${target.name} is not healthy: ${target.reason || "not known yet"}. The switchover will be refused.`,
    !target.sync_state && `${source.name} does not say that ${target.name} is connected to it.`,
    target.timeline !== null &&
      source.timeline !== null &&
      target.timeline !== source.timeline &&
      "They are on different timelines.",
  ].filter(Boolean);
  return [
    stats([
      ["From", source.name],
      ["Sessions that are moved", number(source.sessions)],
      [`${target.name} is behind`, lagOf(target)],
      ["Replication", target.sync_state],
    ]),
    warnings.map((text) => el("p", { class: "warning" }, text)),
  ];
}

function episode({ title, tone, at, steps, outcome }) {
  const rows = steps.map((each) =>
    el(
      "li",
      {},
      el("time", { datetime: each.at, title: utc(each.at) }, clock(each.at)),
      el("span", { class: "offset" }, `+${seconds((new Date(each.at) - new Date(at)) / 1000)}`),
      el("span", {}, each.text),
      el("span", { class: "muted wrap" }, each.reason),
    ),
  );
  return el(
    "details",
    { class: "episode", key: `${at} ${title}` },
    el(
      "summary",
      {},
      el("time", { datetime: at, title: utc(at) }, clock(at)),
      ` ${title} `,
      badge(outcome, tone),
      ` ${count(steps.length, "entry", "entries")}`,
    ),
    el("ol", { class: "timeline" }, rows),
  );
}

export default {
  topics: ["failover", "topology", "migrations", "events"],
  mount(root, ctx) {
    const panel = new Failover(root, ctx);
    return {
      update: (topic, data) => panel.update(topic, data),
      resumed: () => panel.loadPast(),
      unmount() {},
    };
  },
};
