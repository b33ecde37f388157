"""A proxy inside a test whose sessions outlive their connections, in front of one real server that stays alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import trio
from attrs import define, field

from helios_trio.app import ServeOptions, Signals, run
from helios_trio.composition.assembly import Assembly, assemble
from helios_trio.config.loader import loads
from helios_trio.control.connection import ControlConnection
from helios_trio.failover.acknowledged import Acknowledged
from helios_trio.failover.counters import ReplayCounters
from helios_trio.failover.journal import JournalLimits
from helios_trio.failover.outcome import OutcomeResolver
from helios_trio.failover.recovery import recover
from helios_trio.failover.recovery_means import RecoveryMeans, ReplaySettings
from helios_trio.failover.sequence_marks import SequenceMarks
from helios_trio.failover.sequence_moves import SequenceMover
from helios_trio.failover.session import RecoverableSession
from helios_trio.net.listener import open_listeners
from helios_trio.pipeline.rescue import Urgency

CONFIG: Final = """
[proxy]
listen_address = "127.0.0.1:0"
admin_listen_address = "off"
drain_timeout = "1s"
[auth]
method = "trust"
[control]
user = "postgres"
[failover]
enabled = false
[[backends.pools]]
name = "only"
host = "{host}"
port = {port}
[pool]
mode = "{mode}"
max_connections = 10
queue_timeout = "5s"
"""


@define(eq=False)
class SameServer:
    """See `pipeline.rescue.Primaries`: nothing is ever wrong with the server."""

    suspicions: Counter[str] = field(factory=Counter)
    urgencies: Counter[Urgency] = field(factory=Counter)

    def suspect(self, backend: str, reason: str) -> None:
        """Counted."""
        self.suspicions[backend] += 1

    async def settled(self, backend: str, urgency: Urgency = Urgency.NEW) -> str:
        """It is what it was."""
        await trio.lowlevel.checkpoint()
        return backend

    @contextmanager
    def precedence(self, backend: str, urgency: Urgency) -> Iterator[None]:
        """Counted."""
        self.urgencies[urgency] += 1
        yield


@define
class RecoveryRig:
    """The running proxy, and what became of its sessions."""

    parts: Assembly
    port: int
    counters: ReplayCounters
    primaries: SameServer

    def parameters(self, **more: Any) -> dict[str, Any]:
        """For a driver."""
        return {"host": "127.0.0.1", "port": self.port, "user": "postgres", **more}


@asynccontextmanager
async def recovering_proxy(
    address: tuple[str, int],
    mode: str,
    *,
    through: tuple[str, int] | None = None,
    guarded: bool = True,
    by_xid: bool = False,
    time_limit: float = 60.0,
) -> AsyncIterator[RecoveryRig]:
    """A proxy in this mode in front of the server at `address`; the block has `time_limit` seconds.

    `through`: where sessions reach that server, if not directly.
    """
    host, port = through or address
    text = CONFIG.format(host=host, port=port, mode=mode)
    parts = assemble(loads(text, {}, source="recovery_rig", folder=Path.cwd()), None)
    primaries, counters = SameServer(), ReplayCounters()

    async def connect(backend: str, database: str) -> ControlConnection:
        host, port = address
        return await ControlConnection.connect(
            host=host, port=port, user="postgres", dbname=database, autocommit=True
        )

    means = RecoveryMeans(
        primaries=primaries,
        outcomes=OutcomeResolver(connect=connect),
        place_of=parts.core.fleet.place_of,
        settings=ReplaySettings(time_limit=20.0),
        counters=counters,
        sequences=SequenceMover(connect),
        marks=SequenceMarks(connect, SequenceMover(connect)),
    )

    def make_session(*arguments: Any, **parameters: Any) -> RecoverableSession:
        session = RecoverableSession(
            *arguments,
            **parameters,
            limits=JournalLimits(),
            suspect=primaries.suspect,
            recover=partial(recover, means),
            acknowledged=Acknowledged(),
        )
        if guarded:
            session.guard_commits(lambda: str(uuid4()), singles=True, by_xid=by_xid)
        return session

    parts.core.proxy.make_session = make_session
    told = Signals()
    listeners = await open_listeners(parts.config.proxy.listen_address)
    with trio.fail_after(time_limit):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, parts, ServeOptions(), listeners, told)
            yield RecoveryRig(parts, int(str(listeners[0].address).rpartition(":")[2]), counters, primaries)
            told.stop.set()
            told.stop_now.set()
