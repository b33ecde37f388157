"""Sessions are carried whole: what a client sees afterwards is what it would have seen without a move (rules 6 to 18).

Each scenario is run on a connection that is left alone and on one that is carried; the answers to the same questions
must be equal. And with an error in place of each step in turn, the old connection must answer as if nothing had been
tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest
from rig import Client, Refused, driver_for, pair, refuse
from scenarios import SCENARIOS, TABLES, Part, Scenario

from helios_trio.errors import BackendLost
from helios_trio.session.carrying.carry import CarryOrder, carry
from helios_trio.session.carrying.locks import NotQueued

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="session")
def dsn(create_database: Callable[[str, str], psycopg.Connection], direct_dsn: str) -> Iterator[str]:
    """A database with something to use."""
    with create_database("carrying", TABLES):
        yield direct_dsn.replace("dbname=postgres", "dbname=carrying")


def play(client: Client, parts: tuple[Part, ...]) -> list[object]:
    """Ask; returns all answers."""
    return [client.query(part) if isinstance(part, str) else client.execute(*part) for part in parts]


def begin(client: Client, scenario: Scenario) -> None:
    """What the client does before the move."""
    for part in scenario.before:
        if isinstance(part, str):
            client.query(part)
        else:
            client.prepare(*part)


def unmoved(dsn: str, scenario: Scenario) -> list[object]:
    """The answers of a connection that is left alone."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        client = Client(connection)
        begin(client, scenario)
        return play(client, scenario.after)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_moved_session_answers_as_one_that_was_left_alone(dsn: str, name: str) -> None:
    scenario = SCENARIOS[name]
    expected = unmoved(dsn, scenario)
    with pair(dsn) as (old, new):
        client = Client(old)
        begin(client, scenario)
        carried, moved = client.carried_to(new)
        old.close()
        assert play(moved, scenario.after) == expected
    assert carried.missed == scenario.missed


ORDINARY = (
    "settings",
    "prepared statements",
    "scrollable cursor",
    "forward only cursors",
    "binary cursors",
    "advisory locks",
    "channels",
    "temporary tables",
)


@pytest.mark.parametrize("name", ORDINARY)
def test_sessions_of_ordinary_roles_move_too(dsn: str, name: str) -> None:
    """Nothing that is asked or said needs a superuser."""
    test_a_moved_session_answers_as_one_that_was_left_alone(dsn.replace("user=postgres", "user=app"), name)


@pytest.mark.parametrize("name", ["forward only cursors", "binary cursors", "everything"])
def test_a_server_that_is_given_up_is_not_written_to(dsn: str, name: str) -> None:
    """Rule 23: after a promotion nothing has to be set aside, and answers are the same."""
    scenario = SCENARIOS[name]
    expected = unmoved(dsn, scenario)
    with pair(dsn) as (old, new):
        client = Client(old)
        begin(client, scenario)
        _, moved = client.carried_to(new, CarryOrder(no_return=True))
        assert play(moved, scenario.after) == expected
        if name != "binary cursors":
            found = old.execute("select pg_my_temp_schema()").fetchone()
            assert found == (0,)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_session_can_be_moved_on_and_on(dsn: str, name: str) -> None:
    """What was carried is carried again."""
    scenario = SCENARIOS[name]
    expected = unmoved(dsn, scenario)
    with pair(dsn) as (first, second), pair(dsn) as (third, _):
        client = Client(first)
        begin(client, scenario)
        _, client = client.carried_to(second)
        first.close()
        _, client = client.carried_to(third)
        second.close()
        assert play(client, scenario.after) == expected


def steps_disturbed(dsn: str, scenario: Scenario, disturb: Callable[[psycopg.Connection], None]) -> int:
    """Disturb each step in turn; the old connection must not show it. Returns how many steps there are."""
    expected, step = unmoved(dsn, scenario), 0
    while disturbed(dsn, scenario, step, disturb, expected):
        step += 1
    return step


def disturbed(
    dsn: str,
    scenario: Scenario,
    step: int,
    disturb: Callable[[psycopg.Connection], None],
    expected: list[object],
) -> bool:
    """Whether the plan has that step; if so, it is disturbed there."""
    with pair(dsn) as (old, new):
        client = Client(old)
        begin(client, scenario)
        tracked = client.tracked(new)
        driver = driver_for(tracked, old, new)
        driver.at, driver.instead = step, partial(disturb, new)
        try:
            driver.run(carry(tracked, CarryOrder()))
        except (Refused, BackendLost, NotQueued):
            new.close()
            assert play(client, scenario.after) == expected, f"after step {step}: {driver.steps[step]}"
        return driver.disturbed


#: Scenarios that are played in a short run, too: each step of each fails once.
_SHORT = ("temporary tables", "advisory locks", "another encoding")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _SHORT else pytest.mark.long) for name in SCENARIOS]
)
def test_a_move_that_fails_at_any_step_leaves_the_session_as_it_was(dsn: str, name: str) -> None:
    """Rule 18: an error thrown in place of each step in turn."""
    assert steps_disturbed(dsn, SCENARIOS[name], lambda _: refuse()) >= 1


@pytest.mark.long
@pytest.mark.parametrize("name", ["advisory locks", "channels", "forward only cursors", "everything"])
def test_a_new_server_that_dies_at_any_step_takes_nothing_along(dsn: str, name: str) -> None:
    """Rule 18: the new connection is lost before each step in turn."""
    assert steps_disturbed(dsn, SCENARIOS[name], partial(terminate, dsn)) >= 1


def terminate(dsn: str, connection: psycopg.Connection) -> None:
    """End a server process, and wait until it is gone."""
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s, 30000)", [connection.info.backend_pid])
