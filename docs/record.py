"""Records what a program prints, and when, as an SVG that plays it again: the moving pictures of these documents.

    python docs/record.py docs/kill_the_primary.svg -- python examples/kill_the_primary.py --kills 4

The program runs once, for real; what is played is what it has printed, at the moments at which it has printed it, from
its first word on. Nothing is made up, left out or hastened. The picture begins anew after some seconds of rest; whoever
has asked for less motion sees its end.
"""

from __future__ import annotations

import codecs
import os
import shlex
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

#: Seconds that the end stays before it begins anew.
REST = 8.0
FONT_SIZE = 14
#: Pixels per character and line, and around all of it.
COLUMN, LINE, MARGIN = 8.4, 19, 18
NO_BREAK_SPACE = "\u00a0"

PAGE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">
<title>{title}</title>
<style>
rect {{ fill: #16191f }}
text {{ fill: #d6dae0; font: {font}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }}
.command {{ fill: #8fbf7f }}
.said {{ animation-duration: {seconds:.2f}s; animation-iteration-count: infinite; animation-timing-function: step-end }}
{frames}
@media (prefers-reduced-motion: reduce) {{ .said {{ animation: none }} }}
</style>
<rect width="100%" height="100%" rx="8"/>
<text x="{margin}" y="{first:g}" class="command">$ {title}</text>
{texts}
</svg>
"""


class Said(NamedTuple):
    """Something that was printed at one moment: seconds after the first, and where it stands."""

    at: float
    row: int
    column: int
    text: str


def main() -> int:
    """Run the program and write the picture; the exit code is the program's."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("picture", type=Path, help="the SVG to write")
    parser.add_argument("command", nargs="+", help="the program and its arguments")
    options = parser.parse_args()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(options.command, stdout=subprocess.PIPE, env=environment)
    said = list(listen(process))
    options.picture.write_text(draw(shlex.join(options.command), said), encoding="utf-8")
    return process.wait()


def listen(process: subprocess.Popen[bytes]) -> Iterator[Said]:
    """What it prints; shown meanwhile."""
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")()
    first: float | None = None
    row = column = 0
    while data := os.read(process.stdout.fileno(), 65536):
        text = decoder.decode(data)
        print(text, end="", flush=True)
        now = time.monotonic()
        first = now if first is None else first
        for number, line in enumerate(text.split("\n")):
            if number:
                row, column = row + 1, 0
            if line.strip():
                yield Said(now - first, row, column, line)
            column += len(line)


def draw(title: str, said: Sequence[Said]) -> str:
    """The SVG."""
    seconds = max(each.at for each in said) + REST
    rows = max(each.row for each in said) + 3  # the command and an empty line come first
    columns = max(len(title) + 2, *(each.column + len(each.text) for each in said))
    return PAGE.format(
        title=escape(title),
        width=2 * MARGIN + columns * COLUMN,
        height=2 * MARGIN + rows * LINE,
        margin=MARGIN,
        first=MARGIN + FONT_SIZE,
        font=FONT_SIZE,
        seconds=seconds,
        frames="\n".join(
            _frames(number, each.at / seconds) for number, each in enumerate(said) if each.at > 0
        ),
        texts="\n".join(_text(number, each) for number, each in enumerate(said)),
    )


def _frames(number: int, share: float) -> str:
    """Hidden until its share of the time is over."""
    return f"@keyframes k{number} {{ 0% {{ opacity: 0 }} {100 * share:.3f}%, 100% {{ opacity: 1 }} }}"


def _text(number: int, said: Said) -> str:
    """One text; its length is given, so that columns agree in any font, and its spaces are of the kind that stay."""
    text = said.text.strip()
    indent = len(said.text) - len(said.text.lstrip())
    x = MARGIN + (said.column + indent) * COLUMN
    y = MARGIN + FONT_SIZE + (said.row + 2) * LINE
    shown = escape(text).replace(" ", NO_BREAK_SPACE)
    moving = f' class="said" style="animation-name: k{number}"' if said.at > 0 else ""
    return f'<text x="{x:g}" y="{y:g}" textLength="{len(text) * COLUMN:g}"{moving}>{shown}</text>'


if __name__ == "__main__":
    sys.exit(main())
