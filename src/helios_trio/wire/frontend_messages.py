"""Every message a client sends after its start-up packet, as a frozen class whose annotations are its format.

For handshakes, control connections and scripts of tests; the relay reads names in `session.preparing`.
`decode_frontend` finds the class for a frame. Start-up packets are in `wire.startup`. Source: PostgreSQL docs,
"Message Formats".
"""

from __future__ import annotations

from typing import Final, Self

from attrs import frozen

from helios_trio.errors import ProtocolViolation
from helios_trio.wire.codes import Frontend
from helios_trio.wire.layout import (
    Byte,
    Formats,
    Int16,
    Int32,
    Message,
    Oid,
    Oids,
    Rest,
    String,
    Value,
    Values,
    malformed,
)

STATEMENT: Final = ord("S")
"""Kind of a Close or Describe that means a prepared statement."""
PORTAL: Final = ord("P")
"""Kind of a Close or Describe that means a portal."""


@frozen
class Bind(Message):
    """Make a portal of a prepared statement and parameter values."""

    code = Frontend.BIND
    portal: String
    statement: String
    formats: Formats
    values: Values
    result_formats: Formats


@frozen
class Close(Message):
    """Close a prepared statement or portal."""

    code = Frontend.CLOSE
    kind: Byte
    name: String

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """As `Message.decode`; the kind must be `STATEMENT` or `PORTAL`."""
        found = super().decode(body)
        _check_kind("CLOSE", found.kind)
        return found


@frozen
class CopyData(Message):
    """A piece of COPY data."""

    code = Frontend.COPY_DATA
    data: Rest


@frozen
class CopyDone(Message):
    """COPY data is complete."""

    code = Frontend.COPY_DONE


@frozen
class CopyFail(Message):
    """The client gives up a COPY, with this message."""

    code = Frontend.COPY_FAIL
    message: String


@frozen
class Describe(Message):
    """Ask for the columns (and parameters) of a prepared statement or portal."""

    code = Frontend.DESCRIBE
    kind: Byte
    name: String

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """As `Message.decode`; the kind must be `STATEMENT` or `PORTAL`."""
        found = super().decode(body)
        _check_kind("DESCRIBE", found.kind)
        return found


@frozen
class Execute(Message):
    """Run a portal; at most `max_rows` rows, 0 for all."""

    code = Frontend.EXECUTE
    portal: String
    max_rows: Int32


@frozen
class Flush(Message):
    """Send what is ready."""

    code = Frontend.FLUSH


@frozen
class FunctionCall(Message):
    """Call a function by its oid (the fast path of large objects)."""

    code = Frontend.FUNCTION_CALL
    function: Oid
    formats: Formats
    arguments: Values
    result_format: Int16


@frozen
class Parse(Message):
    """Prepare a statement; parameter types that are 0 or missing are inferred."""

    code = Frontend.PARSE
    name: String
    query: String
    types: Oids


@frozen
class GSSResponse(Message):
    """Data of GSSAPI or SSPI."""

    code = Frontend.PASSWORD
    data: Rest


@frozen
class PasswordMessage(Message):
    """A password, plain or as md5 digest."""

    code = Frontend.PASSWORD
    password: String

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """As `Message.decode`, with the wording of `recv_password_packet`."""
        if body.find(b"\0") != len(body) - 1 or not body:
            raise ProtocolViolation("invalid password packet size")
        return super().decode(body)


@frozen
class SASLInitialResponse(Message):
    """The chosen mechanism and, unless None, the client's first message."""

    code = Frontend.PASSWORD
    mechanism: String
    data: Value


@frozen
class SASLResponse(Message):
    """A further message of the SASL exchange."""

    code = Frontend.PASSWORD
    data: Rest


@frozen
class Query(Message):
    """Run the statements of a string."""

    code = Frontend.QUERY
    query: String


@frozen
class Sync(Message):
    """End of an extended request."""

    code = Frontend.SYNC


@frozen
class Terminate(Message):
    """The client goes."""

    code = Frontend.TERMINATE


PasswordFamily = type[PasswordMessage] | type[SASLInitialResponse] | type[SASLResponse] | type[GSSResponse]
"""Classes that share the type byte `p`: which of them is meant depends on what the server asked for."""

FRONTEND_MESSAGES: Final[tuple[type[Message], ...]] = (
    Bind,
    Close,
    CopyData,
    CopyDone,
    CopyFail,
    Describe,
    Execute,
    Flush,
    FunctionCall,
    GSSResponse,
    Parse,
    PasswordMessage,
    Query,
    SASLInitialResponse,
    SASLResponse,
    Sync,
    Terminate,
)
_BY_CODE: Final = {
    message.code: message for message in FRONTEND_MESSAGES if message.code != Frontend.PASSWORD
}


def decode_frontend(code: int, body: bytes, password: PasswordFamily = PasswordMessage) -> Message:
    """The client's message with this type byte and body; `password` is what a `p` means now.

    Raises `ProtocolViolation`.
    """
    if code == Frontend.PASSWORD:
        return password.decode(body)
    found = _BY_CODE.get(code)
    if found is None:
        raise ProtocolViolation(f"invalid frontend message type {code}")
    return found.decode(body)


def _check_kind(message: str, kind: int) -> None:
    if kind not in (STATEMENT, PORTAL):
        raise malformed(f"invalid {message} message subtype {kind}")
