"""Prepared statements and pipelines."""

from __future__ import annotations

from typing import Any

from ._suite import STATEMENT_REFUSES, Stage, behaviour


@behaviour("prepare")
def prepared_statement(stage: Stage) -> Any:
    session = stage.connect()
    double, owner = (
        session.prepare("select $1::int * 2"),
        session.prepare("select owner from accounts where id = $1::int"),
    )
    return double(4), owner(1), double(5), owner(2), session.query("select 1"), owner(3)


@behaviour("prepare")
def prepared_in_two_sessions(stage: Stage) -> Any:
    one, two = stage.connect(), stage.connect()
    first, second = one.prepare("select $1::int + 1"), two.prepare("select $1::text || '!'")
    return [(first(number), second(str(number))) for number in range(5)]


@behaviour("prepare")
def prepared_after_error(stage: Stage) -> Any:
    session = stage.connect()
    divide = session.prepare("select 10 / $1::int")
    return divide(2), stage.failure(lambda: divide(0)), divide(5)


@behaviour("prepare")
def prepared_survives_other_ddl(stage: Stage) -> Any:
    session = stage.connect()
    count = session.prepare("select count(*) from accounts where id > $1::int")
    before = count(0)
    session.execute("create table driver_other (a int)")
    session.execute("drop table driver_other")
    return before, count(0)


@behaviour("prepare", not_in=STATEMENT_REFUSES)
def prepared_in_transaction(stage: Stage) -> Any:
    session = stage.connect()
    add = session.prepare("update accounts set balance = balance + $1::int where id = 2 returning balance")
    with session.transaction():
        inside = [add(1), add(2)]
    return inside, add(3)


@behaviour("prepare")
def twenty_prepared(stage: Stage) -> Any:
    session = stage.connect()
    statements = [session.prepare(f"select {number}::int, $1::int") for number in range(20)]
    return [statement(1) for statement in statements] + [statement(2) for statement in reversed(statements)]


@behaviour("pipeline")
def pipeline(stage: Stage) -> Any:
    session = stage.connect()
    return session.pipeline([("select $1::int", (number,)) for number in range(30)]), session.query(
        "select 'after'"
    )


@behaviour("pipeline")
def pipeline_with_error(stage: Stage) -> Any:
    session = stage.connect()
    statements = [("select $1::int", (1,)), ("select 1 / $1::int", (0,)), ("select $1::int", (3,))]
    return stage.failure(lambda: session.pipeline(statements)), session.query("select 'after'")


_PREPARED_AFRESH = (
    "a connection that lacks the statement prepares it afresh, with its new columns, and succeeds"
)


@behaviour(not_in={"transaction": _PREPARED_AFRESH, "statement": _PREPARED_AFRESH})
def table_changes_type(stage: Stage) -> Any:
    session, other = stage.connect(), stage.connect()
    session.execute("create table driver_changing (a int)")
    try:
        session.execute("insert into driver_changing values (1)")
        before = session.query("select * from driver_changing")
        other.execute("alter table driver_changing alter a type text")
        return (
            before,
            stage.failure(lambda: session.query("select * from driver_changing")),
            session.query("select 2"),
        )
    finally:
        session.execute("drop table driver_changing")
