"""Primaries change while the page looks on: once by an order, once because one dies."""

from __future__ import annotations

import re

from browser_console import Console
from browser_stage import Stage
from playwright.sync_api import expect


def test_a_switchover_and_a_death(console: Console, stage: Stage) -> None:
    """Each is seen without a reload, and clients go on."""
    console.page.evaluate("window.sameDocument = true")
    writes = console.page.locator("#header .vital").last
    expect(writes).to_have_text("writes: node1")
    with stage.connect("shop", "shop", "bystander") as bystander:
        bystander.execute("SET application_name = 'bystander-2'")
        order_switchover(console)
        expect(writes).to_have_text("writes: node2")
        now = console.main.locator("article.card").first
        expect(now).to_contain_text("Planned switchover: node1 → node2")
        expect(now).to_contain_text("completed")
        stage.until_all_follow()

        assert stage.kill_primary() == "node2"
        expect(writes).to_have_text(re.compile("writes: node[13]"))
        expect(now).to_contain_text(re.compile("Failover: node2 → node[13]"))
        expect(now.locator("header .badge")).to_have_text("completed")
        expect(now.locator(".gantt li")).not_to_have_count(0)
        expect(console.main.locator(".episode")).to_have_count(2)
        before = stage.get("/api/v1/pools")["pools"]
        assert bystander.execute("SHOW application_name").fetchone() == ("bystander-2",)
        stage.until(lambda: queries(stage.get("/api/v1/pools")["pools"]) > queries(before))
    assert console.violations() == []
    see_the_new_order(console)
    assert console.page.evaluate("window.sameDocument")


def order_switchover(console: Console) -> None:
    """To node2, whose name must be typed."""
    console.show("failover")
    console.page.get_by_label("New primary").select_option("node2")
    expect(console.main.locator(".consequences")).to_contain_text("quorum")
    console.button("Switch over …").click()
    order = console.dialog.get_by_role("button", name="Switch over")
    expect(order).to_be_disabled()
    for wrong in ("node1", "NODE2", "node2 "):
        console.dialog.locator("[name=proof]").fill(wrong)
        expect(order).to_be_disabled()
    assert console.violations() == []
    console.answer("Switch over", proof="node2", reason="kernel update")
    console.hears("The switchover to node2 has begun")


def see_the_new_order(console: Console) -> None:
    """In the other panels: who follows whom, and what has happened."""
    console.show("topology")
    expect(console.main.locator(".leaders header")).to_contain_text("writes")
    expect(console.main.locator(".arrow.streaming")).to_have_count(2)
    console.show("events")
    for kind in ("failover completed", "migration completed"):
        expect(console.main.locator("tbody")).to_contain_text(kind)


def queries(pools: list[dict[str, int]]) -> int:
    """Those of all pools together."""
    return sum(pool["queries"] for pool in pools)
