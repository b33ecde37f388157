"""Privileges of a rebuilt object.

Source: PostgreSQL docs, "Privileges" (table of abbreviations, and how aclitem is written).

Used by: session.carrying.temporary (tables, parts, others, reasons).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from helios_trio.session.carrying.temporary.catalog import Grants
from helios_trio.sql.quote import quote_identifier

_LETTERS: Final = {
    "r": "SELECT",
    "a": "INSERT",
    "w": "UPDATE",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
    "U": "USAGE",
    "X": "EXECUTE",
}
_ITEM: Final = re.compile(r'("(?:[^"]|"")*"|[^=]*)=([A-Za-z*]*)/(.*)', re.DOTALL)


@frozen
class Grant:
    """One privilege. `grantee` is '' for PUBLIC."""

    grantee: str
    privilege: str
    grantable: bool
    grantor: str


def read_grants(grants: Grants) -> Iterator[Grant]:
    """The privileges in aclitems such as `"a b"=r*w/postgres`."""
    for item in grants or ():
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"not an aclitem: {item!r}")
        grantee, letters, grantor = match.groups()
        for letter, star in re.findall(r"([A-Za-z])(\*?)", letters):
            yield Grant(_unquoted(grantee), _LETTERS[letter], bool(star), _unquoted(grantor))


def grant_statements(
    what: str, owner: str, grants: Grants, others: tuple[str, ...] = (), column: str | None = None
) -> list[str]:
    """Statements that give exactly these privileges on `what` ("TABLE pg_temp.t"); none when they are the usual ones.

    `others` are roles that may have got privileges with the creation (ALTER DEFAULT PRIVILEGES). `column` limits the
    privileges to a column, which has none before.
    """
    if grants is None:
        return []
    found: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for each in read_grants(grants):
        found[each.grantee, each.grantable].append(each.privilege)
    suffix = "" if column is None else f" ({quote_identifier(column)})"
    given = [
        f"GRANT {', '.join(each + suffix for each in privileges)} ON {what} TO {_role(grantee)}"
        + (" WITH GRANT OPTION" if grantable else "")
        for (grantee, grantable), privileges in found.items()
    ]
    if column is not None:
        return given
    holders = ", ".join(dict.fromkeys(["PUBLIC", *map(_role, (owner, *others))]))
    return [f"REVOKE ALL ON {what} FROM {holders}", *given]


def foreign_grantors(owner: str, grants: Grants) -> tuple[str, ...]:
    """Who else than the owner has given privileges: that could be rebuilt only by them."""
    return tuple(dict.fromkeys(each.grantor for each in read_grants(grants) if each.grantor != owner))


def _role(name: str) -> str:
    return quote_identifier(name) if name else "PUBLIC"


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
