// What several panels are made of: headings, badges, bars, tables, and the way an order is given.

import { el, svg } from "./dom.js";

const GOOD = new Set(["closed", "completed", "healthy", "running", "primary", "confirmed", "recovered", "moved"]);
const BAD = new Set(["open", "failed", "unhealthy", "lost", "in doubt", "interrupted"]);
const CAREFUL = new Set([
  "half_open",
  "paused",
  "pending",
  "rolling_back",
  "rolled_back",
  "rolled back",
  "scheduled",
]);

/** "good", "bad", "careful" or "plain". */
export function toneOf(state) {
  if (GOOD.has(state)) return "good";
  if (BAD.has(state)) return "bad";
  return CAREFUL.has(state) ? "careful" : "plain";
}

/** A state in a word; the colour only repeats what the word says. */
export function badge(text, tone = "plain") {
  return el("span", { class: `badge ${tone}` }, text);
}

/** The head of a panel: its title, a line about it, and what can be done. */
export function heading(title, line, ...tools) {
  const shown = tools.flat().filter(Boolean);
  return el(
    "div",
    { class: "heading" },
    el("div", {}, el("h1", {}, title), line && el("p", { class: "line" }, line)),
    shown.length > 0 && el("div", { class: "tools" }, shown),
  );
}

/** A part of a panel with a heading of its own. */
export function section(title, ...content) {
  return el("section", { class: "section", "aria-label": title }, el("h2", {}, title), content);
}

/** What stands where there is nothing to show. */
export function nothing(text) {
  return el("p", { class: "nothing" }, text);
}

export function problemBox(error) {
  return el("div", { class: "problem", role: "alert" }, el("p", {}, error.message));
}

/** Terms and what they are; those without a value are left out. */
export function facts(pairs) {
  return definitions("facts", pairs);
}

/** A few figures beside each other, each below its name. */
export function stats(pairs) {
  return definitions("stats", pairs);
}

function definitions(kind, pairs) {
  const told = pairs.filter(
    ([, value]) => value !== null && value !== undefined && value !== "" && value !== false,
  );
  return el(
    "dl",
    { class: kind },
    told.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))),
  );
}

/** A bar of parts `{share (0 to 1), tone}`; `label` says the same in words. */
export function bar(parts, label) {
  let at = 0;
  const rects = parts.map(({ share, tone }) => {
    const x = at;
    at += share;
    return svg("rect", {
      class: tone,
      x: `${100 * x}%`,
      y: "0",
      width: `${100 * Math.max(0, share)}%`,
      height: "100%",
    });
  });
  return svg("svg", { class: "bar", role: "img", "aria-label": label }, svg("title", {}, label), rects);
}

/**
 * A table. A column is `{title, cell(row) -> content, class, sort(row)}`; `options`: `caption`, `key(row)`,
 * `order` ({column, down}), `onorder(order)`, `after(row)` (a row below it, or null), `rowClass(row)`.
 */
export function table(columns, rows, options) {
  const { caption, key, after = () => null, rowClass = () => null } = options;
  const body = sorted(columns, rows, options.order).flatMap((row) => [
    el(
      "tr",
      { key: key(row), class: rowClass(row) },
      columns.map((column) => cellOf(column, row)),
    ),
    detailOf(after(row), columns.length, key(row)),
  ]);
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": `${caption}: table` },
    el(
      "table",
      {},
      el("caption", { class: "hidden" }, caption),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          columns.map((column, at) => headOf(column, at, options)),
        ),
      ),
      el("tbody", {}, body),
    ),
  );
}

function cellOf(column, row) {
  const content = column.cell(row);
  const mayBeCut = column.class === "name" && typeof content === "string";
  return el("td", { class: column.class, title: mayBeCut ? content : null }, content);
}

function detailOf(content, width, key) {
  return content && el("tr", { class: "detail", key: `detail of ${key}` }, el("td", { colspan: width }, content));
}

function headOf(column, at, { order, onorder }) {
  if (!column.sort || !onorder) return el("th", { scope: "col", class: column.class }, column.title);
  const chosen = order?.column === at;
  const down = chosen && order.down;
  return el(
    "th",
    { scope: "col", class: column.class, "aria-sort": chosen ? (down ? "descending" : "ascending") : null },
    el(
      "button",
      { type: "button", class: "sort", onclick: () => onorder({ column: at, down: !chosen || !down }) },
      column.title,
      el("span", { class: "direction", "aria-hidden": "true" }, chosen ? (down ? "▾" : "▴") : ""),
    ),
  );
}

function sorted(columns, rows, order) {
  const by = order && columns[order.column]?.sort;
  if (!by) return rows;
  const sign = order.down ? -1 : 1;
  return [...rows].sort((one, other) => sign * compare(by(one), by(other)));
}

function compare(one, other) {
  if (typeof one === "string" || typeof other === "string") return String(one).localeCompare(String(other));
  return (one ?? -Infinity) - (other ?? -Infinity);
}

/** The head of a column of buttons: for those who listen only. */
export function ordersTitle() {
  return el("span", { class: "hidden" }, "Orders");
}

/** A button that changes something: there is none for those who may only look. */
export function order(ctx, label, act, { danger = false, title } = {}) {
  if (ctx.role !== "operator") return null;
  return el("button", { type: "button", class: danger ? "danger" : null, title, onclick: act }, label);
}

/** Says, to those who may only look, why there are no buttons. */
export function lookOnly(ctx, what) {
  return ctx.role === "operator"
    ? null
    : el("p", { class: "line" }, `${what} needs an operator's key; yours is a viewer's.`);
}

/** Gives an order and says what became of it; gives its answer, or null. `good(answer)`: whether it is what was wanted. */
export async function carryOut(ctx, send, done, good = () => true) {
  try {
    const answer = await send();
    ctx.toast(typeof done === "function" ? done(answer) : done, good(answer) ? "good" : "bad");
    return answer ?? {};
  } catch (error) {
    ctx.toast(error.message, "bad");
    return null;
  }
}

/** A labelled field of a form. */
export function field(label, control, hint) {
  return el("label", { class: "field" }, el("span", {}, label), control, hint && el("small", {}, hint));
}

/** A choice; `choices` are [value, text]. */
export function select(name, choices, chosen, props = {}) {
  const options = choices.map(([value, text]) => el("option", { value, selected: value === chosen }, text));
  return el("select", { name, ...props }, options);
}
