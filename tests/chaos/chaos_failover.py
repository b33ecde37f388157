"""The stage for failovers: a proxy, its servers with a ledger in them, what is seen of both, and a storm of clients.

Used by: the tests of failover in this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

import psycopg
import trio
from attrs import frozen
from chaos_bank import WAYS, Bank, Way, bank, make_tables
from chaos_moves import LONG_PATIENCE, Json, Operator, operating
from chaos_nodes import Node, nodes_in, nodes_of
from chaos_tools import until

from helios_trio.control.connection import ControlConnection
from helios_trio.control.setup import SetupSettings, apply
from helios_trio.embedded import BlockingCluster, start_blocking
from helios_trio.testing.running import ProxyProcess, running_proxy

MODES: Final = ("session", "transaction")
Address = tuple[str, int]
#: What a proxy writes again and again while a server is down.
REPEATED: Final = (
    "server is unhealthy",
    "server state changed",
    "cannot connect to server",
    "connection lost",
)
_STORY: Final = 40_000

CONFIG: Final = """
[proxy]
drain_timeout = "1s"
[auth]
method = "trust"
[control]
user = "postgres"
[pool]
mode = "{mode}"
max_connections = 120
[failover]
min_interval = "10ms"
{failover}
"""
BACKEND: Final = """
[[backends.pools]]
name = "{name}"
host = "{host}"
port = {port}
role = "{role}"
"""


@frozen
class Stage:
    """A proxy with its servers, the first of which was the primary at the beginning."""

    proxy: ProxyProcess
    operator: Operator
    nodes: Sequence[Node]
    #: None: the proxy runs the servers itself
    cluster: BlockingCluster | None = None

    # -- what is seen ------------------------------------------------------------------------------------------

    @property
    def primary(self) -> Node:
        """The server that takes writes, as far as the proxy knows."""
        name = until(self.operator.primary, "there is a primary", LONG_PATIENCE)
        return self.node(str(name))

    def node(self, name: str) -> Node:
        """The server of that name."""
        return next(each for each in self.nodes if each.name == name)

    def events(self, kind: str) -> list[Json]:
        """What has happened of that kind, newest first."""
        return [each for each in self.operator.get("/events", limit=1000)["events"] if each["kind"] == kind]

    def until_event(self, kind: str, words: str = "", number: int = 1) -> Json:
        """Wait until that has happened so often, with these words as reason; the newest of them."""

        def look() -> list[Json]:
            found = [each for each in self.events(kind) if words in each["reason"]]
            return found if len(found) >= number else []

        return until(look, f"event {kind!r}", LONG_PATIENCE)[0]

    def until_succeeded(self, number: int = 1) -> None:
        """Wait for the end of that failover; its successor takes writes."""
        self.until_event("failover completed", number=number)

    def until_writable(self) -> None:
        """Wait until a new client can do something."""
        with psycopg.connect(self.proxy.dsn(), autocommit=True) as client:
            client.execute("select txid_current()")

    def until_guarded(self) -> None:
        """Wait until commits are noted: the first clients of a database are not waited for to find out."""
        with psycopg.connect(self.proxy.dsn(), autocommit=True) as client:

            def commit() -> bool:
                with client.transaction():
                    client.execute("update accounts set balance = balance where id = 1")
                return self.primary.execute("select from helios.commits") != []

            until(commit, "commits are noted")

    def until_there_is_a_standby(self) -> None:
        """Wait until the next failover could come, and would lose nothing: commits wait for that standby."""
        self.until_somebody_may_succeed()
        until(self._is_synchronous, "commits wait for a standby", LONG_PATIENCE)
        self.primary.execute(
            "checkpoint"
        )  # by whose end the checkpointer, which says so to others, knows it, too

    def until_somebody_may_succeed(self) -> None:
        """Wait until there is a healthy standby."""
        until(self.operator.standby, "there is a standby that may succeed", LONG_PATIENCE)

    def _is_synchronous(self) -> bool:
        rows = self.primary.execute(
            "select from pg_stat_replication where state = 'streaming' and sync_state in ('sync', 'quorum')"
            " and current_setting('synchronous_standby_names') <> ''"
        )
        return bool(rows)

    # -- what is done ------------------------------------------------------------------------------------------

    def start(self, node: Node) -> None:
        """Start a server as what it is on disk, in a cluster of the test's."""
        assert self.cluster is not None, "the proxy starts its own"
        trio.run(self.cluster.cluster.start_node, node.name)

    def restart(self, node: Node) -> None:
        """Shut a server of the test's down in order, and start it again."""
        assert self.cluster is not None, "the proxy starts its own"
        trio.run(self.cluster.cluster.restart, node.name)

    @staticmethod
    def relax(node: Node) -> None:
        """Commits wait for no standby, from the next start of a server: its operator knows that there is none."""
        (node.data_dir / "local.conf").write_text("synchronous_standby_names = ''\n")

    @contextmanager
    def storm(self, clients: int, ways: Sequence[Way] = WAYS) -> Iterator[Bank]:
        """Clients at work; at the end what they were told is compared with what the primary has."""
        with bank(self.proxy.dsn(), clients, ways) as busy:
            yield busy
            busy.all_go_on()
        busy.check(self.primary.execute)


@frozen
class Stages:
    """Builds stages, and takes them down at the end; what the proxy wrote is shown with a test that fails."""

    stack: ExitStack
    report: Callable[[str], None]

    def own_cluster(self, mode: str, failover: str = "", standbys: int = 1) -> Stage:
        """A proxy that runs its servers itself: it can end them, and makes old primaries standbys."""
        config = CONFIG.format(mode=mode, failover=failover)
        arguments = ("--ephemeral", "--standbys", str(standbys))
        proxy = self._run(config, arguments)
        return self._staged(proxy, nodes_of(proxy), None)

    def elsewhere(
        self,
        mode: str,
        failover: str = "",
        *,
        cluster: BlockingCluster | None = None,
        through: Mapping[str, Address] | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> Stage:
        """A proxy in front of servers that it can only talk to.

        `failover` are keys of that section, and sections; `through` is where it reaches the servers, by name; `roles`
        is what they are by the configuration, else they say so themselves.
        """
        cluster = cluster or self.cluster()
        nodes, places = nodes_in(cluster), []
        for each in nodes:
            host, port = (through or {}).get(each.name, (each.host, each.port))
            role = (roles or {}).get(each.name, "auto")
            places.append(BACKEND.format(name=each.name, host=host, port=port, role=role))
        config = CONFIG.format(mode=mode, failover=failover) + "".join(places)
        return self._staged(self._run(config, ()), nodes, cluster)

    def cluster(self, standbys: int = 1, settings: Mapping[str, str] | None = None) -> BlockingCluster:
        """Servers in which commits can be noted."""
        made = start_blocking(standbys=standbys, settings=settings)
        self.stack.callback(made.stop)
        trio.run(partial(_set_up, made))
        return made

    def _run(self, config: str, arguments: tuple[str, ...]) -> ProxyProcess:
        proxy = self.stack.enter_context(
            running_proxy(config, arguments, ready_seconds=LONG_PATIENCE, stop_seconds=LONG_PATIENCE)
        )
        self.stack.callback(lambda: self.report(story(proxy)))
        return proxy

    def _staged(self, proxy: ProxyProcess, nodes: list[Node], cluster: BlockingCluster | None) -> Stage:
        stage = Stage(proxy, self.stack.enter_context(operating(proxy)), nodes, cluster)
        make_tables(nodes[0].execute)
        if len(nodes) > 1:
            stage.until_somebody_may_succeed()
        stage.until_guarded()
        return stage


def story(proxy: ProxyProcess) -> str:
    """What a proxy wrote, without what it repeats of servers that are down."""
    lines = proxy.log_file.read_text(errors="replace").splitlines()
    return "\n".join(line for line in lines if not any(words in line for words in REPEATED))[-_STORY:]


def make_asynchronous(cluster: BlockingCluster) -> None:
    """Commits of the primary wait for no standby any more."""
    cluster.execute("alter system set synchronous_standby_names = ''")
    cluster.execute("select pg_reload_conf()")
    until(
        lambda: cluster.execute("select from pg_stat_replication where sync_state <> 'async'") == [],
        "no standby is waited for",
    )


async def _set_up(cluster: BlockingCluster) -> None:
    connection: ControlConnection = await cluster.cluster.connect()
    async with connection:
        await apply(connection, SetupSettings())
