"""Why the orchestrator refuses an order. Nothing has been started or changed when one of these is raised.

Used by: migration.orchestrator (raises), admin.problems (turns them into answers).
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from helios_trio.errors import HeliosError


@frozen
class Fault:
    """One thing that is wrong with an order: the name of what was ordered, and what was expected."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class OrderRefused(HeliosError):
    """Base of these errors; `faults` has all that is wrong, as far as it can be known at once."""

    sqlstate = "22023"
    code = "refused"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(each) for each in self.faults))


class InvalidOrder(OrderRefused):
    """The order makes no sense, now or later: an unknown backend, phases that do not rise to 100."""

    code = "invalid_order"


class NotAvailable(OrderRefused):
    """The order makes sense, but this version cannot do it."""

    sqlstate = "0A000"
    code = "not_available"


class Conflict(OrderRefused):
    """The order does not fit the state of things: another migration is running, the target is not healthy."""

    sqlstate = "55000"
    code = "conflict"


class NotFound(OrderRefused):
    """There is no migration, session or backend of that name."""

    sqlstate = "42704"
    code = "not_found"
