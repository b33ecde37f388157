// Questions that are asked before something is changed, and short notes about what has become of it.

import { el } from "./dom.js";

const NOTE_STAYS = 6_000;

/**
 * Asks before an order is given; gives null when it is not to be, else `{reason, ...fields}`.
 *
 * `title`, `text` (a string, a node, or several), `verb` (on the button), `danger`, `typed` (a name that must be
 * typed before the button works), `reason` (false: no reason is asked for), `fields` (nodes with `name`s, whose values
 * are given back).
 */
export function confirm(question) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const dialog = buildDialog(question, resolve);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(null); // does nothing where an answer was given
      before?.focus?.();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

function buildDialog(question, resolve) {
  const { title, text = [], verb, danger = false, typed, reason = true, fields = [] } = question;
  const ordering = el("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
  const proof = typed === undefined ? null : proofOf(typed, ordering);
  const form = el(
    "form",
    { onsubmit: (event) => answer(event, dialog, resolve) },
    el("h2", { id: "dialog-title" }, title),
    [text].flat().map((each) => (each instanceof Node ? each : el("p", {}, each))),
    fields,
    reason && reasonField(),
    proof,
    el(
      "div",
      { class: "buttons" },
      el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      ordering,
    ),
  );
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, form);
  return dialog;
}

function reasonField() {
  const field = el("input", { name: "reason", autocomplete: "off", maxlength: "500" });
  return el("label", { class: "field" }, "Reason (stands in the events)", field);
}

/** A field in which the name must be typed; the button works when it has been. */
function proofOf(name, button) {
  button.disabled = true;
  const check = (event) => {
    button.disabled = event.target.value !== name;
  };
  const field = el("input", {
    name: "proof",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    oninput: check,
  });
  return el(
    "label",
    { class: "field" },
    el("span", {}, "Type ", el("b", { class: "mono" }, name), " to go on"),
    field,
  );
}

function answer(event, dialog, resolve) {
  event.preventDefault();
  const given = Object.fromEntries(new FormData(event.target));
  delete given.proof;
  resolve(given);
  dialog.close();
}

/** Says something for some seconds; `kind`: "good", "bad" or "plain". What went wrong stays until it is closed. */
export function toast(text, kind = "plain") {
  const note = el("div", { class: `toast ${kind}` }, el("p", {}, text));
  const close = el(
    "button",
    { type: "button", class: "quiet", "aria-label": "Close", onclick: () => note.remove() },
    "×",
  );
  note.append(close);
  document.getElementById("toasts").append(note);
  if (kind !== "bad") setTimeout(() => note.remove(), NOTE_STAYS);
}

/** Shows a text with a button to close it. */
export function explain(title, ...content) {
  const close = el("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close");
  const dialog = el(
    "dialog",
    { "aria-labelledby": "dialog-title" },
    el("h2", { id: "dialog-title" }, title),
    content,
    el("div", { class: "buttons" }, close),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
