"""Failovers through the API: watched, ordered, counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import trio
from admin_parts import Api, make_parts
from attrs import define, evolve, field
from fake_switchover import FakeSwitchover
from migration_rig import Rig, make_rig, running, until_state
from test_admin_metrics import figure

from helios_trio.admin.parts import Parts
from helios_trio.failover.counters import FailoverCounters
from helios_trio.failover.steps import FailoverOutcome, FailoverReport, FailoverStep
from helios_trio.migration.errors import Conflict, Fault
from helios_trio.migration.states import State
from helios_trio.pipeline.rescue import CommitOutcome

REPORT = FailoverReport(
    id=1,
    source="blue",
    target="gold",
    reason="a connection was lost",
    started_at=1_800_000_000.0,
    step=FailoverStep.RELEASE,
    elapsed=0.5,
    seconds={FailoverStep.EXAMINE: 0.1, FailoverStep.PROMOTE: 0.15},
    outcome=FailoverOutcome.COMPLETED,
    failure="",
    moved=3,
    remaining=0,
    lost=1,
    errors=("session 7: no",),
    pause=0.25,
)


@define(eq=False)
class FakeController:
    """As much of `failover.controller.Controller` as the API uses."""

    active: str = ""
    last: FailoverReport | None = None
    orders: list[tuple[str | None, str, str]] = field(factory=list)
    error: Exception | None = None
    counters: FailoverCounters = field(factory=FailoverCounters)

    @property
    def means(self) -> FakeController:
        return self

    def report(self) -> FailoverReport | None:
        return self.last

    def order(self, target: str | None, *, who: str, reason: str = "") -> None:
        if self.error is not None:
            raise self.error
        self.orders.append((target, who, reason))


@pytest.fixture
def switchover() -> FakeSwitchover:
    return FakeSwitchover()


@pytest.fixture
async def rig(switchover: FakeSwitchover) -> AsyncIterator[Rig]:
    async with running(make_rig(switchover=switchover, sessions=10)) as made:
        yield made


@pytest.fixture
def controller() -> FakeController:
    return FakeController()


@pytest.fixture
def parts(rig: Rig, switchover: FakeSwitchover, controller: FakeController) -> Parts:
    return evolve(make_parts(rig, switchover), primaries=cast(Any, controller))


async def test_a_failover_is_shown(parts: Parts, controller: FakeController) -> None:
    """Its steps, how long clients waited, and what became of sessions since the start."""
    controller.last = REPORT
    parts.replays.note_replay(0.1, 2)
    parts.replays.note_mismatch("rows")
    for outcome in (CommitOutcome.COMMITTED, CommitOutcome.COMMITTED, CommitOutcome.UNKNOWN):
        parts.replays.note_outcome(outcome)
    status, body = await Api.of(parts).get("/api/v1/failover/status")
    assert status == 200
    backends = body.pop("backends")
    assert [each["name"] for each in backends] == ["blue", "green", "teal", "gold", "other"]
    assert body == {
        "failover_active": False,
        "kind": "failover",
        "trigger_reason": "a connection was lost",
        "source_backend": "blue",
        "target_backend": "gold",
        "step": "releasing sessions",
        "outcome": "completed",
        "failure": None,
        "elapsed_seconds": 0.5,
        "steps": [
            {"step": "examining the primary", "seconds": 0.1},
            {"step": "promoting the standby", "seconds": 0.15},
        ],
        "write_pause_seconds": 0.25,
        "sessions_migrated": 3,
        "sessions_remaining": 0,
        "migration_progress": 1.0,
        "migration_errors": ["session 7: no"],
        "warnings": [],
        "client_errors": 1,
        "waiting_for": [],
        "migration_id": None,
        "transactions_replayed": 1,
        "replay_mismatches": 1,
        "outcomes": {"committed": 2, "replayed": 0, "unknown": 1},
    }


async def test_one_under_way(parts: Parts, controller: FakeController) -> None:
    """What it waits for; there is no target yet, and no pause."""
    controller.last = evolve(
        REPORT,
        outcome=None,
        target="",
        step=FailoverStep.ORDER,
        failure="no standby can take over",
        pause=0.0,
    )
    _, body = await Api.of(parts).get("/api/v1/failover/status")
    assert (body["failover_active"], body["target_backend"], body["write_pause_seconds"]) == (
        True,
        None,
        None,
    )
    assert (body["step"], body["failure"]) == ("waiting for an operator's order", "no standby can take over")


@pytest.mark.parametrize(("started_at", "kind"), [(1.0, "switchover"), (3e9, "failover")])
async def test_the_later_one_is_shown(
    parts: Parts,
    rig: Rig,
    switchover: FakeSwitchover,
    controller: FakeController,
    started_at: float,
    kind: str,
) -> None:
    """Of a switchover and a failover that are over."""
    switchover.report = evolve(switchover.report, started_at=1e9)
    switchover.go_on.set()
    api = Api.of(parts)
    await api.post("/api/v1/failover/start", {"target": "gold"})
    await until_state(rig.migrations.find(1), State.COMPLETED)
    controller.last = evolve(REPORT, started_at=started_at)
    _, body = await api.get("/api/v1/failover/status")
    assert body["kind"] == kind


async def test_an_order_while_the_primary_is_dead(parts: Parts, rig: Rig, controller: FakeController) -> None:
    """Goes to the failover; it is no switchover."""
    controller.active, controller.last = "a failover of blue is under way", evolve(REPORT, outcome=None)
    status, body = await Api.of(parts).post(
        "/api/v1/failover/start", {"target": "gold", "reason": "it burns"}
    )
    assert (status, body["kind"]) == (202, "failover")
    assert controller.orders == [("gold", "otto", "it burns")]
    assert list(rig.migrations) == []


async def test_an_order_that_comes_too_late(parts: Parts, controller: FakeController) -> None:
    """Somebody is being promoted already."""
    controller.active = "a failover of blue is under way"
    controller.error = Conflict([Fault("", "a failover is promoting the standby")])
    status, problem = await Api.of(parts).post("/api/v1/failover/start", {"target": "gold"})
    assert (status, problem["detail"]) == (409, "a failover is promoting the standby")


async def test_without_session_migration(controller: FakeController) -> None:
    """Failovers can be watched all the same; a planned one is refused."""
    await trio.lowlevel.checkpoint()
    api = Api.of(evolve(make_parts(), primaries=cast(Any, controller)))
    status, body = await api.get("/api/v1/failover/status")
    assert (status, body["kind"], body["failover_active"]) == (200, None, False)
    status, problem = await api.post("/api/v1/failover/start", {"target": "node2"})
    assert (status, "session_migration is not enabled" in problem["detail"]) == (409, True)


def test_failovers_are_counted() -> None:
    """By how they ended and by step; nothing where nobody takes over."""
    parts = make_parts()
    assert figure(parts, "helios_failovers_total", outcome="completed") == 0
    controller = FakeController(active="a failover of node1 is under way")
    controller.counters.note(REPORT)
    parts = evolve(parts, primaries=cast(Any, controller))
    parts.replays.note_mismatch("rows")
    assert figure(parts, "helios_failover_active") == 1
    assert figure(parts, "helios_failovers_total", outcome="completed") == 1
    assert figure(parts, "helios_failover_pause_seconds_total") == 0.25
    assert figure(parts, "helios_failover_step_seconds_total", step="promoting the standby") == 0.15
    assert figure(parts, "helios_failover_sessions_moved_total") == 3
    assert figure(parts, "helios_replay_mismatches_total", cause="rows") == 1
    assert figure(parts, "helios_commit_outcomes_total", outcome="unknown") == 0
