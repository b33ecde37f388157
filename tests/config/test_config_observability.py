"""`[observability]`: what is read, what is refused, and what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from helios_trio.config import Config, InvalidConfig, loads, masked_toml
from helios_trio.config.observability import LogQueries


def load(text: str) -> Config:
    return loads(f"[observability]\n{text}", {"TOKEN": "abc"}, source="test", folder=Path("/"))


def test_off_by_default() -> None:
    found = Config().observability
    assert not found.observes
    assert not found.traces


def test_all_of_it() -> None:
    found = load(
        'otlp_endpoint = "https://c:4318/x"\ntrace_sample_ratio = 1\nservice_name = "p"\nlog_queries = "slow"\n'
        'trace_headers = ["Authorization: Bearer ${TOKEN}", "X-Scope:  a b "]\nslow_query_threshold_ms = 5'
    ).observability
    assert found.traces
    assert found.observes
    assert found.log_queries is LogQueries.SLOW
    assert found.trace_sample_ratio == 1.0
    assert [(name, value.reveal()) for name, value in found.trace_headers] == [
        ("Authorization", "Bearer abc"),
        ("X-Scope", "a b"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        'otlp_endpoint = "c:4318"',
        'otlp_endpoint = "ftp://c"',
        'otlp_endpoint = "http://"',
        'otlp_endpoint = "http://user:pw@c"',
        'otlp_endpoint = "http://c/?a=b"',
        'otlp_endpoint = "http://c:0"',
        'otlp_endpoint = "http://c:99999"',
        'otlp_endpoint = "http://a b"',
        "trace_sample_ratio = 1.1",
        "trace_sample_ratio = -1",
        "trace_sample_ratio = nan",
        "trace_sample_ratio = true",
        'trace_headers = "a: b"',
        'trace_headers = ["a"]',
        'trace_headers = ["a b: c"]',
        'trace_headers = ["a: b\\r\\nc: d"]',
        "trace_headers = [1]",
        'log_queries = "some"',
        "slow_query_threshold_ms = 0",
    ],
)
def test_refused(line: str) -> None:
    with pytest.raises(InvalidConfig, match="observability"):
        load(line)


def test_headers_are_not_shown() -> None:
    shown = masked_toml(load('trace_headers = ["Authorization: Bearer abcdef"]'))
    assert "Authorization: ****" in shown
    assert "abcdef" not in shown
    with pytest.raises(InvalidConfig) as caught:
        load('trace_headers = ["Bearer abcdef"]')
    assert "abcdef" not in str(caught.value)
