"""The log of queries: a line for each request that is slow, or for each.

Literals are left out unless somebody wants them (rule 39): the text is the one that PostgreSQL's scanner gives without
constants, and what cannot be parsed has none. Values of parameters are never logged.

Used by: composition.observing.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from helios_trio.features.tracing.observer import ServedRequest
from helios_trio.features.tracing.outbox import Outbox

#: A name of its own, so that the lines can be told apart and sent elsewhere.
LOGGER: Final = "helios_trio.queries"
#: Lines that wait to be written.
ROOM: Final = 10_000

_log = structlog.get_logger(LOGGER)


class QueryLog:
    """Writes what is put in its outbox."""

    def __init__(self, outbox: Outbox[ServedRequest]) -> None:
        self.outbox = outbox
        self._told = 0

    async def run(self) -> None:
        """Write until cancelled, and then what is left: writing does not wait for anybody."""
        try:
            while True:
                await self.outbox.wait()
                self._write_next()
        finally:
            while len(self.outbox):
                self._write_next()

    def _write_next(self) -> None:
        """One line, so that others get their turn between two."""
        for served in self.outbox.take(1):
            try:
                _log.info("query", **line_of(served))
            except Exception:  # as rule 40: what one client has sent must not end the proxy
                _log.exception("query not logged")
        if dropped := self.outbox.dropped - self._told:
            self._told = self.outbox.dropped
            _log.warning("queries not logged, as there were too many", number=dropped)


def line_of(served: ServedRequest) -> dict[str, Any]:
    """What is said of a request. Times in milliseconds."""
    line: dict[str, Any] = {
        "session": served.session,
        "user": served.user,
        "database": served.database,
        "backend": None if served.backend is None else served.backend.name,
        "operation": served.operation or None,
        "duration_ms": _milliseconds(served.seconds),
        "wait_ms": _milliseconds(served.waited),
        "backend_ms": None if served.at_backend is None else _milliseconds(served.at_backend),
        "statements": served.statements if served.statements > 1 else None,
        "route": served.route or None,
        "sqlstate": served.sqlstate or None,
        "failure": served.failure or None,
        "trace_id": served.trace_id or None,
        "text": text_of(served),
    }
    return {key: value for key, value in line.items() if value is not None}


def text_of(served: ServedRequest) -> str | None:
    """The statement as it may be told; None: it may not, or is not known."""
    if served.literal is not None:
        return served.literal.decode("utf-8", "replace")
    return None if served.facts is None else served.facts.normalised


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
