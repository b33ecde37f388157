// Light, dark, or as the system has it. What was chosen is kept in this browser; it is no secret.

const KEPT = "helios.theme";
const THEMES = ["system", "light", "dark"];

export function theme() {
  const kept = localStorage.getItem(KEPT);
  return THEMES.includes(kept) ? kept : "system";
}

export function applyTheme() {
  const root = document.documentElement;
  if (theme() === "system") root.removeAttribute("data-theme");
  else root.setAttribute("data-theme", theme());
}

/** To the next one, in a circle; gives its name. */
export function nextTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  localStorage.setItem(KEPT, next);
  applyTheme();
  return next;
}
