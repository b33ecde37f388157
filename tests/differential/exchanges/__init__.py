"""The corpus of the differential test: scripted exchanges, one module per topic.

Each module has a tuple `EXCHANGES`; a new topic is a new module named here.
"""

from __future__ import annotations

import attrs

from . import (
    bad_input,
    cancellation,
    copy,
    cursors,
    errors,
    extended_query,
    notifications,
    pipelines,
    prepared_statements,
    replication,
    session_state,
    settings,
    simple_query,
    start_up,
    transactions,
    values,
)
from ._exchange import EVERY_MODE, Exchange

__all__ = ["EVERY_MODE", "EXCHANGES", "Exchange", "in_short_run"]

_TOPICS = (
    simple_query,
    errors,
    extended_query,
    prepared_statements,
    pipelines,
    copy,
    transactions,
    settings,
    start_up,
    notifications,
    cursors,
    session_state,
    values,
    bad_input,
    cancellation,
    replication,
)

EXCHANGES: tuple[Exchange, ...] = tuple(
    attrs.evolve(exchange, topic=topic.__name__.rpartition(".")[2])
    for topic in _TOPICS
    for exchange in topic.EXCHANGES
)

SHORT_RUN = {
    "session": {
        *("bad_input", "cancellation", "cursors", "extended_query", "notifications", "pipelines"),
        *("prepared_statements", "transactions"),
    },
    "pristine": {"start_up", "settings", "session_state", "replication"},
    "statement": {"simple_query", "transactions", "notifications"},
    "routed-transaction": set(),
    "routed-session": set(),
}
"""Topics that these modes are tried with unless `--every-mode` is given: where they differ from others."""


def in_short_run(exchange: Exchange, mode: str) -> bool:
    """Whether a run without `--every-mode` has it."""
    return mode not in SHORT_RUN or exchange.topic in SHORT_RUN[mode]
