"""Making sure that an old primary takes no write before another server becomes the primary (rule 25).

A server counts as fenced when it is a standby by now; when the operator's command says so; when its processes have been
ended (embedded cluster); when its commits wait for more standbys than it has left; or when nobody listens at its port:
its postmaster is dead, nobody new comes in, and the proxy has closed its own connections, so that whatever a backend
left behind still does is told to nobody. Silence is no fence: a server that does not answer us may answer others.

Used by: failover.succession.
"""

from __future__ import annotations

import re
import shlex
from subprocess import DEVNULL
from typing import Final

import trio
from attrs import define, frozen

from helios_trio.cluster.observation import Observation
from helios_trio.cluster.steward import Steward, StewardError
from helios_trio.failover.signs import Look, Sign
from helios_trio.pipeline.backend import Backend

#: Characters kept of what a command says when it fails.
_SAID: Final = 200
#: `ANY 2 (...)`, `FIRST 2 (...)`, `2 (...)`; a list alone is `FIRST 1` (PostgreSQL docs: synchronous_standby_names).
_QUORUM: Final = re.compile(r"\s*(?:(?:ANY|FIRST)\s+)?(\d+)\s*\(", re.IGNORECASE)


@frozen
class Fenced:
    """Whether it is certain that a server takes no write, and how, or why not."""

    certain: bool
    how: str


@frozen
class Quorum:
    """What commits of a primary wait for, as far as it was known when it last answered."""

    #: standbys that a commit waits for
    needed: int = 0
    #: standbys that there may be, connected then or known here
    standbys: int = 0

    @classmethod
    def of(cls, seen: Observation | None, known: int) -> Quorum:
        """From what the primary said; `known`: standbys of it that the configuration names."""
        if seen is None:
            return cls()
        return cls(quorum_size(seen.synchronous_standby_names or ""), max(len(seen.standbys), known))

    def is_broken_without(self, gone: int) -> bool:
        """Whether no commit can be acknowledged once so many of the standbys have left."""
        return self.needed > 0 and self.standbys - gone < self.needed


def quorum_size(names: str) -> int:
    """How many standbys a commit waits for, by `synchronous_standby_names`."""
    if not names.strip():
        return 0
    found = _QUORUM.match(names)
    return int(found[1]) if found else 1


@define
class Fencing:
    """The ways to fence a server. Times in seconds."""

    steward: Steward
    command: str | None = None
    time_limit: float = 10.0

    async def fence(self, backend: Backend, look: Look, *, quorum_broken: bool) -> Fenced:
        """Make sure that a primary takes no write, which has shown itself like that when it was last looked at.

        `quorum_broken`: none of its commits can be acknowledged any more.
        """
        if look.sign is Sign.NOT_PRIMARY and look.observation is not None and look.observation.in_recovery:
            return Fenced(True, "it is a standby by now")
        said = ""
        if self.command is not None:
            said = await self._run(self.command, backend)
            if not said:
                return Fenced(True, "fence_command says so")
        if await self._end(backend.name):
            return Fenced(True, "its processes were ended")
        if quorum_broken:
            return Fenced(True, "its commits wait for standbys that it does not have any more")
        if look.sign is Sign.REFUSED and self.command is None:
            return Fenced(True, "nobody listens at its port")
        return Fenced(False, said or f"{look}, and there is no fence_command")

    async def _run(self, command: str, backend: Backend) -> str:
        """Run the operator's command; empty when it has succeeded, else what went wrong."""
        argv = fill_in(command, backend)
        with trio.move_on_after(self.time_limit):
            try:
                done = await trio.run_process(
                    argv, stdin=DEVNULL, stdout=DEVNULL, capture_stderr=True, check=False
                )
            except OSError as error:
                return f"fence_command cannot be run: {error.strerror}"
            if done.returncode == 0:
                return ""
            words = (done.stderr or b"").decode(errors="replace").strip()[:_SAID]
            return f"fence_command has ended with {done.returncode}" + (f": {words}" if words else "")
        return f"fence_command has not ended within {self.time_limit:g} s"

    async def _end(self, name: str) -> bool:
        try:
            with trio.fail_after(self.time_limit):
                return await self.steward.fence(name)
        except (StewardError, trio.TooSlowError):
            return False


def fill_in(command: str, backend: Backend) -> list[str]:
    """The words of a command with the placeholders replaced; a value never becomes more than one word."""
    values = {"{name}": backend.name, "{host}": backend.host, "{port}": str(backend.port)}
    return [
        re.sub(r"\{(?:name|host|port)\}", lambda found: values[found[0]], word)
        for word in shlex.split(command)
    ]
