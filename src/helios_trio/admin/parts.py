"""The parts of the proxy that the admin listener shows. It reads them when asked and changes none.

Used by: app (makes it), all of this room.
"""

from __future__ import annotations

from attrs import frozen

from helios_trio.cluster.topology import Topology
from helios_trio.pool.pools import Pools
from helios_trio.proxy.cancels import CancelRegistry
from helios_trio.proxy.serving import Proxy
from helios_trio.sql.cache import FactsCache


@frozen(kw_only=True)
class Parts:
    """What there is to show of one running proxy."""

    proxy: Proxy
    pools: Pools
    cancels: CancelRegistry
    topology: Topology
    facts: FactsCache
    #: when the process was ready, in seconds since 1970 (UTC)
    started_at: float
