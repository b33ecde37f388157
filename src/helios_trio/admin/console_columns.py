"""The columns of each SHOW of the admin console, in their order: PgBouncer's as in its version 1.18, and our own.

Later versions of PgBouncer have more columns in some tables, between these; exporters and dashboards look for them by
name, and for the newer ones only where they are there.

Used by: admin.console_tables, tests (compare them with a real PgBouncer).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from helios_trio.admin.console_frames import Column, columns

_SOCKET: Final = columns(
    type="text",
    user="text",
    database="text",
    state="text",
    addr="text",
    port="int4",
    local_addr="text",
    local_port="int4",
    connect_time="text",
    request_time="text",
    wait="int4",
    wait_us="int4",
    close_needed="int4",
    ptr="text",
    link="text",
    remote_pid="int4",
    tls="text",
    application_name="text",
)
_BUFFERS: Final = columns(
    recv_pos="int4",
    pkt_pos="int4",
    pkt_remain="int4",
    send_pos="int4",
    send_remain="int4",
    pkt_avail="int4",
    send_avail="int4",
)
#: What is counted of a database; STATS has each of them twice, as a total and as an average.
COUNTED: Final = (
    "xact_count",
    "query_count",
    "bytes_received",
    "bytes_sent",
    "xact_time",
    "query_time",
    "wait_time",
)
#: Where STATS and TOTALS abbreviate, each in its own way.
_IN_STATS: Final = {"bytes_received": "received", "bytes_sent": "sent"}
_IN_AVERAGES: Final = {"bytes_received": "recv", "bytes_sent": "sent"}
_TOTALS: Final = columns(database="text", **dict.fromkeys(COUNTED, "numeric"))

#: What SHOW shows -> its columns.
PGBOUNCER: Final[Mapping[str, tuple[Column, ...]]] = {
    "POOLS": columns(
        database="text",
        user="text",
        cl_active="int4",
        cl_waiting="int4",
        cl_active_cancel_req="int4",
        cl_waiting_cancel_req="int4",
        sv_active="int4",
        sv_active_cancel="int4",
        sv_being_canceled="int4",
        sv_idle="int4",
        sv_used="int4",
        sv_tested="int4",
        sv_login="int4",
        maxwait="int4",
        maxwait_us="int4",
        pool_mode="text",
    ),
    "CLIENTS": _SOCKET,
    "SERVERS": _SOCKET,
    "SOCKETS": _SOCKET + _BUFFERS,
    "ACTIVE_SOCKETS": _SOCKET + _BUFFERS,
    "DATABASES": columns(
        name="text",
        host="text",
        port="int4",
        database="text",
        force_user="text",
        pool_size="int4",
        min_pool_size="int4",
        reserve_pool="int4",
        pool_mode="text",
        max_connections="int4",
        current_connections="int4",
        paused="int4",
        disabled="int4",
    ),
    "STATS": columns(
        database="text",
        **{f"total_{_IN_STATS.get(name, name)}": "numeric" for name in COUNTED},
        **{f"avg_{_IN_AVERAGES.get(name, name)}": "numeric" for name in COUNTED},
    ),
    "STATS_TOTALS": _TOTALS,
    "STATS_AVERAGES": _TOTALS,
    "TOTALS": columns(name="text", value="numeric"),
    "LISTS": columns(list="text", items="int4"),
    "CONFIG": columns(key="text", value="text", default="text", changeable="text"),
    "USERS": columns(name="text", pool_mode="text"),
    "MEM": columns(name="text", size="int4", used="int4", free="int4", memtotal="int4"),
    "VERSION": columns(version="text"),
    "FDS": columns(
        fd="int4",
        task="text",
        user="text",
        database="text",
        addr="text",
        port="int4",
        cancel="int8",
        link="int4",
        client_encoding="text",
        std_strings="text",
        datestyle="text",
        timezone="text",
        password="text",
        scram_client_key="bytea",
        scram_server_key="bytea",
    ),
    "DNS_HOSTS": columns(hostname="text", ttl="int8", addrs="text"),
    "DNS_ZONES": columns(zonename="text", serial="int8", count="int4"),
    #: since 1.19
    "STATE": columns(key="text", value="text"),
}
OURS: Final[Mapping[str, tuple[Column, ...]]] = {
    "SESSIONS": columns(
        id="int8",
        user="text",
        database="text",
        application_name="text",
        tenant="text",
        address="text",
        backend="text",
        home="text",
        server_pid="int4",
        mode="text",
        state="text",
        pins="text",
        immovable="text",
        since="text",
        idle_seconds="numeric",
    ),
    "NODES": columns(
        name="text",
        host="text",
        port="int4",
        role="text",
        healthy="text",
        reason="text",
        writable="text",
        lag_seconds="numeric",
        lag_bytes="numeric",
        timeline="int8",
        server_version="text",
        circuit="text",
        connections="int4",
        sessions="int4",
        in_service="text",
    ),
    "MIGRATIONS": columns(
        id="int8",
        status="text",
        status_reason="text",
        source="text",
        target="text",
        mode="text",
        data="text",
        phase="int4",
        phases="int4",
        percent="numeric",
        migrated="int8",
        remaining="int8",
        errors="int8",
        client_errors="int8",
        ordered_by="text",
        reason="text",
    ),
}
ALL: Final[Mapping[str, tuple[Column, ...]]] = {**PGBOUNCER, **OURS}
