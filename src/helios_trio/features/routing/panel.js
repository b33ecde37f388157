// Which tenants go where: rules and geo rules, added and deleted while the proxy runs, and statements it has learned of.

import { segment, withQuery } from "../api.js";
import { el, patch } from "../dom.js";
import { clock, count, number, utc } from "../format.js";
import {
  carryOut,
  field,
  heading,
  lookOnly,
  nothing,
  order,
  ordersTitle,
  problemBox,
  section,
  select,
  table,
} from "../parts.js";

const RULES = "/api/v1/routing/rules";
const GEO = "/api/v1/routing/geo-rules";
const LEARNED = "/api/v1/routing/learned";

const text = (title, name, kind = "name") => ({ title, class: kind, cell: (row) => row[name] ?? "any" });
const WHEN = {
  title: "Added",
  cell: (rule) =>
    rule.at
      ? el("time", { datetime: rule.at, title: utc(rule.at) }, `${clock(rule.at)} by ${rule.who}`)
      : "in the file",
};
const WHY = { title: "Why", class: "wrap", cell: (rule) => rule.reason };
const RULE_COLUMNS = [
  text("Id", "id", "mono"),
  text("Tenants", "tenant_pattern", "mono"),
  text("Database", "database", "mono"),
  text("User", "user", "mono"),
  text("Backend", "backend"),
  text("Moves", "applies_to"),
  WHEN,
  WHY,
];
const GEO_COLUMNS = [
  text("Id", "id", "mono"),
  text("Tenants", "tenant_pattern", "mono"),
  text("Prefers", "preferred_backend"),
  text("Otherwise", "fallback_backend"),
  WHEN,
  WHY,
];
const LEARNED_COLUMNS = [
  text("Database", "database"),
  { title: "Statement", class: "mono wrap", cell: (row) => row.text },
  text("SQLSTATE", "sqlstate", "mono"),
  { title: "Used", class: "figure", cell: (row) => number(row.used) },
];

class Routing {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.regions = { rules: el("div", {}), geo: el("div", {}), learned: el("div", {}) };
    root.append(
      heading(
        "Routing rules",
        "The first rule that matches counts; those added here are asked before those of the file.",
      ),
      lookOnly(ctx, "Adding and deleting rules") ?? "",
      this.regions.rules,
      this.regions.geo,
      this.regions.learned,
    );
    this.load();
  }

  /** Rules change with events about them: whoever has given the order. */
  update(topic, event) {
    if (topic === "events" && /rule|learned/.test(event.kind)) this.load();
  }

  async load() {
    await Promise.all([
      this.fill("rules", RULES, (found) => this.rules("Rules", found, RULES, RULE_COLUMNS, () => this.addRule())),
      this.fill("geo", GEO, (found) => this.rules("Geo rules", found, GEO, GEO_COLUMNS, () => this.addGeoRule())),
      this.fill("learned", LEARNED, (found) => this.learned(found.statements)),
    ]);
  }

  async fill(region, path, view) {
    try {
      patch(this.regions[region], view(await this.ctx.api("GET", path)));
    } catch (error) {
      patch(this.regions[region], error.status === 404 ? null : problemBox(error));
    }
  }

  rules(title, { rules, kept }, path, columns, add) {
    const last = {
      title: ordersTitle(),
      class: "figure",
      cell: (rule) => rule.source === "api" && order(this.ctx, "Delete …", () => this.remove(path, rule)),
    };
    const shown = rules.length
      ? table([...columns, last], rules, { caption: title, key: (rule) => rule.id })
      : nothing("There are none.");
    return section(
      title,
      !kept &&
        el(
          "p",
          { class: "line" },
          "Those added here are gone when the proxy stops: it has no folder to keep them in.",
        ),
      shown,
      order(this.ctx, `Add ${title === "Rules" ? "a rule" : "a geo rule"} …`, add),
    );
  }

  learned(statements) {
    if (!statements.length) return null;
    const last = {
      title: ordersTitle(),
      class: "figure",
      cell: (row) => order(this.ctx, "Forget …", () => this.forget(row)),
    };
    return section(
      "Statements that a standby has refused",
      el("p", { class: "line" }, "They go to the primary since."),
      table([...LEARNED_COLUMNS, last], statements, {
        caption: "Learned statements",
        key: (row) => `${row.database} ${row.fingerprint}`,
      }),
    );
  }

  // -- orders ----------------------------------------------------------------------------------------------------

  backends(name, none) {
    const names = (this.ctx.latest("topology")?.nodes ?? []).map((node) => [node.name, node.name]);
    return select(name, none ? [["", none], ...names] : names, none ? "" : names[0]?.[0]);
  }

  addRule() {
    return this.add(RULES, "Add a rule", [
      pattern("tenant_pattern", "Tenants (* and ?)", "", "tenant_eu_*"),
      pattern("database", "Databases", "*"),
      pattern("user", "Users", "*"),
      field(
        "Backend",
        this.backends("backend"),
        "a standby takes their reads; a primary of its own takes all of each session",
      ),
    ]);
  }

  addGeoRule() {
    return this.add(GEO, "Add a geo rule", [
      pattern("tenant_pattern", "Tenants (* and ?)", "", "tenant_eu_*"),
      field("Prefers", this.backends("preferred_backend")),
      field("Otherwise", this.backends("fallback_backend", "any other")),
    ]);
  }

  async add(path, title, fields) {
    const given = await this.ctx.confirm({ title, verb: "Add it", fields: [...fields, this.moveField()] });
    if (given === null) return;
    const body = {
      ...given,
      fallback_backend: given.fallback_backend || undefined,
      apply_to_existing: given.apply_to_existing === "yes",
    };
    await carryOut(this.ctx, () => this.ctx.api("POST", path, body), told);
    await this.load();
  }

  async remove(path, rule) {
    const given = await this.ctx.confirm({
      title: `Delete rule ${rule.id}`,
      text: `Tenants ${rule.tenant_pattern} go where the other rules send them.`,
      verb: "Delete it",
      danger: true,
      fields: [this.moveField()],
    });
    if (given === null) return;
    const query = { reason: given.reason, apply_to_existing: given.apply_to_existing === "yes" };
    await carryOut(this.ctx, () => this.ctx.api("DELETE", withQuery(`${path}/${segment(rule.id)}`, query)), told);
    await this.load();
  }

  async forget(row) {
    const given = await this.ctx.confirm({
      title: "Forget what was learned",
      text: el("p", { class: "mono wrap" }, row.text),
      verb: "Forget it",
    });
    if (given === null) return;
    const path = withQuery(`${LEARNED}/${segment(row.fingerprint)}`, given);
    await carryOut(this.ctx, () => this.ctx.api("DELETE", path), "It goes where it is routed again");
    await this.load();
  }

  moveField() {
    if (!this.ctx.has("migrations")) return null;
    const box = el("input", { type: "checkbox", name: "apply_to_existing", value: "yes" });
    return el("label", { class: "check" }, box, "Move sessions that are connected already, too");
  }
}

function pattern(name, label, value, placeholder) {
  return field(
    label,
    el("input", {
      name,
      value,
      placeholder,
      required: true,
      autocomplete: "off",
      spellcheck: "false",
      class: "mono",
    }),
  );
}

/** What has become of a rule, and of sessions. */
function told(rule) {
  if (!rule.moves) return `Rule ${rule.id}: done`;
  const { moved, in_place: there, remaining, reasons } = rule.moves;
  const why = Object.entries(reasons)
    .slice(0, 3)
    .map(([id, reason]) => `${id}: ${reason}`)
    .join("; ");
  return `Rule ${rule.id}: ${count(moved, "session")} moved, ${there} were there, ${remaining} stay${why ? ` (${why})` : ""}`;
}

export default {
  topics: ["topology", "events"],
  mount(root, ctx) {
    const panel = new Routing(root, ctx);
    return { update: (topic, data) => panel.update(topic, data), resumed: () => panel.load(), unmount() {} };
  },
};
