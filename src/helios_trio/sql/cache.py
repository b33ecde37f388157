"""Facts by text, kept: what the hot path asks of this room. Synchronous, bounded, without a clock.

Asked in this order, cheapest first:

1. the very text (prepared statements, transaction control, drivers that send parameters apart);
2. its skeleton, the text without its digits: finds a test that tells whether only whole numbers differ from a
   text seen before;
3. its shape (`shape`), in which constants are replaced;
4. the parser.

A text whose facts came from a skeleton or a shape is not kept itself: it would only push out those that
repeat. Each level is kept in two generations, so that a hit costs no book-keeping: when the young one is full
it becomes the old one, and what is asked for again in the old one moves back. Called by the relay for each
Query and Parse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from attrs import define, field

from .facts import UNPARSED, Facts
from .parse import MAX_TREE, parse
from .shape import QUOTE, is_reliable, matcher_of, shape_of, shortened, stands_for_others

Value = TypeVar("Value")
_Skeleton = tuple[Callable[[bytes], object], Facts]

_DIGITS: Final = b"0123456789"
# What the objects of facts take in memory (tracemalloc), and a compiled pattern per byte of its text.
_FACTS_BYTES: Final = 600
_STATEMENT_BYTES: Final = 700
_NAME_BYTES: Final = 250
_PATTERN_BYTES: Final = 20
# The pattern of a longer text gains nothing over making the shape.
_SKELETON_LIMIT: Final = 400


@define
class _Generations(Generic[Value]):
    """A dictionary that forgets what was not asked for while `max_entries` / 2 others came.

    `young` is never replaced, so that its bound `get` may be kept by whoever is in a hurry. `measure` gives
    the bytes that an entry takes.
    """

    max_entries: int
    max_bytes: int
    measure: Callable[[bytes, Value], int]
    young: dict[bytes, Value] = field(factory=dict, init=False)
    old: dict[bytes, Value] = field(factory=dict, init=False)
    young_bytes: int = field(default=0, init=False)
    old_bytes: int = field(default=0, init=False)

    def get(self, key: bytes) -> Value | None:
        """The value, moved to the young generation if it was in the old one."""
        value = self.young.get(key)
        return self.older(key) if value is None else value

    def older(self, key: bytes) -> Value | None:
        """The value in the old generation, moved to the young one."""
        value = self.old.pop(key, None)
        if value is not None:
            self.old_bytes -= self.measure(key, value)
            self.put(key, value)
        return value

    def put(self, key: bytes, value: Value) -> None:
        """Keep a value; one that takes more than half of the room is not kept."""
        cost = self.measure(key, value)
        if 2 * cost > self.max_bytes:
            return
        replaced = self.young.pop(key, None)
        if replaced is not None:
            self.young_bytes -= self.measure(key, replaced)
        if 2 * (len(self.young) + 1) > self.max_entries or 2 * (self.young_bytes + cost) > self.max_bytes:
            self._grow_old()
        self.young[key] = value
        self.young_bytes += cost

    def _grow_old(self) -> None:
        self.old, self.old_bytes = self.young.copy(), self.young_bytes
        self.young.clear()
        self.young_bytes = 0


def _facts_bytes(key: bytes, facts: Facts) -> int:
    """A guess from above at the memory of an entry, its lazy texts included."""
    if facts is UNPARSED:
        return len(key) + _FACTS_BYTES
    names = sum(len(s.reads) + len(s.written) + len(s.functions) for s in facts.statements)
    return 4 * len(key) + _FACTS_BYTES + _STATEMENT_BYTES * len(facts.statements) + _NAME_BYTES * names


def _skeleton_bytes(key: bytes, skeleton: _Skeleton) -> int:
    """The pattern's and the key's memory; the facts are shared with their shape."""
    return _FACTS_BYTES + _PATTERN_BYTES * len(key)


class FactsCache:
    """Facts of texts, each parsed as seldom as possible.

    Args:
        max_entries: how many texts, and how many shapes, are remembered.
        max_bytes: memory for all of them together, roughly.
        max_text: texts of more bytes are not parsed: such facts are `UNPARSED`.
        max_tree: likewise texts whose parse tree takes more bytes, see `parse`.
    """

    def __init__(
        self,
        *,
        max_entries: int = 8192,
        max_bytes: int = 32 << 20,
        max_text: int = 256 << 10,
        max_tree: int = MAX_TREE,
    ) -> None:
        self.max_text = max_text
        self.max_tree = max_tree
        self.parsed_total = 0
        self._texts: _Generations[Facts] = _Generations(max_entries, max_bytes // 2, _facts_bytes)
        self._shapes: _Generations[Facts] = _Generations(max_entries, max_bytes // 4, _facts_bytes)
        self._skeletons: _Generations[_Skeleton] = _Generations(max_entries, max_bytes // 4, _skeleton_bytes)
        self._young_text = self._texts.young.get
        self._young_skeleton = self._skeletons.young.get
        #: what was asked last by a skeleton: who decides where a text goes asks once more than who sends it
        self._last: tuple[bytes | None, Facts] = None, UNPARSED

    def facts(self, text: bytes) -> Facts:
        """The facts of a text from a session with standard_conforming_strings on and client_encoding UTF8.

        For other sessions ask `facts_when_unsure`.
        """
        found = self._young_text(text)
        return self._not_seen_lately(text) if found is None else found

    def facts_when_unsure(self, text: bytes) -> Facts:
        """The same for a session with standard_conforming_strings off or a client_encoding other than UTF8.

        There a backslash may hide the end of a string, and a byte above 127 may take an ASCII byte with it:
        a text with either is not parsed.
        """
        if b"\\" in text or not text.isascii():
            return UNPARSED
        return self.facts(text)

    def __len__(self) -> int:
        """How many entries are kept, on all levels."""
        return sum(len(level.young) + len(level.old) for level in self._levels())

    @property
    def size(self) -> int:
        """Estimated memory of all entries, in bytes."""
        return sum(level.young_bytes + level.old_bytes for level in self._levels())

    def _levels(self) -> tuple[_Generations[Facts], _Generations[Facts], _Generations[_Skeleton]]:
        return self._texts, self._shapes, self._skeletons

    def _not_seen_lately(self, text: bytes) -> Facts:
        if len(text) > self.max_text:
            return UNPARSED
        if text == self._last[0]:
            return self._last[1]
        digitless = text.translate(None, _DIGITS)
        skeleton = self._young_skeleton(digitless)
        if skeleton is not None and skeleton[0](text):
            self._last = text, skeleton[1]
            return skeleton[1]
        found = self._texts.older(text)
        if found is not None:
            return found
        found = self._by_shape(text)
        if found is None:
            return self._keep_text(text)
        if skeleton is None and len(text) <= _SKELETON_LIMIT and QUOTE not in text:
            self._skeletons.put(digitless, (matcher_of(text), found))
        return found

    def _by_shape(self, text: bytes) -> Facts | None:
        """The facts of the text's shape, where they stand for the text's own; None where they do not."""
        shape = shape_of(text)
        if shape == text:
            return None
        facts = self._shapes.get(shape)
        if facts is None:
            facts = self._keep_shape(shape)
        return None if facts is UNPARSED or not _is_utf8(text) else facts

    def _keep_shape(self, shape: bytes) -> Facts:
        """Parse a new shape; one that cannot stand for its texts is kept as UNPARSED, and they are parsed."""
        facts = UNPARSED
        if is_reliable(shape):
            found = self._parse(shortened(shape))
            if stands_for_others(found):
                facts = found
        self._shapes.put(shape, facts)
        return facts

    def _keep_text(self, text: bytes) -> Facts:
        facts = self._parse(text)
        self._texts.put(text, facts)
        return facts

    def _parse(self, text: bytes) -> Facts:
        self.parsed_total += 1
        return parse(text, self.max_tree)


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
