"""What a client is told when it has logged in, before its session begins: parameters, key, ReadyForQuery.

In shared modes no server connection is needed for that once one client with the same start-up settings has been
greeted; the first of them gets its values from a connection that carries them.

Used by: proxy.handshake.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from attrs import define, field

from helios_trio.wire.backend_messages import BackendKeyData, ParameterStatus, ReadyForQuery
from helios_trio.wire.codes import Status

#: Settings that clients choose freely: two clients that differ only here are greeted alike otherwise.
_OWN: Final = "application_name"
#: Length of an identifier, with its terminator, in bytes (PostgreSQL docs, "Identifiers and Key Words").
_NAMEDATALEN: Final = 64


def greeting_frames(parameters: Mapping[str, str], pid: int, secret: bytes) -> bytes:
    """ParameterStatus of each parameter, BackendKeyData and ReadyForQuery, ready to be sent."""
    frames = [ParameterStatus(name, value).encode() for name, value in parameters.items()]
    frames.append(BackendKeyData(pid, secret).encode())
    frames.append(ReadyForQuery(Status.IDLE).encode())
    return b"".join(frames)


@define
class Greetings:
    """What servers reported to connections opened with given settings; bounded."""

    limit: int = 512
    _known: OrderedDict[tuple[object, frozenset[tuple[str, str]]], Mapping[str, str]] = field(factory=OrderedDict)

    def get(self, pool: object, variant: Mapping[str, str]) -> dict[str, str] | None:
        """The parameters to report to a client of this pool with these start-up settings; None if not known."""
        found = self._known.get((pool, _key(variant)))
        if found is None:
            return None
        own = variant.get(_OWN, "")
        return {**found, _OWN: own} if _OWN in found and _kept_as_is(own) else dict(found)

    def note(self, pool: object, variant: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        """A connection with these settings reported `parameters`."""
        key = (pool, _key(variant))
        self._known[key] = dict(parameters)
        self._known.move_to_end(key)
        while len(self._known) > self.limit:
            self._known.popitem(last=False)


def _key(variant: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in variant.items() if name != _OWN or not _kept_as_is(value))


def _kept_as_is(name: str) -> bool:
    """Whether PostgreSQL reports this application name as it was given: it truncates, and escapes non-ASCII."""
    return len(name) < _NAMEDATALEN and name.isascii() and name.isprintable()
