"""What programs do with a database, written once for all drivers; each behaviour returns what came of it.

A behaviour says what it needs of the driver, and in which modes PostgreSQL's semantics cannot hold, with the reason.
Its outcome on a direct connection is the measure: through the proxy it has to be the same, values, types, tags and
SQLSTATEs alike.
"""

from __future__ import annotations

import datetime
import decimal
import threading
import uuid
from collections.abc import Callable
from typing import Any

from adapters.adapter import Adapter, Endpoint, Session
from attrs import define, field, frozen

STATEMENT_REFUSES = {"statement": "statement mode refuses transactions of several requests"}


@define
class Stage:
    """What a behaviour works with: sessions through one driver at one endpoint, closed at the end."""

    adapter: Adapter
    endpoint: Endpoint
    sessions: list[Session] = field(factory=list)

    def connect(self, **settings: str) -> Session:
        """A new session."""
        found = self.adapter.connect(self.endpoint, **settings)
        self.sessions.append(found)
        return found

    def failure(self, work: Callable[[], Any]) -> tuple[str, str | None]:
        """Class and SQLSTATE of the exception that the work raises."""
        try:
            work()
        except Exception as error:
            return type(error).__name__, self.adapter.sqlstate(error)
        return "no exception", None

    def close(self) -> None:
        """Close all sessions; one that the server has closed already may say so."""
        for session in self.sessions:
            try:
                session.close()
            except Exception as error:
                if "clos" not in str(error).lower():
                    raise


@frozen
class Behaviour:
    """A function of a stage, what it needs of a driver, and modes that it leaves out, each with the reason."""

    run: Callable[[Stage], Any]
    needs: frozenset[str]
    not_in: dict[str, str]

    @property
    def name(self) -> str:
        return self.run.__name__


BEHAVIOURS: list[Behaviour] = []


def behaviour(
    *needs: str, not_in: dict[str, str] | None = None
) -> Callable[[Callable[[Stage], Any]], Callable[[Stage], Any]]:
    """Add the function to the suite."""

    def add(run: Callable[[Stage], Any]) -> Callable[[Stage], Any]:
        BEHAVIOURS.append(Behaviour(run, frozenset(needs), not_in or {}))
        return run

    return add


@behaviour()
def numbers_and_texts(stage: Stage) -> Any:
    session = stage.connect()
    return session.query(
        "select 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 1.20::numeric, 'x'::text, 'y'::varchar(3)"
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


@behaviour("listen")
def notification_from_oneself(stage: Stage) -> Any:
    session = stage.connect()
    session.listen("driver_self")
    session.execute("notify driver_self, 'hello'")
    return session.notifications(1)


@behaviour("listen")
def notifications_from_other(stage: Stage) -> Any:
    session, other = stage.connect(), stage.connect()
    session.listen("driver_other")
    for number in range(5):
        other.query("select pg_notify('driver_other', $1::text)", str(number))
    return session.notifications(5)


@behaviour("listen")
def notifications_while_working(stage: Stage) -> Any:
    session, other = stage.connect(), stage.connect()
    session.listen("driver_busy")
    other.execute("notify driver_busy, 'one'")
    rows = session.query("select count(*) from accounts")
    other.execute("notify driver_busy, 'two'")
    return rows, session.notifications(2), session.query("select 1")


@behaviour("cancel")
def cancel_running_query(stage: Stage) -> Any:
    session, observer = stage.connect(), stage.connect()

    def cancel_when_running() -> None:
        while (
            observer.query(
                "select count(*) from pg_stat_activity where wait_event = 'PgSleep' "
                "and query like 'select pg_sleep(30), $tag$driver%'"
            )[0][0]
            != 1
        ):
            pass
        session.cancel()

    helper = threading.Thread(target=cancel_when_running)
    helper.start()
    failed = stage.failure(lambda: session.query("select pg_sleep(30), $tag$driver$tag$"))
    helper.join(20)
    return failed, session.query("select 1")


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


@behaviour()
def settings_are_kept(stage: Stage) -> Any:
    session = stage.connect()
    session.execute("set work_mem = '7MB'")
    session.execute("set datestyle = 'German'")
    session.execute("set app.tenant_id = '42'")
    found = [
        session.query("show work_mem"),
        session.query("select current_setting('app.tenant_id')"),
        session.query("select ('2024-02-29'::date)::text"),
    ]
    session.execute("reset work_mem")
    return found, session.query("show work_mem")


@behaviour()
def settings_of_two_sessions(stage: Stage) -> Any:
    one, two = stage.connect(), stage.connect()
    one.execute("set work_mem = '1MB'")
    two.execute("set work_mem = '2MB'")
    return [(one.query("show work_mem"), two.query("show work_mem")) for _ in range(3)]


@behaviour(not_in=STATEMENT_REFUSES)
def set_local(stage: Stage) -> Any:
    session = stage.connect()
    with session.transaction():
        session.execute("set local work_mem = '9MB'")
        inside = session.query("show work_mem")
    return inside, session.query("show work_mem")


@behaviour()
def start_up_settings(stage: Stage) -> Any:
    session = stage.connect(application_name="driver_suite", work_mem="3MB", search_path="other,public")
    return (
        session.query("show application_name"),
        session.query("show work_mem"),
        session.query("show search_path"),
        session.query("select * from placed"),
    )


@behaviour("status")
def reported_settings(stage: Stage) -> Any:
    session = stage.connect(application_name="reported")
    before = session.parameter_status("application_name"), session.parameter_status("server_version")
    session.execute("set application_name = 'changed'")
    return before, session.parameter_status("application_name"), session.parameter_status("client_encoding")


@behaviour()
def temporary_table(stage: Stage) -> Any:
    session = stage.connect()
    session.execute("create temp table mine (a int, b text)")
    session.execute("insert into mine values ($1, $2)", 1, "x")
    found = session.query("select * from mine")
    session.execute("drop table mine")
    return found, stage.failure(lambda: session.query("select * from mine"))


@behaviour(not_in=STATEMENT_REFUSES)
def temporary_table_on_commit(stage: Stage) -> Any:
    session = stage.connect()
    with session.transaction():
        session.execute("create temp table brief (a int) on commit drop")
        session.execute("insert into brief values (1)")
        inside = session.query("select count(*) from brief")
    return inside, stage.failure(lambda: session.query("select * from brief"))


@behaviour()
def advisory_locks(stage: Stage) -> Any:
    session, other = stage.connect(), stage.connect()
    taken = session.query("select pg_try_advisory_lock(77001)")
    refused = other.query("select pg_try_advisory_lock(77001)")
    freed = session.query("select pg_advisory_unlock(77001)")
    return (
        taken,
        refused,
        freed,
        other.query("select pg_try_advisory_lock(77001)"),
        other.query("select pg_advisory_unlock(77001)"),
    )


@behaviour("notices")
def notices(stage: Stage) -> Any:
    session = stage.connect()
    session.execute("do $$ begin raise notice 'first'; raise warning 'second'; end $$")
    return session.notices()


@behaviour(not_in=STATEMENT_REFUSES)
def row_lock_waits(stage: Stage) -> Any:
    session, other = stage.connect(), stage.connect()
    with session.transaction():
        session.query("select id from accounts where id = 1 for update")
        failed = stage.failure(lambda: other.query("select id from accounts where id = 1 for update nowait"))
    return failed, other.query("select id from accounts where id = 1 for update nowait")


@behaviour()
def reconnect_after_close(stage: Stage) -> Any:
    found = []
    for _ in range(4):
        session = stage.connect()
        found.append(session.query("select 1"))
        session.close()
        stage.sessions.remove(session)
    return found


@behaviour()
def query_after_close(stage: Stage) -> Any:
    session = stage.connect()
    session.close()
    stage.sessions.remove(session)
    return stage.failure(lambda: session.query("select 1"))


@behaviour()
def unknown_database(stage: Stage) -> Any:
    elsewhere = Endpoint(stage.endpoint.host, stage.endpoint.port, stage.endpoint.user, "no_such_database")
    return stage.failure(lambda: stage.adapter.connect(elsewhere))


@behaviour()
def ten_sessions_interleaved(stage: Stage) -> Any:
    sessions = [stage.connect() for _ in range(8)]
    return [session.query("select $1::int", number) for number in range(3) for session in sessions]


@behaviour()
def statement_timeout(stage: Stage) -> Any:
    session = stage.connect()
    session.execute("set statement_timeout = '30ms'")
    failed = stage.failure(lambda: session.query("select pg_sleep(10)"))
    session.execute("set statement_timeout = 0")
    return failed, session.query("select 1")


@behaviour()
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


@behaviour()
def catalogue_queries(stage: Stage) -> Any:
    session = stage.connect()
    return session.query(
        "select column_name::text, data_type::text from information_schema.columns "
        "where table_name = $1 order by ordinal_position",
        "accounts",
    )


@behaviour()
def connection_ended_by_server(stage: Stage) -> Any:
    session = stage.connect()
    failed = stage.failure(lambda: session.query("select pg_terminate_backend(pg_backend_pid())"))
    fresh = stage.connect()
    return failed, fresh.query("select 1")
