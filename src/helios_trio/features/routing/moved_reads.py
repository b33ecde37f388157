"""Reads that a migration has moved to the standby which is to become the primary (rule 23, gradual over `physical`).

A preference and no filter: where the standby has been refused - it lags, it lacks what the session has written - the
others serve, and no client gets an error for the sake of a migration. What a client asks for itself, by a hint or by
`SET helios.route`, comes first.

Used by: composition.deciding (puts it before all other preferences).
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from helios_trio.cluster.read_shares import ReadShares
from helios_trio.pipeline.routing import Node, Question


@define
class MovedReads:
    """`pipeline.routing.Preference`: the target of the migration, for sessions that are in its share."""

    shares: ReadShares
    name: str = "migration"

    def prefer(self, question: Question, nodes: Sequence[Node]) -> Sequence[Node]:
        """See `pipeline.routing.Preference`."""
        if not self.shares.in_force or question.must_write or question.wish.route is not None:
            return nodes
        source = next((node.name for node in nodes if node.writer), None)
        if source is None:  # its circuit is open: any of the others will do
            return nodes
        target = self.shares.target(source, question.session, question.tenant)
        return [node for node in nodes if node.name == target] or nodes

    def why(self, question: Question) -> str:
        """In words, for people."""
        return "a migration has moved the reads of this session"
