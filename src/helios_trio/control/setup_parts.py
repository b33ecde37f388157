"""What the statements of `helios setup` are made of: the roles' names, a statement and its purpose, quoting.

Used by: control.setup, control.setup_commits.
"""

from __future__ import annotations

from attrs import field, frozen, validators
from psycopg import sql

SCHEMA = "helios"

_NAME = validators.matches_re(r"[^$\x00]{1,63}")  # a dollar sign could end a quoted body


@frozen
class SetupSettings:
    """The names of the roles; see `[control] user` and `[auth] auth_user` in the configuration."""

    control_user: str = field(default="helios_control", validator=_NAME)
    auth_user: str = field(default="helios_auth", validator=_NAME)


@frozen
class SetupStatement:
    """One statement, and what it is for."""

    purpose: str
    text: str


def name(identifier: str) -> str:
    """A name as SQL."""
    return sql.Identifier(identifier).as_string()


def literal(text: str) -> str:
    """A string as SQL."""
    return sql.Literal(text).as_string()
