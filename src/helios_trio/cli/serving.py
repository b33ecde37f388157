"""`helios serve`: run the proxy.

Used by: cli.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from helios_trio.cli.options import FILE, config_option, load_config

if TYPE_CHECKING:
    from helios_trio.config import Config
    from helios_trio.config.kinds import Kind

#: What `--standbys` is in the environment.
_STANDBYS: Final = "HELIOS__EMBEDDED__STANDBYS"


@click.command()
@config_option
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
@click.option("--ready-file", type=FILE, metavar="FILE", help="Written, as JSON, once all is ready.")
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
    over = {} if standbys is None else {_STANDBYS: str(standbys)}  # rules may name them, also after a reload
    path, config = load_config(config_path, over)
    config = _with_options(config, listen, admin_listen, data_dir)
    from helios_trio.app import serve_command

    return serve_command(config, ready_file=ready_file, ephemeral=ephemeral, config_path=path, over=over)


def _with_options(
    config: Config, listen: str | None, admin_listen: str | None, data_dir: Path | None
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
    config = evolve(config, proxy=proxy, embedded=embedded)
    check(config, "command line")
    return config


def _option(name: str, kind: Kind, text: str) -> Any:
    from helios_trio.config.kinds import Expected

    try:
        return kind.read(text)
    except Expected as error:
        raise click.BadParameter(f"{text!r}: expected {error}", param_hint=name) from error
