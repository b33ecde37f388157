"""The public test suites of drivers that the proxy must not lose a test of, and what each needs to run.

A suite is taken from the driver's source package, the driver itself from the wheel of the same version.
What is left out is left out on both sides; every such line says why. Read by `packages` and `run`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

USER: Final = "postgres"


@frozen
class Address:
    """Where a side of the comparison listens."""

    host: str
    port: int


@frozen
class Suite:
    """One driver's tests."""

    #: name of the package, with the extra that its wheel is installed with
    package: str
    version: str
    #: folder of the tests within the source package
    folder: str
    #: created on each side; the suite may connect to others too
    database: str
    environment: Callable[[Address], Mapping[str, str]]
    #: what its tests import besides the driver and pytest
    requirements: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    #: files and node ids that say nothing about a server in somebody else's hands
    left_out: tuple[str, ...] = ()
    #: node ids that timing decides on a direct connection too: run and reported, but never counted as lost
    gambles: tuple[str, ...] = ()
    #: node ids that only `--all` runs
    slow: tuple[str, ...] = ()
    #: further options of pytest
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the package."""
        return self.package.partition("[")[0]

    @property
    def title(self) -> str:
        """Package and version, as in file names."""
        return f"{self.name}-{self.version}"

    def arguments(self, *, everything: bool) -> list[str]:
        """What pytest shall run."""
        skipped = self.left_out if everything else (*self.left_out, *self.slow)
        return [self.folder, *(f"--deselect={node}" for node in skipped), *self.options]


def _libpq(address: Address, database: str) -> dict[str, str]:
    """The environment that libpq, and drivers that follow it, connect by."""
    return {
        "PGHOST": address.host,
        "PGPORT": str(address.port),
        "PGUSER": USER,
        "PGPASSWORD": "not asked for",
        "PGDATABASE": database,
    }


def _psycopg2(address: Address) -> dict[str, str]:
    return {
        "PSYCOPG2_TESTDB": "psycopg2_test",
        "PSYCOPG2_TESTDB_HOST": address.host,
        "PSYCOPG2_TESTDB_PORT": str(address.port),
        "PSYCOPG2_TESTDB_USER": USER,
        "PSYCOPG2_TEST_REPL_DSN": "",  # the same server: without it the replication tests are skipped
    }


def _psycopg(address: Address) -> dict[str, str]:
    return {
        "PSYCOPG_TEST_DSN": f"host={address.host} port={address.port} user={USER} dbname=psycopg_test",
    }


ASYNCPG: Final = Suite(
    package="asyncpg",
    version="0.32.0",
    folder="tests",
    database="postgres",  # which some of its tests name
    environment=lambda address: _libpq(address, "postgres"),
    requirements=("distro",),
    left_out=(
        "tests/test__sourcecode.py",  # lints asyncpg's own source tree
        "tests/test__environment.py",  # checks asyncpg's own build matrix
        "tests/test_connect.py::TestConnectionAttributes",  # starts a primary and a standby of its own
    ),
    gambles=(
        # its pool is surprised by the end of a connection that it closes itself, in every second run
        "tests/test_pool.py::TestPool::test_pool_config_persistence",
        # an error must overtake the four megabytes that are being sent
        "tests/test_execute.py::TestExecuteMany::test_executemany_server_failure_during_writes",
    ),
)

PSYCOPG2: Final = Suite(
    package="psycopg2-binary",
    version="2.9.13",
    folder="tests",
    database="psycopg2_test",
    environment=_psycopg2,
    extensions=("hstore",),
    options=("-o", "python_functions=no_functions"),  # its functions test_suite() are not tests
)

PG8000: Final = Suite(
    package="pg8000",
    version="1.31.6",
    folder="test",
    database="postgres",  # its tests name none, so pg8000 takes the user's name
    environment=lambda address: _libpq(address, "postgres"),
    requirements=("pytest-mock", "pytz"),
    extensions=("hstore",),
    left_out=(
        # each authentication test wants lines of its own in pg_hba.conf
        "test/dbapi/auth",
        "test/legacy/auth",
        "test/native/auth",
        # these time the driver
        "test/dbapi/test_benchmarks.py",
        "test/legacy/test_benchmarks.py",
        "test/native/test_benchmarks.py",
        # runs the examples of its README, which is not copied with the tests
        "test/test_readme.py",
    ),
    gambles=(
        # expect end of file from a server that was terminated, and get a reset whenever it was quicker
        "test/dbapi/test_connection.py::test_broken_pipe_read",
        "test/legacy/test_connection.py::test_broken_pipe_read",
        "test/native/test_connection.py::test_broken_pipe_read",
    ),
    slow=("test/native/test_query.py::test_max_parameters",),
)

#: Its source package on PyPI holds no tests; `--source psycopg=FOLDER` runs those of a source tree.
PSYCOPG: Final = Suite(
    package="psycopg[binary]",
    version="3.3.9",
    folder="tests",
    database="psycopg_test",
    environment=_psycopg,
    requirements=("anyio", "psycopg-pool"),
    extensions=("hstore",),
)

SUITES: Final = {suite.name: suite for suite in (ASYNCPG, PSYCOPG, PSYCOPG2, PG8000)}
