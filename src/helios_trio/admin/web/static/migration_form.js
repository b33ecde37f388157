// The form that starts a migration: it says what will happen before anything is ordered.

import { segment } from "./api.js";
import { el, patch } from "./dom.js";
import { count, number, percent, seconds } from "./format.js";
import { badge, carryOut, facts, field, nothing, problemBox, section, select } from "./parts.js";
import { matchesAny, secondsOf } from "./migration_terms.js";
import { allSessions } from "./session_search.js";

const MODES = [
  ["gradual", "gradual: phase by phase"],
  ["manual", "manual: waits after each phase"],
  ["immediate", "immediate: all at once"],
];
const LEFTOVERS = [
  ["", "as configured"],
  ["wait", "wait for them"],
  ["leave", "leave them where they are"],
  ["terminate", "end them (57P01)"],
];
const DATA = [
  ["", "find it out"],
  ["shared", "same server"],
  ["physical", "streaming standby"],
];
/** Where the configuration has none. */
const USUAL_PHASES = [
  { percent: 10, seconds: 300 },
  { percent: 50, seconds: 600 },
  { percent: 100, seconds: 0 },
];
const PATIENCE = 400;
const REASONS_SHOWN = 5;

/** `{node, offer(topology), stop()}`; `close()` is called when it has been sent, or is not wanted any more. */
export function migrationForm(ctx, close) {
  const form = new MigrationForm(ctx, close);
  return { node: form.node, offer: (topology) => form.offer(topology), stop: () => clearTimeout(form.timer) };
}

class MigrationForm {
  constructor(ctx, close) {
    Object.assign(this, { ctx, close, topology: null, phases: USUAL_PHASES.map((each) => ({ ...each })) });
    this.source = select("source", [], "");
    this.target = select("target", [], "", { required: true });
    this.phaseList = el("div", { class: "phase-list" });
    this.preview = el("div", { class: "preview", "aria-live": "polite" });
    this.form = this.buildForm();
    this.node = section("Start a migration", el("div", { class: "split" }, this.form, this.preview));
    this.drawPhases();
    this.readConfiguration();
  }

  buildForm() {
    const cancel = () => {
      clearTimeout(this.timer);
      this.close();
    };
    return el(
      "form",
      { class: "grid-form", onsubmit: (event) => this.send(event), oninput: () => this.changed() },
      field("From", this.source),
      field("To", this.target),
      field("How", select("mode", MODES, "gradual")),
      this.phaseList,
      field(
        "Tenants",
        el("input", {
          name: "tenants",
          placeholder: "all, or patterns: eu_* us_?",
          autocomplete: "off",
          spellcheck: "false",
        }),
      ),
      field("Reason", el("input", { name: "reason", autocomplete: "off" }), "stands in the events"),
      el(
        "details",
        { class: "wide" },
        el("summary", {}, "More"),
        el(
          "div",
          { class: "grid-form" },
          field(
            "Shares of",
            select(
              "share_of",
              [
                ["sessions", "sessions"],
                ["tenants", "tenants, with all their sessions"],
              ],
              "sessions",
            ),
          ),
          field("Sessions that cannot be moved", select("leftovers", LEFTOVERS, "")),
          field("The target's data", select("data", DATA, "")),
          field("Begin at", el("input", { type: "datetime-local", name: "schedule" }), "now, if empty"),
          el(
            "label",
            { class: "check" },
            el("input", { type: "checkbox", name: "allow_older" }),
            "Also to an older major version",
          ),
        ),
      ),
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "submit", class: "primary" }, "Start …"),
        el("button", { type: "button", onclick: cancel }, "Cancel"),
      ),
    );
  }

  // -- choices ---------------------------------------------------------------------------------------------------

  offer(topology) {
    const first = this.topology === null;
    this.topology = topology;
    const names = topology.nodes.map((node) => node.name);
    const source = this.source.value || topology.primary || names[0];
    patch(
      this.source,
      names.map((name) => el("option", { value: name, key: name, selected: name === source }, name)),
    );
    patch(
      this.target,
      ["", ...names].map((name) => el("option", { value: name, key: name }, name || "choose …")),
    );
    if (first) this.look();
  }

  /** The phases of the configuration, which the proxy would take if the form had none. */
  async readConfiguration() {
    try {
      const { session_migration: settings } = await this.ctx.api("GET", "/api/v1/config");
      const found = (settings?.gradual_phases ?? []).map((each) => ({
        percent: each.traffic_percent,
        seconds: secondsOf(each.duration),
      }));
      if (found.length) this.phases = found;
      this.drawPhases();
      this.changed();
    } catch {
      // the usual ones stand there, and what is sent is what is shown
    }
  }

  drawPhases() {
    const gradual = this.form.elements.namedItem("mode").value !== "immediate";
    const rows = this.phases.map((phase, at) => this.phaseRow(phase, at));
    const add = el("button", { type: "button", class: "quiet", onclick: () => this.addPhase() }, "+ phase");
    this.phaseList.replaceChildren(...(gradual ? [el("fieldset", {}, el("legend", {}, "Phases"), rows, add)] : []));
  }

  phaseRow(phase, at) {
    const figure = (name, label, more) =>
      el(
        "label",
        {},
        el("span", { class: "hidden" }, `${label} of phase ${at + 1}`),
        el("input", {
          type: "number",
          min: "0",
          value: phase[name],
          class: "figure",
          oninput: (event) => (phase[name] = Number(event.target.value)),
          ...more,
        }),
      );
    const remove = () => {
      this.phases.splice(at, 1);
      this.drawPhases();
      this.changed();
    };
    return el(
      "div",
      { class: "phase" },
      figure("percent", "Percent", { max: "100", step: "any" }),
      "% for",
      figure("seconds", "Seconds", { step: "1" }),
      "s",
      this.phases.length > 1 &&
        el(
          "button",
          { type: "button", class: "quiet", "aria-label": `Remove phase ${at + 1}`, onclick: remove },
          "×",
        ),
    );
  }

  addPhase() {
    const last = this.phases.pop();
    this.phases.push(
      { percent: Math.round((last.percent + (this.phases.at(-1)?.percent ?? 0)) / 2), seconds: 300 },
      last,
    );
    this.drawPhases();
    this.changed();
  }

  changed() {
    if (this.form.elements.namedItem("mode").value === "immediate" || !this.phaseList.firstChild) this.drawPhases();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), PATIENCE);
  }

  values() {
    const given = Object.fromEntries(new FormData(this.form));
    return {
      ...given,
      tenants: given.tenants.split(/[\s,]+/).filter(Boolean),
      allow_older: given.allow_older === "on",
    };
  }

  body() {
    const given = this.values();
    const phases = this.phases.map((each) => ({ traffic_percent: each.percent, duration: `${each.seconds}s` }));
    return {
      source: given.source,
      target: given.target,
      mode: given.mode,
      phases: given.mode === "immediate" ? undefined : phases,
      tenant_filter: given.tenants.length ? given.tenants : undefined,
      share_of: given.share_of,
      leftovers: given.leftovers || undefined,
      data: given.data || undefined,
      schedule: given.schedule ? new Date(given.schedule).toISOString() : undefined,
      allow_older: given.allow_older,
      reason: given.reason,
    };
  }

  // -- what will happen ------------------------------------------------------------------------------------------

  /** Ask what there is now: how many sessions, which of them cannot be moved, and whether the target is fit. */
  async look() {
    const given = this.values();
    const asked = (this.asked = {});
    if (!given.target)
      return patch(
        this.preview,
        nothing("What will happen stands here as soon as you have chosen where sessions shall go."),
      );
    if (given.source === given.target)
      return patch(this.preview, el("p", { class: "warning" }, "Choose two different backends."));
    try {
      const [found, health] = await Promise.all([
        allSessions(this.ctx.api, { backend: given.source }),
        this.ctx.api("GET", `/api/v1/backends/${segment(given.target)}/health`),
      ]);
      if (asked === this.asked) this.show(given, found, health);
    } catch (error) {
      if (asked === this.asked) patch(this.preview, problemBox(error));
    }
    return undefined;
  }

  show(given, { sessions, total }, health) {
    const chosen = sessions.filter((each) => matchesAny(each.tenant, given.tenants));
    const stuck = chosen.filter((each) => each.immovable.length);
    const all = given.tenants.length ? chosen.length : total;
    this.told = `${count(all, "session")} of ${given.source}`;
    patch(
      this.preview,
      el("h3", {}, "What will happen"),
      el(
        "p",
        {},
        `${count(all, "session")} ${all === 1 ? "is" : "are"} on ${given.source} now${given.tenants.length ? " of these tenants" : ""}. `,
        "Their clients stay connected; each waits while its own state is carried over.",
      ),
      el(
        "ol",
        { class: "steps" },
        this.stepsFor(given, all).map((text) => el("li", {}, text)),
      ),
      facts([
        [
          given.target,
          [
            badge(health.status, health.status === "healthy" ? "good" : "bad"),
            health.reason ? ` ${health.reason}` : "",
          ],
        ],
        ["Cannot be moved now", stuck.length > 0 && reasonsOf(stuck)],
        ["In transactions", number(chosen.filter((each) => each.state === "idle in transaction").length)],
      ]),
      this.warnings(given, health).map((text) => el("p", { class: "warning" }, text)),
    );
  }

  stepsFor(given, all) {
    const isStandby = this.isStandby(given);
    const what = isStandby ? "the reads of" : "";
    const last = isStandby
      ? `Then writes are held, ${given.target} is promoted, and all sessions go there: a switchover, which cannot be taken back.`
      : `New sessions of ${given.source} go to ${given.target}; it can be rolled back.`;
    if (given.mode === "immediate") return [`All ${number(all)} are moved at once.`, last];
    const waits = given.mode === "manual";
    const lines = this.phases.map(({ percent: share, seconds: time }) => {
      const part = `${percent(share)}: ${[what, `about ${number(Math.round((all * share) / 100))}`].filter(Boolean).join(" ")}`;
      return share >= 100
        ? `${part}.`
        : `${part}, ${waits ? `at least ${seconds(time)}, and then until you resume it` : `for ${seconds(time)}`}.`;
    });
    return [...lines, last];
  }

  warnings(given, health) {
    const { phases } = this;
    const rising =
      phases.every((each, at) => at === 0 || each.percent > phases[at - 1].percent) &&
      phases.at(-1).percent === 100;
    return [
      given.mode !== "immediate" && !rising && "Phases must rise, and the last one must be 100 %.",
      this.hasOtherData(given) && `${given.target} has other data than ${given.source}: the proxy will refuse.`,
      !health.ready_for_migration && `${given.target} does not pass its checks: the proxy will refuse, or pause.`,
      given.leftovers === "terminate" &&
        "Sessions that cannot be moved in the end are ended: their clients get FATAL 57P01.",
    ].filter(Boolean);
  }

  isStandby(given) {
    const [source, target] = this.servers(given);
    return Boolean(target?.in_recovery && target.system_identifier === source?.system_identifier);
  }

  hasOtherData(given) {
    const [source, target] = this.servers(given).map((node) => node?.system_identifier ?? null);
    return source !== null && target !== null && source !== target;
  }

  servers(given) {
    return [given.source, given.target].map((name) => this.topology?.nodes.find((node) => node.name === name));
  }

  async send(event) {
    event.preventDefault();
    const body = this.body();
    const isStandby = this.isStandby(body);
    const given = await this.ctx.confirm({
      title: `Migrate ${body.source} → ${body.target}`,
      text: [this.told ?? "", this.preview.querySelector(".steps")?.cloneNode(true) ?? ""].filter(Boolean),
      verb: body.schedule ? "Schedule it" : "Start it",
      danger: isStandby,
      typed: isStandby ? body.target : undefined,
      reason: false,
    });
    if (given === null) return;
    const done = (status) => `Migration ${status.migration_id} is ${status.status}`;
    const told = await carryOut(this.ctx, () => this.ctx.api("POST", "/api/v1/migration/start", body), done);
    if (told) this.close();
  }
}

function reasonsOf(sessions) {
  const times = new Map();
  for (const reason of sessions.flatMap((each) => each.immovable)) times.set(reason, (times.get(reason) ?? 0) + 1);
  const most = [...times].sort((one, other) => other[1] - one[1]).slice(0, REASONS_SHOWN);
  return [
    number(sessions.length),
    el(
      "ul",
      {},
      most.map(([reason, each]) => el("li", {}, `${number(each)} × ${reason}`)),
    ),
  ];
}
