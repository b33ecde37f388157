// Requests to the proxy's API. What goes wrong is a `Problem` whose message can be shown as it is.

/** Where the proxy's paths begin: the page may stand below a prefix of a reverse proxy. */
export const ROOT = new URL("../", import.meta.url);

const READ_LIMIT = 20_000;

/** An answer that says why not (RFC 9457), or no answer at all (`status` 0). */
export class Problem extends Error {
  constructor(status, body) {
    super(inWords(status, body));
    this.name = "Problem";
    this.status = status;
    this.code = body.code ?? "";
    this.hint = body.hint ?? "";
    this.detail = body.detail ?? "";
    this.errors = body.errors ?? [];
  }
}

function inWords(status, body) {
  const faults = (body.errors ?? []).map(({ path, message }) => (path ? `${path}: ${message}` : message));
  const detail = body.detail || body.title || `the proxy answered ${status}`;
  const told = faults.every((each) => detail.includes(each)) ? [] : faults;
  return [detail, ...told, body.hint ? `Hint: ${body.hint}` : ""].filter(Boolean).join("\n");
}

/**
 * A function that sends requests with this key: `api(method, path, body)` gives the answer's JSON or throws a Problem.
 * `onRefusedKey` hears of every 401.
 */
export function makeApi(key, onRefusedKey) {
  return async function api(method, path, body) {
    const response = await send(key, method, path, body);
    const answer = await read(response);
    if (response.ok) return answer;
    const problem = new Problem(response.status, answer ?? {});
    if (response.status === 401) onRefusedKey(problem);
    throw problem;
  };
}

async function send(key, method, path, body) {
  const headers = { Authorization: `Bearer ${key}`, Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const request = { method, headers, cache: "no-store", credentials: "omit", redirect: "error" };
  if (body !== undefined) request.body = JSON.stringify(body);
  // An order may take as long as it takes (a session waits for its transaction); a question may not.
  if (method === "GET") request.signal = AbortSignal.timeout(READ_LIMIT);
  try {
    return await fetch(new URL(path.replace(/^\//, ""), ROOT), request);
  } catch (error) {
    const late = error.name === "TimeoutError";
    const what = late
      ? `The proxy has not answered within ${READ_LIMIT / 1000} s.`
      : "The proxy cannot be reached.";
    throw new Problem(0, { detail: what });
  }
}

async function read(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

/** The path with a query of those values that are given. */
export function withQuery(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return query ? `${path}?${query}` : path;
}

/** A name as one part of a path. */
export function segment(name) {
  return encodeURIComponent(name);
}
