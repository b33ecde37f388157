"""wire.backend_messages, wire.frontend_messages, wire.error_fields: every message, both ways."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.errors import ConfigError, ProtocolViolation
from helios_trio.wire import layout
from helios_trio.wire.backend_messages import (
    BACKEND_MESSAGES,
    AuthenticationMD5Password,
    AuthenticationOk,
    AuthenticationSASL,
    DataRow,
    ErrorResponse,
    FieldDescription,
    NegotiateProtocolVersion,
    ReadyForQuery,
    decode_backend,
    error_response,
)
from helios_trio.wire.codes import Backend, Frontend
from helios_trio.wire.error_fields import ERROR_FIELDS, ErrorFields
from helios_trio.wire.frames import HEADER
from helios_trio.wire.frontend_messages import (
    FRONTEND_MESSAGES,
    PORTAL,
    STATEMENT,
    Bind,
    Close,
    Describe,
    Execute,
    GSSResponse,
    Parse,
    PasswordMessage,
    Query,
    SASLInitialResponse,
    SASLResponse,
    decode_frontend,
)

MESSAGES = [*BACKEND_MESSAGES, *FRONTEND_MESSAGES]
PASSWORDS = {PasswordMessage, SASLInitialResponse, SASLResponse, GSSResponse}


def codec(annotation: Any) -> layout.Codec[Any]:
    return annotation.__metadata__[0]


def tuples(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=5).map(tuple)


text = st.binary(max_size=12).map(lambda data: layout.to_text(data.replace(b"\0", b"")))
int16 = st.integers(-(2**15), 2**15 - 1)
int32 = st.integers(-(2**31), 2**31 - 1)
oid = st.integers(0, 2**32 - 1)
value = st.none() | st.binary(max_size=20)
field_type = st.integers(1, 255).map(chr)
STRATEGIES = {
    layout.BYTE: st.integers(0, 255),
    layout.INT16: int16,
    layout.INT32: int32,
    layout.UINT32: oid,
    layout.STRING: text,
    layout.STRINGS: tuples(text.filter(bool)),
    layout.REST: st.binary(max_size=40),
    layout.VALUE: value,
    layout.SALT: st.binary(min_size=4, max_size=4),
    codec(layout.CountedStrings): tuples(text),
    codec(layout.Values): tuples(value),
    codec(layout.Formats): tuples(int16),
    codec(layout.Oids): tuples(oid),
    ERROR_FIELDS: st.builds(ErrorFields, tuples(st.tuples(field_type, text))),
}


def fields_of(cls: type) -> dict[str, st.SearchStrategy[Any]]:
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for name, used in layout.layout_of(cls).fields:
        if cls in (Close, Describe) and name == "kind":
            found[name] = st.sampled_from([STATEMENT, PORTAL])
        elif used in STRATEGIES:
            found[name] = STRATEGIES[used]
        else:  # the columns of a RowDescription
            assert "FieldDescription" in str(hints[name])
            found[name] = tuples(st.builds(FieldDescription, **fields_of(FieldDescription)))
    return found


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: f"{cls.__module__[17]}-{cls.__name__}")
def test_decoding_gives_back_what_was_encoded(cls: type[layout.Message]) -> None:
    """encode and decode are inverse, and the length counts itself and the body."""

    @given(st.builds(cls, **fields_of(cls)))
    def check(message: layout.Message) -> None:
        frame = message.encode()
        code, length = HEADER.unpack_from(frame)
        assert (code, length) == (cls.code, len(frame) - 1)
        body = frame[HEADER.size :]
        assert cls.decode(body) == message
        if cls in BACKEND_MESSAGES:
            assert decode_backend(code, body) == message
        elif cls in PASSWORDS:
            assert decode_frontend(code, body, cls) == message
        else:
            assert decode_frontend(code, body) == message

    check()


@given(st.sampled_from(MESSAGES), st.binary(max_size=60))
def test_any_body_is_refused_or_decoded_without_loss(cls: type[layout.Message], body: bytes) -> None:
    """Rule 5: random bytes raise ProtocolViolation only; what is accepted encodes to the same bytes."""
    body = cls.prefix + body
    try:
        message = cls.decode(body)
    except ProtocolViolation:
        return
    assert message.body() == body


@given(st.integers(0, 255), st.binary(max_size=30))
def test_any_frame_is_refused_or_decoded_without_loss(code: int, body: bytes) -> None:
    """Rule 5: the same for frames of any type, in both directions."""
    for decode in (decode_backend, decode_frontend):
        try:
            message = decode(code, body)
        except ProtocolViolation:
            continue
        assert (message.code, message.body()) == (code, body)


def test_every_type_byte_has_a_message() -> None:
    """The tables miss nothing of `wire.codes`."""
    for family, messages in ((Backend, BACKEND_MESSAGES), (Frontend, FRONTEND_MESSAGES)):
        codes = {code for name, code in vars(family).items() if name.isupper()}
        assert {message.code for message in messages} == codes


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (AuthenticationOk(), b"R\0\0\0\x08\0\0\0\0"),
        (AuthenticationMD5Password(b"salt"), b"R\0\0\0\x0c\0\0\0\x05salt"),
        (AuthenticationSASL(("A", "B")), b"R\0\0\0\x0d\0\0\0\x0aA\0B\0\0"),
        (ReadyForQuery(ord("I")), b"Z\0\0\0\x05I"),
        (DataRow((None, b"", b"1")), b"D\0\0\0\x13\0\x03\xff\xff\xff\xff\0\0\0\0\0\0\0\x011"),
        (ErrorResponse(ErrorFields((("S", "ERROR"),))), b"E\0\0\0\x0cSERROR\0\0"),
        (Query("select 1"), b"Q\0\0\0\x0dselect 1\0"),
        (Execute("p", 7), b"E\0\0\0\x0ap\0\0\0\0\x07"),
        (Parse("", "x", (23,)), b"P\0\0\0\x0d\0x\0\0\x01\0\0\0\x17"),
        (Bind("", "s", (1,), (b"a",), (0,)), b"B\0\0\0\x16\0s\0\0\x01\0\x01\0\x01\0\0\0\x01a\0\x01\0\0"),
        (SASLInitialResponse("M", None), b"p\0\0\0\x0aM\0\xff\xff\xff\xff"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_known_frames(message: layout.Message, frame: bytes) -> None:
    """Byte for byte as in the documentation, so that reader and writer cannot be wrong alike."""
    assert message.encode() == frame


@pytest.mark.parametrize(
    ("cls", "body", "wording"),
    [
        (Execute, b"p\0\0\0", "insufficient data left in message"),
        (Execute, b"p\0\0\0\0\0\0", "invalid message format"),
        (Query, b"select 1", "invalid string in message"),
        (Bind, b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0", "insufficient data left in message"),
        (NegotiateProtocolVersion, b"\0\3\0\2\xff\xff\xff\xff", "insufficient data left in message"),
        (NegotiateProtocolVersion, b"\0\3\0\2\x7f\xff\xff\xff\0\0", "invalid string in message"),
        (Close, b"X\0", "invalid CLOSE message subtype 88"),
        (Describe, b"X\0", "invalid DESCRIBE message subtype 88"),
    ],
)
def test_malformed_bodies_are_named_as_postgresql_does(
    cls: type[layout.Message], body: bytes, wording: str
) -> None:
    """Errors of pqformat.c: the session goes on after them, so they are no FATAL."""
    with pytest.raises(ProtocolViolation, match=f"^{wording}$") as caught:
        cls.decode(body)
    assert caught.value.severity == "ERROR"


@pytest.mark.parametrize("body", [b"", b"abc", b"a\0b", b"a\0b\0"])
def test_malformed_passwords_end_the_connection(body: bytes) -> None:
    """`recv_password_packet`: during authentication every error is FATAL."""
    with pytest.raises(ProtocolViolation, match=r"^invalid password packet size$") as caught:
        PasswordMessage.decode(body)
    assert caught.value.severity == "FATAL"


def test_unknown_authentication_is_refused() -> None:
    """A method this client side does not know."""
    with pytest.raises(ProtocolViolation, match="authentication method 99 not supported"):
        decode_backend(Backend.AUTHENTICATION, b"\0\0\0\x63")


def test_zero_bytes_cannot_be_smuggled_into_strings() -> None:
    """A name with a zero byte would end early and what follows would be read as something else."""
    for message in (Query("a\0b"), AuthenticationSASL(("A", "")), ErrorResponse(ErrorFields((("", "x"),)))):
        with pytest.raises(ValueError, match=r"zero byte|empty name|one character"):
            message.encode()


def test_error_fields_keep_order_unknown_and_repeated_fields() -> None:
    """A server's report is passed on unchanged."""
    body = b"SFEHLER\0VFATAL\0C57P01\0Mgone\0zfuture\0zagain\0\0"
    fields = ErrorFields.decode(body)
    assert fields.encode() == body
    assert (fields.severity, fields.sqlstate, fields.message) == ("FATAL", "57P01", "gone")
    assert fields.is_fatal
    assert fields.get("z") == "future"
    assert fields.get("D", "none") == "none"


def test_our_own_errors_become_frames() -> None:
    """`HeliosError.fields()` is what a client gets."""
    fields = ConfigError("no", hint="try").fields()
    message = decode_backend(Backend.ERROR_RESPONSE, error_response(fields)[HEADER.size :])
    assert isinstance(message, ErrorResponse)
    assert dict(message.fields.pairs) == fields
