"""What the next request runs is known when it is there as a whole, and not before."""

from __future__ import annotations

import pytest

from helios_trio.session.batches import BATCH_LIMIT, UNKNOWN, Asked, first_request
from helios_trio.session.prepared import PreparedStatement
from helios_trio.session.preparing import close_frame, parse_frame
from helios_trio.session.switching import query_frame
from helios_trio.sql.cache import FactsCache
from helios_trio.sql.facts import UNPARSED
from helios_trio.wire.codes import Frontend
from helios_trio.wire.frames import encode_frame

CACHE = FactsCache()
FACTS = CACHE.facts
READ, WRITE = b"SELECT n FROM t", b"INSERT INTO t VALUES (1)"
SYNC = encode_frame(Frontend.SYNC, b"")
FLUSH = encode_frame(Frontend.FLUSH, b"")


def parse(text: bytes, name: bytes = b"") -> bytes:
    return parse_frame(name, text, b"\0\0")


def bind(name: bytes = b"", portal: bytes = b"") -> bytes:
    return encode_frame(Frontend.BIND, portal + b"\0" + name + b"\0" + b"\0\0" * 3)


def execute(portal: bytes = b"") -> bytes:
    return encode_frame(Frontend.EXECUTE, portal + b"\0" + b"\0\0\0\0")


def asked(data: bytes, statements: dict[bytes, PreparedStatement] | None = None) -> Asked | None:
    return first_request(data, 0, FACTS, statements or {})


def test_a_simple_query_is_a_request() -> None:
    """With its text, and its end; what follows is not looked at."""
    frame = query_frame(READ.decode())
    found = asked(frame + query_frame(WRITE.decode()))
    assert found is not None
    assert found.texts == (FACTS(READ),)
    assert (found.source, found.end) == (READ, len(frame))
    behind = first_request(frame + query_frame(WRITE.decode()), len(frame), FACTS, {})
    assert behind is not None
    assert behind.source == WRITE


def test_a_batch_is_what_it_executes() -> None:
    """Not what it only prepares, unless it does nothing else."""
    known = PreparedStatement(b"known", WRITE, b"\0\0", FACTS(WRITE))
    batch = parse(READ) + bind() + execute() + bind(b"known", b"p") + execute(b"p") + SYNC
    found = asked(batch, {b"known": known})
    assert found is not None
    assert found.texts == (FACTS(READ), FACTS(WRITE))
    assert (found.source, found.end) == (READ, len(batch))
    prepared = asked(parse(READ, b"mine") + SYNC)
    assert prepared is not None
    assert prepared.texts == (FACTS(READ),)


@pytest.mark.parametrize(
    "batch",
    [
        bind(b"nobody") + execute() + SYNC,
        execute(b"nobody") + SYNC,
        parse(READ, b"x") + close_frame(b"x") + bind(b"x") + execute() + SYNC,
    ],
)
def test_what_is_not_known_may_do_anything(batch: bytes) -> None:
    """A statement or a portal of an unknown name."""
    found = asked(batch)
    assert found is not None
    assert found.texts == (UNPARSED,)


@pytest.mark.parametrize(
    "batch",
    [
        parse(READ) + FLUSH,
        parse(READ) + query_frame("SELECT 1"),
        encode_frame(Frontend.FUNCTION_CALL, b"\0" * 10),
        parse(READ) + parse(b"SELECT '" + b"x" * BATCH_LIMIT + b"'"),
    ],
)
def test_what_has_no_end_goes_where_writes_go(batch: bytes) -> None:
    """The client wants an answer before it says more, or says too much."""
    assert asked(batch) is UNKNOWN


@pytest.mark.parametrize("size", range(1, len(parse(READ) + bind() + execute() + SYNC)))
def test_every_beginning_is_waited_for(size: int) -> None:
    """Byte by byte."""
    assert asked((parse(READ) + bind() + execute() + SYNC)[:size]) is None


def test_a_sync_alone_runs_nothing() -> None:
    """Nobody knows what for; that is not a read."""
    found = asked(SYNC)
    assert found is not None
    assert (found.texts, found.source, found.end) == ((), b"", len(SYNC))
