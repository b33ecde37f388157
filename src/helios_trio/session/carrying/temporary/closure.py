"""What is in a session's temporary schema, and everything that depends on it, directly or not.

pg_depend tells, and from the schema on it is read through its index: every object in a schema depends on it, and
every part of an object (column default, index, row type, trigger) on the object. So nothing can be overlooked: what
turns up here and is not understood is a reason to refuse.

Used by: session.carrying.temporary.capture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import ClassVar, Final, TypeAlias

from attrs import frozen

from helios_trio.session.carrying.temporary.records import Found, Record, flag, integer, maybe, records, text

# OIDs of catalogs are part of each release and have never changed (PostgreSQL source, catalog/*.h)
CLASS: Final = 1259
TYPE: Final = 1247
FUNCTION: Final = 1255
CONSTRAINT: Final = 2606
REWRITE: Final = 2618
TRIGGER: Final = 2620
POLICY: Final = 3256
STATISTICS: Final = 3381
NAMESPACE: Final = 2615

#: catalog and OID, as pg_depend has them
Key: TypeAlias = tuple[int, int]

# Dependencies that make the dependent a part of what it refers to, the closest first (PostgreSQL docs, pg_depend)
_PART_OF: Final = "iPSa"


@frozen
class Server(Record):
    """Where the old connection is; asked under the client's search_path, hence the operators' schema."""

    source: ClassVar[str] = "(VALUES (1)) AS one"
    major: int = integer(
        "pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog./) 10000"
    )
    search_path: str = text("pg_catalog.current_setting('search_path')")
    temp_buffers: str = text("pg_catalog.current_setting('temp_buffers')")
    #: what the temporary schema is really called, pg_temp_3; '-' when there is none
    schema: str = text("pg_catalog.pg_my_temp_schema()::pg_catalog.regnamespace::pg_catalog.text")
    #: the session has a temporary schema, and something in it
    occupied: bool = flag(
        "EXISTS (SELECT FROM pg_catalog.pg_depend d "
        f"WHERE d.refclassid OPERATOR(pg_catalog.=) {NAMESPACE}::pg_catalog.oid"
        " AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
    )


#: what WITH RECURSIVE needs to find all rows of pg_depend on the way from the temporary schema
# The sub-select with OFFSET keeps the planner from reading all of pg_depend.
CLOSURE: Final = f"""found (classid, objid, refclassid, refobjid, refobjsubid, deptype) AS (
  SELECT d.classid, d.objid, d.refclassid, d.refobjid, d.refobjsubid, d.deptype FROM pg_catalog.pg_depend d
   WHERE d.refclassid = {NAMESPACE} AND d.refobjid = pg_catalog.pg_my_temp_schema()
  UNION
  SELECT d.* FROM found f CROSS JOIN LATERAL (
    SELECT d.classid, d.objid, d.refclassid, d.refobjid, d.refobjsubid, d.deptype FROM pg_catalog.pg_depend d
     WHERE d.refclassid = f.classid AND d.refobjid = f.objid OFFSET 0) d
)"""
_FOUND: Final = f"""(WITH RECURSIVE {CLOSURE} SELECT * FROM found) f
LEFT JOIN LATERAL (
  SELECT c.* FROM pg_catalog.pg_class c WHERE f.classid = {CLASS} AND c.oid = f.objid OFFSET 0) c ON true"""


@frozen
class Surroundings(Record):
    """What a database rarely has; where it does, more must be asked."""

    source: ClassVar[str] = "(VALUES (1)) AS one"
    default_privileges: bool = flag("EXISTS (SELECT FROM pg_catalog.pg_default_acl)")
    event_triggers: bool = flag("EXISTS (SELECT FROM pg_catalog.pg_event_trigger)")
    labels: bool = flag("EXISTS (SELECT FROM pg_catalog.pg_seclabel)")


# memberships that do not allow SET ROLE came with release 16
_MAY_SET_ROLE: Final = (
    "CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000"
    " THEN 'SET' ELSE 'MEMBER' END"
)


@frozen
class Dependency(Record):
    """One row of pg_depend, with what pg_class says about the dependent if it is a relation.

    Its transaction opens the tables, so that its end empties those with ON COMMIT DELETE ROWS even if the last
    transaction of the client was rolled back: what has pages afterwards has another action.
    """

    source: ClassVar[str] = _FOUND
    catalog: int = integer("f.classid")
    oid: int = integer("f.objid")
    on_catalog: int = integer("f.refclassid")
    on_oid: int = integer("f.refobjid")
    #: of a column, or 0
    on_number: int = integer("f.refobjsubid")
    type: str = text("f.deptype")
    relation_kind: str | None = maybe("c.relkind")
    relation: str | None = maybe("c.relname")
    owner: str | None = maybe("pg_catalog.pg_get_userbyid(c.relowner)")
    may_take_owner: bool = flag(f"pg_catalog.pg_has_role(session_user, c.relowner, {_MAY_SET_ROLE})")
    temporary: bool = flag("c.relnamespace = pg_catalog.pg_my_temp_schema()")
    forced: bool = flag("c.relforcerowsecurity")
    opened: str | None = maybe("CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_relation_size(c.oid) END")

    @property
    def key(self) -> Key:
        """The dependent."""
        return (self.catalog, self.oid)

    @property
    def on(self) -> Key:
        """What it depends on."""
        return (self.on_catalog, self.on_oid)


@frozen
class Relation:
    """What the closure says about a relation in the temporary schema."""

    oid: int
    kind: str
    name: str
    owner: str
    may_take_owner: bool
    #: row security is forced on it
    forced: bool


@frozen
class OwnedBy:
    """The column that a sequence belongs to."""

    table: int
    number: int
    #: it is the column's identity, rather than a sequence by itself
    identity: bool


@frozen
class Closure:
    """Everything that depends on the temporary schema."""

    surroundings: Surroundings
    dependencies: tuple[Dependency, ...]
    parts: Mapping[Key, tuple[Key, ...]]
    #: OID of a sequence -> its column
    owners: Mapping[int, OwnedBy]
    #: OID of an index -> the partitioned index it is attached to
    parent_indexes: Mapping[int, int]

    @classmethod
    def of(cls, found: Found) -> Closure:
        """From the rows of `closure_text`."""
        (surroundings,) = records(Surroundings, found)
        return cls.over(surroundings, records(Dependency, found))

    @classmethod
    def over(cls, surroundings: Surroundings, dependencies: tuple[Dependency, ...]) -> Closure:
        """From dependencies, put where they are looked up."""
        parts: dict[Key, list[Key]] = defaultdict(list)
        owners: dict[int, OwnedBy] = {}
        parent_indexes: dict[int, int] = {}
        for each in sorted(dependencies, key=lambda each: _PART_OF.find(each.type)):
            if each.type in _PART_OF:
                parts[each.key].append(each.on)
            if each.catalog == each.on_catalog == CLASS:
                if each.relation_kind == "S" and each.type in "ai":
                    owners[each.oid] = OwnedBy(each.on_oid, each.on_number, each.type == "i")
                elif each.type == "P":
                    parent_indexes[each.oid] = each.on_oid
        return cls(
            surroundings,
            dependencies,
            {key: tuple(found) for key, found in parts.items()},
            owners,
            parent_indexes,
        )

    def relations(self, kinds: str) -> tuple[Relation, ...]:
        """Relations in the temporary schema itself whose relkind is among `kinds`, in order of creation."""
        found = {
            each.oid: Relation(
                each.oid,
                each.relation_kind,
                each.relation or "",
                each.owner or "",
                each.may_take_owner,
                each.forced,
            )
            for each in self.dependencies
            if each.relation_kind and each.relation_kind in kinds and each.temporary
        }
        return tuple(found[oid] for oid in sorted(found))

    def oids(self, catalog: int, *, inner: bool = False) -> set[int]:
        """The objects of one catalog: those that exist only inside another object, or the others."""
        found = [each for each in self.dependencies if each.catalog == catalog]
        within = {each.oid for each in found if each.type == "i"}
        return within if inner else {each.oid for each in found} - within

    def home(self, key: Key, known: frozenset[Key]) -> Key | None:
        """The known object that this one is, or is a part of; None: it stands for itself."""
        if key in known:
            return key
        for owner in self.parts.get(key, ()):
            if owner != key and (found := self.home(owner, known)) is not None:
                return found
        return None

    def all_keys(self) -> tuple[Key, ...]:
        """Everything there is."""
        return tuple(dict.fromkeys(each.key for each in self.dependencies))


def closure_text() -> str:
    """The statements that read it."""
    return f"{Surroundings.select(0, {})};\n{Dependency.select(0, {})}"


def server_text() -> str:
    """The statement that tells where the old connection is."""
    return Server.select(0, {}) + ";\n"
