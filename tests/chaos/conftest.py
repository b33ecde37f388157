"""Fixtures of the chaos tests: a proxy of one's own with any configuration, and eyes that look past it.

`--long` repeats what depends on the moment at which a fault strikes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from chaos_failover import Stages
from chaos_tools import MakeProxy, Observer, chaos_proxy

from helios_trio.embedded import BlockingCluster, start_blocking
from helios_trio.testing.running import ProxyProcess


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`: more rounds of everything."""
    parser.addoption("--long", action="store_true", help="chaos: repeat each fault many times")


@pytest.fixture(scope="session")
def rounds(pytestconfig: pytest.Config) -> int:
    """How often a fault that depends on the moment is repeated."""
    return 20 if pytestconfig.getoption("--long", default=False) else 1


@pytest.fixture(scope="session")
def address(cluster: BlockingCluster, direct_address: tuple[str, int]) -> tuple[str, int]:
    """Host and port of a PostgreSQL that stays up."""
    return direct_address


@pytest.fixture(scope="session")
def observer(direct_dsn: str) -> Iterator[Observer]:
    """Looks at the PostgreSQL that stays up."""
    with Observer(direct_dsn) as made:
        yield made


@pytest.fixture(scope="module")
def mortal() -> Iterator[BlockingCluster]:
    """A PostgreSQL that tests may kill and stop."""
    made = start_blocking(standbys=0)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def mortal_address(mortal: BlockingCluster) -> tuple[str, int]:
    """Host and port of the PostgreSQL that tests may kill."""
    primary = mortal.cluster.primary
    return primary.host, primary.port


@pytest.fixture
def make_proxy(request: pytest.FixtureRequest) -> Iterator[MakeProxy]:
    """Start a proxy: `make_proxy((host, port), mode="session", max_connections=5)`; keys of `DEFAULTS`.

    A module may have `SETTINGS` for all of its proxies. What it wrote is shown with a test that fails.
    """
    started: list[ProxyProcess] = []
    with ExitStack() as stack:

        def make(
            server: tuple[str, int], arguments: tuple[str, ...] = (), **settings: object
        ) -> ProxyProcess:
            settings = {**getattr(request.module, "SETTINGS", {}), **settings}
            proxy = stack.enter_context(chaos_proxy(server, arguments, **settings))
            started.append(proxy)
            return proxy

        yield make
        for proxy in started:
            request.node.add_report_section("teardown", f"proxy {proxy.pid}", proxy.log_since())


@pytest.fixture
def stages(request: pytest.FixtureRequest) -> Iterator[Stages]:
    """Builds proxies with servers that tests may kill, and takes them down."""
    with ExitStack() as stack:
        yield Stages(stack, partial(request.node.add_report_section, "teardown", "proxy"))
