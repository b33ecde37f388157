"""What is kept of both streams of a session, however they are cut (rules 3, 27, 28)."""

from __future__ import annotations

import itertools

import model_server as server
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_server import ModelServer, message

from helios_trio.failover.journal import COPY_KEPT, Cutter, Journal, JournalLimits
from helios_trio.failover.replies import BLOCK
from helios_trio.wire.codes import Status

FUNCTION_CALL = message("F", bytes(10))
FREE = settings(deadline=None, max_examples=100)


def ok(tag: str = "SELECT 1", status: str = "I") -> bytes:
    """A short answer."""
    return server.complete(tag) + server.ready(status)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """The stream, cut there."""
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def allowed(answers: bytes) -> list[int]:
    """Where `ReplyStream` may cut answers: never in the head of a message, and never in a ReadyForQuery."""
    places, at = [0], 0
    for frame in server.split_frames(answers):
        if frame[:1] != b"Z":
            places += range(at + 5, at + len(frame))
        at += len(frame)
        places.append(at)
    return places


def as_relayed(answers: bytes, cuts: list[int]) -> list[bytes]:
    """Answers in the pieces in which a client is sent them."""
    places = allowed(answers)
    return pieces_of(answers, [places[cut % len(places)] for cut in cuts])


# -- units: each is what a client sends up to what ends it ---------------------------------------------------

TEXTS = st.sampled_from(["select a", "fail", "insert x", "begin", "commit", "rollback", "", "x" * 70])
QUERIES = st.lists(TEXTS, min_size=1, max_size=3).map(lambda texts: [server.query("; ".join(texts))])
EXTENDED = st.one_of(
    st.builds(server.parse, TEXTS),
    st.builds(server.bind),
    st.builds(server.describe, kind=st.sampled_from("SP")),
    st.builds(server.close, st.sampled_from(["", "s"])),
    st.just(server.execute()),
    st.just(server.FLUSH),
)
BATCHES = st.tuples(st.builds(server.parse, TEXTS), st.lists(EXTENDED, max_size=6)).map(
    lambda batch: [batch[0], *batch[1], server.SYNC]
)
ROWS = st.lists(st.sampled_from(["1", "2", "bad"]), max_size=3)


@st.composite
def simple_copies(draw: st.DrawFn) -> list[bytes]:
    """COPY FROM STDIN by a simple query, given up or not; rows behind a bad one are still sent."""
    end = draw(st.sampled_from([server.COPY_DONE, server.COPY_FAIL]))
    text = draw(st.sampled_from(["copy", "insert x; copy"]))
    return [server.query(text), *map(server.copy_data, draw(ROWS)), end]


@st.composite
def extended_copies(draw: st.DrawFn) -> list[bytes]:
    """COPY FROM STDIN by Execute, with the early Sync of libpq or without it."""
    early = [server.SYNC] if draw(st.booleans()) else []
    rows = draw(ROWS.filter(lambda rows: "bad" not in rows))
    begin = [server.parse("copy"), server.bind(), server.execute(), *early]
    return [*begin, *map(server.copy_data, rows), server.COPY_DONE, server.SYNC]


UNITS = st.one_of(QUERIES, BATCHES, simple_copies(), extended_copies(), st.just([FUNCTION_CALL]))
CONVERSATIONS = st.lists(UNITS, max_size=6)
CUTS = st.lists(st.integers(0, 5000), max_size=10)


def played(units: list[list[bytes]]) -> list[tuple[bytes, bytes]]:
    """Each unit, and what a server answers to it."""
    model = ModelServer()
    sending = [b"".join(unit) for unit in units]
    return [(sent, model.feed(sent)) for sent in sending]


def seen(cutter: Cutter) -> list[tuple[bytes, bytes, int | None, bool]]:
    return [(bytes(e.request), bytes(e.answer.tail), e.status, e.whole) for e in cutter.exchanges]


@FREE
@given(CONVERSATIONS, CUTS, CUTS)
def test_rule_3_any_split_gives_the_same_exchanges(
    units: list[list[bytes]], sent_cuts: list[int], received_cuts: list[int]
) -> None:
    """One exchange per unit, with what answered it; all was sent before anything was answered."""
    expected = played(units)
    cutter = Cutter()
    for piece in pieces_of(b"".join(sent for sent, _ in expected), sent_cuts):
        cutter.add_sent(piece)
    for piece in as_relayed(b"".join(answer for _, answer in expected), received_cuts):
        cutter.add_received(piece)
    assert [(sent, answer) for sent, answer, _, _ in seen(cutter)] == expected
    assert [chr(status or 0) for _, _, status, _ in seen(cutter)] == [
        chr(answer[-1]) for _, answer in expected
    ]
    assert all(whole for _, _, _, whole in seen(cutter))
    assert (cutter.rest, cutter.confused) == (b"", False)


@FREE
@given(CONVERSATIONS, st.integers(0, 400), st.integers(0, 2000), CUTS, CUTS)
def test_pending_is_what_was_sent_and_not_answered(
    units: list[list[bytes]], sent_end: int, received_end: int, sent_cuts: list[int], received_cuts: list[int]
) -> None:
    """Wherever both streams break off: the bytes behind the last unit whose ReadyForQuery has come."""
    expected = played(units)
    sent = b"".join(each for each, _ in expected)
    sent = sent[: sent_end % (len(sent) + 1)]
    answers, at = b"", 0
    for request, answer in expected:
        at += len(request)
        if at > len(sent):
            break
        answers += answer
    places = allowed(answers)
    end = places[received_end % len(places)]
    answers, cuts = answers[:end], [places[cut % len(places)] for cut in received_cuts]
    pieces = pieces_of(answers, [cut for cut in cuts if cut < end])
    ends = list(itertools.accumulate(len(answer) for _, answer in expected))
    answered_units = sum(end <= len(answers) for end in ends)
    answered = sum(len(request) for request, _ in expected[:answered_units])
    journal = Journal(JournalLimits())
    for piece in pieces_of(sent, sent_cuts):
        journal.note_sent(piece)
    for piece in pieces:
        journal.note_received(piece)
    assert journal.pending() == sent[answered:]
    assert journal.lost == ""
    before = [chr(answer[-1]) for _, answer in expected[:answered_units]]
    assert chr(journal.begun_in) == (before[-1] if before else "I")
    kept = [each for each in journal.exchanges() if each.done]
    last_end = max((number + 1 for number, status in enumerate(before) if status == "I"), default=0)
    assert [bytes(each.request) for each in kept] == [sent for sent, _ in expected[last_end:answered_units]]


@FREE
@given(CONVERSATIONS, CUTS)
def test_asking_changes_nothing(units: list[list[bytes]], cuts: list[int]) -> None:
    """Whether somebody looks in between, or never: the same is known at the end."""
    expected = played(units)
    sent = b"".join(each for each, _ in expected)
    curious, quiet = Journal(JournalLimits()), Journal(JournalLimits())
    for piece in pieces_of(sent, cuts):
        curious.note_sent(piece)
        quiet.note_sent(piece)
        assert curious.pending()[-len(piece) :] == piece
    for _, answer in expected:
        curious.note_received(answer)
        quiet.note_received(answer)
        curious.exchanges()
    assert curious.pending() == quiet.pending() == b""
    assert curious.begun_in == quiet.begun_in
    assert [bytes(e.request) for e in curious.exchanges()] == [bytes(e.request) for e in quiet.exchanges()]


# -- single cases --------------------------------------------------------------------------------------------


def test_rule_17_libpqs_copy_has_two_syncs_and_one_answer() -> None:
    """The early Sync is the request's end until data comes: then the second is."""
    cutter = Cutter()
    head = server.parse("copy") + server.bind() + server.execute() + server.SYNC
    cutter.add_sent(head)
    assert cutter.exchanges[0].whole
    cutter.add_received(message("1") + message("2") + server.COPY_IN)
    cutter.add_sent(server.copy_data("1"))
    assert not cutter.exchanges[0].whole
    cutter.add_sent(server.COPY_DONE + server.SYNC)
    cutter.add_received(ok("COPY 1"))
    (exchange,) = cutter.exchanges
    assert (exchange.whole, exchange.done) == (True, True)
    assert exchange.request == head + server.copy_data("1") + server.COPY_DONE + server.SYNC


def test_a_pipeline_is_answered_in_order() -> None:
    """Three requests of which the first two are answered, the second in part."""
    journal = Journal(JournalLimits())
    requests = [server.query("begin"), server.query("select a"), server.query("select b")]
    journal.note_sent(b"".join(requests))
    journal.note_received(ok("BEGIN", "T") + server.row("a"))
    first, second, third = journal.exchanges()
    assert (first.done, second.done, third.done) == (True, False, False)
    assert (bytes(second.answer.tail), third.answer.size) == (server.row("a"), 0)
    assert journal.pending() == requests[1] + requests[2]
    assert journal.begun_in == Status.IN_TRANSACTION


def test_a_message_that_is_not_whole_is_pending() -> None:
    """From its first byte; the head may be cut, too."""
    journal = Journal(JournalLimits())
    whole = server.query("select a")
    for size in range(1, len(whole)):
        journal.note_sent(whole[size - 1 : size])
        assert journal.pending() == whole[:size]
    assert journal.last_answers() == b""


def test_a_query_whose_rest_is_to_come_is_not_whole() -> None:
    """`Exchange.whole`: the client has sent all of it."""
    request = server.query("insert something")
    for size in range(5, len(request)):
        cutter = Cutter()
        cutter.add_sent(request[:size])
        assert not cutter.exchanges[0].whole
        cutter.add_sent(request[size:] + request[:size])
        assert [each.whole for each in cutter.exchanges] == [True, False]


def test_answers_that_nobody_asked_for() -> None:
    """Then nothing can be said of what belongs to what, and nothing is replayed."""
    journal = Journal(JournalLimits())
    journal.note_received(ok())
    assert list(journal.exchanges()) == []
    assert journal.lost == "answers came that nobody had asked for"
    journal.clear()
    assert journal.lost == ""


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("held", [0, 1, 7])
def test_clear_keeps_what_is_yet_to_be_looked_at(held: int, looked: bool) -> None:
    """Of what the client has sent, the last bytes wait in the request stream: a message that is not whole."""
    journal = Journal(JournalLimits())
    journal.note_sent(server.query("select a") + server.query("select b")[:held])
    journal.note_received(ok())
    if looked:
        journal.exchanges()
    journal.clear(held)
    assert journal.pending() == server.query("select b")[:held]
    assert (journal.lost, journal.begun_in) == ("", Status.IDLE)
    journal.note_sent(server.query("select b")[held:])
    journal.note_received(ok())
    assert journal.pending() == b""
    assert not journal.lost


# -- what is forgotten ---------------------------------------------------------------------------------------


def test_transactions_that_have_ended_are_forgotten_though_nothing_is_ever_quiet() -> None:
    """A pipeline that always owes something: what is kept stays small."""
    journal = Journal(JournalLimits(entries=50))
    request = server.query("insert " + "x" * 1000)
    journal.note_sent(request)
    for _ in range(3000):
        journal.note_sent(request)
        journal.note_received(ok("INSERT 0 1"))
        assert journal.size < 2 * 1024 * 1024
    assert journal.lost == ""
    assert journal.pending() == request


def test_rule_28_a_transaction_of_too_many_requests() -> None:
    """It is given up, and the place in the stream is not lost."""
    journal = Journal(JournalLimits(entries=10))
    journal.note_sent(server.query("begin"))
    journal.note_received(ok("BEGIN", "T"))
    request = server.query("insert " + "x" * 100_000)
    for _ in range(20):
        journal.note_sent(request)
        journal.note_received(ok("INSERT 0 1", "T"))
    journal.note_sent(server.query("select a"))
    assert journal.lost == "its transaction has more than 10 requests"
    assert journal.pending() == server.query("select a")
    assert journal.begun_in == Status.IN_TRANSACTION
    journal.note_received(ok("SELECT 1", "E"))
    assert journal.begun_in == Status.FAILED
    journal.note_sent(server.query("rollback"))
    journal.note_received(ok("ROLLBACK", "I"))
    assert list(journal.exchanges()) == []
    assert journal.begun_in == Status.IDLE
    journal.clear()
    assert (journal.lost, journal.size) == ("", 0)


def test_rule_28_a_transaction_of_too_many_small_requests() -> None:
    """[transaction_replay.journal] max_entries counts requests, whatever their size."""
    journal = Journal(JournalLimits(entries=10))
    for _ in range(20):
        journal.note_sent(server.query("insert x"))
        journal.note_received(ok("INSERT 0 1", "T"))
    journal.exchanges()
    assert journal.lost


def test_rule_28_a_transaction_of_too_many_bytes() -> None:
    """Bounded by the limit and what comes before the next look."""
    limits = JournalLimits(size=1024 * 1024)
    journal = Journal(limits)
    journal.note_sent(server.query("begin"))
    journal.note_received(ok("BEGIN", "T"))
    for _ in range(100):
        journal.note_sent(server.query("insert " + "x" * 100_000))
        journal.note_received(ok("INSERT 0 1", "T"))
        assert journal.size < limits.size + 800 * 1024
    assert "bytes" in journal.lost
    assert journal.begun_in == Status.IN_TRANSACTION


def test_rule_3_a_long_answer_takes_no_memory() -> None:
    """An answer of 64 MB is kept as fingerprints."""
    journal = Journal(JournalLimits())
    journal.note_sent(server.query("select everything"))
    row = message("D", bytes(64 * 1024 - 5))
    for _ in range(1024):
        journal.note_received(row)
        assert journal.size < 4 * BLOCK + 1024 * 1024
    (exchange,) = journal.exchanges()
    assert exchange.answer.size == 1024 * len(row)
    assert journal.lost == ""


def copy_of(size: int) -> bytes:
    """COPY FROM STDIN with about so much data, without its end."""
    row = server.copy_data("x" * 60_000)
    return server.query("copy t from stdin") + row * (size // len(row) + 1)


@pytest.mark.parametrize("extended", [False, True])
def test_rule_28_a_copy_of_much_data_is_given_up_and_followed(extended: bool) -> None:
    """Its memory is bounded, and the next request is the next exchange."""
    journal = Journal(JournalLimits())
    journal.note_sent(server.query("begin"))
    journal.note_received(ok("BEGIN", "T"))
    head = server.parse("copy") + server.bind() + server.execute() if extended else server.query("copy")
    journal.note_sent(head)
    journal.note_received(server.COPY_IN)
    row = server.copy_data("x" * 60_000)
    for _ in range(3 * COPY_KEPT // len(row)):
        journal.note_sent(row)
        assert journal.size < COPY_KEPT + 1024 * 1024
    assert "bytes" in journal.lost
    journal.note_sent(server.COPY_DONE + (server.SYNC if extended else b""))
    journal.note_received(ok("COPY 9", "T"))
    journal.note_sent(server.query("select a"))
    assert journal.pending() == server.query("select a")
    assert journal.begun_in == Status.IN_TRANSACTION


@pytest.mark.parametrize(
    "sent",
    [copy_of(COPY_KEPT + 2**20), server.query("insert " + "x" * (COPY_KEPT + 2**20))],
    ids=["COPY", "long text"],
)
def test_rule_28_what_is_left_of_a_request_that_was_too_long_is_no_other_request(sent: bytes) -> None:
    """`pending()` is sent to the new server: whole messages, or nothing of it; never a head without its body."""
    journal = Journal(JournalLimits())
    for at in range(0, len(sent), 65_536):
        journal.note_sent(sent[at : at + 65_536])
    assert journal.lost
    pending, at = journal.pending(), 0
    while at < len(pending):
        at += 1 + int.from_bytes(pending[at + 1 : at + 5], "big")
    assert at == len(pending)
    assert pending[:1] != b"Q" or sent.startswith(pending)
