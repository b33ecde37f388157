"""Who has a say in where a request goes, and in which order - made from a configuration.

Used by: composition.directing (asks for the decider at the start, for other preferences at each reload).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from random import Random

from attrs import define

from helios_trio.config import Config
from helios_trio.config.routing import Balancing
from helios_trio.features.circuit_breaker.breakers import Breakers
from helios_trio.features.lag_routing.gate import Gate, OwnWrites, Staleness
from helios_trio.features.lag_routing.positions import Positions
from helios_trio.features.load_balancer.latency import Latencies
from helios_trio.features.load_balancer.strategies import strategy_of
from helios_trio.features.routing import decision
from helios_trio.features.routing.moved_reads import MovedReads
from helios_trio.features.routing.preferences import age_by_text, preferences_of
from helios_trio.features.routing.rule_book import RuleBook
from helios_trio.features.transparent_write_routing.connected import ConnectedTo
from helios_trio.pipeline.routing import Filter, Preference, Question, Strategy
from helios_trio.pipeline.taps import BackendTap, BothTaps


@define(eq=False, kw_only=True)
class Deciding:
    """All that have a say."""

    #: None: only circuits have a say
    book: RuleBook | None
    #: the backend that a database is tied to by the configuration; empty: none
    tied: Callable[[str], str]
    #: None: no backend has a circuit
    breakers: Breakers | None
    positions: Positions
    gate: Gate
    latencies: Latencies
    #: where migrations have reads go; None: there are no migrations, or no reads to be moved
    moved_reads: MovedReads | None

    def decider(self, config: Config) -> decision.Decider:
        """Who decides by what they say."""
        return decision.Decider(self.filters(), self.preferences(config), _strategy(config))

    def reconfigure(self, decider: decision.Decider, config: Config) -> None:
        """Take over other rules, wishes and ways to choose. Raises ConfigError; nothing has changed then."""
        if self.book is not None:
            self.book.reconfigure(config.routing)
            decider.preferences = self.preferences(config)
        decider.strategy = _strategy(config)
        self.latencies.reconfigure(config.load_balancer.latency_half_life)
        self._limit_lag(config)

    def filters(self) -> Sequence[Filter]:
        """In the order in which they are asked, and explained."""
        return [
            decision.InService(),
            *([] if self.breakers is None else [self.breakers]),
            decision.Role(),
            decision.Wished(),
            *([] if self.book is None else [self.book.filter()]),
            self.gate,
            Staleness(),
            OwnWrites(self.positions),
        ]

    def preferences(self, config: Config) -> Sequence[Preference]:
        """The same of who narrows down; where a migration has reads go comes before all wishes."""
        if self.book is None:
            return []
        found: list[Preference] = [] if self.moved_reads is None else [self.moved_reads]
        if config.transparent_write_routing.enabled:
            found.append(ConnectedTo(self.tied))
        return [*found, *preferences_of(config, self.book, age_by_text(_text_of, _now))]

    def tap_of(self, config: Config) -> Callable[[str], BackendTap | None]:
        """Who is told how a backend answers: the balancer, its circuit, both or nobody."""
        breakers, latencies = self.breakers, self.latencies
        if not measures_latency(config):
            return _no_tap if breakers is None else breakers.tap
        if breakers is None:
            return latencies.tap

        def both(backend: str) -> BackendTap:
            circuit, latency = breakers.tap(backend), latencies.tap(backend)
            return latency if circuit is None else BothTaps(circuit, latency)

        return cache(both)

    def _limit_lag(self, config: Config) -> None:
        limits, gate = config.lag_routing, self.gate
        if limits.limits:
            gate.max_lag = limits.max_lag
            gate.max_lag_bytes = float("inf") if limits.max_lag_bytes is None else limits.max_lag_bytes
        else:
            gate.max_lag = gate.max_lag_bytes = float("inf")
        gate.recover_after = limits.recover_after


def measures_latency(config: Config) -> bool:
    """Whether somebody wants to know how long queries take on each backend."""
    return config.load_balancer.strategy is Balancing.LATENCY


def _strategy(config: Config) -> Strategy:
    return strategy_of(config.load_balancer, Random())


def _no_tap(backend: str) -> None:
    """Nobody wants to know how a backend answers."""


def _text_of(question: Question) -> bytes:
    return question.text


def _now() -> datetime:
    return datetime.now(UTC)
