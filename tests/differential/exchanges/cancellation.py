"""Exchanges with cancel requests (rule 4)."""

from __future__ import annotations

from helios_trio.wire.codes import PROTOCOL_3_2

from ._exchange import (
    NOT_STATEMENT,
    Cancel,
    Open,
    UntilTrue,
    ask,
    copy_data,
    copy_done,
    exchange,
    extended,
    on,
    query,
    ready,
    send,
    sync,
    wait_for,
)


def running(mark: str, waits_for: str = "PgSleep") -> UntilTrue:
    """Wait until the query with this mark runs on the server and waits there for this."""
    return UntilTrue(
        f"select count(*) = 1 from pg_stat_activity where state = 'active' and wait_event = '{waits_for}' "
        f"and query like '%{mark}%' and pid <> pg_backend_pid()"
    )


EXCHANGES = (
    exchange(
        "cancel_running_query",
        send(query("select pg_sleep(60) /* cancel-a */")),
        running("cancel-a"),
        Cancel(),
        ready(),
        ask(query("select 1")),
    ),
    exchange(
        "cancel_extended_query",
        send(*extended("select pg_sleep(60) /* cancel-b */"), sync()),
        running("cancel-b"),
        Cancel(),
        ready(),
        ask(query("select 1")),
    ),
    exchange(
        "cancel_in_block",
        ask(query("begin")),
        send(query("select pg_sleep(60) /* cancel-c */")),
        running("cancel-c"),
        Cancel(),
        ready(),
        ask(query("select 1")),
        ask(query("rollback")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "cancel_second_of_string",
        send(query("select 1; select pg_sleep(60) /* cancel-d */; select 2")),
        running("cancel-d"),
        Cancel(),
        ready(),
        ask(query("select 1")),
    ),
    exchange(
        "cancel_inside_pipeline",
        send(
            *extended("select 1"),
            *extended("select pg_sleep(60) /* cancel-e */"),
            *extended("select 2"),
            sync(),
            *extended("select 3"),
            sync(),
        ),
        running("cancel-e"),
        Cancel(),
        ready(2),
    ),
    exchange(
        "cancel_protocol_3_2",
        Open(version=PROTOCOL_3_2),
        send(query("select pg_sleep(60) /* cancel-f */")),
        running("cancel-f"),
        Cancel(),
        ready(),
        ask(query("select 1")),
    ),
    exchange(
        "cancel_with_wrong_secret",
        send(query("select pg_sleep(0.1) /* cancel-g */")),
        running("cancel-g"),
        Cancel(wrong_secret=True),
        ready(),
        ask(query("select 1")),
    ),
    exchange("cancel_while_idle", ask(query("select 1")), Cancel(), ask(query("select 2"))),
    exchange(
        "cancel_hits_only_its_session",
        send(query("select pg_sleep(60) /* cancel-h */")),
        running("cancel-h"),
        on("other", send(query("select pg_sleep(0.2) /* cancel-i */"))),
        running("cancel-i"),
        Cancel(),
        ready(),
        on("other", ready()),
    ),
    exchange(
        "cancel_idle_leaves_other_running",
        ask(query("select 1")),
        on("other", send(query("select pg_sleep(0.1) /* cancel-j */"))),
        running("cancel-j"),
        Cancel(),
        on("other", ready()),
        ask(query("select 2")),
    ),
    exchange(
        "cancel_during_copy_in",
        send(query("copy scratch from stdin /* cancel-m */")),
        wait_for("CopyInResponse"),
        running("cancel-m", "ClientRead"),
        Cancel(),
        send(copy_data("1\ta\n")),
        wait_for("ErrorResponse"),
        send(copy_done()),
        ready(),
        ask(query("select count(*) from scratch")),
        setup="truncate scratch",
    ),
    exchange(
        "cancel_twice",
        send(query("select pg_sleep(60) /* cancel-k */")),
        running("cancel-k"),
        Cancel(),
        ready(),
        send(query("select pg_sleep(60) /* cancel-l */")),
        running("cancel-l"),
        Cancel(),
        ready(),
    ),
)
