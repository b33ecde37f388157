"""`[timeouts]`: how long clients and servers may take."""

from __future__ import annotations

from attrs import frozen

from helios_trio.config.keys import key
from helios_trio.config.kinds import Limit, Seconds


@frozen(kw_only=True)
class Timeouts:
    """How long clients and servers may take; "off" is no limit."""

    login: Seconds = key(60.0, "from a client's first byte wanted to the end of its authentication")
    idle: Limit = key(
        float("inf"), "a client that asks for nothing, outside a transaction, is closed after this"
    )
    idle_in_transaction: Limit = key(
        float("inf"),
        "a client that asks for nothing inside a transaction is closed after this, and rolled back",
    )
    query: Limit = key(float("inf"), "a request that takes longer is cancelled and its client closed")
    server_connect: Seconds = key(15.0, "from the first packet to a server to the end of its authentication")
