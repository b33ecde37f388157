"""What is generated from the classes: the file of defaults, the reference page, the masked dump."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest

from helios_trio.config import (
    MASK,
    AuthSettings,
    Backends,
    BackendSettings,
    Config,
    ControlSettings,
    Secret,
    defaults_toml,
    loads,
    masked,
    masked_toml,
    reference_markdown,
)
from helios_trio.config.keys import Leaf, Table, Tables, shapes

ROOT = Path(__file__).parents[2]


def all_sections(section: type) -> list[type]:
    """`section` and all below it."""
    below = [shape.section for shape in shapes(section).values() if isinstance(shape, Table | Tables)]
    return [section, *(each for inner in below for each in all_sections(inner))]


def test_loading_the_defaults_gives_the_defaults() -> None:
    """The printed file says what holds without it."""
    assert loads(defaults_toml(), {}, source="defaults", folder=Path("/")) == Config()


def test_the_file_of_defaults_has_every_key() -> None:
    """Absent ones as examples, commented out."""
    uncommented = tomllib.loads(re.sub(r"^#(?=[\[a-z])", "", defaults_toml(), flags=re.MULTILINE))
    assert_has_all(Config, uncommented)


def assert_has_all(section: type, tree: dict[str, Any]) -> None:
    """Whether `tree` has all keys of `section`, and values that they can have."""
    assert set(tree) == set(shapes(section))
    for name, shape in shapes(section).items():
        match shape:
            case Leaf(kind):
                kind.read(tree[name])
            case Table(inner):
                assert_has_all(inner, tree[name])
            case Tables(inner):
                assert_has_all(inner, tree[name][0])


def test_every_comment_line_is_marked_as_one() -> None:
    """A line is a comment ("# "), an example ("#key"), a table, a key, or empty."""
    for line in defaults_toml().splitlines():
        assert re.fullmatch(r"# .*|#?\[.*\]|#?[a-z_0-9]+ = .*|", line)


@pytest.mark.parametrize("section", all_sections(Config), ids=lambda section: section.__name__)
def test_every_section_and_key_is_explained(section: type) -> None:
    """Absent keys also have an example."""
    assert section.__doc__
    for attribute in attrs.fields(section):
        shape = shapes(section)[attribute.name]
        if isinstance(shape, Leaf):
            assert shape.notes.comment
            assert attribute.default not in (None, attrs.NOTHING) or shape.notes.example is not None


def test_the_committed_reference_is_the_generated_one() -> None:
    """docs/configuration.md is written by `reference_markdown`, not by hand."""
    assert (ROOT / "docs" / "configuration.md").read_text() == reference_markdown()


def test_the_reference_has_every_section() -> None:
    """A heading each."""
    headings = re.findall(r"^## `\[+([a-z._]+)\]+`$", reference_markdown(), re.MULTILINE)
    assert headings == [
        "proxy",
        "proxy.tls",
        "auth",
        "auth.rules",
        "control",
        "backends.pools",
        "databases",
        "pool",
        "pool.rules",
        "timeouts",
        "topology",
        "topology.patroni",
        "health_checks",
        "session_migration",
        "session_migration.gradual_phases",
        "switchover_buffer",
        "failover",
        "failover.triggers",
        "failover.actions",
        "transaction_replay",
        "transaction_replay.journal",
        "cursor_restore",
        "load_balancer",
        "routing",
        "routing.rules",
        "routing.geo_rules",
        "routing.workload",
        "routing.temperatures",
        "routing.tables",
        "lag_routing",
        "transparent_write_routing",
        "circuit_breaker",
        "admin",
        "observability",
        "alerts",
        "embedded",
    ]


def test_no_dump_shows_a_secret() -> None:
    """Rule 39: the API's answer, the printed file, and what Python prints."""
    config = Config(
        auth=AuthSettings(method=None),
        control=ControlSettings(password=Secret("hunter2")),
        backends=Backends(pools=(BackendSettings(name="a", host="h", user="u", password=Secret("hunter2")),)),
    )
    assert masked(config)["control"]["password"] == MASK
    for text in (
        masked_toml(config),
        repr(masked(config)),
        repr(config),
        str(config),
        f"{config.control.password}",
    ):
        assert "hunter2" not in text


def test_a_dump_without_secrets_loads_again() -> None:
    """All kinds are printed as they are read."""
    text = """
        [proxy]
        listen_address = ["127.0.0.1:1", "unix:/a"]
        admin_listen_address = "off"
        [auth]
        method = "trust"
        rules = [{ user = "x", method = "reject" }]
        [[backends.pools]]
        name = "a"
        host = "::1"
        tags = ["x", "y"]
        weight = 0.5
        max_connections = 7
        [pool]
        idle_timeout = "off"
        [[pool.rules]]
        user = "a*"
        mode = "statement"
        max_lifetime = "off"
    """
    config = loads(text, {}, source="file", folder=Path("/"))
    assert loads(masked_toml(config), {}, source="dump", folder=Path("/")) == config
