"""PostgreSQL's own functions and relations, as far as it matters which server answers: tables of names.

A volatile function goes to the server that takes writes unless it is in `HARMLESS`; all others may run anywhere
unless they are in `WRITER_ONLY`. What is in `ABOUT_THE_SERVER` runs on a standby too, but the answer is about that
very server: who has not asked for a standby means the one that takes writes. All of it was tried on a standby of
PostgreSQL 18. Called by `routes`.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Time, chance and identifiers without a memory; the size of files, which a physical copy has in common with its
# original; the tree of partitions; a large object as a whole. Not random() after setseed(): that is one to follow.
HARMLESS: Final = _words(
    """
    clock_timestamp timeofday pg_sleep pg_sleep_for pg_sleep_until
    random random_normal gen_random_uuid uuidv4 uuidv7 array_sample array_shuffle
    pg_database_size pg_indexes_size pg_relation_size pg_table_size pg_tablespace_size pg_total_relation_size
    pg_partition_ancestors pg_partition_tree
    current_query lo_get pg_jit_available
    pg_collation_actual_version pg_database_collation_actual_version
    """
)

# Not volatile by their catalog entry, and yet refused in recovery.
WRITER_ONLY: Final = _words("pg_current_xact_id txid_current pg_walfile_name pg_walfile_name_offset")

# Volatile functions refused by nobody in recovery, but which would then show or change another state than meant.
LOCAL_STATE: Final = {
    "currval": "it reads what nextval left in this session",
    "lastval": "it reads what nextval left in this session",
    "set_config": "it sets a session setting",
    "setseed": "it changes what random() gives in this session",
    "pg_export_snapshot": "its snapshot can be imported on one server only",
    "pg_xact_status": "a standby knows of transactions later",
    "txid_status": "a standby knows of transactions later",
    "pg_last_committed_xact": "a standby knows of transactions later",
    "pg_xact_commit_timestamp": "a standby knows of transactions later",
    "pg_xact_commit_timestamp_origin": "a standby knows of transactions later",
    "pg_sequence_last_value": "a standby sees a sequence ahead of its last value",
    "pg_get_sequence_data": "a standby sees a sequence ahead of its last value",
}

_SERVER_FUNCTIONS: Final = _words(
    """
    pg_is_in_recovery pg_backend_pid inet_server_addr inet_server_port pg_postmaster_start_time pg_conf_load_time
    pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp
    pg_is_wal_replay_paused pg_get_wal_replay_pause_state
    pg_available_wal_summaries pg_get_wal_summarizer_state pg_wal_summary_contents pg_get_wal_resource_managers
    pg_blocking_pids pg_safe_snapshot_blocking_pids pg_isolation_test_session_is_blocked pg_lock_status
    pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system
    pg_current_logfile pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings pg_show_all_settings
    pg_get_aios pg_get_backend_memory_contexts pg_get_loaded_modules pg_get_shmem_allocations
    pg_get_shmem_allocations_numa pg_get_wait_events pg_read_binary_file pg_read_file pg_stat_file
    pg_get_replication_slots pg_show_replication_origin_status pg_replication_origin_progress
    pg_notification_queue_usage pg_prepared_xact pg_prepared_statement pg_cursor pg_listening_channels
    pg_my_temp_schema pg_is_other_temp_schema pg_stat_have_stats
    """
)
_SERVER_FUNCTION_PREFIXES: Final = ("pg_stat_get_", "pg_ls_")
_SERVER_RELATIONS: Final = _words(
    """
    pg_aios pg_backend_memory_contexts pg_cursors pg_file_settings pg_hba_file_rules pg_ident_file_mappings pg_locks
    pg_prepared_statements pg_prepared_xacts pg_replication_origin_status pg_replication_slots pg_sequences
    pg_settings pg_shmem_allocations pg_shmem_allocations_numa pg_wait_events
    """
)
_SERVER_RELATION_PREFIXES: Final = ("pg_stat_", "pg_statio_")


def is_function_about_server(name: str) -> bool:
    """Whether a function (named as in `StatementFacts.functions`) tells of the server or session it runs in."""
    return name in _SERVER_FUNCTIONS or name.startswith(_SERVER_FUNCTION_PREFIXES)


def is_relation_about_server(name: str, schema: str | None) -> bool:
    """Whether a relation shows the server's own state instead of data that a standby has as well."""
    if not name.startswith("pg_") or schema not in (None, "pg_catalog"):
        return False
    return name in _SERVER_RELATIONS or name.startswith(_SERVER_RELATION_PREFIXES)
