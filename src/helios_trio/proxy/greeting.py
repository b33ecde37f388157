"""What a client is told when it has logged in, before its session begins: parameters, key, ReadyForQuery.

In shared modes no server connection is needed for that once one client with the same start-up settings has been
greeted; the first of them gets its values from a connection that carries them.

Used by: proxy.handshake.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from attrs import define, evolve, field, frozen

from helios_trio.wire.backend_messages import BackendKeyData, ParameterStatus, ReadyForQuery
from helios_trio.wire.codes import Status

#: Settings that clients choose freely: two clients that differ only here are greeted alike otherwise.
_OWN: Final = "application_name"
#: Length of an identifier, with its terminator, in bytes (PostgreSQL docs, "Identifiers and Key Words").
_NAMEDATALEN: Final = 64
_READY: Final = ReadyForQuery(Status.IDLE).encode()


@frozen(slots=False)
class Greeting:
    """What a server said to a connection with given settings."""

    parameters: Mapping[str, str]
    #: NoticeResponse messages about the start-up settings
    notices: bytes = b""

    @cached_property
    def head(self) -> bytes:
        """Notices and ParameterStatus messages, encoded once for all clients that are greeted alike."""
        statuses = (ParameterStatus(name, value).encode() for name, value in self.parameters.items())
        return self.notices + b"".join(statuses)

    @cached_property
    def reported(self) -> dict[str, str]:
        """The parameters by their names in lower case."""
        return {name.lower(): value for name, value in self.parameters.items()}

    def frames(self, pid: int, secret: bytes) -> bytes:
        """Notices, ParameterStatus of each parameter, BackendKeyData and ReadyForQuery, ready to be sent."""
        return self.head + BackendKeyData(pid, secret).encode() + _READY

    def named(self, application_name: str) -> Greeting:
        """The same for a client that only calls itself differently."""
        return evolve(self, parameters={**self.parameters, _OWN: application_name})


@define
class Greetings:
    """What servers said to connections with given settings; bounded."""

    limit: int = 512
    _known: OrderedDict[tuple[object, frozenset[tuple[str, str]]], Greeting] = field(factory=OrderedDict)

    def get(self, pool: object, variant: Mapping[str, str]) -> Greeting | None:
        """How a client of this pool with these start-up settings is greeted; None if not known."""
        found = self._known.get((pool, _key(variant)))
        own = variant.get(_OWN)
        if found is None or own is None or not _kept_as_is(own) or found.parameters.get(_OWN, own) == own:
            return found
        return found.named(own)

    def note(self, pool: object, variant: Mapping[str, str], greeting: Greeting) -> None:
        """A connection with these settings was told `greeting`."""
        key = (pool, _key(variant))
        self._known[key] = greeting
        self._known.move_to_end(key)
        while len(self._known) > self.limit:
            self._known.popitem(last=False)


def _key(variant: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(
        (name, value) for name, value in variant.items() if name != _OWN or not _kept_as_is(value)
    )


def _kept_as_is(name: str) -> bool:
    """Whether PostgreSQL reports this application name as it was given: it truncates, and escapes non-ASCII."""
    return len(name) < _NAMEDATALEN and name.isascii() and name.isprintable()
