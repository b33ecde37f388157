"""PostgreSQL's own clients through the proxy: psql and pgbench, in every mode that their work allows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import psycopg
import pytest

from helios_trio.embedded.binaries import wheel_bin_dir
from helios_trio.testing.running import ProxyProcess

pytestmark = pytest.mark.cluster

DATABASE = "clients"
MODES = ("session", "pristine", "transaction", "statement")
WITH_TRANSACTIONS = ("session", "pristine", "transaction")
TRANSACTIONS = 50
SCRIPT = """
select 1 as one, 'x' as two;
\\echo :ROW_COUNT
create temp table mine (a int);
\\copy mine from pstdin
1
2
\\.
select count(*) from mine;
\\set VERBOSITY verbose
select 1/0;
begin;
insert into mine values (3);
rollback;
select array_agg(a) from mine;
select $1::int + $2::int \\bind 1 2 \\g
select n from generate_series(1, 5) n \\gset
prepare p as select 7;
execute p;
set work_mem = '3MB';
show work_mem;
\\d accounts
\\gdesc
drop table mine;
"""


@pytest.fixture(scope="session")
def database(create_database: Callable[[str, str], psycopg.Connection]) -> psycopg.Connection:
    """A database for psql and pgbench."""
    return create_database(
        DATABASE, "create table accounts (id int primary key, owner text default 'nobody')"
    )


def run(
    program: str, host: str, port: int, *arguments: str, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a client program against an address."""
    command = [str(wheel_bin_dir() / program), "-h", host, "-p", str(port), "-U", "postgres", *arguments]
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "10", "PSQLRC": os.devnull, "LC_ALL": "C"}
    return subprocess.run(
        command, input=text, capture_output=True, text=True, env=environment, timeout=60, check=False
    )


def psql(address: tuple[str, int], text: str) -> tuple[str, str, int]:
    """What psql prints for this input."""
    done = run("psql", *address, "-X", "-d", DATABASE, text=text)
    return done.stdout, done.stderr, done.returncode


@pytest.mark.parametrize("mode", WITH_TRANSACTIONS)
def test_psql_session_looks_the_same(
    mode: str,
    database: psycopg.Connection,
    direct_address: tuple[str, int],
    proxy_for: Callable[[str], ProxyProcess],
) -> None:
    """Rule 1: a psql session with COPY, errors, \\d, \\bind, temp tables prints the same as direct."""
    proxy = proxy_for(mode)
    expected = psql(direct_address, SCRIPT)
    assert "division by zero" in expected[1]
    assert psql((proxy.host, proxy.port), SCRIPT) == expected


@pytest.mark.parametrize("mode", MODES)
def test_psql_lists_and_describes(
    mode: str,
    database: psycopg.Connection,
    direct_address: tuple[str, int],
    proxy_for: Callable[[str], ProxyProcess],
) -> None:
    """psql's catalogue commands work in every mode."""
    proxy = proxy_for(mode)
    text = "\\dt\n\\d+ accounts\n\\du\n\\dn\n\\df\n\\conninfo\n\\encoding\n"
    expected, found = psql(direct_address, text), psql((proxy.host, proxy.port), text)
    hidden = ("Port", "Backend PID", "Server Port")
    assert _without(found[0], hidden) == _without(expected[0], hidden)
    assert found[1:] == expected[1:]


def _without(text: str, words: tuple[str, ...]) -> list[str]:
    """Lines, without those about what differs by nature, and without rules, whose width follows from them."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if not any(word in line for word in words) and not line.startswith("---")]


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("mode", MODES)
def test_pgbench(
    mode: str,
    protocol: str,
    database: psycopg.Connection,
    direct_address: tuple[str, int],
    proxy_for: Callable[[str], ProxyProcess],
) -> None:
    """pgbench -i and pgbench work; every transaction succeeds and has its effect."""
    proxy = proxy_for(mode)
    refuses_blocks = mode == "statement"  # pgbench fills its tables in one
    address = direct_address if refuses_blocks else (proxy.host, proxy.port)
    prepared = run("pgbench", *address, "-i", "-q", "-I", "dtgp", "-s", "1", DATABASE)
    assert prepared.returncode == 0, prepared.stderr
    builtin = "select-only" if refuses_blocks else "tpcb-like"
    arguments = ("-n", "-M", protocol, "-b", builtin, "-c", "3", "-t", str(TRANSACTIONS), DATABASE)
    done = run("pgbench", proxy.host, proxy.port, *arguments)
    assert done.returncode == 0, done.stderr
    assert f"number of transactions actually processed: {3 * TRANSACTIONS}/{3 * TRANSACTIONS}" in done.stdout
    history = database.execute("select count(*) from pgbench_history").fetchone()
    assert history == ((0,) if builtin == "select-only" else (3 * TRANSACTIONS,))
