"""The preferences of the configuration in their order, and what they must know of a question.

Used by: composition.deciding (makes a new list at each reload).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from helios_trio.config.root import Config
from helios_trio.config.routing import DefaultForReads as Default
from helios_trio.features.routing.decision import DefaultForReads
from helios_trio.features.routing.geo import Nearest
from helios_trio.features.routing.rule_book import RuleBook
from helios_trio.features.routing.targets import AgeOf, TablePreference, WorkloadPreference, entries_of
from helios_trio.pipeline.routing import Preference, Question
from helios_trio.sql.newest import newest
from helios_trio.sql.workload import Workload

#: What decides about a text of several statements: the most demanding of them.
_DEMANDING = (Workload.VECTOR, Workload.OLAP)


def preferences_of(config: Config, book: RuleBook, age_of: AgeOf) -> Sequence[Preference]:
    """All that are configured; the first have their way before the last.

    Where reads are not split off from writes, nothing but what has been said of a tenant, a kind of read or a table
    takes a read away from the primary.
    """
    routing = config.routing
    found: list[Preference] = [book.geo_preference()]
    if routing.workload.enabled:
        found.append(WorkloadPreference(routing.workload, workload_of))
    if routing.tables:
        found.append(TablePreference(entries_of(routing), age_of))
    split = routing.read_write_split or config.transparent_write_routing.enabled
    default = routing.default_for_reads if split else Default.PRIMARY
    found.append(DefaultForReads(default.value))
    found.append(Nearest(config.proxy.region or "", default))
    return found


def workload_of(question: Question) -> str:
    """oltp, olap or vector."""
    kinds = {statement.work.kind for statement in question.statements}
    return next((kind for kind in _DEMANDING if kind in kinds), Workload.OLTP).value


def age_by_text(text_of: Callable[[Question], bytes], now: Callable[[], datetime]) -> AgeOf:
    """Finds out how old the newest row is that a question asks for, from its text.

    Args:
        text_of: the text of a question; empty where it is not known, or is several.
        now: the time of day, with its offset from UTC.
    """

    def age_of(question: Question, column: str) -> float | None:
        at, text = now(), text_of(question)
        limit = newest(text, column, at) if text else None
        return None if limit is None else (at - limit).total_seconds()

    return age_of
