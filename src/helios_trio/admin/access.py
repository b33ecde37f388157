"""Who is asking, and whether they may: the key of a request against the role that its route needs.

Cookies are never looked at, so that a page of another site can make a browser send requests, but none that count.

Used by: admin.routing (for every route), assembly (makes it).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from attrs import define
from quart import Request

from helios_trio.admin.keys import KeyRing, Role
from helios_trio.admin.problems import Refused

_BEARER: Final = "bearer "
#: Who asks where no key is needed.
ANYBODY: Final = "anybody"


@define
class Access:
    """The keys, and where none is needed; both are replaced at a reload."""

    ring: KeyRing
    #: health and metrics can be read without a key
    open_health: bool = True

    def admit(self, request: Request, needed: Role, *, health: bool = False) -> str:
        """The name of whoever asks. Raises Refused: 401 without a good key, 403 with one that is not enough."""
        if health and self.open_health:
            return ANYBODY
        presented = _presented(request)
        if presented is None:
            raise _unauthorized("expected an API key, as Authorization: Bearer or X-API-Key")
        key = self.ring.find(presented)
        if key is None:
            raise _unauthorized("this API key is not known")
        if not key.role.allows(needed):
            raise Refused(
                HTTPStatus.FORBIDDEN, f"the key {key.name} is a {key.role}'s; this needs an {needed}"
            )
        return key.name


def _presented(request: Request) -> str | None:
    """The key in a request, if there is one."""
    authorization = request.headers.get("Authorization", "")
    if authorization.lower().startswith(_BEARER):
        return authorization[len(_BEARER) :].strip()
    return request.headers.get("X-API-Key")


def _unauthorized(detail: str) -> Refused:
    return Refused(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="helios"'})
