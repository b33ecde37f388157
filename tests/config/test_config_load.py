"""Loading: the file, the environment over it, and the classes that come out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from helios_trio.config import (
    Config,
    InvalidConfig,
    PoolMode,
    Role,
    SslMode,
    TcpAddress,
    load,
    loads,
)

FOLDER = Path("/configs")
BACKEND = '[auth]\nmethod = "trust"\n[[backends.pools]]\nname = "a"\nhost = "h"\n'


def read(text: str, **environ: str) -> Config:
    """The configuration in `text`."""
    return loads(text, environ, source="helios.toml", folder=FOLDER)


def test_without_a_file_all_is_default() -> None:
    """And the embedded cluster is used."""
    config = load(None, {})
    assert config == Config()
    assert config.uses_embedded


def test_all_kinds_of_values_are_read() -> None:
    """Durations, words, lists, numbers, nested tables and arrays of tables."""
    config = read(
        BACKEND
        + """
        role = "standby"
        weight = 2
        tags = ["a", "b"]
        tls = "require"
        [proxy]
        listen_address = ["127.0.0.1:1", "[::1]:2"]
        admin_listen_address = "off"
        drain_timeout = "1m30s"
        [timeouts]
        query = "500ms"
        """
    )
    backend = config.backends.pools[0]
    assert (backend.role, backend.weight, backend.tags, backend.tls) == (
        Role.STANDBY,
        2.0,
        ("a", "b"),
        SslMode.REQUIRE,
    )
    assert config.proxy.listen_address == (TcpAddress("127.0.0.1", 1), TcpAddress("::1", 2))
    assert config.proxy.admin_listen_address is None
    assert (config.proxy.drain_timeout, config.timeouts.query, config.timeouts.idle) == (90.0, 0.5, math.inf)


def test_variables_are_replaced_in_strings() -> None:
    """Several in one string, escaped ones, and values of kinds that are not strings."""
    config = read(
        BACKEND.replace('"h"', '"${HOST}.${ZONE}"') + 'port = "${PORT}"\nregion = "$${HOST}"\n',
        HOST="db",
        ZONE="local",
        PORT="5433",
    )
    backend = config.backends.pools[0]
    assert (backend.host, backend.port, backend.region) == ("db.local", 5433, "${HOST}")


def test_the_environment_overrides_any_key() -> None:
    """Strings as they are, other kinds as TOML, items of arrays by index, new sections."""
    config = read(
        BACKEND + "[proxy]\nreuse_port = false\n",
        HELIOS__BACKENDS__POOLS__0__PORT="5433",
        HELIOS__BACKENDS__POOLS__0__TAGS='["x"]',
        HELIOS__BACKENDS__POOLS__1__NAME="123",
        HELIOS__BACKENDS__POOLS__1__HOST="true",
        HELIOS__PROXY__REUSE_PORT="true",
        HELIOS__PROXY__TLS__MODE="disable",
        HELIOS__POOL__MODE="transaction",
        HELIOS__PROXY__LISTEN_ADDRESS='["127.0.0.1:1", "127.0.0.1:2"]',
        OTHER__POOL__MODE="ignored",
    )
    first, second = config.backends.pools
    assert (first.port, first.tags, second.name, second.host) == (5433, ("x",), "123", "true")
    assert config.proxy.reuse_port is True
    assert config.pool.mode is PoolMode.TRANSACTION
    assert [each.port for each in config.proxy.listen_address] == [1, 2]


def test_more_than_ten_items_can_come_from_the_environment() -> None:
    """Indices are sorted as numbers."""
    environ = {f"HELIOS__DATABASES__{index}__NAME": f"db{index}" for index in range(12)}
    assert [each.name for each in read("", **environ).databases] == [f"db{index}" for index in range(12)]


def test_an_override_may_hold_any_text() -> None:
    """No `${NAME}` is looked for in it: a password may contain that."""
    config = read(BACKEND, HELIOS__CONTROL__PASSWORD="a${b}c", HELIOS__PROXY__LISTEN_ADDRESS="[::1]:5")
    assert config.control.password is not None
    assert config.control.password.reveal() == "a${b}c"
    assert config.proxy.listen_address == (TcpAddress("::1", 5),)


def test_relative_paths_are_below_the_folder_of_the_file(tmp_path: Path) -> None:
    """For files that must be there, and for folders that need not."""
    (tmp_path / "users").write_text("")
    file = tmp_path / "helios.toml"
    file.write_text('[auth]\nauth_file = "users"\n[embedded]\ndata_dir = "data"\nbin_dir = "/opt/bin"\n')
    config = load(file, {})
    assert config.auth.auth_file == tmp_path / "users"
    assert (config.embedded.data_dir, config.embedded.bin_dir) == (tmp_path / "data", Path("/opt/bin"))


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Missing, a folder, no text, no TOML."""
    for file, content, words in (
        ("missing", None, "No such file"),
        ("binary", b"\xff", "UTF-8"),
        ("broken", b"a = ", "TOML"),
    ):
        path = tmp_path / file
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InvalidConfig, match=words) as caught:
            load(path, {})
        assert str(caught.value).startswith(f"{path}: expected ")
    with pytest.raises(InvalidConfig, match="directory"):
        load(tmp_path, {})
