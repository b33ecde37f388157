"""The metrics of routing.

Used by: admin.metric_table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from helios_trio.admin.metric_kinds import Sample, Section, counter, gauge, one, per_word
from helios_trio.admin.scrape import Scrape
from helios_trio.features.routing.router import RouteCounters


def _count(read: Callable[[RouteCounters], float]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure of the router; 0 where requests are not routed."""
    return one(lambda scrape: 0 if scrape.parts.router is None else read(scrape.parts.router.counters))


def _learned(scrape: Scrape) -> float:
    return 0 if scrape.parts.learned is None else len(scrape.parts.learned)


ROUTES: Final = Section(
    "Routing",
    "Where requests are routed: `[routing]`, `[transparent_write_routing]`, `[circuit_breaker]`.",
    (
        counter(
            "helios_routed_requests_total",
            "Requests, and beginnings of transactions, by the backend that they were sent to.",
            per_word(
                lambda scrape: (
                    scrape.parts.router.counters.by_backend if scrape.parts.router is not None else {}
                )
            ),
            ("backend",),
        ),
        counter(
            "helios_routed_reads_fell_back_total",
            "Reads that the primary served because no standby would do.",
            _count(lambda counters: counters.fell_back),
        ),
        counter(
            "helios_route_floors_total",
            "Times the primary was asked for the end of its WAL, behind a write and before a read.",
            _count(lambda counters: counters.floors),
        ),
        counter(
            "helios_route_waits_total",
            "Looks whether there is a server at last that will do for a request.",
            _count(lambda counters: counters.waits),
        ),
        counter(
            "helios_route_refused_by_standby_total",
            "Requests that a standby refused because they write after all, and that the primary has served.",
            _count(lambda counters: counters.refused),
        ),
        counter(
            "helios_route_resent_total",
            "Reads that lost their standby, or were cancelled by its recovery, and were sent to the primary.",
            _count(lambda counters: counters.resent),
        ),
        counter(
            "helios_route_not_admitted_total",
            "Requests refused by an open circuit or a limit of a circuit breaker.",
            _count(lambda counters: counters.not_admitted),
        ),
        counter(
            "helios_route_hints_ignored_total",
            "Parts of hints and of helios.* settings that were not understood, or name no backend.",
            _count(lambda counters: counters.hints_ignored),
        ),
        gauge(
            "helios_learned_writers",
            "Statements that go to the primary because a standby has refused them once.",
            one(_learned),
        ),
    ),
)
