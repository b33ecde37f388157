"""Which standbys are too far behind to serve anybody, with hysteresis. Pure.

A standby at its limit would come and go with every probe; so it comes back only when it has been well below the limit
for a while.

Used by: composition.directing (makes it, tells it what probes have seen), features.routing (through
`pipeline.routing.Filter`).
"""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field

from helios_trio.pipeline.freshness import Freshness
from helios_trio.pipeline.routing import Node, Question

#: The share of a limit that a standby must be below to come back.
_WELL_BELOW: Final = 0.5


@define
class Gate:
    """`pipeline.routing.Filter`: standbys beyond the limits are refused. Times in seconds, lag also in bytes of WAL."""

    max_lag: float = math.inf
    max_lag_bytes: float = math.inf
    #: how long a standby must have been well below the limits to come back
    recover_after: float = 5.0
    name: str = "lag"
    lasting: bool = False
    #: standbys that are out: since when they have been well below the limits; infinite: they are not
    _out: dict[str, float] = field(factory=dict)
    #: why
    _reasons: dict[str, str] = field(factory=dict)

    def note(self, name: str, lag: float | None, lag_bytes: int | None, now: float) -> bool:
        """A probe has seen how far behind a standby is; returns whether it has come or gone."""
        reason = self._beyond(lag, lag_bytes, 1.0)
        if name not in self._out:
            if reason:
                self._out[name], self._reasons[name] = math.inf, reason
            return bool(reason)
        if self._beyond(lag, lag_bytes, _WELL_BELOW):
            self._out[name], self._reasons[name] = math.inf, reason or self._reasons[name]
            return False
        self._out[name] = min(self._out[name], now)
        if now - self._out[name] >= self.recover_after:
            del self._out[name], self._reasons[name]
            return True
        return False

    def _beyond(self, lag: float | None, lag_bytes: int | None, share: float) -> str:
        """Why it is beyond this share of the limits; what is not known is."""
        if self.max_lag < math.inf:
            if lag is None:
                return "nobody knows how far behind it is"
            if lag > self.max_lag * share:
                return f"it is {lag:.3g} s behind, {self.max_lag:g} s are allowed"
        if self.max_lag_bytes < math.inf:
            if lag_bytes is None:
                return "nobody knows how far behind it is"
            if lag_bytes > self.max_lag_bytes * share:
                return f"it is {lag_bytes} bytes behind, {self.max_lag_bytes:g} are allowed"
        return ""

    @property
    def out(self) -> dict[str, str]:
        """Standbys that serve nobody, and why."""
        return dict(self._reasons)

    def concerns(self, question: Question) -> bool:
        """See `pipeline.routing.Filter`."""
        return bool(self._reasons)

    def refuses(self, question: Question, node: Node) -> str:
        """See `pipeline.routing.Filter`."""
        return "" if node.writer else self._reasons.get(node.name, "")


@define
class Staleness:
    """`pipeline.routing.Filter`: what a client has said about lag (`SET helios.max_staleness`, a hint)."""

    name: str = "staleness"
    lasting: bool = False

    def concerns(self, question: Question) -> bool:
        """See `pipeline.routing.Filter`."""
        return question.wish.max_lag is not None

    def refuses(self, question: Question, node: Node) -> str:
        """See `pipeline.routing.Filter`."""
        allowed = question.wish.max_lag
        if allowed is None or node.writer:
            return ""
        if node.lag_seconds is None:
            return "nobody knows how far behind it is"
        behind = node.lag_seconds + max(0.0, question.now - node.seen_at)
        if behind > allowed:
            return f"it may be {behind:.3g} s behind, {allowed:g} s are allowed"
        return ""


@define
class OwnWrites:
    """`pipeline.routing.Filter`: a standby must have replayed what the session has written (rule 34)."""

    freshness: Freshness
    name: str = "own writes"
    lasting: bool = False

    def concerns(self, question: Question) -> bool:
        """See `pipeline.routing.Filter`."""
        return question.floor is not None

    def refuses(self, question: Question, node: Node) -> str:
        """See `pipeline.routing.Filter`."""
        floor = question.floor
        if floor is None or node.writer or self.freshness.has(node.name, floor, flushed=question.flushed):
            return ""
        done = "have on disk" if question.flushed else "have replayed"
        return f"it is not known to {done} {floor}, what this session has written"
