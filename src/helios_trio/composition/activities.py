"""`Activities`: what a proxy does besides serving clients, made from a configuration around its core.

Used by: composition.assembly (makes them, reconfigures them), composition.showing, app (runs them).
"""

from __future__ import annotations

from typing import Protocol

from attrs import define

from helios_trio.composition.alerting import Alerting, alerting_of
from helios_trio.composition.breaking import Breaking, breaking_of
from helios_trio.composition.core import Core
from helios_trio.composition.directing import Directing, directing_of
from helios_trio.composition.failing_over import controller_of
from helios_trio.composition.failing_over import reconfigure as reconfigure_failover
from helios_trio.composition.moving import Moving, moving_of
from helios_trio.composition.observing import Observing, observing_of
from helios_trio.composition.recovering import Recovering, recovering_of
from helios_trio.composition.watching import Watching, watching_of
from helios_trio.config import Config
from helios_trio.failover.controller import Controller


class _Reconfigured(Protocol):
    def reconfigure(self, config: Config) -> None: ...


@define(eq=False, kw_only=True)
class Activities:
    """See the module. What can be off is None then."""

    watching: Watching
    moving: Moving
    #: None: nobody takes over from a primary that died (failover.enabled, failover.mode)
    primaries: Controller | None
    #: None: sessions end with their servers
    recovering: Recovering | None
    #: None: no backend has a circuit
    breaking: Breaking | None
    #: None: all requests of a session go to one server
    directing: Directing | None
    #: None: single requests are not looked at
    observing: Observing | None
    alerting: Alerting

    def check(self, config: Config) -> None:
        """Raises ConfigError: this configuration could not be taken over."""
        if self.directing is not None:
            self.directing.check(config)

    def reconfigure(self, config: Config) -> None:
        """Take over what can change while clients are connected; `check` has said that it can be done."""
        self.moving.reconfigure(config)
        if self.primaries is not None:
            reconfigure_failover(self.primaries, config)
        others: list[_Reconfigured | None] = [
            self.recovering,
            self.directing,
            self.breaking,
            self.observing,
            self.alerting,
        ]
        for each in others:
            if each is not None:
                each.reconfigure(config)


def activities_of(config: Config, core: Core) -> Activities:
    """Make them, and wire each to the core. Raises ConfigError for files that cannot be used.

    The order matters: each goes around what those before it have put into the proxy and the pools.
    """
    moving = moving_of(config, core)
    watching = watching_of(config, core.topology, core.control.connect, moving.events)
    primaries = core.control.primaries = controller_of(config, core, moving)
    recovering = recovering_of(config, core, primaries)
    breaking = breaking_of(
        config,
        core,
        fleet=moving.fleet,
        events=moving.events,
        suspect=None if primaries is None else primaries.suspect,
    )
    directing = directing_of(
        config, core, watching=watching, moving=moving, recovering=recovering, breaking=breaking
    )
    return Activities(
        watching=watching,
        moving=moving,
        primaries=primaries,
        recovering=recovering,
        breaking=breaking,
        directing=directing,
        alerting=alerting_of(config, moving.events),
        observing=observing_of(config, core.proxy),  # the last one that wraps `proxy.make_session`
    )
