"""Strategies: which of several servers takes a request that all of them could take. Pure; chance comes from outside.

Each knows only what it has chosen before. A server of weight 0 is taken where no other is left. Where servers are
equal, the one that was chosen longest ago is taken: that is fair whatever servers are offered each time.

Used by: composition.deciding (`strategy_of`), routing core (asks).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from attrs import define, field

from helios_trio.config.routing import Balancing, LoadBalancer
from helios_trio.pipeline.routing import Node, Question, Strategy

#: Share of the choices in which strategy `latency` takes the server that was chosen longest ago: one that was slow is
#: looked at again, and costs so many requests of a hundred at most.
EXPLORED: Final = 0.05
#: Stands for the number of connections that a server may have where there is no limit; any number will do.
_NO_LIMIT: Final = 100


@define
class _Turns:
    """Who was chosen when, as numbers that rise."""

    last: dict[str, int] = field(factory=dict)
    now: int = 0

    def take(self, node: Node) -> Node:
        """It is chosen now."""
        self.now += 1
        self.last[node.backend.name] = self.now
        return node

    def longest_ago(self, nodes: Sequence[Node]) -> Node:
        """The one whose turn it is; the first of those that never were chosen."""
        last = self.last
        best, earliest = nodes[0], self.now + 1
        for node in nodes:
            turn = last.get(node.backend.name, 0)
            if turn < earliest:
                best, earliest = node, turn
        return best

    def cheapest(self, nodes: Sequence[Node], prices: Sequence[float]) -> Node:
        """The one of the lowest price; of several, the one whose turn it is."""
        lowest = min(prices)
        if prices.count(lowest) == 1:
            return nodes[prices.index(lowest)]
        return self.longest_ago([node for node, price in zip(nodes, prices, strict=True) if price == lowest])


def _usable(nodes: Sequence[Node]) -> Sequence[Node]:
    """Those that have a weight, if there are any."""
    for node in nodes:
        if not node.backend.weight:
            return [each for each in nodes if each.backend.weight] or nodes
    return nodes


def loads(nodes: Sequence[Node]) -> list[float]:
    """The share of its connections that each has in use; a server of twice the weight counts as half as loaded."""
    return [
        node.active / ((node.limit or _NO_LIMIT) * (node.backend.weight or 1.0))  # in one go: the hot path
        for node in nodes
    ]


@define
class RoundRobin:
    """In turn."""

    name: str = Balancing.ROUND_ROBIN.value
    _turns: _Turns = field(factory=_Turns, init=False)

    def choose(self, question: Question, nodes: Sequence[Node]) -> Node:
        """See `pipeline.routing.Strategy`."""
        turns = self._turns
        return turns.take(turns.longest_ago(_usable(nodes)))


@define
class Weighted:
    """In turn, by weight, and evenly spread: `a a b` and not `a a a a b b` (nginx's smooth weighted round robin).

    Each server saves its weight at every choice; the one with the most saved is taken, and pays what all have saved.
    """

    name: str = Balancing.WEIGHTED.value
    _saved: dict[str, float] = field(factory=dict, init=False)

    def choose(self, question: Question, nodes: Sequence[Node]) -> Node:
        """See `pipeline.routing.Strategy`."""
        saved = self._saved
        best, most, all_together = nodes[0], float("-inf"), 0.0
        for node in _usable(nodes):
            backend = node.backend
            weight = backend.weight or 1.0
            all_together += weight
            has = saved[backend.name] = saved.get(backend.name, 0.0) + weight
            if has > most:
                best, most = node, has
        saved[best.backend.name] -= all_together
        return best


@define
class LeastConnections:
    """The least loaded."""

    name: str = Balancing.LEAST_CONNECTIONS.value
    _turns: _Turns = field(factory=_Turns, init=False)

    def choose(self, question: Question, nodes: Sequence[Node]) -> Node:
        """See `pipeline.routing.Strategy`."""
        turns, nodes = self._turns, _usable(nodes)
        return turns.take(turns.cheapest(nodes, loads(nodes)))


@define
class Fastest:
    """The one that would be done first: its smoothed time of a query, for all that it has to do already.

    One that nobody has measured counts as fast as the fastest. Now and then one is taken whatever its time was, as
    the time of a server that is never asked does not change.
    """

    random: Random
    name: str = Balancing.LATENCY.value
    _turns: _Turns = field(factory=_Turns, init=False)

    def choose(self, question: Question, nodes: Sequence[Node]) -> Node:
        """See `pipeline.routing.Strategy`."""
        turns, nodes = self._turns, _usable(nodes)
        if self.random.random() < EXPLORED:
            return turns.take(turns.longest_ago(nodes))
        return turns.take(turns.cheapest(nodes, _times_to_be_done(nodes)))


def _times_to_be_done(nodes: Sequence[Node]) -> Sequence[float]:
    """What a query would take on each, behind those that are there, by weight; only their order means something."""
    usual = 1e9
    for node in nodes:
        if node.latency is not None and node.latency < usual:
            usual = node.latency
    prices = []
    for node in nodes:
        latency = usual if node.latency is None else node.latency
        prices.append(latency * (node.active + 1) / (node.backend.weight or 1.0))
    return prices


@define
class RandomTwo:
    """The less loaded of two that chance has taken: nearly as even as looking at all, and several proxies that do not
    know of each other do not all take the same one.
    """

    random: Random
    name: str = Balancing.RANDOM_TWO.value

    def choose(self, question: Question, nodes: Sequence[Node]) -> Node:
        """See `pipeline.routing.Strategy`."""
        nodes = _usable(nodes)
        count = len(nodes)
        if count == 1:
            return nodes[0]
        draw = self.random.random
        first = int(draw() * count)
        second = int(draw() * (count - 1))
        one, other = nodes[first], nodes[second + (second >= first)]
        load_of_one, load_of_other = loads((one, other))
        return other if load_of_other < load_of_one else one


def strategy_of(settings: LoadBalancer, random: Random) -> Strategy:
    """The one that is configured, knowing nothing yet."""
    match settings.strategy:
        case Balancing.ROUND_ROBIN:
            return RoundRobin()
        case Balancing.WEIGHTED:
            return Weighted()
        case Balancing.LEAST_CONNECTIONS:
            return LeastConnections()
        case Balancing.LATENCY:
            return Fastest(random)
        case Balancing.RANDOM_TWO:
            return RandomTwo(random)
