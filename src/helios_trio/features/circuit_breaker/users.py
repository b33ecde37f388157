"""No user may take a backend away from the others: a limit on requests per second, and one on the share of its time.

Who is beyond gets isolated for a while: a few requests at the same time, 53400 for what is beyond them. Kept per
backend and user, the last `MOST` of them. Pure: time is an argument, in seconds.

Used by: features.circuit_breaker.breaker.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from attrs import define, field

from helios_trio.features.circuit_breaker.ramp import TokenBucket
from helios_trio.features.circuit_breaker.recent import Recent
from helios_trio.features.circuit_breaker.refusals import UserSlowedDown

#: Users that are known at the same time, of one backend.
MOST: Final = 1000
#: Requests that an isolated user may have under way.
SLOTS: Final = 4
#: Share of the time of a saturated backend that is too much for one of several users.
TOO_MUCH: Final = 0.5
#: Seconds over which that share is taken.
WINDOW: Final = 10.0


@define(eq=False)
class User:
    """What is known of one."""

    bucket: TokenBucket
    #: requests that were let through and have not ended
    running: int = 0
    #: seconds that its requests took, in this window and the one before
    busy: float = 0.0
    earlier: float = 0.0
    isolated_until: float = -math.inf


@define(eq=False)
class UserBreakers:
    """The users of one backend."""

    #: requests per second
    rate: float
    isolate: bool
    #: seconds that somebody stays isolated
    duration: float
    users: Recent[User] = field(init=False)
    isolated: dict[str, float] = field(factory=dict, init=False)
    _window_ends: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self.users = Recent(MOST, lambda: User(TokenBucket(self.rate, self.rate, self.rate, -math.inf)))

    def admit(self, now: float, name: str) -> tuple[UserSlowedDown | None, str]:
        """Whether a request of that user may begin; and why the user was isolated by it, if so."""
        user = self.users.get(name)
        if user.isolated_until > now:
            return self._in_isolation(now, name, user), ""
        if user.bucket.take(now):
            user.running += 1
            return None, ""
        if not self.isolate:
            message = f'user "{name}" has begun more than {self.rate:g} requests within a second'
            return UserSlowedDown(message, 1.0), ""
        return self._in_isolation(now, name, user), self._isolate(
            now, name, f"more than {self.rate:g} requests per second"
        )

    def _in_isolation(self, now: float, name: str, user: User) -> UserSlowedDown | None:
        if user.running < SLOTS:
            user.running += 1
            return None
        message = f'user "{name}" is isolated, and may have {SLOTS} requests under way at a time'
        return UserSlowedDown(message, max(user.isolated_until - now, 1.0))

    def _isolate(self, now: float, name: str, reason: str) -> str:
        self.users.get(name).isolated_until = self.isolated[name] = now + self.duration
        return reason

    def release(self, name: str) -> None:
        """A request that was let through has ended."""
        user = self.users.find(name)
        if user is not None and user.running:
            user.running -= 1

    def note(self, name: str, seconds: float) -> None:
        """A request of that user has taken so long."""
        self.users.get(name).busy += seconds

    def tick(self, now: float, saturated: bool) -> Iterator[tuple[str, str]]:
        """Time has passed: who is isolated now, or no longer (empty reason), and why."""
        for name, until in tuple(self.isolated.items()):
            if now >= until:
                del self.isolated[name]
                yield name, ""
        if saturated and self.isolate and (heavy := self._heavy()) is not None:
            name, share = heavy
            if name not in self.isolated:
                yield (
                    name,
                    self._isolate(now, name, f"{100 * share:.0f} % of the time of a saturated backend"),
                )
        if now >= self._window_ends:
            self._window_ends = now + WINDOW
            for _, user in self.users:
                user.earlier, user.busy = user.busy, 0.0

    def _heavy(self) -> tuple[str, float] | None:
        """Who of several users has most of the time, and how much of it."""
        times = {name: user.busy + user.earlier for name, user in self.users if user.busy + user.earlier > 0}
        if len(times) < 2:
            return None
        name = max(times, key=times.__getitem__)
        share = times[name] / sum(times.values())
        return (name, share) if share > TOO_MUCH else None
