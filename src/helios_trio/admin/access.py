"""Who is asking, and whether they may: the key of a request against the role that its route needs.

Cookies are never looked at, so that a page of another site can make a browser send requests, but none that count.

Used by: admin.routing (for every route), admin.stream, assembly (makes it).
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Final

import structlog
import trio
from attrs import define, field, frozen
from quart import Request
from werkzeug.datastructures import Headers

from helios_trio.admin.failures import Failures
from helios_trio.admin.keys import KeyRing, Role
from helios_trio.admin.problems import Refused

_log = structlog.get_logger(__name__)

_BEARER: Final = "bearer "


@frozen
class Caller:
    """Who asks."""

    #: of the key
    name: str
    role: Role
    #: who the key is in databases; empty: nobody
    database_user: str = ""


#: Who asks where no key is needed.
ANYBODY: Final = Caller("anybody", Role.VIEWER)


@define
class Access:
    """The keys, and where none is needed; both are replaced at a reload."""

    ring: KeyRing
    #: health and metrics can be read without a key
    open_health: bool = True
    _failures: Failures = field(factory=Failures, init=False)

    def admit(self, request: Request, needed: Role, *, health: bool = False) -> Caller:
        """Whoever asks.

        Raises Refused: 401 without a good key (429 when too many wrong ones have come from there), 403 with one that
        is not enough.
        """
        if health and self.open_health:
            return ANYBODY
        caller = self.find(request.headers, request.remote_addr)
        if caller is None:
            raise _unauthorized("expected an API key, as Authorization: Bearer or X-API-Key")
        if not caller.role.allows(needed):
            raise Refused(
                HTTPStatus.FORBIDDEN, f"the key {caller.name} is a {caller.role}'s; this needs an {needed}"
            )
        return caller

    def knows(self, request: Request) -> bool:
        """Whether there is a good key in a request, which is not admitted yet."""
        presented = _presented(request.headers)
        return presented is not None and self.ring.find(presented) is not None

    def find(self, headers: Headers, address: str | None) -> Caller | None:
        """Whose key the headers have; None when they have none. Raises Refused for a wrong one."""
        presented = _presented(headers)
        return None if presented is None else self.find_key(presented, address)

    def find_key(self, presented: str, address: str | None) -> Caller:
        """Whose key that is. Raises Refused: nobody's."""
        key = self.ring.find(presented)
        if key is not None:
            return Caller(key.name, key.role, key.database_user)
        wait = self._failures.note(address or "", trio.current_time())
        if not wait:
            _log.warning("a wrong API key was presented", address=address)
            raise _unauthorized("this API key is not known")
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too many wrong API keys came from this address",
            headers={"Retry-After": str(math.ceil(wait))},
        )


def _presented(headers: Headers) -> str | None:
    """The key in the headers of a request, if there is one."""
    authorization = headers.get("Authorization", "")
    if authorization.lower().startswith(_BEARER):
        return authorization[len(_BEARER) :].strip()
    return headers.get("X-API-Key")


def _unauthorized(detail: str) -> Refused:
    return Refused(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="helios"'})
