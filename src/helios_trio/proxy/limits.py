"""Limits that hold for all clients of a process, and what has happened to its clients.

Used by: proxy.serving (obeys, counts), composition.letting_in (makes them from the configuration), admin (shows them).
"""

from __future__ import annotations

from attrs import define, field

from helios_trio.net.transport import Keepalive
from helios_trio.proxy.session import Ending


@define
class ProxyLimits:
    """Limits that hold for all clients; changed by a reload. Times in seconds."""

    max_clients: int = 10_000
    max_unauthenticated: int = 500
    login_timeout: float = 60.0
    application_name_suffix: str = ""
    keepalive: Keepalive = field(factory=Keepalive)
    #: number of this process, part of every secret, so that a cancel request can find its process
    process: int = 0


@define
class ProxyCounters:
    """What happened to clients since the proxy started."""

    accepted: int = 0
    logins: int = 0
    login_failures: int = 0
    refused: int = 0
    crashes: int = 0
    endings: dict[Ending, int] = field(factory=lambda: dict.fromkeys(Ending, 0))
