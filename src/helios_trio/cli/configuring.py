"""`helios check-config`, `config`, `import-pgbouncer`: about the configuration, without running anything.

Used by: cli.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from helios_trio.cli.options import FILE, config_option, load_config, write_private
from helios_trio.errors import ConfigError


@click.command("check-config")
@click.argument("file", type=FILE)
def check_config(file: Path) -> None:
    """Say OK, or all that is wrong with the configuration in FILE."""
    from helios_trio.config import load

    load(file, os.environ)
    click.echo("OK")


@click.command("config")
@config_option
@click.option("--defaults", is_flag=True, help="Print a commented file with all defaults instead.")
def show_config(config_path: Path | None, defaults: bool) -> None:
    """Print the configuration that is in force, secrets masked."""
    from helios_trio.config import defaults_toml, masked_toml

    click.echo(defaults_toml() if defaults else masked_toml(load_config(config_path)[1]), nl=False)


@click.command("import-pgbouncer")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="OUT", help="Write there, not to the standard output.")
def import_pgbouncer(file: Path, output: Path | None) -> None:
    """Write our configuration from PgBouncer's in FILE; what is not carried over is said as warnings."""
    from helios_trio.config.pgbouncer import import_pgbouncer as convert

    try:
        result = convert(file.read_text("utf-8"), lambda name: (file.parent / name).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: expected a readable file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: expected text in UTF-8") from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {error.message}") from error
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
    if output is None:
        click.echo(result.toml_text, nl=False)
    else:
        write_private(output, result.toml_text)
