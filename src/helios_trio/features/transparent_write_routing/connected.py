"""Connect anywhere: a session whose database is tied to a standby reads there, and writes on the primary. Pure.

Used by: composition.deciding (wires it), features.routing (through `pipeline.routing.Preference`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define

from helios_trio.pipeline.routing import Node, Question


@define
class ConnectedTo:
    """`pipeline.routing.Preference`: the server that a database is tied to serves its reads, as long as it can."""

    #: the backend that a database is tied to by the configuration; empty: none
    tied: Callable[[str], str]
    name: str = "connected to"

    def prefer(self, question: Question, nodes: Sequence[Node]) -> Sequence[Node]:
        """See `pipeline.routing.Preference`."""
        name = "" if question.wish.route is not None else self.tied(question.database)
        return [node for node in nodes if node.name == name] or nodes if name else nodes

    def why(self, question: Question) -> str:
        """In words, for people."""
        return f'the database "{question.database}" is on {self.tied(question.database)}'
