"""Which errors are the server's own fault. What a client did wrong, or what clients did to each other, never counts.

By SQLSTATE class (PostgreSQL's appendix A), with the exceptions that statements can bring about at will.

Used by: features.circuit_breaker.breaker.
"""

from __future__ import annotations

from typing import Final

#: Classes that say something about the server: connections, resources, the system below it, defects.
_CLASSES: Final = ("08", "53", "58", "XX")
#: It is being shut down, has crashed, or takes nobody. 57014 (cancelled) and 57P05 (idle for too long) are clients'.
SHUTTING_DOWN: Final = frozenset({"57P01", "57P02", "57P03"})
#: Of those classes, but brought about by statements.
_CLIENTS_OWN: Final = frozenset(
    {
        "08P01",  # what the client sent
        "08001",  # dblink: the server it was told to ask
        "08003",  # dblink: a name that nobody opened
        "53400",  # temp_file_limit: one statement that wants too much
        "58P01",  # LOAD and COPY of a file that is not there
        "58P02",  # the same of one that is
    }
)


def is_servers_fault(sqlstate: str) -> bool:
    """Whether an error counts against the server that reported it."""
    if sqlstate in SHUTTING_DOWN:
        return True
    return sqlstate.startswith(_CLASSES) and sqlstate not in _CLIENTS_OWN
