"""`helios admin create-key`: make a key for the admin API.

Used by: cli.
"""

from __future__ import annotations

from pathlib import Path

import click

from helios_trio.cli.options import FILE
from helios_trio.errors import ConfigError


@click.group()
def admin() -> None:
    """Keys of the admin API."""


@admin.command("create-key")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator"]),
    default="viewer",
    show_default=True,
    help="viewer looks, operator changes.",
)
@click.option(
    "--database-user",
    default="",
    metavar="USER",
    help="Who runs the statements that are sent with it to /api/v1/sql; without it there are none.",
)
@click.option("--file", type=FILE, metavar="FILE", help="Append it to this file (admin.api_keys_file).")
def create_key(name: str, role: str, database_user: str, file: Path | None) -> None:
    """Make an API key for NAME. The key is printed once; only a hash of it goes into the file."""
    from helios_trio.admin.keys import Role, make_key

    try:
        key, kept = make_key(name, Role(role), database_user)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if file is None:
        click.echo(f"line for admin.api_keys_file: {kept.line}", err=True)
    else:
        _append(file, name, kept.line)
    click.echo(key)


def _append(file: Path, name: str, line: str) -> None:
    """Raises ConfigError: the file cannot be written, has errors, or has that name already."""
    from helios_trio.admin.keys import read_keys

    if file.exists() and name in [each.name for each in read_keys(file)]:
        raise ConfigError(f"{file}: there is a key of {name} already")
    try:
        file.touch(mode=0o600)
        with file.open("a", encoding="utf-8") as out:
            out.write(f"{line}\n")
    except OSError as error:
        raise ConfigError(f"{file}: expected a file that can be written ({error.strerror})") from error
