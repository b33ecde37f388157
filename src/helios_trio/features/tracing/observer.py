"""`Observer`: what becomes of a request that has been answered: a span, a line in the log of queries, both, or nothing.

It decides, and puts what must be told on a queue; whoever tells it does so later, in a task of its own.

Used by: features.tracing.watch (tells it), composition.observing (makes it).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from helios_trio.config.observability import LogQueries, ObservabilitySettings
from helios_trio.features.tracing.outbox import Outbox
from helios_trio.features.tracing.requests import ClientRequest
from helios_trio.pipeline.backend import Backend
from helios_trio.sql.commenter import TraceParent, trace_parent_of
from helios_trio.sql.facts import UNPARSED, Facts
from helios_trio.sql.kinds import StatementKind

if TYPE_CHECKING:
    from helios_trio.features.tracing.watch import Followed

#: Longest text, in bytes, of which more is kept than what it does: queues hold thousands of requests.
TEXT_KEPT: Final = 16 * 1024
#: Bytes of a statement with its literals that are logged.
LITERAL_KEPT: Final = 4096


@frozen(kw_only=True)
class ObservationPolicy:
    """What the configuration says; replaced by a reload. Times in seconds."""

    #: share of the requests without a parent that get a span
    ratio: float = 0.0
    traces: bool = False
    log: LogQueries = LogQueries.NONE
    threshold: float = 0.1
    literals: bool = False

    def logs(self, seconds: float) -> bool:
        """Whether a request that took so long is logged."""
        return self.log is LogQueries.ALL or (self.log is LogQueries.SLOW and seconds >= self.threshold)


def policy_of(settings: ObservabilitySettings) -> ObservationPolicy:
    """What the configuration says."""
    return ObservationPolicy(
        ratio=settings.trace_sample_ratio if settings.traces else 0.0,
        traces=settings.traces,
        log=settings.log_queries,
        threshold=settings.slow_query_threshold_ms / 1000,
        literals=settings.log_literals,
    )


@define(eq=False, kw_only=True)  # not frozen, as that takes three times as long to make
class ServedRequest:
    """A request that is over; never changed. Times in seconds."""

    session: int
    user: str
    database: str
    #: None: no server has answered it
    backend: Backend | None
    route: str
    #: what it did, in PostgreSQL's words; empty: not known
    operation: str
    #: statements in it
    statements: int
    #: None: too long for its text to be told
    facts: Facts | None = field(repr=False)
    #: the beginning of the text as it came, where that is to be logged
    literal: bytes | None = field(repr=False)
    #: seconds since 1970 (UTC), in nanoseconds
    ended_at: int
    seconds: float
    waited: float
    #: from when it had a server to the end of its answer; None: no server has answered it
    at_backend: float | None
    sqlstate: str
    failure: str
    trace_id: str
    #: of its own span; empty: it has none
    span_id: str
    parent: TraceParent | None


class Sampler:
    """Draws lots, and ids. Nobody depends on ids that cannot be guessed; that they differ between processes counts."""

    def __init__(self, new_seed: Callable[[], int] | None = None) -> None:
        self._random = Random(new_seed() if new_seed is not None else SystemRandom().getrandbits(128))
        #: a number from 0 to 1
        self.random = self._random.random

    def new_id(self, size: int) -> str:
        """So many bytes in hex, not all of them zero."""
        return f"{self._random.getrandbits(8 * size) or 1:0{2 * size}x}"


@define(eq=False, kw_only=True)
class Observer:
    """See the module."""

    _policy: ObservationPolicy
    #: requests that are to have a span; None: there are no traces
    spans: Outbox[ServedRequest] | None = None
    #: requests that are to be logged; None: none is
    log: Outbox[ServedRequest] | None = None
    sampler: Sampler = field(factory=Sampler)
    #: seconds since whenever
    clock: Callable[[], float] = time.perf_counter
    #: nanoseconds since 1970 (UTC)
    wall_clock: Callable[[], int] = time.time_ns
    #: every request must be timed; else this share of those without a parent, drawn by this
    follows_all: bool = field(init=False)
    ratio: float = field(init=False)
    random: Callable[[], float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.random = self.sampler.random
        self.policy = self._policy

    @property
    def policy(self) -> ObservationPolicy:
        """What the configuration says; may be replaced."""
        return self._policy

    @policy.setter
    def policy(self, policy: ObservationPolicy) -> None:
        self._policy = policy
        self.follows_all, self.ratio = policy.log is not LogQueries.NONE, policy.ratio

    def done(self, session: Followed, request: ClientRequest) -> None:
        """A request has been answered to its end, or never will be."""
        now, policy = self.clock(), self.policy
        logs = self.log is not None and policy.logs(now - request.begun)
        if not (logs or self.spans is not None):
            return
        parent = trace_parent_of(request.text) if request.fresh and request.text is not None else None
        traces = self.spans is not None and self._is_sampled(request, parent)
        if not (logs or traces):
            return
        served = self._served(session, request, now, parent, traced=traces)
        if self.log is not None and logs:
            self.log.put(served)
        if self.spans is not None and traces:
            self.spans.put(served)

    def _is_sampled(self, request: ClientRequest, parent: TraceParent | None) -> bool:
        if parent is not None:
            return parent.sampled
        return self.random() < self.ratio if request.sampled is None else request.sampled

    def _served(
        self,
        session: Followed,
        request: ClientRequest,
        now: float,
        parent: TraceParent | None,
        *,
        traced: bool,
    ) -> ServedRequest:
        text, virtual = request.text, session.virtual
        facts = UNPARSED if text is None else session.requests.facts_of(text)
        operation, statements = operation_of(request, facts)
        answered = request.answered
        sent = request.begun + request.waited
        return ServedRequest(
            session=virtual.id,
            user=virtual.user,
            database=virtual.database,
            backend=request.backend,
            route=request.route,
            operation=operation,
            statements=statements,
            facts=facts if len(facts.text) <= TEXT_KEPT else None,
            literal=text[:LITERAL_KEPT] if self.policy.literals and text is not None else None,
            ended_at=self.wall_clock(),
            seconds=now - request.begun,
            waited=request.waited,
            at_backend=None if answered is None else max(0.0, answered - sent),
            sqlstate=request.sqlstate,
            failure=request.failure,
            trace_id=parent.trace_id if parent is not None else self.sampler.new_id(16) if traced else "",
            span_id=self.sampler.new_id(8) if traced else "",
            parent=parent,
        )


def operation_of(request: ClientRequest, facts: Facts) -> tuple[str, int]:
    """What a request did, as few words as PostgreSQL has for it, and how many statements there were in it."""
    if request.is_function_call:
        return "FUNCTION CALL", 1
    words = [
        each.transaction.verb.value if each.transaction is not None else each.kind.value
        for each in facts.statements
        if each.kind is not StatementKind.OTHER
    ]
    if request.extended and request.executes > 1:
        return "BATCH", request.executes
    if request.extended and not request.executes:
        return ("PREPARE", 1) if request.parsed else ("", 0)
    if len(facts.statements) > 1:
        return (f"BATCH {words[0]}" if len(set(words)) == 1 else "BATCH"), len(facts.statements)
    return (words[0], 1) if words else ("", len(facts.statements))
