"""What stands around the admin application: refusals of its own, requests with a body and without."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import trio
import trio.testing
from admin_parts import AS_OPERATOR, VIEWER, make_access, make_parts
from attrs import define, evolve, field
from quart import request
from quart_trio import QuartTrio

from helios_trio.admin.api import create_app
from helios_trio.admin.asgi import Requests, Turns
from helios_trio.admin.connections import RAW, Raw
from helios_trio.admin.pacing import BURST, SOON
from helios_trio.config.words import WithoutKey


@define
class Exchange:
    """One request, as a server would pass it on."""

    headers: Mapping[str, str] | list[tuple[str, str]] = field(factory=dict)
    messages: list[dict[str, Any]] = field(factory=lambda: [{"type": "http.request", "body": b""}])
    path: str = "/api/v1/version"
    method: str = "GET"
    kind: str = "http"
    sent: list[Any] = field(factory=list)

    async def of(self, app: Any) -> Exchange:
        pairs = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        scope = {
            "type": self.kind,
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
            "client": ("127.0.0.1", 1),
            "extensions": {},
            "state": {},
        }
        await app(scope, self._receive, self._send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def answered(self) -> dict[str, str]:
        return {name.decode().lower(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.sent[1:])

    async def _receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if not self.messages:
            await trio.sleep_forever()
        return self.messages.pop(0)

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


async def test_a_refusal_is_a_problem_like_any_other(autojump_clock: trio.testing.MockClock) -> None:
    """Though Quart never hears of the request."""

    async def nobody(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    turns = Turns(nobody, make_access(), frozenset(), lambda: 10)
    exchanges = [Exchange(headers={"X-API-Key": VIEWER}) for _ in range(BURST + 150)]
    async with trio.open_nursery() as nursery:
        for each in exchanges:
            nursery.start_soon(each.of, turns)
    refused = [each for each in exchanges if each.status == 429]
    assert 0 < len(refused) < 150
    for each in refused:
        assert each.answered["content-type"] == "application/problem+json"
        assert each.answered["content-length"] == str(len(each.body))
        assert each.answered["retry-after"] == "5"
        assert (each.answered["cache-control"], each.answered["x-content-type-options"]) == (
            "no-store",
            "nosniff",
        )
        assert json.loads(each.body) == {
            "type": "about:blank",
            "title": "Too Many Requests",
            "status": 429,
            "detail": "there are too many requests",
            "instance": "/api/v1/version",
        }


async def accept(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def exhaust(turns: Turns, nursery: trio.Nursery, exchange: Exchange, number: int = BURST + 1) -> None:
    """Use up the turns of its kind, one of which somebody waits for then."""
    for _ in range(number):
        nursery.start_soon(evolve(exchange, sent=[], messages=[]).of, turns)
    await trio.testing.wait_all_tasks_blocked()


KNOWN, UNKNOWN = ("X-API-Key", VIEWER), ("X-API-Key", "wrong")


@pytest.mark.parametrize(
    ("strangers", "others", "together"),
    [
        ([], [KNOWN], False),
        ([UNKNOWN], [KNOWN], False),
        ([UNKNOWN, KNOWN], [KNOWN], False),
        ([KNOWN, UNKNOWN], [KNOWN], True),
        ([("Authorization", "Bearer wrong"), KNOWN], [("Authorization", f"Bearer {VIEWER}")], False),
    ],
)
async def test_who_waits_for_whom(
    autojump_clock: trio.testing.MockClock,
    strangers: list[tuple[str, str]],
    others: list[tuple[str, str]],
    together: bool,
) -> None:
    """Of several keys the first counts, as it does when it is looked at in earnest."""
    turns = Turns(accept, make_access(), frozenset(), lambda: 10)
    async with trio.open_nursery() as nursery:
        await exhaust(turns, nursery, Exchange(strangers))
        began = trio.current_time()
        await Exchange(others).of(turns)
        assert (trio.current_time() > began) is together


@pytest.mark.parametrize("health", [WithoutKey.LOOPBACK, WithoutKey.NOWHERE])
async def test_nobody_takes_the_turns_of_probes(
    autojump_clock: trio.testing.MockClock, health: WithoutKey
) -> None:
    """By asking for what only looks like one, or without the key that it needs, or by another name."""
    access = make_access()
    access.health = health
    turns = Turns(accept, access, frozenset({"/health"}), lambda: 10)
    async with trio.open_nursery() as nursery:
        await exhaust(turns, nursery, Exchange(path="/healthy-or-not"))
        await exhaust(turns, nursery, Exchange({"Host": "page.example"}, path="/health"), number=1)
        await exhaust(turns, nursery, Exchange([KNOWN], path="/api/v1/version"))
        began = trio.current_time()
        await Exchange([KNOWN], path="/health").of(turns)
        assert trio.current_time() == began


async def test_ten_operators_open_the_console(autojump_clock: trio.testing.MockClock) -> None:
    """All at once; whoever asks for its files again and again keeps nobody from the API."""
    turns = Turns(accept, make_access(), frozenset(), lambda: 10)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            await exhaust(turns, nursery, Exchange(path="/"), 1)
            await exhaust(turns, nursery, Exchange(path="/console/app.js"), 29)
        assert trio.current_time() == 0.0
        await exhaust(turns, nursery, Exchange(path="/console/app.js"))
        await Exchange(path="/api/v1/version").of(turns)
        assert trio.current_time() == 0.0


async def test_handshakes_have_their_turn(autojump_clock: trio.testing.MockClock) -> None:
    """As requests have."""
    app = Turns(accept, make_access(), frozenset(), lambda: 10)
    exchanges = [Exchange(kind="websocket") for _ in range(BURST + 150)]
    async with trio.open_nursery() as nursery:
        for each in exchanges:
            nursery.start_soon(each.of, app)
    refused = [each for each in exchanges if each.status == 429]
    assert len(refused) > 50
    assert {each.sent[0]["type"] for each in refused} == {"websocket.http.response.start"}


async def test_whoever_comes_when_all_wait_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    """Without an answer, and before the others have theirs."""
    app = Turns(accept, make_access(), frozenset(), lambda: 10)
    ended: list[float] = []

    async def ask() -> None:
        scope = {
            "type": "http",
            "path": "/api/v1/version",
            "headers": [],
            "state": {RAW: Raw(nothing, bool, end)},
        }
        await app(scope, trio.sleep_forever, nothing)

    async def nothing(_message: Any) -> None:
        await trio.lowlevel.checkpoint()

    def end() -> None:
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(ask)
    assert len(ended) > 500
    assert set(ended) == {SOON}


def echo() -> QuartTrio:
    app = QuartTrio("echo")
    app.asgi_http_class = Requests

    @app.route("/api/v1/version", methods=["GET", "POST"])
    async def said() -> bytes:
        return await request.get_data()  # type: ignore[no-any-return]

    return app


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("pieces", [[], [b""], [b"one"], [b"one", b"two", b""]])
async def test_bodies_come_whole(declared: bool, pieces: list[bytes]) -> None:
    """However many pieces they come in, and whether or not a header says that there is one."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": each, "more_body": True} for each in pieces
    ]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    headers = {"Content-Length": str(len(b"".join(pieces)))} if declared else {}
    found = await Exchange(headers, messages, method="POST").of(echo())
    assert (found.status, found.body) == (200, b"".join(pieces))


async def test_whoever_goes_before_the_end_of_a_request() -> None:
    """Has no answer, and nothing waits for the rest."""
    with trio.fail_after(10):
        await Exchange({}, [{"type": "http.disconnect"}]).of(echo())


async def test_a_failing_view_is_a_problem_too() -> None:
    """As with quart-trio's own tasks."""
    app = create_app(make_parts())

    @app.get("/broken")
    async def broken() -> bytes:
        raise RuntimeError("on purpose")

    found = await Exchange(AS_OPERATOR, path="/broken").of(app)
    assert (found.status, json.loads(found.body)["status"]) == (500, 500)
    assert "on purpose" not in found.body.decode()
