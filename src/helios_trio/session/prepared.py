"""Prepared statements of the protocol, as the client knows them, and the names they have on servers.

In transaction mode a client's statement may be needed on any server connection. Its server-side name is a digest of
its text and parameter types, so equal statements of different clients share one, and no registry must be kept.

Used by: session.requests.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b

from attrs import define, field

from helios_trio.sql.facts import Facts

#: Prefix of every server-side name; clients cannot collide with it by accident.
PREFIX = b"helios_"
#: A name that is never prepared: Close of it succeeds and changes nothing, Bind of it fails.
NEVER_PREPARED = PREFIX + b"none"


def server_name(text: bytes, types: bytes) -> bytes:
    """The server-side name of a statement: `types` is the tail of the Parse message after the text."""
    digest = blake2b(text, digest_size=12)
    digest.update(b"\0")
    digest.update(types)
    return PREFIX + digest.hexdigest().encode()


class Absence(Enum):
    """Why a named statement is not on a connection to which its session was moved."""

    #: the server would not parse it: its client gets that error when it uses the statement (rule 9)
    UNPARSED = "unparsed"
    #: it would give other columns than before
    CHANGED = "changed"


@define(eq=False)
class PreparedStatement:
    """One Parse of a client: its text, the parameter types it declared, and what is known about it."""

    name: bytes
    text: bytes
    #: tail of the Parse message: number of parameter types and their OIDs
    types: bytes
    facts: Facts
    #: its text is known here; a very large one is not kept, and lives under its own name on one connection
    kept: bool = True
    #: what Describe told the client (ParameterDescription and RowDescription), once it has asked
    described: bytes | None = None
    _server_name: bytes = field(default=b"", alias="server_name")

    @property
    def server_name(self) -> bytes:
        """The name under which servers know it; made when first needed."""
        if not self._server_name:
            self._server_name = server_name(self.text, self.types)
        return self._server_name
