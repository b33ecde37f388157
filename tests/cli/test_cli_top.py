"""`helios top` without a terminal: what is known, what is chosen, which keys were pressed, and how it is drawn."""

from __future__ import annotations

import io
from typing import Any

import pytest
from answers import NOW, STANDBY, failover, migration, node, pool, session, topology, traffic
from fake_stream import event, hello
from rich.console import Console

from helios_trio.cli.stream import Connected, Lost, Message
from helios_trio.cli.top.columns import Cell, Column, fitted, table
from helios_trio.cli.top.picture import Room, picture
from helios_trio.cli.top.state import BACKSPACE, ENTER, ESCAPE, Sort, TopState
from helios_trio.cli.top.terminal import keys_in


def state_of(**topics: Any) -> TopState:
    """Connected, with these pictures."""
    state = TopState()
    state.hear(Connected(hello()["data"], False, 0))
    found = {
        "traffic": traffic(),
        "topology": topology(),
        "pools": {"pools": [pool()]},
        "sessions": {},
        **topics,
    }
    for topic, data in found.items():
        state.hear(Message(topic, None, data))
    return state


def drawn(state: TopState, width: int = 80, height: int | None = 24) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, no_color=True, highlight=False)
    screen.print(picture(state, width, height, NOW))
    text: str = screen.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


# -- state -------------------------------------------------------------------------------------------------------


def test_it_is_complete_with_a_picture_of_each_topic() -> None:
    """Of those that are there; events come when they come."""
    state = TopState()
    assert not state.complete
    state.hear(Connected(hello(topics=["traffic", "pools", "events"])["data"], False, 0))
    state.hear(Message("traffic", None, traffic()))
    assert not state.complete
    state.hear(Message("pools", None, {"pools": []}))
    assert state.complete


def test_a_restart_forgets_what_was_known() -> None:
    """And says so."""
    state = state_of()
    state.note_sessions([session()], 1)
    state.hear(Lost("closed", 2.0))
    assert state.trouble == "not connected: closed; next attempt in 2 s"
    state.hear(Connected(hello("2031-01-01T00:00:00.000Z")["data"], True, 0))
    assert (state.trouble, state.topics, state.sessions) == ("", {}, ())
    assert state.notice == "the proxy was restarted at 2031-01-01T00:00:00.000Z"


SESSIONS = [
    session(1, user="zoe", state="idle", idle_seconds=100.0, since="2030-01-01T00:00:03Z"),
    session(2, user="bob", state="active", idle_seconds=1.0, since="2030-01-01T00:00:02Z", backend="node2"),
    session(3, user="ann", state="active", idle_seconds=9.0, since="2030-01-01T00:00:04Z", database="Zoo"),
    session(4, user="eve", state="idle in transaction", idle_seconds=50.0, since="2030-01-01T00:00:01Z"),
    session(5, user="kim", state="waiting for a connection", idle_seconds=2.0, since="2030-01-01T00:00:05Z"),
    session(6, user="lee", state="idle", idle_seconds=3.0, since="2030-01-01T00:00:06Z"),
]


@pytest.mark.parametrize(
    ("sort", "ids"),
    [
        (Sort.BUSIEST, [3, 2, 5, 4, 6, 1]),
        (Sort.OLDEST, [4, 2, 1, 3, 5, 6]),
        (Sort.LONGEST_IDLE, [1, 4, 6, 5, 3, 2]),
        (Sort.USER, [3, 2, 4, 5, 6, 1]),
        (Sort.BACKEND, [1, 3, 4, 5, 6, 2]),
    ],
)
def test_orders(sort: Sort, ids: list[int]) -> None:
    """Each brings others to the top."""
    state = TopState(sessions=SESSIONS, sort=sort)
    assert [each["id"] for each in state.shown()] == ids


def test_keys() -> None:
    """s goes round, / takes what is typed until Enter, Escape shows all again, q ends it."""
    state = TopState(sessions=SESSIONS, total=6)
    for _ in Sort:
        assert state.press("s")
    assert state.sort is Sort.BUSIEST
    for key in ("/", "q", "z", BACKSPACE, BACKSPACE, "Z", "o", "o"):
        assert state.press(key)
    assert (state.typing, state.needle) == (True, "Zoo")
    assert [each["id"] for each in state.shown()] == [3]
    state.press(ENTER)
    state.press("s")
    assert (state.typing, state.needle, state.sort) == (False, "Zoo", Sort.OLDEST)
    state.press(ESCAPE)
    assert len(state.shown()) == 6
    state.press("f")
    state.press("x")
    state.press(ESCAPE)
    assert (state.typing, state.needle) == (False, "")
    assert not state.press("q")


def test_what_terminals_send() -> None:
    """Arrows and the like are no characters; an Escape alone is one key."""
    assert list(keys_in("sq/")) == ["s", "q", "/"]
    assert list(keys_in("\x1b[A\x1bOP\x1b[1;5Cs")) == ["s"]
    assert list(keys_in("\x1b")) == [ESCAPE]
    assert list(keys_in("é\r\x7f\x08\n\x01")) == ["é", ENTER, BACKSPACE, BACKSPACE, ENTER]


# -- columns -----------------------------------------------------------------------------------------------------


def test_cells_have_their_width() -> None:
    """Characters that take two cells count as two."""
    assert (fitted("ab", 4), fitted("ab", 4, right=True)) == ("ab  ", "  ab")
    assert (fitted("abcdef", 4), fitted("語語語", 4), fitted("x", 0)) == ("abc…", "語 …", "")


def test_spare_room_is_shared() -> None:
    """By the shares; nothing is ever wider than it may be."""
    columns = [Column("a", 3, share=1), Column("b", 3, right=True), Column("c", 3, share=3)]
    lines = table(columns, [["x", Cell("1", "red"), "y"]], 19)
    assert [line.plain for line in lines] == ["a       b c        ", "x       1 y        "]


# -- picture -------------------------------------------------------------------------------------------------------


def test_a_picture() -> None:
    """Everything that there is, in 80 columns and 24 lines."""
    state = state_of(
        migrations={"migrations": [migration()]},
        failover=failover(kind="failover", failover_active=True, source_backend="node1", step="promote"),
        events=event(3, reason="refused")["data"],
    )
    state.note_sessions([*SESSIONS, session(7, pins={"temporary tables": 1})], 7)
    lines = drawn(state)
    text = "\n".join(line.rstrip() for line in lines)
    assert lines[0].rstrip() == "helios 9.9  process 7  up 1 h 2 min  primary node1"
    assert "queries/s 1234  p50 0.8 ms  p95 3.2 ms  p99 -  errors/s 0" in text
    assert "clients 30  active 4  waiting 0  server connections 12" in text
    assert "migration 1 blue -> green: running, 4 moved, 6 left" in text
    assert "a failover from node1 is under way: promote" in text
    assert "last event  2030-01-01T00:00:03.000Z  server is down: node1 (refused)" in text
    assert "7 of 7 sessions, busiest first   q quits  s sorts  / filters" in text
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24


@pytest.mark.parametrize("width", [40, 79, 80, 200])
@pytest.mark.parametrize("height", [3, 10, 24, 60])
def test_it_fits(width: int, height: int) -> None:
    """However many there are, no line is wider; from ten lines on there are no more of them either."""
    nodes = [node(f"a server with a long name {number}", **STANDBY) for number in range(30)]
    pools = [pool(user=f"user {number}", waiting=number) for number in range(40)]
    state = state_of(topology=topology(*nodes), pools={"pools": pools})
    state.note_sessions([session(id, user="語" * 30) for id in range(100)], 9000)
    lines = drawn(state, width, height)
    assert max(len(line) for line in lines) <= width
    assert height < 15 or len(lines) <= height
    assert drawn(state, 200)[-1].startswith("100 of 9000 sessions, of the first 100, busiest first")


def test_without_an_end_nothing_of_interest_is_cut() -> None:
    """As for a file; then there are no keys."""
    state = state_of(topology=topology(*(node(f"server{number}") for number in range(30))))
    state.note_sessions([session(id) for id in range(30)], 30)
    lines = drawn(state, 100, None)
    assert sum(line.startswith("server") and "primary" in line for line in lines) == 30
    assert lines[-1].rstrip() == "30 of 30 sessions, busiest first"


def test_the_busiest_pools_come_first() -> None:
    """Where clients wait, then where most connections are in use."""
    pools = [pool(user="idle", active=0), pool(user="used", active=9), pool(user="full", active=1, waiting=2)]
    lines = drawn(state_of(pools={"pools": pools}))
    users = [line.split()[2] for line in lines if line.startswith("node1 ") and " shop " in line]
    assert users == ["full", "used", "idle"]


def test_before_anything_is_known() -> None:
    """Why there is nothing to see."""
    assert drawn(TopState())[0].rstrip() == "helios  connecting"
    state = state_of(traffic=None)
    assert drawn(state)[1].rstrip() == "no traffic measured yet"


def test_while_the_connection_is_lost() -> None:
    """What is shown is old, and said to be."""
    state = state_of()
    state.hear(Lost("closed", 2.0))
    assert "not connected: closed; next attempt in 2 s" in drawn(state, 120)[0]


def test_a_list_of_sessions_that_is_not_of_now() -> None:
    """Is said to be so until there is another."""
    state = state_of()
    state.complaint = "sessions: too busy"
    assert any("sessions: too busy" in line for line in drawn(state))
    state.note_sessions([], 0)
    assert not any("too busy" in line for line in drawn(state))


def test_names_that_others_choose_do_no_harm() -> None:
    """No escape sequence and no markup comes through, nor breaks the lines."""
    state = state_of()
    state.note_sessions([session(1, user="\x1b[2J\n[/red]", application_name="[bold")], 1)
    lines = drawn(state, 120)
    assert any("\ufffd[2J\ufffd[/red]" in line and "[bold" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_room() -> None:
    """Sessions have what is left; a short terminal has none for them."""
    assert Room.of(None, 3, 30, 90) == Room(30, 20, 20)
    assert Room.of(24, 3, 2, 1) == Room(2, 1, 10)
    assert Room.of(5, 3, 9, 9) == Room(1, 1, 0)
