"""What clients notice of a primary that is killed: how long they wait, what they are told, what became of their work.

    python bench/failover.py [--json] [--long] [--rounds N] [--mode session|transaction]

Clients transfer money, half of them in transactions that are open for a while, half in single statements. The primary
and all its processes get SIGKILL; the proxy promotes the standby and brings every session there. With 10, 100 and 500
clients who want to do the same number of transfers a second together. Then clients insert as ORMs do, with
`INSERT ... RETURNING id`. Last, what journal and guard cost while nobody dies: pgbench through proxies with and without
them.
"""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import median
from typing import Any, Final

import trio
from attrs import define, field
from harness import figures, journal_cost, killing, payers
from harness.admin import Admin, open_admin
from harness.killing import Done, Times
from harness.payers import Effects, Payers
from harness.servers import Target

from helios_trio.testing.running import ProxyProcess

SIZES: Final = (10, 100, 500)
MOST_SESSIONS: Final = 200  # session mode: each needs a connection of a server that takes 300
HEADLINE: Final = 100
#: kills for each number of clients, and for those who work as ORMs do
KILLS, LONG_KILLS = {10: 1, 100: 2, 500: 1}, {10: 5, 100: 10, 500: 5}
ORM_KILLS, LONG_ORM_KILLS = 1, 5
QUIET: Final = 1.5  # seconds before the first kill, and after each


@define
class Kills:
    """What came of killing the primaries of so many clients."""

    clients: int
    times: list[Times] = field(factory=list)
    first_success_ms: list[float] = field(factory=list)
    #: of each client and each kill: its longest wait for an answer, and the longest in the time before
    pauses_ms: list[float] = field(factory=list)
    before_ms: list[float] = field(factory=list)
    usual_ms: float = 0.0
    done: list[Done] = field(factory=list)
    acknowledged: int = 0
    effects: Effects = field(factory=Effects)
    errors: list[str] = field(factory=list)

    def total(self, name: str) -> int:
        """Of all kills."""
        return sum(getattr(each, name) for each in self.done)


def main() -> None:
    """Run the bench."""
    parser = figures.arguments(__doc__.splitlines()[0], rounds=4)
    parser.add_argument(
        "--mode", choices=["session", "transaction"], default="transaction", help="of the pool"
    )
    options = parser.parse_args()
    with killing.running_pair(options.mode, MOST_SESSIONS) as (target, proxy):
        payers.create_tables(target)
        found = trio.run(run_all, target, proxy, options)
    result = evaluate(found, options.mode) | journal_cost.measure(options.rounds, options.long)
    for text, count in Counter(error for each in found for error in each.errors).most_common(10):
        print(f"! {count} x {text}")
    figures.report(options, table(result), result)


async def run_all(target: Target, proxy: ProxyProcess, options: Namespace) -> list[Kills]:
    """Each size, then those who work as ORMs do."""
    kills = LONG_KILLS if options.long else KILLS
    sizes = [each for each in SIZES if options.mode != "session" or each <= MOST_SESSIONS]
    firsts = list(accumulate(sizes, initial=0))
    found = []
    async with open_admin(proxy) as admin:
        for size, first in zip(sizes, firsts, strict=False):
            crowd = Payers.of(target, size, payers.TRANSFERS, first)
            found.append(await run(admin, proxy, crowd, kills[size], crowd.check_ledger))
        crowd = Payers.of(target, HEADLINE, payers.ORMS, firsts[-1])
        orm_kills = LONG_ORM_KILLS if options.long else ORM_KILLS
        found.append(await run(admin, proxy, crowd, orm_kills, crowd.check_orders))
    return found


async def run(
    admin: Admin, proxy: ProxyProcess, crowd: Payers, kills: int, check: Callable[[], Effects]
) -> Kills:
    """So many kills while these clients work. Raises TooSlowError: somebody does not get further."""
    found = Kills(len(crowd.everybody))
    async with crowd.paying():
        for _ in range(kills):
            await trio.sleep(QUIET)
            await kill(admin, proxy, crowd, found)
        await trio.sleep(QUIET)
    found.effects = await trio.to_thread.run_sync(check)
    found.acknowledged = sum(len(each.done) for each in crowd.everybody)
    found.errors = [error for each in crowd.everybody for error in each.errors]
    return found


async def kill(admin: Admin, proxy: ProxyProcess, crowd: Payers, found: Kills) -> None:
    """One."""
    victim = await killing.doomed(admin)
    before = await killing.done(admin)
    (began, killed_at), everybody = killing.now(), crowd.everybody
    killing.kill(proxy, victim)
    found.first_success_ms.append(1000 * (await crowd.first_success(began) - began))
    ended = await crowd.all_went_on(began)
    found.times.append(await killing.times(admin, victim, killed_at))
    found.done.append((await killing.done(admin)).since(before))
    found.pauses_ms += [each.longest_ms(began, ended) for each in everybody]
    found.before_ms += [each.longest_ms(began - QUIET, began) for each in everybody]
    found.usual_ms = found.usual_ms or crowd.usual_ms(began)


# -- figures ---------------------------------------------------------------------------------------------------


def evaluate(found: Sequence[Kills], mode: str) -> dict[str, Any]:
    """The JSON, without what pgbench says."""
    *transfers, orms = found
    by_clients = {str(each.clients): _facts(each) for each in transfers}
    headline = by_clients[str(HEADLINE)]
    returning = _facts(orms)
    return {
        "bench": "failover",
        "mode": mode,
        **headline,
        "replayed_share_returning_id": returning["replayed_share"],
        "by_clients": by_clients,
        "returning_id": returning,
    }


def _facts(found: Kills) -> dict[str, Any]:
    """Of one set of clients: medians of its kills, percentiles over all clients and kills, sums."""
    replayed, refused = found.total("replayed"), found.total("refused")
    return {
        "clients": found.clients,
        "kills": len(found.times),
        "detect_ms": median(each.detect_ms for each in found.times),
        "promote_ms": median(each.promote_ms for each in found.times),
        "first_success_ms": median(found.first_success_ms),
        "usual_ms": found.usual_ms,
        "p99_before_ms": figures.percentile(sorted(found.before_ms), 99),
        "p50_pause_ms": figures.percentile(sorted(found.pauses_ms), 50),
        "p99_pause_ms": figures.percentile(sorted(found.pauses_ms), 99),
        "max_pause_ms": max(found.pauses_ms),
        "client_errors": len(found.errors),
        "acknowledged": found.acknowledged,
        "lost": found.effects.lost,
        "doubled": found.effects.doubled,
        "denied_but_there": found.effects.denied,
        "replayed": replayed,
        "not_replayed": refused,
        "replayed_share": replayed / (replayed + refused) if replayed + refused else None,
        "answers_lost_committed": found.total("committed"),
        "answers_lost_missing": found.total("missing"),
        "unknown": found.total("unknown"),
    }


ROWS: Final = (
    ("kills", "kills"),
    ("until the primary is known to be dead, ms", "detect_ms"),
    ("from then until the standby takes writes, ms", "promote_ms"),
    ("from the kill to the first acknowledgement, ms", "first_success_ms"),
    ("usual answer, median, ms", "usual_ms"),
    ("longest answer of a client before, 99th percentile, ms", "p99_before_ms"),
    ("pause of a client, median, ms", "p50_pause_ms"),
    ("99th percentile, ms", "p99_pause_ms"),
    ("longest, ms", "max_pause_ms"),
    ("errors seen by clients", "client_errors"),
    ("acknowledged", "acknowledged"),
    ("of these lost", "lost"),
    ("doubled", "doubled"),
    ("told not done, and there", "denied_but_there"),
    ("open transactions replayed", "replayed"),
    ("open transactions not replayed", "not_replayed"),
    ("commits without an answer that were there", "answers_lost_committed"),
    ("that were not, and were done again", "answers_lost_missing"),
    ("of which nobody can tell", "unknown"),
)


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    columns = [*result["by_clients"].values(), result["returning_id"]]
    head = [f"{each['clients']} clients" for each in columns[:-1]] + [f"{columns[-1]['clients']}, as ORMs"]
    kills = [[what, *(each[name] for each in columns)] for what, name in ROWS]
    sides = ("direct", *journal_cost.SIDES)
    costs = [
        [f"pgbench, {name}, tps", *(each[side] for side in sides)] for name, each in result["tps"].items()
    ]
    ratios = list(result["ratios"].items())
    cpu = [
        [name, each["journal"], each["journal_and_guard"]]
        for name, each in result["us_per_statement"].items()
    ]
    return "\n\n".join(
        (
            figures.table([f"{result['mode']} mode", *head], kills),
            figures.table(["8 clients, session mode", *sides], costs),
            figures.table(["ratio", "measured"], ratios),
            figures.table(["processor time more, us per statement", "journal", "journal and guard"], cpu),
        )
    )


if __name__ == "__main__":
    main()
