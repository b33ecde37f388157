"""The judge of histories finds each error that is planted, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import define, evolve, field
from histories import Entry, History, Ledger, Outcome, Payment, Read, Write, violations

PAYMENT = Payment(payer=1, payee=2, amount=5)


@define
class World:
    """A history and a ledger that agree, until somebody changes one of them."""

    history: History = field(factory=History)
    entries: list[Entry] = field(factory=list)
    balances: dict[int, int] = field(factory=lambda: {1: 90, 2: 110})

    def violations(self) -> list[str]:
        """The judgement."""
        return violations(self.history, Ledger(self.entries, self.balances, 100))

    def tell(self, number: int, outcome: Outcome, sqlstate: str | None = None) -> None:
        """Client 1 is told this of its write, which pays nothing."""
        self.history.writes.append(write(number, outcome, sqlstate, Payment()))

    def enter(self, number: int, client: int = 1) -> None:
        """The write is in the database."""
        id = len(self.entries) + 1
        self.entries.append(Entry(id=id, client=client, number=number, payment=Payment()))


def write(
    number: int,
    outcome: Outcome,
    sqlstate: str | None = None,
    payment: Payment = PAYMENT,
    id: int | None = None,
) -> Write:
    return Write(
        client=1,
        number=number,
        way="transfer",
        payment=payment,
        began=number,
        ended=number + 0.5,
        outcome=outcome,
        sqlstate=sqlstate,
        id=id,
    )


@pytest.fixture
def world() -> World:
    """Two payments of 5, acknowledged and there; client 2 has read both."""
    made = World()
    for number in (1, 2):
        made.history.writes.append(write(number, Outcome.ACKNOWLEDGED, id=number))
        made.entries.append(Entry(id=number, client=1, number=number, payment=PAYMENT))
    made.history.reads.append(Read(client=2, about=1, above=0, began=3.0, seen=(1, 2)))
    return made


def test_nothing_is_wrong(world: World) -> None:
    """What is allowed: refused and not there, unknown and there or not, committed and there."""
    world.tell(3, Outcome.REFUSED, "40001")
    for number, outcome in ((4, Outcome.UNKNOWN), (6, Outcome.LOST)):
        world.tell(number, outcome)
        world.tell(number + 1, outcome)
        world.enter(number + 1)
    world.tell(8, Outcome.COMMITTED_UNANSWERED, "08007")
    world.enter(8)
    assert world.violations() == []
    assert world.history.tally() == {
        "acknowledged": 2,
        "40001": 1,
        "unknown": 2,
        "connection lost": 2,
        "08007": 1,
    }
    assert len(world.history.errors()) == 6
    assert len(world.history.complaints()) == 3
    assert world.history.complaints(Outcome.LOST, Outcome.UNKNOWN, Outcome.REFUSED) == [
        "1 x transfer: 08007 "
    ]


def lose_acknowledged(world: World) -> None:
    world.tell(3, Outcome.ACKNOWLEDGED)


def lose_what_is_known_as_committed(world: World) -> None:
    world.tell(3, Outcome.COMMITTED_UNANSWERED, "08007")


def double_acknowledged(world: World) -> None:
    world.tell(3, Outcome.ACKNOWLEDGED)
    world.enter(3)
    world.enter(3)


def double_unknown(world: World) -> None:
    world.tell(3, Outcome.UNKNOWN, "08007")
    world.enter(3)
    world.enter(3)


def keep_refused(world: World) -> None:
    world.tell(3, Outcome.REFUSED, "40001")
    world.enter(3)


def enter_what_nobody_wrote(world: World) -> None:
    world.enter(1, client=7)


def change_content(world: World) -> None:
    world.entries[0] = evolve(world.entries[0], payment=Payment(payer=2, payee=1, amount=5))
    world.balances.update({1: 100, 2: 100})


def give_another_id(world: World) -> None:
    world.entries[1] = evolve(world.entries[1], id=34)


def give_an_id_twice(world: World) -> None:
    world.tell(3, Outcome.ACKNOWLEDGED)
    world.entries.append(Entry(id=2, client=1, number=3, payment=Payment()))


def pay_half(world: World) -> None:
    world.balances[2] -= 5


def lose_an_account(world: World) -> None:
    del world.balances[1]


def see_what_is_lost(world: World) -> None:
    world.tell(3, Outcome.LOST)
    world.history.reads.append(Read(client=2, about=1, above=2, began=3.2, seen=(3,)))


def see_doubles(world: World) -> None:
    world.history.reads.append(Read(client=2, about=1, above=1, began=4.0, seen=(2, 2)))


def miss_what_was_acknowledged(world: World) -> None:
    world.history.reads.append(Read(client=2, about=1, above=0, began=4.0, seen=(1,)))


def use_a_number_twice(world: World) -> None:
    world.history.writes.append(world.history.writes[0])


PLANTED: list[tuple[Callable[[World], None], str]] = [
    (lose_acknowledged, "acknowledged, and lost (1): (1, 3)"),
    (lose_what_is_known_as_committed, "committed, answer lost, and lost (1): (1, 3)"),
    (double_acknowledged, "doubled (1): (1, 3)"),
    (double_unknown, "doubled (1): (1, 3)"),
    (keep_refused, "refused, and there (1): (1, 3)"),
    (enter_what_nobody_wrote, "from nowhere (1): (7, 1)"),
    (change_content, "changed (1): (1, 1)"),
    (give_another_id, "other id (1): (1, 2) transfer: 34"),
    (give_an_id_twice, "id given twice (1): 2"),
    (pay_half, "wrong balance (1): account 2: 105 instead of 110"),
    (lose_an_account, "wrong balance (1): account 1: None"),
    (see_what_is_lost, "seen, and lost (1): (1, 3) by 2"),
    (see_doubles, "seen twice (1): (1, 2) by 2"),
    (miss_what_was_acknowledged, "not seen (1): (1, 2) by 2"),
    (use_a_number_twice, "bad history (1): a number was used twice"),
]


@pytest.mark.parametrize(("plant", "words"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_planted_errors_are_found(world: World, plant: Callable[[World], None], words: str) -> None:
    """Each of them, by name, and nothing besides."""
    plant(world)
    (found,) = world.violations()
    assert found.startswith(words)


def test_reads_know_what_they_could_see(world: World) -> None:
    """What was acknowledged while they ran, and what they did not ask for, need not be there."""
    world.history.reads.append(Read(client=2, about=1, above=0, began=2.2, seen=(1,)))
    world.history.reads.append(Read(client=2, about=1, above=1, began=9.0, seen=(2,)))
    assert world.violations() == []


def test_many_of_a_kind_are_counted(world: World) -> None:
    """So that a report can be read."""
    for number in range(3, 103):
        world.tell(number, Outcome.ACKNOWLEDGED)
    found = world.violations()
    assert len(found) == 10
    assert found[0].startswith("acknowledged, and lost (100)")
