"""A proxy that moves every session to the other backend whenever it can: at each ReadyForQuery outside a transaction.

`python -m helios_trio.testing.shaken serve ...` is `helios serve` for a configuration with two backends that reach the
same data. Whatever passes through it must be what passes through a proxy whose sessions stay where they are, so that
any suite of tests becomes one of moving sessions. How often sessions were moved, and why not, is logged at the end and
kept in the file that the environment names in `SHAKEN_REPORT`.

Used by: tests (drivers, differential, twins).
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

from helios_trio import app
from helios_trio.cli import main
from helios_trio.composition.assembly import Assembly, assemble
from helios_trio.config import Config
from helios_trio.embedded import EmbeddedCluster
from helios_trio.failover.session import RecoverableSession
from helios_trio.migration.fleet import LocalFleet
from helios_trio.pipeline.fleet import MoveOrder, MoveReport
from helios_trio.proxy.session import Session

#: Where the counts of outcomes and reasons are kept, as JSON, after every move.
REPORT_VARIABLE = "SHAKEN_REPORT"


class Shaker:
    """Moves sessions to and fro and counts what became of it."""

    def __init__(self, fleet: LocalFleet, names: list[str], report: Path | None) -> None:
        self._fleet = fleet
        self._names = names
        self._report = report
        self.outcomes: Counter[str] = Counter()

    async def shake(self, session: Session) -> None:
        """Move one session, which stands still already, to the other backend, and let it go on."""
        here = session.destination.backend.name
        target = next(name for name in self._names if name != here)
        try:
            self._note(await self._fleet.move(session.virtual.id, MoveOrder(target=target)))
        finally:
            session.standstill.let_go()

    def _note(self, report: MoveReport) -> None:
        self.outcomes[report.outcome.value] += 1
        for reason in report.reasons:
            self.outcomes[f"{report.outcome.value}: {reason}"] += 1
        if self._report is not None:
            # whoever reads it meanwhile reads the last one, never a half
            unfinished = self._report.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(self.outcomes))
            unfinished.replace(self._report)


class ShakenSession(RecoverableSession):
    """A session that is moved whenever it could go on in peace."""

    shaker: ClassVar[Shaker]

    def on_server_ready(self) -> None:
        """See `pool.connection.LeaseHolder`."""
        super().on_server_ready()
        connection = self.leased_connection
        if self.nursery is None or self.over or self.standstill.wanted or self.ends_when_idle:
            return
        if connection is None or connection.side.replies.idle:
            self.standstill.want()
            self.nursery.start_soon(self.shaker.shake, self)


def assemble_shaken(config: Config, cluster: EmbeddedCluster | None) -> Assembly:
    """The parts of a proxy whose sessions are never left in peace."""
    parts = assemble(config, cluster)
    core, recovering = parts.core, parts.activities.recovering
    report = os.environ.get(REPORT_VARIABLE)
    ShakenSession.shaker = Shaker(core.fleet, list(core.topology.nodes), Path(report) if report else None)
    assert recovering is not None, "failover is on where nothing is said"
    recovering.session_type = ShakenSession
    return parts


if __name__ == "__main__":
    app.assemble = assemble_shaken  # type: ignore[attr-defined]
    sys.exit(main())
