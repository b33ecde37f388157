"""Ids of commits."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from helios_trio.composition.recovering import new_id


def test_ids_are_uuids_of_version_7() -> None:
    """Different, and in the order of their making as far as the clock goes."""
    made = [UUID(new_id()) for _ in range(1000)]
    assert {(each.version, each.variant) for each in made} == {(7, RFC_4122)}
    assert len(set(made)) == len(made)
    moments = [each.int >> 80 for each in made]
    assert moments == sorted(moments)
