"""Serves the admin application on its own port, in the proxy's Trio loop.

hypercorn speaks HTTP; the socket is opened here, so that a port that is taken is reported as for every
listener. A failure inside hypercorn is logged and the server begun anew on the same socket: it must not take
the clients of the proxy with it (correctness rule 40).

Used by: app.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, Final

import structlog
import trio
from hypercorn.config import Config as ServerConfig
from hypercorn.trio import serve
from quart_trio import QuartTrio

from helios_trio.config.addresses import TcpAddress
from helios_trio.errors import ConfigError
from helios_trio.net.listener import Listener, open_listeners

_log = structlog.get_logger(__name__)

#: Seconds that requests in flight get at a shutdown.
_GRACE: Final = 2.0
#: Seconds between a failure of the server and the next attempt.
_PAUSE: Final = 1.0


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
        await _serve_again_and_again(app, listeners, shutdown, task_status)
    finally:
        for listener in listeners:
            listener.close()


async def _serve_again_and_again(
    app: QuartTrio, listeners: Sequence[Listener], shutdown: trio.Event, task_status: trio.TaskStatus[str]
) -> None:
    status: trio.TaskStatus[Any] = _Started(f"http://{listeners[0].address}", task_status)
    while not shutdown.is_set():
        try:
            await serve(
                app,
                _server_config(listeners),
                shutdown_trigger=shutdown.wait,
                task_status=status,
            )
        except Exception:
            _log.exception("admin server failed")
            with trio.move_on_after(_PAUSE):
                await shutdown.wait()
            status = trio.TASK_STATUS_IGNORED


class _Started:
    """Passes hypercorn's start on, with the URL in place of its list."""

    def __init__(self, url: str, to: trio.TaskStatus[str]) -> None:
        self._url = url
        self._to = to

    def started(self, _binds: Any = None) -> None:
        """See `trio.TaskStatus`."""
        self._to.started(self._url)


def _server_config(listeners: Sequence[Listener]) -> ServerConfig:
    """hypercorn closes the descriptors it is given: it gets copies."""
    config = ServerConfig()
    config.bind = [f"fd://{os.dup(listener.fileno())}" for listener in listeners]
    config.errorlog = logging.getLogger("hypercorn.error")
    config.graceful_timeout = _GRACE
    config.include_server_header = False
    return config
