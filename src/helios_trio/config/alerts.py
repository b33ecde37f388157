"""`[alerts]`: who is told when something happens that an operator should know."""

from __future__ import annotations

import enum
import re
from ipaddress import ip_address
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from helios_trio.config.keys import key
from helios_trio.config.kinds import (
    Choice,
    Hidden,
    Kind,
    Name,
    Password,
    PositiveCount,
    ReadableFile,
    Seconds,
    Switch,
)
from helios_trio.config.secret import MASK, Secret

#: Printable ASCII without spaces: what a URL, and a key in a header, can have.
_VISIBLE: Final = re.compile(r"[!-~]+")


class Severity(enum.StrEnum):
    """How urgent an alert is, in PagerDuty's words, the most urgent first."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the least urgent."""
        return len(Severity) - 1 - list(Severity).index(self)


@frozen
class HiddenUrl(Kind):
    """An https URL that is shown nowhere, as whoever knows it can use it; http where `plain` or on this machine."""

    plain: bool = False
    secret = True

    @property
    def expected(self) -> str:
        where = "too" if self.plain else "on this machine only"
        return f"a URL that begins with https:// (http:// {where}; kept secret)"

    def from_text(self, text: str) -> Secret:
        _check_url(text, plain=self.plain)
        return Secret(text)

    def write(self, value: Any) -> str:
        return MASK


@frozen
class Url(Kind):
    """An https URL with nothing secret in it; http on this machine."""

    expected = "a URL that begins with https:// (http:// on this machine only)"

    def from_text(self, text: str) -> str:
        _check_url(text, plain=False)
        return text


@frozen
class HiddenWord(Hidden):
    """A key without spaces that is shown nowhere."""

    expected = "a key without spaces (kept secret)"

    def from_text(self, text: str) -> Secret:
        if _VISIBLE.fullmatch(text) is None:
            raise ValueError("not such a key")
        return Secret(text)


def _check_url(text: str, *, plain: bool) -> None:
    """Raises ValueError: it is no URL, or everybody on the way could read what is sent there, but for `plain`."""
    parts = urlsplit(text)
    if _VISIBLE.fullmatch(text) is None or not parts.hostname or parts.port == 0:
        raise ValueError("not a URL")
    if parts.scheme != "https" and not (parts.scheme == "http" and (plain or _is_local(parts.hostname))):
        raise ValueError("not a URL that is safe")


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


SeverityWord = Annotated[Severity, Choice(Severity)]
SecretUrl = Annotated[Secret, HiddenUrl()]
PlainSecretUrl = Annotated[Secret, HiddenUrl(plain=True)]
PlainUrl = Annotated[str, Url()]
SecretWord = Annotated[Secret, HiddenWord()]


@frozen(kw_only=True)
class AlertSettings:
    """Who is told when something happens that an operator should know. Without a receiver nobody is."""

    webhook_url: PlainSecretUrl | None = key(
        None, "gets a JSON document by POST for each alert", example="https://alerts.example.com/helios"
    )
    webhook_secret: Password | None = key(
        None, "signs these documents (HMAC-SHA256, header X-Helios-Signature)", example="${WEBHOOK_SECRET}"
    )
    webhook_min_severity: SeverityWord = key(Severity.INFO, "what is less urgent is not for the webhook")
    slack_webhook_url: SecretUrl | None = key(
        None,
        "an incoming webhook of Slack, or of what understands the same",
        example="https://hooks.slack.com/services/T0/B0/SECRET",
    )
    slack_min_severity: SeverityWord = key(Severity.INFO, "what is less urgent is not for Slack")
    pagerduty_integration_key: SecretWord | None = key(
        None, "of a service's integration of type Events API v2", example="${PAGERDUTY_KEY}"
    )
    pagerduty_url: PlainUrl = key(
        "https://events.pagerduty.com/v2/enqueue",
        "where these events go; https://events.eu.pagerduty.com/v2/enqueue for accounts in Europe",
    )
    pagerduty_min_severity: SeverityWord = key(Severity.ERROR, "what is less urgent is not for PagerDuty")
    alert_on_circuit_open: Switch = key(True, "a circuit has opened; several are open at once")
    alert_on_failover: Switch = key(
        True, "a primary is being missed, a failover is in difficulties, has failed, is over"
    )
    alert_on_no_primary: Switch = key(True, "no server takes writes")
    alert_on_server_down: Switch = key(True, "a server does not answer, or not as it should")
    alert_on_migration: Switch = key(
        True, "a migration has failed, was rolled back or interrupted, or waits for somebody"
    )
    source: Name | None = key(
        None,
        "this proxy's name in alerts, which tells those of several proxies apart; the machine's name unless given",
        example="proxy-1",
    )
    dedup_window: Seconds = key(
        300.0, "an alert that repeats itself within this time is sent once, and then with how often it did"
    )
    timeout: Seconds = key(10.0, "how long one attempt to deliver an alert may take")
    retry_for: Seconds = key(
        900.0, "how long after what has happened attempts are made; there is one in any case"
    )
    queue_size: PositiveCount = key(
        100, "alerts that wait for one receiver; of more the oldest are dropped, and counted"
    )
    ca_file: ReadableFile | None = key(
        None,
        "authorities (PEM) that sign certificates of receivers, besides the public ones",
        example="ca.crt",
    )

    @property
    def has_receiver(self) -> bool:
        """Whether anybody is told."""
        given = (self.webhook_url, self.slack_webhook_url, self.pagerduty_integration_key)
        return any(each is not None for each in given)
