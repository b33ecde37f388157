"""What a reload takes up, and what it leaves for the next start."""

from __future__ import annotations

from pathlib import Path

from helios_trio.config import Changes, Config, changes, keep_running, loads
from helios_trio.config.keys import Leaf, Tables, shapes

BACKENDS = """
[auth]
method = "trust"
[[backends.pools]]
name = "a"
host = "a"
[[backends.pools]]
name = "b"
host = "b"
"""


def read(text: str) -> Config:
    """The configuration in `text`."""
    return loads(text, {}, source="file", folder=Path("/"))


def test_nothing_changed() -> None:
    """Equal configurations have no changes."""
    assert changes(read(BACKENDS), read(BACKENDS)) == Changes((), ())


def test_changes_are_named_and_divided() -> None:
    """Keys by their path, items by their name."""
    new = BACKENDS.replace('host = "b"', 'host = "c"\nweight = 2') + (
        '[proxy]\nlisten_address = "127.0.0.1:1"\nlog_level = "debug"\n[pool]\nmode = "transaction"\n'
        '[[pool.rules]]\nuser = "x"\nmode = "session"\n'
    )
    found = changes(read(BACKENDS), read(new))
    assert found.live == (
        "proxy.log_level",
        "backends.pools.b.host",
        "backends.pools.b.weight",
        "pool.mode",
        "pool.rules",
    )
    assert found.restart == ("proxy.listen_address",)


def test_items_come_and_go_by_name() -> None:
    """An item that is only in one of both is one change."""
    new = BACKENDS.replace('name = "a"', 'name = "c"')
    assert changes(read(BACKENDS), read(new)).live == ("backends.pools.a", "backends.pools.c")


def test_what_cannot_change_keeps_running() -> None:
    """The old address stays, the new level is taken up; then only the address still differs."""
    old = read("")
    new = read('[proxy]\nlisten_address = "127.0.0.1:1"\nlog_level = "debug"\n[embedded]\nstandbys = 3\n')
    kept = keep_running(old, new)
    assert kept.proxy.listen_address == old.proxy.listen_address
    assert kept.embedded == old.embedded
    assert changes(old, kept) == Changes(("proxy.log_level",), ())
    assert changes(kept, new).live == ()


def test_the_embedded_cluster_is_not_exchanged_while_running() -> None:
    """Neither for servers nor back."""
    old, new = read('[auth]\nmethod = "trust"\n'), read(BACKENDS)
    assert changes(old, new) == Changes((), ("backends.pools.a", "backends.pools.b"))
    assert keep_running(old, new) == old
    assert keep_running(new, old) == new


def test_keys_of_items_can_all_change_while_running() -> None:
    """`keep_running` keeps keys of tables only, as items come and go."""
    below = [shape.section for shape in shapes(Config).values() if not isinstance(shape, Leaf)]
    items = [
        shape.section
        for section in [Config, *below]
        for shape in shapes(section).values()
        if isinstance(shape, Tables)
    ]
    assert items
    for item in items:
        assert all(shape.notes.live for shape in shapes(item).values() if isinstance(shape, Leaf))
