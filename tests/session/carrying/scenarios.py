"""What clients do before they are moved, and what they ask afterwards. Shared by the tests of carrying."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

TABLES = """
do $$ begin
    create role app login; create role plain; create role member; grant plain to member;
    create role "Odd ""Name"; create role chief superuser; grant chief to member;
exception when duplicate_object then null; end $$;
create schema here; grant create, usage on schema here to public;
create table here.numbers (n int, word varchar(10), price numeric(10,2), code char(5), at timestamptz(3),
    words varchar(4)[], area box, float double precision, paid money, doc jsonb, data bytea, flag bit(3));
insert into here.numbers select n, 'w' || n, n * 1.25, 'c', '2020-02-03 04:05:06.789+01',
    array['a', 'NULL', null, 'b,"'], '((1,2),(3,4))', 1::float8 / n, n, '{"a": "x\\\\y"}',
    decode(lpad(to_hex(n % 256), 2, '0') || '00ff27', 'hex'), '101'
    from generate_series(1, 300) as n;
insert into here.numbers values (null);
grant select on here.numbers to public;
create sequence here.one; create sequence here.two increment 5; create sequence here.unused;
create sequence here."Odd 'Name";
create function here.hidden() returns void language plpgsql as $$ begin
    perform set_config('work_mem', '5MB', false); perform set_config('app.known', 'inside', false);
    execute 'prepare hidden_statement as select 1'; perform pg_advisory_lock(77); end $$;
"""


#: a simple query; or a prepared statement of the protocol: name and text, or name and values
Part = str | tuple[str, ...]


@frozen
class Scenario:
    """What a client does before the move, and what it asks afterwards."""

    before: tuple[Part, ...]
    after: tuple[Part, ...]
    #: what its statements do not show
    missed: Mapping[str, int] = field(factory=dict)


SHOW = ("show work_mem", "show timezone", "show search_path", "show app.one", "show app.two")
LOCKS = tuple(
    f"select {function}({key}) from generate_series(1, 4)"
    for key in ("1", "2", "-3", "5, -6")
    for function in ("pg_advisory_unlock", "pg_advisory_unlock_shared")
)
LOCKS_SEEN = """select classid, objid, objsubid, mode from pg_locks
    where locktype = 'advisory' and pid = pg_backend_pid() order by 1, 2, 3, 4"""
CURSOR_STEPS = (
    "fetch relative 0 from",
    "fetch next from",
    "fetch prior from",
    "move backward all in",
    "fetch all from",
)
ALL_COLUMNS = 'select *, n as "?column?", n as n from here.numbers order by n nulls last'

SCENARIOS = {
    "nothing": Scenario((), SHOW),
    "settings": Scenario(
        (
            "set work_mem = '4096kB'; set timezone to 'America/New_York'",
            'set search_path = here, "Odd, one", pg_temp',
            "set app.one = 'it''s \\ é'",
            "set session characteristics as transaction isolation level serializable, deferrable",
            "set datestyle = 'german'",
        ),
        (*SHOW, "show datestyle", "show transaction_isolation", "reset all", *SHOW),
    ),
    "settings taken back": Scenario(
        (
            "set work_mem = '1MB'; begin; set work_mem = '2MB'; savepoint s; set work_mem = '3MB'",
            "set app.one = 'x'; rollback to s; set app.two = 'y'",
            "commit",
            "begin; set timezone = 'CET'",
            "select 1/0",
            "commit",
            "set statement_timeout = '1h'; set work_mem = '9MB'; select 1/0",
        ),
        (*SHOW, "show statement_timeout"),
    ),
    "emptied placeholders": Scenario(
        ("set app.one = '1'; set app.two = '2'", "reset app.one", "discard all", "set app.two = ''"), SHOW
    ),
    "roles": Scenario(
        ("set session authorization member", "set role plain", "set work_mem = '3MB'"),
        (
            "select session_user, current_user",
            "reset role",
            "select current_user",
            "reset session authorization",
            *SHOW,
        ),
    ),
    "odd role": Scenario(
        ('set role "Odd ""Name"',), ("select current_user", "show role", "discard all", "select current_user")
    ),
    "a setting that only the role may set": Scenario(
        ("set session authorization member", "set role chief", "set log_min_duration_statement = '1h'"),
        ("show log_min_duration_statement", "show role", "reset log_min_duration_statement"),
    ),
    "a setting that the role may not see": Scenario(
        ("set dynamic_library_path = '$libdir'", "set role plain"),
        ("show role", "reset role", "show dynamic_library_path"),
    ),
    "prepared statements": Scenario(
        (
            ("one", "select $1::int + 1"),
            ("two", "select n from here.numbers where n = $1"),
            ("Odd \"one'", "select 'x'"),
            ("long" * 20, "select 2"),
            "set search_path = here",
            "prepare three (int) as select $1 + 3; prepare four as select n from numbers limit 1",
            'prepare "Odd \'four" as select $$;prepare five as select 5$$',
            "begin; prepare kept as select 6; rollback",
            "prepare gone as select 7; deallocate gone",
        ),
        (
            ("one", "1"),
            ("two", "2"),
            ("Odd \"one'",),
            ("long" * 20,),
            "execute three(1)",
            "execute four",
            'execute "Odd \'four"',
            "execute kept",
            "execute gone",
            "select name, parameter_types, result_types, from_sql from pg_prepared_statements order by 1",
            "discard all",
            ("one", "1"),
        ),
    ),
    "the unnamed statement": Scenario((("", "select $1::int + 8"),), (("", "1"),)),
    "a statement that parses no more": Scenario(
        (
            "create table here.passing (n int)",
            ("gone", "select n from here.passing"),
            "drop table here.passing",
            ("there", "select 1"),
        ),
        (("there",), "select 1"),
    ),
    "scrollable cursor": Scenario(
        (f'declare "Odd \'c" scroll cursor with hold for {ALL_COLUMNS}', 'move 150 in "Odd \'c"'),
        (
            'move 0 in "Odd \'c"',
            'fetch 2 from "Odd \'c"',
            'fetch backward 3 from "Odd \'c"',
            'fetch absolute 301 from "Odd \'c"',
            'fetch relative -300 from "Odd \'c"',
            "select name, is_holdable, is_binary, is_scrollable from pg_cursors",
            'close "Odd \'c"',
        ),
    ),
    "cursors at their ends": Scenario(
        (
            "declare first scroll cursor with hold for select n from generate_series(1, 3) n",
            "declare on_first scroll cursor with hold for select n from generate_series(1, 3) n; fetch on_first",
            "declare on_last scroll cursor with hold for select n from generate_series(1, 3) n; move last in on_last",
            "declare after scroll cursor with hold for select n from generate_series(1, 3) n; move all in after",
            "declare empty scroll cursor with hold for select 1 where false; fetch empty",
            "declare columnless scroll cursor with hold for select from generate_series(1, 3); fetch columnless",
            "declare closed scroll cursor with hold for select 1; begin; close closed; rollback",
            "begin; declare undone scroll cursor with hold for select 1; rollback",
        ),
        tuple(
            f"{what} {name}"
            for name in ("first", "on_first", "on_last", "after", "empty", "columnless", "closed", "undone")
            for what in CURSOR_STEPS
        ),
    ),
    "forward only cursors": Scenario(
        (
            f"declare whole no scroll cursor with hold for {ALL_COLUMNS}",
            f"declare part no scroll cursor with hold for {ALL_COLUMNS}; move 297 in part",
            "declare joined cursor with hold for select count(*) from here.numbers; fetch joined",
            "declare broken no scroll cursor with hold for select 1 from generate_series(1, 3)",
            "fetch broken",
            "fetch prior from broken",
        ),
        (
            "fetch 1 from whole",
            "move 200 in whole",
            "fetch 2 from whole",
            "fetch 3 from part",
            "fetch 3 from part",
            "fetch joined",
            "fetch broken",
            "select name, is_holdable, is_binary, is_scrollable from pg_cursors order by 1",
            "close broken",
            "fetch prior from whole",
            "fetch whole",
        ),
    ),
    "binary cursors": Scenario(
        (
            f"declare there binary scroll cursor with hold for {ALL_COLUMNS}; move 5 in there",
            f"declare forth binary no scroll cursor with hold for {ALL_COLUMNS}; move 5 in forth",
        ),
        ("fetch 2 from there", "fetch prior from there", "fetch 2 from forth", "move all in forth"),
    ),
    "advisory locks": Scenario(
        (
            "select pg_advisory_lock(1), pg_advisory_lock(1), pg_advisory_lock(1)",
            "select pg_advisory_lock_shared(2), pg_advisory_lock_shared(2)",
            "begin; select pg_advisory_lock(-3), pg_advisory_lock_shared(-3); rollback",
            "select pg_advisory_lock(5, -6)",
            "select pg_advisory_lock(9), pg_advisory_unlock(9)",
        ),
        (LOCKS_SEEN, *LOCKS),
    ),
    "channels": Scenario(
        ('listen one; listen "Odd one"', "begin; listen two; rollback", "listen three; unlisten three"),
        ("select pg_listening_channels() order by 1", "unlisten *", "select pg_listening_channels()"),
    ),
    "sequence values": Scenario(
        (
            "select setval('here.one', 41), setval('here.two', 1), setval('here.\"Odd ''Name\"', 1)",
            "select nextval('here.two'), nextval('here.one'), nextval('here.\"Odd ''Name\"')",
            "select currval('here.one')",
        ),
        (
            "select currval('here.one'), currval('here.two'), lastval(), currval('here.\"Odd ''Name\"')",
            "select currval('here.unused')",
            "select nextval('here.one'), lastval()",
        ),
    ),
    "temporary tables": Scenario(
        (
            "create temp table t (id serial primary key, word text not null) on commit delete rows",
            "create temp table kept (id int generated always as identity, word text)",
            "insert into kept (word) select 'w' || n from generate_series(1, 1000) n",
            "create temp view v as select word from kept where id < 3",
            "prepare of_temp as select count(*) from kept",
            "declare over_temp scroll cursor with hold for select word from kept order by id; fetch 2 from over_temp",
            "begin; create temp table dropped (n int) on commit drop; commit",
        ),
        (
            "begin; insert into t (word) values ('x'), ('y') returning id; commit",
            "select count(*) from t",
            "insert into kept (word) values ('new') returning id",
            "select word from v order by 1",
            "execute of_temp",
            "fetch 2 from over_temp",
            "select count(*) from dropped",
        ),
    ),
    "objects of a role": Scenario(
        (
            "set temp_buffers = '2MB'; set search_path = here; set role plain",
            "create temp table mine (n int, word text)",
            "insert into mine select n, word from numbers",
            "declare forth no scroll cursor with hold for select n from mine order by n; move 7 in forth",
            "set default_transaction_read_only = on; set statement_timeout = '2s'",
        ),
        (
            "select count(*), count(word) from mine",
            "select relowner::regrole from pg_class where oid = 'mine'::regclass",
            "fetch 2 from forth",
            "show temp_buffers",
            "show statement_timeout",
            "show transaction_read_only",
            "reset role; drop table mine",
        ),
    ),
    "what function bodies do": Scenario(
        ("set app.known = 'outside'", "select here.hidden()"),
        (
            "show work_mem",
            "show app.known",
            "execute hidden_statement",
            "select pg_advisory_unlock(77) from generate_series(1, 2)",
        ),
        {"session_variables": 1, "prepared_statements": 1, "advisory_locks": 1},
    ),
    "another encoding": Scenario(
        (
            "set client_encoding = 'LATIN1'",
            'declare "c\udce9" scroll cursor with hold for select word from here.numbers; fetch 3 from "c\udce9"',
            'declare "d\udce9" cursor with hold for select min(word) as "w\udce9" from here.numbers',
            'prepare "p\udce9" as select 1',
            'listen "l\udce9"',
            ("s\udce9", "select '\udce9'"),
            ("", "select '\udce9'"),
        ),
        (
            ("",),
            "show client_encoding",
            ("s\udce9",),
            'fetch 2 from "c\udce9"',
            'fetch 2 from "d\udce9"',
            'execute "p\udce9"',
            "select pg_listening_channels()",
            "reset client_encoding",
            "show client_encoding",
        ),
        {"channels": 1, "cursors": 2, "prepared_statements": 1},
    ),
    "executed by name": Scenario(
        (
            "prepare sets as select set_config('app.one', 'by name', false)",
            "execute sets",
            "prepare locks as select pg_advisory_lock(1)",
            "execute locks",
        ),
        ("show app.one", *LOCKS),
    ),
    "everything": Scenario(
        (
            "set work_mem = '3MB'; set app.one = '1'; set role plain; reset role",
            ("one", "select $1::int + 1"),
            "prepare two as select 2",
            f"declare c scroll cursor with hold for {ALL_COLUMNS}; fetch 3 from c",
            "declare d no scroll cursor with hold for select n from here.numbers order by n; fetch 3 from d",
            "select pg_advisory_lock(1), pg_advisory_lock_shared(2)",
            "listen one",
            "select nextval('here.unused') > 0",
            "select lastval() > 0",
            ("", "select 9"),
        ),
        (
            ("",),
            *SHOW,
            ("one", "1"),
            "execute two",
            "fetch 2 from c",
            "fetch 2 from d",
            *LOCKS,
            "select pg_listening_channels()",
            "select lastval() = currval('here.unused')",
        ),
    ),
}
