"""The parts of a proxy inside this process, so that single functions can be measured on real sessions.

Between two names of one server, without its admin listener. Called by `moving_parts`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import frozen

from harness.servers import Target, twins_config
from helios_trio.assembly import assemble
from helios_trio.config.loader import loads
from helios_trio.migration.fleet import LocalFleet
from helios_trio.net.listener import open_listeners, serve_listener
from helios_trio.proxy.serving import Proxy
from helios_trio.proxy.session import Session


@frozen
class Inside:
    """The running parts."""

    target: Target
    proxy: Proxy
    fleet: LocalFleet

    def sessions(self, database: str) -> list[Session]:
        """Those of clients that have asked for this database."""
        return [each for each in self.proxy.sessions.values() if each.virtual.database == database]


@asynccontextmanager
async def running_inside(direct: Target) -> AsyncIterator[Inside]:
    """Serve clients until the end of the block; they should have left by then."""
    config = loads(twins_config(direct), {}, source="bench", folder=Path.cwd())
    parts = assemble(config, None)
    (listener,) = await open_listeners(config.proxy.listen_address)
    host, _, port = str(listener.address).rpartition(":")
    async with trio.open_nursery() as core:
        core.start_soon(parts.readiness.run)
        await core.start(parts.pools.run)
        async with trio.open_nursery() as clients:
            clients.start_soon(serve_listener, listener, parts.proxy.serve_client, clients)
            fleet = LocalFleet(parts.proxy, parts.pools, parts.hubs, parts.directory)
            yield Inside(Target("inside", host, int(port)), parts.proxy, fleet)
            clients.cancel_scope.cancel()
        listener.close()
        parts.hubs.close()
        core.cancel_scope.cancel()
