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
from helios_trio.composition.assembly import assemble
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
    core = assemble(config, None).core
    (listener,) = await open_listeners(config.proxy.listen_address)
    host, _, port = str(listener.address).rpartition(":")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(core.readiness.run)
        await nursery.start(core.pools.run)
        async with trio.open_nursery() as clients:
            clients.start_soon(serve_listener, listener, core.proxy.serve_client, clients)
            yield Inside(Target("inside", host, int(port)), core.proxy, core.fleet)
            clients.cancel_scope.cancel()
        listener.close()
        core.hubs.close()
        nursery.cancel_scope.cancel()
