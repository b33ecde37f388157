"""`helios switchover`: make a standby the primary, and take all sessions there.

Used by: cli.
"""

from __future__ import annotations

from typing import Any

import click

from helios_trio.cli.client import AdminClient, admin_options


@click.command()
@admin_options
@click.option(
    "--to", "--target", "target", required=True, metavar="NAME", help="The standby that becomes the primary."
)
@click.option("--reason", metavar="TEXT", default="", help="Why; stands in the events.")
@click.option("--allow-older", is_flag=True, help="Also to an older major version.")
@click.option("--detach", is_flag=True, help="Do not watch it.")
@click.option("--json", "as_json", is_flag=True, help="The status at the end, for programs.")
def switchover(
    api: AdminClient, target: str, reason: str, allow_older: bool, detach: bool, as_json: bool
) -> int:
    """Make a standby the primary. Clients wait meanwhile; Ctrl-C ends the watching, not the switchover."""
    from helios_trio.cli.screen import echo_json

    status = api.post("/api/v1/failover/start", target=target, reason=reason, allow_older=allow_older)
    if not detach:
        status = _watch(api, status, silent=as_json)
    if as_json:
        echo_json(status)
    return 0 if detach else _end(status, silent=as_json)


def _watch(api: AdminClient, status: Any, *, silent: bool) -> Any:
    from helios_trio.cli.screen import Watched, switchover_line, switchover_picture, wait, watch

    watched = Watched(
        look=lambda: api.get("/api/v1/failover/status"),
        over=lambda found: not found["failover_active"],
        picture=switchover_picture,
        line=switchover_line,
    )
    if silent:
        return wait(watched, status)
    try:
        return watch(watched, status)
    except KeyboardInterrupt:
        click.echo("the switchover goes on; its migration is in `helios migrate status`", err=True)
        raise


def _end(status: Any, *, silent: bool) -> int:
    """Say how it ended; returns the exit code."""
    done = status["outcome"] == "completed" and not status["failure"]
    if not silent:
        pause = status["write_pause_seconds"] or 0.0
        lost = status["client_errors"]
        if done:
            what = f"writes waited {pause * 1000:.0f} ms, {lost} clients lost"
            click.echo(f"{status['target_backend']} is the primary; {what}")
        else:
            click.echo(status["failure"] or "the switchover did not succeed", err=True)
        for warning in status["warnings"]:
            click.echo(f"warning: {warning}", err=True)
    return 0 if done else 1
