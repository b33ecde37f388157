"""The commands of `helios`, which `python -m helios_trio` runs too.

Only click is imported here at once: each command imports what it runs, so that `helios version` and a wrong
option are answered before PostgreSQL's parser or Trio are loaded. Exit codes: 0 done, 1 failed, 2 wrong usage
or configuration, 3 a migration waits for somebody, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from helios_trio import __version__
from helios_trio.cli.alerting import alerts
from helios_trio.cli.configuring import check_config, import_pgbouncer, show_config
from helios_trio.cli.doctor.command import doctor
from helios_trio.cli.events import events
from helios_trio.cli.keys import admin
from helios_trio.cli.migrating import migrate
from helios_trio.cli.serving import serve
from helios_trio.cli.sessions import sessions
from helios_trio.cli.setting_up import setup
from helios_trio.cli.status import status
from helios_trio.cli.switching import switchover
from helios_trio.cli.top.command import top
from helios_trio.errors import ConfigError, HeliosError

__all__ = ["commands", "main"]

FAILED: Final = 1
WRONG_CONFIG: Final = 2
INTERRUPTED: Final = 130


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
def version() -> None:
    """Print the version."""
    click.echo(f"helios {__version__}")


for _command in (
    serve,
    check_config,
    show_config,
    import_pgbouncer,
    setup,
    doctor,
    status,
    top,
    events,
    admin,
    sessions,
    migrate,
    switchover,
    alerts,
):
    commands.add_command(_command)
