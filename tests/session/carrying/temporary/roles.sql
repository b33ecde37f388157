-- case: several owners
-- user: carry_login
create temp table mine (a int primary key);
insert into mine values (1);
set role carry_writer;
create temp table t (a serial);
insert into t default values;
create temp view v as select * from t;
create type pg_temp.e as enum ('x');
create function pg_temp.f() returns int language sql as 'select 1';
create temp sequence s;
select nextval('s');
-- then
reset role;
select * from v;
insert into t default values returning a;
set role carry_writer;
alter table t add c int;
select * from mine;
drop table mine;

-- case: left in a role
-- user: carry_login
create temp table t (a int);
insert into t values (1);
set role carry_reader;
-- then
reset role;
select * from t;

-- case: privileges
-- user: carry_login
create temp table t (a int, b int);
insert into t values (1, 2);
create temp sequence s;
create temp view v as select a from t;
create function pg_temp.f() returns int language sql as 'select 1';
create type pg_temp.e as enum ('x');
grant select on t to carry_reader with grant option;
grant update (b), insert (a) on t to "carry reader ü";
grant select (b) on t to public;
grant usage on sequence s to carry_reader;
grant select on v to public;
revoke execute on function pg_temp.f() from public;
grant execute on function pg_temp.f() to carry_reader;
revoke all on type pg_temp.e from public;
grant insert, truncate on v to carry_writer;
revoke delete on t from carry_login;
-- then
set role carry_reader;
select * from t;
delete from t;
select nextval('s');
select setval('s', 5);
select pg_temp.f();
create temp table x (a pg_temp.e);
set role "carry reader ü";
update t set b = 3;
select b from t;
select a from t;
select pg_temp.f();
reset role;
delete from t;

-- case: default privileges
-- user: carry_login
-- one server
alter default privileges for role carry_login grant select on tables to carry_reader;
create temp table with_it (a int);
insert into with_it values (1);
create temp table revoked (a int);
insert into revoked values (1);
revoke select on revoked from carry_reader;
alter default privileges for role carry_login revoke select on tables from carry_reader;
alter default privileges for role carry_login revoke execute on functions from public;
create temp table without (a int);
insert into without values (1);
create function pg_temp.f() returns int language sql as 'select 1';
-- then
set role carry_reader;
select * from with_it;
select * from revoked;
select * from without;
select pg_temp.f();
reset role;
alter default privileges for role carry_login grant execute on functions to public;
