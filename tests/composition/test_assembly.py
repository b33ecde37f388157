"""The whole of a proxy as it is put together, and what a reload that cannot be done leaves of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import Authority

from helios_trio.admin.keys import Role, make_key
from helios_trio.composition.assembly import assemble
from helios_trio.config import Config, loads
from helios_trio.errors import ConfigError

FILE = """
[auth]
method = "trust"
[timeouts]
login = "{login}"
[proxy.tls]
mode = "require"
cert_file = "{folder}/proxy.crt"
key_file = "{folder}/proxy.key"
[admin]
api_keys_file = "{folder}/keys"
[[backends.pools]]
name = "blue"
host = "127.0.0.1"
"""


def read(folder: Path, login: str = "7s") -> Config:
    return loads(FILE.format(folder=folder, login=login), {}, source="f", folder=folder)


def write_key(folder: Path, name: str) -> None:
    _, kept = make_key(name, Role.OPERATOR)
    (folder / "keys").write_text(f"{kept.line}\n")


async def test_a_reload_reads_files_again(tmp_path: Path) -> None:
    """Keys and certificates, whether their names have changed or not."""
    Authority(tmp_path).issue("proxy")
    write_key(tmp_path, "ann")
    parts = assemble(read(tmp_path), None)
    before = parts.core.tls.current
    write_key(tmp_path, "bob")
    Authority(tmp_path).issue("proxy")
    parts.reconfigure(read(tmp_path, login="8s"))
    assert [key.name for key in parts.admin.access.ring.keys] == ["bob"]
    assert parts.core.tls.current is not before
    assert parts.core.proxy.limits.login_timeout == 8.0
    assert parts.core.control.config.timeouts.login == 8.0, "probes go on as the user of the new one"


@pytest.mark.parametrize("broken", ["proxy.crt", "keys"])
async def test_a_reload_that_fails_changes_nothing(broken: str, tmp_path: Path) -> None:
    """Not the configuration, and not what other files say that could be read."""
    Authority(tmp_path).issue("proxy")
    write_key(tmp_path, "ann")
    parts = assemble(read(tmp_path), None)
    before = parts.core.tls.current
    write_key(tmp_path, "bob")
    (tmp_path / broken).write_text("nonsense")
    with pytest.raises(ConfigError):
        parts.reconfigure(read(tmp_path, login="8s"))
    assert [key.name for key in parts.admin.access.ring.keys] == ["ann"]
    assert parts.core.tls.current is before
    assert parts.core.proxy.limits.login_timeout == 7.0
    assert (parts.config.timeouts.login, parts.core.directory.config.timeouts.login) == (7.0, 7.0)
