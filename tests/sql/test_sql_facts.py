"""What the facts say about one statement each: a table per family."""

from __future__ import annotations

from typing import Any

import pytest

from helios_trio.sql.facts import (
    AdvisoryCall,
    CopyFacts,
    CursorDeclaration,
    Relation,
    Renaming,
    SettingChange,
    StatementFacts,
    TransactionControl,
)
from helios_trio.sql.kinds import (
    ALL,
    AdvisoryLevel,
    ChangeKind,
    CopyDirection,
    CopyPeer,
    DiscardTarget,
    OnCommit,
    Scope,
    StatementKind,
    TransactionVerb,
)
from helios_trio.sql.parse import parse

K = StatementKind


def only(sql: str) -> StatementFacts:
    facts = parse(sql.encode())
    assert facts.parsed, sql
    (statement,) = facts.statements
    return statement


@pytest.mark.parametrize(
    ("sql", "kind", "writes", "plain", "opaque"),
    [
        ("SELECT 1", K.SELECT, False, True, False),
        ("TABLE t", K.SELECT, False, True, False),
        ("VALUES (1), (2)", K.VALUES, False, True, False),
        ("SELECT now(), count(*) FROM t WHERE lower(a) = 'x'", K.SELECT, False, True, False),
        ("SELECT current_user, current_timestamp(3), localtime", K.SELECT, False, True, False),
        (
            "SELECT extract(year FROM d), position('a' IN b), d AT TIME ZONE 'UTC'",
            K.SELECT,
            False,
            True,
            False,
        ),
        ("SELECT * FROM information_schema._pg_expandarray(ARRAY[1])", K.SELECT, False, True, False),
        ("SELECT random()", K.SELECT, True, True, False),
        ("SELECT nextval('s')", K.SELECT, True, True, False),
        ("SELECT currval('s')", K.SELECT, True, False, False),
        ("SELECT f()", K.SELECT, True, False, True),
        ("SELECT pg_catalog.lower('A')", K.SELECT, False, True, False),
        ("SELECT public.lower('A')", K.SELECT, True, False, True),
        ("SELECT setseed(0.5)", K.SELECT, True, False, True),
        ("SELECT query_to_xml('select 1', true, true, '')", K.SELECT, True, False, True),
        ("SELECT * FROM t FOR UPDATE", K.SELECT, True, True, False),
        ("SELECT * FROM t FOR KEY SHARE SKIP LOCKED", K.SELECT, True, True, False),
        ("SELECT * FROM (SELECT * FROM t FOR SHARE) AS x", K.SELECT, True, True, False),
        ("WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a", K.SELECT, True, True, False),
        ("INSERT INTO t VALUES (1)", K.INSERT, True, True, False),
        ("INSERT INTO t VALUES (f(1))", K.INSERT, True, False, True),
        ("UPDATE t SET a = 1", K.UPDATE, True, True, False),
        ("DELETE FROM t", K.DELETE, True, True, False),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE", K.MERGE, True, True, False),
        ("SHOW work_mem", K.SHOW, False, True, False),
        ("EXPLAIN SELECT 1", K.EXPLAIN, False, True, False),
        ("EXPLAIN DELETE FROM t", K.EXPLAIN, False, True, False),
        ("EXPLAIN ANALYZE DELETE FROM t", K.EXPLAIN, True, True, False),
        ("EXPLAIN (ANALYZE off) DELETE FROM t", K.EXPLAIN, False, True, False),
        ("EXPLAIN (ANALYZE 0, ANALYZE 1) DELETE FROM t", K.EXPLAIN, True, True, False),
        ("EXPLAIN (ANALYZE, FORMAT json) SELECT f()", K.EXPLAIN, True, False, True),
        ("EXPLAIN SELECT f()", K.EXPLAIN, False, False, True),
        ("EXPLAIN EXECUTE p", K.EXPLAIN, False, False, False),
        ("LOCK TABLE t", K.LOCK, True, True, False),
        ("TRUNCATE t", K.TRUNCATE, True, True, False),
        ("SET CONSTRAINTS ALL DEFERRED", K.SET_CONSTRAINTS, False, True, False),
        ("SET work_mem = '1MB'", K.SET, False, False, False),
        ("RESET work_mem", K.RESET, False, False, False),
        ("DISCARD TEMP", K.DISCARD, False, False, False),
        ("BEGIN", K.TRANSACTION, False, False, False),
        ("COMMIT PREPARED 'x'", K.TRANSACTION, True, False, False),
        ("PREPARE p AS SELECT f()", K.PREPARE, False, False, False),
        ("EXECUTE p", K.EXECUTE, True, False, False),
        ("DEALLOCATE p", K.DEALLOCATE, False, False, False),
        ("DECLARE c CURSOR FOR SELECT 1", K.DECLARE, False, False, False),
        ("FETCH c", K.FETCH, False, False, False),
        ("MOVE 5 FROM c", K.MOVE, False, False, False),
        ("CLOSE c", K.CLOSE, False, False, False),
        ("LISTEN c", K.LISTEN, True, False, False),
        ("UNLISTEN c", K.UNLISTEN, False, False, False),
        ("NOTIFY c", K.NOTIFY, True, False, False),
        ("DO $$ BEGIN END $$", K.DO, True, False, True),
        ("CALL p()", K.CALL, True, False, True),
        ("LOAD 'auto_explain'", K.LOAD, True, False, True),
        ("CREATE EXTENSION hstore", K.DDL, True, False, True),
        ("VACUUM", K.VACUUM, True, False, False),
        ("ANALYZE t", K.ANALYZE, True, True, False),
        ("CREATE TABLE t (a int DEFAULT f())", K.CREATE_TABLE, True, False, False),
        ("CREATE VIEW v AS SELECT f()", K.CREATE_VIEW, True, False, False),
        ("CREATE TABLE t AS SELECT f()", K.CREATE_TABLE_AS, True, False, True),
        ("SELECT 1 INTO t", K.CREATE_TABLE_AS, True, False, False),
        ("GRANT SELECT ON t TO u", K.DDL, True, False, False),
        ("COMMENT ON TABLE t IS 'x'", K.DDL, True, False, False),
        ("ALTER SYSTEM SET work_mem = '1MB'", K.ALTER_SYSTEM, True, False, False),
        ("ALTER ROLE u SET work_mem = '1MB'", K.DDL, True, False, False),
        ("CHECKPOINT", K.CHECKPOINT, True, False, False),
    ],
)
def test_kind_and_verdicts(sql: str, kind: StatementKind, writes: bool, plain: bool, opaque: bool) -> None:
    """Kind, writes, plain and opaque of one statement, and the same of its text."""
    statement = only(sql)
    assert (statement.kind, statement.writes, statement.plain, statement.opaque) == (
        kind,
        writes,
        plain,
        opaque,
    )
    facts = parse(sql.encode())
    assert (facts.writes, facts.plain, facts.opaque) == (writes, plain, opaque)


@pytest.mark.parametrize("sql", ["", "  ", ";;", "-- nothing", "/* nothing */ ;"])
def test_an_empty_query_is_plain(sql: str) -> None:
    """A text without statements parses, writes nothing and is plain."""
    facts = parse(sql.encode())
    assert facts.parsed
    assert facts.plain
    assert facts.statements == ()
    assert not facts.writes
    assert not facts.opaque


def change(name: str, value: str | None, scope: Scope = Scope.SESSION, **more: Any) -> SettingChange:
    kind = ChangeKind.RESET if value is None else ChangeKind.SET
    return SettingChange(name, value, scope, **{"kind": kind, **more})


TX = Scope.TRANSACTION


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SET work_mem = 64", change("work_mem", "64")),
        ("SET Work_Mem TO '64MB'", change("work_mem", "64MB")),
        ("SET seq_page_cost = 1.5", change("seq_page_cost", "1.5")),
        ("SET seq_page_cost = -1.5", change("seq_page_cost", "-1.5")),
        ("SET enable_seqscan = on", change("enable_seqscan", "on")),
        ("SET enable_seqscan = true", change("enable_seqscan", "true")),
        ("SET SESSION work_mem = 1", change("work_mem", "1")),
        ("SET LOCAL work_mem = 1", change("work_mem", "1", Scope.LOCAL)),
        ("SET LOCAL work_mem TO DEFAULT", change("work_mem", None, Scope.LOCAL)),
        ("SET app.tenant_id = '42'", change("app.tenant_id", "42")),
        ("SET \"App\".Tenant = '42'", change("app.tenant", "42")),
        ("SET search_path = a, \"B c\", '$user', ''", change("search_path", 'a, "B c", "$user", ""')),
        ("SET SCHEMA 'x y'", change("search_path", '"x y"')),
        ("SET datestyle = ISO, MDY", change("datestyle", "iso, mdy")),
        ("SET datestyle = 'ISO, MDY'", change("datestyle", "ISO, MDY")),
        ("SET TIME ZONE 'UTC'", change("timezone", "UTC")),
        ("SET TIME ZONE -7", change("timezone", "-7")),
        ("SET TIME ZONE LOCAL", change("timezone", None)),
        ("SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", change("timezone", "INTERVAL '-08:00'")),
        ("SET NAMES 'latin1'", change("client_encoding", "latin1")),
        ("SET NAMES", change("client_encoding", None)),
        ("SET ROLE bob", change("role", "bob")),
        ("SET ROLE NONE", change("role", "none")),
        ("SET LOCAL ROLE bob", change("role", "bob", Scope.LOCAL)),
        ("RESET ROLE", change("role", None)),
        ("SET SESSION AUTHORIZATION 'Bob'", change("session_authorization", "Bob")),
        ("SET SESSION AUTHORIZATION DEFAULT", change("session_authorization", None)),
        ("RESET SESSION AUTHORIZATION", change("session_authorization", None)),
        ("SET XML OPTION DOCUMENT", change("xmloption", "DOCUMENT")),
        ("RESET work_mem", change("work_mem", None)),
        ("RESET TIME ZONE", change("timezone", None)),
        ("RESET ALL", change("", None, kind=ChangeKind.RESET_ALL)),
        ("SET transaction_read_only = on", change("transaction_read_only", "on", TX)),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", change("transaction_isolation", "serializable", TX)),
        ("SET SESSION TRANSACTION READ ONLY", change("transaction_read_only", "1", TX)),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            change("default_transaction_isolation", "repeatable read"),
        ),
        ("SELECT set_config('Work_Mem', '64MB', false)", change("work_mem", "64MB")),
        ("SELECT pg_catalog.set_config('a.b', 'c', true) AS x", change("a.b", "c", Scope.LOCAL)),
        ("SELECT set_config('a.b', NULL, false)", change("a.b", None)),
        ("SELECT set_config('a.b'::text, 'c'::text, 'f'::bool)::text", change("a.b", "c")),
        ("SELECT set_config('a.b', 'c', NULL)", change("a.b", "c")),
    ],
)
def test_settings(sql: str, expected: SettingChange) -> None:
    """Every spelling of SET and RESET, and set_config with literals (rule 6)."""
    statement = only(sql)
    assert statement.settings == (expected,)
    assert not statement.unknown_settings
    assert not statement.local_settings_unknown
    assert not statement.plain


def test_several_settings_in_one_statement() -> None:
    """Modes of a transaction and columns of a SELECT may set several parameters."""
    both = only(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE, DEFERRABLE"
    )
    assert [(c.name, c.value) for c in both.settings] == [
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_read_only", "0"),
        ("default_transaction_deferrable", "1"),
    ]
    calls = only("SELECT set_config('a.a', '1', false), set_config('a.b', '2', true)")
    assert calls.settings == (change("a.a", "1"), change("a.b", "2", Scope.LOCAL))


@pytest.mark.parametrize(
    ("sql", "session", "local"),
    [
        ("SELECT set_config($1, $2, false)", True, False),
        ("SELECT set_config('a.b', $1, false)", True, False),
        ("SELECT set_config('a.b', 'c', $1)", True, False),
        ("SELECT set_config('a.b', $1, true)", False, True),
        ("SELECT set_config(setting_name => 'a.b', new_value => 'c', is_local => false)", True, False),
        ("SELECT set_config('a.b', 'c', false) FROM t", True, False),
        ("SELECT set_config('a.b', 'c', false) WHERE $1", True, False),
        ("SELECT CASE WHEN $1 THEN set_config('a.b', 'c', false) END", True, False),
        ("SELECT set_config('a.b', 'c', true) FROM t", False, True),
        ("SELECT set_config('a.b', 'c', false) LIMIT 0", True, False),
        ("DECLARE x CURSOR FOR SELECT set_config('a.b', 'c', false)", True, False),
        ("SET work_mem FROM CURRENT", True, False),
        ("SET LOCAL work_mem FROM CURRENT", False, True),
        ("SET TIME ZONE INTERVAL '-8' HOUR", True, False),
    ],
)
def test_settings_that_the_text_does_not_give(sql: str, session: bool, local: bool) -> None:
    """What cannot be known is said to be unknown, and a change that is named is marked uncertain."""
    statement = only(sql)
    assert (statement.unknown_settings, statement.local_settings_unknown) == (session, local)
    assert statement.opaque is session
    assert not statement.plain
    assert not any(c.certain for c in statement.settings)


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT set_config('a.b', 'c', false), pg_advisory_lock(1)",
        "PREPARE p AS SELECT set_config('a.b', 'c', false), pg_advisory_lock(1)",
        "CREATE VIEW v AS SELECT set_config('a.b', 'c', false), pg_advisory_lock(1)",
        "CREATE TABLE t (a text DEFAULT set_config('a.b', 'c', false))",
        "ALTER SYSTEM SET work_mem = 1",
        "ALTER DATABASE d SET work_mem = 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET work_mem = 1 RETURN 1",
        "SET TRANSACTION SNAPSHOT 'x'",
        "SHOW work_mem",
    ],
)
def test_what_is_not_run_sets_nothing(sql: str) -> None:
    """Expressions kept for later, and settings of other things than the session, change no setting."""
    statement = only(sql)
    assert statement.settings == ()
    assert statement.advisory == ()
    assert not statement.unknown_settings


V = TransactionVerb


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("BEGIN", TransactionControl(V.BEGIN)),
        ("START TRANSACTION READ ONLY", TransactionControl(V.BEGIN, read_only=True)),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE, DEFERRABLE",
            TransactionControl(V.BEGIN, isolation="serializable", read_only=False, deferrable=True),
        ),
        ("BEGIN NOT DEFERRABLE", TransactionControl(V.BEGIN, deferrable=False)),
        ("BEGIN READ ONLY, READ WRITE", TransactionControl(V.BEGIN, read_only=False)),
        ("COMMIT", TransactionControl(V.COMMIT)),
        ("END AND CHAIN", TransactionControl(V.COMMIT, chain=True)),
        ("ROLLBACK AND NO CHAIN", TransactionControl(V.ROLLBACK)),
        ("ABORT AND CHAIN", TransactionControl(V.ROLLBACK, chain=True)),
        ('SAVEPOINT "S"', TransactionControl(V.SAVEPOINT, "S")),
        ("RELEASE SAVEPOINT s", TransactionControl(V.RELEASE, "s")),
        ("ROLLBACK TO s", TransactionControl(V.ROLLBACK_TO, "s")),
        ("PREPARE TRANSACTION 'g'", TransactionControl(V.PREPARE, "g")),
        ("COMMIT PREPARED 'g'", TransactionControl(V.COMMIT_PREPARED, "g")),
        ("ROLLBACK PREPARED 'g'", TransactionControl(V.ROLLBACK_PREPARED, "g")),
    ],
)
def test_transaction_control(sql: str, expected: TransactionControl) -> None:
    """The transaction commands with their options."""
    statement = only(sql)
    assert statement.transaction == expected
    assert not statement.plain


X = AdvisoryLevel.TRANSACTION


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("pg_advisory_lock(1)", {"args": (1,)}),
        ("pg_advisory_lock(1, -2)", {"args": (1, -2)}),
        ("pg_advisory_lock(-9223372036854775808)", {"args": (-(2**63),)}),
        ("pg_advisory_lock('5')", {"args": (5,)}),
        ("pg_advisory_lock(5::bigint)", {"args": (5,)}),
        ("pg_advisory_lock(hashtext('x'))", {"args": None}),
        ("pg_advisory_lock($1)", {"args": None}),
        ("pg_catalog.pg_advisory_lock_shared(1)", {"args": (1,), "shared": True}),
        ("pg_try_advisory_lock(1)", {"args": (1,), "is_try": True}),
        ("pg_try_advisory_lock_shared(1)", {"args": (1,), "is_try": True, "shared": True}),
        ("pg_advisory_xact_lock(1)", {"args": (1,), "level": X}),
        ("pg_advisory_xact_lock_shared(1)", {"args": (1,), "level": X, "shared": True}),
        ("pg_try_advisory_xact_lock(1)", {"args": (1,), "level": X, "is_try": True}),
        ("pg_try_advisory_xact_lock_shared(1)", {"args": (1,), "level": X, "is_try": True, "shared": True}),
        ("pg_advisory_unlock(1)", {"args": (1,), "unlock": True}),
        ("pg_advisory_unlock_shared(1)", {"args": (1,), "unlock": True, "shared": True}),
        ("pg_advisory_unlock_all()", {"args": (), "unlock_all": True}),
    ],
)
def test_advisory_locks(call: str, expected: dict[str, Any]) -> None:
    """Every advisory lock function, with keys where they are literals (rule 12)."""
    name = call.split("(")[0].removeprefix("pg_catalog.")
    statement = only(f"SELECT {call}")
    assert statement.advisory == (AdvisoryCall(name, **expected),)
    assert statement.writes
    assert not statement.plain
    (uncertain,) = only(f"SELECT {call} FROM t").advisory
    assert not uncertain.certain


@pytest.mark.parametrize(
    ("sql", "field", "expected"),
    [
        ("PREPARE p (int, text) AS SELECT $1", "prepares", "p"),
        ('/* AS */ PREPARE "as" (numeric(1)) AS\n INSERT INTO t SELECT 1 AS b -- c', "prepares", "as"),
        ("EXECUTE p(1)", "executes", "p"),
        ("CREATE TABLE t AS EXECUTE p", "executes", "p"),
        ("EXPLAIN ANALYZE EXECUTE p", "executes", "p"),
        ("DEALLOCATE PREPARE p", "deallocates", "p"),
        ('DEALLOCATE "all"', "deallocates", "all"),
        ("DEALLOCATE ALL", "deallocates", ALL),
        ("DECLARE c CURSOR FOR SELECT 1", "declares", CursorDeclaration("c")),
        (
            "DECLARE c BINARY SCROLL CURSOR WITH HOLD FOR SELECT 1",
            "declares",
            CursorDeclaration("c", hold=True, scroll=True, binary=True),
        ),
        ("DECLARE c NO SCROLL CURSOR FOR SELECT 1", "declares", CursorDeclaration("c", scroll=False)),
        ("EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT 1", "declares", None),
        ("FETCH ALL FROM c", "fetches", "c"),
        ("MOVE 1 IN c", "fetches", "c"),
        ("CLOSE c", "closes", "c"),
        ("CLOSE ALL", "closes", ALL),
        ("LISTEN c", "listens", "c"),
        ("UNLISTEN c", "unlistens", "c"),
        ("UNLISTEN *", "unlistens", ALL),
        ("NOTIFY c, 'payload'", "notifies", ("c",)),
        ("SELECT pg_notify('c', 'x'), pg_notify($1, 'x')", "notifies", ("c", None)),
        ("DISCARD ALL", "discards", DiscardTarget.ALL),
        ("DISCARD PLANS", "discards", DiscardTarget.PLANS),
        ("DISCARD SEQUENCES", "discards", DiscardTarget.SEQUENCES),
        ("DISCARD TEMPORARY", "discards", DiscardTarget.TEMP),
        ("COPY t FROM STDIN", "copy", CopyFacts(CopyDirection.IN, CopyPeer.STDIO)),
        ("COPY (SELECT 1) TO STDOUT", "copy", CopyFacts(CopyDirection.OUT, CopyPeer.STDIO)),
        ("COPY t FROM '/f'", "copy", CopyFacts(CopyDirection.IN, CopyPeer.FILE)),
        ("COPY t TO PROGRAM 'x'", "copy", CopyFacts(CopyDirection.OUT, CopyPeer.PROGRAM)),
        ("ALTER TABLE a.t RENAME TO u", "renamed", Renaming(Relation("t", "a"), "u")),
        ("ALTER TABLE t RENAME a TO b", "renamed", None),
        ("DROP DATABASE IF EXISTS d", "databases", ("d",)),
        ("ALTER DATABASE d RENAME TO e", "databases", ("d",)),
        ("ALTER DATABASE d SET TABLESPACE x", "databases", ("d",)),
        ("CREATE DATABASE d TEMPLATE e", "databases", ("e",)),
        ("SELECT lastval()", "sequence_state", True),
        ("SELECT nextval('s')", "sequence_state", False),
        ("DO ''", "ends_transaction_itself", True),
        ("CALL a.p(f(1))", "user_functions", ("a.p", "f")),
        (
            "SELECT g(f(1)), pg_catalog.lower(x), random() FROM h() WHERE k(1)",
            "user_functions",
            ("g", "f", "h", "k"),
        ),
        ("SELECT lower(a), random(), current_date", "functions", ("lower", "random", "current_date")),
        ("SELECT lower(a), random()", "volatile_functions", ("random",)),
        ("SELECT sum(a) FILTER (WHERE f(b)) OVER (ORDER BY g(c)) FROM t", "user_functions", ("f", "g")),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = f() RETURNING g()",
            "user_functions",
            ("f", "g"),
        ),
        ("SELECT 1 FROM t FOR UPDATE", "row_locks", True),
    ],
)
def test_one_field(sql: str, field: str, expected: Any) -> None:
    """One fact per row of the table."""
    assert getattr(only(sql), field) == expected


def test_text_of_a_prepared_statement() -> None:
    """What stands behind AS is kept, so that its own facts can be had when it is executed."""
    facts = parse(b"SELECT 1; PREPARE p (numeric(1, 2)) AS /* c */ SELECT $1 AS x ; SELECT 2")
    assert facts.statements[1].prepared_text == "/* c */ SELECT $1 AS x"


@pytest.mark.parametrize(
    ("sql", "reads", "written"),
    [
        ("SELECT * FROM a, b.c JOIN d ON true, LATERAL (SELECT * FROM e) AS x", "a b.c d e", ""),
        ("SELECT (SELECT 1 FROM a WHERE EXISTS (TABLE b))", "a b", ""),
        ("SELECT * FROM a UNION SELECT * FROM b UNION ALL VALUES (1)", "a b", ""),
        ("INSERT INTO a SELECT * FROM b", "b", "a"),
        ("INSERT INTO a SELECT * FROM a", "a", "a"),
        ("UPDATE a SET x = 1 FROM b WHERE EXISTS (SELECT FROM c)", "b c", "a"),
        ("DELETE FROM a USING b", "b", "a"),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE", "b", "a"),
        ("WITH a AS (SELECT 1) SELECT * FROM a, public.a", "public.a", ""),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", "a", ""),
        ("WITH RECURSIVE a AS (SELECT 1 UNION SELECT * FROM a) SELECT * FROM a", "", ""),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a, b", "b", ""),
        ("WITH a AS (SELECT 1) SELECT * FROM (WITH b AS (TABLE a) SELECT * FROM a, b) AS x", "", ""),
        ("SELECT * FROM (WITH a AS (SELECT 1) TABLE a) AS x, a", "a", ""),
        ("WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a", "", "b"),
        ("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", "", "t"),
        ("SELECT * FROM a AS x FOR UPDATE OF x", "a", ""),
        ("SELECT * FROM a TABLESAMPLE system (1)", "a", ""),
        ("COPY a FROM STDIN", "", "a"),
        ("COPY a TO STDOUT", "a", ""),
        ("COPY (SELECT * FROM a) TO STDOUT", "a", ""),
        ("TRUNCATE a, b.c", "", "a b.c"),
        ("LOCK a", "", "a"),
        ("DROP TABLE a, b.c", "", "a b.c"),
        ("CREATE TABLE a AS SELECT * FROM b", "b", "a"),
        ("CREATE TABLE a (LIKE b)", "b", "a"),
        ("CREATE VIEW a AS SELECT * FROM b", "b", "a"),
        ("CREATE INDEX ON a (x)", "", "a"),
        ("ALTER TABLE a ADD COLUMN x int", "", "a"),
        ("ALTER TABLE a DETACH PARTITION b", "", "a b"),
        ("REFRESH MATERIALIZED VIEW a", "", "a"),
        ("VACUUM a", "", "a"),
        ("EXPLAIN DELETE FROM a", "a", ""),
        ("EXPLAIN ANALYZE DELETE FROM a", "", "a"),
        ("PREPARE p AS DELETE FROM a", "", ""),
    ],
)
def test_relations(sql: str, reads: str, written: str) -> None:
    """Relations read and written; names of WITH queries are none, in their scope."""
    statement = only(sql)

    def names(relations: tuple[Relation, ...]) -> list[str]:
        return sorted(f"{r.schema}.{r.name}" if r.schema else r.name for r in relations)

    assert names(statement.reads) == reads.split()
    assert names(statement.written) == written.split()


@pytest.mark.parametrize(
    ("sql", "name", "on_commit"),
    [
        ("CREATE TEMP TABLE t (a int)", Relation("t"), OnCommit.PRESERVE),
        ("CREATE TEMPORARY TABLE t (a int) ON COMMIT DROP", Relation("t"), OnCommit.DROP),
        ("CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS", Relation("t"), OnCommit.DELETE),
        ("CREATE TABLE pg_temp.t (a int)", Relation("t", "pg_temp"), OnCommit.PRESERVE),
        ("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1", Relation("t"), OnCommit.DROP),
        ("CREATE TABLE pg_temp_3.t AS SELECT 1", Relation("t", "pg_temp_3"), OnCommit.PRESERVE),
        ("SELECT 1 INTO TEMP t", Relation("t"), OnCommit.PRESERVE),
        ("SELECT 1 INTO TEMP t UNION SELECT 2 UNION SELECT 3", Relation("t"), OnCommit.PRESERVE),
        ("CREATE TEMP VIEW t AS SELECT 1", Relation("t"), None),
        ("CREATE TEMP SEQUENCE t", Relation("t"), None),
        ("CREATE FUNCTION pg_temp.t() RETURNS int RETURN 1", Relation("t", "pg_temp"), None),
        ("CREATE TYPE pg_temp.t AS (a int)", Relation("t", "pg_temp"), None),
        ("CREATE TYPE pg_temp.t AS ENUM ('a')", Relation("t", "pg_temp"), None),
        ("CREATE DOMAIN pg_temp.t AS int", Relation("t", "pg_temp"), None),
        ("EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1", Relation("t"), OnCommit.PRESERVE),
    ],
)
def test_temporary_objects(sql: str, name: Relation, on_commit: OnCommit | None) -> None:
    """What lives in the temporary schema is named, with what COMMIT does to its rows (rule 10)."""
    statement = only(sql)
    assert statement.temporary == (name,)
    assert statement.on_commit == on_commit
    assert not statement.plain


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE t (a int)", "EXPLAIN CREATE TEMP TABLE t AS SELECT 1", "CREATE VIEW v AS SELECT 1"]
)
def test_objects_that_are_not_temporary(sql: str) -> None:
    """Permanent objects, and those only explained, are not noted as temporary."""
    assert only(sql).temporary == ()


def test_dropped_names() -> None:
    """DROP names its objects, functions and types as well."""
    assert only("DROP TABLE a, b.c, d.e.f CASCADE").dropped == (
        Relation("a"),
        Relation("c", "b"),
        Relation("f", "e"),
    )
    assert only("DROP FUNCTION pg_temp.f(int)").dropped == (Relation("f", "pg_temp"),)
    assert only("DROP TYPE t").dropped == (Relation("t"),)
    assert only("DROP SCHEMA s").dropped == ()


@pytest.mark.parametrize(
    ("sql", "outside"),
    [
        ("VACUUM", True),
        ("ANALYZE", False),
        ("CREATE DATABASE d", True),
        ("DROP DATABASE d", True),
        ("ALTER DATABASE d SET TABLESPACE x", True),
        ("ALTER DATABASE d RENAME TO e", False),
        ("CREATE TABLESPACE s LOCATION '/x'", True),
        ("DROP TABLESPACE s", True),
        ("ALTER SYSTEM RESET ALL", True),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", True),
        ("CREATE INDEX i ON t (a)", False),
        ("DROP INDEX CONCURRENTLY i", True),
        ("DROP INDEX i", False),
        ("REINDEX TABLE CONCURRENTLY t", True),
        ("REINDEX TABLE t", False),
        ("REINDEX DATABASE d", True),
        ("CLUSTER", True),
        ("CLUSTER t", False),
        ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", True),
        ("ALTER TABLE t DETACH PARTITION p", False),
        ("DISCARD ALL", True),
        ("DISCARD TEMP", False),
        ("COMMIT PREPARED 'x'", True),
        ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", True),
    ],
)
def test_statements_that_run_outside_transactions_only(sql: str, outside: bool) -> None:
    """Those that PostgreSQL refuses in a transaction block; none of them is plain."""
    statement = only(sql)
    assert statement.outside_transaction is outside
    assert not (outside and statement.plain)


def test_spans_are_bytes() -> None:
    """Each statement's span cuts it out of the text, also behind characters of several bytes."""
    text = " /* é */ SELECT 'é'; ;; SELECT 2 -- ü\n; SELECT 'ü' ".encode()
    facts = parse(text)
    assert [s.slice(text).strip() for s in facts.statements] == [
        "SELECT 'é'".encode(),
        "SELECT 2 -- ü".encode(),
        "SELECT 'ü'".encode(),
    ]
    (single,) = parse(b" SELECT 1 ; ").statements
    assert single.span is None
    assert single.slice(b"text") == b"text"


def test_a_text_is_summed_up_from_its_statements() -> None:
    """One write makes a text write, one opaque statement makes it opaque, one not plain takes plain away."""
    facts = parse(b"SELECT 1; INSERT INTO t VALUES (1)")
    assert (facts.writes, facts.plain, facts.opaque) == (True, True, False)
    facts = parse(b"SELECT 1; SET work_mem = 1")
    assert (facts.writes, facts.plain, facts.opaque) == (False, False, False)
    facts = parse(b"SELECT 1; DO ''")
    assert (facts.writes, facts.plain, facts.opaque) == (True, False, True)


def test_fingerprint_and_normalised_text() -> None:
    """Texts that differ in constants only share both; no constant is left in the text (rule 39)."""
    one = parse(b"SELECT a /* x */ FROM t WHERE b = 'secret' AND c = $2 AND d IN (1.5, -2) -- y")
    two = parse(b"SELECT a FROM t\n WHERE b = 'other' AND c = $2 AND d IN (2.5, -3)")
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint is not None
    assert len(one.fingerprint) == 16
    assert one.normalised == two.normalised == "SELECT a FROM t WHERE b = $3 AND c = $2 AND d IN ($4, -$5)"
    role = parse(b"ALTER ROLE \"a  b\" PASSWORD 'secret'")
    assert role.normalised == 'ALTER ROLE "a  b" PASSWORD $1'
    assert parse("SELECT 'é', B'1', X'F', E'\\'', $$x$$, 'a'\n'b'".encode()).normalised == (
        "SELECT $1, $2, $3, $4, $5, $6"
    )
