"""Transactions, savepoints, isolation, errors inside and outside of them, cursors that live in them."""

from __future__ import annotations

from typing import Any

from ._suite import STATEMENT_REFUSES, Stage, behaviour


@behaviour("script")
def several_statements(stage: Stage) -> Any:
    session = stage.connect()
    session.script("insert into accounts values (20, 'a', 1); insert into accounts values (21, 'b', 2)")
    return session.query("select id from accounts where id >= 20 order by id")


@behaviour("script")
def several_statements_are_one_transaction(stage: Stage) -> Any:
    session = stage.connect()
    failed = stage.failure(lambda: session.script("insert into accounts values (22, 'a', 1); select 1/0"))
    return failed, session.query("select count(*) from accounts where id = 22")


@behaviour()
def errors_and_their_codes(stage: Stage) -> Any:
    session = stage.connect()
    statements = (
        "selec",
        "select * from nowhere",
        "select nothing_there",
        "select 1/0",
        "select 'x'::int",
        "insert into accounts values (1, 'again', 0)",
        "insert into accounts values (30, null, 0)",
        "insert into accounts values (31, 'x', -1)",
        "select no_such_function()",
        "drop table nowhere",
    )
    return [stage.failure(lambda sql=sql: session.query(sql)) for sql in statements], session.query(
        "select 1"
    )


@behaviour()
def error_with_parameters(stage: Stage) -> Any:
    session = stage.connect()
    return stage.failure(lambda: session.query("select 10 / $1::int", 0)), session.query(
        "select 10 / $1::int", 2
    )


@behaviour(not_in=STATEMENT_REFUSES)
def transaction_commits(stage: Stage) -> Any:
    session, other = stage.connect(), stage.connect()
    with session.transaction():
        session.execute("insert into accounts values ($1, 'forty', 0)", 40)
        inside = other.query("select count(*) from accounts where id = 40")
    return inside, other.query("select count(*) from accounts where id = 40")


@behaviour(not_in=STATEMENT_REFUSES)
def transaction_rolls_back(stage: Stage) -> Any:
    session = stage.connect()

    def work() -> None:
        with session.transaction():
            session.execute("insert into accounts values ($1, 'forty', 0)", 41)
            session.query("select 1/0")

    return stage.failure(work), session.query("select count(*) from accounts where id = 41")


@behaviour(not_in=STATEMENT_REFUSES)
def savepoints(stage: Stage) -> Any:
    session = stage.connect()
    with session.transaction():
        session.execute("insert into accounts values (50, 'kept', 0)")
        session.execute("savepoint before")
        failed = stage.failure(lambda: session.execute("insert into accounts values (50, 'twice', 0)"))
        session.execute("rollback to savepoint before")
        session.execute("insert into accounts values (51, 'after', 0)")
        session.execute("release savepoint before")
    return failed, session.query("select id from accounts where id >= 50 order by id")


@behaviour(not_in=STATEMENT_REFUSES)
def failed_transaction_refuses(stage: Stage) -> Any:
    session = stage.connect()
    found = []

    def work() -> None:
        with session.transaction():
            found.append(stage.failure(lambda: session.query("select 1/0")))
            found.append(stage.failure(lambda: session.query("select 1")))
            raise ValueError("leave")

    return stage.failure(work), found, session.query("select 2")


@behaviour(not_in=STATEMENT_REFUSES)
def isolation_levels(stage: Stage) -> Any:
    session = stage.connect()
    found = []
    for level in ("read committed", "repeatable read", "serializable"):
        with session.transaction(level):
            found.append(session.query("show transaction_isolation"))
    return found, session.query("show transaction_isolation")


@behaviour(not_in=STATEMENT_REFUSES)
def serialization_failure(stage: Stage) -> Any:
    session, other = stage.connect(), stage.connect()

    def work() -> None:
        with session.transaction("repeatable read"):
            session.query("select balance from accounts where id = 1")
            other.execute("update accounts set balance = balance + 1 where id = 1")
            session.execute("update accounts set balance = 0 where id = 1")

    return stage.failure(work), session.query("select balance from accounts where id = 1")


@behaviour(not_in=STATEMENT_REFUSES)
def deferred_constraint_fails_at_commit(stage: Stage) -> Any:
    session = stage.connect()

    def work() -> None:
        with session.transaction():
            session.execute("insert into orders values (1, 999)")

    return stage.failure(work), session.query("select count(*) from orders")


@behaviour("stream", not_in=STATEMENT_REFUSES)
def server_side_cursor(stage: Stage) -> Any:
    session = stage.connect()
    with session.transaction():
        rows = list(session.stream("select n from generate_series(1, 1000) n", 100))
    return len(rows), rows[0], rows[-1]


@behaviour("stream", not_in=STATEMENT_REFUSES)
def server_side_cursor_abandoned(stage: Stage) -> Any:
    session = stage.connect()
    with session.transaction():
        rows = iter(session.stream("select n from generate_series(1, 1000) n", 10))
        first = [next(rows) for _ in range(15)]
        del rows
        other = session.query("select 'in between'")
    return first, other, session.query("select 1")


@behaviour(not_in=STATEMENT_REFUSES)
def set_local(stage: Stage) -> Any:
    session = stage.connect()
    with session.transaction():
        session.execute("set local work_mem = '9MB'")
        inside = session.query("show work_mem")
    return inside, session.query("show work_mem")


@behaviour(not_in=STATEMENT_REFUSES)
def temporary_table_on_commit(stage: Stage) -> Any:
    session = stage.connect()
    with session.transaction():
        session.execute("create temp table brief (a int) on commit drop")
        session.execute("insert into brief values (1)")
        inside = session.query("select count(*) from brief")
    return inside, stage.failure(lambda: session.query("select * from brief"))


@behaviour(not_in=STATEMENT_REFUSES)
def row_lock_waits(stage: Stage) -> Any:
    session, other = stage.connect(), stage.connect()
    with session.transaction():
        session.query("select id from accounts where id = 1 for update")
        failed = stage.failure(lambda: other.query("select id from accounts where id = 1 for update nowait"))
    return failed, other.query("select id from accounts where id = 1 for update nowait")


@behaviour()
def statement_timeout(stage: Stage) -> Any:
    session = stage.connect()
    session.execute("set statement_timeout = '30ms'")
    failed = stage.failure(lambda: session.query("select pg_sleep(10)"))
    session.execute("set statement_timeout = 0")
    return failed, session.query("select 1")
