"""A session at its safe point, with both of its connections: what the plans know without asking anybody.

Used by: session.carrying (all plans), migration.transfer (makes it).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Final

from attrs import field, frozen

from helios_trio.config.words import StateKind
from helios_trio.session.carrying.channels import ChannelDivision
from helios_trio.session.carrying.state import (
    Prepared,
    PreparedBySql,
    SessionState,
)
from helios_trio.session.carrying.survey import LIMITS
from helios_trio.session.pins import Bond
from helios_trio.session.prepared import Absence
from helios_trio.session.server_side import ServerSide
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.kinds import OnCommit
from helios_trio.sql.quote import quote_identifier
from helios_trio.wire.layout import to_bytes

#: PostgreSQL keeps so many bytes of a name (NAMEDATALEN less one), in the protocol too.
NAME_BYTES: Final = 63
#: PostgreSQL's names of encodings that Python calls otherwise; others are found by their name, or read as LATIN1.
_CODECS: Final = {
    "UTF8": "utf-8",
    "SQL_ASCII": "utf-8",
    "SJIS": "shift_jis",
    "UHC": "cp949",
    "EUC_CN": "gb2312",
}


def codec_of(client_encoding: str) -> str:
    """Python's name of an encoding of PostgreSQL's."""
    try:
        return _CODECS.get(client_encoding) or codecs.lookup(client_encoding).name
    except LookupError:
        return "latin-1"


@frozen(eq=False)
class Tracked:
    """What is known of a session, and of the connections it leaves and comes to."""

    session: VirtualSession
    old: ServerSide
    new: ServerSide
    #: connections are shared between sessions: settings follow the label, statements are prepared when needed
    shared: bool
    #: statements that the new connection has not, and will not have when the move has succeeded
    left_behind: dict[bytes, Absence] = field(factory=dict, init=False)
    #: decides which side's notifications count; fed by whoever holds the connections
    division: ChannelDivision = field()

    @division.default
    def _division(self) -> ChannelDivision:
        return ChannelDivision(f"helios_marker_{self.old.pid}_{self.new.pid}")

    @classmethod
    def of(cls, session: VirtualSession, old: ServerSide, new: ServerSide, *, shared: bool) -> Tracked:
        """At a safe point of the session (rule 17)."""
        return cls(session, old, new, shared)

    @property
    def encoding(self) -> str:
        """The client's client_encoding. Plans speak UTF-8, on both sides, and give this one back at their end."""
        return self.session.reported.get("client_encoding", "UTF8")

    def text(self, data: bytes) -> str:
        """A name or text that the client has sent, as plans and answers have it."""
        return data.decode(codec_of(self.encoding), "surrogateescape")

    @property
    def settings(self) -> dict[str, str]:
        """What the client has set, beyond its start-up parameters."""
        startup = self.session.state.startup
        return {name: value for name, value in self.session.label.items() if startup.get(name) != value}

    @property
    def placeholders(self) -> set[str]:
        """Names of parameters with a dot that were ever set."""
        return self.session.placeholders | {name for name in self.session.label if "." in name}

    @property
    def on_commit(self) -> dict[str, OnCommit]:
        """Temporary tables, and what ON COMMIT does to their rows (rule 10)."""
        temporary = self.session.state.now.objects.temporary
        return {name: action for name, action in temporary.items() if action is not None}

    @property
    def unnamed(self) -> Prepared | None:
        """The unnamed statement; in shared modes it is prepared again when it is needed."""
        found = self.session.statements.get(b"")
        return None if found is None or self.shared else Prepared(b"", found.text, found.types)

    @property
    def is_simple(self) -> bool:
        """It has settings and statements of the protocol and nothing else, as far as texts showed."""
        session, objects = self.session, self.session.state.now.objects
        return self.encoding == "UTF8" and not (
            self.shared
            or objects.count
            or session.sql_prepared
            or session.state.listening
            or session.may_hold_locks
            or Bond.SEQUENCES in session.bound
            or Bond.SLOTS in session.bound
            or session.two_phase
        )

    def state(self) -> SessionState:
        """The state without asking the server: settings, statements, channels."""
        session, settings = self.session, self.settings
        limits: dict[str, str] = {name: settings.pop(name) for name in LIMITS if name in settings}
        if self.shared:  # the new connection may have been opened for anybody
            limits = {name: session.label[name] for name in LIMITS if name in session.label}
            return SessionState(settings, limits, sorted(session.placeholders - settings.keys()))
        return SessionState(
            settings=settings,
            limits=limits,
            emptied=sorted(session.placeholders - settings.keys()),
            prepared=[
                Prepared(self._bytes(name), self._bytes(each.text), each.types)
                for name, each in session.statements.items()
                if name and each.kept and name not in session.left_behind
            ],
            by_sql=[
                PreparedBySql(self.text(name), self._prepare(self.text(name), each.text, each.source))
                for name, each in session.sql_prepared.items()
            ],
            unnamed=self.unnamed,
            channels=session.state.listening,
        )

    def leave_behind(self, names: Iterable[str], why: Absence) -> None:
        """Statements of the protocol among these names are not on the new connection."""
        wanted = {to_bytes(name) for name in names}
        if wanted and not self.shared:
            self.left_behind.update(
                (name, why) for name in self.session.statements if self._bytes(name) in wanted
            )

    def _bytes(self, data: bytes) -> bytes:
        """The same in UTF-8, which plans speak."""
        return data if self.encoding == "UTF8" else to_bytes(self.text(data))

    def _prepare(self, name: str, text: str | None, source: bytes | None) -> str:
        return self.text(source) if source is not None else f"PREPARE {quote_identifier(name)} AS {text}"

    def lost_with_the_server(self) -> tuple[str, ...]:
        """What no tracking can rebuild: reasons why the state cannot be made without the old server."""
        objects, session = self.session.state.now.objects, self.session
        pins = session.pins
        kinds = (
            (StateKind.TEMPORARY_TABLES, bool(objects.temporary) or "temporary objects" in pins),
            (StateKind.CURSORS, bool(objects.cursors) or "held cursors" in pins),
            (StateKind.ADVISORY_LOCKS, session.may_hold_locks or "advisory locks" in pins),
        )
        large = [name for name, each in session.statements.items() if name and not each.kept]
        return (
            *(
                f"its {kind.replace('_', ' ')} are known to the old server only"
                for kind, there in kinds
                if there
            ),
            *(f"the text of statement {self.text(name)!r} is known to the old server only" for name in large),
        )
