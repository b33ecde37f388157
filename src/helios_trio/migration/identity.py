"""Whether two names lead to one server, or to a primary and its standby: asked from the servers, never assumed.

Rule 23: data safety comes before traffic. Two names are one server when both connections are answered by the same
postmaster: same data (system identifier, timeline), started at the same microsecond, same port and folder. Copies of a
data directory have the first in common, but not the start.

Used by: migration.orchestrator, migration.draining.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import psycopg
import trio
from attrs import frozen

from helios_trio.control import ControlConnection
from helios_trio.errors import BackendUnavailable, HeliosError
from helios_trio.migration.orders import DataMode
from helios_trio.pipeline.backend import Backend

#: Seconds for a server to say who it is.
TIME_LIMIT: Final = 5.0

# `data_directory` is shown to members of pg_read_all_settings, which pg_monitor includes; to others it is absent.
QUERY: Final = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       pg_is_in_recovery(),
       pg_postmaster_start_time(),
       current_setting('port')::int,
       (SELECT setting FROM pg_settings WHERE name = 'data_directory')
"""

Connect = Callable[[Backend], Awaitable[ControlConnection]]


@frozen(kw_only=True)
class ServerIdentity:
    """What tells one server from another."""

    system_identifier: str
    in_recovery: bool
    started_at: datetime
    port: int
    #: None: the control user may not see it
    data_directory: str | None

    def is_same_server(self, other: ServerIdentity) -> bool:
        """Whether one postmaster answered for both."""
        return self == other

    def is_same_system(self, other: ServerIdentity) -> bool:
        """Whether both have copies of the same data, of whatever age."""
        return self.system_identifier == other.system_identifier


def data_mode(source: ServerIdentity, target: ServerIdentity) -> DataMode:
    """How the target's data are related to the source's."""
    if source.is_same_server(target):
        return DataMode.SHARED
    if source.is_same_system(target) and target.in_recovery and not source.in_recovery:
        return DataMode.PHYSICAL
    return DataMode.LOGICAL


@frozen
class Identification:
    """Asks servers who they are."""

    connect: Connect

    async def __call__(self, backend: Backend) -> ServerIdentity:
        """Ask one server. Raises BackendUnavailable with the reason."""
        try:
            with trio.fail_after(TIME_LIMIT):
                async with await self.connect(backend) as connection:
                    row = await (await connection.execute(QUERY)).fetchone()
        except trio.TooSlowError:
            raise BackendUnavailable(f"{backend.name}: no answer within {TIME_LIMIT:g} s") from None
        except (psycopg.Error, HeliosError, OSError) as error:
            raise BackendUnavailable(f"{backend.name}: {str(error).partition(chr(10))[0]}") from error
        assert row is not None, "a SELECT without a table has one row"
        system, in_recovery, started_at, port, folder = row
        return ServerIdentity(
            system_identifier=system,
            in_recovery=in_recovery,
            started_at=started_at,
            port=port,
            data_directory=folder,
        )
