"""The configuration: one TOML file and the environment, read into frozen classes, one per section.

Other rooms take the section they need by constructor (`ProxySettings`, `AuthSettings`, ...); only the command
line and the reload call `load`. Nothing here knows Trio or sockets.
"""

from __future__ import annotations

from helios_trio.config.addresses import Address, TcpAddress, UnixAddress, parse_address, parse_addresses
from helios_trio.config.admin import AdminSettings
from helios_trio.config.auth import AuthRule, AuthSettings
from helios_trio.config.backends import Backends, BackendSettings, DatabaseSettings
from helios_trio.config.changes import Changes, changes, keep_running
from helios_trio.config.circuit_breaker import BreakerMode, CircuitBreaker
from helios_trio.config.control import ControlSettings
from helios_trio.config.embedded import EmbeddedSettings
from helios_trio.config.failover import CursorRestore, FailoverSettings, TransactionReplay
from helios_trio.config.health import HealthChecks
from helios_trio.config.loader import check, load, loads
from helios_trio.config.migration import GradualPhase, SessionMigration, SwitchoverBuffer
from helios_trio.config.pool import PoolRule, Pools, PoolSettings
from helios_trio.config.problems import InvalidConfig
from helios_trio.config.proxy import ProxySettings, ProxyTls
from helios_trio.config.reference import defaults_toml, masked, masked_toml, reference_markdown
from helios_trio.config.root import Config
from helios_trio.config.secret import MASK, Secret
from helios_trio.config.timeouts import Timeouts
from helios_trio.config.topology import PatroniSettings, TopologySettings
from helios_trio.config.units import format_duration, format_size, parse_duration, parse_size
from helios_trio.config.words import (
    AuthMethod,
    ClientTls,
    CommitOutcomeMethod,
    ConnectionType,
    FailoverMode,
    Leftovers,
    LogFormat,
    LogLevel,
    MigrationMode,
    PoolMode,
    Reuse,
    Role,
    RuleMethod,
    ShareOf,
    SslMode,
    StateKind,
    TopologyProvider,
    WhenOverdue,
    WhenUnhealthy,
    WithoutKey,
)

__all__ = [
    "MASK",
    "Address",
    "AdminSettings",
    "AuthMethod",
    "AuthRule",
    "AuthSettings",
    "BackendSettings",
    "Backends",
    "BreakerMode",
    "Changes",
    "CircuitBreaker",
    "ClientTls",
    "CommitOutcomeMethod",
    "Config",
    "ConnectionType",
    "ControlSettings",
    "CursorRestore",
    "DatabaseSettings",
    "EmbeddedSettings",
    "FailoverMode",
    "FailoverSettings",
    "GradualPhase",
    "HealthChecks",
    "InvalidConfig",
    "Leftovers",
    "LogFormat",
    "LogLevel",
    "MigrationMode",
    "PatroniSettings",
    "PoolMode",
    "PoolRule",
    "PoolSettings",
    "Pools",
    "ProxySettings",
    "ProxyTls",
    "Reuse",
    "Role",
    "RuleMethod",
    "Secret",
    "SessionMigration",
    "ShareOf",
    "SslMode",
    "StateKind",
    "SwitchoverBuffer",
    "TcpAddress",
    "Timeouts",
    "TopologyProvider",
    "TopologySettings",
    "TransactionReplay",
    "UnixAddress",
    "WhenOverdue",
    "WhenUnhealthy",
    "WithoutKey",
    "changes",
    "check",
    "defaults_toml",
    "format_duration",
    "format_size",
    "keep_running",
    "load",
    "loads",
    "masked",
    "masked_toml",
    "parse_address",
    "parse_addresses",
    "parse_duration",
    "parse_size",
    "reference_markdown",
]
