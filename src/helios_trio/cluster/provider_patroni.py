"""`PatroniProvider`: Patroni says which server is primary, and the probes whether it is so yet.

A leader that Patroni names is pending until it answers as a primary itself; then it gets the writes. As long as no
member answers, what was known stays: clients wait at a primary that is down rather than go astray.

Used by: composition.watching (makes and runs it).
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, cast

import httpx
import structlog
import trio
from attrs import define, field, frozen

from helios_trio.cluster.appointment import Appointment, PrimaryStatus
from helios_trio.cluster.herald import Herald, NodeJoined, NodeLeft
from helios_trio.cluster.patroni import (
    DEFAULT_PORT,
    ClusterView,
    Member,
    PatroniUnusable,
    backend_of,
    read_cluster,
)
from helios_trio.cluster.topology import Topology

_log = structlog.get_logger(__name__)

#: Bytes of the largest answer; a cluster of a hundred members has some 20,000.
_LARGEST: Final = 1_000_000


@frozen(kw_only=True)
class PatroniAccess:
    """How Patroni's members are asked."""

    #: such as `http://10.0.0.1:8008`
    urls: Sequence[str]
    #: seconds from one question to the next
    interval: float
    #: seconds that a member has to answer
    timeout: float
    #: user and password
    auth: tuple[str, str] | None = field(default=None, repr=False)
    #: None: httpx's own, with the CAs of the system
    tls: ssl.SSLContext | None = None


@define(eq=False)
class PatroniProvider:
    """Keeps the topology's appointment as Patroni has it."""

    access: PatroniAccess
    topology: Topology
    herald: Herald
    #: has a server looked at now, by name
    probe_now: Callable[[str], None]
    #: None: over the network
    transport: httpx.AsyncBaseTransport | None = None
    #: what was answered last; None: nothing yet
    view: ClusterView | None = field(default=None, init=False)
    #: the URL that is asked first, as it answered last
    _first: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.topology.appointment = Appointment(problem="not asked yet")
        self.topology.followers.append(self._confirm)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask until cancelled; started once all members were tried."""
        limits = httpx.Limits(max_keepalive_connections=len(self.access.urls))
        async with httpx.AsyncClient(
            auth=self.access.auth,
            verify=self.access.tls or True,
            timeout=self.access.timeout,
            limits=limits,
            trust_env=False,
            transport=self.transport,
        ) as http:
            await self._ask(http)
            task_status.started()
            while True:
                await trio.sleep(self.access.interval)
                await self._ask(http)

    async def _ask(self, http: httpx.AsyncClient) -> None:
        """Ask members in turn until one answers, and act on what it says."""
        problems: list[str] = []
        count = len(self.access.urls)
        for index in ((self._first + step) % count for step in range(count)):
            url = self.access.urls[index]
            try:
                with trio.fail_after(self.access.timeout):
                    view = await _cluster(http, url)
            except (PatroniUnusable, httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError) as error:
                problems.append(f"{url}: {_reason(error)}")
            else:
                self._first = index
                self._take(view)
                return
        self._note_problem("; ".join(problems))

    @property
    def problem(self) -> str:
        """Why no member could be asked when last tried, or is believed; empty when all is well."""
        return self._appointment.problem

    @property
    def _appointment(self) -> Appointment:
        assert self.topology.appointment is not None
        return self.topology.appointment

    def _note_problem(self, problem: str) -> None:
        if bool(problem) != bool(self.problem):
            say = _log.warning if problem else _log.info
            say("patroni is of no help" if problem else "patroni answers", reason=problem)
        self._appointment.problem = problem

    # -- what was answered ---------------------------------------------------------------------------------------

    def _take(self, view: ClusterView) -> None:
        before, self.view = self.view, view
        self._tell_members(before.members if before else (), view.members)
        leader = view.leader
        name = None if leader is None else self._name(leader)
        stranger = leader.name if leader is not None and name is None else None
        self._note_problem(f"the leader, {stranger}, is no configured backend" if stranger else "")
        if name is None:
            if self.topology.dismiss():
                _log.warning("patroni has no leader that could be used", reason=self.problem)
        elif self.topology.appoint(name):
            _log.info("patroni has a leader", node=name)
            self._confirm(name)
        if self.topology.primary_status is PrimaryStatus.PENDING and name is not None:
            self.probe_now(name)

    def _confirm(self, name: str) -> None:
        """A server has been looked at: confirm it if it is the one that is waited for."""
        node = self.topology.nodes[name]
        if self._appointment.pending != name or node.observed is None:
            return
        if node.healthy and node.writable:
            self.topology.confirm(name)

    def _name(self, member: Member) -> str | None:
        """The name of the backend that a member is."""
        backend = backend_of(member, (node.backend for node in self.topology))
        return None if backend is None else backend.name

    def _tell_members(self, before: Sequence[Member], now: Sequence[Member]) -> None:
        known, there = {each.name for each in before}, {each.name for each in now}
        for member in now:
            if member.name not in known:
                backend = self._name(member)
                self.herald.tell(
                    NodeJoined(
                        name=backend or member.name,
                        host=member.host or "",
                        port=member.port or DEFAULT_PORT,
                        configured=backend is not None,
                    )
                )
        for member in before:
            if member.name not in there:
                backend = self._name(member)
                self.herald.tell(NodeLeft(name=backend or member.name, configured=backend is not None))


async def _cluster(http: httpx.AsyncClient, url: str) -> ClusterView:
    """Raises PatroniUnusable, and what httpx raises."""
    async with http.stream("GET", f"{url.rstrip('/')}/cluster") as answer:
        if answer.status_code != httpx.codes.OK:
            raise PatroniUnusable(f"HTTP status {answer.status_code}")
        body = bytearray()
        async with aclosing(cast("AsyncGenerator[bytes, None]", answer.aiter_bytes())) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > _LARGEST:
                    raise PatroniUnusable(f"more than {_LARGEST} bytes")
    try:
        found = json.loads(body)
    except ValueError as error:
        raise PatroniUnusable("no JSON") from error
    return read_cluster(found)


def _reason(error: Exception) -> str:
    return str(error) or (
        "no answer in time" if isinstance(error, trio.TooSlowError) else type(error).__name__
    )
