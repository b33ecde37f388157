"""Runs a command's part that needs Trio; what goes wrong in a nursery comes out as the one error a person must see.

Used by: cli.events, cli.top, cli.doctor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

from helios_trio.errors import HeliosError

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

#: What says most comes first; anything else is a bug, and stays in its group, with all traces.
_FOREMOST: Final = (KeyboardInterrupt, HeliosError, BrokenPipeError)


def run_trio(work: Callable[[*Arguments], Awaitable[Result]], *arguments: *Arguments) -> Result:
    """What `work` returns. Raises the foremost of several errors: KeyboardInterrupt, HeliosError, BrokenPipeError."""
    try:
        return trio.run(work, *arguments)
    except BaseExceptionGroup as group:
        raise _foremost(group) from None


def _foremost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    for kind in _FOREMOST:
        found: BaseException | None = group.subgroup(kind)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if found is not None:
            return found
    return group
