"""The page of the web console that shows the circuits.

Used by: composition.showing (where circuit breakers are on).
"""

from __future__ import annotations

from typing import Final

from helios_trio.pipeline.panel import Panel

PANEL: Final = Panel(
    name="circuits",
    title="Circuit breakers",
    order=70,
    package="helios_trio.features.circuit_breaker",
    script="panel.js",
)
