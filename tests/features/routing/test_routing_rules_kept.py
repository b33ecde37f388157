"""Rules that come by the API: their order among the others, what is refused, and that they outlive the proxy."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from routing_rules_rig import RuleRig, geo, rig, rule

from helios_trio.config import Config, InvalidConfig
from helios_trio.config.routing import GeoRuleSettings, RoutingRuleSettings, RoutingSettings
from helios_trio.errors import HeliosError
from helios_trio.features.routing.rule_book import RuleBook, rule_book_of
from helios_trio.features.routing.rule_store import KeptRules, RuleStore
from helios_trio.features.routing.rules import GeoRule, Rule
from helios_trio.migration.errors import Conflict, InvalidOrder, NotFound, OrderRefused

AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "rules.json"


async def add(found: RuleRig, wanted: RoutingRuleSettings | GeoRuleSettings, **more: Any) -> str:
    """The id of the new rule."""
    order = {"who": "otto", "at": AT, **more}
    if isinstance(wanted, RoutingRuleSettings):
        return (await found.book.add_rule(wanted, **order)).id
    return (await found.book.add_geo_rule(wanted, **order)).id


def files_beside(path: Path) -> dict[str, int]:
    """Names and modes."""
    return {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}


def content_of(path: Path) -> str:
    return path.read_text()


def order_of(found: RuleRig) -> list[str]:
    return [each.id for each in found.book.rules.rules]


async def test_rules_of_the_api_come_first(path: Path) -> None:
    """In the order in which they came, or before one of them; those of the file follow."""
    found = rig(rule("*", "blue2"), path=path)
    assert order_of(found) == ["file-0"]
    assert await add(found, rule("a*", "blue3")) == "api-1"
    assert await add(found, rule("b*", "blue3")) == "api-2"
    assert await add(found, rule("*b", "green1"), before="api-2") == "api-3"
    assert order_of(found) == ["api-1", "api-3", "api-2", "file-0"]
    assert [found.place(each) for each in ("b", "bb", "ab", "bc")] == ["green1", "green1", None, None]
    removed = await found.book.remove_rule("api-3")
    assert (removed.backend, found.place("bb")) == ("green1", None)


async def test_they_are_there_after_a_restart(path: Path) -> None:
    """With all that was said of them, and in their order; no id is given twice."""
    first = rig(path=path)
    await add(first, rule("a", "blue2", user="x"), reason="because", who="ann")
    await add(first, geo("tenant_eu_*", "green1"))
    await add(first, rule("b", "green1"))
    await first.book.remove_rule("api-3")
    second = rig(path=path)
    assert second.book.rules.rules == first.book.rules.rules
    assert second.book.geo_rules.rules == first.book.geo_rules.rules
    (kept,) = second.book.rules.rules
    assert (kept.who, kept.at, kept.reason, kept.user) == ("ann", AT, "because", "x")
    assert await add(second, rule("c", "blue2")) == "api-4"
    assert files_beside(path) == {"rules.json": 0o600}


async def test_without_a_file_they_last_as_long_as_the_process() -> None:
    """And say so."""
    found = rig()
    await add(found, rule("a", "green1"))
    assert (found.place("a"), found.book.is_kept, found.book.is_empty) == ("green1", False, False)
    assert (rig().place("a"), rig().book.is_empty) == (None, True)


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        (rule("a", "nowhere"), InvalidOrder, 'backend: there is no backend "nowhere"; known are blue1,'),
        (rule("x*", "blue3"), Conflict, "tenant_pattern: api-1 has the same patterns: delete it first"),
        (geo("a", "nowhere", "never"), InvalidOrder, 'fallback_backend: there is no backend "never"'),
        (geo("a", "blue2", "blue2"), InvalidOrder, "expected another backend than preferred_backend"),
        (geo("*_eu", "blue2"), Conflict, 'it overlaps with file-0, tenant_*: both match "tenant_eu"'),
        (geo("t?", "blue2"), Conflict, 'it overlaps with api-2, t1: both match "t1"'),
    ],
)
async def test_what_is_refused(
    path: Path,
    wanted: RoutingRuleSettings | GeoRuleSettings,
    error: type[OrderRefused],
    words: str,
) -> None:
    """With the reason, and nothing has changed, in the file neither."""
    found = rig(geo("tenant_*", "blue2"), path=path)
    await add(found, rule("x*", "blue2"))
    await add(found, geo("t1", "blue2"))
    before, rules, geo_rules = content_of(path), found.book.rules, found.book.geo_rules
    with pytest.raises(error) as caught:
        await add(found, wanted)
    assert words in str(caught.value)
    assert (content_of(path), found.book.rules, found.book.geo_rules) == (before, rules, geo_rules)


async def test_only_rules_of_the_api_can_be_deleted(path: Path) -> None:
    """Those of the file are deleted in the file."""
    found = rig(rule("a", "blue2"), geo("b", "blue2"), path=path)
    for remove in (found.book.remove_rule, found.book.remove_geo_rule):
        with pytest.raises(Conflict, match="file-0 stands in the configuration file"):
            await remove("file-0")
        with pytest.raises(NotFound, match='there is no rule "api-1"'):
            await remove("api-1")
    with pytest.raises(NotFound, match='before: there is no rule "api-9"'):
        await add(found, rule("c", "blue2"), before="api-9")
    assert order_of(found) == ["file-0"]


async def test_what_cannot_be_written_down_does_not_happen(tmp_path: Path) -> None:
    """Neither now nor after a restart."""
    (tmp_path / "state").write_text("a file where a folder should be")
    found = RuleRig()
    found.book._store = RuleStore(tmp_path / "state" / "rules.json")
    with pytest.raises(HeliosError, match="nothing has been changed"):
        await add(found, rule("a", "green1"))
    assert found.book.is_empty


GOOD: dict[str, Any] = {"id": "api-1", "tenant_pattern": "a", "backend": "blue2"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "it is no JSON"),
        ("{", "it is no JSON"),
        ("[]", "it is no JSON object"),
        (b"\xff", "can't decode byte 0xff"),
        ({"rules": [{"id": "api-1", "backend": "blue2"}]}, "rules.0.tenant_pattern:  expected a value"),
        ({"rules": [{**GOOD, "tenant_pattern": "[a]"}]}, 'rules.0.tenant_pattern: "[a]" expected a pattern'),
        (
            {"rules": [{**GOOD, "backnd": "x"}]},
            "rules.0.backnd:  unknown key in this version; did you mean backend?",
        ),
        ({"rules": [{**GOOD, "at": "yesterday"}]}, 'rules.0.at: "yesterday" expected a time'),
        ({"rules": [GOOD, GOOD]}, "rules: api-1 stands there twice"),
        ({"last": -1}, "last: -1 expected a whole number, at least 0"),
        ({"rules": [{**GOOD, "backend": "gone"}]}, 'there is no backend "gone"'),
        (
            {"geo_rules": [{"id": "api-1", "tenant_pattern": "eu*", "preferred_backend": "blue2"}]},
            'geo rule file-0: tenants e* -> blue2: it overlaps with api-1: both match "eu"',
        ),
    ],
)
def test_broken_file_is_refused_at_the_start(path: Path, content: Any, words: str) -> None:
    """With its name and what is wrong; it is left as it is, so that nothing is lost."""
    path.parent.mkdir()
    raw = content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else None
    path.write_bytes(json.dumps(content).encode() if raw is None else raw)
    before = path.read_bytes()
    with pytest.raises(InvalidConfig) as caught:
        rig(geo("e*", "blue2"), path=path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_all_that_is_wrong_is_said_at_once(path: Path) -> None:
    """One line each, under what is to be done."""
    path.parent.mkdir()
    path.write_text(json.dumps({"rules": [{"id": "a"}], "geo": []}))
    with pytest.raises(InvalidConfig) as caught:
        rig(path=path)
    assert len(caught.value.lines) == 4
    assert caught.value.lines[0].startswith(f"{path}: the rules kept here cannot be used; repair the file")


async def test_everything_is_written_and_read_again(path: Path) -> None:
    """Each attribute, whatever is in it."""
    store = RuleStore(path)
    kept = KeptRules(
        last=7,
        rules=(
            Rule(
                id="api-1",
                tenant_pattern='"*\n?',
                backend="b",
                database="ü",
                user="*",
                who="o",
                at=AT,
                reason="r",
            ),
            Rule(id="api-2", tenant_pattern="x", backend="b"),
        ),
        geo_rules=(
            GeoRule(id="api-3", tenant_pattern="x", preferred_backend="b", fallback_backend="c", at=AT),
            GeoRule(id="api-4", tenant_pattern="y", preferred_backend="b", who="o", reason="r"),
        ),
    )
    assert store.load() == KeptRules()
    await store.save(kept)
    assert store.load() == kept
    for each in attrs.fields(KeptRules):
        assert getattr(kept, each.name) != each.default


async def test_reload_exchanges_the_rules_of_the_file() -> None:
    """Those of the API stay, and a configuration that contradicts them is refused."""
    found = rig(rule("a", "blue2"))
    await add(found, rule("b", "blue3"))
    await add(found, geo("b", "blue3"))
    found.book.reconfigure(RoutingSettings(rules=(rule("c", "green1"), rule("d", "green1"))))
    assert order_of(found) == ["api-1", "file-0", "file-1"]
    assert found.place("d") == "green1"
    for settings, words in (
        (RoutingSettings(geo_rules=(geo("?", "blue3"),)), 'both match "b"'),
        (RoutingSettings(rules=(rule("c", "nowhere"),)), 'there is no backend "nowhere"'),
    ):
        for take in (found.book.check, found.book.reconfigure):
            with pytest.raises(InvalidConfig, match=words):
                take(settings)
    assert found.place("d") == "green1"
    await add(found, rule("e", "blue3"))
    assert order_of(found) == ["api-1", "api-3", "file-0", "file-1"]


async def test_decision_under_way_sees_one_set_of_rules() -> None:
    """Sets are replaced and never changed."""
    found = rig()
    await add(found, rule("a", "green1"))
    before = found.book.rules
    await add(found, rule("b", "green1"))
    assert [each.id for each in before.rules] == ["api-1"]
    assert found.book.rules.find("api-2") is not None
    assert before.find("api-2") is None


def made(config: Config, folder: Path | None) -> RuleBook | None:
    """The rules at the start of a proxy."""
    found = RuleRig()
    return rule_book_of(
        config, topology=found.topology, placement=found.placement, folder=folder, tied=lambda database: ""
    )


async def test_kept_rules_turn_routing_on(tmp_path: Path) -> None:
    """Unless somebody says that it is off: rules that are kept are never passed over in silence."""
    nothing, split = Config(), Config(routing=RoutingSettings(read_write_split=True))
    off = Config(routing=RoutingSettings(enabled=False))
    assert made(nothing, tmp_path) is None
    assert made(nothing, None) is None
    book = made(split, tmp_path)
    assert book is not None
    assert book.is_kept
    await book.add_rule(rule("a", "green1"), who="otto", at=AT)
    assert files_beside(tmp_path / "x") == {"routing_rules.json": 0o600}
    again = made(nothing, tmp_path)
    assert again is not None
    assert again.places.place("a", "shop", "ann") == "green1"
    assert made(off, tmp_path) is None


async def test_rules_file_of_the_configuration(tmp_path: Path) -> None:
    """Before the folder of the state."""
    book = made(
        Config(routing=RoutingSettings(enabled=True, rules_file=tmp_path / "here")), tmp_path / "state"
    )
    assert book is not None
    await book.add_rule(rule("a", "green1"), who="otto", at=AT)
    assert files_beside(tmp_path / "x") == {"here": 0o600}


def test_news_of_servers_reach_the_rules() -> None:
    """What was a primary of its own may be none any more."""
    found = RuleRig()
    book = rule_book_of(
        Config(routing=RoutingSettings(rules=(rule("*", "green1"),))),
        topology=found.topology,
        placement=found.placement,
        folder=None,
        tied=lambda database: "",
    )
    assert book is not None
    assert book.places.place("a", "shop", "ann") == "green1"
    found.see("green1", "9", True)
    assert book.places.place("a", "shop", "ann") is None
