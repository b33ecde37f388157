"""`Steward`: what a switchover, and later a failover, do to the servers themselves, and what servers say for it.

The protocol, its data and its errors; nothing here talks to a server. Every call may be cancelled, and has no time
limit of its own: whoever calls sets one. Positions in the WAL are bytes since its beginning (see `observation`).

Used by: migration.switchover (asks); cluster.steward_postgres, cluster.steward_embedded (implement it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from helios_trio.cluster.observation import Observation
from helios_trio.errors import HeliosError


class StewardError(HeliosError):
    """A server could not be asked, or refused; what was asked for has not happened."""

    sqlstate = "58000"
    code = "steward_error"


class StewardUnsure(StewardError):
    """The connection was lost while the server had a command: it may have carried it out, or do so yet."""

    code = "steward_unsure"


class NoLongerStandby(StewardError):
    """A server that was to catch up with its primary is a primary itself: somebody else has promoted it."""

    sqlstate = "55000"
    code = "no_longer_standby"


@frozen(kw_only=True)
class ServerFacts:
    """What a server says of itself before its role is changed."""

    observation: Observation
    #: `server_version_num`, such as 180006
    version: int
    #: a standby: WAL is arriving now
    streaming: bool = False
    #: a standby: somebody has paused its replay
    replay_paused: bool = False
    #: a standby: seconds that it waits before it replays a commit
    apply_delay: float = 0.0
    #: transactions are read-only unless they say otherwise
    read_only: bool = False
    #: the setting of that name; commits wait for standbys where it is not empty
    synchronous_standby_names: str = ""
    #: how many standbys stream from this server
    standbys: int = 0
    #: what the control user would need to be allowed, and is not
    missing_rights: tuple[str, ...] = ()

    @property
    def major(self) -> int:
        """The major release, such as 18."""
        return self.version // 10000


@frozen(kw_only=True)
class OpenTransaction:
    """A transaction under way on a server, of somebody who came there past the proxy or before it was held."""

    pid: int
    user: str
    application_name: str
    #: it has changed something; otherwise it has only read so far
    wrote: bool

    def __str__(self) -> str:
        what = "has written" if self.wrote else "may yet write"
        who = self.user or "a background worker"
        return f"pid {self.pid} ({who}, {self.application_name or 'no application name'}) {what}"


@frozen(kw_only=True)
class Demotion:
    """What has become of a server that was the primary."""

    #: it follows the new primary as a standby; otherwise it must not be used
    rejoined: bool
    #: what an operator should know or do
    note: str = ""


class Steward(Protocol):
    """Changes the roles of servers, by name. All calls raise StewardError."""

    async def facts(self, node: str) -> ServerFacts:
        """Ask a server for all that decides whether its role may be changed."""

    async def prepare(self, source: str, target: str) -> None:
        """Do beforehand what would otherwise take time while clients wait."""

    async def read_only(self, node: str) -> float:
        """Have new transactions be read-only unless they say otherwise; returns when they are.

        The server's own time then, in seconds since 1970: what `open_transactions` wants to know.
        """

    async def writable_again(self, node: str) -> None:
        """Undo `read_only`, also where it was interrupted; returns when new transactions may write again."""

    async def open_transactions(self, node: str, begun_before: float) -> Sequence[OpenTransaction]:
        """Those that have written, and those of clients begun before that time, which may write yet."""

    async def last_lsn(self, node: str) -> int:
        """Flush the WAL; its end then. Covers commits that did not wait for the disk (synchronous_commit = off)."""

    async def next_xid(self, node: str) -> int:
        """The id that the next writing transaction gets: equal at two times, nobody has begun to write in between.

        A writer that began before the first time and is still under way at the second is among `open_transactions`.
        """

    async def wait_replayed(self, node: str, lsn: int) -> None:
        """Return when a standby has received and replayed all up to there. Raises NoLongerStandby, too."""

    async def promote(self, node: str) -> None:
        """Ask a standby to become primary; returns at once. Asking again, also one that is primary, does no harm.

        Raises:
            StewardUnsure: it may have heard it.
            StewardError: it has not, or has refused.
        """

    async def wait_writable(self, node: str, newer_than: int) -> Observation:
        """Return when a server is primary on a timeline newer than that; what it says of itself then."""

    async def fence(self, node: str) -> bool:
        """Make sure that a server takes no write until somebody starts it again; False: that cannot be done."""

    async def demote(self, node: str, primary: str) -> Demotion:
        """A server has been succeeded by another, to which all has gone: make it a standby of that, if possible."""

    def close(self) -> None:
        """Close the connections that were kept; another call opens new ones."""
