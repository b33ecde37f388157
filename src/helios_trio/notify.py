"""Tells the service manager how the process is doing, as sd_notify(3) does, without libsystemd.

Where no manager asked for it ($NOTIFY_SOCKET is not set) every call does nothing. A manager that does not
listen is no reason to stop serving: then the call returns False.

Used by: app.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Self

import structlog
import trio
from attrs import frozen

_log = structlog.get_logger(__name__)


@frozen
class ServiceManager:
    """Whoever started this process as a service."""

    #: where it listens: a path, or "@" and an abstract name; None: nowhere
    address: str | None = None
    #: seconds within which it wants to hear `alive`; None: never
    watchdog: float | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """As $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID say; a watchdog for another process is none."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is not None and not address.startswith(("/", "@")):
            _log.warning("unsupported address of the service manager", address=address)
            address = None
        microseconds = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = address is not None and mine and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, int(microseconds) / 1e6 if watched else None)

    def ready(self, status: str = "") -> bool:
        """Start-up is done, or a reload is. `status` is a line for people."""
        return self._send("READY=1", status)

    def reloading(self, status: str = "") -> bool:
        """A reload has begun; `ready` must follow."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}", status)

    def stopping(self, status: str = "") -> bool:
        """The process is going down: draining has begun."""
        return self._send("STOPPING=1", status)

    def alive(self) -> bool:
        """The process has not hung."""
        return self._send("WATCHDOG=1")

    async def keep_alive(self) -> None:
        """Say `alive` twice as often as asked for, until cancelled; returns at once if nobody asked.

        It runs in the loop that serves clients, so that silence means that nobody is served.
        """
        if self.watchdog is None:
            return
        while True:
            self.alive()
            await trio.sleep(self.watchdog / 2)

    def _send(self, message: str, status: str = "") -> bool:
        if self.address is None:
            return False
        if status:
            message += "\nSTATUS=" + " ".join(status.split())
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
                manager.sendto(message.encode(), name)
        except OSError as error:
            _log.warning("service manager cannot be told", address=self.address, reason=str(error))
            return False
        return True
