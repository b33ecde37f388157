"""What moves sessions - fleet, orchestrator, switchover - made from a configuration and wired to each other.

Used by: composition.activities (makes it), app (runs it), composition.failing_over (another steward), and whoever keeps
something in the folder of state: composition.watching, composition.directing, cli.doctor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from attrs import define

from helios_trio.cluster.steward_embedded import EmbeddedSteward
from helios_trio.cluster.steward_postgres import PostgresSteward
from helios_trio.composition.core import Core
from helios_trio.config import Config, TcpAddress
from helios_trio.control.connection import ControlConnection
from helios_trio.migration.counting import CountedFleet, MoveCounters
from helios_trio.migration.events import EventLog
from helios_trio.migration.examination import Examiner
from helios_trio.migration.figures import PoolTraffic
from helios_trio.migration.identity import Identification
from helios_trio.migration.means import Means
from helios_trio.migration.orchestrator import Migrations
from helios_trio.migration.records import RecordFile
from helios_trio.migration.switchover import Switchover
from helios_trio.migration.switchover_steps import SwitchoverSettings
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.fleet import Fleet

Connect = Callable[[Backend], Awaitable[ControlConnection]]


@define
class Moving:
    """The parts that move sessions, and those that show it."""

    fleet: Fleet
    counters: MoveCounters
    events: EventLog
    examiner: Examiner
    #: None: session_migration.enabled = false
    migrations: Migrations | None
    switchover: Switchover | None

    @property
    def means(self) -> Means | None:
        """What migrations do their work with; None: there are none."""
        return None if self.migrations is None else self.migrations.means

    def reconfigure(self, config: Config) -> None:
        """Take over what can change while sessions are being moved."""
        self.examiner.settings = config.health_checks
        if self.migrations is not None:
            self.migrations.reconfigure(config.session_migration)
        if self.switchover is not None:
            self.switchover.settings = switchover_settings(config)


def moving_of(config: Config, core: Core, environment: Mapping[str, str] = os.environ) -> Moving:
    """Make all of it."""
    counters, events, connect = MoveCounters(), EventLog(time.time), core.control.connect
    fleet = CountedFleet(core.fleet, counters)
    examiner = Examiner(core.topology, connect, config.health_checks)
    if not config.session_migration.enabled:
        return Moving(fleet, counters, events, examiner, None, None)
    switchover = Switchover(
        fleet, core.topology, core.placement, steward_of(core, connect), switchover_settings(config)
    )
    means = Means(
        fleet=fleet,
        placement=core.placement,
        topology=core.topology,
        examiner=examiner,
        traffic=PoolTraffic(lambda: core.pools),
        events=events,
        settings=config.session_migration,
        switchover=switchover,
        clock=time.time,
    )
    migrations = Migrations(means, Identification(connect), RecordFile(state_folder(config, environment)))
    return Moving(fleet, counters, events, examiner, migrations, switchover)


def steward_of(core: Core, connect: Connect) -> EmbeddedSteward | PostgresSteward:
    """Who changes the roles of servers: of our own cluster's with more means than of anybody else's."""
    if core.cluster is not None:
        return EmbeddedSteward(core.cluster.connect, core.cluster)
    return PostgresSteward(lambda name: connect(core.topology.nodes[name].backend))


def switchover_settings(config: Config) -> SwitchoverSettings:
    """What the configuration says about switchovers."""
    moves, buffer = config.session_migration, config.switchover_buffer
    return SwitchoverSettings(
        window=buffer.window,
        drain_concurrency=buffer.drain_concurrency,
        move_concurrency=moves.max_concurrent_migrations,
        move_time_limit=moves.max_migration_time_per_session,
        preserve=frozenset(str(each) for each in moves.preserved),
        max_state_size=moves.max_state_size,
    )


def state_folder(config: Config, environment: Mapping[str, str]) -> Path | None:
    """Where records are kept over a restart; None where nothing tells one proxy of this user from another."""
    if config.proxy.state_dir is not None:
        return config.proxy.state_dir
    if environment.get("STATE_DIRECTORY"):  # systemd gives several, separated by colons
        return Path(environment["STATE_DIRECTORY"].partition(":")[0])
    first = config.proxy.listen_address[0]
    if isinstance(first, TcpAddress) and first.port == 0:
        return None
    base = environment.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "helios_trio" / str(first).replace("/", "_").replace(":", "_")
