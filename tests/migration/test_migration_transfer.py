"""The transfer of one session, with something going wrong before each of its steps (rules 17 to 20)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg
import pytest
import trio
from attrs import define
from live_rig import Client, Live, in_thread, live_proxy

from helios_trio.errors import HeliosError
from helios_trio.migration.dialogue import Dialogue
from helios_trio.pipeline.fleet import MoveOrder, MoveOutcome, OnTimeout
from helios_trio.proxy.session import Session

pytestmark = pytest.mark.cluster

MODES: Final = ("session", "transaction")
#: Of what takes long, one mode is enough for a short run.
FAULT_MODES: Final = (pytest.param("session", marks=pytest.mark.long), "transaction")


async def furnish(client: Client) -> None:
    """Give the session one of each kind of state."""
    await client.ask("SET work_mem = '7MB'")
    await client.ask("SET app.tenant = 'acme'")
    await client.ask("CREATE TEMP TABLE basket (id serial PRIMARY KEY, item text)")
    await client.ask("INSERT INTO basket (item) VALUES ('one'), ('two')")
    await client.ask("DECLARE shelf SCROLL CURSOR WITH HOLD FOR SELECT generate_series(1, 10)")
    await client.ask("FETCH 3 FROM shelf")
    await client.ask("SELECT pg_advisory_lock(7), pg_advisory_lock(7)")
    await client.ask("PREPARE sum AS SELECT $1::int + 1")


async def look(client: Client) -> None:
    """Everything is as `furnish` left it, and nothing is used up by looking."""
    assert await client.ask("SHOW work_mem") == [("7MB",)]
    assert await client.ask("SELECT current_setting('app.tenant')") == [("acme",)]
    assert await client.ask("SELECT id, item FROM basket ORDER BY id") == [(1, "one"), (2, "two")]
    assert await client.ask("SELECT last_value, is_called FROM basket_id_seq") == [(2, True)]
    assert await client.ask("FETCH RELATIVE 0 FROM shelf") == [(3,)]
    assert await client.ask("EXECUTE sum(41)") == [(42,)]
    locks = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND pid = pg_backend_pid()"
    )
    assert await client.ask(locks) == [(1,)]


async def unlock_twice(client: Client) -> None:
    """The lock was taken twice."""
    for expected in (True, True, False):
        assert await client.ask("SELECT pg_advisory_unlock(7)") == [(expected,)]


def here(session: Session) -> str:
    return session.destination.backend.name


def other(session: Session) -> str:
    return "green" if here(session) == "blue" else "blue"


@pytest.mark.parametrize("mode", MODES)
async def test_everything_follows(mode: str, direct_address: tuple[str, int]) -> None:
    """To and fro, and all of it is there each time."""
    async with live_proxy(direct_address, mode) as live, live.client() as client:
        await furnish(client)
        session = live.only_session()
        for _ in range(6):
            target = other(session)
            pid = await client.ask("SELECT pg_backend_pid()")
            report = await live.fleet.move(session.virtual.id, MoveOrder(target=target))
            assert (report.outcome, report.reasons) == (MoveOutcome.MOVED, ())
            assert here(session) == target
            assert await client.ask("SELECT pg_backend_pid()") != pid
            await look(client)
        await unlock_twice(client)


@define
class Trouble:
    """Does something before a certain step of a transfer."""

    at: int
    do: Callable[[Dialogue], Awaitable[None]]
    steps: int = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Reach in between the steps."""
        original = Dialogue._do

        async def step(dialogue: Dialogue, what: Any) -> Any:
            self.steps += 1
            if self.steps == self.at:
                await self.do(dialogue)
            return await original(dialogue, what)

        patch.setattr(Dialogue, "_do", step)


async def move_with(live: Live, client: Client, trouble: Trouble, **order: Any) -> MoveOutcome:
    """A move with trouble in it; how it ended."""
    with pytest.MonkeyPatch.context() as patch:
        trouble.install(patch)
        session = live.only_session()
        report = await live.fleet.move(session.virtual.id, MoveOrder(target=other(session), **order))
    return report.outcome


async def steps_of_a_move(live: Live) -> int:
    """How many steps a session has that is furnished."""
    async with live.client() as client:
        await furnish(client)
        trouble = Trouble(0, nothing)
        assert await move_with(live, client, trouble) is MoveOutcome.MOVED
    await alone(live)
    return trouble.steps


async def nothing(dialogue: Dialogue) -> None:
    """No trouble."""


async def alone(live: Live) -> None:
    """Wait until no session is left."""
    await live.parts.core.proxy.wait_empty()


async def fail(dialogue: Dialogue) -> None:
    raise HeliosError("trouble")


async def hang(dialogue: Dialogue) -> None:
    await trio.sleep_forever()


def killer(dsn: str, side: str) -> Callable[[Dialogue], Awaitable[None]]:
    """Ends the server process of one side, and returns when it has gone."""

    async def kill(dialogue: Dialogue) -> None:
        pid = getattr(dialogue, side).connection.pid
        await in_thread(terminate, dsn, pid)

    return kill


def terminate(dsn: str, pid: int) -> None:
    """End a server process."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


@pytest.mark.parametrize("mode", FAULT_MODES)
@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param("error", marks=pytest.mark.long),
        "new server dies",
        pytest.param("time is over", marks=pytest.mark.long),
    ],
)
async def test_a_failure_leaves_the_session_where_it_was(
    trouble: str, mode: str, direct_address: tuple[str, int], direct_dsn: str
) -> None:
    """Before every single step: whatever was carried already, the old connection is as it was (rule 18)."""
    does = {"error": fail, "new server dies": killer(direct_dsn, "new"), "time is over": hang}[trouble]
    order = {"time_limit": 0.5} if trouble == "time is over" else {}
    async with live_proxy(direct_address, mode) as live:
        steps = await steps_of_a_move(live)
        for at in range(1, steps + 1):
            async with live.client() as client:
                await furnish(client)
                met = Trouble(at, does)
                outcome = await move_with(live, client, met, **order)
                if (
                    outcome is MoveOutcome.LOST
                ):  # in the last step of all: the state was with the new server already
                    assert (trouble, met.steps) == ("new server dies", at)
                    with pytest.raises(psycopg.errors.AdminShutdown):
                        await client.ask("SELECT 1")
                    continue
                if (
                    met.steps >= at
                ):  # how often a lock is looked at differs, so that the last steps may not come
                    assert outcome in (MoveOutcome.FAILED, MoveOutcome.PINNED), f"step {at}"
                await look(client)
                await unlock_twice(client)
            await alone(live)


@pytest.mark.parametrize("mode", FAULT_MODES)
async def test_a_client_that_leaves_leaves_nothing_behind(
    mode: str, direct_address: tuple[str, int], direct_dsn: str
) -> None:
    """Before every step: the session ends, no lock stays, and the servers' connections are free or closed."""
    async with live_proxy(direct_address, mode) as live:
        for at in range(1, await steps_of_a_move(live) + 1):
            async with live.client() as client:
                await furnish(client)

                async def leave(dialogue: Dialogue, client: Client = client) -> None:
                    await in_thread(client.connection.close)

                assert await move_with(live, client, Trouble(at, leave)) in (
                    MoveOutcome.GONE,
                    MoveOutcome.MOVED,
                )
            await alone(live)
            await in_thread(no_locks_left, direct_dsn)


def no_locks_left(dsn: str) -> None:
    """Nobody holds an advisory lock, at the latest when the connection that is being reset has forgotten it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET statement_timeout = '10s'")
        connection.execute("SELECT pg_advisory_lock(7)")


@pytest.mark.long
@pytest.mark.parametrize("mode", FAULT_MODES)
async def test_an_old_server_that_dies_takes_its_session_along(
    mode: str, direct_address: tuple[str, int], direct_dsn: str
) -> None:
    """Before every step: the client is told, or it goes on with all it had."""
    async with live_proxy(direct_address, mode) as live:
        for at in range(1, await steps_of_a_move(live) + 1):
            async with live.client() as client:
                await furnish(client)
                outcome = await move_with(live, client, Trouble(at, killer(direct_dsn, "old")))
                if outcome is MoveOutcome.MOVED:
                    await look(client)
                else:
                    with pytest.raises(psycopg.OperationalError):
                        await client.ask("SELECT 1")
            await alone(live)


@pytest.mark.parametrize("mode", FAULT_MODES)
async def test_what_is_sent_meanwhile_is_kept_and_answered(
    mode: str, direct_address: tuple[str, int]
) -> None:
    """Rule 19: it goes to the new server, once, and the report says that something waited."""
    answers: list[Any] = []
    async with (
        live_proxy(direct_address, mode) as live,
        live.client() as client,
        trio.open_nursery() as nursery,
    ):
        await furnish(client)
        session = live.only_session()

        async def ask() -> None:
            answers.append(await client.ask("INSERT INTO basket (item) VALUES ('three') RETURNING id"))

        async def send(dialogue: Dialogue) -> None:
            nursery.start_soon(ask)
            while not session.standstill.kept:  # noqa: ASYNC110
                await trio.sleep(0.001)

        with pytest.MonkeyPatch.context() as patch:
            Trouble(2, send).install(patch)
            report = await live.fleet.move(session.virtual.id, MoveOrder(target=other(session)))
        assert (report.outcome, report.buffered) == (MoveOutcome.MOVED, 1)
        assert 0 < report.pause <= report.seconds
        with trio.fail_after(10):
            while not answers:  # noqa: ASYNC110
                await trio.sleep(0.001)
        assert answers == [[(3,)]]
        assert await client.ask("SELECT count(*) FROM basket") == [(3,)]


@pytest.mark.parametrize("mode", FAULT_MODES)
async def test_a_transaction_is_waited_for(mode: str, direct_address: tuple[str, int]) -> None:
    """No safe point inside a transaction: the session stays, and moves when the transaction has ended."""
    async with live_proxy(direct_address, mode) as live, live.client() as client:
        await client.ask("BEGIN")
        await client.ask("CREATE TEMP TABLE t (n int)")
        session = live.only_session()
        order = MoveOrder(target=other(session), time_limit=0.2)
        assert (await live.fleet.move(session.virtual.id, order)).outcome is MoveOutcome.BUSY
        async with trio.open_nursery() as nursery:
            reports = []

            async def move() -> None:
                reports.append(await live.fleet.move(session.virtual.id, MoveOrder(target=other(session))))

            nursery.start_soon(move)
            await client.ask("INSERT INTO t VALUES (1)")
            await client.ask("COMMIT")
        assert reports[0].outcome is MoveOutcome.MOVED
        assert await client.ask("SELECT n FROM t") == [(1,)]


@pytest.mark.parametrize("mode", FAULT_MODES)
async def test_a_transaction_can_be_aborted(mode: str, direct_address: tuple[str, int]) -> None:
    """on_timeout = abort_transaction: the client sees a failed transaction, and its session moves after it."""
    async with live_proxy(direct_address, mode) as live, live.client() as client:
        await client.ask("BEGIN")
        await client.ask("SAVEPOINT s")
        await client.ask("SELECT 1")
        session = live.only_session()
        order = MoveOrder(target=other(session), time_limit=0.2, on_timeout=OnTimeout.ABORT_TRANSACTION)
        assert (await live.fleet.move(session.virtual.id, order)).outcome is MoveOutcome.BUSY
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            await client.ask("SELECT 1")
        await client.ask("ROLLBACK")
        assert (await live.fleet.move(session.virtual.id, order)).outcome is MoveOutcome.MOVED
        assert await client.ask("SELECT 1") == [(1,)]


async def test_a_transaction_can_cost_the_session(direct_address: tuple[str, int]) -> None:
    """on_timeout = terminate: FATAL 57P01."""
    async with live_proxy(direct_address, "session") as live, live.client() as client:
        await client.ask("BEGIN")
        await client.ask("SELECT 1")
        session = live.only_session()
        order = MoveOrder(target=other(session), time_limit=0.2, on_timeout=OnTimeout.TERMINATE)
        assert (await live.fleet.move(session.virtual.id, order)).outcome is MoveOutcome.TERMINATED
        with pytest.raises(psycopg.errors.AdminShutdown):
            await client.ask("SELECT 1")


@pytest.mark.parametrize("mode", FAULT_MODES)
async def test_a_held_backend_holds_everybody(mode: str, direct_address: tuple[str, int]) -> None:
    """Requests and new clients wait, transactions go on to their end, and afterwards all are served."""
    async with live_proxy(direct_address, mode) as live, live.client() as idle, live.client() as busy:
        await idle.ask("SELECT 1")
        await busy.ask("BEGIN")
        await busy.ask("SELECT 1")
        name = here(next(iter(live.parts.core.proxy.sessions.values())))
        report = await live.fleet.hold(name, time_limit=0.2)
        assert (len(report.held), len(report.busy)) == (1, 1)
        answers: list[Any] = []

        async def ask(client: Client) -> None:
            answers.append(await client.ask("SELECT 2"))

        async def come() -> None:
            async with live.client() as late:
                answers.append(await late.ask("SELECT 2"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, idle)
            nursery.start_soon(come)
            assert await busy.ask("SELECT 3") == [(3,)]
            await busy.ask("COMMIT")
            report = await live.fleet.hold(name, time_limit=5)
            assert (len(report.held), len(report.busy)) == (2, 0)
            assert answers == []
            await live.fleet.release(name, concurrency=1)
        assert answers == [[(2,)]] * 2
