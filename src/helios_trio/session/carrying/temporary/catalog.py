"""What is read about the objects in a temporary schema: one record class for each kind of object.

Expressions say from which release on they exist; definitions come from PostgreSQL's own pg_get_...() functions.
Names are as they are in the catalogs, not quoted, unless the field says otherwise.

Used by: session.carrying.temporary (capture reads them; tables, parts and others write SQL from them).
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

from attrs import frozen

from helios_trio.session.carrying.temporary.records import Record, flag, integer, listed, maybe, text

#: privileges as PostgreSQL writes them, `grantee=letters/grantor`; None: the usual ones
Grants: TypeAlias = tuple[str, ...] | None


def grants_in(acl: str, kind: str | None = None, owner: str = "") -> Any:
    """A field with privileges as aclitems (`privileges` reads them), None where nobody changed them.

    `kind` is a letter of acldefault(): where default privileges are altered they may be given to the new object too,
    so that even the built-in ones must be spelled out.
    """
    if kind is not None:
        acl = f"CASE WHEN {{spell_out}} THEN coalesce({acl}, pg_catalog.acldefault('{kind}', {owner})) ELSE {acl} END"
    return listed(f"pg_catalog.array_to_json(({acl})::pg_catalog.text[])")


def identity(catalog: int, oid: str, condition: str) -> Any:
    """A field with the quoted and qualified name of an object, None unless the condition holds.

    A function, because a sub-select would cost more to plan than all the rest.
    """
    return maybe(
        f"CASE WHEN {condition} THEN (pg_catalog.pg_identify_object({catalog}, {oid}, 0)).identity END"
    )


def tablespace_name(oid: str) -> Any:
    """A field with a tablespace's quoted name, None for the database's own."""
    return identity(1213, oid, f"{oid} <> 0")


def collation_name(given: str, usual: str) -> Any:
    """A field with a collation's quoted name, None where it is what the type has anyway."""
    return identity(3456, given, f"{given} <> 0 AND {given} <> {usual}")


@frozen
class Table(Record):
    """A table or a partitioned table."""

    source: ClassVar[str] = (
        "pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class o ON o.oid = c.reltoastrelid"
        " WHERE c.oid = ANY ({tables}) ORDER BY c.oid"
    )
    oid: int = integer("c.oid")
    name: str = text("c.relname")
    owner: str = text("pg_catalog.pg_get_userbyid(c.relowner)")
    partitioned: bool = flag("c.relkind = 'p'")
    #: bytes of its own pages; after `closure` more than 0 means that its rows are not deleted at COMMIT
    pages: int = integer("CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_relation_size(c.oid) ELSE 0 END")
    size: int = integer("pg_catalog.pg_total_relation_size(c.oid)")
    options: tuple[str, ...] | None = listed("pg_catalog.array_to_json(c.reloptions)")
    toast_options: tuple[str, ...] | None = listed("pg_catalog.array_to_json(o.reloptions)")
    #: quoted
    tablespace: str | None = tablespace_name("c.reltablespace")
    #: quoted; None for heap
    access_method: str | None = identity(2601, "c.relam", "c.relam NOT IN (0, 2)")
    #: quoted
    of_type: str | None = maybe(
        "CASE WHEN c.reloftype <> 0 THEN pg_catalog.format_type(c.reloftype, NULL) END"
    )
    partition_key: str | None = maybe(
        "CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END"
    )
    #: FOR VALUES ..., of a partition
    bound: str | None = maybe(
        "CASE WHEN c.relispartition THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid) END"
    )
    row_security: bool = flag("c.relrowsecurity")
    forced: bool = flag("c.relforcerowsecurity")
    owner_may_read: bool = flag("pg_catalog.has_table_privilege(c.relowner, c.oid, 'SELECT')")
    #: by somebody's ANALYZE: temporary tables have no other
    analysed: bool = flag("pg_catalog.pg_stat_get_analyze_count(c.oid) > 0")
    grants: tuple[str, ...] | None = grants_in("c.relacl", "r", "c.relowner")


@frozen
class Column(Record):
    """A column of a table, view or composite type; of an index only if it has a statistics target."""

    source: ClassVar[str] = (
        "pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
        " LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        " WHERE a.attrelid = ANY ({columns}) AND a.attnum > 0 AND NOT a.attisdropped"
        " AND (a.attstattarget >= 0 OR a.attrelid <> ALL ({indexes})) ORDER BY a.attrelid, a.attnum"
    )
    relation: int = integer("a.attrelid")
    number: int = integer("a.attnum")
    name: str = text("a.attname")
    #: as SQL
    type: str = text("pg_catalog.format_type(a.atttypid, a.atttypmod)")
    #: COPY's binary format gives the same value on any server of this release: no OIDs are in it, and the type has
    #: the functions for it. The binary form of an array or a composite type has OIDs of types, that of regclass is
    #: one; that of xml depends on the encoding. Domains are not looked into.
    binary: bool = flag(
        "t.typsend <> 0 AND t.typreceive <> 0 AND ((t.oid < 16384 AND t.typtype IN ('b', 'r', 'm')"
        " AND pg_catalog.substr(pg_catalog.ltrim(t.typname, '_'), 1, 3) NOT IN ('reg', 'xml'))"
        " OR (t.typtype IN ('b', 'e') AND t.typelem = 0))"
    )
    collation: str | None = collation_name("a.attcollation", "t.typcollation")
    #: the expression of a default or of a generated column
    default: str | None = maybe("pg_catalog.pg_get_expr(d.adbin, d.adrelid)")
    not_null: bool = flag("a.attnotnull")
    #: 'a' always, 'd' by default
    identity: str = text("a.attidentity")
    #: 's' stored, 'v' virtual
    generated: str = text("a.attgenerated")
    #: what differs from the type's
    storage: str | None = maybe("CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END")
    #: 'p' pglz, 'l' lz4
    compression: str = text("a.attcompression", since=14)
    statistics: str | None = maybe("nullif(a.attstattarget, -1)")
    options: tuple[str, ...] | None = listed("pg_catalog.array_to_json(a.attoptions)")
    local: bool = flag("a.attislocal")
    inherited: int = integer("a.attinhcount")
    grants: tuple[str, ...] | None = grants_in("a.attacl")


@frozen
class Inheritance(Record):
    """A table and one of those it inherits from, or is a partition of."""

    source: ClassVar[str] = (
        "pg_catalog.pg_inherits i WHERE i.inhrelid = ANY ({tables}) ORDER BY i.inhrelid, i.inhseqno"
    )
    child: int = integer("i.inhrelid")
    parent: int = integer("i.inhparent")
    #: as SQL; a temporary table may inherit from a permanent one
    parent_sql: str = text("i.inhparent::pg_catalog.regclass::pg_catalog.text")
    columns: tuple[str, ...] = listed(
        "pg_catalog.array_to_json(ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a"
        " WHERE a.attrelid = i.inhparent AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum))"
    )
    detaching: bool = flag("i.inhdetachpending", since=14)


@frozen
class Constraint(Record):
    """A constraint of a table or of a domain."""

    source: ClassVar[str] = (
        "pg_catalog.pg_constraint c WHERE (c.conrelid = ANY ({tables}) OR c.contypid = ANY ({types}))"
        " AND c.contype <> 't' ORDER BY c.oid"
    )
    oid: int = integer("c.oid")
    relation: int = integer("c.conrelid")
    domain: int = integer("c.contypid")
    name: str = text("c.conname")
    #: 'c' check, 'n' not null, 'p' primary key, 'u' unique, 'x' exclusion, 'f' foreign key
    type: str = text("c.contype")
    definition: str = text("pg_catalog.pg_get_constraintdef(c.oid)")
    validated: bool = flag("c.convalidated")
    enforced: bool = flag("c.conenforced", since=18, otherwise=True)
    local: bool = flag("c.conislocal")
    parent: int = integer("c.conparentid")
    index: int = integer("c.conindid")


@frozen
class Index(Record):
    """An index, also of a constraint."""

    source: ClassVar[str] = (
        "pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indexrelid = ANY ({indexes}) ORDER BY i.indexrelid"
    )
    oid: int = integer("i.indexrelid")
    relation: int = integer("i.indrelid")
    name: str = text("c.relname")
    definition: str = text("pg_catalog.pg_get_indexdef(i.indexrelid)")
    #: quoted
    tablespace: str | None = tablespace_name("c.reltablespace")
    #: said by its definition, but not by that of a constraint
    options: tuple[str, ...] | None = listed("pg_catalog.array_to_json(c.reloptions)")
    clustered: bool = flag("i.indisclustered")


@frozen
class Sequence(Record):
    """A sequence, also of an identity column. The closure knows which column owns it."""

    source: ClassVar[str] = (
        "pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid"
        " WHERE s.seqrelid = ANY ({sequences}) ORDER BY c.oid"
    )
    oid: int = integer("c.oid")
    name: str = text("c.relname")
    owner: str = text("pg_catalog.pg_get_userbyid(c.relowner)")
    type: str = text("pg_catalog.format_type(s.seqtypid, NULL)")
    start: int = integer("s.seqstart")
    increment: int = integer("s.seqincrement")
    maximum: int = integer("s.seqmax")
    minimum: int = integer("s.seqmin")
    cache: int = integer("s.seqcache")
    cycle: bool = flag("s.seqcycle")
    grants: tuple[str, ...] | None = grants_in("c.relacl", "s", "c.relowner")
