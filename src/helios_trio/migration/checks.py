"""Whether a backend may take over sessions: the conditions of the configuration, and how it does beside the source.

Pure: measured values come in, what is wrong comes out.

Used by: migration.examination, migration.migration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from helios_trio.config.conditions import Condition
from helios_trio.migration.figures import Figures

#: Values by the names in `config.conditions`; None: could not be measured.
Measured = Mapping[str, float | bool | None]


@frozen
class CheckResult:
    """What became of one condition."""

    check: str
    passed: bool
    #: what was measured; None: nothing could be
    value: float | bool | None

    @property
    def complaint(self) -> str:
        """Why it did not pass."""
        value = "unknown" if self.value is None else self.value
        shown = f"{value:g}" if isinstance(value, float) else str(value).lower()
        return f"{self.check}: it is {shown}"


def evaluate(conditions: Iterable[Condition], measured: Measured) -> tuple[CheckResult, ...]:
    """Each condition judged; what could not be measured has not passed."""
    results = []
    for condition in conditions:
        value = measured.get(condition.name)
        passed = value is not None and condition.holds(value)
        results.append(CheckResult(str(condition), passed, value))
    return tuple(results)


def complaints(results: Iterable[CheckResult]) -> tuple[str, ...]:
    """Why a backend did not pass; empty when it did."""
    return tuple(each.complaint for each in results if not each.passed)


@frozen(kw_only=True)
class Tolerance:
    """How much worse than the source a target may be."""

    #: times the source's p99; 0: not compared
    p99_factor: float
    #: added to the source's error rate, as a share of 1
    error_rate_increase: float
    #: below so many queries nothing is compared
    min_queries: int


def compare(source: Figures, target: Figures, tolerance: Tolerance) -> Sequence[str]:
    """In which ways the target does worse than tolerated; empty when it does not, or when too little is known."""
    if min(source.queries, target.queries) < max(1, tolerance.min_queries):
        return ()
    return [*_slower(source, target, tolerance), *_failing_more(source, target, tolerance)]


def _slower(source: Figures, target: Figures, tolerance: Tolerance) -> Iterable[str]:
    if not tolerance.p99_factor or source.p99 is None or target.p99 is None:
        return
    if target.p99 > source.p99 * tolerance.p99_factor:
        yield (
            f"p99 of {target.p99 * 1000:.3g} ms is more than {tolerance.p99_factor:g} times "
            f"the source's {source.p99 * 1000:.3g} ms"
        )


def _failing_more(source: Figures, target: Figures, tolerance: Tolerance) -> Iterable[str]:
    if source.error_rate is None or target.error_rate is None:
        return
    if target.error_rate > source.error_rate + tolerance.error_rate_increase:
        yield (
            f"error rate of {target.error_rate:.3g} is higher than the source's {source.error_rate:.3g} "
            f"by more than {tolerance.error_rate_increase:g}"
        )
