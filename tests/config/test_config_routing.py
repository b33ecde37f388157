"""The sections about routing: what they hold, what they refuse, and when they are on."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config import Config, InvalidConfig, changes, keep_running, loads
from helios_trio.config.patterns import compiled, in_common
from helios_trio.config.routing import (
    Balancing,
    DefaultForReads,
    SyncMode,
    Temperature,
    TenantFrom,
    TenantSource,
)

BACKENDS = '[auth]\nmethod = "trust"\n[proxy]\nregion = "us-east-1"\n' + "".join(
    f'[[backends.pools]]\nname = "{name}"\nhost = "{name}"\n'
    for name in (
        "primary",
        "green_db",
        "eu_west_db",
        "us_east_db",
        "analytics",
        "vector-node",
        "archive",
        "west",
    )
)
FILE = """
[load_balancer]
strategy = "random_two"
latency_half_life = "3s"
[routing]
enabled = true
read_write_split = true
default_for_reads = "nearest"
hints = false
safe_functions = ["reporting.*"]
tenant_from = "setting:App.Tenant_Id"
rules_file = "rules.json"
[[routing.rules]]
tenant_pattern = "test_tenant_*"
backend = "green_db"
[[routing.rules]]
tenant_pattern = "test_tenant_*"
backend = "archive"
database = "shop"
user = "r*"
[[routing.geo_rules]]
tenant_pattern = "tenant_eu_*"
preferred_backend = "eu_west_db"
fallback_backend = "us_east_db"
[[routing.geo_rules]]
tenant_pattern = "tenant_us_*"
preferred_backend = "us_east_db"
[routing.workload]
enabled = true
oltp_target = "primary"
olap_target = "analytics"
vector_target = "vector-node"
[routing.temperatures]
cold = "archive"
warm = "replica"
[[routing.tables]]
pattern = "public.orders_*"
backend = "analytics"
[[routing.tables]]
pattern = "log"
temperature = "cold"
column = "at"
older_than = "90d"
[lag_routing]
max_lag = "1s"
max_lag_bytes = "16MB"
recover_after = "2s"
read_your_writes = false
[transparent_write_routing]
enabled = true
sync_mode = "semi_sync"
forward_timeout_ms = 100
"""


def read(text: str, backends: str = BACKENDS) -> Config:
    return loads(backends + text, {}, source="f", folder=Path("/configs"))


def lines(text: str, backends: str = BACKENDS) -> list[str]:
    """What is said to be wrong; nothing if it is all right."""
    try:
        read(text, backends)
    except InvalidConfig as error:
        return list(error.lines)
    return []


def test_every_key_is_read() -> None:
    """As the specification names them."""
    config = read(FILE)
    assert (config.load_balancer.strategy, config.load_balancer.latency_half_life) == (
        Balancing.RANDOM_TWO,
        3.0,
    )
    routing = config.routing
    assert (routing.enabled, routing.read_write_split, routing.hints) == (True, True, False)
    assert (routing.default_for_reads, routing.safe_functions) == (DefaultForReads.NEAREST, ("reporting.*",))
    assert routing.tenant_from == TenantSource(TenantFrom.SETTING, "app.tenant_id")
    assert routing.rules_file == Path("/configs/rules.json")
    assert [(each.tenant_pattern, each.backend, each.database, each.user) for each in routing.rules] == [
        ("test_tenant_*", "green_db", "*", "*"),
        ("test_tenant_*", "archive", "shop", "r*"),
    ]
    assert [(each.preferred_backend, each.fallback_backend) for each in routing.geo_rules] == [
        ("eu_west_db", "us_east_db"),
        ("us_east_db", None),
    ]
    assert (routing.workload.olap_target, routing.workload.vector_target) == ("analytics", "vector-node")
    assert routing.temperatures.target(Temperature.HOT) is None
    assert routing.tables[1].older_than == 90 * 86400.0
    lag = config.lag_routing
    assert (lag.max_lag, lag.max_lag_bytes, lag.recover_after) == (1.0, 16 << 20, 2.0)
    assert (lag.limits, lag.own_writes) == (True, False)
    writes = config.transparent_write_routing
    assert (writes.enabled, writes.sync_mode, writes.forward_timeout_ms) == (True, SyncMode.SEMI_SYNC, 100)


def test_off_unless_asked_for() -> None:
    """Without a file everything goes to the primary; once reads go elsewhere, sessions see their own writes."""
    config = Config()
    assert not config.wants_routing
    assert config.load_balancer.strategy is Balancing.LEAST_CONNECTIONS
    assert not config.routing.read_write_split
    assert not config.transparent_write_routing.enabled
    assert config.lag_routing.own_writes
    assert not config.lag_routing.limits
    assert config.lag_routing.max_lag == math.inf


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[routing]\nread_write_split = true", True),
        ('[[routing.rules]]\ntenant_pattern = "a"\nbackend = "archive"', True),
        ('[[routing.geo_rules]]\ntenant_pattern = "a"\npreferred_backend = "archive"', True),
        ("[routing.workload]\nenabled = true", True),
        ('[[routing.tables]]\npattern = "a"\nbackend = "archive"', True),
        ("[transparent_write_routing]\nenabled = true", True),
        ("[routing]\nenabled = true", True),
        ('[routing]\nenabled = false\n[[routing.rules]]\ntenant_pattern = "a"\nbackend = "archive"', False),
        ('[lag_routing]\nmax_lag = "1s"', False),
        ('[load_balancer]\nstrategy = "weighted"', False),
        ("[routing]\nhints = true", False),
    ],
)
def test_what_turns_it_on(text: str, wanted: bool) -> None:
    """Whatever sends a request elsewhere than to the primary."""
    assert read(text).wants_routing is wanted


def test_everything_wrong_is_said_at_once() -> None:
    """Each with its path and the reason."""
    found = lines(
        """
        [routing]
        tenant_from = "setting"
        [[routing.rules]]
        tenant_pattern = "a[bc]"
        backend = "archive"
        [[routing.rules]]
        tenant_pattern = "x"
        backend = "greendb"
        [[routing.geo_rules]]
        tenant_pattern = "tenant_*"
        preferred_backend = "archive"
        fallback_backend = "archive"
        [[routing.geo_rules]]
        tenant_pattern = "tenant_eu_*"
        preferred_backend = "nowhere"
        [routing.workload]
        olap_target = "analitics"
        oltp_target = "standby"
        [[routing.tables]]
        pattern = "a.b.c"
        backend = "archive"
        [[routing.tables]]
        pattern = "t"
        [[routing.tables]]
        pattern = "t"
        temperature = "hot"
        column = "at"
        [lag_routing]
        max_lag = "0s"
        max_lag_bytes = "0B"
        [transparent_write_routing]
        forward_timeout_ms = 0
        """
    )
    known = "primary, green_db, eu_west_db, us_east_db, analytics, vector-node, archive, west"
    pattern = "a pattern with * and ? (and without brackets)"
    assert sorted(found) == sorted(
        [
            'f: routing.tenant_from: "setting": expected application_name, user, database, or a setting such as '
            '"setting:app.tenant_id"',
            f'f: routing.rules.0.tenant_pattern: "a[bc]": expected {pattern}, not empty',
            f'f: routing.rules.1.backend: "greendb": expected the name of a backend ({known})',
            'f: routing.geo_rules.0.fallback_backend: "archive": expected another backend than preferred_backend',
            'f: routing.geo_rules.1.tenant_pattern: "tenant_eu_*": expected a pattern that matches no tenant of geo '
            'rule 0 (both match "tenant_eu_")',
            f'f: routing.geo_rules.1.preferred_backend: "nowhere": expected the name of a backend ({known})',
            'f: routing.workload.olap_target: "analitics": expected the name of a backend '
            f"(primary, replica, standby, {known})",
            'f: routing.tables.0.pattern: "a.b.c": expected table or schema.table, each of them a pattern with * and '
            "? (and without brackets), not empty",
            "f: routing.tables.1.backend: expected either backend or temperature",
            'f: routing.tables.2.temperature: "hot": expected a temperature whose server is given in '
            "[routing.temperatures]: hot is not",
            "f: routing.tables.2.older_than: expected a value, as column is given",
            'f: lag_routing.max_lag: "0s": expected a duration such as "500ms", "30s", "5m" or "1h", or "off"',
            'f: lag_routing.max_lag_bytes: "0B": expected more than 0: a standby is always a little behind',
            "f: transparent_write_routing.forward_timeout_ms: 0: expected a whole number, at least 1",
        ]
    )


def test_rule_that_would_never_count_is_refused() -> None:
    """The same patterns were asked before."""
    rule = '[[routing.rules]]\ntenant_pattern = "a"\nbackend = "archive"\n'
    (found,) = lines(rule + rule)
    assert found.startswith(
        'f: routing.rules.1.tenant_pattern: "a": expected other patterns than those of rule 0'
    )
    assert lines(rule + rule + 'user = "x"\n') == []


def test_nearest_needs_a_region() -> None:
    """Nobody is near otherwise."""
    backends = BACKENDS.replace('[proxy]\nregion = "us-east-1"\n', "")
    (found,) = lines('[routing]\ndefault_for_reads = "nearest"\n', backends)
    assert found == (
        "f: proxy.region: expected the region of this proxy, as routing.default_for_reads is nearest"
    )


def test_writes_are_not_routed_where_nothing_is() -> None:
    """The two contradict each other."""
    (found,) = lines("[routing]\nenabled = false\n[transparent_write_routing]\nenabled = true\n")
    assert found == "f: transparent_write_routing.enabled: true: expected false, as routing.enabled is false"


def test_servers_of_the_embedded_cluster_are_known() -> None:
    """node1, node2 and so on."""
    rule = '[[routing.rules]]\ntenant_pattern = "a"\nbackend = "node{}"\n'
    standbys = "[embedded]\nstandbys = 2\n"
    assert lines(rule.format(3) + standbys, "") == []
    (found,) = lines(rule.format(4) + standbys, "")
    assert found.endswith('"node4": expected the name of a backend (node1, node2, node3)')


def test_what_a_reload_changes() -> None:
    """Rules, targets and limits; whether anything is routed at all is decided at the start."""
    old, new = read("[routing]\nread_write_split = true\n"), read(FILE)
    found = changes(old, new)
    assert {"routing.rules", "routing.workload.enabled", "routing.hints", "lag_routing.max_lag"} <= set(
        found.live
    )
    assert {"load_balancer.strategy", "transparent_write_routing.sync_mode"} <= set(found.live)
    assert set(found.restart) == {
        "routing.enabled",
        "routing.rules_file",
        "transparent_write_routing.enabled",
    }
    kept = keep_running(old, new)
    assert kept.routing.rules == new.routing.rules
    assert kept.routing.rules_file is None


def test_routing_neither_begins_nor_ends_at_a_reload() -> None:
    """What would make it is named, and waits for the next start."""
    old, new = (
        read(""),
        read('[routing]\nread_write_split = true\nhints = false\n[lag_routing]\nmax_lag = "1s"\n'),
    )
    for before, after in ((old, new), (new, old)):
        assert changes(before, after) == (
            ("lag_routing.max_lag",),
            ("routing.read_write_split", "routing.hints"),
        )
        assert keep_running(before, after).routing == before.routing


TOML = re.compile(r"^```toml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_documented_configurations_are_good() -> None:
    """Those of docs/routing.md."""
    found = TOML.findall((Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8"))
    assert len(found) >= 5
    assert [lines(text) for text in found] == [[]] * len(found)


PATTERNS = st.text("ab*?", min_size=1, max_size=6)


@given(PATTERNS, PATTERNS, st.text("abx", max_size=6))
def test_what_patterns_have_in_common(one: str, other: str, name: str) -> None:
    """A name is found exactly where there is one, and it matches both."""
    found = in_common(one, other)
    both = (compiled(one), compiled(other))
    if found is not None:
        assert all(each.fullmatch(found) for each in both)
    elif all(each.fullmatch(name) for each in both):
        pytest.fail(f"{name!r} matches {one!r} and {other!r}")


@given(st.text(min_size=1, max_size=10))
def test_everything_but_the_two_signs_is_itself(text: str) -> None:
    """Also what would mean something in a regular expression."""
    plain = re.sub(r"[*?]", "", text)
    assert compiled(plain).fullmatch(plain)
    assert compiled("*").fullmatch(text)
    assert not compiled(plain + "?").fullmatch(plain)
