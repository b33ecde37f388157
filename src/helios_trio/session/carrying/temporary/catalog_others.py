"""What is read about views, types, functions and what hangs on tables; and reasons that need no record.

See `catalog`, of which this is the second half.

Used by: session.carrying.temporary (capture, parts, others).
"""

from __future__ import annotations

from typing import ClassVar, Final

from attrs import frozen

from helios_trio.session.carrying.temporary.catalog import collation_name, grants_in, identity
from helios_trio.session.carrying.temporary.records import Record, flag, integer, listed, maybe, text


@frozen
class View(Record):
    """A view; its columns are `Column` records."""

    source: ClassVar[str] = "pg_catalog.pg_class c WHERE c.oid = ANY ({views}) ORDER BY c.oid"
    oid: int = integer("c.oid")
    name: str = text("c.relname")
    owner: str = text("pg_catalog.pg_get_userbyid(c.relowner)")
    definition: str = text("pg_catalog.pg_get_viewdef(c.oid)")
    options: tuple[str, ...] | None = listed("pg_catalog.array_to_json(c.reloptions)")
    grants: tuple[str, ...] | None = grants_in("c.relacl", "r", "c.relowner")


@frozen
class Trigger(Record):
    """A trigger that somebody made; those of constraints and of partitions' parents make themselves."""

    source: ClassVar[str] = (
        "pg_catalog.pg_trigger t WHERE t.tgrelid = ANY ({triggered}) AND t.oid = ANY ({triggers})"
        " AND NOT t.tgisinternal ORDER BY t.oid"
    )
    oid: int = integer("t.oid")
    relation: int = integer("t.tgrelid")
    name: str = text("t.tgname")
    definition: str = text("pg_catalog.pg_get_triggerdef(t.oid)")
    #: 'O' origin, 'D' disabled, 'R' replica, 'A' always
    enabled: str = text("t.tgenabled")
    parent: int = integer("t.tgparentid", since=13)


@frozen
class Rule(Record):
    """A rule, other than the one that makes a view."""

    source: ClassVar[str] = (
        "pg_catalog.pg_rewrite r WHERE r.ev_class = ANY ({triggered}) AND r.ev_type <> '1' ORDER BY r.oid"
    )
    oid: int = integer("r.oid")
    relation: int = integer("r.ev_class")
    name: str = text("r.rulename")
    definition: str = text("pg_catalog.pg_get_ruledef(r.oid)")
    #: as `Trigger.enabled`
    enabled: str = text("r.ev_enabled")


@frozen
class Policy(Record):
    """A row security policy."""

    source: ClassVar[str] = "pg_catalog.pg_policy p WHERE p.polrelid = ANY ({tables}) ORDER BY p.oid"
    oid: int = integer("p.oid")
    relation: int = integer("p.polrelid")
    name: str = text("p.polname")
    #: '*' all, 'r' select, 'a' insert, 'w' update, 'd' delete
    command: str = text("p.polcmd")
    permissive: bool = flag("p.polpermissive")
    #: None is PUBLIC
    roles: tuple[str | None, ...] = listed(
        "(SELECT pg_catalog.json_agg(CASE WHEN r.oid <> 0 THEN pg_catalog.pg_get_userbyid(r.oid) END)"
        " FROM pg_catalog.unnest(p.polroles) r (oid))"
    )
    using: str | None = maybe("pg_catalog.pg_get_expr(p.polqual, p.polrelid)")
    check: str | None = maybe("pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)")


@frozen
class Statistics(Record):
    """An extended statistics object."""

    source: ClassVar[str] = "pg_catalog.pg_statistic_ext s WHERE s.oid = ANY ({statistics}) ORDER BY s.oid"
    oid: int = integer("s.oid")
    name: str = text("s.stxname")
    owner: str = text("pg_catalog.pg_get_userbyid(s.stxowner)")
    definition: str = text("pg_catalog.pg_get_statisticsobjdef(s.oid)")
    target: str | None = maybe("nullif(s.stxstattarget, -1)", since=13)


@frozen
class Type(Record):
    """A composite type, enum, domain or range, or one that cannot be rebuilt."""

    source: ClassVar[str] = (
        "pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype"
        " LEFT JOIN pg_catalog.pg_range g ON g.rngtypid = t.oid"
        " LEFT JOIN pg_catalog.pg_type m ON m.oid = g.rngsubtype"
        " WHERE t.oid = ANY ({types}) AND t.typnamespace = pg_catalog.pg_my_temp_schema() ORDER BY t.oid"
    )
    oid: int = integer("t.oid")
    name: str = text("t.typname")
    owner: str = text("pg_catalog.pg_get_userbyid(t.typowner)")
    #: 'c' composite, 'e' enum, 'd' domain, 'r' range; 'b' base and 'p' shell types need C functions
    kind: str = text("t.typtype")
    #: of a composite type, where its columns are
    relation: int = integer("t.typrelid")
    labels: tuple[str, ...] = listed(
        "(SELECT coalesce(pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder), '[]')"
        " FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)"
    )
    #: of a domain, as SQL
    base: str = text("pg_catalog.format_type(t.typbasetype, t.typtypmod)")
    collation: str | None = collation_name("t.typcollation", "b.typcollation")
    default: str | None = maybe(
        "pg_catalog.pg_get_expr(t.typdefaultbin, 'pg_catalog.pg_type'::pg_catalog.regclass)"
    )
    not_null: bool = flag("t.typnotnull")
    #: of a range, as SQL
    subtype: str = text("pg_catalog.format_type(g.rngsubtype, NULL)")
    #: with USING and its access method
    operator_class: str | None = identity(2616, "g.rngsubopc", "g.rngsubopc <> 0")
    range_collation: str | None = collation_name("g.rngcollation", "m.typcollation")
    #: with the types of its arguments
    difference: str | None = identity(1255, "g.rngsubdiff", "g.rngsubdiff::pg_catalog.oid <> 0")
    canonical: bool = flag("g.rngcanonical::pg_catalog.oid <> 0")
    multirange: str | None = maybe(
        "(SELECT x.typname FROM pg_catalog.pg_type x WHERE x.oid = g.rngmultitypid)", since=14
    )
    grants: tuple[str, ...] | None = grants_in("t.typacl", "T", "t.typowner")


@frozen
class Function(Record):
    """A function or procedure."""

    source: ClassVar[str] = (
        "pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang"
        " WHERE p.oid = ANY ({functions}) AND p.pronamespace = pg_catalog.pg_my_temp_schema() ORDER BY p.oid"
    )
    oid: int = integer("p.oid")
    name: str = text("p.proname")
    owner: str = text("pg_catalog.pg_get_userbyid(p.proowner)")
    #: as SQL
    arguments: str = text("pg_catalog.pg_get_function_identity_arguments(p.oid)")
    #: 'f' function, 'p' procedure, 'a' aggregate, 'w' window
    kind: str = text("p.prokind")
    language: str = text("l.lanname")
    definition: str = text("CASE WHEN p.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(p.oid) ELSE '' END")
    grants: tuple[str, ...] | None = grants_in("p.proacl", "f", "p.proowner")


@frozen
class BoundOwner(Record):
    """A table whose policies apply to its owner as well."""

    source: ClassVar[str] = (
        "pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner"
        " WHERE c.oid = ANY ({tables}) AND c.relrowsecurity AND c.relforcerowsecurity"
        " AND NOT r.rolsuper AND NOT r.rolbypassrls"
    )
    table: int = integer("c.oid")


@frozen
class DefaultGrantee(Record):
    """Who gets privileges on what a role creates, by ALTER DEFAULT PRIVILEGES."""

    source: ClassVar[str] = (
        "pg_catalog.pg_default_acl d CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) x"
        " WHERE d.defaclnamespace = 0 AND x.grantee <> 0"
    )
    owner: str = text("pg_catalog.pg_get_userbyid(d.defaclrole)")
    grantee: str = text("pg_catalog.pg_get_userbyid(x.grantee)")


@frozen
class InternalTrigger(Record):
    """A trigger of a constraint that somebody has disabled: nothing says so in the constraint's definition."""

    source: ClassVar[str] = (
        "pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
        " WHERE t.tgrelid = ANY ({tables}) AND t.tgisinternal AND t.tgenabled <> 'O'"
    )
    table: str = text("c.relname")


#: what the commands used here are called in event triggers (PostgreSQL docs, "Event Trigger Firing Matrix")
_TAGS: Final = ", ".join(
    f"'{command} {kind}'"
    for command, kinds in {
        "CREATE": "TABLE SEQUENCE INDEX VIEW TYPE DOMAIN FUNCTION PROCEDURE TRIGGER RULE POLICY STATISTICS",
        "ALTER": "TABLE SEQUENCE INDEX VIEW DOMAIN STATISTICS",
    }.items()
    for kind in kinds.split()
)


@frozen
class EventTrigger(Record):
    """An event trigger that building the objects again would fire; those of extensions are trusted to be harmless."""

    source: ClassVar[str] = (
        "pg_catalog.pg_event_trigger e WHERE e.evtenabled IN ('O', 'A')"
        " AND e.evtevent IN ('ddl_command_start', 'ddl_command_end', 'table_rewrite')"
        f" AND (e.evttags IS NULL OR e.evttags && ARRAY[{_TAGS}, 'COMMENT', 'GRANT', 'REVOKE']::pg_catalog.text[])"
        " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"
        " WHERE d.classid = 3466 AND d.objid = e.oid AND d.deptype = 'e')"
    )
    name: str = text("e.evtname")


@frozen
class Label(Record):
    """A security label: only its provider knows what it means."""

    source: ClassVar[str] = (
        "pg_catalog.pg_seclabel s JOIN ({keys}) k (classid, objid)"
        " ON k.classid = s.classoid AND k.objid = s.objoid"
    )
    about: str = text("pg_catalog.pg_describe_object(s.classoid, s.objoid, s.objsubid)")


@frozen
class Member(Record):
    """An object that belongs to an extension, or goes when an extension goes."""

    source: ClassVar[str] = (
        "pg_catalog.pg_depend d WHERE d.classid = ANY ({catalogs}) AND d.objid = ANY ({everything})"
        " AND d.refclassid = 3079 AND d.deptype IN ('e', 'x')"
    )
    catalog: int = integer("d.classid")
    oid: int = integer("d.objid")


@frozen
class Comment(Record):
    """What COMMENT says about an object."""

    source: ClassVar[str] = "pg_catalog.pg_description d WHERE d.objoid = ANY ({everything})"
    catalog: int = integer("d.classoid")
    oid: int = integer("d.objoid")
    #: of a column, or 0
    number: int = integer("d.objsubid")
    text: str = text("d.description")


@frozen
class Description(Record):
    """What PostgreSQL calls an object, for reasons."""

    source: ClassVar[str] = "({keys}) k (classid, objid)"
    catalog: int = integer("k.classid")
    oid: int = integer("k.objid")
    name: str = text("pg_catalog.pg_describe_object(k.classid, k.objid, 0)")
