"""The commit guard between a client and a server that keeps books: what is committed, what is noted (rules 29, 30).

Whatever is guarded, the client must get what a server without guard tells it.
"""

from __future__ import annotations

import model_server as server
import pytest
from guarding_rig import (
    BREAKS,
    CALL,
    INSERT,
    NOTE,
    RETURNING,
    UPDATE,
    Books,
    Client,
    bind_value,
    codes,
    server_side,
    unguarded,
)
from hypothesis import given
from hypothesis import strategies as st
from model_server import message


def call(token: str, *, prepared: bool = False) -> bytes:
    """The frames of the guard's call."""
    parse = b"" if prepared else server.parse(NOTE, CALL)
    return parse + bind_value(CALL, CALL, token.encode()) + server.execute(CALL)


RUN = server.bind() + server.describe(kind="P") + server.execute() + server.FLUSH


def batch(text: str, *, name: str = "", describe: str = "P", parse: bool = True) -> bytes:
    """One statement as a driver sends it, with its Sync."""
    frames = server.parse(text, name) if parse else b""
    if describe == "S":
        frames += server.describe(name)
    frames += server.bind(name)
    if describe == "P":
        frames += server.describe(kind="P")
    return frames + server.execute() + server.SYNC


# -- exact bytes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_rule_30_a_simple_write_is_sent_by_the_extended_protocol(shared: bool) -> None:
    """Parse, Bind, Describe, Execute and Flush of it; then the call; then Close and Sync. It is prepared once."""
    client = Client(shared=shared)
    end = server.close() + server.SYNC
    assert client.feed(server.query(INSERT)) == server.parse(INSERT) + RUN + call("id1") + end
    assert client.answer(client.sent) == server.complete("INSERT") + server.ready()
    out = client.feed(server.query(INSERT))
    assert out == server.parse(INSERT) + RUN + call("id2", prepared=True) + end
    assert client.answer(out) == server.complete("INSERT") + server.ready()
    assert client.model.committed == [INSERT, "id1", INSERT, "id2"]


def test_rule_30_a_trailing_comment_swallows_nothing() -> None:
    """The call is no part of the client's text."""
    client = Client()
    got = client.ask(server.query(f"{INSERT} -- and no more"))
    assert got == server.complete("INSERT") + server.ready()
    assert client.model.committed[1:] == ["id1"]


def test_rule_30_rows_of_a_simple_write_come_at_once_and_its_tag_when_it_is_certain() -> None:
    """The server answers the client's statement before it is committed; the tag is held until ReadyForQuery."""
    client = Client()
    answers = client.model.feed(client.feed(server.query(RETURNING)))
    ready = server.ready()
    before = client.side.replies.feed(answers[: -len(ready)])
    assert before == server.ROW_DESCRIPTION + server.row("1")
    assert (client.guard.token, client.guard.held) == ("id1", server.complete("INSERT"))
    assert client.side.replies.feed(ready) == server.complete("INSERT") + ready
    assert client.guard.held == b""


@pytest.mark.parametrize("shared", [False, True])
def test_rule_29_a_simple_commit_follows_the_call(shared: bool) -> None:
    """In the same flush, with a Sync of its own, answered unseen."""
    client = Client(shared=shared)
    client.ask(server.query("BEGIN"))
    client.ask(server.query(INSERT))
    out = client.feed(server.query("COMMIT"))
    assert out == call("id1") + server.SYNC + server.query("COMMIT")
    assert client.answer(out) == server.complete("COMMIT") + server.ready()
    assert client.model.committed == [INSERT, "id1"]
    assert (client.guard.token, client.guard.done) == (None, "id1")


def test_rule_29_an_extended_commit_has_the_call_before_its_execute() -> None:
    """And the client sees its own answers only."""
    client = Client()
    client.ask(server.query("BEGIN"))
    client.ask(server.query(INSERT))
    head = server.parse("COMMIT") + server.bind() + server.describe(kind="P")
    out = client.feed(head, server.execute(), server.SYNC)
    assert out == head + call("id1") + server.execute() + server.SYNC
    assert codes(client.answer(out)) == "12nCZ"
    assert client.model.committed == [INSERT, "id1"]


def test_rule_30_a_batch_has_the_call_behind_a_flush_before_its_sync() -> None:
    """What the client's statement answers is on its way before it is committed."""
    client = Client()
    own = batch(INSERT)
    out = client.feed(own)
    assert out == own[: -len(server.SYNC)] + server.FLUSH + call("id1") + server.SYNC
    assert codes(client.answer(out)) == "12nCZ"
    assert client.model.committed == [INSERT, "id1"]


SHAPES = {
    "psycopg": [batch(INSERT)],
    "psycopg prepared": [
        server.parse(INSERT, "_pg3_0") + server.SYNC,
        batch("", name="_pg3_0", parse=False),
        batch("", name="_pg3_0", parse=False),
    ],
    "asyncpg": [
        server.parse(INSERT, "__asyncpg_1__") + server.describe("__asyncpg_1__") + server.SYNC,
        server.bind("__asyncpg_1__") + server.execute() + server.SYNC,
    ],
    "pg8000": [
        server.parse(INSERT, "pg8000_1") + server.FLUSH + server.describe("pg8000_1") + server.SYNC,
        server.bind("pg8000_1") + server.FLUSH + server.execute() + server.SYNC,
    ],
    "jdbc unnamed": [batch(INSERT, describe="")],
    "jdbc named": [batch(INSERT, name="S_1", describe="S"), batch("", name="S_1", describe="", parse=False)],
    "postgrex": [
        server.parse(INSERT, "q") + server.describe("q") + server.SYNC,
        server.bind("q") + server.execute() + server.close("q") + server.SYNC,
    ],
    "two in one": [
        server.parse(INSERT)
        + server.bind()
        + server.execute()
        + server.parse(UPDATE)
        + server.bind()
        + server.execute()
        + server.SYNC
    ],
    "returning": [batch(RETURNING)],
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_rule_30_shapes_of_drivers(shape: str, shared: bool) -> None:
    """Rule 1: each is answered as by a server without guard, and every transaction with a write has its note."""
    client = Client(shared=shared)
    expected, books = unguarded(*SHAPES[shape])
    assert [client.ask(request) for request in SHAPES[shape]] == expected
    writes = [text for text in client.model.committed if not text.startswith("id")]
    assert writes == books.committed
    assert [text for text in client.model.committed if text.startswith("id")] == client.ids
    assert len(client.ids) == sum(b"C" in codes(each).encode() and b"INSERT" in each for each in expected)


@pytest.mark.parametrize("pieces", [1, 3, 7])
def test_a_guarded_write_in_pieces(pieces: int) -> None:
    """Rule 3: how the network cuts requests and answers changes nothing."""
    client = Client()
    request = batch(RETURNING) + server.query(INSERT)
    out = b"".join(client.stream.feed(request[at : at + pieces]) for at in range(0, len(request), pieces))
    answers = client.model.feed(out)
    got = b"".join(client.side.replies.feed(answers[at : at + 1]) for at in range(len(answers)))
    assert [got] == [b"".join(unguarded(request)[0])]


# -- what is not guarded -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "CALL p()",
        "DO $$ BEGIN END $$",
        "CREATE TABLE x (a int)",
        "INSERT INTO t VALUES (f())",
        f"{INSERT}; {INSERT}",
        f"BEGIN; {INSERT}",
        "TRUNCATE t",
        "COPY t FROM STDIN WHERE f(a)",
        "COPY t FROM '/tmp/x'",
        "COPY t TO STDOUT",
        "NOTIFY a",
        "ROLLBACK",
        "COMMIT AND CHAIN",
        "nonsense",
    ],
)
@pytest.mark.parametrize("extended", [False, True])
def test_rule_30_what_is_no_single_plain_write_goes_as_it_is(text: str, extended: bool) -> None:
    """Not one byte is added, and there is no id."""
    client = Client()
    request = batch(text) if extended else server.query(text)
    assert client.feed(request) == request
    assert client.guard.token is None


def test_without_singles_only_commits_are_guarded() -> None:
    """As configured."""
    client = Client(singles=False)
    assert client.feed(server.query(INSERT)) == server.query(INSERT)
    client.answer(client.sent)
    assert client.feed(batch(INSERT)) == batch(INSERT)
    client.answer(client.sent)
    client.answer(client.sent)
    client.ask(server.query("BEGIN") + server.query(INSERT))
    assert NOTE.encode() in client.feed(server.query("COMMIT"))


@pytest.mark.parametrize("extended", [False, True])
def test_rule_30_inside_a_transaction_a_write_goes_as_it_is(extended: bool) -> None:
    """Its COMMIT will be guarded."""
    client = Client()
    client.ask(server.query("BEGIN"))
    request = batch(INSERT) if extended else server.query(INSERT)
    assert client.feed(request) == request


@pytest.mark.parametrize(
    "first", [server.query("SELECT 1"), batch("SELECT 1"), server.query("BEGIN")], ids=["Q", "batch", "BEGIN"]
)
@pytest.mark.parametrize("extended", [False, True])
def test_rule_30_behind_requests_that_are_not_answered_nothing_is_guarded(
    first: bytes, extended: bool
) -> None:
    """Nobody knows whether it will be a transaction by itself."""
    client = Client()
    client.feed(first)
    request = batch(INSERT) if extended else server.query(INSERT)
    assert client.feed(request) == request


@pytest.mark.parametrize("request_", [server.query("COMMIT"), batch("COMMIT")], ids=["Q", "batch"])
@pytest.mark.parametrize("text", ["SELECT 1", "SAVEPOINT a"])
def test_rule_29_a_transaction_that_has_only_read_has_no_id(text: str, request_: bytes) -> None:
    """Whether it has committed makes no difference to anybody."""
    client = Client()
    client.ask(server.query("BEGIN"))
    client.ask(server.query(text))
    assert client.feed(request_) == request_
    assert client.guard.token is None


WRITING = [
    server.query(INSERT),
    server.query("SELECT f()"),
    server.query("EXECUTE p"),
    server.query("NOTIFY a"),
    server.query("CREATE TABLE x (a int)"),
    batch(INSERT),
    server.bind("nobody knows") + server.execute() + server.SYNC,
]


@pytest.mark.parametrize("writing", WRITING)
@pytest.mark.parametrize("commit", [server.query("COMMIT"), batch("COMMIT")], ids=["Q", "batch"])
def test_rule_29_a_transaction_that_may_have_written_has_an_id(writing: bytes, commit: bytes) -> None:
    """Whatever the text does not show counts as a write."""
    client = Client()
    client.model.statements["nobody knows"] = "SELECT 1"
    client.ask(server.query("BEGIN"))
    client.ask(writing)
    assert NOTE.encode() in client.feed(commit)
    assert client.guard.token == "id1"


@pytest.mark.parametrize("writing", WRITING)
def test_rule_29_a_commit_that_is_pipelined(writing: bytes) -> None:
    """Behind what is not answered: by a simple query the call is apart; in a batch it might break what would not.

    The transaction may have failed by then, where COMMIT is a rollback and everything else an error.
    """
    simple, extended = Client(), Client()
    for client in (simple, extended):
        client.ask(server.query("BEGIN"))
        client.feed(writing)
    assert NOTE.encode() in simple.feed(server.query("COMMIT"))
    assert extended.feed(batch("COMMIT")) == batch("COMMIT")
    assert (simple.guard.token, extended.guard.token) == ("id1", None)


def test_rule_29_a_function_call_may_write() -> None:
    """Large objects are written so."""
    client = Client()
    client.ask(server.query("BEGIN"))
    client.feed(message("F", bytes(10)))
    assert NOTE.encode() in client.feed(server.query("COMMIT"))


def test_rule_29_never_in_a_failed_transaction() -> None:
    """COMMIT by a simple query goes as it is, and is answered ROLLBACK."""
    client = Client()
    for text in ("BEGIN", BREAKS.replace("-- ", "")):
        client.ask(server.query(text))
    client.ask(server.query("nonsense fail"))
    assert client.feed(server.query("COMMIT")) == server.query("COMMIT")
    assert client.answer(client.sent) == server.complete("ROLLBACK") + server.ready()


def test_rule_29_never_in_a_failed_transaction_extended() -> None:
    """The same by the extended protocol: PostgreSQL answers ROLLBACK, and the transaction is over."""
    client = Client()
    client.ask(server.query("BEGIN"))
    client.ask(server.query("nonsense fail"))
    assert codes(client.ask(batch("COMMIT"))) == "12nCZ"
    assert client.side.replies.status == ord("I")


@pytest.mark.parametrize("commit", [server.query("COMMIT"), batch("COMMIT")], ids=["Q", "batch"])
def test_rule_1_pipelined_commit_behind_a_failure_is_answered_rollback(commit: bytes) -> None:
    """BEGIN, a statement that fails, COMMIT, another write, all at once: the same answers as without guard."""
    requests = [
        server.query("BEGIN"),
        server.query("UPDATE t SET a = 2 WHERE b AND fail"),
        commit,
        server.query(INSERT),
    ]
    client = Client()
    expected, books = unguarded(b"".join(requests))
    assert [client.ask(*requests)] == expected
    assert client.model.committed == books.committed


# -- failures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["P", "B", "E"])
@pytest.mark.parametrize(
    "request_",
    [server.query(INSERT), batch(INSERT), batch(RETURNING, describe="S")],
    ids=["Q", "batch", "rows"],
)
def test_a_write_whose_call_fails_is_no_success(request_: bytes, at: str) -> None:
    """It rolls back; its client is told of an error, and a simple query's tag is never sent."""
    client = Client(model=Books(breaks_call_at=at))
    got = client.ask(request_)
    assert client.model.committed == []
    assert codes(got)[-2:] == "EZ"
    assert request_[:1] == b"P" or "C" not in codes(got)
    assert client.side.replies.idle
    assert client.guard.held == b""


@pytest.mark.parametrize("at", ["P", "B", "E"])
@pytest.mark.parametrize("request_", [server.query("COMMIT"), batch("COMMIT")], ids=["Q", "batch"])
def test_a_commit_whose_call_fails_is_no_success(request_: bytes, at: str) -> None:
    """Rule 29: it became a rollback, and the client gets the error of the call in place of the tag."""
    client = Client(model=Books(breaks_call_at=at))
    client.ask(server.query("BEGIN"))
    client.ask(server.query(INSERT))
    got = client.ask(request_)
    assert client.model.committed == []
    assert b"COMMIT\0" not in got
    assert codes(got)[-2:] == "EZ"


@pytest.mark.parametrize("at", ["P", "B", "E"])
@pytest.mark.parametrize("request_", [server.query(INSERT), batch(INSERT)], ids=["Q", "batch"])
def test_after_a_call_has_failed_the_next_write_is_guarded_again(request_: bytes, at: str) -> None:
    """Whatever of the call was prepared by then."""
    client = Client(model=Books(breaks_call_at=at))
    client.ask(request_)
    client.model.breaks_call_at = ""
    assert "E" not in codes(client.ask(request_))
    assert client.model.committed == [INSERT, "id2"]


@pytest.mark.parametrize("extended", [False, True])
def test_rule_30_a_deferred_constraint_fails_at_the_end(extended: bool) -> None:
    """As on a server without guard: a simple query gets no tag; a batch has got its own already."""
    request = batch(INSERT) if extended else server.query(INSERT)
    client = Client(model=Books(breaks_commit=True))
    got = client.ask(request)
    assert client.model.committed == []
    assert codes(got) == ("12nCEZ" if extended else "EZ")
    assert b"C23503\0" in got
    assert client.ask(request) == b"".join(unguarded(request)[0])


def test_a_deferred_constraint_that_fails_a_commit() -> None:
    """The error is PostgreSQL's."""
    client = Client()
    client.ask(server.query("BEGIN"))
    client.ask(server.query(INSERT))
    client.model.breaks_commit = True
    got = client.ask(server.query("COMMIT"))
    assert codes(got) == "EZ"
    assert b"C22012\0" in got
    assert client.model.committed == []


FAILING = "UPDATE t SET a = 2 WHERE b AND fail"


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("extended", [False, True])
def test_after_a_write_that_failed_the_next_is_guarded(extended: bool, before: bool) -> None:
    """The call may be prepared on the connection, or not: its client never hears of it."""
    ask = batch if extended else server.query
    client = Client()
    if before:
        client.ask(ask(INSERT))
    assert codes(client.ask(ask(FAILING)))[-2:] == "EZ"
    got = client.ask(ask(INSERT))
    assert "E" not in codes(got), got
    assert client.model.committed[-2:] == [INSERT, client.ids[-1]]


# -- between ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["DISCARD ALL", "DEALLOCATE ALL"])
@pytest.mark.parametrize("shared", [False, True])
def test_rule_9_the_call_is_prepared_again_when_all_statements_are_gone(text: str, shared: bool) -> None:
    """The client may end all prepared statements, without knowing of this one."""
    client = Client(shared=shared)
    client.ask(server.query(INSERT))
    client.model.statements.clear()
    client.side.replies.feed(client.model.feed(client.feed(server.query(text))))
    client.model.statements.clear()
    assert "E" not in codes(client.ask(server.query(INSERT)))
    assert client.model.committed[-1] == client.ids[-1]


def test_rule_9_named_statements_of_a_shared_connection_are_guarded_under_their_new_names() -> None:
    """In transaction mode, on a connection that lacks them."""
    client = Client(shared=True)
    client.ask(server.parse(INSERT, "mine") + server.SYNC)
    client.stream.detach()
    client.side, client.model = server_side(2), Books()
    assert codes(client.ask(batch("", name="mine", parse=False))) == "2nCZ"
    assert client.model.committed == [INSERT, "id1"]


def test_a_read_only_batch_and_then_one_in_a_transaction_that_begins_with_close() -> None:
    """What was known of an earlier batch does not count for a later one: inside a transaction none is guarded."""
    client = Client()
    client.ask(batch("SELECT 1"))
    client.ask(server.query("BEGIN"))
    request = server.close("none") + batch(INSERT)
    assert client.feed(request) == request
    client.answer(client.sent)
    assert client.ask(server.query("COMMIT")) == server.complete("COMMIT") + server.ready()


def test_a_batch_that_begins_with_close_is_guarded() -> None:
    """As JDBC sends it when a statement has been garbage collected."""
    client = Client()
    client.ask(server.close("none") + batch(INSERT))
    assert client.model.committed == [INSERT, "id1"]


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize(
    "second", [server.query(INSERT), batch(INSERT), server.query("SELECT f()")], ids=["Q", "batch", "unknown"]
)
def test_rule_29_an_id_ends_with_the_request_that_has_written_it(extended: bool, second: bytes) -> None:
    """When that is answered the id says nothing of a request that was pipelined behind it, which has none."""
    client = Client()
    first = client.feed(batch(INSERT) if extended else server.query(INSERT))
    client.feed(second)
    client.answer(first)
    assert client.model.committed == [INSERT, "id1"]
    assert client.guard.token is None


def test_rule_1_after_a_simple_write_there_is_no_unnamed_statement() -> None:
    """A simple query destroys it: a Bind of it fails, and does not run the write once more."""
    client = Client()
    client.ask(server.query(INSERT))
    got = client.ask(server.bind(), server.execute(), server.SYNC)
    assert codes(got) == "EZ"
    assert client.model.committed.count(INSERT) == 1


def test_rule_1_no_columns_of_a_simple_write_that_fails() -> None:
    """PostgreSQL runs all of an INSERT ... RETURNING before it says what the columns are (PORTAL_ONE_RETURNING)."""
    client = Client()
    assert codes(client.ask(server.query("INSERT INTO t VALUES (2) RETURNING fail"))) == "EZ"


COLUMNS, NOTICE, SOME_ROWS = (
    server.ROW_DESCRIPTION,
    message("N", b"CXX000\0\0"),
    server.row("1") + server.row("2"),
)
BEGUN, TAG = message("1") + message("2") + COLUMNS, server.complete("INSERT 0 2")
NOTED = message("1") + message("2") + server.complete("SELECT 0") + message("3") + server.ready()
BROKEN, DEFERRED = server.error("22012", "division by zero"), server.error("23503", "still referenced")
CANNOT_SAY = server.error("22P05", "character has no equivalent in encoding")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (BEGUN + NOTICE + SOME_ROWS + TAG + NOTED, NOTICE + COLUMNS + SOME_ROWS + TAG + server.ready()),
        (BEGUN + TAG + NOTED, COLUMNS + TAG + server.ready()),
        (BEGUN + NOTICE + BROKEN + server.ready(), NOTICE + BROKEN + server.ready()),
        (BEGUN + CANNOT_SAY + server.ready(), COLUMNS + CANNOT_SAY + server.ready()),
        (BEGUN + SOME_ROWS + CANNOT_SAY + server.ready(), COLUMNS + SOME_ROWS + CANNOT_SAY + server.ready()),
        (
            BEGUN + SOME_ROWS + TAG + NOTED[:-6] + DEFERRED + server.ready(),
            COLUMNS + SOME_ROWS + DEFERRED + server.ready(),
        ),
        (BEGUN + TAG + NOTED[:-6] + DEFERRED + server.ready(), COLUMNS + DEFERRED + server.ready()),
    ],
    ids=["rows", "no rows", "fails", "cannot say", "cannot say the next", "deferred", "deferred, no rows"],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_rule_1_columns_of_a_simple_write_come_with_its_first_row(
    answer: bytes, told: bytes, size: int
) -> None:
    """Or with its tag if it has no rows. Only what cannot be said in the client's encoding fails behind them."""
    client = Client()
    client.feed(server.query(RETURNING))
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    assert b"".join(map(client.side.replies.feed, pieces)) == told
    assert client.side.replies.idle


def test_settled_forgets_everything() -> None:
    """Nothing is under way any more."""
    client = Client()
    client.model.feed(client.feed(server.query(INSERT)))
    client.guard.held, client.guard.failure = b"x", b"y"
    client.guard.settled()
    assert (client.guard.token, client.guard.held, client.guard.failure) == (None, b"", b"")


# -- any conversation ----------------------------------------------------------------------------------------

SIMPLE = st.sampled_from(["BEGIN", "COMMIT", "ROLLBACK", INSERT, RETURNING, FAILING, "SELECT 1", UPDATE])
REQUESTS = st.one_of(
    st.builds(server.query, SIMPLE),
    st.builds(batch, SIMPLE.filter(lambda text: text != "COMMIT"), describe=st.sampled_from(["", "S", "P"])),
)


def conversation_is_answered_as_without_guard(requests: list[bytes], *, shared: bool) -> None:
    """Lock-step: same answers, same commits, and every commit of a write has its note."""
    client = Client(shared=shared)
    expected, books = unguarded(*requests)
    assert [client.ask(request) for request in requests] == expected
    assert [text for text in client.model.committed if not text.startswith("id")] == books.committed
    assert client.side.replies.quiet


@given(requests=st.lists(REQUESTS, max_size=8), shared=st.booleans())
def test_rule_1_any_conversation_is_answered_as_without_guard(requests: list[bytes], shared: bool) -> None:
    """One request after the other."""
    conversation_is_answered_as_without_guard(requests, shared=shared)


@given(
    requests=st.lists(REQUESTS.filter(lambda request: b" fail" not in request), max_size=8),
    together=st.integers(1, 4),
    shared=st.booleans(),
)
def test_rule_1_any_pipeline_is_answered_as_without_guard(
    requests: list[bytes], together: int, shared: bool
) -> None:
    """Several at once, none of which fails."""
    groups = [b"".join(requests[at : at + together]) for at in range(0, len(requests), together)]
    conversation_is_answered_as_without_guard(groups, shared=shared)
