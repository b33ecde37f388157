"""What a client is told when not all went well: 40001, where nothing has happened, or 08007, where nobody can tell.

Used by: failover.recovery.
"""

from __future__ import annotations

from typing import Final

from helios_trio.errors import BackendLost, BackendUnavailable, HeliosError
from helios_trio.failover.replies import Difference
from helios_trio.session.carrying.errors import CannotCarry
from helios_trio.wire.codes import Backend
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import encode_frame

#: In front of the answer to a COMMIT that a server has carried out while it waited for its standbys in vain.
NOT_REPLICATED: Final = encode_frame(
    Backend.NOTICE_RESPONSE,
    ErrorFields.of(
        {
            "S": "WARNING",
            "V": "WARNING",
            "C": "01000",
            "M": "the transaction has committed, but may not have been replicated to a standby",
        }
    ).encode(),
)


class NotReplayed(HeliosError):
    """A transaction could not be done again: nothing of it has happened."""

    sqlstate = "40001"
    code = "not_replayed"


class OutcomeUnknown(HeliosError):
    """Nobody can tell whether a transaction has committed, or what it has answered."""

    sqlstate = "08007"
    code = "outcome_unknown"


def not_replayed(difference: Difference) -> NotReplayed:
    """The open transaction is gone."""
    return NotReplayed(
        f"could not repeat the transaction on another server: {difference.text}",
        detail="The server was lost, and with it the open transaction: nothing of it has happened.",
        hint="Retry the transaction.",
    )


def outcome_unknown(reason: str) -> OutcomeUnknown:
    """A statement may have been carried out."""
    return OutcomeUnknown(
        "the server was lost, and nobody can tell whether the statement was carried out",
        detail=reason,
        hint="Look up what it has done before you repeat it.",
    )


def committed_without_answer() -> OutcomeUnknown:
    """A transaction has committed, and its result has not come."""
    return OutcomeUnknown(
        "the transaction has committed, but what the server answered was lost with it",
        hint="Look up what it has done; do not repeat it.",
    )


def ended() -> BackendLost:
    """A client has ended its own server process, and knows what it wants."""
    return BackendLost("terminating connection due to administrator command", sqlstate="57P01")


def no_server(reason: str) -> BackendUnavailable:
    """Nobody took over in time."""
    return BackendUnavailable("no server takes writes", sqlstate="57P03", hint="Retry later.", detail=reason)


def cannot_be_had_again(refusal: CannotCarry) -> BackendLost:
    """What a session had died with its server (rule 26)."""
    return BackendLost(
        "terminating connection because the server was lost, and with it something of the session",
        sqlstate="57P01",
        detail="; ".join(refusal.reasons),
    )
