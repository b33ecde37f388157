"""The command `helios doctor`.

Used by: cli.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from helios_trio.cli.options import config_option, load_config
from helios_trio.errors import ConfigError

if TYPE_CHECKING:
    from helios_trio.cli.doctor.findings import Finding

SOMETHING_WRONG: Final = 1
WRONG_CONFIG: Final = 2
_COLOURS: Final = {"ok": "green", "warning": "yellow", "wrong": "red"}
_LABELS: Final = {"ok": "OK     ", "warning": "warning", "wrong": "WRONG  "}


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="All findings as JSON, for programs.")
@click.option("--quiet", "-q", is_flag=True, help="Only what is not OK.")
def doctor(config_path: Path | None, as_json: bool, quiet: bool) -> int:
    """Look whether configuration, servers and this machine fit, and say what to do where they do not.

    Exit code 0: nothing is wrong, though there may be warnings; 1: something is; 2: the configuration cannot be used.
    """
    from helios_trio.cli.doctor.examination import Examination
    from helios_trio.cli.doctor.findings import Verdict, worst
    from helios_trio.cli.trio_running import run_trio

    try:
        path, config = load_config(config_path)
    except ConfigError as error:
        if not as_json:
            raise
        _print_json(_of_config(error))
        return WRONG_CONFIG
    found = run_trio(Examination(config, path).run)
    if as_json:
        _print_json(found)
    else:
        _print(found, quiet=quiet)
    return SOMETHING_WRONG if worst(found) is Verdict.WRONG else 0


def _of_config(error: ConfigError) -> list[Finding]:
    """Why the configuration cannot be used, a finding for each line."""
    from helios_trio.cli.doctor.findings import wrong

    remedy = error.hint or "correct it; `helios check-config` says when it is good"
    return [wrong("configuration", "", line, remedy) for line in error.message.splitlines()]


def _print(found: Sequence[Finding], *, quiet: bool) -> None:
    from helios_trio.cli.words import printable

    for each in found:
        if quiet and each.verdict == "ok":
            continue
        label = click.style(_LABELS[each.verdict], fg=_COLOURS[each.verdict], bold=each.verdict == "wrong")
        about = f"{each.about}: " if each.about else ""
        click.echo(f"{label}  {printable(f'{each.check}: {about}{each.what}')}")
        if each.remedy:
            click.echo(f"         -> {printable(each.remedy)}")
    numbers = [(sum(each.verdict == name for each in found), name) for name in ("wrong", "warning", "ok")]
    click.echo(", ".join(f"{number} {name}" for number, name in numbers))


def _print_json(found: Sequence[Finding]) -> None:
    import attrs

    from helios_trio.cli.doctor.findings import worst
    from helios_trio.cli.screen import echo_json

    echo_json({"verdict": worst(found), "findings": [attrs.asdict(each) for each in found]})
