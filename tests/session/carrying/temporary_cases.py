"""The cases of temporary objects to carry, in `temporary/*.sql`: what a client did before, and what it does afterwards.

    -- case: its name
    -- known: t preserve, u delete            ON COMMIT as tracking knows it
    -- since: 15                              the first release that has it
    -- needs: an expression                   that a server must be able to evaluate
    -- user: carry_login                      who logs in; the superuser if it is not said
    -- shared: create table public.p (a int)  what both servers have, if there are two
    -- one server                             permanent objects change on the way
    -- reason: table t                        why it is refused, or the beginning of that; may be repeated
    what the client did;
    -- then
    what it does;

Each statement ends at the end of a line. After the carry, and RESET ALL, those behind `then` are run on both
connections, and must give the same rows or the same SQLSTATE.

Used by: test_temporary_cases, test_temporary_refusals, test_temporary_releases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, field, frozen

from helios_trio.sql.kinds import OnCommit

FOLDER = Path(__file__).with_name("temporary")
_OPTION = re.compile(r"-- (known|since|needs|user|shared|one server|reason)(?:: (.*))?")


@frozen
class Case:
    """See the module."""

    name: str
    build: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    known: Mapping[str, OnCommit] = field(factory=dict)
    since: int = 0
    needs: str = "true"
    user: str = "postgres"
    shared: str = ""
    one_server: bool = False
    reasons: tuple[str, ...] = ()


def read_cases(*names: str) -> list[Case]:
    """All cases of some files."""
    texts = [(FOLDER / f"{name}.sql").read_text(encoding="utf-8") for name in names]
    return [parse_case(part) for text in texts for part in re.split(r"^-- case: ", text, flags=re.M)[1:]]


def parse_case(text: str) -> Case:
    """One case without the beginning of its first line."""
    name, *lines = text.splitlines()
    case = Case(name)
    while match := _OPTION.fullmatch(lines[0]):
        case = with_option(case, match[1], match[2] or "")
        lines = lines[1:]
    build, _, then = "\n".join(lines).partition("\n-- then\n")
    return evolve(case, build=statements(build), then=statements(then))


def with_option(case: Case, option: str, value: str) -> Case:
    """The case with one of its options."""
    match option:
        case "known":
            pairs = (each.split() for each in value.split(", "))
            return evolve(case, known={name: OnCommit(action) for name, action in pairs})
        case "since":
            return evolve(case, since=int(value))
        case "reason":
            return evolve(case, reasons=(*case.reasons, value))
        case "one server":
            return evolve(case, one_server=True)
        case _:
            return evolve(case, **{option: value})


def statements(text: str) -> tuple[str, ...]:
    """Statements that end at the end of a line; one in dollar quotes may go on."""
    found: list[str] = []
    for piece in re.split(r";$", text, flags=re.M):
        if found and found[-1].count("$$") % 2:
            found[-1] += ";" + piece
        elif piece.strip():
            found.append(piece.strip())
    return tuple(found)


_TABLE = (
    """create temp table "tä" (a int generated always as identity primary key, b text default 'x', c timestamptz,
         d float8, e bytea, f interval, g date check (g > '2000-01-02'), h money)""",
    """insert into "tä" (c, d, e, f, g, h) select timestamptz '2024-03-31 02:30 UTC' + g * interval '1 hour', g / 3.0,
         'abc', interval '1 mon 2 days', date '2024-02-01' + g, 12.5 from generate_series(1, 50) g""",
)
#: what a client may have SET
DISTURBANCES = (
    "set search_path = ''",
    "set search_path = public, pg_temp",
    'set search_path = pg_temp, "$user", "odd, ü"',
    "set datestyle = 'german, dmy'; set intervalstyle = iso_8601; set timezone = 'America/St_Johns'",
    "set extra_float_digits = -10; set bytea_output = escape; set lc_monetary = 'C'; set xmloption = document",
    "set client_encoding = 'latin1'",
    "set client_encoding = 'sql_ascii'",
    "set standard_conforming_strings = off; set backslash_quote = on",
    "set quote_all_identifiers = on",
    "set default_transaction_read_only = on",
    "set default_transaction_isolation = serializable; set default_transaction_deferrable = on;"
    " set default_transaction_read_only = on",
    "set row_security = off; set check_function_bodies = on; set transform_null_equals = on; set array_nulls = off",
    "set client_min_messages = debug5",
    "set enable_indexscan = off; set enable_bitmapscan = off; set enable_nestloop = off; set join_collapse_limit = 1",
    "set session_replication_role = replica",
    "set role carry_reader",
    "set session authorization carry_login",
    "set default_tablespace = 'pg_default'; set temp_tablespaces = 'pg_default'",
    "set lock_timeout = 1; set idle_in_transaction_session_timeout = 1",
    "set application_name = 'quo''te'; set default_table_access_method = heap; set synchronous_commit = off",
)


def disturbed_cases() -> list[Case]:
    """One table, and each of the settings above."""
    then = (
        'select a, b, g from "tä"',
        'insert into "tä" (a) values (1)',
        'insert into "tä" default values returning a',
    )
    return [Case(setting, (*_TABLE, *setting.split("; ")), then) for setting in DISTURBANCES]
