"""Options that several commands have, and the configuration that they lead to.

Used by: all of cli.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from helios_trio.config import Config

DEFAULT_FILE: Final = "helios.toml"
FILE: Final = click.Path(dir_okay=False, path_type=Path)

config_option = click.option(
    "--config",
    "config_path",
    type=FILE,
    metavar="FILE",
    help=f"The configuration; ./{DEFAULT_FILE} if there is one and this is not given.",
)


def load_config(path: Path | None, over: Mapping[str, str] | None = None) -> tuple[Path | None, Config]:
    """The file that is used, if any, and the configuration; `over`: variables over those of the environment.

    Raises ConfigError.
    """
    from helios_trio.config import load

    if path is None and Path(DEFAULT_FILE).exists():
        path = Path(DEFAULT_FILE)
    return path, load(path, {**os.environ, **(over or {})})


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read, as it may hold secrets. Raises ConfigError."""
    from helios_trio.errors import ConfigError

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: expected a file that can be made ({error.strerror})") from error
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
