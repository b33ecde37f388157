"""A conversation with a PostgreSQL server as data: what is sent, and what is waited for, step by step.

A step belongs to a connection, named by a label; a connection opens with the script's start-up parameters
when its label is first used, unless `OpenSocket` came first. Nothing here does I/O: `player.play` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
from attrs import field, frozen

from helios_trio.testing.requests import Request
from helios_trio.wire.codes import PROTOCOL_3_0

MAIN: Final = "main"
"""Label of the connection that steps belong to unless they say otherwise."""


@frozen(kw_only=True)
class Step:
    """What all steps have: the label of their connection."""

    on: str = MAIN


@frozen
class Open(Step):
    """Start-up, up to ReadyForQuery if expected; parameters add to the script's, None removes one."""

    parameters: Mapping[str, str | None] = field(factory=dict)
    version: int = PROTOCOL_3_0
    expect_ready: bool = True


@frozen
class OpenSocket(Step):
    """Connect only; nothing is sent."""


@frozen
class Send(Step):
    """Send bytes, in segments of `segment` bytes each sent alone where that is not None."""

    data: bytes
    segment: int | None = None


@frozen
class ReadByte(Step):
    """Read the one byte that answers an SSLRequest or GSSENCRequest."""


@frozen
class ExpectReady(Step):
    """Wait for `count` further ReadyForQuery messages."""

    count: int = 1


@frozen
class WaitFor(Step):
    """Wait for a further message of this class name."""

    kind: str


@frozen
class ExpectClosed(Step):
    """Wait until the server has closed the connection."""


@frozen
class HalfClose(Step):
    """Tell the server that nothing more will be sent, and go on reading."""


@frozen
class Close(Step):
    """Drop the connection without a word, unread bytes and all."""


@frozen
class Cancel(Step):
    """Send a cancel request for the step's connection, over a connection of its own, and wait for its end."""

    wrong_secret: bool = False


@frozen
class UntilTrue(Step):
    """Repeat a query on the observed server itself, over a connection of its own, until it gives `t`."""

    sql: str


def _encode(requests: tuple[Request, ...]) -> bytes:
    return b"".join(request.encode() for request in requests)


def send(*requests: Request) -> Step:
    """Send all in one piece."""
    return Send(_encode(requests))


def send_split(*requests: Request, size: int) -> Step:
    """Send all, `size` bytes at a time."""
    return Send(_encode(requests), size)


def ready(count: int = 1) -> Step:
    """Wait for ReadyForQuery, `count` times."""
    return ExpectReady(count)


def wait_for(kind: str) -> Step:
    """Wait for a message of this class name, for instance `"CopyInResponse"`."""
    return WaitFor(kind)


def closed() -> Step:
    """Wait until the server closes."""
    return ExpectClosed()


def ask(*requests: Request, ready: int = 1) -> tuple[Step, ...]:
    """Send all in one piece and wait for ReadyForQuery, `ready` times."""
    return Send(_encode(requests)), ExpectReady(ready)


def on(label: str, *steps: Step | tuple[Step, ...]) -> tuple[Step, ...]:
    """The same steps on another connection."""
    return tuple(attrs.evolve(step, on=label) for step in flatten(steps))


def flatten(steps: tuple[Step | tuple[Step, ...], ...]) -> tuple[Step, ...]:
    """Steps in a row, where helpers such as `ask` gave several at once."""
    found: list[Step] = []
    for step in steps:
        found.extend(step if isinstance(step, tuple) else (step,))
    return tuple(found)


@frozen
class Script:
    """Steps in order, with the start-up parameters of every connection they open."""

    name: str
    steps: tuple[Step, ...]
    parameters: Mapping[str, str] = field(factory=dict)
