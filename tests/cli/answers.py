"""Answers of the API as the views of the commands get them, with what a test changes in them."""

from __future__ import annotations

from typing import Any

STARTED = "2030-01-01T00:00:00.000Z"
#: An hour and a bit later, in seconds since 1970.
NOW = 1_893_456_000.0 + 3725


def node(name: str = "node1", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "role": "primary",
        "healthy": True,
        "reason": "",
        "writable": True,
        "lag_seconds": None,
        "lag_bytes": None,
        "circuit": None,
        "connections": 12,
        "sessions": 30,
        "in_service": True,
        "deposed": "",
        "server_version": "18.1",
        **more,
    }


STANDBY: dict[str, Any] = {"role": "standby", "writable": False, "lag_seconds": 1.5, "lag_bytes": 600}


def topology(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "primary": "node1",
        "primary_status": "confirmed",
        "pending_primary": None,
        "provider": "postgres",
        "provider_problem": "",
        "nodes": list(nodes or (node(), node("node2", **STANDBY))),
        **more,
    }


def pool(**more: Any) -> dict[str, Any]:
    found = {"backend": "node1", "database": "shop", "user": "app", "mode": "transaction"}
    figures = {
        "active": 2,
        "idle": 3,
        "connecting": 0,
        "waiting": 0,
        "max": 10,
        "wait_timeouts": 0,
        "errors": 1,
    }
    return {**found, **figures, **more}


def session(id: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "user": "alice",
        "database": "shop",
        "application_name": "web",
        "backend": "node1",
        "state": "idle",
        "pins": {},
        "since": STARTED,
        "idle_seconds": 5.0,
        **more,
    }


def traffic(**more: Any) -> dict[str, Any]:
    return {
        "at": STARTED,
        "queries_per_second": 1234.0,
        "errors_per_second": 0.0,
        "p50_ms": 0.8,
        "p95_ms": 3.25,
        "p99_ms": None,
        "clients": 30,
        "active": 4,
        "waiting": 0,
        "server_connections": 12,
        "backends": {"node1": {"queries_per_second": 1234.0, "errors_per_second": 0.0, "p99_ms": 9.0}},
        **more,
    }


def failover(**more: Any) -> dict[str, Any]:
    return {
        "failover_active": False,
        "kind": None,
        "source_backend": None,
        "target_backend": None,
        "step": None,
        "outcome": None,
        "failure": None,
        "write_pause_seconds": None,
        "client_errors": 0,
        "migration_id": None,
        **more,
    }


def migration(id: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "migration_id": id,
        "status": "running",
        "status_reason": "",
        "source": "blue",
        "target": "green",
        "sessions_migrated": 4,
        "sessions_remaining": 6,
        **more,
    }


def answers(**more: Any) -> dict[str, Any]:
    """All that `helios status` asks."""
    return {
        "health": {"status": "ok", "ready": True, "draining": False, "primary": "node1", "reason": ""},
        "version": {"version": "9.9", "process": 7, "started_at": STARTED},
        "topology": topology(),
        "pools": [pool()],
        "sessions": 30,
        "events": [],
        "traffic": [traffic()],
        "migrations": [],
        "failover": failover(),
        "circuits": None,
        **more,
    }
