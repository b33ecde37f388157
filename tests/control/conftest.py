"""One server for all tests of the control connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helios_trio.embedded import BlockingCluster, EmbeddedCluster, start_blocking


@pytest.fixture(scope="session")
def blocking_cluster() -> Iterator[BlockingCluster]:
    """A primary without standbys that asks for passwords."""
    cluster = start_blocking(standbys=0, auth="scram-sha-256", settings={"max_prepared_transactions": "5"})
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(blocking_cluster: BlockingCluster) -> EmbeddedCluster:
    """The same, for use within Trio."""
    return blocking_cluster.cluster
