"""Records: what is known of migrations after the proxy was restarted, and what new sessions are then told."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from migration_rig import FakeSession, Rig, identity, make_rig, running, until, until_state, wall_clock

from helios_trio.config.words import Leftovers, MigrationMode, ShareOf
from helios_trio.errors import HeliosError
from helios_trio.migration.orders import DataMode, MigrationOrder, Phase
from helios_trio.migration.records import FILE, KEPT, Change, Kept, Record, RecordFile, worth_keeping
from helios_trio.migration.states import State, Turn
from helios_trio.migration.status import status_of

GRADUAL = {"mode": MigrationMode.GRADUAL, "phases": (Phase(50.0, 3600.0), Phase(100.0))}
TIMES = st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1))
RECORDS = st.builds(
    Record,
    id=st.integers(1, 10_000),
    order=st.builds(
        MigrationOrder,
        source=st.text(),
        target=st.text(),
        mode=st.sampled_from(MigrationMode),
        phases=st.lists(st.builds(Phase, st.floats(0, 100), st.floats(0, 1e6))).map(tuple),
        share_of=st.sampled_from(ShareOf),
        tenants=st.lists(st.text()).map(tuple),
        start_at=st.none() | TIMES,
        data=st.none() | st.sampled_from(DataMode),
        leftovers=st.sampled_from(Leftovers),
        who=st.text(),
        reason=st.text(),
    ),
    state=st.sampled_from(State),
    changes=st.lists(st.builds(Change, at=TIMES, state=st.sampled_from(State), who=st.text())).map(tuple),
    diverts=st.booleans(),
)


@asynccontextmanager
async def started(folder: Path, sessions: int = 20) -> AsyncIterator[Rig]:
    """A proxy's migrations with records in this folder."""
    async with running(make_rig(folder, sessions=sessions)) as rig:
        yield rig


@pytest.mark.parametrize("stop_in", [State.SCHEDULED, State.RUNNING, State.PAUSED, State.ROLLING_BACK])
async def test_what_was_under_way_is_interrupted(tmp_path: Path, stop_in: State) -> None:
    """Never unknown: what it was, how far it had come, and that it is over."""
    async with started(tmp_path) as rig:
        rig.fleet.present[1].seconds = 1e9 if stop_in is State.ROLLING_BACK else 0.0
        start_at = datetime.fromtimestamp(wall_clock() + 3600, UTC) if stop_in is State.SCHEDULED else None
        first = await rig.start(**GRADUAL, start_at=start_at, reason="upgrade")
        if stop_in is not State.SCHEDULED:
            await until(lambda: len(rig.fleet.on_backend("green")) > 3)
        if stop_in is State.PAUSED:
            await rig.migrations.command(first.id, Turn.PAUSE, "bob")
        if stop_in is State.ROLLING_BACK:
            rig.fleet.present[min(first.there.ledger.moved)].seconds = 1e9
            await rig.migrations.command(first.id, Turn.ROLL_BACK, "bob")
        moved = first.there.ledger.migrated
        await rig.migrations.save()
        assert first.state is stop_in
    async with started(tmp_path) as rig:
        (again,) = rig.migrations
        assert again.state is State.INTERRUPTED
        assert (again.id, again.order.reason, again.order.data) == (first.id, "upgrade", DataMode.SHARED)
        assert status_of(again).sessions_migrated == moved
        assert "restarted" in status_of(again).status_reason
        assert [each.state for each in again.changes[:-1]] == [each.state for each in first.changes]
        assert rig.placement.diversions == []
        assert (await rig.start()).id == first.id + 1
    async with started(tmp_path) as rig:
        assert next(iter(rig.migrations)).state is State.INTERRUPTED


async def test_a_record_is_there_before_the_first_session_moves(tmp_path: Path) -> None:
    """A crash at any later moment finds it."""
    async with started(tmp_path) as rig:
        await rig.start(**GRADUAL)
        assert [each.order.source for each in RecordFile(tmp_path).load().records] == ["blue"]
        assert rig.fleet.orders == []


async def test_changes_are_recorded_without_an_operator(tmp_path: Path) -> None:
    """Phases and ends."""
    async with started(tmp_path) as rig:
        await until_state(await rig.start(), State.COMPLETED)
        await until(lambda: RecordFile(tmp_path).load().records[0].state is State.COMPLETED, 30)


async def test_records_are_private(tmp_path: Path) -> None:
    """Names of tenants and backends are nobody else's business; nothing is left beside the file."""
    folder = tmp_path / "state"
    async with started(folder) as rig:
        await rig.start()
        await rig.migrations.save()
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == [FILE]


async def test_without_a_folder_nothing_is_kept() -> None:
    """And nothing fails."""
    async with running(make_rig(sessions=3)) as rig:
        await until_state(await rig.start(), State.COMPLETED)
    async with running(make_rig(sessions=3)) as rig:
        assert list(rig.migrations) == []


@pytest.mark.parametrize("content", ["", "{", '{"records": [{"id": 1}]}', '{"records": 5}', "\udcff"])
async def test_records_that_cannot_be_read_are_set_aside(tmp_path: Path, content: str) -> None:
    """The proxy starts; the file is kept for whoever wants to know."""
    (tmp_path / FILE).write_bytes(content.encode("utf-8", "surrogateescape"))
    async with started(tmp_path) as rig:
        assert list(rig.migrations) == []
        await rig.start()
    assert (tmp_path / "migrations.unreadable").read_bytes() == content.encode("utf-8", "surrogateescape")


async def test_what_cannot_be_recorded_is_not_begun(tmp_path: Path) -> None:
    """Nothing has been moved."""
    (tmp_path / "file").write_text("")
    async with started(tmp_path / "file" / "folder") as rig:
        with pytest.raises(HeliosError, match="cannot be recorded"):
            await rig.start()
        assert (list(rig.migrations), rig.fleet.orders) == ([], [])


@pytest.mark.long
@given(st.lists(RECORDS, max_size=4, unique_by=lambda each: each.id))
def test_records_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record]
) -> None:
    """All of them."""
    folder = tmp_path_factory.mktemp("records")

    async def there_and_back(kept: Kept) -> Kept:
        await RecordFile(folder).save(lambda: kept)
        return RecordFile(folder).load()

    kept = Kept(tuple(records), ("blue",))
    assert trio.run(there_and_back, kept) == kept


def test_old_records_are_forgotten_unless_they_divert() -> None:
    """The newest ones are kept, and those that new sessions depend on."""
    order = MigrationOrder(source="blue", target="green")
    records = [
        Record(id=id, order=order, state=State.COMPLETED, changes=(), diverts=id == 1)
        for id in range(KEPT + 50, 0, -1)
    ]
    assert [each.id for each in worth_keeping(records)] == [1, *range(51, KEPT + 51)]


# -- what completed migrations divert --------------------------------------------------------------------------


async def test_a_completed_migration_diverts_after_a_restart_too(tmp_path: Path) -> None:
    """Before anybody is let in."""
    async with started(tmp_path) as rig:
        await until_state(await rig.start(tenants=("a*",)), State.COMPLETED)
        await rig.migrations.save()
    async with started(tmp_path) as rig:
        assert rig.placement.place("blue", 5, "acme") == "green"
        assert rig.placement.place("blue", 5, "other") == "blue"
        (again,) = rig.migrations
        assert (again.state, status_of(again).rollback_available) == (State.COMPLETED, True)


async def test_it_does_not_if_the_names_lead_to_two_servers_now(tmp_path: Path) -> None:
    """Rule 23: never two writable copies."""
    async with started(tmp_path) as rig:
        await until_state(await rig.start(), State.COMPLETED)
        await rig.migrations.save()
    other = make_rig(tmp_path)
    other.identities["green"] = evolve(identity("7"), started_at=datetime(2026, 2, 2, tzinfo=UTC))
    async with running(other) as rig:
        assert rig.placement.place("blue", 5, "acme") == "blue"
        assert "not the same server" in rig.means.events.newest(1)[0].reason
        await rig.migrations.save()
    async with started(tmp_path) as rig:
        assert rig.placement.place("blue", 5, "acme") == "blue"


async def test_it_does_not_if_a_name_is_gone(tmp_path: Path) -> None:
    """From the configuration."""
    async with started(tmp_path) as rig:
        await until_state(await rig.start(), State.COMPLETED)
        await rig.migrations.save()
    other = make_rig(tmp_path)
    del other.topology.nodes["green"]
    async with running(other) as rig:
        assert rig.placement.diversions == []
        assert "no backend green any more" in rig.means.events.newest(1)[0].reason


async def test_it_does_as_soon_as_the_servers_can_be_asked(tmp_path: Path, autojump_clock: object) -> None:
    """They may be started after the proxy; meanwhile sessions go where the configuration says."""
    async with started(tmp_path) as rig:
        await until_state(await rig.start(), State.COMPLETED)
        await rig.migrations.save()
    later = make_rig(tmp_path)
    green = later.identities.pop("green")
    async with running(later) as rig:
        assert rig.placement.place("blue", 5, "acme") == "blue"
        assert next(iter(rig.migrations)).record.diverts
        rig.identities["green"] = green
        await until(lambda: rig.placement.place("blue", 5, "acme") == "green")


async def test_the_way_back_ends_what_the_way_there_diverted(tmp_path: Path) -> None:
    """Both names lead to the source again, also after a restart."""
    async with started(tmp_path) as rig:
        await until_state(await rig.start(), State.COMPLETED)
        assert rig.placement.place("green", 5, "x") == "green"
        await until_state(await rig.start(source="green", target="blue"), State.COMPLETED)
        assert [rig.placement.place(name, 5, "x") for name in ("blue", "green")] == ["blue", "blue"]
        assert [each.record.diverts for each in rig.migrations] == [False, True]
        await rig.migrations.save()
    async with started(tmp_path) as rig:
        assert [rig.placement.place(name, 5, "x") for name in ("blue", "green")] == ["blue", "blue"]


async def test_half_a_way_back_divides_the_sessions(tmp_path: Path, autojump_clock: object) -> None:
    """While it runs, new sessions that ask for the old name are placed by its share."""
    async with started(tmp_path) as rig:
        await until_state(await rig.start(), State.COMPLETED)
        back = await rig.start(source="green", target="blue", **GRADUAL)
        await until(lambda: len(rig.fleet.on_backend("blue")) > 3)
        placed = [rig.placement.place("blue", id, "x") for id in range(1000)]
        assert 400 < placed.count("blue") < 600
        assert placed == [rig.placement.place("green", id, "x") for id in range(1000)]
        await rig.migrations.command(back.id, Turn.ROLL_BACK, "bob")
        await until_state(back, State.ROLLED_BACK)
        assert {rig.placement.place("blue", id, "x") for id in range(100)} == {"green"}


async def test_sessions_of_a_new_process_are_not_taken_for_moved_ones(
    tmp_path: Path, autojump_clock: object
) -> None:
    """Their ids begin at 1 again: a rollback takes back those who were placed by it, not those with an old id."""
    async with started(tmp_path) as rig:
        await until_state(await rig.start(), State.COMPLETED)
        await rig.migrations.save()
    async with started(tmp_path, sessions=0) as rig:
        own, placed = (
            FakeSession(1, backend="green", home="green"),
            FakeSession(2, backend="green", home="blue"),
        )
        rig.fleet.add(own, placed)
        (again,) = rig.migrations
        await rig.migrations.command(again.id, Turn.ROLL_BACK, "bob")
        await until_state(again, State.ROLLED_BACK)
        assert (own.backend, placed.backend) == ("green", "blue")
