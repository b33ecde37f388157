// One statement through the proxy's own routing, with the route that it took.

import { el, patch } from "../dom.js";
import { milliseconds, number } from "../format.js";
import { field, heading, lookOnly, section, table } from "../parts.js";

const ROUTES = ["primary", "standby", "replica", "nearest"];
/** Statements of this page; they are kept nowhere else. */
const REMEMBERED = 20;
/** Types whose values stand better at the right. */
const NUMBERS = /^(int|float|numeric|double|real|bigint|smallint|oid|money)/;

class Sql {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.past = [];
    this.result = el("div", { "aria-live": "polite" });
    this.list = el("div", {});
    root.append(heading("SQL", "Runs as the database user of your key, through the routing that clients get."));
    if (ctx.role !== "operator") root.append(lookOnly(ctx, "Running statements"));
    else root.append(this.buildForm(), this.result, this.list);
  }

  buildForm() {
    this.text = el("textarea", {
      name: "sql",
      rows: "6",
      required: true,
      spellcheck: "false",
      autocomplete: "off",
      "data-search": true,
    });
    this.servers = el(
      "datalist",
      { id: "routes" },
      ROUTES.map((value) => el("option", { value })),
    );
    this.button = el("button", { type: "submit", class: "primary" }, "Run");
    return (this.form = el(
      "form",
      { class: "sql", onsubmit: (event) => this.run(event), onkeydown: (event) => this.onKey(event) },
      field("Statement", this.text),
      el(
        "div",
        { class: "row" },
        field(
          "Database",
          el("input", {
            name: "database",
            placeholder: "as in [control]",
            autocomplete: "off",
            spellcheck: "false",
          }),
        ),
        field(
          "Route",
          el("input", { name: "route", list: "routes", placeholder: "as it is routed", autocomplete: "off" }),
        ),
        this.button,
        el("small", { class: "muted" }, "Ctrl Enter"),
      ),
      this.servers,
    ));
  }

  update(_, topology) {
    if (this.servers === undefined) return;
    const names = [...ROUTES, ...topology.nodes.map((node) => node.name)];
    patch(
      this.servers,
      names.map((value) => el("option", { value })),
    );
  }

  onKey(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  async run(event) {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(this.form)].filter(([, value]) => value !== ""));
    this.button.disabled = true;
    patch(this.result, el("p", { class: "line" }, "Running …"));
    try {
      const answer = await this.ctx.api("POST", "/api/v1/sql", given);
      this.show(answer);
      this.remember(
        given,
        `${answer.tag} · ${answer.routed_to || "no server"} · ${milliseconds(answer.duration_ms)}`,
      );
    } catch (error) {
      patch(this.result, problemOf(error));
      this.remember(given, error.code || "refused");
    }
    this.button.disabled = false;
  }

  show(answer) {
    const { columns, rows } = answer;
    const cells = columns.map(({ name, type }, at) => ({
      title: [name, el("small", {}, ` ${type}`)],
      class: NUMBERS.test(type) ? "figure" : "value",
      cell: ({ values }) => (values[at] === null ? el("span", { class: "null" }, "null") : values[at]),
    }));
    const told = columns.length
      ? table(
          cells,
          rows.map((values, at) => ({ values, at })),
          { caption: "Rows", key: ({ at }) => at },
        )
      : null;
    const notices = answer.notices.map((text) => el("p", { class: "warning" }, text));
    this.result.replaceChildren(routeOf(answer), ...notices, ...(told ? [told] : []));
  }

  remember(given, outcome) {
    this.past = [{ given, outcome }, ...this.past.filter((each) => each.given.sql !== given.sql)].slice(
      0,
      REMEMBERED,
    );
    const items = this.past.map((each) =>
      el(
        "li",
        {},
        el(
          "button",
          { type: "button", class: "quiet mono", onclick: () => this.recall(each.given) },
          each.given.sql,
        ),
        el("small", { class: "muted" }, each.outcome),
      ),
    );
    patch(this.list, section("Statements of this page", el("ul", { class: "past" }, items)));
  }

  recall(given) {
    for (const name of ["sql", "database", "route"]) this.form.elements.namedItem(name).value = given[name] ?? "";
    this.text.focus();
  }
}

function routeOf(answer) {
  const rows = answer.columns.length
    ? `${number(answer.rows.length)} rows${answer.truncated ? " (cut off: there are more)" : ""}`
    : "";
  const parts = [answer.tag, rows, milliseconds(answer.duration_ms)].filter(Boolean).join(" · ");
  return el(
    "p",
    { class: "route" },
    "ran on ",
    el("b", { class: "mono" }, answer.routed_to || "no server"),
    ` · ${parts}`,
  );
}

function problemOf(error) {
  const code = /^[0-9A-Z]{5}$/.test(error.code) ? `SQLSTATE ${error.code}` : "";
  return el(
    "div",
    { class: "problem", role: "alert" },
    el("p", {}, error.message),
    code && el("p", { class: "mono" }, code),
  );
}

export default {
  topics: ["topology"],
  mount(root, ctx) {
    const panel = new Sql(root, ctx);
    return { update: (topic, data) => panel.update(topic, data), unmount() {} };
  },
};
