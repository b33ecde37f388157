"""Rule 1: every exchange of the corpus gives, through the proxy, the same messages as PostgreSQL itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import psycopg
import pytest
import trio
from exchanges import EVERY_MODE, EXCHANGES, Exchange

from helios_trio.testing.player import Address, play
from helios_trio.testing.running import ProxyProcess
from helios_trio.testing.transcript import Event, Transcript, first_difference, without_explanation

DATABASE = "corpus"
MOVING = "moving-"
ROUTED = "routed-"
_BY_FUNCTION = "what a function body sets ends with the use of the server connection (docs/limits.md)"
_OF_CURSOR = "a held cursor is declared again over its rows: its columns belong to no table"
#: Exchanges that show that their session was moved, and why.
SHOWS_MOVES = {
    "column_added_after_parse": "PostgreSQL describes the parameters before it says that the columns have changed",
    "function_sets_reported": _BY_FUNCTION,
    "do_block_sets": _BY_FUNCTION,
    "function_sets": _BY_FUNCTION,
    "execute_in_plpgsql_sets": _BY_FUNCTION,
    "cursor_with_hold": _OF_CURSOR,
    "held_cursor_without_block": _OF_CURSOR,
    "temp_table_on_commit_delete": "OIDs of temporary tables are those of the server connection",
    "prepared_catalogue": "the text of PREPARE may be spelled anew",
    "sequence_state": "values drawn from sequences are carried when currval() has been asked for before (rule 14)",
}
#: Exchanges that show that their session has two connections, and why.
SHOWS_ROUTES = {
    "column_added_after_parse": "the statement is prepared anew on the other connection, with the new columns",
}
#: Whole topics: they look at the primary for what is on the standby, or are not routed.
NOT_ROUTED = {"cancellation", "replication"}
CASES = [
    pytest.param(exchange, mode, id=f"{exchange.name}-{mode}")
    for exchange in EXCHANGES
    for mode in exchange.modes
]
CASES += [
    pytest.param(exchange, MOVING + mode, id=f"{exchange.name}-{MOVING}{mode}")
    for exchange in EXCHANGES
    for mode in ("session", "transaction")
    if mode in exchange.modes and exchange.name not in SHOWS_MOVES
]


CASES += [
    pytest.param(exchange, ROUTED + mode, id=f"{exchange.name}-{ROUTED}{mode}")
    for exchange in EXCHANGES
    for mode in ("session", "transaction")
    if "transaction" in exchange.modes
    and exchange.name not in SHOWS_ROUTES
    and exchange.topic not in NOT_ROUTED
]


@attrs.define
class Theatre:
    """Where exchanges are played, and what PostgreSQL itself answered, played once per exchange."""

    direct: Address
    database: psycopg.Connection
    known: dict[str, Transcript] = attrs.field(factory=dict)

    def play(self, exchange: Exchange, address: Address) -> Transcript:
        """Play it against this address, between its set-up and its clean-up."""
        parameters = {"user": "postgres", "database": DATABASE, **exchange.script.parameters}
        script = attrs.evolve(exchange.script, parameters=parameters)
        self._run(exchange.setup)
        try:
            return trio.run(play, script, address, self.direct)
        finally:
            self._run(exchange.cleanup)

    def expected(self, exchange: Exchange) -> Transcript:
        """What PostgreSQL answers."""
        if exchange.name not in self.known:
            self.known[exchange.name] = self.play(exchange, self.direct)
        return self.known[exchange.name]

    def _run(self, sql: str) -> None:
        if sql:
            self.database.execute(sql)


@pytest.fixture(scope="session")
def theatre(direct_address: Address, create_database: Callable[[str, str], psycopg.Connection]) -> Theatre:
    """The corpus' database, with its objects."""
    objects = Path(__file__).with_name("schema.sql").read_text()
    return Theatre(direct_address, create_database(DATABASE, objects))


def comparable(transcript: Transcript, exchange: Exchange, mode: str) -> dict[str, list[Event]]:
    """The events as they may be compared in this mode."""
    pooling = "transaction" if mode.startswith(ROUTED) else mode.removeprefix(MOVING)
    loose = pooling in exchange.loose_notifications
    found = transcript.comparable(exchange.mask_columns, loose)
    if exchange.may_explain:
        return {label: without_explanation(events) for label, events in found.items()}
    return found


@pytest.mark.cluster
@pytest.mark.parametrize(("exchange", "mode"), CASES)
def test_exchange(
    exchange: Exchange, mode: str, theatre: Theatre, proxy_for: Callable[[str], ProxyProcess]
) -> None:
    """Rule 1: message by message the same as direct."""
    proxy = proxy_for(mode)
    expected = theatre.expected(exchange)
    if expected.problem is not None:
        pytest.fail(f"the exchange does not work with PostgreSQL itself: {expected.problem}", pytrace=False)
    found = theatre.play(exchange, (proxy.host, proxy.port))
    difference = first_difference(comparable(expected, exchange, mode), comparable(found, exchange, mode))
    if difference is not None or found.problem is not None:
        pytest.fail(f"{difference}\n{found.problem or ''}", pytrace=False)


def test_corpus_is_large_and_well_formed() -> None:
    """At least 150 exchanges with names of their own and known modes; one for session mode only says why."""
    names = [exchange.name for exchange in EXCHANGES]
    assert len(names) >= 150
    assert len(set(names)) == len(names)
    for exchange in EXCHANGES:
        assert set(exchange.modes) <= set(EVERY_MODE), exchange.name
        assert "transaction" in exchange.modes or exchange.why, f"{exchange.name} needs a reason"
