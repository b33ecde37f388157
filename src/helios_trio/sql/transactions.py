"""BEGIN, COMMIT, ROLLBACK, savepoints and prepared transactions. Called by `statements`."""

from __future__ import annotations

from typing import Any, Final

from .constants import Node
from .facts import TransactionControl
from .kinds import TransactionVerb
from .settings import transaction_modes

_VERBS: Final = {
    "TRANS_STMT_BEGIN": TransactionVerb.BEGIN,
    "TRANS_STMT_START": TransactionVerb.BEGIN,
    "TRANS_STMT_COMMIT": TransactionVerb.COMMIT,
    "TRANS_STMT_ROLLBACK": TransactionVerb.ROLLBACK,
    "TRANS_STMT_SAVEPOINT": TransactionVerb.SAVEPOINT,
    "TRANS_STMT_RELEASE": TransactionVerb.RELEASE,
    "TRANS_STMT_ROLLBACK_TO": TransactionVerb.ROLLBACK_TO,
    "TRANS_STMT_PREPARE": TransactionVerb.PREPARE,
    "TRANS_STMT_COMMIT_PREPARED": TransactionVerb.COMMIT_PREPARED,
    "TRANS_STMT_ROLLBACK_PREPARED": TransactionVerb.ROLLBACK_PREPARED,
}

# They change the server's data or state outside the session, and a standby refuses them.
WRITING_VERBS: Final = frozenset(
    {TransactionVerb.PREPARE, TransactionVerb.COMMIT_PREPARED, TransactionVerb.ROLLBACK_PREPARED}
)
# PostgreSQL refuses these in a transaction block.
OUTSIDE_VERBS: Final = frozenset({TransactionVerb.COMMIT_PREPARED, TransactionVerb.ROLLBACK_PREPARED})


def transaction_control(node: Node) -> TransactionControl:
    """The command in a TransactionStmt. A mode said twice counts as last said, as in PostgreSQL."""
    modes = {mode["defname"]: mode["arg"]["A_Const"] for mode in transaction_modes(node.get("options", []))}
    isolation = modes.get("transaction_isolation")
    return TransactionControl(
        verb=_VERBS[node["kind"]],
        name=node.get("savepoint_name") or node.get("gid"),
        chain=bool(node.get("chain")),
        isolation=None if isolation is None else isolation["sval"]["sval"],
        read_only=_flag(modes.get("transaction_read_only")),
        deferrable=_flag(modes.get("transaction_deferrable")),
    )


def _flag(constant: dict[str, Any] | None) -> bool | None:
    return None if constant is None else bool(constant["ival"].get("ival", 0))
