"""Events to receivers: each in its own task, in the time of a clock that is ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from alerts_rig import AT, WINDOW, answers, hangs, hostile, make_core, until
from attrs import define, evolve, field
from trio.testing import MockClock, wait_all_tasks_blocked

from helios_trio.composition.alerting import Alerting, alerting_of
from helios_trio.config import Config, Secret, loads
from helios_trio.config.alerts import AlertSettings, Severity
from helios_trio.features.alerts.pacing import LONGEST_WISH
from helios_trio.features.alerts.receiver import FAREWELL, Delivery
from helios_trio.features.alerts.service import AlertService
from helios_trio.features.alerts.targets import PagerDuty, Slack, Target, Webhook, targets_of
from helios_trio.migration.events import EventLog
from helios_trio.net.post import Answer, Document, Poster

DOWN, UP = "server is unhealthy", "server is healthy"
ONE, TWO = "https://one.example/", "https://two.example/"
ACCEPTED = Answer(status=200, text="ok")
BROKEN = Answer(status=500, text="oops")


@define
class Net:
    """Posts nothing; knows when what was posted where, and what each URL answers."""

    #: None: nothing, for ever
    answer: dict[str, Callable[[], Answer | None]] = field(factory=dict)
    posted: list[tuple[float, str, bytes]] = field(factory=list)

    async def post(self, document: Document, *, time_limit: float) -> Answer:
        url = document.url.reveal()
        self.posted.append((trio.current_time(), url, document.body))
        await trio.lowlevel.checkpoint()
        answer = self.answer.get(url, lambda: ACCEPTED)()
        if answer is not None:
            return answer
        await trio.sleep(time_limit)
        return Answer(status=None, text="no answer")

    @asynccontextmanager
    async def open(self, ca_file: Path | None) -> AsyncIterator[Poster]:
        yield cast(Poster, self)

    def times(self, url: str) -> list[float]:
        """When something was posted there."""
        return [at for at, each, _ in self.posted if each == url]


@define
class Scene:
    """A service, its events, and the net."""

    service: AlertService
    events: EventLog
    net: Net


@asynccontextmanager
async def telling(targets: dict[str, Target], **delivery: Any) -> AsyncIterator[Scene]:
    """The service runs as long as the block lasts."""
    events, net = EventLog(lambda: AT), Net()
    settings = {"timeout": 10.0, "retry_for": 900.0, "queue_size": 100, **delivery}
    service = AlertService(
        core=make_core(),
        events=events,
        delivery=Delivery(**settings),
        targets=targets,
        clock=lambda: AT,
        chance=lambda: 1.0,
        opener=net.open,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        yield Scene(service, events, net)
        nursery.cancel_scope.cancel()


def two() -> dict[str, Target]:
    return {"one": Webhook(Secret(ONE)), "two": Slack(Secret(TWO))}


async def test_everybody_is_told(mock_clock: MockClock) -> None:
    """At once."""
    async with telling(two()) as scene:
        scene.events.note(DOWN, "node1")
        await wait_all_tasks_blocked()
        assert sorted(url for _, url, _ in scene.net.posted) == [ONE, TWO]
        assert {name: each.sent for name, each in scene.service.counters.items()} == {"one": 1, "two": 1}


async def test_a_dead_receiver_delays_no_other(autojump_clock: MockClock) -> None:
    """One that never answers: the other one hears everything the moment it happens."""
    async with telling(two(), queue_size=5) as scene:
        scene.net.answer[ONE] = lambda: None
        for number in range(20):
            scene.events.note(DOWN, f"node{number}")
            await trio.sleep(1)
        assert scene.net.times(TWO) == pytest.approx(list(range(20)))
        assert scene.service.counters["one"].dropped == 14
        assert scene.service.counters["two"].dropped == 0
        assert scene.service.waiting == {"one": 5, "two": 0}


async def test_whoever_notes_an_event_never_waits(autojump_clock: MockClock) -> None:
    """A thousand alerts for a receiver that is dead: no time passes, and memory is bounded."""
    async with telling(two(), queue_size=10) as scene:
        scene.net.answer[ONE] = scene.net.answer[TWO] = lambda: None
        for number in range(1000):
            scene.events.note("migration failed", f"migration {number}")
        assert scene.service.waiting == {"one": 10, "two": 10}
        assert scene.service.counters["one"].dropped == 990


async def test_backs_off(autojump_clock: MockClock) -> None:
    """Twice as long each time, until the alert is too old."""
    async with telling({"one": Webhook(Secret(ONE))}, retry_for=100.0) as scene:
        scene.net.answer[ONE] = lambda: BROKEN
        scene.events.note(DOWN, "node1")
        await trio.sleep(200)
        assert scene.net.times(ONE) == pytest.approx([0, 1, 3, 7, 15, 31, 63])
        assert scene.service.counters["one"].failed == 1


@pytest.mark.parametrize(("wish", "pause"), [(40.0, 40.0), (1e12, LONGEST_WISH), (0.0, 1.0)])
async def test_a_receiver_is_left_alone_as_long_as_it_wants(
    wish: float, pause: float, autojump_clock: MockClock
) -> None:
    """Also by the alerts that wait behind the first one; nonsense is honoured for an hour."""
    answers = iter([Answer(status=429, text="", retry_after=wish)])
    async with telling({"one": Webhook(Secret(ONE))}, retry_for=1e5) as scene:
        scene.net.answer[ONE] = lambda: next(answers, ACCEPTED)
        scene.events.note(DOWN, "node1")
        scene.events.note(DOWN, "node2")
        await trio.sleep(2 * LONGEST_WISH)
        assert scene.net.times(ONE) == pytest.approx([0, pause, pause])


async def test_what_is_kept_back_is_told_later(autojump_clock: MockClock) -> None:
    """The clock alone makes it so."""
    async with telling({"one": Webhook(Secret(ONE))}) as scene:
        for kind in (DOWN, UP, DOWN, UP):
            await trio.sleep(10)
            scene.events.note(kind, "node1")
        await trio.sleep(3 * WINDOW)
        assert scene.net.times(ONE) == pytest.approx([10, 20, 30, 30 + WINDOW])


async def test_what_happened_before_is_told(mock_clock: MockClock) -> None:
    """What the proxy has found at its start."""
    async with telling(two()) as scene:
        events = scene.events
    events.note("migration interrupted", "migration 1")
    async with trio.open_nursery() as nursery:
        await nursery.start(scene.service.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sorted(url for _, url, _ in scene.net.posted) == [ONE, TWO]


async def test_urgency_and_keys(mock_clock: MockClock) -> None:
    """Each gets what is for it; the end of an earlier run's alert is for who knows its key."""
    service = PagerDuty(Secret("key"), ONE)
    async with telling({"one": service, "two": Slack(Secret(TWO), Severity.CRITICAL)}) as scene:
        scene.events.note(UP, "node1")
        scene.events.note(DOWN, "node2")
        scene.events.note("failover begun", "node3")
        scene.events.note("migration rolled back", "migration 1")
        await wait_all_tasks_blocked()
        assert (len(scene.net.times(ONE)), len(scene.net.times(TWO))) == (3, 1)


async def test_receivers_change(mock_clock: MockClock) -> None:
    """What waited for one with another URL goes there; what waited for one that is gone is counted."""
    async with telling(two()) as scene:
        scene.net.answer[ONE] = scene.net.answer[TWO] = lambda: None
        for number in range(3):
            scene.events.note(DOWN, f"node{number}")
        await wait_all_tasks_blocked()
        moved = "https://new.example/"
        scene.service.reconfigure({"one": Webhook(Secret(moved))}, scene.service.delivery)
        await wait_all_tasks_blocked()
        assert len(scene.net.times(moved)) == 3
        assert scene.service.counters["one"].sent == 3
        assert scene.service.counters["two"].dropped == 3
        scene.events.note(DOWN, "node7")
        await wait_all_tasks_blocked()
        assert (len(scene.net.times(moved)), len(scene.net.times(TWO))) == (4, 1)


async def test_the_same_receivers_go_on(autojump_clock: MockClock) -> None:
    """A reload that changes nothing about them disturbs no attempt."""
    async with telling(two()) as scene:
        scene.net.answer[ONE] = lambda: None
        scene.events.note(DOWN, "node1")
        await wait_all_tasks_blocked()
        scene.service.reconfigure(two(), evolve(scene.service.delivery))
        await wait_all_tasks_blocked()
        assert scene.net.times(ONE) == [0]


async def test_what_waits_when_the_proxy_ends_is_told(autojump_clock: MockClock) -> None:
    """Once more each, also what waited for a second attempt; receivers that are gone get nothing."""
    async with telling(two()) as scene:
        scene.net.answer[ONE] = scene.net.answer[TWO] = lambda: BROKEN
        for number in range(3):
            scene.events.note(DOWN, f"node{number}")
        await wait_all_tasks_blocked()
        scene.service.reconfigure({"one": two()["one"]}, scene.service.delivery)
        scene.net.answer.clear()
    assert (len(scene.net.times(ONE)), len(scene.net.times(TWO))) == (4, 1)
    assert (scene.service.counters["one"].sent, scene.service.counters["one"].dropped) == (3, 0)


async def test_one_that_is_refused_at_the_end_stops_no_other(autojump_clock: MockClock) -> None:
    """It would be refused again."""
    async with telling({"one": two()["one"]}) as scene:
        scene.net.answer[ONE] = lambda: BROKEN
        for number in range(3):
            scene.events.note(DOWN, f"node{number}")
        await wait_all_tasks_blocked()
        answers = [Answer(status=400, text="no"), ACCEPTED, ACCEPTED]
        scene.net.answer[ONE] = lambda: answers.pop(0)
    found = scene.service.counters["one"]
    assert (found.sent, found.failed, found.dropped) == (2, 1, 0)


@pytest.mark.parametrize("answer", [None, BROKEN])
async def test_the_proxy_does_not_wait_long_for_the_dead(
    autojump_clock: MockClock, answer: Answer | None
) -> None:
    """What is not taken then is counted as dropped."""
    async with telling(two()) as scene:
        scene.net.answer[ONE] = lambda: answer
        for number in range(3):
            scene.events.note(DOWN, f"node{number}")
        await wait_all_tasks_blocked()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(0.0 if answer else FAREWELL)
    assert {name: each.dropped for name, each in scene.service.counters.items()} == {"one": 3, "two": 0}


# -- made from a configuration -------------------------------------------------------------------------------------


def configured(text: str) -> Config:
    return loads(f"[alerts]\n{text}", {}, source="test", folder=Path("/"))


async def test_from_configuration_to_receiver() -> None:
    """Over real sockets; a reload brings the first receiver, and another."""
    events = EventLog(lambda: AT)
    alerting: Alerting = alerting_of(configured('source = "proxy-7"'), events)
    async with hostile(hangs) as dead, hostile(answers(200)) as server, trio.open_nursery() as nursery:
        await nursery.start(alerting.run)
        events.note(DOWN, "node1")
        alerting.reconfigure(
            configured(
                f'source = "proxy-8"\nwebhook_url = "{dead.url}"\nslack_webhook_url = "{server.url}"\n'
                f'pagerduty_integration_key = "key"\npagerduty_url = "{server.url}"\nalert_on_failover = false'
            )
        )
        events.note("failover begun", "node1")
        events.note("circuit opened", "node1")
        await until(lambda: dead.heard and len(server.heard) == 2)
        nursery.cancel_scope.cancel()
    sources = {
        each.json["payload"]["source"]
        if "payload" in each.json
        else each.json["attachments"][0]["fields"][0]["value"]
        for each in server.heard
    }
    assert sources == {"proxy-8"}
    assert all("circuit opened" in str(each.json) for each in [*server.heard, *dead.heard])


def test_source_is_the_machine_unless_given() -> None:
    """And no receiver is there by itself."""
    alerting = alerting_of(Config(), EventLog(lambda: AT))
    assert alerting.service.core.naming.source
    assert alerting.service.targets == targets_of(AlertSettings()) == {}
