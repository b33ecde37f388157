"""What sessions are told that get no connection, and which refusals of a server are worth another attempt.

Used by: pool.pool, pool.pools.
"""

from __future__ import annotations

from typing import Any, Final

from helios_trio.errors import BackendUnavailable, ServerRefused
from helios_trio.pool.planner import Planner

#: A server that says one of these may think otherwise soon: starting up, shutting down, no slot or resource free.
_PASSING: Final = ("57P01", "57P02", "57P03", "53", "58", "XX", "08")


def is_final(error: Exception) -> bool:
    """Whether a server would refuse the same client again: a wrong password, say."""
    return isinstance(error, ServerRefused) and not error.sqlstate.startswith(_PASSING)


def overdue(name: tuple[str, str, str], planner: Planner[Any], last_error: str) -> BackendUnavailable:
    """For a session that has waited for its whole queue timeout; `name` is backend, database and user."""
    if last_error and planner.total == 0:
        return BackendUnavailable(f"no server connection could be had: {last_error}")
    backend, database, user = name
    return BackendUnavailable(
        "no server connection became free in time",
        detail=f"{planner.total - planner.idle} of at most {planner.limits.max_connections} connections of user "
        f'"{user}" to database "{database}" on {backend} are in use, and {len(planner.waiting)} more clients wait.',
        hint="Retry later, or raise pool.max_connections or pool.queue_timeout.",
    )


def turn_away(planner: Planner[Any], error: Exception) -> None:
    """Refuse those whom another server can serve, too: this one cannot be reached."""
    for ticket in [each for each in planner.waiting if each.elsewhere]:
        planner.withdraw(ticket)
        ticket.refused(error)
