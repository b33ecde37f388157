"""Exchanges about statements of Parse: names, lifetimes, Close, and what DDL does to them."""

from __future__ import annotations

from ._exchange import (
    INT4,
    SCRATCH,
    SESSION_ONLY,
    TEXT,
    ask,
    bind,
    close_portal,
    close_statement,
    describe_statement,
    exchange,
    execute,
    extended,
    parse,
    query,
    sync,
)

EXCHANGES = (
    exchange("unnamed_select", ask(*extended("select 1"), sync())),
    exchange("unnamed_with_text_parameter", ask(*extended("select $1::int + 1", "41"), sync())),
    exchange("unnamed_with_null_parameter", ask(*extended("select $1::text is null", None), sync())),
    exchange("unnamed_with_empty_string", ask(*extended("select length($1)", ""), sync())),
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
    exchange("bind_missing_unnamed_statement", ask(bind(), execute(), sync())),
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
        "parse_does_not_run",
        ask(parse("insert into scratch values (1, 'no')"), sync()),
        ask(query("select count(*) from scratch")),
        setup=SCRATCH,
    ),
)
