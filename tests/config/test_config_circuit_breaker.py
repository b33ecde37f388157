"""The section about circuit breakers: what it holds, what it refuses, and what a backend has of its own."""

from __future__ import annotations

import math
from pathlib import Path

import attrs
import pytest

from helios_trio.config import (
    BackendSettings,
    BreakerMode,
    CircuitBreaker,
    Config,
    InvalidConfig,
    changes,
    loads,
    masked_toml,
)
from helios_trio.config.circuit_breaker import COMMON, PREFIX

FILE = """
[auth]
method = "trust"
[circuit_breaker]
enabled = true
mode = "adaptive"
failure_threshold_percentage = 7.5
latency_threshold_p95_ms = 400
latency_threshold_p99_ms = 1500
connection_saturation_threshold = 0.9
queue_depth_threshold = 50
lag_threshold = "20s"
metrics_window_size = "20s"
metrics_bucket_size = "500ms"
minimum_requests = 30
open_duration = "10s"
max_open_duration = "5m"
half_open_max_concurrent = 5
half_open_success_threshold = 90
half_open_probe_interval = "2s"
gradual_recovery_enabled = false
recovery_ramp_up_duration = "60s"
recovery_step_percentage = 20
query_level_breakers_enabled = true
slow_query_threshold_ms = 3000
user_level_breakers_enabled = true
per_user_rate_limit = 100
user_isolation_on_abuse = false
shed_first = ["batch_*", "report"]
shed_last = ["checkout"]
[[backends.pools]]
name = "a"
host = "h"
circuit_breaker_enabled = false
circuit_breaker_mode = "predictive"
circuit_breaker_latency_threshold_p95_ms = 1000
circuit_breaker_open_duration = "1m"
[[backends.pools]]
name = "b"
host = "h"
port = 5433
"""


def read(text: str) -> Config:
    return loads(text, {}, source="f", folder=Path("/"))


def test_every_key_is_read() -> None:
    """As the specification names them."""
    assert read(FILE).circuit_breaker == CircuitBreaker(
        enabled=True,
        mode=BreakerMode.ADAPTIVE,
        failure_threshold_percentage=7.5,
        latency_threshold_p95_ms=400,
        latency_threshold_p99_ms=1500,
        connection_saturation_threshold=0.9,
        queue_depth_threshold=50,
        lag_threshold=20.0,
        metrics_window_size=20.0,
        metrics_bucket_size=0.5,
        minimum_requests=30,
        open_duration=10.0,
        max_open_duration=300.0,
        half_open_max_concurrent=5,
        half_open_success_threshold=90.0,
        half_open_probe_interval=2.0,
        gradual_recovery_enabled=False,
        recovery_ramp_up_duration=60.0,
        recovery_step_percentage=20.0,
        query_level_breakers_enabled=True,
        slow_query_threshold_ms=3000,
        user_level_breakers_enabled=True,
        per_user_rate_limit=100,
        user_isolation_on_abuse=False,
        shed_first=("batch_*", "report"),
        shed_last=("checkout",),
    )


def test_off_by_default() -> None:
    """And what is left to other sections is off, too."""
    found = Config().circuit_breaker
    assert (found.enabled, found.mode, found.lag_threshold) == (False, BreakerMode.STATIC, math.inf)
    assert (found.queue_depth_threshold, found.query_level_breakers_enabled) == (0, False)


def test_a_backend_has_keys_of_its_own() -> None:
    """Those it gives hold for it alone, all others are the section's."""
    config = read(FILE)
    first, second = config.backends.pools
    own = config.circuit_breaker.for_backend(first)
    assert (own.enabled, own.mode, own.latency_threshold_p95_ms, own.open_duration) == (
        False,
        BreakerMode.PREDICTIVE,
        1000,
        60.0,
    )
    assert (own.minimum_requests, own.shed_last) == (30, ("checkout",))
    assert config.circuit_breaker.for_backend(second) == config.circuit_breaker


def test_every_key_can_be_a_backends_own() -> None:
    """But for those that hold for all backends together."""
    names = {each.name for each in attrs.fields(CircuitBreaker)} - COMMON
    own = {each.name for each in attrs.fields(BackendSettings) if each.name.startswith(PREFIX)}
    assert own == {PREFIX + name for name in names}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('mode = "clever"', "expected one of static, adaptive, predictive"),
        ("failure_threshold_percentage = 0", "expected a percentage, more than 0"),
        ("failure_threshold_percentage = 101", "expected a percentage"),
        ("latency_threshold_p95_ms = 0", "expected a whole number, at least 1"),
        ('latency_threshold_p95_ms = "500ms"', "expected a whole number"),
        ("connection_saturation_threshold = 95", "expected a share, more than 0 and at most 1"),
        ("connection_saturation_threshold = 0", "expected a share"),
        ("connection_saturation_threshold = true", "expected a share"),
        ("half_open_success_threshold = 100.5", "expected a percentage"),
        ("half_open_max_concurrent = 0", "expected a whole number, at least 1"),
        ('open_duration = "0s"', "expected a duration"),
        ("open_duration = 30", "expected a duration"),
        ('open_duration = "1h"', "expected at most max_open_duration"),
        ('metrics_bucket_size = "11s"', "expected at most metrics_window_size"),
        ('metrics_bucket_size = "10ms"', "expected at least a 600th of 1m"),
        ('metrics_window_size = "1h"', "expected at least a 600th of 1m and of metrics_window_size"),
        ("latency_threshold_p95_ms = 3000", "expected at most latency_threshold_p99_ms"),
        ("shed_first = 'batch'", "expected a list of strings"),
        ("minimum_request = 5", "did you mean minimum_requests?"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    """With the path and what was expected."""
    with pytest.raises(InvalidConfig) as caught:
        read(f"[circuit_breaker]\n{text}")
    assert words in str(caught.value)
    assert "circuit_breaker." in str(caught.value)


def test_a_backends_own_keys_are_checked_with_the_others() -> None:
    """What does not fit together is told with the backend's path, and only once."""
    own = 'circuit_breaker_open_duration = "1h"'
    with pytest.raises(InvalidConfig) as caught:
        read(f'[auth]\nmethod = "trust"\n[[backends.pools]]\nname = "a"\nhost = "h"\n{own}')
    assert str(caught.value) == (
        'f: backends.pools.0.circuit_breaker_open_duration: "1h": expected at most max_open_duration'
    )


@pytest.mark.parametrize(
    ("user", "priority"), [("batch_1", 0), ("report", 0), ("checkout", 2), ("anna", 1), ("Batch_1", 1)]
)
def test_who_is_refused_first(user: str, priority: int) -> None:
    """When load is shed."""
    assert read(FILE).circuit_breaker.priority_of(user) == priority


def test_what_a_reload_changes() -> None:
    """Thresholds do; whether there are circuits at all is decided at the start."""
    found = changes(Config(), read("[circuit_breaker]\nenabled = true\nminimum_requests = 5"))
    assert (found.live, found.restart) == (
        ("circuit_breaker.minimum_requests",),
        ("circuit_breaker.enabled",),
    )


def test_a_dump_loads_again() -> None:
    """All its kinds are printed as they are read."""
    config = read(FILE)
    assert read(masked_toml(config)) == config
