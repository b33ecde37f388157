"""How spans reach a collector: batches, retries, refusals, and what becomes of those that do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from relay_rig import until
from structlog.testing import capture_logs
from tracing_rig import Collector, Reply

from helios_trio.config.secret import Secret
from helios_trio.features.tracing.exporter import BATCH, ExportTimes, SpanExporter, traces_url
from helios_trio.features.tracing.observer import ServedRequest
from helios_trio.features.tracing.otlp import Encoder, rejected
from helios_trio.features.tracing.outbox import Outbox
from helios_trio.pipeline.backend import Backend
from helios_trio.sql.commenter import TraceParent
from helios_trio.sql.parse import parse

QUICK = ExportTimes(delay=0.01, pause=0.01, patience=5.0)
TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"


def served(**more: object) -> ServedRequest:
    known: dict[str, object] = {
        "session": 7,
        "user": "alice",
        "database": "shop",
        "backend": Backend("node1", "10.0.0.1", 5433),
        "route": "it writes",
        "operation": "INSERT",
        "statements": 1,
        "facts": parse(b"insert into t values ('secret')"),
        "literal": None,
        "ended_at": 2_000_000_000,
        "seconds": 0.5,
        "waited": 0.125,
        "at_backend": 0.25,
        "sqlstate": "",
        "failure": "",
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent": None,
    }
    return ServedRequest(**{**known, **more})  # type: ignore[arg-type]


@asynccontextmanager
async def exporting(
    times: ExportTimes = QUICK, room: int = 10_000, headers: tuple[tuple[str, Secret], ...] = ()
) -> AsyncIterator[tuple[SpanExporter, Collector, trio.CancelScope]]:
    """An exporter and its collector; the scope is the exporter's."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            collector = Collector()
            await nursery.start(collector.run)
            exporter = SpanExporter(
                outbox=Outbox(room),
                encoder=Encoder(service_name="proxy", instance="1"),
                endpoint=collector.endpoint,
                headers=headers,
                times=times,
            )
            async with trio.open_nursery() as running:
                running.start_soon(exporter.run)
                yield exporter, collector, running.cancel_scope
                running.cancel_scope.cancel()
            nursery.cancel_scope.cancel()


async def test_a_span_with_all_it_has() -> None:
    async with exporting(headers=(("Authorization", Secret("Bearer abc")),)) as (exporter, collector, _):
        exporter.outbox.put(served(parent=TraceParent(TRACE, PARENT, sampled=True)))
        await until(lambda: collector.spans)
        (told,) = collector.spans
        assert told.name == "INSERT shop"
        assert told.trace == (TRACE, PARENT)
        assert told.span.span_id.hex() == SPAN
        assert told.span.kind == told.span.SPAN_KIND_CLIENT
        assert (told.span.start_time_unix_nano, told.span.end_time_unix_nano) == (
            1_500_000_000,
            2_000_000_000,
        )
        assert not told.failed
        assert told.attributes == {
            "db.system.name": "postgresql",
            "db.namespace": "shop",
            "db.operation.name": "INSERT",
            "server.address": "10.0.0.1",
            "server.port": 5433,
            "helios.session": 7,
            "helios.route": "node1: it writes",
            "helios.wait_seconds": 0.125,
            "helios.backend_seconds": 0.25,
        }
        assert told.resource["service.name"] == "proxy"
        head = collector.heads[0]
        assert head.startswith("POST /v1/traces HTTP/1.1")
        assert "authorization: bearer abc" in head.lower()
        assert "content-type: application/x-protobuf" in head.lower()
        await until(lambda: exporter.counters.exported == 1)


async def test_text_only_when_asked_for() -> None:
    """And then without its constants."""
    async with exporting() as (exporter, collector, _):
        exporter.encoder = Encoder(service_name="proxy", instance="1", with_text=True)
        exporter.outbox.put(served())
        await until(lambda: collector.spans)
        assert collector.spans[0].attributes["db.query.text"] == "insert into t values ($1)"


@pytest.mark.parametrize(
    ("sqlstate", "failure", "kind"),
    [("22012", "", "22012"), ("", "client lost", "client lost"), ("57P01", "shut down", "57P01")],
)
async def test_failures(sqlstate: str, failure: str, kind: str) -> None:
    async with exporting() as (exporter, collector, _):
        exporter.outbox.put(served(sqlstate=sqlstate, failure=failure, backend=None, at_backend=None))
        await until(lambda: collector.spans)
        found = collector.spans[0]
        assert found.failed
        assert not found.span.status.message
        assert found.attributes["error.type"] == kind
        assert found.attributes.get("db.response.status_code", "") == sqlstate
        assert not {"server.address", "helios.route", "helios.backend_seconds"} & found.attributes.keys()


async def test_names_that_are_no_unicode() -> None:
    async with exporting() as (exporter, collector, _):
        exporter.outbox.put(served(database="sh\udcffop"))
        await until(lambda: collector.spans)
        assert collector.spans[0].attributes["db.namespace"] == "sh?op"


async def test_batches() -> None:
    """Thousands arrive once each, in requests of bounded size."""
    async with exporting() as (exporter, collector, _):
        for number in range(3 * BATCH + 1):
            exporter.outbox.put(served(session=number))
        await until(lambda: len(collector.spans) == 3 * BATCH + 1)
        assert [each.attributes["helios.session"] for each in collector.spans] == list(range(3 * BATCH + 1))
        assert len(collector.heads) == 4


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_retries(status: int) -> None:
    """What the collector cannot take now it gets later, and once."""
    async with exporting() as (exporter, collector, _):
        collector.replies += [Reply(status), Reply(status, headers=(("Retry-After", "0"),))]
        with capture_logs() as logs:
            exporter.outbox.put(served())
            await until(lambda: exporter.counters.exported == 1)
        assert len(collector.heads) == 3
        assert len(collector.spans) == 1
        said = [each["event"] for each in logs if each["log_level"] != "debug"]
        assert said == ["spans not delivered", "spans are delivered again"]


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 500])
async def test_refusals_are_final(status: int) -> None:
    """Any other status; the next batch is tried all the same."""
    async with exporting() as (exporter, collector, _):
        collector.replies.append(Reply(status))
        exporter.outbox.put(served())
        await until(lambda: exporter.counters.refused == 1)
        exporter.outbox.put(served())
        await until(lambda: exporter.counters.exported == 1)
        assert len(collector.heads) == 2


async def test_part_is_refused() -> None:
    async with exporting() as (exporter, collector, _):
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = 2
        answer.partial_success.error_message = "too old"
        collector.replies.append(Reply(body=answer.SerializeToString()))
        with capture_logs() as logs:
            for _ in range(5):
                exporter.outbox.put(served())
            await until(lambda: exporter.counters.exported)
        assert (exporter.counters.exported, exporter.dropped["refused"]) == (3, 2)
        assert [each["reason"] for each in logs if each["event"] == "spans refused"] == ["too old"]


@pytest.mark.parametrize("answer", [b"", b"\xff\xff", b"<html>", b"\x0a\x02\x08\x05"])
def test_answers_that_are_none(answer: bytes) -> None:
    try:
        number, _ = rejected(answer)
    except ValueError:
        return
    assert number in (0, 5)


async def test_nobody_there() -> None:
    """Spans are given up in time, and never more than a bounded number of them are kept."""
    times = ExportTimes(delay=0.01, pause=0.01, patience=0.05)
    async with exporting(times, room=3) as (exporter, _, scope):
        exporter.endpoint = "http://127.0.0.1:1"
        for _ in range(10):
            exporter.outbox.put(served())
        assert exporter.dropped["no room"] == 7
        await until(lambda: exporter.dropped["not delivered"] == 3)
        assert exporter.counters.exported == 0
        scope.cancel()


async def test_what_is_left_at_the_end() -> None:
    """It is sent when the proxy stops, without waiting for the batch to be full."""
    async with exporting(ExportTimes(delay=3600.0)) as (exporter, collector, scope):
        for _ in range(BATCH // 2):
            exporter.outbox.put(served())
        await until(lambda: len(exporter.outbox) == BATCH // 2)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await until(lambda: len(collector.spans) == BATCH // 2)


async def test_collector_that_hangs_does_not_hold_up_the_end() -> None:
    async with exporting(ExportTimes(delay=0.01, farewell=0.05)) as (exporter, collector, scope):
        collector.gate = trio.Event()
        exporter.outbox.put(served())
        await until(lambda: collector.asked)
        scope.cancel()
    assert exporter.dropped["not delivered"] == 1


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp", "https://c/otlp/v1/traces"),
        ("https://c/v1/traces", "https://c/v1/traces"),
    ],
)
def test_where_traces_go(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url
