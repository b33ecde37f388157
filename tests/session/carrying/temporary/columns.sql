-- case: plain
create temp table t (a int, b text);
insert into t select g, 'row ' || g from generate_series(1, 1000) g;
-- then
select * from t;
insert into t values (0, 'new') returning *;

-- case: empty
-- known: t preserve
create temp table t (a int);
-- then
insert into t values (1) returning a;

-- case: rows deleted
create temp table t (a int);
insert into t values (1);
delete from t;
-- then
select * from t;

-- case: rolled back
-- known: t preserve
create temp table t (a int);
begin; insert into t values (1); rollback;

-- case: no columns
create temp table t ();
insert into t default values;
insert into t default values;
-- then
table t;

-- case: odd names
create temp table "Ta ble"" ü 表 \ '" ("a b" int primary key, "ä" text default 'ö', "q""" int, "select" int);
insert into "Ta ble"" ü 表 \ '" values (1, 'x', 2, 3);
create index "i ""x"" ß" on "Ta ble"" ü 表 \ '" ("ä");
create temp sequence "sé ""q";
select nextval('"sé ""q"');
-- then
insert into "Ta ble"" ü 表 \ '" ("a b") values (2) returning *;
insert into "Ta ble"" ü 表 \ '" ("a b") values (1);
select nextval('"sé ""q"');

-- case: names of the system's own
create temp table pg_class (oid int primary key default 7, relname text);
insert into pg_class values (1, 'mine');
create temp table text (a text, b pg_catalog.text, c int[]);
insert into text values ('a', 'b', '{1}');
create temp table pg_depend (classid int generated always as identity references pg_class);
insert into pg_depend default values;
create temp view pg_type as select c.relname, p.relname as theirs
  from pg_class c, pg_catalog.pg_class p where p.relname = 'pg_proc';
-- then
select * from pg_type;
insert into pg_class default values returning *;
insert into pg_depend default values returning classid;
select relname from pg_class;

-- case: types with modifiers
-- since: 15
create temp table t (a numeric(10, 3), b varchar(5), c char(4), d bit(3), e bit varying(9), f timestamp(2),
  g interval day to second(3), h time(0), i int[][], j varchar(3)[], k "char", l name, m numeric(5, -2));
insert into t values (1.5, 'abc', 'ab', '101', '11', '2024-01-01 01:02:03.456', '1 day 00:00:01.2345', '01:02:03',
  '{{1,2},{3,4}}', '{a,b}', 'x', 'name', 12345);
-- then
select * from t;
insert into t (b) values ('too long');
insert into t (c) values ('abcde');

-- case: values of all kinds
create temp table t (a float8, b float4, c bytea, d numeric, e timestamptz, f date, g interval, h jsonb,
  i json, j uuid, k inet, l macaddr, m tsvector, n point, o box, p int4range, q money, s regclass, t "char",
  u oid, v bool, w tsquery, x cidr, y int8[], z text[], a1 polygon, a2 txid_snapshot, a3 pg_lsn, a4 aclitem);
insert into t (a, b, c, d, e, f) values
  ('NaN', 'NaN', '\x00ff', 'NaN', 'infinity', '-infinity'),
  ('infinity', '-infinity', '', '1e-300', '-infinity', 'infinity'),
  ('-0', 1e-45, decode(repeat('00', 300), 'hex'), 12345678901234567890.000, '4713-01-01 BC', '9999-12-31'),
  (0.1, 0.1, null, 0, '1883-11-18 12:00:00 America/New_York', null), (1e308, 3.4e38, null, -1, now(), null);
insert into t (g, h, i, j, k, l, m, n, o, p, q, s, t, u, v, w, x, y, z, a1, a2, a3, a4) values
  ('1 year -2 mons 3 days -04:05:06.789', '{"a": [1, null, "x"]}', '{"b":  1 , "b":2}', gen_random_uuid(),
  '::1/64', '08:00:2b:01:02:03', 'a:1A b:2', '(1,2)', '(1,2),(0,0)', '[1,5)', 12.34, 't', '\377',
  4294967295, true, 'a & !b', '10.0.0.0/8', '{1,NULL,3}', '[2:3]={x,"a,\"b\\"}', '((0,0),(1,1),(1,0))',
  '10:20:10,14', '16/B374D848', 'postgres=r/postgres');
-- then
select t::text from t;
select a4 = 'postgres=r/postgres' from t;
select s::oid = 't'::regclass::oid from t where s is not null;

-- case: big values
create temp table t (a int, b text, c bytea);
alter table t alter c set storage external;
insert into t select g, repeat(md5(g::text), 70000), decode(repeat(md5(g::text), 50000), 'hex')
  from generate_series(1, 3) g;
-- then
select a, length(b), md5(b), length(c), md5(c) from t;

-- case: many rows
create temp table t (a int primary key, b text, c float8);
insert into t select g, 'row ' || g, sqrt(g) from generate_series(1, 100000) g;
-- then
select count(*), sum(a), md5(string_agg(b, ',' order by a)), sum(c) from t;
insert into t values (1);

-- case: dropped columns
create temp table t (a int, x text default 'gone', b int not null, y int, c text);
insert into t values (1, 'x', 2, 3, 'c');
alter table t drop column x, drop column y, add column d int default 5;
insert into t values (2, 3, 'd');
-- then
select * from t;
insert into t (b) values (9) returning *;
insert into t (a) values (9);

-- case: hostile defaults
create temp table t (a text default 'quo''te " \ $1 ; -- /*', b text default E'\n\t\\''',
  c date default current_date,
  d text default 'x' || 'y' || current_user, e int[] default '{1,2}', f bool default ((1 = 1) and not false),
  g text collate "C" default 'ü', h timestamptz default now() - interval '1 day', i int default (1 + 2) * 3,
  j text default $a$ ; drop table t; $a$, k text default current_setting('search_path'), l jsonb default '{"a":"''"}');
insert into t default values;
-- then
select a, b, c, d, e, f, g, i, j, k, l from t;
insert into t default values returning a, b, c, d, e, f, g, i, j, l;

-- case: collations, storage, compression, statistics
-- since: 14
create temp table t (a text compression pglz collate "C", b text collate pg_catalog."POSIX", c text,
  d text[] collate "C");
alter table t alter a set storage external, alter b set storage main, alter c set storage plain,
  alter a set statistics 7, alter b set (n_distinct = -0.5, n_distinct_inherited = 10);
insert into t values ('b', 'A', 'x', '{b,A}'), ('A', 'b', 'y', '{}');
-- then
select a from t order by a;
select b from t order by b;

-- case: not null
create temp table t (a int not null, b int);
alter table t alter b set not null;
insert into t values (1, 1);
-- then
insert into t values (1, null);
alter table t alter a drop not null;
insert into t values (null, 1);

-- case: named not null
-- since: 18
create temp table t (a int constraint "must be" not null no inherit, b int, c int);
insert into t values (1, null);
alter table t add constraint later not null b not valid;
-- then
insert into t values (null, 1);
insert into t values (1, null);
alter table t validate constraint later;
alter table t drop constraint "must be";

-- case: identity
create temp table t (a int generated always as identity (start 10 increment 5 maxvalue 25 cycle minvalue 2),
  b bigint generated by default as identity, c smallint generated by default as identity (sequence name pg_temp.odd));
insert into t default values;
insert into t default values;
-- then
insert into t default values returning *;
insert into t default values returning *;
insert into t default values returning *;
insert into t (a) values (1);
insert into t (a) overriding system value values (1) returning *;
select nextval('odd'), currval('odd'), lastval();
select pg_get_serial_sequence('t', 'c') like 'pg_temp%.odd';

-- case: identity never used
create temp table t (a int generated always as identity (start 5), b int);
insert into t (a, b) overriding system value values (1, 1);
-- then
insert into t default values returning a;

-- case: serial
create temp table t (a serial primary key, b bigserial, c smallserial, d int);
insert into t (d) values (1), (2);
-- then
insert into t default values returning *;
drop table t;
select to_regclass('t_a_seq');

-- case: generated columns
create temp table t (a int, b int generated always as (a * 2) stored, c text,
  d text generated always as (c || '!') stored not null check (d <> 'no!'));
insert into t (a, c) values (1, 'x'), (null, 'y');
-- then
select * from t;
insert into t (a, c) values (5, 'z') returning *;
insert into t (a, c) values (5, 'no');
insert into t (b) values (5);

-- case: virtual generated columns
-- since: 18
create temp table t (a int, b int generated always as (a * 2) virtual, c int generated always as (a + 1));
insert into t values (1), (null);
-- then
select * from t;
insert into t values (7) returning *;

-- case: functions that need the client's search_path
-- shared: create schema carry_helper; create function carry_helper.twice(int) returns int language sql immutable as 'select $1 * 2'; create function public.by_path(int) returns int language plpgsql immutable as 'begin return twice($1); end'
set search_path = carry_helper, public;
create temp table t (a int check (by_path(a) > 0), b int generated always as (by_path(a)) stored);
insert into t values (1), (2);
-- then
select * from t;
set search_path = carry_helper, public;
insert into t values (3) returning b;
insert into t values (-3);

-- case: xml
-- needs: xmlparse(content '<a/>')
create temp table t (a xml, b xml[]);
insert into t values ('<?xml version="1.0" encoding="UTF-8"?><a>ü</a>', array['<b/>'::xml]), ('text <c/> only', null);
-- then
select * from t;
