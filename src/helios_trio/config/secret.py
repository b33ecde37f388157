"""A value that is carried about but never shown (correctness rule 39).

Whoever needs the text calls `reveal()`; every other road out (str, repr, format, a log line) leads to
asterisks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attrs import field, frozen

MASK: Final = "********"


@frozen(repr=False, str=False)
class Secret:
    """A password or key taken from the configuration."""

    _text: str = field()

    def reveal(self) -> str:
        """The text itself: to be used at once and kept nowhere else."""
        return self._text

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK})"


def read_secret(secret: Secret | None, file: Path | None) -> Secret | None:
    """The secret given directly, or the first line of `file`; None where neither is configured.

    The file is read at each call, so that a rotated password needs no reload. Raises OSError if it cannot be
    read.
    """
    if secret is not None or file is None:
        return secret
    lines = file.read_text(encoding="utf-8").splitlines()
    return Secret(lines[0] if lines else "")
