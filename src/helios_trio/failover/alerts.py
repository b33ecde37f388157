"""Tells a webhook what somebody should know now: a failover has begun, has ended, or cannot go on without a human.

Used by: failover.controller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import structlog
import trio

from helios_trio.config.secret import Secret
from helios_trio.net.post import Document, Poster, open_poster

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
            async with open_poster() as poster:
                await self._post(poster, document)

    async def _post(self, poster: Poster, document: Mapping[str, Any]) -> None:
        if self.webhook is None:
            return
        body = json.dumps(document).encode()
        posted = Document(url=self.webhook, body=body, headers={"Content-Type": "application/json"})
        answer = await poster.post(posted, time_limit=_TIME_LIMIT)
        if not answer.accepted:
            _log.warning("alert not delivered", kind=document["kind"], answer=str(answer))
