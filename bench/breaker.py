"""How fast a circuit opens when one of three servers degrades, what clients notice, and how it comes back.

    python bench/breaker.py [--json] [--long] [--rounds N]

A primary and two standbys, each behind a proxy that breaks the network, and this proxy with circuit breakers in front
of them. Clients read all the time. Then one standby becomes slow, another time it answers with errors (53200), another
time with nothing at all; when its circuit has been open for a moment it is well again. Last, servers that are well
under a load that is not kind: how often a circuit opens that should not have, in predictive mode, the most eager one.
"""

from __future__ import annotations

import math
import random
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from statistics import median
from typing import Any, Final

import psycopg
import trio
from attrs import define, field, frozen
from harness import figures
from harness.admin import Admin, open_admin
from harness.callers import Answer, Callers
from harness.replicas import Address, addresses, connected, running_replicas, running_router
from harness.servers import DATABASE, USER, Target

from helios_trio.embedded import BlockingCluster
from helios_trio.testing.faults import FaultProxy, open_fault_proxy

CLIENTS: Final = 24
RATE: Final = 150.0  # requests per second of all clients together
LIMIT_MS: Final = 150
SLOWER: Final = 0.4  # seconds that each answer of a slow server takes longer
RAMP: Final = 3.0
STEP: Final = 0.2  # share of its traffic that each step of the ramp adds
_CONFIG: Final = f"""
[failover]
mode = "manual"
[routing]
read_write_split = true
safe_functions = ["bench_work"]
[circuit_breaker]
enabled = true
latency_threshold_p95_ms = {LIMIT_MS}
latency_threshold_p99_ms = {5 * LIMIT_MS}
open_duration = "1s"
half_open_probe_interval = "200ms"
recovery_ramp_up_duration = "{RAMP:g}s"
recovery_step_percentage = {100 * STEP:g}
"""
_EAGER: Final = _CONFIG + 'mode = "predictive"\n'
#: A server that is in trouble is told by a setting that can be changed on a standby alone.
_TROUBLE: Final = "65kB"
_SETUP: Final = f"""
CREATE FUNCTION bench_work(seconds float8) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF current_setting('work_mem') = '{_TROUBLE}' THEN
        RAISE 'in trouble' USING ERRCODE = '53200';
    END IF;
    PERFORM pg_sleep(seconds);
    RETURN current_setting('port');
END$$
"""
_QUIET, _DEGRADED = 2.0, 1.0  # seconds before, and while the circuit is open
NOISY_SECONDS, LONG_NOISY_SECONDS = 12.0, 600.0
_PATIENCE: Final = 60.0
_POLL: Final = 0.05
_EVENTS: Final = 200


@define
class Bench:
    """Everything that runs."""

    admin: Admin
    proxy: Target
    victim: str
    victim_port: int
    network: FaultProxy

    async def event(self, kind: str, subject: str, since: float) -> float:
        """When it happened, in seconds since 1970. Raises TooSlowError."""
        with trio.fail_after(_PATIENCE):
            while True:
                found = [each for each in await self.events(kind, since) if each["subject"] == subject]
                if found:
                    return datetime.fromisoformat(found[-1]["at"]).timestamp()
                await trio.sleep(_POLL)

    async def events(self, kind: str, since: float) -> list[Any]:
        """Newest first."""
        page = await self.admin.get("/api/v1/events", limit=_EVENTS)
        return [
            each
            for each in page["events"]
            if each["kind"] == kind and datetime.fromisoformat(each["at"]).timestamp() >= since
        ]


@frozen
class Way:
    """How a server degrades, and gets well again."""

    name: str
    degrade: Callable[[Bench], Awaitable[None]]
    heal: Callable[[Bench], Awaitable[None]]


async def _slow_down(bench: Bench) -> None:
    bench.network.to_client.delay = SLOWER


async def _stand_still(bench: Bench) -> None:
    bench.network.to_client.silence()


async def _mend(bench: Bench) -> None:
    bench.network.heal()


async def _fail(bench: Bench) -> None:
    await trio.to_thread.run_sync(_set, bench.network.target, f"SET work_mem = '{_TROUBLE}'")


async def _stop_failing(bench: Bench) -> None:
    await trio.to_thread.run_sync(_set, bench.network.target, "RESET work_mem")


def _set(server: Address, what: str) -> None:
    host, port = server
    with psycopg.connect(host=host, port=port, user=USER, dbname=DATABASE, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM {what}".encode())
        connection.execute("SELECT pg_reload_conf()")


WAYS: Final = (
    Way("latency", _slow_down, _mend),
    Way("errors", _fail, _stop_failing),
    Way("stall", _stand_still, _mend),
)


@define
class Run:
    """What one degradation has come to. Milliseconds unless it says otherwise."""

    open_ms: float
    close_ms: float
    client_errors: int
    p99_before_ms: float
    #: of answers by the servers that are well, while the circuit was open
    p99_others_ms: float
    #: the longest wait of any client
    longest_ms: float
    #: requests that the server has got beyond what a step of the ramp allows, as a share of it; the worst step
    overshoot: float


@define
class Found:
    """All runs of one way."""

    runs: list[Run] = field(factory=list)

    def facts(self) -> dict[str, Any]:
        """Medians; sums of errors; the worst of what must not happen."""
        middle = ("open_ms", "close_ms", "p99_before_ms", "p99_others_ms")
        return {
            **{name: median(getattr(each, name) for each in self.runs) for name in middle},
            "longest_ms": max(each.longest_ms for each in self.runs),
            "overshoot": max(each.overshoot for each in self.runs),
            "client_errors": sum(each.client_errors for each in self.runs),
        }


def main() -> None:
    """Run the bench."""
    options = figures.arguments(__doc__.splitlines()[0], rounds=1).parse_args()
    with running_replicas() as (cluster, direct):
        with connected(direct) as connection:
            connection.execute(_SETUP.encode())
        trio.run(cluster.cluster.wait_for_replay)
        result = trio.run(run_all, cluster, options)
    result["versions"] = figures.versions([direct])
    figures.report(options, table(result), result)


async def run_all(cluster: BlockingCluster, options: Namespace) -> dict[str, Any]:
    """Every way of degrading, then the noise."""
    found = {way.name: Found() for way in WAYS}
    async with AsyncExitStack() as stack:
        networks = {
            name: await stack.enter_async_context(open_fault_proxy(address))
            for name, address in addresses(cluster).items()
        }
        victim = list(networks)[1]
        for way in WAYS:
            for _ in range(options.rounds):
                async with _running(networks, victim, _CONFIG) as bench:
                    found[way.name].runs.append(await degrade(bench, way))
        async with _running(networks, victim, _EAGER) as bench:
            seconds = LONG_NOISY_SECONDS if options.long else NOISY_SECONDS
            opened, requests = await make_noise(bench, seconds)
    return evaluate(found, opened, requests, seconds)


@asynccontextmanager
async def _running(networks: Mapping[str, FaultProxy], victim: str, config: str) -> AsyncIterator[Bench]:
    """A proxy in front of the servers; its process is started and ended in a thread, as its network is in this one."""
    servers = {name: network.address for name, network in networks.items()}
    running = running_router(servers, config)
    target, process = await trio.to_thread.run_sync(running.__enter__)
    try:
        async with open_admin(process) as admin:
            network = networks[victim]
            yield Bench(admin, target, victim, network.target[1], network)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _PATIENCE):
            await trio.to_thread.run_sync(running.__exit__, None, None, None)


async def degrade(bench: Bench, way: Way) -> Run:
    """Once: well, degraded, well again until all traffic is back."""
    callers = Callers.of(bench.proxy, CLIENTS)
    async with callers.calling(_small, lambda: RATE):
        await _until_served(bench, callers)
        began = time.time()
        await trio.sleep(_QUIET)
        broken = time.time()
        await way.degrade(bench)
        opened = await bench.event("circuit opened", bench.victim, broken)
        await trio.sleep(_DEGRADED)
        healed = time.time()
        await way.heal(bench)
        closed = await bench.event("circuit closed", bench.victim, healed)
        await trio.sleep(max(0.0, closed + RAMP - time.time()))
    answers = list(callers.answers(began, time.time()))
    before = [each for each in answers if each.came < broken]
    others = [
        each for each in answers if opened < each.came < healed and each.server not in (0, bench.victim_port)
    ]
    mine = [each for each in answers if each.server == bench.victim_port]
    return Run(
        open_ms=1000 * (opened - broken),
        close_ms=1000 * (closed - healed),
        client_errors=sum(bool(each.error) for each in answers),
        p99_before_ms=_p99(before),
        p99_others_ms=_p99(others),
        longest_ms=max(each.ms for each in answers),
        overshoot=_overshoot(sum(each.came < broken for each in mine) / (broken - began), mine, closed),
    )


def _small(chance: random.Random) -> str:
    return "SELECT current_setting('port')::int, bench_work(0)"


async def _until_served(bench: Bench, callers: Callers) -> None:
    """The victim serves reads."""
    with trio.fail_after(_PATIENCE):
        while True:
            await trio.sleep(_POLL)
            if any(each.server == bench.victim_port for each in callers.answers(0, time.time())):
                return


def _p99(answers: Sequence[Answer]) -> float:
    return figures.percentile(sorted(each.ms for each in answers), 99) if answers else math.nan


def _overshoot(rate: float, answers: Sequence[Answer], closed: float) -> float:
    """Of the worst step of the ramp; `rate` is what the server was asked for per second when it was well."""
    steps = round(1 / STEP)
    length = RAMP / steps
    found = []
    for step in range(steps - 1):  # with the last one all is let through
        begin = closed + step * length
        got = sum(begin <= each.asked < begin + length for each in answers)
        found.append(got / (rate * STEP * (step + 1) * length) - 1)
    return max(0.0, *found)


# -- noise -----------------------------------------------------------------------------------------------------


def _noisy(chance: random.Random) -> str:
    """A heavy tail, reports that take 20 times as long, a checkpoint every few seconds."""
    seconds = chance.lognormvariate(math.log(0.005), 0.7)
    if chance.random() < 0.0005:
        seconds *= 20
    if time.time() % 10 < 1:
        seconds *= 1.5
    return f"SELECT current_setting('port')::int, bench_work({seconds:.6f})"


def _unsteady() -> float:
    """A rate that goes up and down by a factor of four."""
    return RATE * (0.625 + 0.375 * math.sin(2 * math.pi * time.time() / 5))


async def make_noise(bench: Bench, seconds: float) -> tuple[int, int]:
    """How often a circuit has opened, and how many requests there were."""
    callers = Callers.of(bench.proxy, CLIENTS)
    async with callers.calling(_noisy, _unsteady):
        await _until_served(bench, callers)
        began = time.time()
        await trio.sleep(seconds)
        opened = len(await bench.events("circuit opened", began))
    return opened, sum(1 for _ in callers.answers(began, time.time()))


# -- figures ---------------------------------------------------------------------------------------------------


def evaluate(found: Mapping[str, Found], opened: int, requests: int, seconds: float) -> dict[str, Any]:
    """The JSON; the headline is that of the server that becomes slow.

    Errors that a server itself tells are its clients' to hear, until its circuit opens: those of the way `errors` are
    only in `by_way`.
    """
    by_way = {name: each.facts() for name, each in found.items()}
    headline = by_way["latency"]
    return {
        "bench": "breaker",
        **headline,
        "client_errors": sum(each["client_errors"] for name, each in by_way.items() if name != "errors"),
        "false_positives": opened,
        "noisy_seconds": seconds,
        "noisy_requests": requests,
        "by_way": by_way,
    }


ROWS: Final = (
    ("until the circuit opens, ms", "open_ms"),
    ("from its healing until it closes, ms", "close_ms"),
    ("errors seen by clients", "client_errors"),
    ("answers before, 99th percentile, ms", "p99_before_ms"),
    ("of the others while it is open", "p99_others_ms"),
    ("longest answer, ms", "longest_ms"),
    ("beyond a step of the ramp, share", "overshoot"),
)


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    ways = result["by_way"]
    noise = [
        ["seconds", result["noisy_seconds"]],
        ["requests", result["noisy_requests"]],
        ["circuits opened", result["false_positives"]],
    ]
    return "\n\n".join(
        (
            figures.table(
                ["one of three servers", *ways],
                [[what, *(each[name] for each in ways.values())] for what, name in ROWS],
            ),
            figures.table(["servers that are well, noisy", "measured"], noise),
        )
    )


if __name__ == "__main__":
    main()
