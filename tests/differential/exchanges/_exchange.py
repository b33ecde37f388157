"""What an exchange is: a script, the pool modes in which it must look like PostgreSQL, and what it needs.

A new mode is added to `EVERY_MODE` and to the fixture that starts its proxy, nothing else. An exchange that
is right in session mode only says why.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from attrs import frozen

from helios_trio.testing.requests import BINARY_FORMAT as BINARY
from helios_trio.testing.requests import (
    bind,
    close_portal,
    close_statement,
    copy_data,
    copy_done,
    copy_fail,
    describe_portal,
    describe_statement,
    execute,
    extended,
    flush,
    frame,
    function_call,
    int4,
    int8,
    parse,
    query,
    raw,
    sync,
    terminate,
)
from helios_trio.testing.script import (
    Cancel,
    Close,
    HalfClose,
    Open,
    OpenSocket,
    ReadByte,
    Script,
    Step,
    UntilTrue,
    ask,
    closed,
    flatten,
    on,
    ready,
    send,
    send_split,
    wait_for,
)

__all__ = [
    "BINARY",
    "BOOL",
    "EVERY_MODE",
    "INT4",
    "INT8",
    "NOT_STATEMENT",
    "PRISTINE_ONLY",
    "SCRATCH",
    "SESSION_ONLY",
    "TEXT",
    "Cancel",
    "Close",
    "Exchange",
    "HalfClose",
    "Open",
    "OpenSocket",
    "ReadByte",
    "UntilTrue",
    "ask",
    "bind",
    "close_portal",
    "close_statement",
    "closed",
    "copy_data",
    "copy_done",
    "copy_fail",
    "describe_portal",
    "describe_statement",
    "exchange",
    "execute",
    "extended",
    "flush",
    "frame",
    "function_call",
    "insert",
    "int4",
    "int8",
    "on",
    "parse",
    "query",
    "raw",
    "ready",
    "send",
    "send_split",
    "sync",
    "terminate",
    "wait_for",
]

EVERY_MODE: Final = ("session", "pristine", "transaction", "statement")
NOT_STATEMENT: Final = ("session", "pristine", "transaction")
"""For exchanges with transactions of several requests, which statement mode refuses by definition."""
SESSION_ONLY: Final = ("session", "pristine")
PRISTINE_ONLY: Final = ("pristine",)

SCRATCH: Final = "truncate scratch"
"""Set-up for exchanges that write to the table `scratch`."""

BOOL: Final = 16
INT8: Final = 20
INT4: Final = 23
TEXT: Final = 25


@frozen
class Exchange:
    """A script and the modes in which every message of it must equal PostgreSQL's.

    `setup` and `cleanup` are SQL run on the server itself before and after each time it is played. With
    `loose_notifications`, modes named there may deliver notifications earlier or later among other messages;
    with `may_explain` the proxy may say FATAL 08P01 (rule 5) where PostgreSQL closes without a word.
    """

    script: Script
    modes: tuple[str, ...]
    setup: str
    cleanup: str
    mask_columns: Collection[str]
    loose_notifications: tuple[str, ...]
    may_explain: bool
    why: str
    topic: str = ""

    @property
    def name(self) -> str:
        """Unique over all topics; the id of its tests."""
        return self.script.name


def exchange(
    name: str,
    *steps: Step | tuple[Step, ...],
    modes: tuple[str, ...] = EVERY_MODE,
    setup: str = "",
    cleanup: str = "",
    parameters: Mapping[str, str] | None = None,
    mask_columns: Collection[str] = (),
    loose_notifications: tuple[str, ...] = (),
    may_explain: bool = False,
    why: str = "",
) -> Exchange:
    """An exchange of these steps; what helpers give as several steps is flattened."""
    script = Script(name, flatten(steps), parameters or {})
    return Exchange(script, modes, setup, cleanup, mask_columns, loose_notifications, may_explain, why)


def insert(number: int) -> tuple:
    """Messages that insert a row with this id into `scratch`."""
    return extended("insert into scratch values ($1, 'inserted')", str(number))
