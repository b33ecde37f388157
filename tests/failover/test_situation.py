"""What a session had open when its server was lost (rules 27 to 30), from the bytes of its journal."""

from __future__ import annotations

import model_server as server
import pytest
from attrs import define, field

from helios_trio.failover.asked import Fate
from helios_trio.failover.journal import Journal, JournalLimits
from helios_trio.failover.replies import BLOCK
from helios_trio.failover.situation import Situation
from helios_trio.pipeline.rescue import Urgency
from helios_trio.session.prepared import PreparedStatement
from helios_trio.sql.cache import FactsCache
from helios_trio.wire.codes import Status

FACTS = FactsCache()
TOKEN = "00000000-0000-0000-0000-000000000001"
INSERT = "INSERT INTO t VALUES (1)"
BEGIN, COMMIT, ROLLBACK, WRITE, READ, UNSEEN = map(
    server.query, ("BEGIN", "COMMIT", "ROLLBACK", INSERT, "SELECT 1", "SELECT f()")
)


def batch(text: str, name: str = "") -> bytes:
    return server.parse(text, name) + run(name)


def run(name: str = "") -> bytes:
    return server.bind(name) + server.execute() + server.SYNC


def ok(tag: str, status: str) -> bytes:
    return server.complete(tag) + server.ready(status)


@define(eq=False)
class Lost:
    """A session until its server is lost."""

    journal: Journal = field(factory=lambda: Journal(JournalLimits()))
    statements: dict[bytes, PreparedStatement] = field(factory=dict)

    def knows(self, name: str, text: str) -> Lost:
        """What the session believes of a statement by now."""
        raw = name.encode()
        facts = FACTS.facts(text.encode())
        self.statements[raw] = PreparedStatement(raw, text.encode(), b"\0\0", facts)
        return self

    def asked(self, *requests: bytes) -> Lost:
        for each in requests:
            self.journal.note_sent(each)
        return self

    def told(self, *answers: bytes) -> Lost:
        for each in answers:
            self.journal.note_received(each)
        return self

    def situation(self, *, sent: int | None = None, token: str | None = None) -> Situation:
        """`sent`: bytes of what was not answered; None: all."""
        size = len(self.journal.pending()) if sent is None else sent
        return Situation.of(self.journal, self.statements, FACTS.facts, sent=size, token=token)

    def fate(self, *, sent: int | None = None, token: str | None = None) -> Fate:
        return self.situation(sent=sent, token=token).fate


def in_transaction() -> Lost:
    """BEGIN and a write were answered."""
    return Lost().asked(BEGIN, WRITE).told(ok("BEGIN", "T"), ok("INSERT 0 1", "T"))


# -- one request ---------------------------------------------------------------------------------------------


def test_nothing_was_open() -> None:
    """Rule 26: nothing is sent again."""
    found = Lost().situation()
    assert (found.done, found.open, found.first, found.in_transaction, found.fate) == (
        [],
        [],
        None,
        False,
        Fate.RESEND,
    )


def test_rule_27_a_transaction_was_open_and_nothing_was_asked() -> None:
    """It is done again, and that is all."""
    found = in_transaction().situation()
    assert [bytes(each.request) for each in found.done] == [BEGIN, WRITE]
    assert (found.open, found.in_transaction, found.fate) == ([], True, Fate.RESEND)
    assert [each.text for each in found.texts(found.done[1])] == [INSERT.encode()]


@pytest.mark.parametrize(
    ("lost", "sent", "urgency"),
    [
        (in_transaction(), None, Urgency.TRANSACTION),
        (in_transaction().asked(COMMIT), None, Urgency.TRANSACTION),
        (Lost().asked(BEGIN).told(ok("BEGIN", "T")).asked(READ), 0, Urgency.TRANSACTION),
        (Lost().asked(WRITE), None, Urgency.REQUEST),
        (Lost().asked(READ, READ), 1, Urgency.REQUEST),
        (Lost().asked(READ), 0, Urgency.NEW),
        (Lost().asked(READ).told(ok("SELECT 1", "I")), None, Urgency.NEW),
        (Lost(), None, Urgency.NEW),
    ],
)
def test_rule_27_how_soon_it_goes_on(lost: Lost, sent: int | None, urgency: Urgency) -> None:
    """Transactions first, then what was interrupted, then what was not even sent."""
    assert lost.situation(sent=sent).urgency is urgency


ONE = [
    (READ, "I", None, Fate.RESEND),
    (WRITE, "I", None, Fate.UNKNOWN),
    (WRITE, "I", TOKEN, Fate.RESOLVE),
    (batch(INSERT), "I", None, Fate.UNKNOWN),
    (batch(INSERT), "I", TOKEN, Fate.RESOLVE),
    (batch("SELECT 1"), "I", None, Fate.RESEND),
    (BEGIN, "I", None, Fate.RESEND),
    (batch("BEGIN"), "I", None, Fate.RESEND),
    (WRITE, "T", None, Fate.RESEND),
    (UNSEEN, "T", None, Fate.RESEND),
    (COMMIT, "T", None, Fate.UNKNOWN),
    (COMMIT, "T", TOKEN, Fate.RESOLVE),
    (batch("COMMIT"), "T", TOKEN, Fate.RESOLVE),
    (ROLLBACK, "T", None, Fate.ROLLED_BACK),
    (batch("ROLLBACK"), "T", None, Fate.ROLLED_BACK),
    (server.message("F", bytes(10)), "I", None, Fate.UNKNOWN),
    (server.message("F", bytes(10)), "T", None, Fate.UNKNOWN),
    (server.SYNC, "I", None, Fate.RESEND),
    (server.query(""), "I", None, Fate.RESEND),
]


@pytest.mark.parametrize(("request_", "status", "token", "expected"), ONE)
def test_rule_30_one_request(request_: bytes, status: str, token: str | None, expected: Fate) -> None:
    """Sent to its end, and not answered."""
    lost = Lost() if status == "I" else in_transaction()
    found = lost.asked(request_).situation(token=token)
    assert found.fate is expected
    assert found.first is not None
    assert found.begun_in == ord(status)


@pytest.mark.parametrize("request_", [WRITE, UNSEEN, batch(INSERT), COMMIT, server.message("F", bytes(10))])
def test_rule_30_what_was_not_sent_to_its_end_has_had_no_effect(request_: bytes) -> None:
    """For every number of bytes: what the server has not got it has not done."""
    for sent in range(len(request_)):
        assert Lost().asked(request_).fate(sent=sent) is Fate.RESEND, sent


def test_rule_29_an_extended_commit_without_its_sync() -> None:
    """It is done at its Execute: until that was sent it is sent again, from then on nobody can tell."""
    request = batch("COMMIT")
    executed = len(request) - len(server.SYNC)
    for sent in range(len(request)):
        expected = Fate.RESEND if sent < executed else Fate.UNKNOWN
        assert in_transaction().asked(request).fate(sent=sent, token=TOKEN) is expected, sent


@pytest.mark.parametrize("request_", [WRITE, batch(INSERT)])
def test_what_has_failed(request_: bytes) -> None:
    """The error was told, ReadyForQuery was not."""
    lost = Lost().asked(request_).told(server.error("23505", "exists"))
    assert lost.fate(token=TOKEN) is Fate.FAILED


def test_a_copy_that_was_begun_outside_of_a_transaction() -> None:
    """Rule 28: in either protocol it may have been carried out, once its data was sent to its end."""
    begin = server.parse("COPY t FROM STDIN") + server.bind() + server.execute() + server.SYNC
    for head, end in ((server.query("COPY t FROM STDIN"), b""), (begin, server.SYNC)):
        lost = Lost().asked(head).told(server.COPY_IN).asked(server.copy_data("1") + server.COPY_DONE + end)
        assert lost.fate() is Fate.UNKNOWN


def test_rule_27_a_copy_that_was_begun_in_a_transaction_is_sent_again() -> None:
    """As far as it has come; the rest follows."""
    lost = in_transaction().asked(server.query("COPY t FROM STDIN")).told(server.COPY_IN)
    found = lost.asked(server.copy_data("1")).situation()
    assert found.fate is Fate.RESEND
    assert lost.journal.pending() == server.query("COPY t FROM STDIN") + server.copy_data("1")


# -- several requests ----------------------------------------------------------------------------------------

SEVERAL = [
    ([READ, READ], "I", None, Fate.RESEND),
    ([READ, WRITE], "I", None, Fate.UNKNOWN),
    ([WRITE, READ], "I", TOKEN, Fate.RESOLVE),
    ([WRITE, WRITE], "I", TOKEN, Fate.UNKNOWN),
    ([BEGIN, WRITE], "I", None, Fate.RESEND),
    ([BEGIN, WRITE, COMMIT], "I", TOKEN, Fate.RESOLVE),
    ([BEGIN, WRITE, COMMIT], "I", None, Fate.UNKNOWN),
    ([BEGIN, WRITE, ROLLBACK], "I", None, Fate.RESEND),
    ([BEGIN, WRITE, ROLLBACK, WRITE], "I", None, Fate.UNKNOWN),
    ([WRITE, COMMIT], "T", TOKEN, Fate.RESOLVE),
    ([WRITE, COMMIT], "T", None, Fate.UNKNOWN),
    ([COMMIT, READ], "T", TOKEN, Fate.RESOLVE),
    ([COMMIT, WRITE], "T", TOKEN, Fate.UNKNOWN),
    ([COMMIT, BEGIN, WRITE, COMMIT], "T", TOKEN, Fate.UNKNOWN),
    ([ROLLBACK, READ], "T", None, Fate.RESEND),
    ([ROLLBACK, WRITE], "T", None, Fate.UNKNOWN),
    ([ROLLBACK, BEGIN, WRITE], "T", None, Fate.RESEND),
    ([UNSEEN, COMMIT], "I", TOKEN, Fate.UNKNOWN),
    ([WRITE, COMMIT], "I", TOKEN, Fate.UNKNOWN),
    ([COMMIT, COMMIT], "T", TOKEN, Fate.UNKNOWN),
    ([server.query("SELECT 1; BEGIN"), COMMIT], "I", None, Fate.RESEND),
    ([server.query(f"{INSERT}; BEGIN"), COMMIT], "I", None, Fate.UNKNOWN),
    ([server.query(f"{INSERT}; BEGIN"), COMMIT], "I", TOKEN, Fate.RESOLVE),
    ([server.query(f"ROLLBACK AND CHAIN; {INSERT}"), COMMIT], "T", None, Fate.UNKNOWN),
]


@pytest.mark.parametrize(("requests", "status", "token", "expected"), SEVERAL)
def test_rule_30_a_pipeline_is_judged_by_its_worst(
    requests: list[bytes], status: str, token: str | None, expected: Fate
) -> None:
    """Whatever of it was done, nothing is done twice, and no commit is told that was not asked for."""
    lost = Lost() if status == "I" else in_transaction()
    assert lost.asked(*requests).fate(token=token) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1", Fate.RESEND),
        ("SELECT * FROM t FOR UPDATE", Fate.RESEND),
        ("SET LOCAL work_mem = '1MB'", Fate.RESEND),
        (INSERT, Fate.RESOLVE),
        ("SELECT f()", Fate.RESOLVE),
        ("NOTIFY a", Fate.RESOLVE),
        ("EXECUTE p", Fate.RESOLVE),
        ("SELECT setval('s', 5)", Fate.RESOLVE),
        ("COPY t FROM STDIN", Fate.RESOLVE),
        ("DECLARE c CURSOR FOR SELECT f()", Fate.RESOLVE),
        ("DECLARE c CURSOR FOR SELECT lo_create(0)", Fate.RESOLVE),
        ("EXPLAIN ANALYZE EXECUTE p", Fate.RESOLVE),
    ],
)
@pytest.mark.parametrize("pipelined", [False, True])
def test_rule_29_a_commit_is_repeated_only_if_nothing_was_written(
    text: str, expected: Fate, pipelined: bool
) -> None:
    """What the transaction ran before, answered or not, decides."""
    lost = Lost().asked(BEGIN).told(ok("BEGIN", "T")).asked(server.query(text))
    if not pipelined:
        lost.told(ok("DONE", "T"))
    assert lost.asked(COMMIT).fate(token=TOKEN) is expected


def test_of_a_pipeline_only_what_was_sent_counts() -> None:
    """What was kept back is sent for the first time."""
    lost = Lost().asked(READ, WRITE)
    assert lost.fate(sent=len(READ)) is Fate.RESEND
    assert lost.fate(sent=len(READ) + len(WRITE) - 1) is Fate.RESEND
    assert lost.fate(sent=len(READ) + len(WRITE)) is Fate.UNKNOWN


def test_rule_29_an_id_belongs_to_one_request_of_a_pipeline() -> None:
    """The first was guarded and has failed; the second was not, and may have committed: it must not be sent again."""
    lost = Lost().asked(WRITE, WRITE).told(server.error("23505", "exists"))
    assert lost.fate(token=TOKEN) is Fate.UNKNOWN


@pytest.mark.parametrize(
    "first", [server.query("SELECT 1/0; BEGIN"), batch("SELECT 1/0")[:-5] + batch("BEGIN")]
)
def test_rule_30_behind_a_begin_that_may_have_failed_a_write_may_have_committed(first: bytes) -> None:
    """The statement before BEGIN fails: then the write behind it is a transaction by itself."""
    assert Lost().asked(first, WRITE).fate() is Fate.UNKNOWN


# -- names of statements -------------------------------------------------------------------------------------


def test_rule_30_statements_of_before_are_known() -> None:
    """By what the session knows of them."""
    assert Lost().knows("s", "SELECT 1").asked(run("s")).fate() is Fate.RESEND
    assert Lost().knows("s", INSERT).asked(run("s")).fate() is Fate.UNKNOWN
    assert Lost().asked(run("s")).fate() is Fate.UNKNOWN


def test_names_that_the_open_transaction_has_prepared() -> None:
    """They go with it: the session's state is restored without them."""
    lost = (
        Lost()
        .asked(BEGIN, batch("SELECT 1", "s"))
        .told(ok("BEGIN", "T"), server.message("1") + ok("SELECT 1", "T"))
    )
    assert lost.situation().prepared == {b"s"}


@pytest.mark.parametrize("name", ["", "s"])
def test_rule_30_a_name_means_what_it_meant_when_it_was_bound(name: str) -> None:
    """The write was prepared long ago; behind its run the client has prepared something else under that name."""
    close = b"" if not name else server.close(name)
    lost = Lost().knows(name, "SELECT 1").asked(run(name), close + batch("SELECT 1", name))
    assert lost.fate() is not Fate.RESEND


@pytest.mark.parametrize("broken", ["", server.bind("nowhere")])
def test_rule_30_a_parse_that_has_failed_leaves_the_statement_of_before(broken: bytes | str) -> None:
    """The name was taken (42P05), or an earlier message of the batch has failed: the next batch runs the write."""
    name = "" if broken else "s"
    first = (
        (broken or b"") + batch("SELECT 1", name) if isinstance(broken, bytes) else batch("SELECT 1", name)
    )
    assert Lost().knows(name, INSERT).asked(first, run(name)).fate() is not Fate.RESEND


# -- long answers, long requests -----------------------------------------------------------------------------


def test_bytes_of_a_row_are_no_error() -> None:
    """A row of a long answer that holds bytes like those of an ErrorResponse: the request has not failed."""
    fake = server.error("22012", "inside a row")
    row = server.message("D", b"\0\1" + (3 * BLOCK).to_bytes(4, "big") + fake * (3 * BLOCK // len(fake) + 1))
    fates = set()
    for shift in range(len(fake)):
        lost = Lost().asked(server.query("SELECT * FROM t")).told(server.message("N", b"x" * shift), row)
        fates.add(lost.fate())
    assert fates == {Fate.RESEND}


def test_rule_28_a_write_too_long_to_be_kept_is_a_write() -> None:
    """9 MiB of INSERT outside of a transaction: nobody can tell, and it is not sent again as an empty request."""
    lost = Lost()
    text = server.query(f"INSERT INTO t VALUES ('{'x' * (9 << 20)}')")
    for at in range(0, len(text), 65_536):
        lost.asked(text[at : at + 65_536])
    assert lost.fate(sent=len(text)) is Fate.UNKNOWN
    assert lost.fate() is Fate.UNKNOWN


def test_rule_28_what_is_behind_a_request_too_long_to_be_kept() -> None:
    """COPY of 9 MiB: of it only its Query is known, and the bytes that were sent are counted without it."""
    lost = Lost().asked(READ, server.query("COPY t FROM STDIN")).told(ok("SELECT 1", "I"), server.COPY_IN)
    for _ in range(9 << 4):
        lost.asked(server.copy_data("x" * 65_536))
    lost.asked(server.COPY_DONE, READ)
    found = lost.situation(sent=len(READ))
    assert (found.fate, [each.dropped for each in found.open]) == (Fate.UNKNOWN, [True, False])
    assert lost.journal.pending() == READ


# -- afterwards ----------------------------------------------------------------------------------------------


def test_rule_29_when_the_commit_has_happened_what_is_behind_it_is_open() -> None:
    """`has_committed`: the transaction is over, and nothing of it is done again."""
    found = in_transaction().asked(COMMIT, READ).situation(token=TOKEN)
    found.has_committed()
    assert [bytes(each.request) for each in found.open] == [READ]
    assert (found.done, found.begun_in, found.in_transaction, found.fate) == (
        [],
        Status.IDLE,
        False,
        Fate.RESEND,
    )
