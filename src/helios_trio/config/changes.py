"""What differs between two configurations, and how much of it a running proxy can take up (SIGHUP, reload).

A key says itself, where it is declared, whether it may change while running. What may not keeps its old value
until the next start, and is named, so that nobody believes it changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import attrs

from helios_trio.config.keys import Leaf, Path, Table, dotted, shapes
from helios_trio.config.root import Config


class Changes(NamedTuple):
    """Dotted paths of what differs; items of arrays by their name where they have one."""

    live: tuple[str, ...]
    restart: tuple[str, ...]


def changes(old: Config, new: Config) -> Changes:
    """What differs, divided into what can be taken up while running and what needs a new start."""
    found = list(_differences(old, new, ()))
    live = tuple(dotted(path) for path, is_live in found if is_live and not _is_pinned(path, old, new))
    restart = tuple(dotted(path) for path, is_live in found if not is_live or _is_pinned(path, old, new))
    return Changes(live, restart)


def keep_running(old: Config, new: Config) -> Config:
    """`new`, but with the old values of all keys that cannot change while running."""
    kept: Config = _keep(old, new)
    if old.uses_embedded is not new.uses_embedded:
        kept = attrs.evolve(kept, backends=old.backends, databases=old.databases)
    if old.wants_routing is not new.wants_routing:
        kept = attrs.evolve(kept, routing=old.routing)
    return kept


def _is_pinned(path: Path, old: Config, new: Config) -> bool:
    """Servers cannot be exchanged for the embedded cluster, or the other way, while running.

    Nor does routing begin or end: sessions are made with it or without.
    """
    if path[0] in {"backends", "databases"}:
        return old.uses_embedded is not new.uses_embedded
    return path[0] == "routing" and old.wants_routing is not new.wants_routing


def _differences(old: Any, new: Any, path: Path) -> Iterator[tuple[Path, bool]]:
    for name, shape in shapes(type(old)).items():
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        match shape:
            case Leaf():
                yield (*path, name), shape.notes.live
            case Table():
                yield from _differences(before, after, (*path, name))
            case _:
                yield from _items(before, after, (*path, name))


def _items(before: tuple[Any, ...], after: tuple[Any, ...], path: Path) -> Iterator[tuple[Path, bool]]:
    """Differences of two arrays: item by item if items have names, else the array as a whole."""
    if not all(hasattr(each, "name") for each in (*before, *after)):
        yield path, True
        return
    old, new = {each.name: each for each in before}, {each.name: each for each in after}
    for name in old | new:
        if name in old and name in new:
            yield from _differences(old[name], new[name], (*path, name))
        else:
            yield (*path, name), True


def _keep(old: Any, new: Any) -> Any:
    kept: dict[str, Any] = {}
    for name, shape in shapes(type(new)).items():
        match shape:
            case Leaf() if not shape.notes.live:
                kept[name] = getattr(old, name)
            case Table():
                kept[name] = _keep(getattr(old, name), getattr(new, name))
            case _:
                pass
    return attrs.evolve(new, **kept)
