"""What was done to the old connection and must be put right when the move fails (rule 18).

Used by: session.carrying (cursors, locks, channels add to it), session.carrying.carry (gives back).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import define, field

from helios_trio.errors import HeliosError
from helios_trio.session.carrying.steps import Plan

Repair: TypeAlias = Callable[[], Plan[None]]


class CannotGiveBack(HeliosError):
    """The move failed, and the old connection is not as it was: the session has lost something."""

    sqlstate = "57P01"
    severity = "FATAL"
    code = "cannot_give_back"


@define(eq=False)
class Undo:
    """Plans that put the old side right, each entered before the step that it takes back."""

    _repairs: list[Repair] = field(factory=list)

    def add(self, repair: Repair) -> Repair:
        """It must do no harm when the step it takes back was never done. Returns it, for `done`."""
        self._repairs.append(repair)
        return repair

    def done(self, repair: Repair) -> None:
        """The old side is right again: nothing is left to take back of that."""
        self._repairs.remove(repair)

    def give_back(self) -> Plan[None]:
        """Run all, the newest first; one that fails keeps none of the others from being tried.

        Raises CannotGiveBack.
        """
        failures: list[str] = []
        while self._repairs:
            repair = self._repairs.pop()
            try:
                yield from repair()
            except HeliosError as error:
                failures.append(error.message)
        if failures:
            raise CannotGiveBack("; ".join(failures))
