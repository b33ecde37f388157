"""What circuit breakers tell besides transitions of circuits: patterns and users that are refused, cascades.

Used by: features.circuit_breaker.breaker and .breakers (tell), .service (writes it down), whoever listens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen

from helios_trio.features.circuit_breaker.circuit import Transition


@frozen(kw_only=True)
class Notice:
    """Something that is no transition of a circuit."""

    #: such as `statement pattern opened`
    kind: str
    #: a backend, and what of it
    subject: str
    reason: str
    figures: Mapping[str, float] = field(factory=dict)


#: Called at once with whatever happens; must not wait, and must not fail.
Listener = Callable[[Transition | Notice], None]
