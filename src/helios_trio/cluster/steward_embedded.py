"""`EmbeddedSteward`: changes roles in a cluster that the proxy runs itself, where it can do what SQL cannot.

An old primary is shut down, rewound and started as a standby, and a read-only setting is one that ends with the
server's next start. Promotion is by SQL as with any server, which takes milliseconds; the cluster is told afterwards.

Used by: composition.moving (makes it when there are no backends in the configuration), migration.switchover.
"""

from __future__ import annotations

from typing import Protocol

import psycopg
from attrs import define

from helios_trio.cluster.steward import Demotion, StewardError
from helios_trio.cluster.steward_postgres import PostgresSteward
from helios_trio.errors import HeliosError


class OwnCluster(Protocol):
    """What is needed of `embedded.EmbeddedCluster`, which this layer does not know."""

    async def set_read_only(self, name: str, read_only: bool) -> None:
        """Have new transactions on a node be read-only, or not any more; it takes effect soon after."""

    async def kill_node(self, name: str) -> None:
        """End all processes of a node; returns when they are gone."""

    async def rejoin(self, name: str) -> None:
        """Make a node, and all others, follow the one that is primary now."""


@define(eq=False)
class EmbeddedSteward(PostgresSteward):
    """See `cluster.steward.Steward`; `connect` must lead in as superuser."""

    cluster: OwnCluster

    async def _set_read_only(self, node: str, read_only: bool) -> None:
        """In the configuration file that is written anew before each start: nothing is left over after a crash."""
        try:
            await self.cluster.set_read_only(node, read_only)
        except HeliosError as error:
            raise StewardError(error.message) from error

    async def fence(self, node: str) -> bool:
        """See `Steward`."""
        try:
            await self.cluster.kill_node(node)
        except HeliosError as error:
            raise StewardError(error.message) from error
        return True

    async def demote(self, node: str, primary: str) -> Demotion:
        """See `Steward`."""
        try:
            await self.cluster.rejoin(node)
        except (HeliosError, psycopg.Error, OSError) as error:
            raise StewardError(f"{node} could not be made a standby of {primary}: {error}") from error
        return Demotion(rejoined=True, note=f"{node} is a standby of {primary}")
