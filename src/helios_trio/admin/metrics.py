"""The metrics for Prometheus: figures are read when somebody asks, a few samples at a time.

Writing one sample takes prometheus_client some 20 microseconds, and a proxy with many pools has thousands:
clients must not stand still for so long. So families are written in slices, with a checkpoint between them;
the registry of prometheus_client, which writes all at once, is not used.

Used by: admin.api.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import trio
from attrs import frozen
from prometheus_client import exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from helios_trio.admin.metric_kinds import Metric, Sample
from helios_trio.admin.metric_table import METRICS
from helios_trio.admin.parts import Parts
from helios_trio.admin.scrape import Scrape

#: Samples written before other tasks get a turn.
SLICE: Final = 50

_OPENMETRICS: Final = "application/openmetrics-text"
_END: Final = b"# EOF"


async def expose(parts: Parts, accept: str) -> tuple[bytes, str]:
    """All metrics and their media type, in the format that `accept` (of HTTP) asks for."""
    asked_openmetrics = _OPENMETRICS in accept
    scrape = Scrape.take(parts)
    lines: list[bytes] = []
    for metric in METRICS:
        samples = iter(metric.read(scrape))
        lines += _lines(_family(metric, islice(samples, SLICE)), asked_openmetrics)
        while further := list(islice(samples, SLICE)):
            await trio.lowlevel.checkpoint()
            lines += (
                line for line in _lines(_family(metric, further), asked_openmetrics) if line[:1] != b"#"
            )
        await trio.lowlevel.checkpoint()
    if asked_openmetrics:
        return b"\n".join([*lines, _END, b""]), openmetrics.CONTENT_TYPE_LATEST
    return b"\n".join([*lines, b""]), exposition.CONTENT_TYPE_PLAIN_0_0_4


@frozen
class _Single(Collector):
    """One family, in place of a registry."""

    family: Family

    def collect(self) -> Iterator[Family]:
        """See `prometheus_client.registry.Collector`."""
        yield self.family


def _lines(family: Family, as_openmetrics: bool) -> list[bytes]:
    """The lines of a family: its comments, then its samples."""
    if as_openmetrics:
        page: bytes = openmetrics.generate_latest(_Single(family))  # type: ignore[no-untyped-call]
    else:
        page = exposition.generate_latest(_Single(family))
    return [line for line in page.split(b"\n") if line and line != _END]


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
