"""What a metric is: its name, kind, help and labels, and how its figures are read from a scrape.

Used by: admin.metric_table, admin.metric_moves, admin.metric_failover (the tables), admin.metrics (exports),
admin.metrics_page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final, Literal

from attrs import frozen

from helios_trio.admin.scrape import PoolFigures, Scrape
from helios_trio.cluster.topology import NodeState

#: Values of the labels, and the figure.
Sample = tuple[tuple[str, ...], float]


@frozen
class Metric:
    """One metric family."""

    kind: Literal["counter", "gauge"]
    #: as PromQL has it: counters end in `_total`
    name: str
    help: str
    read: Callable[[Scrape], Iterable[Sample]]
    labels: tuple[str, ...] = ()


@frozen
class Section:
    """Metrics of one subject, in the order of the page."""

    title: str
    text: str
    metrics: tuple[Metric, ...]


counter: Final = partial(Metric, "counter")
gauge: Final = partial(Metric, "gauge")


# -- how figures are read ------------------------------------------------------------------------------------

#: Labels of a pool.
POOL: Final = ("backend", "database", "user", "mode")


def one(read: Callable[[Scrape], float]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure without labels."""
    return lambda scrape: [((), read(scrape))]


def per_pool(read: Callable[[PoolFigures], float]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure of each pool."""
    return lambda scrape: ((pool.labels, read(pool)) for pool in scrape.pools)


def per_node(read: Callable[[Scrape, NodeState], float | None]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure of each server; none where it is not known."""

    def samples(scrape: Scrape) -> Iterator[Sample]:
        for node in scrape.nodes:
            value = read(scrape, node)
            if value is not None:
                yield (node.backend.name,), value

    return samples


def per_word(read: Callable[[Scrape], Mapping[str, float]]) -> Callable[[Scrape], Iterable[Sample]]:
    """A figure for each word that has been counted."""
    return lambda scrape: (((word,), number) for word, number in read(scrape).items())
