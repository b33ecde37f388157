-- case: one of each kind
create temp table t (a int primary key, b text default 'x', c int check (c > 0),
  d int generated always as identity, e int generated always as (a * 2) stored);
insert into t (a, c) select g, g from generate_series(1, 20) g;
create index ix on t (b);
create temp table ref (a int references t);
insert into ref values (1);
create temp table p (a int) partition by range (a);
create temp table p1 partition of p for values from (1) to (10);
insert into p values (1);
create temp table child (x int) inherits (ref);
insert into child values (1, 2);
create temp sequence s;
select nextval('s');
create temp sequence ahead cache 10;
select nextval('ahead');
create temp view v as select a from t;
create type pg_temp.mood as enum ('x', 'y');
create type pg_temp.pair as (a int, b text);
create type pg_temp.span as range (subtype = int);
create domain pg_temp.small as int default 1 check (value < 10);
create function pg_temp.f(int) returns int language sql as 'select 1';
create trigger tr before update on t for each row execute function suppress_redundant_updates_trigger();
create rule r as on delete to t do instead nothing;
create policy po on t using (a > 0);
create statistics pg_temp.st on a, c from t;
comment on table t is 'a comment';
comment on column t.b is 'another';
