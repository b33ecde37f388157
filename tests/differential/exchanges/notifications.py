"""Exchanges of LISTEN, NOTIFY and UNLISTEN, to oneself and between sessions (rule 13).

Through a shared listener connection a notification may take another place among the messages; what arrives,
from whom, and in which order within a channel stays PostgreSQL's.
"""

from __future__ import annotations

from ._exchange import NOT_STATEMENT, SESSION_ONLY, ask, exchange, extended, on, query, send, sync, wait_for

SHARED = {"loose_notifications": ("transaction", "statement")}
ARRIVES = wait_for("NotificationResponse")

EXCHANGES = (
    exchange(
        "listen_and_notify_oneself",
        ask(query("listen here")),
        ask(query("notify here, 'hello'")),
        modes=SESSION_ONLY,
        why="the place among the messages is the server's own only on a connection of one's own",
    ),
    exchange(
        "listen_and_hear_oneself",
        ask(query("listen here")),
        send(query("notify here, 'hello'")),
        ARRIVES,
        ask(query("select 1")),
        **SHARED,
    ),
    exchange("notify_without_listener", ask(query("notify nobody")), ask(query("notify nobody, 'x'"))),
    exchange(
        "notify_from_other_session",
        ask(query("listen from_other")),
        on("other", ask(query("notify from_other, 'from other'"))),
        ARRIVES,
        **SHARED,
    ),
    exchange(
        "pg_notify",
        ask(query("listen fn")),
        send(query("select pg_notify('fn', 'payload ☃')")),
        ARRIVES,
        ask(query("select 1")),
        **SHARED,
    ),
    exchange(
        "quoted_channel",
        ask(query('listen "Odd Name"')),
        send(query("notify \"Odd Name\", 'x'")),
        ARRIVES,
        ask(query("select 1")),
        **SHARED,
    ),
    exchange(
        "channel_case_folds",
        ask(query("listen MiXeD")),
        send(query("notify mixed")),
        ARRIVES,
        ask(query("select 1")),
        **SHARED,
    ),
    exchange(
        "unlisten",
        ask(query("listen gone")),
        ask(query("unlisten gone")),
        on("other", ask(query("notify gone"))),
        ask(query("select 1")),
    ),
    exchange(
        "unlisten_all",
        ask(query("listen a1")),
        ask(query("listen a2")),
        ask(query("unlisten *")),
        ask(query("notify a1; notify a2")),
        ask(query("select 1")),
    ),
    exchange(
        "listen_twice_hears_once",
        ask(query("listen twice")),
        ask(query("listen twice")),
        send(query("notify twice, 'once'")),
        ARRIVES,
        ask(query("select 1")),
        **SHARED,
    ),
    exchange(
        "several_notifications_in_order",
        ask(query("listen many")),
        on("other", ask(query("notify many, '1'; notify many, '2'; notify many, '3'"))),
        ARRIVES,
        ARRIVES,
        ARRIVES,
        **SHARED,
    ),
    exchange(
        "equal_notifications_collapse",
        ask(query("listen same")),
        on("other", ask(query("notify same, 'x'; notify same, 'x'; notify same, 'y'"))),
        ARRIVES,
        ARRIVES,
        **SHARED,
    ),
    exchange(
        "notify_rolled_back",
        ask(query("listen never")),
        on("other", ask(query("begin; notify never; rollback"))),
        ask(query("select 1")),
    ),
    exchange(
        "listen_rolled_back",
        ask(query("begin; listen undone; rollback")),
        on("other", ask(query("notify undone"))),
        ask(query("select 1")),
    ),
    exchange(
        "listen_in_block",
        ask(query("begin")),
        ask(query("listen later")),
        ask(query("commit")),
        on("other", ask(query("notify later, 'now'"))),
        ARRIVES,
        modes=NOT_STATEMENT,
        **SHARED,
    ),
    exchange(
        "notification_waits_for_end_of_block",
        ask(query("listen held")),
        ask(query("begin")),
        on("other", ask(query("notify held, 'x'"))),
        ask(query("select 'in block'")),
        ask(query("commit")),
        modes=SESSION_ONLY,
        why="a shared listener is not in the client's transaction and may deliver early",
    ),
    exchange(
        "notify_in_failed_block",
        ask(query("listen failed")),
        ask(query("begin; notify failed; select 1/0")),
        ask(query("rollback")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "listening_channels",
        ask(query("listen one")),
        ask(query("listen two")),
        ask(query("select * from pg_listening_channels() order by 1")),
        modes=SESSION_ONLY,
        why="the shared listener connection holds the channels",
    ),
    exchange(
        "listen_by_extended_protocol",
        ask(*extended("listen ext"), sync()),
        send(*extended("notify ext, 'x'"), sync()),
        ARRIVES,
        ask(query("select 1")),
        **SHARED,
    ),
    exchange("payload_too_long", ask(query(f"notify here, '{'x' * 8000}'"))),
    exchange("channel_name_too_long", ask(query(f"select pg_notify('{'c' * 64}', 'x')"))),
    exchange("channel_name_empty", ask(query("select pg_notify('', 'x')"))),
    exchange(
        "discard_all_stops_listening",
        ask(query("listen before")),
        ask(query("discard all")),
        ask(query("notify before")),
        ask(query("select 1")),
    ),
)
