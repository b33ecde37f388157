"""The receivers: the form in which each wants an alert. Pure: time is an argument.

* Webhook: our own document. With a secret it is signed: `X-Helios-Signature` is `sha256=` and the HMAC-SHA256 of the
  text of `X-Helios-Timestamp`, a dot, and the body, so that an old document cannot be sent again as a new one.
* Slack: an incoming webhook (api.slack.com/messaging/webhooks), text and one coloured attachment.
* PagerDuty: Events API v2 (developer.pagerduty.com, "Send an alert event").

Used by: features.alerts.receiver, cli.alerting.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from attrs import frozen

from helios_trio import __version__
from helios_trio.config.alerts import AlertSettings, Severity
from helios_trio.config.secret import Secret
from helios_trio.features.alerts.alert import Alert, Status
from helios_trio.net.post import Document

#: Characters of a reason that are sent: it may be as long as a server likes.
_LONGEST_REASON: Final = 1000
#: PagerDuty's limits of `summary` and `dedup_key`.
_LONGEST_SUMMARY: Final = 1024
_LONGEST_KEY: Final = 255

_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": f"helios_trio/{__version__}"}
_COLOURS: Final = {
    Severity.CRITICAL: "#a30200",
    Severity.ERROR: "#d9480f",
    Severity.WARNING: "#daa038",
    Severity.INFO: "#2c6fbb",
}
_GREEN: Final = "#2f7d32"
_ESCAPED: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class Target(Protocol):
    """Somebody who is told."""

    @property
    def min_severity(self) -> Severity:
        """What is less urgent is not for them."""

    @property
    def knows_keys(self) -> bool:
        """Whether the end of something is of use to it though it was not told of the beginning by this process."""

    def document(self, alert: Alert, now: float) -> Document:
        """What is posted to tell it; `now` in seconds since 1970 (UTC)."""


def takes(target: Target, alert: Alert) -> bool:
    """Whether this alert is for this receiver."""
    if alert.only_closes:
        return target.knows_keys
    return alert.severity.rank >= target.min_severity.rank


@frozen
class Webhook:
    """A URL that gets our own document."""

    url: Secret
    secret: Secret | None = None
    min_severity: Severity = Severity.INFO
    knows_keys: bool = False

    def document(self, alert: Alert, now: float) -> Document:
        """See `Target`."""
        body = _json(webhook_body(alert))
        headers = {**_HEADERS, "X-Helios-Delivery": alert.id}
        if self.secret is not None:
            timestamp = str(int(now))
            headers["X-Helios-Timestamp"] = timestamp
            headers["X-Helios-Signature"] = f"sha256={signature(self.secret, timestamp, body)}"
        return Document(url=self.url, body=body, headers=headers)


def signature(secret: Secret, timestamp: str, body: bytes) -> str:
    """What proves to a receiver that a document is from us, and how old it is."""
    return hmac.new(secret.reveal().encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def webhook_body(alert: Alert) -> Mapping[str, Any]:
    """The document that a webhook gets; fields may be added to it later."""
    return {
        "version": 1,
        "id": alert.id,
        "key": alert.key,
        "status": alert.status.value,
        "severity": alert.severity.value,
        "kind": alert.kind,
        "subject": alert.subject,
        "summary": _summary(alert),
        "reason": alert.reason[:_LONGEST_REASON],
        "who": alert.who,
        "at": _moment(alert),
        "times": alert.times,
        "source": alert.source,
        "event_id": alert.event_id,
    }


@frozen
class Slack:
    """An incoming webhook of Slack; its URL is the secret."""

    url: Secret
    min_severity: Severity = Severity.INFO
    knows_keys: bool = False

    def document(self, alert: Alert, now: float) -> Document:
        """See `Target`."""
        return Document(url=self.url, body=_json(slack_body(alert)), headers=_HEADERS)


def slack_body(alert: Alert) -> Mapping[str, Any]:
    """A line, and the particulars below it; nothing in them is taken for Slack's own markup or mentions anybody."""
    over = alert.status is Status.RESOLVED
    word = "RESOLVED" if over else alert.severity.upper()
    fields = {"Proxy": alert.source, "Subject": alert.subject, "By": alert.who, "Times": str(alert.times)}
    return {
        "text": _for_slack(f"{word} {alert.kind}: {alert.subject or alert.source}"),
        "attachments": [
            {
                "color": _GREEN if over else _COLOURS[alert.severity],
                "fallback": _for_slack(_summary(alert)),
                "text": _for_slack(alert.reason[:_LONGEST_REASON]),
                "mrkdwn_in": [],
                "fields": [
                    {"title": title, "value": _for_slack(value), "short": True}
                    for title, value in fields.items()
                    if value
                ],
                "ts": int(alert.at),
            }
        ],
    }


def _for_slack(text: str) -> str:
    return text.translate(_ESCAPED)


@frozen
class PagerDuty:
    """A service of PagerDuty, by the key of its integration."""

    key: Secret
    url: str
    min_severity: Severity = Severity.ERROR
    knows_keys: bool = True

    def document(self, alert: Alert, now: float) -> Document:
        """See `Target`."""
        body = {"routing_key": self.key.reveal(), **pagerduty_body(alert)}
        return Document(url=Secret(self.url), body=_json(body), headers=_HEADERS, secrets=(self.key,))


def pagerduty_body(alert: Alert) -> Mapping[str, Any]:
    """An event without the key that it is sent with."""
    resolved = alert.status is Status.RESOLVED
    return {
        "event_action": "resolve" if resolved else "trigger",
        "dedup_key": _dedup_key(alert),
        "client": "helios_trio",
        "payload": {
            "summary": _summary(alert)[:_LONGEST_SUMMARY],
            "source": alert.source,
            "severity": alert.severity.value,
            "timestamp": _moment(alert),
            "component": alert.subject,
            "class": alert.kind,
            "custom_details": {
                "reason": alert.reason[:_LONGEST_REASON],
                "who": alert.who,
                "times": alert.times,
                "event_id": alert.event_id,
            },
        },
    }


def _dedup_key(alert: Alert) -> str:
    """The same for all that is told of one thing; what has no end is a thing of its own."""
    key = f"{alert.key}/{alert.kind}" if alert.status is Status.NOTICE else alert.key
    return key if len(key) <= _LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()


def _summary(alert: Alert) -> str:
    return f"{alert.source}: {alert.summary}"[: _LONGEST_REASON + _LONGEST_KEY]


def _moment(alert: Alert) -> str:
    return datetime.fromtimestamp(alert.at, UTC).isoformat(timespec="milliseconds")


def _json(document: Mapping[str, Any]) -> bytes:
    # what a server says may be cut in the middle of a surrogate pair, which UTF-8 does not have: escaped, it is ASCII
    return json.dumps(document).encode("ascii")


#: Names of the receivers, in the order in which they are shown.
WEBHOOK: Final = "webhook"
SLACK: Final = "slack"
PAGERDUTY: Final = "pagerduty"


def targets_of(settings: AlertSettings) -> dict[str, Target]:
    """The receivers that are configured, by name."""
    found: dict[str, Target] = {}
    if settings.webhook_url is not None:
        found[WEBHOOK] = Webhook(settings.webhook_url, settings.webhook_secret, settings.webhook_min_severity)
    if settings.slack_webhook_url is not None:
        found[SLACK] = Slack(settings.slack_webhook_url, settings.slack_min_severity)
    if settings.pagerduty_integration_key is not None:
        found[PAGERDUTY] = PagerDuty(
            settings.pagerduty_integration_key, settings.pagerduty_url, settings.pagerduty_min_severity
        )
    return found
