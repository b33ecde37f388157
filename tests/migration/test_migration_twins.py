"""Rule 18 and all of rules 6 to 16, seen by a client: random programs give the same answers while sessions move."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, note, settings
from twins import Action, Client, programs

from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

OBJECTS = """
create table kept (n int);
create schema other;
create table other.kept (n int);
"""
ADVISORY_LOCKS = """
select count(*) from pg_locks join pg_database on pg_database.oid = pg_locks.database
 where locktype = 'advisory' and datname like %s
"""
CONFIG = """
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "primary"
host = "{host}"
port = {port}
[[backends.pools]]
name = "twin"
host = "{host}"
port = {port}
[pool]
mode = "{mode}"
max_connections = 10
queue_timeout = "5s"
"""


class Twins:
    """A database for each client, and the proxy between one of them and its database."""

    def __init__(self, direct_dsn: str, proxy: ProxyProcess, report: Path, mode: str) -> None:
        self.direct_dsn = direct_dsn
        self.proxy = proxy
        self.report = report
        self.mode = mode

    def run(self, program: list[Action]) -> None:
        """Both do the same; every answer is compared at once."""
        self.wait_for_locks_of_the_program_before()
        with ExitStack() as stack:
            direct = Client(
                stack.enter_context(
                    psycopg.connect(self.direct_dsn, dbname=f"twin_direct_{self.mode}", autocommit=True)
                )
            )
            moved = Client(
                stack.enter_context(
                    psycopg.connect(self.proxy.dsn(database=f"twin_moved_{self.mode}"), autocommit=True)
                )
            )
            for action in program:
                expected, found = direct.do(action), moved.do(action)
                note(f"{action}: {expected}")
                assert found == expected
            heard = direct.hear(0, 0.0)
            assert moved.hear(heard.total(), 5.0) == heard

    def wait_for_locks_of_the_program_before(self) -> None:
        """A client that left lets go of its advisory locks when its server process has noticed, not before."""
        with psycopg.connect(self.direct_dsn, autocommit=True) as watching:
            deadline = time.monotonic() + 30.0
            while watching.execute(ADVISORY_LOCKS, (f"twin_%_{self.mode}",)).fetchone() != (0,):
                assert time.monotonic() < deadline, "advisory locks of a session that ended are still held"
                time.sleep(0.001)


@pytest.fixture(scope="module", params=["session", "transaction"])
def twins(
    request: pytest.FixtureRequest,
    direct_dsn: str,
    direct_address: tuple[str, int],
    create_database: Callable[[str, str], psycopg.Connection],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Twins]:
    mode = request.param
    for name in ("direct", "moved"):
        database = create_database(f"twin_{name}_{mode}", OBJECTS)
    database.execute("do $$begin create role reader; exception when duplicate_object then null; end$$")
    report = tmp_path_factory.mktemp("shaken") / "report.json"
    config = CONFIG.format(host=direct_address[0], port=direct_address[1], mode=mode)
    with running_proxy(
        config, module="helios_trio.testing.shaken", environment={"SHAKEN_REPORT": str(report)}
    ) as proxy:
        yield Twins(direct_dsn, proxy, report, mode)


#: Random programs that are played, in a short run and in a long one.
PROGRAMS = (50, 300)


def test_moving_sessions_answer_as_if_they_stayed(twins: Twins, pytestconfig: pytest.Config) -> None:
    """Every kind of state, in and out of transactions, with a move wherever one is possible."""

    programs_played = PROGRAMS[bool(pytestconfig.getoption("--every-mode"))]

    @settings(max_examples=programs_played, deadline=None, suppress_health_check=list(HealthCheck))
    @given(programs())
    def run(program: list[Action]) -> None:
        twins.run(program)

    run()
    outcomes = json.loads(twins.report.read_text())
    assert outcomes["moved"] > programs_played
    assert not [each for each in outcomes if not each.startswith(("moved", "gone"))]
