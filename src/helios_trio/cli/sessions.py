"""`helios sessions`: who is connected.

Used by: cli.
"""

from __future__ import annotations

import click

from helios_trio.cli.client import AdminClient, admin_options


@click.command()
@admin_options
@click.option("--backend", metavar="NAME", help="Only those on this backend.")
@click.option("--user", metavar="NAME", help="Only those of this user.")
@click.option("--database", metavar="NAME", help="Only those of this database.")
@click.option("--tenant", metavar="NAME", help="Only those of this tenant.")
@click.option("--pinned", is_flag=True, help="Only those that something keeps where they are.")
@click.option("--json", "as_json", is_flag=True, help="All that is known, for programs.")
def sessions(
    api: AdminClient,
    backend: str | None,
    user: str | None,
    database: str | None,
    tenant: str | None,
    pinned: bool,
    as_json: bool,
) -> None:
    """List the sessions of a running proxy, and what keeps them where they are."""
    from helios_trio.cli.screen import console, echo_json, session_table

    only = "true" if pinned else None
    found = list(api.sessions(backend=backend, user=user, database=database, tenant=tenant, pinned=only))
    if as_json:
        echo_json(found)
    else:
        console().print(session_table(found))
