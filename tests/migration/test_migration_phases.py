"""Phases: shares that rise and never let go of a session, tenants that go together, who is next, when it will end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from migration_rig import FakeSession

from helios_trio.config.migration import what_is_wrong_with
from helios_trio.config.words import MigrationMode, ShareOf
from helios_trio.migration.orders import MigrationOrder, Phase
from helios_trio.migration.phases import belonging, diversion_of, estimated_end, in_order, phases_of
from helios_trio.migration.tenants import tenant_in_share
from helios_trio.pipeline.fleet import SessionState

PERCENTS = st.floats(0.01, 100.0)
TENANTS = st.text(max_size=10)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def order(share_of: ShareOf = ShareOf.SESSIONS, tenants: tuple[str, ...] = ()) -> MigrationOrder:
    return MigrationOrder(source="blue", target="green", share_of=share_of, tenants=tenants)


@pytest.mark.parametrize(
    ("percents", "wrong"),
    [
        ([100.0], ""),
        ([10.0, 50.0, 100.0], ""),
        ([10.0, 10.0, 100.0], "percentages that rise from phase to phase"),
        ([50.0, 10.0, 100.0], "percentages that rise from phase to phase"),
        ([10.0, 50.0], "100 in the last phase"),
    ],
)
def test_phases_rise_to_100(percents: list[float], wrong: str) -> None:
    """Anything else is refused, with what was expected."""
    assert what_is_wrong_with(percents) == wrong


@given(st.integers(1, 2**40), TENANTS, PERCENTS, PERCENTS, st.sampled_from(ShareOf))
def test_once_in_a_session_stays_in(
    session: int, tenant: str, one: float, other: float, share_of: ShareOf
) -> None:
    """While the share grows, nobody hops back."""
    less, more = sorted((one, other))
    before = diversion_of(order(share_of), less).takes(session, tenant)
    assert diversion_of(order(share_of), more).takes(session, tenant) or not before
    assert diversion_of(order(share_of), 100.0).takes(session, tenant)


@given(st.integers(1, 2**40), st.integers(1, 2**40), TENANTS, PERCENTS)
def test_sessions_of_a_tenant_go_together(one: int, other: int, tenant: str, percent: float) -> None:
    """When the share is one of tenants."""
    diversion = diversion_of(order(ShareOf.TENANTS), percent)
    assert diversion.takes(one, tenant) == diversion.takes(other, tenant)


@given(st.integers(1, 2**40), TENANTS, PERCENTS, st.sampled_from(ShareOf))
def test_others_are_left_alone(session: int, tenant: str, percent: float, share_of: ShareOf) -> None:
    """A tenant that matches no pattern never belongs to the target."""
    diversion = diversion_of(order(share_of, ("test_*", "acme")), percent)
    if diversion.takes(session, tenant):
        assert tenant.startswith("test_") or tenant == "acme"


def test_shares_are_about_what_they_say() -> None:
    """Of many sessions, and of many tenants, to a few percent."""
    diversion = diversion_of(order(), 30.0)
    assert 2700 < sum(diversion.takes(id, "x") for id in range(10_000)) < 3300
    assert 2700 < sum(tenant_in_share(f"tenant {number}", 30.0) for number in range(10_000)) < 3300


def test_an_immediate_migration_has_one_phase() -> None:
    """Whatever phases are given."""
    phases = (Phase(10.0, 5.0), Phase(100.0))
    assert phases_of(MigrationMode.IMMEDIATE, phases) == (Phase(100.0),)
    assert phases_of(MigrationMode.GRADUAL, phases) == phases
    assert phases_of(MigrationMode.MANUAL, phases) == phases


@given(st.lists(st.sampled_from(SessionState), max_size=20))
def test_who_can_be_moved_at_once_comes_first(states: list[SessionState]) -> None:
    """Long transactions must not keep idle sessions waiting; nobody is lost or doubled."""
    sessions = [FakeSession(id, state=state).info for id, state in enumerate(states)]
    ordered = in_order(sessions)
    assert sorted(each.id for each in ordered) == list(range(len(states)))
    ready = [each.state in (SessionState.IDLE, SessionState.HELD) for each in ordered]
    assert ready == sorted(ready, reverse=True)
    busy = [
        each.state is SessionState.IN_TRANSACTION for each in ordered if each.state is not SessionState.MOVING
    ]
    assert busy == sorted(busy)


def test_only_sessions_of_the_source_belong() -> None:
    """Those that are elsewhere, the target included, are none of its business."""
    sessions = [
        FakeSession(1).info,
        FakeSession(2, backend="green").info,
        FakeSession(3, backend="teal").info,
    ]
    assert [each.id for each in belonging(sessions, diversion_of(order(), 100.0))] == [1]


def test_the_estimate_adds_phases_and_moves() -> None:
    """What is left of this phase, the next ones, and moving as many as are left, some at a time."""
    phases = (Phase(50.0, 60.0), Phase(100.0))
    assert estimated_end(NOW, phases, 10.0, 64, 0.5, 32) == NOW + timedelta(seconds=71)
    assert estimated_end(NOW, (), 0.0, 0, 0.0, 32) == NOW
