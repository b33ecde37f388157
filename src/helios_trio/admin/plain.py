"""Answers as plain values for JSON: classes become objects, times RFC 3339 in UTC, sets and tuples arrays.

Used by: admin.routing.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import attrs


def plain(value: Any) -> Any:
    """`value` as JSON has it; members keep the order of their class, which is the documented one."""
    if attrs.has(type(value)):
        return {each.name: plain(getattr(value, each.name)) for each in attrs.fields(type(value))}
    match value:
        case Enum():
            return value.value
        case datetime():
            return rfc3339(value.timestamp())
        case Mapping():
            return {str(name): plain(each) for name, each in value.items()}
        case list() | tuple() | Set():
            return [plain(each) for each in value]
        case _:
            return value


def rfc3339(seconds: float) -> str:
    """A time (seconds since 1970) in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
