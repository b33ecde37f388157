"""The queue of expected replies, compared with a model of the server that knows who is answered (rules 2, 3, 17)."""

from __future__ import annotations

import itertools
import tracemalloc

import model_server as server
import pytest
from attrs import define, field
from hypothesis import example, given
from hypothesis import strategies as st
from model_server import ModelServer, message, ready

from helios_trio.errors import ProtocolViolation
from helios_trio.wire import replies
from helios_trio.wire.replies import ReplyStream

KINDS = {
    "Q": replies.QUERY,
    "P": replies.PARSE,
    "B": replies.BIND,
    "D": replies.DESCRIBE,
    "C": replies.CLOSE,
    "E": replies.EXECUTE,
    "S": replies.SYNC,
    "F": replies.FUNCTION,
}
PARAMETER = message("S", b"TimeZone\0UTC\0")
NOTIFICATION = message("A", b"\0\0\0\7channel\0payload\0")
NOTICE = message("N", b"SNOTICE\0Mhello\0\0")
FUNCTION = message("F", bytes(10))


@define(eq=False)
class Recorder:
    """The owner of a connection."""

    errors: list[int] = field(factory=list)
    asynchronous: list[bytes] = field(factory=list)
    instead: bytes | None = None

    def on_async(self, code: int, frame: bytes) -> bytes:
        """Forwards as it is, unless told otherwise."""
        self.asynchronous.append(frame)
        return frame if self.instead is None else self.instead

    def on_error(self, frame: bytes, head: int) -> None:
        """Remembers for what."""
        self.errors.append(head)

    def on_notice(self, frame: bytes) -> None:
        """Of no interest here."""


@define(eq=False)
class Watcher:
    """Sees one reply."""

    seen: list[bytes] = field(factory=list)
    skipped: int = 0
    instead: bytes | None = None

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """Remembers, and replaces errors if told to."""
        self.seen.append(message(chr(code), body))
        return self.instead if code == ord("E") else None

    def on_skipped(self) -> None:
        """Counts."""
        self.skipped += 1


def note_sent(
    stream: ReplyStream, frame: bytes, *, swallow: bool = False, watcher: Watcher | None = None
) -> None:
    """Tell the stream that a message was sent."""
    code = chr(frame[0])
    if code in "cf":
        stream.push_copy_end()
    elif code in KINDS:
        kind = KINDS[code] | (replies.SWALLOW if swallow else 0)
        if watcher is None:
            stream.push(kind)
        else:
            stream.watch(kind, watcher)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """The stream, cut there."""
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


# -- what clients do: each unit is what a driver would send without waiting ----------------------------------

TEXTS = st.sampled_from(
    ["select a", "select b", "fail", "insert x", "begin", "commit", "rollback", "", "syntax"]
)
NAMES = st.sampled_from(["", "s"])
EXTENDED = st.one_of(
    st.builds(server.parse, TEXTS, NAMES),
    st.builds(server.bind, NAMES),
    st.builds(server.describe, NAMES, st.sampled_from("SP")),
    st.builds(server.close, NAMES, st.sampled_from("SP")),
    st.just(server.execute()),
    st.just(server.FLUSH),
)
ROWS = st.lists(st.sampled_from(["1", "2", "bad"]), max_size=3)
COPY_ENDS = st.sampled_from([server.COPY_DONE, server.COPY_FAIL])


@st.composite
def simple_copies(draw: st.DrawFn) -> list[bytes]:
    """COPY FROM STDIN by a simple query."""
    start = draw(st.sampled_from(["copy", "insert x; copy"]))
    return [server.query(start), *map(server.copy_data, draw(ROWS)), draw(COPY_ENDS)]


@st.composite
def extended_copies(draw: st.DrawFn) -> list[bytes]:
    """COPY FROM STDIN by Execute, with the early Sync of libpq or without it."""
    name = draw(st.sampled_from(["", "nonexistent"]))
    early = [server.SYNC] if draw(st.booleans()) else []
    begin = [server.parse("copy"), server.bind(name), server.execute(), *early]
    return [*begin, *map(server.copy_data, draw(ROWS)), draw(COPY_ENDS), server.SYNC]


QUERIES = st.lists(TEXTS, min_size=1, max_size=3).map(lambda texts: [server.query("; ".join(texts))])
BATCHES = st.lists(EXTENDED, max_size=6).map(lambda batch: [*batch, server.SYNC])
STRAY = st.sampled_from([server.COPY_DONE, server.copy_data("late"), server.FLUSH, FUNCTION]).map(
    lambda one: [one]
)
CONVERSATIONS = st.lists(
    st.one_of(QUERIES, BATCHES, simple_copies(), extended_copies(), STRAY), max_size=6
).map(lambda units: [frame for unit in units for frame in unit])
INTERRUPTIONS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from([PARAMETER, NOTIFICATION, NOTICE])), max_size=3
)


def interrupted(frames: list[bytes], interruptions: list[tuple[int, bytes]]) -> list[bytes]:
    """Messages that belong to no request, anywhere between those that do."""
    found = list(frames)
    for at, frame in interruptions:
        found.insert(at % (len(found) + 1), frame)
    return found


@given(CONVERSATIONS, INTERRUPTIONS, st.lists(st.integers(0, 5000), max_size=12))
def test_any_split_gives_the_same_bytes_and_the_same_end(
    sent: list[bytes], interruptions: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    """Rule 3: how the network cuts the stream changes nothing; all is forwarded untouched."""
    model = ModelServer()
    answers = interrupted(server.split_frames(b"".join(map(model.take, sent))), interruptions)
    data = b"".join(answers)
    ends = []
    for pieces in ([data], pieces_of(data, cuts), [bytes([byte]) for byte in data]):
        stream = ReplyStream(Recorder())
        for frame in sent:
            note_sent(stream, frame)
        assert b"".join(map(stream.feed, pieces)) == data
        ends.append((stream.idle, stream.quiet, stream.owed, stream.status, stream.copy_in, stream.uncertain))
    assert ends[0] == ends[1] == ends[2]


@given(CONVERSATIONS, st.lists(st.integers(1, 4), min_size=1, max_size=8))
@example(
    [server.parse("copy"), server.bind(), server.execute(), server.SYNC, server.COPY_DONE, server.SYNC],
    [3, 1],
)
def test_nothing_is_owed_exactly_when_the_server_owes_nothing(sent: list[bytes], steps: list[int]) -> None:
    """Rules 2 and 17: with any delay between client and server, the queue is empty when all is answered."""
    model, stream = ModelServer(), ReplyStream(Recorder())
    waiting: list[bytes] = []
    turns = iter(steps * (len(sent) + 1))
    for frame in sent:
        note_sent(stream, frame)
        waiting.append(frame)
        if len(waiting) < next(turns):
            continue
        answers = b"".join(map(model.take, waiting))
        waiting.clear()
        assert stream.feed(answers) == answers
        if stream.uncertain or model.gone:  # it said itself that it cannot know, or has not to
            return
        assert stream.quiet is not model.owes, frame
        if not model.owes:
            assert stream.status == ord(model.status) or not answers.endswith(ready(model.status))
    answers = b"".join(map(model.take, waiting))
    stream.feed(answers)
    assert stream.uncertain or model.gone or stream.quiet is not model.owes


@given(CONVERSATIONS)
def test_a_copy_with_its_sync_sent_ahead_needs_no_doubt(sent: list[bytes]) -> None:
    """Rule 17: Syncs queued behind a COPY that goes well are struck out, and the connection stays usable."""
    model, stream = ModelServer(), ReplyStream(Recorder())
    for frame in sent:
        note_sent(stream, frame)
    answers = b"".join(map(model.take, sent))
    stream.feed(answers)
    failed_copy = any(kind & replies.QUERY or kind & replies.EXECUTE for kind in stream.listener.errors)  # type: ignore[attr-defined]
    assert not stream.uncertain or failed_copy


def test_a_sync_between_a_bad_row_and_the_end_leaves_doubt() -> None:
    """Rules 2 and 17: the COPY failed before the Sync was read, so one more ReadyForQuery comes: never handed on."""
    sent = [
        server.parse("copy"),
        server.bind(),
        server.execute(),
        server.copy_data("bad"),
        server.SYNC,
        server.COPY_DONE,
        server.SYNC,
    ]
    model, stream = ModelServer(), ReplyStream(Recorder())
    for frame in sent:
        note_sent(stream, frame)
    answers = b"".join(map(model.take, sent))
    assert answers.count(ready()) == 2
    first = answers[: -len(ready())]
    stream.feed(first)
    assert stream.uncertain or not stream.idle


@given(st.lists(st.tuples(st.one_of(QUERIES, BATCHES), st.booleans(), st.booleans()), max_size=6), st.data())
def test_swallowed_replies_never_reach_the_client(
    units: list[tuple[list[bytes], bool, bool]], data: st.DataObject
) -> None:
    """Rule 2: of swallowed requests no row, tag, notice or error is forwarded; of the others all is, in order."""
    model, stream = ModelServer(), ReplyStream(Recorder())
    everything, visible = b"", b""
    for unit, swallow, watch in units:
        for frame in unit:
            note_sent(stream, frame, swallow=swallow, watcher=Watcher() if watch else None)
            answer = model.take(frame)
            everything += answer
            visible += b"" if swallow else answer
    cuts = data.draw(st.lists(st.integers(0, 5000), max_size=12))
    assert b"".join(map(stream.feed, pieces_of(everything, cuts))) == visible
    assert stream.quiet


@given(st.lists(st.one_of(QUERIES, BATCHES), max_size=5), st.lists(st.integers(0, 5000), max_size=12))
def test_a_watcher_sees_its_own_reply_and_nothing_else(units: list[list[bytes]], cuts: list[int]) -> None:
    """Every message but rows of every reply is shown once, in order, to the watcher of its request."""
    model, stream = ModelServer(), ReplyStream(Recorder())
    data, expected = b"", []
    for frame in (frame for unit in units for frame in unit):
        watcher = Watcher()
        was_skipping = model.skipping
        note_sent(stream, frame, watcher=watcher)
        answer = model.take(frame)
        data += answer
        discarded = was_skipping and frame != server.SYNC and frame[0] != ord("H")
        shown = [each for each in server.split_frames(answer) if each[0] != ord("D")]
        expected.append((watcher, shown, int(discarded)))
    assert b"".join(map(stream.feed, pieces_of(data, cuts))) == data
    for watcher, shown, skipped in expected:
        assert (watcher.seen, watcher.skipped) == (shown, skipped)


# -- one behaviour at a time ---------------------------------------------------------------------------------


def test_after_an_error_the_server_skips_to_sync() -> None:
    """What is sent behind an error and before Sync is not waited for, and whoever watches it is told."""
    stream, late = ReplyStream(Recorder()), Watcher()
    stream.push(replies.PARSE)
    stream.feed(server.error("42601", "syntax error"))
    assert not stream.quiet
    stream.watch(replies.BIND, late)
    stream.push(replies.EXECUTE)
    assert (late.skipped, stream.owed) == (1, 0)
    stream.push(replies.SYNC)
    stream.feed(ready())
    assert stream.idle
    assert stream.ready


def test_an_error_between_parse_and_sync_that_answers_nothing_skips_to_sync() -> None:
    """statement_timeout may strike while an open batch waits for its client; the rest of the batch is discarded."""
    stream = ReplyStream(Recorder())
    stream.push(replies.PARSE)
    stream.feed(message("1"))
    stream.feed(server.error("57014", "canceling statement due to statement timeout"))
    stream.push(replies.BIND)
    stream.push(replies.EXECUTE)
    stream.push(replies.SYNC)
    stream.feed(ready())
    assert stream.idle


@pytest.mark.parametrize("code", ["Q", "F"])
def test_an_error_of_a_simple_request_is_followed_by_its_ready(code: str) -> None:
    """Query and FunctionCall end by themselves; the next request is not skipped."""
    stream = ReplyStream(Recorder())
    stream.push(KINDS[code])
    stream.push(replies.QUERY)
    stream.feed(server.error("22012", "division by zero") + ready())
    assert stream.owed == 1
    stream.feed(server.complete("SELECT 1") + ready())
    assert stream.idle


def test_copy_done_sent_before_the_copy_is_known() -> None:
    """The server's CopyInResponse meets a COPY that the client has ended already."""
    stream = ReplyStream(Recorder())
    stream.push(replies.QUERY)
    stream.push_copy_end()
    stream.feed(server.COPY_IN)
    assert not stream.copy_in
    stream.push(replies.SYNC)
    assert not stream.uncertain
    stream.feed(server.complete("COPY 0") + ready() + ready())
    assert stream.idle


def test_a_sync_inside_a_copy_makes_the_connection_doubtful() -> None:
    """Whether the server ignores it depends on whether the COPY still lives: never handed on after that."""
    stream = ReplyStream(Recorder())
    stream.push(replies.EXECUTE)
    stream.feed(server.COPY_IN)
    assert stream.copy_in
    stream.push(replies.SYNC)
    assert stream.uncertain


def test_a_transaction_is_not_idle() -> None:
    """Nothing owed is not enough: the status counts."""
    stream = ReplyStream(Recorder())
    stream.push(replies.QUERY)
    stream.feed(server.complete("BEGIN") + ready("T"))
    assert (stream.quiet, stream.idle, stream.status) == (True, False, ord("T"))


def test_ready_is_said_once() -> None:
    """Bytes after ReadyForQuery that are no message yet do not repeat it."""
    stream = ReplyStream(Recorder())
    stream.push(replies.QUERY)
    stream.feed(server.complete("SELECT 1") + ready() + PARAMETER[:2])
    stream.feed(PARAMETER[2:4])
    assert not stream.ready


@pytest.mark.parametrize("size", [3, 6, 20])
@pytest.mark.parametrize("frame", [NOTICE, message("N", bytes(60_000))])
def test_half_a_notice_after_ready_is_nobody_elses(frame: bytes, size: int) -> None:
    """Rule 2: the connection is not free before a message that answers nothing has come whole."""
    stream = ReplyStream(Recorder())
    stream.push(replies.QUERY)
    before = stream.feed(server.complete("SELECT 1") + ready() + frame[:size])
    kept_back = before == server.complete("SELECT 1") + ready()
    assert kept_back or not stream.idle
    rest = stream.feed(frame[size:])
    assert before + rest == server.complete("SELECT 1") + ready() + frame
    assert stream.idle


def test_half_an_answer_is_still_owed() -> None:
    """A tag that has come in part belongs to its request until it has come whole."""
    stream = ReplyStream(Recorder())
    stream.push(replies.EXECUTE)
    tag = server.complete("SELECT 1")
    stream.feed(tag[:7])
    assert not stream.quiet
    stream.feed(tag[7:])
    assert stream.quiet


HUGE = server.error("P0001", "x" * (3 << 20))


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("swallow", [False, True])
def test_huge_errors_are_forwarded_or_swallowed_whole(swallow: bool, before: bool) -> None:
    """Rule 2: an error longer than what is looked at keeps its fate to its last byte, whatever came before it."""
    stream = ReplyStream(Recorder())
    if before:
        stream.push(replies.QUERY | (0 if swallow else replies.SWALLOW))
        stream.feed(server.complete("SET") + ready())
    note_sent(stream, server.query("fail"), swallow=swallow)
    data = HUGE + ready()
    out = b"".join(stream.feed(data[at : at + 65536]) for at in range(0, len(data), 65536))
    assert out == (b"" if swallow else data)
    assert stream.idle


def test_a_replaced_huge_error_is_replaced_whole() -> None:
    """What a watcher gives stands for the whole error."""
    stream = ReplyStream(Recorder())
    instead = server.error("42P05", "exists")
    stream.watch(replies.QUERY, Watcher(instead=instead))
    data = HUGE + ready()
    out = b"".join(stream.feed(data[at : at + 65536]) for at in range(0, len(data), 65536))
    assert out == instead + ready()


@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.parametrize("code", ["D", "d"])
def test_huge_rows_stream_with_bounded_memory(code: str, swallow: bool) -> None:
    """Rule 3: of a row of 256 MiB no more than a piece is ever held."""
    stream = ReplyStream(Recorder())
    note_sent(stream, server.query("select x"), swallow=swallow, watcher=None if not swallow else Watcher())
    size, piece = 256 << 20, bytes(1 << 20)
    header = code.encode() + (size + 4).to_bytes(4, "big")
    passed = len(stream.feed(header))
    tracemalloc.start()
    for _ in range(size >> 20):
        passed += len(stream.feed(piece))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert passed == (0 if swallow else 5 + size)
    assert peak < 4 << 20
    assert stream.feed(server.complete("SELECT 1") + ready()) == (
        b"" if swallow else server.complete("SELECT 1") + ready()
    )
    assert stream.idle


def test_parameters_and_notifications_are_given_to_the_owner() -> None:
    """They may stand anywhere, also inside a swallowed reply; the owner says what the client gets of them."""
    owner = Recorder(instead=b"")
    stream = ReplyStream(owner)
    stream.push(replies.QUERY | replies.SWALLOW)
    stream.push(replies.QUERY)
    out = stream.feed(PARAMETER + server.complete("SET") + ready() + server.ROW_DESCRIPTION + NOTIFICATION)
    out += stream.feed(server.complete("SELECT 0") + ready() + PARAMETER)
    assert out == server.ROW_DESCRIPTION + server.complete("SELECT 0") + ready()
    assert owner.asynchronous == [PARAMETER, NOTIFICATION, PARAMETER]


def test_the_owner_is_told_what_an_error_answers() -> None:
    """0 for one that answers nothing, as when a server shuts down."""
    owner = Recorder()
    stream = ReplyStream(owner)
    stream.push(replies.QUERY)
    stream.feed(server.error("22012", "division by zero") + ready())
    stream.feed(server.error("57P01", "terminating connection", "FATAL"))
    assert owner.errors == [replies.QUERY, 0]


@given(
    st.sampled_from([b"", server.complete("SELECT 1"), server.row("x")]),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
)
def test_bytes_that_are_no_message_are_refused(before: bytes, code: int, length: int) -> None:
    """Rule 5: an unknown type, a length below 4, and one too long of what must be held, end the connection."""
    known = code in b"RK23CWcdGHDIEVvnNAtS1sZT"
    absurd = (code in b"ZGSA" and length >= replies.LOOK_LIMIT) or (code == ord("Z") and length == 4)
    stream = ReplyStream(Recorder())
    stream.push(replies.QUERY)
    data = before + bytes([code]) + length.to_bytes(4, "big")
    if known and length >= 4 and not absurd:
        stream.feed(data)
        return
    with pytest.raises(ProtocolViolation):
        stream.feed(data)


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_is_refused_or_waited_for(data: bytes, cuts: list[int]) -> None:
    """Rule 5: no bytes of a server raise anything but ProtocolViolation."""
    stream = ReplyStream(Recorder())
    stream.push(replies.PARSE)
    stream.push(replies.SYNC)
    try:
        for piece in pieces_of(data, cuts):
            stream.feed(piece)
    except ProtocolViolation:
        pass


def test_what_the_client_waits_for() -> None:
    """Requests of the proxy and marks of ended COPYs are not owed to the client."""
    stream = ReplyStream(Recorder())
    stream.push(replies.QUERY | replies.SWALLOW)
    assert not stream.owes_client
    assert stream.swallowing
    stream.push(replies.QUERY)
    assert stream.owes_client


PARSED, BOUND, DESCRIBED, DONE = (
    message("1", b""),
    message("2", b""),
    message("T", b"\0\0"),
    message("C", b"SELECT 0\0"),
)
FAILED = message("E", b"SERROR\0C22012\0Mdivision by zero\0\0")
NEWS = (PARAMETER, NOTICE, NOTIFICATION)


@pytest.mark.parametrize("parsing", [False, True])
@given(
    answer=st.sampled_from(
        [[BOUND, DESCRIBED, DONE], [BOUND, FAILED], [FAILED], [BOUND, message("G", bytes(3))]]
    ),
    news=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(NEWS)), max_size=2),
    more=st.booleans(),
    cuts=st.lists(st.integers(1, 60), max_size=4),
)
def test_a_batch_pushed_as_one_is_answered_like_its_messages(
    parsing: bool, answer: list[bytes], news: list[tuple[int, bytes]], more: bool, cuts: list[int]
) -> None:
    """Whatever is answered, in however many pieces, and whether or not another request follows it."""
    frames = interrupted([PARSED] * parsing + answer + [ready()], news)
    ends = []
    for at_once in (False, True):
        owner = Recorder()
        stream = ReplyStream(owner)
        for kind in [replies.PARSE] * parsing + [replies.BIND]:
            stream.push(kind)
        if at_once:
            stream.push_usual_end()
        else:
            for kind in (replies.DESCRIBE, replies.EXECUTE, replies.SYNC):
                stream.push(kind)
        if more:
            stream.push(replies.QUERY)
        seen = [(stream.feed(piece), stream.ready) for piece in pieces_of(b"".join(frames), cuts)]
        ends.append(
            (seen, stream.idle, stream.quiet, stream.status, stream.copy_in, stream.uncertain, owner.errors)
        )
    assert ends[0] == ends[1]


# -- what watchers and owners replace ------------------------------------------------------------------------


@define(eq=False)
class Replacing:
    """Watches a reply, or owns a connection: gives other bytes for some types of messages."""

    instead: dict[str, bytes]
    seen: list[bytes] = field(factory=list)
    skipped: int = 0

    def on_reply(self, code: int, body: bytes) -> bytes | None:
        """See `Watcher`."""
        self.seen.append(message(chr(code), body))
        return self.instead.get(chr(code))

    def on_skipped(self) -> None:
        """Counts."""
        self.skipped += 1

    def on_async(self, code: int, frame: bytes) -> bytes:
        """As it is."""
        return frame

    def on_error(self, frame: bytes, head: int) -> bytes | None:
        """Remembers the error."""
        self.seen.append(frame)
        return self.instead.get("E")

    def on_notice(self, frame: bytes) -> bytes | None:
        """Remembers the notice."""
        self.seen.append(frame)
        return self.instead.get("N")


ROW = server.row("x")
WATCHED = [server.ROW_DESCRIPTION, ROW, NOTICE, DONE, ready("T")]
MARK = message("N", b"SNOTICE\0Minstead\0\0")


@given(
    replaced=st.sets(st.sampled_from("TNCZ")),
    nothing=st.booleans(),
    swallow=st.booleans(),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)
def test_a_watcher_may_replace_any_message(
    replaced: set[str], nothing: bool, swallow: bool, cuts: list[int]
) -> None:
    """Also ReadyForQuery, and also by nothing; what is expected next does not depend on it. Rows are never shown."""
    instead = b"" if nothing else MARK
    watcher = Replacing(dict.fromkeys(replaced, instead))
    stream = ReplyStream(Recorder())
    stream.watch(replies.QUERY | (replies.SWALLOW if swallow else 0), watcher)
    out = b"".join(stream.feed(piece) for piece in pieces_of(b"".join(WATCHED), cuts))
    kept = b"" if swallow else None
    expected = [instead if chr(each[0]) in replaced else each if kept is None else kept for each in WATCHED]
    assert out == b"".join(expected)
    assert watcher.seen == [each for each in WATCHED if swallow or each != ROW]
    assert (stream.quiet, stream.ready, stream.status) == (True, True, ord("T"))


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_replaced_ready_for_query_is_replaced_once(cut: int) -> None:
    """It is held until it is whole, and the next request is answered as ever."""
    stream = ReplyStream(Recorder())
    held = server.complete("INSERT 0 1")
    stream.watch(replies.SYNC, Replacing({"Z": held + ready()}))
    stream.push(replies.QUERY)
    assert stream.feed(ready()[:cut]) == b""
    assert stream.feed(ready()[cut:]) == held + ready()
    assert not stream.ready
    assert stream.feed(DONE + ready()) == DONE + ready()
    assert stream.ready


@pytest.mark.parametrize("swallow", [False, True])
def test_a_batch_of_which_only_parts_are_watched(swallow: bool) -> None:
    """What one watcher takes away of its replies is not taken away of the others'."""
    stream = ReplyStream(Recorder())
    watcher = Replacing({"1": b"", "2": b"", "C": b""})
    kinds = (replies.PARSE, replies.BIND, replies.EXECUTE)
    for kind in (replies.BIND, replies.EXECUTE):
        stream.push(kind)
    for kind in kinds:
        stream.watch(kind | (replies.SWALLOW if swallow else 0), watcher)
    stream.push(replies.SYNC)
    own = BOUND + ROW + DONE
    assert stream.feed(own + PARSED + BOUND + DONE + ready()) == own + ready()
    assert watcher.seen == [PARSED, BOUND, DONE]


@pytest.mark.parametrize("at", ["nothing", "query", "watched", "swallowed", "batch"])
@pytest.mark.parametrize("instead", [None, b"", MARK])
def test_rule_29_the_owner_may_replace_notices(at: str, instead: bytes | None) -> None:
    """Wherever they come; a swallowed reply's notice is swallowed unless the owner gives another."""
    owner = Replacing({} if instead is None else {"N": instead})
    stream = ReplyStream(owner)
    match at:
        case "query":
            stream.push(replies.QUERY)
        case "watched":
            stream.watch(replies.QUERY, Watcher())
        case "swallowed":
            stream.push(replies.QUERY | replies.SWALLOW)
        case "batch":
            stream.push(replies.BIND)
            stream.push_usual_end()
    default = b"" if at == "swallowed" else NOTICE
    assert stream.feed(NOTICE) == (default if instead is None else instead)
    assert owner.seen == [NOTICE]
    assert stream.quiet is (at == "nothing")


def test_a_watcher_comes_before_the_owner() -> None:
    """Both see a notice or an error; what the watcher gives counts."""
    owner = Replacing({"N": b"owner", "E": b"owner"})
    watcher = Replacing({"N": b"watcher", "E": b"watcher"})
    stream = ReplyStream(owner)
    stream.watch(replies.QUERY, watcher)
    assert stream.feed(NOTICE + FAILED + ready()) == b"watcherwatcher" + ready()
    assert owner.seen == [NOTICE, FAILED]
    assert watcher.seen == [NOTICE, FAILED, ready()]


@pytest.mark.parametrize("kind", [0, replies.QUERY, replies.EXECUTE])
@pytest.mark.parametrize("instead", [b"", MARK])
def test_rule_27_the_owner_may_replace_errors(kind: int, instead: bytes) -> None:
    """Also one that answers nothing, as when a server goes down; what is expected follows from the error itself."""
    stream = ReplyStream(Replacing({"E": instead}))
    if kind:
        stream.push(kind)
    if kind == replies.EXECUTE:
        stream.push(replies.SYNC)
    assert stream.feed(FAILED) == instead
    assert stream.quiet is not bool(kind)


@pytest.mark.parametrize("swallow", [False, True])
def test_rule_3_a_notice_longer_than_what_is_looked_at_passes(swallow: bool) -> None:
    """Nobody is shown it, none of it is held, and it keeps its fate to its last byte."""
    owner = Replacing({"N": MARK})
    stream = ReplyStream(owner)
    watcher = Replacing({"N": MARK})
    stream.watch(replies.QUERY | (replies.SWALLOW if swallow else 0), watcher)
    notice = message("N", b"SNOTICE\0M" + b"x" * (2 * replies.LOOK_LIMIT) + b"\0\0")
    data = notice + DONE + ready()
    out = b"".join(stream.feed(data[at : at + 65_536]) for at in range(0, len(data), 65_536))
    assert out == (b"" if swallow else data)
    assert owner.seen == []
    assert watcher.seen == [DONE, ready()]
    assert stream.idle


@pytest.mark.parametrize("more", [0, 1])
def test_rule_3_a_notice_at_the_limit(more: int) -> None:
    """Up to the limit it is held and shown, in however many pieces it comes."""
    owner = Replacing({})
    stream = ReplyStream(owner)
    stream.push(replies.QUERY)
    notice = message("N", bytes(replies.LOOK_LIMIT - 5 + more))
    pieces = [notice[at : at + 65_536] for at in range(0, len(notice), 65_536)]
    assert b"".join(map(stream.feed, pieces)) == notice
    assert owner.seen == [notice] * (1 - more)
