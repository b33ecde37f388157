"""Rule 1, seen by drivers: each behaviour has the same outcome through the proxy as direct."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from adapters.adapter import Adapter, Endpoint
from adapters.with_asyncpg import Asyncpg
from adapters.with_node import NodePostgres, NodeUnavailable, find_node_postgres
from adapters.with_pg8000 import Pg8000
from adapters.with_psycopg import Psycopg, PsycopgPreparing
from adapters.with_psycopg2 import Psycopg2
from attrs import define, field
from behaviours import BEHAVIOURS, Behaviour, Stage

from helios_trio.testing.running import ProxyProcess

pytestmark = pytest.mark.cluster

DATABASE = "drivers"
MODES = (
    *("session", "pristine", "transaction", "statement", "moving-session", "moving-transaction"),
    *("routed-session", "routed-transaction"),
)
OBJECTS = """
create table accounts (id int primary key, owner text not null, balance int not null check (balance >= 0));
create table orders (id int, account int references accounts deferrable initially deferred);
create schema other;
create table other.placed as select 'other' as place;
"""
RESET = """
truncate accounts, orders;
insert into accounts values (1, 'one', 10), (2, 'two', 20), (3, 'three', 30);
"""
DRIVERS: dict[str, Callable[[], Adapter]] = {
    "psycopg": Psycopg,
    "psycopg-preparing": PsycopgPreparing,
    "psycopg2": Psycopg2,
    "asyncpg": Asyncpg,
    "pg8000": Pg8000,
    "node-postgres": lambda: NodePostgres(find_node_postgres()),
}
ABILITIES = {
    kind.name: kind.can for kind in (Psycopg, PsycopgPreparing, Psycopg2, Asyncpg, Pg8000, NodePostgres)
}
#: Behaviours that tell one server from another, and why.
SHOW_ROUTES = {
    "transaction_commits": "another session reads at once what this one has committed: from a standby, perhaps later",
    "cancel_running_query": "its observer looks for the query on the primary",
}


def pooling(mode: str) -> str:
    """The mode of pooling that a mode is like, for what a client can tell."""
    return "transaction" if mode.startswith("routed-") else mode.removeprefix("moving-")


CASES = [
    pytest.param(driver, behaviour, mode, id=f"{behaviour.name}-{driver}-{mode}")
    for driver in DRIVERS
    for behaviour in BEHAVIOURS
    for mode in MODES
    if behaviour.needs <= ABILITIES[driver] and pooling(mode) not in behaviour.not_in
    if not (mode.startswith("routed-") and behaviour.name in SHOW_ROUTES)
]


@define
class Suite:
    """The drivers in use, the database they work in, and outcomes on direct connections, found once each."""

    direct: tuple[str, int]
    database: psycopg.Connection
    adapters: dict[str, Adapter] = field(factory=dict)
    known: dict[tuple[str, str], str] = field(factory=dict)

    def adapter(self, driver: str) -> Adapter:
        """The driver, made ready when first asked for."""
        if driver not in self.adapters:
            self.adapters[driver] = DRIVERS[driver]()
        return self.adapters[driver]

    def outcome(self, driver: str, behaviour: Behaviour, address: tuple[str, int]) -> str:
        """What the behaviour gives at this address."""
        self.database.execute(RESET)
        stage = Stage(self.adapter(driver), Endpoint(*address, "postgres", DATABASE))
        try:
            found: Any = behaviour.run(stage)
        finally:
            stage.close()
        return repr(found)

    def expected(self, driver: str, behaviour: Behaviour) -> str:
        """What it gives on a direct connection."""
        key = driver, behaviour.name
        if key not in self.known:
            self.known[key] = self.outcome(driver, behaviour, self.direct)
        return self.known[key]


@pytest.fixture(scope="session")
def suite(
    direct_address: tuple[str, int], create_database: Callable[[str, str], psycopg.Connection]
) -> Iterator[Suite]:
    """The suite's database and drivers."""
    found = Suite(direct_address, create_database(DATABASE, OBJECTS))
    try:
        yield found
    finally:
        for adapter in found.adapters.values():
            adapter.close()


@pytest.mark.parametrize(("driver", "behaviour", "mode"), CASES)
def test_behaviour(
    driver: str, behaviour: Behaviour, mode: str, suite: Suite, proxy_for: Callable[[str], ProxyProcess]
) -> None:
    """The same values, types, tags and SQLSTATEs as direct."""
    proxy = proxy_for(mode)
    try:
        expected = suite.expected(driver, behaviour)
    except NodeUnavailable as reason:
        pytest.skip(str(reason))
    assert suite.outcome(driver, behaviour, (proxy.host, proxy.port)) == expected
