"""What watches the servers, as the configuration has it; and what stands in the events of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from helios_trio.cluster.appointment import PrimaryStatus
from helios_trio.cluster.herald import (
    HealthChanged,
    NodeJoined,
    NodeLeft,
    PrimaryChanged,
    TopologyEvent,
)
from helios_trio.cluster.topology import NodeRole, Topology
from helios_trio.composition.servers import backends_of
from helios_trio.composition.watching import note, patroni_access, watching_of
from helios_trio.config import Config, loads
from helios_trio.control import ControlConnection
from helios_trio.errors import ConfigError
from helios_trio.migration.events import EventLog
from helios_trio.pipeline.backend import Backend

BACKENDS = """
[auth]
method = "trust"
[[backends.pools]]
name = "one"
host = "10.0.0.1"
role = "active"
[[backends.pools]]
name = "two"
host = "fd00::2"
[[backends.pools]]
name = "three"
host = "/run/postgresql"
"""


def config(more: str) -> Config:
    return loads(BACKENDS + more, {}, source="helios.toml", folder=Path("/"))


async def connect(_backend: Backend) -> ControlConnection:
    raise OSError("nobody is there")


def test_patroni_is_asked_at_the_backends() -> None:
    """At its usual port, of those that are reached over TCP."""
    access = patroni_access(config('[topology]\nprovider = "patroni"\n'))
    assert access.urls == ("http://10.0.0.1:8008", "http://[fd00::2]:8008")
    assert (access.auth, access.tls) == (None, None)


def test_patroni_is_asked_as_configured(tmp_path: Path) -> None:
    """Addresses and password; the password is shown nowhere (rule 39)."""
    (tmp_path / "password").write_text("secret\n")
    access = patroni_access(
        config(
            '[topology]\nprovider = "patroni"\n[topology.patroni]\nurls = ["https://p:1"]\nuser = "u"\n'
            f'password_file = "{tmp_path}/password"\ninterval = "2s"\ntimeout = "3s"\n'
        )
    )
    assert (access.urls, access.interval, access.timeout) == (("https://p:1",), 2.0, 3.0)
    assert access.auth == ("u", "secret")
    assert "secret" not in repr(access)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """Are an error of the configuration."""
    (tmp_path / "ca").write_text("no certificate")
    text = f'[topology]\nprovider = "patroni"\n[topology.patroni]\nca_file = "{tmp_path}/ca"\n'
    with pytest.raises(ConfigError, match=r"topology\.patroni"):
        patroni_access(config(text))


@pytest.mark.parametrize(
    ("provider", "patroni", "manual", "writer"),
    [("postgres", False, False, "one"), ("patroni", True, False, None), ("manual", False, True, "one")],
)
def test_providers(provider: str, patroni: bool, manual: bool, writer: str | None, tmp_path: Path) -> None:
    """Each has its own, and the topology hears it before anybody was asked."""
    found = config(f'[proxy]\nstate_dir = "{tmp_path}"\n[topology]\nprovider = "{provider}"\n')
    topology = Topology.of(backends_of(found))
    watching = watching_of(found, topology, connect, EventLog(lambda: 0.0), {})
    assert (watching.patroni is not None, watching.manual is not None) == (patroni, manual)
    assert (topology.writer.backend.name if topology.writer else None) == writer
    if watching.manual is not None:
        assert watching.manual.file == tmp_path / "primary.json"


@pytest.mark.parametrize(
    ("event", "kind", "subject", "reason"),
    [
        (
            PrimaryChanged(before="one", after="two", status=PrimaryStatus.PENDING),
            "primary is pending",
            "two",
            "before: one",
        ),
        (
            PrimaryChanged(before="two", after="two", status=PrimaryStatus.CONFIRMED),
            "primary is confirmed",
            "two",
            "",
        ),
        (
            PrimaryChanged(before="two", after=None, status=PrimaryStatus.NONE),
            "primary is gone",
            "two",
            "before: two",
        ),
        (
            HealthChanged(name="one", healthy=False, role=NodeRole.PRIMARY, reason="refused"),
            "server is unhealthy",
            "one",
            "refused",
        ),
        (
            NodeJoined(name="nine", host="h", port=1, configured=False),
            "server joined",
            "nine",
            "it is no configured backend, and gets no traffic",
        ),
        (NodeLeft(name="one", configured=True), "server left", "one", ""),
    ],
)
def test_events_are_written_down(event: TopologyEvent, kind: str, subject: str, reason: str) -> None:
    """In words."""
    events = EventLog(lambda: 0.0)
    note(events, event)
    (found,) = events.newest(9)
    assert (found.kind, found.subject, found.reason, found.who) == (kind, subject, reason, "helios")
