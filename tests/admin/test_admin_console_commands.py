"""What the admin console understands, and what it does not."""

from __future__ import annotations

import pytest

from helios_trio.admin.console_columns import ALL, OURS, PGBOUNCER
from helios_trio.admin.console_commands import HELP, LONGEST, Command, InvalidCommand, Verb, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SHOW POOLS", Command(Verb.SHOW, "POOLS")),
        (" show\t stats_totals \n;\n", Command(Verb.SHOW, "STATS_TOTALS")),
        ("SHOW HELP;", Command(Verb.SHOW, "HELP")),
        ("PAUSE", Command(Verb.PAUSE)),
        ("pause shop", Command(Verb.PAUSE, "shop")),
        ('Pause "My ""Shop""";', Command(Verb.PAUSE, 'My "Shop"')),
        ("RESUME my-shop", Command(Verb.RESUME, "my-shop")),
        ("RECONNECT", Command(Verb.RECONNECT)),
        ("KILL shop", Command(Verb.KILL, "shop")),
        ("DISABLE shop", Command(Verb.DISABLE, "shop")),
        ("ENABLE shop", Command(Verb.ENABLE, "shop")),
        ("WAIT_CLOSE", Command(Verb.WAIT_CLOSE)),
        ("RELOAD", Command(Verb.RELOAD)),
        ("SUSPEND;", Command(Verb.SUSPEND)),
        ("SHUTDOWN", Command(Verb.SHUTDOWN)),
        ("shutdown wait_for_clients", Command(Verb.SHUTDOWN)),
        ("SET verbose = 1", Command(Verb.SET, "verbose")),
        ("set client_encoding to 'UTF8'", Command(Verb.SET, "client_encoding")),
        ("MIGRATE SESSION 12 TO green", Command(Verb.MIGRATE_SESSION, "12", "green")),
        ('switchover to "node 2";', Command(Verb.SWITCHOVER, "", "node 2")),
    ],
)
def test_commands(text: str, expected: Command) -> None:
    """In any case, with a semicolon or without."""
    assert parse(text) == expected


@pytest.mark.parametrize("name", ALL)
def test_every_table_can_be_shown(name: str) -> None:
    """And help names it."""
    assert parse(f"SHOW {name}") == Command(Verb.SHOW, name)
    assert name in HELP


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ;",
        "SHOW",
        "SHOW FOO",
        "SHOW POOLS FOO",
        "SHOW POOLS; SHOW LISTS",
        "SHOWPOOLS",
        "SELECT 1",
        "BEGIN",
        "PAUSE a b",
        "PAUSE 'shop'",
        'PAUSE "shop',
        "RELOAD now",
        "SHUTDOWN at once",
        "SET a",
        "MIGRATE SESSION x TO green",
        "MIGRATE SESSION 99999999999999999999 TO green",
        "MIGRATE SESSION 1",
        "SWITCHOVER green",
        "\0SHOW POOLS",
    ],
)
def test_what_is_no_command(text: str) -> None:
    """PgBouncer's words, and its SQLSTATE."""
    with pytest.raises(InvalidCommand) as raised:
        parse(text)
    assert (raised.value.sqlstate, raised.value.message) == (
        "08P01",
        f"invalid command '{text}', use SHOW HELP;",
    )


@pytest.mark.parametrize(
    "text", ["SHOW " + " " * 60_000 + "x y", "SET a=" + "=" * 60_000 + ";;", "PAUSE " + '""' * 30_000]
)
def test_a_huge_text_is_no_command(text: str) -> None:
    """It is neither looked at closely nor repeated whole."""
    with pytest.raises(InvalidCommand) as raised:
        parse(text)
    assert len(raised.value.message) < LONGEST


def test_tables_of_ours_do_not_hide_pgbouncers() -> None:
    """Names are told apart."""
    assert not set(OURS) & set(PGBOUNCER)
