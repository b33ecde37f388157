"""COPY FROM STDIN by itself, when its server is lost (rule 30): what is kept of it, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import model_server as server
import psycopg
import pytest
import trio
from recovery_rig import RecoveryRig, recovering_proxy

from helios_trio.control.setup import SetupSettings, setup_sql
from helios_trio.failover.asked import Fate
from helios_trio.failover.journal import COPY_KEPT, Cutter, Journal, JournalLimits
from helios_trio.failover.situation import Situation
from helios_trio.sql.cache import FactsCache
from helios_trio.wire.codes import Status

MODES = ["session", "transaction"]
TOKEN = "00000000-0000-0000-0000-000000000001"
COPY, ROW = server.query("COPY t FROM STDIN"), server.copy_data("1")
EXTENDED = server.parse("COPY t FROM STDIN") + server.bind() + server.execute() + server.SYNC
BIG = server.copy_data("x" * 65_536)


def journal_of(*sent: bytes) -> Journal:
    """Of a session whose client has been asked for data."""
    journal = Journal(JournalLimits())
    journal.note_sent(sent[0])
    journal.note_received(server.COPY_IN)
    for each in sent[1:]:
        journal.note_sent(each)
    return journal


def fate(journal: Journal, token: str | None = None) -> Fate:
    sent = len(journal.pending())
    return Situation.of(journal, {}, FactsCache().facts, sent=sent, token=token).fate


# -- the journal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 6, 7, 11, 1000])
def test_runs_of_data_are_kept_like_single_messages(size: int) -> None:
    """However they are cut; what ends them belongs to the same request, what follows does not."""
    copy = COPY + server.copy_data("") + ROW * 40 + server.copy_data("x" * 300) + ROW + server.COPY_DONE
    stream = copy + server.query("select a")
    cutter = Cutter()
    for at in range(0, len(stream), size):
        cutter.add_sent(stream[at : at + size])
    assert [bytes(each.request) for each in cutter.exchanges] == [copy, server.query("select a")]
    assert [each.copy_done for each in cutter.exchanges] == [True, False]


def test_a_request_too_long_to_be_kept_is_known_by_its_query() -> None:
    """Its data is not."""
    journal = journal_of(COPY, *[BIG] * (COPY_KEPT // len(BIG) + 9))
    (exchange,) = journal.exchanges()
    assert exchange.is_known_copy
    assert bytes(exchange.request) == COPY
    assert (exchange.copy_done, journal.pending()) == (False, b"")
    journal.note_sent(server.COPY_DONE)
    assert journal.exchanges()[0].copy_done


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("answered", [False, True])
def test_the_rest_of_a_message_whose_beginning_is_gone(long: bool, answered: bool) -> None:
    """Its request is answered before it was sent to its end, or too long: then it must not be taken for a message."""
    journal = journal_of(COPY, *[BIG] * (COPY_KEPT // len(BIG) + 9 if long else 1), BIG[:100])
    if answered:
        journal.note_received(server.error("40001", "lost") + server.ready())
    assert journal.gap == (len(BIG) - 100 if long or answered else 0)
    if answered:
        assert journal.exchanges() == []
        journal.note_sent(BIG[100:] + server.query("select a"))
        assert (journal.gap, journal.pending()) == (0, server.query("select a"))


# -- what becomes of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [COPY, EXTENDED], ids=["simple", "extended"])
@pytest.mark.parametrize("long", [False, True])
def test_rule_30_before_its_end_it_cannot_have_been_committed(long: bool, begin: bytes) -> None:
    """It is sent again as far as it has come; one whose data is gone is told to be lost, by its own name."""
    journal = journal_of(begin, *[BIG] * (COPY_KEPT // len(BIG) + 9 if long else 1), BIG[:100])
    assert fate(journal) is (Fate.UNKNOWN if long and begin is EXTENDED else Fate.RESEND)


@pytest.mark.parametrize("long", [False, True])
def test_rule_30_behind_its_end_its_note_tells(long: bool) -> None:
    """Without one, nobody can."""
    journal = journal_of(COPY, *[BIG] * (COPY_KEPT // len(BIG) + 9 if long else 1), server.COPY_DONE)
    assert fate(journal) is Fate.UNKNOWN
    assert fate(journal, TOKEN) is Fate.RESOLVE


def test_one_that_has_failed_is_not_sent_again() -> None:
    """Its client was told why; only the end of the answer is missing."""
    journal = journal_of(COPY, ROW)
    journal.note_received(server.error("22P02", "bad row"))
    assert fate(journal) is Fate.FAILED


def test_several_statements_are_no_copy() -> None:
    """What stands before the COPY is not undone by its failing to end."""
    journal = journal_of(server.query("INSERT INTO t VALUES (1); COPY t FROM STDIN"), ROW)
    assert fate(journal) is Fate.UNKNOWN
    assert journal.begun_in == Status.IDLE


# -- with a server ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database(create_database: Callable[[str, str], psycopg.Connection]) -> psycopg.Connection:
    """A database of the module's own, with tokens and a table."""
    connection = create_database("recovery_copies", "CREATE TABLE t (a int, b text)")
    connection.execute(setup_sql(SetupSettings()))
    return connection


@contextmanager
def client_of(rig: RecoveryRig) -> Iterator[psycopg.Connection]:
    with psycopg.connect(**rig.parameters(dbname="recovery_copies"), autocommit=True) as connection:
        yield connection


def kill_clients(database: psycopg.Connection) -> None:
    database.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def copied(connection: psycopg.Connection, rows: int, width: int, pause: Callable[[], Any]) -> str | None:
    """Copy rows, with a pause in the middle; returns the tag."""
    cursor = psycopg.ClientCursor(connection)
    with cursor.copy("COPY t FROM STDIN") as copy:
        for number in range(rows):
            if number == rows // 2:
                pause()
            copy.write(f"{number}\t{'x' * width}\n")
    return cursor.statusmessage


@pytest.mark.parametrize("mode", MODES)
async def test_rule_30_what_is_still_known_is_copied_again(
    mode: str, database: psycopg.Connection, direct_address: tuple[str, int]
) -> None:
    """Its client goes on sending as if nothing had happened, and every row is there once."""
    database.execute("TRUNCATE t")
    async with recovering_proxy(direct_address, mode) as rig:

        def client() -> str | None:
            with client_of(rig) as connection:
                return copied(connection, 20, 50_000, lambda: kill_clients(database))

        assert await trio.to_thread.run_sync(client) == "COPY 20"
    assert database.execute("SELECT count(*), count(DISTINCT a) FROM t").fetchone() == (20, 20)


@pytest.mark.parametrize("mode", MODES)
async def test_rule_30_what_is_not_known_any_more_has_not_happened(
    mode: str, database: psycopg.Connection, direct_address: tuple[str, int]
) -> None:
    """40001, at once and in the middle of what its client sends; the session lives."""
    database.execute("TRUNCATE t")
    async with recovering_proxy(direct_address, mode) as rig:

        def client() -> None:
            with client_of(rig) as connection:
                with pytest.raises(psycopg.errors.SerializationFailure, match="8388608 bytes"):
                    copied(connection, 80, 700_000, lambda: kill_clients(database))
                assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
                assert copied(connection, 2, 10, lambda: None) == "COPY 2"

        await trio.to_thread.run_sync(client)
        assert rig.counters.replay_mismatches == {"journal": 1}
    assert database.execute("SELECT count(*) FROM t").fetchone() == (2,)
