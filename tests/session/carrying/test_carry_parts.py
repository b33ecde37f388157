"""Parts of carrying against a server that is a table of answers: order, refusals, and what is taken back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from rig import payloads

from helios_trio.errors import BackendLost, HeliosError
from helios_trio.session.carrying.channels import MAX_KEPT, ChannelDivision, NotDivided, divide
from helios_trio.session.carrying.errors import CannotCarry, CarryFailed
from helios_trio.session.carrying.locks import NotQueued, Pids, hand_over_locks
from helios_trio.session.carrying.rowsets import Rowset, ShapeOfColumns
from helios_trio.session.carrying.steps import (
    Answer,
    Answers,
    Collect,
    Column,
    Exchange,
    Pause,
    Plan,
    Query,
    Side,
    Start,
    Step,
    ask,
)
from helios_trio.session.carrying.survey import AdvisoryLock
from helios_trio.session.carrying.undo import CannotGiveBack, Undo
from helios_trio.wire.backend_messages import NotificationResponse
from helios_trio.wire.error_fields import ErrorFields

ERROR = ErrorFields.of({"C": "55P03", "M": "no"})


@define
class Script:
    """Answers steps by what is asked for: a pattern of the text -> answers, one after the other; the last one stays."""

    answers: Mapping[str, list[Answer | Exception]]
    said: list[str] = field(factory=list)

    def run(self, plan: Plan[object]) -> object:
        """Do all steps; errors are thrown in."""
        try:
            step = next(plan)
            while True:
                try:
                    outcome = self.outcome(step)
                except HeliosError as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(outcome)
        except StopIteration as end:
            return end.value

    def outcome(self, step: Step) -> object:
        """What one step gives."""
        if isinstance(step, Exchange):
            old = tuple(self.answer("old", each.text) for each in step.old if isinstance(each, Query))
            return Answers(
                old, tuple(self.answer("new", each.text) for each in step.new if isinstance(each, Query))
            )
        if isinstance(step, Start):
            self.said.append(f"{step.side.value} starts {step.request.text}")
            return None
        if isinstance(step, Collect):
            return self.answer(step.side.value, "collect")
        assert isinstance(step, Pause)
        return None

    def answer(self, side: str, text: str) -> Answer:
        """By the first pattern that is found in it."""
        said = f"{side}: {text}"
        self.said.append(said)
        for pattern, answers in self.answers.items():
            if re.search(pattern, said):
                found = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(found, Exception):
                    raise found
                return found
        return Answer()


def value(*values: str) -> Answer:
    """A row."""
    return Answer(rows=(values,))


# -- locks (rule 12) -----------------------------------------------------------------------------------------------

KEY = AdvisoryLock(0, 5, 1)
PIDS = Pids(100, 200)
WAITING = {r"NOT granted": [value("0")]}
RELEASED = {r"old: .*pg_advisory_unlock": [value("3", "2")]}


def words(said: list[str]) -> list[str]:
    """The lock calls and waits, in their order."""
    found = (
        re.search(r"NOT granted|blocking_pids|unlock|lock_shared|advisory_lock|collect|cancel", each)
        for each in said
    )
    return [
        f"{each.split(':')[0].split()[0]} {match[0]}"
        for each, match in zip(said, found, strict=True)
        if match
    ]


def test_the_new_side_queues_before_the_old_one_lets_go() -> None:
    script = Script({**WAITING, r"blocking": [value("{}"), value("{100}")], **RELEASED})
    total = script.run(hand_over_locks({KEY: (True, True)}, PIDS, Undo()))
    assert total == 5
    assert words(script.said) == [
        "old NOT granted",
        "new advisory_lock",
        "old blocking_pids",
        "old blocking_pids",
        "old unlock",
        "new collect",
        "new advisory_lock",
    ]
    assert "generate_series(1, 2)" in script.said[-1]  # two more exclusive ones, and both shared ones


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({r"NOT granted": [value("1")]}, CannotCarry),
        ({**WAITING, r"blocking": [value("{100,300}")]}, CannotCarry),
        ({**WAITING, r"blocking": [value("{300}")]}, CannotCarry),
        ({**WAITING, r"blocking": [value("{}")]}, NotQueued),
    ],
)
def test_nothing_is_let_go_while_others_wait(
    answers: Mapping[str, list[Answer | Exception]], error: type[Exception]
) -> None:
    undo = Undo()
    script = Script(answers)
    with pytest.raises(error):
        script.run(hand_over_locks({KEY: (False, True)}, PIDS, undo))
    script.run(undo.give_back())
    assert not any("unlock" in each for each in script.said)


@pytest.mark.parametrize("failure", [Answer(error=ERROR), BackendLost("gone")])
def test_what_was_let_go_is_taken_back(failure: Answer | Exception) -> None:
    """As often as it was held."""
    undo = Undo()
    script = Script(
        {**WAITING, r"blocking": [value("{100}"), value("{200}")], **RELEASED, r"new: collect": [failure]}
    )
    with pytest.raises((CarryFailed, BackendLost)):
        script.run(hand_over_locks({KEY: (True, True)}, PIDS, undo))
    script.said.clear()
    script.answers = {
        r"blocking": [value("{200}")],
        r"new: .*unlock": [value("0", "0")],
        r"new: collect": [failure],
    }
    script.run(undo.give_back())
    assert words(script.said)[-4:] == ["new blocking_pids", "new unlock", "old collect", "old advisory_lock"]
    assert "generate_series(1, 2)" in script.said[-1]


def test_keys_are_written_as_they_were_given() -> None:
    assert AdvisoryLock(0, 5, 1).arguments == "5::pg_catalog.int8"
    assert AdvisoryLock(0xFFFFFFFF, 0xFFFFFFFD, 1).arguments == "-3::pg_catalog.int8"
    assert AdvisoryLock(0x7FFFFFFF, 0xFFFFFFFF, 1).arguments == "9223372036854775807::pg_catalog.int8"
    assert AdvisoryLock(5, 0xFFFFFFFA, 2).arguments == "5, -6"
    assert str(AdvisoryLock(0, 5, 1)) == "(5)"


# -- notifications (rule 13) ---------------------------------------------------------------------------------------


def notification(channel: str, payload: int) -> bytes:
    return NotificationResponse(1, channel, str(payload)).encode()


@given(st.data())
def test_a_division_gives_each_notification_once(data: st.DataObject) -> None:
    """Whichever side hears first, and whether the session moves or stays."""
    count = data.draw(st.integers(0, 12))
    marker = data.draw(st.integers(0, count))
    heard_from = data.draw(st.integers(0, marker))
    frames = [notification("c", number // 2) for number in range(count)]
    everything = [*frames[:marker], notification("m", 0), *frames[marker:]]
    division = ChannelDivision("m")
    waiting = {division.on_old: list(everything), division.on_new: everything[heard_from:]}
    got = b""
    while any(waiting.values()):
        side = data.draw(st.sampled_from([each for each, left in waiting.items() if left]))
        got += side(waiting[side].pop(0))
    assert division.is_decided
    expected = [str(number // 2) for number in range(count)]
    assert payloads(got + division.moved()) == expected
    assert payloads(got + division.stayed()) == expected


def test_a_session_that_stays_hears_on() -> None:
    division = ChannelDivision("m")
    division.on_old(notification("m", 0))
    assert division.on_old(notification("c", 1)) == b""
    assert payloads(division.stayed()) == ["1"]
    assert payloads(division.on_old(notification("c", 2))) == ["2"]


def test_too_many_notifications_at_once_keep_the_session() -> None:
    """And none of the old side's is lost."""
    division = ChannelDivision("m")
    division.on_old(notification("m", 0))
    division.on_new(notification("m", 0))
    for number in range(MAX_KEPT + 1):
        division.on_old(notification("c", number))
    undo = Undo()
    script = Script({})
    with pytest.raises(NotDivided):
        script.run(divide(division, undo))
    script.run(undo.give_back())
    assert script.said[-1] == "old: UNLISTEN m"
    assert len(payloads(division.stayed())) == MAX_KEPT + 1


def test_a_standby_that_cannot_listen_is_named() -> None:
    with pytest.raises(CarryFailed, match="dividing the notifications"):
        Script({"new: LISTEN": [Answer(error=ERROR)]}).run(divide(ChannelDivision("m"), Undo()))


# -- undo ----------------------------------------------------------------------------------------------------------


def repair(script: list[str], name: str, *, fails: bool = False) -> Callable[[], Plan[None]]:
    def plan() -> Plan[None]:
        yield from ask(Side.OLD, Query(name))
        script.append(name)
        if fails:
            raise HeliosError(f"{name} failed")

    return plan


def test_the_newest_is_taken_back_first() -> None:
    undo, done = Undo(), []
    undo.add(repair(done, "first"))
    gone = undo.add(repair(done, "done already"))
    undo.add(repair(done, "last"))
    undo.done(gone)
    Script({}).run(undo.give_back())
    assert done == ["last", "first"]
    Script({}).run(undo.give_back())
    assert done == ["last", "first"]


def test_one_that_fails_keeps_none_from_being_tried() -> None:
    undo, done = Undo(), []
    undo.add(repair(done, "first"))
    undo.add(repair(done, "second", fails=True))
    with pytest.raises(CannotGiveBack, match="second failed"):
        Script({}).run(undo.give_back())
    assert done == ["second", "first"]


# -- rows ----------------------------------------------------------------------------------------------------------


def test_rows_become_arrays_of_the_columns_types() -> None:
    shapes = (
        ShapeOfColumns(Column("n", 23, -1), "integer", "integer[]", ","),
        ShapeOfColumns(Column("n", 1043, 14), "character varying(10)", "character varying[]", ","),
        ShapeOfColumns(Column("Box es", 603, -1), "box", "box[]", ";"),
        ShapeOfColumns(Column("list", 1007, -1), "integer[]", None, ","),
    )
    rows = (("1", 'a"\\', "(1,2),(3,4)", "{1}"), (None, "NULL", "(0,0),(1,1)", None))
    assert Rowset(shapes, rows).query == (
        'SELECT c1 AS n, c2::character varying(10) AS n, c3 AS "Box es", c4::integer[] AS list FROM ROWS FROM ('
        """pg_catalog.unnest('{"1",NULL}'::integer[]), """
        """pg_catalog.unnest(E'{"a\\\\"\\\\\\\\","NULL"}'::character varying[]), """
        """pg_catalog.unnest('{"(1,2),(3,4)";"(0,0),(1,1)"}'::box[]), """
        """pg_catalog.unnest('{"{1}",NULL}'::pg_catalog.text[])) AS r(c1, c2, c3, c4)"""
    )
    assert Rowset((), ((), ())).query == "SELECT FROM pg_catalog.generate_series(1, 2)"
