"""Networks between a proxy and its servers, run by a thread, so that tests without an event loop can break them.

Used by: the tests of failover in this folder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Final, TypeVar

import trio
from attrs import define, field, frozen
from chaos_tools import PATIENCE, until

from helios_trio.testing.faults import FaultProxy, Line, Link, Place, Tripwire, open_fault_proxy

Address = tuple[str, int]
T = TypeVar("T")

#: What is dropped, by direction seen from the proxy.
DIRECTIONS: Final = ("to_server", "to_client", "both")


@frozen
class Network:
    """The ways to some servers, by their names."""

    ways: Mapping[str, FaultProxy]
    token: trio.lowlevel.TrioToken

    @property
    def addresses(self) -> dict[str, Address]:
        """Where the servers are reached through it."""
        return {name: each.address for name, each in self.ways.items()}

    def do(self, work: Callable[[], T]) -> T:
        """Change something, in the thread of the network."""
        return trio.from_thread.run_sync(work, trio_token=self.token)

    def drop(self, name: str, direction: str) -> None:
        """From now on the packets to or from a server vanish, or both."""
        way = self.ways[name]
        for each, line in (("to_server", way.to_server), ("to_client", way.to_client)):
            if direction in (each, "both"):
                line.swallow = True

    def trip(
        self,
        line: Line,
        place: Place,
        code: int,
        act: Callable[[Link], None],
        where: Callable[[bytes], bool] | None = None,
    ) -> Tripwire:
        """See `Line.trip`."""
        return self.do(lambda: line.trip(place, code, act, where=where))

    def refuse(self, name: str) -> None:
        """A server is dead: nobody listens, and all connections are gone."""
        trio.from_thread.run(self.ways[name].unbind, trio_token=self.token)
        self.cut(name)

    def accept(self, name: str) -> None:
        """It is back."""
        trio.from_thread.run(self.ways[name].bind, trio_token=self.token)

    def heal(self, name: str) -> None:
        """What is sent from now on arrives."""
        self.do(self.ways[name].heal)

    def cut(self, name: str) -> None:
        """All connections to a server are reset."""
        self.do(self.ways[name].cut)

    def sever(self, name: str) -> None:
        """The proxy's side of all connections is reset, and the server is not told."""
        self.do(lambda: [link.sever_client() for link in self.ways[name].links])


@define
class _Running:
    """What the thread has to say."""

    network: Network | None = None
    over: trio.Event = field(factory=trio.Event)
    error: BaseException | None = None


async def _serve(targets: Mapping[str, Address], running: _Running) -> None:
    async with AsyncExitStack() as stack:
        ways = {
            name: await stack.enter_async_context(open_fault_proxy(target))
            for name, target in targets.items()
        }
        running.network = Network(ways, trio.lowlevel.current_trio_token())
        await running.over.wait()


def _run(targets: Mapping[str, Address], running: _Running) -> None:
    try:
        trio.run(_serve, targets, running)
    except BaseException as error:  # for who started the thread
        running.error = error


@contextmanager
def network_to(targets: Mapping[str, Address]) -> Iterator[Network]:
    """A network that is whole at first."""
    running = _Running()
    thread = threading.Thread(target=_run, args=(targets, running), name="network")
    thread.start()
    try:
        until(lambda: running.network or running.error, "the network is there")
        assert running.network is not None, running.error
        yield running.network
    finally:
        if running.network is not None:
            running.network.do(running.over.set)
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert running.error is None
