"""Knocking at servers, and making sure that they take no write."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from attrs import define

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.steward import StewardError
from helios_trio.failover.examination import Expected, Knocker
from helios_trio.failover.fencing import Fencing
from helios_trio.failover.signs import Look, Sign
from helios_trio.pipeline.backend import Backend
from helios_trio.wire.codes import Backend as Code
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import encode_frame

ONE = Backend("one", "10.0.0.1", 5432)
ASKS_FOR_A_PASSWORD = encode_frame(Code.AUTHENTICATION, b"\0\0\0\3")
SEEN = Observation(False, 5000, None, None, 2, "7", "18.6")

Answer = Callable[[trio.SocketStream], Awaitable[None]]


def report(sqlstate: str) -> bytes:
    fields = {"S": "FATAL", "C": sqlstate, "M": "das Datenbanksystem startet"}
    return encode_frame(Code.ERROR_RESPONSE, ErrorFields.of(fields).encode())


async def look_at(answer: Answer, seconds: float = 10.0) -> Look:
    """What a knock shows at a server that does this with each connection."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    host, port = listener.socket.getsockname()
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            while True:
                async with await listener.accept() as stream:
                    await answer(stream)

        nursery.start_soon(accept)
        found = await Knocker("me", "postgres").knock(Backend("one", host, port), seconds)
        nursery.cancel_scope.cancel()
    await listener.aclose()
    return found


def saying(data: bytes) -> Answer:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(data)

    return answer


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()


@pytest.mark.parametrize(
    ("data", "sign"),
    [
        (ASKS_FOR_A_PASSWORD, Sign.ALIVE),
        (report("28000"), Sign.ALIVE),
        (report("53300"), Sign.ALIVE),
        (report("57P03"), Sign.NOT_READY),
    ],
    ids=["password", "not allowed", "too many", "starting up"],
)
async def test_what_a_server_says_to_a_knock(data: bytes, sign: Sign) -> None:
    """By its code, in whatever language."""
    assert (await look_at(saying(data))).sign is sign


async def test_a_server_that_hangs_up() -> None:
    """Has said nothing."""
    assert (await look_at(hang_up)).sign is Sign.NO_ANSWER


async def test_a_server_that_hangs_up_once() -> None:
    """Is knocked at again."""
    times = 0

    async def answer(stream: trio.SocketStream) -> None:
        nonlocal times
        times += 1
        await stream.receive_some()
        if times > 1:
            await stream.send_all(ASKS_FOR_A_PASSWORD)

    assert (await look_at(answer)).sign is Sign.ALIVE


async def test_a_server_that_says_nothing() -> None:
    """Until the time is over."""

    async def answer(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    found = await look_at(answer, 0.05)
    assert (found.sign, found.reason) == (Sign.NO_ANSWER, "no answer within 0.05 s")


async def test_nobody_listens(tmp_path: Path) -> None:
    """A port without a server, a socket's folder without a socket."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    for host in ("127.0.0.1", str(tmp_path)):
        assert (await Knocker("me", "postgres").knock(Backend("one", host, port), 10.0)).sign is Sign.REFUSED


@pytest.mark.parametrize(
    ("seen", "sign"),
    [
        (SEEN, Sign.ALIVE),
        (Observation(False, 1, None, None, 3, "7", ""), Sign.ALIVE),
        (Observation(False, None, None, None, None, None, ""), Sign.ALIVE),
        (Observation(True, 1, 1, 0.0, 2, "7", ""), Sign.NOT_PRIMARY),
        (Observation(False, 1, None, None, 2, "8", ""), Sign.NOT_PRIMARY),
        (Observation(False, 1, None, None, 1, "7", ""), Sign.NOT_PRIMARY),
    ],
    ids=["the same", "newer", "says nothing", "standby", "other data", "older"],
)
def test_rule_25_who_is_still_the_primary(seen: Observation, sign: Sign) -> None:
    """Not one of an older timeline, and no stranger at its address."""
    assert Expected("7", 2).judge(seen).sign is sign


# -- fencing ----------------------------------------------------------------------------------------------------


@define
class Ender:
    """A steward that can, or cannot, end servers."""

    can: bool = False
    error: bool = False

    async def fence(self, node: str) -> bool:
        await trio.lowlevel.checkpoint()
        if self.error:
            raise StewardError("no")
        return self.can


def fencing(command: str | None = None, *, can: bool = False, error: bool = False) -> Fencing:
    return Fencing(cast(Any, Ender(can, error)), command, 10.0)


@pytest.mark.parametrize(
    ("fence", "look", "broken", "how"),
    [
        (fencing(), Look(Sign.REFUSED), False, "nobody listens at its port"),
        (fencing(can=True), Look(Sign.NO_ANSWER), False, "its processes were ended"),
        (fencing(error=True), Look(Sign.REFUSED), False, "nobody listens at its port"),
        (
            fencing(),
            Look(Sign.NO_ANSWER),
            True,
            "its commits wait for standbys that it does not have any more",
        ),
        (
            fencing(),
            Look(Sign.NOT_PRIMARY, "", Observation(True, 1, 1, 0.0, 1, "7", "")),
            False,
            "it is a standby by now",
        ),
    ],
)
async def test_rule_25_what_is_a_fence(fence: Fencing, look: Look, broken: bool, how: str) -> None:
    """Each of these, by itself."""
    found = await fence.fence(ONE, look, quorum_broken=broken)
    assert (found.certain, found.how) == (True, how)


@pytest.mark.parametrize(
    "look",
    [Look(Sign.NO_ANSWER), Look(Sign.NOT_READY), Look(Sign.NOT_PRIMARY, "", SEEN)],
    ids=lambda each: each.sign,
)
async def test_rule_25_what_is_no_fence(look: Look) -> None:
    """Silence, words, a stranger at its address."""
    found = await fencing().fence(ONE, look, quorum_broken=False)
    assert not found.certain
    assert "there is no fence_command" in found.how


async def test_the_command_is_told_which_server(tmp_path: Path) -> None:
    """And says by its exit code whether it is fenced."""
    script = tmp_path / "fence.py"
    script.write_text("import sys; open(sys.argv[1], 'w').write(' '.join(sys.argv[2:]))")
    command = f"{sys.executable} {script} {tmp_path}/said {{name}} {{host}}:{{port}}"
    found = await fencing(command).fence(ONE, Look(Sign.NO_ANSWER), quorum_broken=False)
    assert (found.certain, found.how) == (True, "fence_command says so")
    assert (tmp_path / "said").read_text() == "one 10.0.0.1:5432"


@pytest.mark.parametrize(
    ("command", "how"),
    [
        (
            f"{sys.executable} -c 'import sys; sys.exit(\"no power switch\")'",
            "has ended with 1: no power switch",
        ),
        ("/no/such/program", "cannot be run: No such file or directory"),
    ],
)
async def test_a_command_that_fails_is_no_fence(command: str, how: str) -> None:
    """Not even for a server that refuses connections: whoever configures it wants to be sure."""
    found = await fencing(command).fence(ONE, Look(Sign.REFUSED), quorum_broken=False)
    assert (found.certain, found.how) == (False, f"fence_command {how}")


async def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    """It has its time limit."""
    fence = fencing(f"{sys.executable} -c 'import time; time.sleep(600)'")
    fence.time_limit = 0.2
    found = await fence.fence(ONE, Look(Sign.REFUSED), quorum_broken=False)
    assert (found.certain, found.how) == (False, "fence_command has not ended within 0.2 s")
