"""What a program does with the proxy: exactly what it does with PostgreSQL.

    python -m helios_trio serve              # in one terminal
    python examples/quickstart.py            # in another; a DSN as argument for another address

A transaction, a prepared statement, COPY and a notification, with psycopg.
"""

from __future__ import annotations

import sys

import psycopg

DSN = "postgresql://postgres@127.0.0.1:6432/postgres"
PLANETS = [("Mercury", 0), ("Venus", 0), ("Earth", 1), ("Mars", 2), ("Jupiter", 97), ("Saturn", 274)]


def main(dsn: str) -> None:
    """Make a table, use it in several ways, drop it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE planets (name text PRIMARY KEY, moons int NOT NULL)")
        try:
            fill(connection)
            look(connection)
            change_mind(connection)
            notify(connection, dsn)
        finally:
            connection.execute("DROP TABLE planets")


def fill(connection: psycopg.Connection) -> None:
    """COPY streams through the proxy, however large it is."""
    with connection.cursor() as cursor, cursor.copy("COPY planets FROM STDIN") as copy:
        for planet in PLANETS:
            copy.write_row(planet)
    print(f"copied {len(PLANETS)} planets")


def look(connection: psycopg.Connection) -> None:
    """A prepared statement belongs to the session, in every pool mode."""
    for least in (1, 50):
        rows = connection.execute(
            "SELECT name FROM planets WHERE moons >= %s ORDER BY moons", (least,), prepare=True
        )
        print(f"at least {least} moons:", ", ".join(name for (name,) in rows))


def change_mind(connection: psycopg.Connection) -> None:
    """A transaction that is rolled back leaves nothing."""
    with connection.transaction(force_rollback=True):
        connection.execute("DELETE FROM planets")
    row = connection.execute("SELECT count(*) FROM planets").fetchone()
    print(f"after the rollback: {row[0] if row else 0} planets")


def notify(connection: psycopg.Connection, dsn: str) -> None:
    """LISTEN works in every pool mode too."""
    connection.execute("LISTEN news")
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("SELECT pg_notify('news', 'Pluto is out')")
    for notification in connection.notifies(timeout=10, stop_after=1):
        print(f"heard on {notification.channel}: {notification.payload}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else DSN)
