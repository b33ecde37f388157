"""The metrics: figures, names, docs, and that nothing secret or broken gets into them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from admin_parts import FakeSlot, add_pool, add_slots, make_parts, note_answers
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from helios_trio import __version__
from helios_trio.admin.metric_table import METRICS
from helios_trio.admin.metrics import SLICE, expose
from helios_trio.admin.metrics_page import metrics_markdown
from helios_trio.admin.parts import Parts
from helios_trio.config.words import PoolMode
from helios_trio.pool.planner import SlotStatus, Ticket
from helios_trio.proxy.session import Ending

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
POOL = {"backend": "node1", "database": "shop", "user": "alice", "mode": "transaction"}


def figures(parts: Parts) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a scraper reads, by name and labels."""
    page = trio.run(expose, parts, "")[0].decode()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples), "a sample is given twice"
    return found


def figure(parts: Parts, name: str, labels: Mapping[str, str] | None = None, **more: str) -> float | None:
    """One figure, None when it is absent."""
    return figures(parts).get((name, frozenset({**(labels or {}), **more}.items())))


def test_page_of_docs_is_current() -> None:
    """docs/metrics.md is what `metrics_markdown()` returns; write it anew when this fails."""
    assert DOCS.read_text(encoding="utf-8") == metrics_markdown()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Any) -> None:
    """Counters, and they alone, end in _total; base units only; ours begin with helios_."""
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.startswith(("helios_", "process_"))
    if metric.name != "helios_backend_latency_p95_milliseconds":  # a name that dashboards know
        assert not any(unit in metric.name for unit in ("_ms", "_millis", "_kb", "_mb", "_minutes"))
    assert metric.help.endswith(".")


def test_names_are_unique() -> None:
    """No family stands in the table twice."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_fresh_proxy_has_all_its_figures() -> None:
    """Before anything happened the unlabelled figures are there, and they are 0."""
    parts = make_parts()
    found = figures(parts)
    for metric in METRICS:
        if not metric.labels:
            assert (metric.name, frozenset()) in found
    assert figure(parts, "helios_logins_total") == 0
    assert figure(parts, "helios_ready") == 0
    assert figure(parts, "helios_clients_max") == 500
    assert (figure(parts, "process_resident_memory_bytes") or 0) > 1_000_000
    assert (figure(parts, "process_open_fds") or 0) > 2
    assert (figure(parts, "process_cpu_seconds_total") or 0) > 0
    assert any(name == "helios_build_info" and ("version", __version__) in labels for name, labels in found)


def test_proxy_counters() -> None:
    """Logins, failures, refusals, endings and cancel requests."""
    parts = make_parts()
    counters = parts.proxy.counters
    counters.accepted, counters.logins, counters.login_failures, counters.refused = 9, 5, 3, 1
    counters.endings[Ending.CLIENT_LOST] = 4
    parts.cancels.requests, parts.cancels.unknown = 6, 2
    assert figure(parts, "helios_client_connections_accepted_total") == 9
    assert figure(parts, "helios_logins_total") == 5
    assert figure(parts, "helios_login_failures_total") == 3
    assert figure(parts, "helios_client_connections_refused_total") == 1
    assert figure(parts, "helios_sessions_ended_total", reason="client lost") == 4
    assert figure(parts, "helios_sessions_ended_total", reason="crashed") == 0
    assert figure(parts, "helios_cancel_requests_total") == 6
    assert figure(parts, "helios_cancel_requests_unknown_total") == 2


def test_pool_figures() -> None:
    """Counters and the connections of a pool, by status."""
    parts = make_parts()
    pool = add_pool(parts.pools, "alice")
    counters = pool.counters
    counters.queries, counters.transactions, counters.opened, counters.resets = 100, 40, 7, 2
    counters.waits, counters.wait_seconds, counters.timeouts, counters.connect_failures = 5, 1.25, 1, 3
    counters.bytes_to_server, counters.bytes_to_client = 1000, 2000
    add_slots(
        pool,
        FakeSlot(SlotStatus.ACTIVE, bytes_in=20, bytes_out=10),
        FakeSlot(SlotStatus.ACTIVE),
        FakeSlot(SlotStatus.IDLE, bytes_in=2, bytes_out=1),
        FakeSlot(SlotStatus.NEW),
    )
    pool.planner.connecting[frozenset()] = 2
    expected = {
        "queries_total": 100,
        "transactions_total": 40,
        "server_connections_opened_total": 7,
        "resets_total": 2,
        "waits_total": 5,
        "wait_seconds_total": 1.25,
        "wait_timeouts_total": 1,
        "connect_failures_total": 3,
        "sent_bytes_total": 1011,
        "received_bytes_total": 2022,
        "server_connections_max": 100,
    }
    assert {name: figure(parts, f"helios_pool_{name}", POOL) for name in expected} == expected
    by_status = {"connecting": 3, "idle": 1, "active": 2, "busy": 0}
    name = "helios_pool_server_connections"
    assert {status: figure(parts, name, POOL, status=status) for status in by_status} == by_status
    assert figure(parts, "helios_node_server_connections", node="node1") == 6


def test_closing_reasons_are_few() -> None:
    """What the system said of a lost connection is for the log: it would make ever new series."""
    parts = make_parts()
    pool = add_pool(parts.pools, "alice")
    pool.counters.reasons_closed = {"lost: reset by peer": 2, "lost: timed out": 3, "idle or old": 4}
    name = "helios_pool_server_connections_closed_total"
    assert figure(parts, name, POOL, reason="lost") == 5
    assert figure(parts, name, POOL, reason="idle or old") == 4


def test_clients_are_counted_without_walking_over_them() -> None:
    """States are told apart from what pools know; the sessions themselves are never looked at."""
    parts = make_parts()
    pool = add_pool(parts.pools, "alice")
    add_slots(pool, *(FakeSlot(SlotStatus.ACTIVE) for _ in range(3)))
    for _ in range(2):
        pool.planner.waiting.append(Ticket(cast(Any, None), 1.0, print, print))
    parts.proxy.sessions.update({number: cast(Any, None) for number in range(10_000)})
    parts.proxy.unauthenticated = 4
    states = {"active": 3, "waiting": 2, "idle": 9995, "login": 4}
    assert {state: figure(parts, "helios_clients", state=state) for state in states} == states
    assert figure(parts, "helios_pool_clients_waiting", POOL) == 2


def test_one_pool_in_both_modes_is_two_series() -> None:
    """Same server, database and user, shared and not."""
    parts = make_parts()
    add_pool(parts.pools, "alice", PoolMode.TRANSACTION).counters.queries = 1
    add_pool(parts.pools, "alice", PoolMode.SESSION).counters.queries = 2
    assert figure(parts, "helios_pool_queries_total", POOL) == 1
    assert figure(parts, "helios_pool_queries_total", {**POOL, "mode": "session"}) == 2


def test_node_figures() -> None:
    """Role, health, lag and timeline; what is unknown is absent, not 0."""
    parts = make_parts()
    assert figure(parts, "helios_node_up", node="node1") is None
    assert figure(parts, "helios_node_lag_bytes", node="node2") is None
    note_answers(parts.topology)
    parts.topology.note_failure("node2", "refused", 1.0)
    assert figure(parts, "helios_ready") == 1
    assert (figure(parts, "helios_node_up", node="node1"), figure(parts, "helios_node_up", node="node2")) == (
        1,
        0,
    )
    assert figure(parts, "helios_node_role", node="node1", role="primary") == 1
    assert figure(parts, "helios_node_role", node="node1", role="standby") == 0
    assert figure(parts, "helios_node_role", node="node2", role="standby") == 1
    assert figure(parts, "helios_node_writer", node="node1") == 1
    assert figure(parts, "helios_node_lag_seconds", node="node2") == 1.5
    assert figure(parts, "helios_node_lag_bytes", node="node2") == 600
    assert figure(parts, "helios_node_lag_bytes", node="node1") is None
    assert figure(parts, "helios_node_timeline", node="node1") == 3


def test_facts_figures() -> None:
    """Only what was not kept is parsed."""
    parts = make_parts()
    for _ in range(5):
        parts.facts.facts(b"select a from t")
    assert figure(parts, "helios_facts_parsed_total") == 1
    assert (figure(parts, "helios_facts_cache_entries") or 0) >= 1
    assert (figure(parts, "helios_facts_cache_bytes") or 0) > 0


@pytest.mark.parametrize("user", ['quote"d', "new\nline", "back\\slash", "n\u00e9e", "not utf-8 \udcff"])
def test_odd_names_do_not_break_the_page(user: str) -> None:
    """Names come from clients; one client's name must not take the metrics from everybody (rule 40)."""
    parts = make_parts()
    add_pool(parts.pools, user).counters.queries = 1
    shown = user.encode("utf-8", "backslashreplace").decode()
    assert figure(parts, "helios_pool_queries_total", {**POOL, "user": shown}) == 1


async def test_openmetrics_on_request() -> None:
    """A scraper that asks for OpenMetrics gets it, complete to its end mark."""
    parts = make_parts()
    page, content_type = await expose(parts, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text")
    families = list(openmetrics_families(page.decode()))
    assert len(families) == len(METRICS)
    assert page.endswith(b"\n# EOF\n")
    assert (await expose(parts, "*/*"))[1].startswith("text/plain")


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
async def test_others_get_turns_while_many_figures_are_written(accept: str) -> None:
    """However many pools there are, a scrape lets clients be served, and the page is whole."""
    parts = make_parts()
    pools = 5 * SLICE
    for number in range(pools):
        add_pool(parts.pools, f"#user{number}")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        page, _ = await expose(parts, accept)
        nursery.cancel_scope.cancel()
    assert turns >= page.count(b"helios_pool_") // SLICE
    parse = openmetrics_families if accept else text_string_to_metric_families
    by_name = {family.name: family for family in parse(page.decode())}
    assert len(by_name) == len(METRICS)
    assert len(by_name["helios_pool_queries"].samples) == pools
