"""The digest: one query, asked on both sides before the point of no return, and what differs in the answers.

Structure is compared by names (`facts`), rows by their number and a sum of hashes of their text, which depends neither
on their order nor, under the settings set here, on the session; sequences by their positions.

Between servers of different major versions definitions that PostgreSQL prints anew and columns of catalogs that one of
them does not know are left out.

Used by: session.carrying.carry, through session.carrying.temporary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from helios_trio.session.carrying.steps import Answer, Query
from helios_trio.session.carrying.temporary.environment import (
    as_role,
    ascii_identifier,
    ascii_literal,
    read_query,
)
from helios_trio.session.carrying.temporary.facts import COMMENTS, STRUCTURE, TALLY, Presence
from helios_trio.session.carrying.temporary.objects import Position, TemporaryObjects

#: kind and name -> property -> value
_Found: TypeAlias = Mapping[tuple[str, str], Mapping[str, Any]]


def digest_temporary(objects: TemporaryObjects) -> tuple[Query, ...]:
    """What to ask both sides; nothing if there are no temporary objects. Leaves nothing behind on either."""
    if not objects:
        return ()
    asked = (each for each in STRUCTURE if each.only_if is None or each.only_if in objects.present)
    statements = [_SERVER, TALLY, *(each.statement() for each in asked)]
    if Presence.COMMENTS in objects.present:
        statements.append(COMMENTS)
    for name, owner in objects.owners.items():
        statements += [as_role(owner), _rows(name)]
    for position in objects.positions:
        statements += [as_role(position.owner), _position(position)]
    return (read_query(";\n".join(statements)),)


_SERVER = (
    "SELECT 'server', '', pg_catalog.jsonb_build_object("
    "'major', pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000,"
    " 'schema', pg_catalog.pg_my_temp_schema()::pg_catalog.regnamespace::pg_catalog.text)"
)


def _rows(table: str) -> str:
    return (
        f"SELECT 'rows of table', {ascii_literal(table)}, pg_catalog.jsonb_build_object("
        "'count', pg_catalog.count(*),"
        " 'contents', pg_catalog.sum(pg_catalog.hashtextextended((r.*)::pg_catalog.text COLLATE pg_catalog.\"C\", 0)))"
        f" FROM ONLY pg_temp.{ascii_identifier(table)} r"
    )


def _position(position: Position) -> str:
    """Of values drawn ahead only the session knows how many it has given away."""
    name = ascii_identifier(position.name)
    value = "s.last_value"
    if position.drawn_ahead:
        value = f"pg_catalog.currval({ascii_literal('pg_temp.' + name)}::pg_catalog.regclass)"
    return (
        f"SELECT 'position of sequence', {ascii_literal(position.name)},"
        f" pg_catalog.jsonb_build_object('last value', {value}, 'is called', s.is_called) FROM pg_temp.{name} s"
    )


def temporary_differences(old: tuple[Answer, ...], new: tuple[Answer, ...]) -> tuple[str, ...]:
    """What is not on the new side as it is on the old one, by name; empty if all is as it should be."""
    failed = [each.error.message for each in (*old, *new) if each.error is not None]
    if failed:
        return tuple(f"the temporary objects cannot be compared: {message}" for message in failed)
    here, there = _facts(old), _facts(new)
    same_release = _major(here) == _major(there)
    return tuple(dict.fromkeys(_differences(here, there, same_release=same_release)))


def _facts(answers: tuple[Answer, ...]) -> _Found:
    found = {
        (kind or "", name or ""): json.loads(facts or "")
        for each in answers
        for kind, name, facts in each.rows
    }
    schema = found.get(("server", ""), {}).get("schema", "-") + "."
    return {
        (kind, name.replace(schema, "pg_temp.")): {
            fact: _comparable(value, schema) for fact, value in facts.items()
        }
        for (kind, name), facts in found.items()
    }


def _comparable(value: Any, schema: str) -> Any:
    """A definition with `pg_temp.` for the real name, which is printed here and there; lists in no special order."""
    if isinstance(value, list):
        return sorted((_comparable(each, schema) for each in value), key=str)
    return value.replace(schema, "pg_temp.") if isinstance(value, str) else value


def _major(found: _Found) -> Any:
    return found.get(("server", ""), {}).get("major")


def _differences(here: _Found, there: _Found, *, same_release: bool) -> Iterator[str]:
    for key in here.keys() | there.keys():
        kind, name = key
        old, new = here.get(key), there.get(key)
        if kind == "server":
            continue
        if old is None or new is None:
            if (
                same_release or (old or new or {}).get("contype") != "n"
            ):  # NOT NULL has a name only since 17 or 18
                yield f"{kind} {name} is on one side only"
            continue
        for fact in sorted(old.keys() | new.keys()):
            compared = same_release or (fact in old and fact in new and fact not in _PRINTED)
            if compared and old.get(fact) != new.get(fact):
                yield f"{kind} {name}: {fact} differs"


#: what a release may print, or write down, otherwise than another one
_PRINTED = frozenset(
    {"definition", "check definition", "bound", "privileges", "attstattarget", "stxstattarget", "statistics"}
)
