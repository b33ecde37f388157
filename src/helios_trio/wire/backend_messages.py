"""Every message a server sends, as a frozen class whose annotations are its format.

For handshakes, control connections, scripts of tests and errors of our own; the relay forwards frames without
building these. `decode_backend` finds the class for a frame. Source: PostgreSQL docs, "Message Formats" and
(Authentication) "Start-up"; order and names are those of that page.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Annotated, Final

from attrs import frozen

from helios_trio.errors import ProtocolViolation
from helios_trio.wire.codes import Backend
from helios_trio.wire.error_fields import ERROR_FIELDS, ErrorFields
from helios_trio.wire.frames import encode_frame
from helios_trio.wire.layout import (
    UINT16,
    Byte,
    CountedStrings,
    Formats,
    Int16,
    Int32,
    Message,
    Oid,
    Oids,
    Rest,
    Salt,
    String,
    Strings,
    Value,
    Values,
    array,
    malformed,
    struct,
)

_SUBTYPE: Final = Struct("!i")


@frozen
class AuthenticationOk(Message):
    """The client is who it says."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(0)


@frozen
class AuthenticationKerberosV5(Message):
    """Kerberos V5 is required (no longer sent by any supported server)."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(2)


@frozen
class AuthenticationCleartextPassword(Message):
    """Send the password as it is."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(3)


@frozen
class AuthenticationMD5Password(Message):
    """Send the password hashed with this salt."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(5)
    salt: Salt


@frozen
class AuthenticationGSS(Message):
    """GSSAPI is required."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(7)


@frozen
class AuthenticationGSSContinue(Message):
    """More data of GSSAPI or SSPI."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(8)
    data: Rest


@frozen
class AuthenticationSSPI(Message):
    """SSPI is required."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(9)


@frozen
class AuthenticationSASL(Message):
    """SASL is required; mechanisms in the server's order of preference."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(10)
    mechanisms: Strings


@frozen
class AuthenticationSASLContinue(Message):
    """A SASL challenge."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(11)
    data: Rest


@frozen
class AuthenticationSASLFinal(Message):
    """The SASL exchange succeeded; additional data of the mechanism."""

    code = Backend.AUTHENTICATION
    prefix = _SUBTYPE.pack(12)
    data: Rest


@frozen
class BackendKeyData(Message):
    """What a cancel request must show: 4 bytes of secret before protocol 3.2, up to 256 since."""

    code = Backend.BACKEND_KEY_DATA
    pid: Int32
    secret: Rest


@frozen
class BindComplete(Message):
    """Answer to Bind."""

    code = Backend.BIND_COMPLETE


@frozen
class CloseComplete(Message):
    """Answer to Close."""

    code = Backend.CLOSE_COMPLETE


@frozen
class CommandComplete(Message):
    """A command succeeded; the tag is for instance `INSERT 0 1`."""

    code = Backend.COMMAND_COMPLETE
    tag: String


@frozen
class CopyInResponse(Message):
    """Ready for COPY data from the client; formats are 0 (text) or 1 (binary), over all and per column."""

    code = Backend.COPY_IN_RESPONSE
    format: Byte
    column_formats: Formats


@frozen
class CopyOutResponse(Message):
    """COPY data to the client follows; formats as in `CopyInResponse`."""

    code = Backend.COPY_OUT_RESPONSE
    format: Byte
    column_formats: Formats


@frozen
class CopyBothResponse(Message):
    """Copy data goes in both directions (streaming replication only)."""

    code = Backend.COPY_BOTH_RESPONSE
    format: Byte
    column_formats: Formats


@frozen
class CopyData(Message):
    """A piece of COPY data."""

    code = Backend.COPY_DATA
    data: Rest


@frozen
class CopyDone(Message):
    """COPY data is complete."""

    code = Backend.COPY_DONE


@frozen
class DataRow(Message):
    """A row; NULL is None."""

    code = Backend.DATA_ROW
    values: Values


@frozen
class EmptyQueryResponse(Message):
    """Answer to an empty query string, in place of CommandComplete."""

    code = Backend.EMPTY_QUERY_RESPONSE


@frozen
class ErrorResponse(Message):
    """An error report."""

    code = Backend.ERROR_RESPONSE
    fields: Annotated[ErrorFields, ERROR_FIELDS]


@frozen
class FunctionCallResponse(Message):
    """The result of a FunctionCall; NULL is None."""

    code = Backend.FUNCTION_CALL_RESPONSE
    value: Value


@frozen
class NegotiateProtocolVersion(Message):
    """The server speaks an older minor version, or does not know some `_pq_.` options.

    `version` is the whole number (3.2 is 0x30002), as PostgreSQL sends it, although its documentation says
    minor version.
    """

    code = Backend.NEGOTIATE_PROTOCOL_VERSION
    version: Int32
    unrecognised: CountedStrings


@frozen
class NoData(Message):
    """Described was something that returns no rows."""

    code = Backend.NO_DATA


@frozen
class NoticeResponse(Message):
    """A notice or warning; may come at any time."""

    code = Backend.NOTICE_RESPONSE
    fields: Annotated[ErrorFields, ERROR_FIELDS]


@frozen
class NotificationResponse(Message):
    """What somebody sent with NOTIFY; may come at any time."""

    code = Backend.NOTIFICATION_RESPONSE
    pid: Int32
    channel: String
    payload: String


@frozen
class ParameterDescription(Message):
    """Types of a prepared statement's parameters."""

    code = Backend.PARAMETER_DESCRIPTION
    types: Oids


@frozen
class ParameterStatus(Message):
    """The value of a setting that is reported; may come at any time."""

    code = Backend.PARAMETER_STATUS
    name: String
    value: String


@frozen
class ParseComplete(Message):
    """Answer to Parse."""

    code = Backend.PARSE_COMPLETE


@frozen
class PortalSuspended(Message):
    """Execute reached its row limit; the portal has not ended."""

    code = Backend.PORTAL_SUSPENDED


@frozen
class ReadyForQuery(Message):
    """The server waits for a request; `status` is one of `wire.codes.Status`."""

    code = Backend.READY_FOR_QUERY
    status: Byte


@frozen
class FieldDescription:
    """One column of a RowDescription: names and numbers are those of pg_attribute and pg_type."""

    name: String
    table_oid: Oid
    column: Int16
    type_oid: Oid
    type_size: Int16
    type_modifier: Int32
    format: Int16


@frozen
class RowDescription(Message):
    """The columns of the rows that follow, or would."""

    code = Backend.ROW_DESCRIPTION
    fields: Annotated[tuple[FieldDescription, ...], array(UINT16, struct(FieldDescription))]


_AUTHENTICATION: Final[tuple[type[Message], ...]] = (
    AuthenticationOk,
    AuthenticationKerberosV5,
    AuthenticationCleartextPassword,
    AuthenticationMD5Password,
    AuthenticationGSS,
    AuthenticationGSSContinue,
    AuthenticationSSPI,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
)
_OTHERS: Final[tuple[type[Message], ...]] = (
    BackendKeyData,
    BindComplete,
    CloseComplete,
    CommandComplete,
    CopyBothResponse,
    CopyData,
    CopyDone,
    CopyInResponse,
    CopyOutResponse,
    DataRow,
    EmptyQueryResponse,
    ErrorResponse,
    FunctionCallResponse,
    NegotiateProtocolVersion,
    NoData,
    NoticeResponse,
    NotificationResponse,
    ParameterDescription,
    ParameterStatus,
    ParseComplete,
    PortalSuspended,
    ReadyForQuery,
    RowDescription,
)
BACKEND_MESSAGES: Final = _AUTHENTICATION + _OTHERS
_BY_CODE: Final = {message.code: message for message in _OTHERS}
_BY_SUBTYPE: Final = {message.prefix: message for message in _AUTHENTICATION}


def decode_backend(code: int, body: bytes) -> Message:
    """The server's message with this type byte and body. Raises `ProtocolViolation`."""
    if code == Backend.AUTHENTICATION:
        return _decode_authentication(body)
    found = _BY_CODE.get(code)
    if found is None:
        raise ProtocolViolation(f"invalid backend message type {code}")
    return found.decode(body)


def _decode_authentication(body: bytes) -> Message:
    if len(body) < _SUBTYPE.size:
        raise malformed("insufficient data left in message")
    found = _BY_SUBTYPE.get(body[: _SUBTYPE.size])
    if found is None:
        raise ProtocolViolation(f"authentication method {_SUBTYPE.unpack_from(body)[0]} not supported")
    return found.decode(body)


def error_response(fields: Mapping[str, str]) -> bytes:
    """A whole ErrorResponse frame with these fields, as `HeliosError.fields()` gives them."""
    return encode_frame(Backend.ERROR_RESPONSE, ErrorFields.of(fields).encode())
