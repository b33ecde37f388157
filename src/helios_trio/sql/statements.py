"""What each kind of top-level statement says beyond what a walk finds: one short handler per parse node.

A handler gets the node and the draft, that is the arguments of `StatementFacts` as far as `parse` has them,
and adds to it. `HANDLERS` is the table; those of data definition stand in `ddl`. Field names are those of
PostgreSQL's `nodes/parsenodes.h`. Called by `parse`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .builtins import volatility
from .calls import function_name
from .constants import Node
from .ddl import DDL_HANDLERS, note_created
from .facts import CopyFacts, CursorDeclaration
from .kinds import ALL, CopyDirection, CopyPeer, DiscardTarget, Scope, StatementKind
from .normalise import text_behind_as
from .settings import is_reset, setting_changes
from .transactions import OUTSIDE_VERBS, WRITING_VERBS, transaction_control

Draft = dict[str, Any]
Handler = Callable[[Node, Draft], None]

# Options of a cursor (CURSOR_OPT_... in parsenodes.h).
_BINARY, _SCROLL, _NO_SCROLL, _HOLD = 0x01, 0x02, 0x04, 0x20


def _select(node: Node, draft: Draft) -> None:
    if "valuesLists" in node:
        draft["kind"] = StatementKind.VALUES
    leftmost = node
    while "larg" in leftmost:
        leftmost = leftmost["larg"]
    if "intoClause" in leftmost:
        draft.update(kind=StatementKind.CREATE_TABLE_AS, writes=True)
        note_created(leftmost["intoClause"]["rel"], leftmost["intoClause"].get("onCommit"), draft)


def _copy(node: Node, draft: Draft) -> None:
    incoming, file = bool(node.get("is_from")), "filename" in node
    peer = CopyPeer.PROGRAM if node.get("is_program") else CopyPeer.FILE if file else CopyPeer.STDIO
    draft["copy"] = CopyFacts(CopyDirection.IN if incoming else CopyDirection.OUT, peer)
    if incoming or peer is not CopyPeer.STDIO:
        draft["writes"] = True
    if not incoming:
        draft.update(reads=draft["reads"] + draft["written"], written=())


def _targets(node: Node, draft: Draft) -> None:
    """TRUNCATE and LOCK list their relations the way FROM does."""
    draft.update(written=draft["reads"], reads=())


def _variable_set(node: Node, draft: Draft) -> None:
    if is_reset(node):
        draft["kind"] = StatementKind.RESET
    changes = setting_changes(node)
    draft["settings"] = changes
    uncertain = [change for change in changes if not change.certain]
    draft["unknown_settings"] = any(change.scope is Scope.SESSION for change in uncertain)
    draft["local_settings_unknown"] = any(change.scope is not Scope.SESSION for change in uncertain)


def _variable_show(node: Node, draft: Draft) -> None:
    draft["shows"] = node["name"].lower()


def _discard(node: Node, draft: Draft) -> None:
    target = DiscardTarget(node["target"].removeprefix("DISCARD_"))
    draft.update(discards=target, outside_transaction=target is DiscardTarget.ALL)


def _transaction(node: Node, draft: Draft) -> None:
    control = transaction_control(node)
    draft.update(
        transaction=control,
        writes=control.verb in WRITING_VERBS,
        outside_transaction=control.verb in OUTSIDE_VERBS,
    )


def _prepare(node: Node, draft: Draft) -> None:
    draft.update(prepares=node["name"], prepared_text=text_behind_as(draft.pop("sql")))


def _execute(node: Node, draft: Draft) -> None:
    draft["executes"] = node["name"]


def _deallocate(node: Node, draft: Draft) -> None:
    draft["deallocates"] = ALL if node.get("isall") else node["name"]


def _declare(node: Node, draft: Draft) -> None:
    options = node.get("options", 0)
    scroll = True if options & _SCROLL else False if options & _NO_SCROLL else None
    draft["declares"] = CursorDeclaration(
        node["portalname"], bool(options & _HOLD), scroll, bool(options & _BINARY)
    )


def _fetch(node: Node, draft: Draft) -> None:
    draft["fetches"] = node["portalname"]
    if node.get("ismove"):
        draft["kind"] = StatementKind.MOVE


def _close(node: Node, draft: Draft) -> None:
    draft["closes"] = node.get("portalname", ALL)


def _listen(node: Node, draft: Draft) -> None:
    draft["listens"] = node["conditionname"]


def _unlisten(node: Node, draft: Draft) -> None:
    draft["unlistens"] = node.get("conditionname", ALL)


def _notify(node: Node, draft: Draft) -> None:
    draft["notifies"] = (node["conditionname"],)


def _do(node: Node, draft: Draft) -> None:
    draft["ends_transaction_itself"] = True


def _call(node: Node, draft: Draft) -> None:
    name = function_name(node["funccall"])
    draft["ends_transaction_itself"] = True
    draft["functions"] = (name, *draft["functions"])
    if volatility(name) is None:
        draft["user_functions"] = (name, *draft["user_functions"])


def _load(node: Node, draft: Draft) -> None:
    draft["loads_code"] = True


HANDLERS: Final[dict[str, Handler]] = {
    "SelectStmt": _select,
    "CopyStmt": _copy,
    "TruncateStmt": _targets,
    "LockStmt": _targets,
    "VariableSetStmt": _variable_set,
    "VariableShowStmt": _variable_show,
    "DiscardStmt": _discard,
    "TransactionStmt": _transaction,
    "PrepareStmt": _prepare,
    "ExecuteStmt": _execute,
    "DeallocateStmt": _deallocate,
    "DeclareCursorStmt": _declare,
    "FetchStmt": _fetch,
    "ClosePortalStmt": _close,
    "ListenStmt": _listen,
    "UnlistenStmt": _unlisten,
    "NotifyStmt": _notify,
    "DoStmt": _do,
    "CallStmt": _call,
    "LoadStmt": _load,
    "CreateExtensionStmt": _load,
    "AlterExtensionStmt": _load,
    **DDL_HANDLERS,
}
