"""`[failover]`, `[transaction_replay]`, `[cursor_restore]`: what is done when a primary dies, and for its sessions."""

from __future__ import annotations

from attrs import frozen

from helios_trio.config.keys import key, table
from helios_trio.config.kinds import Bytes, Count, Name, Password, PositiveCount, Seconds, Switch
from helios_trio.config.words import (
    CommitOutcomeMethod,
    CommitOutcomeWord,
    FailoverMode,
    FailoverModeWord,
    Trigger,
    TriggerWord,
)


@frozen(kw_only=True)
class FailoverTriggers:
    """What makes a primary be looked at, and its standby take over if it is found to be dead."""

    connection_failure: Switch = key(
        True,
        "connections to it are lost or refused, or it does not answer; false: a failover begins by an operator's "
        "order only",
    )
    query_timeout_threshold: TriggerWord = key(
        Trigger.OFF, "slow queries make no failover; this version knows no other"
    )
    error_rate_threshold: TriggerWord = key(
        Trigger.OFF, "errors make no failover; this version knows no other"
    )


@frozen(kw_only=True)
class FailoverActions:
    """What a failover does."""

    promote_replica: Switch = key(
        True,
        "promote a standby; false: somebody else does (Patroni, pg_auto_failover, repmgr), and the proxy follows",
    )
    migrate_sessions: Switch = key(
        True, "sessions go on on the new primary; false: those that had a connection to the old one get 57P01"
    )
    fence_command: Name | None = key(
        None,
        "a program that makes sure that the old primary takes no write until somebody starts it again, and then exits "
        "with 0; run without a shell, {name}, {host} and {port} are replaced",
        example="/usr/local/bin/fence {name} {host}",
    )
    fence_timeout: Seconds = key(10.0, "how long fence_command may take before it counts as failed")
    require_fencing: Switch = key(
        True,
        "promote only when it is certain that the old primary takes no write: fenced by fence_command or the embedded "
        "cluster, its port refuses connections, it is a standby by now, or its commits wait for standbys that have "
        "left it; false: also when it merely does not answer, which risks two primaries",
    )
    alert_webhook: Password | None = key(
        None,
        "URL that gets a JSON document by POST when a failover begins, ends, or needs a human; kept secret",
        example="https://alerts.example.com/webhook",
    )


@frozen(kw_only=True)
class FailoverSettings:
    """What is done when a primary dies."""

    enabled: Switch = key(
        True, "false: the sessions of a primary that dies get errors, as mode disabled", live=False
    )
    mode: FailoverModeWord = key(
        FailoverMode.AUTOMATIC,
        "automatic; manual: sessions wait, and an operator orders it (POST /api/v1/failover/start); disabled",
        live=False,
    )
    failover_timeout: Seconds = key(
        60.0, "how long sessions wait for a primary before they get 57P03, and a failover may take"
    )
    min_interval: Seconds = key(
        1.0,
        "from the end of a failover to the beginning of the next; up to 60s after three of which each began within "
        "four times this of the one before",
    )
    recovery_grace: Seconds = key(
        5.0,
        "a primary that says that it is starting up, recovering or shutting down is waited for so long: after the "
        "crash of one of its processes it comes back by itself",
    )
    restart_grace: Seconds = key(
        1.0, "the same for one that refuses connections after having said so, as in a restart"
    )
    allow_data_loss: Switch = key(
        False, "promote a standby also when it lacks a transaction that a client was told is committed"
    )
    triggers: FailoverTriggers = table(FailoverTriggers)
    actions: FailoverActions = table(FailoverActions)


@frozen(kw_only=True)
class Journal:
    """What is kept of a transaction for its replay, per session; a larger one is not replayed."""

    max_entries: PositiveCount = key(10000, "statements")
    max_size: Bytes = key(64 * 1024 * 1024, "bytes of statements and parameters")


@frozen(kw_only=True)
class TransactionReplay:
    """What becomes of transactions that were open when their server died."""

    enabled: Switch = key(True, "false: they get an error", live=False)
    verify_results: Switch = key(
        True,
        "compare what each statement returns with what the client has seen; false: a replay whose results differ goes "
        "unnoticed",
    )
    statement_timeout_ms: PositiveCount = key(30000, "milliseconds that a statement may take in a replay")
    retry_on_error: Switch = key(
        True, "begin a replay anew after a deadlock or a lock timeout (40P01, 55P03)"
    )
    max_retries: Count = key(3, "how often")
    wait_for_wal_sync: Switch = key(
        True,
        "replay on a promoted standby only when it has replayed all that it received: so does PostgreSQL promote, and "
        "false changes nothing",
    )
    max_wal_lag_bytes: Count = key(
        0, "bytes of WAL that may be left to replay then; more than 0 changes nothing"
    )
    commit_outcome: CommitOutcomeWord = key(
        CommitOutcomeMethod.TOKEN,
        "how it is found out whether a COMMIT without an answer has happened: token (a row of its own, needs helios "
        "setup), xid (the transaction's own id: for COMMIT by a simple query only), or off: its client gets 08007",
        live=False,
    )
    guard_autocommit: Switch = key(
        True, "single writes outside of transactions are guarded by tokens, too", live=False
    )
    journal: Journal = table(Journal)


@frozen(kw_only=True)
class CursorRestore:
    """Cursors that were open when their server died."""

    max_cursors_per_session: Count = key(100, "a session with more than that does not get them back")
