"""What tests of COMMIT outcomes share: transactions that note themselves, and connectors that count."""

from __future__ import annotations

from uuid import uuid4

import trio
from attrs import define, field

from helios_trio.control import ControlConnection
from helios_trio.control.setup import SetupSettings, apply
from helios_trio.embedded import EmbeddedCluster
from helios_trio.pipeline.rescue import CommitInFlight

CONTROL = "helios_control"


async def prepare(cluster: EmbeddedCluster) -> None:
    """Set up `postgres`, with a table for the user `plain`, and add a database that is not set up."""
    async with await cluster.connect() as connection:
        await apply(connection, SetupSettings())
        await connection.execute("CREATE ROLE plain LOGIN; CREATE TABLE written (token uuid)")
        await connection.execute("GRANT ALL ON written TO plain")
        await connection.execute("CREATE DATABASE without")


@define(eq=False)
class Connector:
    """Opens connections by the name of a node; other names mean the first node."""

    cluster: EmbeddedCluster
    user: str = CONTROL
    opened: list[ControlConnection] = field(factory=list)

    async def __call__(self, backend: str, database: str) -> ControlConnection:
        names = {node.name for node in self.cluster.nodes}
        node = self.cluster.node(backend if backend in names else "node1")
        connection = await ControlConnection.connect(
            host=node.host, port=node.port, user=self.user, dbname=database, autocommit=True
        )
        self.opened.append(connection)
        return connection


async def begin_writing(connection: ControlConnection, note: bool = True) -> CommitInFlight:
    """A transaction that has written a row named after its token, and is about to commit."""
    token, sent_at = str(uuid4()), trio.current_time()
    await connection.execute("BEGIN")
    await connection.execute("INSERT INTO written VALUES (%s)", (token,))
    cursor = await connection.execute("SELECT txid_current(), current_database()")
    [(xid, database)] = await cursor.fetchall()
    if note:
        await connection.execute("SELECT FROM helios.note_commit(%s)", (token,))
    return CommitInFlight(
        backend="node1",
        database=database,
        pid=connection.info.backend_pid,
        token=token,
        xid=xid,
        sent_at=sent_at,
    )
