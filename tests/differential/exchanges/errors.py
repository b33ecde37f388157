"""Exchanges about errors of every sort: fields, positions, states, notices and what follows them."""

from __future__ import annotations

from ._exchange import (
    NOT_STATEMENT,
    SCRATCH,
    ask,
    bind,
    exchange,
    execute,
    extended,
    parse,
    query,
    sync,
)

EXCHANGES = (
    exchange("syntax_error_position", ask(query("select 1 frm items")), ask(query("select 2"))),
    exchange("syntax_error_multibyte_position", ask(query("select 'äöü☃' as x, frm from"))),
    exchange("undefined_table", ask(query("select * from no_such_table"))),
    exchange("undefined_column_with_hint", ask(query("select nam from items"))),
    exchange("undefined_function", ask(query("select no_such_function(1, 'a')"))),
    exchange("division_by_zero", ask(query("select 1/0")), ask(query("select 1"))),
    exchange(
        "error_after_rows", ask(query("select 10 / (5 - n) from numbers order by n")), ask(query("select 1"))
    ),
    exchange(
        "unique_violation",
        ask(query("insert into items values (1, 'again', 1, null)")),
        ask(query("select count(*) from items")),
    ),
    exchange("not_null_violation", ask(query("insert into items values (100, null, 1, null)"))),
    exchange("check_violation", ask(query("insert into checked values (-1)"))),
    exchange("foreign_key_violation", ask(query("insert into child values (1, 99)"))),
    exchange(
        "deferred_constraint_fails_at_commit",
        ask(query("begin; insert into child values (2, 98)")),
        ask(query("commit")),
        ask(query("select count(*) from child")),
        modes=NOT_STATEMENT,
    ),
    exchange("deferred_constraint_autocommit", ask(query("insert into child values (3, 97)"))),
    exchange("invalid_text_representation", ask(query("select 'x'::int"))),
    exchange("numeric_out_of_range", ask(query("select 2147483647::int + 1"))),
    exchange("string_too_long", ask(query("select 1; insert into checked_text values ('12345')"))),
    exchange(
        "permission_denied",
        ask(query("set role nobody_special; select * from items")),
        ask(query("reset role; select count(*) from items")),
    ),
    exchange("raise_notice", ask(query("select raise_notice('hello')"))),
    exchange(
        "raise_all_levels",
        ask(query("set client_min_messages = debug1")),
        ask(
            query(
                "do $$ begin raise debug 'd'; raise log 'l'; raise info 'i'; raise notice 'n'; "
                "raise warning 'w'; end $$"
            )
        ),
    ),
    exchange(
        "raise_with_all_fields",
        ask(
            query(
                "do $$ begin raise exception 'main' using detail = 'de', hint = 'hi', errcode = 'HX001', "
                "column = 'co', constraint = 'cn', datatype = 'dt', table = 'ta', schema = 'sc'; end $$"
            )
        ),
    ),
    exchange(
        "notice_before_rows_and_error",
        ask(query("select raise_notice(n::text), 3 / (3 - n) from numbers order by n limit 5")),
    ),
    exchange(
        "many_notices",
        ask(query("do $$ begin for i in 1..200 loop raise notice 'notice %', i; end loop; end $$")),
    ),
    exchange("notice_if_exists", ask(query("drop table if exists surely_not_there"))),
    exchange("warning_no_transaction", ask(query("commit")), ask(query("rollback"))),
    exchange(
        "warning_begin_twice",
        ask(query("begin")),
        ask(query("begin")),
        ask(query("commit")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "failed_transaction_refuses",
        ask(query("begin")),
        ask(query("select 1/0")),
        ask(query("select 1")),
        ask(query("commit")),
        ask(query("select 2")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "failed_transaction_extended",
        ask(query("begin")),
        ask(query("selec")),
        ask(*extended("select 1"), sync()),
        ask(*extended("rollback"), sync()),
        ask(query("select 2")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "parse_in_failed_transaction",
        ask(query("begin")),
        ask(query("select 1/0")),
        ask(parse("select 1", name="in_failed"), sync()),
        ask(parse("rollback", name="rb"), bind(statement="rb"), execute(), sync()),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "commit_of_failed_is_rollback",
        ask(query("begin; insert into scratch values (1, 'a')")),
        ask(query("select 1/0")),
        ask(query("commit")),
        ask(query("select count(*) from scratch")),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange("error_in_function_has_context", ask(query("select fails_deeply(3)"))),
    exchange("error_in_do_block", ask(query("do $$ begin perform 1/0; end $$"))),
    exchange(
        "statement_timeout",
        ask(query("set statement_timeout = '30ms'")),
        ask(query("select pg_sleep(10)")),
        ask(query("set statement_timeout = 0")),
        ask(query("select 1")),
    ),
    exchange(
        "lock_timeout_zero_wait", ask(query("begin; lock table items in access share mode nowait; rollback"))
    ),
    exchange(
        "readonly_transaction",
        ask(query("begin read only")),
        ask(query("insert into scratch values (1, 'a')")),
        ask(query("rollback")),
        modes=NOT_STATEMENT,
    ),
    exchange("unknown_setting", ask(query("set no_such_setting = 1")), ask(query("show no_such_setting"))),
    exchange("invalid_setting_value", ask(query("set work_mem = 'lots'")), ask(query("show work_mem"))),
    exchange("terse_error_verbosity_unchanged", ask(query("set log_error_verbosity = terse; select 1/0"))),
    exchange("invalid_byte_sequence", ask(query(b"select 'bad \xff\xfe'")), ask(query("select 1"))),
    exchange("null_byte_in_text", ask(query("select chr(0)"))),
    exchange(
        "error_message_in_other_encoding",
        ask(query("set client_encoding = 'LATIN1'")),
        ask(query(b"select 'caf\xe9', frm from")),
        ask(query(b"select 'caf\xe9'")),
    ),
    exchange(
        "character_not_in_client_encoding",
        ask(query("set client_encoding = 'LATIN1'")),
        ask(query("select chr(9731)")),
        ask(query("select 1")),
    ),
    exchange("stack_depth", ask(query("select " + "(" * 5000 + "1" + ")" * 5000))),
)
