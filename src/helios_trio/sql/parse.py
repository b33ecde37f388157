"""From a text to its facts, by PostgreSQL's own parser (libpg_query through pglast), with no cache.

Texts that the parser refuses are not errors here: the server will say what is wrong with them, or is of
another version and knows better. They get the facts of the worst: a write that may do anything.

The bytes are read as UTF-8. A text that is not valid UTF-8 is not parsed: in some client encodings (SJIS,
BIG5, GBK, UHC, GB18030, JOHAB) the second byte of a character may look like a backslash or a letter, so that
what looks like the end of a string is none. Sessions in such encodings: `FactsCache.facts_when_unsure`.

Called by `cache`; by tests to compare with.
"""

from __future__ import annotations

import json
from typing import Any, Final

from attrs import evolve
from pglast import parser

from .calls import bare_calls, examine
from .constants import Node
from .facts import UNPARSED, Facts, StatementFacts, facts_of
from .kinds import StatementKind, kind_of
from .normalise import text_behind_options
from .relations import names_of_ours
from .statements import HANDLERS, Draft
from .walk import Findings, walk
from .workload import query_in, work_of

# Statements that keep an expression for later instead of running it.
_DEFERRING: Final = frozenset(
    {
        "AlterPolicyStmt",
        "CreateDomainStmt",
        "CreateForeignTableStmt",
        "CreateFunctionStmt",
        "CreatePolicyStmt",
        "CreateStmt",
        "CreateTrigStmt",
        "PrepareStmt",
        "RuleStmt",
        "ViewStmt",
    }
)
# Kinds that write nothing unless something in them does; all others write.
_READING_KINDS: Final = frozenset(
    {
        StatementKind.SELECT,
        StatementKind.VALUES,
        StatementKind.EXPLAIN,
        StatementKind.COPY,
        StatementKind.SET,
        StatementKind.RESET,
        StatementKind.SHOW,
        StatementKind.SET_CONSTRAINTS,
        StatementKind.DISCARD,
        StatementKind.TRANSACTION,
        StatementKind.PREPARE,
        StatementKind.DEALLOCATE,
        StatementKind.DECLARE,
        StatementKind.FETCH,
        StatementKind.CLOSE,
        StatementKind.UNLISTEN,
    }
)
# A tree of this size takes some tenths of a second to read and walk, while nobody else is served.
MAX_TREE: Final = 2 << 20
_FALSE_WORDS: Final = frozenset({"false", "off", "0"})


def parse(text: bytes, max_tree: int = MAX_TREE) -> Facts:
    """The facts of a text, UNPARSED where they cannot be had.

    Deep nesting ends in the parser's own stack check, or in Python's while its answer is read: UNPARSED too.

    Args:
        text: as the client has sent it, without the closing NUL.
        max_tree: a parse tree of more bytes (of JSON, some 10 to 50 times the text) is not looked at.
    """
    raw = _statements(text, max_tree)
    if raw is None:
        return UNPARSED
    if len(raw) == 1:
        return facts_of((_describe(raw[0]["stmt"], None, text),), text)
    return facts_of(tuple(_describe(item["stmt"], _span(item, text), text) for item in raw), text)


def _statements(text: bytes, max_tree: int) -> list[Node] | None:
    """The RawStmt nodes of a text."""
    if b"\0" in text:
        return None
    try:
        answer = parser.parse_sql_json(text.decode())
        if len(answer) > max_tree:
            return None
        found: list[Node] = json.loads(answer)["stmts"]
    except (UnicodeDecodeError, parser.ParseError, RecursionError):
        return None
    return found


def _span(item: Node, text: bytes) -> tuple[int, int]:
    """Where a statement stands, in bytes; libpg_query leaves out zeros, and the length of the last one."""
    start: int = item.get("stmt_location", 0)
    return start, item.get("stmt_len", 0) or len(text) - start


def _describe(statement: Node, span: tuple[int, int] | None, text: bytes) -> StatementFacts:
    ((name, node),) = statement.items()
    if name == "ExplainStmt":
        return _explained(node, span, text)
    findings = walk(statement)
    draft = _draft(name, findings, span)
    if name not in _DEFERRING:
        calls = examine(findings.calls, bare_calls(statement), findings.value_functions)
        draft.update(calls.fields())
        draft["row_locks"] = findings.row_locks
        draft["changes_data"] = findings.changes_data
        draft["writes"] = _writes(draft, findings)
        draft["ours"] = names_of_ours(name, findings.sources)
        query = query_in(name, node)
        if query is not None:
            draft["work"] = work_of(query, findings.calls)
    if name == "PrepareStmt":
        draft.update(reads=(), written=(), sql=_slice(text, span).decode())
    handler = HANDLERS.get(name)
    if handler is not None:
        handler(node, draft)
    return StatementFacts(**draft)


def _draft(name: str, findings: Findings, span: tuple[int, int] | None) -> Draft:
    kind = kind_of(name)
    return {
        "kind": kind,
        "span": span,
        "writes": kind not in _READING_KINDS,
        "reads": tuple(findings.reads),
        "written": tuple(findings.written),
    }


def _writes(draft: dict[str, Any], findings: Findings) -> bool:
    return bool(
        draft["writes"]
        or findings.changes_data
        or findings.row_locks
        or draft["volatile_functions"]
        or draft["user_functions"]
    )


def _slice(text: bytes, span: tuple[int, int] | None) -> bytes:
    return text if span is None else text[span[0] : span[0] + span[1]]


def _explained(node: Node, span: tuple[int, int] | None, text: bytes) -> StatementFacts:
    """EXPLAIN plans a statement; with ANALYZE it also runs it. Planning may call functions not volatile."""
    inner = _describe(node["query"], None, text)
    if _analyses(node):
        return evolve(inner, kind=StatementKind.EXPLAIN, span=span, declares=None, analyses=inner.kind)
    return StatementFacts(
        kind=StatementKind.EXPLAIN,
        span=span,
        reads=inner.reads + inner.written,
        functions=inner.functions,
        user_functions=inner.user_functions,
        executes=inner.executes,
        explains_route=_behind_route(node, span, text),
        ours=inner.ours,
        work=inner.work,
    )


def _behind_route(node: Node, span: tuple[int, int] | None, text: bytes) -> bytes | None:
    """The statement behind EXPLAIN (ROUTE). With other options it is left to PostgreSQL, which refuses that one."""
    options = [item["DefElem"] for item in node.get("options", [])]
    if not options or any(option["defname"] != "route" for option in options):
        return None
    return text_behind_options(_slice(text, span)) if _is_true(options[-1].get("arg")) else None


def _analyses(node: Node) -> bool:
    """The last ANALYZE option counts; without a value it means true (defGetBoolean)."""
    found = False
    for item in node.get("options", []):
        option = item["DefElem"]
        if option["defname"] == "analyze":
            found = _is_true(option.get("arg"))
    return found


def _is_true(value: Node | None) -> bool:
    if value is None:
        return True
    if "Boolean" in value:
        return bool(value["Boolean"].get("boolval", False))
    if "Integer" in value:
        return bool(value["Integer"].get("ival", 0))
    word = value.get("String", {}).get("sval", "")
    return word.lower() not in _FALSE_WORDS
