"""Failovers in a world that exists in memory only; time is made to jump."""

from __future__ import annotations

import pytest
import trio
from failover_world import Rig, Server, die, fall_silent, refuse, running
from trio.testing import MockClock

from helios_trio.config.failover import FailoverSettings, FailoverTriggers
from helios_trio.config.words import FailoverMode
from helios_trio.errors import BackendUnavailable
from helios_trio.failover.signs import Sign
from helios_trio.failover.steps import FailoverOutcome, FailoverStep
from helios_trio.migration.errors import Conflict


def outcome(rig: Rig) -> FailoverOutcome | None:
    report = rig.controller.report()
    return None if report is None else report.outcome


async def until(rig: Rig, step: FailoverStep) -> None:
    """The failover has come to a step."""
    while (report := rig.controller.report()) is None or report.step is not step:  # noqa: ASYNC110
        await trio.sleep(0.001)


async def test_the_standby_with_most_takes_over(autojump_clock: MockClock) -> None:
    """All go there: those who wait, those who come; the old primary becomes its standby."""
    async with running() as rig:
        rig.world.servers["three"].received = 6000
        rig.lose()
        assert await rig.controller.settled("one") == "three"
        assert rig.destination == "three"
        assert await rig.controller.settled("three") == "three"
        await trio.sleep(1.0)
        assert "demote one three" in rig.world.calls
        assert rig.topology.nodes["one"].deposed == ""
        assert await rig.controller.settled("one") == "three"
        assert outcome(rig) is FailoverOutcome.COMPLETED


async def test_a_primary_that_lives_keeps_its_sessions(autojump_clock: MockClock) -> None:
    """A lost connection is no failover."""
    async with running() as rig:
        rig.controller.suspect("one", "a connection was lost")
        assert await rig.controller.settled("one") == "one"
        assert outcome(rig) is None
        assert ("reopen", "one") in rig.sessions.calls
        assert not [call for call in rig.sessions.calls if call[0] in ("hold", "cut off")]


async def test_each_sign_wants_a_look_of_its_own(autojump_clock: MockClock) -> None:
    """A server that was alive a moment ago may have died since."""
    async with running() as rig:
        rig.controller.suspect("one", "a connection was lost")
        assert await rig.controller.settled("one") == "one"
        rig.lose()
        assert await rig.controller.settled("one") != "one"


async def test_a_primary_that_recovers_is_waited_for(autojump_clock: MockClock) -> None:
    """And its clients are held meanwhile."""
    async with running() as rig, trio.open_nursery() as nursery:
        rig.lose(sign=Sign.NOT_READY)
        nursery.start_soon(rig.controller.settled, "one")
        await until(rig, FailoverStep.WAIT)
        assert rig.sessions.calls == [("hold", "one")]
        rig.world.servers["one"].sign = Sign.ALIVE
        assert await rig.controller.settled("one") == "one"
        await trio.sleep(0.1)
        assert rig.sessions.calls[-2:] == [("reopen", "one"), ("release", "one")]
        assert outcome(rig) is FailoverOutcome.RECOVERED


async def test_a_primary_that_recovers_for_too_long_is_succeeded(autojump_clock: MockClock) -> None:
    """recovery_grace, and not sooner."""
    async with running(FailoverSettings(recovery_grace=5.0)) as rig:
        began = trio.current_time()
        rig.lose(sign=Sign.NOT_READY)
        assert await rig.controller.settled("one") == "two"
        assert 5.0 <= trio.current_time() - began < 6.0


async def test_silence_is_no_fence(autojump_clock: MockClock) -> None:
    """A primary that does not answer us may answer others: nobody is promoted, until it refuses."""
    async with running() as rig, trio.open_nursery() as nursery:
        rig.world.fences = False
        rig.lose(sign=Sign.NO_ANSWER)
        nursery.start_soon(rig.controller.settled, "one")
        await trio.sleep(20.0)
        assert not [call for call in rig.world.calls if call.startswith("promote")]
        [reason] = rig.reasons()
        assert "could not be fenced" in reason
        rig.world.servers["one"].sign = Sign.REFUSED
        assert await rig.controller.settled("one") == "two"


async def test_silence_is_enough_for_who_says_so(autojump_clock: MockClock) -> None:
    """require_fencing = false; the risk is named."""
    async with running(require_fencing=False) as rig:
        rig.world.fences = False
        rig.world.tolerated.add("one")
        rig.lose(sign=Sign.NO_ANSWER)
        assert await rig.controller.settled("one") == "two"
        assert "if it still takes writes of others, they are lost" in rig.reasons()[0]


async def test_a_refused_promotion_is_tried_again(autojump_clock: MockClock) -> None:
    """A second later."""
    async with running() as rig:
        rig.world.let("promote", refuse)
        began = trio.current_time()
        rig.lose()
        assert await rig.controller.settled("one") == "two"
        assert trio.current_time() - began >= 1.0
        assert [call for call in rig.world.calls if call.startswith("promote")] == ["promote two"] * 2


async def test_a_standby_that_dies_is_followed_by_another(autojump_clock: MockClock) -> None:
    """It may have heard the order before it died: it never gets a write, and is not asked again."""
    async with running() as rig:
        rig.world.servers["two"].received = 6000
        rig.world.let("promote", die)
        rig.lose()
        assert await rig.controller.settled("one") == "three"
        assert rig.topology.nodes["two"].deposed
        rig.world.servers["two"] = Server(in_recovery=False, timeline=2)
        await rig.probe()
        assert rig.topology.writer is rig.topology.nodes["three"]


async def test_while_it_is_in_doubt_the_old_primary_does_not_come_back(autojump_clock: MockClock) -> None:
    """A standby has been asked and does not say: it can still be the primary, so nobody else is (rule 25)."""
    async with running() as rig, trio.open_nursery() as nursery:
        rig.world.fences = False
        rig.world.servers["two"].received = 6000
        rig.world.let("promote", fall_silent)
        rig.lose()
        nursery.start_soon(rig.controller.settled, "one")
        await until(rig, FailoverStep.PROMOTE)
        two = rig.world.servers["two"]
        two.in_recovery, two.timeline = False, 2
        rig.world.servers["one"].sign = Sign.ALIVE
        rig.world.tolerated.add("one")
        await trio.sleep(30.0)
        assert rig.controller.active
        two.sign = Sign.ALIVE
        assert await rig.controller.settled("one") == "two"


async def test_nobody_to_take_over(autojump_clock: MockClock) -> None:
    """Sessions get 57P03 in the end, and the reason; the next one that asks begins anew."""
    async with running(FailoverSettings(failover_timeout=10.0)) as rig:
        for name in ("two", "three"):
            rig.world.servers[name].sign = Sign.REFUSED
        rig.lose()
        with pytest.raises(BackendUnavailable) as caught:
            await rig.controller.settled("one")
        assert (caught.value.sqlstate, caught.value.hint) == ("57P03", "Retry later.")
        await trio.sleep(0.1)
        assert rig.means.counters.outcomes["failed"] == 1
        assert outcome(rig) is FailoverOutcome.FAILED
        rig.world.servers["one"].sign = Sign.ALIVE
        assert await rig.controller.settled("one") == "one"


async def test_operators_decide_in_manual_mode(autojump_clock: MockClock) -> None:
    """Also who takes over, and although the old primary cannot be fenced."""
    async with running(FailoverSettings(mode=FailoverMode.MANUAL)) as rig:
        rig.world.fences = False
        rig.world.tolerated.add("one")
        rig.lose(sign=Sign.NO_ANSWER)
        await until(rig, FailoverStep.ORDER)
        assert not [call for call in rig.world.calls if call.startswith("promote")]
        rig.controller.order("three", who="otto", reason="it burns")
        assert await rig.controller.settled("one") == "three"
        with pytest.raises(Conflict):
            rig.controller.order(None, who="otto")


async def test_a_trigger_that_is_off(autojump_clock: MockClock) -> None:
    """connection_failure = false: as in manual mode."""
    triggers = FailoverTriggers(connection_failure=False)
    async with running(FailoverSettings(triggers=triggers)) as rig:
        rig.lose()
        await until(rig, FailoverStep.ORDER)
        rig.controller.order(None, who="otto")
        assert await rig.controller.settled("one") == "two"


async def test_somebody_else_promotes(autojump_clock: MockClock) -> None:
    """promote_replica = false, and an order changes nothing about it."""
    async with running(promote_replica=False) as rig:
        rig.lose()
        await until(rig, FailoverStep.FOLLOW)
        rig.controller.order(None, who="otto")
        await trio.sleep(5.0)
        assert rig.controller.active
        rig.world.promote("three")
        assert await rig.controller.settled("one") == "three"


async def test_sessions_stay_behind(autojump_clock: MockClock) -> None:
    """migrate_sessions = false: they are told where they are not any more."""
    async with running(migrate_sessions=False) as rig:
        rig.lose()
        with pytest.raises(BackendUnavailable) as caught:
            await rig.controller.settled("one")
        assert (caught.value.sqlstate, caught.value.message) == ("57P01", "one has been succeeded by two")
        assert rig.destination == "two"


async def test_failovers_that_follow_each_other_are_slowed_down(autojump_clock: MockClock) -> None:
    """The fourth in a row waits."""
    async with running() as rig:
        pauses = []
        for _ in range(5):
            writer = rig.topology.writer
            assert writer is not None
            rig.lose(writer.backend.name)
            began = trio.current_time()
            await rig.controller.settled(writer.backend.name)
            pauses.append(trio.current_time() - began)
            while rig.topology.nodes[writer.backend.name].deposed:  # noqa: ASYNC110
                await trio.sleep(0.001)
        assert pauses[0] < 0.1
        assert pauses[3] > 1.5
        assert pauses[4] > pauses[3]


async def test_a_planned_switchover_is_not_disturbed(autojump_clock: MockClock) -> None:
    """What it does to the servers looks like death; afterwards sessions are told who is primary."""
    async with running() as rig, trio.open_nursery() as nursery:
        under_way = True
        rig.means.switching = lambda: under_way
        rig.lose()
        nursery.start_soon(rig.controller.settled, "one")
        await trio.sleep(5.0)
        assert rig.world.calls == []
        rig.world.promote("two")
        await rig.probe()
        rig.topology.depose("one", "two has succeeded it")
        under_way = False
        assert await rig.controller.settled("one") == "two"
        assert not [call for call in rig.world.calls if call.startswith("promote")]


async def test_sessions_go_on_in_groups(autojump_clock: MockClock) -> None:
    """No stampede on the new primary (rule 37)."""
    async with running() as rig, trio.open_nursery() as nursery:
        rig.controller.pacer.concurrency = 2
        times: list[float] = []

        async def session() -> None:
            await rig.controller.settled("one")
            times.append(trio.current_time())

        rig.lose()
        for _ in range(6):
            nursery.start_soon(session)
        while len(times) < 6:  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert len(set(times)) == 3


async def test_the_probes_find_out_too(autojump_clock: MockClock) -> None:
    """Without any session."""
    async with running() as rig:
        rig.world.servers["one"].sign = Sign.REFUSED
        rig.topology.note_failure("one", "connection refused", trio.current_time())
        while outcome(rig) is not FailoverOutcome.COMPLETED:  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert rig.destination == "two"


async def test_two_primaries(autojump_clock: MockClock) -> None:
    """The one on the older timeline gets no write from the moment the other one is seen (rule 25)."""
    async with running() as rig:
        rig.world.rejoins = False
        rig.world.servers["three"] = Server(in_recovery=False, timeline=2)
        await rig.probe()
        assert await rig.controller.settled("one") == "three"
        await rig.probe()
        assert rig.topology.writer is rig.topology.nodes["three"]
        assert rig.topology.nodes["one"].deposed


async def test_a_former_primary_that_somebody_sees_to(autojump_clock: MockClock) -> None:
    """It is watched, and believed again once it follows its successor; a standby of the past is not enough."""
    async with running() as rig:
        rig.world.rejoins = False
        rig.lose()
        assert await rig.controller.settled("one") == "two"
        await trio.sleep(1.0)
        for server, deposed in (
            (Server(in_recovery=False), True),
            (Server(timeline=1), True),
            (Server(timeline=2), False),
        ):
            rig.world.servers["one"] = server
            await rig.probe()
            assert bool(rig.topology.nodes["one"].deposed) is deposed
        kinds = [each.kind for each in rig.means.events.newest(99)]
        assert "former primary needs somebody" in kinds
        assert "former primary is a standby" in kinds


async def test_standbys_are_not_succeeded(autojump_clock: MockClock) -> None:
    """Whoever loses one goes back to it if it lives, and else to the primary."""
    async with running() as rig:
        rig.controller.suspect("two", "a connection was lost")
        assert await rig.controller.settled("two") == "two"
        rig.lose("two")
        assert await rig.controller.settled("two") == "one"
        assert rig.controller.report() is None


async def test_a_switchover_by_somebody_else_is_no_failover(autojump_clock: MockClock) -> None:
    """The old primary is a standby of the new one already: nobody is promoted, nothing is fenced or deposed."""
    async with running() as rig:
        rig.world.tolerated.add("one")
        rig.world.promote("three")
        rig.world.servers["one"] = Server(timeline=2)
        rig.topology.note_answer("three", rig.world.servers["three"].observation, trio.current_time())
        rig.controller.suspect("one", "a connection was lost")
        assert await rig.controller.settled("one") == "three"
        assert rig.destination == "three"
        assert rig.controller.report() is None
        assert not rig.topology.nodes["one"].deposed
        assert not [call for call in rig.world.calls if call.split()[0] in ("promote", "fence", "demote")]


async def test_a_standby_of_an_unknown_primary_is_no_reason_to_promote(autojump_clock: MockClock) -> None:
    """The probes have not seen the new primary yet: it is found by asking."""
    async with running(FailoverSettings(recovery_grace=1.0)) as rig:
        rig.world.tolerated.add("one")
        rig.world.promote("three")
        rig.world.servers["one"] = Server(timeline=2)
        rig.controller.suspect("one", "a connection was lost")
        assert await rig.controller.settled("one") == "three"
        assert not [call for call in rig.world.calls if call.startswith("promote")]
