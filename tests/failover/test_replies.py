"""When two answers are the same to a client, and when not (rule 27)."""

from __future__ import annotations

import itertools

import model_server as server
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_server import message

from helios_trio.failover.replies import BLOCK, Answer, Difference, frames_of

FREE = settings(deadline=None, max_examples=100)
NOTICE = message("N", b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0")
PARAMETER = message("S", b"TimeZone\0UTC\0")
NOTIFICATION = message("A", b"\0\0\0\7channel\0payload\0")


def answer(*frames: bytes) -> Answer:
    found = Answer()
    found.add(b"".join(frames))
    return found


def selected(*rows: str, tag: str = "", status: str = "I") -> Answer:
    """What a SELECT is answered."""
    tag = tag or f"SELECT {len(rows)}"
    return answer(server.ROW_DESCRIPTION, *map(server.row, rows), server.complete(tag), server.ready(status))


def difference(mine: Answer, theirs: Answer, *, ordered: bool = False) -> str | None:
    """The kind, the same from both sides."""
    found, back = mine.differs(theirs, ordered=ordered), theirs.differs(mine, ordered=ordered)
    assert (found is None) == (back is None)
    assert found is None or (back is not None and found.kind == back.kind)
    return None if found is None else found.kind


ROWS = st.lists(st.sampled_from("abc"), max_size=6)


@FREE
@given(ROWS, ROWS)
def test_rule_27_rows_are_a_multiset_unless_they_are_ordered(mine: list[str], theirs: list[str]) -> None:
    """Duplicates count; the tag is kept equal, so that only the rows can tell."""
    first, second = selected(*mine, tag="SELECT"), selected(*theirs, tag="SELECT")
    assert difference(first, second) == (None if sorted(mine) == sorted(theirs) else "rows")
    assert difference(first, second, ordered=True) == (None if mine == theirs else "rows")


def test_rule_27_rows_belong_to_their_statement() -> None:
    """A string of two statements: a row must not wander from one to the other."""
    tag = server.complete("SELECT 1")
    mine = answer(server.row("a"), server.row("b"), tag, server.row("c"), tag, server.ready())
    theirs = answer(server.row("a"), tag, server.row("b"), server.row("c"), tag, server.ready())
    assert difference(mine, theirs) == "rows"


def test_rule_27_rows_of_copy_are_rows() -> None:
    """COPY TO STDOUT of a table without ORDER BY, too."""
    rows = [server.copy_data("1"), server.copy_data("2")]
    assert difference(answer(*rows), answer(*reversed(rows))) is None
    assert difference(answer(*rows), answer(*reversed(rows)), ordered=True) == "rows"


OTHERS = [
    ("columns", server.ROW_DESCRIPTION, message("T", b"\0\0")),
    ("columns", message("t", b"\0\0"), message("t", b"\0\1\0\0\0\x17")),
    ("tag", server.complete("UPDATE 1"), server.complete("UPDATE 2")),
    ("sqlstate", server.error("23505", "x"), server.error("23503", "x")),
    ("sqlstate", server.error("23505", "x"), server.complete("UPDATE 2")),
    ("messages", server.NO_DATA, server.ROW_DESCRIPTION),
    ("messages", message("s"), server.complete("SELECT 1")),
    ("messages", message("1"), message("1") + message("2")),
    ("messages", server.ready("T"), server.ready("E")),
]


@pytest.mark.parametrize(("kind", "mine", "theirs"), OTHERS)
def test_rule_27_every_message_but_a_notice_counts(kind: str, mine: bytes, theirs: bytes) -> None:
    """And the difference has a name to be counted by."""
    assert difference(answer(mine), answer(theirs)) == kind
    assert difference(answer(server.row("a"), mine), answer(server.row("a"), theirs)) == kind


def test_rule_27_of_an_error_only_the_code_counts() -> None:
    """Its text may name a process, a position, a constraint's row; severities are translated."""
    mine = answer(server.error("40P01", "process 17 waits"), server.ready("E"))
    theirs = answer(server.error("40P01", "process 23 waits", "FEHLER"), server.ready("E"))
    assert difference(mine, theirs) is None


@FREE
@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from([NOTICE, PARAMETER, NOTIFICATION])), max_size=4)
)
def test_rule_27_what_may_come_at_any_time_is_ignored(news: list[tuple[int, bytes]]) -> None:
    """Notices, reported settings, notifications: anywhere between the others."""
    frames = [
        server.ROW_DESCRIPTION,
        server.row("a"),
        server.row("b"),
        server.complete("SELECT 2"),
        server.ready(),
    ]
    plain = answer(*frames)
    for at, frame in news:
        frames.insert(at % (len(frames) + 1), frame)
    assert difference(plain, answer(*frames), ordered=True) is None


def test_an_answer_that_breaks_off_is_not_the_same() -> None:
    """Messages are missing at its end; half a message is none."""
    whole = selected("a", "b")
    data = bytes(whole.tail)
    for end in range(len(data)):
        assert whole.differs(answer(data[:end]), ordered=False) is not None


@FREE
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_frames_of_any_bytes(data: bytes, cuts: list[int]) -> None:
    """It reads what is whole, and never beyond the end."""
    frames = server.row("x") + server.ready()
    assert [code for code, _ in frames_of(frames + b"D\0\0")] == [ord("D"), ord("Z")]
    assert list(frames_of(frames[:-1])) == [(ord("D"), server.row("x")[5:])]


# -- long answers --------------------------------------------------------------------------------------------


def chunked(data: bytes, cuts: list[int]) -> Answer:
    found = Answer()
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(at):
        found.add(data[start:end])
    return found


LONG = b"".join(server.row(f"{number:06}" * 40) for number in range(5 * BLOCK // 250))
CUTS = st.lists(st.integers(0, len(LONG)), max_size=8)


@settings(deadline=None, max_examples=30)
@given(CUTS, CUTS, st.integers(0, len(LONG) - 1))
def test_rule_27_long_answers_are_compared_at_any_chunking(
    cuts: list[int], others: list[int], at: int
) -> None:
    """By blocks, whose borders do not depend on how the bytes came; one byte more or less tells."""
    mine = chunked(LONG, cuts)
    assert mine.is_long
    assert mine.size == len(LONG)
    assert len(mine.tail) < 2 * BLOCK
    assert difference(mine, chunked(LONG, others)) is None
    changed = LONG[:at] + bytes([LONG[at] ^ 1]) + LONG[at + 1 :]
    assert difference(mine, chunked(changed, others)) == "rows"
    assert difference(mine, chunked(LONG[:-1], others)) == "rows"


def test_a_long_answer_is_no_short_one() -> None:
    """One of them has blocks, the other not."""
    assert answer(LONG).differs(selected("a"), ordered=False) == Difference(
        "rows", "a long answer is not the same"
    )


def test_the_messages_of_a_long_answer_are_messages() -> None:
    """Bytes inside a row that look like an error are none; `messages` must not take them for one."""
    fake = server.error("22012", "inside a row")
    row = message("D", b"\0\1" + (3 * BLOCK).to_bytes(4, "big") + fake * (3 * BLOCK // len(fake) + 1))
    for shift in range(len(fake)):
        found = answer(server.ROW_DESCRIPTION, message("N", b"x" * shift), row)
        assert found.is_long
        assert all(code != ord("E") for code, _ in found.messages())


def test_a_message_added_is_a_message_that_has_come() -> None:
    """`add_message` is `add` of the frame."""
    found = Answer()
    found.add_message(ord("D"), server.row("a")[5:])
    assert bytes(found.tail) == server.row("a")
