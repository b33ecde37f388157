"""`[[backends.pools]]` and `[[databases]]`: the servers, and what clients call the databases on them."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen

from helios_trio.config.circuit_breaker import BreakerModeWord, CircuitBreaker, ShareOfOne
from helios_trio.config.keys import REQUIRED, inherited, key, tables
from helios_trio.config.kinds import (
    Count,
    HostName,
    Limit,
    Name,
    Password,
    Percent,
    Port,
    PositiveCount,
    ReadableFile,
    Seconds,
    Switch,
    Texts,
    Weight,
)
from helios_trio.config.secret import Secret, read_secret
from helios_trio.config.words import Role, RoleWord, SslMode, SslModeWord


@frozen(kw_only=True)
class BackendSettings:
    """One PostgreSQL server. Without any, the embedded cluster is used."""

    name: Name = key(REQUIRED, "what it is called here, in logs and in the API", example="primary")
    host: HostName = key(REQUIRED, "name, address, or the folder of its unix socket", example="10.0.0.1")
    port: Port = key(5432, "its port")
    database: Name | None = key(
        None, "database on the server; absent: the one the client asks for", example="app"
    )
    user: Name | None = key(None, "user on the server; absent: the client's own", example="app_user")
    password: Password | None = key(None, "password of `user`", example="${DB_PASSWORD}")
    password_file: ReadableFile | None = key(
        None, "a file whose first line is the password of `user`", example="/etc/helios/db_password"
    )
    min_connections: Count = key(0, "connections kept open to this server, over all its pools")
    max_connections: PositiveCount | None = key(
        None,
        "most connections to this server, over all its pools; absent: no limit but those of the pools",
        example=200,
    )
    role: RoleWord = key(Role.AUTO, "active, standby, replica, or auto: the server is asked")
    priority: Count = key(0, "preferred where it is higher")
    weight: Weight = key(1.0, "share of the load among equals")
    region: Name | None = key(None, "where it runs", example="us-east-1")
    tags: Annotated[tuple[str, ...], Texts()] = key((), "labels of any kind", example=["environment:blue"])
    tls: SslModeWord = key(SslMode.PREFER, "libpq's sslmode words")
    tls_ca_file: ReadableFile | None = key(
        None, "the CAs that may have signed the server's certificate, PEM", example="root.crt"
    )
    tls_cert_file: ReadableFile | None = key(
        None, "certificate shown to the server, PEM", example="client.crt"
    )
    tls_key_file: ReadableFile | None = key(None, "its private key, PEM", example="client.key")
    # keys of [circuit_breaker] for this server alone
    circuit_breaker_enabled: Switch | None = inherited(CircuitBreaker, "enabled")
    circuit_breaker_mode: BreakerModeWord | None = inherited(CircuitBreaker, "mode")
    circuit_breaker_failure_threshold_percentage: Percent | None = inherited(
        CircuitBreaker, "failure_threshold_percentage"
    )
    circuit_breaker_latency_threshold_p95_ms: PositiveCount | None = inherited(
        CircuitBreaker, "latency_threshold_p95_ms"
    )
    circuit_breaker_latency_threshold_p99_ms: PositiveCount | None = inherited(
        CircuitBreaker, "latency_threshold_p99_ms"
    )
    circuit_breaker_connection_saturation_threshold: ShareOfOne | None = inherited(
        CircuitBreaker, "connection_saturation_threshold"
    )
    circuit_breaker_queue_depth_threshold: Count | None = inherited(CircuitBreaker, "queue_depth_threshold")
    circuit_breaker_lag_threshold: Limit | None = inherited(CircuitBreaker, "lag_threshold")
    circuit_breaker_metrics_window_size: Seconds | None = inherited(CircuitBreaker, "metrics_window_size")
    circuit_breaker_metrics_bucket_size: Seconds | None = inherited(CircuitBreaker, "metrics_bucket_size")
    circuit_breaker_minimum_requests: PositiveCount | None = inherited(CircuitBreaker, "minimum_requests")
    circuit_breaker_open_duration: Seconds | None = inherited(CircuitBreaker, "open_duration")
    circuit_breaker_max_open_duration: Seconds | None = inherited(CircuitBreaker, "max_open_duration")
    circuit_breaker_half_open_max_concurrent: PositiveCount | None = inherited(
        CircuitBreaker, "half_open_max_concurrent"
    )
    circuit_breaker_half_open_success_threshold: Percent | None = inherited(
        CircuitBreaker, "half_open_success_threshold"
    )
    circuit_breaker_half_open_probe_interval: Seconds | None = inherited(
        CircuitBreaker, "half_open_probe_interval"
    )
    circuit_breaker_gradual_recovery_enabled: Switch | None = inherited(
        CircuitBreaker, "gradual_recovery_enabled"
    )
    circuit_breaker_recovery_ramp_up_duration: Seconds | None = inherited(
        CircuitBreaker, "recovery_ramp_up_duration"
    )
    circuit_breaker_recovery_step_percentage: Percent | None = inherited(
        CircuitBreaker, "recovery_step_percentage"
    )
    circuit_breaker_query_level_breakers_enabled: Switch | None = inherited(
        CircuitBreaker, "query_level_breakers_enabled"
    )
    circuit_breaker_slow_query_threshold_ms: PositiveCount | None = inherited(
        CircuitBreaker, "slow_query_threshold_ms"
    )
    circuit_breaker_user_level_breakers_enabled: Switch | None = inherited(
        CircuitBreaker, "user_level_breakers_enabled"
    )
    circuit_breaker_per_user_rate_limit: PositiveCount | None = inherited(
        CircuitBreaker, "per_user_rate_limit"
    )
    circuit_breaker_user_isolation_on_abuse: Switch | None = inherited(
        CircuitBreaker, "user_isolation_on_abuse"
    )

    def read_password(self) -> Secret | None:
        """The password, from the file if that is where it is; raises OSError if it cannot be read."""
        return read_secret(self.password, self.password_file)


@frozen(kw_only=True)
class Backends:
    """The servers behind the proxy."""

    pools: tuple[BackendSettings, ...] = tables()


@frozen(kw_only=True)
class DatabaseSettings:
    """A name that clients ask for, and what it stands for. Without any, each database has its own name."""

    name: Name = key(
        REQUIRED, 'the name clients ask for; "*" is every name that is not listed', example="reports"
    )
    backend: Name | None = key(
        None, "the name of the [[backends.pools]] entry it is on; absent: any of them", example="primary"
    )
    database: Name | None = key(
        None,
        "database on the server; absent: that of the backend, else the same name",
        example="reports_2026",
    )
    user: Name | None = key(None, "user on the server; absent: that of the backend", example="reporter")
    password: Password | None = key(None, "password of `user`", example="${REPORTS_PASSWORD}")
    password_file: ReadableFile | None = key(
        None, "a file whose first line is the password of `user`", example="/etc/helios/reports_password"
    )

    def read_password(self) -> Secret | None:
        """The password, from the file if that is where it is; raises OSError if it cannot be read."""
        return read_secret(self.password, self.password_file)
