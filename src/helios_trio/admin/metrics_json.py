"""The metrics as JSON, for those who have no Prometheus: the same figures by the same names.

Used by: admin.api.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice

import trio
from attrs import frozen

from helios_trio.admin.metric_kinds import Metric, Sample
from helios_trio.admin.metric_table import METRICS
from helios_trio.admin.metrics import SLICE
from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Route, reads
from helios_trio.admin.scrape import Scrape


@frozen(kw_only=True)
class SampleView:
    """One figure; null: there is none."""

    labels: Mapping[str, str]
    value: float | None


@frozen(kw_only=True)
class MetricView:
    """Figures of one name."""

    name: str
    #: counter or gauge
    kind: str
    help: str
    samples: tuple[SampleView, ...]


@frozen(kw_only=True)
class MetricsView:
    """All metrics."""

    metrics: tuple[MetricView, ...]


def routes(parts: Parts) -> Iterator[Route]:
    """Metrics."""

    async def metrics(_: Call) -> MetricsView:
        scrape = Scrape.take(parts)
        return MetricsView(metrics=tuple([await _read(metric, scrape) for metric in METRICS]))

    yield reads("/api/v1/metrics", "All metrics", MetricsView, metrics)


async def _read(metric: Metric, scrape: Scrape) -> MetricView:
    """A few samples at a time, as for Prometheus (`admin.metrics`)."""
    found: list[SampleView] = []
    samples = iter(metric.read(scrape))
    while some := list(islice(samples, SLICE)):
        found += (_view(metric, each) for each in some)
        await trio.lowlevel.checkpoint()
    return MetricView(name=metric.name, kind=metric.kind, help=metric.help, samples=tuple(found))


def _view(metric: Metric, sample: Sample) -> SampleView:
    values, value = sample
    labels = {
        name: each.encode("utf-8", "backslashreplace").decode()
        for name, each in zip(metric.labels, values, strict=True)
    }
    return SampleView(labels=labels, value=float(value) if math.isfinite(value) else None)
