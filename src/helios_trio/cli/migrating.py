"""`helios migrate`: start migrations of a running proxy, watch them, and say how they go on.

Used by: cli.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from helios_trio.cli.client import AdminClient, admin_options
from helios_trio.errors import HeliosError

#: Exit code of a command that has watched a migration: by the state it is in.
_CODES: Final = {"completed": 0, "scheduled": 0, "paused": 3}
#: States in which nothing happens until somebody says something, or the time has come.
_AT_REST: Final = {"completed", "rolled_back", "failed", "interrupted", "paused", "scheduled"}

_json_option = click.option("--json", "as_json", is_flag=True, help="The status at the end, for programs.")
_detach_option = click.option("--detach", is_flag=True, help="Do not watch it.")
_reason_option = click.option("--reason", metavar="TEXT", default="", help="Why; stands in the events.")
_LEFTOVERS: Final = click.Choice(["wait", "leave", "terminate"])


@click.group()
def migrate() -> None:
    """Move sessions from one backend to another while their clients stay connected."""


@migrate.command()
@admin_options
@click.option(
    "--from", "--source", "source", required=True, metavar="NAME", help="The backend that they are on."
)
@click.option(
    "--to", "--target", "target", required=True, metavar="NAME", help="The backend that they shall be on."
)
@click.option(
    "--mode", type=click.Choice(["gradual", "immediate", "manual"]), help="As configured, if absent."
)
@click.option(
    "--phase",
    "phases",
    multiple=True,
    metavar="PERCENT[:TIME]",
    help="A phase, such as 10:5m; may be repeated, up to 100.",
)
@click.option("--tenant", "tenants", multiple=True, metavar="PATTERN", help="Only these; may be repeated.")
@click.option(
    "--share-of", type=click.Choice(["sessions", "tenants"]), help="What percentages are shares of."
)
@click.option("--at", "schedule", metavar="TIME", help="When to begin, such as 2030-01-31T23:00:00Z.")
@click.option(
    "--data", type=click.Choice(["shared", "physical"]), help="What the target must be to the source."
)
@click.option("--leftovers", type=_LEFTOVERS, help="What becomes of those that cannot be moved.")
@click.option("--allow-older", is_flag=True, help="Also to an older major version.")
@_reason_option
@_detach_option
@_json_option
def start(
    api: AdminClient,
    phases: tuple[str, ...],
    tenants: tuple[str, ...],
    allow_older: bool,
    detach: bool,
    as_json: bool,
    **order: Any,
) -> int:
    """Start a migration and watch it. Ctrl-C ends the watching, not the migration."""
    status = api.post(
        "/api/v1/migration/start",
        phases=[_phase(each) for each in phases] or None,
        tenant_filter=list(tenants) or None,
        allow_older=allow_older,
        **order,
    )
    return _show(api, status, detach=detach, as_json=as_json)


def _phase(text: str) -> dict[str, Any]:
    """A phase as the API wants it. Raises BadParameter."""
    percent, _, duration = text.partition(":")
    try:
        found: dict[str, Any] = {"traffic_percent": float(percent)}
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: expected a phase such as 10:5m", param_hint="--phase") from error
    return {**found, "duration": duration} if duration else found


@migrate.command()
@admin_options
@click.argument("id", type=int, required=False)
@click.option("--follow", is_flag=True, help="Watch it until it rests.")
@_json_option
def status(api: AdminClient, id: int | None, follow: bool, as_json: bool) -> int:
    """Look at a migration; the newest one, if no ID is given."""
    found = api.get(f"/api/v1/migration/{_id(api, id)}/status")
    code = _show(api, found, detach=not follow, as_json=as_json)
    return code if follow else 0


def _id(api: AdminClient, id: int | None) -> int:
    """The id that was given, or that of the newest migration. Raises HeliosError: there is none."""
    if id is not None:
        return id
    known = api.get("/api/v1/migration")["migrations"]
    if not known:
        raise HeliosError("there has been no migration yet")
    newest: int = known[0]["migration_id"]
    return newest


def _turner(turn: str, summary: str, *, watches: bool) -> Callable[..., int]:
    """A command that says one thing about a migration."""

    @migrate.command(turn, help=f"{summary}; of the newest migration, if no ID is given.")
    @admin_options
    @click.argument("id", type=int, required=False)
    @_reason_option
    @_detach_option
    @_json_option
    def say(api: AdminClient, id: int | None, reason: str, detach: bool, as_json: bool) -> int:
        found = api.post(f"/api/v1/migration/{_id(api, id)}/{turn}", reason=reason)
        return _show(api, found, detach=detach or not watches, as_json=as_json)

    return say


pause = _turner("pause", "Stop moving sessions; those that were moved stay", watches=False)
resume = _turner("resume", "Go on where it was paused", watches=True)
rollback = _turner("rollback", "Move back those who were moved", watches=True)


@migrate.command()
@admin_options
@click.argument("id", type=int, required=False)
@click.option("--leftovers", type=_LEFTOVERS, help="What becomes of those that cannot be moved.")
@_reason_option
@_detach_option
@_json_option
def complete(
    api: AdminClient, id: int | None, leftovers: str | None, reason: str, detach: bool, as_json: bool
) -> int:
    """Move all who are left, without further phases; of the newest migration, if no ID is given."""
    found = api.post(f"/api/v1/migration/{_id(api, id)}/complete", reason=reason, leftovers=leftovers)
    return _show(api, found, detach=detach, as_json=as_json)


def _show(api: AdminClient, status: Any, *, detach: bool, as_json: bool) -> int:
    """Print a migration, or watch it until it rests; returns the exit code."""
    from helios_trio.cli.screen import Watched, echo_json, migration_line, migration_picture, wait, watch

    number = status["migration_id"]
    if not detach:
        watched = Watched(
            look=lambda: api.get(f"/api/v1/migration/{number}/status"),
            over=lambda found: found["status"] in _AT_REST,
            picture=migration_picture,
            line=migration_line,
        )
        status = wait(watched, status) if as_json else _watched(watch, watched, status)
    elif not as_json:
        _print_once(status)
    if as_json:
        echo_json(status)
    return 0 if detach else _CODES.get(status["status"], 1)


def _watched(watch: Callable[[Any, Any], Any], watched: Any, status: Any) -> Any:
    """Watch it; who stops watching is told that it goes on."""
    try:
        return watch(watched, status)
    except KeyboardInterrupt:
        click.echo(f"the migration goes on; see `helios migrate status {status['migration_id']}`", err=True)
        raise


def _print_once(status: Any) -> None:
    from helios_trio.cli.screen import migration_details, migration_line

    click.echo(migration_line(status))
    for line in migration_details(status)[1 if status["status_reason"] else 0 :]:
        click.echo(line)
