"""Connections to a database of its own, with roles that own things."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from temporary_rig import ROLES


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
