"""The sections about moving sessions, health checks and the admin listener: what they hold, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from helios_trio.config import (
    Config,
    InvalidConfig,
    Leftovers,
    MigrationMode,
    StateKind,
    WhenOverdue,
    WhenUnhealthy,
    WithoutKey,
    changes,
    keep_running,
    loads,
    masked_toml,
)
from helios_trio.config.conditions import Condition

FILE = """
[health_checks]
enabled = true
interval = "500ms"
timeout = "250ms"
check_query = "SELECT 2"
failure_threshold = 5
required_checks = ["connection_success", "replication_lag_ms<100", "query_test_success", "test_query_latency_ms <= 50"]
[session_migration]
enabled = true
migration_mode = "manual"
gradual_phases = [{ traffic_percent = 10, duration = "5m" }, { traffic_percent = 100, duration = "0s" }]
preserve_state = ["temporary_tables", "channels", "cursors"]
wait_for_transaction_boundary = false
max_migration_time_per_session = "10s"
on_timeout = "abort_transaction"
buffer_queries_during_migration = true
max_concurrent_migrations = 16
max_sessions = 500
max_state_size = "1MB"
migrate_temp_tables = false
temp_table_snapshots = "off"
leftovers = "leave"
on_unhealthy = "rollback"
max_p99_factor = 1.5
max_error_rate_increase = 0.02
min_compared_queries = 50
[switchover_buffer]
max_requests = 5000
max_bytes = "32MB"
window = "10s"
drain_concurrency = 8
[admin]
health_without_key = "nowhere"
"""


def read(text: str, folder: Path = Path("/")) -> Config:
    return loads(text, {}, source="f", folder=folder)


def lines(text: str, folder: Path = Path("/")) -> list[str]:
    try:
        read(text, folder)
    except InvalidConfig as error:
        return list(error.lines)
    return []


def test_every_key_is_read() -> None:
    """Into the types that the rest of the proxy works with."""
    config = read(FILE)
    health, moves, buffer = config.health_checks, config.session_migration, config.switchover_buffer
    assert (health.interval, health.timeout, health.failure_threshold, health.check_query) == (
        0.5,
        0.25,
        5,
        "SELECT 2",
    )
    assert health.required_checks == (
        Condition("connection_success"),
        Condition("replication_lag_ms", "<", 100.0),
        Condition("query_test_success"),
        Condition("test_query_latency_ms", "<=", 50.0),
    )
    assert (moves.migration_mode, moves.on_timeout) == (MigrationMode.MANUAL, WhenOverdue.ABORT_TRANSACTION)
    assert [(each.traffic_percent, each.duration) for each in moves.phases] == [(10.0, 300.0), (100.0, 0.0)]
    assert (moves.leftovers, moves.on_unhealthy) == (Leftovers.LEAVE, WhenUnhealthy.ROLLBACK)
    assert (moves.max_state_size, moves.max_migration_time_per_session) == (1024**2, 10.0)
    assert (buffer.max_requests, buffer.max_bytes, buffer.window, buffer.drain_concurrency) == (
        5000,
        2**25,
        10.0,
        8,
    )
    assert config.admin.health_without_key is WithoutKey.NOWHERE


def test_what_was_read_is_printed_and_read_again() -> None:
    """Conditions, sets, phases."""
    assert read(masked_toml(read(FILE))) == read(FILE)


def test_temporary_tables_are_carried_only_if_both_keys_say_so() -> None:
    """migrate_temp_tables and preserve_state."""
    assert read(FILE).session_migration.preserved == {StateKind.CHANNELS, StateKind.CURSORS}
    assert read("").session_migration.preserved == set(StateKind)


def test_without_phases_there_are_the_usual_ones() -> None:
    """10, 50, 100."""
    assert [each.traffic_percent for each in read("").session_migration.phases] == [10.0, 50.0, 100.0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[session_migration]\ngradual_phases = [{ traffic_percent = 50 }, { traffic_percent = 10 }]",
            "session_migration.gradual_phases: 50, 10: expected percentages that rise from phase to phase",
        ),
        (
            "[session_migration]\ngradual_phases = [{ traffic_percent = 50 }]",
            "session_migration.gradual_phases: 50: expected 100 in the last phase",
        ),
        (
            "[session_migration]\ngradual_phases = [{ traffic_percent = 0 }]",
            "session_migration.gradual_phases.0.traffic_percent: 0: "
            "expected a percentage, more than 0 and at most 100",
        ),
        (
            '[session_migration]\ngradual_phases = [{ traffic_percent = 100, duration = "off" }]',
            'session_migration.gradual_phases.0.duration: "off": '
            'expected a duration such as "500ms", "30s", "5m" or "1h"',
        ),
        (
            '[session_migration]\nmigration_mode = "fast"',
            'session_migration.migration_mode: "fast": expected one of gradual, immediate, manual',
        ),
        (
            '[session_migration]\npreserve_state = ["temporary_tables", "dreams"]',
            'session_migration.preserve_state: ["temporary_tables", "dreams"]: expected a list of some of '
            "temporary_tables, prepared_statements, session_variables, advisory_locks, transaction_isolation, "
            "cursors, channels",
        ),
        (
            '[session_migration]\ntemp_table_snapshots = "at_commit"',
            'session_migration.temp_table_snapshots: "at_commit": expected one of off',
        ),
        (
            "[session_migration]\nmax_concurrent_migrations = 0",
            "session_migration.max_concurrent_migrations: 0: expected a whole number, at least 1",
        ),
        (
            '[session_migration]\nmax_state_size = "64 megabytes"',
            'session_migration.max_state_size: "64 megabytes": expected a size such as "16kB", "64MB" or "1GB"',
        ),
        (
            "[session_migration]\nmax_session = 5",
            "session_migration.max_session: unknown key in this version; did you mean max_sessions?",
        ),
        (
            '[health_checks]\nrequired_checks = ["replication_lag < 5"]',
            'health_checks.required_checks: ["replication_lag < 5"]: expected a list of conditions: '
            "connection_success, query_test_success, or one of replication_lag_ms, replication_lag_bytes, "
            "test_query_latency_ms, connect_latency_ms compared with a number, as in "
            '"replication_lag_ms < 100"',
        ),
        (
            "[health_checks]\nfailure_threshold = 0",
            "health_checks.failure_threshold: 0: expected a whole number, at least 1",
        ),
        (
            '[switchover_buffer]\nwindow = "0s"',
            'switchover_buffer.window: "0s": expected a duration such as "500ms", "30s", "5m" or "1h"',
        ),
        (
            '[admin]\nhealth_without_key = "sometimes"',
            'admin.health_without_key: "sometimes": expected one of loopback, anywhere, nowhere',
        ),
        (
            '[admin]\napi_keys_file = "none"',
            'admin.api_keys_file: "/none": expected the path of a readable file (there is none)',
        ),
        (
            '[proxy]\nadmin_listen_address = "0.0.0.0:9090"',
            'proxy.admin_listen_address: "0.0.0.0:9090": '
            "expected an address of this machine only, as there is no admin.api_keys_file",
        ),
    ],
)
def test_errors_name_the_place(text: str, line: str) -> None:
    """What is there, and what was expected."""
    assert lines(text) == [f"f: {line}"]


def test_with_keys_other_machines_may_connect(tmp_path: Path) -> None:
    """The operator has decided who."""
    (tmp_path / "keys").write_text("")
    text = '[proxy]\nadmin_listen_address = "0.0.0.0:9090"\n[admin]\napi_keys_file = "keys"'
    assert lines(text, tmp_path) == []
    assert read(text, tmp_path).admin.api_keys_file == tmp_path / "keys"


def test_what_a_reload_takes_up() -> None:
    """All about moving; not how often servers are probed, nor whether sessions move at all."""
    found = changes(Config(), read(FILE.replace("enabled = true", "enabled = false")))
    assert set(found.restart) == {
        "health_checks.enabled",
        "health_checks.timeout",
        "session_migration.enabled",
    }
    assert "session_migration.max_concurrent_migrations" in found.live
    kept = keep_running(Config(), read(FILE.replace("enabled = true", "enabled = false")))
    assert kept.session_migration.enabled
    assert kept.session_migration.max_concurrent_migrations == 16
