"""The metrics of alerts.

Used by: admin.metric_table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from helios_trio.admin.metric_kinds import Sample, Section, counter, gauge, one
from helios_trio.admin.scrape import Scrape
from helios_trio.features.alerts.receiver import AlertCounters

_RECEIVER: Final = ("receiver",)


def _per_receiver(read: Callable[[AlertCounters], int]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure of each receiver that is or was configured."""

    def samples(scrape: Scrape) -> Iterator[Sample]:
        if scrape.parts.alerts is not None:
            for name, counters in scrape.parts.alerts.counters.items():
                yield (name,), read(counters)

    return samples


def _waiting(scrape: Scrape) -> Iterator[Sample]:
    if scrape.parts.alerts is not None:
        for name, waiting in scrape.parts.alerts.waiting.items():
            yield (name,), waiting


def _open(scrape: Scrape) -> float:
    return 0 if scrape.parts.alerts is None else scrape.parts.alerts.core.open


ALERTS: Final = Section(
    "Alerts",
    "Who is told by `[alerts]`: `receiver` is `webhook`, `slack` or `pagerduty`.",
    (
        gauge("helios_alerts_open", "Alerts that were raised, and are not resolved.", one(_open)),
        counter(
            "helios_alerts_sent_total",
            "Alerts that the receiver has accepted.",
            _per_receiver(lambda counters: counters.sent),
            _RECEIVER,
        ),
        counter(
            "helios_alerts_failed_total",
            "Alerts that the receiver has refused, or that could not be delivered in time.",
            _per_receiver(lambda counters: counters.failed),
            _RECEIVER,
        ),
        counter(
            "helios_alerts_dropped_total",
            "Alerts for which there was no room, as the receiver takes them too slowly.",
            _per_receiver(lambda counters: counters.dropped),
            _RECEIVER,
        ),
        gauge(
            "helios_alerts_waiting",
            "Alerts that wait for the receiver, the one that is being delivered not counted.",
            _waiting,
            _RECEIVER,
        ),
    ),
)
