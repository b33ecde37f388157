-- case: empty, and nobody knows what COMMIT does
-- reason: table t: it is empty
-- reason: table u: it is empty
create temp table t (a int);
create temp table u (a int) on commit delete rows;
begin; insert into u values (1); commit;

-- case: function in a language of the server's own
-- reason: function f(integer): its language is internal
create function pg_temp.f(int) returns int language internal as 'int4up';

-- case: aggregate
-- reason: function total(integer): aggregates cannot be made again
create aggregate pg_temp.total(int) (sfunc = int4pl, stype = int);

-- case: shell type
-- reason: type shell: base types cannot be made again
create type pg_temp.shell;

-- case: foreign table
-- reason: foreign table ft: it cannot be made again
-- shared: create foreign data wrapper carry_wrapper; create server carry_server foreign data wrapper carry_wrapper
create foreign table pg_temp.ft (a int) server carry_server;

-- case: permanent function of a temporary type
-- reason: function public.uses_temporary(e) depends on a temporary object
create type pg_temp.e as enum ('x');
create function public.uses_temporary(pg_temp.e) returns int language sql as 'select 1';

-- case: permanent table of a temporary type
-- reason: carry_uses
create type pg_temp.e as enum ('x');
create table public.carry_uses (a pg_temp.e);

-- case: permanent table with a temporary function
-- reason: constraint carry_checked_a_check on table public.carry_checked depends on a temporary object
create function pg_temp.f(int) returns bool language sql immutable as 'select true';
create table public.carry_checked (a int check (pg_temp.f(a)));

-- case: operators, collations and dictionaries
-- reason: operator pg_temp.###(integer,integer) depends on a temporary object
-- reason: collation pg_temp.c depends on a temporary object
-- reason: text search dictionary pg_temp.d depends on a temporary object
create function pg_temp.f(int, int) returns int language sql as 'select 1';
create operator pg_temp.### (leftarg = int, rightarg = int, function = pg_temp.f);
create collation pg_temp.c from "C";
create text search dictionary pg_temp.d (template = simple);

-- case: cast
-- reason: depends on a temporary object
create type pg_temp.e as enum ('x');
create function pg_temp.f(pg_temp.e) returns int language sql as 'select 1';
create cast (pg_temp.e as int) with function pg_temp.f(pg_temp.e);

-- case: default privileges of the schema
-- reason: depends on a temporary object
create temp table t (a int);
insert into t values (1);
do $$ begin execute format('alter default privileges in schema %I grant select on tables to carry_reader',
  pg_my_temp_schema()::regnamespace); end $$;

-- case: row level security forced on the owner
-- reason: table t: row level security is forced on its owner
-- user: carry_login
create temp table t (a int);
insert into t values (1);
alter table t enable row level security, force row level security;

-- case: owner who may not read
-- reason: table t: its owner carry_login has no right to read it
-- user: carry_login
create temp table t (a int);
insert into t values (1);
revoke select on t from carry_login;

-- case: privileges passed on
-- reason: t: privileges were granted by carry_reader, who is not its owner
-- user: carry_login
create temp table t (a int);
insert into t values (1);
grant select on t to carry_reader with grant option;
set role carry_reader;
grant select on t to carry_writer;

-- case: trigger of a constraint disabled
-- reason: table t: a trigger of a constraint is disabled
create temp table t (a int primary key, b int references t);
insert into t values (1, 1);
alter table t disable trigger all;

-- case: columns in another order than the parent's
-- reason: table b: its columns stand in another order than its parents'
create temp table a (x int);
create temp table b (y int) inherits (a);
alter table a add z int;
insert into a values (1);
insert into b values (1, 2, 3);

-- case: in a circle
-- reason: refer to each other
create temp table t (a int);
insert into t values (1);
create function pg_temp.f(t) returns int language sql immutable as 'select 1';
alter table t alter a set default pg_temp.f(null::t);

-- case: goes with an extension
-- reason: function f(): it belongs to an extension, or goes with one
create function pg_temp.f() returns int language sql as 'select 1';
alter function pg_temp.f() depends on extension plpgsql;

-- case: a comment that has no place
-- reason: trigger later on t: it has a comment that cannot be given again
create temp table t (a int);
insert into t values (1);
create constraint trigger later after insert on t for each row execute function
  suppress_redundant_updates_trigger();
comment on constraint later on t is 'x';

-- case: the real name of the schema
-- reason: function f(): a string in its definition says pg_temp_
create temp sequence s;
do $$ begin execute format('create function pg_temp.f() returns regclass language sql as %L',
  format('select %L::regclass', pg_my_temp_schema()::regnamespace || '.s')); end $$;

-- case: event trigger
-- reason: event trigger carry_watches: it would run again
-- shared: create or replace function public.carry_watch() returns event_trigger language plpgsql as 'begin end'
create temp table t (a int);
insert into t values (1);
create event trigger carry_watches on ddl_command_end execute function public.carry_watch();
-- then
drop event trigger carry_watches;

-- case: event trigger that will not run
-- shared: create or replace function public.carry_watch() returns event_trigger language plpgsql as 'begin end'
create temp table t (a int);
insert into t values (1);
create event trigger carry_drops on sql_drop execute function public.carry_watch();
create event trigger carry_tags on ddl_command_end when tag in ('CREATE SCHEMA') execute function public.carry_watch();
create event trigger carry_off on ddl_command_end execute function public.carry_watch();
alter event trigger carry_off disable;
-- then
drop event trigger carry_drops;
drop event trigger carry_tags;
drop event trigger carry_off;
