"""A real Patroni: two servers and a witness on loopback with its own Raft, PostgreSQL from the embedded wheel."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import trio
from attrs import define, field

from helios_trio.embedded.account import Account, choose_account, give
from helios_trio.embedded.binaries import Installation, find_installation

DEADLINE: Final = 120.0
STOP_SECONDS: Final = 20.0
POLL: Final = 0.1
NAMES: Final = ("one", "two")
#: Roles and states, as release 3.0 calls them.
LEADS, FOLLOWS = ("leader", "running"), ("replica", "running")
READY: Final = {LEADS, FOLLOWS}

_NODE: Final = """
scope: helios
name: {name}
log: {{level: INFO}}
restapi: {{listen: "127.0.0.1:{rest}", connect_address: "127.0.0.1:{rest}"}}
raft: {{data_dir: {folder}/raft-{name}, self_addr: "127.0.0.1:{raft}", partner_addrs: [{partners}]}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    primary_start_timeout: 0
    postgresql:
      use_pg_rewind: true
      parameters: {{max_connections: 50, shared_buffers: 16MB, wal_log_hints: "on"}}
  initdb: [{{auth-host: trust}}, {{auth-local: trust}}, {{encoding: UTF8}}, {{locale: C}}]
  pg_hba: ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {folder}/data-{name}
  bin_dir: {bin_dir}
  pgpass: {folder}/pgpass-{name}
  use_unix_socket: true
  authentication: {{superuser: {{username: postgres}}, replication: {{username: replicator}}}}
  parameters: {{unix_socket_directories: {folder}, fsync: "off"}}
"""
_WITNESS: Final = """
raft: {{data_dir: {folder}/raft-witness, self_addr: "127.0.0.1:{raft}", partner_addrs: [{partners}]}}
"""


def patroni_is_installed() -> bool:
    """Whether this machine has Patroni with its Raft."""
    return shutil.which("patroni") is not None and shutil.which("patroni_raft_controller") is not None


@define(eq=False)
class PatroniNode:
    """One member."""

    name: str
    port: int
    rest: int
    raft: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its REST API."""
        return f"http://127.0.0.1:{self.rest}"

    @property
    def postmaster(self) -> int | None:
        """The pid of its PostgreSQL."""
        with suppress(OSError, ValueError, IndexError):
            return int((self.folder / f"data-{self.name}" / "postmaster.pid").read_text().split("\n")[0])
        return None

    def kill_server(self) -> None:
        """PostgreSQL dies, Patroni lives."""
        _send(self.postmaster, signal.SIGKILL)

    def kill(self) -> None:
        """The machine is gone: Patroni and PostgreSQL with it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.kill_server()


@define(eq=False)
class PatroniCluster:
    """The members, and how they are started."""

    nodes: dict[str, PatroniNode]
    folder: Path
    installation: Installation
    account: Account | None
    witness_port: int
    others: list[subprocess.Popen[bytes]] = field(factory=list)

    @property
    def urls(self) -> tuple[str, ...]:
        """REST APIs."""
        return tuple(each.url for each in self.nodes.values())

    def start(self, name: str) -> None:
        """Start a member, for the first time or again."""
        node = self.nodes[name]
        config = _NODE.format(
            name=name,
            rest=node.rest,
            raft=node.raft,
            port=node.port,
            folder=self.folder,
            bin_dir=self.installation.bin_dir,
            partners=self._partners(node.raft),
        )
        node.process = self._run("patroni", name, config)

    def start_witness(self) -> None:
        """A third voice, without a server."""
        config = _WITNESS.format(
            folder=self.folder, raft=self.witness_port, partners=self._partners(self.witness_port)
        )
        self.others.append(self._run("patroni_raft_controller", "witness", config))

    def _partners(self, but: int) -> str:
        ports = [*(each.raft for each in self.nodes.values()), self.witness_port]
        return ", ".join(f'"127.0.0.1:{port}"' for port in ports if port != but)

    def _run(self, program: str, name: str, config: str) -> subprocess.Popen[bytes]:
        file = self.folder / f"{name}.yml"
        file.write_text(config)
        options: dict[str, Any] = {}
        if self.account is not None:
            options = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [program, str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                start_new_session=True,
                **options,
            )

    async def wait_until(
        self, condition: Callable[[dict[str, tuple[str, str]]], bool]
    ) -> dict[str, tuple[str, str]]:
        """Until roles and states by name are so, as any member says. Raises AssertionError with the ends of logs."""
        states: dict[str, tuple[str, str]] = {}
        with trio.move_on_after(DEADLINE):
            async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
                while not condition(states := await self._states(http)):  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(POLL)
                return states
        raise AssertionError(f"{states}\n{self.logs()}")

    async def _states(self, http: httpx.AsyncClient) -> dict[str, tuple[str, str]]:
        for url in self.urls:
            with suppress(httpx.HTTPError, ValueError):
                answer = await http.get(f"{url}/cluster")
                if answer.status_code == httpx.codes.OK:
                    return {each["name"]: (each["role"], each["state"]) for each in answer.json()["members"]}
        return {}

    async def switch_over(self, leader: str, candidate: str) -> None:
        """A planned switchover by Patroni itself."""
        async with httpx.AsyncClient(timeout=DEADLINE, trust_env=False) as http:
            body = {"leader": leader, "candidate": candidate}
            answer = await http.post(f"{self.nodes[leader].url}/switchover", json=body)
            assert answer.status_code == httpx.codes.OK, answer.text

    def logs(self) -> str:
        """The end of what all wrote."""
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def stop(self) -> None:
        """Nothing of it is left running."""
        members = [each.process for each in self.nodes.values() if each.process is not None]
        for process in [*members, *self.others]:
            process.terminate()
        for process in [*members, *self.others]:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for node in self.nodes.values():
            node.kill_server()


@asynccontextmanager
async def open_patroni() -> AsyncIterator[PatroniCluster]:
    """A cluster led by "one" with the standby "two", until the block ends."""
    account = choose_account(None)
    installation = await find_installation(None, account)
    with _folder(account) as folder, ExitStack() as stack:
        ports = _free_ports(3 * len(NAMES) + 1)
        nodes = {
            name: PatroniNode(name, *ports[3 * at : 3 * at + 3], folder) for at, name in enumerate(NAMES)
        }
        cluster = PatroniCluster(nodes, folder, installation, account, ports[-1])
        stack.callback(cluster.stop)
        cluster.start_witness()
        cluster.start("one")
        cluster.start("two")
        await cluster.wait_until(lambda states: len(states) == len(NAMES) and set(states.values()) == READY)
        yield cluster


@contextmanager
def _folder(account: Account | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="helios-patroni-"))
    try:
        give(folder, account)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _send(pid: int | None, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)
