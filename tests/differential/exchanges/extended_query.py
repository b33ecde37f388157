"""Exchanges of the extended protocol: statements, portals, Describe, Close, formats and parameter types."""

from __future__ import annotations

from ._exchange import (
    BINARY,
    INT4,
    NOT_STATEMENT,
    SCRATCH,
    SESSION_ONLY,
    TEXT,
    ask,
    bind,
    close_portal,
    close_statement,
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
    exchange("unnamed_select", ask(*extended("select 1"), sync())),
    exchange("unnamed_with_text_parameter", ask(*extended("select $1::int + 1", "41"), sync())),
    exchange("unnamed_with_null_parameter", ask(*extended("select $1::text is null", None), sync())),
    exchange("unnamed_with_empty_string", ask(*extended("select length($1)", ""), sync())),
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
    exchange(
        "named_statement_twice",
        ask(parse("select $1::int * 2", name="twice"), sync()),
        ask(bind("4", statement="twice"), execute(), sync()),
        ask(bind("5", statement="twice"), execute(), sync()),
    ),
    exchange(
        "named_statement_already_exists",
        ask(parse("select 1", name="dup"), sync()),
        ask(parse("select 2", name="dup"), sync()),
        ask(bind(statement="dup"), execute(), sync()),
    ),
    exchange(
        "named_statement_missing",
        ask(bind(statement="never_made"), execute(), sync()),
        ask(query("select 1")),
    ),
    exchange("describe_missing_statement", ask(describe_statement("never_made"), sync())),
    exchange("describe_missing_portal", ask(describe_portal("never_made"), sync())),
    exchange("execute_missing_portal", ask(execute("never_made"), sync())),
    exchange("execute_missing_unnamed_portal", ask(execute(), sync())),
    exchange("bind_missing_unnamed_statement", ask(bind(), execute(), sync())),
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
        "close_statement",
        ask(parse("select 1", name="c1"), sync()),
        ask(close_statement("c1"), sync()),
        ask(bind(statement="c1"), sync()),
    ),
    exchange(
        "close_missing_statement", ask(close_statement("never_made"), close_portal("never_made"), sync())
    ),
    exchange(
        "close_then_parse_again",
        ask(parse("select 1", name="again"), sync()),
        ask(
            close_statement("again"),
            parse("select 'new'", name="again"),
            describe_statement("again"),
            bind(statement="again"),
            execute(),
            sync(),
        ),
    ),
    exchange(
        "close_portal_then_execute",
        ask(parse("select 1"), bind(portal="p"), close_portal("p"), execute("p"), sync()),
    ),
    exchange("close_unnamed_statement", ask(parse("select 1"), close_statement(), bind(), sync())),
    exchange(
        "unnamed_statement_survives_sync", ask(parse("select 'kept'"), sync()), ask(bind(), execute(), sync())
    ),
    exchange(
        "unnamed_statement_lost_by_simple_query",
        ask(parse("select 'lost'"), sync()),
        ask(query("select 1")),
        ask(bind(), execute(), sync()),
    ),
    exchange(
        "unnamed_statement_replaced_by_error",
        ask(parse("select 'old'"), sync()),
        ask(parse("selec"), sync()),
        ask(bind(), execute(), sync()),
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
        "cached_plan_must_not_change_type",
        ask(parse("select * from changing", name="plan"), sync()),
        ask(bind(statement="plan"), execute(), sync()),
        ask(query("alter table changing alter a type text")),
        ask(bind(statement="plan"), execute(), sync()),
        ask(
            close_statement("plan"),
            parse("select * from changing", name="plan"),
            describe_statement("plan"),
            bind(statement="plan"),
            execute(),
            sync(),
        ),
        setup="drop table if exists changing; create table changing (a int); insert into changing values (1)",
        cleanup="drop table if exists changing",
    ),
    exchange(
        "statement_on_dropped_table",
        ask(parse("select * from dropping", name="plan"), sync()),
        ask(query("drop table dropping")),
        ask(bind(statement="plan"), execute(), sync()),
        setup="drop table if exists dropping; create table dropping (a int)",
        cleanup="drop table if exists dropping",
    ),
    exchange(
        "column_added_after_parse",
        ask(parse("select * from growing", name="plan"), sync()),
        ask(query("alter table growing add b text default 'new'")),
        ask(describe_statement("plan"), sync()),
        ask(bind(statement="plan"), execute(), sync()),
        setup="drop table if exists growing; create table growing (a int); insert into growing values (1)",
        cleanup="drop table if exists growing",
    ),
    exchange(
        "search_path_changes_meaning",
        ask(query("set search_path = one")),
        ask(
            parse("select * from placed", name="where_am_i"), bind(statement="where_am_i"), execute(), sync()
        ),
        ask(query("set search_path = two")),
        ask(bind(statement="where_am_i"), execute(), sync()),
        ask(parse("select * from placed"), bind(), execute(), sync()),
    ),
    exchange(
        "same_text_two_names",
        ask(parse("select 1 as same", name="n1"), parse("select 1 as same", name="n2"), sync()),
        ask(bind(statement="n1"), execute(), bind(statement="n2"), execute(), close_statement("n1"), sync()),
        ask(bind(statement="n2"), execute(), sync()),
        ask(bind(statement="n1"), execute(), sync()),
    ),
    exchange(
        "same_text_other_types",
        ask(
            parse("select $1", name="as_int", types=(INT4,)),
            parse("select $1", name="as_text", types=(TEXT,)),
            sync(),
        ),
        ask(describe_statement("as_int"), describe_statement("as_text"), sync()),
    ),
    exchange(
        "hundred_named_statements",
        ask(*(parse(f"select {n}", name=f"many{n}") for n in range(100)), sync()),
        ask(
            *(message for n in range(0, 100, 7) for message in (bind(statement=f"many{n}"), execute())),
            sync(),
        ),
    ),
    exchange(
        "three_hundred_named_statements_one_by_one",
        *(ask(parse(f"select {n} as n", name=f"lots{n}"), sync()) for n in range(300)),
        *(ask(bind(statement=f"lots{n}"), execute(), sync()) for n in (0, 1, 150, 299)),
    ),
    exchange(
        "long_statement_name",
        ask(parse("select 1", name="n" * 500), sync()),
        ask(bind(statement="n" * 500), execute(), sync()),
        ask(close_statement("n" * 500), sync()),
    ),
    exchange(
        "statement_name_with_odd_characters",
        ask(parse("select 1", name='a "b" ☃; --'), bind(statement='a "b" ☃; --'), execute(), sync()),
    ),
    exchange(
        "statement_in_catalogue",
        ask(parse("select $1::int", name="listed"), sync()),
        ask(
            query(
                "select name, statement, parameter_types, from_sql from pg_prepared_statements order by name"
            )
        ),
        modes=SESSION_ONLY,
        why="statements are renamed per text on pooled connections; the catalogue shows it",
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
        "parse_does_not_run",
        ask(parse("insert into scratch values (1, 'no')"), sync()),
        ask(query("select count(*) from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "describe_row_of_composite",
        ask(parse("select items from items where id = 1"), describe_statement(), bind(), execute(), sync()),
    ),
)
