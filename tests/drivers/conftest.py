"""Leaves out, unless `--every-mode` is given, what drivers that speak as others do would show once more."""

from __future__ import annotations

import pytest

#: One that uses simple queries and prepares now and then, one that prepares everything.
_FIRST, _SECOND = "psycopg", "asyncpg"
#: What a short run has: of every driver transaction mode, where statements are renamed and settings follow.
_SHORT_RUN = {
    "transaction": None,
    "session": (_FIRST, _SECOND),
    "moving-session": (_FIRST,),
    "moving-transaction": (_SECOND,),
    "pristine": (_FIRST,),
    "statement": (_FIRST,),
    "routed-session": (),
    "routed-transaction": (),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what a short run does not have."""
    if config.getoption("--every-mode"):
        return
    left_out = [item for item in items if _is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not _is_left_out(item)]


def _is_left_out(item: pytest.Item) -> bool:
    found = getattr(item, "callspec", None)
    if found is None or not {"driver", "mode"} <= found.params.keys():
        return False
    drivers = _SHORT_RUN[found.params["mode"]]
    return drivers is not None and found.params["driver"] not in drivers
