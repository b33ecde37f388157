"""What Patroni's REST API says of a cluster (`GET /cluster`), read. Pure.

Source: Patroni docs, "Patroni REST API", "Monitoring endpoint"; releases 2 to 4.

Used by: cluster.provider_patroni.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from helios_trio.errors import HeliosError
from helios_trio.pipeline.backend import Backend

DEFAULT_PORT: Final = 5432
# The leader of a standby cluster ("standby_leader") takes no writes.
_LEADS: Final = frozenset({"leader", "master", "primary"})


class PatroniUnusable(HeliosError):
    """A member could not be asked, or gave no answer that can be used."""

    sqlstate = "58000"
    code = "patroni_unusable"


@frozen(kw_only=True)
class Member:
    """One server as Patroni sees it."""

    name: str
    role: str
    #: such as `running`, `streaming`, `stopped`, `crashed`
    state: str
    host: str | None
    port: int | None

    @property
    def leads(self) -> bool:
        """Whether it holds the leader lock, and takes writes."""
        return self.role in _LEADS

    def is_backend(self, backend: Backend) -> bool:
        """By address, or by name."""
        return (self.host, self.port) == (backend.host, backend.port) or self.name == backend.name


@frozen(kw_only=True)
class ClusterView:
    """The whole cluster at a moment."""

    members: tuple[Member, ...]
    #: automatic failover is switched off
    paused: bool = False

    @property
    def leader(self) -> Member | None:
        """Who holds the leader lock; None: nobody does."""
        return next((each for each in self.members if each.leads), None)


def read_cluster(answer: Any) -> ClusterView:
    """The JSON of `GET /cluster`. Raises PatroniUnusable for what is none."""
    members = answer.get("members") if isinstance(answer, Mapping) else None
    if not isinstance(members, list):
        raise PatroniUnusable("expected an object with members, as GET /cluster has them")
    return ClusterView(members=tuple(_member(each) for each in members), paused=answer.get("pause") is True)


def _member(found: Any) -> Member:
    if not isinstance(found, Mapping) or not isinstance(found.get("name"), str):
        raise PatroniUnusable("expected a name in each member")
    host, port = found.get("host"), found.get("port")
    return Member(
        name=found["name"],
        role=str(found.get("role", "")),
        state=str(found.get("state", "")),
        host=host if isinstance(host, str) else None,
        port=port if isinstance(port, int) else DEFAULT_PORT if isinstance(host, str) else None,
    )


def backend_of(member: Member, backends: Iterable[Backend]) -> Backend | None:
    """The configured server that a member is: by its address before its name; None: it is not configured."""
    found = [each for each in backends if member.is_backend(each)]
    by_address = [each for each in found if (each.host, each.port) == (member.host, member.port)]
    return next(iter(by_address or found), None)
