"""The words in which facts about SQL are told: enumerations, and the table from parse node to statement kind.

Kept apart from the facts themselves so that every module of this room may import them without a cycle. The
node names are those of PostgreSQL's `nodes/parsenodes.h`; the words are those of its reference pages.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class StatementKind(Enum):
    """What a statement is, as far as anybody here treats it differently; the rest is DDL or OTHER."""

    SELECT = "SELECT"
    VALUES = "VALUES"
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    MERGE = "MERGE"
    COPY = "COPY"
    TRUNCATE = "TRUNCATE"
    LOCK = "LOCK"
    EXPLAIN = "EXPLAIN"
    SET = "SET"
    RESET = "RESET"
    SHOW = "SHOW"
    SET_CONSTRAINTS = "SET CONSTRAINTS"
    DISCARD = "DISCARD"
    TRANSACTION = "TRANSACTION"
    PREPARE = "PREPARE"
    EXECUTE = "EXECUTE"
    DEALLOCATE = "DEALLOCATE"
    DECLARE = "DECLARE CURSOR"
    FETCH = "FETCH"
    MOVE = "MOVE"
    CLOSE = "CLOSE"
    LISTEN = "LISTEN"
    UNLISTEN = "UNLISTEN"
    NOTIFY = "NOTIFY"
    DO = "DO"
    CALL = "CALL"
    LOAD = "LOAD"
    VACUUM = "VACUUM"
    ANALYZE = "ANALYZE"
    CLUSTER = "CLUSTER"
    REINDEX = "REINDEX"
    REFRESH = "REFRESH MATERIALIZED VIEW"
    CHECKPOINT = "CHECKPOINT"
    CREATE_TABLE = "CREATE TABLE"
    CREATE_TABLE_AS = "CREATE TABLE AS"
    CREATE_VIEW = "CREATE VIEW"
    CREATE_SEQUENCE = "CREATE SEQUENCE"
    CREATE_INDEX = "CREATE INDEX"
    CREATE_DATABASE = "CREATE DATABASE"
    DROP_DATABASE = "DROP DATABASE"
    ALTER_DATABASE = "ALTER DATABASE"
    ALTER_SYSTEM = "ALTER SYSTEM"
    ALTER_TABLE = "ALTER TABLE"
    RENAME = "ALTER ... RENAME"
    DROP = "DROP"
    DDL = "DDL"
    OTHER = "OTHER"


NODE_KINDS: Final[dict[str, StatementKind]] = {
    "SelectStmt": StatementKind.SELECT,
    "InsertStmt": StatementKind.INSERT,
    "UpdateStmt": StatementKind.UPDATE,
    "DeleteStmt": StatementKind.DELETE,
    "MergeStmt": StatementKind.MERGE,
    "CopyStmt": StatementKind.COPY,
    "TruncateStmt": StatementKind.TRUNCATE,
    "LockStmt": StatementKind.LOCK,
    "ExplainStmt": StatementKind.EXPLAIN,
    "VariableSetStmt": StatementKind.SET,
    "VariableShowStmt": StatementKind.SHOW,
    "ConstraintsSetStmt": StatementKind.SET_CONSTRAINTS,
    "DiscardStmt": StatementKind.DISCARD,
    "TransactionStmt": StatementKind.TRANSACTION,
    "PrepareStmt": StatementKind.PREPARE,
    "ExecuteStmt": StatementKind.EXECUTE,
    "DeallocateStmt": StatementKind.DEALLOCATE,
    "DeclareCursorStmt": StatementKind.DECLARE,
    "FetchStmt": StatementKind.FETCH,
    "ClosePortalStmt": StatementKind.CLOSE,
    "ListenStmt": StatementKind.LISTEN,
    "UnlistenStmt": StatementKind.UNLISTEN,
    "NotifyStmt": StatementKind.NOTIFY,
    "DoStmt": StatementKind.DO,
    "CallStmt": StatementKind.CALL,
    "LoadStmt": StatementKind.LOAD,
    "VacuumStmt": StatementKind.VACUUM,
    "ClusterStmt": StatementKind.CLUSTER,
    "ReindexStmt": StatementKind.REINDEX,
    "RefreshMatViewStmt": StatementKind.REFRESH,
    "CheckPointStmt": StatementKind.CHECKPOINT,
    "CreateStmt": StatementKind.CREATE_TABLE,
    "CreateForeignTableStmt": StatementKind.CREATE_TABLE,
    "CreateTableAsStmt": StatementKind.CREATE_TABLE_AS,
    "ViewStmt": StatementKind.CREATE_VIEW,
    "CreateSeqStmt": StatementKind.CREATE_SEQUENCE,
    "IndexStmt": StatementKind.CREATE_INDEX,
    "CreatedbStmt": StatementKind.CREATE_DATABASE,
    "DropdbStmt": StatementKind.DROP_DATABASE,
    "AlterDatabaseStmt": StatementKind.ALTER_DATABASE,
    "AlterDatabaseSetStmt": StatementKind.ALTER_DATABASE,
    "AlterDatabaseRefreshCollStmt": StatementKind.ALTER_DATABASE,
    "AlterSystemStmt": StatementKind.ALTER_SYSTEM,
    "AlterTableStmt": StatementKind.ALTER_TABLE,
    "RenameStmt": StatementKind.RENAME,
    "DropStmt": StatementKind.DROP,
}

DDL_PREFIXES: Final = ("Create", "Alter", "Drop", "Define", "Grant", "Comment", "Rule", "SecLabel", "Import")
DDL_NODES: Final = frozenset({"CompositeTypeStmt", "ReassignOwnedStmt"})


def kind_of(node: str) -> StatementKind:
    """The kind of a top-level parse node; nodes without a word of their own are DDL or OTHER."""
    found = NODE_KINDS.get(node)
    if found is not None:
        return found
    if node.startswith(DDL_PREFIXES) or node in DDL_NODES:
        return StatementKind.DDL
    return StatementKind.OTHER


class Everything(Enum):
    """Stands where a name could stand and means all of them: DEALLOCATE ALL, CLOSE ALL, UNLISTEN *."""

    ALL = "ALL"


ALL: Final = Everything.ALL


class Scope(Enum):
    """How long a setting lasts.

    TRANSACTION is for the characteristics of the current transaction itself (SET TRANSACTION and the
    parameters transaction_isolation, transaction_read_only and transaction_deferrable).
    """

    SESSION = "session"
    LOCAL = "local"
    TRANSACTION = "transaction"


class ChangeKind(Enum):
    """What happens to a setting: it gets a value, its default, or all settings get their defaults."""

    SET = "set"
    RESET = "reset"
    RESET_ALL = "reset_all"


class TransactionVerb(Enum):
    """The transaction commands; START TRANSACTION is BEGIN, END is COMMIT, ABORT is ROLLBACK."""

    BEGIN = "BEGIN"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"
    SAVEPOINT = "SAVEPOINT"
    RELEASE = "RELEASE"
    ROLLBACK_TO = "ROLLBACK TO"
    PREPARE = "PREPARE TRANSACTION"
    COMMIT_PREPARED = "COMMIT PREPARED"
    ROLLBACK_PREPARED = "ROLLBACK PREPARED"


class AdvisoryLevel(Enum):
    """Who owns an advisory lock (PostgreSQL docs: "Advisory Lock Functions")."""

    SESSION = "session"
    TRANSACTION = "transaction"


class CopyDirection(Enum):
    """IN is COPY FROM, OUT is COPY TO."""

    IN = "in"
    OUT = "out"


class CopyPeer(Enum):
    """Where the data of a COPY comes from or goes to; STDIO is the client's connection."""

    STDIO = "stdio"
    FILE = "file"
    PROGRAM = "program"


class DiscardTarget(Enum):
    """What a DISCARD discards."""

    ALL = "ALL"
    PLANS = "PLANS"
    SEQUENCES = "SEQUENCES"
    TEMP = "TEMP"


class OnCommit(Enum):
    """What becomes of a temporary table's rows at COMMIT; the catalogs do not tell (correctness rule 10)."""

    PRESERVE = "preserve"
    DELETE = "delete"
    DROP = "drop"
