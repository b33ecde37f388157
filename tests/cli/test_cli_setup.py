"""`helios setup` in a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from helios_trio.cli import main

CONFIG = """
[control]
user = "cli_control"
password = "hunter2"
[auth]
auth_user = "cli_auth"
"""


@pytest.fixture
def dsn(direct_dsn: str) -> Iterator[str]:
    """A database of its own; it and the roles that appear meanwhile are gone afterwards."""
    with psycopg.connect(direct_dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE cli_setup")
        try:
            yield f"{direct_dsn} dbname=cli_setup"
        finally:
            connection.execute("DROP DATABASE cli_setup WITH (FORCE)")
            made = "SELECT rolname FROM pg_roles WHERE rolname IN ('cli_control', 'cli_auth')"
            for (role,) in connection.execute(made).fetchall():
                connection.execute(f"DROP OWNED BY {role}")
                connection.execute(f"DROP ROLE {role}")


@pytest.mark.cluster
def test_set_up_creates_what_the_proxy_needs(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when repeated; with the password of the configuration, and a warning where one is due."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helios.toml").write_text(CONFIG)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        for _ in range(2):
            assert main(["setup", "--dsn", dsn]) == 0
        found = connection.execute(
            "SELECT rolname, rolsuper, left(rolpassword, 13) FROM pg_authid"
            " WHERE rolname LIKE 'cli%' ORDER BY rolname"
        ).fetchall()
    assert found == [("cli_auth", False, None), ("cli_control", False, "SCRAM-SHA-256")]
    captured = capsys.readouterr()
    assert captured.out == "OK\nOK\n"
    assert captured.err.splitlines()[0] == (
        "warning: publication everything would publish the tables of schema helios too"
    )
