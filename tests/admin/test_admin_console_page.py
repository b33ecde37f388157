"""The page of the web console: its files, its headers, what cannot be had by tricks with paths."""

from __future__ import annotations

import pytest
from admin_parts import AS_OPERATOR, AS_VIEWER, Api, make_parts
from attrs import evolve

from helios_trio.admin import web


def make_api() -> Api:
    return Api.of(evolve(make_parts(), panels=web.PANELS))


async def test_the_page_needs_no_key_and_loads_nothing_else() -> None:
    """Its policy says so."""
    answer = await make_api().client.get("/")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_files_are_asked_for_again_only_when_they_change() -> None:
    """By their entity tags."""
    api = make_api()
    first = await api.client.get("/console/app.js")
    assert first.mimetype == "text/javascript"
    again = await api.client.get("/console/app.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, await again.get_data()) == (304, b"")


async def test_every_panel_that_is_listed_has_a_script() -> None:
    """And is JavaScript."""
    api = make_api()
    view = await (await api.client.get("/api/v1/console", headers=AS_VIEWER)).get_json()
    assert (view["who"], view["role"]) == ("vera", "viewer")
    assert [each["name"] for each in view["panels"]] == [each.name for each in web.PANELS]
    for panel in view["panels"]:
        script = await api.client.get(panel["script"])
        assert (script.status_code, script.mimetype) == (200, "text/javascript")
    role = (await (await api.client.get("/api/v1/console", headers=AS_OPERATOR)).get_json())["role"]
    assert role == "operator"


@pytest.mark.parametrize(
    "path",
    [
        "/console/",
        "/console/nothing.js",
        "/console/..",
        "/console/../keys.py",
        "/console/%2e%2e/__init__.py",
        "/console/..%2f__init__.py",
        "/console/..%5c__init__.py",
        "/console/style.css%00.js",
        "/console/panels/nothing.js",
        "/console/panels/../../__init__.py",
        "/console/panels/..%2f..%2fkeys.py.js",
        "/console//etc/passwd",
        "/index.html",
    ],
)
async def test_nothing_else_is_there(path: str) -> None:
    """404 as problem details, and nothing of a file."""
    answer = await make_api().client.get(path)
    assert answer.status_code in (404, 308)
    assert b"import" not in await answer.get_data()


async def test_pages_are_only_read() -> None:
    """405."""
    assert (await make_api().client.post("/")).status_code == 405
