"""The Grafana dashboard, the rules for Prometheus: whether they ask for figures that there are, and are well made."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import frozen

from helios_trio.failover.steps import FailoverOutcome
from helios_trio.migration.states import State
from helios_trio.pipeline.fleet import MoveOutcome

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "examples" / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
SCRAPING = DEPLOY / "prometheus" / "prometheus.yml"
RULES_TEST = Path(__file__).with_name("prometheus_rules_test.yml")
DASHBOARD = DEPLOY / "grafana" / "helios.json"
DOCUMENTS = "https://github.com/helios-trio/helios-trio/blob/main/"

#: Labels that the scrape itself adds, and the metric that it makes.
TARGET = {"job", "instance"}
PROMETHEUS = {"up": TARGET}
#: Words of PromQL that are neither metrics nor functions.
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
#: The values that a label can have, where they are an enumeration.
VALUES = {
    ("helios_failovers_total", "outcome"): {each.value for each in FailoverOutcome},
    ("helios_session_moves_total", "outcome"): {each.value for each in MoveOutcome},
    ("helios_migrations", "state"): {each.value for each in State},
    ("helios_commit_outcomes_total", "outcome"): {"committed", "replayed", "unknown"},
    ("helios_pool_server_connections", "status"): {"connecting", "idle", "active", "busy"},
}

GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"\b([a-z_][a-z0-9_]*)\s*\{([^}]*)\}")
MATCHER = re.compile(r'([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
NAME = re.compile(r"\b[a-z_][a-z0-9_]*\b(?!\s*\()")


def documented() -> Mapping[str, set[str]]:
    """The labels of each metric in docs/metrics.md."""
    rows = re.findall(
        r"^\| `(\w+)` \| (?:counter|gauge) \| (.*?) \|", (ROOT / "docs" / "metrics.md").read_text(), re.M
    )
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} | PROMETHEUS


METRICS = documented()


@frozen
class Query:
    """What an expression asks for."""

    metrics: frozenset[str]
    #: labels by which it sums up or matches
    labels: frozenset[str]
    #: metric, label, operator, value
    matchers: tuple[tuple[str, str, str, str], ...]

    @classmethod
    def of(cls, expression: str) -> Query:
        """Take a PromQL expression apart."""
        labels = {label.strip() for group in GROUPING.findall(expression) for label in group.split(",")}
        matchers = [
            (metric, *matcher)
            for metric, inside in SELECTOR.findall(expression)
            for matcher in MATCHER.findall(inside)
        ]
        bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", GROUPING.sub(" ", expression))
        names = {name for name in NAME.findall(bare) if name not in WORDS}
        return cls(frozenset(names), frozenset(labels), tuple(matchers))

    def complaints(self) -> Iterator[str]:
        """What it asks for in vain."""
        unknown = [name for name in self.metrics if name not in METRICS]
        yield from (f"no metric {name}" for name in unknown)
        known = set().union(TARGET, *(METRICS[name] for name in self.metrics if name in METRICS))
        yield from (f"no label {label}" for label in self.labels - known)
        for metric, label, operator, value in self.matchers:
            if label not in METRICS.get(metric, set()) | TARGET:
                yield f"{metric} has no label {label}"
            possible = VALUES.get((metric, label))
            wanted = value.split("|") if operator == "=~" else [value]
            if possible is not None and not possible.issuperset(wanted):
                yield f"{label} of {metric} is never {value}"


def test_complaints_are_found() -> None:
    """The search sees metrics, labels and values, and what is wrong with them."""
    assert list(Query.of("sum by (backend) (rate(helios_pool_queries_total[5m])) > 0").complaints()) == []
    wrong = 'sum by (tenant) (helios_clients{stat="idle"}) / on (job) helios_nothing + increase(up[1m])'
    assert sorted(Query.of(wrong).complaints()) == [
        "helios_clients has no label stat",
        "no label tenant",
        "no metric helios_nothing",
    ]
    query = Query.of('helios_failovers_total{outcome=~"failed|lost"}')
    assert list(query.complaints()) == ["outcome of helios_failovers_total is never failed|lost"]
    assert len(METRICS) > 60


# -- rules -----------------------------------------------------------------------------------------------------------


def rules() -> list[dict[str, Any]]:
    """All rules of the file."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_rule(rule: dict[str, Any]) -> None:
    """It asks for figures that there are, says what is wrong and how bad it is, and where to read on."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    query = Query.of(rule["expr"])
    assert list(query.complaints()) == []
    assert query.metrics
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    known = set().union(TARGET, *(METRICS[name] for name in query.metrics))
    text = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= known


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_runbook_is_there(rule: dict[str, Any]) -> None:
    """The document, and the heading in it."""
    path, _, heading = rule["annotations"]["runbook_url"].removeprefix(DOCUMENTS).partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert heading in {slug(each) for each in headings}


def slug(heading: str) -> str:
    """What a heading is called in a link."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_rules_have_names_of_their_own() -> None:
    """So that one can be silenced."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    groups = [group["name"] for group in yaml.safe_load(RULES.read_text())["groups"]]
    assert len(set(groups)) == len(groups)


def test_what_is_scraped() -> None:
    """The path of the metrics, under the job's name that the rules know, judged by the rules."""
    found = yaml.safe_load(SCRAPING.read_text())
    (scrape,) = found["scrape_configs"]
    assert scrape["job_name"] == "helios"
    assert scrape["metrics_path"] == "/metrics/prometheus"
    assert [(SCRAPING.parent / each).resolve() for each in found["rule_files"]] == [RULES]


# -- the dashboard ---------------------------------------------------------------------------------------------------

BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = BOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]


@pytest.mark.parametrize("panel", CHARTS, ids=lambda panel: panel["title"])
def test_panel(panel: dict[str, Any]) -> None:
    """It asks the chosen data source for figures that there are, and explains itself."""
    assert panel["type"] in {"stat", "timeseries", "state-timeline"}
    assert panel["description"].endswith(".")
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        query = Query.of(plain(target["expr"]))
        assert list(query.complaints()) == []
        assert query.metrics
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= query.labels | TARGET
        assert set(re.findall(r"\$\w+", target["expr"])) <= {"$job", "$instance", "$__rate_interval"}


def plain(expression: str) -> str:
    """An expression with values in place of Grafana's variables."""
    return expression.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")


def test_panels_are_unique_and_do_not_overlap() -> None:
    """Ids, titles within a row, and places in the grid of 24 columns."""
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= 24
    overlapping = [
        (one["title"], two["title"])
        for one, two in combinations(PANELS, 2)
        if overlap(one["gridPos"], two["gridPos"])
    ]
    assert overlapping == []


def overlap(one: dict[str, int], two: dict[str, int]) -> bool:
    return all(
        one[start] < two[start] + two[size] and two[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_dashboard_is_one() -> None:
    """What Grafana needs to import it: no id of one installation, a data source to choose, variables that there are."""
    assert {"uid", "title", "schemaVersion", "templating", "time", "refresh"} <= set(BOARD)
    assert "id" not in BOARD
    assert "__inputs" not in BOARD
    variables = {each["name"]: each for each in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    used = set(re.findall(r"\$\{?(?!__|labels)([a-z]\w*)", DASHBOARD.read_text(encoding="utf-8")))
    assert used == set(variables)
    for annotation in BOARD["annotations"]["list"]:
        assert list(Query.of(plain(annotation["expr"])).complaints()) == []


def test_dashboard_has_all_subjects() -> None:
    """A row each."""
    titles = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    for subject in ("Traffic", "pools", "Servers", "Moving", "Failovers", "Circuit", "Routing", "Alerts"):
        assert any(subject in title for title in titles), subject


# -- Prometheus' own judgement -----------------------------------------------------------------------------------------


def promtool(*arguments: str) -> None:
    """Have promtool check something; skips where there is none."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_files() -> None:
    """The scrape configuration, and the rules it names."""
    promtool("check", "config", str(SCRAPING))


def test_rules_fire_when_they_should(tmp_path: Path) -> None:
    """In made-up courses of figures."""
    for file in (RULES, RULES_TEST):
        shutil.copy(file, tmp_path)
    promtool("test", "rules", str(tmp_path / RULES_TEST.name))


def test_promtool_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    """As rules that record what they give."""
    expressions = [plain(target["expr"]) for panel in CHARTS for target in panel["targets"]]
    recorded = [{"record": f"r{number}", "expr": each} for number, each in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    promtool("check", "rules", "--lint=none", str(file))
