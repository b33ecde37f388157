"""A program that notices nothing: it is moved between two servers ten times a second while it works.

    python examples/move_me.py [seconds]

It keeps all that a session can hold: a temporary table, a prepared statement, a scrollable cursor that it holds open,
settings, an advisory lock, a channel it listens to. It checks each of them in every round, and at the end says how
often it was moved and how long the longest round took. It starts everything that it needs: an embedded PostgreSQL
cluster and a proxy that knows the server under two names.
"""

from __future__ import annotations

import sys
import threading
import time
from itertools import count

import httpx
import psycopg

from helios_trio.embedded import start_blocking
from helios_trio.testing.running import ProxyProcess, running_proxy

CONFIG = """
[auth]
method = "trust"
[control]
user = "postgres"
[[backends.pools]]
name = "blue"
host = "{host}"
port = {port}
[[backends.pools]]
name = "green"
host = "{host}"
port = {port}
"""
MOVES_PER_SECOND = 10


def main(seconds: float) -> int:
    """Work and be moved for so many seconds; the exit code is 0 when all was as it should be."""
    cluster = start_blocking(standbys=0)
    try:
        primary = cluster.cluster.primary
        with running_proxy(CONFIG.format(host=primary.host, port=primary.port)) as proxy:
            return run(proxy, seconds)
    finally:
        cluster.stop()


def run(proxy: ProxyProcess, seconds: float) -> int:
    """The worker in this thread, and somebody who moves it in another."""
    stop = threading.Event()
    mover = Mover(proxy, stop)
    with psycopg.connect(proxy.dsn(), application_name="move me", autocommit=True) as connection:
        mover.start()
        try:
            rounds, longest = work(connection, seconds)
        finally:
            stop.set()
            mover.join()
    print(f"{rounds} rounds, moved {mover.moved} times, not moved {mover.refused} times")
    print(f"longest round {longest * 1000:.1f} ms, mean move {mover.mean_ms:.1f} ms")
    return 0 if mover.moved else 1


def work(connection: psycopg.Connection, seconds: float) -> tuple[int, float]:
    """Use every kind of state, over and over; raises AssertionError when one of them is lost."""
    connection.execute("SET app.tenant = 'acme'")
    connection.execute("SET search_path = pg_temp, public")
    connection.execute("CREATE TEMP TABLE basket (id serial PRIMARY KEY, item text NOT NULL)")
    connection.execute("DECLARE shelf SCROLL CURSOR WITH HOLD FOR SELECT generate_series(1, 1000)")
    connection.execute("SELECT pg_advisory_lock(42)")
    connection.execute("LISTEN news")
    deadline, longest = time.monotonic() + seconds, 0.0
    for number in count(1):
        began = time.monotonic()
        if began > deadline:
            return number - 1, longest
        check_round(connection, number)
        longest = max(longest, time.monotonic() - began)
    raise AssertionError("count() ends nowhere")


def check_round(connection: psycopg.Connection, number: int) -> None:
    """One of each, and each with the only answer that is right."""
    row = connection.execute(
        "INSERT INTO basket (item) VALUES (%s) RETURNING id", (f"item {number}",)
    ).fetchone()
    assert row == (number,), f"the sequence of the temporary table went astray: {row} in round {number}"
    row = connection.execute("SELECT count(*) FROM basket", prepare=True).fetchone()
    assert row == (number,), f"rows of the temporary table are missing: {row} in round {number}"
    row = connection.execute(f"FETCH ABSOLUTE {number % 1000 + 1} FROM shelf").fetchone()
    assert row == (number % 1000 + 1,), f"the cursor is elsewhere: {row}"
    row = connection.execute(
        "SELECT current_setting('app.tenant'), current_setting('search_path')"
    ).fetchone()
    assert row == ("acme", "pg_temp, public"), f"settings are gone: {row}"
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objid = 42"
    ).fetchone()
    assert row == (1,), "the advisory lock is gone"
    connection.execute("SELECT pg_notify('news', %s)", (str(number),))
    heard = [notify.payload for notify in connection.notifies(timeout=5, stop_after=1)]
    assert heard == [str(number)], f"heard {heard} in round {number}"


class Mover(threading.Thread):
    """Moves the session to and fro, through the proxy's API."""

    def __init__(self, proxy: ProxyProcess, stop: threading.Event) -> None:
        super().__init__()
        assert proxy.admin is not None
        host, port = proxy.admin
        self._api = httpx.Client(
            base_url=f"http://{host}:{port}/api/v1", headers={"X-API-Key": proxy.ready["admin_key"]}
        )
        self._stop_asked = stop
        self.moved = self.refused = 0
        self._total_ms = 0.0

    @property
    def mean_ms(self) -> float:
        """How long a move took, the wait for a moment of peace included."""
        return self._total_ms / self.moved if self.moved else 0.0

    def run(self) -> None:
        """Until told to stop."""
        for target in self._targets():
            if self._stop_asked.wait(1 / MOVES_PER_SECOND):
                return
            (session,) = self._api.get("/sessions", params={"tenant": "move me"}).json()["sessions"]
            answer = self._api.post(
                f"/sessions/{session['id']}/migrate", json={"target": target, "reason": "because we can"}
            ).json()
            if answer.get("result") == "moved":
                self.moved += 1
                self._total_ms += answer["duration_ms"]
            else:
                self.refused += 1
                print("not moved:", answer, file=sys.stderr)

    @staticmethod
    def _targets() -> list[str]:
        return ["green", "blue"] * 100_000


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
