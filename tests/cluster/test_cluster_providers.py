"""Who is primary by the word of Patroni or of an operator, and what is told of it; no network, no servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.cluster.appointment import Appointment, AppointmentRefused, PrimaryStatus
from helios_trio.cluster.herald import (
    HealthChanged,
    Herald,
    NodeJoined,
    NodeLeft,
    PrimaryChanged,
    TopologyEvent,
)
from helios_trio.cluster.observation import Observation
from helios_trio.cluster.patroni import PatroniUnusable, backend_of, read_cluster
from helios_trio.cluster.provider_manual import PATIENCE, ManualProvider
from helios_trio.cluster.provider_patroni import PatroniAccess, PatroniProvider
from helios_trio.cluster.topology import NodeRole, Topology
from helios_trio.pipeline.backend import Backend

SYSTEM = "7000000000000000001"
INTERVAL, TIMEOUT = 1.0, 0.5
URLS = ("http://10.0.0.1:8008", "http://10.0.0.2:8008")


def primary(timeline: int = 1) -> Observation:
    return Observation(False, 1000, None, None, timeline, SYSTEM, "18.6")


def standby(timeline: int = 1) -> Observation:
    return Observation(True, 1000, 1000, 0.0, timeline, SYSTEM, "18.6")


def make_topology(*roles: str) -> Topology:
    names = ("one", "two", "three")
    return Topology.of(
        [Backend(names[at], f"10.0.0.{at + 1}", 5432, role=role) for at, role in enumerate(roles)]
    )


def member(name: str, number: int, role: str = "replica", state: str = "running") -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "state": state,
        "host": f"10.0.0.{number}",
        "port": 5432,
        "timeline": 1,
    }


def cluster(*members: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"members": list(members), **more}


LED_BY_ONE = cluster(member("one", 1, "leader"), member("two", 2))
LED_BY_TWO = cluster(member("one", 1, state="stopped"), member("two", 2, "leader"))
LED_BY_NOBODY = cluster(member("one", 1, state="stopped"), member("two", 2))


# -- the appointment -------------------------------------------------------------------------------------------


def test_life_of_an_appointment() -> None:
    """none -> pending -> confirmed -> none."""
    found = Appointment()
    assert found.appoint("a")
    assert (found.pending, found.confirmed, found.status) == ("a", None, "pending")
    assert not found.appoint("a")
    found.confirm("a")
    assert (found.pending, found.confirmed, found.status) == (None, "a", "confirmed")
    assert not found.appoint("a")
    assert found.confirmed == "a"
    assert found.appoint("b")
    assert (found.pending, found.confirmed) == ("b", None)
    assert found.clear()
    assert not found.clear()
    assert (found.name, found.status) == (None, "none")


def test_only_the_named_one_is_confirmed() -> None:
    """The error says who is named."""
    found = Appointment()
    with pytest.raises(AppointmentRefused, match="nobody is"):
        found.confirm("a")
    found.appoint("b")
    with pytest.raises(AppointmentRefused, match="that is b"):
        found.confirm("a")
    assert found.pending == "b"


def test_only_a_confirmed_primary_gets_writes() -> None:
    """Whatever servers say of themselves, and whatever their configured roles are."""
    topology = make_topology("standby", "active")
    topology.appointment = Appointment()
    topology.note_answer("one", primary(), 1.0)
    topology.note_answer("two", standby(), 1.0)
    assert topology.nodes["two"].role is NodeRole.STANDBY
    assert (topology.writer, topology.ready) == (None, False)
    topology.appoint("one")
    assert (topology.writer, topology.primary_name, topology.primary_status) == (None, "one", "pending")
    topology.confirm("one")
    assert topology.writer is topology.nodes["one"]
    assert topology.ready
    topology.note_failure("one", "gone", 2.0)
    assert topology.writer is topology.nodes["one"]
    assert not topology.ready
    topology.depose("one", "it is fenced")
    assert topology.writer is None
    topology.reinstate("one")
    assert topology.dismiss()
    assert (topology.writer, topology.primary_status) == (None, "none")


def test_an_older_timeline_gets_no_write_whoever_says_so() -> None:
    """Rule 25 is above every provider."""
    topology = make_topology("auto", "auto")
    topology.appointment = Appointment("one", PrimaryStatus.CONFIRMED)
    topology.note_answer("one", primary(timeline=1), 1.0)
    assert topology.writer is topology.nodes["one"]
    topology.note_answer("two", primary(timeline=2), 1.0)
    assert topology.writer is None


@pytest.mark.parametrize(
    ("seen", "status"),
    [(None, "pending"), (primary(), "confirmed")],
)
def test_status_without_anybody_outside(seen: Observation | None, status: str) -> None:
    """A configured primary is pending until it has said so itself."""
    topology = make_topology("active", "standby")
    if seen is not None:
        topology.note_answer("one", seen, 1.0)
    assert (topology.primary_name, topology.primary_status) == ("one", status)
    topology.depose("one", "fenced")
    assert (topology.primary_name, topology.primary_status) == (None, "none")


# -- what is told ----------------------------------------------------------------------------------------------


def test_changes_are_told_once() -> None:
    """Health of each server, and who is primary."""
    topology, told = make_topology("auto", "auto"), list[TopologyEvent]()
    herald = Herald(topology)
    stop = herald.listen(told.append)
    for now in (1.0, 2.0):
        topology.note_answer("two", standby(), now)
        topology.note_answer("one", primary(), now)
    assert told == [
        HealthChanged(name="two", healthy=True, role=NodeRole.STANDBY, reason=""),
        PrimaryChanged(before=None, after="one", status=PrimaryStatus.PENDING),
        HealthChanged(name="one", healthy=True, role=NodeRole.PRIMARY, reason=""),
        PrimaryChanged(before="one", after="one", status=PrimaryStatus.CONFIRMED),
    ]
    told.clear()
    topology.depose("one", "fenced")
    topology.note_answer("two", primary(2), 3.0)
    assert told == [
        PrimaryChanged(before="one", after=None, status=PrimaryStatus.NONE),
        HealthChanged(name="two", healthy=True, role=NodeRole.PRIMARY, reason=""),
        PrimaryChanged(before=None, after="two", status=PrimaryStatus.CONFIRMED),
    ]
    told.clear()
    stop()
    topology.note_failure("two", "gone", 4.0)
    assert told == []


def test_one_outage_is_told_once() -> None:
    """A server that is down is refused by turns in other words: those are no news, but the newest is known."""
    topology, told = make_topology("standby"), list[TopologyEvent]()
    topology.note_answer("one", standby(), 0.0)
    Herald(topology).listen(told.append)
    words = ("the server has closed the connection", "connection refused")
    for now in range(1, 7):
        topology.note_failure("one", words[now % 2], now)
    topology.note_answer("one", standby(), 7.0)
    topology.note_failure("one", words[0], 8.0)
    assert [each.reason for each in told if isinstance(each, HealthChanged)] == [words[1], "", words[0]]
    topology.note_failure("one", words[1], 9.0)
    assert topology.nodes["one"].reason == words[1]


async def test_channels_are_bounded() -> None:
    """A slow reader misses the newest, and holds nobody up."""
    topology = make_topology("standby")
    with Herald(topology).channel(size=2) as events:
        for number in range(3):
            topology.note_failure("one", "gone", 2 * number)
            topology.note_answer("one", standby(), 2 * number + 1)
        found = [events.receive_nowait() for _ in range(2)]
        with pytest.raises(trio.WouldBlock):
            events.receive_nowait()
    assert [each.healthy for each in found if isinstance(each, HealthChanged)] == [False, True]


async def test_reader_that_left_is_forgotten() -> None:
    """Telling goes on without it."""
    topology, told = make_topology("auto"), list[TopologyEvent]()
    herald = Herald(topology)
    with herald.channel() as events:
        await events.aclose()
        topology.note_failure("one", "gone", 1.0)
    herald.listen(told.append)
    topology.note_answer("one", standby(), 2.0)
    assert isinstance(told[0], HealthChanged)


# -- patroni ---------------------------------------------------------------------------------------------------


def test_cluster_is_read() -> None:
    """Names of roles of all releases; a standby cluster's leader takes no writes."""
    view = read_cluster(cluster(member("one", 1, "sync_standby"), member("two", 2, "leader"), pause=True))
    assert view.paused
    assert view.leader is not None
    assert (view.leader.name, view.leader.host, view.leader.port) == ("two", "10.0.0.2", 5432)
    assert read_cluster(cluster(member("one", 1, "standby_leader"))).leader is None
    assert read_cluster(cluster()).members == ()


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"members": 1}, {"members": [1]}, {"members": [{"name": 1}]}]
)
def test_what_is_no_cluster_is_refused(answer: Any) -> None:
    """As an error of its own."""
    with pytest.raises(PatroniUnusable):
        read_cluster(answer)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["members", "name", "role", "host"]), inner)
    ),
    max_leaves=8,
)


@given(_json)
def test_nothing_that_is_answered_breaks_the_reader(answer: Any) -> None:
    """Either a cluster, or the error."""
    try:
        read_cluster(answer)
    except PatroniUnusable:
        return


def test_members_are_found_by_address_then_by_name() -> None:
    """Names in Patroni and here may be given in another order."""
    backends = [
        Backend("one", "10.0.0.2", 5432),
        Backend("two", "10.0.0.1", 5432),
        Backend("three", "/run/x", 5432),
    ]
    view = read_cluster(cluster(member("one", 1), member("three", 3), member("four", 4)))
    found = [backend_of(each, backends) for each in view.members]
    assert [each and each.name for each in found] == ["two", "three", None]


@define(eq=False)
class FakePatroni(httpx.AsyncBaseTransport):
    """The members' REST APIs, by the host that is asked: an answer, a status, an error, or silence."""

    answers: dict[str, Any]
    asked: list[str] = field(factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        host = request.url.host
        self.asked.append(host)
        answer = self.answers[host]
        assert request.url.path == "/cluster"
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer)
        return httpx.Response(
            200, content=answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        )


@define(eq=False)
class Rig:
    """A provider, what it is told, and what it tells."""

    topology: Topology
    api: FakePatroni
    provider: PatroniProvider
    told: list[TopologyEvent]
    suspected: list[str]

    @classmethod
    def of(cls, one: Any = LED_BY_ONE, two: Any = LED_BY_ONE) -> Rig:
        topology, told, suspected = make_topology("auto", "auto"), list[TopologyEvent](), list[str]()
        herald, api = Herald(topology), FakePatroni({"10.0.0.1": one, "10.0.0.2": two})
        herald.listen(told.append)
        access = PatroniAccess(urls=URLS, interval=INTERVAL, timeout=TIMEOUT, auth=("user", "secret"))
        provider = PatroniProvider(access, topology, herald, suspected.append, api)
        return cls(topology, api, provider, told, suspected)

    def answer(self, found: Any) -> None:
        for host in self.api.answers:
            self.api.answers[host] = found

    @property
    def writer(self) -> str | None:
        return None if self.topology.writer is None else self.topology.writer.backend.name


async def test_leader_is_pending_until_it_says_so_itself(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Then it gets the writes, without another question to Patroni; until then it is looked at."""
    rig = Rig.of()
    await nursery.start(rig.provider.run)
    assert (rig.writer, rig.topology.primary_name, rig.topology.primary_status) == (None, "one", "pending")
    assert rig.suspected == ["one"]
    rig.topology.note_answer("one", standby(), trio.current_time())
    assert rig.writer is None
    rig.topology.note_answer("one", primary(), trio.current_time())
    assert (rig.writer, rig.topology.primary_status) == ("one", "confirmed")
    await trio.sleep(10 * INTERVAL)
    assert rig.suspected == ["one"]
    assert rig.provider.problem == ""


async def test_leader_changes(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """The old one gets nothing from the moment that Patroni names another, or nobody."""
    rig = Rig.of()
    rig.topology.note_answer("one", primary(), 0.0)
    rig.topology.note_answer("two", standby(), 0.0)
    await nursery.start(rig.provider.run)
    assert rig.writer == "one"
    rig.answer(LED_BY_NOBODY)
    await trio.sleep(1.5 * INTERVAL)
    assert (rig.writer, rig.topology.primary_status) == (None, "none")
    rig.answer(LED_BY_TWO)
    await trio.sleep(INTERVAL)
    assert (rig.writer, rig.topology.primary_status) == (None, "pending")
    rig.topology.note_answer("two", primary(2), trio.current_time())
    assert rig.writer == "two"
    assert [
        (each.before, each.after, each.status) for each in rig.told if isinstance(each, PrimaryChanged)
    ] == [
        (None, "one", "pending"),
        ("one", "one", "confirmed"),
        ("one", None, "none"),
        (None, "two", "pending"),
        ("two", "two", "confirmed"),
    ]


@pytest.mark.parametrize(
    "trouble",
    [None, 503, httpx.ConnectError("refused"), b"<html>", b"[]", b" " * 2_000_000],
    ids=["silent", "status", "refused", "no JSON", "no cluster", "endless"],
)
async def test_another_member_is_asked(
    trouble: Any, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """And from then on first."""
    rig = Rig.of(one=trouble)
    rig.topology.note_answer("one", primary(), 0.0)
    await nursery.start(rig.provider.run)
    assert (rig.writer, rig.provider.problem) == ("one", "")
    await trio.sleep(3.5 * INTERVAL)
    assert rig.api.asked == ["10.0.0.1"] + ["10.0.0.2"] * 4


async def test_what_was_known_stays_while_nobody_answers(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """An outage of Patroni is none of the databases."""
    rig = Rig.of()
    rig.topology.note_answer("one", primary(), 0.0)
    await nursery.start(rig.provider.run)
    rig.answer(None)
    await trio.sleep(20 * INTERVAL)
    assert rig.writer == "one"
    assert rig.provider.problem.count("no answer in time") == len(URLS)
    rig.answer(LED_BY_TWO)
    await trio.sleep(2 * INTERVAL)
    assert rig.provider.problem == ""
    assert rig.topology.primary_name == "two"


async def test_members_come_and_go(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """Those that are no backends, too; a leader that is none is nobody's primary, and said so."""
    rig = Rig.of()
    await nursery.start(rig.provider.run)
    stranger = NodeJoined(name="nine", host="10.0.0.9", port=5432, configured=False)
    assert [each for each in rig.told if isinstance(each, NodeJoined)] == [
        NodeJoined(name="one", host="10.0.0.1", port=5432, configured=True),
        NodeJoined(name="two", host="10.0.0.2", port=5432, configured=True),
    ]
    rig.told.clear()
    rig.answer(cluster(member("two", 2), member("nine", 9, "leader")))
    await trio.sleep(1.5 * INTERVAL)
    assert {stranger, NodeLeft(name="one", configured=True)} <= set(rig.told)
    assert (rig.writer, rig.topology.primary_status) == (None, "none")
    assert rig.provider.problem == "the leader, nine, is no configured backend"


# -- an operator -----------------------------------------------------------------------------------------------


@define(eq=False)
class Desk:
    """A manual provider, and what servers answer when they are looked at."""

    topology: Topology
    answers: dict[str, Observation | str] = field(factory=dict)
    file: Path | None = None
    manual: ManualProvider = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.manual = ManualProvider(self.topology, self.look, self.file)

    def look(self, name: str) -> None:
        answer = self.answers.get(name)
        if isinstance(answer, Observation):
            self.topology.note_answer(name, answer, trio.current_time())
        elif answer is not None:
            self.topology.note_failure(name, answer, trio.current_time())

    @property
    def state(self) -> tuple[str | None, str]:
        return self.topology.primary_name, self.topology.primary_status.value


async def test_operator_names_and_confirms(autojump_clock: trio.testing.MockClock) -> None:
    """Between the two nobody gets writes."""
    desk = Desk(make_topology("active", "auto"), {"one": primary(), "two": primary(2)})
    desk.look("one")
    assert desk.state == ("one", "confirmed")
    assert desk.topology.ready
    desk.manual.set_primary("two")
    assert desk.state == ("two", "pending")
    assert desk.topology.writer is None
    await desk.manual.confirm("two")
    assert desk.state == ("two", "confirmed")
    assert desk.topology.writer is desk.topology.nodes["two"]
    desk.manual.clear()
    assert desk.state == (None, "none")
    assert desk.topology.writer is None


async def test_promotion_may_take_a_moment(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A script may confirm as soon as it has asked the server to promote."""
    desk = Desk(make_topology("auto", "auto"), {"two": standby()})
    desk.manual.set_primary("two")
    nursery.start_soon(desk.manual.confirm, "two")
    await trio.sleep(PATIENCE / 2)
    assert desk.state == ("two", "pending")
    desk.topology.note_answer("two", primary(2), trio.current_time())
    await trio.testing.wait_all_tasks_blocked()
    assert desk.state == ("two", "confirmed")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (standby(), "it says that it is a standby"),
        ("connection refused", "connection refused"),
        (None, "it has not been asked yet"),
        (primary(1), "three is a primary on a newer timeline"),
    ],
)
async def test_what_is_no_primary_is_not_confirmed(
    answer: Observation | str | None, reason: str, autojump_clock: trio.testing.MockClock
) -> None:
    """It stays pending."""
    desk = Desk(make_topology("auto", "auto", "auto"), {} if answer is None else {"two": answer})
    desk.topology.note_answer("three", primary(2), trio.current_time())
    desk.manual.set_primary("two")
    with pytest.raises(AppointmentRefused, match=reason):
        await desk.manual.confirm("two")
    assert desk.state == ("two", "pending")


async def test_old_news_are_not_enough(autojump_clock: trio.testing.MockClock) -> None:
    """It was a primary when last asked, and does not answer now."""
    desk = Desk(make_topology("auto", "auto"))
    desk.topology.note_answer("two", primary(), trio.current_time())
    await trio.sleep(1)
    desk.manual.set_primary("two")
    with pytest.raises(AppointmentRefused, match="it does not answer"):
        await desk.manual.confirm("two")


async def test_confirming_another_is_refused_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is asked, and nothing changes."""
    desk = Desk(make_topology("active", "auto"), {"two": primary(2)})
    with pytest.raises(AppointmentRefused, match="two has not been set as the primary: that is one"):
        await desk.manual.confirm("two")
    assert desk.state == ("one", "confirmed")


async def test_orders_outlive_a_restart(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Whatever the configured roles are; the file of a cluster that is no more is not used."""
    file = tmp_path / "state" / "primary.json"

    def again(*roles: str) -> Callable[[], tuple[str | None, str]]:
        desk = Desk(make_topology(*roles), {"two": primary(2)}, file)
        return lambda: desk.state

    desk = Desk(make_topology("active", "auto"), {"two": primary(2)}, file)
    assert again("active", "auto")() == ("one", "confirmed")
    desk.manual.set_primary("two")
    assert again("active", "auto")() == ("two", "pending")
    await desk.manual.confirm("two")
    assert again("active", "auto")() == ("two", "confirmed")
    assert again("active")() == ("one", "confirmed")
    desk.manual.clear()
    assert again("active", "auto")() == (None, "none")
    file.write_text("{")
    assert again("active", "auto")() == ("one", "confirmed")


def test_record_that_cannot_be_written_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """The order is obeyed."""
    (tmp_path / "file").write_text("")
    desk = Desk(make_topology("active", "auto"), file=tmp_path / "file" / "primary.json")
    desk.manual.set_primary("two")
    assert desk.state == ("two", "pending")
