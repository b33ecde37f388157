"""Connections to a database of its own, with roles that own things."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from temporary_rig import ROLES

#: They start servers of other releases, or go on for long: left out unless `--every-mode` is given.
_LONG = ("test_carry_releases.py", "test_temporary_releases.py", "test_temporary_random.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what a short run does not have."""
    if config.getoption("--every-mode"):
        return
    left_out = [item for item in items if item.path.name in _LONG]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.path.name not in _LONG]


@pytest.fixture(scope="session")
def carry_database(direct_dsn: str, create_database: Callable[[str, str], psycopg.Connection]) -> str:
    """Connection string without a user."""
    create_database("carry", ROLES)
    return direct_dsn.replace("user=postgres", "").replace("dbname=postgres", "dbname=carry")


@pytest.fixture
def connect(carry_database: str) -> Callable[[str], psycopg.Connection]:
    """Connects as a role, to the test's own database."""

    def connect_as(user: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(carry_database, user=user, autocommit=True)

    return connect_as
