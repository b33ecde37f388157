"""Where sessions of a backend belong while they are being moved to another one, and afterwards. Pure.

A diversion says: of the sessions that would go to `source`, this share goes to `target`. Whether a session is in the
share is decided by a hash of its id, so a session never hops back and forth while the share grows. A backend may be
out of service: then nobody new goes there.

Used by: proxy.directory (where does a new session go), migration (sets diversions, asks who is next), admin.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from attrs import define, field, frozen

from helios_trio.errors import BackendUnavailable


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
    """All diversions of this process, the newest last, and the backends that are out of service."""

    diversions: list[Diversion] = field(factory=list)
    out_of_service: set[str] = field(factory=set)

    def divert(self, diversion: Diversion, *, instead_of: Diversion | None = None) -> None:
        """From now on, and before all earlier ones; `instead_of` is the same one with another share, and ends."""
        self.end(instead_of)
        self.diversions.append(diversion)

    def end(self, diversion: Diversion | None) -> None:
        """Sessions go where they would go without it."""
        self.diversions = [each for each in self.diversions if each is not diversion]

    def place(self, backend: str, session: int, tenant: str) -> str:
        """The name of the backend where a new session goes that would go to `backend`.

        Raises BackendUnavailable: that one is out of service.
        """
        left_by: dict[str, int] = {}
        while (index := self._newest_for(backend, session, tenant)) is not None:
            target = self.diversions[index].target
            left_by[backend] = index
            if target in left_by:  # two diversions against each other: the later one has its way
                backend = target if index > left_by[target] else backend
                break
            backend = target
        if backend in self.out_of_service:
            raise BackendUnavailable(
                f'backend "{backend}" is out of service', sqlstate="57P03", hint="Retry later."
            )
        return backend

    def _newest_for(self, backend: str, session: int, tenant: str) -> int | None:
        for index in range(len(self.diversions) - 1, -1, -1):
            each = self.diversions[index]
            if each.source == backend and each.takes(session, tenant):
                return index
        return None
