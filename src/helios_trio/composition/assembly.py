"""`Assembly`: all parts of one proxy, made from a configuration and wired to each other.

Used by: app (runs it, reconfigures it at a reload), testing.shaken.
"""

from __future__ import annotations

from attrs import define

from helios_trio.admin.console import Consoles, open_console
from helios_trio.admin.keys import ApiKey, read_keys
from helios_trio.admin.parts import Parts
from helios_trio.composition.activities import Activities, activities_of
from helios_trio.composition.core import Core, core_of
from helios_trio.composition.letting_in import access_of, health_without_key
from helios_trio.composition.showing import admin_parts_of
from helios_trio.config import Config
from helios_trio.embedded import EmbeddedCluster
from helios_trio.proxy.watchdog import Watchdog


@define(eq=False, kw_only=True)
class Assembly:
    """See the module."""

    #: in force
    config: Config
    core: Core
    watchdog: Watchdog
    activities: Activities
    admin: Parts
    #: databases that are the proxy itself
    consoles: Consoles
    #: the API key that was made because no file has any; to be shown once
    made_key: str | None

    def reconfigure(self, config: Config) -> None:
        """Take over what can change while clients are connected. Raises ConfigError; nothing has changed then."""
        # all that can fail
        self.activities.check(config)
        login, keys = self.core.login_under(config), self._keys_under(config)
        self.core.tls.reload()
        # all that cannot
        self.admin.access.replace(keys, health_without_key(config))
        self.config = self.admin.running.config = config
        self.core.reconfigure(config, login)
        self.watchdog.limits = config.timeouts
        self.activities.reconfigure(config)

    def _keys_under(self, config: Config) -> tuple[ApiKey, ...]:
        file = config.admin.api_keys_file
        return self.admin.access.ring.keys if file is None else read_keys(file)


def assemble(config: Config, cluster: EmbeddedCluster | None) -> Assembly:
    """Make all parts. Raises ConfigError for files that cannot be used.

    Args:
        config: as it was read.
        cluster: the servers, if they are our own; None: those of the configuration.
    """
    core = core_of(config, cluster)
    activities = activities_of(config, core)
    access, made_key = access_of(config)
    admin = admin_parts_of(config, core, activities, access)
    return Assembly(
        config=config,
        core=core,
        watchdog=Watchdog(core.proxy, config.timeouts),
        activities=activities,
        admin=admin,
        consoles=open_console(admin),
        made_key=made_key,
    )
