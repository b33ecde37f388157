"""The admin API of a proxy, as much of it as benches need. Called by `migration`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from attrs import frozen

from helios_trio.testing.running import ProxyProcess

_PATIENCE: Final = 60.0  # seconds; a session may wait for its transaction


@frozen
class Admin:
    """Asks one proxy."""

    http: httpx.AsyncClient

    async def get(self, path: str, **query: str | int) -> Any:
        """What it shows. Raises httpx.HTTPError."""
        return _said(await self.http.get(path, params=query))

    async def post(self, path: str, **body: Any) -> Any:
        """What it says to an order. Raises httpx.HTTPError."""
        return _said(await self.http.post(path, json=body))

    async def metric(self, name: str) -> float:
        """A metric without labels, as it is now. Raises httpx.HTTPError, LookupError."""
        answer = await self.http.get("/metrics/prometheus")
        answer.raise_for_status()
        found = re.search(rf"^{name} (\S+)$", answer.text, re.MULTILINE)
        if found is None:
            raise LookupError(f"there is no metric {name}")
        return float(found[1])


def _said(answer: httpx.Response) -> Any:
    answer.raise_for_status()
    return answer.json()


@asynccontextmanager
async def open_admin(proxy: ProxyProcess) -> AsyncIterator[Admin]:
    """The admin listener of this proxy, with the key it has made."""
    assert proxy.admin is not None, "it has a listener unless it was told otherwise"
    headers = {"Authorization": f"Bearer {proxy.ready['admin_key']}"}
    url = "http://{}:{}".format(*proxy.admin)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_PATIENCE, trust_env=False) as http:
        yield Admin(http)
