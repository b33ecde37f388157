"""Exchanges with many requests under way: deep pipelines, errors inside them, Sync and Flush anywhere."""

from __future__ import annotations

from ._exchange import (
    NOT_STATEMENT,
    SCRATCH,
    ask,
    bind,
    close_statement,
    describe_portal,
    describe_statement,
    exchange,
    execute,
    extended,
    flush,
    insert,
    parse,
    query,
    ready,
    send,
    send_split,
    sync,
    wait_for,
)

EXCHANGES = (
    exchange("two_statements_one_sync", ask(*extended("select 1"), *extended("select 2"), sync())),
    exchange(
        "fifty_statements_one_sync", ask(*(m for n in range(50) for m in extended(f"select {n}")), sync())
    ),
    exchange(
        "fifty_statements_fifty_syncs",
        ask(*(m for n in range(50) for m in (*extended(f"select {n}"), sync())), ready=50),
    ),
    exchange(
        "thousand_executes",
        ask(
            parse("select $1::int", name="k"),
            *(m for n in range(1000) for m in (bind(str(n), statement="k"), execute())),
            sync(),
        ),
    ),
    exchange(
        "error_skips_to_sync",
        ask(*extended("select 1"), *extended("select 1/0"), *extended("select 3"), sync()),
        ask(query("select 4")),
    ),
    exchange(
        "error_in_first_batch_of_three",
        ask(
            *extended("select 1/0"),
            *extended("select 2"),
            sync(),
            *extended("select 3"),
            sync(),
            *extended("select 4"),
            sync(),
            ready=3,
        ),
    ),
    exchange(
        "errors_in_every_batch",
        ask(
            *extended("selec"),
            sync(),
            *extended("select * from nowhere"),
            sync(),
            *extended("select 1/0"),
            sync(),
            ready=3,
        ),
    ),
    exchange(
        "parse_error_skips_bind_describe_execute_close",
        ask(
            parse("selec", name="x"),
            bind(statement="x"),
            describe_portal(),
            execute(),
            close_statement("x"),
            flush(),
            sync(),
        ),
    ),
    exchange(
        "flush_after_error",
        send(*extended("select 1/0"), flush()),
        wait_for("ErrorResponse"),
        send(*extended("select 2"), flush()),
        ask(sync()),
    ),
    exchange(
        "implicit_transaction_rolls_back_all",
        ask(*insert(1), *insert(2), *extended("select 1/0"), sync()),
        ask(query("select count(*) from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "implicit_transaction_commits_at_sync",
        ask(*insert(1), *insert(2), sync()),
        ask(query("select count(*) from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "named_parse_survives_failed_pipeline",
        ask(parse("select 'alive'", name="alive"), *extended("select 1/0"), sync()),
        ask(bind(statement="alive"), execute(), sync()),
    ),
    exchange(
        "named_close_survives_failed_pipeline",
        ask(parse("select 1", name="closed"), sync()),
        ask(close_statement("closed"), *extended("select 1/0"), sync()),
        ask(bind(statement="closed"), execute(), sync()),
    ),
    exchange(
        "skipped_parse_makes_no_statement",
        ask(*extended("select 1/0"), parse("select 1", name="skipped"), sync()),
        ask(bind(statement="skipped"), execute(), sync()),
    ),
    exchange(
        "skipped_close_closes_nothing",
        ask(parse("select 'still'", name="still"), sync()),
        ask(*extended("select 1/0"), close_statement("still"), sync()),
        ask(bind(statement="still"), execute(), sync()),
    ),
    exchange(
        "set_in_failed_pipeline_reverts",
        ask(*extended("set work_mem = '9MB'"), *extended("select 1/0"), sync()),
        ask(query("show work_mem")),
    ),
    exchange(
        "set_in_pipeline_is_seen_after",
        ask(*extended("set work_mem = '9MB'"), *extended("show work_mem"), sync()),
        ask(query("show work_mem")),
    ),
    exchange(
        "reported_setting_in_pipeline",
        ask(*extended("set datestyle = 'German'"), *extended("select '2024-02-29'::date"), sync()),
        ask(query("select '2024-02-29'::date")),
    ),
    exchange(
        "begin_commit_inside_pipeline",
        ask(
            *extended("begin"),
            *insert(1),
            *extended("commit"),
            *extended("select count(*) from scratch"),
            sync(),
        ),
        setup=SCRATCH,
    ),
    exchange(
        "begin_left_open_by_pipeline",
        ask(*extended("begin"), *insert(1), sync()),
        ask(*extended("rollback"), sync()),
        ask(query("select count(*) from scratch")),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange(
        "error_in_pipelined_explicit_transaction",
        ask(
            *extended("begin"),
            sync(),
            *extended("select 1/0"),
            sync(),
            *extended("select 1"),
            sync(),
            *extended("rollback"),
            sync(),
            *extended("select 2"),
            sync(),
            ready=5,
        ),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "rollback_closes_implicit_block",
        ask(*insert(1), *extended("rollback"), *insert(2), sync()),
        ask(query("select id from scratch")),
        setup=SCRATCH,
    ),
    exchange("savepoint_in_implicit_block", ask(*extended("savepoint s"), sync())),
    exchange(
        "simple_query_inside_unsynced_pipeline",
        ask(*extended("select 1"), query("select 2"), ready=1),
        ask(sync()),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "simple_query_after_unsynced_error",
        send(*extended("select 1/0"), query("select 'skipped'"), sync()),
        ready(1),
    ),
    exchange(
        "mixed_simple_and_extended",
        ask(
            query("select 1"),
            *extended("select 2"),
            sync(),
            query("select 3"),
            *extended("select 4"),
            sync(),
            ready=4,
        ),
    ),
    exchange(
        "many_flushes",
        ask(
            parse("select 1"),
            flush(),
            flush(),
            bind(),
            flush(),
            describe_portal(),
            flush(),
            execute(),
            flush(),
            sync(),
        ),
    ),
    exchange(
        "sync_between_parse_and_bind",
        ask(
            parse("select $1::int", name="st"), sync(), bind("5", statement="st"), execute(), sync(), ready=2
        ),
    ),
    exchange(
        "describe_then_execute_same_statement_pipelined",
        ask(
            parse("select $1::int", name="asy"),
            describe_statement("asy"),
            flush(),
            bind("3", statement="asy"),
            execute(),
            sync(),
        ),
    ),
    exchange(
        "one_byte_segments", send_split(*extended("select $1::text", "slowly"), sync(), size=1), ready(1)
    ),
    exchange("split_inside_header", send_split(query("select 1"), query("select 2"), size=3), ready(2)),
    exchange(
        "split_inside_length_of_second",
        send_split(query("select 'aaaa'"), query("select 'bbbb'"), size=22),
        ready(2),
    ),
    exchange(
        "large_pipelined_results",
        ask(*(m for n in range(20) for m in extended("select n, repeat('y', 200) from numbers")), sync()),
    ),
    exchange(
        "notices_inside_pipeline",
        ask(*extended("select raise_notice('one')"), *extended("select raise_notice('two')"), sync()),
    ),
    exchange(
        "prepare_in_sql_execute_in_protocol",
        ask(*extended("prepare sql_made as select $1::int + 1"), sync()),
        ask(describe_statement("sql_made"), bind("1", statement="sql_made"), execute(), sync()),
        ask(query("deallocate sql_made")),
    ),
    exchange(
        "vacuum_after_statement_in_pipeline", ask(*extended("select 1"), *extended("vacuum items"), sync())
    ),
    exchange("vacuum_first_in_pipeline", ask(*extended("vacuum items"), *extended("select 1"), sync())),
)
