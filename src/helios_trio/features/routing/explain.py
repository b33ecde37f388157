"""EXPLAIN (ROUTE): where a statement would go, and how that came about, in the form of EXPLAIN's own answer.

The lines are sent as a query of literals in the place of the client's, the way SHOW of a parameter of the proxy's own
is answered: so it works in both protocols, and with whatever a driver asks besides.

Used by: whoever answers for the proxy when a text is EXPLAIN (ROUTE) (`sql.facts.Facts.explains_route`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from helios_trio.pipeline.routing import Decision, Question, Step, Wish
from helios_trio.sql.quote import quote_literal

#: Heading of the one column, as in EXPLAIN's own answer.
COLUMN = "QUERY PLAN"


def explanation(decision: Decision, question: Question) -> list[str]:
    """The lines: the choice, what was asked, the servers there were, and what each step left of them.

    Args:
        decision: made with its steps.
        question: what it was made for.
    """
    lines = [_choice(decision, question), f"  Needs: {_needs(question)}"]
    lines += (f"  {line}" for line in _about(question))
    candidates = _candidates(decision.steps)
    lines.append(f"  Candidates: {', '.join(candidates) or 'none'}")
    for step in decision.steps:
        lines += _step(step)
    return lines


def explaining_query(lines: Sequence[str], parameters: int = 0) -> str:
    """A query whose rows are these lines, in their order.

    Args:
        lines: at least one; what PostgreSQL cannot take as text (a NUL) is left out.
        parameters: how many the statement has that is explained, so that a client may bind them.
    """
    rows = ", ".join(f"({number}, {quote_literal(_clean(line))})" for number, line in enumerate(lines))
    used = " AND ".join(f"(${number}::text IS NULL) IS NOT NULL" for number in range(1, parameters + 1))
    condition = f" WHERE {used}" if used else ""
    return f'SELECT line AS "{COLUMN}" FROM (VALUES {rows}) AS route(number, line){condition} ORDER BY number'


def _choice(decision: Decision, question: Question) -> str:
    if decision.backend is None:
        return "Route to no server: none is left"
    suffix = "  (no standby would do)" if decision.fell_back and question.wish.route != "primary" else ""
    return f"Route to {decision.backend}{suffix}"


def _needs(question: Question) -> str:
    if question.must_write:
        return f"the server that takes writes ({question.must_write})"
    return "any server, it only reads"


def _about(question: Question) -> Iterator[str]:
    wish = ", ".join(_wishes(question.wish))
    if wish:
        yield f"Wish: {wish}"
    if question.tenant:
        yield f"Tenant: {question.tenant}"
    for work in dict.fromkeys(statement.work for statement in question.statements):
        yield f"Workload: {work.kind.value} ({work.why})"
    if question.floor is not None:
        yield f"Freshness: WAL replayed up to {question.floor}"


def _wishes(wish: Wish) -> Iterator[str]:
    if wish.route is not None:
        yield f"route={wish.route}"
    if wish.consistency is not None:
        yield f"consistency={wish.consistency.value}"
    if wish.max_lag is not None:
        yield f"max_lag={wish.max_lag:g}s"
    if wish.timeout is not None:
        yield f"timeout={wish.timeout:g}s"


def _candidates(steps: Sequence[Step]) -> list[str]:
    """The servers that the first step looked at, those it left first."""
    if not steps:
        return []
    return [*steps[0].left, *(name for name in steps[0].removed if name not in steps[0].left)]


def _step(step: Step) -> Iterator[str]:
    yield f"  ->  {step.by}: {', '.join(step.left) or 'none left'}"
    for name, reason in step.removed.items():
        yield f"        Removed {name}: {reason}"


def _clean(line: str) -> str:
    """One line that any client encoding has."""
    return " ".join(line.replace("\0", "").split("\n")).encode("ascii", "backslashreplace").decode()
