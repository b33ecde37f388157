"""A connection to the server is cut at every message of what a client does, in both directions (rules 27 to 30).

The server lives, and goes on with what it has got. Whatever it had got, the client is answered as if nothing had
happened, and everything is done once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest
import trio
from attrs import define, field
from recovery_rig import RecoveryRig, recovering_proxy

from helios_trio.control.setup import SetupSettings, setup_sql
from helios_trio.session.guarding import NAME as GUARD
from helios_trio.testing.faults import FaultProxy, Line, Link, Place, open_fault_proxy
from helios_trio.wire.codes import Backend, Frontend

MODES = ["session", "transaction"]
TABLE = "CREATE TABLE account (id int PRIMARY KEY, balance int)"
RESET = "TRUNCATE account; INSERT INTO account VALUES (1, 100), (2, 100)"

Script = Callable[[psycopg.Connection], list[Any]]


def transfer_simple(connection: psycopg.Connection) -> list[Any]:
    """One transaction by simple queries, with a savepoint and an error."""
    cursor = psycopg.ClientCursor(connection)

    def ask(text: str) -> Any:
        cursor.execute(text)
        return cursor.fetchall() if cursor.description else cursor.statusmessage

    found = [ask("BEGIN"), ask("UPDATE account SET balance = balance - 10 WHERE id = 1 RETURNING balance")]
    found += [ask("SAVEPOINT here")]
    with pytest.raises(psycopg.errors.UniqueViolation):
        ask("INSERT INTO account VALUES (1, 0)")
    found += [ask("ROLLBACK TO here"), ask("UPDATE account SET balance = balance + 10 WHERE id = 2")]
    found += [ask("SELECT * FROM account ORDER BY id"), ask("COMMIT")]
    return found


def transfer_extended(connection: psycopg.Connection) -> list[Any]:
    """One transaction with parameters, prepared statements and a pipeline."""
    found: list[Any] = []
    with connection.transaction():
        for id, amount in ((1, -10), (2, 10)):
            text = "UPDATE account SET balance = balance + %s WHERE id = %s RETURNING balance"
            found += connection.execute(text, (amount, id), prepare=True).fetchall()
        with connection.pipeline():
            first = connection.execute("SELECT %s::int", (1,))
            second = connection.execute("SELECT sum(balance) FROM account WHERE id > %s", (0,))
            found += [first.fetchall(), second.fetchall()]
    return found


def single_writes(connection: psycopg.Connection) -> list[Any]:
    """Statements that are transactions by themselves, in both protocols.

    Where the network has taken the answer to one that has committed, its client can only be told that.
    """
    simple = psycopg.ClientCursor(connection)
    extended = connection.cursor()
    found: list[Any] = []
    for cursor, text, values in (
        (simple, "UPDATE account SET balance = balance - 10 WHERE id = 1", None),
        (simple, "UPDATE account SET balance = balance + 5 WHERE id = 2 RETURNING id, balance -- five", None),
        (extended, "UPDATE account SET balance = balance + %s WHERE id = 2 RETURNING *", (5,)),
    ):
        try:
            cursor.execute(text, values)
        except psycopg.OperationalError as error:
            # in the middle of a message nobody can be told anything
            assert "has committed" in str(error) or connection.broken  # noqa: PT017
            found.append(UNANSWERED)
            if connection.broken:
                return found
        else:
            found.append((cursor.statusmessage, cursor.fetchall() if cursor.description else None))
    found += connection.execute("SELECT * FROM account ORDER BY id").fetchall()
    return found


def copies(connection: psycopg.Connection) -> list[Any]:
    """COPY FROM STDIN outside of transactions: it is done, or refused, once."""
    cursor = psycopg.ClientCursor(connection)
    found: list[Any] = []
    for rows in (((7, 70), (8, 80)), ((9, "x"),), ((7, 71),)):
        try:
            with cursor.copy("COPY account FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        except psycopg.OperationalError as error:
            assert "has committed" in str(error) or connection.broken  # noqa: PT017
            found.append(UNANSWERED)
        except psycopg.DataError as error:
            found.append(error.sqlstate)
        except psycopg.IntegrityError as error:
            found.append(error.sqlstate)
        else:
            found.append(cursor.statusmessage)
    return found


#: Stands for the result of a statement that has committed and whose answer the network has taken.
UNANSWERED = "unanswered"
SCRIPTS: list[Script] = [transfer_simple, transfer_extended, single_writes, copies]


@pytest.fixture(scope="module")
def database(create_database: Callable[[str, str], psycopg.Connection]) -> psycopg.Connection:
    """A database of the module's own, with tokens and a table."""
    connection = create_database("recovery_positions", TABLE)
    connection.execute(setup_sql(SetupSettings()))
    connection.autocommit = True
    return connection


def play(script: Script, connection: psycopg.Connection) -> list[Any]:
    return script(connection)


async def run_once(
    rig: RecoveryRig, database: psycopg.Connection, script: Script, lay: Callable[[], Any]
) -> tuple[list[Any], list[Any]]:
    """What the client gets and what is in the table afterwards; `lay` is called when the client is ready."""
    database.execute(RESET)

    def connect() -> psycopg.Connection:
        connection = psycopg.connect(**rig.parameters(dbname="recovery_positions"), autocommit=True)
        connection.execute("SELECT 1")
        return connection

    connection = await trio.to_thread.run_sync(connect)
    try:
        lay()
        found = await trio.to_thread.run_sync(play, script, connection)
        return found, database.execute("SELECT * FROM account ORDER BY id").fetchall()
    finally:
        connection.close()


@define
class Cut:
    """One fault: where it strikes, and what it is."""

    line: Line
    place: Place
    nth: int
    way: str
    struck: bool = False
    over: trio.Event = field(factory=trio.Event)

    def lay(self, network: FaultProxy, nursery: trio.Nursery, database: psycopg.Connection) -> None:
        """Have it strike when its message comes."""
        self.line.trip(self.place, None, partial(self.strike, nursery, database), nth=self.nth)

    def strike(self, nursery: trio.Nursery, database: psycopg.Connection, link: Link) -> None:
        self.struck = True
        if self.way == "network":
            link.sever_client()
            self.over.set()
        else:
            self.line.silence()
            nursery.start_soon(self.terminate, database)

    async def terminate(self, database: psycopg.Connection) -> None:
        """End the server process at a moment when it has nothing to do."""
        await trio.to_thread.run_sync(
            database.execute,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
        self.line.resume()
        self.over.set()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["network", "process"])
async def test_every_message(
    way: str,
    mode: str,
    script: Script,
    database: psycopg.Connection,
    direct_address: tuple[str, int],
    pytestconfig: pytest.Config,
) -> None:
    step = 1 if pytestconfig.getoption("--every-mode") else 29
    async with (
        open_fault_proxy(direct_address) as network,
        recovering_proxy(direct_address, mode, through=network.address, time_limit=500.0) as rig,
        trio.open_nursery() as nursery,
    ):
        lines = (network.to_server, network.to_client)
        counting = [line.trip(Place.AFTER, None, Link.ignore, nth=10**9) for line in lines]
        expected = await run_once(
            rig, database, script, lambda: [setattr(each, "seen", 0) for each in counting]
        )
        cuts = [
            Cut(line, place, nth, way)
            for line, wire in zip(lines, counting, strict=True)
            for nth in range(1, wire.seen + 1)
            for place in Place
        ]
        for cut in cuts[::step]:
            network.to_server.wires.clear()
            network.to_client.wires.clear()
            direction = "to server" if cut.line is network.to_server else "to client"
            try:
                with trio.fail_after(30):
                    found = await run_once(
                        rig, database, script, partial(cut.lay, network, nursery, database)
                    )
                    if cut.struck:
                        await cut.over.wait()
                compare(found, expected, way)
            except BaseException as error:
                error.add_note(f"{way}: cut {cut.place} message {cut.nth} {direction}")
                raise
    assert cuts


def compare(found: Any, expected: Any, way: str) -> None:
    """All is answered, and done once; the table tells of what the network has taken the answer."""
    (answers, table), (answers_expected, table_expected) = found, expected
    broken = way == "network" and answers[-1] == UNANSWERED
    assert broken or (len(answers) == len(answers_expected) and table == table_expected)
    for one, other in zip(answers, answers_expected, strict=False):
        assert one == other or (one == UNANSWERED and way == "network")


@pytest.mark.parametrize("mode", MODES)
async def test_outcome_by_transaction_id(
    mode: str, database: psycopg.Connection, direct_address: tuple[str, int]
) -> None:
    """Rule 29, `xid`: a COMMIT whose answer is lost is looked up by its transaction's own id."""
    async with (
        open_fault_proxy(direct_address) as network,
        recovering_proxy(direct_address, mode, through=network.address, by_xid=True) as rig,
    ):
        lay = partial(
            network.to_client.trip,
            Place.BEFORE,
            Backend.COMMAND_COMPLETE,
            Link.sever_client,
            where=b"COMMIT\0".__eq__,
        )
        found, table = await run_once(rig, database, transfer_simple, lay)
        assert (found[-1], table) == ("COMMIT", [(1, 90), (2, 110)])
    assert (rig.counters.outcomes_committed, rig.counters.outcomes_unknown) == (1, 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("simple", [True, False])
async def test_a_row_that_was_shown_and_not_committed_is_the_row_that_is(
    simple: bool, mode: str, database: psycopg.Connection, direct_address: tuple[str, int]
) -> None:
    """Rule 31 for a single write: its id was sent, its commit never came to be; then it is written with that id."""
    database.execute("DROP TABLE IF EXISTS item; CREATE TABLE item (id serial PRIMARY KEY, text text)")

    def script(connection: psycopg.Connection) -> list[Any]:
        cursor = psycopg.ClientCursor(connection) if simple else connection.cursor()
        cursor.execute("INSERT INTO item (text) VALUES (%s) RETURNING id, text", ("a",))
        return [cursor.fetchall(), cursor.statusmessage, connection.execute("SELECT * FROM item").fetchall()]

    async with (
        open_fault_proxy(direct_address) as network,
        recovering_proxy(direct_address, mode, through=network.address) as rig,
    ):
        # the note of the commit does not come to the server; the row has left it, as a Flush stood before that
        note = partial(network.to_server.trip, Place.BEFORE, Frontend.BIND, where=lambda body: GUARD in body)
        wires: list[Any] = []

        def cut(link: Link) -> None:
            network.to_server.silence()

            def reset(client: Link) -> None:
                client.reset()
                network.to_server.resume()

            wires.append(network.to_client.trip(Place.AFTER, Backend.DATA_ROW, reset))

        found, _ = await run_once(rig, database, script, lambda: note(act=cut))
        assert wires
        assert wires[0].fired.is_set()
    ((row,), tag, rows) = found
    assert (tag, rows) == ("INSERT 0 1", [row])
    assert (rig.counters.outcomes_replayed, rig.counters.replay_mismatches) == (1, {})
