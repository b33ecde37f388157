"""A client's stream on its way to a server, without sockets (rules 2, 3, 5, 17)."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from struct import pack

import model_server as server
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from model_server import ModelServer, message

from helios_trio.session.requests import WHOLE_LIMIT, Need, RequestStream
from helios_trio.session.server_side import ServerSide
from helios_trio.session.settings import TransactionalState
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.cache import FactsCache
from helios_trio.wire.replies import ReplyStream

FACTS = FactsCache()


class Owner:
    """The owner of a connection: forwards everything."""

    def on_async(self, code: int, frame: bytes) -> bytes:
        """As it is."""
        return frame

    def on_error(self, frame: bytes, head: int) -> None:
        """Of no interest here."""

    def on_notice(self, frame: bytes) -> None:
        """Of no interest here."""


def server_side(pid: int = 1, label: dict[str, str] | None = None) -> ServerSide:
    """One server connection."""
    return ServerSide(ReplyStream(Owner()), {}, label or {}, {}, pid)


@define(eq=False)
class Client:
    """One session's request stream, the connections it may have, and what has gone to the server."""

    shared: bool = True
    wanted: dict[str, str] = field(factory=dict)
    available: list[ServerSide] = field(factory=lambda: [server_side()])
    max_prepared: int = 200
    sent: bytes = b""
    model: ModelServer = field(factory=ModelServer)
    labels: list[bytes | None] = field(factory=list)
    databases: list[str] = field(factory=list)
    ahead: list[bytes] = field(factory=list)
    session: VirtualSession = field(init=False)
    stream: RequestStream = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.session = VirtualSession(7, "user", "database", {}, TransactionalState.at_start(self.wanted))
        self.stream = RequestStream(
            self.session, FACTS, self.lease, shared=self.shared, max_prepared=self.max_prepared
        )
        self.stream.on_label = lambda error, notices: self.labels.append(error)
        self.stream.on_checked = lambda: None
        self.stream.on_ahead = self.ahead.append
        self.stream.on_databases_gone = self.databases.extend

    def lease(self) -> ServerSide | None:
        """An idle connection."""
        return self.available.pop() if self.available else None

    def feed(self, data: bytes) -> bytes:
        """Bytes of the client; returns those for the server."""
        out = self.stream.feed(data)
        self.sent += out
        return out

    def resume(self) -> bytes:
        """What the stream waited for is there."""
        out = self.stream.resume()
        self.sent += out
        return out

    def answer(self, out: bytes) -> bytes:
        """The server takes these bytes and answers; returns what the client gets."""
        if self.stream.server is None:
            assert not out
            return b""
        return self.stream.server.replies.feed(self.model.feed(out))

    def ask(self, *frames: bytes) -> bytes:
        """Send, and return what the client gets."""
        got = self.answer(self.feed(b"".join(frames)))
        while self.stream.need is Need.CONFIRMATION:
            got += self.answer(self.resume())
        return got


def seen(data: bytes) -> list[bytes]:
    """The messages of a stream."""
    return server.split_frames(data)


def codes(data: bytes) -> str:
    """Their types."""
    return "".join(chr(frame[0]) for frame in seen(data))


# -- cutting -------------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    [
        "select a",
        "select fail",
        "set work_mem = '2MB'",
        "begin",
        "commit",
        "rollback",
        "",
        "no sql",
        "discard all",
    ]
)
NAMES = st.sampled_from(["", "s", "t"])
FRAMES = st.one_of(
    st.builds(server.query, TEXTS),
    st.builds(server.parse, TEXTS, NAMES),
    st.builds(server.bind, NAMES, st.sampled_from(["", "p"])),
    st.builds(server.describe, NAMES, st.sampled_from("SP")),
    st.builds(server.close, NAMES, st.sampled_from("SP")),
    st.builds(server.execute, st.sampled_from(["", "p"])),
    st.just(server.SYNC),
    st.just(server.FLUSH),
    st.builds(server.copy_data, st.text(max_size=3)),
    st.just(server.COPY_DONE),
    st.just(message("F", bytes(10))),
)
CONVERSATIONS = st.lists(FRAMES, max_size=10)
CUTS = st.lists(st.integers(0, 1000), max_size=10)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """The stream, cut there."""
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def outcome(client: Client) -> tuple[object, ...]:
    """All that a stream has done."""
    side = client.stream.server
    prepared = [] if side is None else list(side.prepared)
    owed = [] if side is None else list(side.replies._expected)
    return (
        client.sent,
        owed,
        prepared,
        sorted(client.session.statements),
        client.stream.need,
        client.session.in_batch,
    )


@given(CONVERSATIONS, CUTS, st.booleans())
def test_any_split_sends_the_same(sent: list[bytes], cuts: list[int], shared: bool) -> None:
    """Rule 3: how the network cuts the client's stream changes neither what is sent nor what is expected."""
    data = b"".join(sent)
    outcomes = []
    for pieces in ([data], pieces_of(data, cuts), [bytes([byte]) for byte in data]):
        client = Client(shared)
        for piece in pieces:
            client.feed(piece)
        outcomes.append(outcome(client))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@given(CONVERSATIONS, CUTS)
def test_in_session_mode_nothing_is_changed(sent: list[bytes], cuts: list[int]) -> None:
    """Rule 1: with a connection of its own the client's bytes arrive as they are."""
    client = Client(shared=False)
    client.stream.attach(server_side())
    data = b"".join(sent)
    for piece in pieces_of(data, cuts):
        client.feed(piece)
    assert client.sent == data


@given(CONVERSATIONS)
def test_a_shared_connection_answers_as_one_of_ones_own(sent: list[bytes]) -> None:
    """Rule 1: message by message the client gets what PostgreSQL itself would say, names included.

    Left out is what has an answer only where the session is the server's own: COPY data and unknown effects.
    """
    client, direct = Client(), ModelServer()
    for frame in [*sent, server.SYNC]:
        if (
            b"no sql" in frame
            or b"set " in frame
            or b"discard" in frame
            or (direct.skipping and frame[0] in b"Q")
        ):
            continue
        expected = direct.feed(frame)
        got = client.ask(frame)
        assert [each for each in seen(got) if each[0] != ord("E")] == [
            each for each in seen(expected) if each[0] != ord("E")
        ]
        assert got.count(b"\0VERROR\0") == expected.count(b"\0VERROR\0")


# -- prepared statements -------------------------------------------------------------------------------------


def test_equal_statements_share_one_name_on_the_server() -> None:
    """Two clients' statements of one text, under different names, are one statement there."""
    side, model = server_side(), ModelServer()
    for name in ("alpha", "beta"):
        client = Client(available=[side], model=model)
        got = client.ask(server.parse("select x", name), server.bind(name), server.execute(), server.SYNC)
        assert codes(got) == "12DCZ"
        client.stream.detach()
    assert len(side.prepared) == len(model.statements) == 1
    assert model.executed == ["select x"] * 2


def test_a_statement_is_prepared_again_where_it_is_missing() -> None:
    """Another connection is given it just before it is bound, and the client sees nothing of that."""
    client = Client(available=[server_side(2), server_side(1)])
    client.ask(server.parse("select x", "mine"), server.SYNC)
    client.stream.detach()
    client.model = ModelServer()
    assert codes(client.ask(server.bind("mine"), server.execute(), server.SYNC)) == "2DCZ"
    assert client.model.received == ["P", "B", "E", "S"]
    client.stream.detach()


def test_an_empty_statement_is_a_statement() -> None:
    """It has no text, and moves like any other."""
    client = Client(available=[server_side(2), server_side(1)])
    client.ask(server.parse("", "ping"), server.SYNC)
    client.stream.detach()
    client.model = ModelServer()
    assert codes(client.ask(server.bind("ping"), server.execute(), server.SYNC)) == "2IZ"


def test_a_second_statement_of_that_name_is_refused() -> None:
    """Rule 1: PostgreSQL's 42P05, with the client's own name in it, and the batch skipped to Sync."""
    client = Client()
    client.ask(server.parse("select x", "mine"), server.SYNC)
    got = client.ask(server.parse("select y", "mine"), server.bind("mine"), server.SYNC)
    assert codes(got) == "EZ"
    assert b"C42P05\0" in got
    assert b'"mine" already exists' in got
    assert codes(client.ask(server.bind("mine"), server.execute(), server.SYNC)) == "2DCZ"
    assert client.model.executed == ["select x"]


def test_a_closed_name_is_free() -> None:
    """Close makes room for another text under the name, though others may still use the old one."""
    client = Client()
    client.ask(server.parse("select x", "mine"), server.SYNC)
    assert codes(client.ask(server.close("mine"), server.SYNC)) == "3Z"
    assert b"C26000\0" in client.ask(server.bind("mine"), server.SYNC)
    assert (
        codes(
            client.ask(server.parse("select y", "mine"), server.bind("mine"), server.execute(), server.SYNC)
        )
        == "12DCZ"
    )
    assert client.model.executed == ["select y"]


def test_a_close_that_is_skipped_closes_nothing() -> None:
    """Behind an error in the batch the server discards it."""
    client = Client()
    client.ask(server.parse("select x", "mine"), server.SYNC)
    client.ask(server.bind("unknown"), server.close("mine"), server.SYNC)
    assert codes(client.ask(server.bind("mine"), server.SYNC)) == "2Z"


@pytest.mark.parametrize("first", ["one", "two"])
def test_a_statement_that_was_skipped_harms_no_later_one(first: str) -> None:
    """Rule 2: a Parse behind an error is discarded, with what was sent to make room or way for it."""
    side, model = server_side(), ModelServer()
    before = Client(available=[side], model=model, max_prepared=1)
    before.ask(server.parse("select one", "before"), server.SYNC)
    before.stream.detach()
    client = Client(available=[side], model=model, max_prepared=1)
    client.ask(server.bind("unknown"), server.parse(f"select {first}", "mine"), server.SYNC)
    client.stream.detach()
    for text in ("select one", "select two"):
        after = Client(available=[side], model=model, max_prepared=1)
        got = after.ask(server.parse(text, "after"), server.bind("after"), server.execute(), server.SYNC)
        assert codes(got) == "12DCZ"
        after.stream.detach()


def test_requests_behind_an_error_that_is_known_already() -> None:
    """The client goes on with its batch after the error has come: all up to Sync is discarded."""
    client = Client(max_prepared=1)
    client.ask(server.parse("select one", "one"), server.SYNC)
    client.ask(server.bind("unknown"))
    assert (
        client.ask(server.parse("select two", "two"), server.bind("one"), server.parse("select three")) == b""
    )
    assert codes(client.ask(server.SYNC)) == "Z"
    assert codes(client.ask(server.bind("one"), server.execute(), server.SYNC)) == "2DCZ"
    assert b"C26000\0" in client.ask(server.bind("two"), server.SYNC)


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_a_connection_keeps_no_more_than_so_many_statements(limit: int) -> None:
    """What was not used for longest is closed; it is prepared again when it is wanted."""
    client = Client(max_prepared=limit)
    for number in range(4):
        client.ask(server.parse(f"select {chr(97 + number)}", f"s{number}"), server.SYNC)
    assert len(client.model.statements) <= max(limit, 1)
    for number in range(4):
        assert codes(client.ask(server.bind(f"s{number}"), server.execute(), server.SYNC)) == "2DCZ"
    assert client.model.executed == ["select a", "select b", "select c", "select d"]
    assert len(client.model.statements) <= max(limit, 1)


def test_the_unnamed_statement_of_another_session_is_never_executed() -> None:
    """Neither when this session has none, nor when its own was never parsed."""
    side, model = server_side(), ModelServer()
    other = Client(available=[side], model=model)
    other.ask(server.parse("select theirs"), server.SYNC)
    other.stream.detach()
    client = Client(available=[side], model=model)
    got = client.ask(server.bind(), server.execute(), server.SYNC)
    assert b"C26000\0" in got
    client.stream.detach()
    assert model.executed == []


def test_an_unnamed_statement_that_was_skipped_is_not_taken_for_parsed() -> None:
    """The Parse was discarded behind an error, so another session's statement still stands there."""
    side, model = server_side(), ModelServer()
    other = Client(available=[side], model=model)
    other.ask(server.parse("select theirs"), server.SYNC)
    other.stream.detach()
    client = Client(available=[side], model=model)
    client.ask(server.bind("unknown"), server.parse("select mine"), server.SYNC)
    client.ask(server.bind(), server.execute(), server.SYNC)
    assert "select theirs" not in model.executed


def test_the_unnamed_statement_moves_too() -> None:
    """Parsed on one connection, bound on another."""
    client = Client(available=[server_side(2), server_side(1)])
    client.ask(server.parse("select x"), server.SYNC)
    client.stream.detach()
    client.model = ModelServer()
    assert codes(client.ask(server.bind(), server.execute(), server.SYNC)) == "2DCZ"
    assert client.model.executed == ["select x"]


@pytest.mark.parametrize("name", ["", "big"])
def test_a_statement_too_large_to_keep_is_never_another_one(name: str) -> None:
    """It works where it was parsed; elsewhere it is an error, not silently nothing."""
    text = "select '" + "x" * WHOLE_LIMIT + "'"
    client = Client(available=[server_side(2), server_side(1)])
    data = server.parse(text, name) + server.bind(name) + server.execute() + server.SYNC
    got = client.answer(b"".join(client.feed(data[at : at + 60_000]) for at in range(0, len(data), 60_000)))
    assert codes(got) == "12DCZ"
    assert client.model.executed == [text]
    client.stream.detach()
    client.model = ModelServer()
    got = client.ask(server.bind(name), server.execute(), server.SYNC)
    assert b"C26000\0" in got
    assert client.model.executed == []


# -- what stops a stream -------------------------------------------------------------------------------------


@given(CONVERSATIONS, CUTS)
def test_waiting_for_a_connection_loses_nothing(sent: list[bytes], cuts: list[int]) -> None:
    """Need.LEASE: what comes meanwhile is kept, and sent once, in order."""
    direct, late = Client(), Client(available=[])
    data = b"".join(sent)
    direct.feed(data)
    for piece in pieces_of(data, cuts):
        late.feed(piece)
    if late.stream.need is Need.LEASE:
        assert late.sent == b""
        assert late.stream.held
        late.stream.attach(server_side())
        late.resume()
    assert late.sent == direct.sent
    assert late.stream.need is direct.stream.need


@given(CONVERSATIONS, CUTS)
def test_waiting_for_confirmation_loses_nothing(sent: list[bytes], cuts: list[int]) -> None:
    """Need.CONFIRMATION: the request goes only when the server has taken the role."""
    client = Client(wanted={"role": "alice"})
    data = b"".join(sent)
    for piece in pieces_of(data, cuts):
        client.feed(piece)
    if client.stream.need is not Need.CONFIRMATION or not client.stream.server.replies.swallowing:  # type: ignore[union-attr]
        return
    lead = client.sent
    assert b"SET ROLE 'alice'" in lead
    assert client.answer(lead) == b""
    assert client.labels == [None]
    reference = Client(wanted={"role": "alice"}, available=[server_side(label={"role": "alice"})])
    reference.feed(data)
    client.resume()
    before = len(lead) - len(seen(lead)[-1])
    assert client.sent[:before] + client.sent[len(lead) :] == reference.sent
    assert client.stream.need is reference.stream.need


def test_settings_that_cannot_fail_are_not_waited_for() -> None:
    """They go ahead of the request in the same piece, and the client sees nothing of them."""
    client = Client(wanted={"work_mem": "1MB"})
    got = client.ask(server.query("select x"))
    assert [frame[:1] for frame in seen(client.sent)] == [b"Q", b"Q"]
    assert b"work_mem" in seen(client.sent)[0]
    assert (
        got == server.ROW_DESCRIPTION + server.row("select x") + server.complete("SELECT 1") + server.ready()
    )


def test_refused_settings_are_told() -> None:
    """The owner gets the error; nothing of the client's request has been sent."""
    client = Client(wanted={"role": "alice"})
    client.model.status = "E"
    client.feed(server.query("select x"))
    client.answer(client.sent)
    assert len(client.labels) == 1
    assert client.labels[0] is not None
    assert b"select x" not in client.sent


def test_listen_waits_for_the_hub() -> None:
    """Need.HUB: the listener connection must listen before the statement runs."""
    client = Client()
    assert client.feed(server.query("listen jobs")) == b""
    assert (client.stream.need, client.stream.wanted_channels) == (Need.HUB, ("jobs",))
    client.stream.hub_channels = frozenset({"jobs"})
    assert client.resume() == server.query("listen jobs")


def test_databases_that_go_are_announced_before() -> None:
    """DROP DATABASE must not find idle connections of our own in its way."""
    client = Client()
    client.feed(server.query("drop database old"))
    assert client.databases == ["old"]


# -- large and bad -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda body: server.query(body), lambda body: server.copy_data(body)])
def test_large_messages_are_streamed(make: object) -> None:
    """Rule 3: of a large message no more than its beginning is ever held."""
    frame = make("select '" + "x" * (4 << 20) + "'")  # type: ignore[operator]
    client = Client(shared=False)
    client.stream.attach(server_side())
    most = 0
    for at in range(0, len(frame), 30_000):
        client.feed(frame[at : at + 30_000])
        most = max(most, client.stream.held)
    assert client.sent == frame
    assert most <= 30_000
    assert client.stream.at_boundary


def test_half_a_message_is_no_boundary() -> None:
    """Rule 17: nobody else may have the connection meanwhile."""
    client = Client(shared=False)
    client.stream.attach(server_side())
    row = server.copy_data("x" * 100)
    client.feed(row[:50])
    assert not client.stream.at_boundary
    client.feed(row[50:])
    assert client.stream.at_boundary


@given(
    CONVERSATIONS,
    st.integers(0, 255),
    st.sampled_from([0, 3, 4, 10_005, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]),
)
def test_bad_frames_stop_the_stream(sent: list[bytes], code: int, length: int) -> None:
    """Rule 5: an unknown type, or a length that PostgreSQL would not read; what came before is sent."""
    good = Client(shared=False)
    good.stream.attach(server_side())
    good.feed(b"".join(sent))
    client = Client(shared=False)
    client.stream.attach(server_side())
    client.feed(b"".join(sent) + pack("!BI", code, length))
    known = code in b"BCdcfDEHFPQSX"
    large = code in b"BdFPQ"
    limit = 0x3FFFFFFE + 4 if large else 10_004
    if not known or not 4 <= length <= limit:
        assert client.stream.need is Need.VIOLATION
        assert client.stream.violation is not None
        assert client.sent == good.sent
    else:
        assert client.stream.need is not Need.VIOLATION


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("code", "BCDEPFQcfHS")
@pytest.mark.parametrize("body", [b"", b"\0", b"S", b"x", b"S\0", b"xx\0"])
def test_malformed_bodies_are_for_postgresql_to_complain_about(code: str, body: bytes, shared: bool) -> None:
    """Rule 5: they are passed on whole, and what is behind them is not read as part of them."""
    client = Client(shared)
    client.stream.attach(server_side())
    frame = message(code, body)
    assert len(seen(client.feed(frame))) >= 1
    assert client.stream.at_boundary or client.session.in_batch
    client.feed(server.SYNC + server.SYNC)
    assert client.sent.endswith(server.SYNC + server.SYNC)


@given(st.binary(max_size=100), CUTS, st.booleans())
def test_garbage_never_crashes_a_session(data: bytes, cuts: list[int], shared: bool) -> None:
    """Rule 5: any bytes at all."""
    client = Client(shared)
    for piece in pieces_of(data, cuts):
        client.feed(piece)


@given(st.sampled_from("BCDEPFQcfHSd"), st.binary(max_size=30), CUTS, st.booleans())
def test_garbage_in_a_frame_never_crashes_a_session(
    code: str, body: bytes, cuts: list[int], shared: bool
) -> None:
    """Rule 5: any body in a message of a known type."""
    client = Client(shared)
    client.ask(server.parse("select x", "s"), server.SYNC)
    data = message(code, body) + server.SYNC
    for piece in pieces_of(data, cuts):
        client.feed(piece)
    assert client.sent.endswith(server.SYNC)


# -- goodbye -------------------------------------------------------------------------------------------------


def test_goodbye_without_a_connection_takes_none() -> None:
    """Terminate, and COPY messages out of place, need no server."""
    client = Client()
    client.feed(server.copy_data("late") + server.COPY_DONE + server.FLUSH + server.TERMINATE)
    assert client.stream.need is Need.END
    assert client.sent == b""
    assert len(client.available) == 1


def test_goodbye_behind_a_request_reaches_the_server() -> None:
    """It answers what came before, so it must hear the goodbye in its place."""
    client = Client()
    client.feed(server.query("select x") + server.TERMINATE)
    assert client.stream.said_goodbye
    assert client.sent.endswith(server.TERMINATE)


def test_a_connection_remembers_what_it_carries() -> None:
    """The settings a session leaves are the label of the connection from then on."""
    side = server_side()
    client = Client(wanted={"work_mem": "1MB"}, available=[side])
    client.ask(server.query("select x"))
    client.stream.detach()
    assert dict(side.label) == {"work_mem": "1MB"}
    assert side.prepared == OrderedDict()


def test_what_no_parser_sees_is_cleansed_before_another_session() -> None:
    """Rule 8: and not before the same one."""
    side, model = server_side(), ModelServer()
    first = Client(available=[side, side], model=model)
    first.ask(server.query("do $$ begin end $$"))
    first.stream.detach()
    first.ask(server.query("select mine"))
    first.stream.detach()
    assert "RESET ALL" not in model.executed
    second = Client(available=[side], model=model)
    second.session.id = 8
    got = second.ask(server.query("select yours"))
    assert codes(got) == "TDCZ"
    assert model.executed.index("RESET ALL") < model.executed.index("select yours")
