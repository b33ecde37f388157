"""Which event is which alert, and what is told of it when."""

from __future__ import annotations

import math
from collections import deque

import pytest
from alerts_rig import WINDOW, happened, make_core
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config.alerts import AlertSettings, Severity
from helios_trio.features.alerts.alert import Alert, Status
from helios_trio.features.alerts.core import MOST, AlertCore
from helios_trio.features.alerts.rules import RULES, Topic, wanted

DOWN, UP = "server is unhealthy", "server is healthy"


def told(alerts: list[Alert]) -> list[tuple[str, str, int]]:
    """Status, kind and number of each."""
    return [(str(each.status), each.kind, each.times) for each in alerts]


def test_begins_and_ends() -> None:
    """Both are told at once, under the same key; the end is as urgent as what is over."""
    core = make_core()
    (begun,) = core.hear(happened(DOWN, reason="connection refused"), 0)
    (over,) = core.hear(happened(UP, id=2), 5)
    assert told([begun, over]) == [("open", DOWN, 1), ("resolved", UP, 1)]
    assert begun.key == over.key == "proxy/server/node1"
    assert begun.severity is over.severity is Severity.ERROR
    assert (begun.reason, begun.event_id, begun.id) == ("connection refused", 1, "id1")
    assert begun.summary == "server is unhealthy: node1 (connection refused)"


def test_other_events_are_no_alerts() -> None:
    """Neither what is no rule's, nor a pause that a person has ordered."""
    core = make_core()
    assert core.hear(happened("session moved", "session 7"), 0) == []
    assert core.hear(happened("migration paused", "migration 1", who="otto"), 0) == []
    assert told(core.hear(happened("migration paused", "migration 1"), 0)) == [
        ("notice", "migration paused", 1)
    ]
    assert core.open == 0


@pytest.mark.parametrize("topic", Topic)
def test_what_is_switched_off_is_not_told(topic: Topic) -> None:
    """Every switch is one topic's, and stops no other."""
    name = {Topic.CIRCUIT: "circuit_open", Topic.PRIMARY: "no_primary", Topic.SERVER: "server_down"}.get(
        topic, topic
    )
    core = make_core()
    core.topics = wanted(AlertSettings(**{f"alert_on_{name}": False}))
    for kind, rule in RULES.items():
        if rule.status is not Status.RESOLVED:
            assert bool(core.hear(happened(kind), 0)) is (rule.topic is not topic), kind


def test_an_end_is_told_though_the_topic_was_switched_off_meanwhile() -> None:
    """Nothing stays open for ever."""
    core = make_core()
    core.hear(happened(DOWN), 0)
    core.topics = frozenset()
    assert told(core.hear(happened(UP), 1)) == [("resolved", UP, 1)]


def test_repetitions_are_counted() -> None:
    """Told once, then with how often, once in a window; other things are told meanwhile."""
    core = make_core()
    difficulty = happened("failover in difficulties", reason="no standby answers")
    assert len(core.hear(difficulty, 0)) == 1
    for second in range(1, 100):
        assert core.hear(difficulty, second) == []
    assert len(core.hear(happened("failover in difficulties", "node2"), 100)) == 1
    assert core.due(WINDOW - 1) == []
    assert core.next_due() == WINDOW
    assert told(core.due(WINDOW)) == [("open", "failover in difficulties", 99)]
    assert core.next_due() == math.inf
    assert core.hear(difficulty, WINDOW + 1) == []
    assert told(core.due(2 * WINDOW)) == [("open", "failover in difficulties", 1)]


def test_what_is_worse_is_told_at_once() -> None:
    """Another kind about the same thing is no repetition."""
    core = make_core()
    kinds = ["failover begun", "failover in difficulties", "failover failed"]
    assert [told(core.hear(happened(kind), 1)) for kind in kinds] == [[("open", kind, 1)] for kind in kinds]
    assert core.open == 1


def test_bad_news_is_never_kept_back_when_receivers_believe_all_is_well() -> None:
    """It goes and comes: that it is back is told at once, that it is gone again is not, until it has been for long."""
    core = make_core()
    assert told(core.hear(happened(DOWN), 0)) == [("open", DOWN, 1)]
    assert told(core.hear(happened(UP), 1)) == [("resolved", UP, 1)]
    assert told(core.hear(happened(DOWN), 2)) == [("open", DOWN, 1)]
    assert core.hear(happened(UP), 3) == []
    assert core.hear(happened(DOWN), 4) == []
    assert core.hear(happened(UP), 5) == []
    assert core.open == 1
    assert core.due(core.next_due() - 1) == []
    assert told(core.due(2 + WINDOW)) == [("resolved", UP, 2)]
    assert core.open == 0
    assert core.due(2 + 2 * WINDOW) == []
    assert core.next_due() == math.inf


def test_after_a_quiet_time_everything_is_forgotten() -> None:
    """Memory is for what is open, and for what was told lately."""
    core = make_core()
    core.hear(happened(DOWN), 0)
    core.hear(happened(UP), 1)
    core.hear(happened("migration failed", "migration 1"), 2)
    core.due(WINDOW + 2)
    assert core._incidents == {}


def test_a_failover_ends_with_the_name_of_the_new_primary() -> None:
    """Which one ends is told by its reason, and by what is open."""
    core = make_core()
    (one,) = core.hear(happened("failover begun", "node1", reason="refused"), 0)
    (two,) = core.hear(happened("failover begun", "node3", reason="timeout"), 1)
    (over,) = core.hear(happened("failover completed", "node4", reason="timeout"), 2)
    assert (over.key, over.subject) == (two.key, "node4")
    (over,) = core.hear(happened("failover completed", "node2", reason="something else"), 3)
    assert over.key == one.key
    assert core.hear(happened("failover completed", "node2", reason="refused"), 4) == []


def test_a_failed_failover_ends_when_its_primary_is_back() -> None:
    """No event says so; while a failover is under way the old primary's return does not end it."""
    core = make_core()
    core.hear(happened("failover begun"), 0)
    core.hear(happened(DOWN), 0)
    assert [each.key for each in core.hear(happened(UP), 1)] == ["proxy/server/node1"]
    core.hear(happened("failover failed"), 2)
    assert "proxy/failover/node1" in [each.key for each in core.hear(happened(UP), 3)]
    assert core.open == 0


def test_there_is_one_primary() -> None:
    """That none is there ends with another one's name."""
    core = make_core()
    (gone,) = core.hear(happened("primary is gone", "node1"), 0)
    assert core.hear(happened("primary is pending", "node2"), 1) == []
    (back,) = core.hear(happened("primary is confirmed", "node2"), 2)
    assert gone.key == back.key == "proxy/primary"
    assert gone.severity is Severity.CRITICAL


def test_a_start_ends_what_an_earlier_run_has_told() -> None:
    """Once; and it is no news for who knows no keys."""
    core = make_core()
    (found,) = core.hear(happened(UP), 0)
    assert (found.status, found.only_closes) == (Status.RESOLVED, True)
    assert core.hear(happened(UP), 1) == []
    assert core.hear(happened("circuit closed"), 1) == []
    assert told(core.hear(happened(DOWN), 2)) == [("open", DOWN, 1)]


def test_number_of_things_is_bounded() -> None:
    """However many subjects there are."""
    core = make_core()
    for number in range(MOST + 50):
        core.hear(happened("migration failed", f"migration {number}"), 0)
    assert len(core._incidents) == MOST


HAPPENINGS = st.lists(
    st.tuples(st.sampled_from([DOWN, UP]), st.floats(0, 2 * WINDOW, allow_nan=False)), min_size=1, max_size=40
)


@given(HAPPENINGS)
def test_what_receivers_believe(happenings: list[tuple[str, float]]) -> None:
    """Whatever comes in whatever time: never is bad news unknown, and in the end all is known, and counted."""
    core, now, messages = make_core(), 0.0, []
    for kind, pause in happenings:
        now = pass_time(core, now, now + pause, messages)
        messages += [(now, each) for each in core.hear(happened(kind), now)]
        if kind == DOWN:
            assert believed(messages) is Status.OPEN
    pass_time(core, now, now + 3 * WINDOW, messages)
    down = happenings[-1][0] == DOWN
    assert believed(messages) is (Status.OPEN if down else Status.RESOLVED)
    assert core.open == down
    assert counted(messages) == sum(kind == DOWN for kind, _ in happenings)
    assert most_within(WINDOW, [moment for moment, alert in messages if not alert.only_closes]) <= 4


def pass_time(core: AlertCore, now: float, later: float, messages: list[tuple[float, Alert]]) -> float:
    """Have told what is due until then; each look moves on."""
    while (due := core.next_due()) <= later:
        now = max(now, due)
        messages += [(now, each) for each in core.due(now)]
        assert core.next_due() > now
    return later


def believed(messages: list[tuple[float, Alert]]) -> Status:
    return messages[-1][1].status


def counted(messages: list[tuple[float, Alert]]) -> int:
    """How often it was down, for who adds up what is told."""
    return sum(each.times - (each.status is Status.RESOLVED) for _, each in messages)


def most_within(seconds: float, moments: list[float]) -> int:
    """Messages in the busiest time of that length."""
    busiest, recent = 0, deque[float]()
    for moment in moments:
        recent.append(moment)
        while recent[0] <= moment - seconds:
            recent.popleft()
        busiest = max(busiest, len(recent))
    return busiest
