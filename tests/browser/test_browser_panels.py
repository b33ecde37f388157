"""Every panel with live figures, in both themes: what it shows, whether everybody can read it, and its picture.

Something has happened before: a failover, a routing rule, a circuit held open by hand, and a migration that is under
way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser_clients import holding
from browser_console import PANELS, Console, MakeConsole
from browser_stage import NODES, Stage
from playwright.sync_api import Locator, expect

NARROW, WIDE = 400, 2000
SOME_FIGURE = re.compile(r"^[\d.,]*[1-9][\d.,]*$")

STATEMENT = """SELECT customer, count(*) AS orders, sum(amount) AS revenue
FROM orders
GROUP BY customer
ORDER BY revenue DESC
LIMIT 8"""


@pytest.fixture(scope="module")
def story(stage: Stage) -> Iterator[Stage]:
    """What has happened to the servers and clients that are shown."""
    assert stage.kill_primary() == "node1"
    stage.until(lambda: stage.get("/api/v1/failover/status")["outcome"] is not None)
    stage.until_all_follow()
    stage.post(
        "/api/v1/routing/rules", tenant_pattern="shop-web-*", backend="node3", reason="nearer to the shop"
    )
    geo = {"tenant_pattern": "eu_*", "preferred_backend": "node3", "fallback_backend": "node2"}
    stage.post("/api/v1/routing/geo-rules", **geo, reason="opening in Lisbon")
    stage.post("/api/v1/circuit-breaker/node1/open", reason="a disk is being exchanged")
    order = {"source": "node2", "target": "node3", "mode": "gradual", "reason": "new hardware"}
    begun = stage.post("/api/v1/migration/start", **order)["migration_id"]
    stage.until(lambda: stage.get(f"/api/v1/migration/{begun}/status")["status"] == "running")
    with holding(stage.connect):
        yield stage


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    """As the operating system has it."""
    found: str = request.param
    return found


@pytest.fixture
def console(make_console: MakeConsole, story: Stage, theme: str) -> Console:
    """An operator's, in this theme."""
    made = make_console(story.origin, theme=theme)
    made.sign_in(story.keys.operator)
    return made


def cell(console: Console, row: str, column: str) -> Locator:
    """The cell of a table, by a text in its row and the head of its column."""
    heads = [each.strip() for each in console.main.locator("thead th").all_inner_texts()]
    return console.main.locator("tbody tr").filter(has_text=row).first.locator("td").nth(heads.index(column))


def topology(console: Console, stage: Stage) -> None:
    """Servers, roles, arrows, and what each of them does now."""
    for name in NODES:
        expect(console.main.locator(f"[data-node={name}]")).to_be_visible()
    expect(console.main.locator("[data-node=node2] header")).to_contain_text("writes")
    expect(console.main.locator(".arrow.streaming")).to_have_count(2)
    expect(console.main.locator("[data-node=node1]")).to_contain_text("open")
    rate = console.main.locator("[data-node=node2] .stats > div").filter(has_text="Queries/s").locator("dd")
    expect(rate).to_have_text(SOME_FIGURE)


def traffic(console: Console, stage: Stage) -> None:
    """The curve goes on; the keyboard reads it."""
    console.page.get_by_label("Time span").select_option("60")
    curve = console.main.locator(".series .curve").first
    expect(curve).to_have_attribute("d", re.compile(r"^M.+L"))
    expect(curve).not_to_have_attribute("d", curve.get_attribute("d") or "")
    picture = console.main.locator(".chart-picture").first
    picture.focus()
    console.page.keyboard.press("End")
    expect(picture).to_have_attribute("aria-valuetext", re.compile(r"queries [\d.,]*[1-9]"))
    console.page.get_by_label("Time span").focus()
    expect(cell(console, "node2", "Queries/s")).to_have_text(SOME_FIGURE)


def sessions(console: Console, stage: Stage) -> None:
    """A client that comes is there without being asked for, with what it holds on to."""
    line = console.main.locator(".heading .line")
    expect(line).to_contain_text("on a server connection")
    expect(cell(console, "psql", "State")).to_have_text("idle in transaction")
    with stage.connect("shop", "shop", "newcomer") as newcomer:
        newcomer.execute("SELECT pg_advisory_lock(7)")
        expect(cell(console, "newcomer", "Pins")).to_contain_text("1 advisory lock")
    expect(console.main.locator("tbody tr").filter(has_text="newcomer")).to_have_count(0)
    console.main.locator("tbody tr").filter(has_text="cart-export").get_by_role("button").click()
    expect(console.main.locator("tr.detail")).to_contain_text("1 temporary table")


def pools(console: Console, stage: Stage) -> None:
    """Connections of each user on each server."""
    expect(cell(console, "billing", "Queries/s")).not_to_have_text("–")
    expect(
        console.main.locator("tbody tr").filter(has_text="node2").filter(has_text="shop")
    ).not_to_have_count(0)


def migrations(console: Console, stage: Stage) -> None:
    """The one under way, by phases."""
    card = console.main.locator(".migration")
    expect(card).to_contain_text("node2 → node3")
    expect(card.locator("[aria-current=step]")).to_have_text("Phase 1")
    remaining = card.locator(".phases .line")
    expect(remaining).not_to_have_text(remaining.inner_text())
    for text in ("Pause …", "Complete …", "Roll back …"):
        expect(console.button(text)).to_be_visible()


def failover(console: Console, stage: Stage) -> None:
    """The last one, step by step."""
    card = console.main.locator("article.card").first
    expect(card).to_contain_text("Failover: node1 → node2")
    expect(card).to_contain_text("completed")
    expect(card.locator(".gantt li").filter(has_text="promoting the standby")).to_be_visible()
    expect(console.main.locator(".episode")).to_have_count(1)


def circuits(console: Console, stage: Stage) -> None:
    """One is held open; the others measure."""
    held = console.page.get_by_role("article", name="node1")
    expect(held).to_contain_text("held open")
    expect(held).to_contain_text("a disk is being exchanged")
    expect(console.page.get_by_role("article", name="node2").locator(".measures")).to_contain_text(
        re.compile(r"\d ms of 10 s")
    )


def routing(console: Console, stage: Stage) -> None:
    """That of the file, and that of the API."""
    expect(console.main.locator("tbody tr")).to_have_count(3)
    expect(cell(console, "shop-web-*", "Added")).to_contain_text("by olivia")
    expect(cell(console, "monthly-*", "Added")).to_have_text("in the file")


def events(console: Console, stage: Stage) -> None:
    """What happens now comes by itself."""
    expect(console.main.locator("tbody")).to_contain_text("failover completed")
    newest = console.main.locator("tbody tr").first
    before = newest.inner_text()
    rule = stage.post("/api/v1/routing/rules", tenant_pattern="trial_*", backend="node3", reason="a trial")
    expect(newest).to_contain_text("a trial")
    expect(newest).not_to_have_text(before)
    stage.http.delete(f"/api/v1/routing/rules/{rule['id']}").raise_for_status()
    expect(newest).to_contain_text("routing rule deleted")


def sql(console: Console, stage: Stage) -> None:
    """Rows, and the server that a statement ran on."""
    console.page.get_by_label("Statement", exact=True).fill(STATEMENT)
    console.page.get_by_label("Database").fill("shop")
    console.page.keyboard.press("Control+Enter")
    expect(console.main.locator(".route")).to_contain_text(re.compile(r"ran on node\d"))
    expect(console.main.locator("tbody tr")).to_have_count(8)


#: Those that show what has been come last.
LOOK: dict[str, Callable[[Console, Stage], None]] = {
    "topology": topology,
    "sessions": sessions,
    "pools": pools,
    "migrations": migrations,
    "failover": failover,
    "circuits": circuits,
    "routing": routing,
    "sql": sql,
    "events": events,
    "traffic": traffic,
}


@pytest.mark.parametrize("panel", LOOK)
def test_a_panel(console: Console, story: Stage, theme: str, panel: str, screenshots: Path | None) -> None:
    """It shows what is going on, can be read by everybody, and fits into narrow and wide windows."""
    expect(console.page.get_by_role("navigation").get_by_role("link")).to_have_text(list(PANELS.values()))
    console.show(panel)
    LOOK[panel](console, story)
    if screenshots is not None:
        console.photograph(screenshots / f"{panel}-{theme}.webp")
    assert console.violations() == []
    for width in (NARROW, WIDE):
        console.page.set_viewport_size({"width": width, "height": 800})
        assert console.sticks_out() == []
