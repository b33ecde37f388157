// What is known of failovers and switchovers besides their last state: times of steps, and those that are over.

import { words } from "./format.js";
import { toneOf } from "./parts.js";

const PART = /^failover|^primary |primary fenced|^former primary/;
const BEGINS = /^failover begun$|^failover ordered$/;
const ENDS = /^failover (completed|failed|recovered)$/;
const ENDED = ["rolled_back", "completed", "failed", "interrupted"];
/** What happens so soon after the end still belongs to it (milliseconds). */
const AFTERMATH = 120_000;

/** Whether a migration in this state goes on no more. */
export function isOver(state) {
  return ENDED.includes(state);
}

/** Whether an event belongs to a failover. */
export function isPartOfOne(event) {
  return PART.test(event.kind);
}

/** `{title, at, outcome, tone, steps: [{at, text, reason}]}` for each of them, the latest first. */
export function episodesOf(events, switchovers) {
  const found = [...failovers(events), ...switchovers.map(switchoverOf)];
  return found.sort((one, other) => new Date(other.at) - new Date(one.at));
}

function failovers(events) {
  const episodes = [];
  for (const event of [...events].sort((one, other) => one.id - other.id)) {
    const last = episodes.at(-1);
    if (BEGINS.test(event.kind) && (last === undefined || last.over)) episodes.push(begun(event));
    else if (last !== undefined && belongs(last, event)) add(last, event);
    else if (event.kind.startsWith("failover")) episodes.push(begun(event)); // its beginning is not kept any more
  }
  return episodes;
}

function begun(event) {
  const episode = {
    title: `Failover of ${event.subject}`,
    at: event.at,
    outcome: "running",
    tone: "plain",
    steps: [],
    over: null,
  };
  add(episode, event);
  return episode;
}

function belongs(episode, event) {
  return episode.over === null || new Date(event.at) - new Date(episode.over) < AFTERMATH;
}

function add(episode, event) {
  episode.steps.push({ at: event.at, text: `${event.kind} (${event.subject})`, reason: event.reason });
  if (!ENDS.test(event.kind)) return;
  episode.over = event.at;
  episode.outcome = event.kind.replace("failover ", "");
  episode.tone = toneOf(episode.outcome);
}

function switchoverOf(migration) {
  const steps = migration.history.map((change) => ({
    at: change.at,
    text: `${words(change.state)}${change.who ? ` (${change.who})` : ""}`,
    reason: change.reason,
  }));
  const title = `Planned switchover: ${migration.source} → ${migration.target}`;
  return { title, at: steps[0].at, outcome: words(migration.status), tone: toneOf(migration.status), steps };
}

/** Times of steps while they run: the proxy tells how long each took when all is over. */
export class StepClock {
  constructor() {
    this.seen = [];
    this.which = null;
  }

  /** The steps of a status: as it has them, else as they were seen here. */
  take(status) {
    if (!status.failover_active || status.steps.length)
      return status.steps.map((each) => this.running(each, status));
    const which = `${status.kind} ${status.migration_id} ${status.source_backend}`;
    if (which !== this.which) [this.which, this.seen] = [which, []];
    const now = status.elapsed_seconds;
    const last = this.seen.at(-1);
    if (status.step && last?.step !== status.step) this.seen.push({ step: status.step, began: now });
    return this.seen.map((each, at) => {
      const next = this.seen[at + 1];
      return { step: each.step, seconds: (next?.began ?? now) - each.began, running: next === undefined };
    });
  }

  running(each, status) {
    return { ...each, running: status.failover_active && each.step === status.step };
  }
}
