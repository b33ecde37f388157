-- case: keys
create temp table t (a int, b int, c text unique, 
  constraint "the key" primary key (b, a) include (c) with (fillfactor = 70),
  unique (a, c) deferrable initially deferred);
insert into t values (1, 1, 'x'), (2, 1, 'y');
-- then
insert into t values (1, 1, 'z');
insert into t values (9, 9, 'x');
insert into t values (null, 1, 'z');
insert into t values (3, 3, 'z') on conflict (b, a) do update set c = 'q' returning *;
insert into t values (3, 3, 'zz') on conflict on constraint "the key" do update set c = excluded.c returning *;
set constraints all immediate;

-- case: nulls not distinct
-- since: 15
create temp table t (a int unique nulls not distinct, b int);
create unique index on t (b) nulls not distinct;
insert into t values (null, null);
-- then
insert into t values (null, 1);
insert into t values (1, null);

-- case: checks
create temp table t (a int check (a > 0), b int, constraint "a < b ü" check (a < b) no inherit);
insert into t values (1, 2), (3, null);
alter table t add constraint later check (b <> 2) not valid;
-- then
insert into t values (0, 2);
insert into t values (2, 1);
insert into t values (1, 2);
alter table t validate constraint later;

-- case: checks not enforced
-- since: 18
create temp table t (a int check (a > 0) not enforced);
insert into t values (-1);
-- then
insert into t values (-2);

-- case: exclusion
create temp table t (r int4range, exclude using gist (r with &&) where (not isempty(r)) deferrable);
insert into t values ('[1,3)'), ('empty');
-- then
insert into t values ('[2,5)');
insert into t values ('[3,5)'), ('empty');

-- case: foreign keys
create temp table parent (a int primary key, b int, unique (b, a));
create temp table child (a int references parent on delete cascade on update set null, b int, c int,
  constraint two foreign key (b, c) references parent (b, a) match full deferrable initially deferred);
create temp table self (a int primary key, up int references self);
insert into parent values (1, 10), (2, 20);
insert into child values (1, 10, 1), (2, null, null);
insert into self values (1, 2), (2, 1);
-- then
insert into child values (3);
delete from parent where a = 2;
select * from child;
update parent set a = 5 where a = 1;
begin; set constraints two deferred; insert into child values (null, 7, 7); commit;
insert into self values (3, 4);

-- case: foreign key both ways
create temp table t (a int primary key, b int);
create temp table u (a int primary key references t, b int);
insert into t values (1, 1);
insert into u values (1, 1);
alter table t add foreign key (b) references u deferrable;
alter table t add foreign key (a) references u not valid;
-- then
insert into t values (2, 5);
insert into u values (5);

-- case: indexes
create temp table t (a int, b text, c int[], d jsonb, e text);
create index on t (a desc nulls last, b collate "C" text_pattern_ops) include (e) with (fillfactor = 50);
create unique index "partial ü" on t (lower(b), (a + 1)) where a > 0 and b is not null;
create index on t using gin (c);
create index on t using hash (e);
create index on t using brin (a) with (pages_per_range = 4);
create index on t using gin (d jsonb_path_ops);
create index bloated on t ((a % 10));
alter index bloated alter column 1 set statistics 77;
alter table t cluster on bloated;
insert into t values (1, 'X', '{1,2}', '{"a": 1}', 'e'), (2, 'y', '{3}', '{}', 'f');
-- then
insert into t (a, b) values (1, 'x');
insert into t (a, b) values (-1, 'x');
set enable_seqscan = off;
select a from t where c @> '{3}';
select e from t order by a desc nulls last;
cluster t;

-- case: storage parameters
create temp table t (a int, b text) with (fillfactor = 42, autovacuum_enabled = false,
  toast.vacuum_truncate = false);
insert into t values (1);

-- case: extended statistics
create temp table t (a int, b int, c int);
insert into t select g, g % 10, g % 5 from generate_series(1, 1000) g;
create statistics pg_temp."st ü" (ndistinct, dependencies) on b, c from t;
alter statistics pg_temp."st ü" set statistics 50;
analyze t;
-- then
select count(*) from t where b = 1 and c = 1;
drop statistics pg_temp."st ü";
