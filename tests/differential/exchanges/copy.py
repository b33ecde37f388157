"""Exchanges of COPY in both directions, with the failures of either side, in both protocols."""

from __future__ import annotations

from ._exchange import (
    NOT_STATEMENT,
    SCRATCH,
    HalfClose,
    ask,
    bind,
    closed,
    copy_data,
    copy_done,
    copy_fail,
    describe_portal,
    exchange,
    execute,
    extended,
    flush,
    parse,
    query,
    ready,
    send,
    send_split,
    sync,
    terminate,
    wait_for,
)

COPY_IN = query("copy scratch from stdin")
COUNT = ask(query("select count(*), min(body), max(body) from scratch"))
START = (send(COPY_IN), wait_for("CopyInResponse"))
START_EXTENDED = (send(*extended("copy scratch from stdin"), flush()), wait_for("CopyInResponse"))
SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8


def copying(name, *steps, **options):
    """An exchange on an empty table that ends with a look at what the table has."""
    return exchange(name, *steps, COUNT, setup=SCRATCH, **options)


EXCHANGES = (
    exchange("copy_out", ask(query("copy items to stdout"))),
    exchange("copy_out_csv_header", ask(query("copy items to stdout (format csv, header)"))),
    exchange(
        "copy_out_binary", ask(query("copy (select 1::int, 'x'::text, null::int) to stdout (format binary)"))
    ),
    exchange("copy_out_nothing", ask(query("copy (select 1 where false) to stdout"))),
    exchange("copy_out_large", ask(query("copy (select n, repeat('z', 1000) from numbers) to stdout"))),
    exchange(
        "copy_out_fails_midway", ask(query("copy (select 10 / (500 - n) from numbers order by n) to stdout"))
    ),
    exchange("copy_out_missing_table", ask(query("copy nowhere to stdout"))),
    exchange("copy_out_extended", ask(*extended("copy items to stdout"), sync())),
    exchange("copy_out_with_row_limit", ask(parse("copy items to stdout"), bind(), execute("", 2), sync())),
    exchange("copy_out_among_statements", ask(query("select 1; copy items to stdout; select 2"))),
    exchange(
        "copy_out_pipelined",
        ask(*extended("select 1"), *extended("copy items to stdout"), *extended("select 2"), sync()),
    ),
    copying("copy_in", *START, ask(copy_data("1\tone\n"), copy_data("2\ttwo\n"), copy_done())),
    copying("copy_in_all_at_once", ask(COPY_IN, copy_data("1\tone\n2\ttwo\n"), copy_done())),
    copying("copy_in_nothing", *START, ask(copy_done())),
    copying(
        "copy_in_empty_data", *START, ask(copy_data(""), copy_data("1\ta\n"), copy_data(""), copy_done())
    ),
    copying("copy_in_row_over_messages", *START, ask(*(copy_data(c) for c in "1\tsplit up\n"), copy_done())),
    copying(
        "copy_in_split_segments", *START, send_split(copy_data("1\tone\n"), copy_done(), size=1), ready()
    ),
    copying("copy_in_end_marker", *START, ask(copy_data("1\tone\n\\.\n"), copy_done())),
    copying(
        "copy_in_csv",
        send(query("copy scratch from stdin (format csv)")),
        wait_for("CopyInResponse"),
        ask(copy_data('1,"a,b"\n2,\n'), copy_done()),
    ),
    copying(
        "copy_in_binary",
        send(query("copy scratch from stdin (format binary)")),
        wait_for("CopyInResponse"),
        ask(
            copy_data(SIGNATURE + b"\x00\x02\x00\x00\x00\x04\x00\x00\x00\x07\x00\x00\x00\x01x\xff\xff"),
            copy_done(),
        ),
    ),
    copying(
        "copy_in_binary_bad_header",
        send(query("copy scratch from stdin (format binary)")),
        wait_for("CopyInResponse"),
        ask(copy_data("not a signature at all"), copy_done()),
    ),
    copying(
        "copy_in_large", *START, ask(*(copy_data(f"{n}\t{'w' * 1000}\n") for n in range(2000)), copy_done())
    ),
    copying("copy_in_one_large_message", *START, ask(copy_data(f"1\t{'w' * 3_000_000}\n"), copy_done())),
    copying("copy_fail", *START, ask(copy_data("1\tone\n"), copy_fail("changed my mind"))),
    copying("copy_fail_at_once", *START, ask(copy_fail(""))),
    copying("copy_bad_row", *START, send(copy_data("1\tone\nx\ttwo\n"), copy_done()), ready()),
    copying(
        "copy_bad_row_then_more_data",
        *START,
        send(copy_data("x\tbad\n"), *[copy_data("1\tone\n")] * 50, copy_done()),
        ready(),
    ),
    copying("copy_bad_row_then_fail", *START, send(copy_data("x\tbad\n"), copy_fail("too late")), ready()),
    copying("copy_bad_row_alone", *START, send(copy_data("x\tbad\n")), ready()),
    copying(
        "copy_bad_row_then_done_later",
        *START,
        send(copy_data("x\tbad\n")),
        ready(),
        send(copy_data("1\tone\n"), copy_done()),
        ask(query("insert into scratch values (1, 'a')")),
    ),
    copying(
        "copy_bad_row_in_the_middle_of_more",
        *START,
        send_split(copy_data("x\tbad\n"), copy_data("1\tone\n"), copy_done(), size=20),
        ready(),
    ),
    copying("copy_twice", *START, ask(copy_data("1\ta\n"), copy_done()), *START, ask(copy_done())),
    copying(
        "copy_and_statements_at_once",
        ask(COPY_IN, copy_data("1\tone\n"), copy_done(), query("select 1"), COPY_IN, copy_done()),
        ready(),
        ready(),
    ),
    exchange(
        "copy_deferred_constraint",
        send(query("copy child from stdin")),
        wait_for("CopyInResponse"),
        ask(copy_data("1\t99\n"), copy_done()),
        ask(query("select count(*) from child")),
    ),
    exchange(
        "copy_with_notices",
        send(query("copy noisy from stdin")),
        wait_for("CopyInResponse"),
        ask(copy_data("1\ta\n2\tb\n"), copy_done()),
    ),
    copying("copy_missing_column", *START, send(copy_data("1\n"), copy_done()), ready()),
    copying("copy_extra_column", *START, send(copy_data("1\ta\tb\n"), copy_done()), ready()),
    copying("copy_invalid_encoding", *START, send(copy_data(b"1\t\xff\xfe\n"), copy_done()), ready()),
    copying(
        "copy_in_on_error_ignore",
        send(query("copy scratch from stdin (on_error ignore)")),
        wait_for("CopyInResponse"),
        ask(copy_data("x\tbad\n1\tgood\n"), copy_done()),
    ),
    copying(
        "copy_in_where",
        send(query("copy scratch from stdin where id > 1")),
        wait_for("CopyInResponse"),
        ask(copy_data("1\tone\n2\ttwo\n"), copy_done()),
    ),
    copying(
        "sync_and_flush_during_copy",
        *START,
        ask(copy_data("1\ta\n"), sync(), flush(), copy_data("2\tb\n"), sync(), copy_done()),
    ),
    exchange(
        "query_during_copy", *START, send(copy_data("1\ta\n"), query("select 1")), closed(), setup=SCRATCH
    ),
    exchange(
        "parse_during_copy", *START, send(copy_data("1\ta\n"), parse("select 1")), closed(), setup=SCRATCH
    ),
    copying(
        "two_copies_in_one_string",
        send(query("copy scratch from stdin; copy scratch from stdin")),
        wait_for("CopyInResponse"),
        send(copy_data("1\tfirst\n"), copy_done()),
        wait_for("CopyInResponse"),
        ask(copy_data("2\tsecond\n"), copy_done()),
    ),
    copying(
        "copy_in_among_statements",
        send(query("select 1; copy scratch from stdin; select count(*) from scratch")),
        wait_for("CopyInResponse"),
        ask(copy_data("1\tone\n"), copy_done()),
    ),
    copying(
        "copy_fail_among_statements",
        send(query("insert into scratch values (9, 'nine'); copy scratch from stdin; select 2")),
        wait_for("CopyInResponse"),
        ask(copy_fail("no")),
    ),
    copying(
        "copy_out_then_in_one_string",
        send(query("copy items to stdout; copy scratch from stdin")),
        wait_for("CopyInResponse"),
        ask(copy_data("1\tone\n"), copy_done()),
    ),
    copying("copy_in_missing_table", ask(query("copy nowhere from stdin"))),
    copying(
        "copy_in_missing_table_data_follows",
        send(query("copy nowhere from stdin"), copy_data("1\ta\n"), copy_done()),
        ready(),
        ask(query("select 1")),
    ),
    copying(
        "copy_in_block",
        ask(query("begin")),
        *START,
        ask(copy_data("1\tone\n"), copy_done()),
        ask(query("commit")),
        modes=NOT_STATEMENT,
    ),
    copying(
        "copy_in_block_fails",
        ask(query("begin")),
        *START,
        ask(copy_fail("no")),
        ask(query("select 1")),
        ask(query("rollback")),
        modes=NOT_STATEMENT,
    ),
    copying("copy_in_extended", *START_EXTENDED, ask(copy_data("1\tone\n"), copy_done(), sync())),
    copying(
        "copy_in_extended_sync_at_once",
        send(parse("copy scratch from stdin"), bind(), describe_portal(), execute(), sync()),
        wait_for("CopyInResponse"),
        ask(copy_data("1\tone\n"), copy_done(), sync()),
    ),
    copying("copy_in_extended_fail", *START_EXTENDED, ask(copy_fail("no"), sync())),
    copying(
        "copy_in_extended_bad_row",
        *START_EXTENDED,
        ask(copy_data("x\tbad\n"), copy_data("1\ta\n"), copy_done(), sync()),
    ),
    copying(
        "copy_in_extended_then_statements",
        *START_EXTENDED,
        ask(copy_data("1\tone\n"), copy_done(), *extended("select 2"), sync()),
    ),
    copying(
        "copy_in_extended_flush_and_sync_inside",
        *START_EXTENDED,
        ask(copy_data("1\tone\n"), flush(), sync(), flush(), copy_data("2\ttwo\n"), copy_done(), sync()),
    ),
    exchange(
        "copy_in_extended_query_inside",
        *START_EXTENDED,
        send(copy_data("1\tone\n"), query("select 1"), sync()),
        closed(),
        setup=SCRATCH,
    ),
    copying(
        "copy_in_pipelined_blind",
        ask(
            *extended("copy scratch from stdin"),
            copy_data("1\tone\n"),
            copy_done(),
            *extended("select 3"),
            sync(),
        ),
    ),
    copying(
        "stray_copy_messages",
        send(copy_data("1\tone\n"), copy_done(), copy_fail("what")),
        ask(query("select 1")),
    ),
    copying(
        "copy_notices",
        send(query("copy noisy from stdin")),
        wait_for("CopyInResponse"),
        ask(copy_data("1\tone\n"), copy_data("2\ttwo\n"), copy_done()),
    ),
    exchange("copy_from_file_missing", ask(query("copy scratch from '/no/such/file'"))),
    exchange(
        "terminate_during_copy", *START, send(copy_data("1\tone\n"), terminate()), closed(), setup=SCRATCH
    ),
    exchange(
        "half_close_during_copy", *START, send(copy_data("1\tone\n")), HalfClose(), closed(), setup=SCRATCH
    ),
)
