"""What `helios setup` creates so that a COMMIT whose answer was lost can be looked up (correctness rule 29).

A transaction writes a random id for itself into `helios.commits` right before its COMMIT: the row is there if and
only if the transaction has committed. Whoever looks it up writes the same id as a tombstone: the unique index has it
wait for an owner in progress, and turns an owner that comes later into an error.

Every user may call `note_commit`, for it is part of their transactions. With ids of their own they add rows that
mean nothing and are deleted by age; ids of others cannot be guessed. Functions with SECURITY DEFINER are never
inlined, and nobody has rights on the table.

Used by: control.setup. The functions are called by failover.outcome and, in clients' transactions, by the proxy.
"""

from __future__ import annotations

from helios_trio.control.setup_parts import SCHEMA, SetupSettings, SetupStatement, name

TABLE = f"{SCHEMA}.commits"
#: rows that one call of forget_commits deletes at most
FORGET_BATCH = 10_000

_NOTE = f"{SCHEMA}.note_commit(uuid, boolean)"
_SETTLE = f"{SCHEMA}.settle_commit(uuid)"
_FORGET = f"{SCHEMA}.forget_commits(interval)"
_MISSING = f"{SCHEMA}.missing_commits(uuid[])"

_DEFINER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"


def commit_notes() -> tuple[SetupStatement, ...]:
    """The table and its functions; every statement may be repeated."""
    return (*_table(), *_functions(), *map(_with_owners_rights, (_NOTE, _SETTLE, _FORGET, _MISSING)))


def commit_rights(settings: SetupSettings) -> tuple[SetupStatement, ...]:
    """Who may use them, once nobody may."""
    return (
        SetupStatement("Every transaction may be noted", f"GRANT EXECUTE ON FUNCTION {_NOTE} TO PUBLIC"),
        SetupStatement(
            "The proxy's own user looks up and deletes",
            f"GRANT EXECUTE ON FUNCTION {_SETTLE}, {_FORGET}, {_MISSING} TO {name(settings.control_user)}",
        ),
    )


def _table() -> tuple[SetupStatement, ...]:
    return (
        SetupStatement(
            "One row for each transaction that the proxy may have to look up; settled: it never committed",
            f"CREATE TABLE IF NOT EXISTS {TABLE} (\n"
            "  id uuid PRIMARY KEY,\n"
            "  settled boolean NOT NULL DEFAULT false,\n"
            "  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()\n"
            ")",
        ),
        SetupStatement(
            "It turns over fast and stays small; giving space back would lock out every COMMIT meanwhile",
            f"ALTER TABLE {TABLE} SET (autovacuum_vacuum_scale_factor = 0,"
            f" autovacuum_vacuum_threshold = {FORGET_BATCH},\n"
            "  autovacuum_analyze_scale_factor = 1, vacuum_truncate = false)",
        ),
        SetupStatement("Its owner is a superuser", f"ALTER TABLE {TABLE} OWNER TO CURRENT_USER"),
    )


def _functions() -> tuple[SetupStatement, ...]:
    """What they need the definer's rights for is the table. txid_... is known to release 12, too."""
    return (
        SetupStatement(
            "Called right before COMMIT: notes the transaction if it has written (or always, if told so)",
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.note_commit(commit_id uuid, always boolean DEFAULT false)\n"
            f"  RETURNS SETOF void LANGUAGE plpgsql VOLATILE {_DEFINER}\n"
            "AS $helios$ BEGIN\n"
            "  IF current_setting('transaction_read_only') = 'off'\n"
            "     AND (always OR txid_current_if_assigned() IS NOT NULL) THEN\n"
            f"    INSERT INTO {TABLE} (id) VALUES (commit_id);\n"
            "  END IF;\n"
            "END $helios$",
        ),
        SetupStatement(
            "True: that transaction has committed; false: it never will; null: cannot be told within lock_timeout",
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.settle_commit(commit_id uuid)\n"
            f"  RETURNS boolean LANGUAGE plpgsql VOLATILE {_DEFINER}\n"
            "AS $helios$ BEGIN\n"
            f"  INSERT INTO {TABLE} (id, settled) VALUES (commit_id, true) ON CONFLICT DO NOTHING;\n"
            f"  RETURN (SELECT NOT c.settled FROM {TABLE} c WHERE c.id = commit_id);\n"
            "EXCEPTION WHEN lock_not_available THEN\n"
            "  RETURN NULL;\n"
            "END $helios$",
        ),
        SetupStatement(
            "Those of these transactions that are not committed here; a standby can be asked, too (rule 24)",
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.missing_commits(commit_ids uuid[])\n"
            f"  RETURNS SETOF uuid LANGUAGE sql STABLE {_DEFINER}\n"
            "AS $helios$\n"
            "  SELECT wanted FROM unnest(commit_ids) AS acknowledged (wanted)\n"
            f"  WHERE NOT EXISTS (SELECT FROM {TABLE} c WHERE c.id = wanted AND NOT c.settled)\n"
            "$helios$",
        ),
        SetupStatement(
            "Deletes what is older, a bounded number at a time; a tombstone waits a week for its late owner",
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.forget_commits(older_than interval)\n"
            f"  RETURNS bigint LANGUAGE plpgsql VOLATILE {_DEFINER}\n"
            "AS $helios$ DECLARE\n"
            "  noted timestamptz := clock_timestamp() - older_than;\n"
            "  buried timestamptz := least(noted, clock_timestamp() - interval '7 days');\n"
            "  deleted bigint;\n"
            "BEGIN\n"
            f"  DELETE FROM {TABLE} WHERE ctid = ANY (ARRAY(\n"
            f"    SELECT c.ctid FROM {TABLE} c\n"
            "    WHERE c.at < CASE WHEN c.settled THEN buried ELSE noted END\n"
            f"    LIMIT {FORGET_BATCH}));\n"
            "  GET DIAGNOSTICS deleted = ROW_COUNT;\n"
            "  RETURN deleted;\n"
            "END $helios$",
        ),
    )


def _with_owners_rights(function: str) -> SetupStatement:
    return SetupStatement(
        "It acts with its owner's rights", f"ALTER FUNCTION {function} OWNER TO CURRENT_USER"
    )
