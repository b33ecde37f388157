"""The newest commits that clients were told of, by the ids that they wrote for themselves (rule 24).

A standby that lacks one of them must not take over unnoticed. A few of each database are enough: WAL comes in order.

Used by: failover.session (notes them), failover.succession (has them looked up on a candidate).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import define, field

#: Ids kept of each database.
KEPT: Final = 32

# A commit without a change has no id; of one with a change, the tag of a statement says so.
_CHANGED: Final = re.compile(rb"C\0\0\0.(?:INSERT 0 |UPDATE |DELETE |MERGE |COPY )[1-9]", re.DOTALL)
_FAILED: Final = re.compile(rb"\0V(?:ERROR|FATAL|PANIC)\0")


@define
class Acknowledged:
    """See `failover.tokens.AcknowledgedTokens`."""

    _newest: dict[str, dict[str, deque[str]]] = field(factory=dict)

    def note(self, backend: str, database: str, token: str) -> None:
        """A client was told that this has committed."""
        ids = self._newest.setdefault(backend, {}).get(database)
        if ids is None:
            ids = self._newest[backend][database] = deque(maxlen=KEPT)
        ids.append(token)

    def newest(self, backend: str) -> Mapping[str, Sequence[str]]:
        """See `failover.tokens.AcknowledgedTokens`."""
        return {database: tuple(ids) for database, ids in self._newest.get(backend, {}).items()}


def has_certainly_changed(answers: bytes) -> bool:
    """Whether what a client was answered in a transaction that has committed shows that it has changed something."""
    return _CHANGED.search(answers) is not None and _FAILED.search(answers) is None
