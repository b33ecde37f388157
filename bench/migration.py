"""What it takes to move a hundred sessions that have state, under load: time, what their clients notice, errors.

    python bench/migration.py [--json] [--long] [--rounds N]

Session mode, two names of one server: half of the sessions have a temporary table, the others prepared statements or
settings, and a tenth of all are in transactions when the migration begins. Every client asks something small that needs
its state, again and again, and pgbench works beside them. A round is a fresh proxy: a migration of all at once, then
sessions moved back one by one. Last, single parts of a move are measured inside this process.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from statistics import mean, median
from typing import Any, Final

import trio
from attrs import define, field, frozen
from harness import crowd, figures, moving_parts, pgbench
from harness.admin import Admin, open_admin
from harness.crowd import Belongings, Crowd
from harness.moving_parts import Parts
from harness.servers import SESSION_DATABASE, TWINS, Target, running_cluster, running_twins

from helios_trio.testing.running import ProxyProcess

TABLES, PREPARERS, SETTERS = 50, 30, 20  # sessions of each kind
OPEN_EACH: Final = 10  # one of so many is in a transaction
USUAL, LONG_USUAL = 2.5, 10.0  # seconds in which the usual time of an answer is found out
OPEN_FOR: Final = 1.5  # seconds that transactions last beyond the arrival of all others
POLL: Final = 0.05  # seconds between looks at who has arrived
ALONE, LONG_ALONE = 6.0, 30.0  # seconds in which sessions are moved back one by one
PATIENCE: Final = 60.0  # seconds

SOURCE, TARGET = TWINS
#: what a session has: as the proxy counts it, and as the crowd calls it
KINDS: Final = {
    "temporary_tables": "temporary table",
    "prepared_statements": "prepared statements",
    "session_variables": "settings",
}


@frozen
class Move:
    """One session was moved by itself, as the proxy reports it."""

    milliseconds: float
    pause_ms: float
    state_bytes: int
    carried: tuple[str, ...]


@define
class Round:
    """One proxy: a migration, and the way back one by one."""

    #: seconds from the order to the first, to all that could be moved at once, and to all
    first_seconds: float = 0.0
    total_seconds: float = 0.0
    all_seconds: float = 0.0
    #: seconds from the end of the transactions until their sessions had followed
    follow_seconds: float = 0.0
    #: what one of many that are moved at the same time takes
    together_ms: float = 0.0
    failed_attempts: int = 0
    buffered_requests: float = 0.0
    #: of each client: longest answer less the usual one, while it was migrated and in the time before
    pauses_ms: list[float] = field(factory=list)
    jitters_ms: list[float] = field(factory=list)
    moves: list[Move] = field(factory=list)
    load_tps: float = 0.0
    #: the last state of the migration, and why
    ended: str = ""
    errors: list[str] = field(factory=list)


def main() -> None:
    """Run the bench."""
    options = figures.arguments(__doc__.splitlines()[0], rounds=2).parse_args()
    usual, alone = (LONG_USUAL, LONG_ALONE) if options.long else (USUAL, ALONE)
    with running_cluster() as (_, direct):
        pgbench.initialise(direct)
        rounds = [run_round(direct, usual, alone) for _ in range(options.rounds)]
        parts = trio.run(moving_parts.measure, direct)
    result = evaluate(rounds, parts)
    for text in (*result["what_failed"], *(each for each in result["ended"] if each != "completed")):
        print(f"! {text}")
    figures.report(options, table(result), result | {"versions": figures.versions([direct])})


def everybody() -> Iterator[Belongings]:
    """What the sessions have, one after another."""
    yield from (crowd.temporary_table() for _ in range(TABLES))
    yield from (crowd.statements() for _ in range(PREPARERS))
    yield from (crowd.settings(number) for number in range(SETTERS))


def run_round(direct: Target, usual: float, alone: float) -> Round:
    """A fresh proxy, its clients, their way there and back. `usual` and `alone`: see `USUAL` and `ALONE`."""
    with (
        running_twins(direct) as (target, proxy),
        pgbench.running(target, "-S", database=SESSION_DATABASE) as load,
    ):
        found = trio.run(_run_round, target, proxy, usual, alone)
    found.errors += load.errors
    found.load_tps = median(load.tps)
    return found


async def _run_round(target: Target, proxy: ProxyProcess, usual: float, alone: float) -> Round:
    found = Round()
    people = await Crowd.gather(target, list(everybody()), SESSION_DATABASE)
    async with open_admin(proxy) as admin, people.talking():
        await trio.sleep(usual)
        await migrate(admin, people, found)
        await people.check()
        await move_back(admin, found, alone)
    await people.check()
    await people.leave()
    found.errors += people.failures
    return found


async def migrate(admin: Admin, people: Crowd, found: Round) -> None:
    """Everybody, by one order. Raises httpx.HTTPError, TimeoutError."""
    openers = people.clients[::OPEN_EACH]
    await crowd.say(openers, "BEGIN")
    began = time.perf_counter()
    order = {"source": SOURCE, "target": TARGET, "mode": "immediate", "reason": "bench"}
    id = (await admin.post("/api/v1/migration/start", **order))["migration_id"]
    found.first_seconds = await _arrival(admin, 1) - began
    found.total_seconds = await _arrival(admin, len(people.clients) - len(openers)) - began
    await trio.sleep(OPEN_FOR)
    await crowd.say(openers, "COMMIT")
    ended = time.perf_counter()
    arrived = await _arrival(admin, len(people.clients))
    found.all_seconds, found.follow_seconds = arrived - began, arrived - ended
    status = await _end(admin, id)
    found.ended = " ".join((status["status"], status["status_reason"])).strip()
    found.together_ms = status["mean_seconds"] * 1000
    found.failed_attempts = status["error_count"]
    found.buffered_requests = await admin.metric("helios_session_move_buffered_requests_total")
    for client in people.clients:
        if not client.failures:
            found.pauses_ms.append(1000 * client.longest_beyond_usual(began, arrived, began))
            found.jitters_ms.append(1000 * client.longest_beyond_usual(0.0, began, began))


async def _arrival(admin: Admin, wanted: int) -> float:
    """When so many of the crowd were seen on the target. Raises TimeoutError."""
    deadline = time.perf_counter() + PATIENCE
    while True:
        page = await admin.get("/api/v1/sessions", backend=TARGET, tenant=crowd.APPLICATION, limit=1)
        there = page["total"]
        now = time.perf_counter()
        if there >= wanted:
            return now
        if now > deadline:
            raise TimeoutError(f"{there} instead of {wanted} sessions have come to {TARGET}")
        await trio.sleep(POLL)


async def _end(admin: Admin, id: int) -> Any:
    """The last status of a migration, however it has ended. Raises TimeoutError."""
    deadline = time.perf_counter() + PATIENCE
    while (status := await admin.get(f"/api/v1/migration/{id}/status"))["status"] == "running":
        if time.perf_counter() > deadline:
            raise TimeoutError(f"the migration is still running: {status}")
        await trio.sleep(POLL)
    return status


async def move_back(admin: Admin, found: Round, seconds: float) -> None:
    """One after another, each by an order of its own, for so many seconds."""
    listed = await admin.get("/api/v1/sessions", tenant=crowd.APPLICATION, limit=1000)
    ids = [each["id"] for each in listed["sessions"]]
    random.Random(len(ids)).shuffle(ids)  # those that are moved in time are of all kinds
    deadline = time.perf_counter() + seconds
    for id in ids:
        report = await admin.post(f"/api/v1/sessions/{id}/migrate", target=SOURCE, reason="bench")
        if report["result"] == "moved":
            kinds = tuple(kind for kind, count in report["carried"].items() if count)
            found.moves.append(Move(report["duration_ms"], report["pause_ms"], report["state_bytes"], kinds))
        else:
            found.errors.append(f"session {id} is {report['result']}: {report['reasons']}")
        if time.perf_counter() > deadline:
            return


# -- figures ---------------------------------------------------------------------------------------------------


def evaluate(rounds: Sequence[Round], parts: Parts) -> dict[str, Any]:
    """The JSON: medians of all rounds, percentiles over all their sessions and clients."""
    moves = [move for each in rounds for move in each.moves]
    durations = [move.milliseconds for move in moves]
    errors = [error for each in rounds for error in each.errors]
    total = TABLES + PREPARERS + SETTERS
    return {
        "bench": "migration",
        "sessions": total,
        "movable": total - total // OPEN_EACH,
        **{
            name: median(getattr(each, name) for each in rounds)
            for name in ("first_seconds", "total_seconds", "all_seconds", "follow_seconds", "together_ms")
        },
        "mean_ms": mean(durations),
        "p99_ms": figures.percentile(sorted(durations), 99),
        "p99_pause_ms": _p99(pause for each in rounds for pause in each.pauses_ms),
        "p99_jitter_ms": _p99(jitter for each in rounds for jitter in each.jitters_ms),
        "errors": len(errors),
        "what_failed": errors,
        "ended": [each.ended for each in rounds],
        "failed_attempts": sum(each.failed_attempts for each in rounds),
        "buffered_requests": median(each.buffered_requests for each in rounds),
        "moved_alone": len(moves),
        "load_tps": median(each.load_tps for each in rounds),
        "kinds": {
            kind: _kind([move for move in moves if kind in move.carried])
            | {"proxy_cpu_ms": parts.carried_ms[name]}
            for kind, name in KINDS.items()
        },
        "captures_per_s": parts.tracked.per_s,
        "captures_p99_ms": parts.tracked.p99_ms,
        "captures_asked_per_s": parts.asked.per_s,
        "captures_asked_p99_ms": parts.asked.p99_ms,
        "handoffs_per_s": parts.handoffs.per_s,
        "handoffs_p99_ms": parts.handoffs.p99_ms,
        "safe_point_us": parts.safe_point_us,
        "standstill_us": parts.standstill_us,
    }


def _p99(values: Iterable[float]) -> float:
    return figures.percentile(sorted(values), 99)


def _kind(moves: Sequence[Move]) -> dict[str, float | None]:
    """Means of those who have one kind of state."""
    if not moves:
        return dict.fromkeys(("mean_ms", "pause_ms", "state_bytes"))
    return {
        "mean_ms": mean(each.milliseconds for each in moves),
        "pause_ms": mean(each.pause_ms for each in moves),
        "state_bytes": mean(each.state_bytes for each in moves),
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    together = [
        (f"until the first of {result['sessions']} sessions is there, s", result["first_seconds"]),
        (f"until the {result['movable']} without transactions are there, s", result["total_seconds"]),
        ("until all are there, s", result["all_seconds"]),
        ("after the end of their transactions the others follow in, s", result["follow_seconds"]),
        ("each session, moved together with others, ms", result["together_ms"]),
        ("pause of a client, 99th percentile, ms", result["p99_pause_ms"]),
        ("the same before the migration, ms", result["p99_jitter_ms"]),
        ("requests that were buffered", result["buffered_requests"]),
        ("errors", result["errors"]),
        ("attempts that failed", result["failed_attempts"]),
        ("each session, moved alone, ms", result["mean_ms"]),
        ("99th percentile of these, ms", result["p99_ms"]),
        ("pgbench -S beside it, tps", result["load_tps"]),
    ]
    kinds = [
        [
            f"with {kind.replace('_', ' ')}",
            each["mean_ms"],
            each["pause_ms"],
            each["proxy_cpu_ms"],
            each["state_bytes"],
        ]
        for kind, each in result["kinds"].items()
    ]
    parts = [
        ("capture of what was tracked", result["captures_per_s"], result["captures_p99_ms"]),
        ("capture, the server asked too", result["captures_asked_per_s"], result["captures_asked_p99_ms"]),
        ("hand-off between two pools", result["handoffs_per_s"], result["handoffs_p99_ms"]),
        ("test for a safe point", 1e6 / result["safe_point_us"], result["safe_point_us"] / 1000),
        ("standstill of an idle session", 1e6 / result["standstill_us"], result["standstill_us"] / 1000),
    ]
    return "\n\n".join(
        (
            figures.table(["a hundred sessions", "measured"], together),
            figures.table(
                ["one moved alone", "ms", "paused, ms", "processor time of the proxy, ms", "bytes of state"],
                kinds,
            ),
            figures.table(["single parts", "per second", "p99, ms"], parts),
        )
    )


if __name__ == "__main__":
    main()
