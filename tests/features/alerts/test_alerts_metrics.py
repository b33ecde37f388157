"""The figures of alerts, as a scraper reads them."""

from __future__ import annotations

import trio
from admin_parts import make_parts
from alerts_rig import AT, happened
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families

from helios_trio.admin.metrics import expose
from helios_trio.admin.parts import Parts
from helios_trio.composition.alerting import alerting_of
from helios_trio.config import Config, Secret
from helios_trio.config.alerts import AlertSettings
from helios_trio.migration.events import EventLog

HIDDEN = "T0SECRETxB0SECRET"


def page_of(parts: Parts) -> str:
    return trio.run(expose, parts, "")[0].decode()


def figures(page: str) -> dict[tuple[str, str], float]:
    """Those of alerts, by name and receiver."""
    families = text_string_to_metric_families(page)
    samples = [sample for family in families for sample in family.samples]
    return {
        (sample.name, sample.labels.get("receiver", "")): sample.value
        for sample in samples
        if sample.name.startswith("helios_alerts")
    }


def test_figures_by_receiver() -> None:
    """From zero on, and no secret."""
    settings = AlertSettings(
        slack_webhook_url=Secret(f"https://a.example/{HIDDEN}"), pagerduty_integration_key=Secret(HIDDEN)
    )
    service = alerting_of(Config(alerts=settings), EventLog(lambda: AT)).service
    counters = service.counters["slack"]
    counters.sent, counters.failed, counters.dropped = 5, 2, 3
    service.core.hear(happened("server is unhealthy"), 0.0)
    page = page_of(evolve(make_parts(), alerts=service))
    assert figures(page) == {
        ("helios_alerts_open", ""): 1,
        ("helios_alerts_sent_total", "slack"): 5,
        ("helios_alerts_failed_total", "slack"): 2,
        ("helios_alerts_dropped_total", "slack"): 3,
        ("helios_alerts_sent_total", "pagerduty"): 0,
        ("helios_alerts_failed_total", "pagerduty"): 0,
        ("helios_alerts_dropped_total", "pagerduty"): 0,
    }
    assert HIDDEN not in page


def test_without_alerts() -> None:
    """Nothing is open, and nobody is told."""
    assert figures(page_of(make_parts())) == {("helios_alerts_open", ""): 0}
