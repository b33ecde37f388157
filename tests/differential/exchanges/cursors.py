"""Exchanges of SQL cursors: DECLARE, FETCH, MOVE, CLOSE, WITH HOLD, WHERE CURRENT OF."""

from __future__ import annotations

from ._exchange import NOT_STATEMENT, SCRATCH, ask, exchange, extended, query, sync

DECLARE = "begin; declare c scroll cursor for select n from numbers order by n"


def asked(name, *statements, **options):
    """An exchange of one query after the other, in modes that allow transactions of several requests."""
    return exchange(name, *(ask(query(sql)) for sql in statements), modes=NOT_STATEMENT, **options)


EXCHANGES = (
    asked(
        "cursor_fetch", DECLARE, "fetch c", "fetch 3 from c", "fetch all in c", "fetch c", "close c", "commit"
    ),
    asked(
        "cursor_scroll",
        DECLARE,
        "fetch last c",
        "fetch prior c",
        "fetch absolute 10 c",
        "fetch relative -2 c",
        "fetch backward 3 c",
        "fetch first c",
        "fetch prior c",
        "commit",
    ),
    asked(
        "cursor_move",
        DECLARE,
        "move 5 c",
        "fetch c",
        "move backward all c",
        "fetch c",
        "move last c",
        "rollback",
    ),
    asked(
        "cursor_no_scroll",
        "begin; declare c no scroll cursor for select n from numbers",
        "fetch 2 c",
        "fetch prior c",
        "rollback",
    ),
    asked("cursor_outside_block", "declare c cursor for select 1"),
    asked("cursor_missing", "fetch nowhere", "close nowhere"),
    asked("cursor_duplicate", DECLARE, "declare c cursor for select 1", "rollback"),
    asked("cursor_ends_with_block", DECLARE, "commit", "fetch c"),
    asked(
        "cursor_with_hold",
        "begin; declare h cursor with hold for select n from numbers order by n limit 10",
        "fetch 3 h",
        "commit",
        "fetch 3 h",
        "fetch all h",
        "close h",
        "fetch h",
    ),
    asked(
        "held_cursor_without_block",
        "declare h cursor with hold for select n from numbers order by n limit 5",
        "fetch 2 h",
        "select name, is_holdable from pg_cursors",
        "close all",
    ),
    asked("held_cursor_rolled_back", "begin; declare h cursor with hold for select 1", "rollback", "fetch h"),
    asked(
        "cursor_survives_savepoint",
        DECLARE,
        "savepoint s",
        "fetch 2 c",
        "rollback to s",
        "fetch c",
        "rollback",
    ),
    asked(
        "cursor_made_in_savepoint",
        "begin; savepoint s; declare c cursor for select 1",
        "rollback to s",
        "fetch c",
        "rollback",
    ),
    asked(
        "cursor_current_of",
        "begin; declare c cursor for select * from scratch for update",
        "fetch c",
        "update scratch set body = 'touched' where current of c",
        "commit",
        "select * from scratch",
        setup="truncate scratch; insert into scratch values (1, 'a')",
    ),
    asked(
        "cursor_binary", "begin; declare b binary cursor for select 7::int, 'x'::text", "fetch b", "rollback"
    ),
    asked("cursor_from_function", "begin", "select opens_cursor('fc')", "fetch all fc", "rollback"),
    asked(
        "cursor_error_while_fetching",
        "begin; declare c cursor for select 10 / (3 - n) from numbers order by n",
        "fetch 2 c",
        "fetch c",
        "fetch c",
        "rollback",
    ),
    exchange("cursor_in_one_string", ask(query(DECLARE + "; fetch 2 c; close c; commit"))),
    exchange(
        "cursor_by_extended_protocol",
        ask(*extended("begin"), sync()),
        ask(*extended("declare c cursor for select n from numbers order by n"), sync()),
        ask(*extended("fetch 2 from c"), sync()),
        ask(*extended("rollback"), sync()),
        modes=NOT_STATEMENT,
        setup=SCRATCH,
    ),
)
