"""Statements by the API: what they give, what they may not, and who runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from admin_parts import AS_OPERATOR, AS_VIEWER, Api, make_parts

from helios_trio.admin.keys import Role, make_key
from helios_trio.testing.running import ProxyProcess, running_proxy

CONFIG = """
[proxy]
state_dir = "{folder}"
[admin]
api_keys_file = "{keys}"
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
"""


class Caller:
    """The API of a running proxy, and a key of each kind."""

    def __init__(self, proxy: ProxyProcess, keys: dict[str, str]) -> None:
        assert proxy.admin is not None
        self.proxy, self.keys = proxy, keys
        self.url = f"http://{proxy.admin[0]}:{proxy.admin[1]}/api/v1/"

    def post(self, path: str, body: Any, key: str = "operator") -> tuple[int, Any]:
        answer = httpx.post(
            self.url + path, json=body, headers={"X-API-Key": self.keys[key]}, timeout=60, trust_env=False
        )
        return answer.status_code, answer.json()

    def sql(self, sql: str, key: str = "operator", **more: Any) -> tuple[int, Any]:
        return self.post("sql", {"sql": sql, **more}, key)


@pytest.fixture(scope="module")
def caller(direct_address: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    folder = tmp_path_factory.mktemp("sql")
    made = {
        "operator": make_key("otto", Role.OPERATOR, "postgres"),
        "viewer": make_key("vera", Role.VIEWER, "postgres"),
        "nobody": make_key("nobody", Role.OPERATOR),
        "stranger": make_key("stranger", Role.OPERATOR, "no_such_role"),
    }
    keys = folder / "keys"
    keys.write_text("\n".join(kept.line for _, kept in made.values()))
    host, port = direct_address
    with running_proxy(CONFIG.format(folder=folder, keys=keys, host=host, port=port)) as proxy:
        yield Caller(proxy, {name: key for name, (key, _) in made.items()})


cluster = pytest.mark.cluster


@cluster
def test_rows(caller: Caller) -> None:
    """As text, with PostgreSQL's names of types, and where they came from."""
    status, found = caller.sql("SELECT 1 AS one, NULL AS nothing, 'ü'::text AS letter, true AS yes")
    assert status == 200
    assert found["columns"] == [
        {"name": "one", "type": "int4"},
        {"name": "nothing", "type": "text"},
        {"name": "letter", "type": "text"},
        {"name": "yes", "type": "bool"},
    ]
    assert found["rows"] == [["1", None, "ü", "t"]]
    assert (found["tag"], found["routed_to"], found["truncated"]) == ("SELECT 1", "primary", False)
    assert found["duration_ms"] > 0


@cluster
@pytest.mark.parametrize(
    ("sql", "tag", "rows"),
    [
        ("SELECT 1; SELECT 2", "SELECT 1", [["2"]]),
        ("SELECT 1; CREATE TEMP TABLE t (x int)", "CREATE TABLE", [["1"]]),
        ("CREATE TEMP TABLE t (x int); INSERT INTO t VALUES (1), (2)", "INSERT 0 2", []),
        ("COPY (SELECT 5) TO STDOUT", "COPY 1", [["5\n"]]),
        ("", "", []),
        ("SELECT", "SELECT 1", [[]]),
    ],
)
def test_several_statements(caller: Caller, sql: str, tag: str, rows: list[Any]) -> None:
    """The last tag, and the rows of the last that has any."""
    status, found = caller.sql(sql)
    if sql:
        assert (status, found["tag"], found["rows"]) == (200, tag, rows)
    else:
        assert status == 422


@cluster
def test_too_much(caller: Caller) -> None:
    """What is shown is limited, and the server's work ends."""
    status, found = caller.sql("SELECT generate_series(1, 100000000)")
    assert (status, len(found["rows"]), found["truncated"]) == (200, 1000, True)
    status, found = caller.sql("SELECT repeat('x', 600000) FROM generate_series(1, 5)")
    assert (status, len(found["rows"]), found["truncated"]) == (200, 1, True)
    with psycopg.connect(caller.proxy.dsn(), autocommit=True) as connection:
        while connection.execute(
            "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT generate_series%'"
        ).fetchall():
            pass


@cluster
@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM nowhere", "42P01"),
        ("SELEC", "42601"),
        ("SELECT 1/0", "22012"),
        ("COPY pg_class FROM STDIN", "57014"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "57P01"),
    ],
)
def test_errors_of_the_server(caller: Caller, sql: str, code: str) -> None:
    """422 with their SQLSTATE; the next statement is as good as the first."""
    status, problem = caller.sql(sql)
    assert (status, problem["code"]) == (422, code)
    assert caller.sql("SELECT 1")[0] == 200


@cluster
def test_the_time_limit(caller: Caller) -> None:
    """504, and the statement does not go on."""
    status, _ = caller.sql("SELECT pg_sleep(500), 'too long'", time_limit="0.3s")
    assert status == 504
    with psycopg.connect(caller.proxy.dsn(), autocommit=True) as connection:
        while connection.execute(
            "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%''too long''%'"
            " AND pid <> pg_backend_pid()"
        ).fetchall():
            pass


@cluster
def test_a_transaction_that_is_left_open_is_rolled_back(caller: Caller) -> None:
    """Each request is a session of its own."""
    assert caller.sql("CREATE TABLE left_open (x int)")[0] == 200
    try:
        assert caller.sql("BEGIN; INSERT INTO left_open VALUES (1)")[0] == 200
        assert caller.sql("SELECT count(*) FROM left_open")[1]["rows"] == [["0"]]
    finally:
        caller.sql("DROP TABLE left_open")


@cluster
@pytest.mark.parametrize(
    ("key", "more", "status"),
    [
        ("viewer", {}, 403),
        ("nobody", {}, 403),
        ("stranger", {}, 422),
        ("operator", {"database": "no_such_database"}, 422),
        ("operator", {"database": "pgbouncer"}, 422),
        ("operator", {"route": "standby"}, 422),
        ("operator", {"time_limit": "-1s"}, 422),
        ("operator", {"other": 1}, 422),
    ],
)
def test_who_may_not(caller: Caller, key: str, more: dict[str, Any], status: int) -> None:
    """Problem details say why."""
    found, problem = caller.sql("SELECT 1", key, **more)
    assert (found, problem["status"]) == (status, status), problem


@cluster
def test_it_stands_in_the_events(caller: Caller) -> None:
    """Who has run what."""
    caller.sql("SELECT 'remember me'")
    answer = httpx.get(
        caller.url + "events", headers={"X-API-Key": caller.keys["viewer"]}, trust_env=False
    ).json()
    assert ("otto", "SELECT 'remember me'") in {(each["who"], each["reason"]) for each in answer["events"]}


async def test_a_key_without_a_user() -> None:
    """Is told how to get one."""
    api = Api.of(make_parts())
    status, problem = await api.post("/api/v1/sql", {"sql": "SELECT 1"})
    assert status == 403
    assert "--database-user" in problem["detail"]
    assert (await api.post("/api/v1/sql", {"sql": "SELECT 1"}, headers=AS_VIEWER))[0] == 403
    assert (await api.post("/api/v1/sql", {}, headers=AS_OPERATOR))[0] == 422


def test_the_file_has_the_user(tmp_path: Path) -> None:
    """See `helios admin create-key --database-user`."""
    _, kept = make_key("ann", Role.OPERATOR, "app")
    assert kept.line.endswith(" database_user=app")
    with pytest.raises(ValueError, match="database user"):
        make_key("ann", Role.OPERATOR, "a b")
