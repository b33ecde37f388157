"""What is left to be said of an answer that broke off (rules 29, 30)."""

from __future__ import annotations

import model_server as server
import pytest
from model_server import message

from helios_trio.failover.endings import rest_of_answer, write_was_answered
from helios_trio.failover.journal import Exchange
from helios_trio.failover.replies import BLOCK

INSERT = "INSERT INTO t VALUES (1) RETURNING a"
TAG = server.complete("COMMIT")
NOTICE = message("N", b"SWARNING\0C01000\0Mhello\0\0")


def exchange(request: bytes, answer: bytes = b"") -> Exchange:
    found = Exchange(bytearray(request))
    found.answer.add(answer)
    return found


PARSED, BOUND, CLOSED, UNTYPED = message("1"), message("2"), message("3"), message("t", b"\0\0")
#: requests that do nothing but COMMIT, and how PostgreSQL answers them
COMMITS = {
    "simple": (server.query("COMMIT"), [TAG, server.ready()]),
    "psycopg": (
        server.parse("COMMIT") + server.bind() + server.describe(kind="P") + server.execute() + server.SYNC,
        [PARSED, BOUND, server.NO_DATA, TAG, server.ready()],
    ),
    "jdbc named": (server.bind("S_1") + server.execute() + server.SYNC, [BOUND, TAG, server.ready()]),
    "all": (
        server.parse("COMMIT", "s")
        + server.describe("s")
        + server.FLUSH
        + server.bind("s", "p")
        + server.execute("p")
        + server.close("p", "P")
        + server.close("s")
        + server.SYNC,
        [PARSED, UNTYPED, server.NO_DATA, BOUND, TAG, CLOSED, CLOSED, server.ready()],
    ),
}


@pytest.mark.parametrize("shape", COMMITS)
@pytest.mark.parametrize("noticed", [False, True])
def test_rule_29_the_rest_of_the_answer_to_a_commit(shape: str, noticed: bool) -> None:
    """Behind every number of messages that have come, with what may come between: together they are the answer."""
    request, answer = COMMITS[shape]
    for came in range(len(answer) + 1):
        before = [NOTICE] * noticed + answer[:came] + [NOTICE] * noticed
        assert rest_of_answer(exchange(request, b"".join(before)), "COMMIT") == b"".join(answer[came:])


def test_the_rest_of_the_answer_to_a_rollback() -> None:
    """With its own tag."""
    rest = rest_of_answer(exchange(server.query("ROLLBACK")), "ROLLBACK")
    assert rest == server.complete("ROLLBACK") + server.ready()


# -- guarded writes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("came", [b"", server.ROW_DESCRIPTION, server.ROW_DESCRIPTION + server.row("1")])
def test_rule_30_a_simple_write_was_answered_when_its_tag_is_held(came: bytes) -> None:
    """Its rows come before the tag, on the same wire."""
    found = exchange(server.query(INSERT), came)
    assert not write_was_answered(found, b"")
    assert write_was_answered(found, server.complete("INSERT 0 1"))


RUN = server.bind() + server.describe(kind="P") + server.execute()


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("end", [server.complete("INSERT 0 1"), message("s"), message("I")])
def test_rule_30_a_batch_was_answered_when_every_execute_was(times: int, end: bytes) -> None:
    """For every number of messages that have come."""
    request = (server.parse(INSERT) + RUN) * times + server.SYNC
    answer = [PARSED, BOUND, server.ROW_DESCRIPTION, server.row("1"), NOTICE, end] * times
    for came in range(len(answer) + 1):
        assert write_was_answered(exchange(request, b"".join(answer[:came])), b"") is (came == len(answer))


def test_half_a_tag_is_no_answer() -> None:
    """The session has been sent the beginning of a message."""
    tag = server.complete("INSERT 0 1")
    found = exchange(server.parse(INSERT) + RUN + server.SYNC, PARSED + BOUND + tag[:-1])
    assert not write_was_answered(found, b"")


def test_rule_30_what_stands_behind_the_execute_is_part_of_the_answer() -> None:
    """Bind, Execute, Close, Sync, as Postgrex sends it: without CloseComplete the answer is not whole."""
    request = server.bind("s") + server.execute() + server.close("s") + server.SYNC
    assert not write_was_answered(exchange(request, BOUND + server.complete("INSERT 0 1")), b"")


def test_rule_30_a_long_answer_has_an_end_like_any_other() -> None:
    """Many rows by RETURNING: whether the tag has come is told by the messages, not by bytes inside of a row."""
    request = server.parse(INSERT) + RUN + server.SYNC
    head = PARSED + BOUND + server.ROW_DESCRIPTION
    for shift in range(300):
        rows = server.row("x" * shift) + server.row("y" * 990) * (3 * BLOCK // 1000)
        assert write_was_answered(exchange(request, head + rows + server.complete("INSERT 0 9")), b"")
        fake = server.row(
            "z" * 3 * BLOCK + (b"\0" * shift).decode() + server.complete("INSERT 0 9").decode() * 400
        )
        assert not write_was_answered(exchange(request, head + fake), b"")
