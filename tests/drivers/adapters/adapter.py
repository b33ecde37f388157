"""The interface that behaviours are written against, and the parts all drivers share.

SQL has `$1`, `$2` ... for parameters, whatever the driver's own style; each adapter translates. A driver says
in `can` what it is able to do; a behaviour that needs more is not run with it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from attrs import frozen

Row = tuple[Any, ...]


@frozen
class Endpoint:
    """Where to connect, as whom."""

    host: str
    port: int
    user: str
    database: str


class Session(ABC):
    """A connection through a driver, in autocommit mode unless inside `transaction`."""

    @abstractmethod
    def query(self, sql: str, *parameters: Any) -> list[Row]:
        """Rows of a statement with parameters, by the driver's usual way."""

    @abstractmethod
    def execute(self, sql: str, *parameters: Any) -> Any:
        """Run a statement without rows; whatever the driver tells about it (row count or tag)."""

    @abstractmethod
    def script(self, sql: str) -> None:
        """Run a string of several statements."""

    @abstractmethod
    def transaction(self, isolation: str | None = None) -> AbstractContextManager[None]:
        """A transaction in the driver's idiom: commits at the end, rolls back on an exception."""

    @abstractmethod
    def close(self) -> None:
        """Close in the driver's orderly way."""

    def prepare(self, sql: str) -> Callable[..., list[Row]]:
        """A server-side prepared statement, to be called with parameters."""
        raise NotImplementedError

    def execute_many(self, sql: str, rows: Sequence[Row]) -> None:
        """The driver's executemany."""
        raise NotImplementedError

    def stream(self, sql: str, size: int) -> Iterable[Row]:
        """Rows through a server-side cursor or portal, `size` at a time; needs an open transaction."""
        raise NotImplementedError

    def copy_in(self, sql: str, data: bytes) -> None:
        """COPY FROM STDIN."""
        raise NotImplementedError

    def copy_out(self, sql: str) -> bytes:
        """COPY TO STDOUT."""
        raise NotImplementedError

    def notifications(self, count: int) -> list[tuple[str, str]]:
        """Wait for this many notifications: channel and payload."""
        raise NotImplementedError

    def listen(self, channel: str) -> None:
        """Listen in the driver's idiom."""
        self.execute(f"listen {channel}")

    def cancel(self) -> None:
        """Cancel what the session is doing; called from another thread."""
        raise NotImplementedError

    def pipeline(self, statements: Sequence[tuple[str, Row]]) -> list[list[Row]]:
        """Run all in the driver's pipeline mode; the rows of each."""
        raise NotImplementedError

    def parameter_status(self, name: str) -> str | None:
        """What the driver believes a reported setting to be."""
        raise NotImplementedError

    def notices(self) -> list[str]:
        """Messages of the notices received so far."""
        raise NotImplementedError


class Adapter(ABC):
    """A driver: how to connect, what it can do, how to read its errors."""

    name: ClassVar[str]
    can: ClassVar[frozenset[str]]

    @abstractmethod
    def connect(self, endpoint: Endpoint, **settings: str) -> Session:
        """A new session; `settings` are start-up parameters."""

    @abstractmethod
    def sqlstate(self, error: BaseException) -> str | None:
        """The SQLSTATE of the driver's exception; None when it has none."""

    def close(self) -> None:  # noqa: B027 - most drivers hold nothing
        """Give back what the adapter holds (threads, processes)."""


_PARAMETER = re.compile(r"\$(\d+)")


def to_format_style(sql: str) -> str:
    """`$1` as `%s`; the behaviours number their parameters in order and use each once."""
    return _PARAMETER.sub("%s", sql.replace("%", "%%"))


def plain(row: Iterable[Any]) -> Row:
    """A row as a tuple of values that can be compared."""
    return tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
