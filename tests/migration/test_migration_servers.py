"""Real servers say who they are and how they are: two names of one, a standby, a copy, one that is down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from attrs import evolve

from helios_trio.cluster.topology import Topology
from helios_trio.config.conditions import parse_condition
from helios_trio.config.health import HealthChecks
from helios_trio.control import ControlConnection
from helios_trio.control.setup import SetupSettings, apply
from helios_trio.embedded import EmbeddedCluster, open_cluster
from helios_trio.errors import BackendUnavailable
from helios_trio.migration.examination import Examiner
from helios_trio.migration.identity import Identification, data_mode
from helios_trio.migration.orders import DataMode
from helios_trio.pipeline.backend import Backend

pytestmark = pytest.mark.cluster

NOBODY = Backend("down", "127.0.0.1", 1)


def connector(user: str) -> Callable[[Backend], Awaitable[ControlConnection]]:
    async def connect(backend: Backend) -> ControlConnection:
        return await ControlConnection.connect(
            autocommit=True, host=backend.host, port=backend.port, user=user, dbname="postgres"
        )

    return connect


def backends(cluster: EmbeddedCluster) -> dict[str, Backend]:
    """Two names of the primary, and the standby."""
    one, two = cluster.nodes
    return {
        "blue": Backend("blue", one.host, one.port),
        "green": Backend("green", "localhost", one.port),
        "gold": Backend("gold", two.host, two.port),
    }


@pytest.mark.long
@pytest.mark.parametrize("user", ["helios_control", "nobody_special"])
async def test_servers_are_told_apart(user: str) -> None:
    """By the user of `helios setup`, and by one that may do nothing but log in."""
    async with open_cluster(standbys=1) as cluster, open_cluster(standbys=0) as other:
        await prepare(cluster)
        await prepare(other)
        await cluster.wait_for_replay()
        identify, known = Identification(connector(user)), backends(cluster)
        blue, green, gold = [await identify(known[name]) for name in ("blue", "green", "gold")]
        node = other.nodes[0]
        stranger = await identify(Backend("stranger", node.host, node.port))
        assert data_mode(blue, green) is DataMode.SHARED
        assert data_mode(blue, gold) is DataMode.PHYSICAL
        assert data_mode(gold, blue) is DataMode.LOGICAL
        assert data_mode(blue, stranger) is DataMode.LOGICAL
        assert (blue.data_directory is not None) is (user == "helios_control")
        with pytest.raises(BackendUnavailable, match="down: "):
            await identify(NOBODY)
        await examine(cluster, user)


async def prepare(cluster: EmbeddedCluster) -> None:
    connection = await cluster.connect(dbname="postgres")
    async with connection:
        await apply(connection, SetupSettings())
        await connection.execute("CREATE ROLE nobody_special LOGIN")


async def examine(cluster: EmbeddedCluster, user: str) -> None:
    """What is measured on the primary and on its standby, and what cannot be where nobody answers."""
    known = {**backends(cluster), "down": NOBODY}
    settings = HealthChecks(
        required_checks=tuple(
            map(parse_condition, ("connection_success", "query_test_success", "replication_lag_ms < 60000"))
        )
    )
    examiner = Examiner(Topology.of(known.values()), connector(user), settings)
    for name in ("blue", "gold"):
        found = await examiner.examine(name)
        assert (found.complaints, found.reason) == ((), "")
        assert found.measured["test_query_latency_ms"] > 0
    assert (await examiner.examine("blue")).measured["replication_lag_ms"] == 0
    down = await examiner.examine("down")
    assert [each.check for each in down.results if not each.passed] == [
        "connection_success",
        "query_test_success",
        "replication_lag_ms < 60000",
    ]
    assert down.reason
    examiner.settings = evolve(settings, check_query="SELECT 1/0")
    failing = await examiner.examine("blue")
    assert failing.complaints[0] == "query_test_success: it is false"
    assert failing.reason == "division by zero"
    examiner.settings = evolve(settings, check_query="SELECT pg_sleep(600)")
    examiner.time_limit = 0.2
    slow = await examiner.examine("blue")
    assert (slow.measured["connection_success"], slow.measured["query_test_success"]) == (True, False)
    assert slow.reason == "no answer within 0.2 s"
