"""API keys: made, kept hashed, read from a file, found again; and what each role may do."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from admin_parts import AS_OPERATOR, AS_VIEWER, OPERATOR, VIEWER, Api, make_parts
from hypothesis import given
from hypothesis import strategies as st
from migration_rig import make_rig

from helios_trio.admin.api import all_routes
from helios_trio.admin.failures import Failures
from helios_trio.admin.keys import PREFIX, ApiKey, KeyRing, Role, digest_of, make_key, read_keys
from helios_trio.admin.live import Live
from helios_trio.announcement import Announcement
from helios_trio.config.words import WithoutKey
from helios_trio.errors import ConfigError

WRONG_KEYS: list[dict[str, str]] = [
    {},
    {"X-API-Key": ""},
    {"X-API-Key": "wrong"},
    {"X-API-Key": OPERATOR[:-1]},
    {"X-API-Key": OPERATOR + "x"},
    {"X-API-Key": digest_of(OPERATOR).hex()},
    {"Authorization": OPERATOR},
    {"Authorization": f"Basic {OPERATOR}"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer wrong", "X-API-Key": OPERATOR},
    {"Cookie": f"X-API-Key={OPERATOR}"},
]


def test_a_key_is_found_by_what_is_kept_of_it() -> None:
    """Which is not the key."""
    key, kept = make_key("ann", Role.OPERATOR)
    other, _ = make_key("bob", Role.VIEWER)
    ring = KeyRing((kept,))
    assert ring.find(key) == kept
    assert ring.find(other) is None
    assert key.startswith(PREFIX)
    assert key not in kept.line
    assert key not in repr(ring)


@given(st.text(max_size=100))
def test_nobody_guesses_a_key(text: str) -> None:
    """Whatever is presented, also what is no text that can be encoded."""
    assert KeyRing((make_key("ann", Role.OPERATOR)[1],)).find(text) is None
    assert KeyRing().find(text) is None


def test_a_file_is_read(tmp_path: Path) -> None:
    """With comments and empty lines."""
    keys = [make_key(name, role)[1] for name, role in (("ann", Role.OPERATOR), ("b.c@d-e_1", Role.VIEWER))]
    file = tmp_path / "keys"
    file.write_text(f"# who\n\n{keys[0].line}\n  {keys[1].line}  # the dashboard\n")
    assert read_keys(file) == tuple(keys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected at least one key"),
        ("ann operator", "line 1: expected"),
        ("ann admin sha256:" + "0" * 64, "line 1: expected"),
        ("ann operator sha256:" + "0" * 63, "line 1: expected"),
        ("ann operator md5:" + "0" * 64, "line 1: expected"),
        ("a/b operator sha256:" + "0" * 64, "line 1: expected"),
        ("#\nann operator hunter2secret", "line 2: expected"),
        (f"ann viewer sha256:{'0' * 64}\nann operator sha256:{'1' * 64}", "each name once"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, text: str, words: str) -> None:
    """But not what stands there: it may be a key (rule 39)."""
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_keys(file)
    assert "hunter2" not in caught.value.message
    assert str(file) in caught.value.message


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """Missing, or no text."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("none", "binary"):
        with pytest.raises(ConfigError, match="expected a readable file of text"):
            read_keys(tmp_path / name)


@pytest.mark.parametrize("name", ["", "a b", "a#b", "x" * 65, "ä"])
def test_names_must_fit_into_the_file(name: str) -> None:
    """One word of plain letters."""
    with pytest.raises(ValueError, match="expected a name"):
        make_key(name, Role.VIEWER)


def test_roles() -> None:
    """An operator may do what a viewer may."""
    assert Role.OPERATOR.allows(Role.VIEWER)
    assert Role.OPERATOR.allows(Role.OPERATOR)
    assert Role.VIEWER.allows(Role.VIEWER)
    assert not Role.VIEWER.allows(Role.OPERATOR)


def concrete(path: str) -> str:
    return path.replace("<int:id>", "1").replace("<name>", "blue")


PARTS = make_parts(make_rig())
ROUTES = [
    (route.method, concrete(route.path), route.role, route.health)
    for route in all_routes(PARTS, Live.of(PARTS))
]


@pytest.mark.parametrize("headers", WRONG_KEYS, ids=str)
async def test_nothing_is_read_or_changed_without_a_good_key(headers: dict[str, str]) -> None:
    """401, with how to show a key; health and metrics can be read where that is allowed."""
    rig = make_rig(sessions=3)
    parts = make_parts(rig)
    api = Api.of(parts)
    for method, path, _, health in ROUTES:
        parts.access._failures = Failures()  # else there are too many of them
        response = await api.client.open(path, method=method, headers=headers)
        if not health:
            assert (response.status_code, response.mimetype) == (401, "application/problem+json"), path
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="helios"'
            assert OPERATOR not in (await response.get_data()).decode()
    assert len(rig.fleet.present) == 3
    assert rig.kinds() == []


async def test_viewers_change_nothing() -> None:
    """403 that names the role that is needed, before the body is looked at."""
    rig = make_rig(sessions=3)
    api = Api.of(make_parts(rig))
    for method, path, role, _ in ROUTES:
        if role is Role.OPERATOR:
            status, body = await api.ask(method, path, {"nonsense": 1}, AS_VIEWER)
            assert (status, body["detail"]) == (403, "the key vera is a viewer's; this needs an operator"), (
                path
            )
    assert len(rig.fleet.present) == 3


async def test_changes_need_operators_and_reads_viewers() -> None:
    """What a route does follows from its method."""
    assert all((role is Role.VIEWER) == (method == "GET") for method, _, role, _ in ROUTES)
    assert {path for _, path, _, health in ROUTES if health} == {"/health", "/health/live", "/health/ready"}


@pytest.mark.parametrize("path", ["/health", "/health/live", "/metrics/prometheus"])
@pytest.mark.parametrize(
    ("words", "status", "status_by_name"),
    [
        (WithoutKey.LOOPBACK, 200, 401),
        (WithoutKey.ANYWHERE, 200, 200),
        (WithoutKey.NOWHERE, 401, 401),
    ],
)
async def test_health_is_open_where_that_is_configured(
    path: str, words: WithoutKey, status: int, status_by_name: int
) -> None:
    """With a key it can always be read."""
    parts = make_parts()
    parts.access.health = words
    client = Api.of(parts).client
    assert (await client.get(path)).status_code == status
    assert (await client.get(path, headers={"Host": "page.example:9090"})).status_code == status_by_name
    assert (await client.get(path, headers=AS_VIEWER | {"Host": "page.example"})).status_code == 200


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1:9090", True),
        ("10.1.2.3", True),
        ("[::1]:9090", True),
        ("[fe80::1]", True),
        ("localhost:9090", True),
        ("LOCALHOST.", True),
        ("proxy.localhost:1", True),
        (f"{socket.gethostname()}:9090", True),
        ("", True),
        ("page.example:9090", False),
        ("127.0.0.1.page.example", False),
        ("localhost.page.example:9090", False),
        ("page.example/localhost", False),
        ("x@127.0.0.1:9090", False),
    ],
)
async def test_names_that_other_pages_may_have_are_not_local(host: str, local: bool) -> None:
    """A name that somebody else hands out may lead here for a moment (DNS rebinding)."""
    client = Api.of(make_parts()).client
    answer = await client.get("/health", headers={"Host": host})
    assert answer.status_code == (200 if local else 401)
    assert local or "localhost" in (await answer.get_json(force=True))["detail"]


@pytest.mark.parametrize("headers", [AS_OPERATOR, {"authorization": f"bearer  {OPERATOR} "}, AS_VIEWER])
async def test_both_headers_are_taken(headers: dict[str, str]) -> None:
    """The scheme in any case."""
    assert (await Api.of(make_parts()).get("/api/v1/version", headers))[0] == 200


async def test_keys_can_be_replaced_while_running() -> None:
    """At a reload."""
    parts = make_parts()
    api = Api.of(parts)
    old = parts.access.find_key(VIEWER, None)
    withdrawn = trio.Event()

    async def watch() -> None:
        await parts.access.wait_withdrawn(old)
        withdrawn.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        parts.access.replace(parts.access.ring.keys, WithoutKey.NOWHERE)
        await trio.testing.wait_all_tasks_blocked()
        assert not withdrawn.is_set(), "the key is still there"
        parts.access.replace((ApiKey("new", Role.VIEWER, digest_of("helios_new")),), WithoutKey.NOWHERE)
    assert withdrawn.is_set()
    assert (await api.get("/api/v1/version", {"X-API-Key": VIEWER}))[0] == 401
    assert (await api.get("/api/v1/version", {"X-API-Key": "helios_new"}))[0] == 200


def test_the_made_key_is_in_a_private_file(tmp_path: Path) -> None:
    """Said once to people, and to the program that started the proxy."""
    details: dict[str, Any] = {"listen": "x", "listeners": ["x"], "dsn": "x", "nodes": [], "pid": 1}
    path = tmp_path / "ready.json"
    path.write_text("old")
    path.with_name("ready.json.partial").write_text("left over")
    announcement = Announcement(admin="127.0.0.1:1", admin_key="helios_secret", **details)
    announcement.write(path)
    assert "helios_secret" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sum("helios_secret" in line for line in announcement.lines()) == 1
    silent = Announcement(admin="127.0.0.1:1", admin_key=None, **details)
    assert not any("key" in line for line in silent.lines())
