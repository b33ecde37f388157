"""Orders by clicks: a migration, rules, circuits, statements, and the end of a session."""

from __future__ import annotations

import re

import psycopg
import pytest
from browser_console import Console
from browser_stage import Stage
from playwright.sync_api import expect


def test_a_migration_is_started_watched_and_rolled_back(console: Console, stage: Stage) -> None:
    """The form says what will happen; a standby's name must be typed, as the last phase promotes it."""
    console.show("migrations")
    console.button("Start a migration …").click()
    form = console.page.get_by_role("region", name="Start a migration")
    expect(form.locator("[name=source]")).to_have_value("node1")
    form.locator("[name=target]").select_option("node2")
    form.get_by_label("Reason").fill("new hardware")
    preview = form.locator(".preview")
    expect(preview).to_contain_text("50 %")
    expect(preview).to_contain_text("healthy")
    expect(preview.locator(".steps li").last).to_contain_text("node2 is promoted")
    assert console.violations() == []
    form.get_by_role("button", name="Start …").click()
    starting = console.dialog.get_by_role("button", name="Start it")
    expect(starting).to_be_disabled()
    console.dialog.locator("[name=proof]").fill("node3")
    expect(starting).to_be_disabled()
    assert console.violations() == []
    console.answer("Start it", proof="node2")
    console.hears("is running")

    card = console.main.locator("article.migration")
    expect(card.locator("header")).to_contain_text("node1 → node2")
    expect(card).to_contain_text("50 % of the sessions belong to node2")
    expect(card.locator(".facts")).to_contain_text("new hardware")
    expect(card.locator(".facts")).to_contain_text("olivia")
    console.button("Pause …").click()
    console.answer("Pause", reason="a look at it")
    expect(card.locator("header .badge")).to_have_text("paused")
    console.button("Resume …").click()
    console.answer("Resume")
    expect(card.locator("header .badge")).to_have_text("running")
    console.button("Roll back …").click()
    console.answer("Roll back", reason="second thoughts")

    expect(card).to_have_count(0)
    over = console.main.locator(".episode").first
    expect(over).to_contain_text("rolled back")
    over.locator("summary").first.click()
    over.locator("summary").filter(has_text="History").click()
    expect(over.locator(".timeline")).to_contain_text("olivia: second thoughts")
    assert console.violations() == []
    assert stage.get("/api/v1/migration")["migrations"][0]["status"] == "rolled_back"
    assert stage.get("/api/v1/topology")["primary"] == "node1"


def test_a_migration_that_is_refused(console: Console) -> None:
    """The form stays, and the proxy's reason is said."""
    console.witness.allow(r"status of 4(09|22)")
    console.show("migrations")
    console.button("Start a migration …").click()
    form = console.page.get_by_role("region", name="Start a migration")
    form.locator("[name=target]").select_option("node1")
    form.get_by_role("button", name="Start …").click()
    console.answer("Start it")
    expect(console.page.locator(".toast.bad")).to_be_visible()
    expect(form).to_be_visible()
    form.get_by_role("button", name="Cancel").click()
    expect(form).to_have_count(0)


def test_a_rule_is_added_and_deleted(console: Console, stage: Stage) -> None:
    """It is asked before those of the file, and routes what it names."""
    console.show("routing")
    console.button("Add a rule …").click()
    console.dialog.locator("[name=backend]").select_option("node2")
    assert console.violations() == []
    console.answer("Add it", tenant_pattern="clicked_*", reason="by hand")
    rule = console.main.locator("tbody tr").filter(has_text="clicked_*")
    expect(rule).to_contain_text("node2")
    expect(rule).to_contain_text("by hand")
    with stage.connect("shop", "shop", "clicked_1") as client:
        client.execute("SELECT count(*) FROM orders")
        assert client.execute("SHOW helios.last_route").fetchone() == ("node2",)
    rule.get_by_role("button", name="Delete …").click()
    console.answer("Delete it")
    expect(rule).to_have_count(0)
    assert "clicked_*" not in [rule["tenant_pattern"] for rule in stage.get("/api/v1/routing/rules")["rules"]]


def test_a_circuit_is_opened_and_reset(console: Console, stage: Stage) -> None:
    """Shown in its panel and in the topology; its reads go elsewhere meanwhile."""
    console.show("circuits")
    card = console.page.get_by_role("article", name="node3")
    card.get_by_role("button", name="Hold open").click()
    console.answer("Hold open", reason="a disk is being exchanged")
    expect(card.locator("header")).to_contain_text("held open")
    expect(card).to_contain_text("a disk is being exchanged")
    console.show("topology")
    expect(console.main.locator("[data-node=node3]")).to_contain_text("open")
    console.show("circuits")
    card.get_by_role("button", name="Reset").click()
    console.answer("Reset")
    expect(card.locator("header .badge").first).to_have_text("closed")
    expect(card).not_to_contain_text("held")


def test_statements_and_where_they_ran(console: Console) -> None:
    """As routed, where one says, and what is wrong with one."""
    console.witness.allow(r"status of 422")
    console.show("sql")
    statement, route = console.page.get_by_label("Statement", exact=True), console.page.get_by_label("Route")
    for wanted, found in (("primary", "node1"), ("node3", "node3"), ("standby", r"node[23]")):
        statement.fill("SELECT pg_is_in_recovery() AS standby, NULL AS nothing")
        route.fill(wanted)
        console.page.keyboard.press("Control+Enter")
        expect(console.main.locator(".route")).to_have_text(re.compile(rf"ran on {found} · SELECT 1"))
        cells = console.main.locator("tbody td")
        expect(cells).to_have_text(["f" if wanted == "primary" else "t", "null"])
    statement.fill("SELECT nothing FROM nowhere")
    console.button("Run").click()
    expect(console.main.get_by_role("alert")).to_contain_text('relation "nowhere" does not exist')
    expect(console.main.get_by_role("alert")).to_contain_text("42P01")
    assert console.violations() == []
    console.main.locator(".past button").nth(1).click()
    expect(statement).to_have_value(re.compile("pg_is_in_recovery"))


def test_a_session_is_found_and_ended(console: Console, stage: Stage) -> None:
    """Its client is told why."""
    with stage.connect("shop", "shop", "greedy") as client:
        console.show("sessions")
        console.page.keyboard.press("/")
        console.page.keyboard.type("greedy")
        rows = console.main.locator("tbody tr").filter(has_text="shop")
        expect(rows).to_have_count(1)
        rows.get_by_role("button").click()
        console.button("End …").click()
        console.answer("End it", reason="too greedy")
        console.hears("was ended")
        with pytest.raises(psycopg.errors.AdminShutdown, match="too greedy"):
            client.execute("SELECT 1")
        expect(console.main).to_contain_text("No session is like that")


def test_a_server_leaves_and_comes_back(console: Console, stage: Stage) -> None:
    """Out of service, checked, and put back."""
    console.show("topology")
    card = console.main.locator("[data-node=node3]")
    card.get_by_role("button", name="Take out of service").click()
    console.answer("Take out of service", reason="maintenance")
    expect(card.locator("header")).to_contain_text("out of service")
    card.get_by_role("button", name="Check now").click()
    console.hears("node3 is")
    card.get_by_role("button", name="Put into service").click()
    console.answer("Put into service")
    expect(card.locator("header")).not_to_contain_text("out of service")
    stage.until_all_follow()
