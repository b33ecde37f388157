"""`[admin]`: who may use the admin listener."""

from __future__ import annotations

from attrs import frozen

from helios_trio.config.keys import key
from helios_trio.config.kinds import ReadableFile
from helios_trio.config.words import WithoutKey, WithoutKeyWord


@frozen(kw_only=True)
class AdminSettings:
    """Who may use the admin listener; where it listens is proxy.admin_listen_address."""

    api_keys_file: ReadableFile | None = key(
        None,
        "hashed API keys, a line each, written by `helios admin create-key`; absent: a key is made at each start and "
        "printed once, and only this machine can connect",
        example="/etc/helios/api_keys",
        live=False,
    )
    health_without_key: WithoutKeyWord = key(
        WithoutKey.LOOPBACK,
        "where /health and /metrics/prometheus can be read without a key: on a loopback listener, anywhere or nowhere",
    )
