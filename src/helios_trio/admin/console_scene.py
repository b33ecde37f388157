"""What the tables of the admin console are made from: the parts of the proxy, at one moment.

Used by: admin.console (makes it for each command), the modules with the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, frozen

from helios_trio.admin.console_access import console_name
from helios_trio.admin.console_stats import Statistics
from helios_trio.admin.parts import Parts
from helios_trio.proxy.pausing import ALL


@define(eq=False)
class ConsoleClient:
    """A client of the console."""

    id: int
    user: str
    database: str
    address: str
    local: str
    tls: str
    application_name: str
    #: when it came, on Trio's clock (seconds)
    since: float


@frozen
class Scene:
    """The proxy at one moment. `now`: seconds since 1970 (UTC); `clock`: the same moment on Trio's clock."""

    parts: Parts
    statistics: Statistics
    consoles: Callable[[], Sequence[ConsoleClient]]
    now: float
    clock: float

    @property
    def console(self) -> str:
        """The console's own name in the tables, which no other database has."""
        return console_name(self.parts.running.config)

    def databases(self) -> list[str]:
        """The names of databases that are configured, in use, or have been asked for; by name."""
        found = {each.name for each in self.parts.running.config.databases if each.name != "*"}
        found |= {database for _, (database, _) in self.parts.pools.named()}
        found |= {name for name in self.statistics.totals if name != "*"}
        pauses = self.parts.proxy.pauses
        return sorted((found | pauses.disabled | pauses.paused) - {ALL, self.console})
