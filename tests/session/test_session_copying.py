"""A guarded COPY FROM STDIN between a client and a server that keeps books (rules 1, 3, 30)."""

from __future__ import annotations

from itertools import pairwise

import model_server as server
import pytest
from guarding_rig import INSERT, Books, Client, codes, unguarded
from hypothesis import given
from hypothesis import strategies as st

COPY = server.query("copy t FROM STDIN")
ROW, BAD = server.copy_data("1"), server.copy_data("bad")
#: What a driver sends that begins the COPY by the extended protocol.
OTHER_COPY = server.parse("copy t FROM STDIN") + server.bind() + server.execute()


def begin(client: Client) -> None:
    """The server waits for data."""
    assert codes(client.ask(COPY)) == "G"


@pytest.mark.parametrize("shared", [False, True])
def test_rule_30_a_copy_is_noted_behind_its_data(shared: bool) -> None:
    """CopyDone, Flush, the call, Close and Sync; the tag comes when it is committed."""
    client = Client(shared=shared)
    begin(client)
    assert (client.guard.token, client.stream.at_boundary) == (None, False)
    assert client.ask(ROW, ROW) == b""
    sent = client.feed(ROW, server.COPY_DONE)
    assert sent.startswith(ROW + server.COPY_DONE + server.FLUSH)
    assert (client.guard.token, client.stream.at_boundary) == ("id1", True)
    assert client.answer(sent) == server.complete("COPY 1") + server.ready()
    assert client.model.committed == ["copy", "id1"]
    assert (client.guard.done, client.side.replies.idle) == ("id1", True)


def test_rule_30_its_tag_is_held_until_it_is_committed() -> None:
    """The Flush has it come ahead of the commit, so that a server that dies in it has told it."""
    client = Client()
    begin(client)
    sent = client.feed(ROW, server.COPY_DONE)
    until_flush = sent[: sent.index(server.FLUSH)]
    assert client.answer(until_flush) == b""
    assert client.guard.held == server.complete("COPY 1")


def test_a_deferred_constraint_fails_it_at_its_commit() -> None:
    """There is no tag then."""
    client = Client()
    begin(client)
    client.model.breaks_commit = True
    assert codes(client.ask(ROW, server.COPY_DONE)) == "EZ"
    assert client.model.committed == []
    assert client.side.replies.idle


@pytest.mark.parametrize("end", [server.COPY_DONE, server.COPY_FAIL, b""], ids=["done", "fails", "nothing"])
def test_rule_1_one_that_fails_is_answered_at_once(end: bytes) -> None:
    """Its client need not say another word; what it says all the same is ignored by the server."""
    client = Client()
    begin(client)
    assert codes(client.ask(BAD)) == "EZ"
    assert client.ask(ROW, end) == b""
    assert client.ask(server.query(INSERT)) == server.complete("INSERT") + server.ready()
    assert client.model.committed == [INSERT, "id1"]
    assert client.side.replies.idle
    assert not client.side.replies.uncertain


def test_rule_1_its_client_gives_it_up() -> None:
    """CopyFail."""
    client = Client()
    begin(client)
    assert codes(client.ask(ROW, server.COPY_FAIL)) == "EZ"
    assert client.model.committed == []
    assert client.side.replies.idle


def test_the_sync_behind_a_failure_waits_for_the_end_of_a_message() -> None:
    """Its client has sent one half when the server refuses what came before."""
    client = Client()
    begin(client)
    sent = client.feed(BAD, ROW[:-1])
    assert sent == BAD + ROW[:-1]
    assert codes(client.answer(sent)) == "E"
    rest = client.feed(ROW[-1:], ROW)
    assert rest == ROW[-1:] + server.SYNC + ROW
    assert codes(client.answer(rest)) == "Z"
    assert client.side.replies.idle


def test_rule_1_a_copy_that_cannot_begin() -> None:
    """The server waits for a Sync then, too."""
    client = Client()
    client.model.status = "I"
    client.feed(COPY)
    assert client.side.replies.feed(server.error("42P01", "no such table")) == server.error(
        "42P01", "no such table"
    )
    assert client.ahead == [server.SYNC]
    assert client.side.replies.feed(server.ready()) == server.ready()
    assert client.side.replies.idle


def test_a_client_that_does_not_end_its_copy_is_cut_off_by_the_server() -> None:
    """As without guard."""
    client = Client()
    begin(client)
    got = client.ask(ROW, server.query("SELECT 1"))
    assert codes(got) == "EE"
    assert client.model.gone


def test_a_copy_that_is_lost_is_forgotten() -> None:
    """The next one begins anew."""
    client = Client()
    begin(client)
    client.stream.begin_anew()
    assert not client.guard.copying
    client.session.lost_its_server(committed=False)
    assert client.stream.at_boundary


# -- any conversation ------------------------------------------------------------------------------------------

COPIES = st.builds(
    lambda rows, end: COPY + b"".join(rows) + end,
    st.lists(st.sampled_from([ROW, ROW, server.copy_data("x" * 300), BAD, server.FLUSH]), max_size=6),
    st.sampled_from([server.COPY_DONE, server.COPY_DONE, server.COPY_FAIL]),
)
OTHERS = st.sampled_from(
    [
        *map(
            server.query,
            ("SELECT 1", INSERT, "BEGIN", "COMMIT", "ROLLBACK", "UPDATE t SET a = 2 WHERE b AND fail"),
        ),
        OTHER_COPY + ROW + server.COPY_DONE + server.SYNC,
    ]
)


@given(
    requests=st.lists(COPIES | OTHERS, max_size=6),
    cuts=st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=40),
    size=st.integers(1, 400),
    shared=st.booleans(),
)
def test_rule_1_any_copy_is_answered_as_without_guard(
    requests: list[bytes], cuts: list[tuple[int, bool]], size: int, shared: bool
) -> None:
    """However the network cuts it, and whenever the server gets to read it; each request when the last was answered."""
    client, books, expected = Client(shared=shared), Books(), b""
    for request in requests:
        expected += books.feed(request)
        assert _play(client, request, cuts, size) == expected
    assert [text for text in client.model.committed if not text.startswith("id")] == books.committed
    assert client.side.replies.quiet


def _play(client: Client, request: bytes, cuts: list[tuple[int, bool]], size: int) -> bytes:
    """Send a request in pieces, some of which the server reads at once, and the rest at the end."""
    borders = sorted(
        {0, len(request), *(at for at, _ in cuts if at < len(request)), *range(0, len(request), size)}
    )
    reads = {at for at, read in cuts if read}
    wire = b""
    for start, end in pairwise(borders):
        wire += client.feed(request[start:end])
        if end in reads:
            client.told, wire = client.told + client.answer(wire), b""
    client.told += client.answer(wire)
    return client.told


def test_unguarded_copies_of_the_model_are_those_of_postgresql() -> None:
    """What all of this is compared with."""
    answers, books = unguarded(COPY + ROW + server.COPY_DONE, COPY + BAD + ROW + server.COPY_DONE)
    assert list(map(codes, answers)) == ["GCZ", "GEZ"]
    assert books.committed == ["copy"]
