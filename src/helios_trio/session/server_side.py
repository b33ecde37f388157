"""What one server connection carries, as far as sessions must know it. `pool.connection` has one of these each.

Used by: session.requests (which statements are prepared there, which settings it has), pool (whether it may be
handed on).
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, field

from helios_trio.session.prepared import PreparedStatement
from helios_trio.session.settings import Label
from helios_trio.wire.replies import ReplyStream


@define(eq=False)
class ServerSide:
    """One server connection's replies, settings and prepared statements."""

    replies: ReplyStream
    #: settings the connection was opened with (start-up parameters): what its RESET goes back to
    base: Label
    #: settings it carries now
    label: Label
    #: parameters it reported last (ParameterStatus), names in lower case
    parameters: dict[str, str]
    #: pid of the server process
    pid: int
    #: server-side name -> description (the bytes of its ParameterDescription and RowDescription), None when not asked
    prepared: OrderedDict[bytes, bytes | None] = field(factory=OrderedDict)
    #: the statement that its unnamed statement was parsed from
    unnamed: PreparedStatement | None = None
    #: the session that used it last, by id
    last_session: int = 0
    #: the call of the commit guard is prepared here (`session.guarding`)
    guarded: bool = False
    #: code that no parser can see into ran here: cleanse before another session uses it
    tainted: bool = False
    #: it carries what nothing can take away (a random seed, loaded code): for its session only, then closed
    spoilt: bool = False
    #: parameters with a dot in their names that were ever set: they can never be unset again (rule 7)
    placeholders: set[str] = field(factory=set)

    def forget_prepared(self) -> None:
        """DEALLOCATE ALL or DISCARD ALL ran here."""
        self.prepared.clear()
        self.unnamed = None
        self.guarded = False
