"""A failover controller for a real cluster, with sessions that only record what is done to them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from helios_trio.cluster.placement import Placement
from helios_trio.cluster.prober import Probes
from helios_trio.cluster.steward_embedded import EmbeddedSteward
from helios_trio.cluster.topology import Topology
from helios_trio.config.failover import FailoverSettings
from helios_trio.control import ControlConnection
from helios_trio.embedded import EmbeddedCluster
from helios_trio.failover.alerts import Alerts
from helios_trio.failover.controller import Controller
from helios_trio.failover.examination import Examiner, Knocker
from helios_trio.failover.fencing import Fencing
from helios_trio.failover.means import Means
from helios_trio.failover.redirection import Redirection
from helios_trio.failover.steps import FailoverCourse
from helios_trio.failover.tokens import TokenCheck
from helios_trio.migration.events import EventLog
from helios_trio.pipeline.backend import Backend


@define
class RecordedSessions:
    """`failover.sessions.Sessions`: what was asked of it, in order."""

    calls: list[tuple[str, str]] = field(factory=list)

    def hold(self, backend: str) -> None:
        self.calls.append(("hold", backend))

    async def release(self, backend: str) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append(("release", backend))

    def cut_off(self, backend: str, reason: str) -> None:
        self.calls.append(("cut off", backend))

    def reopen(self, backend: str) -> None:
        self.calls.append(("reopen", backend))

    async def move_idle(self, course: FailoverCourse, target: str) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append(("move idle", target))


@define
class Tokens:
    """`failover.tokens.AcknowledgedTokens`."""

    ids: dict[str, Sequence[str]] = field(factory=dict)

    def newest(self, backend: str) -> Mapping[str, Sequence[str]]:
        return self.ids


@define
class RealRig:
    """A controller for a cluster."""

    cluster: EmbeddedCluster
    controller: Controller
    sessions: RecordedSessions
    tokens: Tokens

    @property
    def topology(self) -> Topology:
        return self.controller.means.topology

    def events(self) -> list[str]:
        """Kinds of what has happened, oldest first."""
        return [each.kind for each in reversed(self.controller.means.events.newest(1000))]

    async def until_event(self, kind: str) -> None:
        while kind not in self.events():  # noqa: ASYNC110 - the log tells nobody
            await trio.sleep(0.01)


@asynccontextmanager
async def failing_over(cluster: EmbeddedCluster, settings: FailoverSettings) -> AsyncIterator[RealRig]:
    """The controller and the probes run."""
    topology = Topology.of(
        Backend(name=node.name, host=str(node.socket_dir), port=node.port) for node in cluster.nodes
    )

    async def connect(name: str) -> ControlConnection:
        connection = await cluster.connect(name)
        connection.cancel_grace = 0.0
        return connection

    async def connect_to(backend: Backend) -> ControlConnection:
        return await connect(backend.name)

    steward = EmbeddedSteward(connect, cluster)
    sessions, tokens = RecordedSessions(), Tokens()
    means = Means(
        topology=topology,
        redirection=Redirection(topology, Placement()),
        steward=steward,
        examiner=Examiner(topology, connect_to, Knocker(cluster.superuser, "postgres")),
        fencing=Fencing(steward),
        sessions=sessions,
        token_check=TokenCheck(cluster.connect),
        events=EventLog(time.time),
        alerts=Alerts(None),
        settings=settings,
        clock=time.time,
        tokens=tokens,
    )
    controller = Controller(means)
    async with trio.open_nursery() as nursery:
        await nursery.start(Probes(topology, connect_to, 0.5, 0.5).run)
        await nursery.start(controller.run)
        nursery.start_soon(cluster.watch)
        yield RealRig(cluster, controller, sessions, tokens)
        nursery.cancel_scope.cancel()
