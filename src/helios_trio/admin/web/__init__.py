"""The web console: the page itself (`static`), and the panels that do not belong to any feature (`panels`).

Plain ES modules without a build step; nothing is loaded from other hosts. Panels of features lie beside their code.

Used by: admin.console_page (serves it).
"""

from __future__ import annotations

from typing import Final

from helios_trio.pipeline.panel import Panel

_SCRIPTS: Final = "helios_trio.admin.web.panels"

#: Names and titles in the order of the navigation; features put theirs between them.
_TITLES: Final = (
    (10, "topology", "Topology"),
    (20, "traffic", "Traffic"),
    (30, "sessions", "Sessions"),
    (40, "pools", "Pools"),
    (50, "migrations", "Migrations"),
    (60, "failover", "Failover"),
    (90, "events", "Events"),
    (100, "sql", "SQL"),
)

TOPOLOGY, TRAFFIC, SESSIONS, POOLS, MIGRATIONS, FAILOVER, EVENTS, SQL = (
    Panel(name=name, title=title, order=order, package=_SCRIPTS, script=f"{name}.js")
    for order, name, title in _TITLES
)

#: Those that are always there; the others depend on what is switched on.
PANELS: Final = (TOPOLOGY, TRAFFIC, SESSIONS, POOLS, EVENTS, SQL)
