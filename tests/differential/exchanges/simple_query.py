"""Exchanges of the simple query protocol: single statements, strings of several, empty ones."""

from __future__ import annotations

from ._exchange import NOT_STATEMENT, SCRATCH, ask, exchange, query

EXCHANGES = (
    exchange("select_one", ask(query("select 1"))),
    exchange(
        "select_several_columns", ask(query("select 1 as a, 'two' as b, null as c, 4.5 as d, true as e"))
    ),
    exchange("select_from_table", ask(query("select id, name, price, note from items order by id"))),
    exchange("select_no_rows", ask(query("select id from items where false"))),
    exchange("select_no_columns", ask(query("select from items"))),
    exchange("select_many_rows", ask(query("select n, repeat('x', n % 50) from numbers order by n"))),
    exchange("values_list", ask(query("values (1, 'a'), (2, 'b'), (3, null)"))),
    exchange("duplicate_column_names", ask(query("select 1 as x, 2 as x, 3 as x"))),
    exchange("quoted_identifiers", ask(query('select 1 as "Gross ""quoted"" naïve ☃"'))),
    exchange("dollar_quoting", ask(query("select $a$ it's; $$ -- no comment $a$"))),
    exchange("comments_only", ask(query("/* nothing /* nested */ here */ -- at all"))),
    exchange("comment_then_statement", ask(query("-- a comment\n/* another */ select 1 -- trailing"))),
    exchange("semicolon_inside_string", ask(query("select ';', 'a;b' as \"c;d\""))),
    exchange("trailing_semicolons", ask(query("select 1;;;"))),
    exchange("empty_query", ask(query(""))),
    exchange("empty_query_spaces", ask(query("  \n\t "))),
    exchange("empty_query_semicolon", ask(query(";"))),
    exchange("empty_between_statements", ask(query("select 1; ; select 2"))),
    exchange("two_selects", ask(query("select 1; select 'b'"))),
    exchange(
        "insert_update_delete_tags",
        ask(query("insert into scratch values (1, 'a'), (2, 'b')")),
        ask(query("update scratch set body = 'c' where id = 1")),
        ask(query("delete from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "insert_returning",
        ask(query("insert into scratch values (7, 'seven') returning *, id * 2")),
        setup=SCRATCH,
    ),
    exchange(
        "insert_returning_fails",
        ask(query("insert into items values (1, 'apple again') returning id")),
        ask(query("insert into scratch values (1, 'a'), (2, 'b') returning 1 / (id - 2)")),
        ask(query("with w as (insert into scratch values (1, 'a') returning id) select 1 / (id - 1) from w")),
        setup=SCRATCH,
    ),
    exchange(
        "insert_returning_no_rows",
        ask(query("insert into scratch select n, 'a' from numbers where false returning id")),
        setup=SCRATCH,
    ),
    exchange("insert_returning_with_notices", ask(query("insert into noisy values (1, 'a') returning id"))),
    exchange("insert_returning_deferred", ask(query("insert into child values (1, 99) returning id"))),
    exchange(
        "insert_returning_what_the_client_cannot_read",
        ask(query("set client_encoding = 'latin1'")),
        ask(query("insert into scratch values (1, chr(8364)) returning body")),
        ask(query("insert into scratch values (1, 'a'), (2, chr(8364)) returning body")),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange(
        "merge_tag",
        ask(
            query(
                "merge into scratch s using items i on s.id = i.id "
                "when not matched then insert values (i.id, i.name)"
            )
        ),
        setup=SCRATCH,
    ),
    exchange(
        "several_with_writes",
        ask(query("insert into scratch values (1, 'a'); select count(*) from scratch; delete from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "error_in_second_of_three",
        ask(query("insert into scratch values (1, 'a'); select 1/0; insert into scratch values (2, 'b')")),
        ask(query("select count(*) from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "syntax_error_in_last_of_string",
        ask(query("insert into scratch values (1, 'a'); selec 1")),
        ask(query("select count(*) from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "ddl_tags",
        ask(
            query(
                "create table ddl_made (a int); create index on ddl_made (a); "
                "comment on table ddl_made is 'x'; alter table ddl_made add b text; "
                "truncate ddl_made; drop table ddl_made"
            )
        ),
        cleanup="drop table if exists ddl_made",
    ),
    exchange(
        "create_table_as_and_select_into",
        ask(query("create table made_as as select 1 as a")),
        ask(query("select 2 as b into made_into")),
        ask(query("drop table made_as, made_into")),
        cleanup="drop table if exists made_as, made_into",
    ),
    exchange("explain", ask(query("explain (costs off) select * from items where id = 3"))),
    exchange("show_one", ask(query("show server_version_num"))),
    exchange("do_block", ask(query("do $$ begin perform 1; end $$"))),
    exchange("call_procedure", ask(query("call double_it(21, null)"))),
    exchange("vacuum_one_table", ask(query("vacuum items"))),
    exchange("vacuum_inside_string", ask(query("select 1; vacuum items"))),
    exchange(
        "vacuum_inside_transaction",
        ask(query("begin")),
        ask(query("vacuum items")),
        ask(query("rollback")),
        modes=NOT_STATEMENT,
    ),
    exchange("many_queries_one_after_another", *(ask(query(f"select {n}, 'row {n}'")) for n in range(30))),
    exchange("two_queries_in_one_segment", ask(query("select 1"), query("select 2"), ready=2)),
    exchange("twenty_queries_in_one_segment", ask(*(query(f"select {n}") for n in range(20)), ready=20)),
    exchange(
        "error_between_pipelined_queries",
        ask(query("select 1"), query("select 1/0"), query("select 3"), ready=3),
    ),
    exchange(
        "explain_analyze_is_masked",
        ask(query("explain (analyze, costs off, timing off, summary off, buffers off) select 1")),
    ),
    exchange("long_statement_text", ask(query("select '" + "x" * 200_000 + "'"))),
    exchange("statement_of_exactly_8k", ask(query("select '" + "y" * (8192 - 5 - 9 - 1 - 0) + "'"))),
    exchange(
        "unlogged_and_sequence",
        ask(
            query(
                "create sequence made_seq; select nextval('made_seq'), nextval('made_seq'); "
                "select currval('made_seq'); drop sequence made_seq"
            )
        ),
        cleanup="drop sequence if exists made_seq",
    ),
)
