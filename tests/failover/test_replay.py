"""What stands between a new server and a client that must not notice it (rule 27)."""

from __future__ import annotations

import itertools

import model_server as server
import pytest
import trio
import trio.testing
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from model_server import message

from helios_trio.errors import BackendUnavailable
from helios_trio.failover.acknowledged import KEPT, Acknowledged, has_certainly_changed
from helios_trio.failover.replay import Doom, EndFinder, Repeat, Skip, ready, report
from helios_trio.failover.replies import BLOCK, Answer, Difference
from helios_trio.failover.verdicts import NotReplayed

FREE = settings(deadline=None, max_examples=100)
ANSWER = (
    server.ROW_DESCRIPTION
    + b"".join(map(server.row, "abcdef"))
    + server.complete("SELECT 6")
    + server.ready()
)


def relayed(data: bytes, cuts: list[int]) -> list[bytes]:
    """In pieces; a ReadyForQuery is never cut."""
    end = len(data) - 6
    at = sorted({0, end, *(cut % (end + 1) for cut in cuts)})
    pieces = [data[start:stop] for start, stop in itertools.pairwise(at)]
    return [*pieces, data[end:]] if end in cuts else [*pieces[:-1], pieces[-1] + data[end:]]


CUTS = st.lists(st.integers(0, 500), max_size=6)


def prefix_of(data: bytes) -> Answer:
    found = Answer()
    found.add(data)
    return found


@define(eq=False)
class Skipping:
    """A Skip, and what it has said."""

    prefix: bytes
    said: list[Difference | None] = field(factory=list)

    def feed(self, pieces: list[bytes]) -> bytes:
        """What the client gets; as the session does it, nobody stands between any more once all is the same."""
        skip: Skip | None = Skip(prefix_of(self.prefix), self.said.append)
        got = b""
        for piece in pieces:
            if skip is None:
                got += piece
            elif not self.said:
                got += skip.on_reply_bytes(piece)
            if self.said == [None]:
                skip = None
        return got


@FREE
@given(st.integers(0, len(ANSWER) - 7), CUTS)
def test_rule_27_what_the_client_has_is_kept_back(size: int, cuts: list[int]) -> None:
    """Wherever the first answer broke off, and however the second comes: together they are one answer."""
    skipping = Skipping(ANSWER[:size])
    assert ANSWER[:size] + skipping.feed(relayed(ANSWER, cuts)) == ANSWER
    assert skipping.said == [None]


@FREE
@given(st.integers(1, len(ANSWER) - 7), st.integers(0, 5000), CUTS)
def test_rule_27_another_answer_is_never_passed_on(size: int, changed: int, cuts: list[int]) -> None:
    """One byte of what the client has is another: nothing behind it is sent."""
    changed %= size
    other = ANSWER[:changed] + bytes([ANSWER[changed] ^ 1]) + ANSWER[changed + 1 :]
    skipping = Skipping(ANSWER[:size])
    assert skipping.feed(relayed(other, cuts)) == b""
    assert [each.kind for each in skipping.said if each] == ["rows"]


@FREE
@given(st.integers(20, len(ANSWER) - 7), CUTS)
def test_rule_27_a_shorter_answer_is_another(size: int, cuts: list[int]) -> None:
    """It has come to its end before the client's part of it has."""
    shorter = server.complete("S") + server.ready()
    skipping = Skipping(ANSWER[: max(size, len(shorter) + 1)])
    assert skipping.feed(relayed(shorter, cuts)) == b""
    assert [each.kind for each in skipping.said if each] == ["length"]


def test_rule_3_the_part_that_the_client_has_may_be_long() -> None:
    """It is compared by blocks."""
    rows = b"".join(server.row(f"{number:06}" * 40) for number in range(4 * BLOCK // 250))
    data = rows + ANSWER
    for size in (len(rows) - 1, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK - 1):
        skipping = Skipping(data[:size])
        pieces = [data[at : at + 60_000] for at in range(0, len(data), 60_000)]
        assert skipping.feed(pieces) == data[size:]
        other = bytearray(data)
        other[size // 2] ^= 1
        skipping = Skipping(data[:size])
        skipping.feed([bytes(other)])
        assert [each.kind for each in skipping.said if each] == ["rows"]


# -- repeating -----------------------------------------------------------------------------------------------


async def test_repeat_takes_one_answer_after_the_other() -> None:
    """All of it, and nothing for the client; the next one begins empty."""
    repeat = Repeat()
    for data in (ANSWER, server.complete("BEGIN") + server.ready("T")):
        repeat.begin()
        async with trio.open_nursery() as nursery:
            found: list[Answer] = []

            async def wait(into: list[Answer] = found) -> None:
                into.append(await repeat.end())

            nursery.start_soon(wait)
            for at in range(0, len(data) - 6):
                assert repeat.on_reply_bytes(data[at : at + 1]) == b""
            await trio.testing.wait_all_tasks_blocked()
            assert found == []
            assert repeat.on_reply_bytes(data[-6:]) == b""
        assert bytes(found[0].tail) == data


async def test_repeat_ends_with_its_server() -> None:
    """Before or while somebody waits."""
    repeat = Repeat()
    repeat.begin()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(BackendUnavailable):
                await repeat.end()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        repeat.on_lost(BackendUnavailable("gone"))
    with pytest.raises(BackendUnavailable):
        await repeat.end()


# -- doom ----------------------------------------------------------------------------------------------------

LOST = NotReplayed("lost")
REFUSED = server.error("25P02", "current transaction is aborted") + server.ready("E")
PARAMETER = message("S", b"TimeZone\0UTC\0")


@pytest.mark.parametrize("gives_up", [False, True])
@given(cuts=CUTS)
def test_rule_28_a_client_is_told_once(gives_up: bool, cuts: list[int]) -> None:
    """In place of what the failed transaction says; unless it gives up, which it may as if nothing had been."""
    answer = PARAMETER + (server.complete("ROLLBACK") + server.ready() if gives_up else REFUSED)
    done: list[bool] = []
    doom = Doom(LOST, lambda: gives_up, lambda: done.append(True))
    got = b"".join(doom.on_reply_bytes(piece) for piece in relayed(answer, cuts))
    assert done == [True]
    assert got == (answer if gives_up else report(LOST) + PARAMETER + server.ready("E"))


def test_rule_28_a_commit_is_told_of_the_loss() -> None:
    """The failed transaction says ROLLBACK; the client must not take that for its own decision."""
    doom = Doom(LOST, lambda: False, lambda: None)
    got = doom.on_reply_bytes(server.complete("ROLLBACK") + server.ready())
    assert got == report(LOST) + server.ready()
    assert b"C40001\0" in got


def test_ready() -> None:
    """The one message that tells where an answer ends."""
    assert ready(ord("E")) == server.ready("E")


@pytest.mark.parametrize("size", [1, 2, 5, 7, 1000])
def test_the_end_of_an_answer(size: int) -> None:
    """Found behind its last piece, however it was cut; and again behind that of the next."""
    answer = (
        server.row("a")
        + message("D", b"\0\1\0\0\0\6" + server.ready())
        + server.complete("x")
        + server.ready()
    )
    finder = EndFinder()
    assert not finder.ends(b"")
    for _ in range(2):
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        assert [finder.ends(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_bytes_at_the_end_of_a_row_are_no_end() -> None:
    """A row of binary data may hold a ReadyForQuery, and the network may cut behind it."""
    repeat = Repeat()
    repeat.begin()
    row = message("D", b"\0\2" + b"\0\0\0\6" + server.ready() + b"\0\0\0\1x")
    repeat.on_reply_bytes(row[:-5])
    assert not repeat._complete


# -- acknowledged --------------------------------------------------------------------------------------------


def test_rule_24_the_newest_are_kept() -> None:
    """So many of each database of each server."""
    known = Acknowledged()
    for number in range(KEPT + 5):
        known.note("a", "x", f"id{number}")
    known.note("a", "y", "other")
    known.note("b", "x", "elsewhere")
    assert known.newest("a") == {"x": tuple(f"id{number}" for number in range(5, KEPT + 5)), "y": ("other",)}
    assert known.newest("b") == {"x": ("elsewhere",)}
    assert known.newest("c") == {}


DONE = server.complete("COMMIT") + server.ready()


@pytest.mark.parametrize("tag", ["INSERT 0 1", "INSERT 0 12", "UPDATE 3", "DELETE 1", "MERGE 9", "COPY 5"])
def test_rule_24_a_tag_says_that_something_has_changed(tag: str) -> None:
    """Then there is an id, which every successor must have."""
    assert has_certainly_changed(server.row("x") + server.complete(tag) + server.ready("T") + DONE)


@pytest.mark.parametrize(
    "tag", ["INSERT 0 0", "UPDATE 0", "DELETE 0", "COPY 0", "SELECT 5", "BEGIN", "COMMIT"]
)
def test_rule_24_a_tag_that_does_not_say_so(tag: str) -> None:
    """Without a change there is no id, and none may be missed."""
    assert not has_certainly_changed(server.complete(tag) + DONE)


def test_rule_24_what_has_failed_has_not_certainly_changed_anything() -> None:
    """A deferred constraint fails behind the tag."""
    failed = server.error("23503", "still referenced") + server.ready()
    assert not has_certainly_changed(server.complete("INSERT 0 1") + failed)


def test_rule_24_an_error_is_one_in_every_language() -> None:
    """Field V is never translated (since 9.6); S is, by lc_messages."""
    fields = b"SFEHLER\0VERROR\0C23503\0Mnoch referenziert\0\0"
    assert not has_certainly_changed(server.complete("INSERT 0 1") + message("E", fields) + server.ready())
