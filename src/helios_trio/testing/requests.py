"""Frontend messages in few words, for scripts of tests: `query("select 1")`, `extended("select $1", "x")`.

Texts may be given as bytes where a test wants bytes that are no UTF-8; values are sent as they are, `None` is
NULL. What must not be well-formed is built with `raw` and `frame`. Used by `script`'s steps and by tests.
"""

from __future__ import annotations

from struct import pack
from typing import Final

from attrs import frozen

from helios_trio.wire import frontend_messages as front
from helios_trio.wire.layout import Message, to_text

TEXT_FORMAT: Final = 0
BINARY_FORMAT: Final = 1

Text = str | bytes
Value = str | bytes | None


@frozen
class Raw:
    """Bytes that need not be a message."""

    data: bytes

    def encode(self) -> bytes:
        """The bytes."""
        return self.data


Request = Message | Raw


def _text(text: Text) -> str:
    return text if isinstance(text, str) else to_text(text)


def _value(value: Value) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def query(sql: Text) -> Request:
    """A Query."""
    return front.Query(_text(sql))


def parse(sql: Text, name: str = "", types: tuple[int, ...] = ()) -> Request:
    """A Parse; `types` are OIDs."""
    return front.Parse(name, _text(sql), types)


def bind(
    *values: Value,
    statement: str = "",
    portal: str = "",
    formats: tuple[int, ...] = (),
    results: tuple[int, ...] = (),
) -> Request:
    """A Bind; `formats` are of the values, `results` of the columns."""
    return front.Bind(portal, statement, formats, tuple(_value(value) for value in values), results)


def describe_statement(name: str = "") -> Request:
    """A Describe of a prepared statement."""
    return front.Describe(front.STATEMENT, name)


def describe_portal(name: str = "") -> Request:
    """A Describe of a portal."""
    return front.Describe(front.PORTAL, name)


def execute(portal: str = "", max_rows: int = 0) -> Request:
    """An Execute."""
    return front.Execute(portal, max_rows)


def close_statement(name: str = "") -> Request:
    """A Close of a prepared statement."""
    return front.Close(front.STATEMENT, name)


def close_portal(name: str = "") -> Request:
    """A Close of a portal."""
    return front.Close(front.PORTAL, name)


def sync() -> Request:
    """A Sync."""
    return front.Sync()


def flush() -> Request:
    """A Flush."""
    return front.Flush()


def terminate() -> Request:
    """A Terminate."""
    return front.Terminate()


def extended(sql: Text, *values: Value) -> tuple[Request, ...]:
    """Parse, Bind, Describe and Execute of an unnamed statement, without Sync."""
    return parse(sql), bind(*values), describe_portal(), execute()


def function_call(
    function: int,
    *arguments: Value,
    formats: tuple[int, ...] = (),
    result_format: int = TEXT_FORMAT,
) -> Request:
    """A FunctionCall of the function with this OID."""
    return front.FunctionCall(function, formats, tuple(_value(value) for value in arguments), result_format)


def copy_data(data: Text) -> Request:
    """A CopyData."""
    return front.CopyData(data.encode() if isinstance(data, str) else data)


def copy_done() -> Request:
    """A CopyDone."""
    return front.CopyDone()


def copy_fail(message: str) -> Request:
    """A CopyFail."""
    return front.CopyFail(message)


def frame(code: str, body: bytes = b"", length: int | None = None) -> Request:
    """A frame of any type, whose length field may lie."""
    return Raw(code.encode("latin-1") + pack("!i", len(body) + 4 if length is None else length) + body)


def raw(data: bytes) -> Request:
    """Any bytes."""
    return Raw(data)


def int4(number: int) -> bytes:
    """A binary value of type integer."""
    return pack("!i", number)


def int8(number: int) -> bytes:
    """A binary value of type bigint."""
    return pack("!q", number)
