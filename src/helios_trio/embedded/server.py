"""One server of an embedded cluster: `EmbeddedNode` is what others see of it, `Server` runs it.

A `Server` knows nothing of its peers; what makes it a primary or a standby is in the settings and the
standby.signal file that it is started with. It holds no task: between calls only the operating system's
processes exist. Called by `replication` and `cluster`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import psycopg
import structlog
import trio
from attrs import define, field

from helios_trio.control import ControlConnection
from helios_trio.embedded import processes
from helios_trio.embedded.binaries import Installation
from helios_trio.embedded.config_file import ServerSettings, pg_hba_conf, postgresql_conf
from helios_trio.embedded.errors import EmbeddedError, ServerDidNotStart
from helios_trio.embedded.folder import ClusterFolder
from helios_trio.embedded.programs import Programs

NodeRole = Literal["primary", "standby", "stopped"]
StopMode = Literal["smart", "fast", "immediate"]

START_DEADLINE = 120.0  # seconds until a server must accept connections; crash recovery takes its time
STOP_DEADLINE = 30.0  # seconds a server has to stop before it is killed
REREAD_AFTER = 1.0  # seconds a server has to stop before settings are read that may keep it from that
READY_POLL = 0.01  # seconds between attempts to connect to a starting server
LOG_TAIL = 4000  # bytes of a server's log that go into an error
STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

_log = structlog.get_logger(__name__)


@define(eq=False)
class EmbeddedNode:
    """One server as others see it."""

    name: str
    host: str
    port: int
    socket_dir: Path
    data_dir: Path
    pid: int | None = None
    """Process id of the postmaster; None when it does not run."""
    role: NodeRole = "stopped"
    read_only: bool = False
    """New transactions are read-only unless they say otherwise; ends with the server."""


@define(eq=False)
class Server:
    """Runs one node's postmaster."""

    node: EmbeddedNode
    installation: Installation
    programs: Programs
    folder: ClusterFolder
    settings: ServerSettings
    superuser: str
    password: str
    _process: trio.Process | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    @property
    def seen_data_dir(self) -> str:
        """The data directory as the server's own account reaches it."""
        return self.folder.seen(self.name)

    @property
    def running(self) -> bool:
        """Whether the postmaster runs."""
        return self.observe().pid is not None

    def observe(self) -> EmbeddedNode:
        """The node, after taking note if the postmaster has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            self._note_end()
        return self.node

    @property
    def is_standby_on_disk(self) -> bool:
        """Whether it would start as a standby."""
        return (self.node.data_dir / "standby.signal").exists()

    def environment(self) -> dict[str, str]:
        """Environment variables with which client programs log in."""
        return {"PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "10"}

    def connection_parameters(self) -> dict[str, Any]:
        """libpq's parameters for the superuser, over the server's own Unix socket."""
        return {
            "host": str(self.node.socket_dir),
            "port": self.node.port,
            "user": self.superuser,
            "password": self.password,
        }

    async def connect(self, dbname: str = "postgres") -> ControlConnection:
        """Connect as superuser, in autocommit."""
        return await ControlConnection.connect(autocommit=True, dbname=dbname, **self.connection_parameters())

    async def query(self, sql: str, *arguments: Any, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as superuser on a connection of its own; its rows, if it returns any."""
        async with await self.connect(dbname) as connection:
            cursor = await connection.execute(sql.encode(), arguments or None)
            return await cursor.fetchall() if cursor.description is not None else []

    def configure(self, own: Mapping[str, str]) -> None:
        """Write both configuration files; takes effect with the next start or `reload`."""
        place = {"port": str(self.node.port), "unix_socket_directories": str(self.node.socket_dir)}
        text = postgresql_conf(self.settings, {**place, **own})
        self.folder.write_private(f"{self.name}/postgresql.conf", text)
        self.folder.write_private(f"{self.name}/pg_hba.conf", pg_hba_conf(self.settings))

    def reload(self) -> None:
        """Have the server read its configuration files again."""
        if self.running and self.node.pid is not None:
            os.kill(self.node.pid, signal.SIGHUP)

    def mark_as_standby(self) -> None:
        """Let it start as a standby."""
        self.folder.write_private(f"{self.name}/standby.signal", "")

    async def start(self) -> None:
        """Start the postmaster and wait until it accepts connections.

        Raises:
            ServerDidNotStart: it ended, or START_DEADLINE passed; it does not run then.
        """
        argv = [self.installation.server("postgres"), "-D", self.seen_data_dir]
        log = self.folder.log_file(self.name)
        log_start = log.stat().st_size if log.exists() else 0
        self._process = await self.programs.spawn(argv, log)
        self.node.pid = self._process.pid
        try:
            await self._wait_until_ready(log, log_start)
        except BaseException:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_DEADLINE):
                await self.kill()
            raise
        self.node.role = "standby" if self.is_standby_on_disk else "primary"
        _log.info(
            "embedded server started",
            node=self.name,
            role=self.node.role,
            port=self.node.port,
            pid=self.node.pid,
            version=self.installation.version,
        )

    async def stop(self, mode: StopMode = "fast") -> None:
        """Shut the server down (PostgreSQL docs: "Shutting Down the Server"); killed if it takes too long."""
        process = self._process
        if not self.running or process is None:
            return
        self.resume()
        process.send_signal(STOP_SIGNALS[mode])
        with trio.move_on_after(REREAD_AFTER):
            await process.wait()
        if self.running:
            # A session drops its temporary tables when it ends, and its commit may wait for a standby that follows
            # another primary: no signal ends that (seen), but that there is no standby to wait for any more.
            processes.reread_settings(self.node.data_dir)
        with trio.move_on_after(STOP_DEADLINE):
            await process.wait()
        if self.running:
            _log.warning("embedded server did not stop, it is killed", node=self.name, seconds=STOP_DEADLINE)
            await self.kill()
        self._note_end()

    async def kill(self) -> None:
        """SIGKILL the postmaster and all its children; returns when they are gone."""
        await processes.kill_all(self.node.data_dir)
        if self._process is not None:
            await self._process.wait()
        self._note_end()

    async def pause(self) -> None:
        """SIGSTOP all processes: the server holds its connections and answers nothing."""
        self.require_running()
        await processes.pause_all(self.node.data_dir)

    def resume(self) -> None:
        """SIGCONT all processes."""
        processes.resume_all(self.node.data_dir)

    @property
    def paused(self) -> bool:
        """Whether the server was paused."""
        return self.node.pid is not None and processes.is_paused(self.node.pid)

    def require_running(self) -> None:
        """Raise EmbeddedError unless it runs."""
        if not self.running:
            raise EmbeddedError(f"{self.name} does not run")

    async def _wait_until_ready(self, log: Path, log_start: int) -> None:
        deadline = trio.current_time() + START_DEADLINE
        reason = "it ended"
        while self.running and trio.current_time() < deadline:
            try:
                await self.query("SELECT 1")
            except psycopg.OperationalError as error:
                reason = str(error)
            else:
                return
            await trio.sleep(READY_POLL)
        raise ServerDidNotStart(
            f"the embedded server {self.name} did not start: {reason}", detail=_tail(log, log_start)
        )

    def _note_end(self) -> None:
        self._process = None
        self.node.pid = None
        self.node.role = "stopped"
        self.node.read_only = False


def _tail(log: Path, start: int) -> str:
    """The end of what was written to a log since `start`."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - LOG_TAIL))
        return file.read().decode(errors="replace").strip()
