"""The search for a server when something must be waited for first: a floor, a standby that is nearly there, any at all.

Used by: features.routing.session, in a task of the session.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio
from attrs import evolve

from helios_trio.errors import BackendUnavailable, HeliosError
from helios_trio.features.routing.own_floor import OwnFloor
from helios_trio.features.routing.router import RoutedClient, Router
from helios_trio.pipeline.freshness import Floor
from helios_trio.pipeline.routing import PRIMARY, Decision, Question, Wish

_log = structlog.get_logger(__name__)

#: Seconds between questions to a standby whether it has come far enough.
_POLL: Final = 0.002
#: Seconds between looks whether there is a server that will do.
_LOOK: Final = 0.01


async def search(router: Router, session: RoutedClient, question: Question, own: OwnFloor) -> Decision:
    """The server for a request, as soon as there is one that will do.

    Raises BackendUnavailable (08006): there was none in time; it says which filter has removed which.
    """
    if router.wants_own_writes(session, question):
        try:
            router.counters.floors += await own.find()
        except HeliosError as error:
            # who writes knows what it has written, and waits for its server if that is gone
            _log.warning("a session reads from the primary", reason=error.message)
            question = evolve(question, wish=Wish(route=PRIMARY))
        else:
            question = evolve(question, floor=own.floor)
    if question.floor is not None and router.policy_of(session).wait_for_standby:
        await _wait_for_wanted(router, session, question, question.floor)
    decision = router.decide(session, question)
    if decision.fell_back and question.floor is not None:
        decision = await _look_again(router, session, question, question.floor)
    seconds = question.wish.timeout
    if seconds is None:
        seconds = session.policy.queue_timeout
    with trio.move_on_after(seconds):
        while decision.backend is None:
            router.counters.waits += 1
            await trio.sleep(_LOOK)
            decision = router.decide(session, question)
    if decision.backend is None:
        raise _nowhere(router.explain(session, question), seconds)
    return decision


async def _wait_for_wanted(router: Router, session: RoutedClient, question: Question, floor: Floor) -> None:
    """Wait until the standby that shall serve the session has what it has written, as long as policy allows."""
    freshness = router.freshness
    wanted = router.wanted(session, question)
    if wanted is None or freshness is None:
        return
    with trio.move_on_after(router.policy_of(session).wait_for_standby):
        while not await freshness.look([wanted], floor, flushed=question.flushed):  # noqa: ASYNC110
            await trio.sleep(_POLL)  # no server tells when it has come so far


async def _look_again(router: Router, session: RoutedClient, question: Question, floor: Floor) -> Decision:
    """A standby may be there although the last probe has not seen it yet."""
    freshness = router.freshness
    names = router.late_standbys(session, question)
    if freshness is not None and names:
        await freshness.look(names, floor, flushed=question.flushed)
    return router.decide(session, question)


def _nowhere(decision: Decision, seconds: float) -> BackendUnavailable:
    removed = [
        f"{name}: {reason} ({step.by})" for step in decision.steps for name, reason in step.removed.items()
    ]
    return BackendUnavailable(
        f"no server will do for this request within {seconds:g} s",
        sqlstate="08006",
        detail="; ".join(removed) or None,
        hint="Retry later, or ask for less.",
    )
