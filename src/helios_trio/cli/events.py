"""`helios events`: what has happened to a running proxy, and what happens.

Used by: cli.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from helios_trio.cli.client import AdminClient, admin_options

if TYPE_CHECKING:
    from helios_trio.cli.stream import Heard

_PATH: Final = "/api/v1/events"
#: Events of one answer of the API.
_PAGE: Final = 1000


@click.command()
@admin_options
@click.option(
    "--follow", "-f", is_flag=True, help="Go on with each new one, also over restarts of the proxy."
)
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    metavar="N",
    help="At most so many that have happened.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def events(api: AdminClient, follow: bool, limit: int, as_json: bool) -> None:
    """List what has happened, the newest at the end; Ctrl-C ends --follow."""
    line = json.dumps if as_json else event_line
    if follow:
        _follow(api, limit, line)
    else:
        for event in newest(api, limit):
            click.echo(line(event))


def newest(api: AdminClient, limit: int) -> list[Any]:
    """The last events, oldest first. Raises HeliosError."""
    found: list[Any] = []
    before: int | None = None
    while len(found) < limit:
        page = api.get(_PATH, limit=min(limit - len(found), _PAGE), before=before)
        found += page["events"]
        before = page["next"]
        if before is None:
            break
    return found[::-1]


def _follow(api: AdminClient, limit: int, line: Callable[[Any], str]) -> None:
    """Print events until interrupted; whatever else there is to say goes to standard error."""
    from helios_trio.cli.stream import Memory, Stream
    from helios_trio.cli.trio_running import run_trio

    started_at = api.get("/api/v1/version")["started_at"]
    known = newest(api, max(1, limit))
    for event in known[-limit:] if limit else ():
        click.echo(line(event))
    memory = Memory(last_event_id=known[-1]["id"] if known else 0, started_at=started_at)
    run_trio(Stream(api.url, api.key, ("events",), memory).follow, teller(line))


def teller(line: Callable[[Any], str]) -> Callable[[Heard], None]:
    """Prints what is heard on the stream."""
    from helios_trio.cli.stream import Lost, Message

    def tell(heard: Heard) -> None:
        match heard:
            case Message(topic="events", data=event):
                click.echo(line(event))
            case Message():
                pass
            case Lost(reason=reason, seconds=seconds):
                click.echo(f"-- not connected: {reason}; next attempt in {seconds:g} s", err=True)
            case _:
                for note in notes_of(heard.restarted, heard.missed, heard.hello):
                    click.echo(f"-- {note}", err=True)

    return tell


def notes_of(restarted: bool, missed: int, hello: Any) -> list[str]:
    """What somebody who follows must know of a new connection."""
    from helios_trio.cli.words import printable

    notes = []
    if restarted:
        process, since = printable(hello.get("process", "?")), printable(hello["started_at"])
        notes.append(
            f"the proxy was restarted: process {process}, version "
            f"{printable(hello.get('version', '?'))}, since {since}"
        )
    if missed:
        notes.append(f"{missed} events are not kept any more")
    return notes


def event_line(event: Any) -> str:
    """An event for people: when, what, to what, by whom if that was not the proxy itself, and why."""
    from helios_trio.cli.words import printable

    parts = [f"{event['at']}  {event['kind']}"]
    if event["subject"]:
        parts.append(f": {event['subject']}")
    if event["who"] not in ("", "helios"):
        parts.append(f", by {event['who']}")
    if event["reason"]:
        parts.append(f" ({event['reason']})")
    return printable("".join(parts))
