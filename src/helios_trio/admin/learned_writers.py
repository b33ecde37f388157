"""Statements that a standby has refused and that go to the primary since: shown, and forgotten.

Used by: admin.api.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from attrs import frozen

from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Route, changes, reads
from helios_trio.admin.sessions import Why
from helios_trio.config.keys import key
from helios_trio.features.transparent_write_routing.learned import LearnedWriter, LearnedWriters
from helios_trio.migration.errors import Fault, NotFound


@frozen(kw_only=True)
class LearnedWriterView:
    """One statement; its text has no constants."""

    database: str
    fingerprint: str
    text: str
    #: what the standby said: 25006 (read-only), 0A000 (not supported in recovery)
    sqlstate: str
    seen_at: datetime
    #: how often it was sent to the primary for this reason
    used: int


@frozen(kw_only=True)
class LearnedWritersView:
    """All of them, the latest last."""

    statements: tuple[LearnedWriterView, ...]


@frozen(kw_only=True)
class ForgottenView:
    """What has been forgotten."""

    forgotten: int


@frozen(kw_only=True)
class ForgetQuery:
    """How it is forgotten."""

    reason: Why = key("", "why; stands in the events")


def routes(parts: Parts, learned: LearnedWriters) -> Iterator[Route]:
    """Learned statements."""
    path = "/api/v1/routing/learned"

    async def show(_: Call) -> LearnedWritersView:
        return LearnedWritersView(statements=tuple(_view(each) for each in learned.all()))

    async def forget(call: Call) -> ForgottenView:
        fingerprint = call.path.get("fingerprint")
        count = learned.forget(fingerprint)
        if fingerprint is not None and not count:
            raise NotFound([Fault("", f'no statement with the fingerprint "{fingerprint}" was learned')])
        subject = fingerprint or "all"
        parts.events.note("learned writers forgotten", subject, who=call.who, reason=call.query.reason)
        return ForgottenView(forgotten=count)

    yield reads(path, "List statements that a standby has refused", LearnedWritersView, show)
    order = {"method": "DELETE", "query": ForgetQuery}
    yield changes(path, "Forget all statements that a standby has refused", ForgottenView, forget, **order)
    yield changes(f"{path}/<fingerprint>", "Forget one of them", ForgottenView, forget, **order)


def _view(writer: LearnedWriter) -> LearnedWriterView:
    return LearnedWriterView(
        database=writer.database,
        fingerprint=writer.fingerprint,
        text=writer.text,
        sqlstate=writer.sqlstate,
        seen_at=datetime.fromtimestamp(writer.seen_at, UTC),
        used=writer.used,
    )
