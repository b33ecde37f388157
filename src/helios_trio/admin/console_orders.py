"""What the commands of the admin console do. Each waits no longer than its time limit, and says what it waits for.

Texts of errors are PgBouncer's where it has the error. Every change stands in the events.

Used by: admin.console_session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import trio
from attrs import define, frozen

from helios_trio.admin.console_access import NAMES
from helios_trio.admin.console_columns import ALL as TABLES
from helios_trio.admin.console_commands import HELP, HELP_COMMAND, Command, Verb
from helios_trio.admin.console_frames import Column, Row
from helios_trio.admin.console_scene import Scene
from helios_trio.admin.console_tables import ROWS
from helios_trio.admin.failover import FailoverBody, failover_status, order_failover
from helios_trio.admin.parts import Parts
from helios_trio.config import InvalidConfig
from helios_trio.errors import ConfigError, HeliosError
from helios_trio.pipeline.fleet import MoveOutcome
from helios_trio.pool.pool import Pool
from helios_trio.pool.renewing import renew, to_be_closed
from helios_trio.proxy.pausing import ALL

#: Says something to whoever gave the command, while it is under way.
Say = Callable[[str], None]

#: Seconds between looks at what is waited for.
_LOOK: Final = 0.1
#: How many of those who are waited for are named.
_NAMED: Final = 3


class Refused(HeliosError):
    """PgBouncer has this error too, and gives it this SQLSTATE."""

    sqlstate = "08P01"
    code = "refused"


class Unfinished(HeliosError):
    """What a command waits for has not happened in time."""

    sqlstate = "55P03"
    code = "unfinished"


@frozen
class Answer:
    """What a command is answered with: notices, a table, a tag."""

    tag: str
    columns: Sequence[Column] | None = None
    rows: Iterable[Row] = ()
    notices: tuple[tuple[str, str], ...] = ()


def columns_of(command: Command) -> Sequence[Column] | None:
    """The columns of the table that a command shows; None where it shows none."""
    return TABLES.get(command.subject) if command.verb is Verb.SHOW else None


@define(eq=False)
class Orders:
    """The commands of one client."""

    parts: Parts
    scene: Callable[[], Scene]
    #: name of the user, for the events
    who: str
    #: set by the conversation
    say: Say = lambda text: None

    async def run(self, command: Command) -> Answer:
        """Do it. Raises HeliosError; cancelling it takes back what is not finished."""
        if command.verb is Verb.SHOW:
            return self._show(command)
        does: dict[Verb, Callable[[Command], Awaitable[None]]] = {
            Verb.PAUSE: self._pause,
            Verb.RESUME: self._resume,
            Verb.RECONNECT: self._reconnect,
            Verb.KILL: self._kill,
            Verb.DISABLE: self._disable,
            Verb.ENABLE: self._enable,
            Verb.WAIT_CLOSE: self._wait_close,
            Verb.RELOAD: self._reload,
            Verb.SHUTDOWN: self._shut_down,
            Verb.MIGRATE_SESSION: self._migrate,
            Verb.SWITCHOVER: self._switch_over,
            Verb.SET: self._set,
            Verb.SUSPEND: self._suspend,
        }
        await does[command.verb](command)
        return Answer(command.verb.value)

    def _show(self, command: Command) -> Answer:
        if command.subject == HELP_COMMAND:
            return Answer("SHOW", notices=(("Console usage", HELP),))
        return Answer("SHOW", TABLES[command.subject], ROWS[command.subject](self.scene()))

    def _note(self, kind: str, subject: str) -> None:
        self.parts.events.note(kind, subject, who=self.who, reason="ordered in the console")

    # -- databases ---------------------------------------------------------------------------------------------

    def _database(self, command: Command, doing: str, *, needed: bool = False) -> str:
        """The database of a command, `ALL` for none. Raises Refused."""
        name = command.subject
        if not name:
            if needed:
                raise Refused("a database is required")
            return ALL
        if name in NAMES and self.parts.proxy.console_of(name) is not None:
            raise Refused(f"cannot {doing} admin db: {name}")
        if name not in self.scene().databases():
            raise Refused(f"no such database: {name}")
        return name

    def _pools(self, database: str) -> list[Pool]:
        return [pool for pool, (name, _) in self.parts.pools.named() if database in (ALL, name)]

    async def _pause(self, command: Command) -> None:
        database, pauses = self._database(command, "pause"), self.parts.proxy.pauses
        if database == ALL and ALL in pauses.paused:
            raise Refused("already suspended/paused")
        seconds = self.parts.running.config.admin.pause_timeout
        said: set[str] = set()

        def on_wait(ids: list[int]) -> None:
            words = self._waiting_for(ids)
            if words not in said:
                said.add(words)
                self.say(words)

        busy = await pauses.pause(database, seconds, on_wait)
        if busy:
            raise Unfinished(
                f"not paused, as not everybody stood still within {seconds:g} seconds",
                detail=self._waiting_for(busy),
                hint="End these transactions or sessions, or give PAUSE more time in admin.pause_timeout.",
            )
        for pool in self._pools(database):
            pool.close_idle("paused")
        self._note("database paused", _named(database))

    def _waiting_for(self, ids: list[int]) -> str:
        """Who is waited for: what they are doing and for how long it has been going on would change all the time."""
        found = [each for id in ids[:_NAMED] if (each := self.parts.fleet.session(id)) is not None]
        words = [f"session {each.id} ({each.user}@{each.database}, {each.client})" for each in found]
        if len(ids) > len(words):
            words.append(f"{len(ids) - len(words)} more")
        return "waiting for the transactions of " + ", ".join(words)

    async def _resume(self, command: Command) -> None:
        database = self._database(command, "resume")
        if not await self.parts.proxy.pauses.resume(database):
            raise Refused(
                "pooler is not paused/suspended" if database == ALL else f"database {database} is not paused"
            )
        self._note("database resumed", _named(database))

    async def _reconnect(self, command: Command) -> None:
        database = self._database(command, "reconnect")
        for pool in self._pools(database):
            renew(pool, "reconnect")
            await trio.lowlevel.checkpoint()
        self._note("server connections renewed", _named(database))

    async def _kill(self, command: Command) -> None:
        database = self._database(command, "kill", needed=True)
        pauses = self.parts.proxy.pauses
        pauses.pause_at_once(database)
        ended = pauses.kill(database, "KILL was ordered in the console.")
        for pool in self._pools(database):
            renew(pool, "killed")
            await trio.lowlevel.checkpoint()
        self._note("database killed", f"{_named(database)}, {ended} sessions")

    async def _disable(self, command: Command) -> None:
        database = self._database(command, "disable", needed=True)
        self.parts.proxy.pauses.disabled.add(database)
        self._note("database disabled", _named(database))
        await trio.lowlevel.checkpoint()

    async def _enable(self, command: Command) -> None:
        database = self._database(command, "enable", needed=True)
        self.parts.proxy.pauses.disabled.discard(database)
        self._note("database enabled", _named(database))
        await trio.lowlevel.checkpoint()

    async def _wait_close(self, command: Command) -> None:
        database = self._database(command, "wait_close")
        seconds = self.parts.running.config.admin.pause_timeout
        said = 0
        with trio.move_on_after(seconds):
            while left := sum(map(to_be_closed, self._pools(database))):
                if left != said:
                    said = left
                    self.say(f"waiting for {left} server connections to be given back")
                await trio.sleep(_LOOK)
            return
        raise Unfinished(
            f"{left} server connections have not been given back within {seconds:g} seconds",
            detail="SHOW SERVERS has close_needed for them, and link for the client that uses each.",
        )

    # -- the process -------------------------------------------------------------------------------------------

    async def _reload(self, command: Command) -> None:
        try:
            done = await self.parts.running.reload()
        except ConfigError as error:
            lines = error.lines if isinstance(error, InvalidConfig) else error.message.splitlines()
            raise Refused(
                "RELOAD failed, see detail; the old configuration stays in force", detail="\n".join(lines)
            ) from error
        if done.needing_restart:
            self.say("takes effect at the next start: " + ", ".join(done.needing_restart))
        self._note("configuration reloaded", "configuration")

    async def _shut_down(self, command: Command) -> None:
        self._note("shutdown ordered", "proxy")
        self.parts.running.stop()
        await trio.lowlevel.checkpoint()

    async def _set(self, command: Command) -> None:
        await trio.lowlevel.checkpoint()
        raise Refused("SET failed", hint="Change the configuration file, and say RELOAD.")

    async def _suspend(self, command: Command) -> None:
        await trio.lowlevel.checkpoint()
        raise HeliosError(
            "SUSPEND is not supported",
            sqlstate="0A000",
            hint="To replace the proxy, start the new one beside it with proxy.reuse_port.",
        )

    # -- sessions ----------------------------------------------------------------------------------------------

    async def _migrate(self, command: Command) -> None:
        if self.parts.migrations is None:
            raise HeliosError("session_migration is not enabled", sqlstate="55000")
        report = await self.parts.migrations.move_session(
            int(command.subject), command.target, self.who, "ordered in the console"
        )
        if report.outcome is not MoveOutcome.MOVED:
            raise HeliosError(
                f"session {command.subject} was not moved: {report.outcome}",
                sqlstate="55000",
                detail="; ".join(report.reasons) or None,
            )
        self.say(
            f"moved in {report.seconds * 1000:.1f} ms, of which its requests were held for {report.pause * 1000:.1f} ms"
        )

    async def _switch_over(self, command: Command) -> None:
        parts, step = self.parts, ""
        await order_failover(
            parts, FailoverBody(target=command.target, reason="ordered in the console"), self.who
        )
        while (status := failover_status(parts, parts.migrations, parts.switchover)).failover_active:
            if status.step and status.step != step:
                step = status.step
                self.say(step)
            await trio.sleep(_LOOK)
        if status.failure or status.outcome not in (None, "completed"):
            raise HeliosError(
                f"the switchover has not succeeded: {status.outcome or 'failed'}",
                sqlstate="55000",
                detail=status.failure,
            )


def _named(database: str) -> str:
    return f"database {database}" if database != ALL else "all databases"
