-- case: sequences
create temp sequence plain;
create temp sequence down as smallint increment -3 minvalue -100 maxvalue 10 start 5 cycle;
create temp sequence never start 77;
create temp sequence moved;
create temp sequence moved_back;
create temp sequence ahead cache 20 increment 2;
create temp sequence restarted cache 5;
create temp sequence ended maxvalue 2;
select nextval('plain'), nextval('plain'), nextval('down'), setval('moved', 42), nextval('ahead'),
  nextval('ahead'), nextval('restarted'), setval('moved_back', 9, false), nextval('ended'), nextval('ended');
alter sequence restarted restart 30;
-- then
select nextval('plain'), nextval('down'), nextval('never'), nextval('moved'), nextval('moved_back');
select nextval('ahead'), nextval('restarted');
select nextval('ended');

-- case: owned sequence
create temp table t (a int, b int);
create temp sequence s owned by t.b;
create temp sequence free owned by none;
alter table t alter a set default nextval('s') * 10;
insert into t default values;
-- then
insert into t default values returning a;
alter table t drop column b;
alter table t drop column b cascade;
select to_regclass('s'), to_regclass('free');

-- case: types
create type pg_temp.mood as enum ('sad', 'it''s ok', 'hä?');
alter type pg_temp.mood add value 'first' before 'sad';
create type pg_temp.pair as (a int, b text collate "C", m mood);
create domain pg_temp.small as int default 3 not null constraint positive check (value > 0)
  check (value < 100);
create domain pg_temp.smaller as small check (value < 50);
create domain pg_temp.mail as varchar(20) collate "C" check (value ~ '@');
create type pg_temp.span as range (subtype = float8, subtype_diff = float8mi);
create temp table t (a mood, b mood[], c pair, d pair[], e small, f smaller, g mail, h span, i small[]);
insert into t values ('hä?', '{sad,"it''s ok"}', (1, 'x', 'first'), array[(2, null, 'sad')::pair], 2, 7,
  'a@b', '[1.5,2.5)', '{1,3}');
alter domain pg_temp.smaller add constraint odd check (value % 2 = 1) not valid;
alter domain pg_temp.mail add constraint short check (length(value) < 2) not valid;
-- then
select * from t;
select a from t where a > 'sad';
insert into t (e, f) values (0, 1);
insert into t (f) values (1) returning e, f;
insert into t (f) values (60);
insert into t (e, f) values (4, 4);
insert into t (f, g) values (1, 'none');
select enum_range(null::mood);
select h @> 2::float8 from t;
alter domain pg_temp.small drop constraint positive;

-- case: multirange name
-- since: 14
create type pg_temp.span as range (subtype = int8, multirange_type_name = pg_temp.spans);
create temp table t (a spans);
insert into t values ('{[1,2),[5,9)}');
-- then
select a from t;

-- case: typed table
create type pg_temp.pair as (a int, b text);
create temp table t of pair (a primary key, b with options default 'x');
insert into t values (1);
-- then
insert into t values (2) returning *;
alter table t drop column b;

-- case: row types of tables
create temp table t (a int, b text);
create temp table u (x t, y t[]);
insert into t values (1, 'a');
insert into u values ((1, 'a'), array[(2, 'b')::t]);
-- then
select (x).b, y from u;
alter table t add c int default 5;

-- case: functions
set check_function_bodies = off;
create function pg_temp.twice(a int, b int default 2) returns int language sql immutable as 'select $1 * $2';
create function pg_temp.twice(a text) returns text language plpgsql strict as $$ begin return a || a; end $$;
create procedure pg_temp.proc(inout a int) language plpgsql as $$ begin a := a + 1; end $$;
create function pg_temp.late() returns bigint language sql as 'select count(*) from made_later';
create function pg_temp.many(variadic int[]) returns table (n int) language sql set work_mem = '1MB' as
  'select unnest($1)';
create temp table t (a int default pg_temp.twice(21), b int check (pg_temp.twice(b) < 100),
  c int generated always as (pg_temp.twice(b)) stored);
create index on t (pg_temp.twice(b));
insert into t (b) values (5);
create temp view v as select pg_temp.twice(b) as d from t;
-- then
select pg_temp.twice(4), pg_temp.twice('x'), pg_temp.twice(3, 3);
call pg_temp.proc(1);
select pg_temp.late();
select * from pg_temp.many(1, 2);
insert into t (b) values (7) returning *;
insert into t (b) values (50);
select * from v;

-- case: function with a parsed body
-- since: 14
create temp table t (a int);
insert into t values (1), (2);
create function pg_temp.total() returns bigint begin atomic select sum(a) from t; end;
-- then
select pg_temp.total();
drop table t;

-- case: views
create temp table t (id int primary key, name text, secret int);
insert into t values (1, 'a', 10), (2, 'b', 20);
create temp view v1 as select id, name as "N ü" from t where secret > 5;
create temp view v2 (x, y) with (security_barrier) as select v1.id, "N ü" from v1 with check option;
create temp view v3 as select t.id, t.name, count(*) from t join v2 on v2.x = t.id group by t.id;
create temp recursive view counting (n) as values (1) union all select n + 1 from counting where n < 5;
alter view v1 alter "N ü" set default 'dflt';
alter view v1 rename id to ident;
create temp view v0 as select;
-- then
select * from v1;
select * from v2;
select * from v3 order by id;
select * from counting;
insert into v2 values (3, 'c');
insert into v1 (ident) values (4) returning *;
select * from v0;

-- case: rules
create temp table t (a int);
create temp table log (a int, b text default 'x');
insert into t values (1);
insert into log values (0);
create rule "R ü" as on insert to t where new.a > 5 do also insert into log values (new.a);
create temp view v as select a + 1 as b from t;
create rule vi as on insert to v do instead insert into t values (new.b - 1) returning a + 1;
create rule off as on delete to t do instead nothing;
alter table t disable rule off;
-- then
insert into t values (7), (1);
insert into v values (10) returning *;
delete from t where a = 1;
select * from log;
alter table t enable rule off;
delete from t;

-- case: triggers
-- known: log preserve
create temp table t (a int, b text);
create temp table log (op text, n int);
insert into t values (1, 'old');
create function pg_temp.note() returns trigger language plpgsql as $$
  begin insert into log values (concat_ws(' ', tg_name, tg_op, tg_argv[0]), coalesce(new.a, old.a));
  return new; end $$;
create trigger "Tr ü" before insert or update of a on t for each row when (new.a is distinct from 99)
  execute function pg_temp.note('arg ''q');
create constraint trigger later after insert on t deferrable initially deferred for each row execute
  function pg_temp.note();
create trigger off after delete on t for each row execute function pg_temp.note();
alter table t disable trigger off;
create trigger always after update on t for each row execute function pg_temp.note();
alter table t enable always trigger always;
create temp view v as select a from t;
create trigger instead instead of insert on v for each row execute function pg_temp.note('view');
create trigger upd before update on t for each row execute function suppress_redundant_updates_trigger();
create trigger trans after insert on t referencing new table as fresh for each statement execute function
  pg_temp.note();
-- then
select * from log;
insert into t values (2, 'x'), (99, 'y');
update t set b = 'z' where a = 2;
update t set a = a;
insert into v values (5);
delete from t;
select * from log;

-- case: row level security
create temp table t (a int, owner text);
insert into t values (1, 'carry_reader'), (2, 'postgres');
create policy mine on t for select to carry_reader, carry_writer using (owner = current_user);
create policy strict on t as restrictive for insert with check (a < 10 and a is not null);
alter table t enable row level security;
grant select, insert on t to carry_reader;
-- then
set role carry_reader;
select * from t;
insert into t values (50, 'x');
insert into t values (5, 'x');
reset role;
select * from t;

-- case: comments
create temp table t (a int primary key, b int check (b > 0), c int references t);
insert into t values (1);
create index ix on t (b);
create temp view v as select a from t;
create temp sequence s;
create type pg_temp.e as enum ('x');
create domain pg_temp.d as int constraint dc check (value > 0);
create type pg_temp.c as (x int);
create function pg_temp.f(int) returns int language sql as 'select 1';
create statistics pg_temp.st on a, b from t;
create rule r as on delete to t do instead nothing;
create policy p on t;
create trigger tr before update on t for each row execute function suppress_redundant_updates_trigger();
comment on table t is 'it''s a \ table';
comment on column t.b is 'column ü';
comment on constraint t_b_check on t is 'check';
comment on constraint t_pkey on t is 'key';
comment on constraint t_c_fkey on t is 'fk';
comment on index t_pkey is 'key index';
comment on index ix is 'index';
comment on view v is 'view';
comment on column v.a is 'view column';
comment on sequence s is 'seq';
comment on type pg_temp.e is 'enum';
comment on domain pg_temp.d is 'domain';
comment on constraint dc on domain pg_temp.d is 'dc';
comment on type pg_temp.c is 'composite';
comment on column pg_temp.c.x is 'attribute';
comment on function pg_temp.f(int) is 'function';
comment on statistics pg_temp.st is 'statistics';
comment on rule r on t is 'rule';
comment on policy p on t is 'policy';
comment on trigger tr on t is 'trigger';
-- then
select (i).type, replace((i).identity, n.nspname, 'pg_temp'), description from pg_description
  cross join lateral pg_identify_object(classoid, objoid, objsubid) i, pg_namespace n
  where n.oid = pg_my_temp_schema() and (i).identity ~ ('pg_temp\.|' || nspname || '\.') order by 1, 2;
