// Figures, times and states in words. null is unknown, and shown as a dash.

export const NOTHING = "–";

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const ONE = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const TWO = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

/** Small numbers with as many digits as tell them apart. */
export function number(value) {
  if (value === null || value === undefined) return NOTHING;
  const size = Math.abs(value);
  return (size >= 100 || Number.isInteger(value) ? WHOLE : size >= 10 ? ONE : TWO).format(value);
}

export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

export function percent(share) {
  return share === null || share === undefined ? NOTHING : `${number(share)} %`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return NOTHING;
  return value >= 10_000 ? seconds(value / 1000) : `${number(value)} ms`;
}

/** A duration, in its two largest units. */
export function seconds(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value > 0 && value < 1) return `${number(Math.round(value * 1000))} ms`;
  if (value < 60) return `${number(Math.round(value * 10) / 10)} s`;
  const whole = Math.round(value);
  const units = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const first = units.findIndex(([, size]) => whole >= size);
  return parts(whole, units.slice(first, first + 2));
}

function parts(whole, units) {
  let left = whole;
  const words = units.map(([name, size]) => {
    const times = Math.floor(left / size);
    left -= times * size;
    return times ? `${times} ${name}` : "";
  });
  return words.filter(Boolean).join(" ");
}

export function bytes(value) {
  if (value === null || value === undefined) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  return `${number(value / 1024 ** step)} ${units[step]}`;
}

/** The time of day, here; with the day where it is another one than today. */
export function clock(text) {
  if (!text) return NOTHING;
  const at = new Date(text);
  const time = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date().toDateString() ? time : `${day(at)} ${time}`;
}

function day(at) {
  return at.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}

/** For those who read logs: the same moment in UTC, in full. */
export function utc(text) {
  return text ? new Date(text).toISOString() : "";
}

/** Seconds since then. */
export function age(text, now = Date.now()) {
  return text ? Math.max(0, (now - new Date(text).getTime()) / 1000) : null;
}

/** Underlines are for machines. */
export function words(text) {
  return String(text ?? "").replaceAll("_", " ");
}

/** `{cursors: 2}` as "2 cursors", with commas between several; the names of what is counted are plurals. */
export function amounts(found) {
  return Object.entries(found ?? {})
    .map(([what, times]) => `${number(times)} ${times === 1 ? words(what).replace(/s$/, "") : words(what)}`)
    .join(", ");
}
