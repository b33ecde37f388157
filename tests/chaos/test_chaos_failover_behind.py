"""Standbys that lack what clients were told is committed (rule 24), and what they may lack (rule 29).

Commits wait for no standby, and the process that sends WAL to the standby is stopped, so that it gets none.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import psycopg
import pytest
from attrs import field, frozen
from chaos_failover import MODES, Stage, Stages, make_asynchronous
from chaos_moves import LONG_PATIENCE, Json
from chaos_network import Network, network_to
from chaos_tools import until

from helios_trio.testing.links import Link, Place
from helios_trio.wire.codes import Backend

pytestmark = pytest.mark.cluster

INSERT: Final = "insert into ledger (client, number, amount) values (1, %s, 0)"
LACKS: Final = "node2 lacks 1 acknowledged transactions"
#: Entries that the standby has got.
KNOWN, LOST, IN_FLIGHT, LATER = 1, 2, 3, 4


@frozen
class Webhook:
    """Hears alerts."""

    url: str
    heard: list[Json] = field(factory=list)

    def until_heard(self, words: str) -> Json:
        """Wait for an alert whose reason has these words."""

        def look() -> list[Json]:
            return [each for each in self.heard if words in each.get("reason", "")]

        return until(look, f"an alert with {words!r}", LONG_PATIENCE)[0]


@contextmanager
def listening() -> Iterator[Webhook]:
    """A webhook, on a free port."""
    heard: list[Json] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nobody wants to know."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Webhook(f"http://127.0.0.1:{server.server_port}/alert", heard)
        finally:
            server.shutdown()
            thread.join()


@frozen
class Scene:
    """A primary whose standby gets nothing any more."""

    stage: Stage
    network: Network
    webhook: Webhook

    def connect(self) -> psycopg.Connection[Any]:
        """A client."""
        return psycopg.connect(self.stage.proxy.dsn(), autocommit=True)

    def lose_touch(self) -> None:
        """From here on the standby gets nothing; it has what was entered as known."""
        primary, standby = self.stage.nodes
        primary.execute(INSERT.replace("%s", str(KNOWN)))
        until(lambda: standby.execute("select number from ledger") == [(KNOWN,)], "the standby has it")
        [(sender,)] = primary.execute("select pid from pg_stat_replication")
        os.kill(sender, signal.SIGSTOP)

    def kill_primary(self) -> None:
        """As if its machine were gone: nobody listens at its port."""
        self.stage.nodes[0].kill()
        self.network.refuse("node1")

    def start_primary(self) -> None:
        """Somebody starts the old one again."""
        self.stage.start(self.stage.nodes[0])
        self.network.accept("node1")

    @contextmanager
    def commit_in_flight(self) -> Iterator[Future[str | None]]:
        """A transaction that has committed on the primary, whose client has not been told; what it is told."""
        wire = self.network.trip(
            self.network.ways["node1"].to_client,
            Place.BEFORE,
            Backend.COMMAND_COMPLETE,
            Link.vanish,
            where=lambda body: body == b"COMMIT\0",
        )
        with ThreadPoolExecutor(1) as executor:
            told = executor.submit(self.commit, IN_FLIGHT)
            until(wire.fired.is_set, "the answer to COMMIT is lost")
            yield told

    def commit(self, number: int) -> str | None:
        """One transaction; what its client is told."""
        with closing(self.connect()) as client:
            client.execute("begin")
            client.execute(INSERT, (number,))
            return client.execute("commit").statusmessage

    def entries(self) -> list[int]:
        """What is in the database of whoever is the primary."""
        rows = self.stage.primary.execute("select number from ledger order by number")
        return [number for (number,) in rows]


@pytest.fixture(params=MODES)
def scene(request: pytest.FixtureRequest, stages: Stages) -> Scene:
    """Node2 still gets everything; what is configured depends on the name of the test."""
    webhook = stages.stack.enter_context(listening())
    cluster = stages.cluster()
    make_asynchronous(cluster)
    targets = {each.name: (each.host, each.port) for each in cluster.cluster.nodes}
    network = stages.stack.enter_context(network_to(targets))
    loss = "allow_data_loss = true" if "allowed" in request.node.name else ""
    loss += '\nfailover_timeout = "2s"' if "in_time" in request.node.name else ""
    failover = f'{loss}\n[failover.actions]\nalert_webhook = "{webhook.url}"'
    stage = stages.elsewhere(request.param, failover, cluster=cluster, through=network.addresses)
    return Scene(stage, network, webhook)


def test_a_commit_that_only_the_dead_primary_had(scene: Scene) -> None:
    """Its client had not been told: it is done again on the standby, once, and nobody is alarmed."""
    scene.lose_touch()
    with scene.commit_in_flight() as told:
        scene.kill_primary()
        assert told.result(LONG_PATIENCE) == "COMMIT"
    scene.stage.until_succeeded()
    assert scene.stage.primary.name == "node2"
    assert scene.entries() == [KNOWN, IN_FLIGHT]
    assert scene.stage.events("failover in difficulties") == []


def test_a_standby_that_lacks_what_was_acknowledged(scene: Scene) -> None:
    """It is not promoted, and somebody is told; clients wait until the old primary is back, which has all."""
    primary, standby = scene.stage.nodes
    scene.lose_touch()
    assert scene.commit(LOST) == "COMMIT"
    with scene.commit_in_flight() as told:
        scene.kill_primary()
        scene.stage.until_event("failover in difficulties", LACKS)
        scene.webhook.until_heard(LACKS)
        assert standby.execute("select pg_is_in_recovery()") == [(True,)]
        assert not told.done()
        scene.start_primary()
        assert told.result(LONG_PATIENCE) == "COMMIT"
    assert scene.commit(LATER) == "COMMIT"
    assert scene.stage.primary == primary
    assert scene.entries() == [KNOWN, LOST, IN_FLIGHT, LATER]


def test_a_loss_that_is_allowed(scene: Scene) -> None:
    """The standby takes over, and somebody is told what is lost; what was not acknowledged is done again."""
    scene.lose_touch()
    assert scene.commit(LOST) == "COMMIT"
    with scene.commit_in_flight() as told:
        scene.kill_primary()
        assert told.result(LONG_PATIENCE) == "COMMIT"
    assert "they are lost" in scene.webhook.until_heard(LACKS)["reason"]
    scene.stage.until_succeeded()
    assert scene.stage.primary.name == "node2"
    assert scene.entries() == [KNOWN, IN_FLIGHT]


def test_an_outcome_that_nobody_can_look_up_in_time(scene: Scene) -> None:
    """No server comes: whose COMMIT was under way must not be told that nothing has happened."""
    scene.lose_touch()
    assert scene.commit(LOST) == "COMMIT"
    with scene.commit_in_flight() as told:
        scene.kill_primary()
        with pytest.raises(psycopg.Error) as caught:
            told.result(LONG_PATIENCE)
    assert caught.value.sqlstate == "08007"
    scene.start_primary()
    until(lambda: scene.entries() == [KNOWN, LOST, IN_FLIGHT], "the old primary is back")
