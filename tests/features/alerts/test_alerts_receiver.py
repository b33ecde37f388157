"""One receiver, over real sockets: those that behave, and all those that do not."""

from __future__ import annotations

import hashlib
import hmac
import io
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import structlog
import trio
from alerts_rig import (
    HIDDEN,
    PATIENCE,
    Behaviour,
    Hostile,
    answers,
    answers_and_hangs,
    floods,
    hangs,
    hostile,
    make_alert,
    make_receiver,
    says,
    slams,
    until,
)
from certificates import Authority

from helios_trio import logs
from helios_trio.config.words import LogFormat, LogLevel
from helios_trio.features.alerts.receiver import Receiver

OK = answers(200, b"ok")
BOMB = b"HTTP/1.1 500 Oops\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\nnot a gzip!!"


@asynccontextmanager
async def running(receiver: Receiver) -> AsyncIterator[None]:
    """Delivers as long as the block lasts."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver.run)
        yield
        nursery.cancel_scope.cancel()


async def deliver(server: Hostile, alerts: int = 1, **more: object) -> Receiver:
    """Have so many alerts delivered, or given up."""
    receiver = make_receiver(server.url, **more)
    async with running(receiver):
        for number in range(alerts):
            receiver.put(make_alert(id=f"id{number}"))
        await until(lambda: receiver.counters.sent + receiver.counters.failed == alerts)
    return receiver


async def test_delivers_in_order() -> None:
    """Each once."""
    async with hostile(OK) as server:
        receiver = await deliver(server, 5)
    assert [each.json["id"] for each in server.heard] == [f"id{number}" for number in range(5)]
    assert {each.line for each in server.heard} == {"POST /hook HTTP/1.1"}
    assert {each.headers["content-type"] for each in server.heard} == {"application/json"}
    assert (receiver.counters.sent, receiver.counters.failed, receiver.counters.dropped) == (5, 0, 0)


async def test_signature_is_that_of_what_arrives() -> None:
    """Byte for byte."""
    async with hostile(OK) as server:
        await deliver(server, secret="key")
    (heard,) = server.heard
    signed = heard.headers["x-helios-timestamp"].encode() + b"." + heard.body
    expected = hmac.new(b"key", signed, hashlib.sha256).hexdigest()
    assert heard.headers["x-helios-signature"] == f"sha256={expected}"


@pytest.mark.parametrize(
    "trouble",
    [
        slams,
        answers(500, b"oops"),
        answers(503),
        answers(408),
        answers(429, Retry_After="0"),
        answers(429, Retry_After="soon"),
        says(b""),
        says(b"SSH-2.0-OpenSSH_9.2\r\n"),
        says(b"HTTP/1.1 200"),
        says(BOMB),
        floods(b"HTTP/1.1 500 Oops\r\n\r\n", b"x" * 65536),
        floods(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 1000),
    ],
    ids=["slams", "500", "503", "408", "429", "odd", "closes", "ssh", "half", "gzip", "body", "headers"],
)
async def test_tries_again(trouble: Behaviour) -> None:
    """What is temporary: the alert arrives, the same one."""
    async with hostile(trouble, trouble, OK) as server:
        receiver = await deliver(server)
    assert (receiver.counters.sent, receiver.counters.failed) == (1, 0)
    assert server.connections == 3
    assert {each.json["id"] for each in server.heard} == {"id0"}


@pytest.mark.parametrize("trouble", [hangs, floods(b"HTTP/1.1 ", b"1")], ids=["hangs", "drips"])
async def test_an_attempt_has_a_deadline(trouble: Behaviour) -> None:
    """Then comes the next one."""
    async with hostile(trouble, OK) as server:
        receiver = await deliver(server, timeout=0.2)
    assert (receiver.counters.sent, server.connections) == (1, 2)


@pytest.mark.parametrize(
    "trouble",
    [
        answers(400, b"invalid_payload"),
        answers(403),
        answers(404),
        answers(410),
        answers(307, Location="/hook"),
    ],
    ids=["400", "403", "404", "410", "redirection"],
)
async def test_a_refusal_is_final(trouble: Behaviour) -> None:
    """It is not asked again, and the next alert has its turn."""
    async with hostile(trouble, OK) as server:
        receiver = await deliver(server, 2)
    assert (receiver.counters.sent, receiver.counters.failed) == (1, 1)
    assert [each.json["id"] for each in server.heard] == ["id0", "id1"]


@pytest.mark.parametrize(
    "behaviour",
    [answers_and_hangs, floods(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n", b"x" * 65536)],
    ids=["hangs", "terabyte"],
)
async def test_what_was_accepted_is_not_sent_twice(behaviour: Behaviour) -> None:
    """However the answer goes on, of which no more than the beginning is read."""
    async with hostile(behaviour) as server:
        receiver = await deliver(server, timeout=0.3)
    assert (receiver.counters.sent, receiver.counters.failed, server.connections) == (1, 0, 1)


async def test_gives_up_in_time() -> None:
    """When an alert is too old; each has had one attempt."""
    async with hostile(answers(500)) as server:
        receiver = await deliver(server, 3, retry_for=0.0)
    assert (receiver.counters.failed, server.connections) == (3, 3)


async def test_nobody_there() -> None:
    """A port that nobody listens on."""
    async with hostile(OK) as server:
        pass
    receiver = await deliver(server, retry_for=0.05)
    assert (receiver.counters.sent, receiver.counters.failed) == (0, 1)


async def test_oldest_are_dropped() -> None:
    """When there is no room: what is being delivered stays, and so do the newest."""
    gate = trio.Event()

    async def waits(stream: trio.abc.Stream) -> None:
        await gate.wait()
        await OK(stream)

    async with hostile(waits) as server:
        receiver = make_receiver(server.url, queue_size=3)
        async with running(receiver):
            receiver.put(make_alert(id="first"))
            await until(lambda: server.heard)
            for number in range(10):
                receiver.put(make_alert(id=f"id{number}"))
            assert (receiver.waiting, receiver.counters.dropped) == (3, 7)
            gate.set()
            await until(lambda: receiver.counters.sent == 4)
    assert [each.json["id"] for each in server.heard] == ["first", "id7", "id8", "id9"]


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a netrc read."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with hostile(OK) as server:
        receiver = await deliver(server)
    assert receiver.counters.sent == 1
    assert "authorization" not in server.heard[0].headers


async def test_certificates_are_verified(tmp_path: Path) -> None:
    """An authority that nobody has named is not trusted, and neither is a certificate for another name."""
    authority = Authority(tmp_path)
    for name, ca_file, sent in (
        ("localhost", None, 0),
        ("elsewhere", authority.ca_file, 0),
        ("localhost", authority.ca_file, 1),
    ):
        pair = authority.issue(name, name)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.cert_file, pair.key_file)
        async with hostile(OK, tls=context) as server:
            receiver = await deliver(server, ca_file=ca_file, retry_for=0.0)
        assert (receiver.counters.sent, receiver.counters.failed) == (sent, 1 - sent), name
        assert len(server.heard) == sent


async def test_a_file_of_authorities_that_has_gone(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Nothing ends; it is read again later."""
    file = tmp_path / "ca.crt"
    receiver = make_receiver("https://127.0.0.1:1/", ca_file=file)
    tries: list[Path | None] = []

    @asynccontextmanager
    async def fails(ca_file: Path | None) -> AsyncIterator[None]:
        tries.append(ca_file)
        raise FileNotFoundError(ca_file)
        yield

    receiver.opener = fails  # type: ignore[assignment]
    async with running(receiver):
        await trio.sleep(1000)
    assert len(tries) > 5


@pytest.mark.parametrize("trouble", [answers(500, b"see /T0SECRETxB0SECRET"), slams, hangs, OK])
async def test_secrets_are_in_no_log(trouble: Behaviour) -> None:
    """At the level that tells most, of httpx too; neither the URL nor what a receiver repeats of it."""
    out = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure(LogLevel.DEBUG, LogFormat.JSON, out)
    try:
        async with hostile(trouble, path=f"/{HIDDEN}") as server:
            receiver = await deliver(server, timeout=0.2, retry_for=0.0, secret="HMAC" + HIDDEN)
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
    assert receiver.counters.sent or "alert not delivered" in out.getvalue()
    assert HIDDEN not in out.getvalue().replace(f"see /{HIDDEN}", "")


async def test_a_bug_stays_with_its_alert() -> None:
    """Rule 40: the next one is delivered."""

    class Broken:
        def document(self, alert: object, now: float) -> object:
            raise AssertionError("a bug")

    async with hostile(OK) as server:
        receiver = make_receiver(server.url)
        good, receiver.target = receiver.target, Broken()  # type: ignore[assignment]
        async with running(receiver):
            receiver.put(make_alert())
            await until(lambda: receiver.counters.failed)
            receiver.target = good
            receiver.put(make_alert(id="next"))
            await until(lambda: receiver.counters.sent)
    assert server.heard[0].json["id"] == "next"


async def test_can_be_cancelled_whatever_the_other_side_does() -> None:
    """In the middle of an attempt, at once."""
    for trouble in (hangs, answers_and_hangs, floods(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)):
        async with hostile(trouble) as server:
            receiver = make_receiver(server.url, timeout=600.0)
            with trio.fail_after(PATIENCE):
                async with running(receiver):
                    receiver.put(make_alert())
                    await until(partial(bool, server.heard))
