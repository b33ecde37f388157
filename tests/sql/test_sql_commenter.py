"""The trace in a comment: what is read, what is ignored, and that nothing can hurt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.sql.commenter import LOOKED_AT, TraceParent, trace_parent_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALUE = f"00-{TRACE}-{SPAN}-01"
COMMENT = f"/*traceparent='{VALUE}'*/"
FOUND = TraceParent(TRACE, SPAN, sampled=True)


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT 1 {COMMENT}",
        f"SELECT 1{COMMENT};",
        f"SELECT 1 {COMMENT} ;\n ",
        f"{COMMENT} SELECT 1",
        f"  \n{COMMENT}\nSELECT 1",
        f"/*+ SeqScan(t) */ {COMMENT} SELECT 1",
        f"SELECT 1 /*action='%2Fpolls',traceparent='{VALUE}',tracestate='a%3Db'*/",
        f"SELECT 1 /* traceparent = '{VALUE}' , a='b' */",
        f"SELECT '/* no */' {COMMENT}",
        f"/* something */ SELECT 1 /* else */ {COMMENT}",
        f"{COMMENT} SELECT 1 /* something else */",
        "SELECT '" + "x" * 10 * LOOKED_AT + f"' {COMMENT}",
    ],
)
def test_read(text: str) -> None:
    assert trace_parent_of(text.encode()) == FOUND


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (VALUE, FOUND),
        (f"00-{TRACE}-{SPAN}-00", TraceParent(TRACE, SPAN, sampled=False)),
        (f"00-{TRACE}-{SPAN}-03", FOUND),
        (f"00-{TRACE}-{SPAN}-fe", TraceParent(TRACE, SPAN, sampled=False)),
        (f"01-{TRACE}-{SPAN}-01", FOUND),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", FOUND),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f" {VALUE}", None),
        ("", None),
        ("00", None),
        (f"00-{TRACE}-{SPAN}-0g", None),
    ],
)
def test_value(value: str, expected: TraceParent | None) -> None:
    """By the rules of W3C Trace Context, section 3.2."""
    assert trace_parent_of(f"SELECT 1 /*traceparent='{value}'*/".encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT 1",
        "traceparent",
        f"SELECT 1 -- traceparent='{VALUE}'",
        f"SELECT {COMMENT} 1",
        f"SELECT '{COMMENT}'",
        f"SELECT $${COMMENT}$$",
        f"SELECT 1 /*xtraceparent='{VALUE}'*/",
        f"SELECT 1 /*Traceparent='{VALUE}'*/",
        f"SELECT 1 /*traceparent={VALUE}*/",
        f'SELECT 1 /*traceparent="{VALUE}"*/',
        f"SELECT 1 /*traceparent='{VALUE}'",
        f"SELECT 1 /*traceparent='{VALUE}*/",
        f"/* {COMMENT} */ SELECT 1",
        f"SELECT 1 /* old: /* traceparent='{VALUE}' */ */",
        "SELECT 1" + " " * LOOKED_AT + f"{COMMENT} + 1",
    ],
)
def test_ignored(text: str) -> None:
    assert trace_parent_of(text.encode()) is None


PIECES = st.sampled_from(
    [
        b"/*",
        b"*/",
        b"'",
        b",",
        b"traceparent",
        b"=",
        VALUE.encode(),
        b"-",
        b" ",
        b"--",
        b"\n",
        b"\0",
        b"\xff",
        b"SELECT",
    ]
)


@given(st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=40).map(b"".join)))
def test_nothing_is_raised(text: bytes) -> None:
    """Whatever the bytes; what is found is well formed."""
    found = trace_parent_of(text)
    if found is not None:
        assert (len(found.trace_id), len(found.span_id)) == (32, 16)
        assert int(found.trace_id, 16)
        assert int(found.span_id, 16)


@given(st.text(max_size=200), st.booleans())
def test_any_statement_can_be_in_a_trace(statement: str, sampled: bool) -> None:
    """A comment at the end is found, whatever is before it."""
    comment = f"/*traceparent='00-{TRACE}-{SPAN}-{int(sampled):02x}'*/"
    assert trace_parent_of(f"{statement}{comment}".encode()) == TraceParent(TRACE, SPAN, sampled)


@pytest.mark.parametrize("unit", [b"/*", b"*/", b"/* traceparent='", b"traceparent=", b"'", b"/**/", b" "])
def test_no_more_than_the_ends_are_looked_at(unit: bytes) -> None:
    """Megabytes of what might be a comment are as quick as anything: this would not end within hours otherwise."""
    assert trace_parent_of(unit * (4_000_000 // len(unit)) + b"traceparent") is None
