"""`[load_balancer]`, `[routing]`, `[lag_routing]`, `[transparent_write_routing]`: which server serves a request.

All of it is off unless configured: then everything goes to the primary (`RoutingSettings.wanted`).
"""

from __future__ import annotations

import enum
import math
from typing import Annotated, Final

from attrs import frozen

from helios_trio.config.keys import REQUIRED, key, table, tables
from helios_trio.config.kinds import (
    Bytes,
    Choice,
    Kind,
    Lapse,
    Limit,
    Name,
    PositiveCount,
    Seconds,
    Switch,
    Texts,
    WritableFile,
)
from helios_trio.config.patterns import NamePattern, TableNames


class Balancing(enum.StrEnum):
    """How one of several servers is taken that are equally good."""

    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    LEAST_CONNECTIONS = "least_connections"
    LATENCY = "latency"
    RANDOM_TWO = "random_two"


class DefaultForReads(enum.StrEnum):
    """Which servers reads go to where nothing else is asked for."""

    REPLICA = "replica"
    PRIMARY = "primary"
    NEAREST = "nearest"


class Temperature(enum.StrEnum):
    """How often the rows of a table are asked for."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"


class SyncMode(enum.StrEnum):
    """What a write waits for before its client is told that it is done."""

    SYNC = "sync"
    SEMI_SYNC = "semi_sync"
    ASYNC = "async"


class TenantFrom(enum.StrEnum):
    """What the tenant of a session is read from."""

    APPLICATION_NAME = "application_name"
    USER = "user"
    DATABASE = "database"
    SETTING = "setting"


#: Words that a target can be besides the name of a backend, before which they count.
TARGET_ROLES: Final = frozenset({"primary", "standby", "replica"})


@frozen
class TenantSource:
    """What the tenant of a session is read from, and the name of the setting if it is one, in lower case."""

    kind: TenantFrom = TenantFrom.APPLICATION_NAME
    setting: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.setting}" if self.setting else str(self.kind)


@frozen
class TenantSourceKind(Kind):
    """A word, or the name of a setting."""

    expected = 'application_name, user, database, or a setting such as "setting:app.tenant_id"'

    def from_text(self, text: str) -> TenantSource:
        word, _, setting = text.partition(":")
        kind = TenantFrom(word)
        if (kind is TenantFrom.SETTING) is not bool(setting.strip()) or (":" in text and not setting):
            raise ValueError(text)
        return TenantSource(kind, setting.strip().lower())


BalancingWord = Annotated[Balancing, Choice(Balancing)]
DefaultForReadsWord = Annotated[DefaultForReads, Choice(DefaultForReads)]
TemperatureWord = Annotated[Temperature, Choice(Temperature)]
SyncModeWord = Annotated[SyncMode, Choice(SyncMode)]


@frozen(kw_only=True)
class LoadBalancer:
    """How one of several servers is taken that would do equally well. Weights are those of [[backends.pools]]."""

    strategy: BalancingWord = key(
        Balancing.LEAST_CONNECTIONS,
        "round_robin: in turn; weighted: in turn, by weight; least_connections: the smallest share of its connections "
        "in use, by weight; latency: the fastest so far, others tried now and then; random_two: the less loaded of two "
        "taken at random. Weight 0: only where no other is left",
    )
    latency_half_life: Seconds = key(
        10.0, "strategy latency: a query counts half as much once so much time has passed"
    )


@frozen(kw_only=True)
class RoutingRuleSettings:
    """Where the sessions of some tenants belong. The first rule that matches counts; those of the API come first."""

    tenant_pattern: NamePattern = key(
        REQUIRED, "tenants by name, a pattern with * and ?", example="test_tenant_*"
    )
    backend: Name = key(
        REQUIRED,
        "a standby: their reads go there and nowhere else, their writes to the primary; a primary of its own: all of "
        "each session goes there, from its login on",
        example="green_db",
    )
    database: NamePattern = key("*", "the name clients ask for, or a pattern with * and ?")
    user: NamePattern = key("*", "the name of the client's user, or a pattern with * and ?")


@frozen(kw_only=True)
class GeoRuleSettings:
    """Which server is nearest to some tenants. No tenant may match two of these rules."""

    tenant_pattern: NamePattern = key(
        REQUIRED, "tenants by name, a pattern with * and ?", example="tenant_eu_*"
    )
    preferred_backend: Name = key(REQUIRED, "used where it can be", example="eu_west_db")
    fallback_backend: Name | None = key(
        None, "used otherwise; if neither can be used, any other is", example="us_east_db"
    )


@frozen(kw_only=True)
class WorkloadTargets:
    """Servers for kinds of reads, as their text shows them; preferred while they will do. Absent: no preference."""

    enabled: Switch = key(False, "whether the kind of a read is looked at")
    oltp_target: Name | None = key(
        None, "name of a backend, or primary, or replica: for short reads", example="primary"
    )
    olap_target: Name | None = key(
        None,
        "the same for reads that aggregate, join much, or scan ranges",
        example="analytics",
    )
    vector_target: Name | None = key(
        None, "the same for nearest neighbours: ORDER BY with <->, <=> or <#>", example="vector-node"
    )


@frozen(kw_only=True)
class Temperatures:
    """Servers for reads of tables by temperature; each the name of a backend, or primary, or replica."""

    hot: Name | None = key(None, "for tables that are asked for all the time", example="primary")
    warm: Name | None = key(None, "for tables that are asked for now and then", example="replica")
    cold: Name | None = key(None, "for tables that are hardly asked for", example="archive")

    def target(self, temperature: Temperature) -> str | None:
        """The one for that temperature; None: no preference."""
        found: str | None = getattr(self, temperature.value)
        return found


@frozen(kw_only=True)
class TableTarget:
    """A server for reads of some tables, preferred while it will do. The first entry that matches a table counts."""

    pattern: TableNames = key(
        REQUIRED,
        "table or schema.table, with * and ?; a name without schema in a query is taken to be in public",
        example="public.orders_archive_*",
    )
    backend: Name | None = key(
        None, "name of a backend, or primary, or replica; either this or temperature", example="archive"
    )
    temperature: TemperatureWord | None = key(
        None, "hot, warm or cold: the server of [routing.temperatures]", example="cold"
    )
    column: Name | None = key(
        None, "only for reads whose conditions leave no newer rows, by this column", example="created_at"
    )
    older_than: Seconds | None = key(
        None, "how old the newest row that is asked for must be; needs column", example="90d"
    )


@frozen(kw_only=True)
class RoutingSettings:
    """Which server serves a request, where it need not be the primary."""

    enabled: Switch | None = key(
        None,
        "absent: on where read_write_split, a rule, a target or transparent_write_routing asks for it, or rules of the "
        "API are kept; true: on anyway, so that rules can come by the API; false: off, whatever else is said",
        example=True,
        live=False,
    )
    read_write_split: Switch = key(
        False, "reads go where they may; false: to the primary, unless a hint, rule or target says more"
    )
    default_for_reads: DefaultForReadsWord = key(
        DefaultForReads.REPLICA,
        "replica, and the primary if there is none; primary, and replicas if there is none; or nearest: those in "
        "proxy.region first",
    )
    hints: Switch = key(
        True, "obey hints in the leading comment of a statement; SET helios.route works anyway"
    )
    safe_functions: Annotated[tuple[str, ...], Texts()] = key(
        (),
        "functions that are known to write nothing and may run on a standby although nothing shows it: patterns with "
        "* and ?, with the schema where queries have it",
        example=["reporting.*", "is_visible"],
    )
    tenant_from: Annotated[TenantSource, TenantSourceKind()] = key(
        TenantSource(), "what the tenant of a session is; it is what its client says, and proves nothing"
    )
    rules_file: WritableFile | None = key(
        None,
        "where rules that came by the API are kept; absent: routing_rules.json in proxy.state_dir, or where that is by "
        "default",
        example="/var/lib/helios/routing_rules.json",
        live=False,
    )
    rules: tuple[RoutingRuleSettings, ...] = tables()
    geo_rules: tuple[GeoRuleSettings, ...] = tables()
    workload: WorkloadTargets = table(WorkloadTargets)
    temperatures: Temperatures = table(Temperatures)
    tables: tuple[TableTarget, ...] = tables()

    @property
    def wanted(self) -> bool:
        """Whether this section asks for routing, if nothing else decides."""
        if self.enabled is not None:
            return self.enabled
        return bool(
            self.read_write_split or self.rules or self.geo_rules or self.tables or self.workload.enabled
        )


@frozen(kw_only=True)
class LagRouting:
    """How fresh a standby must be that serves reads. Of effect only where reads go to standbys."""

    enabled: Switch = key(True, "false: whatever a standby has will do")
    max_lag: Limit = key(math.inf, "how far behind it may be in time")
    max_lag_bytes: Bytes | None = key(None, "how much WAL it may lack; absent: any amount", example="16MB")
    recover_after: Lapse = key(
        5.0, "one that was too far behind is used again when it has been within the limits for so long"
    )
    read_your_writes: Switch = key(
        True, "a session reads from a standby only what includes all that it has written itself"
    )

    @property
    def limits(self) -> bool:
        """Whether standbys that are too far behind are left out."""
        return self.enabled and (self.max_lag != math.inf or self.max_lag_bytes is not None)

    @property
    def own_writes(self) -> bool:
        """Whether sessions must see their own writes."""
        return self.enabled and self.read_your_writes


@frozen(kw_only=True)
class TransparentWriteRouting:
    """Clients may connect to any server of the cluster; what they write reaches the primary."""

    enabled: Switch = key(False, "sessions whose database or rule names a standby can write, too", live=False)
    sync_mode: SyncModeWord = key(
        SyncMode.SYNC,
        "what a write waits for: sync, until the standby that serves the session's reads has replayed it; semi_sync, "
        "until it has it on disk; async: nothing. Per session: SET helios.sync_mode",
    )
    forward_timeout_ms: PositiveCount = key(
        5000, "milliseconds that it waits at most; then the session reads from the primary"
    )
