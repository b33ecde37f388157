"""Listening sockets handed over by systemd, or by a predecessor that speaks its protocol.

Whoever starts us leaves them open from descriptor 3 on and says how many in the environment
(`sd_listen_fds(3)`). Called once at start, before anything else opens descriptors.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

from helios_trio.net.errors import ListenError
from helios_trio.net.listener import Listener
from helios_trio.net.transport import describe

FIRST_DESCRIPTOR: Final = 3


def take_inherited(environ: MutableMapping[str, str], *, first: int = FIRST_DESCRIPTOR) -> list[Listener]:
    """Listeners for the sockets meant for this process; the variables are removed, so children see none.

    Raises `ListenError` for a descriptor that is no listening stream socket.
    """
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or (pid and pid != str(os.getpid())):
        return []
    return [_listener(descriptor) for descriptor in range(first, first + int(count))]


def _listener(descriptor: int) -> Listener:
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(f"inherited descriptor {descriptor} is no socket: {describe(error)}") from error
    if not listens or sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise ListenError(f"inherited descriptor {descriptor} does not listen for stream connections")
    return Listener(sock)
