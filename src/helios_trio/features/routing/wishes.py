"""What a client wishes, from the hint in front of a statement and from its settings, as a `Wish` of the router.

    SET helios.route = 'standby';          SET helios.consistency = 'ryw';
    SET helios.max_lag = '2s';             SET helios.max_staleness = '2s';     -- the same
    SET helios.route_timeout = '1s';

What cannot be read is no wish, and is told so that it can be counted. An empty value is none: PostgreSQL gives it to
a parameter of a name of its own that was reset.

Used by: features.routing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TypeVar

from attrs import define, field, frozen

from helios_trio.pipeline.routing import ANYTHING, ROUTE_WORDS, Consistency, Wish
from helios_trio.sql.hints import NO_HINTS, Hints, consistency_of, route_of, seconds_of

ROUTE = "helios.route"
CONSISTENCY = "helios.consistency"
MAX_LAG = "helios.max_lag"
MAX_STALENESS = "helios.max_staleness"
ROUTE_TIMEOUT = "helios.route_timeout"
#: The settings that are read here: a session that has none of them wishes nothing.
SETTINGS = (ROUTE, CONSISTENCY, MAX_LAG, MAX_STALENESS, ROUTE_TIMEOUT)

_Value = TypeVar("_Value")


@frozen(kw_only=True)
class Wished:
    """A wish, and what of it could not be read or names a server that there is not."""

    wish: Wish = ANYTHING
    #: the parts of a hint, or the names of settings, that were ignored; there may be more of them than are told
    invalid: tuple[str, ...] = ()
    ignored: int = 0


NOTHING = Wished()


def wish_of_hints(hints: Hints, backends: Container[str] | None = None) -> Wished:
    """The wish in a hint.

    Args:
        hints: as read from the text.
        backends: names of servers; another name as a route is ignored. None: every name is taken.
    """
    if hints is NO_HINTS:
        return NOTHING
    route, invalid = hints.route, hints.not_understood
    ignored = hints.ignored
    if route is not None and not _is_place(route, backends):
        route, invalid, ignored = None, (*invalid, f"route={route}"), ignored + 1
    consistency = None if hints.consistency is None else Consistency(hints.consistency)
    wish = Wish(route=route, consistency=consistency, max_lag=hints.max_lag, timeout=hints.timeout)
    return Wished(wish=wish, invalid=invalid, ignored=ignored)


def wish_of_settings(settings: Mapping[str, str], backends: Container[str] | None = None) -> Wished:
    """The wish in a session's settings, by their names in lower case; of two for the lag the smaller one counts."""
    if not any(name in settings for name in SETTINGS):
        return NOTHING
    read = _Settings(settings)
    lags = [
        lag for lag in (read.get(MAX_LAG, seconds_of), read.get(MAX_STALENESS, seconds_of)) if lag is not None
    ]
    consistency = read.get(CONSISTENCY, consistency_of)
    wish = Wish(
        route=read.get(ROUTE, lambda text: _place(text, backends)),
        consistency=None if consistency is None else Consistency(consistency),
        max_lag=min(lags, default=None),
        timeout=read.get(ROUTE_TIMEOUT, seconds_of),
    )
    return Wished(wish=wish, invalid=tuple(read.invalid), ignored=len(read.invalid))


@define
class _Settings:
    """Reads settings and remembers which of them could not be read."""

    settings: Mapping[str, str]
    invalid: list[str] = field(factory=list)

    def get(self, name: str, read: Callable[[str], _Value | None]) -> _Value | None:
        text = self.settings.get(name, "")
        value = read(text) if text else None
        if text and value is None:
            self.invalid.append(name)
        return value


def _place(text: str, backends: Container[str] | None) -> str | None:
    route = route_of(text)
    return route if route is not None and _is_place(route, backends) else None


def _is_place(route: str, backends: Container[str] | None) -> bool:
    return backends is None or route in ROUTE_WORDS or route in backends
