-- case: partitions
create temp table t (a int, b text default 'd', c int not null, primary key (a, b, c)) partition by range (a);
create temp table t1 partition of t for values from (minvalue) to (10);
create temp table t2 (x int, c int not null, b text not null default 'other', a int not null check (a >= 10));
alter table t2 drop column x;
alter table t attach partition t2 for values from (10) to (20);
create temp table t3 partition of t for values from (20) to (30) partition by list (b);
create temp table t3x partition of t3 (constraint only_x check (c > 0)) for values in ('x', 'y');
create temp table t3d partition of t3 default;
create index tb on t (b);
create unique index on t2 (c);
insert into t select g, 'x', g from generate_series(1, 29) g;
insert into t values (25, 'q', 99);
-- then
select tableoid::regclass, * from t order by a, b;
insert into t values (15, 'y', 500) returning tableoid::regclass;
insert into t values (40, 'y', 500);
insert into t values (5, 'x', 5);
insert into t2 (a, c) values (16, 501) returning *;
alter table t detach partition t1;
insert into t1 values (1000, 'free', 1);
drop table t;
select to_regclass('tb'), to_regclass('t3d'), to_regclass('t1');

-- case: partitions with identity, keys and triggers
-- since: 17
create temp table p (a int generated always as identity, b int, primary key (a, b)) partition by hash (b);
create temp table p0 partition of p for values with (modulus 2, remainder 0);
create temp table p1 partition of p for values with (modulus 2, remainder 1);
create temp table q (a int, b int, foreign key (a, b) references p) partition by list (a);
create temp table q1 partition of q default;
create trigger tr before update on p for each row execute function suppress_redundant_updates_trigger();
insert into p (b) select generate_series(1, 20);
insert into q values (1, 1);
-- then
insert into p (b) values (100) returning a;
insert into q values (1, 2);
delete from p where a = 1;
update p set b = b where a < 5;
insert into p1 (a, b) values (default, 1);

-- case: generated column in partitions
create temp table p (a int, g int generated always as (a + 1) stored) partition by list (a);
create temp table p1 partition of p for values in (1, 2);
insert into p values (1);
-- then
insert into p values (2) returning *;
select * from p;

-- case: inheritance
create temp table a (x int not null default 1, y text check (y <> 'no'));
create temp table b (z int, x int);
create temp table c (w int, y text default 'mine') inherits (a, b);
alter table c alter x set default 9;
alter table only a add constraint here check (x > 0) no inherit;
create temp table d (y text, extra int, x int not null, constraint a_y_check check (y <> 'no'));
alter table d inherit a;
insert into a values (1, 'a');
insert into b values (2, 3);
insert into c values (4, 'c', 5, 6);
insert into d values ('d', 7, 8);
-- then
select tableoid::regclass, * from a;
select * from c;
select * from d;
insert into c default values returning *;
insert into d values ('no', 1, 1);
alter table a drop column y;
select * from c;
select * from d;

-- case: child of a permanent table
-- shared: create table public.parent_of_temporary (a int primary key, b text default 'p', check (a > 0))
create temp table t (c int) inherits (public.parent_of_temporary);
insert into t values (1, 'x', 2);
-- then
select * from public.parent_of_temporary;
insert into t (a) values (-1);
insert into t (a) values (3) returning *;

-- case: on commit delete rows
-- known: t delete, u delete
create temp table t (a int) on commit delete rows;
create temp table u (a serial) on commit delete rows;
begin; insert into t values (1); insert into u default values; commit;
-- then
begin; insert into t values (1); insert into u default values; select t.a, u.a from t, u; commit;
select * from t, u;

-- case: on commit known wrongly, rows tell
-- known: t delete, gone preserve
create temp table t (a int);
insert into t values (1);
-- then
begin; insert into t values (2); commit;
select * from t;

-- case: on commit drop, long gone
-- known: t drop
create temp table t (a int) on commit drop;
create temp table t (a int);
insert into t values (1);
-- then
select * from t;
