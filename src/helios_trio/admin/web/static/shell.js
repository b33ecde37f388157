// What stands around the panels: the bar at the top, the navigation, the state of the connection, and the keys.

import { el, patch } from "./dom.js";
import { explain } from "./dialogs.js";
import { clock, seconds } from "./format.js";
import { nextTheme, theme } from "./theme.js";

const KEYS_OFF = "helios.keysOff";

const SHORTCUTS = [
  ["[ and ]", "the panel before, and the next one"],
  ["/", "to the search or filter of the panel"],
  ["?", "this list"],
  ["Esc", "close a dialog"],
  ["Ctrl Enter", "run the statement (SQL)"],
  ["← → Home End", "read a chart that has the focus"],
];

const byId = (id) => document.getElementById(id);

/** The bar at the top. `view`: the console's answer, the topology or null, the stream's state, and `signOut`. */
export function showHeader({ console: about, topology, state, signOut }) {
  const header = byId("header");
  header.hidden = false;
  patch(
    header,
    el("p", { class: "brand" }, "helios_trio", el("span", { class: "muted" }, ` ${about.version}`)),
    el("p", { class: "vital", id: "connection", role: "status" }, dot(toneOfState(state)), wordsOfState(state)),
    topology && el("p", { class: "vital" }, primaryOf(topology, state.name === "live")),
    el("p", { class: "who" }, about.who, el("span", { class: "muted" }, ` ${about.role}`)),
    el("button", { type: "button", class: "quiet", onclick: turnTheme }, `Theme: ${theme()}`),
    el("button", { type: "button", class: "quiet", "aria-label": "Keyboard shortcuts", onclick: explainKeys }, "?"),
    el("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out"),
  );
}

function turnTheme(event) {
  event.currentTarget.textContent = `Theme: ${nextTheme()}`;
}

function dot(tone) {
  return el("span", { class: `dot ${tone}`, "aria-hidden": "true" });
}

function toneOfState(state) {
  return { live: "good", lost: "bad" }[state.name] ?? "careful";
}

function wordsOfState(state) {
  return { live: "live", lost: "not connected" }[state.name] ?? "connecting";
}

/** Nothing is called good or bad that is not known now. */
function primaryOf(topology, known) {
  if (topology.primary)
    return [dot(!known ? "plain" : topology.ready ? "good" : "bad"), `writes: ${topology.primary}`];
  const pending = topology.pending_primary;
  return [dot(known ? "bad" : "plain"), pending ? `writes wait for ${pending}` : "nobody takes writes"];
}

/** The navigation; the panel that is shown is marked. */
export function showNavigation(panels, shown) {
  const nav = byId("nav");
  nav.hidden = false;
  const links = panels.map(({ name, title }) =>
    el("li", {}, el("a", { href: `#/${name}`, "aria-current": name === shown ? "page" : null }, title)),
  );
  patch(nav, el("ul", {}, links));
  const marked = nav.querySelector("[aria-current]"); // where the list is a strip, it may be out of sight
  nav.scrollLeft = marked.offsetLeft - (nav.clientWidth - marked.offsetWidth) / 2;
}

export function hideShell() {
  byId("header").hidden = true;
  byId("nav").hidden = true;
  patch(byId("alerts"));
}

/** Bars below the top: a lost connection, and what was said until somebody closes it. */
export function showAlerts({ state, notices, retry, dismiss }) {
  patch(
    byId("alerts"),
    state.name === "lost" && lostBar(state, retry),
    notices.map((text, at) =>
      el(
        "div",
        { class: "alert careful", key: text },
        el("p", {}, text),
        el("button", { type: "button", onclick: () => dismiss(at) }, "Understood"),
      ),
    ),
  );
}

/** The seconds are left out of what is read aloud: every one of them would be. */
function lostBar(state, retry) {
  const left = Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000));
  const gone = Math.round((Date.now() - state.since) / 1000);
  const told = `${state.reason}. What is shown is from ${clock(state.since)}`;
  return el(
    "div",
    { class: "alert bad", key: "lost" },
    el("p", {}, told, el("span", { "aria-hidden": "true" }, `, ${seconds(gone)} ago; trying again in ${left} s.`)),
    el("button", { type: "button", onclick: retry }, "Try now"),
  );
}

/** Keys that work everywhere outside of fields; they can be switched off, as they may get in the way of others. */
export function listenForKeys(step) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isField(event.target) || areKeysOff()) return;
    if (document.querySelector("dialog[open]")) return;
    const act = { "[": () => step(-1), "]": () => step(1), "/": focusSearch, "?": explainKeys }[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
}

function isField(node) {
  return ["INPUT", "TEXTAREA", "SELECT"].includes(node.nodeName);
}

function areKeysOff() {
  return localStorage.getItem(KEYS_OFF) === "yes";
}

function focusSearch() {
  document.querySelector("main [data-search]")?.focus();
}

function explainKeys() {
  const keep = (event) => localStorage.setItem(KEYS_OFF, event.target.checked ? "" : "yes");
  const rows = SHORTCUTS.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)));
  const box = el("input", { type: "checkbox", checked: !areKeysOff(), onchange: keep });
  explain(
    "Keyboard",
    el("dl", { class: "facts" }, rows),
    el("label", { class: "check" }, box, "Single-key shortcuts"),
  );
}
