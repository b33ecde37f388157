"""What belongs to a session: settings, temp tables, locks, notifications, cancelling, beginning and end."""

from __future__ import annotations

import threading
from typing import Any

from adapters.adapter import Endpoint

from ._suite import Stage, behaviour


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
def connection_ended_by_server(stage: Stage) -> Any:
    session = stage.connect()
    failed = stage.failure(lambda: session.query("select pg_terminate_backend(pg_backend_pid())"))
    fresh = stage.connect()
    return failed, fresh.query("select 1")
