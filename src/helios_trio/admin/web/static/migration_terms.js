// Patterns of tenants and durations, as the proxy has them.

/** Whether a tenant matches one of these patterns; without any, all do. */
export function matchesAny(tenant, patterns) {
  return patterns.length === 0 || patterns.some((pattern) => expressionOf(pattern).test(tenant));
}

/** * is any text, ? any character, as the proxy has it. */
function expressionOf(pattern) {
  const escaped = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${escaped}$`, "s");
}

/** "5m" or "1h30m" of the configuration, or a number, in seconds. */
export function secondsOf(duration) {
  if (typeof duration === "number") return duration;
  const units = { us: 1e-6, ms: 0.001, s: 1, min: 60, m: 60, h: 3600, d: 86400 };
  const parts = [...String(duration ?? "").matchAll(/([\d.]+)(us|ms|min|s|m|h|d)/g)];
  return parts.reduce((all, [, times, unit]) => all + Number(times) * units[unit], 0);
}
