"""What a session has SET, with PostgreSQL's own transaction rules (correctness rules 6 and 7).

Two labels move together: `wanted` is what the client believes, `actual` is what the server connection it uses really
carries. A statement changes both; RESET may change them differently, because the connection was opened with other
start-up parameters than the client's. Where they differ, `session.requests` has the difference applied before the
client's next request.

Labels are plain dicts that nobody mutates: keeping an old one is a snapshot, so savepoints and rollbacks cost nothing.
What else a rollback takes back (channels, names of temporary objects, held cursors) goes along.

Used by: session.virtual, session.effects, session.requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from attrs import define, evolve, field, frozen

from helios_trio.session.objects import NOTHING, Objects
from helios_trio.sql.facts import SettingChange
from helios_trio.sql.kinds import ChangeKind, Scope

#: parameter name in lower case -> value as SHOW gives it; never mutated
Label: TypeAlias = Mapping[str, str]

#: Not parameters in the sense of RESET ALL, which leaves them alone (PostgreSQL docs, RESET).
IDENTITY_SETTINGS = ("session_authorization", "role")


@frozen
class Scoped:
    """The part of a session's state that a rollback takes back."""

    wanted: Label
    actual: Label
    channels: frozenset[str] = frozenset()
    objects: Objects = NOTHING


@define
class TransactionalState:
    """`Scoped` values along the transaction: as committed, at each savepoint, and now."""

    startup: Label
    base: Label
    now: Scoped
    _committed: Scoped | None = None
    _savepoints: list[tuple[str, Scoped]] = field(factory=list)
    _touched: set[str] = field(factory=set)
    _local: set[str] = field(factory=set)

    @classmethod
    def at_start(cls, startup: Label) -> TransactionalState:
        """The state of a session that has just logged in with these start-up parameters."""
        return cls(startup, startup, Scoped(startup, startup))

    @property
    def following(self) -> bool:
        """Whether the end of the transaction would change anything here."""
        return self._committed is not None or bool(self._savepoints) or bool(self._touched)

    @property
    def listening(self) -> frozenset[str]:
        """Channels whose LISTEN is committed (rule 13)."""
        return self.now.channels if self._committed is None else self._committed.channels

    @property
    def differs(self) -> bool:
        """Whether the server connection carries other settings than the client believes."""
        return self.now.wanted is not self.now.actual

    def adopt(self, base: Label, actual: Label) -> None:
        """A server connection opened with `base` and carrying `actual` is what the session uses from now on."""
        now = self.now
        wanted = now.wanted
        self.base = base
        if actual is not wanted and actual == wanted:
            actual = wanted
        if actual is not now.actual:  # the usual case by far is that nothing changes
            self.now = Scoped(wanted, actual, now.channels, now.objects)

    def applied(self) -> None:
        """The server connection was made to carry what the client believes."""
        now = self.now
        self.now = Scoped(now.wanted, now.wanted, now.channels, now.objects)

    # -- what statements do ------------------------------------------------------------------------------------

    def change(self, change: SettingChange) -> None:
        """A SET, RESET or set_config() has succeeded."""
        if change.scope is not Scope.SESSION:
            self._local.add(change.name)
            return
        wanted, actual = dict(self.now.wanted), dict(self.now.actual)
        if change.kind is ChangeKind.RESET_ALL:
            wanted, actual = self._after_reset_all(wanted, actual)
        elif change.value is None:
            _restore(wanted, change.name, self.startup)
            _restore(actual, change.name, self.base)
        else:
            wanted[change.name] = actual[change.name] = change.value
            self._touched.add(change.name)
        if (
            change.name == "session_authorization"
        ):  # implies RESET ROLE (PostgreSQL docs, SET SESSION AUTHORIZATION)
            wanted.pop("role", None)
            actual.pop("role", None)
        self._move(wanted, actual)

    def discard_all(self) -> None:
        """DISCARD ALL: the session is as it was at its start. It cannot run inside a transaction."""
        self.now = Scoped(self.startup, self.base if self.base != self.startup else self.startup)
        self._committed = None
        self._savepoints.clear()
        self._touched.clear()

    def listen(self, channel: str) -> None:
        """LISTEN: from the commit on, notifications of `channel` are wanted."""
        self._snapshot()
        self.now = evolve(self.now, channels=self.now.channels | {channel})

    def unlisten(self, channel: str | None) -> None:
        """UNLISTEN: `None` is the star."""
        self._snapshot()
        kept = frozenset() if channel is None else self.now.channels - {channel}
        self.now = evolve(self.now, channels=kept)

    def alter(self, objects: Objects) -> None:
        """Temporary objects or cursors were made or ended."""
        if objects is not self.now.objects:
            self._snapshot()
            self.now = evolve(self.now, objects=objects)

    def reported(self, parameters: Mapping[str, str]) -> None:
        """Take the server's spelling of values it reports: `SET DateStyle = German` alters one half of a value."""
        names = {name for name in self._touched - self._local if name in parameters}
        self._touched.clear()
        current = self.now.wanted
        if all(current.get(name) == parameters[name] for name in names if name in current):
            return
        spelled = {name: parameters[name] for name in names if name in current}
        self._move({**current, **spelled}, {**self.now.actual, **spelled})

    def _after_reset_all(
        self, wanted: dict[str, str], actual: dict[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        kept = {name: wanted[name] for name in IDENTITY_SETTINGS if name in wanted}
        return {**self.startup, **kept}, {**self.base, **kept}

    def _move(self, wanted: dict[str, str], actual: dict[str, str]) -> None:
        self._snapshot()
        self.now = evolve(self.now, wanted=wanted, actual=wanted if wanted == actual else actual)

    def _snapshot(self) -> None:
        if self._committed is None:
            self._committed = self.now

    # -- transactions ------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """What was changed stays."""
        if self._committed is not None and self.now.objects is not self._committed.objects:
            self.now = evolve(self.now, objects=self.now.objects.committed())
        self._end()

    def rollback(self) -> None:
        """What was changed since the transaction began is taken back."""
        if self._committed is not None:
            self._go_back(self._committed)
        self._touched.clear()
        self._end()

    def _end(self) -> None:
        self._committed = None
        self._savepoints.clear()
        self._local.clear()

    def _go_back(self, before: Scoped) -> None:
        objects = self.now.objects
        if objects is not before.objects:
            before = evolve(before, objects=objects.rolled_back(before.objects))
        self.now = before

    def savepoint(self, name: str) -> None:
        """SAVEPOINT: names may repeat, the newest wins."""
        self._snapshot()
        self._savepoints.append((name, self.now))

    def release(self, name: str) -> None:
        """RELEASE SAVEPOINT: it and all after it are forgotten, their changes stay."""
        at = self._find(name)
        if at is not None:
            del self._savepoints[at:]

    def rollback_to(self, name: str) -> None:
        """ROLLBACK TO SAVEPOINT: the savepoint itself remains."""
        at = self._find(name)
        if at is not None:
            del self._savepoints[at + 1 :]
            self._go_back(self._savepoints[at][1])

    def _find(self, name: str) -> int | None:
        for at in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[at][0] == name:
                return at
        return None


def _restore(label: dict[str, str], name: str, origin: Label) -> None:
    """RESET of one parameter: back to what the connection was opened with."""
    if name in origin:
        label[name] = origin[name]
    else:
        label.pop(name, None)
