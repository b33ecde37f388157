"""Whether a new connection has the state of the old one: asked of both, and compared thing by thing (rule 18).

Names only are told, because values may be secrets (rule 39). Rows of cursors and of temporary tables are compared where
they are written; advisory locks change hands later.

Used by: session.carrying.carry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from helios_trio.errors import HeliosError
from helios_trio.session.carrying.capture import inner_text, is_the_clients
from helios_trio.session.carrying.survey import PreparedThere, Survey
from helios_trio.session.carrying.tracked import Tracked


class NotVerified(HeliosError):
    """The new connection is not what the old one is; the session stays."""

    code = "not_verified"


def digest(tracked: Tracked, survey: Survey) -> str:
    """A short name of everything that is compared: equal for equal states."""
    items = repr(sorted(_items(tracked, survey).items()))
    return blake2b(items.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def other_columns(tracked: Tracked, old: Survey, new: Survey) -> tuple[str, ...]:
    """Prepared statements that are the same, and would give other columns now.

    The old connection would answer 0A000, "cached plan must not change result type".
    """
    both = old.prepared.keys() & new.prepared.keys()
    return tuple(
        name
        for name in sorted(both)
        if is_the_clients(old.prepared[name], tracked)
        and old.prepared[name].result != new.prepared[name].result
    )


def differences(tracked: Tracked, old: Survey, new: Survey, without: Iterable[str] = ()) -> tuple[str, ...]:
    """What is on one side and not, or otherwise, on the other; each by its name.

    Prepared statements `without` which the session goes on are not compared.
    """
    here, there = _items(tracked, old), _items(tracked, new)
    ignored = {f"prepared statement {name}" for name in without}
    names = (here.keys() | there.keys()) - ignored
    return tuple(sorted(name for name in names if here.get(name) != there.get(name)))


def _items(tracked: Tracked, survey: Survey) -> dict[str, object]:
    """Name of each thing -> all that must be equal."""
    found = dict(_settings(tracked, survey))
    found |= {f"cursor {each.name}": (each.scrollable, each.binary) for each in survey.cursors.values()}
    for each in survey.prepared.values():
        if is_the_clients(each, tracked):
            found[f"prepared statement {each.name}"] = _statement(each, tracked)
    if not tracked.shared:
        channels = survey.channels - {tracked.division.marker}
        found |= {f"channel {name}": True for name in channels}
    return found


def _settings(tracked: Tracked, survey: Survey) -> Iterator[tuple[str, object]]:
    """client_encoding is another one while plans speak, and given back at the end.

    In shared modes the old connection may not have got yet what the client wants.
    """
    now = tracked.session.state.now
    ignored = {
        name for name in now.wanted.keys() | now.actual.keys() if now.wanted.get(name) != now.actual.get(name)
    }
    ignored = {"client_encoding", *(ignored if tracked.shared else ())}
    for name, value in (*survey.settings.items(), *survey.limits.items()):
        if name not in ignored:
            yield f"setting {name}", value
    for name, custom in survey.placeholders.items():
        yield f"setting {name}", custom
    yield "role", survey.role
    yield "session user", survey.session_user


def _statement(there: PreparedThere, tracked: Tracked) -> object:
    """Of one made by SQL the server keeps what else was sent with it."""
    text = inner_text(there, tracked) if there.by_sql else there.text
    return there.by_sql, text, there.types, there.result
