"""Which event is an alert: a table of the words of events.

An event opens an alert, resolves one, or is a notice that has no end. Alerts of one group and subject are one thing
to the receivers: a failover that begins, gets into difficulties and ends.

Used by: features.alerts.core.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from attrs import frozen

from helios_trio.config.alerts import AlertSettings, Severity
from helios_trio.features.alerts.alert import Status


class Topic(StrEnum):
    """What an operator switches on and off."""

    CIRCUIT = "circuit"
    FAILOVER = "failover"
    PRIMARY = "primary"
    SERVER = "server"
    MIGRATION = "migration"


class Group(StrEnum):
    """What an alert is about, besides its subject."""

    CIRCUIT = "circuit"
    CASCADE = "cascade"
    FAILOVER = "failover"
    FORMER_PRIMARY = "former primary"
    PRIMARY = "primary"
    SERVER = "server"
    MIGRATION = "migration"


@frozen
class Rule:
    """What an event of some kind means."""

    topic: Topic
    group: Group
    status: Status
    severity: Severity = Severity.INFO
    #: there is one of them, whatever the event's subject is
    alone: bool = False
    #: no news if a person did it
    by_proxy_only: bool = False
    #: the subject may be another one than that of what is over: a failover ends with the name of the new primary
    ends_any: bool = False
    #: it also ends these alerts about the same subject, in that group
    also_ends: tuple[Group, str] | None = None
    #: it is told at each start, so that it can end what an earlier run of the proxy has told
    at_start: bool = False


_OPEN, _OVER, _NOTICE = Status.OPEN, Status.RESOLVED, Status.NOTICE
_CRITICAL, _ERROR, _WARNING = Severity.CRITICAL, Severity.ERROR, Severity.WARNING

RULES: Final[Mapping[str, Rule]] = {
    "circuit opened": Rule(Topic.CIRCUIT, Group.CIRCUIT, _OPEN, _ERROR),
    "circuit held open": Rule(Topic.CIRCUIT, Group.CIRCUIT, _OPEN, _WARNING),
    "circuit closed": Rule(Topic.CIRCUIT, Group.CIRCUIT, _OVER),
    "circuit held closed": Rule(Topic.CIRCUIT, Group.CIRCUIT, _OVER),
    "circuit reset": Rule(Topic.CIRCUIT, Group.CIRCUIT, _OVER),
    "circuit cascade": Rule(Topic.CIRCUIT, Group.CASCADE, _OPEN, _CRITICAL),
    "circuit cascade is over": Rule(Topic.CIRCUIT, Group.CASCADE, _OVER),
    "failover begun": Rule(Topic.FAILOVER, Group.FAILOVER, _OPEN, _CRITICAL),
    "failover in difficulties": Rule(Topic.FAILOVER, Group.FAILOVER, _OPEN, _CRITICAL),
    "failover failed": Rule(Topic.FAILOVER, Group.FAILOVER, _OPEN, _CRITICAL),
    "failover completed": Rule(Topic.FAILOVER, Group.FAILOVER, _OVER, ends_any=True),
    "failover recovered": Rule(Topic.FAILOVER, Group.FAILOVER, _OVER),
    "former primary needs somebody": Rule(Topic.FAILOVER, Group.FORMER_PRIMARY, _OPEN, _ERROR),
    "former primary is a standby": Rule(Topic.FAILOVER, Group.FORMER_PRIMARY, _OVER),
    "primary is gone": Rule(Topic.PRIMARY, Group.PRIMARY, _OPEN, _CRITICAL, alone=True),
    "primary is confirmed": Rule(Topic.PRIMARY, Group.PRIMARY, _OVER, alone=True, at_start=True),
    "server is unhealthy": Rule(Topic.SERVER, Group.SERVER, _OPEN, _ERROR),
    # a failover that has failed is over, too, when the server that was missed is back: no event says so
    "server is healthy": Rule(
        Topic.SERVER, Group.SERVER, _OVER, at_start=True, also_ends=(Group.FAILOVER, "failover failed")
    ),
    "migration failed": Rule(Topic.MIGRATION, Group.MIGRATION, _NOTICE, _ERROR),
    "migration rolled back": Rule(Topic.MIGRATION, Group.MIGRATION, _NOTICE, _WARNING),
    "migration interrupted": Rule(Topic.MIGRATION, Group.MIGRATION, _NOTICE, _WARNING),
    "migration paused": Rule(Topic.MIGRATION, Group.MIGRATION, _NOTICE, _WARNING, by_proxy_only=True),
}


def wanted(settings: AlertSettings) -> frozenset[Topic]:
    """What is switched on."""
    switches = {
        Topic.CIRCUIT: settings.alert_on_circuit_open,
        Topic.FAILOVER: settings.alert_on_failover,
        Topic.PRIMARY: settings.alert_on_no_primary,
        Topic.SERVER: settings.alert_on_server_down,
        Topic.MIGRATION: settings.alert_on_migration,
    }
    return frozenset(topic for topic, switch in switches.items() if switch)
