"""`helios setup`: create what the proxy needs in a database.

Used by: cli.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from helios_trio.cli.options import config_option, load_config
from helios_trio.errors import ConfigError, HeliosError

if TYPE_CHECKING:
    from helios_trio.config import Config
    from helios_trio.control.setup import SetupSettings


@click.command()
@config_option
@click.option("--print", "print_only", is_flag=True, help="Print the SQL instead of running it.")
@click.option("--dsn", metavar="DSN", help="Where to run it, as a superuser; a libpq connection string.")
def setup(config_path: Path | None, print_only: bool, dsn: str | None) -> None:
    """Create what the proxy needs in one database: a schema and two roles of least privilege."""
    if print_only is (dsn is not None):
        raise click.UsageError("either --print or --dsn is needed")
    from helios_trio.control.setup import setup_sql

    config = load_config(config_path)[1]
    if dsn is None:
        click.echo(setup_sql(_setup_settings(config)), nl=False)
    else:
        _set_up(config, dsn)


def _setup_settings(config: Config) -> SetupSettings:
    """The names of the roles that the configuration uses."""
    from helios_trio.control.setup import SetupSettings

    given = {"control_user": config.control.user, "auth_user": config.auth.auth_user}
    try:
        return SetupSettings(**{role: name for role, name in given.items() if name is not None})
    except ValueError as error:
        raise ConfigError(
            "control.user, auth.auth_user: expected names of at most 63 bytes, without $"
        ) from error


def _set_up(config: Config, dsn: str) -> None:
    """Runs the set-up where `dsn` leads, and says when a publication would publish what it made."""
    import psycopg
    import trio

    settings = _setup_settings(config)
    password = config.control.read_password()
    passwords = {} if password is None else {settings.control_user: password.reveal()}
    try:
        publications = trio.run(_apply_setup, dsn, settings, passwords)
    except psycopg.Error as error:
        raise HeliosError(f"set-up failed: {str(error).strip()}") from error
    for name in publications:
        click.echo(f"warning: publication {name} would publish the tables of schema helios too", err=True)
    click.echo("OK")


async def _apply_setup(dsn: str, settings: SetupSettings, passwords: Mapping[str, str]) -> list[str]:
    from helios_trio.control import ControlConnection
    from helios_trio.control.setup import apply, publications_at_risk

    async with await ControlConnection.connect(dsn) as connection:
        await apply(connection, settings, passwords)
        return await publications_at_risk(connection)
