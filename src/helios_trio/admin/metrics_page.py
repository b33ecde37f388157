"""The documentation of the metrics, made from their table; a test compares it with `docs/metrics.md`.

Used by: tests, and whoever writes that page anew.
"""

from __future__ import annotations

from helios_trio.admin.metric_kinds import Metric
from helios_trio.admin.metric_table import SECTIONS


def metrics_markdown() -> str:
    """The page `docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "`GET /metrics/prometheus` on the admin listener gives these, as text or, where the scraper asks for",
        "it, as OpenMetrics. Counters begin at 0 when the proxy starts. No label ever holds a secret or the",
        "text of a statement. This page is made from `src/helios_trio/admin/metric_table.py`.",
    ]
    for section in SECTIONS:
        lines += ["", f"## {section.title}", "", section.text, "", "| name | type | labels | what it is |"]
        lines += ["| --- | --- | --- | --- |", *map(_row, section.metrics)]
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"
