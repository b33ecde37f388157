"""The primary by an operator's word: set, confirmed and cleared through the API, where that is the provider.

Used by: admin.api.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from attrs import frozen

from helios_trio.admin.parts import Parts
from helios_trio.admin.routing import Call, Route, changes
from helios_trio.admin.sessions import Why
from helios_trio.cluster.appointment import AppointmentRefused
from helios_trio.cluster.provider_manual import ManualProvider
from helios_trio.config.keys import REQUIRED, key
from helios_trio.config.kinds import Choice, Name
from helios_trio.migration.errors import Conflict, Fault, InvalidOrder, NotFound


class PrimaryAction(StrEnum):
    """What is said of a server: it is to be primary, it is, or nobody is."""

    SET = "set"
    CONFIRM = "confirm"
    CLEAR = "clear"


@frozen(kw_only=True)
class PrimaryBody:
    """What an operator says of the primary."""

    action: Annotated[PrimaryAction, Choice(PrimaryAction)] = key(
        REQUIRED,
        "set names the new primary, and nobody gets writes; confirm gives it the writes; clear: nobody is",
        example="set",
    )
    name: Name | None = key(None, "name of the server; not needed for clear", example="node2")
    reason: Why = key("", "why; stands in the events")


@frozen(kw_only=True)
class PrimaryView:
    """Who is primary, by the word of whom."""

    provider: str
    #: null: nobody is
    primary: str | None
    #: none, pending or confirmed; only a confirmed one gets writes
    status: str


def routes(parts: Parts, manual: ManualProvider) -> Iterator[Route]:
    """Orders about the primary."""

    async def say(call: Call) -> PrimaryView:
        body: PrimaryBody = call.body
        await _obey(manual, body.action, _name(parts, body))
        parts.events.note(f"primary: {body.action}", body.name or "", who=call.who, reason=body.reason)
        return primary_view(parts)

    summary = "Say which server is primary"
    yield changes("/api/v1/failover/primary", summary, PrimaryView, say, body=PrimaryBody)


def primary_view(parts: Parts) -> PrimaryView:
    """Who is primary now."""
    topology = parts.topology
    return PrimaryView(
        provider=str(parts.running.config.topology.provider),
        primary=topology.primary_name,
        status=topology.primary_status.value,
    )


def _name(parts: Parts, body: PrimaryBody) -> str:
    """The server that is meant. Raises NotFound, InvalidOrder."""
    if body.action is PrimaryAction.CLEAR and body.name is None:
        return ""
    if body.name is None:
        raise InvalidOrder([Fault("name", "expected the name of a server")])
    if body.name not in parts.topology.nodes:
        raise NotFound([Fault("name", f'there is no backend "{body.name}"')])
    if body.action is PrimaryAction.CLEAR and body.name != parts.topology.primary_name:
        raise Conflict([Fault("name", f"{body.name} is not the primary")])
    return body.name


async def _obey(manual: ManualProvider, action: PrimaryAction, name: str) -> None:
    """Raises Conflict."""
    match action:
        case PrimaryAction.SET:
            manual.set_primary(name)
        case PrimaryAction.CONFIRM:
            try:
                await manual.confirm(name)
            except AppointmentRefused as error:
                raise Conflict([Fault("name", error.message)]) from error
        case PrimaryAction.CLEAR:
            manual.clear()
