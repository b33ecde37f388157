"""The metrics of traces.

Used by: admin.metric_table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from helios_trio.admin.metric_kinds import Section, counter, gauge, one, per_word
from helios_trio.admin.scrape import Scrape


def _exported(scrape: Scrape) -> float:
    return 0 if scrape.parts.spans is None else scrape.parts.spans.counters.exported


def _dropped(scrape: Scrape) -> Mapping[str, float]:
    return {} if scrape.parts.spans is None else scrape.parts.spans.dropped


def _waiting(scrape: Scrape) -> float:
    return 0 if scrape.parts.spans is None else len(scrape.parts.spans.outbox)


SPANS: Final = Section(
    "Traces",
    "Spans of requests, sent to `observability.otlp_endpoint`. `reason` is `no room` (the collector takes them too "
    "slowly), `refused` (by the collector) or `not delivered` (it could not be reached for too long).",
    (
        counter("helios_spans_exported_total", "Spans that the collector has accepted.", one(_exported)),
        counter(
            "helios_spans_dropped_total", "Spans that have reached nobody.", per_word(_dropped), ("reason",)
        ),
        gauge("helios_spans_waiting", "Spans that wait to be sent.", one(_waiting)),
    ),
)
