"""Sends spans to a collector, by OTLP over HTTP, in batches, from a task that the data path never waits for.

What a collector does not take at once is tried again with growing pauses, as the specification has it (OTLP 1.5,
"Failures" and "Retryable Response Codes"), and given up after a minute; meanwhile further spans gather in the outbox,
and those for which there is no room are dropped and counted.

Used by: composition.observing.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Final

import structlog
import trio
from attrs import define, field, frozen

from helios_trio.config.secret import Secret
from helios_trio.features.tracing.observer import ServedRequest
from helios_trio.features.tracing.outbox import Outbox
from helios_trio.net.post import Answer, Document, Poster, open_poster

if TYPE_CHECKING:
    from helios_trio.features.tracing.otlp import Encoder

_log = structlog.get_logger(__name__)

#: Spans that wait to be sent; in one request; encoded before other tasks get their turn.
ROOM: Final = 8192
BATCH: Final = 512
SLICE: Final = 16
#: Statuses that are worth another attempt; all others are final.
_RETRIED: Final = frozenset({429, 502, 503, 504})


@frozen(kw_only=True)
class ExportTimes:
    """How long things take, in seconds."""

    #: a batch that is not full is sent after so long
    delay: float = 1.0
    #: for one attempt
    attempt: float = 10.0
    #: before the second attempt; doubled for each further one
    pause: float = 1.0
    longest_pause: float = 16.0
    #: after which a batch is given up
    patience: float = 60.0
    #: for what is left at the end
    farewell: float = 2.0


@define
class SpanCounters:
    """What has become of spans since the proxy started."""

    exported: int = 0
    #: the collector has refused them
    refused: int = 0
    #: the collector could not be reached, or would not take them, for too long
    undelivered: int = 0


@define(eq=False, kw_only=True)
class SpanExporter:
    """See the module."""

    outbox: Outbox[ServedRequest]
    encoder: Encoder
    endpoint: str
    headers: Sequence[tuple[str, Secret]] = ()
    times: ExportTimes = field(factory=ExportTimes)
    counters: SpanCounters = field(factory=SpanCounters)
    #: taken from the outbox, and not delivered yet
    _batch: list[ServedRequest] = field(factory=list, init=False)
    #: proxies that lost the same collector must not come back all at once
    _random: Random = field(factory=Random, init=False)
    #: the last attempt has failed: said once, until one succeeds
    _failing: bool = field(default=False, init=False)

    @property
    def dropped(self) -> dict[str, int]:
        """Spans that have reached nobody, by why."""
        return {
            "no room": self.outbox.dropped,
            "refused": self.counters.refused,
            "not delivered": self.counters.undelivered,
        }

    async def run(self) -> None:
        """Send until cancelled, and then, within a moment, what is left."""
        async with open_poster() as poster:
            try:
                while True:
                    await self._gather()
                    await self._deliver(poster)
            finally:
                with trio.move_on_after(self.times.farewell) as scope:
                    scope.shield = True
                    await self._send_rest(poster)
                self.counters.undelivered += len(self._batch) + len(self.outbox)

    async def _gather(self) -> None:
        """Wait for a batch, or for as many as come within the delay."""
        await self.outbox.wait()
        with trio.move_on_after(self.times.delay):
            await self.outbox.wait(BATCH)
        self._batch = self.outbox.take(BATCH)

    async def _send_rest(self, poster: Poster) -> None:
        """One attempt for each batch: there is no time for more."""
        while self._batch or len(self.outbox):
            self._batch = self._batch or self.outbox.take(BATCH)
            if self._is_retried(await self._attempt(poster, await self._document())):
                return
            self._batch = []

    async def _deliver(self, poster: Poster) -> None:
        """Try until the collector has taken the batch, refused it, or cannot be waited for any longer."""
        document, pause = await self._document(), self.times.pause
        give_up_at = trio.current_time() + self.times.patience
        while True:
            answer = await self._attempt(poster, document)
            if not self._is_retried(answer):
                break
            wait = max(pause * self._random.uniform(0.5, 1.5), answer.retry_after or 0.0)
            if trio.current_time() + wait > give_up_at:
                self.counters.undelivered += len(self._batch)
                break
            await trio.sleep(wait)
            pause = min(2 * pause, self.times.longest_pause)
        self._batch = []

    async def _document(self) -> Document:
        """Encoded in slices, as clients must not stand still meanwhile."""
        slices = []
        for at in range(0, len(self._batch), SLICE):
            slices.append(self._encoded(self._batch[at : at + SLICE]))
            await trio.lowlevel.checkpoint()
        headers = {name: value.reveal() for name, value in self.headers}
        return Document(
            url=Secret(traces_url(self.endpoint)),
            body=b"".join(slices),
            headers={**headers, "Content-Type": "application/x-protobuf"},
            secrets=tuple(value for _, value in self.headers),
        )

    def _encoded(self, requests: Sequence[ServedRequest]) -> bytes:
        try:
            return self.encoder.encode(requests)
        except Exception:  # as rule 40: what one client has sent must not end the proxy
            _log.exception("spans not encoded", number=len(requests))
            return b""

    @staticmethod
    def _is_retried(answer: Answer) -> bool:
        return answer.status is None or answer.status in _RETRIED

    async def _attempt(self, poster: Poster, document: Document) -> Answer:
        answer = await poster.post(document, time_limit=self.times.attempt)
        if answer.accepted:
            self._note_accepted(answer)
        elif not self._is_retried(answer):
            self.counters.refused += len(self._batch)
        if not answer.accepted and not self._failing:
            _log.warning("spans not delivered", endpoint=self.endpoint, reason=str(answer))
        elif answer.accepted and self._failing:
            _log.info("spans are delivered again", endpoint=self.endpoint)
        self._failing = not answer.accepted
        return answer

    def _note_accepted(self, answer: Answer) -> None:
        """The collector may have taken only some of them."""
        from helios_trio.features.tracing.otlp import rejected

        number, reason = 0, ""
        try:
            number, reason = rejected(answer.body)
        except ValueError:
            _log.debug("answer of the collector not understood", endpoint=self.endpoint)
        number = min(number, len(self._batch))
        self.counters.exported += len(self._batch) - number
        self.counters.refused += number
        if number:
            _log.warning("spans refused", endpoint=self.endpoint, number=number, reason=reason)


def traces_url(endpoint: str) -> str:
    """Where traces go below the base URL of a collector."""
    base = endpoint.rstrip("/")
    return base if base.endswith("/v1/traces") else f"{base}/v1/traces"
