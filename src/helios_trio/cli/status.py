"""`helios status`: how a running proxy does, on one screen.

Used by: cli.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import click

from helios_trio.cli.client import AdminClient, NoAnswer, NotThere, admin_options

READY: Final = 0
NOT_READY: Final = 1
#: Events among which that of the last failover is looked for.
_EVENTS: Final = 1000


@click.command()
@admin_options
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, for programs.")
def status(api: AdminClient, as_json: bool) -> int:
    """Say how the proxy does, and what is wrong. Exit code 0: writes can be served; 1: not, or nobody answers."""
    from helios_trio.cli.screen import console, echo_json
    from helios_trio.cli.status_view import status_picture, summary

    try:
        found = summary(look(api), time.time())
    except NoAnswer as error:
        if not as_json:
            raise
        echo_json({"reachable": False, "ready": False, "problems": [error.message]})
        return NOT_READY
    if as_json:
        echo_json(found)
    else:
        console().print(status_picture(found))
    return READY if found["ready"] else NOT_READY


def look(api: AdminClient) -> dict[str, Any]:
    """The answers of the API that a summary is made of; None where a feature is off. Raises HeliosError."""
    return {
        "health": api.get("/health"),
        "version": api.get("/api/v1/version"),
        "topology": api.get("/api/v1/topology"),
        "pools": api.get("/api/v1/pools")["pools"],
        "sessions": api.get("/api/v1/sessions", limit=1)["total"],
        "events": api.get("/api/v1/events", limit=_EVENTS)["events"],
        "traffic": _if_there(lambda: api.get("/api/v1/traffic", seconds=10)["samples"]),
        "migrations": _if_there(lambda: api.get("/api/v1/migration")["migrations"]),
        "failover": _if_there(lambda: api.get("/api/v1/failover/status")),
        "circuits": _if_there(lambda: api.get("/api/v1/circuit-breaker/status")),
    }


def _if_there(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except NotThere:
        return None
