"""What makes sessions outlive their servers - journal, commit guard, replay - made from a configuration and wired.

Used by: composition.activities (makes it), app (runs it), composition.directing (gives it a `session_type`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio
from attrs import define, field

from helios_trio.cluster.topology import Topology
from helios_trio.composition.core import Core
from helios_trio.config import CommitOutcomeMethod, Config
from helios_trio.errors import HeliosError
from helios_trio.failover.acknowledged import Acknowledged
from helios_trio.failover.commit_notes import CommitCleaner, TokenDatabases
from helios_trio.failover.controller import Controller
from helios_trio.failover.counters import ReplayCounters
from helios_trio.failover.journal import JournalLimits
from helios_trio.failover.outcome import OutcomeResolver
from helios_trio.failover.recovery import recover
from helios_trio.failover.recovery_means import RecoveryMeans, ReplaySettings
from helios_trio.failover.sequence_marks import SequenceMarks
from helios_trio.failover.sequence_moves import SequenceMover
from helios_trio.failover.session import RecoverableSession
from helios_trio.proxy.serving import Proxy

#: Seconds for a new primary to say where its transaction ids begin.
_FIRST_LOOK: Final = 1.0
#: Seconds more than failover_timeout: whoever waits for a primary knows better why there is none.
_LAST_WORDS: Final = 5.0
#: Databases that are waiting to be asked whether commits can be noted there.
_QUESTIONS: Final = 100


def new_id() -> str:
    """A UUID that sorts by time (version 7, RFC 9562), so that the index of tokens grows at its end.

    Nobody can guess it: whoever wrote it down first would make the commit fail that it is meant for.
    """
    moment = f"{time.time_ns() // 1_000_000:012x}"
    chance = os.urandom(10).hex()
    return f"{moment[:8]}-{moment[8:]}-7{chance[:3]}-8{chance[3:6]}-{chance[6:18]}"


@define(eq=False)
class Recovering:
    """Makes sessions that can be recovered, and has what they need."""

    config: Config
    topology: Topology
    means: RecoveryMeans
    notes: TokenDatabases
    cleaner: CommitCleaner
    acknowledged: Acknowledged
    sessions: Callable[[], list[RecoverableSession]]
    #: what is made; tests have sessions of their own kind
    session_type: Callable[..., RecoverableSession] = RecoverableSession
    _questions: trio.MemorySendChannel[tuple[str, str]] = field(init=False)
    _asked: trio.MemoryReceiveChannel[tuple[str, str]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._questions, self._asked = trio.open_memory_channel(_QUESTIONS)

    def make_session(self, *arguments: Any, **parameters: Any) -> RecoverableSession:
        """See `proxy.serving.Proxy.make_session`."""
        replay = self.config.transaction_replay
        session = self.session_type(
            *arguments,
            **parameters,
            limits=JournalLimits(replay.journal.max_entries, replay.journal.max_size),
            suspect=self.means.primaries.suspect,
            recover=partial(recover, self.means),
            acknowledged=self.acknowledged,
            max_cursors=self.config.cursor_restore.max_cursors_per_session,
        )
        if replay.commit_outcome is CommitOutcomeMethod.XID:
            session.guard_commits(new_id, singles=False, by_xid=True)
        elif replay.commit_outcome is CommitOutcomeMethod.TOKEN:
            at = session.destination.backend.name, session.destination.database
            known = self.notes.known(*at)
            if known or (known is None and self._known_of_copy(*at)):
                self._guard(session)
            if known is None:
                self._ask(at)
        return session

    def _known_of_copy(self, backend: str, database: str) -> bool:
        """Whether commits can be noted on a server with the same data, which this one has succeeded perhaps."""
        nodes = self.topology.nodes
        system = nodes[backend].system_identifier
        copies = [
            name for name, node in nodes.items() if system is not None and node.system_identifier == system
        ]
        return any(self.notes.known(name, database) for name in copies)

    def _guard(self, session: RecoverableSession) -> None:
        session.guard_commits(new_id, singles=self.config.transaction_replay.guard_autocommit)

    def _ask(self, at: tuple[str, str]) -> None:
        try:
            self._questions.send_nowait(at)
        except trio.WouldBlock:
            return  # the next session asks again

    def reconfigure(self, config: Config) -> None:
        """Take over what can change; sessions that are there keep the journal they have."""
        self.config, self.means.settings = config, settings_of(config)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Find out where commits can be noted, and delete old notes, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.cleaner.run)
            task_status.started()
            async for backend, database in self._asked:
                if await self.notes.has_tokens(backend, database):
                    for session in self.sessions():
                        at = session.destination
                        if at.database == database and at.backend.name == backend:
                            self._guard(session)


def recovering_of(config: Config, core: Core, primaries: Controller | None) -> Recovering | None:
    """Make it, and have the proxy make such sessions; None: sessions end with their servers."""
    if primaries is None:
        return None
    connect, mover = core.connect_by_name, SequenceMover(core.connect_by_name)
    marks, notes = SequenceMarks(connect, mover), TokenDatabases(connect)
    first_xids: dict[str, int] = {}
    outcomes = OutcomeResolver(connect=connect, first_xid=first_xids.get)
    recovering = Recovering(
        config=config,
        topology=core.topology,
        means=RecoveryMeans(
            primaries=primaries,
            outcomes=outcomes,
            place_of=core.fleet.place_of,
            settings=settings_of(config),
            counters=ReplayCounters(),
            sequences=mover,
            marks=marks,
        ),
        notes=notes,
        cleaner=CommitCleaner(
            connect=connect, databases=partial(_noted, core.topology, notes), keep=outcomes.token_lifetime
        ),
        acknowledged=Acknowledged(),
        sessions=partial(_recoverable, core.proxy),
    )
    primaries.means.tokens = recovering.acknowledged
    primaries.means.prepare = partial(_prepare, primaries, first_xids, marks)
    primaries.means.forget = marks.forget
    core.proxy.make_session = recovering.make_session
    core.proxy.settled = primaries.settled
    return recovering


async def _prepare(
    primaries: Controller, first_xids: dict[str, int], marks: SequenceMarks, source: str, target: str
) -> None:
    """Before anybody comes to a new primary: ids from here on are its own, and sequences are where they must be."""
    with trio.move_on_after(_FIRST_LOOK), suppress(HeliosError):
        first_xids[target] = await primaries.means.steward.next_xid(target)
    await marks.pass_all(source, target)


def _noted(topology: Topology, notes: TokenDatabases) -> list[tuple[str, str]]:
    """Where commits are noted now, as server and database: on the server that takes writes."""
    writer = topology.writer
    name = "" if writer is None else writer.backend.name
    return [(name, database) for database in notes.databases(name)]


def _recoverable(proxy: Proxy) -> list[RecoverableSession]:
    return [each for each in proxy.sessions.values() if isinstance(each, RecoverableSession)]


def settings_of(config: Config) -> ReplaySettings:
    """What the configuration says about replays."""
    replay = config.transaction_replay
    return ReplaySettings(
        enabled=replay.enabled,
        verify_results=replay.verify_results,
        statement_timeout=replay.statement_timeout_ms / 1000,
        max_retries=replay.max_retries if replay.retry_on_error else 0,
        time_limit=config.failover.failover_timeout + _LAST_WORDS,
        max_state_size=config.session_migration.max_state_size,
    )
