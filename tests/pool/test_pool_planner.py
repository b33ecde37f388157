"""Who gets which connection: random events against the promises of the planner (rules 7, 37)."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import pytest
from attrs import define, evolve, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from helios_trio.errors import TooManyConnections
from helios_trio.pool.planner import Claim, Planner, PoolLimits, SlotStatus, Ticket

PLAIN: Mapping[str, str] = {}
GERMAN = {"DateStyle": "German"}
ITALIAN = {"DateStyle": "SQL, DMY"}
VARIANTS = (PLAIN, GERMAN, ITALIAN)


@define(eq=False)
class FakeSlot:
    """A server connection without a server."""

    variant: Mapping[str, str]
    opened_at: float = 0.0
    idle_since: float = 0.0
    status: SlotStatus = SlotStatus.NEW
    label: Mapping[str, str] = field(factory=dict)
    placeholders: set[str] = field(factory=set)


@define(eq=False)
class FakeClaim:
    """A session's wish."""

    variant: Mapping[str, str] = field(factory=dict)
    exact: bool = False
    placeholders: frozenset[str] = frozenset()
    label: Mapping[str, str] = field(factory=dict)


def fits(slot: FakeSlot, claim: Claim, *, shared: bool) -> bool:
    """The rule, said another way than in the planner."""
    if slot.placeholders - claim.placeholders:
        return False
    if slot.variant == claim.variant:
        return True
    return shared and not claim.exact and slot.variant == {}


def ticket_for(claim: FakeClaim, deadline: float = inf) -> Ticket[FakeSlot]:
    """Somebody who waits; who is granted what is seen in what the planner returns."""

    def unexpected(_: object) -> None:
        raise AssertionError("the planner itself calls nobody")

    return Ticket(claim, deadline, unexpected, unexpected)


CLAIMS = st.builds(
    FakeClaim,
    variant=st.sampled_from(VARIANTS),
    exact=st.booleans(),
    placeholders=st.sampled_from([frozenset(), frozenset({"app.tenant"})]),
    label=st.sampled_from(VARIANTS),
)


class PoolMachine(RuleBasedStateMachine):
    """Everything that may happen to one pool, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.active: list[FakeSlot] = []
        #: in the order in which they were opened: drawing from a set is not repeatable
        self.made: list[FakeSlot] = []
        self.opening: list[Mapping[str, str]] = []
        self.tickets: list[Ticket[FakeSlot]] = []

    @initialize(
        shared=st.booleans(),
        maximum=st.integers(1, 5),
        minimum=st.integers(0, 3),
        connecting=st.integers(1, 3),
    )
    def start(self, shared: bool, maximum: int, minimum: int, connecting: int) -> None:
        """A pool of some size."""
        limits = PoolLimits(maximum, min(minimum, maximum), connecting, 4, idle_timeout=50, max_lifetime=200)
        self.planner: Planner[FakeSlot] = Planner(limits, shared)

    # -- what happens ----------------------------------------------------------------------------------------

    @rule(claim=CLAIMS)
    def ask(self, claim: FakeClaim) -> None:
        """A session takes a connection, or waits."""
        slot = self.planner.take_nowait(claim)
        if slot is not None:  # nobody who could have it has been waiting longer
            assert not any(fits(slot, ticket.claim, shared=self.planner.shared) for ticket in self.tickets)
            self.lend(slot, claim)
            return
        ticket = ticket_for(claim, self.now + 30)
        if len(self.tickets) >= self.planner.limits.queue_max:
            with pytest.raises(TooManyConnections):
                self.planner.wait(ticket)
            return
        self.planner.wait(ticket)
        self.tickets.append(ticket)
        self.act()

    @precondition(lambda self: self.planner.slots)
    @rule(data=st.data())
    def take_again(self, data: st.DataObject) -> None:
        """A session wants the very connection it had before: only an idle one, and not before those who wait."""
        slot = data.draw(st.sampled_from([slot for slot in self.made if slot in self.planner.slots]))
        free = slot.status is SlotStatus.IDLE and not self.tickets
        assert self.planner.take_again_nowait(slot) is free
        if free:
            self.active.append(slot)

    @precondition(lambda self: self.active)
    @rule(data=st.data(), reusable=st.booleans(), tenant=st.booleans())
    def give_back(self, data: st.DataObject, reusable: bool, tenant: bool) -> None:
        """A session is done; it may have left a placeholder."""
        slot = data.draw(st.sampled_from(self.active))
        self.active.remove(slot)
        if tenant and self.planner.shared:
            slot.placeholders.add("app.tenant")
        self.settle(slot, self.planner.give_back(slot, self.now, reusable=reusable))
        assert reusable or slot.status is SlotStatus.CLOSED
        self.act()

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A server closes a connection that somebody uses."""
        slot = data.draw(st.sampled_from(self.active))
        self.active.remove(slot)
        self.planner.move(slot, SlotStatus.CLOSED)
        self.act()

    @precondition(lambda self: self.opening)
    @rule(data=st.data(), succeeds=st.booleans())
    def connect(self, data: st.DataObject, succeeds: bool) -> None:
        """An attempt to connect ends."""
        variant = data.draw(st.sampled_from(self.opening))
        self.opening.remove(variant)
        if succeeds:
            slot = FakeSlot(variant, opened_at=self.now)
            self.made.append(slot)
            self.settle(slot, self.planner.opened(slot, variant, self.now))
        else:
            self.planner.open_failed(variant)
        self.act()

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """A client goes away while it waits."""
        ticket = data.draw(st.sampled_from(self.tickets))
        self.tickets.remove(ticket)
        self.planner.withdraw(ticket)
        assert ticket.done
        self.act()

    @rule(seconds=st.floats(1, 100))
    def wait(self, seconds: float) -> None:
        """Time passes: who waited too long gives up, who was idle too long is closed."""
        self.now += seconds
        late = [ticket for ticket in self.tickets if ticket.deadline <= self.now]
        assert self.planner.overdue(self.now) == late
        self.tickets = [ticket for ticket in self.tickets if ticket not in late]
        self.expire()
        self.act()

    @rule(maximum=st.integers(1, 5))
    def reload(self, maximum: int) -> None:
        """The limit is changed while connections are out."""
        limits = self.planner.limits
        self.planner.limits = evolve(limits, max_connections=maximum, min_connections=min(2, maximum))
        self.act()

    # -- what the pool does about it -------------------------------------------------------------------------

    def lend(self, slot: FakeSlot, claim: Claim) -> None:
        """Only a connection that suits, and only one that nobody has."""
        assert slot.status is SlotStatus.ACTIVE
        assert slot not in self.active
        assert fits(slot, claim, shared=self.planner.shared)
        self.active.append(slot)

    def settle(self, slot: FakeSlot, ticket: Ticket[FakeSlot] | None) -> None:
        """First come first served, among those whom the connection suits."""
        if slot.status is SlotStatus.CLOSED:
            assert ticket is None
            return
        suited = [each for each in self.tickets if fits(slot, each.claim, shared=self.planner.shared)]
        assert ticket is (suited[0] if suited else None)
        if ticket is not None:
            self.tickets.remove(ticket)
            self.lend(slot, ticket.claim)

    def expire(self) -> None:
        """The minimum is kept, except by those past their lifetime."""
        limits, before = self.planner.limits, self.planner.total
        expired = self.planner.expired(self.now)
        for slot in expired:
            assert slot.status is SlotStatus.IDLE
            aged = self.now - slot.opened_at >= limits.max_lifetime
            assert aged or self.now - slot.idle_since >= limits.idle_timeout
            self.planner.move(slot, SlotStatus.CLOSED)
        aged_out = sum(self.now - slot.opened_at >= limits.max_lifetime for slot in expired)
        assert self.planner.total >= min(limits.min_connections, before - aged_out)

    def act(self) -> None:
        """Make room, then open."""
        while (victim := self.planner.to_evict()) is not None:
            assert self.tickets or self.planner.total > self.planner.limits.max_connections
            self.planner.move(victim, SlotStatus.CLOSED)
        shared, before = self.planner.shared, self.planner.total
        for number, variant in enumerate(self.planner.to_open(100), 1):
            wanted = any(fits(FakeSlot(variant), ticket.claim, shared=shared) for ticket in self.tickets)
            assert wanted or before + number <= self.planner.limits.min_connections
            self.opening.append(variant)

    # -- what is always true ---------------------------------------------------------------------------------

    @invariant()
    def each_connection_is_in_one_place(self) -> None:
        """Idle or lent out, as its status says; nobody else is counted."""
        if not hasattr(self, "planner"):
            return
        idle = list(self.planner.idle_slots())
        assert len(set(idle)) == len(idle) == self.planner.idle
        assert set(idle) | set(self.active) == self.planner.slots
        assert not set(idle) & set(self.active)
        assert all(slot.status is SlotStatus.IDLE for slot in idle)
        assert all(slot.status is SlotStatus.ACTIVE for slot in self.active)
        assert self.planner.connecting.total() == len(self.opening)
        assert list(self.planner.waiting) == self.tickets

    @invariant()
    def no_more_than_the_limit(self) -> None:
        """Nothing is opened above the limit, nor too many at once."""
        if not hasattr(self, "planner") or not self.opening:
            return
        assert len(self.opening) <= self.planner.limits.max_connecting

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Who waits sees all connections in use, one on its way, or an idle one that does not suit anybody."""
        if not hasattr(self, "planner"):
            return
        shared = self.planner.shared
        for ticket in self.tickets:
            assert not any(fits(slot, ticket.claim, shared=shared) for slot in self.planner.idle_slots())
        limits = self.planner.limits
        if self.tickets and not self.opening:
            assert self.planner.total >= limits.max_connections
            assert not self.planner.idle


PoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestPoolMachine = PoolMachine.TestCase


def planner_with(limits: PoolLimits, *slots: FakeSlot, shared: bool = True) -> Planner[FakeSlot]:
    """A pool whose connections are idle."""
    planner: Planner[FakeSlot] = Planner(limits, shared)
    for slot in slots:
        planner.slots.add(slot)
        planner.move(slot, SlotStatus.IDLE)
    return planner


def test_the_minimum_survives_idle_times_before_it_is_reached() -> None:
    """With fewer connections than the minimum none is closed for being idle."""
    planner = planner_with(PoolLimits(10, 5, idle_timeout=10), *(FakeSlot(PLAIN) for _ in range(3)))
    assert planner.expired(100) == []


def test_the_oldest_idle_connections_go_first() -> None:
    """Down to the minimum, and not below."""
    slots = [FakeSlot(PLAIN, idle_since=number) for number in range(4)]
    planner = planner_with(PoolLimits(10, 1, idle_timeout=10), *slots)
    assert planner.expired(100) == slots[:3]


def test_a_lifetime_ends_also_below_the_minimum() -> None:
    """An old connection is closed, and one is opened in its place."""
    slot = FakeSlot(PLAIN, opened_at=0, idle_since=100)
    planner = planner_with(PoolLimits(10, 1, max_lifetime=100), slot)
    assert planner.expired(100) == [slot]
    planner.move(slot, SlotStatus.CLOSED)
    assert planner.to_open(10) == [PLAIN]


def test_an_old_connection_is_closed_when_it_comes_back() -> None:
    """Whoever waits gets a new one."""
    slot = FakeSlot(PLAIN, opened_at=0)
    planner = planner_with(PoolLimits(1, max_lifetime=100), slot)
    taken = planner.take_nowait(FakeClaim())
    assert taken is slot
    planner.wait(ticket_for(FakeClaim()))
    assert planner.give_back(slot, 100) is None
    assert slot.status is SlotStatus.CLOSED
    assert planner.to_open(10) == [PLAIN]


def test_a_connection_with_a_placeholder_is_for_those_who_set_it() -> None:
    """Rule 7: where a fresh session raises 42704 it would read an empty string."""
    slot = FakeSlot(PLAIN, placeholders={"app.tenant"})
    planner = planner_with(PoolLimits(10), slot)
    assert planner.take_nowait(FakeClaim()) is None
    assert planner.take_nowait(FakeClaim(placeholders=frozenset({"app.tenant", "app.user"}))) is slot


def test_in_session_mode_variants_are_never_mixed() -> None:
    """A connection opened with other start-up settings is another connection."""
    slot = FakeSlot(GERMAN)
    planner = planner_with(PoolLimits(10), slot, shared=False)
    assert planner.take_nowait(FakeClaim(PLAIN)) is None
    assert planner.take_nowait(FakeClaim(ITALIAN)) is None
    assert planner.take_nowait(FakeClaim(GERMAN)) is slot


def test_a_full_pool_gives_up_an_idle_connection_that_suits_nobody() -> None:
    """Otherwise a client with other settings would wait until its idle time is over."""
    slot = FakeSlot(GERMAN)
    planner = planner_with(PoolLimits(1), slot, shared=False)
    planner.wait(ticket_for(FakeClaim(ITALIAN)))
    assert planner.to_open(10) == []
    assert planner.to_evict() is slot


def test_a_connection_with_the_same_settings_is_preferred() -> None:
    """It saves the statements that would make the settings equal."""
    label = {"work_mem": "1MB"}
    same, other = FakeSlot(PLAIN, label=label), FakeSlot(PLAIN)
    planner = planner_with(PoolLimits(10), same, other)
    assert planner.take_nowait(FakeClaim(label=dict(label))) is same


def test_connections_are_opened_within_the_room_of_the_backend() -> None:
    """Other pools of the same server count too."""
    planner: Planner[FakeSlot] = Planner(PoolLimits(10, max_connecting=5), True)
    for _ in range(4):
        planner.wait(ticket_for(FakeClaim()))
    assert planner.to_open(1) == [PLAIN]
    assert planner.to_open(0) == []
    assert planner.to_open(10) == [PLAIN] * 3


def test_spares_are_kept_for_settings_in_demand() -> None:
    """When used connections are not used again, fresh ones are opened ahead, up to a bound."""
    planner: Planner[FakeSlot] = Planner(PoolLimits(10, max_connecting=10, spare_max=2), False)
    for _ in range(3):
        planner.want_spare(GERMAN)
    assert planner.to_open(10) == [GERMAN, GERMAN]


def test_the_next_deadline() -> None:
    """Infinity when nobody waits."""
    planner: Planner[FakeSlot] = Planner(PoolLimits(1), True)
    assert planner.next_deadline() == inf
    planner.wait(ticket_for(FakeClaim(), 7))
    planner.wait(ticket_for(FakeClaim(), 5))
    assert planner.next_deadline() == 5
