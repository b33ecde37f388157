"""Where secrets come from: files in PgBouncer's format, queries, and both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from helios_trio.errors import BackendUnavailable, ConfigError
from helios_trio.proxy.auth_secrets import AuthQuery, SecretChain, StoredSecret
from helios_trio.proxy.userlist import AuthFile, parse_userlist
from helios_trio.wire.passwords import PasswordType, md5_stored
from helios_trio.wire.scram_keys import Verifier

MD5 = md5_stored("bob", "secret")
SCRAM = str(Verifier.from_password("secret", iterations=1))


def test_the_format_is_pgbouncers() -> None:
    """Comments, blank lines, doubled quotes, and what stands behind the two strings."""
    text = f'''
; users of the shop
"alice" "pass ""word"""
  "bob"\t"{MD5}" ignored "x"
"car""ol" "{SCRAM}"
;"dave" "commented out"
"erin" ""
'''
    assert parse_userlist(text, "file") == {
        "alice": StoredSecret('pass "word"'),
        "bob": StoredSecret(MD5),
        'car"ol': StoredSecret(SCRAM),
    }


def test_the_kinds_of_secrets() -> None:
    """Told apart by their form."""
    kinds = [StoredSecret(text).kind for text in ("secret", MD5, SCRAM)]
    assert kinds == [PasswordType.PLAIN, PasswordType.MD5, PasswordType.SCRAM]


@pytest.mark.parametrize(
    "line", ["alice secret", '"alice"', '"alice" "secret', '"alice" secret', '"a" "b"c" "d']
)
def test_a_broken_line_is_named_and_not_shown(line: str) -> None:
    """File and line number; rule 39: what stands there may be a password."""
    with pytest.raises(ConfigError, match=r"users\.txt, line 2: expected") as caught:
        parse_userlist(f'"zoe" "x"\n{line}\n', "users.txt")
    assert "secret" not in caught.value.message


def test_secrets_are_not_shown() -> None:
    """Rule 39."""
    assert repr(StoredSecret("secret")) == "StoredSecret()"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An auth_file with one user."""
    found = tmp_path / "userlist.txt"
    found.write_text('"alice" "one"\n')
    return found


async def test_a_changed_file_counts_at_once(path: Path) -> None:
    """No reload is needed."""
    source = AuthFile(path)
    assert await source.lookup("alice", "shop") == StoredSecret("one")
    rewrite(path, '"alice" "two"\n"bob" "x"\n')
    assert await source.lookup("alice", "shop") == StoredSecret("two")
    assert await source.lookup("bob", "shop") == StoredSecret("x")
    assert await source.lookup("carol", "shop") is None


async def test_a_file_that_breaks_leaves_the_last_good_one(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once, not at each login."""
    source = AuthFile(path)
    rewrite(path, "nonsense")
    for _ in range(3):
        assert await source.lookup("alice", "shop") == StoredSecret("one")
    assert capsys.readouterr().out.count("auth_file_not_reloaded") == 1
    os.unlink(path)
    assert await source.lookup("alice", "shop") == StoredSecret("one")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """At start that is an error naming it."""
    with pytest.raises(ConfigError, match=r"none\.txt cannot be read: No such file"):
        AuthFile(tmp_path / "none.txt")


def test_the_typical_kind_is_that_of_most_users(path: Path) -> None:
    """Unknown users are treated so; with nobody known as PostgreSQL's default."""
    assert AuthFile(path).typical is PasswordType.PLAIN
    rewrite(path, f'"a" "{MD5}"\n"b" "{MD5}"\n"c" "plain"\n')
    assert AuthFile(path).typical is PasswordType.MD5
    rewrite(path, "")
    assert AuthFile(path).typical is PasswordType.SCRAM


def rewrite(path: Path, text: str) -> None:
    """As an editor or a deployment does, with a time that differs."""
    path.write_text(text)
    seen = path.stat().st_mtime_ns
    os.utime(path, ns=(seen, seen + 1))


class Database:
    """Answers queries when told to, and counts them."""

    def __init__(self, **secrets: str) -> None:
        self.secrets = secrets
        self.queries: list[str] = []
        self.answers = trio.Event()
        self.fails = False

    async def __call__(self, user: str, database: str) -> str | None:
        self.queries.append(user)
        await self.answers.wait()
        if self.fails:
            raise BackendUnavailable("no server")
        return self.secrets.get(user)


@pytest.fixture
def database() -> Database:
    """One user, and answers at once."""
    found = Database(alice=SCRAM)
    found.answers.set()
    return found


async def test_answers_are_remembered_for_a_while(
    database: Database, autojump_clock: trio.testing.MockClock
) -> None:
    """Those about unknown users too: guessing names makes no load."""
    source = AuthQuery(database, ttl=10)
    for _ in range(3):
        assert await source.lookup("alice", "shop") == StoredSecret(SCRAM)
        assert await source.lookup("nobody", "shop") is None
    assert database.queries == ["alice", "nobody"]
    await trio.sleep(10)
    await source.lookup("alice", "shop")
    assert database.queries == ["alice", "nobody", "alice"]


async def test_what_is_remembered_is_bounded(database: Database) -> None:
    """The oldest goes first."""
    source = AuthQuery(database, max_cached=2)
    for user in ("a", "b", "c", "c", "b", "a"):
        await source.lookup(user, "shop")
    assert database.queries == ["a", "b", "c", "a"]


async def test_a_doubted_answer_is_asked_for_again(
    database: Database, autojump_clock: trio.testing.MockClock
) -> None:
    """A changed password works at the second try; wrong ones in a row make one query per second at most."""
    source = AuthQuery(database, ttl=1000, min_age=1)
    await source.lookup("alice", "shop")
    source.doubt("alice", "shop")
    await source.lookup("alice", "shop")
    assert len(database.queries) == 1
    await trio.sleep(1)
    source.doubt("alice", "shop")
    source.doubt("alice", "shop")
    await source.lookup("alice", "shop")
    assert len(database.queries) == 2


async def test_one_query_serves_all_who_wait() -> None:
    """A thousand logins of one user at once are one query."""
    database = Database(alice=SCRAM)
    source = AuthQuery(database)
    found: list[StoredSecret | None] = []

    async def ask() -> None:
        found.append(await source.lookup("alice", "shop"))

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        database.answers.set()
    assert database.queries == ["alice"]
    assert found == [StoredSecret(SCRAM)] * 1000


async def test_a_failure_is_everybodys_and_not_remembered() -> None:
    """Those who wait do not ask a dead server one after the other; the next one asks anew."""
    database = Database(alice=SCRAM)
    database.fails = True
    source = AuthQuery(database)
    failed: list[str] = []

    async def ask() -> None:
        try:
            await source.lookup("alice", "shop")
        except BackendUnavailable as error:
            failed.append(error.message)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        database.answers.set()
    assert failed == ["no server"] * 5
    assert database.queries == ["alice"]
    database.fails = False
    assert await source.lookup("alice", "shop") == StoredSecret(SCRAM)


async def test_a_client_that_leaves_takes_nobody_with_it() -> None:
    """If the task that asks is cancelled, one of those who wait asks in its place."""
    database = Database(alice=SCRAM)
    source = AuthQuery(database)
    found: list[StoredSecret | None] = []

    async def ask() -> None:
        found.append(await source.lookup("alice", "shop"))

    async with trio.open_nursery() as nursery:
        leaving = trio.CancelScope()

        async def leave() -> None:
            with leaving:
                await ask()

        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        leaving.cancel()
        await trio.testing.wait_all_tasks_blocked()
        database.answers.set()
    assert found == [StoredSecret(SCRAM)]
    assert database.queries == ["alice", "alice"]


async def test_a_chain_asks_the_next_source_for_unknown_users(path: Path, database: Database) -> None:
    """The file first, then the query; the query says what is typical."""
    chain = SecretChain([AuthFile(path), AuthQuery(database)])
    database.secrets["bob"] = SCRAM
    assert await chain.lookup("alice", "shop") == StoredSecret("one")
    assert await chain.lookup("bob", "shop") == StoredSecret(SCRAM)
    assert await chain.lookup("nobody", "shop") is None
    assert database.queries == ["bob", "nobody"]
    assert chain.typical is PasswordType.SCRAM


async def test_an_empty_chain_knows_nobody() -> None:
    """Without any source nobody can log in with a password."""
    chain = SecretChain([])
    assert await chain.lookup("alice", "shop") is None
    chain.doubt("alice", "shop")
