"""Reading the comma-separated attributes of SCRAM messages, with PostgreSQL's errors for malformed ones.

Sources: RFC 5802, section 7; `read_attr_value` and `read_any_attr` in PostgreSQL's auth-scram.c. Used by
`wire.scram`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

from attrs import define

from helios_trio.errors import ProtocolViolation


def malformed(detail: str) -> ProtocolViolation:
    """The error for a message that breaks the syntax."""
    return ProtocolViolation("malformed SCRAM message", detail=detail)


@define
class Attributes:
    """A position in a SCRAM message."""

    text: bytes
    at: int = 0

    def peek(self) -> bytes:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def rest(self) -> bytes:
        """All that is left."""
        return self.text[self.at :]

    def skip_comma(self) -> None:
        """Go past a comma, which must be there."""
        if self.peek() != b",":
            raise malformed(f'Comma expected, but found character "{shown(self.peek())}".')
        self.at += 1

    def take(self, name: bytes) -> bytes:
        """The value of the next attribute, which must have this one-letter name."""
        if self.peek() != name:
            raise malformed(f'Expected attribute "{name.decode()}" but found "{shown(self.peek())}".')
        return self.take_any()[1]

    def take_any(self) -> tuple[bytes, bytes]:
        """Name and value of the next attribute."""
        name = self.peek()
        if not name:
            raise malformed("Attribute expected, but found end of string.")
        if not name.isalpha():
            raise malformed(f'Attribute expected, but found invalid character "{shown(name)}".')
        if self.text[self.at + 1 : self.at + 2] != b"=":
            raise malformed(f'Expected character "=" for attribute "{name.decode()}".')
        start = self.at + 2
        end = self.text.find(b",", start)
        if end < 0:
            end = self.at = len(self.text)
        else:
            self.at = end + 1
        return name, self.text[start:end]

    def skip_all(self) -> None:
        """Go past optional extensions up to the end; they must be well-formed."""
        while self.peek():
            self.take_any()


def shown(character: bytes) -> str:
    """A character fit for an error message."""
    if not character:
        return "0x00"
    return f"'{character.decode()}'" if 0x21 <= character[0] <= 0x7E else f"0x{character[0]:02x}"


def shown_text(text: bytes) -> str:
    """A peer's text fit for an error message: at most 30 characters, unprintable ones replaced."""
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E else "?" for byte in text[:30])


def is_printable(text: bytes) -> bool:
    """Whether all characters may stand in a nonce (RFC 5802: `printable`, which has no comma)."""
    return all(0x21 <= byte <= 0x7E and byte != 0x2C for byte in text)


def encode_base64(data: bytes) -> bytes:
    """The data as SCRAM writes it."""
    return b64encode(data)


def decode_base64(text: bytes) -> bytes | None:
    """The data, or None when this is not base64."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return None
