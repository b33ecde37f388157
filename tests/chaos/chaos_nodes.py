"""The servers of a cluster under test, past the proxy: looked at, killed, stopped, woken up again.

Used by: test_chaos_switchover, chaos_failover.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import trio
from attrs import frozen
from chaos_tools import until

from helios_trio.embedded import BlockingCluster, processes
from helios_trio.testing.running import ProxyProcess


@frozen
class Node:
    """One server."""

    name: str
    host: str
    port: int
    data_dir: Path

    @property
    def dsn(self) -> str:
        """Where it is reached directly."""
        return f"host={self.host} port={self.port} user=postgres dbname=postgres application_name=outsider"

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement on a connection of its own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def takes_writes(self) -> bool:
        """Whether a client that asks for nothing special may write."""
        return self.execute("select current_setting('transaction_read_only')") == [("off",)]

    @contextmanager
    def open_transaction(self) -> Iterator[psycopg.Connection]:
        """A transaction that has written, past the proxy; a switchover waits until it is over."""
        with closing(psycopg.connect(self.dsn, options="-c synchronous_commit=local")) as outsider:
            outsider.execute("create table outside as select 1 as n")
            yield outsider

    # -- its processes -----------------------------------------------------------------------------------------

    @property
    def postmaster(self) -> int:
        """Its process id."""
        found = processes.recorded_postmaster(self.data_dir)
        assert found is not None, f"{self.name} does not run"
        return found

    @property
    def dead(self) -> bool:
        """Whether none of its processes is there."""
        return not processes.processes_of(self.data_dir)

    def kill(self) -> None:
        """SIGKILL all its processes."""
        trio.run(processes.kill_all, self.data_dir)

    def kill_postmaster(self) -> None:
        """SIGKILL the postmaster, and nobody else: its children find out when they next look."""
        os.kill(self.postmaster, signal.SIGKILL)

    def stop_immediately(self) -> None:
        """An immediate shutdown: all processes end where they are."""
        os.kill(self.postmaster, signal.SIGQUIT)

    def kill_one_backend(self, words: str = "") -> None:
        """SIGKILL one that serves a client; the postmaster has all others end, recovers, and goes on."""
        asked = (
            "select pid from pg_stat_activity where backend_type = 'client backend' and application_name = ''"
            f" and position('{words}' in query) > 0 limit 1"
        )
        [(pid,)] = until(lambda: self.execute(asked), "a client runs it")
        os.kill(pid, signal.SIGKILL)

    def terminate_backends(self) -> int:
        """pg_terminate_backend for all clients; how many there were."""
        rows = self.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        return len(rows)

    @contextmanager
    def stopped(self, *, postmaster_only: bool = False) -> Iterator[None]:
        """SIGSTOP its processes, or the one that lets others know what was signalled to it."""
        if postmaster_only:
            os.kill(self.postmaster, signal.SIGSTOP)
        else:
            trio.run(processes.pause_all, self.data_dir)
        try:
            yield
        finally:
            processes.resume_all(self.data_dir)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """A standby that can be asked to become primary, and does not until this ends: its replay is stopped."""
        [(startup,)] = self.execute("select pid from pg_stat_activity where backend_type = 'startup'")
        os.kill(startup, signal.SIGSTOP)
        try:
            yield
        finally:
            processes.resume_all(self.data_dir)

    @property
    def asked_to_promote(self) -> bool:
        """Whether pg_promote was called, and not obeyed: it leaves a file (`PROMOTE_SIGNAL_FILE`)."""
        return (self.data_dir / "promote").exists()


def nodes_of(proxy: ProxyProcess) -> list[Node]:
    """The servers that a proxy runs itself."""
    return [
        Node(each["name"], each["host"], each["port"], Path(each["data_dir"]))
        for each in proxy.ready["nodes"]
    ]


def nodes_in(cluster: BlockingCluster) -> list[Node]:
    """The servers of a cluster that a test runs."""
    return [Node(each.name, each.host, each.port, each.data_dir) for each in cluster.cluster.nodes]
