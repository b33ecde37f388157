"""Why the state of a session is not carried: it cannot be (known beforehand), or a statement failed on the way.

Used by: the plans of session.carrying (raise them), migration (reports them, and lets the session stay).
"""

from __future__ import annotations

from helios_trio.errors import HeliosError
from helios_trio.wire.error_fields import ErrorFields


class CannotCarry(HeliosError):
    """The session has what no other connection can be given; `reasons` names each thing and says why."""

    sqlstate = "0A000"
    code = "cannot_carry"

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("the session cannot be moved: " + "; ".join(reasons))
        self.reasons = reasons


class CarryFailed(HeliosError):
    """A server answered a step of the plan with an error; `what` names the object or the step."""

    code = "carry_failed"

    def __init__(self, what: str, error: ErrorFields) -> None:
        super().__init__(
            f"{what}: {error.message}",
            sqlstate=error.sqlstate or None,
            detail=error.get("D") or None,
            hint=error.get("H") or None,
        )
        self.what = what
        self.error = error
