"""Rules, geo rules, targets: where they send reads and sessions, and that no write ever goes to a standby by them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_rules_rig import RuleRig, ask, geo, rig, rule

from helios_trio.cluster.appointment import Appointment
from helios_trio.config import Config, loads
from helios_trio.config.routing import (
    DefaultForReads,
    RoutingSettings,
    TableTarget,
    Temperature,
    Temperatures,
    TenantFrom,
    TenantSource,
    WorkloadTargets,
)
from helios_trio.errors import BackendUnavailable
from helios_trio.features.routing.geo import Nearest
from helios_trio.features.routing.preferences import age_by_text, preferences_of, workload_of
from helios_trio.features.routing.rules import Ordered, Rule
from helios_trio.features.routing.targets import TablePreference, WorkloadPreference, entries_of
from helios_trio.features.routing.tenants import tenant_of
from helios_trio.pipeline.backend import Backend
from helios_trio.pipeline.routing import Node, Question, Wish
from helios_trio.sql.facts import Relation, StatementFacts
from helios_trio.sql.kinds import StatementKind
from helios_trio.sql.parse import parse

# -- tenants ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "settings", "expected"),
    [
        (TenantSource(), {"application_name": "acme"}, "acme"),
        (TenantSource(), {}, ""),
        (TenantSource(TenantFrom.USER), {"application_name": "acme"}, "ann"),
        (TenantSource(TenantFrom.DATABASE), {}, "shop"),
        (TenantSource(TenantFrom.SETTING, "app.tenant_id"), {"app.tenant_id": "t1"}, "t1"),
        (TenantSource(TenantFrom.SETTING, "app.tenant_id"), {"App.Tenant_ID": "t1"}, "t1"),
        (TenantSource(TenantFrom.SETTING, "app.tenant_id"), {"application_name": "acme"}, ""),
    ],
)
def test_tenant(source: TenantSource, settings: dict[str, str], expected: str) -> None:
    """What the configuration says that it is read from."""
    assert tenant_of(source, user="ann", database="shop", settings=settings) == expected


# -- rules -----------------------------------------------------------------------------------------------------


def ordered(*rules: dict[str, str]) -> Ordered[Rule]:
    return Ordered(tuple(Rule(id=f"r{number}", backend="b", **each) for number, each in enumerate(rules)))


def test_the_first_that_matches_counts() -> None:
    """Tenant, database and user must all match."""
    found = ordered(
        {"tenant_pattern": "acme", "database": "shop", "user": "report*"},
        {"tenant_pattern": "acme", "database": "sh?p"},
        {"tenant_pattern": "ac*"},
    )

    def first(*session: str) -> str | None:
        matched = found.first(*session)
        return None if matched is None else matched.id

    assert first("acme", "shop", "reporter") == "r0"
    assert first("acme", "shop", "ann") == "r1"
    assert first("acme", "crm", "ann") == "r2"
    assert first("ACME", "shop", "ann") is None
    assert first("acme", "shop", "reporter") == "r0"


@given(st.lists(st.text("ab*?", min_size=1, max_size=4), max_size=5), st.lists(st.text("ab", max_size=4)))
def test_remembered_answers_are_those_of_the_rules(patterns: list[str], tenants: list[str]) -> None:
    """Asked again and in whatever order."""
    found = ordered(*({"tenant_pattern": each} for each in patterns))
    for tenant in (*tenants, *tenants):
        expected = next((each for each in found.rules if each.matches(tenant, "d", "u")), None)
        assert found.first(tenant, "d", "u") is expected


def test_any_number_of_tenants_needs_a_bounded_memory() -> None:
    """Clients name them."""
    found = ordered({"tenant_pattern": "*7"})
    for number in range(10_000):
        matched = found.first(str(number), "d", "u")
        assert (matched is not None) is (number % 10 == 7)
    assert len(found._answers) <= 4096


# -- rules and reads -------------------------------------------------------------------------------------------


def test_reads_go_to_the_standby_of_the_rule_only() -> None:
    """And everybody else is told why not."""
    found = rig(rule("ac*", "blue2"))
    why = 'the tenant "acme" has its place: rule file-0: tenants ac* -> blue2'
    assert found.refused() == {"blue1": why, "blue3": why, "twin": why}
    assert found.refused(tenant="other") == {}


@given(
    st.sampled_from(["blue1", "blue2", "blue3", "green1", "green2", "twin", "silent"]),
    st.sampled_from(["blue1", "green1", "twin"]),
)
def test_rule_36_writes_are_none_of_their_business(backend: str, home: str) -> None:
    """Whatever a rule names, the filter leaves writes alone: another one sends them to the server that takes them."""
    assert rig(rule("*", backend)).refused(home, must_write="INSERT") == {}


def test_the_primary_can_be_the_place_of_reads() -> None:
    """For tenants that want nothing stale."""
    assert set(rig(rule("*", "blue1")).refused()) == {"blue2", "blue3", "twin"}


def test_sessions_from_before_the_rule_stay_where_they_are() -> None:
    """Their cluster does not have the backend, so that the rule would leave them no server."""
    found = rig(rule("*", "green1"))
    assert found.refused("blue1") == {}
    assert set(found.refused("green1")) == {"green2"}
    assert rig(rule("*", "green2")).refused("blue1") == {}


def test_second_name_of_the_primary_takes_all_of_a_session() -> None:
    """Standbys of the same data are left out, and neither name is, as the session is on one of them."""
    found = rig(rule("*", "twin"))
    assert set(found.refused("twin")) == set(found.refused("blue1")) == {"blue2", "blue3"}


def test_after_a_failover_a_rule_means_what_its_backend_is_now() -> None:
    """What was a standby and takes the writes is no place of its own."""
    found = rig(rule("*", "blue2"))
    found.see("blue2", "7", False, 2)
    assert found.topology.writer is found.topology.nodes["blue2"]
    assert found.place("acme") is None
    found.see("green1", "9", True)
    assert not found.book.places.standings.of("green1").own_primary


# -- places ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "place"),
    [("green1", "green1"), ("twin", "twin"), ("blue1", None), ("blue2", None), ("green2", None)],
)
def test_primaries_of_their_own_take_sessions(backend: str, place: str | None) -> None:
    """And nobody else: a session on a standby could write nothing."""
    assert rig(rule("ac*", backend)).place("acme") == place


def test_only_the_first_rule_decides() -> None:
    """A geo rule is not asked where a rule has said something."""
    found = rig(rule("acme", "blue2"), rule("*", "green1"), geo("*", "green1"))
    assert found.place("acme") is None
    assert found.place("other") == "green1"


def test_database_that_is_tied_to_a_backend_stays_there() -> None:
    """Its data are there."""
    found = rig(rule("*", "green1"), tied={"reports": "blue2"})
    assert found.place("acme", "reports") is None
    assert found.place("acme", "shop") == "green1"
    assert found.book.places.why("acme", "reports", "ann") == (
        'the database "reports" is on blue2 by the configuration, whatever rules say'
    )
    assert found.book.places.why("acme", "shop", "ann") == "rule file-0: tenants * -> green1"


def test_nobody_is_placed_while_nobody_knows_where_writes_belong() -> None:
    """A server that has never answered may be a primary of its own, or a standby."""
    found = rig(rule("acme", "silent"))
    with pytest.raises(
        BackendUnavailable, match="nobody knows yet whether silent is a primary or a standby"
    ) as caught:
        found.place("acme")
    assert caught.value.sqlstate == "57P03"
    assert found.place("other") is None
    found.see("silent", "7", True)
    assert found.place("acme") is None
    found.see("silent", "11", False)
    assert found.place("acme") == "silent"


def test_old_primary_is_no_place() -> None:
    """One that was deposed, or that is on an older timeline than another copy of its data (rule 25)."""
    found = rig(rule("*", "twin"))
    found.see("blue1", "7", False, 2)
    assert found.place("acme") is None
    found = rig(rule("*", "green1"))
    found.topology.depose("green1", "it was fenced")
    assert found.place("acme") is None


def test_where_somebody_outside_says_who_is_primary() -> None:
    """No primary of the same data is a place besides the one that is appointed, and none while nobody is."""
    found = rig(rule("b", "blue1"), rule("t", "twin"), rule("g", "green1"))
    appointment = Appointment()
    found.topology.appointment = appointment
    found.book.places.standings.on_news("")
    assert [found.place(tenant) for tenant in "btg"] == [None, None, None]
    found.topology.appoint("blue1")
    found.topology.confirm("blue1")
    assert [found.place(tenant) for tenant in "btg"] == [None, None, "green1"]


def test_geo_rule_places_where_it_can() -> None:
    """Preferred, else fallback; if neither is there the preferred one is waited for."""
    found = rig(geo("acme", "green1", "twin"), geo("home", "green1", "blue1"))
    assert [found.place(each) for each in ("acme", "home", "other")] == ["green1", "green1", None]
    found.placement.out_of_service.add("green1")
    assert [found.place(each) for each in ("acme", "home")] == ["twin", None]
    found.placement.out_of_service.clear()
    found.topology.note_failure("green1", "connection refused", 1.0)
    assert [found.place(each) for each in ("acme", "home")] == ["twin", None]
    found.topology.note_failure("twin", "connection refused", 1.0)
    assert found.place("acme") == "green1"


# -- preferences -----------------------------------------------------------------------------------------------


def names(nodes: Any) -> list[str]:
    return [each.name for each in nodes]


def without(found: RuleRig, *gone: str) -> list[Node]:
    return [each for each in found.nodes() if each.name not in gone]


def test_geo_rules_prefer() -> None:
    """The preferred one, else the fallback, else all: reads need not wait for any of them."""
    found = rig(geo("tenant_eu_*", "blue2", "blue3"))
    preference = found.book.geo_preference()
    question = ask("tenant_eu_1")
    assert names(preference.prefer(question, found.nodes())) == ["blue2"]
    assert names(preference.prefer(question, without(found, "blue2"))) == ["blue3"]
    assert names(preference.prefer(question, without(found, "blue2", "blue3"))) == ["blue1", "twin"]
    assert names(preference.prefer(ask("x"), found.nodes())) == names(found.nodes())
    assert preference.why(question) == (
        'of the tenant "tenant_eu_1": geo rule file-0: tenants tenant_eu_* -> blue2, then blue3'
    )
    assert preference.why(ask("x")) == 'no geo rule is about the tenant "x"'


def in_regions(*regions: str) -> list[Node]:
    return [
        Node(
            backend=Backend(f"{region}{number}", "h", 1, region=region),
            writer=not number,
            standby=bool(number),
        )
        for number, region in enumerate(regions)
    ]


@pytest.mark.parametrize(
    ("region", "default", "route", "expected"),
    [
        ("eu", DefaultForReads.NEAREST, None, ["eu1"]),
        ("eu", DefaultForReads.REPLICA, "nearest", ["eu1"]),
        ("eu", DefaultForReads.REPLICA, None, ["us0", "eu1", "us2"]),
        ("eu", DefaultForReads.NEAREST, "replica", ["us0", "eu1", "us2"]),
        ("ap", DefaultForReads.NEAREST, None, ["us0", "eu1", "us2"]),
        ("", DefaultForReads.NEAREST, "nearest", ["us0", "eu1", "us2"]),
    ],
)
def test_nearest(region: str, default: DefaultForReads, route: str | None, expected: list[str]) -> None:
    """Servers of the proxy's own region, where they are asked for and there are any."""
    preference = Nearest(region, default)
    question = ask(wish=Wish(route=route))
    assert names(preference.prefer(question, in_regions("us", "eu", "us"))) == expected
    assert preference.why(question)


@pytest.mark.parametrize(
    ("workload", "target", "expected"),
    [
        ("oltp", "primary", ["blue1"]),
        ("oltp", "replica", ["blue2", "blue3"]),
        ("oltp", "standby", ["blue2", "blue3"]),
        ("olap", "blue3", ["blue3"]),
        ("vector", "green1", ["blue1", "blue2", "blue3", "twin"]),
        ("vector", None, ["blue1", "blue2", "blue3", "twin"]),
    ],
)
def test_workload_targets(workload: str, target: str | None, expected: list[str]) -> None:
    """The target of that kind; whoever is there, where there is none or it cannot serve."""
    settings = WorkloadTargets(enabled=True, **{f"{workload}_target": target})
    preference = WorkloadPreference(settings, lambda question: workload)
    assert names(preference.prefer(ask(), rig().nodes())) == expected
    assert preference.why(ask()) == (
        f"it is {workload}, " + (f"for {target}" if target else "for which there is no target")
    )


def reading(*tables: str) -> Question:
    relations = tuple(
        Relation(name, schema or None) for schema, _, name in (each.rpartition(".") for each in tables)
    )
    return ask(statements=(StatementFacts(StatementKind.SELECT, reads=relations),))


def tables_of(age: float | None = None) -> TablePreference:
    settings = RoutingSettings(
        temperatures=Temperatures(hot="primary", cold="blue3"),
        tables=(
            TableTarget(
                pattern="public.orders_*", temperature=Temperature.COLD, column="at", older_than=60.0
            ),
            TableTarget(pattern="public.orders_20??", backend="blue2"),
            TableTarget(pattern="stock", temperature=Temperature.HOT),
            TableTarget(pattern="archive.*", temperature=Temperature.COLD),
        ),
    )
    return TablePreference(entries_of(settings), lambda question, column: age if column == "at" else None)


@pytest.mark.parametrize(
    ("tables", "age", "expected"),
    [
        (["stock"], None, ["blue1"]),
        (["any.stock"], None, ["blue1"]),
        (["archive.a", "archive.b"], None, ["blue3"]),
        (["archive.a", "customers"], None, ["blue3"]),
        (["other.a"], None, ["blue1", "blue2", "blue3", "twin"]),
        (["archive.a", "stock"], None, ["blue1", "blue2", "blue3", "twin"]),
        ([], None, ["blue1", "blue2", "blue3", "twin"]),
        (["public.orders_2020"], None, ["blue2"]),
        (["public.orders_2020"], 59.0, ["blue2"]),
        (["public.orders_2020"], 60.0, ["blue3"]),
        (["orders_2020"], 61.0, ["blue3"]),
        (["crm.orders_2020"], 61.0, ["blue1", "blue2", "blue3", "twin"]),
    ],
)
def test_table_targets(tables: list[str], age: float | None, expected: list[str]) -> None:
    """The first entry that holds for each table; tables that disagree have no say, others do not disturb."""
    preference = tables_of(age)
    for _ in range(2):
        assert names(preference.prefer(reading(*tables), rig().nodes())) == expected


def test_table_targets_explain_themselves() -> None:
    """With the entries that counted."""
    assert tables_of().why(reading("a")) == "nothing is said about the tables that are read"
    assert tables_of().why(reading("stock")) == "stock -> primary"
    assert tables_of(61.0).why(reading("orders_1")) == "public.orders_*, rows older than 60 s -> blue3"
    assert tables_of().why(reading("stock", "archive.a")) == (
        "the tables that are read have different targets, so that none counts: stock -> primary; archive.* -> blue3"
    )


OFFERS = st.lists(st.sampled_from(["blue1", "blue2", "blue3", "twin"]), min_size=1, unique=True)


@given(
    OFFERS,
    st.sampled_from(["primary", "replica", "blue2", "green1"]),
    st.sampled_from(["stock", "archive.a"]),
)
def test_preferences_leave_somebody_and_invent_nobody(offered: list[str], target: str, table: str) -> None:
    """Whoever is offered."""
    found = rig(geo("*", "blue3", "green1"))
    nodes = [each for each in found.nodes() if each.name in offered]
    for preference in (
        found.book.geo_preference(),
        WorkloadPreference(WorkloadTargets(enabled=True, oltp_target=target), lambda question: "oltp"),
        tables_of(),
        Nearest("eu", DefaultForReads.NEAREST),
    ):
        left = preference.prefer(reading(table), nodes)
        assert left
        assert all(each in nodes for each in left)


# -- all of it -------------------------------------------------------------------------------------------------


def orders_of(text: str) -> Question:
    return ask(statements=parse(text.encode()).statements)


CONFIG = """
[proxy]
region = "eu"
[routing]
read_write_split = true
[routing.workload]
enabled = true
olap_target = "node2"
vector_target = "node1"
[[routing.tables]]
pattern = "orders"
backend = "node1"
column = "at"
older_than = "30d"
"""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("SELECT 1", "oltp"),
        ("SELECT 1; SELECT count(*) FROM t", "olap"),
        ("SELECT count(*) FROM t; SELECT * FROM t ORDER BY v <-> '[1]' LIMIT 1", "vector"),
        ("", "oltp"),
    ],
)
def test_the_most_demanding_statement_decides(text: str, kind: str) -> None:
    """Of a text of several."""
    assert workload_of(orders_of(text)) == kind


def test_preferences_of_a_configuration() -> None:
    """In their order; without anything configured reads stay with the primary."""
    config = loads(CONFIG, {}, source="f", folder=Path("/"))
    found = preferences_of(config, rig().book, lambda question, column: None)
    assert [each.name for each in found] == ["geo rules", "workload", "tables", "default for reads", "region"]
    found = preferences_of(Config(), rig().book, lambda question, column: None)
    assert [each.name for each in found] == ["geo rules", "default for reads", "region"]
    left: Any = rig().nodes()
    for each in found:
        left = each.prefer(ask(), left)
    assert names(left) == ["blue1"]


def test_age_of_rows_is_read_from_the_text() -> None:
    """Where the text is known."""
    now = datetime(2030, 1, 31, tzinfo=UTC)
    texts = {
        "a": b"SELECT 1 FROM orders WHERE at < '2030-01-01T00:00Z'",
        "b": b"SELECT 1 FROM orders",
        "c": b"",
    }
    age_of = age_by_text(lambda question: texts[question.tenant], lambda: now)
    assert [age_of(ask(each), "at") for each in "abc"] == [30 * 86400.0, None, None]
