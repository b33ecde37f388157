"""The tables of the admin console, made from parts with known figures."""

from __future__ import annotations

from typing import Any

import pytest
from admin_parts import ONE, STARTED_AT, FakeSlot, add_pool, add_slots, make_parts, note_answers
from attrs import define, evolve
from migration_rig import make_rig, running

from helios_trio.admin.console_access import console_name, is_console
from helios_trio.admin.console_columns import ALL
from helios_trio.admin.console_connections import place
from helios_trio.admin.console_frames import columns, data_rows, row_description
from helios_trio.admin.console_scene import ConsoleClient, Scene
from helios_trio.admin.console_stats import PERIOD, Statistics
from helios_trio.admin.console_tables import ROWS
from helios_trio.admin.parts import Parts
from helios_trio.config import Config, loads
from helios_trio.pool.planner import SlotStatus
from helios_trio.wire.backend_messages import DataRow, RowDescription, decode_backend
from helios_trio.wire.frames import FrameReader

CONSOLE = ConsoleClient(7, "ops", "pgbouncer", "[::1]:4000", "[::1]:6432", "TLSv1.3", "psql", 90.0)


def scene_of(parts: Parts, statistics: Statistics | None = None) -> Scene:
    return Scene(parts, statistics or Statistics(), lambda: (CONSOLE,), now=STARTED_AT, clock=100.0)


def shown(scene: Scene, name: str) -> list[dict[str, Any]]:
    """What SHOW gives, by the names of columns."""
    names = [each.name for each in ALL[name]]
    return [dict(zip(names, row, strict=True)) for row in ROWS[name](scene)]


@pytest.fixture
def parts() -> Parts:
    """Two pools of one database, of different users."""
    made = make_parts()
    note_answers(made.topology)
    add_slots(add_pool(made.pools, "alice"), FakeSlot(SlotStatus.ACTIVE, 10, 20), FakeSlot(SlotStatus.IDLE))
    add_pool(made.pools, "bob")
    return made


def test_each_table_has_columns_and_rows() -> None:
    """Under the same names."""
    assert list(ROWS) != []
    assert set(ROWS) == set(ALL)


@pytest.mark.parametrize(
    "name", [name for name in ALL if name not in {"SERVERS", "SOCKETS", "ACTIVE_SOCKETS", "POOLS"}]
)
def test_rows_have_as_many_values_as_there_are_columns(parts: Parts, name: str) -> None:
    """Also where little is known."""
    for each in shown(scene_of(parts), name):
        assert len(each) == len(ALL[name])


def test_databases(parts: Parts) -> None:
    """The console, those in use, those that were paused or disabled; each once."""
    pauses = parts.proxy.pauses
    pauses.paused |= {"shop", ""}
    pauses.disabled.add("old")
    found = {each["name"]: each for each in shown(scene_of(parts), "DATABASES")}
    assert list(found) == ["pgbouncer", "old", "shop"]
    assert (found["shop"]["host"], found["shop"]["port"]) == (ONE.host, ONE.port)
    assert (found["shop"]["current_connections"], found["shop"]["paused"], found["shop"]["disabled"]) == (
        2,
        1,
        0,
    )
    assert (found["old"]["paused"], found["old"]["disabled"]) == (0, 1)


def test_state(parts: Parts) -> None:
    """Whether all databases are paused together."""
    assert shown(scene_of(parts), "STATE")[1] == {"key": "paused", "value": "no"}
    parts.proxy.pauses.paused.add("")
    assert shown(scene_of(parts), "STATE")[:2] == [
        {"key": "active", "value": "no"},
        {"key": "paused", "value": "yes"},
    ]


def test_lists_and_users(parts: Parts) -> None:
    """Each counted."""
    found = {each["list"]: each["items"] for each in shown(scene_of(parts), "LISTS")}
    assert (found["databases"], found["users"], found["used_servers"]) == (2, 3, 2)
    assert (found["free_clients"], found["used_clients"]) == (500, 1)
    assert [each["name"] for each in shown(scene_of(parts), "USERS")] == ["alice", "bob", "ops"]


def test_the_configuration_has_no_secrets(parts: Parts) -> None:
    """PgBouncer's names as PgBouncer writes them, and ours."""
    text = """
[proxy]
max_client_connections = 77
[admin]
admin_users = ["ops", "root"]
[pool]
queue_timeout = "90s"
[control]
user = "c"
password = "hush"
[[backends.pools]]
name = "a"
host = "h"
user = "u"
password = "hush"
[auth]
method = "trust"
"""
    parts.running.config = loads(text, {}, source="t", folder=None)  # type: ignore[arg-type]
    rows = shown(scene_of(parts), "CONFIG")
    found = {each["key"]: each for each in rows}
    assert len(found) == len(rows)
    assert "hush" not in repr(rows)
    assert (found["max_client_conn"]["value"], found["max_client_conn"]["default"]) == ("77", "10000")
    assert (found["query_wait_timeout"]["value"], found["client_idle_timeout"]["value"]) == ("90", "0")
    assert (found["admin_users"]["value"], found["max_user_connections"]["value"]) == ("ops,root", "0")
    assert (found["pool.queue_timeout"]["value"], found["proxy.listen_address"]["changeable"]) == (
        "90s",
        "no",
    )


async def test_clients_and_sessions() -> None:
    """Sessions by what the fleet says of them, consoles too."""
    rig = make_rig(sessions=3)
    async with running(rig):
        parts = make_parts(rig)
        parts.proxy.sessions.update(dict.fromkeys([1, 2, 3, 99]))  # type: ignore[call-overload]
        clients = shown(scene_of(parts), "CLIENTS")
        assert [each["user"] for each in clients] == ["alice", "alice", "alice", "ops"]
        last = clients[-1]
        assert (last["addr"], last["port"], last["local_port"], last["tls"]) == ("::1", 4000, 6432, "TLSv1.3")
        assert last["connect_time"] == "2027-01-15 07:59:50 UTC"
        assert [each["id"] for each in shown(scene_of(parts), "SESSIONS")] == [1, 2, 3]
        await rig.start(target="green", reason="because")
        (migration,) = shown(scene_of(parts), "MIGRATIONS")
        assert (migration["source"], migration["target"], migration["reason"]) == ("blue", "green", "because")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:5", ("127.0.0.1", 5)),
        ("[::1]:5", ("::1", 5)),
        ("unix:/run/x:y", ("unix", 0)),
        ("/run/helios:5432", ("unix", 0)),
        ("", ("unix", 0)),
    ],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    """Taken apart."""
    assert place(address) == expected


# -- statistics ------------------------------------------------------------------------------------------------


@define(eq=False)
class Counting:
    """Pools whose counters a test turns."""

    parts: Parts
    statistics: Statistics

    def read(self, now: float) -> None:
        self.statistics.read(((pool, name) for pool, (name, _) in self.parts.pools.named()), now)

    def totals(self) -> dict[str, dict[str, Any]]:
        rows = shown(scene_of(self.parts, self.statistics), "STATS")
        return {each["database"]: each for each in rows}


@pytest.fixture
def counting(parts: Parts) -> Counting:
    return Counting(parts, Statistics())


def test_totals_are_added_up_over_pools_and_their_ends(counting: Counting) -> None:
    """A pool that is forgotten takes nothing away."""
    alice, bob = counting.parts.pools
    alice.counters.queries, bob.counters.queries = 5, 7
    counting.read(0.0)
    assert counting.totals()["shop"]["total_query_count"] == 12
    counting.read(1.0)
    assert counting.totals()["shop"]["total_query_count"] == 12
    counting.parts.pools._pools.clear()
    counting.read(2.0)
    add_pool(counting.parts.pools, "alice").counters.queries = 3
    counting.read(3.0)
    assert counting.totals()["shop"]["total_query_count"] == 15
    assert counting.totals()["shop"]["total_sent"] == 10
    assert counting.totals()["shop"]["total_received"] == 20


def test_times_are_in_microseconds(counting: Counting) -> None:
    """Those that are kept stand for all where there were more."""
    alice, _ = counting.parts.pools
    alice.counters.queries, alice.counters.wait_seconds = 4, 0.25
    alice.counters.times.extend([9.0, 0.001, 0.001, 0.003, 0.003])
    counting.read(0.0)
    found = counting.totals()["shop"]
    assert (found["total_query_time"], found["total_wait_time"]) == (8000, 250_000)
    alice.counters.queries = 4000
    counting.read(1.0)
    assert counting.totals()["shop"]["total_query_time"] > 8000


def test_averages_are_of_the_last_whole_period(counting: Counting) -> None:
    """Nothing before there was one; then per second, and times for each query."""
    alice, _ = counting.parts.pools
    counting.read(10.0)
    alice.counters.queries = alice.counters.transactions = 600
    alice.counters.times.extend([0.002] * 600)
    counting.read(10.0 + PERIOD / 2)
    assert counting.totals()["shop"]["avg_query_count"] == 0
    counting.read(10.0 + PERIOD)
    found = counting.totals()["shop"]
    assert (found["avg_query_count"], found["avg_xact_count"], found["avg_query_time"]) == (10, 10, 2000)
    counting.read(10.0 + 2 * PERIOD)
    assert counting.totals()["shop"]["avg_query_count"] == 0


def test_clients_cannot_have_any_number_of_databases_counted(counting: Counting) -> None:
    """Beyond a limit they are counted together."""
    alice, _ = counting.parts.pools
    for number in range(1500):
        alice.counters.queries += 1
        counting.statistics.read([(alice, f"db{number}")], 0.0)
    assert len(counting.statistics.totals) <= 1001
    assert counting.totals()["*"]["total_query_count"] == 500


# -- messages --------------------------------------------------------------------------------------------------


def test_values_in_messages() -> None:
    """NULL, numbers that do not fit, names that are no UTF-8 and no text that ends early."""
    described = columns(a="int4", b="text", c="numeric")
    reader = FrameReader(1000, 1000)
    reader.feed(row_description(described))
    rows = [[2**40, "x\0y", 1.5], [None, "\udcff", None]]
    for message in data_rows(described, rows):
        reader.feed(message)
    head, *found = [decode_backend(each.code, each.body) for each in reader]  # type: ignore[union-attr]
    assert isinstance(head, RowDescription)
    assert [(each.name, each.type_oid) for each in head.fields] == [("a", 23), ("b", 25), ("c", 1700)]
    assert found == [DataRow((b"2147483647", b"xy", b"1.5")), DataRow((None, b"\xff", None))]


# -- names -----------------------------------------------------------------------------------------------------


def test_a_configured_database_goes_before_the_console() -> None:
    """Only under its own name: `*` does not mean the console."""
    text = '[auth]\nmethod = "trust"\n[[backends.pools]]\nname = "a"\nhost = "h"\n'
    config = loads(text + '[[databases]]\nname = "*"\n', {}, source="t", folder=None)  # type: ignore[arg-type]
    assert [is_console(config, each) for each in ("pgbouncer", "helios", "shop", "")] == [
        True,
        True,
        False,
        False,
    ]
    assert console_name(config) == "pgbouncer"
    named = evolve(config, databases=(evolve(config.databases[0], name="pgbouncer"),))
    assert [is_console(named, each) for each in ("pgbouncer", "helios")] == [False, True]
    assert console_name(named) == "helios"
    assert is_console(Config(), "pgbouncer")
