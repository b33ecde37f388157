"""The ledger: what became of each session, and who is worth another try."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from migration_rig import FakeSession

from helios_trio.migration.ledger import ATTEMPTS, FAILED_AGAIN, PINNED_AGAIN, Ledger
from helios_trio.pipeline.fleet import MoveOutcome, MoveReport


def report(outcome: MoveOutcome, session: int = 1, **more: object) -> MoveReport:
    return MoveReport(session=session, outcome=outcome, **more)  # type: ignore[arg-type]


def test_who_has_not_been_tried_is_worth_a_try() -> None:
    """Of course."""
    assert Ledger().is_worth_a_try(FakeSession(1).info, 0.0)


def test_a_busy_session_is_tried_at_every_look() -> None:
    """Its transaction may have ended."""
    ledger, info = Ledger(), FakeSession(1).info
    ledger.note(report(MoveOutcome.BUSY), info, 0.0)
    assert ledger.is_worth_a_try(info, 0.0)
    assert ledger.staying[1].reasons == ("idle",)


def test_a_pinned_session_is_tried_when_its_pins_change_or_much_later() -> None:
    """Not at every look: asking costs the server something."""
    ledger, session = Ledger(), FakeSession(1, pins={"setseed": 1})
    ledger.note(report(MoveOutcome.PINNED, reasons=("setseed",)), session.info, 0.0)
    assert not ledger.is_worth_a_try(session.info, PINNED_AGAIN - 1)
    assert ledger.is_worth_a_try(session.info, PINNED_AGAIN)
    session.pins = {}
    assert ledger.is_worth_a_try(session.info, 1.0)


def test_failures_are_tried_again_more_and_more_rarely() -> None:
    """And after some of them they are nothing to wait for any more."""
    ledger, info = Ledger(), FakeSession(1).info
    now = 0.0
    for attempt in range(ATTEMPTS):
        assert not ledger.is_given_up(1)
        ledger.note(report(MoveOutcome.FAILED, reasons=("refused",)), info, now)
        pause = FAILED_AGAIN * 2.0**attempt
        assert not ledger.is_worth_a_try(info, now + pause * 0.9)
        now += pause
        assert ledger.is_worth_a_try(info, now)
    assert ledger.is_given_up(1)
    for _ in range(1100):
        ledger.note(report(MoveOutcome.FAILED), info, now)
    assert ledger.is_worth_a_try(info, now + PINNED_AGAIN)
    ledger.note(report(MoveOutcome.MOVED), info, now)
    assert ledger.staying == {}


def test_what_was_carried_is_added_up() -> None:
    """Only for those who arrived."""
    ledger = Ledger()
    for session, pause in ((1, 0.2), (2, 0.1)):
        moved = report(MoveOutcome.MOVED, session, seconds=0.3, pause=pause, carried={"settings": 2})
        ledger.note(moved, FakeSession(session).info, 0.0)
    ledger.note(report(MoveOutcome.FAILED, 3, carried={"settings": 9}, seconds=9.0), FakeSession(3).info, 0.0)
    assert (ledger.migrated, ledger.moved, dict(ledger.carried)) == (2, {1, 2}, {"settings": 4})
    assert (ledger.seconds_each, ledger.longest_pause, ledger.errors) == (0.3, 0.2, 1)


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(MoveOutcome))))
def test_books_balance(attempts: list[tuple[int, MoveOutcome]]) -> None:
    """Every attempt is counted once; a session is never both moved last and staying."""
    ledger = Ledger()
    for session, outcome in attempts:
        ledger.note(report(outcome, session), FakeSession(session).info, 0.0)
    assert ledger.outcomes.total() == len(attempts)
    last = dict(attempts)
    staying = {
        id for id, end in last.items() if end in (MoveOutcome.PINNED, MoveOutcome.BUSY, MoveOutcome.FAILED)
    }
    assert set(ledger.staying) == staying
    assert ledger.client_errors == sum(
        end in (MoveOutcome.LOST, MoveOutcome.TERMINATED) for _, end in attempts
    )
    ledger.keep_only([1])
    assert set(ledger.staying) <= {1}
