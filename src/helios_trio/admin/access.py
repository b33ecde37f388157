"""Who is asking, and whether they may: the key of a request against the role that its route needs.

Cookies are never looked at, so that a page of another site can make a browser send requests, but none that count. Nor
is what needs no key for such a page, whose own name may lead here for a moment (DNS rebinding).

Used by: admin.routing (for every route), admin.asgi, admin.stream, composition.letting_in (makes it).
"""

from __future__ import annotations

import ipaddress
import math
import re
import socket
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

import structlog
import trio
from attrs import define, field, frozen
from quart import Request
from werkzeug.datastructures import Headers

from helios_trio.admin.failures import Failures
from helios_trio.admin.keys import ApiKey, KeyRing, Role
from helios_trio.admin.problems import Refused
from helios_trio.config.words import WithoutKey

_log = structlog.get_logger(__name__)

_BEARER: Final = "bearer "
_NEEDS_KEY: Final = "expected an API key, as Authorization: Bearer or X-API-Key"
_NOT_BY_NAME: Final = (
    "; without one this is there for requests to an address or to localhost, not to other names"
)
_PORT: Final = re.compile(r":\d*\Z", re.ASCII)


@frozen
class Caller:
    """Who asks."""

    #: of the key
    name: str
    role: Role
    #: who the key is in databases; empty: nobody
    database_user: str = ""
    #: None: there is none
    key: ApiKey | None = field(default=None, repr=False)

    @classmethod
    def of(cls, key: ApiKey) -> Caller:
        """Whoever has that key."""
        return cls(key.name, key.role, key.database_user, key)


#: Who asks where no key is needed.
ANYBODY: Final = Caller("anybody", Role.VIEWER)


@define
class Access:
    """The keys, and where none is needed; both are replaced at a reload."""

    ring: KeyRing
    #: where health and metrics can be read without a key
    health: WithoutKey = WithoutKey.LOOPBACK
    _failures: Failures = field(factory=Failures, init=False)
    _replaced: trio.Event = field(factory=trio.Event, init=False)

    def replace(self, keys: Iterable[ApiKey], health: WithoutKey) -> None:
        """Other keys are good from now on, and none that is not among them."""
        self.ring.keys, self.health = tuple(keys), health
        self._replaced.set()
        self._replaced = trio.Event()

    def admit(self, request: Request, needed: Role, *, health: bool = False) -> Caller:
        """Whoever asks.

        Raises Refused: 401 without a good key (429 when too many wrong ones have come from there), 403 with one that
        is not enough.
        """
        if health and self.is_open_to(request.headers.get("Host", "")):
            return ANYBODY
        caller = self.find(request.headers, request.remote_addr)
        if caller is None:
            by_name = health and self.health is WithoutKey.LOOPBACK
            raise _unauthorized(_NEEDS_KEY + (_NOT_BY_NAME if by_name else ""))
        if not caller.role.allows(needed):
            raise Refused(
                HTTPStatus.FORBIDDEN, f"the key {caller.name} is a {caller.role}'s; this needs an {needed}"
            )
        return caller

    def knows(self, presented: str) -> bool:
        """Whether that is a good key, of a request that is not admitted yet."""
        return self.ring.find(presented) is not None

    def find(self, headers: Headers, address: str | None) -> Caller | None:
        """Whose key the headers have; None when they have none. Raises Refused for a wrong one."""
        presented = _presented(headers.get("Authorization", ""), headers.get("X-API-Key"))
        return None if presented is None else self.find_key(presented, address)

    def find_key(self, presented: str, address: str | None) -> Caller:
        """Whose key that is. Raises Refused: nobody's."""
        key = self.ring.find(presented)
        if key is not None:
            return Caller.of(key)
        wait = self._failures.note(address or "", trio.current_time())
        if not wait:
            _log.warning("a wrong API key was presented", address=address)
            raise _unauthorized("this API key is not known")
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too many wrong API keys came from this address",
            headers={"Retry-After": str(math.ceil(wait))},
        )

    def is_good(self, caller: Caller) -> bool:
        """Whether the key that was good once still is."""
        return caller.key is None or caller.key in self.ring.keys

    async def wait_withdrawn(self, caller: Caller) -> None:
        """Return when the key is no longer what it was."""
        while self.is_good(caller):
            await self._replaced.wait()

    def is_open_to(self, host: str) -> bool:
        """Whether no key is needed for health and metrics, in a request to that host."""
        if self.health is WithoutKey.LOOPBACK:
            return _is_local(host)
        return self.health is WithoutKey.ANYWHERE


def _is_local(host: str) -> bool:
    """Whether no other page can have that name: an address, or a name of this machine; without any it is no browser."""
    name = host.rpartition(":")[0] if _PORT.search(host) else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        name = name.lower().rstrip(".")
        return name in ("", "localhost", socket.gethostname().lower()) or name.endswith(".localhost")
    return True


def presented_in(headers: Mapping[bytes, bytes]) -> str | None:
    """The key in the headers of a request as ASGI has them, if there is one."""
    key = headers.get(b"x-api-key")
    authorization = headers.get(b"authorization", b"").decode("latin1")
    return _presented(authorization, None if key is None else key.decode("latin1"))


def _presented(authorization: str, key: str | None) -> str | None:
    if authorization.lower().startswith(_BEARER):
        return authorization[len(_BEARER) :].strip()
    return key


def _unauthorized(detail: str) -> Refused:
    return Refused(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="helios"'})
