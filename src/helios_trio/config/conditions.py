"""Conditions on figures of a server, such as `replication_lag_ms < 100`, as they stand in the configuration.

A condition is a name alone, which must be true, or a name, a comparison and a number. Only names that something
measures are known; `migration.checks` evaluates them.

Used by: config.health (the kind of its key), migration.checks.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from helios_trio.config.kinds import Expected, Kind

#: Names that are true or false, and what they say.
FACTS: Final = {
    "connection_success": "a control connection can be opened",
    "query_test_success": "check_query is answered",
}
#: Names that are numbers, and what they say.
FIGURES: Final = {
    "replication_lag_ms": "how far a standby is behind at most, 0 when it lacks nothing, and on a primary",
    "replication_lag_bytes": "WAL of the primary that a standby has not replayed, 0 on a primary",
    "test_query_latency_ms": "time that check_query takes",
    "connect_latency_ms": "time that opening a control connection takes",
}
_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_SYNTAX: Final = re.compile(
    r"\s*(?P<name>[a-z_][a-z_0-9]*)\s*(?:(?P<comparison><=|>=|==|!=|<|>)\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*)?",
    re.ASCII,
)


@frozen
class Condition:
    """One condition. Without a comparison the name must be true."""

    name: str
    comparison: str = ""
    number: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} {self.comparison} {self.number:g}" if self.comparison else self.name

    def holds(self, value: float | bool) -> bool:
        """Whether a value is as it must be."""
        if not self.comparison:
            return value is True
        return _COMPARISONS[self.comparison](value, self.number)


def parse_condition(text: str) -> Condition:
    """The condition in `text`. Raises ValueError: another syntax, or a name that nothing measures."""
    found = _SYNTAX.fullmatch(text)
    if found is None:
        raise ValueError(f"not a condition: {text!r}")
    name, comparison = found["name"], found["comparison"] or ""
    if name not in (FIGURES if comparison else FACTS):
        raise ValueError(f"nothing measures {name!r} so")
    return Condition(name, comparison, float(found["number"] or 0))


@frozen
class Conditions(Kind):
    """A list of conditions."""

    textual = False

    @property
    def expected(self) -> str:
        return (
            f"a list of conditions: {', '.join(FACTS)}, or one of {', '.join(FIGURES)} compared with a number, "
            'as in "replication_lag_ms < 100"'
        )

    def read(self, value: object) -> tuple[Condition, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise Expected(self.expected)
        try:
            return tuple(parse_condition(each) for each in value)
        except ValueError as error:
            raise Expected(self.expected) from error

    def write(self, value: Any) -> list[str]:
        return [str(each) for each in value]
