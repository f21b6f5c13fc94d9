-- A behavior is changed by alter_behavior and by what changes types; what it
-- needs cannot be dropped; what is renamed is followed.
CREATE SCHEMA bc;
SET search_path = bc;
CREATE TYPE state AS (n int);
CREATE TYPE add AS (by int);
CREATE TYPE get AS ();
CREATE TYPE part AS (x int, y int);
CREATE TYPE reset AS (parts part[]);
CREATE FUNCTION init(n int) RETURNS state LANGUAGE sql AS 'SELECT ROW(n)::state';
CREATE FUNCTION handle(state, add) RETURNS state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION handle(state, get) RETURNS state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION other_get(state, get) RETURNS state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION reset(state, reset) RETURNS state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION is_consistent() RETURNS boolean LANGUAGE sql AS $$
    -- the names in the row are those of the functions that it depends on
    SELECT bool_and((SELECT array_agg(f::regprocedure ORDER BY f::regprocedure::oid) FROM unnest(functions) f)
        = (SELECT array_agg(refobjid::regprocedure ORDER BY refobjid) FROM pg_depend
           WHERE classid = 'pg_type'::regclass AND refclassid = 'pg_proc'::regclass
             AND objid = (SELECT typarray FROM pg_type WHERE oid = behavior)))
    FROM dlog.behavior
$$;
SELECT dlog.create_behavior('counter', 'state', 'init', '{handle}');
SELECT is_consistent();

-- alter
SELECT dlog.alter_behavior('counter', handlers => '{reset,other_get}');
SELECT init, messages, handlers FROM dlog.behaviors;
SELECT dlog.alter_behavior('counter', handlers => ARRAY['handle(state, get)'], drop_messages => '{reset}',
    mailbox_limit => 5, handler_timeout => '2 s');
SELECT messages, handlers, mailbox_limit, handler_timeout FROM dlog.behaviors;
SELECT dlog.alter_behavior('counter', init => '', mailbox_limit => 0, handler_timeout => '-1 ms');
SELECT init, mailbox_limit, handler_timeout FROM dlog.behaviors;
SELECT dlog.alter_behavior('counter', init => 'init');
SELECT init FROM dlog.behaviors;
SELECT is_consistent();
SELECT dlog.alter_behavior('nobody');
SELECT dlog.alter_behavior(NULL);
SELECT dlog.alter_behavior('add');
SELECT dlog.alter_behavior('counter', drop_messages => '{reset}');
SELECT dlog.alter_behavior('counter', drop_messages => '{add,get}');
SELECT dlog.alter_behavior('counter', handlers => '{other_get,handle}');
SELECT dlog.alter_behavior('counter', handlers => '{nothing}');
BEGIN;
SELECT dlog.alter_behavior('counter', drop_messages => '{add}');
ROLLBACK;
SELECT messages FROM dlog.behaviors;

-- what it needs stays
DROP FUNCTION init(int);
DROP FUNCTION handle(state, add);
DROP TYPE add;
DROP TYPE state;
DROP TYPE part;
DROP FUNCTION other_get(state, get);
-- it is a type, and goes when that goes, with what has columns of it
CREATE TABLE carts (id int, actor counter);
SELECT dlog.drop_behavior('counter');
DROP DOMAIN counter;
BEGIN;
DROP FUNCTION handle(state, add) CASCADE;
SELECT count(*) FROM dlog.behavior;
ROLLBACK;
BEGIN;
SELECT dlog.drop_behavior('counter', cascade => true);
SELECT count(*) FROM dlog.behavior;
SELECT column_name FROM information_schema.columns WHERE table_name = 'carts';
ROLLBACK;
DROP TABLE carts;
SELECT dlog.drop_behavior('nobody');
SELECT dlog.drop_behavior('nobody', if_exists => true);
SELECT dlog.drop_behavior('state');

-- names: whatever is renamed or moved, the row follows
ALTER FUNCTION handle(state, add) RENAME TO "Odd, name";
ALTER TYPE add RENAME TO "add it";
ALTER TYPE state RENAME TO counter_state;
CREATE SCHEMA bc2;
ALTER FUNCTION init(int) SET SCHEMA bc2;
SELECT functions FROM dlog.behavior;
ALTER SCHEMA bc RENAME TO bc1;
SELECT is_consistent FROM bc1.is_consistent();
ALTER SCHEMA bc1 RENAME TO bc;
ALTER DOMAIN counter RENAME TO tally;
ALTER DOMAIN tally SET SCHEMA bc2;
SELECT behavior FROM dlog.behaviors;
ALTER DOMAIN bc2.tally SET SCHEMA bc;
COMMENT ON DOMAIN tally IS 'counts';
SELECT behavior, description, is_consistent() FROM dlog.behaviors;

-- attributes: more of them, other names, fewer; but not of other types
SELECT dlog.alter_behavior('tally', handlers => '{reset}');
ALTER TYPE counter_state ADD ATTRIBUTE more text;
ALTER TYPE counter_state RENAME ATTRIBUTE more TO extra;
ALTER TYPE counter_state DROP ATTRIBUTE extra;
ALTER TYPE counter_state ALTER ATTRIBUTE n TYPE bigint;
ALTER TYPE "add it" ALTER ATTRIBUTE by TYPE text;
ALTER TYPE part ALTER ATTRIBUTE x TYPE text;
CREATE TYPE unused AS (x int);
ALTER TYPE unused ALTER ATTRIBUTE x TYPE text;

-- a reference to one's own kind is fine, an array of them no dump could order
ALTER TYPE part ADD ATTRIBUTE friend tally;
ALTER TYPE part ADD ATTRIBUTE friends tally[];
ALTER TYPE part ADD ATTRIBUTE friends dlog.actor_ref[];
CREATE TYPE meet AS (all_of_them tally[]);
CREATE FUNCTION meet(counter_state, meet) RETURNS counter_state LANGUAGE sql AS 'SELECT $1';
SELECT dlog.alter_behavior('tally', handlers => '{meet}');
CREATE FUNCTION meet(jsonb, meet) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
SELECT dlog.create_behavior('host', 'jsonb', handlers => '{meet}');
ALTER TYPE part ADD ATTRIBUTE hosts host[];
ALTER TYPE meet ADD ATTRIBUTE hosts host[];
ALTER TYPE meet ADD ATTRIBUTE host host;
SELECT dlog.drop_behavior('host', cascade => true);
ALTER TYPE part DROP ATTRIBUTE friend;
SET client_min_messages = warning;
DROP TYPE meet CASCADE;
RESET client_min_messages;

-- a function that cannot be a handler any more is noticed
CREATE FUNCTION take(dlog.actor_ref, "any") RETURNS regtype LANGUAGE internal STABLE STRICT AS 'pg_typeof'
SUPPORT dlog.message_support;
CREATE TABLE actors (a tally);
SELECT take(a, ROW(NULL)::reset) FROM actors;
ALTER FUNCTION reset STRICT;
SELECT take(a, ROW(NULL)::reset) FROM actors;
ALTER FUNCTION reset CALLED ON NULL INPUT;
SELECT take(a, ROW(NULL)::reset) FROM actors;

-- owners: who owns the type owns the behavior; it goes with them
CREATE ROLE bc_owner;
GRANT ALL ON SCHEMA bc TO bc_owner;
ALTER DOMAIN tally OWNER TO bc_owner;
SELECT owner, privileges FROM dlog.behaviors;
GRANT USAGE ON DOMAIN tally TO PUBLIC;
SELECT privileges FROM dlog.behaviors;
DROP ROLE bc_owner;
REASSIGN OWNED BY bc_owner TO CURRENT_USER;
DROP TABLE actors;
ALTER DOMAIN tally OWNER TO bc_owner;
DROP OWNED BY bc_owner;
SELECT count(*) FROM dlog.behavior;
DROP ROLE bc_owner;

SET client_min_messages = warning;
DROP SCHEMA bc CASCADE;
DROP SCHEMA bc2 CASCADE;
