"""The stage for routing: a primary, two standbys, a proxy that sends reads there, and shoppers who read their writes.

Each shopper numbers its writes, and reads them back before the next one: all of them must be there, each once. What was
not is a stale read, and no client forgives it.

Used by: test_chaos_routing.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from attrs import define, field
from chaos_failover import Stage, Stages
from chaos_moves import LONG_PATIENCE, Client, Execute
from chaos_tools import until

ROUTING: Final = """
[routing]
read_write_split = true
{more}
"""
TABLES: Final = """
create table notes (shopper int not null, number int not null);
create index on notes (shopper, number);
create table counters (shopper int primary key, n int not null);
insert into counters select n, 0 from generate_series(0, 99) as n;
"""
#: Notes that a read looks back, so that reads do not become longer and longer.
BACK: Final = 20
NOTE: Final = "insert into notes values (%s, %s)"
COUNT: Final = "update counters set n = n + 1 where shopper = %s"
OWN: Final = """
select count(*), count(distinct notes.number), max(notes.number),
       (select n from counters where shopper = %(shopper)s)
  from notes where shopper = %(shopper)s and number > %(above)s
"""
# A question of its own: a read that is repeated on another server must have the same rows there.
PORT: Final = "select current_setting('port')::int"


@define
class Shopper:
    """One client. `step` does one write, and reads it back."""

    at: int
    written: int = 0
    #: reads by the port of the server that served them
    reads: Counter[int] = field(factory=Counter)
    stale: list[str] = field(factory=list)
    #: seconds of its longest round
    longest: float = 0.0
    error: BaseException | None = None
    random: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.random = random.Random(self.at)

    def write(self, client: Client) -> tuple[int, int]:
        """The arguments of the next note, written in a transaction or in two statements."""
        note = self.at, self.written + 1
        if self.random.random() < 0.5:
            with client.transaction():
                client.execute(NOTE, note)
                client.execute(COUNT, (self.at,))
        else:
            client.execute(f"with noted as ({NOTE}) {COUNT}", (*note, self.at))
        self.written += 1
        return note

    def read(self, client: Client, how: str, **options: Any) -> None:
        """All that it has written must be there."""
        above = max(0, self.written - BACK)
        found = client.execute(OWN, {"shopper": self.at, "above": above}, **options).fetchone()
        own = self.written - above
        expected = (own, own, self.written, self.written)
        if found != expected:
            self.stale.append(f"shopper {self.at}, {how}: {found} instead of {expected}")

    def ask_where(self, client: Client) -> None:
        """Where a read goes now."""
        ((port,),) = client.execute(PORT).fetchall()
        self.reads[port] += 1


Way = Callable[[Shopper, Client], None]


def by_itself(shopper: Shopper, client: Client) -> None:
    """A read of one statement."""
    shopper.write(client)
    shopper.read(client, "by itself")


def prepared(shopper: Shopper, client: Client) -> None:
    """The same, prepared by the client."""
    shopper.write(client)
    shopper.read(client, "prepared", prepare=True)


def in_a_reading_transaction(shopper: Shopper, client: Client) -> None:
    """Two reads on one server."""
    shopper.write(client)
    with client.transaction():
        client.execute("set transaction read only")
        shopper.read(client, "in a transaction")
        shopper.read(client, "later in it")


def after_begin_read_only(shopper: Shopper, client: Client) -> None:
    """The transaction is read-only from its first word on, so that a standby may have it."""
    shopper.write(client)
    client.read_only = True
    with client.transaction():
        shopper.read(client, "begin read only")
        shopper.read(client, "begin read only, again")
    client.read_only = None


def in_a_pipeline(shopper: Shopper, client: Client) -> None:
    """Write and read on their way before anything is answered."""
    note = shopper.at, shopper.written + 1
    with client.pipeline():
        client.execute(NOTE, note)
        client.execute(COUNT, (shopper.at,))
        found = client.execute("select max(number) from notes where shopper = %s", (shopper.at,))
        shopper.written += 1
        row = found.fetchone()
    if row != (shopper.written,):
        shopper.stale.append(f"shopper {shopper.at}, in a pipeline: {row} instead of {shopper.written}")
    shopper.read(client, "after a pipeline")


WAYS: Final[Sequence[Way]] = (
    by_itself,
    prepared,
    in_a_reading_transaction,
    after_begin_read_only,
    in_a_pipeline,
)


@define
class Shop:
    """Shoppers at work."""

    dsn: str
    shoppers: Sequence[Shopper]
    over: threading.Event = field(factory=threading.Event)

    def work(self, shopper: Shopper) -> None:
        """One of them, until it is over or an error comes."""
        way = WAYS[shopper.at % len(WAYS)]
        try:
            with psycopg.connect(self.dsn, autocommit=True) as client:
                while not self.over.is_set():
                    began = time.monotonic()
                    way(shopper, client)
                    shopper.ask_where(client)
                    shopper.longest = max(shopper.longest, time.monotonic() - began)
        except (psycopg.Error, AssertionError) as error:
            shopper.error = error

    @property
    def reads(self) -> Counter[int]:
        """Reads by the port of the server."""
        return sum((each.reads for each in self.shoppers), Counter[int]())

    def all_go_on(self, times: int = 1) -> None:
        """Wait until each has written, and read, so often again."""
        seen = [each.written for each in self.shoppers]

        def further() -> bool:
            return all(
                each.error is not None or each.written > before + times
                for each, before in zip(self.shoppers, seen, strict=True)
            )

        until(further, "every shopper gets further", LONG_PATIENCE)

    def until_read_on(self, *ports: int) -> None:
        """Wait until each of these servers has served a read that begins now."""
        self.all_go_on()
        before = self.reads

        def served() -> bool:
            now = self.reads
            return all(now[port] > before[port] for port in ports) or self.complaints != []

        until(served, f"reads on {ports}", LONG_PATIENCE)

    @property
    def longest(self) -> float:
        """Seconds that the longest round of all has taken."""
        return max(each.longest for each in self.shoppers)

    @property
    def complaints(self) -> list[str]:
        """Errors and stale reads."""
        errors = [
            f"shopper {each.at}: {getattr(each.error, 'sqlstate', None)} {each.error!r}"
            for each in self.shoppers
            if each.error is not None
        ]
        return errors + [text for each in self.shoppers for text in each.stale]

    def check(self, execute: Execute) -> None:
        """Nobody complains; all that was written is there once, and nothing else is."""
        assert self.complaints == []
        expected = [(each.at, each.written, each.written) for each in self.shoppers]
        counts = "select shopper, count(*), count(distinct number) from notes group by 1 order by 1"
        assert execute(counts) == expected
        assert execute("select shopper, n from counters where n > 0 order by 1") == [
            (each.at, each.written) for each in self.shoppers
        ]


@contextmanager
def shopping(dsn: str, number: int) -> Iterator[Shop]:
    """Shoppers at work, each having written; at the end all have stopped, and none hangs."""
    shop = Shop(dsn, [Shopper(at) for at in range(number)])
    with ThreadPoolExecutor(number) as executor:
        working = [executor.submit(shop.work, each) for each in shop.shoppers]
        try:
            shop.all_go_on()
            yield shop
            shop.all_go_on()
        finally:
            shop.over.set()
            for done in working:
                done.result(timeout=LONG_PATIENCE)


def routed(
    stages: Stages,
    mode: str,
    more: str = "",
    settings: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
) -> Stage:
    """A proxy in front of a primary and two standbys; `more` are keys of [routing], and sections."""
    cluster = stages.cluster(standbys=2, settings={"synchronous_commit": "local", **(settings or {})})
    stage = stages.elsewhere(mode, ROUTING.format(more=more), cluster=cluster, roles=roles)
    stage.nodes[0].execute(TABLES)
    return stage
