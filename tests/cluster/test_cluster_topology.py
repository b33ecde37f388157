"""What the topology makes of answers, failures and silence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.cluster.observation import Observation, format_lsn
from helios_trio.cluster.topology import TIMEOUTS_TOLERATED, NodeRole, Topology
from helios_trio.pipeline.backend import Backend

SYSTEM = "7000000000000000001"


def backend(name: str, role: str = "auto", priority: int = 10) -> Backend:
    return Backend(name, "10.0.0.1", 5432, role=role, priority=priority)


def primary(timeline: int = 1, position: int = 1000, system: str | None = SYSTEM) -> Observation:
    return Observation(
        False, position=position, timeline=timeline, system_identifier=system, server_version="18.6"
    )


def standby(replayed: int = 1000, timeline: int = 1, system: str | None = SYSTEM) -> Observation:
    return Observation(
        True,
        position=replayed,
        replayed=replayed,
        lag_seconds=0.0,
        timeline=timeline,
        system_identifier=system,
        server_version="18.6",
    )


def writer_of(topology: Topology) -> str | None:
    return topology.writer.backend.name if topology.writer else None


def test_configured_roles_hold_before_anybody_was_asked() -> None:
    """A configured primary is the writer at once, but nothing is ready."""
    topology = Topology.of([backend("b", "standby"), backend("a", "active"), backend("c")])
    assert [node.role for node in topology] == ["standby", "primary", "unknown"]
    assert writer_of(topology) == "a"
    assert not topology.ready


def test_unknown_servers_are_tried_before_anybody_was_asked() -> None:
    """Without any primary, the unknown one with the highest priority may be it."""
    topology = Topology.of([backend("a", priority=1), backend("b", priority=2)])
    assert writer_of(topology) == "b"


def test_no_writer_among_standbys() -> None:
    """When all are known to be standbys, nobody takes writes."""
    topology = Topology.of([backend("a"), backend("b", "replica")])
    topology.note_answer("a", standby(), 1.0)
    assert topology.writer is None
    assert not topology.ready


def test_auto_is_asked() -> None:
    """What a server says of itself counts where the configuration says nothing."""
    topology = Topology.of([backend("a"), backend("b")])
    assert topology.note_answer("a", standby(), 1.0)
    assert topology.note_answer("b", primary(), 1.5)
    assert writer_of(topology) == "b"
    assert topology.ready
    assert topology.nodes["b"].checked_at == 1.5


def test_configured_role_wins_over_the_answer() -> None:
    """A node configured as standby never becomes the writer, and says that it is a primary."""
    topology = Topology.of([backend("a", "standby")])
    topology.note_answer("a", primary(), 1.0)
    node = topology.nodes["a"]
    assert (node.role, node.healthy) == (NodeRole.STANDBY, True)
    assert node.reason == "configured as standby, but it is a primary"
    assert topology.writer is None


def test_configured_primary_in_recovery_is_not_ready() -> None:
    """It stays the writer, as the operator said, but writes cannot succeed."""
    topology = Topology.of([backend("a", "active")])
    topology.note_answer("a", standby(), 1.0)
    assert writer_of(topology) == "a"
    assert not topology.ready
    assert topology.nodes["a"].reason == "configured as active, but it is a standby"


def test_primary_that_is_down_stays_the_writer() -> None:
    """Clients wait for it; a standby never takes its place unasked."""
    topology = Topology.of([backend("a"), backend("b")])
    topology.note_answer("a", primary(), 1.0)
    topology.note_answer("b", standby(), 1.0)
    assert topology.note_failure("a", "connection refused", 2.0)
    assert writer_of(topology) == "a"
    assert topology.nodes["a"].reason == "connection refused"
    assert not topology.ready


def test_newer_timeline_wins_whatever_else() -> None:
    """An old primary that returns never receives a write, even when the new one is down (rule 25)."""
    topology = Topology.of([backend("old", priority=99), backend("new", priority=1)])
    topology.note_answer("old", primary(timeline=1), 1.0)
    topology.note_answer("new", primary(timeline=2), 1.0)
    assert writer_of(topology) == "new"
    topology.note_failure("new", "connection refused", 2.0)
    assert writer_of(topology) == "new"
    assert not topology.ready


def test_unrelated_data_is_chosen_by_priority_not_by_timeline() -> None:
    """A timeline says nothing across systems."""
    topology = Topology.of([backend("a", priority=2), backend("b", priority=1)])
    topology.note_answer("a", primary(timeline=1), 1.0)
    topology.note_answer("b", primary(timeline=9, system="7000000000000000002"), 1.0)
    assert writer_of(topology) == "a"


def test_single_timeouts_are_tolerated() -> None:
    """A busy server is late now and then; as many in a row as are too many make it unhealthy."""
    topology = Topology.of([backend("a")])
    topology.note_answer("a", primary(), 1.0)
    for number in range(TIMEOUTS_TOLERATED - 1):
        assert not topology.note_timeout("a", "no answer", 2.0 + number)
        assert topology.ready
    assert topology.note_timeout("a", "no answer", 9.0)
    assert not topology.ready
    assert topology.nodes["a"].reason == "no answer"


def test_an_answer_forgives_timeouts() -> None:
    """Only timeouts in a row count."""
    topology = Topology.of([backend("a")])
    for number in range(3 * TIMEOUTS_TOLERATED):
        topology.note_answer("a", primary(), 2.0 * number)
        topology.note_timeout("a", "no answer", 2.0 * number + 1)
    assert topology.ready


def test_first_timeout_of_an_unknown_server_counts() -> None:
    """A server that never answered is not given the benefit of the doubt."""
    topology = Topology.of([backend("a", "active")])
    assert topology.note_timeout("a", "no answer", 1.0)
    assert topology.nodes["a"].healthy is False


def test_news_are_told_once() -> None:
    """The same answer again changes nothing, nor does another word for the same trouble."""
    topology = Topology.of([backend("a")])
    assert topology.note_answer("a", primary(position=1), 1.0)
    assert not topology.note_answer("a", primary(position=2), 2.0)
    assert topology.note_failure("a", "gone", 3.0)
    assert not topology.note_failure("a", "gone", 4.0)
    assert not topology.note_failure("a", "refused", 5.0)
    assert topology.nodes["a"].reason == "refused"
    assert topology.note_answer("a", primary(position=3), 6.0)


def test_a_server_that_answers_may_have_news_in_its_reason() -> None:
    """It is healthy and keeps its role, but is not what the configuration says."""
    topology = Topology.of([backend("a", "active")])
    assert topology.note_answer("a", primary(), 1.0)
    assert topology.note_answer("a", standby(), 2.0)
    assert not topology.note_answer("a", standby(), 3.0)


def test_lag_is_counted_from_the_writer() -> None:
    """Bytes between what the primary has and what the standby replayed."""
    topology = Topology.of([backend("a"), backend("b")])
    topology.note_answer("b", standby(replayed=400), 1.0)
    assert topology.lag_bytes(topology.nodes["b"]) is None
    topology.note_answer("a", primary(position=1000), 1.0)
    assert topology.lag_bytes(topology.nodes["b"]) == 600
    assert topology.lag_bytes(topology.nodes["a"]) is None


@pytest.mark.parametrize(
    "seen", [standby(system="other"), Observation(True)], ids=["other data", "says nothing"]
)
def test_unknown_lag_is_not_zero(seen: Observation) -> None:
    """Where positions cannot be compared there is no figure."""
    topology = Topology.of([backend("a"), backend("b")])
    topology.note_answer("a", primary(), 1.0)
    topology.note_answer("b", seen, 1.0)
    assert topology.lag_bytes(topology.nodes["b"]) is None


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_lsn_has_postgresqls_form(high: int, low: int) -> None:
    """Both halves in hexadecimal, without leading zeros."""
    text = format_lsn(high << 32 | low)
    assert [int(half, 16) for half in text.split("/")] == [high, low]
    assert text == text.upper()


_events = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.one_of(
            st.builds(primary, timeline=st.integers(1, 3), system=st.sampled_from([SYSTEM, "other", None])),
            st.builds(standby, timeline=st.integers(1, 3)),
            st.sampled_from(["fails", "is silent"]),
        ),
    )
)


@given(_events, st.lists(st.sampled_from(["active", "standby", "auto"]), min_size=3, max_size=3))
def test_writer_is_never_a_standby_nor_of_an_older_timeline(
    events: list[tuple[str, Observation | str]], roles: list[str]
) -> None:
    """Whatever happened, writes go to no standby and not past a newer copy (rule 25)."""
    topology = Topology.of([backend(name, role) for name, role in zip("abc", roles, strict=True)])
    for now, (name, event) in enumerate(events):
        if isinstance(event, Observation):
            topology.note_answer(name, event, now)
        elif event == "fails":
            topology.note_failure(name, event, now)
        else:
            topology.note_timeout(name, event, now)
    writer = topology.writer
    if writer is None:
        assert all(node.role is NodeRole.STANDBY for node in topology)
        return
    assert writer.role is not NodeRole.STANDBY
    newer = [
        node
        for node in topology
        if node.role is NodeRole.PRIMARY
        and node.system_identifier is not None
        and node.system_identifier == writer.system_identifier
        and (node.timeline or 0) > (writer.timeline or 0)
    ]
    assert newer == []


def test_overtaken_answers_are_ignored() -> None:
    """A probe under way while its server is promoted would say that it is a standby."""
    topology = Topology.of([backend("a"), backend("b")])
    topology.note_answer("b", standby(), 1.0, asked_at=1.0)
    assert topology.note_answer("b", primary(timeline=2), 5.0, asked_at=4.0)
    assert not topology.note_answer("b", standby(), 6.0, asked_at=3.0)
    assert topology.writer is topology.nodes["b"]
    assert topology.nodes["b"].checked_at == 5.0
    topology.note_answer("b", standby(), 7.0)
    assert topology.nodes["b"].role is NodeRole.STANDBY


def test_a_deposed_server_gets_no_write() -> None:
    """Not even when its timeline is the newest, or when nobody else is there."""
    topology = Topology.of([backend("a"), backend("b")])
    topology.note_answer("a", primary(timeline=1), 1.0)
    topology.note_answer("b", primary(timeline=2), 1.0)
    assert topology.writer is topology.nodes["b"]
    topology.depose("b", "it is broken")
    assert topology.writer is topology.nodes["a"]
    topology.depose("a", "so is this")
    assert topology.writer is None
    assert not topology.ready
    topology.reinstate("b")
    assert topology.writer is topology.nodes["b"]
