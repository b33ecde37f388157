"""The metrics for Prometheus: figures are read when somebody asks, from a registry of their own.

Used by: admin.api.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from helios_trio.admin.metric_table import METRICS, Metric, Sample
from helios_trio.admin.parts import Parts
from helios_trio.admin.scrape import Scrape

_OPENMETRICS = "application/openmetrics-text"


class ProxyCollector(Collector):
    """All metrics of one proxy."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def describe(self) -> Iterable[Family]:
        """The families without figures, with which a registry looks for names that clash."""
        return [_family(metric, ()) for metric in METRICS]

    def collect(self) -> Iterator[Family]:
        """The families with the figures of now."""
        scrape = Scrape.take(self._parts)
        for metric in METRICS:
            yield _family(metric, metric.read(scrape))


def registry_of(parts: Parts) -> CollectorRegistry:
    """A registry with the metrics of one proxy and nothing else."""
    registry = CollectorRegistry()
    registry.register(ProxyCollector(parts))
    return registry


def expose(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """All metrics and their media type, in the format that `accept` (of HTTP) asks for."""
    if _OPENMETRICS in accept:
        return openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest(registry), exposition.CONTENT_TYPE_PLAIN_0_0_4


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    """OpenMetrics names a family of counters without the suffix that its samples have."""
    family = Family(metric.name.removesuffix("_total"), metric.help, metric.kind)
    for values, value in samples:
        labels = dict(zip(metric.labels, map(_printable, values), strict=True))
        family.add_sample(metric.name, labels, float(value))
    return family


def _printable(value: str) -> str:
    """Names that are no valid UTF-8 must not break the page for everybody."""
    return value.encode("utf-8", "backslashreplace").decode()
