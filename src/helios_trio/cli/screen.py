"""What the commands draw: tables and bars on a terminal, plain lines where nobody looks.

Used by: cli.sessions, cli.migrating, cli.switching, cli.status, cli.top, cli.doctor.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

import click
from attrs import frozen
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from helios_trio.cli.words import printable

#: Seconds between looks at what is watched.
LOOK: Final = 0.25
#: Columns of a table that goes to a file or another program.
_WIDE: Final = 200
#: Sessions that stay are listed up to this number.
_LISTED: Final = 8


def console() -> Console:
    """Standard output: as wide as the terminal, and wide where there is none."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_WIDE, no_color=True)


@frozen
class Watched:
    """Something that goes on, and how it is shown."""

    #: asks for it anew
    look: Callable[[], Any]
    #: whether there is no more to see
    over: Callable[[Any], bool]
    picture: Callable[[Any], RenderableType]
    #: one line of it; said again when it changes
    line: Callable[[Any], str]


def watch(watched: Watched, first: Any, sleep: Callable[[float], None] = time.sleep) -> Any:
    """Show it until it is over; returns how it was then."""
    screen = console()
    if screen.is_terminal:
        return _watch_live(watched, first, screen, sleep)
    said, found = "", first
    while True:
        if (line := watched.line(found)) != said:
            click.echo(line)
            said = line
        if watched.over(found):
            return found
        sleep(LOOK)
        found = watched.look()


def _watch_live(watched: Watched, first: Any, screen: Console, sleep: Callable[[float], None]) -> Any:
    found = first
    with Live(watched.picture(found), console=screen, refresh_per_second=8) as live:
        while not watched.over(found):
            sleep(LOOK)
            found = watched.look()
            live.update(watched.picture(found))
    return found


def wait(watched: Watched, found: Any, sleep: Callable[[float], None] = time.sleep) -> Any:
    """The same without a word, for programs."""
    while not watched.over(found):
        sleep(LOOK)
        found = watched.look()
    return found


def echo_json(value: Any) -> None:
    """For programs."""
    click.echo(json.dumps(value, indent=2))


# -- pictures --------------------------------------------------------------------------------------------------


def migration_picture(status: Any) -> RenderableType:
    """A migration as it goes."""
    parts: list[RenderableType] = [_title(status), _bar(status)]
    parts += [Text(line) for line in migration_details(status)]
    return Group(*parts)


def _title(status: Any) -> Text:
    phase = status["current_phase"]
    text = Text.assemble(
        (f"migration {status['migration_id']} ", "bold"),
        f"{status['source']} -> {status['target']} ",
        (str(status["status"]), _COLOURS.get(status["status"], "yellow")),
        f"  phase {phase['number']} of {phase['of']} ({phase['traffic_percent']:g} %)",
    )
    if phase["remaining_seconds"] > 0:
        text.append(f", {phase['remaining_seconds']:.0f} s left")
    return text


_COLOURS: Final = {
    "completed": "green",
    "failed": "red",
    "rolled_back": "red",
    "interrupted": "red",
    "running": "cyan",
}


def _bar(status: Any) -> Progress:
    progress = Progress(TextColumn("  sessions"), BarColumn(), MofNCompleteColumn())
    total = status["sessions_migrated"] + status["sessions_remaining"]
    progress.add_task("sessions", total=max(1, total), completed=status["sessions_migrated"])
    return progress


def migration_details(status: Any) -> list[str]:
    """What else there is to say of a migration, a line each."""
    lines = []
    if status["status_reason"]:
        lines.append(f"  {status['status_reason']}")
    if (target := status["target"]) and status["traffic_allocation"] != status["write_allocation"]:
        reads, writes = (status[f"{kind}_allocation"][target] for kind in ("traffic", "write"))
        lines.append(f"  {target} has {reads:g} % of the reads and {writes:g} % of the writes")
    for kind in ("pinned", "busy", "failed"):
        staying = status[f"sessions_{kind}"]
        lines += [f"  {kind:<7} session {each['id']}: {each['reason']}" for each in staying[:_LISTED]]
        if len(staying) > _LISTED:
            lines.append(f"  {kind:<7} and {len(staying) - _LISTED} more")
    if status["client_errors"]:
        lines.append(f"  {status['client_errors']} clients got an error")
    return lines


def migration_line(status: Any) -> str:
    """A migration in one line."""
    phase = status["current_phase"]
    line = (
        f"migration {status['migration_id']} {status['source']} -> {status['target']}: {status['status']}, "
        f"phase {phase['number']} of {phase['of']} ({phase['traffic_percent']:g} %), "
        f"{status['sessions_migrated']} moved, {status['sessions_remaining']} left"
    )
    return f"{line}: {status['status_reason']}" if status["status_reason"] else line


def switchover_picture(status: Any) -> RenderableType:
    """A switchover as it goes."""
    return Group(
        Text(switchover_line(status)),
        *(Text(f"  waits for {each}") for each in status["waiting_for"][:_LISTED]),
    )


def switchover_line(status: Any) -> str:
    """A switchover in one line."""
    way = f"{status['source_backend'] or '?'} -> {status['target_backend'] or '?'}"
    line = f"switchover {way}: {status['outcome'] or status['step'] or 'checking'}"
    moved = f"{status['sessions_migrated']} sessions moved, {status['sessions_remaining']} left"
    return f"{line}, {moved}"


def session_table(sessions: list[Any]) -> Table:
    """Sessions, a line each."""
    table = Table(box=None, pad_edge=False)
    names = (
        "id",
        "user",
        "database",
        "tenant",
        "backend",
        "state",
        "idle",
        "pins",
        "cannot be moved because",
    )
    for name in names:
        table.add_column(name, justify="right" if name in ("id", "idle") else "left", overflow="fold")
    for each in sessions:
        table.add_row(
            *(Text(printable(cell)) for cell in _session_cells(each)),
        )
    return table


def _session_cells(session: Any) -> tuple[str, ...]:
    return (
        str(session["id"]),
        session["user"],
        session["database"],
        session["tenant"],
        session["backend"],
        session["state"],
        f"{session['idle_seconds']:.0f} s",
        ", ".join(f"{name} ({count})" for name, count in session["pins"].items()),
        "; ".join(session["immovable"]),
    )
