"""The trace that a statement belongs to, as its client says in a comment (sqlcommenter, W3C Trace Context).

    SELECT * FROM orders /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',route='%2Forders'*/

Libraries write this comment at the end of a statement; some write it at the beginning, where hints for the planner may
stand as well. Whatever the bytes, nothing is raised, and the time is bounded: no more than `LOOKED_AT` bytes of either
end are looked at. A comment that is malformed is no comment of this kind.

Used by: features.tracing.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

#: Bytes of each end of a statement that are looked at.
LOOKED_AT: Final = 4096

_KEY: Final = b"traceparent"
#: White space and semicolons, behind which a statement may go on.
_BLANK: Final = b" \t\n\r\f\v"
_BEHIND: Final = _BLANK + b";"
#: How a text begins, or ends, that may begin or end with a comment: most do not, and need no more than this test.
_BEGINS: Final = (b"/", *(bytes([each]) for each in _BLANK))
_ENDS: Final = (b"/", *(bytes([each]) for each in _BEHIND))
#: The key of a pair, and its value in the form of version 00; later versions may add fields behind a dash.
_PAIR: Final = re.compile(
    rb"(?:\A|,)\s*+traceparent\s*+=\s*+'(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    rb"-(?P<flags>[0-9a-f]{2})(?>(?P<more>-[!-&(-~]{0,256}+)?)'\s*+(?:,|\Z)"
)
_SAMPLED: Final = 1


@frozen
class TraceParent:
    """A span of somebody else, whose child a request is (W3C Trace Context, section 3.2). Ids are lower-case hex."""

    trace_id: str
    span_id: str
    #: whoever began the trace wants it recorded
    sampled: bool


def trace_parent_of(text: bytes) -> TraceParent | None:
    """What the first or the last comment of a statement says; None: nothing, or nothing that can be understood."""
    return (_at_the_end(text) if text.endswith(_ENDS) else None) or (
        _at_the_beginning(text) if text.startswith(_BEGINS) else None
    )


def _at_the_end(text: bytes) -> TraceParent | None:
    tail = text[-LOOKED_AT:].rstrip(_BEHIND)
    if not tail.endswith(b"*/"):
        return None
    begin = tail.rfind(b"/*", 0, len(tail) - 2)
    return None if begin < 0 else _read(tail[begin + 2 : -2])


def _at_the_beginning(text: bytes) -> TraceParent | None:
    """In one of the comments with which the text begins."""
    head, at = text[:LOOKED_AT].lstrip(_BLANK), 0
    if _KEY not in head:
        return None
    while head.startswith(b"/*", at):
        end = head.find(b"*/", at + 2)
        if end < 0:
            return None
        if found := _read(head[at + 2 : end]):
            return found
        at = _behind_blank(head, end + 2)
    return None


def _behind_blank(head: bytes, at: int) -> int:
    return len(head) - len(head[at:].lstrip(_BLANK))


def _read(comment: bytes) -> TraceParent | None:
    """The pair in the content of a comment. A comment within it is none of ours, and may hide what was put out."""
    if b"/*" in comment or (match := _PAIR.search(comment)) is None:
        return None
    version, more = match["version"], match["more"]
    if version == b"ff" or (version == b"00" and more):
        return None
    trace, span = match["trace"].decode(), match["span"].decode()
    if not trace.strip("0") or not span.strip("0"):
        return None
    return TraceParent(trace, span, bool(int(match["flags"], 16) & _SAMPLED))
