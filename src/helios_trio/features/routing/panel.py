"""The page of the web console that shows rules, and what was learned about statements.

Used by: composition.showing (where requests are routed).
"""

from __future__ import annotations

from typing import Final

from helios_trio.pipeline.panel import Panel

PANEL: Final = Panel(
    name="routing",
    title="Routing rules",
    order=80,
    package="helios_trio.features.routing",
    script="panel.js",
)
