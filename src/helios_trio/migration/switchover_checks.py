"""Whether a server may succeed the primary: all that speaks against it, found out before anything is begun. Pure.

Used by: migration.switchover.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.steward import ServerFacts
from helios_trio.cluster.topology import NodeState, Topology
from helios_trio.migration.errors import Conflict, Fault, InvalidOrder, NotFound
from helios_trio.migration.switchover_steps import SwitchoverSettings

_AUTO: Final = "auto"


@frozen
class Candidate:
    """A server by name, and what it says of itself."""

    name: str
    facts: ServerFacts

    @property
    def timeline(self) -> int | None:
        """The timeline it is on, if it says so."""
        return self.facts.observation.timeline


def choose_source(topology: Topology, placement: Placement, target: str) -> str:
    """The name of the primary that the target is to succeed, as far as the probes have seen.

    Raises:
        NotFound: there is no backend of that name.
        InvalidOrder: it is the primary already, or the configuration fixes the roles.
        Conflict: one of the two does not answer, the target is not in service, or somebody else promotes.
    """
    if target not in topology.nodes:
        raise NotFound([Fault("target", f'there is no backend "{target}"')])
    if topology.appointment is not None:
        raise Conflict([Fault("", "somebody else promotes servers (topology.provider): switch over there")])
    writer = topology.writer
    if writer is None:
        raise Conflict([Fault("", "no primary is known")])
    if writer.backend.name == target:
        raise InvalidOrder([Fault("target", f"{target} is the primary already")])
    fixed = [node.backend for node in (writer, topology.nodes[target]) if node.backend.role != _AUTO]
    if fixed:
        raise InvalidOrder(
            Fault("", f'the role of {each.name} is fixed in the configuration: it must be "auto" to change')
            for each in fixed
        )
    if faults := [*_ill(writer), *_ill(topology.nodes[target]), *_barred(topology.nodes[target], placement)]:
        raise Conflict(faults)
    return writer.backend.name


def _ill(node: NodeState) -> Iterator[Fault]:
    if not node.healthy:
        yield Fault(node.backend.name, f"it is not healthy: {node.reason or 'it has not been asked yet'}")


def _barred(node: NodeState, placement: Placement) -> Iterator[Fault]:
    if node.deposed:
        yield Fault(node.backend.name, f"it may not be the primary: {node.deposed}")
    if node.backend.name in placement.out_of_service:
        yield Fault(node.backend.name, "it is out of service")


def require_fit(source: Candidate, target: Candidate, settings: SwitchoverSettings) -> None:
    """Raise Conflict with all that speaks against the target, or against beginning now."""
    faults = [
        *_against_source(source),
        *_against_relation(source, target),
        *_against_target(target),
        *_against_lag(source, target, settings.max_lag),
    ]
    if faults:
        raise Conflict(faults)


def _against_source(source: Candidate) -> Iterator[Fault]:
    if source.facts.observation.in_recovery:
        yield Fault(source.name, "it is a standby now")
    if source.facts.read_only:
        yield Fault(
            source.name,
            "its default_transaction_read_only is on: an interrupted switchover may have left it so, and "
            "ALTER SYSTEM RESET default_transaction_read_only undoes that",
        )
    for right in source.facts.missing_rights:
        yield Fault(source.name, f"the control user lacks {right}; helios setup grants it")


def _against_relation(source: Candidate, target: Candidate) -> Iterator[Fault]:
    """What makes the target the standby of another server, or of another history."""
    here, there = source.facts.observation, target.facts.observation
    if here.system_identifier is None or here.system_identifier != there.system_identifier:
        yield Fault(target.name, f"it is not a copy of {source.name}: their system identifiers differ")
    if source.timeline is None or source.timeline != target.timeline:
        yield Fault(
            target.name, f"it is on timeline {target.timeline}, and {source.name} on {source.timeline}"
        )
    if target.facts.major < source.facts.major:
        yield Fault(target.name, f"it runs release {target.facts.major}, which is older")
    if not source.facts.standbys:
        yield Fault(source.name, "no standby streams from it")


def _against_target(target: Candidate) -> Iterator[Fault]:
    facts = target.facts
    if not facts.observation.in_recovery:
        yield Fault(target.name, "it is a primary")
        return
    if not facts.streaming:
        yield Fault(target.name, "it does not stream from a primary")
    if facts.replay_paused:
        yield Fault(target.name, "its replay is paused")
    if facts.apply_delay:
        yield Fault(target.name, f"it replays with a delay of {facts.apply_delay:g} s")
    if facts.synchronous_standby_names and not facts.standbys:
        yield Fault(
            target.name,
            "once it is primary its commits would wait for ever: synchronous_standby_names is "
            f"{facts.synchronous_standby_names!r}, and no standby streams from it",
        )


def _against_lag(source: Candidate, target: Candidate, limit: int) -> Iterator[Fault]:
    ahead, replayed = source.facts.observation.position, target.facts.observation.replayed
    if ahead is None or replayed is None:
        yield Fault(target.name, "its lag cannot be known")
    elif ahead - replayed > limit:
        yield Fault(target.name, f"it lags by {ahead - replayed} bytes, more than {limit}")
