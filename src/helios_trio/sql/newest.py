"""How new the rows can be that a query asks for, as its conditions on a column of time say. Time is an argument.

For rules about old rows, which may live on another server: a guess that nothing's correctness hangs on, and one that
is made too new rather than too old. What is not understood - parameters, OR, anything but plain limits in the WHERE of
a single SELECT - is no limit.

Used by: features.routing.targets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from pglast import parser

from helios_trio.sql.constants import Node, names_of

#: Bytes of the longest text that is looked at: it is parsed each time.
LONGEST: Final = 16 * 1024
#: A time without an offset is one of a place that may be so far behind UTC.
_BEHIND: Final = timedelta(hours=12)
_DAY: Final = timedelta(days=1)
_FROM_LEFT: Final = {"<": False, "<=": True, "=": True}
_FROM_RIGHT: Final = {">": False, ">=": True, "=": True}
_NOW: Final = frozenset({"now", "transaction_timestamp", "statement_timestamp", "clock_timestamp"})
_NOW_WORDS: Final = frozenset(
    {f"SVFOP_{word}" for word in ("CURRENT_DATE", "CURRENT_TIMESTAMP", "LOCALTIMESTAMP")}
)
_TIMES: Final = frozenset({"date", "timestamp", "timestamptz"})
_PART: Final = re.compile(r"\s*(\d+)\s*(second|sec|minute|min|hour|day|week|month|mon|year)s?\s*", re.ASCII)
#: Months and years as their shortest: an interval that is taken off a time is made too small rather than too large.
_UNITS: Final = {
    "second": timedelta(seconds=1),
    "sec": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": _DAY,
    "week": timedelta(weeks=1),
    "month": timedelta(days=28),
    "mon": timedelta(days=28),
    "year": timedelta(days=365),
}


def newest(text: bytes, column: str, now: datetime) -> datetime | None:
    """The latest value that `column` can have in the rows that a query asks for; None: there is no limit.

    Args:
        text: one statement.
        column: without its table, as the catalog has it.
        now: with its offset from UTC.
    """
    if len(text) > LONGEST or b"\0" in text:
        return None
    try:
        statements = json.loads(parser.parse_sql_json(text.decode()))["stmts"]
    except (UnicodeDecodeError, parser.ParseError, RecursionError):
        return None
    query = statements[0]["stmt"].get("SelectStmt") if len(statements) == 1 else None
    if query is None or "larg" in query:
        return None
    limits = (_limit(each, column, now) for each in _conditions(query.get("whereClause", {})))
    return min((each for each in limits if each is not None), default=None)


def _conditions(node: Node) -> Iterator[Node]:
    """All of which must hold."""
    todo = [node]
    while todo:
        each = todo.pop()
        if each.get("BoolExpr", {}).get("boolop") == "AND_EXPR":
            todo.extend(each["BoolExpr"]["args"])
        elif "A_Expr" in each:
            yield each["A_Expr"]


def _limit(condition: Node, column: str, now: datetime) -> datetime | None:
    left, right = condition.get("lexpr", {}), condition.get("rexpr", {})
    operator = names_of(condition["name"])[-1]
    if condition["kind"] == "AEXPR_BETWEEN" and _is_column(left, column):
        return _value(right["List"]["items"][1], now, included=True)
    if condition["kind"] != "AEXPR_OP":
        return None
    if operator in _FROM_LEFT and _is_column(left, column):
        return _value(right, now, included=_FROM_LEFT[operator])
    if operator in _FROM_RIGHT and _is_column(right, column):
        return _value(left, now, included=_FROM_RIGHT[operator])
    return None


def _is_column(node: Node, column: str) -> bool:
    fields = node.get("ColumnRef", {}).get("fields", [])
    return bool(fields) and names_of(fields)[-1:] == (column,)


def _value(node: Node, now: datetime, *, included: bool) -> datetime | None:
    """The latest moment that an expression can stand for; `included`: so can all of the day that it names."""
    if "A_Expr" in node:
        return _shifted(node["A_Expr"], now, included=included)
    if "TypeCast" in node:
        cast = node["TypeCast"]
        is_time = names_of(cast["typeName"]["names"])[-1] in _TIMES
        return _value(cast["arg"], now, included=included) if is_time else None
    if "FuncCall" in node:
        return now if names_of(node["FuncCall"]["funcname"])[-1] in _NOW else None
    if node.get("SQLValueFunction", {}).get("op") in _NOW_WORDS:
        return now
    written = node.get("A_Const", {}).get("sval", {}).get("sval")
    return None if written is None else _moment(written, included=included)


def _moment(written: str, *, included: bool) -> datetime | None:
    """A literal in ISO 8601."""
    try:
        if len(written) == len("2030-01-31"):
            day = datetime.combine(date.fromisoformat(written), time(), UTC)
            return day + _BEHIND + (_DAY if included else timedelta())
        found = datetime.fromisoformat(written)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC) + _BEHIND
    except (ValueError, OverflowError):
        return None


def _shifted(sum_: Node, now: datetime, *, included: bool) -> datetime | None:
    """A time with an interval taken off."""
    if sum_["kind"] != "AEXPR_OP" or names_of(sum_["name"])[-1] != "-" or "lexpr" not in sum_:
        return None
    start, interval = _value(sum_["lexpr"], now, included=included), _interval(sum_["rexpr"])
    try:
        return None if start is None or interval is None else start - interval
    except OverflowError:
        return None


def _interval(node: Node) -> timedelta | None:
    """An interval in words, or a number of days."""
    if "A_Const" in node and "ival" in node["A_Const"]:
        days: int = node["A_Const"]["ival"].get("ival", 0)
        return _DAY * max(0, days)
    cast = node.get("TypeCast")
    if cast is None or names_of(cast["typeName"]["names"])[-1] != "interval":
        return None
    written = cast["arg"].get("A_Const", {}).get("sval", {}).get("sval", "").strip()
    parts = _PART.findall(written)
    if not parts or _PART.sub("", written):
        return None
    try:
        return sum((int(number) * _UNITS[unit] for number, unit in parts), timedelta())
    except OverflowError:
        return None
