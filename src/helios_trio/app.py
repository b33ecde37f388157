"""From the parts of a proxy to nurseries: starts what `composition` has made, serves, drains, and reloads.

Used by: cli (`helios serve`).
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
import trio
from attrs import define, evolve, field, frozen

from helios_trio import logs
from helios_trio.admin.api import create_app
from helios_trio.admin.live import Live
from helios_trio.admin.parts import Reloaded
from helios_trio.admin.server import serve_admin
from helios_trio.announcement import Announcement, announce
from helios_trio.composition.assembly import Assembly, assemble
from helios_trio.config import Config, changes, keep_running, load
from helios_trio.control.setup import SetupSettings, apply
from helios_trio.embedded import EmbeddedCluster, open_cluster
from helios_trio.errors import ConfigError, HeliosError
from helios_trio.net.inherited import take_inherited
from helios_trio.net.listener import Listener, open_listeners, serve_listener
from helios_trio.notify import ServiceManager

_log = structlog.get_logger(__name__)

#: Objects made, not yet freed, before Python looks for cycles among them; its own 700 is a dozen logins.
_COLLECT_AFTER = 20_000
#: Seconds for sessions to say their last words when the drain is over.
_LAST_WORDS = 3.0
#: Seconds for answers of the admin listener that are under way then.
_LAST_ANSWERS = 3.0


@frozen
class ServeOptions:
    """What the command line adds to the configuration."""

    config_path: Path | None = None
    ready_file: Path | None = None
    ephemeral: bool = False
    #: variables over those of the environment
    over: Mapping[str, str] = field(factory=dict)


@define
class Signals:
    """What the process was told to do."""

    stop: trio.Event = field(factory=trio.Event)
    stop_now: trio.Event = field(factory=trio.Event)
    #: cancelled by the first signal to stop: there is nothing to drain yet
    starting: trio.CancelScope = field(factory=trio.CancelScope)
    reload: Callable[[], Awaitable[None]] | None = None

    async def listen(self, signals: AsyncIterator[int]) -> None:
        """SIGHUP reloads; SIGTERM or SIGINT stops, a second one at once."""
        async for number in signals:
            if number == signal.SIGHUP:
                if self.reload is not None:
                    await self.reload()
            else:
                self.end()

    def end(self) -> None:
        """Stop; when it has been said before, at once."""
        if self.stop.is_set():
            self.stop_now.set()
        else:
            self.stop.set()
            self.starting.cancel()


def serve_command(
    config: Config,
    *,
    ready_file: Path | None,
    ephemeral: bool,
    config_path: Path | None,
    over: Mapping[str, str],
) -> int:
    """Run the proxy until it is told to stop; returns the exit code. Raises HeliosError when it cannot start."""
    logs.configure(config.proxy.log_level, config.proxy.log_format)
    try:
        trio.run(serve, config, ServeOptions(config_path, ready_file, ephemeral, over))
    except BaseExceptionGroup as group:
        raise _only_reason(group) from None
    return 0


def _only_reason(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a person must know of a failure to start: the first error of our own, if that is what it was."""
    ours, others = group.split(HeliosError)
    if ours is None or others is not None:
        return group
    found: BaseException = ours
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def serve(config: Config, options: ServeOptions) -> None:
    """Start everything, say so, serve, and stop in order when told."""
    told = Signals()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(told.listen, signals)
            async with AsyncExitStack() as stack:
                with told.starting:
                    # first, so that a taken port is not found out when the cluster has been started
                    listeners = await open_listeners(
                        config.proxy.listen_address,
                        reuse_port=config.proxy.reuse_port,
                        backlog=config.proxy.listen_backlog,
                        inherited=take_inherited(os.environ),
                    )
                    cluster = await start_embedded(config, options, stack) if config.uses_embedded else None
                if not told.starting.cancelled_caught:
                    await run(assemble(config, cluster), options, listeners, told)
            nursery.cancel_scope.cancel()


async def start_embedded(config: Config, options: ServeOptions, stack: AsyncExitStack) -> EmbeddedCluster:
    """Start the cluster that is used when no servers are configured; the stack stops it."""
    cluster = await stack.enter_async_context(
        open_cluster(
            None if options.ephemeral else config.embedded.data_dir or default_data_dir(),
            standbys=config.embedded.standbys,
            bin_dir=config.embedded.bin_dir,
        )
    )
    settings = SetupSettings(control_user=config.control.user)
    for database in ("template1", "postgres"):
        connection = await cluster.connect(dbname=database)
        try:
            await apply(connection, settings)
        finally:
            await connection.close()
    return cluster


def default_data_dir() -> Path:
    """Where the embedded cluster lives when nothing else is said (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "helios_trio"


async def run(parts: Assembly, options: ServeOptions, listeners: list[Listener], told: Signals) -> None:
    """Serve until told to stop. Three nurseries: what all need, the clients, and who lets them in."""
    manager = ServiceManager.from_environment()
    gc.freeze()  # modules and parts live as long as the process: no need to look at them again and again
    gc.set_threshold(_COLLECT_AFTER)
    admin_stop = trio.Event()
    async with trio.open_nursery() as needed:
        await _start_parts(needed, parts)
        needed.start_soon(manager.keep_alive)
        parts.admin.running.reload = partial(reload, parts, options, manager)
        parts.admin.running.stop = told.end
        told.reload = partial(_reload_on_signal, parts.admin.running.reload)
        live = Live.of(parts.admin)
        needed.start_soon(live.run)
        async with trio.open_nursery() as asked:
            admin = await _start_admin(asked, parts, live, admin_stop)
            await _serve_clients(parts, options, listeners, told, manager, admin)
            live.hub.close()
            admin_stop.set()
            asked.cancel_scope.deadline = trio.current_time() + _LAST_ANSWERS
        parts.core.hubs.close()
        needed.cancel_scope.cancel()


class _Started(Protocol):
    """Runs until it is cancelled, and says when others can rely on it."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...


async def _start_parts(nursery: trio.Nursery, parts: Assembly) -> None:
    """Start what all clients need, each when those before it run."""
    core, activities = parts.core, parts.activities
    nursery.start_soon(core.readiness.run)
    in_order: list[_Started | None] = [
        activities.alerting,
        core.pools,
        activities.watching,
        activities.moving.migrations,
        activities.primaries,
        activities.recovering,
        activities.directing,
        activities.breaking,
        activities.observing,
    ]
    for each in in_order:
        if each is not None:
            await nursery.start(each.run)
    if core.cluster is not None:
        nursery.start_soon(core.cluster.watch)
    nursery.start_soon(parts.watchdog.run)
    nursery.start_soon(parts.consoles.run)


async def _serve_clients(
    parts: Assembly,
    options: ServeOptions,
    listeners: list[Listener],
    told: Signals,
    manager: ServiceManager,
    admin: str | None,
) -> None:
    """Let clients in until told to stop, and those who are there come to an end."""
    core = parts.core
    async with trio.open_nursery() as clients:
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(serve_listener, listener, core.proxy.serve_client, clients)
            announcement = announce(listeners, admin, parts.made_key, core.topology, core.cluster)
            _say_ready(announcement, options, manager)
            await told.stop.wait()
            accepting.cancel_scope.cancel()
        for listener in listeners:
            listener.close()
        manager.stopping("draining")
        await _drain(parts, told)
        clients.cancel_scope.cancel()


async def _start_admin(nursery: trio.Nursery, parts: Assembly, live: Live, stop: trio.Event) -> str | None:
    """Serve the admin application; the URL it has, None where it is off."""
    proxy = parts.config.proxy
    if proxy.admin_listen_address is None:
        return None
    keyed = parts.config.admin.api_keys_file is not None
    serve_it = partial(serve_admin, keyed=keyed, reuse_port=proxy.reuse_port)
    url: str = await nursery.start(serve_it, create_app(parts.admin, live), proxy.admin_listen_address, stop)
    return url


def _say_ready(announcement: Announcement, options: ServeOptions, manager: ServiceManager) -> None:
    for line in announcement.lines():
        print(line, flush=True)
    if options.ready_file is not None:
        announcement.write(options.ready_file)
    manager.ready(f"listening on {', '.join(announcement.listeners)}")


async def _drain(parts: Assembly, told: Signals) -> None:
    """Let transactions end, within the configured time and until told a second time."""
    proxy, seconds = parts.core.proxy, parts.config.proxy.drain_timeout
    _log.info("draining", clients=len(proxy.sessions), seconds=seconds)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when, told.stop_now, nursery.cancel_scope)
        await proxy.drain(seconds)
        nursery.cancel_scope.cancel()
    proxy.shut_down()
    with trio.move_on_after(_LAST_WORDS):
        await proxy.wait_empty()
        await parts.core.pools.wait_stopped()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def reload(parts: Assembly, options: ServeOptions, manager: ServiceManager) -> Reloaded:
    """Read the configuration again. Raises ConfigError: it cannot be used, and the old one stays in force."""
    manager.reloading("reading the configuration")
    try:
        new = load(options.config_path, {**os.environ, **options.over})
        before = parts.config
        kept = evolve(keep_running(before, new), backends=before.backends)
        needing_restart = tuple(changes(kept, new).restart or changes(before, new).restart)
        if new.backends != before.backends:
            needing_restart += ("backends",)
        parts.reconfigure(kept)
        logs.configure(kept.proxy.log_level, kept.proxy.log_format)
        _log.info("configuration reloaded", needing_restart=needing_restart)
        return Reloaded(changed=tuple(changes(before, kept).live), needing_restart=needing_restart)
    finally:
        manager.ready()


async def _reload_on_signal(read_again: Callable[[], Awaitable[Reloaded]]) -> None:
    """Nobody waits for an answer."""
    try:
        await read_again()
    except ConfigError as error:
        _log.error("configuration not reloaded", error=error.message)
