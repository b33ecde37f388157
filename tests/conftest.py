"""Fixtures for tests against a real PostgreSQL and real proxy processes, each xdist worker having its own.

All are session-wide and started when first asked for. A failing test shows what the proxies wrote meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack

import psycopg
import pytest
from hypothesis import settings

from helios_trio.control.setup import SetupSettings, setup_sql
from helios_trio.embedded import BlockingCluster, EmbeddedNode, start_blocking
from helios_trio.testing.running import ProxyProcess, running_proxy

settings.register_profile("short", deadline=None, max_examples=60)
settings.register_profile("long", deadline=None, max_examples=300)

_PROXIES = pytest.StashKey[list[ProxyProcess]]()
_MARKS = pytest.StashKey[dict[int, int]]()

MODES = {
    "session": 'mode = "session"',
    "pristine": 'mode = "session"\nreuse = "pristine"',
    "transaction": 'mode = "transaction"',
    "statement": 'mode = "statement"',
}
#: Before a mode: reads go to the standby.
ROUTED = "routed-"
#: Before a mode: every session is moved to and fro between two names of the server, whenever it can be.
MOVING = "moving-"
CONFIG = """
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
[pool]
{mode}
max_connections = 10
queue_timeout = "5s"
[[pool.rules]]
database = "one_connection"
max_connections = 1
"""
SECOND_NAME = """
[[backends.pools]]
name = "{name}"
host = "{host}"
port = {port}
"""
SPLIT = """
[routing]
read_write_split = true
"""


SETTINGS = {
    "wal_level": "logical",
    "max_connections": "150",
    "synchronous_commit": "local",
}


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[BlockingCluster]:
    """A primary, set up for the proxy: databases made from its template guard their commits.

    With `--every-mode` it has a standby; who says `synchronous_commit = remote_apply` finds there what was committed.
    """
    standbys = int(bool(pytestconfig.getoption("--every-mode")))
    found = start_blocking(standbys=standbys, settings=SETTINGS)
    try:
        for database in ("template1", "postgres"):
            found.execute(setup_sql(SetupSettings()), dbname=database)
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="session")
def direct_address(cluster: BlockingCluster) -> tuple[str, int]:
    """Host and port of PostgreSQL itself."""
    primary = cluster.cluster.primary
    return primary.host, primary.port


@pytest.fixture(scope="session")
def direct_dsn(direct_address: tuple[str, int]) -> str:
    """A libpq connection string to PostgreSQL itself, as superuser."""
    return f"host={direct_address[0]} port={direct_address[1]} user=postgres dbname=postgres"


@pytest.fixture(scope="session")
def create_database(direct_dsn: str) -> Iterator[Callable[[str, str], psycopg.Connection]]:
    """Make a database with these objects; returns an autocommit connection to it, closed at the end."""
    with ExitStack() as stack:

        def create(name: str, objects: str) -> psycopg.Connection:
            with psycopg.connect(direct_dsn, autocommit=True) as maintenance:
                maintenance.execute(f"create database {name}")
            options = "-c lock_timeout=5s -c synchronous_commit=remote_apply"
            made = psycopg.connect(direct_dsn, dbname=name, autocommit=True, options=options)
            stack.enter_context(made)
            made.execute(objects)
            return made

        yield create


def start_proxy(mode: str, nodes: Sequence[EmbeddedNode]) -> AbstractContextManager[ProxyProcess]:
    """A proxy in this mode in front of the first of these servers, and of its standby if it is routed."""
    address = nodes[0]
    moving, routed = mode.startswith(MOVING), mode.startswith(ROUTED)
    pools = MODES[mode.removeprefix(MOVING).removeprefix(ROUTED)]
    config = CONFIG.format(host=address.host, port=address.port, mode=pools)
    if moving:
        config += SECOND_NAME.format(name="twin", host=address.host, port=address.port)
    if routed:
        config += SECOND_NAME.format(name="standby", host=nodes[1].host, port=nodes[1].port) + SPLIT
    # in one mode nothing outlives its server: whatever the others do must be the same without
    environment = {"HELIOS__FAILOVER__ENABLED": "false"} if mode == "pristine" else {}
    module = "helios_trio.testing.shaken" if moving else "helios_trio"
    return running_proxy(config, module=module, environment=environment)


@pytest.fixture(scope="session")
def proxy_for(
    pytestconfig: pytest.Config, cluster: BlockingCluster
) -> Iterator[Callable[[str], ProxyProcess]]:
    """The proxy in a mode (a key of `MODES`, perhaps behind `MOVING` or `ROUTED`).

    Started when first asked for, or if it has died.
    """
    running: dict[str, ProxyProcess] = {}
    with ExitStack() as stack:

        def get(mode: str) -> ProxyProcess:
            if mode not in running or not running[mode].running:
                running[mode] = stack.enter_context(start_proxy(mode, cluster.cluster.nodes))
                pytestconfig.stash.setdefault(_PROXIES, []).append(running[mode])
            return running[mode]

        yield get


@pytest.fixture(scope="session")
def proxy_session(proxy_for: Callable[[str], ProxyProcess]) -> ProxyProcess:
    """Session mode, connections reset and used again."""
    return proxy_for("session")


@pytest.fixture(scope="session")
def proxy_pristine(proxy_for: Callable[[str], ProxyProcess]) -> ProxyProcess:
    """Session mode, no connection used twice."""
    return proxy_for("pristine")


@pytest.fixture(scope="session")
def proxy_transaction(proxy_for: Callable[[str], ProxyProcess]) -> ProxyProcess:
    """Transaction mode."""
    return proxy_for("transaction")


@pytest.fixture(scope="session")
def proxy_statement(proxy_for: Callable[[str], ProxyProcess]) -> ProxyProcess:
    """Statement mode."""
    return proxy_for("statement")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--every-mode`: also the combinations of exchange and mode, and the long tests, that a short run leaves out."""
    parser.addoption("--every-mode", action="store_true", help="leave nothing out")


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis without a deadline for an example: tests never assert times."""
    profile = "long" if config.getoption("--every-mode") else "short"
    settings.load_profile(profile)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests marked as long, unless they were named."""
    if config.getoption("--every-mode") or any("::" in argument for argument in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember how far each proxy's output had come."""
    proxies = item.config.stash.get(_PROXIES, [])
    item.stash[_MARKS] = {proxy.pid: proxy.log_size() for proxy in proxies}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add to a failure what the proxies wrote during the test."""
    report = yield
    if report.failed:
        for proxy in item.config.stash.get(_PROXIES, []):
            said = proxy.log_since(item.stash.get(_MARKS, {}).get(proxy.pid, 0))
            if said:
                state = "" if proxy.running else f" (ended with {proxy.process.returncode})"
                report.sections.append((f"proxy {proxy.pid}{state}", said))
    return report
