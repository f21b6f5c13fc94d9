-- A type of which values may be in mailboxes, in journals or with an actor is
-- never altered below them: it is refused, or the value is not read.
SET client_min_messages = warning;
CREATE ROLE bl_mallory;
CREATE SCHEMA bl AUTHORIZATION bl_mallory;
GRANT USAGE ON SCHEMA test TO bl_mallory;
RESET client_min_messages;
SET ROLE bl_mallory;
SET search_path = bl;

-- nobody but dlog has columns of payloads
CREATE TYPE m AS (a int8, b int8);
CREATE TABLE p (x dlog.payload);
SELECT dlog.payload_in('1::int');
CREATE TABLE p AS SELECT $$'(4294967292,2)'::bl.m$$::dlog.payload AS x;
RESET ROLE;

-- what is in one is read as long as attributes are what they were
CREATE TABLE p (n int, x dlog.payload);
CREATE TYPE outer_m AS (before text, inside m, after int);
CREATE DOMAIN m_list AS m[];
CREATE TYPE m_range AS RANGE (subtype = m);
CREATE TYPE of_domain AS (list m_list, ranges m_range, many m_multirange);
INSERT INTO p VALUES
    (1, $$'(4294967292,2)'::bl.m$$), (2, $$'{"(3,4)"}'::bl.m[]$$), (3, $$'{"(5,6)"}'::bl.m_list$$),
    (4, $$'(x,"(7,8)",9)'::bl.outer_m$$), (5, $$NULL::bl.m$$), (6, $$'10'::bigint$$),
    (8, $$'[1,2)'::int4range$$);
INSERT INTO p SELECT 7, format('%L::bl.of_domain', ROW(ARRAY[ROW(1, 2)::m], m_range(ROW(1, 2)::m, ROW(3, 4)::m), '{}')::of_domain)::dlog.payload;
SELECT n, x FROM p ORDER BY n;
SELECT dlog.payload_as(x, NULL::m) FROM p WHERE n = 1;
ALTER TYPE m ADD ATTRIBUTE c text;
ALTER TYPE m RENAME ATTRIBUTE b TO bb;
SELECT n, x FROM p ORDER BY n;
ALTER TYPE m DROP ATTRIBUTE bb;
SELECT n, x FROM p ORDER BY n;
SELECT dlog.payload_as(x, NULL::m) FROM p WHERE n = 1;
-- an attribute is of another type: they show what they are, and are not read
ALTER TYPE m ALTER ATTRIBUTE a TYPE text;
SELECT n, dlog.payload_type(x), x::text LIKE 'GONE %' AS is_hidden, dlog.payload_text(x) LIKE 'GONE %' AS text_is_hidden
FROM p ORDER BY n;
SELECT dlog.payload_as(x, NULL::m) FROM p WHERE n = 1;
SELECT dlog.payload_as(x, NULL::m[]) FROM p WHERE n = 2;
SELECT dlog.payload_as(x, NULL::outer_m) FROM p WHERE n = 4;
SELECT dlog.payload_as(x, NULL::of_domain) FROM p WHERE n = 7;
-- dropped after that, it is stepped over by its new length
ALTER TYPE m DROP ATTRIBUTE a;
SELECT dlog.payload_as(x, NULL::m) FROM p WHERE n = 1;
SELECT dlog.payload_as(x, NULL::outer_m) FROM p WHERE n = 4;
-- what is written now is good, and a type that is gone does not matter where it is dropped
INSERT INTO p VALUES (9, $$'(c)'::bl.m$$);
SELECT x FROM p WHERE n = 9;
ALTER TYPE outer_m DROP ATTRIBUTE inside;
SELECT dlog.payload_as(x, NULL::outer_m) FROM p WHERE n = 4;
SET client_min_messages = warning;
DROP TABLE p;
DROP TYPE m, outer_m, m_range, of_domain CASCADE;
RESET client_min_messages;
SET ROLE bl_mallory;

-- messages: also a table's that inherits, a partition's, and one of a type's
CREATE TABLE parent (a int8);
CREATE TABLE child () INHERITS (parent);
CREATE TYPE typ AS (a int8);
CREATE TABLE typed OF typ;
CREATE TABLE below_typed () INHERITS (typed);
CREATE TABLE parted (a int8, k int) PARTITION BY LIST (k);
CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);
CREATE TYPE m AS (x typed[]);
CREATE FUNCTION take(state text, m child) RETURNS text LANGUAGE sql AS 'SELECT m.a::text';
CREATE FUNCTION take(state text, m m) RETURNS text LANGUAGE sql AS 'SELECT m.x[1].a::text';
CREATE FUNCTION take(state text, m below_typed) RETURNS text LANGUAGE sql AS 'SELECT m.a::text';
CREATE FUNCTION take(state text, m part) RETURNS text LANGUAGE sql AS 'SELECT m.a::text';
SELECT dlog.create_behavior('taker', 'text', handlers => '{take}');
SELECT dlog.spawn('taker') AS a \gset
ALTER TABLE parent ALTER a TYPE text;
ALTER TABLE ONLY parent ALTER a TYPE text;
ALTER TYPE typ ALTER ATTRIBUTE a TYPE text CASCADE;
ALTER TABLE parted ALTER a TYPE text;
ALTER TABLE parent ADD more text;
SELECT dlog.send(:'a', ROW(7, 'x')::child), dlog.send(:'a', ROW(ARRAY[ROW(8)::typed])::m);
SELECT test.wait_until(format('dlog.state(%L) = ''8''', :'a'));

-- ... also when the behavior does not take it any more, or is gone, for messages of it may wait
SELECT dlog.suspend(:'a');
SELECT dlog.send(:'a', ROW(7, 'x')::child);
SELECT dlog.alter_behavior('taker', drop_messages => '{child}');
ALTER TABLE parent ALTER a TYPE text;
SELECT dlog.drop_behavior('taker');
ALTER TABLE parent ALTER a TYPE text;
CREATE TYPE state AS (x int);
CREATE FUNCTION take(state state, m part) RETURNS state LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION take(state state, m typed) RETURNS state LANGUAGE sql AS 'SELECT state';
SELECT dlog.create_behavior('one', 'state', handlers => '{"take(state, part)"}');
SELECT dlog.create_behavior('other', 'state', handlers => '{"take(state, typed)"}');
-- an actor can have become of the other one
SELECT dlog.drop_behavior('one');
ALTER TABLE parted ALTER a TYPE text;
SELECT dlog.drop_behavior('other');
ALTER TYPE typ ALTER ATTRIBUTE a TYPE text CASCADE;
-- what no behavior has used can be altered
CREATE TYPE free AS (a int8);
ALTER TYPE free ALTER ATTRIBUTE a TYPE text;

-- arguments that are kept for a restart are given to an init that takes them
CREATE TYPE go AS ();
CREATE TYPE arg AS (a int8);
CREATE FUNCTION go(state text, m go) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'fails'; END $$;
CREATE FUNCTION of_bigint(a bigint) RETURNS text LANGUAGE sql AS $$SELECT 'bigint ' || a$$;
CREATE FUNCTION of_text(a text) RETURNS text LANGUAGE sql AS $$SELECT 'text ' || a$$;
CREATE FUNCTION of_two(a bigint, b text) RETURNS text LANGUAGE sql AS $$SELECT 'two ' || a || b$$;
CREATE FUNCTION of_arg(a arg) RETURNS text LANGUAGE sql AS $$SELECT 'arg ' || a::text$$;
SELECT dlog.create_behavior('begins', 'text', 'of_bigint', '{go}');
-- spawned, and changed before init has run
BEGIN;
SELECT dlog.spawn('begins', ROW(12345)) AS a \gset
SELECT dlog.alter_behavior('begins', init => 'of_text');
COMMIT;
SELECT test.wait_until(format('(SELECT count(*) FROM dlog.failures WHERE actor = %L) = 1', :'a'));
SELECT sqlstate, error FROM dlog.failures WHERE actor = :'a';
-- restarted
SELECT dlog.alter_behavior('begins', init => 'of_arg');
SELECT 1 FROM dlog.create_supervisor('bl2', max_restarts => 1);
SELECT dlog.start_child('bl2', 'c', 'begins', ROW(ROW(5)::arg)) AS c \gset
SELECT test.wait_until(format('dlog.state(%L) = ''arg (5)''', :'c'));
-- nobody refuses this: an argument is no message
ALTER TYPE arg ALTER ATTRIBUTE a TYPE text;
SELECT dlog.send(:'c', ROW()::go);
SELECT test.wait_until(format('(SELECT count(*) FROM dlog.failures WHERE actor = %L) = 2', :'c'));
SELECT sqlstate, error FROM dlog.failures WHERE actor = :'c' ORDER BY number;
-- with fewer arguments than init takes
SELECT 1 FROM dlog.create_supervisor('bl3', max_restarts => 1);
SELECT dlog.alter_behavior('begins', init => 'of_bigint');
SELECT dlog.start_child('bl3', 'c', 'begins', ROW(6)) AS c \gset
SELECT test.wait_until(format('dlog.state(%L) = ''bigint 6''', :'c'));
SELECT dlog.alter_behavior('begins', init => 'of_two');
SELECT dlog.send(:'c', ROW()::go);
SELECT test.wait_until(format('(SELECT count(*) FROM dlog.failures WHERE actor = %L) = 2', :'c'));
SELECT sqlstate, error FROM dlog.failures WHERE actor = :'c' ORDER BY number;
-- init is called as long as its owner may call it
SELECT 1 FROM dlog.create_supervisor('bl4', max_restarts => 1);
SELECT dlog.alter_behavior('begins', init => 'of_bigint');
SELECT dlog.start_child('bl4', 'c', 'begins', ROW(6)) AS c \gset
SELECT test.wait_until(format('dlog.state(%L) = ''bigint 6''', :'c'));
REVOKE EXECUTE ON FUNCTION of_bigint FROM PUBLIC, bl_mallory;
SELECT dlog.send(:'c', ROW()::go);
SELECT test.wait_until(format('(SELECT count(*) FROM dlog.failures WHERE actor = %L) = 2', :'c'));
SELECT sqlstate, error FROM dlog.failures WHERE actor = :'c' ORDER BY number;
RESET ROLE;

SET client_min_messages = warning;
SELECT dlog.drop_supervisor(name, cascade => true) FROM dlog.supervisor WHERE name LIKE 'bl%' ORDER BY name;
DROP SCHEMA bl CASCADE;
DROP OWNED BY bl_mallory;
DROP ROLE bl_mallory;
