"""Lines of columns that fit a width exactly: what is too long is cut, and spare room goes to the columns that want it.

rich's own tables would narrow numbers as readily as names.

Used by: cli.top.picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen
from rich.cells import cell_len, set_cell_size
from rich.text import Text

_ELLIPSIS: Final = "…"
_GAP: Final = 1


@frozen
class Column:
    """One column."""

    title: str
    #: terminal cells that it has at least
    width: int
    #: its share of spare room
    share: int = 0
    right: bool = False


@frozen
class Cell:
    """A text with a style."""

    text: str
    style: str = ""


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell | str]], width: int) -> list[Text]:
    """A line of titles and a line for each row, none wider than `width`."""
    widths = _widths(columns, width)
    titles = [Cell(each.title, "bold") for each in columns]
    return [_line(columns, widths, row) for row in (titles, *rows)]


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    spare = max(0, width - sum(each.width for each in columns) - _GAP * (len(columns) - 1))
    shares = sum(each.share for each in columns) or 1
    return [each.width + spare * each.share // shares for each in columns]


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[Cell | str]) -> Text:
    line = Text(no_wrap=True, overflow="crop", end="\n")
    for column, width, found in zip(columns, widths, row, strict=True):
        cell = found if isinstance(found, Cell) else Cell(found)
        if line:
            line.append(" " * _GAP)
        line.append(fitted(cell.text, width, right=column.right), cell.style or None)
    return line


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly `width` cells of a terminal, of which a character may take two."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + _ELLIPSIS if width > 0 else ""
    return " " * (width - length) + text if right else text + " " * (width - length)
