"""Values of many types and sizes, written and read, one by one, in bulk and by COPY."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

from ._suite import Stage, behaviour


@behaviour()
def numbers_and_texts(stage: Stage) -> Any:
    session = stage.connect()
    return session.query(
        "select 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 1.20::numeric, 'x'::text, 'y'::char(3)"
    )


@behaviour()
def nulls_and_empty(stage: Stage) -> Any:
    return stage.connect().query("select null::int, null::text, ''::text, '{}'::int[], array[null, 1]")


@behaviour()
def dates_and_times(stage: Stage) -> Any:
    session = stage.connect(timezone="UTC")
    return session.query(
        "select '2024-02-29'::date, '12:34:56.789'::time, '2024-02-29 12:00'::timestamp, "
        "'2024-02-29 12:00+02'::timestamptz, '3 days 4 hours'::interval"
    )


@behaviour()
def json_arrays_uuid_bytes(stage: Stage) -> Any:
    session = stage.connect()
    return session.query(
        "select '{\"a\": [1, null]}'::jsonb, '{1,2,3}'::int[], '{{a,b},{c,d}}'::text[], "
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '\\x00ff10'::bytea, true, false"
    )


@behaviour()
def unicode_text(stage: Stage) -> Any:
    session = stage.connect()
    return session.query("select $1::text, length($2::text)", "żółw 🐢 \u0001", "🐢🐢")


@behaviour()
def parameters_of_many_types(stage: Stage) -> Any:
    session = stage.connect()
    values = (7, "text", True, 2.5, None)
    return session.query("select $1::int, $2::text, $3::bool, $4::float8, $5::text", *values)


@behaviour("many")
def parameters_of_python_types(stage: Stage) -> Any:
    session = stage.connect()
    values = (decimal.Decimal("12.50"), datetime.date(2024, 2, 29), uuid.UUID(int=5), b"\x00\xff", [1, 2])
    return session.query("select $1::numeric, $2::date, $3::uuid, $4::bytea, $5::int[]", *values)


@behaviour()
def writes_report_counts(stage: Stage) -> Any:
    session = stage.connect()
    return [
        session.execute("insert into accounts values ($1, $2, $3)", 10, "ten", 100),
        session.execute("update accounts set balance = balance + 1"),
        session.execute("delete from accounts where id = $1", 10),
        session.query("select count(*), sum(balance) from accounts"),
    ]


@behaviour()
def insert_returning(stage: Stage) -> Any:
    session = stage.connect()
    return session.query(
        "insert into accounts values ($1, $2, 5) returning id, owner, balance * 2", 11, "eleven"
    )


@behaviour()
def same_query_many_times(stage: Stage) -> Any:
    session = stage.connect()
    return [session.query("select $1::int * 2", number) for number in range(12)]


@behaviour()
def many_different_queries(stage: Stage) -> Any:
    session = stage.connect()
    return [session.query(f"select {number} + $1::int", 1) for number in range(40)]


@behaviour()
def big_result(stage: Stage) -> Any:
    rows = stage.connect().query("select n, repeat('x', 100) from generate_series(1, 20000) n")
    return len(rows), rows[0], rows[-1]


@behaviour()
def big_value(stage: Stage) -> Any:
    session = stage.connect()
    return session.query("select length($1::text), md5($2::text)", "a" * 3_000_000, "b" * 1_000_000)


@behaviour()
def wide_row(stage: Stage) -> Any:
    return stage.connect().query("select " + ", ".join(f"{number} as c{number}" for number in range(500)))


@behaviour("many")
def execute_many(stage: Stage) -> Any:
    session = stage.connect()
    session.execute_many(
        "insert into accounts values ($1, $2, $3)", [(n, f"owner {n}", n) for n in range(60, 160)]
    )
    return session.query("select count(*), sum(balance) from accounts where id >= 60")


@behaviour("many")
def execute_many_fails(stage: Stage) -> Any:
    session = stage.connect()
    rows = [(200, "a", 1), (200, "b", 2), (201, "c", 3)]
    failed = stage.failure(lambda: session.execute_many("insert into accounts values ($1, $2, $3)", rows))
    return failed, session.query("select 1")


@behaviour("copy")
def copy_in(stage: Stage) -> Any:
    session = stage.connect()
    data = "".join(f"{number}\towner {number}\t{number}\n" for number in range(300, 1300)).encode()
    session.copy_in("copy accounts from stdin", data)
    return session.query("select count(*), sum(balance) from accounts where id >= 300")


@behaviour("copy")
def copy_in_fails(stage: Stage) -> Any:
    session = stage.connect()
    failed = stage.failure(lambda: session.copy_in("copy accounts from stdin", b"x\tnot a number\t1\n"))
    return failed, session.query("select count(*) from accounts")


@behaviour("copy")
def copy_out(stage: Stage) -> Any:
    return stage.connect().copy_out("copy (select id, owner from accounts order by id) to stdout")


@behaviour("copy")
def copy_out_large(stage: Stage) -> Any:
    data = stage.connect().copy_out(
        "copy (select n, repeat('y', 100) from generate_series(1, 20000) n) to stdout"
    )
    return len(data), data[:20]


@behaviour()
def catalogue_queries(stage: Stage) -> Any:
    session = stage.connect()
    return session.query(
        "select column_name::text, data_type::text from information_schema.columns "
        "where table_name = $1 order by ordinal_position",
        "accounts",
    )
