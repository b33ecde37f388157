"""How the fields of messages look on the wire: small codecs that message classes name in their annotations.

`name: String` in a message class means Python type `str` and, on the wire, bytes up to a zero byte. `Message`
reads the annotations once per class and derives `encode` and `decode` from them, so that a class is its page
in PostgreSQL's documentation and nothing else. Strings are UTF-8 with `surrogateescape`, hence faithful to
the bytes of any encoding. Wording and SQLSTATE of malformed bodies are those of `pqformat.c`; like there they
are of severity ERROR.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, get_type_hints

from attrs import define, frozen

from helios_trio.errors import ProtocolViolation
from helios_trio.wire.frames import encode_frame

T = TypeVar("T")


def malformed(message: str) -> ProtocolViolation:
    """A body that does not follow its format; the error PostgreSQL answers and then skips to Sync."""
    return ProtocolViolation(message, severity="ERROR")


def to_text(data: bytes) -> str:
    """Bytes of any encoding as text, reversible with `to_bytes`."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes that `to_text` came from."""
    return text.encode("utf-8", "surrogateescape")


def cstring(text: str) -> bytes:
    """The text as a zero-terminated string. Raises `ValueError` for a zero inside: it would end it early."""
    data = to_bytes(text)
    if 0 in data:
        raise ValueError("a string of the protocol cannot contain a zero byte")
    return data + b"\0"


@define
class Cursor:
    """A position in a body that is being decoded; reading past the end raises `ProtocolViolation`."""

    body: bytes
    at: int = 0

    def unpack(self, form: Struct) -> Any:
        """The one value of this form."""
        return form.unpack(self.take(form.size))[0]

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.at + size
        if size < 0 or end > len(self.body):
            raise malformed("insufficient data left in message")
        found = self.body[self.at : end]
        self.at = end
        return found

    def take_rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self.body) - self.at)

    def take_string(self) -> bytes:
        """The bytes up to the next zero byte, which is skipped."""
        end = self.body.find(b"\0", self.at)
        if end < 0:
            raise malformed("invalid string in message")
        found = self.body[self.at : end]
        self.at = end + 1
        return found

    def finish(self) -> None:
        """Raise `ProtocolViolation` when bytes are left."""
        if self.at != len(self.body):
            raise malformed("invalid message format")


@frozen
class Codec(Generic[T]):
    """One kind of field: how it is read and how it is written."""

    read: Callable[[Cursor], T]
    write: Callable[[T], bytes]


def _number(form: str) -> Codec[int]:
    packer = Struct(form)
    return Codec(lambda cursor: cursor.unpack(packer), packer.pack)


def _read_value(cursor: Cursor) -> bytes | None:
    size = cursor.unpack(_INT32)
    return None if size == -1 else cursor.take(size)


def _write_value(value: bytes | None) -> bytes:
    return _INT32.pack(-1) if value is None else _INT32.pack(len(value)) + value


def _write_salt(value: bytes) -> bytes:
    if len(value) != SALT_SIZE:
        raise ValueError(f"a salt has {SALT_SIZE} bytes, not {len(value)}")
    return value


def array(count: Codec[int], item: Codec[T]) -> Codec[tuple[T, ...]]:
    """So many items, after their number."""

    def read(cursor: Cursor) -> tuple[T, ...]:
        size = count.read(cursor)
        if size < 0:
            raise malformed("insufficient data left in message")
        return tuple([item.read(cursor) for _ in range(size)])

    def write(items: tuple[T, ...]) -> bytes:
        return count.write(len(items)) + b"".join(map(item.write, items))

    return Codec(read, write)


def _read_strings(cursor: Cursor) -> tuple[str, ...]:
    found = []
    while name := cursor.take_string():
        found.append(to_text(name))
    return tuple(found)


def _write_strings(names: tuple[str, ...]) -> bytes:
    if not all(names):
        raise ValueError("an empty name would end the list")
    return b"".join(map(cstring, names)) + b"\0"


SALT_SIZE = 4
_INT32 = Struct("!i")
BYTE = _number("!B")
INT16 = _number("!h")
UINT16 = _number("!H")
INT32 = _number("!i")
UINT32 = _number("!I")
STRING: Codec[str] = Codec(lambda cursor: to_text(cursor.take_string()), cstring)
STRINGS = Codec(_read_strings, _write_strings)
REST: Codec[bytes] = Codec(Cursor.take_rest, bytes)
VALUE = Codec(_read_value, _write_value)
SALT: Codec[bytes] = Codec(lambda cursor: cursor.take(SALT_SIZE), _write_salt)

Byte = Annotated[int, BYTE]
Int16 = Annotated[int, INT16]
Int32 = Annotated[int, INT32]
Oid = Annotated[int, UINT32]
String = Annotated[str, STRING]
Strings = Annotated[tuple[str, ...], STRINGS]
"""Strings up to an empty one."""
CountedStrings = Annotated[tuple[str, ...], array(INT32, STRING)]
Rest = Annotated[bytes, REST]
Value = Annotated[bytes | None, VALUE]
"""An int32 length and so many bytes; None (NULL) is written as length -1."""
Values = Annotated[tuple[bytes | None, ...], array(UINT16, VALUE)]
Formats = Annotated[tuple[int, ...], array(UINT16, INT16)]
"""Format codes: 0 text, 1 binary."""
Oids = Annotated[tuple[int, ...], array(UINT16, UINT32)]
Salt = Annotated[bytes, SALT]


@frozen
class Layout:
    """The fields of one class, in the order of the wire."""

    fields: tuple[tuple[str, Codec[Any]], ...]

    def read(self, cursor: Cursor) -> list[Any]:
        """The values of all fields."""
        return [codec.read(cursor) for _, codec in self.fields]

    def write(self, message: object) -> bytes:
        """The fields of the message, joined."""
        return b"".join([codec.write(getattr(message, name)) for name, codec in self.fields])


def layout_of(cls: type[Any]) -> Layout:
    """The layout that the annotations of a class describe."""
    hints = get_type_hints(cls, include_extras=True)
    codecs = {name: metadata[0] for name, hint in hints.items() if (metadata := _metadata(hint))}
    return Layout(tuple(codecs.items()))


def _metadata(hint: object) -> tuple[Codec[Any], ...]:
    return getattr(hint, "__metadata__", ())


def struct(cls: type[T]) -> Codec[T]:
    """An attrs class whose fields stand inside a message, for instance one column of a RowDescription."""
    layout = layout_of(cls)
    return Codec(lambda cursor: cls(*layout.read(cursor)), layout.write)


@frozen
class Message:
    """Base of all messages with a type byte.

    `code` is that byte; `prefix` the constant bytes at the start of the body (the sub-type of Authentication
    messages).
    """

    code: ClassVar[int]
    prefix: ClassVar[bytes] = b""
    layout: ClassVar[Layout]

    def __init_subclass__(cls) -> None:
        cls.layout = layout_of(cls)

    def body(self) -> bytes:
        """What stands after the length; a value without encoding raises `ValueError` or `struct.error`."""
        return self.prefix + self.layout.write(self)

    def encode(self) -> bytes:
        """The whole frame."""
        return encode_frame(self.code, self.body())

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """The message with this body. Raises `ProtocolViolation` with PostgreSQL's wording."""
        cursor = Cursor(body)
        if cursor.take(len(cls.prefix)) != cls.prefix:
            raise malformed("invalid message format")
        found = cls(*cls.layout.read(cursor))
        cursor.finish()
        return found
