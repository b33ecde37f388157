"""The circuit against a model: states derived anew from the whole history, by other means than a table."""

from __future__ import annotations

import math

from breaker_rig import settings
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helios_trio.features.circuit_breaker.circuit import TABLE, Circuit, CircuitState, Signal, Transition

SETTINGS = settings(
    open_duration=10.0,
    max_open_duration=60.0,
    half_open_max_concurrent=4,
    half_open_success_threshold=75.0,
    half_open_probe_interval=2.0,
    recovery_ramp_up_duration=20.0,
)
Event = tuple[float, str]


class Model:
    """What the history means: read from the first event to the last, each time anew."""

    def __init__(self) -> None:
        self.history: list[Event] = []

    def read(self, now: float) -> tuple[str, int]:
        """The state, and how often it has opened in a row."""
        word, since, until, row, held = "closed", -math.inf, math.inf, 0, False
        good = bad = probes = owed = 0
        for at, what in [*self.history, (now, "look")]:
            before = word
            if what == "operator opens":
                word, held, until = "open", True, math.inf
            elif what == "operator closes":
                word, held = "closed", True
            elif what == "operator resets":
                word, held, row = "closed", False, 0
            elif word == "closed":
                if what == "tick" and row and at - since >= 30.0:
                    row = 0
                if what == "breach" and not held:
                    word = "open"
            elif word == "open":
                if what == "tick" and at >= until and not held:
                    word = "half_open"
            elif what in ("good", "bad", "error", "good probe", "bad probe"):
                if what in ("good", "bad") and owed:
                    owed -= 1
                    continue
                owed += what == "error"
                probes += what.endswith("probe")
                good += what.startswith("good")
                bad += not what.startswith("good")
                first_probe_failed = what == "bad probe" and probes == 1
                if first_probe_failed or bad > 1:  # at most a quarter of four
                    word = "open"
                elif good + bad >= 4 or (probes >= 2 and not bad):
                    word = "closed"
            forced = what.startswith("operator")
            if word != before or forced:
                since = at
                good = bad = probes = owed = 0
                if word == "open" and not forced:
                    row += 1
                    until = at + min(60.0, 10.0 * 2 ** (row - 1))
        return word, row


class CircuitMachine(RuleBasedStateMachine):
    """The same events for both."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit("a", SETTINGS)
        self.model = Model()
        self.now = 0.0
        self.told: list[Transition] = []

    def note(self, what: str, transition: Transition | None) -> None:
        self.model.history.append((self.now, what))
        if transition is not None:
            self.told.append(transition)

    @rule(seconds=st.sampled_from([2.0**-7, 1.0, 10.0, 31.0, 70.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.note("tick", self.circuit.tick(self.now))

    @rule()
    def breach(self) -> None:
        self.note("breach", self.circuit.breach(self.now, "too slow"))

    @precondition(lambda self: self.circuit.held is None and self.circuit.state is CircuitState.CLOSED)
    @rule()
    def trouble(self) -> None:
        """A short way to a circuit that may be tried: chance alone seldom gets there."""
        self.breach()
        self.pass_time(70.0)
        self.probe(True)

    @rule(passed=st.sampled_from([True, True, False]))
    def answer(self, passed: bool) -> None:
        """Of a request that began while it was as it is."""
        transition = self.circuit.ended(self.now, passed=passed, began=self.now)
        self.note("good" if passed else "bad", transition)

    @rule()
    def error(self) -> None:
        self.note("error", self.circuit.error(self.now))

    @rule()
    def old_answer(self) -> None:
        """Of a request that began before: says nothing about a circuit that is half-open."""
        if self.circuit.trial.owed == 0:
            assert self.circuit.ended(self.now, passed=True, began=self.circuit.since - 1.0) is None

    @precondition(lambda self: self.circuit.state is CircuitState.HALF_OPEN)
    @rule(passed=st.sampled_from([True, True, False]))
    def probe(self, passed: bool) -> None:
        word = "good probe" if passed else "bad probe"
        self.note(word, self.circuit.probe_ended(self.now, self.now, passed=passed, reason="no"))

    @precondition(lambda self: len(self.model.history) % 6 == 5)
    @rule()
    def operator_opens(self) -> None:
        self.note("operator opens", self.circuit.force_open(self.now, "otto", "why"))

    @precondition(lambda self: len(self.model.history) % 6 == 5)
    @rule()
    def operator_closes(self) -> None:
        self.note("operator closes", self.circuit.force_closed(self.now, "otto", "why"))

    @precondition(lambda self: len(self.model.history) % 6 == 5)
    @rule()
    def operator_resets(self) -> None:
        self.note("operator resets", self.circuit.reset(self.now, "otto", "why"))

    @invariant()
    def they_agree(self) -> None:
        assert (self.circuit.state.value, self.circuit.in_a_row) == self.model.read(self.now)

    @invariant()
    def transitions_are_a_chain(self) -> None:
        """Each begins where the one before ended, in an order of time, and stands in the table."""
        state = CircuitState.CLOSED
        for each in self.told:
            assert each.before is state
            assert TABLE[each.before, each.signal] is each.after
            state = each.after
        assert state is self.circuit.state
        assert [each.at for each in self.told] == sorted(each.at for each in self.told)

    @invariant()
    def it_opens_for_a_bounded_time(self) -> None:
        if self.circuit.state is CircuitState.OPEN and self.circuit.held is None:
            assert 10.0 <= self.circuit.open_until - self.circuit.since <= 60.0


TestCircuitAgainstModel = CircuitMachine.TestCase
TestCircuitAgainstModel.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=40, deadline=None
)


def test_only_operators_skip_a_state() -> None:
    """Nobody else gets from open to closed without having tried, and every state obeys an operator."""
    forced = {Signal.FORCED_OPEN, Signal.FORCED_CLOSED, Signal.RESET}
    unforced = {(before, after) for (before, signal), after in TABLE.items() if signal not in forced}
    assert unforced == {
        (CircuitState.CLOSED, CircuitState.OPEN),
        (CircuitState.OPEN, CircuitState.HALF_OPEN),
        (CircuitState.HALF_OPEN, CircuitState.CLOSED),
        (CircuitState.HALF_OPEN, CircuitState.OPEN),
    }
    assert all((state, signal) in TABLE for state in CircuitState for signal in forced)
