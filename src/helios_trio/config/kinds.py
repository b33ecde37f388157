"""Kinds of values a key can hold: how each is read from TOML, printed back, and described when it is wrong.

A kind stands in the key's type (`Annotated[float, Duration()]`), so that type checkers see the plain Python
type and one table serves the loader, the commented defaults and the reference page.
"""

from __future__ import annotations

import enum
import ipaddress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from attrs import frozen

from helios_trio.config import addresses, units
from helios_trio.config.secret import MASK, Secret

_HIGHEST: Final = 2**31 - 1


class Expected(ValueError):
    """A value that cannot be used; its text says what was expected instead."""


@frozen
class Kind:
    """Base of all kinds. `textual` ones take a string of the environment as it is, others read it as TOML."""

    textual: ClassVar[bool] = True
    secret: ClassVar[bool] = False
    none_is_off: ClassVar[bool] = False
    """Whether None is a value, "off", and not an absent key."""

    @property
    def expected(self) -> str:
        """What to write, as words for an error message and for the reference page."""
        raise NotImplementedError

    def read(self, value: object) -> Any:
        """The Python value of a TOML `value`; raises `Expected`."""
        if not isinstance(value, str):
            raise Expected(self.expected)
        try:
            return self.from_text(value)
        except ValueError as error:
            raise Expected(self.expected) from error

    def from_text(self, text: str) -> Any:
        """The Python value of a string; raises ValueError."""
        return text

    def write(self, value: Any) -> Any:
        """The TOML value that `read` turns into `value` (a secret is masked)."""
        return str(value)


@frozen
class Text(Kind):
    """Any string that is not empty; `words` describes it."""

    words: str = "a string"
    empty: bool = False

    @property
    def expected(self) -> str:
        return self.words if self.empty else f"{self.words}, not empty"

    def from_text(self, text: str) -> str:
        if "\0" in text or not (text or self.empty):
            raise ValueError(text)
        return text


@frozen
class Host(Kind):
    """A host name, an address, or the folder of a unix socket."""

    expected = "a host name, an IP address or the folder of a unix socket"

    def from_text(self, text: str) -> str:
        if not text or any(sign in text for sign in "@ \t\n\0") or ("/" in text and not text.startswith("/")):
            raise ValueError(text)
        return text


@frozen
class Hidden(Kind):
    """A string that is shown nowhere."""

    expected = "a string (kept secret)"
    secret = True

    def from_text(self, text: str) -> Secret:
        return Secret(text)

    def write(self, value: Any) -> str:
        return MASK


@frozen
class Flag(Kind):
    """true or false."""

    expected = "true or false"
    textual = False

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise Expected(self.expected)
        return value

    def write(self, value: Any) -> bool:
        return bool(value)


@frozen
class Integer(Kind):
    """A whole number between two bounds."""

    minimum: int = 0
    maximum: int = _HIGHEST
    textual = False

    @property
    def expected(self) -> str:
        if self.maximum == _HIGHEST:
            return f"a whole number, at least {self.minimum}"
        return f"a whole number from {self.minimum} to {self.maximum}"

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.minimum <= value <= self.maximum:
            raise Expected(self.expected)
        return value

    def write(self, value: Any) -> int:
        return int(value)


@frozen
class Number(Kind):
    """A number that is not negative."""

    expected = "a number, at least 0"
    textual = False

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise Expected(self.expected)
        return float(value)

    def write(self, value: Any) -> float:
        return float(value)


@frozen
class Duration(Kind):
    """Seconds as a float; infinity where the file says "off"."""

    off: bool = False
    positive: bool = True

    @property
    def expected(self) -> str:
        return 'a duration such as "500ms", "30s", "5m" or "1h"' + (', or "off"' if self.off else "")

    def from_text(self, text: str) -> float:
        if text == units.OFF and not self.off:
            raise ValueError(text)
        seconds = units.parse_duration(text)
        if self.positive and not seconds:
            raise ValueError(text)
        return seconds

    def write(self, value: Any) -> str:
        return units.format_duration(value)


@frozen
class Size(Kind):
    """Bytes as an int."""

    expected = 'a size such as "16kB", "64MB" or "1GB"'

    def from_text(self, text: str) -> int:
        return units.parse_size(text)

    def write(self, value: Any) -> str:
        return units.format_size(value)


@frozen
class Choice(Kind):
    """One of the words of an enumeration."""

    words: type[enum.StrEnum]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.words)

    def from_text(self, text: str) -> enum.StrEnum:
        return self.words(text)


@frozen
class Choices(Kind):
    """A set of the words of an enumeration, in any order."""

    words: type[enum.StrEnum]
    textual = False

    @property
    def expected(self) -> str:
        return "a list of some of " + ", ".join(self.words)

    def read(self, value: object) -> frozenset[enum.StrEnum]:
        if not isinstance(value, list) or not all(each in list(self.words) for each in value):
            raise Expected(self.expected)
        return frozenset(self.words(each) for each in value)

    def write(self, value: Any) -> list[str]:
        return [str(word) for word in self.words if word in value]


@frozen
class Percentage(Kind):
    """A share of a whole: more than 0, at most 100."""

    expected = "a percentage, more than 0 and at most 100"
    textual = False

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100:
            raise Expected(self.expected)
        return float(value)

    def write(self, value: Any) -> float:
        return float(value)


@frozen
class Moment(Kind):
    """A point in time with its offset from UTC (RFC 3339)."""

    expected = 'a time such as "2030-01-31T23:00:00Z"'

    def from_text(self, text: str) -> datetime:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or "T" not in text.upper():
            raise ValueError(text)
        return moment

    def write(self, value: Any) -> str:
        return str(value.isoformat())


@frozen
class File(Kind):
    """A file that is readable when the configuration is loaded; relative to the configuration's folder."""

    expected = "the path of a readable file"

    def from_text(self, text: str) -> Path:
        if not text or "\0" in text:
            raise ValueError(text)
        return Path(text)


@frozen
class Folder(File):
    """A folder, which need not exist yet; relative to the configuration's folder."""

    expected = "the path of a folder"


@frozen
class NewFile(File):
    """A file, which need not exist yet; relative to the configuration's folder."""

    expected = "the path of a file"


@frozen
class ListenAddress(Kind):
    """One TCP address, or None where the file says "off"."""

    expected = '"host:port" or "off"'
    none_is_off = True

    def from_text(self, text: str) -> addresses.TcpAddress | None:
        if text == units.OFF:
            return None
        return addresses.parse_tcp(text)

    def write(self, value: Any) -> str:
        return units.OFF if value is None else str(value)


@frozen
class ListenAddresses(Kind):
    """One address, or a list of them."""

    expected = '"host:port" (port 0 to 65535), "unix:/folder", or a list of these'

    def read(self, value: object) -> tuple[addresses.Address, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise Expected(self.expected)
        try:
            return addresses.parse_addresses(texts)
        except ValueError as error:
            raise Expected(self.expected) from error

    def write(self, value: Any) -> str | list[str]:
        texts = [str(each) for each in value]
        return texts[0] if len(texts) == 1 else texts


@frozen
class Texts(Kind):
    """A list of strings."""

    expected = 'a list of strings, as ["a", "b"]'
    textual = False

    def read(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise Expected(self.expected)
        return tuple(value)

    def write(self, value: Any) -> list[str]:
        return list(value)


@frozen
class Network(Kind):
    """The addresses a rule is for: "all", or an address with an optional mask length, as in pg_hba.conf."""

    expected = '"all", an IP address, or a network such as "10.0.0.0/8"'

    def from_text(self, text: str) -> str:
        if text != "all":
            ipaddress.ip_network(text)
        return text


Name = Annotated[str, Text()]
HostName = Annotated[str, Host()]
Password = Annotated[Secret, Hidden()]
Switch = Annotated[bool, Flag()]
Count = Annotated[int, Integer(0)]
PositiveCount = Annotated[int, Integer(1)]
Port = Annotated[int, Integer(1, 65535)]
Weight = Annotated[float, Number()]
Percent = Annotated[float, Percentage()]
Seconds = Annotated[float, Duration()]
Lapse = Annotated[float, Duration(positive=False)]
"""Seconds, which may be none at all."""
Limit = Annotated[float, Duration(off=True)]
"""Seconds, or infinity for "off"."""
Bytes = Annotated[int, Size()]
ReadableFile = Annotated[Path, File()]
WritableFile = Annotated[Path, NewFile()]
DataFolder = Annotated[Path, Folder()]
