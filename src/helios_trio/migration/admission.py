"""Whether an order for a migration can be taken: what is wrong with it, all at once, and what stands in its way. Pure.

Used by: migration.orchestrator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from helios_trio.cluster.topology import NodeState, Topology
from helios_trio.config.migration import what_is_wrong_with
from helios_trio.migration.errors import Conflict, Fault, InvalidOrder, NotAvailable
from helios_trio.migration.orders import DataMode, MigrationOrder
from helios_trio.migration.phases import ALL, phases_of


def check_order(order: MigrationOrder, topology: Topology, *, reads_move: bool) -> None:
    """What can be seen from the order itself. Raises InvalidOrder or NotAvailable."""
    if faults := list(_invalid(order, topology)):
        raise InvalidOrder(faults)
    if order.data is DataMode.LOGICAL:
        raise NotAvailable([Fault("data", "logical migrations are not available in this version")])
    if order.data is DataMode.PHYSICAL:
        check_physical(order, reads_move=reads_move)


def check_physical(order: MigrationOrder, *, reads_move: bool) -> None:
    """Reads can go in shares, where sessions are routed; writes go at once, for all tenants (rule 23).

    Raises NotAvailable.
    """
    if all(each.percent >= ALL for each in phases_of(order.mode, order.phases)):
        if order.tenants:
            raise NotAvailable([Fault("tenant_filter", "a switchover is for all tenants")])
    elif not reads_move:
        what = (
            f"{order.mode} moves reads before writes where the target is a standby of the source, and that needs "
            "routed sessions: set routing.enabled = true and restart, or use immediate"
        )
        raise NotAvailable([Fault("mode", what)])


def _invalid(order: MigrationOrder, topology: Topology) -> Iterator[Fault]:
    for path, name in (("source", order.source), ("target", order.target)):
        if name not in topology.nodes:
            yield Fault(path, f'there is no backend "{name}"; known are {", ".join(topology.nodes)}')
    if order.source == order.target:
        yield Fault("target", "expected another backend than the source")
    if what := what_is_wrong_with([each.percent for each in phases_of(order.mode, order.phases)]):
        yield Fault("phases", f"expected {what}")


def check_servers(order: MigrationOrder, topology: Topology) -> None:
    """What is known of the servers now. Raises Conflict."""
    source, target = topology.nodes[order.source], topology.nodes[order.target]
    if faults := [*_unhealthy(target), *_older(order, source, target)]:
        raise Conflict(faults)


def _unhealthy(target: NodeState) -> Iterator[Fault]:
    if target.healthy is not True:
        yield Fault("target", f"{target.backend.name} is not healthy: {target.reason or 'not asked yet'}")


def _older(order: MigrationOrder, source: NodeState, target: NodeState) -> Iterator[Fault]:
    """Rule 21."""
    before, after = major_version(source), major_version(target)
    if before is not None and after is not None and after < before and not order.allow_older:
        yield Fault(
            "target", f"PostgreSQL {after} is older than the source's {before}; allow_older allows it"
        )


def major_version(node: NodeState) -> int | None:
    """Of PostgreSQL 10 and newer; None while the server has not said."""
    text = node.observed.server_version if node.observed else ""
    number = text.partition(".")[0].partition(" ")[0]
    digits = number[: len(number) - len(number.lstrip("0123456789"))]
    return int(digits) if digits else None


def check_company(order: MigrationOrder, others: Iterable[tuple[int, MigrationOrder]]) -> None:
    """Migrations that have not ended, by id: none of them may pull at the same sessions. Raises Conflict."""
    for id, other in others:
        if order.source == other.source:
            raise Conflict(
                [Fault("source", f"migration {id} is already moving sessions from {order.source}")]
            )
        if order.source == other.target or order.target == other.source:
            which = f"from {other.source} to {other.target}"
            raise Conflict([Fault("source", f"migration {id} is moving sessions {which}")])
        if DataMode.PHYSICAL in (order.data, other.data):
            raise Conflict(
                [Fault("data", f"a switchover takes all sessions, and migration {id} has not ended")]
            )


def check_data(order: MigrationOrder, found: DataMode, *, reads_move: bool = False) -> None:
    """Whether the servers' data are related as the order says, or as any order may. Raises Conflict, NotAvailable."""
    if order.data is not None and order.data is not found:
        what = {
            DataMode.SHARED: "both names lead to one server",
            DataMode.PHYSICAL: f"{order.target} is a standby of {order.source}",
            DataMode.LOGICAL: f"{order.target} is neither {order.source} itself nor a standby of it",
        }[found]
        raise Conflict([Fault("data", f"{order.data} was asked for, but {what}")])
    if found is DataMode.LOGICAL:
        what = f"{order.target} has other data than {order.source}; logical migrations are not available"
        raise NotAvailable([Fault("target", what)])
    if found is DataMode.PHYSICAL:
        check_physical(order, reads_move=reads_move)
