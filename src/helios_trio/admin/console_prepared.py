"""Statements and portals of a client that talks to the console by the extended protocol. Pure.

There are no parameters, and values come in text format only. A portal may be executed in parts.

Used by: admin.console_session.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from attrs import define, field

from helios_trio.admin.console_commands import Command, parse
from helios_trio.admin.console_frames import Column, row_description
from helios_trio.admin.console_orders import columns_of
from helios_trio.errors import FeatureNotSupported, HeliosError
from helios_trio.wire.backend_messages import (
    BindComplete,
    CloseComplete,
    NoData,
    ParameterDescription,
    ParseComplete,
)
from helios_trio.wire.frontend_messages import STATEMENT, Bind, Close, Describe, Parse

#: Statements, and portals, that a client may have.
_MOST: Final = 100


@define(eq=False)
class Portal:
    """A command that is to be executed, or is under way."""

    command: Command
    #: the rows that have not been sent yet; None before it is executed
    rows: Iterator[bytes] | None = None
    tag: str = ""

    def take(self, limit: int) -> tuple[Iterator[bytes], bool]:
        """The next rows, 0 for all, and whether there is a limit."""
        assert self.rows is not None, "it has been executed"
        return (islice(self.rows, limit), True) if limit > 0 else (self.rows, False)


@define(eq=False)
class Prepared:
    """By name; the empty name is replaced without asking."""

    statements: dict[str, Command] = field(factory=dict)
    portals: dict[str, Portal] = field(factory=dict)

    def parse(self, message: Parse) -> bytes:
        """A statement. Raises HeliosError."""
        if message.types:
            raise FeatureNotSupported("the admin console knows no parameters")
        if message.name and message.name in self.statements:
            raise HeliosError(f'prepared statement "{message.name}" already exists', sqlstate="42P05")
        _check_room(self.statements, message.name)
        self.statements[message.name] = parse(message.query)
        return ParseComplete().encode()

    def bind(self, message: Bind) -> bytes:
        """A portal. Raises HeliosError."""
        if message.values:
            raise FeatureNotSupported("the admin console knows no parameters")
        if any(message.result_formats):
            raise FeatureNotSupported("the admin console has no values in binary format")
        if message.portal and message.portal in self.portals:
            raise HeliosError(f'cursor "{message.portal}" already exists', sqlstate="42P03")
        _check_room(self.portals, message.portal)
        self.portals[message.portal] = Portal(self.statement(message.statement))
        return BindComplete().encode()

    def describe(self, message: Describe) -> bytes:
        """The columns. Raises HeliosError."""
        if message.kind == STATEMENT:
            return ParameterDescription(()).encode() + _described(self.statement(message.name))
        return _described(self.portal(message.name).command)

    def close(self, message: Close) -> bytes:
        """It is gone; whether it was there does not matter."""
        found: dict[str, Command] | dict[str, Portal]
        found = self.statements if message.kind == STATEMENT else self.portals
        found.pop(message.name, None)
        return CloseComplete().encode()

    def statement(self, name: str) -> Command:
        """Raises HeliosError: there is none of that name."""
        if name not in self.statements:
            raise HeliosError(f'prepared statement "{name}" does not exist', sqlstate="26000")
        return self.statements[name]

    def portal(self, name: str) -> Portal:
        """Raises HeliosError: there is none of that name."""
        if name not in self.portals:
            raise HeliosError(f'portal "{name}" does not exist', sqlstate="34000")
        return self.portals[name]


def _check_room(found: dict[str, Command] | dict[str, Portal], name: str) -> None:
    if name not in found and len(found) >= _MOST:
        raise HeliosError(f"there are {_MOST} of them already", sqlstate="53400")


def _described(command: Command) -> bytes:
    columns: Sequence[Column] | None = columns_of(command)
    return NoData().encode() if columns is None else row_description(columns)
