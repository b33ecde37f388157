"""What the next thing that a client asks for runs, before any of it is sent: a simple query, or a batch up to its Sync.

Where a request goes depends on all that it runs, so it must be there as a whole before its session takes a server
connection (rule 36: no transaction is broken in two, and a batch is one).

Used by: features.routing (asks for each request of a session that is routed).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final

from attrs import define

from helios_trio.session.prepared import PreparedStatement
from helios_trio.session.preparing import STATEMENT, read_bind, read_parse
from helios_trio.sql.facts import UNPARSED, Facts
from helios_trio.wire.codes import Frontend

_head_at = Struct("!BI").unpack_from

#: Bytes of a batch without a Sync that are waited for; a longer one may do anything.
BATCH_LIMIT: Final = 64 * 1024


@define(eq=False)  # not frozen: one is made for each request
class Asked:
    """What a request runs, text by text; `UNPARSED` where that cannot be known."""

    texts: tuple[Facts, ...]
    #: the first statement as the client wrote it, comments and all
    source: bytes = b""
    #: where the request ends in the bytes it was read from; 0: not known
    end: int = 0


#: Nobody can tell yet, and the client may wait for an answer to what it has sent so far.
UNKNOWN: Final = Asked((UNPARSED,))


def first_request(
    data: bytes, at: int, facts_of: Callable[[bytes], Facts], statements: Mapping[bytes, PreparedStatement]
) -> Asked | None:
    """What the request that begins at `at` runs; None when its end has not come yet.

    `at` is where a message begins, with no batch open before it. A Flush before the Sync makes the answer `UNKNOWN`:
    the client wants to be answered before it says more.
    """
    end = len(data)
    parsed: dict[bytes, Facts] = {}
    portals: dict[bytes, Facts] = {}
    executed: list[Facts] = []
    source = b""
    begun = at
    while end - at >= 5:
        code, size = _head_at(data, at)
        following = at + 1 + size
        if code == Frontend.QUERY and at == begun:
            text = data[at + 5 : following - 1]
            return Asked((facts_of(text),), text, following) if following <= end else UNKNOWN
        if code == Frontend.SYNC:
            return Asked(tuple(executed) or tuple(parsed.values()), source, following)
        if code not in _OF_A_BATCH or following > end:
            return UNKNOWN if code not in _OF_A_BATCH or end - begun > BATCH_LIMIT else None
        if code == Frontend.EXECUTE:
            executed.append(portals.get(data[at + 5 : data.find(0, at + 5, following)], UNPARSED))
        elif code == Frontend.PARSE:
            if (found := read_parse(data, at, following, facts_of)) is not None:
                parsed[found.name] = found.facts
                source = source or found.text
        elif code == Frontend.BIND:
            if (names := read_bind(data, at, following)) is not None:
                known = statements.get(names[1])
                portals[names[0]] = parsed.get(names[1]) or (UNPARSED if known is None else known.facts)
                source = source or (b"" if known is None else known.text)
        elif code == Frontend.CLOSE and data[at + 5] == STATEMENT:
            parsed.pop(data[at + 6 : following - 1], None)
        at = following
    return UNKNOWN if end - begun > BATCH_LIMIT else None


_OF_A_BATCH: Final = frozenset(
    {Frontend.PARSE, Frontend.BIND, Frontend.DESCRIBE, Frontend.EXECUTE, Frontend.CLOSE}
)
