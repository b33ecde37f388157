"""Tells a webhook what somebody should know now: a failover has begun, has ended, or cannot go on without a human.

Used by: failover.controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog
import trio

from helios_trio.config.secret import Secret

_log = structlog.get_logger(__name__)

#: Seconds for one alert.
_TIME_LIMIT: Final = 10.0
#: Alerts that wait to be sent (rule 37); more are dropped, and stand in the events.
_QUEUE: Final = 100


class Alerts:
    """Sends alerts one after the other, in the background: nobody waits for a webhook."""

    def __init__(self, webhook: Secret | None) -> None:
        """`webhook` None: nobody is told."""
        self.webhook = webhook
        self._send, self._receive = trio.open_memory_channel[Mapping[str, Any]](_QUEUE)

    def raise_(self, kind: str, **facts: Any) -> None:
        """Have somebody told; the document is `kind` and these facts."""
        if self.webhook is None:
            return
        try:
            self._send.send_nowait({"kind": kind, **facts})
        except trio.WouldBlock:
            _log.warning("alert dropped", kind=kind)

    async def run(self) -> None:
        """Send until cancelled."""
        async for document in self._receive:
            await self._post(document)

    async def _post(self, document: Mapping[str, Any]) -> None:
        import httpx  # most configurations have no webhook, and it takes a while to load

        if self.webhook is None:
            return
        try:
            with trio.fail_after(_TIME_LIMIT):
                async with httpx.AsyncClient() as http:
                    answer = await http.post(self.webhook.reveal(), json=document)
                    answer.raise_for_status()
        except (httpx.HTTPStatusError, httpx.InvalidURL, httpx.TransportError, trio.TooSlowError) as error:
            _log.warning("alert not delivered", kind=document["kind"], reason=type(error).__name__)
