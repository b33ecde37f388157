"""Serves the admin application on its own port, in the proxy's Trio loop.

hypercorn speaks HTTP (`admin.connections`); sockets are opened and accepted on as for every listener.

Used by: app.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as ServerConfig
from quart_trio import QuartTrio

from helios_trio.admin.connections import Connections
from helios_trio.config.addresses import TcpAddress
from helios_trio.errors import ConfigError
from helios_trio.net.listener import Listener, open_listeners, serve_listener

#: Seconds that requests in flight get at a shutdown.
_GRACE: Final = 2.0
#: Bytes of a message that a WebSocket may send us.
_LARGEST_MESSAGE: Final = 8192


async def serve_admin(
    app: QuartTrio,
    address: TcpAddress,
    shutdown: trio.Event,
    *,
    keyed: bool = False,
    reuse_port: bool = False,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` is set; started with the URL that was bound (port 0: a free one).

    `keyed`: the operator has made keys, and other machines may connect.

    Raises:
        ConfigError: the address can be reached from other machines, and there are no keys to keep them out.
        ListenError: the address cannot be had.
    """
    if not address.is_loopback and not keyed:
        raise ConfigError(
            f'proxy.admin_listen_address: "{address}": expected an address of this machine only, such as '
            '"127.0.0.1:9090", because there is no admin.api_keys_file'
        )
    listeners = await open_listeners([address], reuse_port=reuse_port)
    try:
        await _serve(Connections(ASGIWrapper(app), _server_config()), listeners, shutdown, task_status)
    finally:
        for listener in listeners:
            listener.close()


async def _serve(
    connections: Connections,
    listeners: Sequence[Listener],
    shutdown: trio.Event,
    task_status: trio.TaskStatus[str],
) -> None:
    async with trio.open_nursery() as clients:
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(serve_listener, listener, connections.serve, clients)
            task_status.started(f"http://{listeners[0].address}")
            await shutdown.wait()
            accepting.cancel_scope.cancel()
        await connections.stop()
        clients.cancel_scope.deadline = trio.current_time() + _GRACE


def _server_config() -> ServerConfig:
    config = ServerConfig()
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.websocket_max_message_size = _LARGEST_MESSAGE
    return config
