"""What is not done again when its server is lost, and says why (rule 28): 40001, or 08007 where nobody can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Final

import psycopg
import pytest
from chaos_failover import MODES, Stage, Stages
from chaos_moves import LONG_PATIENCE, Client
from chaos_tools import until

pytestmark = pytest.mark.cluster

SMALL_JOURNAL: Final = '[transaction_replay.journal]\nmax_entries = 20\nmax_size = "1MB"'
INSERT: Final = "insert into ledger (client, number, amount) values (1, 1, 0)"
OBJECTS: Final = f"""
create table copied (line text);
create function dblink_exec(text) returns text language sql volatile as 'select $1';
create function write_and_wait() returns void language plpgsql as $$
begin {INSERT}; perform pg_advisory_lock(1); end $$;
create procedure commit_and_wait() language plpgsql as $$
begin {INSERT}; commit; perform pg_advisory_lock(1); end $$;
"""
#: What the victim is doing, as the server sees it; connections that are pooled may still have its name.
CLIENTS: Final = (
    "from pg_stat_activity where backend_type = 'client backend' and application_name = 'victim'"
    " and state <> 'idle'"
)


@pytest.fixture(scope="module", params=MODES)
def staged(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A server without a standby, which stays alive: what it is asked to end is lost, too."""
    with ExitStack() as stack:
        stages = Stages(stack, lambda text: None)
        stage = stages.elsewhere(request.param, SMALL_JOURNAL, cluster=stages.cluster(standbys=0))
        stage.nodes[0].execute(OBJECTS)
        yield stage


@pytest.fixture
def stage(staged: Stage, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Nothing has happened yet."""
    staged.nodes[0].execute("truncate ledger")
    mark = staged.proxy.log_size()
    yield staged
    request.node.add_report_section("teardown", "proxy", staged.proxy.log_since(mark))


def connect(stage: Stage) -> Client:
    """The victim."""
    return psycopg.connect(stage.proxy.dsn(), autocommit=True, application_name="victim")


def terminate(stage: Stage) -> None:
    """End the server process of the victim, and wait until it is gone."""
    rows = stage.nodes[0].execute(f"select pg_terminate_backend(pid, 20000) {CLIENTS}")
    assert rows == [(True,)]


def entries(stage: Stage) -> int:
    """How often it has happened."""
    return int(stage.nodes[0].execute("select count(*) from ledger")[0][0])


# -- transactions ----------------------------------------------------------------------------------------------

Do = Callable[[Client], object]


def copy_in(client: Client, lines: int) -> None:
    """COPY FROM STDIN."""
    with client.cursor() as cursor, cursor.copy("copy copied from stdin") as copy:
        for _ in range(lines):
            copy.write_row(["x" * 1000])


def run(*texts: str) -> Do:
    """Statements, one after the other."""

    def do(client: Client) -> None:
        for text in texts:
            client.execute(text.encode())

    return do


#: A journal is looked at when it has half a megabyte.
LONG: Final = f"select length('{'x' * 15_000}')"
REFUSED: Final[dict[str, tuple[Do, str]]] = {
    "too many statements": (run(*[LONG] * 80), "more than 20"),
    "too large": (run(*[LONG] * 3, LONG.replace("x", "x" * 100)), "more than"),
    "COPY that is too large": (lambda client: copy_in(client, 1500), "more than"),
    "COPY TO PROGRAM": (run("copy (select 1) to program 'cat > /dev/null'"), "COPY with a file or a program"),
    "dblink": (run("select dblink_exec('insert')"), "dblink_exec(), whose effects are outside"),
    "a signal to another session": (run("select pg_cancel_backend(0)"), "pg_cancel_backend(), whose"),
    "random numbers": (run("select random()"), "1 rows came where 1 others were"),
    "the time": (run("select clock_timestamp()"), "1 rows came where 1 others were"),
    "ids at random": (run("select gen_random_uuid()"), "1 rows came where 1 others were"),
}
REPLAYED: Final[dict[str, Do]] = {
    "COPY that is small": lambda client: copy_in(client, 3),
    "DO": run("do $$begin insert into copied values ('do'); end$$"),
    "savepoints": run("savepoint a", "insert into copied values ('a')", "rollback to a", "release a"),
    "settings": run("set local work_mem = '1MB'", "select current_setting('work_mem')"),
    "cursors": run("declare c cursor for select generate_series(1, 9)", "fetch 3 from c"),
    "rows in no order": run("select relname, relkind from pg_class"),
}


@pytest.mark.parametrize("ending", ["select 1", "commit"])
@pytest.mark.parametrize("case", REFUSED)
def test_transactions_that_are_not_done_again(stage: Stage, case: str, ending: str) -> None:
    """Nothing of it has happened, and whatever its client does next is told why."""
    do, words = REFUSED[case]
    with closing(connect(stage)) as client:
        run("begin", INSERT)(client)
        do(client)
        terminate(stage)
        with pytest.raises(psycopg.errors.SerializationFailure, match="could not repeat") as caught:
            client.execute(ending.encode())
        assert words in str(caught.value)
        check_usable(client)
    assert entries(stage) == 0


def check_usable(client: Client) -> None:
    """After ROLLBACK, which every client sends, a new transaction is as good as any."""
    client.execute("rollback")
    assert client.execute("select 1").fetchone() == (1,)
    assert client.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize("case", REPLAYED)
def test_transactions_that_are_done_again(stage: Stage, case: str) -> None:
    """The same loss, and nobody notices: what is refused is not refused for nothing."""
    with closing(connect(stage)) as client:
        run("begin", INSERT)(client)
        REPLAYED[case](client)
        terminate(stage)
        assert client.execute("commit").statusmessage == "COMMIT"
    assert entries(stage) == 1


def test_a_client_that_wants_none_of_it(stage: Stage) -> None:
    """SET helios.replay = off: its transaction is lost; switched on again, the next one is not."""
    with closing(connect(stage)) as client:
        run("set helios.replay = off", "begin", INSERT)(client)
        terminate(stage)
        with pytest.raises(psycopg.errors.SerializationFailure, match="replay is switched off"):
            client.execute("commit")
        check_usable(client)
        assert entries(stage) == 0
        run("set helios.replay = on", "begin", INSERT)(client)
        terminate(stage)
        client.execute("commit")
    assert entries(stage) == 1


# -- statements that commit by themselves ----------------------------------------------------------------------

UNKNOWN: Final = {
    "CALL that commits": ("call commit_and_wait()", 1),
    "DO that commits": (f"do $$begin {INSERT}; commit; perform pg_advisory_lock(1); end$$", 1),
    "several at once": (f"{INSERT}; select pg_advisory_lock(1)", 0),
    "a utility command": ("create table made as select 1 from pg_advisory_lock(1)", 0),
    "a function that writes": ("select write_and_wait()", 0),
    "transactions at once": (f"begin; {INSERT}; commit; select pg_advisory_lock(1)", 1),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_statements_of_which_nobody_can_tell(stage: Stage, case: str) -> None:
    """Lost while it runs: 08007, and it is not done again."""
    text, happened = UNKNOWN[case]
    with closing(connect(stage)) as client, ThreadPoolExecutor(1) as executor:
        with closing(psycopg.connect(stage.nodes[0].dsn, autocommit=True)) as holder:
            holder.execute("select pg_advisory_lock(1)")
            told = executor.submit(psycopg.ClientCursor(client).execute, text)
            waiting = f"select pid {CLIENTS} and wait_event = 'advisory'"
            until(lambda: stage.nodes[0].execute(waiting), "it waits for the lock")
            terminate(stage)
        with pytest.raises(psycopg.errors.TransactionResolutionUnknown, match="nobody can tell"):
            told.result(LONG_PATIENCE)
        check_usable(client)
    assert entries(stage) == happened
