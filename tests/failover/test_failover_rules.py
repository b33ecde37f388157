"""The rules of a failover: who may take over, how long trouble is put up with, how fast things follow each other."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.observation import Standby as Connected
from helios_trio.cluster.steward import ServerFacts
from helios_trio.failover.candidates import Standby, rank
from helios_trio.failover.counters import FailoverCounters, ReplayCounters
from helios_trio.failover.fencing import Quorum, fill_in, quorum_size
from helios_trio.failover.pacing import LONGEST, Flapping, Pacer
from helios_trio.failover.signs import Look, Patience, Sign
from helios_trio.failover.steps import CANCELLABLE, TABLE, FailoverCourse, FailoverOutcome, FailoverStep
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.rescue import CommitOutcome

SYSTEM = "7"
SEEN = Observation(True, 5000, 4000, 0.0, 1, SYSTEM, "18.6")


def standby(name: str, *, synchronous: bool = False, priority: int = 0, **seen: object) -> Standby:
    observation = evolve(SEEN, **seen)
    return Standby(
        name=name,
        facts=ServerFacts(observation=observation, version=180006),
        synchronous=synchronous,
        priority=priority,
    )


# -- rule 24: who takes over ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (standby("a", timeline=2, position=1), standby("b", timeline=1, position=9)),
        (standby("a", position=9, replayed=1), standby("b", position=8, replayed=8)),
        (standby("a", synchronous=True), standby("b", priority=99)),
        (standby("a", priority=2), standby("b", priority=1)),
    ],
    ids=["timeline", "received and not replayed", "commits waited for it", "priority"],
)
def test_rule_24_order_of_candidates(better: Standby, worse: Standby) -> None:
    """By timeline, then by what was received, then by whether commits waited for it, then by priority."""
    assert [each.name for each in rank([worse, better], SYSTEM).candidates] == ["a", "b"]
    assert [each.name for each in rank([better, worse], SYSTEM).candidates] == ["a", "b"]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (standby("a", in_recovery=False), "it is no standby"),
        (standby("a", system_identifier="8"), "it is not known to hold the same data"),
        (standby("a", system_identifier=None), "it is not known to hold the same data"),
        (standby("a", position=None), "it does not say how much it has received"),
        (
            evolve(
                standby("a"),
                facts=ServerFacts(
                    observation=SEEN, version=18, missing_rights=("EXECUTE on pg_promote()", "more")
                ),
            ),
            "the control user lacks EXECUTE on pg_promote(); helios setup grants it",
        ),
    ],
    ids=["primary", "other data", "unknown data", "unknown position", "no right"],
)
def test_rule_24_who_is_no_candidate(other: Standby, reason: str) -> None:
    """And why."""
    found = rank([other, standby("b")], SYSTEM)
    assert [each.name for each in found.candidates] == ["b"]
    assert found.unfit == {"a": reason}


def test_nobody_succeeds_a_primary_whose_data_nobody_knows() -> None:
    """Without a system identifier no standby is known to be one of it."""
    assert rank([standby("a")], None).candidates == []


# -- rule 25: fencing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "size"),
    [
        ("", 0),
        ("*", 1),
        ("a, b", 1),
        ("ANY 2 (a, b, c)", 2),
        ("first 3 (*)", 3),
        ("2 (a, b)", 2),
        ("any 1(*)", 1),
    ],
)
def test_how_many_standbys_a_commit_waits_for(names: str, size: int) -> None:
    """In all forms of the setting."""
    assert quorum_size(names) == size


@pytest.mark.parametrize(
    ("names", "connected", "known", "broken"),
    [
        ("ANY 1 (*)", 1, 1, True),
        ("ANY 1 (*)", 2, 1, False),
        ("ANY 1 (*)", 1, 2, False),
        ("ANY 2 (*)", 2, 2, True),
        ("", 1, 1, False),
    ],
)
def test_rule_25_quorum_without_its_successor(names: str, connected: int, known: int, broken: bool) -> None:
    """Only when no other standby, connected or known, could take the place of the one that leaves."""
    standbys = tuple(Connected(f"s{number}", "streaming", "quorum", 1) for number in range(connected))
    seen = evolve(SEEN, in_recovery=False, synchronous_standby_names=names, standbys=standbys)
    assert Quorum.of(seen, known).is_broken_without(1) is broken


def test_a_primary_that_never_said_so_has_no_quorum() -> None:
    """What is not known proves nothing."""
    assert not Quorum.of(None, 0).is_broken_without(1)


def test_placeholders_never_make_more_words() -> None:
    """A name with a space or a quote stays one argument; a value with a placeholder in it is not filled in again."""
    backend = Backend("a b'{port}", "10.0.0.1", 5433)
    assert fill_in('/bin/fence "{name}" {host}:{port} {x}', backend) == [
        "/bin/fence",
        "a b'{port}",
        "10.0.0.1:5433",
        "{x}",
    ]


# -- patience ---------------------------------------------------------------------------------------------------


def test_a_refused_connection_is_the_end_at_once() -> None:
    """No postmaster, no patience."""
    assert Patience().is_over(Sign.REFUSED, 0.0)


def test_a_server_that_recovers_is_waited_for() -> None:
    """For so long, from its first word."""
    patience = Patience(recovery_grace=5.0)
    assert [patience.is_over(Sign.NOT_READY, now) for now in (10.0, 14.9, 15.0)] == [False, False, True]


def test_a_restart_is_waited_for() -> None:
    """It has said that it is shutting down; what it refuses then is forgiven for a moment."""
    patience = Patience(recovery_grace=5.0, restart_grace=1.0)
    signs = [(Sign.NOT_READY, 0.0), (Sign.REFUSED, 1.0), (Sign.REFUSED, 1.9), (Sign.REFUSED, 2.0)]
    assert [patience.is_over(sign, now) for sign, now in signs] == [False, False, False, True]


def test_a_restart_that_goes_on_begins_its_refusals_anew() -> None:
    """Starting up is a word again."""
    patience = Patience(recovery_grace=5.0, restart_grace=1.0)
    signs = [(Sign.NOT_READY, 0.0), (Sign.REFUSED, 0.5), (Sign.NOT_READY, 1.0), (Sign.REFUSED, 1.6)]
    assert not any(patience.is_over(sign, now) for sign, now in signs)


def test_silence_counts_in_a_row() -> None:
    """With those that the probes have counted already."""
    patience = Patience(threshold=3, timeouts=1)
    assert [patience.is_over(Sign.NO_ANSWER, 0.0) for _ in range(2)] == [False, True]


def test_words_end_a_silence() -> None:
    """A server that says that it is not ready is no silent one."""
    patience = Patience(threshold=2)
    signs = [Sign.NO_ANSWER, Sign.NOT_READY, Sign.NO_ANSWER]
    assert [patience.is_over(sign, 0.0) for sign in signs] == [False, False, False]


def test_a_living_server_is_never_given_up() -> None:
    """And what a look says is said to people."""
    assert not Patience().is_over(Sign.ALIVE, 1e9)
    assert str(Look(Sign.REFUSED, "no route")) == "it refuses connections: no route"
    assert str(Look(Sign.ALIVE)) == "it is alive"


# -- pace -------------------------------------------------------------------------------------------------------


def test_failovers_do_not_follow_each_other_at_once() -> None:
    """After three that helped nothing each waits twice as long, up to a minute."""
    flapping, now, waits = Flapping(min_interval=1.0), 100.0, []
    for _ in range(12):
        begin = flapping.not_before(now)
        waits.append(begin - now)
        flapping.note(now, begin)
        now = begin
    assert waits == [0.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, *[LONGEST] * 4]


def test_a_healthy_period_forgives() -> None:
    """A primary that has served for four intervals was worth its failover."""
    flapping = Flapping(min_interval=1.0)
    for now in (0.0, 0.1, 0.2, 0.3):
        flapping.note(now, now)
    assert flapping.not_before(4.2) > 4.2
    assert flapping.not_before(4.3) == 4.3
    flapping.note(4.3, 4.4)
    assert flapping.in_a_row == 1


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200), st.integers(1, 8))
def test_sessions_go_in_groups(times: list[float], concurrency: int) -> None:
    """Never more than one group in an interval, none before it asks, in the order in which they ask."""
    pacer = Pacer(concurrency, 0.1)
    slots = [pacer.slot(now) for now in sorted(times)]
    assert slots == sorted(slots)
    assert all(slot >= now for slot, now in zip(slots, sorted(times), strict=True))
    for first, later in zip(slots, slots[concurrency * 2 :], strict=False):
        assert later - first >= 0.1 - 1e-9


def test_few_sessions_do_not_wait() -> None:
    """The first group goes at once."""
    pacer = Pacer(3, 0.1)
    assert [pacer.slot(5.0) for _ in range(7)] == pytest.approx([5.0] * 3 + [5.1] * 3 + [5.2])


# -- steps ------------------------------------------------------------------------------------------------------


def course() -> FailoverCourse:
    return FailoverCourse(id=1, source="one", reason="it died", began=10.0, started_at=1e9)


def test_every_step_has_its_row_and_leads_to_the_end() -> None:
    """From anywhere sessions can be redirected and released, and nowhere else does it end."""
    assert set(TABLE) == set(FailoverStep)
    for step, following in TABLE.items():
        assert following or step is FailoverStep.RELEASE
        reached, todo = {step}, [step]
        while todo:
            new = TABLE[todo.pop()] - reached
            reached |= new
            todo += new
        assert FailoverStep.RELEASE in reached


def test_what_has_been_asked_of_a_server_is_not_called_off() -> None:
    """Neither fencing nor promotion, nor anything after it."""
    assert not CANCELLABLE & {
        FailoverStep.FENCE,
        FailoverStep.PROMOTE,
        FailoverStep.REDIRECT,
        FailoverStep.RELEASE,
    }


def test_a_step_that_cannot_follow_is_a_bug() -> None:
    """Nobody is promoted who was not chosen, and before the old primary is fenced."""
    for step in (FailoverStep.PROMOTE, FailoverStep.FENCE, FailoverStep.RELEASE):
        with pytest.raises(ValueError, match="cannot follow"):
            course().enter(step, 11.0)


def test_a_course_knows_how_long_each_step_took() -> None:
    """Also when it comes to one again."""
    found = course()
    assert not found.enter(FailoverStep.EXAMINE, 10.5)
    for step, now in (
        (FailoverStep.WAIT, 11.0),
        (FailoverStep.CHOOSE, 12.0),
        (FailoverStep.WAIT, 12.5),
        (FailoverStep.REDIRECT, 14.0),
        (FailoverStep.RELEASE, 14.25),
    ):
        assert found.enter(step, now)
    found.settled_at = 14.0
    found.end(FailoverOutcome.COMPLETED, 15.0)
    report = found.report(99.0)
    assert (report.elapsed, report.pause, report.active) == (5.0, 4.0, False)
    assert report.seconds == {
        FailoverStep.EXAMINE: 1.0,
        FailoverStep.WAIT: 2.5,
        FailoverStep.CHOOSE: 0.5,
        FailoverStep.REDIRECT: 0.25,
        FailoverStep.RELEASE: 0.75,
    }
    counters = FailoverCounters()
    counters.note(report)
    assert (counters.outcomes["completed"], counters.seconds) == (1, 4.0)
    assert counters.step_seconds["waiting for the primary to come back"] == 2.5


def test_what_went_wrong_is_said_once() -> None:
    """And is forgotten when all ends well."""
    found = course()
    assert found.note_error("no standby")
    assert not found.note_error("no standby")
    assert found.report(11.0).failure == "no standby"
    found.end(FailoverOutcome.RECOVERED, 12.0)
    assert (found.report(12.0).failure, found.report(12.0).errors) == ("", ("no standby",))


def test_what_sessions_report_is_counted() -> None:
    """Replays, mismatches by kind, outcomes."""
    counters = ReplayCounters()
    counters.note_replay(0.5, 3)
    counters.note_mismatch("rows")
    for outcome in CommitOutcome:
        counters.note_outcome(outcome)
    assert (counters.transactions_replayed, counters.statements_replayed, counters.seconds) == (1, 3, 0.5)
    assert counters.replay_mismatches == {"rows": 1}
    assert (counters.outcomes_committed, counters.outcomes_replayed, counters.outcomes_unknown) == (1, 1, 1)
