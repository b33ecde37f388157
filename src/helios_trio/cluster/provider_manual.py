"""`ManualProvider`: an operator, or a script of a cluster manager, says through the API which server is primary.

For pg_auto_failover, Stolon, repmgr and whatever else promotes: `set` names the new primary, and nobody gets writes
until `confirm`, which is refused while that server does not answer as a primary; `clear` ends it. What was said is kept
in a file, so that a restart of the proxy does not undo it.

Used by: composition.watching (makes it), admin.primary (gives orders).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
import trio
from attrs import define, field

from helios_trio.cluster.appointment import Appointment, AppointmentRefused, PrimaryStatus
from helios_trio.cluster.topology import NodeState, Topology

_log = structlog.get_logger(__name__)

#: Seconds that a server has to answer as a primary before it is not confirmed.
PATIENCE: Final = 5.0


@define(eq=False)
class ManualProvider:
    """Gives orders to the topology's appointment."""

    topology: Topology
    #: has a server looked at now, by name
    probe_now: Callable[[str], None]
    #: where it is kept over a restart; None: nowhere
    file: Path | None = None

    #: set, and replaced, when something is learned of a server
    _news: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.topology.followers.append(self._hear)
        self.topology.appointment = self._remembered() or self._configured()

    def set_primary(self, name: str) -> None:
        """Name the new primary: it is pending, and nobody gets writes. Raises KeyError: there is no such server."""
        node = self.topology.nodes[name]
        self.topology.appoint(node.backend.name)
        self._keep()

    async def confirm(self, name: str) -> None:
        """Give it the writes, once it has answered as a primary.

        Raises:
            AppointmentRefused: it has not been set, does not answer as a primary, or another one has newer data.
        """
        appointment = self._appointment
        if appointment.name != name:
            appointment.confirm(name)  # raises, with the reason
        node = self.topology.nodes[name]
        if objection := await self._look(node):
            raise AppointmentRefused(f"{name} cannot be the primary: {objection}")
        self.topology.confirm(name)
        self._keep()

    async def _look(self, node: NodeState) -> str:
        """Have it looked at until nothing speaks against it; what does when patience ends, empty for nothing."""
        since = trio.current_time()
        with trio.move_on_after(PATIENCE):
            self.probe_now(node.backend.name)
            while node.asked_at < since or self._objection(node):
                await self._news.wait()
            return ""
        return self._objection(node) or "it does not answer"

    def _hear(self, _name: str) -> None:
        """Something has been learned of a server."""
        self._news.set()
        self._news = trio.Event()

    def clear(self) -> None:
        """Nobody is primary any more."""
        self.topology.dismiss()
        self._keep()

    @property
    def _appointment(self) -> Appointment:
        assert self.topology.appointment is not None
        return self.topology.appointment

    def _objection(self, node: NodeState) -> str:
        """Why it cannot get writes; empty when it can."""
        if not node.healthy:
            return node.reason or "it has not been asked yet"
        if not node.writable:
            return "it says that it is a standby"
        newer = next((each for each in self.topology if each.supersedes(node)), None)
        return f"{newer.backend.name} is a primary on a newer timeline" if newer else ""

    # -- over a restart ------------------------------------------------------------------------------------------

    def _configured(self) -> Appointment:
        """Where nothing is remembered, a backend whose role is `active` is the primary."""
        active = (node.backend.name for node in self.topology if node.backend.role in ("active", "primary"))
        name = next(active, None)
        return Appointment(name, PrimaryStatus.CONFIRMED) if name else Appointment()

    def _remembered(self) -> Appointment | None:
        try:
            found = json.loads(self.file.read_text()) if self.file else None
            if found is None:
                return None
            name, status = found["name"], PrimaryStatus(found["status"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("record of the primary cannot be used", file=str(self.file), reason=str(error))
            return None
        if name is not None and name not in self.topology.nodes:
            _log.warning("the primary that was set is no backend any more", node=name)
            return None
        return Appointment(name, status)

    def _keep(self) -> None:
        """A record that cannot be written is reported, and no reason to refuse the order."""
        if self.file is None:
            return
        appointment = self._appointment
        unfinished = self.file.with_suffix(".unfinished")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps({"name": appointment.name, "status": appointment.status}))
            unfinished.replace(self.file)
        except OSError as error:
            _log.warning("record of the primary cannot be written", file=str(self.file), reason=str(error))
