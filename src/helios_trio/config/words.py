"""The words that keys can hold, as enumerations; other rooms compare with these rather than with strings."""

from __future__ import annotations

import enum
from typing import Annotated

from helios_trio.config.kinds import Choice, Choices


class PoolMode(enum.StrEnum):
    """How long a client keeps its server connection."""

    SESSION = "session"
    TRANSACTION = "transaction"
    STATEMENT = "statement"


class Reuse(enum.StrEnum):
    """What becomes of a server connection that a session gave back: reset and reused, or closed."""

    RESET = "reset"
    PRISTINE = "pristine"


class AuthMethod(enum.StrEnum):
    """How a client proves who it is (PostgreSQL docs: "The pg_hba.conf File")."""

    TRUST = "trust"
    PASSWORD = "password"
    MD5 = "md5"
    SCRAM_SHA_256 = "scram-sha-256"
    CERT = "cert"


class RuleMethod(enum.StrEnum):
    """What an `[[auth.rules]]` entry can ask for: a method, or `reject`."""

    TRUST = "trust"
    PASSWORD = "password"
    MD5 = "md5"
    SCRAM_SHA_256 = "scram-sha-256"
    CERT = "cert"
    REJECT = "reject"


class ConnectionType(enum.StrEnum):
    """The first column of pg_hba.conf, and `any` for all of them."""

    ANY = "any"
    LOCAL = "local"
    HOST = "host"
    HOSTSSL = "hostssl"
    HOSTNOSSL = "hostnossl"


class ClientTls(enum.StrEnum):
    """What is asked of clients; the last two want a certificate, `verify-full` ties it to the user."""

    DISABLE = "disable"
    ALLOW = "allow"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class SslMode(enum.StrEnum):
    """libpq's sslmode words, towards servers (PostgreSQL docs: "SSL Mode Descriptions")."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Role(enum.StrEnum):
    """What a server is for; `auto` asks the server."""

    AUTO = "auto"
    ACTIVE = "active"
    STANDBY = "standby"
    REPLICA = "replica"


class LogLevel(enum.StrEnum):
    """The least severe events that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """How events are written; `auto` is console on a terminal, JSON otherwise."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class MigrationMode(enum.StrEnum):
    """How the sessions of a backend are moved: phase by phase, all at once, or each phase when somebody says so."""

    GRADUAL = "gradual"
    IMMEDIATE = "immediate"
    MANUAL = "manual"


class ShareOf(enum.StrEnum):
    """What the percentage of a phase is a share of: sessions one by one, or tenants with all their sessions."""

    SESSIONS = "sessions"
    TENANTS = "tenants"


class StateKind(enum.StrEnum):
    """Kinds of session state that can be carried to another backend."""

    TEMPORARY_TABLES = "temporary_tables"
    PREPARED_STATEMENTS = "prepared_statements"
    SESSION_VARIABLES = "session_variables"
    ADVISORY_LOCKS = "advisory_locks"
    TRANSACTION_ISOLATION = "transaction_isolation"
    CURSORS = "cursors"
    CHANNELS = "channels"


class WhenOverdue(enum.StrEnum):
    """What becomes of a session that has not reached a safe point in time."""

    SKIP = "skip"
    ABORT_TRANSACTION = "abort_transaction"
    TERMINATE = "terminate"


class WhenUnhealthy(enum.StrEnum):
    """What becomes of a migration whose target does not pass its checks."""

    PAUSE = "pause"
    ROLLBACK = "rollback"
    CONTINUE = "continue"


class Leftovers(enum.StrEnum):
    """What becomes of sessions that are still on the source when everything else has been moved."""

    WAIT = "wait"
    LEAVE = "leave"
    TERMINATE = "terminate"


class TempTableSnapshots(enum.StrEnum):
    """When a copy of temporary tables is kept in the proxy."""

    OFF = "off"


class TopologyProvider(enum.StrEnum):
    """Who knows which server is primary: the servers, Patroni, or an operator."""

    POSTGRES = "postgres"
    PATRONI = "patroni"
    MANUAL = "manual"


class FailoverMode(enum.StrEnum):
    """Who decides that a standby takes over from a primary that died."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    DISABLED = "disabled"


class Trigger(enum.StrEnum):
    """When a measure of how a server does makes a failover."""

    OFF = "off"


class CommitOutcomeMethod(enum.StrEnum):
    """How it is found out whether a COMMIT that was not answered has happened."""

    TOKEN = "token"
    XID = "xid"
    OFF = "off"


class WithoutKey(enum.StrEnum):
    """From where health and metrics can be read without an API key."""

    LOOPBACK = "loopback"
    ANYWHERE = "anywhere"
    NOWHERE = "nowhere"


PoolModeWord = Annotated[PoolMode, Choice(PoolMode)]
ReuseWord = Annotated[Reuse, Choice(Reuse)]
AuthMethodWord = Annotated[AuthMethod, Choice(AuthMethod)]
RuleMethodWord = Annotated[RuleMethod, Choice(RuleMethod)]
ConnectionTypeWord = Annotated[ConnectionType, Choice(ConnectionType)]
ClientTlsWord = Annotated[ClientTls, Choice(ClientTls)]
SslModeWord = Annotated[SslMode, Choice(SslMode)]
RoleWord = Annotated[Role, Choice(Role)]
LogLevelWord = Annotated[LogLevel, Choice(LogLevel)]
LogFormatWord = Annotated[LogFormat, Choice(LogFormat)]
MigrationModeWord = Annotated[MigrationMode, Choice(MigrationMode)]
ShareOfWord = Annotated[ShareOf, Choice(ShareOf)]
StateKinds = Annotated[frozenset[StateKind], Choices(StateKind)]
WhenOverdueWord = Annotated[WhenOverdue, Choice(WhenOverdue)]
WhenUnhealthyWord = Annotated[WhenUnhealthy, Choice(WhenUnhealthy)]
LeftoversWord = Annotated[Leftovers, Choice(Leftovers)]
TempTableSnapshotsWord = Annotated[TempTableSnapshots, Choice(TempTableSnapshots)]
TopologyProviderWord = Annotated[TopologyProvider, Choice(TopologyProvider)]
FailoverModeWord = Annotated[FailoverMode, Choice(FailoverMode)]
TriggerWord = Annotated[Trigger, Choice(Trigger)]
CommitOutcomeWord = Annotated[CommitOutcomeMethod, Choice(CommitOutcomeMethod)]
WithoutKeyWord = Annotated[WithoutKey, Choice(WithoutKey)]
