"""The corpus of the differential test: scripted exchanges, one module per topic.

Each module has a tuple `EXCHANGES`; a new topic is a new module named here.
"""

from __future__ import annotations

from . import (
    bad_input,
    cancellation,
    copy,
    cursors,
    errors,
    extended_query,
    notifications,
    pipelines,
    replication,
    session_state,
    settings,
    simple_query,
    start_up,
    transactions,
    values,
)
from ._exchange import EVERY_MODE, Exchange

__all__ = ["EVERY_MODE", "EXCHANGES", "Exchange"]

_TOPICS = (
    simple_query,
    errors,
    extended_query,
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

EXCHANGES: tuple[Exchange, ...] = tuple(exchange for topic in _TOPICS for exchange in topic.EXCHANGES)
