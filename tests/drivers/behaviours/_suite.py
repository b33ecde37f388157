"""What programs do with a database, written once for all drivers; each behaviour returns what came of it.

A behaviour says what it needs of the driver, and in which modes PostgreSQL's semantics cannot hold, with the
reason. Its outcome on a direct connection is the measure: through the proxy it has to be the same, values,
types, tags and SQLSTATEs alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapters.adapter import Adapter, Endpoint, Session
from attrs import define, field, frozen

STATEMENT_REFUSES = {"statement": "statement mode refuses transactions of several requests"}


@define
class Stage:
    """What a behaviour works with: sessions through one driver at one endpoint, closed at the end."""

    adapter: Adapter
    endpoint: Endpoint
    sessions: list[Session] = field(factory=list)

    def connect(self, **settings: str) -> Session:
        """A new session."""
        found = self.adapter.connect(self.endpoint, **settings)
        self.sessions.append(found)
        return found

    def failure(self, work: Callable[[], Any]) -> tuple[str, str | None]:
        """Class and SQLSTATE of the exception that the work raises."""
        try:
            work()
        except Exception as error:
            return type(error).__name__, self.adapter.sqlstate(error)
        return "no exception", None

    def close(self) -> None:
        """Close all sessions; one that the server has closed already may say so."""
        for session in self.sessions:
            try:
                session.close()
            except Exception as error:
                if "clos" not in str(error).lower():
                    raise


@frozen
class Behaviour:
    """A function of a stage, what it needs of a driver, and modes it leaves out, each with the reason."""

    run: Callable[[Stage], Any]
    needs: frozenset[str]
    not_in: dict[str, str]

    @property
    def name(self) -> str:
        return self.run.__name__


BEHAVIOURS: list[Behaviour] = []


def behaviour(
    *needs: str, not_in: dict[str, str] | None = None
) -> Callable[[Callable[[Stage], Any]], Callable[[Stage], Any]]:
    """Add the function to the suite."""

    def add(run: Callable[[Stage], Any]) -> Callable[[Stage], Any]:
        BEHAVIOURS.append(Behaviour(run, frozenset(needs), not_in or {}))
        return run

    return add
