"""Exchanges of large, wide, null and odd values, and of the function-call sub-protocol."""

from __future__ import annotations

from ._exchange import (
    BINARY,
    INT4,
    ask,
    bind,
    describe_portal,
    exchange,
    execute,
    extended,
    function_call,
    int4,
    parse,
    query,
    raw,
    send,
    sync,
    wait_for,
)

ABS_INT4 = 1397
UPPER = 871
VERSION = 89
INT4_DIV = 154
NOW_SETSEED = 1599

EXCHANGES = (
    exchange("row_of_one_megabyte", ask(query("select repeat('a', 1000000)"))),
    exchange("row_of_ten_megabytes", ask(query("select repeat('b', 10000000)"))),
    exchange(
        "rows_around_buffer_sizes",
        ask(
            query(
                "select repeat('c', n) from unnest('{8150,8180,8185,8192,8200,16384,65510,65536}'::int[]) n"
            )
        ),
    ),
    exchange("large_parameter", ask(*extended("select length($1), md5($1)", "p" * 2_000_000), sync())),
    exchange("large_parameter_and_result", ask(*extended("select $1::text", "q" * 1_000_000), sync())),
    exchange(
        "sixteen_hundred_columns", ask(query("select " + ", ".join(f"{n} as c{n}" for n in range(1600))))
    ),
    exchange("too_many_columns", ask(query("select " + ", ".join("1" for _ in range(1700))))),
    exchange("nulls_everywhere", ask(query("select null, null::int, null::text, '', 'null' from items"))),
    exchange(
        "empty_strings_and_nulls_binary",
        ask(parse("select ''::text, null::text, ''::bytea"), bind(results=(BINARY,)), execute(), sync()),
    ),
    exchange(
        "fifty_thousand_rows", ask(query("select a.n * 1000 + b.n from numbers a, numbers b where a.n <= 50"))
    ),
    exchange(
        "arrays_and_composites",
        ask(query("select '{{1,2},{3,4}}'::int[], row(1, 'x', null), array[row(1, 2)]")),
    ),
    exchange(
        "ranges_enums_json",
        ask(
            query(
                "select '[1,5)'::int4range, 'happy'::mood, '{\"a\": null}'::json, "
                "'<a/>'::text, '(1,2)'::point"
            )
        ),
    ),
    exchange(
        "dates_and_infinities",
        ask(
            query(
                "select 'infinity'::timestamptz, '-infinity'::date, 'NaN'::float8, "
                "'Infinity'::numeric, '0001-01-01 BC'::date, '24:00'::time"
            )
        ),
    ),
    exchange(
        "unicode_everywhere",
        ask(query("select 'żółw 🐢 كلمة', U&'\\0441\\043B', E'tab\\there', length('🐢')")),
    ),
    exchange(
        "wide_statement_many_parameters_binary",
        ask(
            parse("select " + " + ".join(f"${n}" for n in range(1, 101)), types=(INT4,) * 100),
            bind(*[int4(n) for n in range(100)], formats=(BINARY,), results=(BINARY,)),
            execute(),
            sync(),
        ),
    ),
    exchange(
        "recursive_query",
        ask(
            query(
                "with recursive t(n) as (values (1) union all select n + 1 from t where n < 10) "
                "select sum(n) from t"
            )
        ),
    ),
    exchange(
        "void_and_record_functions", ask(query("select pg_sleep(0), (select items from items where id = 1)"))
    ),
    exchange("set_returning_function", ask(query("select * from generate_series(1, 3) with ordinality"))),
    exchange(
        "describe_many_columns",
        ask(
            parse("select " + ", ".join(f"{n}::int as c{n}" for n in range(300))),
            bind(),
            describe_portal(),
            sync(),
        ),
    ),
    exchange("function_call_text", send(function_call(ABS_INT4, "-5")), wait_for("ReadyForQuery")),
    exchange(
        "function_call_binary",
        ask(function_call(ABS_INT4, int4(-5), formats=(BINARY,), result_format=BINARY)),
    ),
    exchange("function_call_string", ask(function_call(UPPER, "shout"))),
    exchange("function_call_null_argument", ask(function_call(UPPER, None))),
    exchange("function_call_unknown_function", ask(function_call(999999)), ask(query("select 1"))),
    exchange("function_call_wrong_argument_count", ask(function_call(ABS_INT4, "1", "2"))),
    exchange("function_call_error", ask(function_call(INT4_DIV, "1", "0")), ask(query("select 1"))),
    exchange(
        "function_call_in_failed_block",
        ask(query("begin; select 1/0")),
        ask(function_call(ABS_INT4, "1")),
        ask(query("rollback")),
        modes=("session", "pristine", "transaction"),
    ),
    exchange(
        "function_call_pipelined",
        ask(function_call(ABS_INT4, "-1"), query("select 2"), function_call(ABS_INT4, "-3"), ready=3),
    ),
    exchange(
        "function_call_after_unsynced_parse",
        ask(parse("select 1"), function_call(ABS_INT4, "-1")),
        ask(sync()),
    ),
    exchange(
        "binary_garbage_as_text",
        ask(query("select encode('\\x00ff10'::bytea, 'escape'), '\\x00ff10'::bytea")),
    ),
    exchange("two_segments_of_large_query", send(raw(b"Q\x00\x00\x00\x0d")), ask(raw(b"select 1\x00"))),
)
