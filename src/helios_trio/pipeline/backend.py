"""`Backend`: one PostgreSQL server that the proxy may use. Data only; its state lives in `cluster/`."""

from __future__ import annotations

from attrs import frozen


@frozen
class Backend:
    """Name and address of one server, and what an operator says of it."""

    name: str
    host: str
    port: int
    #: "primary", "standby", "replica", or "auto": ask the server
    role: str = "auto"
    priority: int = 10
    weight: float = 1.0
    region: str = ""
    tags: tuple[str, ...] = ()
    #: server connections to it, all pools together
    max_connections: int = 100
    #: database to log in to; the client's own when empty
    database: str = ""
    #: user to log in as; the client's own when empty
    user: str = ""
