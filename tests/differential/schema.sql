-- Objects that the exchanges of the differential test use; made once per cluster in a database of their own.
create role nobody_special;
create role lonely login;
create schema one;
create schema two;
create table one.placed as select 'in one' as place;
create table two.placed as select 2 as place;
create table items (id int primary key, name text not null, price numeric(10, 2), note text);
insert into items values
    (1, 'apple', 1.50, null), (2, 'pear', 2.25, 'green'), (3, 'plum', 0.75, ''), (4, 'fig', 4.00, 'dried'), (5, 'kiwi', 0.30, null);
create table numbers as select generate_series(1, 1000) as n;
create table scratch (id int, body text);
create table checked (amount int check (amount > 0));
create table checked_text (short varchar(3));
create table parent (id int primary key);
create table child (id int, parent int references parent deferrable initially deferred);
create type mood as enum ('sad', 'ok', 'happy');
create table noisy (id int, body text);
create publication nothing_published;

create function raise_notice(message text) returns text language plpgsql as
    $$ begin raise notice 'notice: %', message; return message; end $$;
create function raise_for_each_row() returns trigger language plpgsql as
    $$ begin raise notice 'row %', new.id; return null; end $$;
create trigger noise before insert on noisy for each row execute function raise_for_each_row();
create function fails_deeply(depth int) returns int language plpgsql as
    $$ begin if depth = 0 then return 1 / 0; end if; return fails_deeply(depth - 1); end $$;
create procedure double_it(given int, inout doubled int) language plpgsql as $$ begin doubled := given * 2; end $$;
create procedure commits_itself() language plpgsql as
    $$ begin insert into scratch values (1, 'a'); commit; insert into scratch values (2, 'b'); end $$;
create function sets_inside(value text) returns text language plpgsql as
    $$ begin perform set_config('work_mem', value, false); return current_setting('work_mem'); end $$;
create function sets_reported(value text) returns void language plpgsql as
    $$ begin perform set_config('application_name', value, false); end $$;
create function own_setting() returns text language sql set work_mem = '5MB' as $$ select current_setting('work_mem') $$;
create function makes_temp(name text) returns void language plpgsql as
    $$ begin execute format('create temp table %I as select 1 as a', name); end $$;
create function opens_cursor(name refcursor) returns refcursor language plpgsql as
    $$ begin open name for select n from numbers order by n limit 3; return name; end $$;
analyze;
