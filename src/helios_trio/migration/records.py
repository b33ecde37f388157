"""What is remembered of migrations, and of backends out of service, over a restart: one JSON file, replaced whole.

A record is written when a migration begins, turns or goes on to the next phase, before the operator is answered. What
a record says of sessions was true when it was written; after a restart there are none.

Used by: migration.orchestrator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
import trio
from attrs import frozen
from cattrs.preconf.json import make_converter

from helios_trio.migration.orders import MigrationOrder
from helios_trio.migration.states import State
from helios_trio.whole_file import replace_file

_log = structlog.get_logger(__name__)

FILE: Final = "migrations.json"
#: Records of migrations that have ended, and that nothing depends on, are kept up to this number.
KEPT: Final = 100


@frozen(kw_only=True)
class Change:
    """A migration came into this state; who made it, and why."""

    at: datetime
    state: State
    who: str
    reason: str = ""


@frozen(kw_only=True)
class Record:
    """A migration as it is written down."""

    id: int
    order: MigrationOrder
    state: State
    changes: tuple[Change, ...]
    #: index of the phase it is in, or was in last
    phase: int = 0
    moved: int = 0
    errors: int = 0
    client_errors: int = 0
    #: completed, and new sessions of the source still go to the target because of it
    diverts: bool = False


@frozen
class Kept:
    """All that is kept."""

    records: tuple[Record, ...] = ()
    #: backends that were taken out of service and not put back
    out_of_service: tuple[str, ...] = ()


_converter: Final = make_converter(forbid_extra_keys=False)


class RecordFile:
    """The file with the records; None as its folder keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._lock = trio.Lock()
        self._written = ""

    def load(self) -> Kept:
        """What was saved last. A file that cannot be read is set aside, and said so in the log."""
        if self._path is None or not self._path.exists():
            return Kept()
        try:
            return _converter.loads(self._path.read_text(encoding="utf-8"), Kept)
        except Exception as error:
            aside = self._path.with_suffix(".unreadable")
            self._path.replace(aside)
            _log.error("records of migrations cannot be read", set_aside=str(aside), error=repr(error))
            return Kept()

    async def save(self, kept: Callable[[], Kept]) -> None:
        """Replace the file's content; when this returns, what `kept` gives is on the disk. Raises OSError."""
        if self._path is None:
            return
        async with self._lock:  # asked inside of it, so that nothing older ever comes after something newer
            text = _converter.dumps(kept(), indent=1)
            if text != self._written:
                await trio.to_thread.run_sync(replace_file, self._path, text)
                self._written = text


def worth_keeping(records: Iterable[Record]) -> tuple[Record, ...]:
    """The newest ones, and those that something depends on."""
    ordered = sorted(records, key=lambda each: each.id)
    recent = {each.id for each in ordered[-KEPT:]}
    return tuple(each for each in ordered if each.id in recent or each.diverts)
