"""What moves sessions, as it is made from a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from helios_trio.composition.assembly import assemble
from helios_trio.composition.letting_in import health_without_key
from helios_trio.composition.moving import state_folder, switchover_settings
from helios_trio.config import Config, TcpAddress, UnixAddress, WithoutKey, loads

BACKENDS = """
[auth]
method = "trust"
[[backends.pools]]
name = "blue"
host = "127.0.0.1"
"""


def listening(*addresses: TcpAddress | UnixAddress) -> Config:
    config = Config()
    return evolve(config, proxy=evolve(config.proxy, listen_address=addresses))


def test_the_state_folder_that_is_configured() -> None:
    """Goes before all others."""
    config = Config()
    config = evolve(config, proxy=evolve(config.proxy, state_dir=Path("/var/lib/x")))
    assert state_folder(config, {"STATE_DIRECTORY": "/a"}) == Path("/var/lib/x")


def test_the_state_folder_of_the_service_manager() -> None:
    """The first, if there are several."""
    assert state_folder(Config(), {"STATE_DIRECTORY": "/a:/b"}) == Path("/a")


def test_a_state_folder_of_the_user() -> None:
    """One for each proxy, by where it listens; none where that is a free port."""
    environment = {"XDG_STATE_HOME": "/home-of-state"}
    assert state_folder(Config(), environment) == Path("/home-of-state/helios_trio/127.0.0.1_6432")
    found = state_folder(listening(UnixAddress("/run/helios")), environment)
    assert found == Path("/home-of-state/helios_trio/unix__run_helios_.s.PGSQL.6432")
    assert state_folder(listening(TcpAddress("127.0.0.1", 0)), environment) is None


def test_switchovers_are_as_configured() -> None:
    """From both sections."""
    text = '[switchover_buffer]\nwindow = "7s"\n[session_migration]\nmax_concurrent_migrations = 3'
    found = switchover_settings(loads(text, {}, source="f", folder=Path("/")))
    assert (found.window, found.move_concurrency) == (7.0, 3)


@pytest.mark.parametrize(
    ("words", "host", "expected"),
    [
        (WithoutKey.LOOPBACK, "127.0.0.1", WithoutKey.LOOPBACK),
        (WithoutKey.LOOPBACK, "0.0.0.0", WithoutKey.NOWHERE),
        (WithoutKey.ANYWHERE, "0.0.0.0", WithoutKey.ANYWHERE),
        (WithoutKey.NOWHERE, "127.0.0.1", WithoutKey.NOWHERE),
    ],
)
def test_where_health_is_open(words: WithoutKey, host: str, expected: WithoutKey) -> None:
    """By where the admin listener listens."""
    config = Config()
    config = evolve(
        config,
        proxy=evolve(config.proxy, admin_listen_address=TcpAddress(host, 9090)),
        admin=evolve(config.admin, health_without_key=words),
    )
    assert health_without_key(config) is expected


async def test_what_is_off_is_absent() -> None:
    """session_migration.enabled = false."""
    config = loads(BACKENDS + "[session_migration]\nenabled = false", {}, source="f", folder=Path("/"))
    parts = assemble(config, None)
    moving = parts.activities.moving
    assert (moving.migrations, moving.switchover) == (None, None)
    assert parts.admin.migrations is None


async def test_a_reload_reaches_all_parts() -> None:
    """Limits of moves, thresholds of health checks."""
    parts = assemble(loads(BACKENDS, {}, source="f", folder=Path("/")), None)
    more = "[session_migration]\nmax_concurrent_migrations = 2\n[health_checks]\nfailure_threshold = 9"
    more += '\ncheck_query = "SELECT 2"\n[admin]\nhealth_without_key = "nowhere"'
    config = loads(f"{BACKENDS}{more}", {}, source="f", folder=Path("/"))
    parts.reconfigure(config)
    moving = parts.activities.moving
    migrations, switchover = moving.migrations, moving.switchover
    assert migrations is not None
    assert switchover is not None
    assert (migrations.means.settings.max_concurrent_migrations, switchover.settings.move_concurrency) == (
        2,
        2,
    )
    assert (parts.core.topology.failure_threshold, moving.examiner.settings.check_query) == (9, "SELECT 2")
    assert (parts.admin.access.health, parts.admin.running.config) == (WithoutKey.NOWHERE, config)
