"""Exchanges about state that pins a session: temp tables, PREPARE, advisory locks, large objects."""

from __future__ import annotations

from ._exchange import NOT_STATEMENT, ask, bind, describe_statement, exchange, execute, on, parse, query, sync


def asked(name, *statements, **options):
    """An exchange of one query after the other."""
    return exchange(name, *(ask(query(sql)) for sql in statements), **options)


EXCHANGES = (
    asked(
        "temp_table",
        "create temp table t (a int, b text)",
        "insert into t values (1, 'x')",
        "select * from t",
        "drop table t",
        "select * from t",
    ),
    asked("temp_table_as", "create temporary table t as select 1 as a", "select * from t"),
    asked("temp_table_into", "select 1 as a into temp t", "select * from t"),
    asked("temp_table_by_schema", "create table pg_temp.t (a int)", "select * from t"),
    asked(
        "temp_table_shadows",
        "create temp table items (only_here int)",
        "select * from items",
        "drop table items",
        "select count(*) from items",
    ),
    asked(
        "temp_table_on_commit_drop",
        "begin; create temp table t (a int) on commit drop; select * from t; commit",
        "select * from t",
    ),
    asked(
        "temp_table_on_commit_delete",
        "create temp table t (a int) on commit delete rows",
        "begin; insert into t values (1); select * from t; commit",
        "select * from t",
    ),
    asked(
        "temp_table_rolled_back",
        "begin",
        "create temp table t (a int)",
        "rollback",
        "select * from t",
        modes=NOT_STATEMENT,
    ),
    asked(
        "temp_view_and_sequence",
        "create temp view v as select 1 as a",
        "select * from v",
        "create temp sequence s",
        "select nextval('s')",
        "select nextval('s')",
    ),
    asked(
        "temp_function", "create function pg_temp.f() returns int language sql return 5", "select pg_temp.f()"
    ),
    asked(
        "temp_table_made_in_function", "select makes_temp('made_inside')", "select count(*) from made_inside"
    ),
    asked("discard_temp", "create temp table t (a int)", "discard temp", "select * from t"),
    asked(
        "copy_to_temp_table",
        "create temp table t (a int)",
        "insert into t select n from numbers",
        "copy (select count(*) from t) to stdout",
    ),
    asked(
        "prepare_execute",
        "prepare p (int) as select $1 + 1",
        "execute p(41)",
        "execute p(1)",
        "deallocate p",
        "execute p(1)",
    ),
    asked("prepare_duplicate", "prepare p as select 1", "prepare p as select 2", "execute p"),
    asked(
        "prepare_wrong_arguments",
        "prepare p (int) as select $1",
        "execute p",
        "execute p('x')",
        "execute p(1, 2)",
    ),
    asked(
        "prepare_is_not_transactional",
        "begin",
        "prepare p as select 'kept'",
        "rollback",
        "execute p",
        modes=NOT_STATEMENT,
    ),
    asked("deallocate_missing", "deallocate nothing", "deallocate all"),
    asked("deallocate_prepare_word", "prepare p as select 1", "deallocate prepare p", "execute p"),
    asked("explain_execute", "prepare p as select 1", "explain (costs off) execute p"),
    asked(
        "create_table_as_execute",
        "prepare p as select 7 as seven",
        "create temp table t as execute p",
        "select * from t",
    ),
    asked(
        "prepared_catalogue",
        "prepare p (int) as select $1",
        "select name, statement, from_sql from pg_prepared_statements",
    ),
    exchange(
        "deallocate_protocol_statement",
        ask(parse("select 1", name="proto"), sync()),
        ask(query("deallocate proto")),
        ask(bind(statement="proto"), execute(), sync()),
    ),
    exchange(
        "deallocate_all_closes_protocol_statements",
        ask(parse("select 1", name="proto"), sync()),
        ask(query("deallocate all")),
        ask(bind(statement="proto"), execute(), sync()),
    ),
    exchange(
        "discard_all_closes_protocol_statements",
        ask(parse("select 1", name="proto"), sync()),
        ask(query("discard all")),
        ask(describe_statement("proto"), sync()),
    ),
    exchange(
        "execute_of_protocol_statement",
        ask(parse("select $1::int * 2", name="proto"), sync()),
        ask(query("execute proto(21)")),
    ),
    exchange(
        "prepare_collides_with_protocol_statement",
        ask(parse("select 1", name="same"), sync()),
        ask(query("prepare same as select 2")),
        ask(query("execute same")),
    ),
    exchange(
        "parse_collides_with_prepare",
        ask(query("prepare same as select 2")),
        ask(parse("select 1", name="same"), sync()),
    ),
    asked(
        "advisory_lock",
        "select pg_advisory_lock(1001)",
        "select pg_advisory_lock(1001)",
        "select pg_advisory_unlock(1001)",
        "select pg_advisory_unlock(1001)",
        "select pg_advisory_unlock(1001)",
    ),
    asked(
        "advisory_lock_two_keys",
        "select pg_advisory_lock(7, 8)",
        "select pg_advisory_unlock(7, 8)",
        "select pg_advisory_unlock_all()",
    ),
    asked("advisory_lock_of_transaction", "begin; select pg_advisory_xact_lock(1002); commit"),
    asked(
        "advisory_lock_survives_rollback",
        "begin",
        "select pg_advisory_lock(1003)",
        "rollback",
        "select pg_advisory_unlock(1003)",
        modes=NOT_STATEMENT,
    ),
    exchange(
        "advisory_lock_keeps_others_out",
        ask(query("select pg_advisory_lock(1004)")),
        on("other", ask(query("select pg_try_advisory_lock(1004)"))),
        ask(query("select pg_advisory_unlock(1004)")),
        on(
            "other",
            ask(query("select pg_try_advisory_lock(1004)")),
            ask(query("select pg_advisory_unlock(1004)")),
        ),
    ),
    asked(
        "sequence_state",
        "create temp sequence s start 5",
        "select currval('s')",
        "select nextval('s')",
        "select currval('s'), lastval()",
        "select setval('s', 50)",
        "select nextval('s')",
    ),
    asked(
        "large_object",
        "begin",
        "select lo_create(424242)",
        "select lo_put(424242, 0, '\\x414243')",
        "select lo_get(424242)",
        "select loread(lo_open(424242, 262144), 2)",
        "select lo_unlink(424242)",
        "commit",
        modes=NOT_STATEMENT,
    ),
    asked("load_library", "load 'plpgsql'"),
    asked(
        "current_and_session_user", "select current_user, session_user, current_database(), current_schema()"
    ),
    asked("inet_functions_work", "select inet_server_port() is not null"),
    asked(
        "backend_pid_is_stable_in_block",
        "begin",
        "create temp table pids as select pg_backend_pid() as pid",
        "select pid = pg_backend_pid() from pids",
        "rollback",
        modes=NOT_STATEMENT,
    ),
)
