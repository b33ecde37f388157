"""The file in which rules are kept that came by the API: JSON, replaced whole, read once at the start.

A file that cannot be read is refused, and the proxy does not start: a rule that is lost without a word sends the
sessions of a tenant where they do not belong.

Used by: features.routing.rule_book.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import trio
from attrs import frozen

from helios_trio.config.keys import Leaf, Tables, dotted, key, shapes, tables
from helios_trio.config.kinds import Count
from helios_trio.config.problems import InvalidConfig
from helios_trio.config.structure import Words, structure_once
from helios_trio.features.routing.rules import GeoRule, Rule
from helios_trio.whole_file import replace_file

#: Its name where the configuration does not say another.
FILE: Final = "routing_rules.json"
_WORDS: Final = Words("an object", "an array of objects")


@frozen(kw_only=True)
class KeptRules:
    """The rules that came by the API."""

    last: Count = key(0, "number of the last rule that was made: none is given twice")
    rules: tuple[Rule, ...] = tables()
    geo_rules: tuple[GeoRule, ...] = tables()

    def __bool__(self) -> bool:
        return bool(self.rules or self.geo_rules)


@frozen
class RuleStore:
    """The file; without a path nothing is kept over a restart."""

    path: Path | None

    def load(self) -> KeptRules:
        """What was saved last. Raises ConfigError that names the file and all that is wrong with it."""
        if self.path is None:
            return KeptRules()
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return KeptRules()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(str(error)) from error
        return self._read(text)

    def _read(self, text: str) -> KeptRules:
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._unusable(f"it is no JSON ({error})") from error
        if not isinstance(tree, dict):
            raise self._unusable("it is no JSON object")
        found, problems = structure_once(tree, KeptRules, _WORDS)
        faults = [f"{dotted(each.path)}: {each.shown} {each.message}" for each in problems]
        if found is not None:
            faults.extend(_twice(found))
        if found is None or faults:
            raise self._unusable(*faults)
        return found

    def _unusable(self, *reasons: str) -> InvalidConfig:
        """All that is wrong, and what to do."""
        what = "the rules kept here cannot be used; repair the file, or move it away to go on without them"
        return InvalidConfig([f"{self.path}: {what}", *(f"{self.path}: {reason}" for reason in reasons)])

    async def save(self, kept: KeptRules) -> None:
        """When this returns, it is on the disk. Raises OSError."""
        if self.path is not None:
            await trio.to_thread.run_sync(replace_file, self.path, json.dumps(_tree(kept), indent=1) + "\n")


def _twice(kept: KeptRules) -> Iterator[str]:
    for kind, rules in (("rules", kept.rules), ("geo_rules", kept.geo_rules)):
        ids = [each.id for each in rules]
        yield from (
            f"{kind}: {id} stands there twice" for id in sorted({each for each in ids if ids.count(each) > 1})
        )


def _tree(section: Any) -> dict[str, Any]:
    """A value of a class of keys, as `structure_once` reads it again."""
    found: dict[str, Any] = {}
    for name, shape in shapes(type(section)).items():
        value = getattr(section, name)
        match shape:
            case Leaf(kind) if value is not None:
                found[name] = kind.write(value)
            case Tables():
                found[name] = [_tree(each) for each in value]
            case _:
                pass
    return found
