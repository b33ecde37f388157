"""Which panels the web console of this proxy has: what is off shows none.

Used by: assembly.
"""

from __future__ import annotations

from collections.abc import Iterator

from helios_trio.admin import web
from helios_trio.breaking import Breaking
from helios_trio.directing import Directing
from helios_trio.failover.controller import Controller
from helios_trio.features.circuit_breaker.panel import PANEL as CIRCUITS
from helios_trio.features.routing.panel import PANEL as ROUTING
from helios_trio.moving import Moving
from helios_trio.pipeline.panel import Panel


def panels_of(
    *,
    moving: Moving,
    primaries: Controller | None,
    directing: Directing | None,
    breaking: Breaking | None,
) -> tuple[Panel, ...]:
    """Those of the parts that there are."""
    return tuple(_panels(moving, primaries, directing, breaking))


def _panels(
    moving: Moving, primaries: Controller | None, directing: Directing | None, breaking: Breaking | None
) -> Iterator[Panel]:
    yield from web.PANELS
    if moving.migrations is not None:
        yield web.MIGRATIONS
    if primaries is not None or (moving.migrations is not None and moving.switchover is not None):
        yield web.FAILOVER
    if breaking is not None:
        yield CIRCUITS
    if directing is not None and directing.book is not None:
        yield ROUTING
