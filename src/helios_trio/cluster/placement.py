"""Where sessions of a backend belong while they are being moved to another one. Pure.

A diversion says: of the sessions that would go to `source`, this share goes to `target`. Whether a session is in the
share is decided by a hash of its id, so a session never hops back and forth while the share grows.

Used by: proxy.directory (where does a new session go), migration (sets diversions, asks who is next).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from attrs import define, field, frozen


@frozen
class Diversion:
    """A share of one backend's sessions goes to another backend."""

    source: str
    target: str
    #: 0 to 100
    percent: float
    #: of which tenants only; None: of all
    tenants: Callable[[str], bool] | None = None

    def takes(self, session: int, tenant: str) -> bool:
        """Whether this session is in the share."""
        if self.tenants is not None and not self.tenants(tenant):
            return False
        return in_share(session, self.percent)


def in_share(session: int, percent: float) -> bool:
    """Whether the session with this id belongs to so many percent; once in, it stays in when the share grows."""
    digest = blake2b(session.to_bytes(8, "big"), digest_size=4).digest()
    return int.from_bytes(digest, "big") < percent / 100 * (1 << 32)


@define
class Placement:
    """All diversions of this process, by source."""

    diversions: dict[str, Diversion] = field(factory=dict)

    def divert(self, diversion: Diversion) -> None:
        """From now on; replaces an earlier one of the same source."""
        self.diversions[diversion.source] = diversion

    def end(self, source: str) -> None:
        """Sessions of this backend stay there again."""
        self.diversions.pop(source, None)

    def place(self, backend: str, session: int, tenant: str) -> str:
        """The name of the backend where a session goes that would go to `backend`."""
        seen = {backend}
        while (found := self.diversions.get(backend)) is not None and found.takes(session, tenant):
            if found.target in seen:  # two diversions against each other: the first one asked has its way
                break
            backend = found.target
            seen.add(backend)
        return backend
