"""COMMITs whose answer is lost, made certain: the client is told the truth, and what it did is there once (rule 29).

A COMMIT waits for a standby that is not there, so that it has happened and nobody has been told. Or it waits before
it has happened. Then its connection is lost, in some way.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

import psycopg
import pytest
from attrs import define, field, frozen
from chaos_failover import MODES, Stage, Stages
from chaos_moves import LONG_PATIENCE, Client
from chaos_network import Network, network_to
from chaos_nodes import Node
from chaos_tools import until

pytestmark = pytest.mark.cluster

#: Commits wait only where they ask for it, and then for ever.
SETTINGS: Final = {"synchronous_standby_names": "nobody", "synchronous_commit": "local"}
INSERT: Final = "insert into ledger (client, number, amount) values (1, 1, 0)"
WAITING: Final = (
    "select pid from pg_stat_activity where backend_type = 'client backend' and wait_event = '{}'"
)
#: A COMMIT that has not happened, and does not until the lock is released.
SLOW_COMMIT: Final = """
create table slow (n int);
create function wait() returns trigger language plpgsql as $$
begin perform pg_advisory_xact_lock(1); return null; end $$;
create constraint trigger wait after insert on slow deferrable initially deferred
    for each row execute function wait();
"""


@frozen
class Scene:
    """One server, whose COMMITs may wait for ever, behind a network."""

    stage: Stage
    network: Network

    @property
    def node(self) -> Node:
        """The server."""
        return self.stage.nodes[0]

    def waiting(self, event: str = "SyncRep") -> int:
        """The process whose COMMIT waits; polls for it."""
        rows = until(lambda: self.node.execute(WAITING.format(event)), f"somebody waits for {event}")
        return int(rows[0][0])

    def entries(self, table: str = "ledger") -> int:
        """How often the transaction has happened."""
        return int(self.node.execute(f"select count(*) from {table}")[0][0])


@pytest.fixture(scope="module", params=MODES)
def staged(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """In each mode."""
    with ExitStack() as stack:
        stages = Stages(stack, lambda text: None)
        cluster = stages.cluster(standbys=0, settings=SETTINGS)
        primary = cluster.cluster.primary
        network = stack.enter_context(network_to({primary.name: (primary.host, primary.port)}))
        stage = stages.elsewhere(request.param, cluster=cluster, through=network.addresses)
        stage.nodes[0].execute(SLOW_COMMIT)
        stage.nodes[0].execute("create database bare")
        yield Scene(stage, network)


@pytest.fixture
def scene(staged: Scene, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Nothing has happened yet."""
    staged.stage.until_writable()
    staged.node.execute("truncate ledger, slow")
    mark = staged.stage.proxy.log_size()
    yield staged
    request.node.add_report_section("teardown", "proxy", staged.stage.proxy.log_since(mark))


# -- how it is lost --------------------------------------------------------------------------------------------


def terminate(scene: Scene, pid: int) -> None:
    """The server says that it has committed, and not that standbys have."""
    scene.node.execute(f"select pg_terminate_backend({pid})")


def sever(scene: Scene, pid: int) -> None:
    """The server is not told, and goes on waiting."""
    scene.network.sever("node1")


def kill_process(scene: Scene, pid: int) -> None:
    """All processes end; the server recovers and goes on."""
    os.kill(pid, signal.SIGKILL)


def kill_server(scene: Scene, pid: int) -> None:
    """It is started again by somebody."""
    scene.node.kill()
    scene.stage.start(scene.node)


Lose = Callable[[Scene, int], None]
LOSSES: Final[list[Lose]] = [terminate, sever, kill_process, kill_server]

# -- what is lost ----------------------------------------------------------------------------------------------


def commit_simple(client: Client) -> str | None:
    """In the simple protocol."""
    cursor = psycopg.ClientCursor(client)
    for text in ("begin", "set local synchronous_commit = on", INSERT):
        cursor.execute(text)
    return cursor.execute("commit").statusmessage


def commit_extended(client: Client) -> str | None:
    """With statements that the client has prepared."""
    client.execute("begin", prepare=True)
    client.execute("set local synchronous_commit = on")
    client.execute(INSERT, prepare=True)
    return client.execute("commit", prepare=True).statusmessage


def single_simple(client: Client) -> str | None:
    """A statement that commits by itself."""
    client.execute("set synchronous_commit = on")
    return psycopg.ClientCursor(client).execute(INSERT).statusmessage


def single_extended(client: Client) -> str | None:
    """The same with parameters, and an answer that has a row."""
    client.execute("set synchronous_commit = on")
    text = "insert into ledger (client, number, amount) values (%s, 1, 0) returning client"
    cursor = client.execute(text, (1,))
    assert cursor.fetchall() == [(1,)]
    return cursor.statusmessage


Way = Callable[[Client], str | None]
EXPLICIT: Final[list[Way]] = [commit_simple, commit_extended]
SINGLE: Final[list[Way]] = [single_simple, single_extended]


@define
class Told:
    """What a client was told."""

    answer: str | None = None
    notices: list[str | None] = field(factory=list)
    #: it can still be asked
    alive: bool = False


def tell(scene: Scene, way: Way, database: str = "postgres") -> Told:
    """Have a client do it."""
    told = Told()
    with closing(psycopg.connect(scene.stage.proxy.dsn(database=database), autocommit=True)) as client:
        client.add_notice_handler(lambda notice: told.notices.append(notice.sqlstate))
        try:
            told.answer = way(client)
        except psycopg.Error as error:
            told.answer = f"{error.sqlstate}: {error.diag.message_primary}"
        told.alive = not client.closed and client.execute("select 1").fetchone() == (1,)
    return told


@contextmanager
def telling(scene: Scene, way: Way, database: str = "postgres") -> Iterator[Future[Told]]:
    """A client that does it, in the background."""
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(tell, scene, way, database)


def lose(scene: Scene, way: Way, lose: Lose) -> Told:
    """Lose the connection of a COMMIT that has happened; what its client is told."""
    with telling(scene, way) as told:
        lose(scene, scene.waiting())
        return told.result(LONG_PATIENCE)


by_name: Final[dict[str, Any]] = {"ids": lambda each: each.__name__}


@pytest.mark.parametrize("loss", LOSSES, **by_name)
@pytest.mark.parametrize("way", EXPLICIT, **by_name)
def test_a_commit_without_an_answer(scene: Scene, way: Way, loss: Lose) -> None:
    """It has happened: COMMIT, once, and the client goes on."""
    told = lose(scene, way, loss)
    assert (told.answer, told.alive) == ("COMMIT", True)
    assert scene.entries() == 1


@pytest.mark.parametrize("way", EXPLICIT, **by_name)
def test_a_commit_that_no_standby_has_confirmed(scene: Scene, way: Way) -> None:
    """Its client is warned, in other words than those of the server that ends its connection."""
    assert lose(scene, way, terminate).notices == ["01000"]


@pytest.mark.parametrize("loss", LOSSES, **by_name)
@pytest.mark.parametrize("way", SINGLE, **by_name)
def test_a_single_write_without_an_answer(scene: Scene, way: Way, loss: Lose) -> None:
    """It has happened, once; its answer came before it was committed, and was held back until that was certain."""
    told = lose(scene, way, loss)
    assert (told.answer, told.alive) == ("INSERT 0 1", True)
    assert scene.entries() == 1


@pytest.mark.parametrize("loss", LOSSES, **by_name)
def test_a_commit_that_has_not_happened(scene: Scene, loss: Lose) -> None:
    """The transaction is done again, and committed."""

    def commit(client: Client) -> str | None:
        client.execute("begin")
        client.execute("insert into slow values (1)")
        return client.execute("commit").statusmessage

    with holding_lock(scene) as holder, telling(scene, commit) as told:
        loss(scene, scene.waiting("advisory"))
        if loss in (terminate, sever):
            until(lambda: scene.entries("slow") == 0, "nothing has happened")
            holder.execute("select pg_advisory_unlock(1)")
        assert told.result(LONG_PATIENCE) == Told("COMMIT", [], True)
    assert scene.entries("slow") == 1


@contextmanager
def holding_lock(scene: Scene) -> Iterator[psycopg.Connection]:
    """Past the proxy; the lock is gone with the server, too."""
    with closing(psycopg.connect(scene.node.dsn, autocommit=True)) as holder:
        holder.execute("select pg_advisory_lock(1)")
        yield holder


def test_a_commit_in_a_database_without_tokens(scene: Scene) -> None:
    """Nobody can tell: 08007, never success."""

    def commit(client: Client) -> str | None:
        client.execute("create table if not exists t (n int)")
        client.execute("begin")
        client.execute("set local synchronous_commit = on")
        client.execute("insert into t values (1)")
        return client.execute("commit").statusmessage

    with telling(scene, commit, "bare") as told:
        sever(scene, scene.waiting())
        assert told.result(LONG_PATIENCE) == Told(
            "08007: the server was lost, and nobody can tell whether the statement was carried out", [], True
        )
