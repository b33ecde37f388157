"""What may be done about a request that was not answered (rules 28 to 30): nothing twice, no success by guess."""

from __future__ import annotations

import model_server as server
import pytest

from helios_trio.failover.asked import Fate, Names, fate_of, leaves_nothing, not_replayable, rolls_back
from helios_trio.sql.cache import FactsCache
from helios_trio.sql.facts import UNPARSED, Facts
from helios_trio.wire.codes import Status

FACTS = FactsCache()
IDLE, OPEN, FAILED = Status.IDLE, Status.IN_TRANSACTION, Status.FAILED
TOKEN = "00000000-0000-0000-0000-000000000001"
INSERT = "INSERT INTO t VALUES (1)"


def facts(text: str) -> Facts:
    return FACTS.facts(text.encode())


def fate(
    *texts: str,
    status: int = IDLE,
    whole: bool = True,
    failed: bool = False,
    token: str | None = None,
    wrote: bool = True,
) -> Fate:
    """Of one request that runs these texts."""
    return fate_of(tuple(map(facts, texts)), status, whole=whole, failed=failed, token=token, wrote=wrote)


# -- outside of a transaction --------------------------------------------------------------------------------

HARMLESS = [
    "SELECT 1",
    "SELECT * FROM t FOR UPDATE",
    "SELECT now(), random(), gen_random_uuid()",
    "SELECT nextval('s')",
    "SELECT pg_sleep(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT set_config('a.b', 'c', false)",
    "VALUES (1)",
    "TABLE t",
    "EXPLAIN INSERT INTO t VALUES (1)",
    "EXPLAIN ANALYZE SELECT 1",
    "COPY t TO STDOUT",
    "SET work_mem = '1MB'",
    "RESET ALL",
    "SHOW work_mem",
    "DISCARD ALL",
    "PREPARE p AS INSERT INTO t VALUES (1)",
    "DEALLOCATE p",
    "LISTEN a",
    "UNLISTEN *",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "FETCH 1 FROM c",
    "CLOSE c",
    "",
    "SELECT 1; SELECT 2",
    "BEGIN",
    "BEGIN; SELECT 1",
]
EFFECTS = [
    INSERT,
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
    "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x",
    "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
    "EXPLAIN (ANALYZE) CREATE TABLE x AS SELECT 1",
    "EXPLAIN ANALYZE SELECT f()",
    "COPY t FROM STDIN",
    "COPY (INSERT INTO t VALUES (1) RETURNING a) TO STDOUT",
    "COPY (SELECT lo_create(0)) TO STDOUT",
    "COPY t TO PROGRAM 'mail'",
    "SELECT f()",
    "SELECT public.random()",
    "SELECT * FROM t WHERE a = any(ARRAY(SELECT f()))",
    "VALUES (f())",
    "SELECT setval('s', 5)",
    "SELECT lo_create(0)",
    "SELECT pg_notify('a', 'b')",
    "SELECT query_to_xml('INSERT INTO t VALUES (1)', true, true, '')",
    "SELECT pg_logical_emit_message(true, 'a', 'b')",
    "NOTIFY a",
    "CALL p()",
    "DO $$ BEGIN END $$",
    "EXECUTE p",
    "TRUNCATE t",
    "CREATE TABLE x (a int)",
    "CREATE TABLE x AS SELECT 1",
    "SELECT 1 INTO x",
    "CREATE DATABASE d",
    "VACUUM t",
    "LOAD 'x'",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "DECLARE c CURSOR WITH HOLD FOR SELECT f()",
    "PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'",
    "ROLLBACK PREPARED 'x'",
    "nonsense",
    f"SELECT 1; {INSERT}",
    f"{INSERT}; SELECT 1",
    f"BEGIN; {INSERT}; COMMIT",
    f"BEGIN; {INSERT}; COMMIT; BEGIN",
    f"SELECT 1; BEGIN; {INSERT}; END",
    f"BEGIN; {INSERT}; PREPARE TRANSACTION 'x'",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_rule_30_what_leaves_nothing_behind_is_sent_again(text: str) -> None:
    """With or without an id, sent in part or to its end."""
    assert fate(text) is Fate.RESEND
    assert fate(text, token=TOKEN) is Fate.RESEND
    assert fate(text, whole=False) is Fate.RESEND


@pytest.mark.parametrize("text", EFFECTS)
def test_rule_30_what_may_have_had_effects_is_never_sent_again(text: str) -> None:
    """Without an id nobody can tell what became of it."""
    assert fate(text) is Fate.UNKNOWN
    assert fate("SELECT 1", text, "SELECT 1") is Fate.UNKNOWN


UNSOUND = {
    f"BEGIN; {INSERT}; ROLLBACK; {INSERT}": "ROLLBACK ends what BEGIN began; what follows commits at the end",
    f"BEGIN; ROLLBACK; {INSERT}": "ROLLBACK ends what BEGIN began; what follows commits at the end",
    "EXPLAIN ANALYZE EXECUTE p": "runs the prepared statement, which may write",
    "DECLARE c CURSOR WITH HOLD FOR SELECT lo_create(0)": "runs volatile functions of PostgreSQL's own at once",
    "DECLARE c CURSOR WITH HOLD FOR SELECT setval('s', 1)": "the same: what another has drawn since is drawn again",
    "DECLARE c CURSOR WITH HOLD FOR SELECT pg_notify('a', 'b')": "the same: the notification comes twice",
    "BEGIN; SELECT dblink_exec('host=x', 'DELETE FROM t')": "rule 28: its effects are outside of the transaction",
    "BEGIN; COPY t TO PROGRAM 'mail'": "rule 28: its effects are outside of the transaction",
}


@pytest.mark.parametrize("text", UNSOUND)
def test_rule_30_what_would_be_done_twice(text: str) -> None:
    """Sent again, each of these would leave its effect twice."""
    assert fate(text) is Fate.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        f"BEGIN; {INSERT}",
        f"START TRANSACTION; {INSERT}; SELECT f()",
        f"{INSERT}; BEGIN",
        f"SELECT f(); BEGIN; {INSERT}",
        "BEGIN; CALL p()",
    ],
)
def test_rule_27_what_begins_a_transaction_is_undone_with_its_server(text: str) -> None:
    """Nothing of it can have stayed without a COMMIT.

    What stands before BEGIN joins its block, and a procedure that is called in a block cannot commit.
    """
    assert fate(text) is Fate.RESEND
    assert fate(*text.split("; ")) is Fate.RESEND


@pytest.mark.parametrize("text", ["COMMIT", "ROLLBACK", "END"])
def test_what_ends_no_transaction_is_sent_again(text: str) -> None:
    """Outside of a transaction it does nothing but warn."""
    assert fate(text) is Fate.RESEND
    assert fate(text, token=TOKEN) is Fate.RESEND


@pytest.mark.parametrize("text", [INSERT, f"BEGIN; {INSERT}; COMMIT"])
def test_rule_29_with_an_id_it_is_asked(text: str) -> None:
    """As messages of one batch, of which the last is noted: what became of it can be found out."""
    assert fate(*text.split("; "), token=TOKEN) is Fate.RESOLVE


@pytest.mark.parametrize(
    "texts",
    [
        (INSERT, "COMMIT", INSERT),
        ("BEGIN", INSERT, "COMMIT", INSERT),
        ("BEGIN", INSERT, "COMMIT", "BEGIN", INSERT),
        ("COMMIT", "SELECT f()"),
    ],
)
def test_rule_29_behind_a_commit_in_a_batch_there_is_another_transaction(texts: tuple[str, ...]) -> None:
    """The id was written by the COMMIT; that it has committed says nothing of what stands behind it."""
    assert fate(*texts, token=TOKEN) is Fate.UNKNOWN


@pytest.mark.parametrize(
    "text", ["CALL p()", "DO $$ BEGIN END $$", "SELECT f()", f"{INSERT}; {INSERT}", "VACUUM"]
)
def test_rule_30_what_is_never_guarded_has_no_id(text: str) -> None:
    """The id, whosever it is, is not that of a request which the guard sends as it is."""
    assert fate(text, token=TOKEN) is Fate.UNKNOWN


@pytest.mark.parametrize("text", [INSERT, "SELECT 1", "CALL p()"])
def test_what_has_failed_lacks_only_its_end(text: str) -> None:
    """Its client has been told of the error."""
    assert fate(text, failed=True) is Fate.FAILED
    assert fate(text, failed=True, token=TOKEN) is Fate.FAILED


@pytest.mark.parametrize(
    "texts", [("BEGIN; SELECT 1/0",), ("BEGIN", "SELECT 1/0"), ("SELECT 1; BEGIN; SELECT 1/0",)]
)
def test_rule_32_what_has_failed_behind_begin_leaves_a_failed_transaction(texts: tuple[str, ...]) -> None:
    """ReadyForQuery would have said E: what comes next must be refused, not be done outside of a transaction."""
    assert fate(*texts, failed=True) is not Fate.FAILED


@pytest.mark.parametrize("texts", [(INSERT,), ("SELECT f()",), (INSERT, INSERT), ("ROLLBACK", INSERT), ()])
def test_a_batch_without_its_sync_has_committed_nothing(texts: tuple[str, ...]) -> None:
    """The server waits for the Sync; the loss of the connection undoes all of it."""
    assert fate(*texts, whole=False) is Fate.RESEND


@pytest.mark.parametrize("text", ["CALL p()", "DO $$ BEGIN COMMIT; END $$", f"{INSERT}; COMMIT", "nonsense"])
def test_a_batch_without_its_sync_that_may_have_committed(text: str) -> None:
    """COMMIT is done at its Execute, and procedures do it themselves."""
    assert fate(text, whole=False, token=TOKEN) is Fate.UNKNOWN


@pytest.mark.parametrize(
    "text", ["CREATE DATABASE d", "ROLLBACK PREPARED 'x'", "CREATE INDEX CONCURRENTLY i ON t (a)"]
)
def test_a_batch_without_its_sync_whose_commands_commit_at_once(text: str) -> None:
    """PostgreSQL: PreventInTransactionBlock sets XACT_FLAGS_NEEDIMMEDIATECOMMIT."""
    assert fate(text, whole=False) is Fate.UNKNOWN


def test_a_command_that_commits_at_once_commits_what_stands_before_it() -> None:
    """DISCARD ALL leaves nothing behind by itself; older servers commit with it what its batch has written."""
    for whole in (False, True):
        assert fate(INSERT, "DISCARD ALL", whole=whole) is Fate.UNKNOWN
        assert fate("SELECT 1", "DISCARD ALL", whole=whole) is Fate.RESEND


# -- inside a transaction ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [OPEN, FAILED])
@pytest.mark.parametrize(
    "text", [INSERT, "SELECT f()", "CALL p()", "SAVEPOINT a", "ROLLBACK TO a", "BEGIN", ""]
)
def test_rule_27_inside_a_transaction_a_request_is_sent_again(text: str, status: int) -> None:
    """Behind the transaction that was done again: nothing of it can have stayed."""
    for whole in (False, True):
        assert fate(text, status=status, whole=whole, token=TOKEN) is Fate.RESEND
        assert fate(text, status=status, whole=whole, failed=True) is Fate.RESEND


@pytest.mark.parametrize("text", ["COMMIT", "END", "COMMIT WORK"])
def test_rule_29_commit_is_asked_about(text: str) -> None:
    """By its id; without one nobody can tell."""
    assert fate(text, status=OPEN, token=TOKEN) is Fate.RESOLVE
    assert fate(text, status=OPEN) is Fate.UNKNOWN
    assert fate(text, status=OPEN, whole=False, token=TOKEN) is Fate.UNKNOWN


def test_rule_30_commit_of_what_has_only_read_is_sent_again() -> None:
    """Behind its transaction, done again: whether the first has committed makes no difference."""
    assert fate("COMMIT", status=OPEN, wrote=False) is Fate.RESEND
    assert fate("COMMIT; SELECT 1", status=OPEN, wrote=False) is Fate.UNKNOWN


@pytest.mark.parametrize(
    "texts",
    [
        ("COMMIT; SELECT 1",),
        (f"{INSERT}; COMMIT",),
        ("COMMIT", INSERT),
        ("COMMIT", INSERT, "COMMIT"),
        ("COMMIT AND CHAIN",),
        ("PREPARE TRANSACTION 'x'",),
        ("nonsense",),
        (f"ROLLBACK; BEGIN; {INSERT}; COMMIT",),
    ],
)
def test_rule_29_what_commits_and_does_more_is_unknown(texts: tuple[str, ...]) -> None:
    """Even with an id: what else it did cannot be answered any more."""
    assert fate(*texts, status=OPEN, token=TOKEN) is Fate.UNKNOWN


@pytest.mark.parametrize(
    "texts", [(INSERT, "COMMIT"), ("SELECT f()", "COMMIT"), ("ROLLBACK", INSERT, "COMMIT")]
)
def test_rule_29_a_batch_that_ends_with_its_only_commit_is_asked_about(texts: tuple[str, ...]) -> None:
    """The id is written in front of the COMMIT, with all that the batch has done."""
    assert fate(*texts, status=OPEN, token=TOKEN) is Fate.RESOLVE
    assert fate(*texts, status=OPEN) is Fate.UNKNOWN


@pytest.mark.parametrize("status", [OPEN, FAILED])
def test_rollback_gives_up_what_is_gone(status: int) -> None:
    """The client gets its ROLLBACK, and nothing is done again."""
    for text in ("ROLLBACK", "ABORT", "ROLLBACK WORK"):
        assert fate(text, status=status) is Fate.ROLLED_BACK
    for text in ("ROLLBACK AND CHAIN", "ROLLBACK TO a", "ROLLBACK; SELECT 1"):
        assert fate(text, status=status) is Fate.RESEND


@pytest.mark.parametrize("status", [IDLE, OPEN])
def test_rollback_without_its_sync_is_sent_again(status: int) -> None:
    """What is left of the batch is still to come: the request stays pending."""
    assert fate("ROLLBACK", status=status, whole=False) is Fate.RESEND


@pytest.mark.parametrize("status", [OPEN, FAILED])
@pytest.mark.parametrize("texts", [(f"ROLLBACK; {INSERT}",), ("ROLLBACK", INSERT), ("ROLLBACK; SELECT f()",)])
def test_rule_30_rollback_and_a_write_are_not_sent_again(texts: tuple[str, ...], status: int) -> None:
    """The write is a transaction by itself, which may have committed."""
    assert fate(*texts, status=status) is Fate.UNKNOWN


def test_rule_28_commit_of_a_failed_transaction_is_a_rollback() -> None:
    """It is certain that nothing was committed: 08007 is not the truth."""
    assert fate("COMMIT", status=FAILED) in (Fate.ROLLED_BACK, Fate.RESEND)


@pytest.mark.parametrize("text", ["SELECT dblink_exec('x', 'DELETE FROM t')", "COPY t TO PROGRAM 'mail'"])
def test_rule_28_effects_outside_are_not_had_twice(text: str) -> None:
    """The statement was sent, and may have run: its effects did not die with the transaction."""
    assert fate(text, status=OPEN) is not Fate.RESEND


# -- what must not be replayed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "COPY t TO PROGRAM 'mail'",
        "COPY t FROM '/tmp/x'",
        "SELECT dblink('a', 'b')",
        "SELECT public.dblink_exec('a', 'b')",
        "SELECT lo_export(1, '/tmp/x')",
        "SELECT pg_terminate_backend(1)",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "nonsense",
        "SELECT 1; SELECT dblink('a', 'b')",
    ],
)
def test_rule_28_not_replayed(text: str) -> None:
    """And the reason is told."""
    assert not_replayable([facts("SELECT 1"), facts(text)])


@pytest.mark.parametrize(
    "text", [INSERT, "COPY t FROM STDIN", "COPY t TO STDOUT", "SELECT f()", "CALL p()", "SAVEPOINT a", ""]
)
def test_rule_28_replayed(text: str) -> None:
    """What dies with its transaction."""
    assert not_replayable([facts(text)]) == ""


def test_small_questions() -> None:
    """`leaves_nothing` of what is not parsed; `rolls_back` of one ROLLBACK only."""
    assert not leaves_nothing(UNPARSED)
    assert [rolls_back(facts(text)) for text in ("ROLLBACK", "ROLLBACK; ROLLBACK", "COMMIT", "")] == [
        True,
        False,
        False,
        False,
    ]


# -- names ---------------------------------------------------------------------------------------------------


def texts_of(names: Names, *frames: bytes) -> list[bytes]:
    return [each.text for each in names.asked_by(b"".join(frames))]


def new_names(**known: str) -> Names:
    return Names(FACTS.facts, {name.encode(): facts(text) for name, text in known.items()})


def test_texts_of_a_request() -> None:
    """Those of Query, and of what is executed: once for each Execute."""
    names = new_names(known=INSERT)
    assert texts_of(names, server.query("SELECT 1; SELECT 2")) == [b"SELECT 1; SELECT 2"]
    found = texts_of(
        names,
        server.parse("SELECT f()"),
        server.bind(),
        server.describe(kind="P"),
        server.execute(),
        server.bind("known", "portal"),
        server.execute("portal"),
        server.execute("portal"),
        server.SYNC,
    )
    assert found == [b"SELECT f()", INSERT.encode(), INSERT.encode()]
    assert texts_of(names, server.parse("SELECT 1", "s"), server.describe("s"), server.SYNC) == []
    assert names.parsed == {b"", b"s"}


@pytest.mark.parametrize(
    "frames",
    [
        (server.message("F", bytes(10)),),
        (server.execute("nowhere"),),
        (server.bind("nowhere"), server.execute()),
        (server.parse("x" * 20, "s"), server.close("s"), server.bind("s"), server.execute()),
    ],
)
def test_what_cannot_be_known_is_unparsed(frames: tuple[bytes, ...]) -> None:
    """A function call, a portal of SQL, a statement of SQL."""
    assert list(new_names().asked_by(b"".join(frames))) == [UNPARSED]


def test_a_message_that_is_not_whole_was_not_run() -> None:
    """The server waits for the rest of it."""
    names = new_names()
    assert texts_of(names, server.query(INSERT)[:-1]) == []
    request = server.parse(INSERT) + server.bind() + server.execute()
    assert texts_of(names, request[:-1]) == []
    assert texts_of(names, request) == [INSERT.encode()]


def test_rule_30_names_of_what_may_have_been_skipped_are_not_known() -> None:
    """Within the request itself they are: what has failed skips what depends on it."""
    names = new_names()
    request = server.parse(INSERT, "s") + server.bind("s", "p") + server.execute("p") + server.SYNC
    assert [each.text for each in names.asked_by(request, certain=False)] == [INSERT.encode()]
    assert list(names.asked_by(server.bind("s") + server.execute())) == [UNPARSED]
    assert list(names.asked_by(server.execute("p"))) == [UNPARSED]
