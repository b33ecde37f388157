"""The form in which each receiver gets an alert."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from alerts_rig import AT, HIDDEN, make_alert

from helios_trio.config.alerts import AlertSettings, Severity
from helios_trio.config.secret import Secret
from helios_trio.features.alerts.alert import Status
from helios_trio.features.alerts.targets import PagerDuty, Slack, Webhook, takes, targets_of

SERVICE = PagerDuty(Secret(HIDDEN), "https://events.example.com/v2/enqueue")


def body_of(target: Any, **changes: Any) -> Any:
    return json.loads(target.document(make_alert(**changes), AT).body)


def test_webhook() -> None:
    """Everything that is known, in words of our own."""
    assert body_of(Webhook(Secret("https://a.example")), times=3) == {
        "version": 1,
        "id": "id1",
        "key": "proxy/server/node1",
        "status": "open",
        "severity": "error",
        "kind": "server is unhealthy",
        "subject": "node1",
        "summary": "proxy: server is unhealthy: node1 (connection refused) [3 times]",
        "reason": "connection refused",
        "who": "helios",
        "at": "2027-01-15T08:00:00.000+00:00",
        "times": 3,
        "source": "proxy",
        "event_id": 7,
    }


def test_webhook_is_signed() -> None:
    """With the moment of sending, as a receiver would check it; without a secret there is no signature."""
    document = Webhook(Secret("https://a.example"), Secret("key")).document(make_alert(), AT + 0.9)
    signed = f"{int(AT)}.".encode() + document.body
    assert document.headers["X-Helios-Timestamp"] == "1800000000"
    assert document.headers["X-Helios-Signature"] == (
        "sha256=" + hmac.new(b"key", signed, hashlib.sha256).hexdigest()
    )
    assert document.headers["X-Helios-Delivery"] == "id1"
    bare = Webhook(Secret("https://a.example")).document(make_alert(), AT)
    assert "X-Helios-Signature" not in bare.headers


def test_slack() -> None:
    """A line, and particulars; green when it is over."""
    body = body_of(Slack(Secret("https://a.example")))
    assert body["text"] == "ERROR server is unhealthy: node1"
    (attachment,) = body["attachments"]
    assert attachment["text"] == "connection refused"
    assert {each["title"]: each["value"] for each in attachment["fields"]} == {
        "Proxy": "proxy",
        "Subject": "node1",
        "By": "helios",
        "Times": "1",
    }
    over = body_of(Slack(Secret("https://a.example")), status=Status.RESOLVED, kind="server is healthy")
    assert over["text"] == "RESOLVED server is healthy: node1"
    assert over["attachments"][0]["color"] != attachment["color"]


def test_slack_takes_nothing_for_its_own_markup() -> None:
    """What a server says mentions nobody in the channel."""
    body = body_of(Slack(Secret("https://a.example")), reason="<!channel> & <http://a|b>", subject="<@U1>")
    text = json.dumps(body)
    assert "<" not in text
    assert ">" not in text
    assert "&lt;!channel&gt; &amp;" in text


def test_pagerduty() -> None:
    """An event that opens an incident, and one that closes it."""
    opened = body_of(SERVICE)
    assert opened == {
        "routing_key": HIDDEN,
        "event_action": "trigger",
        "dedup_key": "proxy/server/node1",
        "client": "helios_trio",
        "payload": {
            "summary": "proxy: server is unhealthy: node1 (connection refused)",
            "source": "proxy",
            "severity": "error",
            "timestamp": "2027-01-15T08:00:00.000+00:00",
            "component": "node1",
            "class": "server is unhealthy",
            "custom_details": {"reason": "connection refused", "who": "helios", "times": 1, "event_id": 7},
        },
    }
    closed = body_of(SERVICE, status=Status.RESOLVED, kind="server is healthy")
    assert closed["event_action"] == "resolve"
    assert closed["dedup_key"] == opened["dedup_key"]


def test_pagerduty_is_within_its_limits() -> None:
    """Of summaries and keys; what has no end is an incident of its own."""
    long = body_of(SERVICE, reason="r" * 5000, key="k" * 300, subject="s" * 2000)
    assert len(long["payload"]["summary"]) <= 1024
    assert len(long["dedup_key"]) == 64
    assert long["dedup_key"] != body_of(SERVICE, key="k" * 301)["dedup_key"]
    keys = {
        body_of(SERVICE, status=Status.NOTICE, kind=kind)["dedup_key"]
        for kind in ("migration failed", "migration rolled back")
    }
    assert len(keys) == 2


def test_anything_a_server_says_can_be_sent() -> None:
    """Half of a surrogate pair, control characters."""
    for target in (Webhook(Secret("https://a.example")), Slack(Secret("https://a.example")), SERVICE):
        assert body_of(target, reason="\ud83d \x00 ü")


def test_each_receiver_takes_what_is_urgent_enough() -> None:
    """And ends of what an earlier run has told only where they are known by their keys."""
    slack, service = Slack(Secret("https://a.example"), Severity.WARNING), SERVICE
    notice = make_alert(severity=Severity.WARNING)
    assert (takes(slack, notice), takes(service, notice)) == (True, False)
    assert not takes(slack, make_alert(severity=Severity.INFO))
    over = make_alert(status=Status.RESOLVED, severity=Severity.INFO, only_closes=True)
    assert (takes(slack, over), takes(service, over)) == (False, True)


def test_receivers_of_a_configuration() -> None:
    """Those with a URL or a key, and no secret in what Python prints of them."""
    assert targets_of(AlertSettings()) == {}
    settings = AlertSettings(
        webhook_url=Secret(f"https://a.example/{HIDDEN}"),
        webhook_secret=Secret(HIDDEN),
        slack_webhook_url=Secret(f"https://b.example/{HIDDEN}"),
        pagerduty_integration_key=Secret(HIDDEN),
    )
    found = targets_of(settings)
    assert list(found) == ["webhook", "slack", "pagerduty"]
    documents = [target.document(make_alert(), AT) for target in found.values()]
    assert HIDDEN not in repr((settings, found, documents))
