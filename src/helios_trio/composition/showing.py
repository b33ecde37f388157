"""What operators are shown, and may give orders to: the parts of the admin listener, the panels of the web console.

Used by: composition.assembly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import trio

from helios_trio.admin import web
from helios_trio.admin.access import Access
from helios_trio.admin.parts import Parts, Reloaded, Running
from helios_trio.composition.activities import Activities
from helios_trio.composition.core import Core
from helios_trio.composition.letting_in import credentials_of
from helios_trio.config import Config
from helios_trio.failover.counters import ReplayCounters
from helios_trio.features.circuit_breaker.panel import PANEL as CIRCUITS
from helios_trio.features.routing.panel import PANEL as ROUTING
from helios_trio.pipeline.panel import Panel
from helios_trio.pool.server_auth import Credentials


def admin_parts_of(config: Config, core: Core, activities: Activities, access: Access) -> Parts:
    """What the admin listener shows; what is off is None there too."""
    moving, directing, recovering = activities.moving, activities.directing, activities.recovering
    breaking, observing = activities.breaking, activities.observing
    return Parts(
        proxy=core.proxy,
        pools=core.pools,
        cancels=core.cancels,
        topology=core.topology,
        placement=core.placement,
        facts=core.facts,
        fleet=moving.fleet,
        moves=moving.counters,
        examiner=moving.examiner,
        events=moving.events,
        access=access,
        running=Running(config, _nothing_to_reload),
        migrations=moving.migrations,
        switchover=moving.switchover,
        primaries=activities.primaries,
        replays=ReplayCounters() if recovering is None else recovering.means.counters,
        breakers=None if breaking is None else breaking.breakers,
        rule_book=None if directing is None else directing.book,
        router=None if directing is None else directing.router,
        learned=None if directing is None else directing.learned,
        manual=activities.watching.manual,
        spans=None if observing is None else observing.exporter,
        alerts=activities.alerting.service,
        panels=tuple(_panels(activities)),
        credentials_of=partial(_credentials_of, core),
        started_at=time.time(),
    )


async def _nothing_to_reload() -> Reloaded:
    """Until `app` runs the parts and knows where the configuration came from."""
    await trio.lowlevel.checkpoint()
    return Reloaded(changed=(), needing_restart=())


async def _credentials_of(core: Core, user: str, database: str) -> Credentials:
    return await credentials_of(core.directory.config, core.login, user, database)


def _panels(activities: Activities) -> Iterator[Panel]:
    """Those of what is on."""
    moving, directing = activities.moving, activities.directing
    yield from web.PANELS
    if moving.migrations is not None:
        yield web.MIGRATIONS
    if activities.primaries is not None or (moving.migrations is not None and moving.switchover is not None):
        yield web.FAILOVER
    if activities.breaking is not None:
        yield CIRCUITS
    if directing is not None and directing.book is not None:
        yield ROUTING
