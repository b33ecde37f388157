"""The sections about failovers: what they hold, what they refuse, and that a webhook is kept secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from helios_trio.config import (
    CommitOutcomeMethod,
    Config,
    FailoverMode,
    InvalidConfig,
    changes,
    loads,
    masked_toml,
)

FILE = """
[failover]
enabled = true
mode = "manual"
failover_timeout = "30s"
min_interval = "2s"
recovery_grace = "10s"
restart_grace = "3s"
allow_data_loss = true
[failover.triggers]
connection_failure = false
query_timeout_threshold = "off"
error_rate_threshold = "off"
[failover.actions]
promote_replica = false
migrate_sessions = false
fence_command = "/usr/local/bin/fence {name} {host}"
fence_timeout = "20s"
require_fencing = false
alert_webhook = "https://alerts.example.com/T0KEN"
[transaction_replay]
enabled = false
verify_results = false
statement_timeout_ms = 5000
retry_on_error = false
max_retries = 0
wait_for_wal_sync = false
max_wal_lag_bytes = 1024
commit_outcome = "xid"
guard_autocommit = false
[transaction_replay.journal]
max_entries = 100
max_size = "1MB"
[cursor_restore]
max_cursors_per_session = 5
"""


def read(text: str) -> Config:
    return loads(text, {}, source="f", folder=Path("/"))


def test_every_key_is_read() -> None:
    """As the specification names them."""
    config = read(FILE)
    failover, replay = config.failover, config.transaction_replay
    assert (failover.mode, failover.failover_timeout, failover.min_interval) == (
        FailoverMode.MANUAL,
        30.0,
        2.0,
    )
    assert (failover.recovery_grace, failover.restart_grace, failover.allow_data_loss) == (10.0, 3.0, True)
    assert not failover.triggers.connection_failure
    actions = failover.actions
    assert (actions.promote_replica, actions.migrate_sessions, actions.require_fencing) == (False,) * 3
    assert (actions.fence_command, actions.fence_timeout) == ("/usr/local/bin/fence {name} {host}", 20.0)
    assert actions.alert_webhook is not None
    assert actions.alert_webhook.reveal() == "https://alerts.example.com/T0KEN"
    assert (replay.enabled, replay.verify_results, replay.guard_autocommit) == (False,) * 3
    assert (replay.statement_timeout_ms, replay.max_retries, replay.max_wal_lag_bytes) == (5000, 0, 1024)
    assert replay.commit_outcome is CommitOutcomeMethod.XID
    assert (replay.journal.max_entries, replay.journal.max_size) == (100, 1 << 20)
    assert config.cursor_restore.max_cursors_per_session == 5


def test_on_by_default_and_safe() -> None:
    """Failover and replay are on with no file; nothing acknowledged is given up, nobody promoted in doubt."""
    config = Config()
    assert (config.failover.enabled, config.failover.mode) == (True, FailoverMode.AUTOMATIC)
    assert (config.failover.allow_data_loss, config.failover.actions.require_fencing) == (False, True)
    assert (config.transaction_replay.enabled, config.transaction_replay.commit_outcome) == (True, "token")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[failover]\nmode = "auto"', "expected one of automatic, manual, disabled"),
        ('[failover.triggers]\nquery_timeout_threshold = "5s"', "expected one of off"),
        ("[failover.triggers]\nerror_rate_threshold = 0.5", "expected one of off"),
        ('[failover]\nfailover_timeout = "0s"', "expected a duration"),
        ('[transaction_replay]\ncommit_outcome = "guess"', "expected one of token, xid, off"),
        ("[cursor_restore]\nmax_cursors = 5", "did you mean max_cursors_per_session?"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    """With what was expected."""
    with pytest.raises(InvalidConfig) as caught:
        read(text)
    assert words in str(caught.value)


def test_rule_39_the_webhook_is_shown_nowhere() -> None:
    """Its path is a password, as with Slack's."""
    config = read(FILE)
    for text in (masked_toml(config), repr(config)):
        assert "T0KEN" not in text


def test_what_a_reload_changes() -> None:
    """Whether there is a controller at all is decided at the start."""
    found = changes(Config(), read(FILE))
    assert "failover.mode" in found.restart
    assert {"failover.failover_timeout", "failover.actions.fence_command"} <= set(found.live)
