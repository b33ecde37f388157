"""The fields of ErrorResponse and NoticeResponse.

Fields keep their order, fields of future servers are kept, and duplicates survive, so that a report read from
a server can be written to a client unchanged. Used by both message classes, and by whoever needs a server's
SQLSTATE. Source: PostgreSQL docs, "Error and Notice Message Fields".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from attrs import frozen

from helios_trio.wire.layout import Codec, Cursor, cstring, to_text


@frozen
class ErrorFields:
    """The fields in the order of the wire, as pairs of one-character field type and text."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Self:
        """The same from a mapping, as `HeliosError.fields()` gives it."""
        return cls(tuple(fields.items()))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """The fields of an ErrorResponse's or NoticeResponse's body. Raises `ProtocolViolation`."""
        cursor = Cursor(body)
        found = cls(_read_pairs(cursor))
        cursor.finish()
        return found

    def encode(self) -> bytes:
        """The body with these fields."""
        return b"".join([_encode_type(name) + cstring(text) for name, text in self.pairs]) + b"\0"

    def get(self, name: str, default: str = "") -> str:
        """The text of the first field of this type."""
        return next((text for found, text in self.pairs if found == name), default)

    @property
    def severity(self) -> str:
        """ERROR, FATAL, PANIC, WARNING ... never translated where the server sends `V` (since 9.6)."""
        return self.get("V") or self.get("S")

    @property
    def sqlstate(self) -> str:
        """The five characters of PostgreSQL's appendix A."""
        return self.get("C")

    @property
    def message(self) -> str:
        """The primary message."""
        return self.get("M")

    @property
    def is_fatal(self) -> bool:
        """Whether the server closes the connection after this."""
        return self.severity in {"FATAL", "PANIC"}


def _encode_type(name: str) -> bytes:
    data = name.encode("latin-1")
    if len(data) != 1 or data == b"\0":
        raise ValueError(f"a field type is one character other than zero, not {name!r}")
    return data


def _read_pairs(cursor: Cursor) -> tuple[tuple[str, str], ...]:
    found = []
    while (name := cursor.take(1)) != b"\0":
        found.append((name.decode("latin-1"), to_text(cursor.take_string())))
    return tuple(found)


ERROR_FIELDS: Codec[ErrorFields] = Codec(lambda cursor: ErrorFields(_read_pairs(cursor)), ErrorFields.encode)
