"""[alerts]: what can be written there, and that nothing secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from helios_trio.config import Config, InvalidConfig, loads, masked_toml
from helios_trio.config.alerts import Severity

HIDDEN = "T0SECRETxB0SECRET"


def load(text: str, environment: dict[str, str] | None = None) -> Config:
    return loads(f"[alerts]\n{text}", environment or {}, source="test", folder=Path("/"))


def test_what_the_specification_shows() -> None:
    """Values from the environment."""
    text = (
        'slack_webhook_url = "${SLACK_WEBHOOK_URL}"\npagerduty_integration_key = "${PAGERDUTY_KEY}"\n'
        "alert_on_circuit_open = true\nalert_on_failover = true\n"
    )
    url = f"https://hooks.slack.com/services/{HIDDEN}"
    found = load(text, {"SLACK_WEBHOOK_URL": url, "PAGERDUTY_KEY": HIDDEN})
    assert found.alerts.slack_webhook_url is not None
    assert found.alerts.slack_webhook_url.reveal() == url
    assert found.alerts.has_receiver
    assert not Config().alerts.has_receiver
    assert HIDDEN not in repr(found)
    assert HIDDEN not in masked_toml(found)


def test_severities_are_ordered() -> None:
    """The most urgent has the highest rank."""
    ranks = [each.rank for each in (Severity.INFO, Severity.WARNING, Severity.ERROR, Severity.CRITICAL)]
    assert ranks == [0, 1, 2, 3]
    assert load('slack_min_severity = "critical"').alerts.slack_min_severity is Severity.CRITICAL


@pytest.mark.parametrize(
    "text",
    [
        f'slack_webhook_url = "http://hooks.slack.com/{HIDDEN}"',
        f'slack_webhook_url = "ftp://{HIDDEN}"',
        f'slack_webhook_url = "https://a b/{HIDDEN}"',
        f'slack_webhook_url = "https://[{HIDDEN}"',
        f'slack_webhook_url = "https://a:99999/{HIDDEN}"',
        f'slack_webhook_url = "https:///{HIDDEN}"',
        'slack_webhook_url = ""',
        'webhook_url = "alerts.example.com"',
        f'pagerduty_integration_key = "{HIDDEN} "',
        'pagerduty_integration_key = ""',
        'pagerduty_url = "http://events.example.com"',
        'webhook_min_severity = "bad"',
        "queue_size = 0",
        'dedup_window = "0s"',
        'ca_file = "/nowhere/ca.crt"',
    ],
)
def test_what_cannot_be_used_is_said_without_secrets(text: str) -> None:
    """With the key's path."""
    with pytest.raises(InvalidConfig) as caught:
        load(text)
    assert f"alerts.{text.partition(' ')[0]}" in str(caught.value)
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]:1/x", "https://example.com"]
)
def test_plain_http_is_for_this_machine(url: str) -> None:
    """For the webhook also elsewhere, as people have such receivers inside of their networks."""
    assert load(f'slack_webhook_url = "{url}"\npagerduty_url = "{url}"').alerts.pagerduty_url == url
    assert load('webhook_url = "http://alerts.internal/x"').alerts.webhook_url is not None
