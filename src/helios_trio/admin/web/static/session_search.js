// Looks for a text among all sessions: the API filters by whole values, so what is left is looked through here.

import { withQuery } from "./api.js";

const PAGE = 1000;
/** More pages than these are not asked for: an operator waits, and the proxy has other things to do. */
const MOST_PAGES = 10;
const SHOWN = 200;

/** `{sessions, total}` of those that have the text in any of their values, and how many of how many were `searched`. */
export async function search(api, filters, text) {
  const { sessions, total } = await allSessions(api, filters);
  const wanted = text.toLowerCase();
  const found = sessions.filter((each) => textOf(each).includes(wanted));
  return { sessions: found.slice(0, SHOWN), total: found.length, searched: sessions.length, of: total, next: null };
}

/** Those that the filters leave, as far as they are looked at; `total` is how many there are. */
export async function allSessions(api, filters) {
  const sessions = [];
  let [after, total] = [0, 0];
  for (let page = 0; page < MOST_PAGES && after !== null; page += 1) {
    const found = await api("GET", withQuery("/api/v1/sessions", { ...filters, limit: PAGE, after: after || "" }));
    sessions.push(...found.sessions);
    total = Math.max(total, found.total);
    after = found.next;
  }
  return { sessions, total: Math.max(total, sessions.length) };
}

function textOf(session) {
  const values = [
    session.id,
    session.user,
    session.database,
    session.application_name,
    session.tenant,
    session.address,
    session.backend,
    session.home ?? "",
    session.state,
    session.server_pid ?? "",
    ...Object.keys(session.pins),
    ...session.immovable,
  ];
  return values.join("\n").toLowerCase();
}
