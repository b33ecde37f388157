"""Exchanges about transactions: blocks, savepoints, isolation, implicit blocks, two-phase commit."""

from __future__ import annotations

from ._exchange import NOT_STATEMENT, SCRATCH, ask, closed, exchange, extended, on, query, sync, wait_for

COUNT = query("select count(*) from scratch")
INSERT = query("insert into scratch values (1, 'a')")


def block(name, *statements, **options):
    """An exchange of one query after the other, in modes that allow transactions of several requests."""
    return exchange(
        name,
        *(ask(query(sql)) for sql in statements),
        modes=options.pop("modes", NOT_STATEMENT),
        setup=SCRATCH,
        **options,
    )


EXCHANGES = (
    block(
        "begin_commit",
        "begin",
        "insert into scratch values (1, 'a')",
        "commit",
        "select count(*) from scratch",
    ),
    block(
        "begin_rollback",
        "begin",
        "insert into scratch values (1, 'a')",
        "rollback",
        "select count(*) from scratch",
    ),
    block("start_transaction_end", "start transaction", "select 1", "end"),
    block("begin_work_abort", "begin work", "select 1", "abort"),
    block(
        "commit_and_chain",
        "begin isolation level serializable read only",
        "commit and chain",
        "show transaction_isolation",
        "show transaction_read_only",
        "rollback and chain",
        "show transaction_isolation",
        "rollback",
    ),
    block("chain_without_block", "commit and chain", "select 1"),
    block(
        "isolation_levels",
        "begin isolation level repeatable read",
        "show transaction_isolation",
        "commit",
        "begin",
        "set transaction isolation level serializable",
        "show transaction_isolation",
        "commit",
        "show transaction_isolation",
    ),
    block(
        "set_transaction_too_late",
        "begin",
        "select count(*) from items",
        "set transaction isolation level serializable",
        "rollback",
    ),
    block(
        "set_transaction_outside",
        "set transaction isolation level serializable",
        "show transaction_isolation",
    ),
    block(
        "session_characteristics",
        "set session characteristics as transaction isolation level repeatable read read only",
        "begin",
        "show transaction_isolation",
        "show transaction_read_only",
        "commit",
        "show default_transaction_isolation",
    ),
    block(
        "deferrable_snapshot", "begin isolation level serializable read only deferrable", "select 1", "commit"
    ),
    block(
        "savepoint_rollback_to",
        "begin",
        "insert into scratch values (1, 'a')",
        "savepoint one",
        "insert into scratch values (2, 'b')",
        "rollback to one",
        "select id from scratch order by id",
        "commit",
    ),
    block(
        "savepoint_after_error",
        "begin",
        "savepoint s",
        "select 1/0",
        "select 'refused'",
        "rollback to savepoint s",
        "select 'fine'",
        "commit",
    ),
    block(
        "savepoint_release", "begin", "savepoint a", "savepoint b", "release a", "rollback to b", "rollback"
    ),
    block(
        "savepoint_nested_same_name",
        "begin",
        "savepoint s",
        "insert into scratch values (1, 'a')",
        "savepoint s",
        "insert into scratch values (2, 'b')",
        "rollback to s",
        "release s",
        "rollback to s",
        "select count(*) from scratch",
        "commit",
    ),
    block("savepoint_outside_block", "savepoint s", "release s", "rollback to s", modes=NOT_STATEMENT),
    block("release_missing_savepoint", "begin", "release nowhere", "rollback"),
    exchange(
        "implicit_block_commits",
        ask(query("insert into scratch values (1, 'a'); insert into scratch values (2, 'b')")),
        ask(COUNT),
        setup=SCRATCH,
    ),
    exchange(
        "whole_block_in_one_string",
        ask(query("begin; insert into scratch values (1, 'a'); commit; select 1")),
        ask(COUNT),
        setup=SCRATCH,
    ),
    exchange(
        "rollback_in_string",
        ask(query("insert into scratch values (1, 'a'); rollback; select count(*) from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "commit_in_string",
        ask(query("insert into scratch values (1, 'a'); commit; select 1/0")),
        ask(COUNT),
        setup=SCRATCH,
    ),
    exchange(
        "begin_left_open_by_string",
        ask(query("insert into scratch values (1, 'a'); begin; select 1")),
        ask(query("rollback")),
        ask(COUNT),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange(
        "error_after_begin_in_string",
        ask(query("begin; select 1/0; select 2")),
        ask(query("select 3")),
        ask(query("rollback; select 4")),
        modes=NOT_STATEMENT,
    ),
    exchange("two_blocks_in_one_string", ask(query("begin; select 1; commit; begin; select 2; rollback"))),
    exchange("savepoint_in_implicit_string", ask(query("select 1; savepoint s; select 2"))),
    exchange("procedure_with_own_commit", ask(query("call commits_itself()")), ask(COUNT), setup=SCRATCH),
    exchange(
        "procedure_with_own_commit_in_block",
        ask(query("begin")),
        ask(query("call commits_itself()")),
        ask(query("rollback")),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange(
        "do_with_rollback_inside",
        ask(
            query(
                "do $$ begin insert into scratch values (1, 'a'); rollback; "
                "insert into scratch values (2, 'b'); end $$"
            )
        ),
        ask(query("select id from scratch")),
        setup=SCRATCH,
    ),
    exchange(
        "two_sessions_see_commits",
        ask(query("begin")),
        ask(INSERT),
        on("other", ask(COUNT)),
        ask(query("commit")),
        on("other", ask(COUNT)),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange(
        "serialization_failure",
        ask(query("begin isolation level repeatable read; select count(*) from scratch")),
        on("other", ask(query("update scratch set body = 'other'"))),
        ask(query("update scratch set body = 'mine'")),
        ask(query("rollback")),
        setup="truncate scratch; insert into scratch values (1, 'a')",
        modes=NOT_STATEMENT,
    ),
    exchange(
        "lock_not_available",
        ask(query("begin; lock table scratch in exclusive mode")),
        on("other", ask(query("begin; lock table scratch in exclusive mode nowait")), ask(query("rollback"))),
        ask(query("commit")),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "two_phase_commit",
        ask(query("begin; insert into scratch values (1, 'a')")),
        ask(query("prepare transaction 'gid'")),
        ask(COUNT),
        ask(query("rollback prepared 'gid'")),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange(
        "two_phase_of_failed_block",
        ask(query("begin; select 1/0")),
        ask(query("prepare transaction 'gid'")),
        modes=NOT_STATEMENT,
    ),
    exchange("commit_prepared_missing", ask(query("commit prepared 'no_such_gid'"))),
    exchange(
        "idle_in_transaction_timeout",
        ask(query("set idle_in_transaction_session_timeout = '20ms'")),
        ask(query("begin")),
        wait_for("ErrorResponse"),
        closed(),
        modes=NOT_STATEMENT,
    ),
    exchange(
        "transaction_timeout",
        ask(query("set transaction_timeout = '1h'")),
        ask(query("begin; show transaction_timeout; commit")),
    ),
    exchange(
        "for_update_and_share",
        ask(
            query(
                "begin; select id from items where id = 1 for update; select id from items for share; commit"
            )
        ),
    ),
    exchange(
        "extended_block",
        ask(*extended("begin"), sync()),
        ask(*extended("insert into scratch values ($1, 'x')", "5"), sync()),
        ask(*extended("savepoint s"), sync()),
        ask(*extended("select 1/0"), sync()),
        ask(*extended("rollback to s"), sync()),
        ask(*extended("commit"), sync()),
        ask(COUNT),
        setup=SCRATCH,
        modes=NOT_STATEMENT,
    ),
    exchange(
        "begin_with_options_extended",
        ask(*extended("begin read only, isolation level serializable"), sync()),
        ask(*extended("show transaction_read_only"), sync()),
        ask(*extended("end"), sync()),
        modes=NOT_STATEMENT,
    ),
)
