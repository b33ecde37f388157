"""What a session knows of a connection that it has lost, and of what bound it to that. Data only.

Used by: failover.session (makes them), failover.recovery.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

from helios_trio.failover.replies import Difference
from helios_trio.pool.connection import BackendConnection


@frozen
class Bonds:
    """What binds a session to its server, as of the last quiet moment."""

    pins: dict[str, int] = field(factory=dict)
    bound: dict[str, int] = field(factory=dict)
    may_hold_locks: bool = False


NO_BONDS: Final = Bonds()


@define(eq=False)
class Loss:
    """What a session knows of the connection it has lost."""

    #: None: it had none, and could get none
    connection: BackendConnection | None
    #: where it ran
    backend: str
    #: where the session belongs, which takes its writes: the same, unless its requests are routed
    home: str
    reason: str
    #: when it was noticed, on Trio's clock (seconds)
    at: float
    #: bytes that the client had asked by then and that were not answered to their end, without those not sent yet
    sent: int = 0
    #: the client has been sent the beginning of a message
    mid_message: bool = False
    #: id of the commit that was under way, and the tag held back until it is certain
    token: str | None = None
    held: bytes = b""
    #: the transaction's own id, where that is what is asked for
    xid: int | None = None
    #: the server has said that it has committed, and not that standbys have
    committed_locally: bool = False
    #: why what was open cannot be done again: it has been tried
    doom: Difference | None = None
    #: the client wants its transactions done again
    replayable: bool = True
