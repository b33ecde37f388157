"""Exchanges of the extended protocol: parameters, results, portals, formats, Describe, malformed use."""

from __future__ import annotations

from ._exchange import (
    BINARY,
    INT4,
    NOT_STATEMENT,
    SCRATCH,
    TEXT,
    ask,
    bind,
    close_portal,
    describe_portal,
    describe_statement,
    exchange,
    execute,
    extended,
    flush,
    int4,
    parse,
    query,
    send,
    sync,
    wait_for,
)

EXCHANGES = (
    exchange(
        "several_parameters",
        ask(
            *extended("select $1::int, $2::text, $3::bool, $4::date", "1", "zwei", "t", "2024-02-29"), sync()
        ),
    ),
    exchange(
        "parameter_types_given",
        ask(
            parse("select $1, $2", types=(INT4, TEXT)),
            describe_statement(),
            bind("7", "x"),
            execute(),
            sync(),
        ),
    ),
    exchange(
        "parameter_type_unknown_inferred",
        ask(parse("select $1 || 'x', $2 + 1"), describe_statement(), sync()),
    ),
    exchange("parameter_undetermined", ask(parse("select $1 is null and $2 is null", types=(0,)), sync())),
    exchange("describe_missing_portal", ask(describe_portal("never_made"), sync())),
    exchange("execute_missing_portal", ask(execute("never_made"), sync())),
    exchange("execute_missing_unnamed_portal", ask(execute(), sync())),
    exchange(
        "describe_statement_of_select",
        ask(
            parse("select id, name, price from items where id = $1", name="d1"),
            describe_statement("d1"),
            sync(),
        ),
    ),
    exchange(
        "describe_statement_of_insert",
        ask(parse("insert into scratch values ($1, $2)", name="d2"), describe_statement("d2"), sync()),
    ),
    exchange(
        "describe_statement_returning",
        ask(parse("insert into scratch values ($1, $2) returning id"), describe_statement(), sync()),
    ),
    exchange(
        "describe_portal_formats",
        ask(parse("select id, name from items"), bind(results=(BINARY, 0)), describe_portal(), sync()),
    ),
    exchange(
        "describe_empty_statement", ask(parse("", name="nothing"), describe_statement("nothing"), sync())
    ),
    exchange(
        "describe_utility_with_rows",
        ask(parse("show work_mem"), describe_statement(), bind(), execute(), sync()),
    ),
    exchange("empty_statement_executed", ask(*extended(""), sync())),
    exchange("comment_statement_executed", ask(*extended("-- nothing"), sync())),
    exchange("several_statements_refused", ask(parse("select 1; select 2"), sync()), ask(query("select 3"))),
    exchange(
        "syntax_error_in_parse", ask(parse("selec 1", name="bad"), bind(statement="bad"), execute(), sync())
    ),
    exchange(
        "parse_error_leaves_no_statement",
        ask(parse("select * from nowhere", name="gone"), sync()),
        ask(bind(statement="gone"), sync()),
    ),
    exchange(
        "close_portal_then_execute",
        ask(parse("select 1"), bind(portal="p"), close_portal("p"), execute("p"), sync()),
    ),
    exchange("unnamed_portal_dies_at_sync", ask(parse("select 1"), bind(), sync()), ask(execute(), sync())),
    exchange(
        "named_portal_dies_at_sync",
        ask(parse("select 1"), bind(portal="p"), sync()),
        ask(execute("p"), sync()),
    ),
    exchange(
        "named_portal_already_exists", ask(parse("select 1"), bind(portal="p"), bind(portal="p"), sync())
    ),
    exchange(
        "portal_limit_suspends",
        ask(
            parse("select n from numbers order by n limit 7"),
            bind(portal="p"),
            execute("p", 3),
            execute("p", 3),
            execute("p", 3),
            execute("p", 3),
            sync(),
        ),
    ),
    exchange(
        "portal_limit_exact",
        ask(
            parse("select n from numbers order by n limit 4"),
            bind(portal="p"),
            execute("p", 4),
            execute("p", 4),
            sync(),
        ),
    ),
    exchange(
        "portal_across_syncs_in_transaction",
        ask(query("begin")),
        ask(parse("select n from numbers order by n"), bind(portal="p"), execute("p", 2), sync()),
        ask(execute("p", 2), sync()),
        ask(close_portal("p"), sync()),
        ask(execute("p", 2), sync()),
        ask(query("rollback")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "two_portals_interleaved",
        ask(query("begin")),
        ask(
            parse("select n from numbers order by n", name="up"),
            bind(portal="a", statement="up"),
            parse("select -n from numbers order by n", name="down"),
            bind(portal="b", statement="down"),
            execute("a", 2),
            execute("b", 1),
            execute("a", 1),
            execute("b", 2),
            sync(),
        ),
        ask(query("commit")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "portal_seen_as_cursor",
        ask(query("begin")),
        ask(parse("select n from numbers order by n"), bind(portal="cur"), execute("cur", 1), sync()),
        ask(query("fetch 2 from cur")),
        ask(query("close cur")),
        ask(query("rollback")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "cursor_executed_as_portal",
        ask(query("begin; declare sqlcur cursor for select n from numbers order by n")),
        ask(describe_portal("sqlcur"), execute("sqlcur", 3), sync()),
        ask(query("rollback")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "row_limit_on_insert_returning",
        ask(
            parse("insert into scratch select n, 'x' from numbers where n < 6 returning id"),
            bind(portal="w"),
            execute("w", 2),
            execute("w", 10),
            sync(),
        ),
        ask(query("select count(*) from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "binary_results",
        ask(
            parse(
                "select 1::int2, 2::int4, 3::int8, 1.5::float8, 'x'::text, true, '\\x00ff'::bytea, "
                "'2024-01-01'::date, '1d'::interval, '{1,2}'::int[], null::int"
            ),
            bind(results=(BINARY,)),
            describe_portal(),
            execute(),
            sync(),
        ),
    ),
    exchange(
        "binary_parameter",
        ask(parse("select $1::int + 1", types=(INT4,)), bind(int4(41), formats=(BINARY,)), execute(), sync()),
    ),
    exchange(
        "mixed_parameter_formats",
        ask(
            parse("select $1::int, $2::text", types=(INT4, TEXT)),
            bind(int4(1), "text", formats=(BINARY, 0)),
            execute(),
            sync(),
        ),
    ),
    exchange(
        "wrong_binary_length",
        ask(parse("select $1::int", types=(INT4,)), bind(b"\x00\x01", formats=(BINARY,)), execute(), sync()),
    ),
    exchange("too_few_parameters", ask(parse("select $1::int, $2::int"), bind("1"), execute(), sync())),
    exchange("too_many_parameters", ask(parse("select $1::int"), bind("1", "2"), execute(), sync())),
    exchange(
        "format_count_mismatch",
        ask(parse("select $1::int, $2::int, $3::int"), bind("1", "2", "3", formats=(0, 0)), sync()),
    ),
    exchange(
        "result_format_count_mismatch", ask(parse("select 1, 2, 3"), bind(results=(0, 0)), execute(), sync())
    ),
    exchange("invalid_format_code", ask(parse("select 1"), bind(results=(9,)), execute(), sync())),
    exchange(
        "invalid_parameter_text", ask(*extended("select $1::int", "one"), sync()), ask(query("select 1"))
    ),
    exchange(
        "invalid_encoding_in_parameter", ask(parse("select $1::text"), bind(b"\xff\xfe"), execute(), sync())
    ),
    exchange("invalid_encoding_in_parse", ask(parse(b"select '\xff'"), sync()), ask(query("select 1"))),
    exchange(
        "jsonb_and_uuid_binary",
        ask(
            parse(
                "select '{\"a\": [1, 2]}'::jsonb, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, "
                "12345.6789::numeric, 'ok'::mood"
            ),
            bind(results=(BINARY,)),
            execute(),
            sync(),
        ),
    ),
    exchange(
        "flush_without_sync",
        send(parse("select 1"), describe_statement(), flush()),
        wait_for("RowDescription"),
        send(bind(), execute(), flush()),
        wait_for("CommandComplete"),
        ask(sync()),
    ),
    exchange("sync_only", ask(sync()), ask(sync(), sync(), sync(), ready=3)),
    exchange("flush_only", send(flush()), ask(sync())),
    exchange(
        "execute_ddl_in_extended",
        ask(*extended("create table ext_made (a int)"), sync()),
        ask(*extended("drop table ext_made"), sync()),
        cleanup="drop table if exists ext_made",
    ),
    exchange(
        "begin_and_commit_in_extended",
        ask(*extended("begin"), sync()),
        ask(*extended("select 1"), sync()),
        ask(*extended("commit"), sync()),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "thousand_parameters",
        ask(
            parse("select " + " + ".join(f"${n}::int" for n in range(1, 1001))),
            bind(*("1",) * 1000),
            execute(),
            sync(),
        ),
    ),
    exchange(
        "describe_row_of_composite",
        ask(parse("select items from items where id = 1"), describe_statement(), bind(), execute(), sync()),
    ),
)
