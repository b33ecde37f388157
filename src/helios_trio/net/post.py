"""Posts a small document to somebody else's server, and says what came of it: no answer can hurt whoever asks.

An attempt has a deadline, reads no more than the beginning of the answer, follows no redirection, and asks nobody's
proxy on the way. Certificates are verified. URLs may hold a secret (Slack's do), so none is ever shown.

Used by: features.alerts, failover.alerts, cli.alerting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from attrs import evolve, field, frozen

from helios_trio.config.secret import MASK, Secret

if TYPE_CHECKING:
    import httpx

#: Bytes of an answer that are read, and characters of it that are shown.
_READ: Final = 4096
_SHOWN: Final = 200
#: Statuses that are another attempt's business (RFC 9110, sections 15.5.9 and 15.6; RFC 6585, section 4).
_TRY_AGAIN: Final = frozenset({408, 425, 429})


@frozen(kw_only=True)
class Document:
    """What is posted, and where."""

    url: Secret
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    #: what is in the body and must be shown nowhere, should the receiver repeat it
    secrets: tuple[Secret, ...] = ()


@frozen(kw_only=True)
class Answer:
    """What came of one attempt."""

    #: of HTTP; None: there was no answer
    status: int | None
    #: the beginning of the answer, or why there was none
    text: str
    #: seconds for which the receiver wants to be left alone; None: it has not said
    retry_after: float | None = None
    #: the beginning of the answer as it came
    body: bytes = field(default=b"", repr=False)

    @property
    def accepted(self) -> bool:
        """Whether the receiver has it now."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def temporary(self) -> bool:
        """Whether another attempt may succeed."""
        return self.status is None or self.status in _TRY_AGAIN or self.status >= 500

    def __str__(self) -> str:
        return self.text if self.status is None else f"{self.status} {self.text}".rstrip()


@frozen
class Poster:
    """Posts documents over connections of their own."""

    _http: httpx.AsyncClient

    async def post(self, document: Document, *, time_limit: float) -> Answer:
        """One attempt, of at most so many seconds. Raises nothing that is the receiver's or the network's fault."""
        import httpx

        answer: Answer | None = None
        with trio.move_on_after(time_limit):
            try:
                async with aclosing(await self._send(document)) as response:
                    retry_after = seconds_of(
                        response.headers.get("Retry-After"), response.headers.get("Date")
                    )
                    answer = Answer(status=response.status_code, text="", retry_after=retry_after)
                    body = await _beginning(response)
                    answer = evolve(answer, text=_shown(body, document), body=body)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
                # what was answered before the connection broke stays answered
                answer = answer or Answer(status=None, text=_reason(error, document))
        return answer or Answer(status=None, text=f"no answer within {time_limit:g} s")

    async def _send(self, document: Document) -> httpx.Response:
        request = self._http.build_request(
            "POST", document.url.reveal(), content=document.body, headers=document.headers
        )
        request.stream = _whole(document.body)
        return await self._http.send(request, stream=True)


@asynccontextmanager
async def open_poster(ca_file: Path | None = None) -> AsyncIterator[Poster]:
    """A poster that trusts the public authorities, and those in `ca_file`.

    Raises OSError: that cannot be read (ssl.SSLError, which is one, included).
    """
    # a thread: reading the authorities takes tens of milliseconds, in which nobody's query would be served
    http = await trio.to_thread.run_sync(partial(_client, ca_file))
    async with http:
        yield Poster(http)


def _client(ca_file: Path | None) -> httpx.AsyncClient:
    import httpx  # most proxies post nothing, and it takes a while to load

    context = httpx.create_ssl_context(verify=True, trust_env=False)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    # posts are rare: a connection kept from the last one has mostly been closed by the other side
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(verify=context, timeout=None, trust_env=False, limits=limits)


def _whole(body: bytes) -> httpx.AsyncByteStream:
    """A body of one piece; httpx's own is left to the garbage collector when the connection breaks while it is sent."""
    import httpx

    class Whole(httpx.AsyncByteStream):
        def __init__(self) -> None:
            self._left = [body]

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop()

    return Whole()


async def _beginning(response: httpx.Response) -> bytes:
    """Of the answer as it was sent: unpacking it could make much out of little."""
    read = b""
    with trio.CancelScope() as enough:
        async for chunk in response.aiter_raw():
            read += chunk
            if len(read) >= _READ:
                # no break: it would leave httpx's iterators, one inside of the other, to the garbage collector
                enough.cancel()
    return read[:_READ]


def _shown(text: bytes, document: Document) -> str:
    decoded = text.decode("utf-8", "replace")
    for secret in (document.url, *document.secrets):
        decoded = decoded.replace(secret.reveal(), MASK)
    printable = "".join(each if each.isprintable() else " " for each in decoded)
    return " ".join(printable.split())[:_SHOWN]


def _reason(error: Exception, document: Document) -> str:
    """Without the URL, some of which stands in the message of an error about it."""
    import httpx

    text = "" if isinstance(error, httpx.InvalidURL | ValueError) else _shown(str(error).encode(), document)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def seconds_of(retry_after: str | None, date: str | None = None) -> float | None:
    """The header Retry-After (RFC 9110, section 10.2.3) in seconds; a time is compared with the answer's own date.

    None: there is none, or it cannot be understood.
    """
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        later, now = parsedate_to_datetime(text), parsedate_to_datetime(date or "")
        return max(0.0, (later - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
