// The login: a key of the admin API. It is tried before it is kept.

import { el, patch } from "./dom.js";

/** Asks for a key; `open(key)` throws a Problem if it will not do. */
export function showLogin(root, why, open) {
  const problem = el("p", { class: "problem", role: "alert", hidden: !why }, why);
  const key = el("input", {
    id: "key",
    name: "key",
    type: "password",
    required: true,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "helios_…",
  });
  const button = el("button", { type: "submit", class: "primary" }, "Sign in");
  const form = el(
    "form",
    { class: "login", onsubmit: (event) => attempt(event, { key, button, problem, open }) },
    el("h1", {}, "helios_trio"),
    el("label", { class: "field", for: "key" }, el("span", {}, "API key")),
    key,
    problem,
    button,
    el(
      "p",
      { class: "line" },
      "A viewer's key looks, an operator's changes. Make one with ",
      el("code", {}, "helios admin create-key"),
      ". It is kept until this tab is closed.",
    ),
  );
  document.title = "Sign in · helios_trio";
  root.replaceChildren(form);
  key.focus();
}

async function attempt(event, { key, button, problem, open }) {
  event.preventDefault();
  button.disabled = true;
  problem.hidden = true;
  try {
    await open(key.value.trim());
  } catch (error) {
    patch(problem, error.message);
    problem.hidden = false;
    button.disabled = false;
    key.select();
  }
}
