"""What tests of moving share: an operator who gives orders through the API, and clients who know what they were told.

Used by: test_chaos_switchover, test_chaos_moving.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import httpx
import psycopg
from attrs import define, field
from chaos_tools import PATIENCE, until

from helios_trio.testing.running import ProxyProcess

#: Seconds after which something long, such as a switchover with all that follows, counts as never ending.
LONG_PATIENCE: Final = 120.0

Json = dict[str, Any]
Execute = Callable[[str], list[tuple[Any, ...]]]

# -- the operator ----------------------------------------------------------------------------------------------


@define
class Operator:
    """Gives orders to a proxy, and sees what becomes of them."""

    api: httpx.Client

    def get(self, path: str, **query: Any) -> Json:
        """Look."""
        found: Json = self.api.get(path, params=query).raise_for_status().json()
        return found

    def post(self, path: str, **body: Any) -> Json:
        """Order. Fails when it is refused."""
        answer = self.api.post(path, json=body)
        assert answer.is_success, answer.text
        found: Json = answer.json()
        return found

    # -- switchovers -------------------------------------------------------------------------------------------

    def begin_switchover(self) -> str:
        """As soon as there is a standby that may succeed: begin; the name of that standby."""
        target = until(self.standby, "there is a healthy standby", LONG_PATIENCE)
        assert target is not None, "that is what was waited for"
        self.post("/failover/start", target=target, reason="chaos")
        return target

    def standby(self) -> str | None:
        """The name of a standby that may become the primary."""
        for node in self.get("/topology")["nodes"]:
            if node["in_recovery"] and self.get(f"/backends/{node['name']}/health")["ready_for_migration"]:
                return str(node["name"])
        return None

    def primary(self) -> str | None:
        """The name of the server that takes writes."""
        found: str | None = self.get("/topology")["primary"]
        return found

    def switchover(self) -> Json:
        """The switchover that is under way, or the last one."""
        return self.get("/failover/status")

    def end_of_switchover(self) -> Json:
        """Wait for it; how it ended."""
        until(lambda: not self.switchover()["failover_active"], "the switchover ends", LONG_PATIENCE)
        return self.switchover()

    # -- migrations --------------------------------------------------------------------------------------------

    def migrate(self, source: str, target: str) -> Json:
        """Move all sessions from one name to another, at once; how that ended."""
        id = self.post("/migration/start", source=source, target=target, mode="immediate")["migration_id"]
        look = partial(self.get, f"/migration/{id}/status")
        until(lambda: look()["status"] != "running", "the migration ends", LONG_PATIENCE)
        return look()

    def sessions(self) -> list[Json]:
        """All sessions there are."""
        found: list[Json] = self.get("/sessions", limit=1000)["sessions"]
        return found


@contextmanager
def operating(proxy: ProxyProcess) -> Iterator[Operator]:
    """An operator of this proxy."""
    assert proxy.admin is not None
    host, port = proxy.admin
    key = {"X-API-Key": proxy.ready["admin_key"]}
    with httpx.Client(base_url=f"http://{host}:{port}/api/v1", headers=key, timeout=LONG_PATIENCE) as api:
        yield Operator(api)


# -- two names of one server -----------------------------------------------------------------------------------

TWINS: Final = """
[proxy]
drain_timeout = "5s"
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "blue"
host = "{host}"
port = {port}
[[backends.pools]]
name = "green"
host = "{host}"
port = {port}
[pool]
mode = "{mode}"
max_connections = {connections}
queue_timeout = "60s"
"""
OTHER: Final = {"blue": "green", "green": "blue"}


@define
class TwinStage:
    """A proxy between two names of the server."""

    proxy: ProxyProcess
    operator: Operator

    def migrate(self, target: str, expected: int) -> None:
        """Move every session to this name, and see that all have arrived."""
        ended = self.operator.migrate(OTHER[target], target)
        assert (ended["status"], ended["client_errors"], ended["error_count"]) == ("completed", 0, 0)
        assert [each["backend"] for each in self.operator.sessions()] == [target] * expected

    def only_session(self) -> Json:
        """The session there is."""
        (found,) = self.operator.sessions()
        return found

    def order_move(self, target: str) -> Json:
        """Move the only session; what the answer says."""
        return self.operator.post(f"/sessions/{self.only_session()['id']}/migrate", target=target)


# -- clients ---------------------------------------------------------------------------------------------------

TABLES: Final = """
create table ledger (client int, number int);
create table counters (id int primary key, n bigint not null);
insert into counters select id, 0 from generate_series(0, 9) as id;
"""
_INSERT: Final = "insert into ledger values (%s, %s)"
_COUNT: Final = "update counters set n = n + 1 where id = %s"
_BOTH: Final = f"with noted as ({_INSERT}) {_COUNT}"

Client = psycopg.Connection[Any]


def in_transaction(client: Client, at: int, number: int) -> None:
    """Begin, two writes, commit."""
    with client.transaction():
        client.execute(_INSERT, (at, number))
        client.execute(_COUNT, (at % 10,))


def in_one_statement(client: Client, at: int, number: int) -> None:
    """A statement that commits by itself."""
    client.execute(_BOTH, (at, number, at % 10), prepare=False)


def prepared(client: Client, at: int, number: int) -> None:
    """The same, prepared by the client."""
    client.execute(_BOTH, (at, number, at % 10), prepare=True)


def in_pipeline(client: Client, at: int, number: int) -> None:
    """All of a transaction on its way before the first answer."""
    with client.pipeline(), client.transaction():
        client.execute(_INSERT, (at, number))
        client.execute(_COUNT, (at % 10,))


def with_temporary_table(client: Client, at: int, number: int) -> None:
    """Own books in a temporary table, which must go with the session."""
    if number == 1:
        client.execute("create temp table books (number int)")
    with client.transaction():
        client.execute("insert into books values (%s)", (number,))
        in_one_statement(client, at, number)
    kept = client.execute("select count(*), max(number) from books where number > %s", (number - 5,))
    assert kept.fetchone() == (min(number, 5), number)


Way = Callable[[Client, int, int], None]
WAYS: Final[Sequence[Way]] = (in_transaction, in_one_statement, prepared, in_pipeline, with_temporary_table)
#: Those whose sessions have nothing that is not in a request.
PLAIN_WAYS: Final[Sequence[Way]] = (in_transaction, in_one_statement, in_pipeline)


@define
class Crowd:
    """Clients that write, and how often each of them was told that it was committed."""

    dsn: str
    number: int
    ways: Sequence[Way] = WAYS
    #: done by each client before it writes
    prelude: Callable[[Client, int], object] | None = None
    over: threading.Event = field(factory=threading.Event)
    committed: list[int] = field(init=False)
    errors: dict[int, BaseException] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.committed = [0] * self.number

    def work(self, at: int) -> None:
        """One client; it stops at the first error."""
        way = self.ways[at % len(self.ways)]
        try:
            with psycopg.connect(self.dsn, autocommit=True) as client:
                if self.prelude is not None:
                    self.prelude(client, at)
                while not self.over.is_set():
                    way(client, at, self.committed[at] + 1)
                    self.committed[at] += 1
        except (psycopg.Error, AssertionError) as error:
            self.errors[at] = error

    def all_go_on(self, seconds: float = LONG_PATIENCE) -> None:
        """Wait until each client that has seen no error has got further."""
        seen = list(self.committed)

        def all_further() -> bool:
            return all(
                now > then or at in self.errors
                for at, (now, then) in enumerate(zip(self.committed, seen, strict=True))
            )

        until(all_further, "every client gets further", seconds)

    def check(self, execute: Execute) -> None:
        """What was told is there once; of a client that saw an error, what it was doing may be there besides."""
        rows = execute("select client, count(*), count(distinct number), max(number) from ledger group by 1")
        found = {client: numbers for client, *numbers in rows}
        for at, told in enumerate(self.committed):
            allowed = [told, told + 1] if at in self.errors else [told]
            assert found.pop(at, [0, 0, None]) in [[n, n, n or None] for n in allowed]
        assert found == {}
        assert execute("select sum(n)::bigint from counters") == execute("select count(*) from ledger")

    def sqlstates(self) -> set[str | None]:
        """What clients were told."""
        return {getattr(error, "sqlstate", "no error of psycopg") for error in self.errors.values()}


@contextmanager
def crowd(
    dsn: str,
    number: int,
    ways: Sequence[Way] = WAYS,
    prelude: Callable[[Client, int], object] | None = None,
) -> Iterator[Crowd]:
    """Clients at work, each having committed at least once; at the end all have stopped, and none hangs."""
    made = Crowd(dsn, number, ways, prelude)
    with ThreadPoolExecutor(number) as executor:
        working = [executor.submit(made.work, at) for at in range(number)]
        try:
            made.all_go_on()
            assert made.errors == {}
            yield made
        finally:
            made.over.set()
            for done in working:
                done.result(timeout=LONG_PATIENCE)


def make_tables(dsn: str) -> None:
    """What a crowd writes to."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=int(PATIENCE)) as connection:
        connection.execute(TABLES)
