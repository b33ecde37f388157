"""Leaves out, unless `--every-mode` is given, moving sessions and modes in which a topic is like another mode's."""

from __future__ import annotations

import pytest
from exchanges import in_short_run


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
    if found is None or not {"exchange", "mode"} <= found.params.keys():
        return False
    mode = found.params["mode"]
    return mode.startswith("moving-") or not in_short_run(found.params["exchange"], mode)
