"""The servers of the API: topology, single nodes, their health, taking them out of service and putting them back.

Used by: admin.api.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

import trio
from attrs import frozen

from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Route, changes, reads
from helios_trio.admin.sessions import Why
from helios_trio.admin.views import NodeView, TopologyView, topology_view
from helios_trio.config.keys import key
from helios_trio.config.kinds import Seconds, Switch
from helios_trio.migration.checks import CheckResult
from helios_trio.migration.draining import Drains, DrainStatus
from helios_trio.migration.errors import Fault, NotFound


@frozen(kw_only=True)
class NodesView:
    """All servers."""

    nodes: tuple[NodeView, ...]


@frozen(kw_only=True)
class BackendHealthView:
    """What a server is like now, by the required checks of the configuration."""

    backend: str
    #: healthy or unhealthy
    status: str
    #: what was measured, by name; absent: could not be
    checks: Mapping[str, float | bool]
    required: tuple[CheckResult, ...]
    ready_for_migration: bool
    #: why it is not, or why not everything could be measured
    reason: str


@frozen(kw_only=True)
class DrainBody:
    """How a backend is drained."""

    wait_for_idle: Switch = key(True, "answer when nobody is left, or when the time is over; false: at once")
    timeout: Seconds = key(30.0, "how long to wait; the sessions are moved on afterwards too")
    reason: Why = key("", "why; stands in the events")


@frozen(kw_only=True)
class ServiceBody:
    """Why a node is taken out of service, or put back."""

    reason: Why = key("", "why; stands in the events")


def routes(parts: Parts) -> Iterator[Route]:
    """Servers."""

    async def topology(_: Call) -> TopologyView:
        return topology_view(parts, now=time.time(), clock=trio.current_time())

    async def nodes(call: Call) -> NodesView:
        return NodesView(nodes=(await topology(call)).nodes)

    async def node(call: Call) -> NodeView:
        return _node(parts, call.path["name"])

    async def health(call: Call) -> BackendHealthView:
        _node(parts, call.path["name"])
        return await _health(parts, call.path["name"])

    yield reads("/api/v1/topology", "Servers, and which of them takes writes", TopologyView, topology)
    yield reads("/api/v1/nodes", "List servers", NodesView, nodes)
    yield reads("/api/v1/nodes/<name>", "Look at a server", NodeView, node)
    summary = "Run the required checks on a server, now"
    yield reads("/api/v1/backends/<name>/health", summary, BackendHealthView, health)
    if parts.migrations is not None:
        yield from _orders(parts, Drains(parts.migrations))


def _node(parts: Parts, name: str) -> NodeView:
    found = topology_view(parts, now=time.time(), clock=trio.current_time()).nodes
    node = next((each for each in found if each.name == name), None)
    if node is None:
        raise NotFound([Fault("", f'there is no backend "{name}"')])
    return node


async def _health(parts: Parts, name: str) -> BackendHealthView:
    found = await parts.examiner.examine(name)
    reason = "; ".join([*found.complaints, *([found.reason] if found.reason else [])])
    return BackendHealthView(
        backend=name,
        status="unhealthy" if found.complaints else "healthy",
        checks=found.measured,
        required=found.results,
        ready_for_migration=not found.complaints,
        reason=reason,
    )


def _orders(parts: Parts, drains: Drains) -> Iterator[Route]:
    async def drain(call: Call) -> DrainStatus:
        body: DrainBody = call.body
        return await drains.drain(
            call.path["name"], call.who, body.reason, wait=body.wait_for_idle, time_limit=body.timeout
        )

    def put(order: Callable[[str, str, str], Awaitable[None]]) -> Callable[[Call], Awaitable[NodeView]]:
        async def handle(call: Call) -> NodeView:
            await order(call.path["name"], call.who, call.body.reason)
            return _node(parts, call.path["name"])

        return handle

    summary = "Let nobody new in, and move those who are there"
    yield changes("/api/v1/backends/<name>/drain", summary, DrainStatus, drain, body=DrainBody)
    node = "/api/v1/nodes/<name>"
    yield changes(f"{node}/disable", "Let nobody new in", NodeView, put(drains.disable), body=ServiceBody)
    yield changes(
        f"{node}/enable", "Let new sessions in again", NodeView, put(drains.enable), body=ServiceBody
    )
