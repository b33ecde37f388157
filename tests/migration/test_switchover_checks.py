"""What speaks against a switchover, found out before anything is begun."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve
from switchover_rig import SOURCE, SYSTEM, TARGET, facts, make_topology, observation

from helios_trio.cluster.appointment import Appointment, PrimaryStatus
from helios_trio.cluster.observation import Observation
from helios_trio.cluster.placement import Placement
from helios_trio.cluster.steward import ServerFacts
from helios_trio.cluster.topology import Topology
from helios_trio.migration.errors import Conflict, InvalidOrder
from helios_trio.migration.switchover_checks import Candidate, choose_source, require_fit
from helios_trio.migration.switchover_steps import SwitchoverSettings
from helios_trio.pipeline.backend import Backend

SETTINGS = SwitchoverSettings(max_lag=1000)
FIT_SOURCE, FIT_TARGET = facts(in_recovery=False), facts(in_recovery=True)


def seen(found: ServerFacts, **changes: object) -> ServerFacts:
    """With something else in its observation."""
    return evolve(found, observation=evolve(found.observation, **changes))


def complaint(source: ServerFacts = FIT_SOURCE, target: ServerFacts = FIT_TARGET) -> str:
    with pytest.raises(Conflict) as caught:
        require_fit(Candidate(SOURCE, source), Candidate(TARGET, target), SETTINGS)
    assert len(caught.value.faults) == 1
    return str(caught.value)


def test_a_streaming_standby_is_fit() -> None:
    """Nothing speaks against it; a lag up to the limit does not."""
    require_fit(Candidate(SOURCE, FIT_SOURCE), Candidate(TARGET, FIT_TARGET), SETTINGS)
    require_fit(Candidate(SOURCE, FIT_SOURCE), Candidate(TARGET, seen(FIT_TARGET, replayed=4000)), SETTINGS)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (evolve(FIT_TARGET, streaming=False), "two: it does not stream from a primary"),
        (evolve(FIT_TARGET, replay_paused=True), "two: its replay is paused"),
        (evolve(FIT_TARGET, apply_delay=5.0), "two: it replays with a delay of 5 s"),
        (evolve(FIT_TARGET, version=170009), "two: it runs release 17, which is older"),
        (
            evolve(FIT_TARGET, synchronous_standby_names="one"),
            "two: once it is primary its commits would wait",
        ),
        (seen(FIT_TARGET, system_identifier="8"), "two: it is not a copy of one"),
        (seen(FIT_TARGET, timeline=2), "two: it is on timeline 2, and one on 1"),
        (seen(FIT_TARGET, timeline=None), "two: it is on timeline None"),
        (seen(FIT_TARGET, replayed=3999), "two: it lags by 1001 bytes, more than 1000"),
        (seen(FIT_TARGET, replayed=None), "two: its lag cannot be known"),
    ],
)
def test_unfit_targets(target: ServerFacts, text: str) -> None:
    """Each reason by itself is one, and names the server."""
    assert text in complaint(target=target)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (evolve(FIT_SOURCE, read_only=True), "one: its default_transaction_read_only is on"),
        (
            evolve(FIT_SOURCE, missing_rights=("EXECUTE on f()",)),
            "one: the control user lacks EXECUTE on f()",
        ),
        (evolve(FIT_SOURCE, standbys=0), "one: no standby streams from it"),
        (seen(FIT_SOURCE, in_recovery=True), "one: it is a standby now"),
    ],
)
def test_unfit_sources(source: ServerFacts, text: str) -> None:
    """The primary may be the reason, too."""
    assert text in complaint(source=source)


def test_a_synchronous_target_with_standbys_of_its_own_is_fit() -> None:
    """Its commits have somebody to wait for."""
    target = evolve(FIT_TARGET, synchronous_standby_names="three", standbys=1)
    require_fit(Candidate(SOURCE, FIT_SOURCE), Candidate(TARGET, target), SETTINGS)


def test_all_reasons_are_told_at_once() -> None:
    """So that an operator need not try again for each."""
    with pytest.raises(Conflict) as caught:
        require_fit(
            Candidate(SOURCE, evolve(FIT_SOURCE, read_only=True, missing_rights=("a", "b"))),
            Candidate(TARGET, evolve(FIT_TARGET, streaming=False, replay_paused=True)),
            SETTINGS,
        )
    assert [fault.path for fault in caught.value.faults] == [SOURCE, SOURCE, SOURCE, TARGET, TARGET]


def no_primary(topology: Topology) -> None:
    topology.note_answer(SOURCE, observation(in_recovery=True), 1.0)


def silent_source(topology: Topology) -> None:
    topology.note_failure(SOURCE, "connection refused", 1.0)


def silent_target(topology: Topology) -> None:
    topology.note_failure(TARGET, "connection refused", 1.0)


def deposed_target(topology: Topology) -> None:
    topology.depose(TARGET, "it is broken")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (no_primary, "no primary is known"),
        (silent_source, "one: it is not healthy: connection refused"),
        (silent_target, "two: it is not healthy: connection refused"),
        (deposed_target, "two: it may not be the primary: it is broken"),
    ],
)
def test_what_the_probes_have_seen(spoil: Callable[[Topology], None], text: str) -> None:
    """A server that is known to be unfit is not even asked."""
    topology = make_topology()
    assert choose_source(topology, Placement(), TARGET) == SOURCE
    spoil(topology)
    with pytest.raises(Conflict, match=text):
        choose_source(topology, Placement(), TARGET)


def test_a_target_that_was_not_asked_yet() -> None:
    """What nobody knows is not good enough."""
    topology = make_topology(healthy=False)
    topology.note_answer(SOURCE, observation(in_recovery=False), 1.0)
    with pytest.raises(Conflict, match="two: it is not healthy: it has not been asked yet"):
        choose_source(topology, Placement(), TARGET)


def test_a_target_out_of_service() -> None:
    """An operator has said that nobody goes there."""
    with pytest.raises(Conflict, match="two: it is out of service"):
        choose_source(make_topology(), Placement(out_of_service={TARGET}), TARGET)


def test_nothing_is_promoted_where_somebody_else_does() -> None:
    """Patroni, or an operator with other means."""
    topology = make_topology()
    topology.appointment = Appointment(SOURCE, PrimaryStatus.CONFIRMED)
    with pytest.raises(Conflict, match="somebody else promotes"):
        choose_source(topology, Placement(), TARGET)


@pytest.mark.parametrize("roles", [("active", "auto"), ("auto", "standby")])
def test_roles_of_the_configuration_cannot_change(roles: tuple[str, str]) -> None:
    """The topology would go on as if nothing had happened."""
    topology = Topology.of(
        Backend(name, "10.0.0.1", 5432, role=role) for name, role in zip((SOURCE, TARGET), roles, strict=True)
    )
    topology.note_answer(SOURCE, Observation(False, 5000, None, None, 1, SYSTEM), 0.0)
    topology.note_answer(TARGET, observation(in_recovery=True), 0.0)
    with pytest.raises(InvalidOrder, match="fixed in the configuration"):
        choose_source(topology, Placement(), TARGET)
