"""The `options` start-up parameter: command-line switches of a backend process in one string.

Split as `pg_split_opts` does (white space separates, a backslash keeps the next character), then `-c
name=value` and `--name=value` are read as `process_postgres_switches` does. Other switches exist (`-e`, `-S`
...) and are reported instead of guessed at. Called when a session's start-up parameters are recorded.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

_SPACE = " \t\n\r\v\f"


@frozen
class Options:
    """Settings in the order given (the last of a name counts), and switches that are not settings."""

    settings: dict[str, str]
    unknown: tuple[str, ...]


def split_options(text: str) -> list[str]:
    """The words of the string."""
    return list(_words(text))


def parse_options(text: str) -> Options:
    """Settings and unknown switches of an `options` string; a setting without value counts as unknown."""
    settings: dict[str, str] = {}
    unknown: list[str] = []
    words = iter(split_options(text))
    for word in words:
        assignment = _assignment(word, words)
        name, equals, value = assignment.partition("=") if assignment is not None else ("", "", "")
        if name and equals:
            settings[name.replace("-", "_")] = value
        else:
            unknown.append(f"-c {assignment}" if word == "-c" and assignment else word)
    return Options(settings, tuple(unknown))


def _assignment(word: str, following: Iterator[str]) -> str | None:
    """The `name=value` of a switch, which may be the next word; None when the switch is another."""
    if word == "-c":
        return next(following, None)
    if word.startswith(("-c", "--")):
        return word[2:]
    return None


def _words(text: str) -> Iterator[str]:
    word: list[str] = []
    begun = escaped = False
    for character in text:
        if escaped:
            word.append(character)
            escaped = False
        elif character == "\\":
            begun = escaped = True
        elif character in _SPACE:
            if begun:
                yield "".join(word)
            word, begun = [], False
        else:
            word.append(character)
            begun = True
    if begun:
        yield "".join(word)
