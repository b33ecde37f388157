"""What a client may leave behind in its session, and the question that would show it to the next one."""

from __future__ import annotations

from attrs import frozen

OBJECTS = """
create table kept (id int);
create sequence numbers;
create role somebody;
grant somebody to postgres;
create function sets_inside() returns void language plpgsql as
    $$ begin perform set_config('random_page_cost', '3', false); end $$;
create function makes_temp() returns void language plpgsql as
    $$ begin execute 'create temp table made_inside as select 1 as a'; end $$;
create function locks_inside() returns void language plpgsql as
    $$ begin perform pg_advisory_lock(90002); end $$;
create function sets_own() returns text language sql set work_mem = '2MB' as
    $$ select current_setting('work_mem') $$;
"""


@frozen
class Leak:
    """What one client does, and the question whose answer another client must get as if it were alone.

    `pins` says that the first client keeps the server connection for itself while it is there, so that the
    other one can only come after it.
    """

    name: str
    does: tuple[str, ...]
    asks: str
    pins: bool = False


LEAKS = (
    Leak("setting", ("set work_mem = '7MB'",), "show work_mem"),
    Leak("reported_setting", ("set datestyle = 'German'",), "show datestyle"),
    Leak("application_name", ("set application_name = 'somebody else'",), "show application_name"),
    Leak("search_path", ("set search_path = pg_catalog",), "show search_path"),
    Leak("time_zone", ("set time zone 'Asia/Tokyo'",), "show timezone"),
    Leak("client_encoding", ("set client_encoding = 'LATIN1'",), "show client_encoding"),
    Leak("statement_timeout", ("set statement_timeout = '1h'",), "show statement_timeout"),
    Leak(
        "session_characteristics",
        ("set session characteristics as transaction isolation level serializable read only",),
        "select current_setting('transaction_isolation'), current_setting('transaction_read_only')",
    ),
    Leak("set_config", ("select set_config('work_mem', '6MB', false)",), "show work_mem"),
    Leak(
        "update_of_pg_settings",
        ("update pg_settings set setting = '6MB' where name = 'work_mem'",),
        "show work_mem",
        pins=True,
    ),
    Leak("setting_in_committed_block", ("begin; set work_mem = '5MB'; commit",), "show work_mem"),
    Leak("setting_in_rolled_back_block", ("begin; set work_mem = '5MB'; rollback",), "show work_mem"),
    Leak(
        "setting_kept_after_savepoint",
        ("begin; savepoint s; set work_mem = '5MB'; release s; commit",),
        "show work_mem",
    ),
    Leak(
        "setting_before_failed_string",
        ("set work_mem = '4MB'", "set work_mem = '9MB'; select 1/0"),
        "show work_mem",
    ),
    Leak("set_local", ("begin; set local work_mem = '5MB'; commit",), "show work_mem"),
    Leak(
        "set_local_over_set",
        ("begin; set work_mem = '4MB'; set local work_mem = '5MB'; commit",),
        "show work_mem",
    ),
    Leak("placeholder", ("set app.tenant_id = '42'",), "show app.tenant_id"),
    Leak("placeholder_reset", ("set app.tenant_id = '42'", "reset app.tenant_id"), "show app.tenant_id"),
    Leak("placeholder_rolled_back", ("begin; set app.tenant_id = '42'; rollback",), "show app.tenant_id"),
    Leak("placeholder_local", ("begin; set local app.tenant_id = '42'; commit",), "show app.tenant_id"),
    Leak(
        "placeholder_by_set_config",
        ("select set_config('app.tenant_id', '42', false)",),
        "select current_setting('app.tenant_id', true)",
    ),
    Leak("role", ("set role somebody",), "select current_user"),
    Leak("role_in_block", ("begin; set role somebody; commit",), "select current_user"),
    Leak(
        "session_authorization", ("set session authorization somebody",), "select session_user, current_user"
    ),
    Leak("set_inside_function", ("select sets_inside()",), "show random_page_cost"),
    Leak(
        "set_inside_do",
        ("do $$ begin perform set_config('seq_page_cost', '3', false); end $$",),
        "show seq_page_cost",
    ),
    Leak("function_with_own_setting", ("select sets_own()",), "show work_mem"),
    Leak("temp_table", ("create temp table mine (a int)",), "select * from mine", pins=True),
    Leak(
        "temp_table_shadowing",
        ("create temp table kept as select 7 as id",),
        "select count(*) from kept",
        pins=True,
    ),
    Leak("temp_table_inside_function", ("select makes_temp()",), "select * from made_inside", pins=True),
    Leak(
        "temp_table_by_schema",
        ("create table pg_temp.mine (a int)",),
        "select * from pg_temp.mine",
        pins=True,
    ),
    Leak("temp_table_dropped", ("create temp table mine (a int)", "drop table mine"), "select * from mine"),
    Leak(
        "temp_function",
        ("create function pg_temp.mine() returns int language sql return 1",),
        "select count(*) from pg_proc where proname = 'mine'",
        pins=True,
    ),
    Leak("sql_prepared", ("prepare mine as select 1",), "execute mine", pins=True),
    Leak("held_cursor", ("declare mine cursor with hold for select 1",), "fetch mine", pins=True),
    Leak(
        "cursor_list",
        ("declare mine cursor with hold for select 1",),
        "select count(*) from pg_cursors",
        pins=True,
    ),
    Leak(
        "advisory_lock",
        ("select pg_advisory_lock(90001)",),
        "select count(*) from pg_locks where locktype = 'advisory'",
        pins=True,
    ),
    Leak(
        "advisory_lock_twice",
        ("select pg_advisory_lock(90001), pg_advisory_lock(90001)", "select pg_advisory_unlock(90001)"),
        "select count(*) from pg_locks where locktype = 'advisory'",
        pins=True,
    ),
    Leak(
        "advisory_lock_inside_function",
        ("select locks_inside()",),
        "select count(*) from pg_locks where locktype = 'advisory'",
        pins=True,
    ),
    Leak(
        "advisory_lock_in_rolled_back_block",
        ("begin; select pg_advisory_lock(90003); rollback",),
        "select count(*) from pg_locks where locktype = 'advisory'",
        pins=True,
    ),
    Leak("currval", ("select nextval('numbers')",), "select currval('numbers')", pins=True),
    Leak("lastval", ("select nextval('numbers')",), "select lastval()", pins=True),
    Leak("listening", ("listen leaked",), "select count(*) from pg_listening_channels()"),
    Leak("open_block", ("begin; insert into kept values (1)",), "select count(*) from kept", pins=True),
    Leak("failed_block", ("begin; select 1/0",), "select 1", pins=True),
    Leak("read_only_block", ("begin read only",), "show transaction_read_only", pins=True),
    Leak("locked_table", ("begin; lock table kept",), "select count(*) from kept", pins=True),
    Leak("default_tablespace", ("set default_tablespace = 'pg_default'",), "show default_tablespace"),
    Leak("replication_role", ("set session_replication_role = replica",), "show session_replication_role"),
    Leak("row_security", ("set row_security = off",), "show row_security"),
    Leak("plan_cache_mode", ("set plan_cache_mode = force_generic_plan",), "show plan_cache_mode"),
)
