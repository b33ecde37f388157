"""The live stream as the commands follow it: over losses, restarts and refusals, against one that a test writes."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
import trio
from fake_stream import FakeStream, Script, breaks, event, hello, picture, rejects, says

from helios_trio.cli import stream as module
from helios_trio.cli.client import KEY_HINT
from helios_trio.cli.stream import (
    Connected,
    Heard,
    Lost,
    Memory,
    Message,
    Stream,
    StreamRefused,
    address_of,
)
from helios_trio.cli.trio_running import run_trio
from helios_trio.errors import HeliosError

PATIENCE = 30.0
FIRST, SECOND = "2030-01-01T00:00:00.000Z", "2030-01-02T00:00:00.000Z"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_BUSY_PAUSE", 0.02)


async def followed(
    fake: FakeStream, count: int, memory: Memory | None = None, topics: tuple[str, ...] = ("events",)
) -> list[Heard]:
    """What is heard, up to so many."""
    heard: list[Heard] = []
    with trio.fail_after(PATIENCE), trio.CancelScope() as scope:

        def take(each: Heard) -> None:
            heard.append(each)
            if len(heard) >= count:
                scope.cancel()

        await Stream(fake.url, "helios_key", topics, memory or Memory()).follow(take)
    return heard


def kinds(heard: list[Heard]) -> list[str]:
    return [type(each).__name__ for each in heard]


# -- what is carried from one connection to the next -----------------------------------------------------------


def test_what_is_asked_for() -> None:
    """Topics, and the last event that was heard."""
    assert Memory().query(()) == ""
    assert Memory().query(("events", "traffic")) == "topics=events,traffic"
    assert Memory(last_event_id=0).query(("a&b",)) == "topics=a%26b&last_event_id=0"


def test_pauses_grow_and_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is twice as long, until a hello; a proxy that is busy is left alone for longer."""
    monkeypatch.undo()
    memory = Memory()
    assert [memory.pause(None) for _ in range(7)] == [0.5, 1, 2, 4, 5, 5, 5]
    memory.failures = 100_000
    assert memory.pause(None) == 5
    memory.note_hello(hello()["data"])
    assert memory.pause(None) == 0.5
    memory.failures = 0
    assert memory.pause(1013) == 5.0


def test_an_event_is_heard_once() -> None:
    """What comes again after a loss is no news; pictures always are."""
    memory = Memory(last_event_id=3)
    news = [memory.note_message(Message("events", id, {})) for id in (3, 4, 4, 6)]
    assert (news, memory.last_event_id) == ([False, True, False, True], 6)
    assert memory.note_message(Message("pools", None, {}))


def test_another_process_has_other_events() -> None:
    """Its ids begin anew: they are asked for from the beginning, and what was missed there counts no more."""
    memory = Memory(last_event_id=17, started_at=FIRST)
    assert memory.note_hello(hello(SECOND)["data"]) is None
    assert memory.last_event_id == 0
    connected = memory.note_hello(hello(SECOND, missed=5)["data"])
    assert connected is not None
    assert (connected.restarted, connected.missed) == (True, 0)
    again = memory.note_hello(hello(SECOND, missed=2)["data"])
    assert again is not None
    assert (again.restarted, again.missed) == (False, 2)


def test_without_events_a_restart_needs_no_second_connection() -> None:
    """Pictures are new anyway."""
    memory = Memory(started_at=FIRST)
    connected = memory.note_hello(hello(SECOND)["data"])
    assert connected is not None
    assert connected.restarted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9090", ("127.0.0.1", 9090, False)),
        ("https://proxy.example", ("proxy.example", 443, True)),
        ("http://[::1]/behind/", ("::1", 80, False)),
    ],
)
def test_addresses(url: str, expected: tuple[str, int, bool]) -> None:
    """Of the admin listener."""
    assert address_of(url) == expected


@pytest.mark.parametrize("url", ["http://[", "ftp://x", "http://", "http://x:port"])
def test_bad_addresses(url: str) -> None:
    """Are said to be none."""
    with pytest.raises(HeliosError, match="no answer from"):
        address_of(url)


# -- connections -------------------------------------------------------------------------------------------------


async def test_what_is_said_is_heard(nursery: trio.Nursery) -> None:
    """With the key at the handshake, and the topics in the query."""
    messages = [hello(), event(1), picture("pools", {"pools": []})]
    fake = await FakeStream([says(messages)]).start(nursery)
    heard = await followed(fake, 3, Memory(last_event_id=0), ("events", "pools"))
    assert kinds(heard) == ["Connected", "Message", "Message"]
    assert heard[1] == Message("events", 1, event(1)["data"])
    asked = "/api/v1/stream?topics=events,pools&last_event_id=0"
    assert fake.asked == [(asked, "Bearer helios_key")]


@pytest.mark.parametrize("end", [says([hello(), event(4)], 1001, "the proxy is stopping"), breaks])
async def test_a_lost_connection_is_made_again(nursery: trio.Nursery, end: Script) -> None:
    """It goes on after the last event; what comes twice is told once."""
    again = says([hello(missed=1), event(4), event(5)])
    memory = Memory(last_event_id=3)
    fake = await FakeStream([end, again]).start(nursery)
    heard = await followed(fake, 5, memory)
    events = [each.id for each in heard if isinstance(each, Message)]
    lost = next(each for each in heard if isinstance(each, Lost))
    assert events == [4, 5]
    assert lost.reason
    assert fake.asked[1][0].endswith("last_event_id=3" if end is breaks else "last_event_id=4")
    assert [each.missed for each in heard if isinstance(each, Connected)] == [0, 1]
    assert not any(each.restarted for each in heard if isinstance(each, Connected))


async def test_a_restarted_proxy_is_noticed(nursery: trio.Nursery) -> None:
    """Its events are heard from the first, although the old one had come further."""
    old = says([hello(FIRST), event(8), event(9)], 1001)
    new = says([hello(SECOND), event(1, "migration started"), event(2)])
    fake = await FakeStream([old, new]).start(nursery)
    heard = await followed(fake, 7, Memory(last_event_id=7))
    assert kinds(heard) == ["Connected", "Message", "Message", "Lost", "Connected", "Message", "Message"]
    assert [each.restarted for each in heard if isinstance(each, Connected)] == [False, True]
    assert [each.id for each in heard if isinstance(each, Message)] == [8, 9, 1, 2]
    assert [path.rpartition("=")[2] for path, _ in fake.asked] == ["7", "9", "0"]


async def test_a_proxy_that_comes_late(nursery: trio.Nursery) -> None:
    """Who had a connection before tries again and again, also while nobody listens or answers 503."""
    fake = await FakeStream(
        [says([hello()], 1013, "too slow a reader"), rejects(503), says([hello()])]
    ).start(nursery)
    heard = await followed(fake, 4)
    assert kinds(heard) == ["Connected", "Lost", "Lost", "Connected"]
    assert [each.reason for each in heard if isinstance(each, Lost)] == [
        "too slow a reader",
        "it answered 503",
    ]


@pytest.mark.parametrize(
    ("script", "words", "hint"),
    [
        (says([], 4401, "this API key is not known"), "this API key is not known", KEY_HINT),
        (says([], 4408), "this API key is not known", KEY_HINT),
        (says([hello()], 1008, "too much"), "has closed the stream: too much", None),
        (rejects(401), "is not known, or is not enough", KEY_HINT),
        (rejects(404), "answered 404; is it an admin listener", None),
        (says(["no json"]), "does not have what it should", None),
        (says(["[1]"]), "does not have what it should", None),
        (says([{"topic": "hello", "id": None, "data": {}}]), "does not have what it should", None),
    ],
)
async def test_refusals_are_final(
    nursery: trio.Nursery, script: Script, words: str, hint: str | None
) -> None:
    """Nothing is tried again that would end likewise."""
    fake = await FakeStream([script]).start(nursery)
    with trio.fail_after(PATIENCE), pytest.raises(StreamRefused, match=words) as raised:
        await Stream(fake.url, "helios_key").follow(lambda heard: None)
    assert (raised.value.hint, len(fake.asked)) == (hint, 1)


async def test_without_a_key_nobody_is_asked(nursery: trio.Nursery) -> None:
    """The proxy would wait five seconds for it."""
    fake = await FakeStream([says([hello()])]).start(nursery)
    with pytest.raises(StreamRefused):
        await Stream(fake.url, None).follow(lambda heard: None)
    assert fake.asked == []


async def test_the_first_attempt_finds_nobody() -> None:
    """That is an error; it is not tried again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with trio.fail_after(PATIENCE), pytest.raises(HeliosError, match="no answer from") as raised:
        await Stream(f"http://127.0.0.1:{port}", "key").follow(lambda heard: None)
    assert "helios serve" in (raised.value.hint or "")


async def test_somebody_else_listens_there(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is not even HTTP is none."""
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 0.5)

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"SSH-2.0-OpenSSH\r\n")

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    port = listener.socket.getsockname()[1]
    with trio.fail_after(PATIENCE), pytest.raises(HeliosError, match="no answer from"):
        await Stream(f"http://127.0.0.1:{port}", "key").follow(lambda heard: None)


async def test_a_peer_that_vanished_is_noticed(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither says anything nor answers a ping."""
    monkeypatch.setattr(module, "_HEARTBEAT", 0.05)
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.05)
    tcp: list[trio.SocketStream] = []

    async def relay(client: trio.SocketStream) -> None:
        """Passes bytes on, on the first connection only up to the hello."""
        tcp.append(client)
        first = len(tcp) == 1
        server = await trio.open_tcp_stream("127.0.0.1", int(fake.url.rpartition(":")[2]))
        async with server, trio.open_nursery() as both:
            both.start_soon(copy, server, client, None)
            await copy(client, server, 1 if first else None)
            if first:
                await trio.sleep_forever()
            both.cancel_scope.cancel()

    async def copy(source: trio.SocketStream, target: trio.SocketStream, chunks: int | None) -> None:
        while chunks is None or chunks > 0:
            if not (chunk := await source.receive_some()):
                return
            await target.send_all(chunk)
            chunks = None if chunks is None else chunks - 1

    fake = await FakeStream([says([hello()])]).start(nursery)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, relay, [listener])
    through = FakeStream([], url=f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
    heard = await followed(through, 3)
    assert kinds(heard) == ["Connected", "Lost", "Connected"]
    assert heard[1].reason == "the connection was lost"  # type: ignore[union-attr]
    nursery.cancel_scope.cancel()


# -- errors of nurseries -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([HeliosError("x"), ValueError()], HeliosError),
        ([HeliosError("x"), KeyboardInterrupt()], KeyboardInterrupt),
        ([BrokenPipeError()], BrokenPipeError),
        ([ValueError(), TypeError()], BaseExceptionGroup),
    ],
)
def test_of_several_errors_one_is_told(errors: list[BaseException], expected: type[BaseException]) -> None:
    """The one that says what a person must know; bugs keep all they have."""

    async def fail() -> Any:
        raise BaseExceptionGroup("outer", [BaseExceptionGroup("inner", errors)])

    with pytest.raises(expected):
        run_trio(fail)


def test_what_was_returned_is_returned() -> None:
    """Arguments are passed on."""

    async def work(text: str) -> Any:
        return json.loads(text)

    assert run_trio(work, "[1]") == [1]
