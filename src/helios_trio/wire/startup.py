"""Packets that open a connection: StartupMessage, SSLRequest, GSSENCRequest, CancelRequest.

They have no type byte and come before anything is known about the peer, so their size is bounded as in
PostgreSQL (correctness rule 5). Parameters are kept as bytes, in order, because their encoding is not known
yet and a proxy must hand them on unchanged. Checks and wording follow `ProcessStartupPacket` in PostgreSQL's
backend_startup.c. The `options` parameter is taken apart in `wire.options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from struct import Struct
from typing import Final

from attrs import frozen

from helios_trio.errors import HeliosError, NotAuthorised, ProtocolViolation
from helios_trio.wire.backend_messages import NegotiateProtocolVersion, error_response
from helios_trio.wire.codes import CANCEL_REQUEST, GSSENC_REQUEST, PROTOCOL_3_0, PROTOCOL_3_2, SSL_REQUEST
from helios_trio.wire.layout import cstring, to_text

MAX_STARTUP_PACKET: Final = 10_000
"""Largest start-up packet without its length field, in bytes (MAX_STARTUP_PACKET_LENGTH)."""
MAX_CANCEL_SECRET: Final = 256
"""Longest secret of a cancel request, in bytes (protocol 3.2)."""
TLS_HANDSHAKE: Final = 0x16
"""First byte of a TLS ClientHello; that of a start-up packet is 0, as it is so short."""

_LENGTH: Final = Struct("!i")
_HEAD: Final = Struct("!iI")
_CANCEL_HEAD: Final = Struct("!iIi")
_OPTION_PREFIX: Final = b"_pq_."


@frozen
class SSLRequest:
    """May we go on in TLS? Answered with one byte, S or N."""

    def encode(self) -> bytes:
        """The whole packet."""
        return _HEAD.pack(_HEAD.size, SSL_REQUEST)


@frozen
class GSSENCRequest:
    """May we go on with GSSAPI encryption? Answered with one byte, G or N."""

    def encode(self) -> bytes:
        """The whole packet."""
        return _HEAD.pack(_HEAD.size, GSSENC_REQUEST)


@frozen
class CancelRequest:
    """Stop what the session with this key is doing. There is no answer."""

    pid: int
    secret: bytes

    def encode(self) -> bytes:
        """The whole packet."""
        return _CANCEL_HEAD.pack(_CANCEL_HEAD.size + len(self.secret), CANCEL_REQUEST, self.pid) + self.secret


class Replication(Enum):
    """What the `replication` parameter asks for: an ordinary session or one of two kinds of walsender."""

    OFF = "false"
    PHYSICAL = "true"
    LOGICAL = "database"


@frozen
class StartupMessage:
    """A client wants a session. `version` is the whole number: 3.2 is 0x30002."""

    version: int
    parameters: tuple[tuple[bytes, bytes], ...]

    def encode(self) -> bytes:
        """The whole packet. Raises `ValueError` for what the format cannot hold."""
        parts = [_encode_parameter(name, value) for name, value in self.parameters]
        body = b"".join(parts) + b"\0"
        return _HEAD.pack(_HEAD.size + len(body), self.version) + body

    def get(self, name: bytes) -> bytes | None:
        """The value of a parameter; the last one counts where a name is repeated, as in PostgreSQL."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[bytes, bytes]:
        return dict(self.parameters)

    def text(self, name: str) -> str | None:
        """As `get`, as text that `wire.layout.to_bytes` turns back into the same bytes."""
        value = self.get(name.encode())
        return None if value is None else to_text(value)

    @property
    def user(self) -> str:
        """The user name. Raises `NotAuthorised` (28000) where none is given."""
        found = self.text("user")
        if not found:
            raise NotAuthorised("no PostgreSQL user name specified in startup packet")
        return found

    @property
    def database(self) -> str:
        """The database, the user's name unless given; '' for physical replication, which has none."""
        if self.replication is Replication.PHYSICAL:
            return ""
        return self.text("database") or self.user

    @property
    def replication(self) -> Replication:
        """What kind of session is asked for. Raises `HeliosError` (22023) for a value that is no boolean."""
        value = self.text("replication")
        if value is None:
            return Replication.OFF
        if value == Replication.LOGICAL.value:
            return Replication.LOGICAL
        wanted = parse_bool(value)
        if wanted is None:
            raise _invalid_replication(value)
        return Replication.PHYSICAL if wanted else Replication.OFF

    @property
    def protocol_options(self) -> tuple[str, ...]:
        """Names of the protocol options (`_pq_.`) asked for; no server knows any yet."""
        return tuple(to_text(name) for name, _ in self.parameters if name.startswith(_OPTION_PREFIX))

    def settings(self) -> dict[str, str]:
        """Parameters that are run-time settings, not otherwise meant; the last of a name counts."""
        return {
            to_text(name): to_text(value)
            for name, value in self.parameters
            if name not in _NOT_SETTINGS and not name.startswith(_OPTION_PREFIX)
        }


_NOT_SETTINGS: Final = frozenset({b"user", b"database", b"options", b"replication"})

StartupPacket = StartupMessage | SSLRequest | GSSENCRequest | CancelRequest


def parse_startup(buffer: bytes | bytearray) -> tuple[StartupPacket, int] | None:
    """The packet at the start of the buffer and how many bytes it took; None when more bytes are needed.

    Raises `ProtocolViolation` as soon as the bytes cannot become a packet. The protocol version is not judged
    here: see `check_version`. Bytes that already follow an SSLRequest are for the caller to refuse: whoever
    sits between could have put them there to be taken for encrypted ones (CVE-2021-23214).
    """
    if len(buffer) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    if not _HEAD.size <= length <= MAX_STARTUP_PACKET + _LENGTH.size:
        raise ProtocolViolation("invalid length of startup packet")
    if len(buffer) < length:
        return None
    packet = bytes(buffer[:length])
    return _parse_packet(packet), length


def check_version(version: int) -> None:
    """Raise `ProtocolViolation` (0A000) unless the major version is 3; a newer minor version is negotiated.

    An SSLRequest or GSSENCRequest that was already answered is such an unknown version too.
    """
    major, minor = version >> 16, version & 0xFFFF
    if major != PROTOCOL_3_0 >> 16:
        raise ProtocolViolation(
            f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2", sqlstate="0A000"
        )


def negotiate(
    startup: StartupMessage, newest: int = PROTOCOL_3_2
) -> tuple[int, NegotiateProtocolVersion | None]:
    """The protocol version to speak, and what to tell the client first (None: just what it asked for).

    `newest` is the newest version on offer. Source: PostgreSQL docs, NegotiateProtocolVersion.
    """
    version = min(startup.version, newest)
    unrecognised = startup.protocol_options
    if version == startup.version and not unrecognised:
        return version, None
    return version, NegotiateProtocolVersion(version, unrecognised)


def startup_error(version: int, fields: Mapping[str, str]) -> bytes:
    """An error during start-up in the form that a client of this version reads.

    Before protocol 3 that is a line of text after the type byte, as PostgreSQL still sends it.
    """
    if version == 0 or version >> 16 >= PROTOCOL_3_0 >> 16:
        return error_response(fields)
    return b"E" + cstring(f"{fields['S']}:  {fields['M']}\n")


def looks_like_tls(first_byte: int) -> bool:
    """Whether a connection begins with a TLS handshake instead of a start-up packet (direct TLS)."""
    return first_byte == TLS_HANDSHAKE


def parse_bool(text: str) -> bool | None:
    """What PostgreSQL's `parse_bool` reads: unique prefixes, in any case; None when it is no boolean."""
    word = text.lower()
    if word == "1" or _is_prefix(word, "true", 1) or _is_prefix(word, "yes", 1) or _is_prefix(word, "on", 2):
        return True
    if word == "0" or _is_prefix(word, "false", 1) or _is_prefix(word, "no", 1) or _is_prefix(word, "off", 2):
        return False
    return None


def _is_prefix(word: str, of: str, least: int) -> bool:
    return len(word) >= least and of.startswith(word)


def _invalid_replication(value: str) -> HeliosError:
    return HeliosError(
        f'invalid value for parameter "replication": "{value}"',
        sqlstate="22023",
        severity="FATAL",
        hint='Valid values are: "false", 0, "true", 1, "database".',
    )


def _parse_packet(packet: bytes) -> StartupPacket:
    _, version = _HEAD.unpack_from(packet)
    if version == CANCEL_REQUEST:
        return _parse_cancel(packet)
    if version == SSL_REQUEST:
        return SSLRequest()
    if version == GSSENC_REQUEST:
        return GSSENCRequest()
    if version >> 16 != PROTOCOL_3_0 >> 16:
        return StartupMessage(version, ())
    return StartupMessage(version, _parse_parameters(packet, _HEAD.size))


def _parse_cancel(packet: bytes) -> CancelRequest:
    if len(packet) < _CANCEL_HEAD.size:
        raise ProtocolViolation("invalid length of cancel request packet")
    _, _, pid = _CANCEL_HEAD.unpack_from(packet)
    secret = packet[_CANCEL_HEAD.size :]
    if not 0 < len(secret) <= MAX_CANCEL_SECRET:
        raise ProtocolViolation("invalid length of cancel key in cancel request packet")
    return CancelRequest(pid, secret)


def _parse_parameters(packet: bytes, at: int) -> tuple[tuple[bytes, bytes], ...]:
    """Pairs up to an empty name, which must be the packet's last byte."""
    *strings, after = packet[at:].split(b"\0")
    *names, terminator = strings[::2] or [b"missing"]
    if after or terminator or b"" in names or len(strings) % 2 == 0:
        raise ProtocolViolation("invalid startup packet layout: expected terminator as last byte")
    return tuple(zip(names, strings[1::2], strict=False))


def _encode_parameter(name: bytes, value: bytes) -> bytes:
    if not name or 0 in name or 0 in value:
        raise ValueError("a start-up parameter needs a name, and neither name nor value may hold a zero byte")
    return name + b"\0" + value + b"\0"
