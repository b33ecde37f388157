"""What a session has, followed from its statements and PostgreSQL's answers to them (rules 9 to 16)."""

from __future__ import annotations

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.session import virtual
from helios_trio.session.effects import ExecuteWatcher, QueryWatcher
from helios_trio.session.pins import Bond
from helios_trio.session.prepared import PreparedStatement
from helios_trio.session.server_side import ServerSide
from helios_trio.session.settings import TransactionalState
from helios_trio.session.virtual import VirtualSession
from helios_trio.sql.cache import FactsCache
from helios_trio.sql.kinds import OnCommit
from helios_trio.wire.codes import Backend
from helios_trio.wire.replies import ReplyStream

FACTS = FactsCache()
DELETE, DROP, PRESERVE = OnCommit.DELETE, OnCommit.DROP, OnCommit.PRESERVE


class Owner:
    """The owner of a connection that is never fed."""

    def on_async(self, code: int, frame: bytes) -> bytes:
        return frame

    def on_error(self, frame: bytes, head: int) -> None:
        raise AssertionError("not fed")

    def on_notice(self, frame: bytes) -> None:
        """Of no interest here."""


@define(eq=False)
class Followed:
    """A session, and the answers that its statements got."""

    server: ServerSide = field(factory=lambda: ServerSide(ReplyStream(Owner()), {}, {}, {}, 1))
    session: VirtualSession = field(
        factory=lambda: VirtualSession(1, "alice", "db", {}, TransactionalState.at_start({}))
    )

    def did(self, text: str | bytes, *tags: str, status: str = "I", error: bool = False) -> None:
        """A simple query: the tags of the statements that succeeded, whether an error came then, and the status."""
        data = text.encode() if isinstance(text, str) else text
        facts = FACTS.facts(data)
        watcher = QueryWatcher(facts, self.session, self.server)
        self.session.outstanding += 1
        for tag in tags if tags or error else ["DONE"] * max(1, len(facts.statements)):
            watcher.on_reply(Backend.COMMAND_COMPLETE, tag.encode() + b"\0")
        if error:
            watcher.on_reply(Backend.ERROR_RESPONSE, b"\0")
        watcher.on_reply(Backend.READY_FOR_QUERY, status.encode())

    @property
    def temporary(self) -> dict[str, OnCommit | None]:
        return dict(self.session.state.now.objects.temporary)

    @property
    def cursors(self) -> set[str]:
        return set(self.session.state.now.objects.cursors)

    @property
    def reasons(self) -> str:
        return "; ".join(self.session.explain().reasons)


# -- temporary objects (rule 10) -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("create temp table t (a int)", {"t": PRESERVE}),
        ("create temp table t (a int) on commit delete rows", {"t": DELETE}),
        ("create temp table t on commit delete rows as select 1", {"t": DELETE}),
        ("select 1 as a into temp t", {"t": PRESERVE}),
        ("create table pg_temp.t () on commit preserve rows", {"t": PRESERVE}),
        ('create temp table "T t" ()', {"T t": PRESERVE}),
        ("create temp view v as select 1", {"v": None}),
        ("create temp sequence s", {"s": None}),
        ("create function pg_temp.f() returns int language sql return 1", {"f": None}),
        ("create table t () on commit delete rows", {"t": DELETE}),  # search_path begins with pg_temp
        ("create table t ()", {}),
    ],
)
def test_temporary_objects_are_known_by_name(text: str, expected: dict[str, OnCommit | None]) -> None:
    client = Followed()
    client.did(text)
    assert client.temporary == expected


def test_temporary_tables_follow_the_transaction() -> None:
    client = Followed()
    client.did("begin", status="T")
    client.did(
        "create temp table a () on commit drop; create temp table b () on commit delete rows", status="T"
    )
    client.did("savepoint s", status="T")
    client.did("drop table b; create temp table c ()", status="T")
    client.did("rollback to s", status="T")
    assert client.temporary == {"a": DROP, "b": DELETE}
    client.did("commit", "COMMIT")
    assert client.temporary == {"b": DELETE}
    client.did("begin; drop table b; create temp table d ()", status="T")
    client.did("commit", "ROLLBACK")
    assert client.temporary == {"b": DELETE}
    client.did("alter table b rename to x")
    assert client.temporary == {"x": DELETE}
    client.did("drop table x; select 1/0", "DROP TABLE", error=True)
    assert client.temporary == {"x": DELETE}
    client.did("discard temp")
    assert client.temporary == {}


def test_what_is_there_already_keeps_its_action() -> None:
    """IF NOT EXISTS succeeds and changes nothing; a function does not take a table's name away."""
    client = Followed()
    client.did("create temp table t () on commit delete rows")
    client.did("create temp table if not exists t ()")
    client.did("create function pg_temp.t() returns int language sql return 1")
    client.did("drop function pg_temp.t")
    client.did("drop table public.t")
    assert client.temporary == {"t": DELETE}


# -- held cursors (rule 11) ----------------------------------------------------------------------------------------


def test_held_cursors_outlive_the_transaction_and_close_for_good() -> None:
    client = Followed()
    client.did("begin; declare a cursor with hold for select 1; declare b cursor for select 1", status="T")
    client.did("declare c cursor with hold for select 1", status="T")
    client.did("commit", "COMMIT")
    assert client.cursors == {"a", "c"}
    client.did("begin; close a; declare d cursor with hold for select 1", status="T")
    client.did("rollback", "ROLLBACK")
    assert client.cursors == {"c"}
    client.did("begin; close c; declare c cursor with hold for select 2", status="T")
    client.did("rollback", "ROLLBACK")
    assert client.cursors == set()
    client.did("declare e cursor with hold for select 1; close all")
    assert client.cursors == set()


def test_cursors_follow_savepoints() -> None:
    client = Followed()
    client.did("begin; declare a cursor with hold for select 1; savepoint s", status="T")
    client.did("close a; declare b cursor with hold for select 1", status="T")
    client.did("rollback to s; rollback to s", "ROLLBACK", "ROLLBACK", status="T")
    client.did("commit", "COMMIT")
    assert client.cursors == set()


# -- prepared statements (rule 9) ----------------------------------------------------------------------------------


def test_statements_of_both_kinds_share_one_namespace_and_survive_rollbacks() -> None:
    client = Followed()
    client.session.statements[b"p"] = PreparedStatement(b"p", b"select 1", b"\0\0", FACTS.facts(b"select 1"))
    client.did("begin; prepare s (int) as select $1; select 1/0", "BEGIN", "PREPARE", error=True, status="E")
    client.did("rollback", "ROLLBACK")
    assert client.session.sql_prepared[b"s"].source == b"prepare s (int) as select $1"
    client.did("deallocate p; deallocate s")
    assert not client.session.statements
    assert not client.session.sql_prepared


def test_execute_does_what_was_prepared() -> None:
    """Rules 6 and 12: SET by set_config(), locks, and what is not known makes the server be asked."""
    client = Followed()
    client.did("prepare s as select set_config('app.one', 'x', false), pg_advisory_lock(1)")
    assert client.session.label == {}
    client.did("execute s")
    assert client.session.label == {"app.one": "x"}
    assert client.session.may_hold_locks
    client.session.probe_wanted = False
    client.did("execute elsewhere")
    assert client.session.probe_wanted


# -- what binds (rules 12, 14, 15) ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bond"),
    [
        ("select setseed(0.5)", Bond.SEED),
        ("set seed = 0.5", Bond.SEED),
        ("load 'auto_explain'", Bond.CODE),
        ("create extension hstore", Bond.CODE),
        ("select pg_backup_start('x')", Bond.BACKUP),
        ("select pg_create_logical_replication_slot('a', 'b', true)", Bond.SLOTS),
        ("select pg_replication_origin_session_setup('x')", Bond.ORIGIN),
        ("select public.dblink_connect('one', 'x')", Bond.DBLINK),
        ("select set_config(name, 'x', false) from names", Bond.NAMELESS_SETTINGS),
        ("select currval('s')", Bond.SEQUENCES),
        ("select lastval()", Bond.SEQUENCES),
    ],
)
def test_what_binds_a_session_is_noted(text: str, bond: Bond) -> None:
    client = Followed()
    client.did(text)
    assert bond in client.session.bound
    assert client.session.pinned
    assert bool(client.reasons) is (bond is not Bond.SEQUENCES)
    assert "seed" not in client.session.label


@pytest.mark.parametrize(
    ("makes", "ends", "bond"),
    [
        ("select setseed(0.5)", "discard all", Bond.SEED),
        ("select currval('s')", "discard sequences", Bond.SEQUENCES),
        ("select pg_backup_start('x')", "select pg_backup_stop()", Bond.BACKUP),
        (
            "select dblink_connect('a', ''), dblink_connect('b', '')",
            "select dblink_disconnect('a')",
            Bond.DBLINK,
        ),
    ],
)
def test_a_bond_ends_with_its_cause(makes: str, ends: str, bond: Bond) -> None:
    client = Followed()
    client.did(makes)
    client.did(ends)
    assert bond not in client.session.bound


def test_discard_all_does_not_end_what_it_does_not_end() -> None:
    client = Followed()
    client.did("select pg_backup_start('x')")
    client.did("select setseed(1)")
    client.did("discard all")
    assert set(client.session.bound) == {Bond.BACKUP}


def test_a_seed_is_set_even_by_what_fails() -> None:
    """random() is not transactional."""
    client = Followed()
    client.did("select setseed(0.5), 1/0", error=True)
    assert Bond.SEED in client.session.bound


def test_a_value_that_only_the_server_knows_is_no_reason_to_stay() -> None:
    """The name is known, so the server can be asked (rule 8)."""
    client = Followed()
    client.did("select set_config('app.tenant', current_user, false)")
    assert client.session.placeholders == {"app.tenant"}
    assert client.reasons == ""


def test_a_set_that_could_not_be_read_is_a_reason_to_stay() -> None:
    client = Followed()
    client.did(b"set app.name = '\xe9'", "SET")
    assert "could not be read" in client.reasons
    other = Followed()
    other.did(b"select '\xe9'", "SELECT 1")
    assert other.reasons == ""


def test_two_phase_transactions_bind_until_they_end() -> None:
    client = Followed()
    client.did("begin; prepare transaction 'one'", "BEGIN", "PREPARE TRANSACTION")
    client.did("begin; prepare transaction 'two'", "BEGIN", "ROLLBACK")
    assert client.session.two_phase == {"one"}
    assert 'transaction "one" is prepared' in client.reasons
    client.did("commit prepared 'one'", "COMMIT PREPARED")
    assert client.reasons == ""


def test_locks_of_the_session_are_suspected() -> None:
    """Rule 12: counts cannot be seen, so the server is asked; pg_advisory_unlock_all() ends them for certain."""
    client = Followed()
    for text, may_hold, in_doubt in (
        ("select pg_advisory_xact_lock(1), pg_advisory_unlock(2)", False, False),
        ("select pg_advisory_lock(1)", True, False),
        ("select pg_advisory_xact_lock(1), pg_advisory_unlock(2)", True, True),
        ("select pg_advisory_lock(1)", True, True),
        ("select pg_advisory_unlock_all()", False, False),
        ("select pg_try_advisory_lock(1)", True, True),
        ("select pg_advisory_unlock_all() from pg_class", True, True),
        ("discard all", False, False),
        ("select pg_advisory_lock($1)", True, False),
        ("select pg_advisory_unlock_shared($1)", True, True),
    ):
        client.did(text)
        assert (client.session.may_hold_locks, client.session.locks_in_doubt) == (may_hold, in_doubt), text


def test_replication_connections_stay() -> None:
    for value, stays in (("database", True), ("true", True), ("off", False), ("", False)):
        session = VirtualSession(1, "a", "b", {"replication": value}, TransactionalState.at_start({}))
        assert bool(session.explain().reasons) is stays


def test_a_new_transaction_forgets_that_the_last_one_failed() -> None:
    """Rule 6: what follows COMMIT in the same text is of the next transaction."""
    client = Followed()
    client.did("begin; savepoint s; select 1/0", "BEGIN", "SAVEPOINT", error=True, status="E")
    client.did("rollback to s; commit; set work_mem = '1MB'", "ROLLBACK", "COMMIT", "SET")
    assert client.session.label == {"work_mem": "1MB"}


# -- caps (rule 16) ------------------------------------------------------------------------------------------------


def test_more_names_than_are_followed_keep_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "MAX_NAMES", 3)
    client = Followed()
    for number in range(4):
        client.did(f"create temp table t{number} ()")
    assert len(client.temporary) == 3
    assert "more temporary objects" in client.reasons
    client.did("discard all")
    assert client.reasons == ""
    for number in range(4):
        client.did(f"prepare p{number} as select 1")
    assert len(client.session.sql_prepared) == 3
    assert "more temporary objects" in client.reasons


def test_a_large_unnamed_statement_keeps_the_session_until_the_next() -> None:
    """Nobody can be asked for its text."""
    client = Followed()
    client.session.statements[b""] = PreparedStatement(b"", b"", b"", FACTS.facts(b"select 1"), kept=False)
    assert "unnamed statement" in client.reasons


# -- explain -------------------------------------------------------------------------------------------------------


def test_explain_tells_all_kinds_with_sizes() -> None:
    client = Followed()
    client.session.statements[b"p"] = PreparedStatement(b"p", b"select 1", b"\0\0", FACTS.facts(b"select 1"))
    client.did(
        "set work_mem = '1MB'; set session characteristics as transaction isolation level serializable"
    )
    client.did("prepare s as select 2; create temp table t (); declare c cursor with hold for select 1")
    client.did("listen here; select pg_advisory_lock(1)")
    client.did("select lastval()")
    found = client.session.explain()
    assert found.counts == {
        "session_variables": 1,
        "transaction_isolation": 1,
        "prepared_statements": 2,
        "temporary_tables": 1,
        "cursors": 1,
        "advisory_locks": 1,
        "channels": 1,
        "sequence_values": 1,
    }
    assert found.state["session_variables"].size == len("work_mem1MB")
    assert found.state["prepared_statements"].size == len("pselect 1") + len("sselect 2")
    assert found.size > 0
    assert found.reasons == ()
    client.session.pins = {"temporary objects": 5, "held cursors": 2, "advisory locks": 3}
    assert client.session.explain().counts["temporary_tables"] == 5
    assert Followed().session.explain().state == {}


STATEMENTS = st.sampled_from(
    [
        "begin",
        "commit",
        "rollback",
        "savepoint s",
        "rollback to s",
        "create temp table t () on commit delete rows",
        "drop table t",
        "declare c cursor with hold for select 1",
        "close c",
        "discard temp",
        "select setseed(0.1)",
        "prepare p as select 1",
        "deallocate all",
        "listen l",
        "unlisten *",
        "no sql",
    ]
)


@given(st.lists(st.tuples(STATEMENTS, st.booleans()), max_size=12))
def test_explaining_changes_nothing(statements: list[tuple[str, bool]]) -> None:
    client, explained = Followed(), Followed()
    for text, fails in statements:
        for each in (client, explained):
            each.did(text, *([] if fails else ["DONE"]), error=fails)
        explained.session.explain()
    assert client.session.explain() == explained.session.explain()
    assert client.session.bound == explained.session.bound


def test_the_text_of_a_portal_is_followed_too() -> None:
    """The extended protocol: one statement for each Execute."""
    client = Followed()
    text = b"prepare s as select 1"
    facts = FACTS.facts(text)
    watcher = ExecuteWatcher(facts.statements, facts.parsed, client.session, client.server, text)
    watcher.on_reply(Backend.COMMAND_COMPLETE, b"PREPARE\0")
    assert client.session.sql_prepared[b"s"].source == text
