"""`[proxy]`: where clients come in, and limits that hold for all of them."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen

from helios_trio.config.addresses import Address, TcpAddress
from helios_trio.config.keys import key, table
from helios_trio.config.kinds import (
    DataFolder,
    Limit,
    ListenAddress,
    ListenAddresses,
    Name,
    PositiveCount,
    ReadableFile,
    Seconds,
    Switch,
)
from helios_trio.config.words import (
    ClientTls,
    ClientTlsWord,
    LogFormat,
    LogFormatWord,
    LogLevel,
    LogLevelWord,
)


@frozen(kw_only=True)
class ProxyTls:
    """TLS towards clients. Certificate, key and CA are read again at a reload."""

    mode: ClientTlsWord = key(
        ClientTls.DISABLE, "what clients must do; verify-ca and verify-full ask for a client certificate"
    )
    cert_file: ReadableFile | None = key(None, "the server certificate, PEM", example="server.crt")
    key_file: ReadableFile | None = key(None, "its private key, PEM", example="server.key")
    client_ca_file: ReadableFile | None = key(
        None, "the CAs whose client certificates are accepted, PEM", example="ca.crt"
    )


@frozen(kw_only=True)
class ProxySettings:
    """Where clients come in, and what holds for all of them."""

    listen_address: Annotated[tuple[Address, ...], ListenAddresses()] = key(
        (TcpAddress("127.0.0.1", 6432),),
        '"host:port", "unix:/folder", or a list of these; port 0 is a free one',
        live=False,
    )
    admin_listen_address: Annotated[TcpAddress | None, ListenAddress()] = key(
        TcpAddress("127.0.0.1", 9090), 'where health, metrics and the API are served, or "off"', live=False
    )
    region: Name | None = key(None, "where this proxy runs", example="us-east-1")
    state_dir: DataFolder | None = key(
        None,
        "where is kept what must survive a restart, such as records of migrations; absent: $STATE_DIRECTORY (systemd), "
        "else a folder of the user's own named after listen_address, none if that is a free port",
        example="/var/lib/helios",
        live=False,
    )
    log_level: LogLevelWord = key(LogLevel.INFO, "the least severe events that are logged")
    log_format: LogFormatWord = key(
        LogFormat.AUTO, "auto is console on a terminal and json otherwise", live=False
    )
    max_client_connections: PositiveCount = key(10000, "clients beyond this number are refused with 53300")
    max_unauthenticated_connections: PositiveCount = key(
        500, "clients that may be logging in at the same time; further ones wait for their turn"
    )
    application_name_suffix: Name | None = key(
        None, "appended to the application_name that servers see", example=" (helios)"
    )
    drain_timeout: Seconds = key(30.0, "how long open transactions may go on once the proxy is told to stop")
    listen_backlog: PositiveCount = key(
        1024, "connections the kernel queues before they are accepted", live=False
    )
    reuse_port: Switch = key(
        False, "share the port with another process (SO_REUSEPORT), to upgrade without a gap", live=False
    )
    tcp_keepalive_idle: Limit = key(60.0, 'silence before the first keepalive probe; "off" sends none')
    tcp_keepalive_interval: Seconds = key(10.0, "time between keepalive probes")
    tcp_keepalive_count: PositiveCount = key(6, "unanswered probes after which a peer counts as gone")
    tls: ProxyTls = table(ProxyTls)
