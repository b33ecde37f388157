"""Requests that run one statement once, and the same for another text (rule 31)."""

from __future__ import annotations

from struct import pack

import model_server as server
import pytest
from model_server import message

from helios_trio.failover.runs import Run, run_of
from helios_trio.session.prepared import PREFIX, PreparedStatement
from helios_trio.sql.cache import FactsCache
from helios_trio.wire.frontend_messages import Bind, Close, Execute, Parse, Query, Sync, decode_frontend

FACTS = FactsCache()
TEXT, OTHER = (
    b"INSERT INTO t VALUES ($1) RETURNING id",
    b"INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (7, $1)",
)
TYPES = pack("!hI", 1, 23)


def parsed(name: bytes = b"") -> bytes:
    return message("P", name + b"\0" + TEXT + b"\0" + TYPES)


def bound(
    statement: str = "",
    portal: str = "",
    formats: tuple[int, ...] = (),
    values: tuple[bytes | None, ...] = (b"5",),
) -> bytes:
    return Bind(portal, statement, (1,), values, formats).encode()


def known(
    name: bytes = b"s", *, kept: bool = True, described: bytes | None = None
) -> dict[bytes, PreparedStatement]:
    statement = PreparedStatement(name, TEXT, TYPES, FACTS.facts(TEXT), kept=kept, described=described)
    return {name: statement}


def frames(data: bytes) -> list[object]:
    return [decode_frontend(each[0], each[5:]) for each in server.split_frames(data)]


def test_a_simple_query() -> None:
    """Its text, and the same way for another."""
    run = run_of(server.query("INSERT x"), {})
    assert run == Run(b"INSERT x")
    assert run.with_text(OTHER) == Query(OTHER.decode()).encode()


@pytest.mark.parametrize("formats", [(), (1,), (0, 1, 1)])
@pytest.mark.parametrize("values", [(), (None,), (b"", b"abc", None, b"\0\0")])
def test_a_batch(formats: tuple[int, ...], values: tuple[bytes | None, ...]) -> None:
    """Its parameters are taken over as they are; result formats are read past any values."""
    request = parsed() + bound("", "portal", formats, values) + server.execute("portal") + server.SYNC
    run = run_of(request, {})
    assert run is not None
    assert (run.text, run.types, run.columns) == (TEXT, TYPES, None)
    assert tuple(run.formats or ()) == formats
    name = (PREFIX + b"repeated").decode()
    assert frames(run.with_text(OTHER)) == [
        Parse(name, OTHER.decode(), (23,)),
        Bind("", name, (1,), values, formats),
        Execute("", 0),
        Close(ord("S"), name),
        Sync(),
    ]


def test_a_statement_of_before() -> None:
    """What Describe told the client then is what its rows mean."""
    columns = message("T", pack("!h", 1) + b"id\0" + bytes(18))
    request = bound("s") + server.execute() + server.SYNC
    run = run_of(request, known(described=message("t", b"\0\1\0\0\0\x17") + columns))
    assert run is not None
    assert (run.text, run.columns) == (TEXT, columns[5:])
    for described in (None, message("t", b"\0\0") + server.NO_DATA):
        run = run_of(request, known(described=described))
        assert run is not None
        assert run.columns is None
    assert run_of(request, known(kept=False)) is None
    assert run_of(request, {}) is None


LIMITED = message("E", b"\0\0\0\0\5")


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        server.SYNC,
        server.query("a") + server.query("b"),
        parsed() + server.SYNC,
        parsed() + bound() + LIMITED + server.SYNC,
        parsed() + (bound() + server.execute()) * 2 + server.SYNC,
        parsed() + bound() + server.execute() * 2 + server.SYNC,
        parsed(b"s") + server.describe("s") + bound("s") + server.execute() + server.SYNC,
        parsed() + bound() + server.execute() + server.close("s") + server.SYNC,
        parsed() + bound() + server.execute() + server.copy_data("1") + server.COPY_DONE + server.SYNC,
        message("F", bytes(10)),
        parsed() + server.query("a"),
    ],
)
def test_what_is_not_one_statement_run_once(request_: bytes) -> None:
    """Several, none, in parts, with data, or whose further answers would be missing."""
    assert run_of(request_, known()) is None
