"""Relations that exist nowhere: `helios_proxy.NAME` and `heliosproxy_NAME`, whose rows the proxy has.

A query that reads one is sent on with the rows written into it, as a subquery on json_to_recordset() in the place of
the name, so that PostgreSQL does all the rest: conditions, joins, casts, parameters, ORDER BY. It cannot be written
to, nor read through a view, PREPARE or ONLY: there PostgreSQL says that it does not exist.

Used by: `parse` (says which of them a statement reads); whoever sends a query to a server.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from attrs import frozen
from pglast import parser

from .constants import Node
from .quote import quote_identifier, quote_literal
from .walk import walk

#: The schema that exists nowhere, and how names outside of it begin.
SCHEMA: Final = "helios_proxy"
PREFIX: Final = "heliosproxy_"

# Statements that run a query which their text shows, in the places where PostgreSQL takes a subquery.
_QUERYING: Final = frozenset(
    {
        "SelectStmt",
        "InsertStmt",
        "UpdateStmt",
        "DeleteStmt",
        "MergeStmt",
        "CopyStmt",
        "DeclareCursorStmt",
        "CreateTableAsStmt",
    }
)
_COMMENTS: Final = frozenset({"SQL_COMMENT", "C_COMMENT"})


@frozen
class Rows:
    """What a relation shows: its columns with PostgreSQL's names of their types, and a value for each in each row.

    Values are what JSON can say; for other types the text that PostgreSQL reads.
    """

    columns: Sequence[tuple[str, str]]
    rows: Iterable[Sequence[object]]


def names_of_ours(statement: str, sources: list[Node]) -> tuple[str, ...]:
    """The names, without schema, of the relations among `sources` (RangeVars) that the proxy puts in.

    Args:
        statement: the name of the top-level parse node.
        sources: as in `walk.Findings`.
    """
    if not sources or statement not in _QUERYING:
        return ()
    found = [source["relname"] for source in sources if _is_ours(source)]
    return tuple(dict.fromkeys(found)) if found else ()


def rewritten(text: bytes, rows_of: Callable[[str], Rows | None]) -> bytes:
    """The text with the rows of such relations in the place of their names.

    Means the same whatever standard_conforming_strings is. A relation of which `rows_of` knows nothing stays as it
    is. Text whose facts are not parsed must not come here.

    Args:
        text: in UTF-8, or in ASCII.
        rows_of: gives the rows of a relation by its name.

    Raises:
        pglast.parser.ParseError: the text does not parse.
    """
    sql = text.decode()
    tokens = _tokens(sql)
    edits: list[_Edit] = []
    for item in json.loads(parser.parse_sql_json(sql))["stmts"]:
        found = _edits_of(item["stmt"], tokens, rows_of)
        if found:
            edits += found
            edits += _unqualified(item["stmt"], tokens)
    return _spliced(text, edits)


@frozen(order=True)
class _Edit:
    """Bytes `start` up to `end` become `text`."""

    start: int
    end: int
    text: bytes


@frozen
class _Token:
    """A word of the text, with its place in bytes."""

    name: str
    start: int
    end: int


def _is_ours(source: Node) -> bool:
    schema = source.get("schemaname")
    if schema != SCHEMA and (schema is not None or not source["relname"].startswith(PREFIX)):
        return False
    return bool(source.get("inh")) and "catalogname" not in source


def _tokens(sql: str) -> list[_Token]:
    """The words without comments. The scanner counts characters, the parse tree bytes."""
    found: list[_Token] = []
    characters = size = 0
    for token in parser.scan(sql):
        if token.name in _COMMENTS:
            continue
        start = size + len(sql[characters : token.start].encode())
        end = start + len(sql[token.start : token.end + 1].encode())
        found.append(_Token(token.name, start, end))
        characters, size = token.end + 1, end
    return found


def _edits_of(statement: Node, tokens: list[_Token], rows_of: Callable[[str], Rows | None]) -> list[_Edit]:
    explain = statement.get("ExplainStmt")
    inner: Node = statement if explain is None else explain["query"]
    if not inner.keys() <= _QUERYING:
        return []
    found: dict[int, _Edit] = {}
    known: dict[str, Rows | None] = {}
    for source in filter(_is_ours, walk(inner).sources):
        name = source["relname"]
        if name not in known:
            known[name] = rows_of(name)
        if (rows := known[name]) is not None:
            found[source["location"]] = _in_place(source, rows, tokens)
    return list(found.values())


def _in_place(source: Node, rows: Rows, tokens: list[_Token]) -> _Edit:
    """A subquery for the name at the RangeVar's place, under the same alias or else the name itself."""
    first = _at(source["location"], tokens)
    last = first + (2 if "schemaname" in source else 0)
    if last + 1 < len(tokens) and tokens[last + 1].name == "ASCII_42":  # `t *`: with its children
        last += 1
    subquery = f"({_query(rows)})"
    if "alias" not in source:
        subquery += f" AS {quote_identifier(source['relname'])}"
    if first and tokens[first - 1].name == "TABLE":
        first -= 1
        subquery = f"SELECT * FROM {subquery}"
    return _Edit(tokens[first].start, tokens[last].end, subquery.encode())


def _at(location: int, tokens: list[_Token]) -> int:
    return bisect_left(tokens, location, key=lambda token: token.start)


def _unqualified(statement: Node, tokens: list[_Token]) -> Iterator[_Edit]:
    """`helios_proxy.x.column` names the subquery x, which is in no schema: the schema goes."""
    pending: list[Any] = [statement]
    while pending:
        node = pending.pop()
        if type(node) is list:
            pending += node
        elif type(node) is dict:
            pending += node.values()
            column = node.get("ColumnRef")
            if column is not None and _is_qualified(column):
                first = _at(column["location"], tokens)
                yield _Edit(tokens[first].start, tokens[first + 1].end, b"")


def _is_qualified(column: Node) -> bool:
    fields = column["fields"]
    return len(fields) == 3 and fields[0].get("String", {}).get("sval") == SCHEMA


def _spliced(text: bytes, edits: list[_Edit]) -> bytes:
    pieces: list[bytes] = []
    done = 0
    for edit in sorted(edits):
        pieces += text[done : edit.start], edit.text
        done = edit.end
    pieces.append(text[done:])
    return b"".join(pieces)


def _query(rows: Rows) -> str:
    names = [name for name, _ in rows.columns]
    body = json.dumps([dict(zip(names, map(_value, row), strict=True)) for row in rows.rows], allow_nan=False)
    columns = ", ".join(f"{quote_identifier(name)} {type_}" for name, type_ in rows.columns)
    return f"SELECT * FROM pg_catalog.json_to_recordset({quote_literal(body)}::pg_catalog.json) AS helios({columns})"


def _value(value: object) -> object:
    """A value that PostgreSQL's JSON takes: no NaN and no infinity but as text, no NUL, no half of a character."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    return value
