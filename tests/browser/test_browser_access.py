"""Who may see and do what, with the mouse and with the keyboard alone; names that want to be more than names."""

from __future__ import annotations

import re

import pytest
from browser_console import PANELS, REFUSED_KEY, Console, MakeConsole
from browser_stage import Stage
from playwright.sync_api import expect
from psycopg import sql

#: What would run, or say something, if a name became markup.
HOSTILE_USER = "<img src=x onerror=alert(1)>"
HOSTILE_DATABASE = '"><script>alert(2)</script>'
HOSTILE_APPLICATION = "<svg/onload=alert(3)>'\"><iframe src=javascript:alert(4)>"
ORDERS = re.compile(
    r"\b(Start|Pause|Resume|Complete|Roll back|Switch|Drain|Put|Take|Hold open|Hold closed)\b"
    r"|\b(Reset|Add|Delete|End|Move|Run)\b"
)
MOST_TABS = 60


def test_the_witness_sees_what_is_wrong(make_console: MakeConsole, stage: Stage) -> None:
    """Otherwise all the other tests would prove less than they say."""
    console = make_console(stage.origin)
    console.open()
    page, witness = console.page, console.witness
    page.evaluate("console.error('said'); setTimeout(() => { throw new Error('thrown') }); alert('asked')")
    with page.expect_event("requestfailed"):
        page.evaluate("location.href = 'http://192.0.2.1/elsewhere'")
    faults, witness.faults = witness.faults, []
    for what in ("said", "thrown", "asked", "http://192.0.2.1/elsewhere"):
        assert any(what in fault for fault in faults), faults


def test_a_wrong_key(make_console: MakeConsole, stage: Stage) -> None:
    """It says so, keeps nothing, and lets one try again."""
    console = make_console(stage.origin)
    console.witness.allow(REFUSED_KEY)
    console.open()
    assert console.violations() == []
    console.page.get_by_label("API key").fill("helios_wrong")
    console.page.keyboard.press("Enter")
    expect(console.page.get_by_role("alert")).to_contain_text("key")
    expect(console.page.get_by_role("navigation")).to_have_count(0)
    assert console.page.evaluate("sessionStorage.length") == 0
    console.page.get_by_label("API key").fill(stage.keys.viewer)
    console.page.keyboard.press("Enter")
    expect(console.connection).to_have_text("live")


def test_signing_out(console: Console) -> None:
    """The key is forgotten, and a reload does not bring it back."""
    console.page.reload()
    expect(console.connection).to_have_text("live")
    console.page.get_by_role("button", name="Sign out").click()
    expect(console.page.get_by_label("API key")).to_be_visible()
    assert console.page.evaluate("sessionStorage.length + document.cookie.length") == 0
    console.page.reload()
    expect(console.page.get_by_label("API key")).to_be_visible()


def test_a_viewer_looks_only(make_console: MakeConsole, stage: Stage) -> None:
    """Every panel is there, and no order in any of them."""
    stage.post("/api/v1/routing/rules", tenant_pattern="viewed_*", backend="node3")
    console = make_console(stage.origin)
    console.sign_in(stage.keys.viewer)
    for panel in PANELS:
        console.show(panel)
        if panel in ("migrations", "failover", "routing", "sql"):
            expect(console.main).to_contain_text("operator's key")
        if panel == "routing":
            expect(console.main).to_contain_text("viewed_*")
        if panel == "sessions":
            console.main.locator("tbody button").first.click()
            expect(console.main.locator("tr.detail")).to_be_visible()
        buttons = console.main.get_by_role("button").all_inner_texts()
        assert [text for text in buttons if ORDERS.search(text)] == []


@pytest.fixture
def hostile(stage: Stage) -> None:
    """A user and a database with such names."""
    with stage.connect("postgres", "postgres", "setup") as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(HOSTILE_USER)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(HOSTILE_DATABASE)))


@pytest.mark.usefixtures("hostile")
def test_names_are_never_markup(console: Console, stage: Stage) -> None:
    """They are shown as they are, everywhere, and nothing of them runs."""
    stage.post(
        "/api/v1/routing/rules", tenant_pattern=HOSTILE_APPLICATION, backend="node3", reason=HOSTILE_USER
    )
    with stage.connect(HOSTILE_USER, HOSTILE_DATABASE, HOSTILE_APPLICATION) as connection:
        connection.execute("SELECT 1")
        for panel in PANELS:
            console.show(panel)
            if panel == "sessions":
                row = console.main.locator("tbody tr").filter(has_text=HOSTILE_USER)
                expect(row).to_contain_text(HOSTILE_APPLICATION)
                expect(row).to_contain_text(HOSTILE_DATABASE)
                row.get_by_role("button").click()
                console.button("End …").click()
                expect(console.dialog).to_contain_text(HOSTILE_USER)
                console.dialog.get_by_role("button", name="Cancel").click()
            if panel in ("pools", "routing", "events"):
                expect(console.main).to_contain_text(HOSTILE_USER)
            if panel == "sql":
                console.page.get_by_label("Statement", exact=True).fill(
                    f"SELECT '{HOSTILE_USER}' AS \"{HOSTILE_USER}\""
                )
                console.button("Run").click()
                expect(console.main.locator("td")).to_have_text(HOSTILE_USER)
            assert console.page.locator("img, iframe, script:not([src]), svg[onload]").count() == 0
    console.witness.check()


def focused(console: Console) -> str:
    """The text of what has the focus."""
    text: str = console.page.evaluate("document.activeElement.textContent.trim()")
    return text


def tab_to(console: Console, text: str) -> None:
    """Press Tab until that has the focus, which can be seen."""
    for _ in range(MOST_TABS):
        console.page.keyboard.press("Tab")
        if focused(console) == text:
            break
    assert focused(console) == text
    assert console.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_with_the_keyboard_alone(make_console: MakeConsole, stage: Stage) -> None:
    """From the login through all panels, past the navigation, and into an order that is not given."""
    console = make_console(stage.origin)
    console.open()
    keyboard = console.page.keyboard
    keyboard.type(stage.keys.operator)
    keyboard.press("Enter")
    expect(console.connection).to_have_text("live")
    for title in PANELS.values():
        tab_to(console, title)
        keyboard.press("Enter")
        expect(console.main.locator("h1")).to_have_text(title)
        expect(console.page.locator("#nav [aria-current=page]")).to_have_text(title)
    for title in [*list(PANELS.values())[-2::-1], "SQL"]:
        keyboard.press("[")
        expect(console.main.locator("h1")).to_have_text(title)
    keyboard.press("/")
    expect(console.page.get_by_label("Statement", exact=True)).to_be_focused()


def test_orders_with_the_keyboard(console: Console) -> None:
    """A question takes the focus, Escape gives it back; the skip link leads past everything."""
    keyboard = console.page.keyboard
    console.show("circuits")
    tab_to(console, "Hold open")
    keyboard.press("Enter")
    expect(console.dialog).to_be_visible()
    assert console.violations() == []
    assert console.page.evaluate("document.activeElement.closest('dialog') !== null")
    keyboard.press("Escape")
    expect(console.dialog).to_have_count(0)
    assert focused(console) == "Hold open"
    keyboard.press("?")
    expect(console.dialog).to_contain_text("the panel before")
    keyboard.press("Escape")
    console.page.reload()
    expect(console.connection).to_have_text("live")
    tab_to(console, "Skip to the content")
    keyboard.press("Enter")
    expect(console.main).to_be_focused()


def test_the_theme_can_be_chosen(console: Console) -> None:
    """Besides the one of the system; it stays for the next time."""
    background = "getComputedStyle(document.body).backgroundColor"
    light = console.page.evaluate(background)
    button = console.page.get_by_role("button", name="Theme")
    for name in ("light", "dark"):
        button.click()
        expect(button).to_have_text(f"Theme: {name}")
    dark = console.page.evaluate(background)
    assert dark != light
    console.page.reload()
    expect(button).to_have_text("Theme: dark")
    assert console.page.evaluate(background) == dark
