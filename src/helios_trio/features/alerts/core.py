"""From events to alerts: what is told at once, what is only counted, and what is told later. Pure: time is an argument.

* The same alert is told once within `window` seconds; then, if it goes on, once more with how often it has happened.
* Bad news that receivers do not know is told at once. Good news of something that has just come back is put off until
  it has been good for long enough: something that comes and goes is two messages and a count, and nobody is left in the
  belief that all is well while it is not.

Used by: features.alerts.service.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, evolve, field, frozen

from helios_trio.config.alerts import Severity
from helios_trio.features.alerts.alert import Alert, Status
from helios_trio.features.alerts.rules import RULES, Group, Rule, Topic
from helios_trio.migration.events import PROXY, Event

#: Things of which it is known whether they are open (rule 37); of more, those told longest ago are forgotten.
MOST: Final = 200


@define
class Told:
    """When alerts of one kind were told last, and what has come since."""

    at: float
    alert: Alert
    #: how often it has happened and was not told
    kept_back: int = 0


@define
class Incident:
    """One thing that receivers hear about."""

    group: Group
    open: bool = False
    #: what receivers believe
    told_open: bool = False
    #: the most urgent that was told since it opened
    severity: Severity = Severity.INFO
    #: before that moment good news is put off
    good_news_from: float = -math.inf
    #: good news that was put off
    good_news: Alert | None = None
    kinds: dict[str, Told] = field(factory=dict)

    @property
    def latest(self) -> Told | None:
        """What was told last of it."""
        return max(self.kinds.values(), key=lambda told: told.at, default=None)

    def take_count(self) -> int:
        """How often it has happened and was not told; from here on it counts as told."""
        count = sum(told.kept_back for told in self.kinds.values())
        for told in self.kinds.values():
            told.kept_back = 0
        return count


@frozen
class Naming:
    """How alerts of this proxy are told from those of others."""

    source: str
    #: gives an id that no alert has had
    new_id: Callable[[], str]


@define
class AlertCore:
    """Knows what is open, and who has been told. Times are those of one monotonic clock, in seconds."""

    naming: Naming
    window: float
    topics: frozenset[Topic] = frozenset(Topic)
    _incidents: dict[str, Incident] = field(factory=dict, init=False)

    @property
    def open(self) -> int:
        """How many things receivers believe not to be well."""
        return sum(incident.told_open for incident in self._incidents.values())

    # -- events ------------------------------------------------------------------------------------------------

    def hear(self, event: Event, now: float) -> list[Alert]:
        """What is to be told because of this event, now."""
        rule = RULES.get(event.kind)
        if rule is None or (rule.by_proxy_only and event.who != PROXY):
            return []
        if rule.status is Status.RESOLVED:
            return list(self._over(rule, event, now))
        if rule.topic not in self.topics:
            return []
        alert = self._alert(rule, event, self._key(rule.group, "" if rule.alone else event.subject))
        found = self._began(alert, rule.group, now)
        return [] if found is None else [found]

    def _began(self, alert: Alert, group: Group, now: float) -> Alert | None:
        """Something has begun, has got worse, or has happened."""
        incident = self._incident(alert.key, group)
        known = incident.told_open or alert.status is Status.NOTICE
        incident.open = alert.status is Status.OPEN
        incident.good_news = None
        last = incident.kinds.get(alert.kind)
        recent = last is not None and now < last.at + self.window
        if last is not None and recent and known:
            last.kept_back, last.alert = last.kept_back + 1, alert
            return None
        if not known:
            incident.good_news_from = now + self.window if recent else -math.inf
            incident.severity = Severity.INFO
            incident.kinds.clear()  # what was told of the last time says nothing of this one
        return self._tell(incident, alert, now)

    def _tell(self, incident: Incident, alert: Alert, now: float) -> Alert:
        last = incident.kinds.get(alert.kind)
        times = 1 if last is None else last.kept_back + 1
        incident.kinds[alert.kind] = Told(now, alert)
        incident.told_open = alert.status is Status.OPEN
        incident.severity = max(incident.severity, alert.severity, key=lambda each: each.rank)
        return evolve(alert, times=times)

    def _over(self, rule: Rule, event: Event, now: float) -> Iterator[Alert]:
        """Something is well again."""
        own = self._key(rule.group, "" if rule.alone else event.subject)
        keys = [self._ended_by(rule, event, own)]
        if rule.also_ends is not None:
            keys += self._other_end(rule.also_ends, event)
        for key in keys:
            alert = self._alert(rule, event, key)
            incident = self._incidents.get(key)
            if incident is not None:
                incident.open = False
                yield from self._good_news(incident, alert, now)
            elif rule.at_start:
                self._incident(key, rule.group).kinds[alert.kind] = Told(now, alert)
                yield evolve(alert, only_closes=True)

    def _ended_by(self, rule: Rule, event: Event, key: str) -> str:
        """The alert that an event ends: its own; else the open one that had the same reason, or the oldest one."""
        if not rule.ends_any:
            return key
        others = {
            other: incident
            for other, incident in self._incidents.items()
            if incident.group is rule.group and incident.open and other != key
        }
        for other, incident in others.items():
            if any(told.alert.reason == event.reason for told in incident.kinds.values()):
                return other
        return next(iter(others), key)

    def _other_end(self, ends: tuple[Group, str], event: Event) -> list[str]:
        group, kind = ends
        key = self._key(group, event.subject)
        incident = self._incidents.get(key)
        latest = None if incident is None or not incident.open else incident.latest
        return [key] if latest is not None and latest.alert.kind == kind else []

    def _good_news(self, incident: Incident, alert: Alert, now: float) -> Iterator[Alert]:
        if not incident.told_open:
            return
        if now < incident.good_news_from:
            incident.good_news = alert
            return
        incident.told_open, incident.good_news = False, None
        yield evolve(alert, severity=incident.severity, times=incident.take_count() + 1)

    # -- time --------------------------------------------------------------------------------------------------

    def due(self, now: float) -> list[Alert]:
        """What is to be told because time has passed."""
        found: list[Alert] = []
        for key, incident in list(self._incidents.items()):
            found += self._due(incident, now)
            if not incident.told_open and now >= _moment_of(incident, self.window):
                del self._incidents[key]
        return found

    def _due(self, incident: Incident, now: float) -> Iterator[Alert]:
        if incident.good_news is not None:
            yield from self._good_news(incident, incident.good_news, now)
            return
        for told in list(incident.kinds.values()):
            if told.kept_back and now >= told.at + self.window:
                times = told.kept_back
                told.kept_back = 0
                yield evolve(self._tell(incident, told.alert, now), times=times)

    def next_due(self) -> float:
        """When `due` has something to do; infinity: never, unless something happens."""
        return min((_moment_of(each, self.window) for each in self._incidents.values()), default=math.inf)

    # -- words -------------------------------------------------------------------------------------------------

    def _incident(self, key: str, group: Group) -> Incident:
        if key not in self._incidents and len(self._incidents) >= MOST:
            del self._incidents[next(iter(self._incidents))]
        return self._incidents.setdefault(key, Incident(group))

    def _key(self, group: Group, subject: str) -> str:
        return "/".join(each for each in (self.naming.source, group.value, subject) if each)

    def _alert(self, rule: Rule, event: Event, key: str) -> Alert:
        return Alert(
            id=self.naming.new_id(),
            key=key,
            status=rule.status,
            severity=rule.severity,
            kind=event.kind,
            subject=event.subject,
            reason=event.reason,
            who=event.who,
            at=event.at,
            source=self.naming.source,
            event_id=event.id,
        )


def _moment_of(incident: Incident, window: float) -> float:
    """When something is to be told of it, or it can be forgotten; infinity: neither, as things are."""
    if incident.good_news is not None:
        return incident.good_news_from
    waiting = [told.at + window for told in incident.kinds.values() if told.kept_back]
    if waiting or incident.told_open:
        return min(waiting, default=math.inf)
    return max(told.at + window for told in incident.kinds.values())
