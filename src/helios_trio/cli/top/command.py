"""The command `helios top`.

Used by: cli.
"""

from __future__ import annotations

import shutil
from typing import Final

import click

from helios_trio.cli.client import AdminClient, admin_options

#: Of a picture that goes to a file or another program.
_COLUMNS: Final = 100


@click.command()
@admin_options
@click.option("--once", is_flag=True, help="Print one picture and end; so it is, too, where nobody looks.")
def top(api: AdminClient, once: bool) -> int:
    """Watch traffic, servers, pools and sessions. Keys: q quits, s sorts otherwise, / looks for a user or database."""
    from helios_trio.cli.screen import console
    from helios_trio.cli.top.watching import print_once, watch
    from helios_trio.cli.trio_running import run_trio

    screen = console()
    if once or not screen.is_terminal or screen.is_dumb_terminal:
        # COLUMNS is obeyed, as nobody can tell how wide a page is that goes to a file
        width = screen.width if screen.is_terminal else shutil.get_terminal_size((_COLUMNS, 0)).columns
        run_trio(print_once, api, screen, width)
        return 0
    return run_trio(watch, api, screen)
