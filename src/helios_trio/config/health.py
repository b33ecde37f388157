"""`[health_checks]`: how servers are asked how they are, and what one must be like to take over sessions."""

from __future__ import annotations

from typing import Annotated, Final

from attrs import frozen

from helios_trio.config.conditions import Condition, Conditions
from helios_trio.config.keys import key
from helios_trio.config.kinds import Name, PositiveCount, Seconds, Switch

_REQUIRED: Final = (
    Condition("connection_success"),
    Condition("query_test_success"),
    Condition("replication_lag_ms", "<", 100.0),
)


@frozen(kw_only=True)
class HealthChecks:
    """How servers are asked how they are."""

    enabled: Switch = key(True, "false: servers are asked once, at the start, and never again", live=False)
    interval: Seconds = key(0.5, "from one probe of a server to the next", live=False)
    timeout: Seconds = key(0.5, "how long a server has to answer a probe", live=False)
    check_query: Name = key("SELECT 1", "the query that tests a server, run as the user of [control]")
    failure_threshold: PositiveCount = key(
        3,
        "probes in a row without an answer after which a server counts as down; one that refuses does at once",
    )
    required_checks: Annotated[tuple[Condition, ...], Conditions()] = key(
        _REQUIRED, "conditions that a backend must meet before sessions are moved to it"
    )
