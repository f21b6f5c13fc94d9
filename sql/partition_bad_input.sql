-- distribute_table refuses what it cannot spread, before anything is changed,
-- and says what is in the way.
CREATE SCHEMA bad;
SET search_path = bad;
CREATE FUNCTION pg_temp.attempt(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text; message text; detail text; hint text;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', state || ' ' || message, 'DETAIL ' || nullif(detail, ''),
                     'HINT ' || nullif(hint, ''));
END $$;
CREATE TABLE t (id bigint, name text, place point, note json,
    twice bigint GENERATED ALWAYS AS (id * 2) STORED);
\pset format unaligned
\pset tuples_only on

-- columns
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'nothing') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'ctid') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'twice') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'place') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'note') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', ARRAY['id', 'id']) $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', ARRAY['id', NULL]) $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', '{}'::name[]) $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', NULL::name) $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table(NULL, 'id') $$);
-- a key's hash must be the same on every node
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN moods AS mood[];
CREATE TYPE pair AS (a int, b mood);
CREATE TABLE moody (m mood, ms moods, p pair, r regclass);
SELECT pg_temp.attempt(format('SELECT dlog.distribute_table(%L, %L)', 'moody', attname))
FROM pg_attribute WHERE attrelid = 'moody'::regclass AND attnum > 0 ORDER BY attnum;

-- numbers of partitions
SELECT pg_temp.attempt(format('SELECT dlog.distribute_table(%L, %L, %s)', 't', 'id', n))
FROM unnest(ARRAY[0, -1, 4097, 100000]) n;
-- nodes
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'id', nodes => ARRAY['nowhere']) $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'id', nodes => ARRAY['here', 'here']) $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'id', nodes => ARRAY[NULL]::name[]) $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'id', nodes => '{}') $$);

-- kinds of relations
CREATE TEMP TABLE temporary (id int);
CREATE UNLOGGED TABLE unlogged (id int);
CREATE VIEW v AS SELECT 1 AS id;
CREATE MATERIALIZED VIEW mv AS SELECT 1 AS id;
CREATE SEQUENCE s;
CREATE INDEX t_index ON t (id);
CREATE TABLE partitioned (id int) PARTITION BY HASH (id);
CREATE TABLE a_partition PARTITION OF partitioned FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
CREATE TYPE row_type AS (id int);
CREATE TABLE typed OF row_type;
SELECT pg_temp.attempt(format('SELECT dlog.distribute_table(%L, %L)', name, 'id'))
FROM unnest(ARRAY['pg_temp.temporary', 'unlogged', 'v', 'mv', 's', 't_index', 'partitioned',
    'a_partition', 'parent', 'child', 'typed', 'pg_class', 'information_schema.sql_features',
    'dlog.distributed_table', 'nonsense']) name;

-- what would not work, or be lost
CREATE TABLE target (id int PRIMARY KEY);
CREATE TABLE source (id int PRIMARY KEY, target int REFERENCES target);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('target', 'id') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('source', 'id') $$);
CREATE TABLE keyed (id int PRIMARY KEY, email text, UNIQUE (email, id));
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('keyed', 'email') $$);
CREATE UNIQUE INDEX keyed_lower ON keyed (lower(email));
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('keyed', 'id') $$);
CREATE TABLE excluded (id int, during int4range, EXCLUDE USING gist (during WITH &&));
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('excluded', 'id') $$);
CREATE TABLE numbered (id serial, other int GENERATED ALWAYS AS IDENTITY);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('numbered', 'id') $$);
CREATE TABLE triggered (id int);
CREATE TRIGGER quiet BEFORE UPDATE ON triggered FOR EACH ROW
    EXECUTE FUNCTION suppress_redundant_updates_trigger();
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('triggered', 'id') $$);
CREATE TABLE ruled (id int);
CREATE RULE nothing AS ON DELETE TO ruled DO INSTEAD NOTHING;
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('ruled', 'id') $$);
CREATE TABLE seen (id int);
CREATE VIEW seen_by_view AS SELECT * FROM seen;
CREATE TABLE made_of_seen (whole seen, many seen[]);
CREATE FUNCTION takes_seen(seen) RETURNS int LANGUAGE sql RETURN 1;
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('seen', 'id') $$);
SELECT count(*) FROM seen_by_view;

-- not the owner
CREATE ROLE stranger;
GRANT USAGE ON SCHEMA bad TO stranger;
GRANT ALL ON t TO stranger;
SET ROLE stranger;
SELECT dlog.distribute_table('bad.t', 'id');
RESET ROLE;

-- isolation levels that would leave new rows behind
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT dlog.distribute_table('t', 'id');
ROLLBACK;
-- a cursor is open on it
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t;
SELECT dlog.distribute_table('t', 'id');
ROLLBACK;

-- twice, and the parts of what is distributed
\set VERBOSITY terse
SELECT dlog.distribute_table('t', 'id', 2);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t', 'id', 2) $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('t_0', 'id', 2) $$);
SELECT pg_temp.attempt($$ SELECT dlog.undistribute_table('keyed') $$);
SELECT pg_temp.attempt($$ SELECT dlog.undistribute_table('t_0') $$);
-- co-location
CREATE TABLE other (id int, key bigint, a bigint, b bigint);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('other', 'id', colocate_with => 't') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('other', ARRAY['a', 'b'], colocate_with => 't') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('other', 'key', 3, colocate_with => 't') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('other', 'key', colocate_with => 'keyed') $$);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('other', 'key', colocate_with => 't', nodes => ARRAY['here']) $$);
SELECT dlog.distribute_table('other', 'key', colocate_with => 't');
SELECT count(DISTINCT colocation) FROM dlog.distributed_tables;

-- a name that is taken
CREATE TABLE taken (id int);
CREATE TABLE taken_1 (id int);
SELECT pg_temp.attempt($$ SELECT dlog.distribute_table('taken', 'id', 2) $$);
SELECT relkind FROM pg_class WHERE oid = 'taken'::regclass;

SET client_min_messages = warning;
DROP SCHEMA bad CASCADE;
SELECT count(*) FROM dlog.distributed_table;
DROP ROLE stranger;
