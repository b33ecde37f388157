"""What observes single requests - watches, traces, the log of queries - made from a configuration and wired.

Used by: composition.activities (makes it), app (runs it).
"""

from __future__ import annotations

import uuid
from typing import Any

import trio
from attrs import define, evolve

from helios_trio.config import Config
from helios_trio.config.observability import LogQueries, ObservabilitySettings
from helios_trio.errors import ConfigError
from helios_trio.features.tracing.exporter import ROOM as SPANS
from helios_trio.features.tracing.exporter import SpanExporter
from helios_trio.features.tracing.observer import Observer, ServedRequest, policy_of
from helios_trio.features.tracing.outbox import Outbox
from helios_trio.features.tracing.query_log import ROOM as LINES
from helios_trio.features.tracing.query_log import QueryLog
from helios_trio.features.tracing.watch import RequestWatch
from helios_trio.proxy.serving import Proxy
from helios_trio.proxy.session import Session


@define(eq=False, kw_only=True)
class Observing:
    """See the module."""

    observer: Observer
    #: None: there are no traces
    exporter: SpanExporter | None
    #: None: no query is logged
    log: QueryLog | None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell what was observed until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.exporter is not None:
                nursery.start_soon(self.exporter.run)
            if self.log is not None:
                nursery.start_soon(self.log.run)
            task_status.started()

    def reconfigure(self, config: Config) -> None:
        """Take over another threshold or share, and whether texts and literals are told."""
        settings = config.observability
        self.observer.policy = policy_of(settings)
        if self.exporter is not None:
            self.exporter.encoder = evolve(self.exporter.encoder, with_text=settings.trace_query_text)

    def watch(self, session: Session) -> None:
        """Follow the requests of a session that has just been made."""
        watch = RequestWatch(session, self.observer)
        session.tap = watch
        session.watch(watch.on_received, watch.on_taken)


def observing_of(config: Config, proxy: Proxy) -> Observing | None:
    """Make it, and have the sessions of the proxy watched; None: nothing is observed, and nothing is paid for it.

    Call it last of all that have the proxy make sessions of another kind. Raises ConfigError: the extra is missing.
    """
    settings = config.observability
    if not settings.observes:
        return None
    spans = Outbox[ServedRequest](SPANS) if settings.traces else None
    lines = Outbox[ServedRequest](LINES) if settings.log_queries is not LogQueries.NONE else None
    observing = Observing(
        observer=Observer(policy=policy_of(settings), spans=spans, log=lines),
        exporter=None if spans is None else _exporter_of(settings, spans),
        log=None if lines is None else QueryLog(lines),
    )
    make = proxy.make_session

    def make_watched(*arguments: Any, **parameters: Any) -> Session:
        session = make(*arguments, **parameters)
        observing.watch(session)
        return session

    proxy.make_session = make_watched
    return observing


def _exporter_of(settings: ObservabilitySettings, outbox: Outbox[ServedRequest]) -> SpanExporter:
    try:
        from helios_trio.features.tracing.otlp import Encoder
    except ImportError as error:
        raise ConfigError(
            "observability.otlp_endpoint: traces need the package opentelemetry-proto",
            hint="Install helios-trio[otel].",
        ) from error
    assert settings.otlp_endpoint is not None, "asked by who calls"
    return SpanExporter(
        outbox=outbox,
        encoder=Encoder(
            service_name=settings.service_name,
            instance=str(uuid.uuid4()),
            with_text=settings.trace_query_text,
        ),
        endpoint=settings.otlp_endpoint,
        headers=settings.trace_headers,
    )
