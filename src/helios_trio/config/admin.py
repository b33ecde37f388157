"""`[admin]`: who may use the admin listener, and the console by SQL."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen

from helios_trio.config.keys import key
from helios_trio.config.kinds import PositiveCount, ReadableFile, Seconds, Texts
from helios_trio.config.words import WithoutKey, WithoutKeyWord


@frozen(kw_only=True)
class AdminSettings:
    """Who may use the admin listener, which is at proxy.admin_listen_address, and the console by SQL."""

    api_keys_file: ReadableFile | None = key(
        None,
        "hashed API keys, a line each, written by `helios admin create-key`; absent: a key is made at each start and "
        "printed once, and only this machine can connect",
        example="/etc/helios/api_keys",
        live=False,
    )
    health_without_key: WithoutKeyWord = key(
        WithoutKey.LOOPBACK,
        "where /health and /metrics/prometheus can be read without a key: on a loopback listener (by an address or as "
        "localhost), anywhere or nowhere",
    )
    admin_users: Annotated[tuple[str, ...], Texts()] = key(
        (),
        "who may do everything in the console, database pgbouncer or helios; besides, on a unix socket, the proxy's "
        "own account as user pgbouncer or helios",
        example=["ops"],
    )
    stats_users: Annotated[tuple[str, ...], Texts()] = key(
        (), "who may only look around there with SHOW", example=["exporter"]
    )
    max_requests_per_second: PositiveCount = key(
        10,
        "requests that the admin listener works on, so that it takes little time from clients; bursts of 100 (of the "
        "console's files: 300) are served at once, others wait up to 5s or are refused (429), which has the same limit",
    )
    pause_timeout: Seconds = key(30.0, "how long PAUSE and WAIT_CLOSE wait there; PAUSE then changes nothing")
