"""What may be said in the admin console: the commands of PgBouncer and our own, read from their text. Pure.

The words are those of PgBouncer's manual; as there, one query is one command, upper and lower case are the same, and
a semicolon may stand at the end. Names of databases and backends may be quoted as identifiers.

Used by: admin.console_session, admin.console_orders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

from attrs import frozen

from helios_trio.admin.console_columns import ALL
from helios_trio.errors import HeliosError


class Verb(Enum):
    """What a command does; the value is the tag of its CommandComplete."""

    SHOW = "SHOW"
    SET = "SET"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    SUSPEND = "SUSPEND"
    RECONNECT = "RECONNECT"
    KILL = "KILL"
    DISABLE = "DISABLE"
    ENABLE = "ENABLE"
    WAIT_CLOSE = "WAIT_CLOSE"
    RELOAD = "RELOAD"
    SHUTDOWN = "SHUTDOWN"
    MIGRATE_SESSION = "MIGRATE SESSION"
    SWITCHOVER = "SWITCHOVER"


@frozen
class Command:
    """One command."""

    verb: Verb
    #: what is shown, a database, a session, a setting; empty where none was named
    subject: str = ""
    #: where to: a backend
    target: str = ""


class InvalidCommand(HeliosError):
    """Not a command of the console; text and SQLSTATE are PgBouncer's."""

    sqlstate = "08P01"
    code = "invalid_command"

    def __init__(self, text: str) -> None:
        super().__init__(f"invalid command '{text}', use SHOW HELP;")


#: SHOW HELP, which shows no table.
HELP_COMMAND: Final = "HELP"

_SPACE: Final = r"[ \t\r\n]"
_NAME: Final = r'[\w$.-]+|"(?:[^"]|"")+"'
#: After the verb: an optional database; nothing; nothing or how to wait.
_DATABASE: Final = rf"(?:{_SPACE}+(?P<subject>{_NAME}))?"
_PATTERNS: Final[Mapping[Verb, str]] = {
    Verb.SHOW: rf"SHOW{_SPACE}+(?P<subject>\w+)",
    Verb.SET: rf"SET{_SPACE}+(?P<subject>[\w.]+){_SPACE}*(?:=|{_SPACE}TO{_SPACE}){_SPACE}*[^;]*",
    Verb.PAUSE: "PAUSE" + _DATABASE,
    Verb.RESUME: "RESUME" + _DATABASE,
    Verb.SUSPEND: "SUSPEND",
    Verb.RECONNECT: "RECONNECT" + _DATABASE,
    Verb.KILL: "KILL" + _DATABASE,
    Verb.DISABLE: "DISABLE" + _DATABASE,
    Verb.ENABLE: "ENABLE" + _DATABASE,
    Verb.WAIT_CLOSE: "WAIT_CLOSE" + _DATABASE,
    Verb.RELOAD: "RELOAD",
    Verb.SHUTDOWN: rf"SHUTDOWN(?:{_SPACE}+(?:WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS))?",
    Verb.MIGRATE_SESSION: (
        rf"MIGRATE{_SPACE}+SESSION{_SPACE}+(?P<subject>[0-9]{{1,18}}){_SPACE}+TO{_SPACE}+(?P<target>{_NAME})"
    ),
    Verb.SWITCHOVER: rf"SWITCHOVER{_SPACE}+TO{_SPACE}+(?P<target>{_NAME})",
}
_COMPILED: Final = {
    verb: re.compile(rf"{_SPACE}*{pattern}{_SPACE}*;?{_SPACE}*", re.IGNORECASE)
    for verb, pattern in _PATTERNS.items()
}
#: Longer texts are no commands; what is repeated of one in an error is shorter still.
LONGEST: Final = 1000


def parse(text: str) -> Command:
    """The command that a query is. Raises InvalidCommand."""
    if len(text) > LONGEST:
        raise InvalidCommand(text[:100] + "...")
    for verb, pattern in _COMPILED.items():
        if found := pattern.fullmatch(text):
            groups = found.groupdict()
            command = Command(verb, _name(groups.get("subject")), _name(groups.get("target")))
            return command if verb is not Verb.SHOW else _show(command.subject.upper(), text)
    raise InvalidCommand(text)


def _show(what: str, text: str) -> Command:
    if what not in ALL and what != HELP_COMMAND:
        raise InvalidCommand(text)
    return Command(Verb.SHOW, what)


def _name(written: str | None) -> str:
    """A name without its quotation marks."""
    if written is None:
        return ""
    return written[1:-1].replace('""', '"') if written.startswith('"') else written


HELP: Final = """
	SHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION
	SHOW FDS|SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE
	SHOW DNS_HOSTS|DNS_ZONES
	SHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
	SHOW SESSIONS|NODES|MIGRATIONS
	RELOAD
	PAUSE [<db>]
	RESUME [<db>]
	DISABLE <db>
	ENABLE <db>
	RECONNECT [<db>]
	KILL <db>
	WAIT_CLOSE [<db>]
	MIGRATE SESSION <id> TO <backend>
	SWITCHOVER TO <backend>
	SHUTDOWN
"""
