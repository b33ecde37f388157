"""Which server gets a request: filters refuse, preferences narrow down, a strategy takes one. Pure.

Used by: features.routing.router (asks for each request), features.routing.explain (asks for the steps as well).
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from helios_trio.pipeline.routing import (
    ANYTHING,
    NEAREST,
    PRIMARY,
    ROUTE_WORDS,
    Consistency,
    Decision,
    Filter,
    Node,
    Preference,
    Question,
    Step,
    Strategy,
)


@define
class Decider:
    """Filters and preferences in their order, and the strategy at the end.

    Most filters have nothing to say about most questions, so they are asked that first; and what those say that only
    look at the servers is kept until there are other pictures of them.
    """

    filters: Sequence[Filter]
    preferences: Sequence[Preference]
    strategy: Strategy
    #: filters that look at the servers only, and the others
    _lasting: Sequence[Filter] = field(init=False)
    _passing: Sequence[Filter] = field(init=False)
    #: pictures of servers, and those of them that a read may go to as far as only they are looked at
    _pictures: Sequence[Node] = field(default=(), init=False)
    _able: Sequence[Node] = field(default=(), init=False)
    #: answers by backend, and whether it has to do because no standby will
    _answers: dict[tuple[str, bool], Decision] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._lasting = [each for each in self.filters if each.lasting]
        self._passing = [each for each in self.filters if not each.lasting]

    def decide(self, question: Question, nodes: Sequence[Node]) -> Decision:
        """Where the request goes; without the steps, which cost more than the decision.

        `nodes`: another list as soon as anything but load has changed in it.
        """
        left = self._left_by_lasting(question, nodes)
        for each in self._passing:
            if each.concerns(question):
                left = [node for node in left if not each.refuses(question, node)]
        if not left:
            return NOWHERE
        for preference in self.preferences:
            if len(left) == 1:
                break
            left = preference.prefer(question, left)
        found = left[0] if len(left) == 1 else self.strategy.choose(question, left)
        return self._answer(found.backend.name, found.writer and not question.must_write)

    def _left_by_lasting(self, question: Question, nodes: Sequence[Node]) -> Sequence[Node]:
        if question.must_write:
            return [node for node in nodes if not any(each.refuses(question, node) for each in self._lasting)]
        if self._pictures is not nodes:
            able = [node for node in nodes if not any(each.refuses(question, node) for each in self._lasting)]
            self._pictures, self._able = nodes, able
        return self._able

    def _answer(self, backend: str, fell_back: bool) -> Decision:
        found = self._answers.get((backend, fell_back))
        if found is None:
            found = self._answers[backend, fell_back] = Decision(backend=backend, fell_back=fell_back)
        return found

    def refuses(self, question: Question, node: Node) -> bool:
        """Whether a filter refuses this server."""
        return any(each.refuses(question, node) for each in self.filters)

    def explain(self, question: Question, nodes: Sequence[Node]) -> Decision:
        """The same, and what each of them did. A strategy that takes turns has had one by that."""
        left, steps = list(nodes), list[Step]()
        for each in self.filters:
            reasons = {node.name: reason for node in left if (reason := each.refuses(question, node))}
            left = [node for node in left if node.name not in reasons]
            steps.append(_step(each.name, left, reasons))
        for preference in self.preferences if left else ():
            better = preference.prefer(question, left)
            why = getattr(preference, "why", None)
            reason = why(question) if why is not None else "others are preferred"
            passed_by = {node.name: reason for node in left if node not in better}
            left = list(better)
            steps.append(_step(preference.name, left, passed_by))
        if not left:
            return Decision(backend=None, steps=tuple(steps))
        found = self.strategy.choose(question, left)
        others = {node.name: f"{self.strategy.name} has taken another" for node in left if node is not found}
        steps.append(_step(self.strategy.name, [found], others))
        return Decision(
            backend=found.name, fell_back=found.writer and not question.must_write, steps=tuple(steps)
        )


def _step(by: str, left: Sequence[Node], removed: dict[str, str]) -> Step:
    return Step(by=by, left=tuple(node.name for node in left), removed=removed)


#: No server is left.
NOWHERE = Decision(backend=None)


@define
class InService:
    """`pipeline.routing.Filter`: servers that cannot be reached, or that an operator has taken out."""

    name: str = "in service"
    lasting: bool = True

    def concerns(self, question: Question) -> bool:
        """See `pipeline.routing.Filter`."""
        return not question.must_write

    def refuses(self, question: Question, node: Node) -> str:
        """See `pipeline.routing.Filter`. Where writes go, is not decided here: they wait for their server."""
        return "" if question.must_write else node.out


@define
class Role:
    """`pipeline.routing.Filter`: what may write goes to the server that takes writes, whatever anybody wishes."""

    name: str = "role"
    lasting: bool = True

    def concerns(self, question: Question) -> bool:
        """See `pipeline.routing.Filter`."""
        return True

    def refuses(self, question: Question, node: Node) -> str:
        """See `pipeline.routing.Filter`."""
        if question.must_write:
            return "" if node.writer else f"it takes no writes: {question.must_write}"
        return "" if node.writer or node.standby else "it is neither the primary nor a standby"


@define
class Wished:
    """`pipeline.routing.Filter`: what a hint or a setting of the session asks for (rule 36: of reads only)."""

    name: str = "wish"
    lasting: bool = False

    def concerns(self, question: Question) -> bool:
        """See `pipeline.routing.Filter`."""
        return question.wish is not ANYTHING

    def refuses(self, question: Question, node: Node) -> str:
        """See `pipeline.routing.Filter`."""
        if question.must_write:
            return ""
        wish = question.wish
        if wish.consistency is Consistency.STRONG and not node.writer:
            return "the client wants strong consistency"
        route = wish.route
        if route is None or route == NEAREST:
            return ""
        if route == PRIMARY:
            return "" if node.writer else "the client wants the primary"
        if route in ROUTE_WORDS:
            return "the client wants a standby" if node.writer else ""
        return "" if node.name == route else f"the client wants {route}"


@define
class DefaultForReads:
    """`pipeline.routing.Preference`: where reads go that nobody has said anything about."""

    #: "replica", "primary" or "nearest"
    word: str = "replica"
    name: str = "default for reads"

    def prefer(self, question: Question, nodes: Sequence[Node]) -> Sequence[Node]:
        """See `pipeline.routing.Preference`."""
        if question.wish.route is not None or self.word == NEAREST:
            return nodes
        wanted = [node for node in nodes if node.writer is (self.word == PRIMARY)]
        return wanted or nodes
