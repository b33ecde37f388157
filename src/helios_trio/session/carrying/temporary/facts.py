"""What must be equal on both sides: statements that tell, object by object, all that the catalogs say about it.

They do not share their lists with what captures: a row of a catalog is taken whole, less what is rightly different on
the other connection (OIDs, pages, numbers of columns) and with names and definitions in place of OIDs. So a property
that nobody thought of rebuilding is a difference, and the session stays where it is.

Used by: session.carrying.temporary.digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from attrs import frozen

from helios_trio.session.carrying.temporary.closure import CLOSURE

_RELATIONS: Final = (
    "pg_catalog.pg_depend m JOIN pg_catalog.pg_class c ON c.oid = m.objid AND m.classid = 1259"
    " AND m.refclassid = 2615 AND m.refobjid = pg_catalog.pg_my_temp_schema()"
)
_TYPES: Final = (
    "pg_catalog.pg_depend m JOIN pg_catalog.pg_type t ON t.oid = m.objid AND m.classid = 1247"
    " AND m.refclassid = 2615 AND m.refobjid = pg_catalog.pg_my_temp_schema()"
)
_COLUMN_ROWS: Final = (
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = {relation} AND a.attnum > 0 AND NOT a.attisdropped"
    " LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
)
_COLUMN: Final = {
    "position": "pg_catalog.row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum)",
    "type": "pg_catalog.format_type(a.atttypid, a.atttypmod)",
    # 100 is the default collation
    "collation": "CASE WHEN a.attcollation NOT IN (0, 100)"
    " THEN (pg_catalog.pg_identify_object(3456, a.attcollation, 0)).identity END",
    "definition": "pg_catalog.pg_get_expr(d.adbin, d.adrelid)",
    "privileges": "a.attacl::pg_catalog.text[]",
}
_COLUMN_LESS: Final = (
    "attrelid attname atttypid attnum attlen attalign attbyval attcollation attacl attmissingval atthasmissing"
    " attcacheoff attndims"
)
_CONSTRAINT: Final = {
    "definition": "pg_catalog.pg_get_constraintdef(k.oid)",
}
_CONSTRAINT_LESS: Final = (
    "oid conname connoinherit connamespace conrelid contypid conindid conparentid confrelid conkey confkey conpfeqop"
    " conppeqop conffeqop conexclop conbin confdelsetcols"
)


def _privileges(acl: str, kind: str, owner: str) -> str:
    """Spelled out: those that are usual may be written down on one side only."""
    return f"coalesce({acl}, pg_catalog.acldefault({kind}, {owner}))::pg_catalog.text[]"


class Presence(Enum):
    """What there may be on the old side, as far as `closure` tells it: of the rest nothing is asked."""

    PARENTS = "parents"
    SEQUENCES = "sequences"
    CONSTRAINTS = "constraints"
    INDEXES = "indexes"
    TRIGGERS = "triggers"
    RULES = "rules"
    POLICIES = "policies"
    STATISTICS = "statistics"
    TYPES = "types"
    FUNCTIONS = "functions"
    COMMENTS = "comments"


@frozen
class Facts:
    """One statement: kind, name and facts of each object of that kind.

    `row` is the alias of the catalog whose rows are taken, `less` the columns left out, `more` what is put in place.
    """

    kind: str
    name: str
    source: str
    row: str
    less: str
    more: Mapping[str, str]
    #: asked only if the old side has something of that
    only_if: Presence | None = None

    def statement(self) -> str:
        """The SELECT."""
        more = ", ".join(f"'{name}', {expression}" for name, expression in self.more.items())
        less = "'{" + ",".join(self.less.split()) + "}'::pg_catalog.text[]"
        return (
            f"SELECT '{self.kind}', {self.name}, pg_catalog.to_jsonb({self.row}) - {less}"
            f" || pg_catalog.jsonb_build_object({more}) FROM {self.source}"
        )


#: how many objects of each catalog are in the schema, so that nothing more is on the new side
TALLY: Final = (
    "SELECT 'objects', 'of each catalog', pg_catalog.jsonb_object_agg(t.catalog, t.count)"
    " FROM (SELECT d.classid::pg_catalog.regclass::pg_catalog.text, pg_catalog.count(*) FROM pg_catalog.pg_depend d"
    " WHERE d.refclassid = 2615 AND d.refobjid = pg_catalog.pg_my_temp_schema() GROUP BY 1) t (catalog, count)"
)
COMMENTS: Final = (
    f"WITH RECURSIVE {CLOSURE}"
    " SELECT 'comment on', (pg_catalog.pg_identify_object(f.classid, f.objid, d.objsubid)).identity,"
    " pg_catalog.jsonb_build_object('text', d.description)"
    " FROM (SELECT DISTINCT f.classid, f.objid FROM found f) f JOIN pg_catalog.pg_description d"
    " ON d.objoid = f.objid AND d.classoid = f.classid"
)
STRUCTURE: Final = (
    Facts(
        kind="relation",
        name="c.relname",
        source=f"{_RELATIONS} LEFT JOIN pg_catalog.pg_class o ON o.oid = c.reltoastrelid",
        row="c",
        less="oid relname relnamespace reltype reloftype relowner relam relfilenode reltablespace relpages reltuples"
        " relallvisible relallfrozen reltoastrelid relhasindex relhasrules relhastriggers relhassubclass relnatts"
        " relreplident relrewrite relfrozenxid relminmxid relacl relpartbound",
        more={
            "owner": "pg_catalog.pg_get_userbyid(c.relowner)",
            "privileges": _privileges(
                "c.relacl", "CASE c.relkind WHEN 'S' THEN 's'::pg_catalog.\"char\" ELSE 'r' END", "c.relowner"
            ),
            # 2 is heap
            "access method": "CASE WHEN c.relam NOT IN (0, 2)"
            " THEN (pg_catalog.pg_identify_object(2601, c.relam, 0)).identity END",
            "tablespace": "(pg_catalog.pg_identify_object(1213, nullif(c.reltablespace, 0), 0)).identity",
            "type": "pg_catalog.format_type(nullif(c.reloftype, 0), NULL)",
            "bound": "pg_catalog.pg_get_expr(c.relpartbound, c.oid)",
            "definition": "CASE c.relkind WHEN 'v' THEN pg_catalog.pg_get_viewdef(c.oid)"
            " WHEN 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END",
            "toast": "o.reloptions",
        },
    ),
    Facts(
        kind="column",
        name="c.relname || '.' || a.attname",
        source=f"{_RELATIONS} AND c.relkind <> 'S' {_COLUMN_ROWS.format(relation='c.oid')}",
        row="a",
        less=_COLUMN_LESS,
        more=_COLUMN,
    ),
    Facts(
        kind="sequence",
        name="c.relname",
        source=f"{_RELATIONS} JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid"
        " LEFT JOIN pg_catalog.pg_depend o ON o.classid = 1259 AND o.objid = c.oid AND o.objsubid = 0"
        " AND o.refclassid = 1259 AND o.deptype IN ('a', 'i')",
        row="s",
        less="seqrelid seqtypid",
        more={
            "type": "pg_catalog.format_type(s.seqtypid, NULL)",
            "owned by": "(pg_catalog.pg_identify_object(1259, o.refobjid, o.refobjsubid)).identity",
            "how": "o.deptype",
        },
        only_if=Presence.SEQUENCES,
    ),
    Facts(
        kind="parent",
        name="c.relname || '.' || i.inhseqno",
        source=f"{_RELATIONS} JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid",
        row="i",
        less="inhrelid inhparent",
        more={"name": "i.inhparent::pg_catalog.regclass::pg_catalog.text"},
        only_if=Presence.PARENTS,
    ),
    Facts(
        kind="constraint",
        name="c.relname || '.' || k.conname",
        source=f"{_RELATIONS} JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype <> 't'"
        # those of partitions are named as each release sees fit
        " AND NOT (k.contype = 'f' AND k.conparentid <> 0)",
        row="k",
        less=_CONSTRAINT_LESS,
        more=_CONSTRAINT,
        only_if=Presence.CONSTRAINTS,
    ),
    Facts(
        kind="index",
        name="x.relname",
        source=f"{_RELATIONS} JOIN pg_catalog.pg_index i ON i.indrelid = c.oid"
        " JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid",
        row="i",
        less="indexrelid indrelid indkey indcollation indclass indoption indexprs indpred indcheckxmin indisreplident",
        more={
            "definition": "pg_catalog.pg_get_indexdef(i.indexrelid)",
            "tablespace": "(pg_catalog.pg_identify_object(1213, nullif(x.reltablespace, 0), 0)).identity",
            "statistics": "ARRAY(SELECT a.attstattarget FROM pg_catalog.pg_attribute a"
            " WHERE a.attrelid = x.oid ORDER BY a.attnum)",
            "attached": "x.relispartition",
        },
        only_if=Presence.INDEXES,
    ),
    Facts(
        kind="trigger",
        name="c.relname || '.' || t.tgname",
        source=f"{_RELATIONS} JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal",
        row="t",
        less="oid tgrelid tgparentid tgfoid tgconstrrelid tgconstrindid tgconstraint tgattr tgargs tgqual",
        more={
            "definition": "pg_catalog.pg_get_triggerdef(t.oid)",
        },
        only_if=Presence.TRIGGERS,
    ),
    Facts(
        kind="rule",
        name="c.relname || '.' || r.rulename",
        source=f"{_RELATIONS} JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid AND r.ev_type <> '1'",
        row="r",
        less="oid ev_class ev_qual ev_action",
        more={
            "definition": "pg_catalog.pg_get_ruledef(r.oid)",
        },
        only_if=Presence.RULES,
    ),
    Facts(
        kind="policy",
        name="c.relname || '.' || p.polname",
        source=f"{_RELATIONS} JOIN pg_catalog.pg_policy p ON p.polrelid = c.oid",
        row="p",
        less="oid polrelid polroles polqual polwithcheck",
        more={
            "roles": "ARRAY(SELECT pg_catalog.pg_get_userbyid(r.oid)"
            " FROM pg_catalog.unnest(p.polroles) r (oid) ORDER BY 1)",
            "definition": "pg_catalog.pg_get_expr(p.polqual, p.polrelid)",
            "check definition": "pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)",
        },
        only_if=Presence.POLICIES,
    ),
    Facts(
        kind="statistics",
        name="s.stxname",
        source="pg_catalog.pg_depend m JOIN pg_catalog.pg_statistic_ext s ON s.oid = m.objid AND m.classid = 3381"
        " AND m.refclassid = 2615 AND m.refobjid = pg_catalog.pg_my_temp_schema()",
        row="s",
        less="oid stxrelid stxnamespace stxowner stxkeys stxexprs",
        more={
            "owner": "pg_catalog.pg_get_userbyid(s.stxowner)",
            "definition": "pg_catalog.pg_get_statisticsobjdef(s.oid)",
        },
        only_if=Presence.STATISTICS,
    ),
    Facts(
        kind="type",
        name="t.typname",
        source=_TYPES,
        row="t",
        less="oid typnamespace typowner typrelid typelem typarray typbasetype typcollation typdefaultbin typdefault"
        " typacl typinput typoutput typreceive typsend typmodin typmodout typanalyze typsubscript",
        more={
            "owner": "pg_catalog.pg_get_userbyid(t.typowner)",
            "base": "pg_catalog.format_type(nullif(t.typbasetype, 0), t.typtypmod)",
            "collation": "(pg_catalog.pg_identify_object(3456, nullif(t.typcollation, 0), 0)).identity",
            "definition": "pg_catalog.pg_get_expr(t.typdefaultbin, 'pg_catalog.pg_type'::pg_catalog.regclass)",
            "labels": "ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e"
            " WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)",
            "range": "ARRAY(SELECT (pg_catalog.pg_identify_object(x.class, x.oid, 0)).identity"
            " FROM pg_catalog.pg_range g CROSS JOIN LATERAL (VALUES (1247, g.rngsubtype), (2616, g.rngsubopc),"
            " (3456, g.rngcollation), (1255, g.rngsubdiff::pg_catalog.oid)) x (class, oid)"
            " WHERE g.rngtypid = t.oid AND x.oid <> 0 ORDER BY x.class)",
            "privileges": _privileges("t.typacl", "'T'", "t.typowner"),
        },
        only_if=Presence.TYPES,
    ),
    Facts(
        kind="column",
        name="t.typname || '.' || a.attname",
        source=f"{_TYPES} AND t.typtype = 'c' {_COLUMN_ROWS.format(relation='t.typrelid')}",
        row="a",
        less=_COLUMN_LESS,
        more=_COLUMN,
        only_if=Presence.TYPES,
    ),
    Facts(
        kind="constraint",
        name="t.typname || '.' || k.conname",
        source=f"{_TYPES} JOIN pg_catalog.pg_constraint k ON k.contypid = t.oid",
        row="k",
        less=_CONSTRAINT_LESS,
        more=_CONSTRAINT,
        only_if=Presence.TYPES,
    ),
    Facts(
        kind="function",
        name="p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')'",
        source="pg_catalog.pg_depend m JOIN pg_catalog.pg_proc p ON p.oid = m.objid AND m.classid = 1255"
        " AND m.refclassid = 2615 AND m.refobjid = pg_catalog.pg_my_temp_schema()",
        row="p",
        less="oid pronamespace proowner prolang provariadic prosupport prorettype proargtypes proallargtypes"
        " proargdefaults protrftypes prosqlbody proacl prosrc",
        more={
            "owner": "pg_catalog.pg_get_userbyid(p.proowner)",
            "definition": "CASE WHEN p.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(p.oid) END",
            "privileges": _privileges("p.proacl", "'f'", "p.proowner"),
        },
        only_if=Presence.FUNCTIONS,
    ),
)
