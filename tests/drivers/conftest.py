"""Leaves out, unless `--every-mode` is given, moving sessions and rarer modes of drivers that speak as others do."""

from __future__ import annotations

import pytest

#: One that uses simple queries and prepares now and then, one that prepares everything.
_SHORT_RUN = ("psycopg", "asyncpg")
_RARE = ("pristine", "statement")


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
    driver, mode = found.params["driver"], found.params["mode"]
    if mode.startswith("moving-"):
        return driver not in _SHORT_RUN
    return mode in _RARE and driver != _SHORT_RUN[0]
