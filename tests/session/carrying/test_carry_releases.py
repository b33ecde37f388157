"""The scenarios of `test_carry` on servers of older releases: those installed here, and those of PG_BIN_DIRS."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from rig import Client, pair
from scenarios import SCENARIOS, TABLES
from test_carry import begin, play, unmoved
from test_temporary_releases import bin_dirs

from helios_trio.embedded import start_blocking

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", params=bin_dirs(), ids=lambda path: str(path).strip("/").replace("/", "-"))
def older(request: pytest.FixtureRequest) -> Iterator[str]:
    """A connection string to a server of another release."""
    cluster = start_blocking(standbys=0, bin_dir=request.param)
    node = cluster.cluster.primary
    dsn = f"host={node.host} port={node.port} user=postgres dbname=postgres"
    try:
        with psycopg.connect(dsn, autocommit=True) as superuser:
            superuser.execute(TABLES)
        yield dsn
    finally:
        cluster.stop()


@pytest.mark.parametrize("name", SCENARIOS)
def test_sessions_move_on_older_releases_too(older: str, name: str) -> None:
    scenario = SCENARIOS[name]
    expected = unmoved(older, scenario)
    with pair(older) as (old, new):
        client = Client(old)
        begin(client, scenario)
        _, moved = client.carried_to(new)
        assert play(moved, scenario.after) == expected
