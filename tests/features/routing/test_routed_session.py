"""Routed sessions on a real primary and two standbys: who serves what, and what the client never notices."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import psycopg
import pytest
from routing_rig import POOL, PORT, ask, config, port_of, ports, replicated_cluster, until, value

from helios_trio.embedded import BlockingCluster
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def replicated() -> Iterator[BlockingCluster]:
    """All tests of this module share it."""
    with replicated_cluster() as found:
        yield found


@pytest.fixture(scope="module", params=["transaction", "session"])
def proxy(request: pytest.FixtureRequest, replicated: BlockingCluster) -> Iterator[ProxyProcess]:
    """In front of all three."""
    with running_proxy(config(replicated, request.param)) as found:
        yield found


@pytest.fixture
def client(proxy: ProxyProcess) -> Iterator[psycopg.Connection]:
    """One client, and a table of its own."""
    with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS t")
        connection.execute("CREATE TABLE t (n int)")
        yield connection


def test_reads_are_shared_by_the_standbys(client: psycopg.Connection, replicated: BlockingCluster) -> None:
    """Every standby has its turn, the primary has none."""
    _, *standbys = ports(replicated)
    # one of them may not be known yet to have what the client has written
    until(lambda: {value(client, PORT) for _ in range(4)} == set(standbys), "one has served no reads")
    assert {value(client, PORT) for _ in range(20)} == set(standbys)


def test_what_writes_goes_to_the_primary(client: psycopg.Connection, replicated: BlockingCluster) -> None:
    """By text, in transactions, by locks; and behind it reads find it."""
    primary = ports(replicated)[0]
    for n in range(50):
        client.execute("INSERT INTO t VALUES (%s)", (n,))
        assert value(client, "SELECT max(n) FROM t") == n
    with client.transaction():
        assert value(client, PORT) == primary
        assert value(client, "SELECT count(*) FROM t") == 50
    assert value(client, "SELECT n FROM t WHERE n = 7 FOR UPDATE") == 7


def test_reading_transactions_stay_on_one_standby(
    client: psycopg.Connection, replicated: BlockingCluster
) -> None:
    """BEGIN READ ONLY, to its end."""
    primary = ports(replicated)[0]
    until(lambda: value(client, PORT) != primary, "no standby has served a read")
    client.read_only = True
    for _ in range(5):
        with client.transaction():
            found = {value(client, PORT) for _ in range(5)}
        assert len(found) == 1
        assert primary not in found


def test_functions_that_write_are_learned(client: psycopg.Connection, proxy: ProxyProcess) -> None:
    """A view calls a function in secret: the standby refuses, the client never knows, and the next goes straight."""
    client.execute("DROP FUNCTION IF EXISTS secretly() CASCADE")
    client.execute(
        "CREATE FUNCTION secretly() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING n'"
    )
    client.execute("CREATE VIEW secret AS SELECT secretly() AS n")
    for expected in (1, 2, 3):
        assert client.execute("SELECT n FROM secret").fetchall() == [(1,)]
        assert value(client, "SELECT count(*) FROM t") == expected
    with client.pipeline():
        found = [client.execute("SELECT n FROM secret", prepare=True) for _ in range(3)]
        assert [cursor.fetchall() for cursor in found] == [[(1,)]] * 3
    assert value(client, "SELECT count(*) FROM t") == 6


def test_settings_and_statements_follow(client: psycopg.Connection, replicated: BlockingCluster) -> None:
    """What was set on one connection holds on all."""
    primary = ports(replicated)[0]
    client.execute("SET search_path = pg_catalog, public")
    client.execute("SET app.tenant_id = 'one'")
    until(lambda: value(client, PORT) != primary, "no standby has served a read")
    for _ in range(5):
        assert value(client, "SELECT current_setting('search_path')") == "pg_catalog, public"
        assert value(client, "SELECT current_setting('app.tenant_id')") == "one"
    for n in range(10):
        assert client.execute("SELECT %s::int + 1", (n,), prepare=True).fetchone() == (n + 1,)
        client.execute("INSERT INTO t VALUES (%s)", (n,), prepare=True)
    client.execute("RESET search_path")
    assert value(client, "SELECT current_setting('search_path')") == '"$user", public'


def test_what_only_one_connection_has_keeps_reads_there(client: psycopg.Connection) -> None:
    """Temporary tables, advisory locks, held cursors."""
    client.execute("CREATE TEMP TABLE mine AS SELECT 5 AS n")
    assert value(client, "SELECT n FROM mine") == 5
    client.execute("DROP TABLE mine")
    assert value(client, "SELECT pg_try_advisory_lock(17)") is True
    assert value(client, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 1
    assert value(client, "SELECT pg_advisory_unlock(17)") is True
    client.execute("DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 3)")
    assert client.execute("FETCH ALL FROM c").fetchall() == [(1,), (2,), (3,)]
    client.execute("CLOSE c")


def test_pipelines_of_reads_and_writes(client: psycopg.Connection) -> None:
    """Each batch by itself, in order."""
    with client.pipeline():
        results = []
        for n in range(20):
            client.execute("INSERT INTO t VALUES (%s)", (n,))
            results.append(client.execute("SELECT count(*) FROM t"))
            client.execute("SELECT 1")
        assert [cursor.fetchone() for cursor in results] == [(n + 1,) for n in range(20)]


def test_hints_and_settings_decide(client: psycopg.Connection, replicated: BlockingCluster) -> None:
    """By a comment, or for the session; never for what writes."""
    primary, second, third = ports(replicated)
    until(lambda: value(client, PORT) != primary, "no standby has served a read")
    assert value(client, f"/*+ route=primary */ {PORT}") == primary
    assert {value(client, f"/*+ route=node3 */ {PORT}") for _ in range(5)} == {third}
    assert value(client, f"/*+ consistency=strong */ {PORT}") == primary
    assert value(client, f"/*+ route=nowhere */ {PORT}") in (second, third)
    client.execute("SET helios.route = 'node2'")
    assert {value(client, PORT) for _ in range(5)} == {second}
    client.execute("/*+ route=standby */ INSERT INTO t VALUES (1)")
    client.execute("RESET helios.route")
    assert value(client, "SELECT count(*) FROM t") == 1


def test_explain_route_tells_why(client: psycopg.Connection) -> None:
    """Candidates, filters and the choice, by both protocols."""
    lines = [line for (line,) in client.execute("EXPLAIN (ROUTE) INSERT INTO t VALUES (1)").fetchall()]
    assert lines[0] == "Route to node1"
    assert any("takes no writes" in line for line in lines)
    lines = [
        line for (line,) in client.execute("EXPLAIN (ROUTE) SELECT n FROM t WHERE n = %s", (1,)).fetchall()
    ]
    assert "any server, it only reads" in "".join(lines)


def test_own_writes_are_read(client: psycopg.Connection, replicated: BlockingCluster) -> None:
    """Standbys that apply nothing serve nobody who has written; others go on to read there."""
    _, *standbys = ports(replicated)
    with psycopg.connect(client.info.dsn, autocommit=True) as other:
        until(lambda: value(other, PORT) in standbys, "no standby has served a read")
        for name in ("node2", "node3"):
            replicated.execute("SELECT pg_wal_replay_pause()", name)
        try:
            for n in range(20):
                client.execute("INSERT INTO t VALUES (%s)", (n,))
                assert value(client, "SELECT count(*) FROM t") == n + 1
            assert value(client, "SHOW helios.floor") != ""
            assert value(other, PORT) in standbys
            assert value(client, f"/*+ consistency=eventual */ {PORT}") in standbys
        finally:
            for name in ("node2", "node3"):
                replicated.execute("SELECT pg_wal_replay_resume()", name)


def test_a_standby_that_dies_is_left(proxy: ProxyProcess, replicated: BlockingCluster) -> None:
    """Reads on it are done again elsewhere; the client sees the same rows."""
    with psycopg.connect(proxy.dsn(), autocommit=True) as client:
        client.execute("DROP TABLE IF EXISTS series")
        client.execute("CREATE TABLE series AS SELECT generate_series(1, 100000) AS n")
        port = port_of(replicated, "node3")
        until(lambda: value(client, "/*+ route=node3 */ " + PORT) == port, "it never served a read")
        pids = [
            pid
            for (pid,) in replicated.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
                "node3",
            )
        ]
        assert pids
        for _ in range(3):
            cursor = client.execute("SELECT n, pg_sleep(0) FROM series ORDER BY n")
            assert [n for n, _ in cursor] == list(range(1, 100001))
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
            assert value(client, "SELECT count(*) FROM series") == 100000


def test_what_was_learned_is_shown_and_forgotten(client: psycopg.Connection, proxy: ProxyProcess) -> None:
    """By the API; then it is learned anew."""
    client.execute("CREATE SEQUENCE IF NOT EXISTS s")
    client.execute(
        "CREATE OR REPLACE FUNCTION anew() RETURNS int LANGUAGE sql AS 'SELECT nextval(''s'')::int'"
    )
    client.execute("CREATE OR REPLACE VIEW drawn AS SELECT anew() AS n")
    path = "/api/v1/routing/learned"

    def learned() -> list[str]:
        # the first may be served by the primary, as no standby has the view yet
        value(client, "SELECT n FROM drawn")
        found = ask(proxy, "GET", path)["statements"]
        assert {each["sqlstate"] for each in found} <= {"25006"}
        return [each["fingerprint"] for each in found if each["text"] == "SELECT n FROM drawn"]

    until(lambda: len(learned()) == 1, "nothing was learned")
    (fingerprint,) = learned()
    assert ask(proxy, "DELETE", f"{path}/{fingerprint}")["forgotten"] == 1
    until(lambda: learned() == [fingerprint], "nothing was learned anew")


@pytest.mark.parametrize("mode", ["session", pytest.param("transaction", marks=pytest.mark.long)])
def test_sessions_are_moved_with_what_they_have(mode: str, replicated: BlockingCluster) -> None:
    """A planned move between two names of the primary, also of a session that has its own connection parked."""
    second_name = POOL.format(name="twin", host="127.0.0.1", port=port_of(replicated, "node1"))
    with (
        running_proxy(config(replicated, mode, second_name)) as twins,
        psycopg.connect(twins.dsn(), autocommit=True) as client,
    ):
        client.execute("SELECT set_config('app.mine', 'yes', false)")
        client.execute("SET search_path = public, pg_catalog")
        client.execute("CREATE TEMP TABLE kept AS SELECT 3 AS n")
        (found,) = ask(twins, "GET", "/api/v1/sessions")["sessions"]
        there = "twin" if found["backend"] == "node1" else "node1"
        path = f"/api/v1/sessions/{found['id']}/migrate"
        assert ask(twins, "POST", path, {"target": there})["result"] == "moved"
        assert value(client, "SELECT n FROM kept") == 3
        client.execute("DROP TABLE kept")
        standbys = {port_of(replicated, name) for name in ("node2", "node3")}
        until(lambda: value(client, PORT) in standbys, "no standby has served a read")
        assert ask(twins, "POST", path, {"target": found["backend"]})["result"] == "moved"
        assert value(client, "SELECT current_setting('app.mine')") == "yes"
        assert value(client, "SHOW search_path") == "public, pg_catalog"
        until(lambda: value(client, PORT) in standbys, "no standby has served a read")


def test_a_read_on_a_standby_is_cancelled(client: psycopg.Connection, replicated: BlockingCluster) -> None:
    """The request finds the connection that works for the session, wherever that is."""
    sleeping = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%a long nap%'"
    )

    def cancel_when_asleep() -> None:
        until(lambda: replicated.execute(sleeping, "node2") == [(1,)], "it does not sleep on the standby")
        client.cancel_safe()

    helper = threading.Thread(target=cancel_when_asleep)
    helper.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        client.execute("/*+ route=node2 */ SELECT pg_sleep(60), 'a long nap'")
    helper.join()
    assert value(client, "SELECT 1") == 1


def count_into(client: psycopg.Connection, found: list[int]) -> None:
    found.append(value(client, "SELECT count(*) FROM held"))


@pytest.mark.parametrize("mode", ["transaction", pytest.param("session", marks=pytest.mark.long)])
def test_reads_that_are_held_go_on(mode: str, replicated: BlockingCluster) -> None:
    """A session that waits for a standby to come along is moved meanwhile, to and fro."""
    more = "[transparent_write_routing]\nenabled = true\nforward_timeout_ms = 300\n"
    more += POOL.format(name="twin", host="127.0.0.1", port=port_of(replicated, "node1"))
    with (
        running_proxy(config(replicated, mode, more)) as twins,
        psycopg.connect(twins.dsn(), autocommit=True) as client,
    ):
        client.execute("DROP TABLE IF EXISTS held")
        client.execute("CREATE TABLE held (n int)")
        (found,) = ask(twins, "GET", "/api/v1/sessions")["sessions"]
        path = f"/api/v1/sessions/{found['id']}/migrate"
        targets = [found["backend"], "twin" if found["backend"] == "node1" else "node1"]
        for name in ("node2", "node3"):
            replicated.execute("SELECT pg_wal_replay_pause()", name)
        try:
            for n in range(2):
                client.execute("INSERT INTO held VALUES (%s)", (n,))
                seen: list[int] = []
                reading = threading.Thread(target=count_into, args=(client, seen))
                reading.start()
                while reading.is_alive():
                    targets.reverse()
                    assert ask(twins, "POST", path, {"target": targets[0]})["result"] in ("moved", "busy")
                reading.join()
                assert seen == [n + 1]
        finally:
            for name in ("node2", "node3"):
                replicated.execute("SELECT pg_wal_replay_resume()", name)
