"""Exchanges on replication connections, which pass through pinned: commands, SQL, COPY in both directions."""

from __future__ import annotations

from ._exchange import Open, ask, closed, copy_done, exchange, extended, query, send, sync, wait_for

LOGICAL = {"replication": "database"}
PHYSICAL = {"replication": "true"}
POSITIONS = ("xlogpos", "consistent_point", "snapshot_name")

EXCHANGES = (
    exchange("identify_system", ask(query("IDENTIFY_SYSTEM")), parameters=LOGICAL, mask_columns=POSITIONS),
    exchange(
        "identify_system_physical",
        Open(parameters={"database": None}),
        ask(query("IDENTIFY_SYSTEM")),
        parameters=PHYSICAL,
        mask_columns=POSITIONS,
    ),
    exchange(
        "sql_on_replication_connection",
        ask(query("select 1")),
        ask(query("show work_mem")),
        parameters=LOGICAL,
    ),
    exchange("sql_on_physical_connection", ask(query("select 1")), parameters=PHYSICAL),
    exchange(
        "extended_refused_on_walsender",
        send(*extended("select 1"), sync()),
        wait_for("ErrorResponse"),
        parameters=LOGICAL,
    ),
    exchange("replication_syntax_error", ask(query("START_REPLICATION nonsense")), parameters=LOGICAL),
    exchange("replication_command_without_replication", ask(query("IDENTIFY_SYSTEM"))),
    exchange(
        "replication_off_is_ordinary", ask(*extended("select 1"), sync()), parameters={"replication": "off"}
    ),
    exchange(
        "replication_invalid_value", Open(expect_ready=False), closed(), parameters={"replication": "perhaps"}
    ),
    exchange("show_on_replication", ask(query("SHOW server_version_num")), parameters=LOGICAL),
    exchange(
        "temporary_slot",
        ask(query("CREATE_REPLICATION_SLOT corpus_slot TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')")),
        ask(query("DROP_REPLICATION_SLOT corpus_slot")),
        parameters=LOGICAL,
        mask_columns=POSITIONS,
    ),
    exchange(
        "missing_slot",
        ask(query("START_REPLICATION SLOT no_such_slot LOGICAL 0/0 (proto_version '1')")),
        parameters=LOGICAL,
    ),
    exchange("timeline_history_missing", ask(query("TIMELINE_HISTORY 99")), parameters=LOGICAL),
    exchange(
        "copy_both_ends_with_copy_done",
        ask(query("CREATE_REPLICATION_SLOT corpus_both TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')")),
        send(
            query(
                "START_REPLICATION SLOT corpus_both LOGICAL 0/0 "
                "(proto_version '1', publication_names 'nothing_published')"
            )
        ),
        wait_for("CopyBothResponse"),
        send(copy_done()),
        wait_for("CopyDone"),
        wait_for("ReadyForQuery"),
        parameters=LOGICAL,
        mask_columns=POSITIONS,
    ),
)
