"""The commands of `helios`, which `python -m helios_trio` runs too.

Only click is imported here at once: each command imports what it runs, so that `helios version` and a wrong
option are answered before PostgreSQL's parser or Trio are loaded. Exit codes: 0 done, 1 failed, 2 wrong usage
or configuration, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from helios_trio import __version__
from helios_trio.errors import ConfigError, HeliosError

if TYPE_CHECKING:
    from helios_trio.config import Config
    from helios_trio.config.kinds import Kind
    from helios_trio.control.setup import SetupSettings

FAILED: Final = 1
WRONG_CONFIG: Final = 2
INTERRUPTED: Final = 130
DEFAULT_FILE: Final = "helios.toml"

_FILE = click.Path(dir_okay=False, path_type=Path)
_config_option = click.option(
    "--config",
    "config_path",
    type=_FILE,
    metavar="FILE",
    help=f"The configuration; ./{DEFAULT_FILE} if there is one and this is not given.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command in `arguments` (by default those of the process); returns the exit code."""
    try:
        result = commands.main(arguments, prog_name="helios", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except HeliosError as error:
        return _failed(error)
    except BrokenPipeError:
        return _unread()
    return result if isinstance(result, int) else 0


def _failed(error: HeliosError) -> int:
    for line in (error.message, error.detail, error.hint):
        if line:
            click.echo(line, err=True)
    return WRONG_CONFIG if isinstance(error, ConfigError) else FAILED


def _unread() -> int:
    """Whoever read our output has gone: nothing to report, and nothing to flush at exit either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="helios")
def commands() -> None:
    """A PostgreSQL proxy whose client sessions outlive their servers."""


@commands.command()
@_config_option
@click.option("--listen", metavar="HOST:PORT", help="Where clients come in; port 0 is a free one.")
@click.option("--admin-listen", metavar="HOST:PORT", help='Health, metrics and API; "off" for none.')
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the embedded cluster is kept.",
)
@click.option("--ephemeral", is_flag=True, help="Delete the embedded cluster at the end.")
@click.option("--standbys", type=click.IntRange(0, 9), metavar="N", help="Standbys of the embedded cluster.")
@click.option("--ready-file", type=_FILE, metavar="FILE", help="Written, as JSON, once all is ready.")
def serve(
    config_path: Path | None,
    listen: str | None,
    admin_listen: str | None,
    data_dir: Path | None,
    ephemeral: bool,
    standbys: int | None,
    ready_file: Path | None,
) -> int:
    """Run the proxy; without backends in the configuration, on an embedded PostgreSQL cluster."""
    if ephemeral and data_dir is not None:
        raise click.UsageError("--ephemeral keeps nothing, so that --data-dir has no meaning with it")
    path, config = _load(config_path)
    config = _with_options(config, listen, admin_listen, data_dir, standbys)
    from helios_trio.app import serve_command

    return serve_command(config, ready_file=ready_file, ephemeral=ephemeral, config_path=path)


def _load(path: Path | None) -> tuple[Path | None, Config]:
    """The file that is used, if any, and the configuration."""
    from helios_trio.config import load

    if path is None and Path(DEFAULT_FILE).exists():
        path = Path(DEFAULT_FILE)
    return path, load(path, os.environ)


def _with_options(
    config: Config, listen: str | None, admin_listen: str | None, data_dir: Path | None, standbys: int | None
) -> Config:
    """`config` with the options of the command line over it. Raises ConfigError if it cannot be used so."""
    from attrs import evolve

    from helios_trio.config import check
    from helios_trio.config.kinds import ListenAddress, ListenAddresses

    proxy, embedded = config.proxy, config.embedded
    if listen is not None:
        proxy = evolve(proxy, listen_address=_option("--listen", ListenAddresses(), listen))
    if admin_listen is not None:
        proxy = evolve(proxy, admin_listen_address=_option("--admin-listen", ListenAddress(), admin_listen))
    if data_dir is not None:
        embedded = evolve(embedded, data_dir=data_dir.absolute())
    if standbys is not None:
        embedded = evolve(embedded, standbys=standbys)
    config = evolve(config, proxy=proxy, embedded=embedded)
    check(config, "command line")
    return config


def _option(name: str, kind: Kind, text: str) -> Any:
    from helios_trio.config.kinds import Expected

    try:
        return kind.read(text)
    except Expected as error:
        raise click.BadParameter(f"{text!r}: expected {error}", param_hint=name) from error


@commands.command("check-config")
@click.argument("file", type=_FILE)
def check_config(file: Path) -> None:
    """Say OK, or all that is wrong with the configuration in FILE."""
    from helios_trio.config import load

    load(file, os.environ)
    click.echo("OK")


@commands.command("config")
@_config_option
@click.option("--defaults", is_flag=True, help="Print a commented file with all defaults instead.")
def show_config(config_path: Path | None, defaults: bool) -> None:
    """Print the configuration that is in force, secrets masked."""
    from helios_trio.config import defaults_toml, masked_toml

    click.echo(defaults_toml() if defaults else masked_toml(_load(config_path)[1]), nl=False)


@commands.command()
def version() -> None:
    """Print the version."""
    click.echo(f"helios {__version__}")


@commands.command("import-pgbouncer")
@click.argument("file", type=_FILE)
@click.option("-o", "--output", type=_FILE, metavar="OUT", help="Write there, not to the standard output.")
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
        _write_private(output, result.toml_text)


def _write_private(path: Path, text: str) -> None:
    """Writes a new file that only its owner can read, as it may hold passwords."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: expected a file that can be made ({error.strerror})") from error
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


@commands.command()
@_config_option
@click.option("--print", "print_only", is_flag=True, help="Print the SQL instead of running it.")
@click.option("--dsn", metavar="DSN", help="Where to run it, as a superuser; a libpq connection string.")
def setup(config_path: Path | None, print_only: bool, dsn: str | None) -> None:
    """Create what the proxy needs in one database: a schema and two roles of least privilege."""
    if print_only is (dsn is not None):
        raise click.UsageError("either --print or --dsn is needed")
    from helios_trio.control.setup import setup_sql

    config = _load(config_path)[1]
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
