"""Statements with the kind of server that may serve them, and the schema in which they run.

`PRIMARY`: only the server that takes writes. `REPLICA`: any server; each of these is also run on a real standby. Texts
are meant as requests by themselves, outside of a transaction that is open already.
"""

from __future__ import annotations

PRIMARY, REPLICA = "primary", "replica"

#: Run on the primary before; also the functions of an application, which nobody knows.
SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, a int, b text, at timestamptz DEFAULT now());
CREATE TABLE s (id int PRIMARY KEY, t_id int REFERENCES t, n numeric);
INSERT INTO t SELECT i, i % 3, 'row ' || i FROM generate_series(1, 20) AS i;
INSERT INTO s SELECT i, i, i FROM generate_series(1, 20) AS i;
CREATE SEQUENCE q;
SELECT nextval('q');
CREATE VIEW v AS SELECT * FROM t WHERE a > 0;
CREATE MATERIALIZED VIEW m AS SELECT a, count(*) FROM t GROUP BY a;
CREATE SCHEMA app;
CREATE FUNCTION app.f(int) RETURNS int IMMUTABLE LANGUAGE sql RETURN $1 + 1;
CREATE FUNCTION f(int) RETURNS int VOLATILE LANGUAGE sql RETURN $1 + 1;
CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS 'UPDATE t SET a = a RETURNING id';
CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1';
CREATE TYPE pair AS (x int, y int);
SELECT lo_from_bytea(4711, 'large');
"""

READS = """
SELECT 1
SELECT
SELECT 1;
SELECT 1; SELECT 2; VALUES (3)
;
-- nothing but a comment
/* a comment */ SELECT 1
/*+ route=primary */ SELECT 1
SELECT * FROM t
SELECT id, a FROM t WHERE id = 7
SELECT * FROM t WHERE id IN (1, 2, 3) ORDER BY id LIMIT 2 OFFSET 1
SELECT * FROM t FETCH FIRST 3 ROWS ONLY
SELECT * FROM ONLY t
SELECT * FROM v
SELECT * FROM m
TABLE t
TABLE t ORDER BY 1 LIMIT 1
VALUES (1, 'x'), (2, 'y')
SELECT * FROM (VALUES (1), (2)) AS x(i)
SELECT t.id, s.n FROM t JOIN s ON s.t_id = t.id
SELECT * FROM t LEFT JOIN s USING (id) WHERE s.id IS NULL
SELECT * FROM t NATURAL JOIN s
SELECT * FROM t, s WHERE t.id = s.t_id
SELECT * FROM t CROSS JOIN LATERAL (SELECT n FROM s WHERE s.t_id = t.id LIMIT 1) AS x
SELECT * FROM t, LATERAL generate_series(1, t.a) AS g
SELECT id FROM t UNION SELECT id FROM s
SELECT id FROM t UNION ALL (SELECT a FROM m) LIMIT 0
(SELECT id FROM t) INTERSECT (SELECT id FROM s) EXCEPT SELECT 3
SELECT DISTINCT ON (a) a, id FROM t ORDER BY a, id
SELECT a, count(*), sum(id) FILTER (WHERE id > 3) FROM t GROUP BY a HAVING count(*) > 1
SELECT a, count(*) FROM t GROUP BY GROUPING SETS ((a), ())
SELECT a, id, rank() OVER (PARTITION BY a ORDER BY id) FROM t
SELECT id, lag(id) OVER w FROM t WINDOW w AS (ORDER BY id)
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY id) FROM t
SELECT string_agg(b, ',' ORDER BY id) FROM t
SELECT * FROM t WHERE EXISTS (SELECT 1 FROM s WHERE s.t_id = t.id)
SELECT (SELECT max(n) FROM s)
SELECT * FROM t WHERE id = ANY (ARRAY(SELECT t_id FROM s))
SELECT * FROM t TABLESAMPLE system (50)
SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END, coalesce(b, ''), nullif(a, 0), greatest(a, id) FROM t
SELECT ROW(1, 2)::pair, (ROW(1, 2)::pair).x
SELECT id::text, CAST(a AS numeric), b COLLATE "C" FROM t
SELECT b LIKE 'row%', b ~ '^row', b SIMILAR TO 'r%' FROM t
WITH x AS (SELECT * FROM t) SELECT * FROM x
WITH x AS MATERIALIZED (SELECT 1 AS i), y AS (SELECT i FROM x) SELECT * FROM x, y
WITH RECURSIVE r(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM r WHERE i < 5) SELECT * FROM r
SELECT lower('A'), upper(b), length(b), substring(b FROM 1 FOR 2), md5(b) FROM t
SELECT pg_catalog.lower('A')
SELECT now(), current_timestamp, current_date, localtime, transaction_timestamp(), statement_timestamp()
SELECT clock_timestamp(), timeofday()
SELECT current_user, session_user, current_database(), current_schema(), current_schemas(true), version()
SELECT current_setting('search_path'), current_setting('app.tenant_id', true)
SELECT random(), random(1, 6), random_normal()
SELECT gen_random_uuid(), uuidv4(), uuidv7()
SELECT array_shuffle(ARRAY[1, 2]), array_sample(ARRAY[1, 2], 1)
SELECT pg_sleep(0)
SELECT pg_sleep_for('0 s'), pg_sleep_until(now())
SELECT to_char(now(), 'YYYY'), to_date('2020', 'YYYY'), date_trunc('day', now()), extract(year FROM now()), age(now())
SELECT format('%s', 1), concat_ws(',', 1, 2), quote_literal('x')
SELECT json_agg(t), jsonb_build_object('a', 1), row_to_json(t) FROM t GROUP BY t
SELECT * FROM json_to_recordset('[{"a": 1}]') AS x(a int)
SELECT * FROM json_table('[1, 2]', '$[*]' COLUMNS (i int PATH '$'))
SELECT jsonb_path_query('{"a": [1]}', '$.a[*]')
SELECT to_tsvector('a b') @@ to_tsquery('a')
SELECT unnest(ARRAY[1, 2]), generate_series(1, 2)
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[3])) WITH ORDINALITY
SELECT pg_typeof(1), pg_column_size('x'::text), pg_get_viewdef('v'::regclass)
SELECT has_table_privilege('t', 'select'), to_regclass('t')
SELECT pg_relation_size('t'), pg_total_relation_size('t'), pg_size_pretty(pg_table_size('t')), pg_indexes_size('t')
SELECT pg_database_size(current_database())
SELECT * FROM pg_partition_tree('t')
SELECT pg_current_xact_id_if_assigned(), pg_current_snapshot(), txid_current_snapshot()
SELECT lo_get(4711)
SELECT relname FROM pg_class WHERE oid = 't'::regclass
SELECT * FROM pg_catalog.pg_tables
SELECT table_name FROM information_schema.tables
SELECT * FROM information_schema.columns WHERE table_name = 't'
SELECT xmin, ctid, tableoid FROM t
EXPLAIN SELECT * FROM t
EXPLAIN (VERBOSE, COSTS off, FORMAT json) SELECT * FROM t
EXPLAIN ANALYZE SELECT * FROM t
EXPLAIN (ANALYZE, BUFFERS) SELECT count(*) FROM t
EXPLAIN INSERT INTO t VALUES (100)
EXPLAIN UPDATE t SET a = 1
EXPLAIN DELETE FROM t
EXPLAIN (ANALYZE false) DELETE FROM t
EXPLAIN SELECT * FROM t FOR UPDATE
EXPLAIN CREATE TABLE other AS SELECT 1
EXPLAIN SELECT nextval('q')
COPY t TO STDOUT
COPY t (id, a) TO STDOUT (FORMAT csv, HEADER)
COPY (SELECT * FROM t WHERE a = 1) TO STDOUT
COPY (VALUES (1)) TO STDOUT (FORMAT binary)
BEGIN READ ONLY
BEGIN TRANSACTION READ ONLY
START TRANSACTION READ ONLY
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY
START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY
BEGIN READ ONLY, DEFERRABLE
BEGIN READ ONLY; SELECT 1; COMMIT
BEGIN READ ONLY; DECLARE c CURSOR FOR SELECT * FROM t; FETCH 2 FROM c; MOVE 1 IN c; CLOSE c; COMMIT
BEGIN READ ONLY; SET LOCAL work_mem = '8MB'; SELECT 1; ROLLBACK
BEGIN READ ONLY; SAVEPOINT x; SELECT 1; ROLLBACK TO x; RELEASE x; END
COMMIT
ROLLBACK
END
ABORT
"""

WRITES = """
INSERT INTO t VALUES (100)
INSERT INTO t DEFAULT VALUES
INSERT INTO t (id) SELECT id FROM s RETURNING id
INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING
UPDATE t SET a = 1 WHERE id = 1
UPDATE t SET a = s.id FROM s WHERE s.t_id = t.id
DELETE FROM t WHERE id = 1
DELETE FROM t USING s WHERE t.id = s.t_id RETURNING *
MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = 1
TRUNCATE t
TRUNCATE TABLE t, s RESTART IDENTITY CASCADE
WITH x AS (INSERT INTO t VALUES (100) RETURNING id) SELECT * FROM x
WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT count(*) FROM x
WITH x AS (DELETE FROM t RETURNING *) SELECT 1
WITH x AS (SELECT 1), y AS (WITH z AS (SELECT 2) DELETE FROM t) SELECT * FROM x
WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x
SELECT * FROM t FOR UPDATE
SELECT * FROM t WHERE id = 1 FOR NO KEY UPDATE
SELECT * FROM t FOR SHARE
SELECT * FROM t FOR KEY SHARE
SELECT * FROM t FOR UPDATE OF t NOWAIT
SELECT * FROM t LIMIT 1 FOR UPDATE SKIP LOCKED
SELECT * FROM (SELECT * FROM t FOR UPDATE) AS x
WITH x AS (SELECT * FROM t FOR SHARE) SELECT * FROM x
SELECT 1 INTO other
SELECT * INTO TEMP other FROM t
SELECT * INTO UNLOGGED other FROM t UNION SELECT * FROM t
SELECT nextval('q')
SELECT * FROM t WHERE id = nextval('q')
SELECT setval('q', 1)
SELECT currval('q')
SELECT lastval()
SELECT f(1)
SELECT app.f(1)
SELECT public.lower('A')
SELECT touch()
SELECT * FROM touch()
SELECT * FROM t ORDER BY f(id)
SELECT count(*) FILTER (WHERE f(id) > 1) FROM t
SELECT id FROM t WHERE a IN (SELECT f(1))
VALUES (f(1))
SELECT set_config('app.x', '1', false)
SELECT set_config('app.x', '1', true)
SELECT setseed(0.5)
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_lock(1, 2)
SELECT pg_advisory_xact_lock(1)
SELECT pg_advisory_unlock(1)
SELECT pg_advisory_unlock_all()
SELECT pg_notify('c', 'p')
SELECT pg_export_snapshot()
SELECT pg_current_xact_id()
SELECT txid_current()
SELECT pg_xact_status('700')
SELECT txid_status(700)
SELECT pg_current_wal_lsn()
SELECT pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn()
SELECT pg_walfile_name('0/1')
SELECT pg_switch_wal()
SELECT pg_create_restore_point('x')
SELECT pg_promote()
SELECT pg_reload_conf()
SELECT pg_terminate_backend(1)
SELECT pg_cancel_backend(1)
SELECT pg_logical_emit_message(true, 'a', 'b')
SELECT pg_create_physical_replication_slot('x')
SELECT pg_sequence_last_value('q')
SELECT lo_create(0)
SELECT lo_from_bytea(0, 'x')
SELECT lo_put(4711, 0, 'x')
SELECT lo_open(4711, 131072)
SELECT lo_unlink(4711)
SELECT query_to_xml('select 1', true, true, '')
SELECT ts_stat('select to_tsvector(b) from t')
SELECT pg_is_in_recovery()
SELECT pg_catalog.pg_is_in_recovery()
SELECT pg_last_wal_replay_lsn()
SELECT pg_backend_pid()
SELECT inet_server_addr()
SELECT * FROM pg_stat_activity
SELECT * FROM pg_catalog.pg_stat_user_tables
SELECT * FROM pg_locks
SELECT * FROM pg_settings
SELECT * FROM pg_prepared_statements
SELECT * FROM pg_ls_waldir()
SELECT * FROM pg_temp.x
SELECT * FROM pg_temp_3.x
SHOW work_mem
SHOW ALL
SHOW transaction_read_only
SET work_mem = '4MB'
SET SESSION search_path TO app, public
SET LOCAL work_mem = '4MB'
SET ROLE postgres
SET SESSION AUTHORIZATION DEFAULT
SET TIME ZONE 'UTC'
SET TRANSACTION READ ONLY
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
SET CONSTRAINTS ALL DEFERRED
SET helios.route = 'standby'
RESET work_mem
RESET ALL
DISCARD ALL
DISCARD TEMP
BEGIN
BEGIN READ WRITE
START TRANSACTION
BEGIN ISOLATION LEVEL REPEATABLE READ
BEGIN ISOLATION LEVEL SERIALIZABLE
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE
BEGIN READ ONLY, READ WRITE
BEGIN; SELECT 1; COMMIT
BEGIN READ ONLY; INSERT INTO t VALUES (1); COMMIT
BEGIN READ ONLY; SET TRANSACTION READ WRITE; SELECT 1; COMMIT
BEGIN READ ONLY; SET work_mem = '8MB'; COMMIT
BEGIN READ ONLY; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT
BEGIN READ ONLY; COMMIT; BEGIN
BEGIN READ ONLY; FETCH c
SELECT 1; INSERT INTO t VALUES (1)
SELECT 1; SELECT f(1)
PREPARE TRANSACTION 'x'
COMMIT PREPARED 'x'
ROLLBACK PREPARED 'x'
PREPARE s AS SELECT 1
EXECUTE s
DEALLOCATE s
DEALLOCATE ALL
EXPLAIN EXECUTE s
DECLARE c CURSOR FOR SELECT * FROM t
DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t
FETCH ALL FROM c
MOVE 1 IN c
CLOSE c
CLOSE ALL
CALL p()
DO $$ BEGIN NULL; END $$
EXPLAIN ANALYZE INSERT INTO t VALUES (100)
EXPLAIN (ANALYZE, COSTS off) UPDATE t SET a = 1
EXPLAIN ANALYZE CREATE TABLE other AS SELECT 1
EXPLAIN ANALYZE SELECT * FROM t FOR UPDATE
EXPLAIN ANALYZE SELECT nextval('q')
EXPLAIN ANALYZE WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x
EXPLAIN ANALYZE EXECUTE s
EXPLAIN SELECT f(1)
COPY t FROM STDIN
COPY t FROM '/tmp/x'
COPY t FROM PROGRAM 'cat /tmp/x'
COPY t TO '/tmp/x'
COPY t TO PROGRAM 'cat'
COPY (INSERT INTO t VALUES (100) RETURNING id) TO STDOUT
COPY (SELECT nextval('q')) TO STDOUT
COPY (SELECT * FROM t FOR UPDATE) TO STDOUT
LISTEN c
UNLISTEN c
UNLISTEN *
NOTIFY c, 'payload'
LOCK TABLE t
LOCK TABLE t IN ACCESS SHARE MODE
CREATE TABLE other (i int)
CREATE TEMP TABLE other (i int)
CREATE TABLE other AS SELECT * FROM t
CREATE INDEX ON t (a)
CREATE INDEX CONCURRENTLY ON t (b)
CREATE VIEW other AS SELECT 1
CREATE FUNCTION g() RETURNS int LANGUAGE sql RETURN 1
CREATE EXTENSION pg_trgm
CREATE DATABASE other
ALTER TABLE t ADD COLUMN c int
ALTER TABLE t RENAME TO other
ALTER SYSTEM SET work_mem = '4MB'
DROP TABLE t
DROP DATABASE IF EXISTS other
GRANT SELECT ON t TO PUBLIC
COMMENT ON TABLE t IS 'x'
IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z
VACUUM t
ANALYZE t
VACUUM (ANALYZE) t
CLUSTER t USING t_pkey
REINDEX TABLE t
REFRESH MATERIALIZED VIEW m
CHECKPOINT
LOAD 'plpgsql'
SELECT FROM WHERE
SELECT 'no end
this is no SQL
"""


def table() -> list[tuple[str, str]]:
    """Text and target."""
    return [
        (text, target) for lines, target in ((READS, REPLICA), (WRITES, PRIMARY)) for text in _lines(lines)
    ]


def _lines(text: str) -> list[str]:
    return text.strip("\n").split("\n")
