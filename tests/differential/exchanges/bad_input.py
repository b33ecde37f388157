"""Exchanges with bytes that no client should send (rule 5), and connections that end at odd moments."""

from __future__ import annotations

from ._exchange import (
    NOT_STATEMENT,
    SCRATCH,
    Close,
    HalfClose,
    UntilTrue,
    ask,
    bind,
    closed,
    exchange,
    execute,
    extended,
    frame,
    on,
    parse,
    query,
    raw,
    send,
    sync,
    terminate,
    wait_for,
)

EMPTY = UntilTrue("select count(*) = 0 from scratch")

#: Where sessions end with their server processes; in all other modes they outlive them (docs/failover.md).
MORTAL = ("pristine",)

EXCHANGES = (
    exchange("unknown_message_type", send(frame("!", b"what")), closed()),
    exchange("unknown_type_after_query", ask(query("select 1")), send(frame("y")), closed()),
    exchange("unknown_type_with_zero_byte", send(frame("\x00", b"")), closed()),
    exchange("unknown_type_in_pipeline", send(*extended("select 1"), frame("Y"), sync()), closed()),
    exchange("backend_message_type", send(frame("Z", b"I")), closed()),
    exchange("negative_length", send(frame("Q", b"select 1\x00", length=-1)), closed(), may_explain=True),
    exchange("length_zero", send(frame("Q", b"", length=0)), closed(), may_explain=True),
    exchange("length_three", send(frame("Q", b"", length=3)), closed(), may_explain=True),
    exchange("length_huge_query", send(frame("Q", b"select", length=0x7FFFFFFF)), closed(), may_explain=True),
    exchange("length_huge_sync", send(frame("S", b"", length=20_000)), closed(), may_explain=True),
    exchange("sync_with_body", ask(frame("S", b"more")), ask(query("select 1"))),
    exchange("flush_with_body", send(frame("H", b"more")), ask(sync())),
    exchange("terminate_with_body", send(frame("X", b"bye")), closed()),
    exchange("query_without_terminator", ask(frame("Q", b"select 1")), ask(query("select 2"))),
    exchange(
        "query_with_bytes_after_terminator",
        ask(frame("Q", b"select 1\x00select 2\x00")),
        ask(query("select 3")),
    ),
    exchange("query_empty_body", ask(frame("Q", b"")), ask(query("select 3"))),
    exchange("parse_truncated", ask(frame("P", b"name"), sync()), ask(query("select 1"))),
    exchange("parse_missing_types", ask(frame("P", b"\x00select 1\x00"), sync()), ask(query("select 1"))),
    exchange(
        "parse_claims_more_types",
        ask(frame("P", b"\x00select 1\x00\x00\x05\x00\x00"), sync()),
        ask(query("select 1")),
    ),
    exchange(
        "parse_trailing_bytes",
        ask(frame("P", b"\x00select 1\x00\x00\x00junk"), sync()),
        ask(query("select 1")),
    ),
    exchange(
        "bind_truncated", ask(parse("select 1"), frame("B", b"\x00\x00\x00"), sync()), ask(query("select 1"))
    ),
    exchange(
        "bind_negative_value_length",
        ask(
            parse("select $1::text"),
            frame("B", b"\x00\x00\x00\x00\x00\x01\xff\xff\xff\xf0\x00\x00"),
            execute(),
            sync(),
        ),
        ask(query("select 1")),
    ),
    exchange(
        "bind_value_longer_than_message",
        ask(
            parse("select $1::text"),
            frame("B", b"\x00\x00\x00\x00\x00\x01\x00\x00\x10\x00ab\x00\x00"),
            execute(),
            sync(),
        ),
        ask(query("select 1")),
    ),
    exchange("describe_bad_kind", ask(frame("D", b"X\x00"), sync()), ask(query("select 1"))),
    exchange("close_bad_kind", ask(frame("C", b"X\x00"), sync()), ask(query("select 1"))),
    exchange("describe_empty", ask(frame("D", b""), sync()), ask(query("select 1"))),
    exchange(
        "execute_truncated",
        ask(parse("select 1"), bind(), frame("E", b"\x00\x00"), sync()),
        ask(query("select 1")),
    ),
    exchange(
        "execute_negative_limit", ask(parse("select n from numbers limit 3"), bind(), execute("", -1), sync())
    ),
    exchange("function_call_truncated", ask(frame("F", b"\x00\x00")), ask(query("select 1"))),
    exchange(
        "malformed_inside_block",
        ask(query("begin")),
        ask(frame("P", b"x"), sync()),
        ask(query("select 1")),
        ask(query("rollback")),
        modes=NOT_STATEMENT,
    ),
    exchange("terminate_at_once", send(terminate()), closed()),
    exchange(
        "terminate_in_block_rolls_back",
        ask(query("begin; insert into scratch values (1, 'a')")),
        send(terminate()),
        closed(),
        on("other", EMPTY, ask(query("lock table scratch; select count(*) from scratch"))),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange(
        "vanish_in_block_rolls_back",
        ask(query("begin; insert into scratch values (1, 'a')")),
        Close(),
        on("other", ask(query("begin; lock table scratch; select count(*) from scratch; rollback"))),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange(
        "vanish_with_half_a_frame",
        ask(query("select 1")),
        send(raw(b"Q\x00\x00\x01\x00selec")),
        Close(),
        on("other", ask(query("select 2"))),
    ),
    exchange("half_close_after_query", send(query("select 1")), HalfClose(), closed()),
    exchange(
        "half_close_after_pipeline",
        send(*extended("select 1"), sync(), query("select 2")),
        HalfClose(),
        closed(),
    ),
    exchange(
        "half_close_with_half_a_frame", send(query("select 1"), raw(b"Q\x00\x00")), HalfClose(), closed()
    ),
    exchange(
        "half_close_in_unsynced_pipeline",
        send(*extended("insert into scratch values (1, 'a')")),
        HalfClose(),
        closed(),
        on("other", EMPTY),
        setup=SCRATCH,
    ),
    exchange("terminate_after_pipelined_query", send(query("select 1"), terminate()), closed()),
    exchange(
        "terminate_inside_unsynced_pipeline",
        send(*extended("insert into scratch values (1, 'a')"), terminate()),
        closed(),
        on("other", EMPTY),
        setup=SCRATCH,
    ),
    exchange(
        "terminated_by_administrator",
        ask(query("set application_name = 'to_be_terminated'")),
        ask(query("begin; select 1")),
        on(
            "other",
            ask(
                query(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                    "where application_name = 'to_be_terminated'"
                )
            ),
        ),
        wait_for("ErrorResponse"),
        closed(),
        modes=MORTAL,
        why="in all other modes sessions outlive their server processes (docs/failover.md)",
    ),
    exchange("terminates_itself", send(query("select pg_terminate_backend(pg_backend_pid())")), closed()),
)
