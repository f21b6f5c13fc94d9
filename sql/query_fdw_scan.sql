-- A scan of a foreign table asks its node for the columns and rows that are
-- needed and no more, and whatever is not pushed down works all the same.
CREATE SERVER here FOREIGN DATA WRAPPER dlog;
CREATE SCHEMA fdw;
SET search_path = fdw, public;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE t (
    id int PRIMARY KEY,
    dropped int,
    name text,
    code text COLLATE "C",
    price numeric(10, 2),
    at timestamptz,
    feeling mood,
    tags int[]
);
ALTER TABLE t DROP COLUMN dropped;
INSERT INTO t
SELECT i, 'name ' || i, chr(65 + i % 26), i * 1.5, '2024-01-01 00:00 UTC'::timestamptz + i * interval '1 hour',
    (ARRAY['sad', 'ok', 'happy', NULL])[1 + i % 4]::mood, ARRAY[i, i % 7]
FROM generate_series(1, 1000) i;
CREATE FOREIGN TABLE ft (
    id int,
    dropped_too date,
    name text,
    code text COLLATE "C",
    price numeric(10, 2),
    at timestamptz,
    feeling mood,
    tags int[]
) SERVER here OPTIONS (table_name 't');
ALTER FOREIGN TABLE ft DROP COLUMN dropped_too;
CREATE FUNCTION explain(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query;
END $$;

-- all types, and nulls
SELECT * FROM ft WHERE id IN (1, 2, 3) ORDER BY id;
SELECT count(*), count(feeling), sum(id), max(price), min(at) = (SELECT min(at) FROM t) FROM ft;
SELECT explain('SELECT count(*) FROM ft');
SELECT * FROM ft EXCEPT ALL SELECT * FROM t;

-- what travels
SELECT explain($$SELECT name FROM ft WHERE id < 10 AND name LIKE 'name%' AND price > 1.5$$);
SELECT explain($$SELECT id FROM ft WHERE feeling = 'happy' AND tags[1] = ANY ('{1,2}') AND code < 'C'$$);
SELECT explain($$SELECT id FROM ft WHERE at > now() - interval '1 year'$$);
SELECT explain($$SELECT id FROM ft WHERE CASE WHEN id = 0 THEN false ELSE 10 / id > 3 END$$);
-- what does not: another collation, volatile functions, our own ones, system columns
SELECT explain($$SELECT id FROM ft WHERE name COLLATE "C" < 'x'$$);
SELECT explain($$SELECT id FROM ft WHERE random() < id$$);
CREATE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 * 2; END';
SELECT explain($$SELECT id FROM ft WHERE twice(id) = 4 AND id = twice(1)$$);
SELECT id FROM ft WHERE twice(id) = 4 AND id = twice(1);
SELECT tableoid::regclass, id FROM ft WHERE tableoid = 'ft'::regclass AND id = 7;
SELECT ft FROM ft WHERE id = 5;
SELECT explain($$SELECT ft FROM ft WHERE id = 5$$);

-- prepared statements, with custom and generic plans
PREPARE one(int, text) AS SELECT name FROM ft WHERE id = $1 AND name <> $2;
EXECUTE one(3, 'x');
SET plan_cache_mode = force_generic_plan;
EXECUTE one(4, 'x');
EXECUTE one(NULL, 'x');
EXPLAIN (VERBOSE, COSTS OFF) EXECUTE one(5, 'x');
RESET plan_cache_mode;

-- lookups, one for each outer row
CREATE TABLE few (k int, label text);
INSERT INTO few VALUES (10, 'ten'), (20, 'twenty'), (NULL, 'none'), (5000, 'no such');
ANALYZE few;
ANALYZE ft;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT explain('SELECT few.label, ft.name FROM few JOIN ft ON ft.id = few.k');
SELECT few.label, ft.name FROM few JOIN ft ON ft.id = few.k ORDER BY k;
SELECT few.label, ft.name FROM few LEFT JOIN ft ON ft.id = few.k + 1 ORDER BY k;
SET enable_nestloop = off;
RESET enable_hashjoin;
SELECT explain('SELECT few.label, ft.name FROM few JOIN ft ON ft.id = few.k');
RESET enable_nestloop;
RESET enable_mergejoin;
SELECT label, (SELECT name FROM ft WHERE ft.id = few.k) FROM few ORDER BY k;
SELECT label, l.id FROM few, LATERAL (SELECT id FROM ft WHERE ft.id > few.k ORDER BY id LIMIT 2) l ORDER BY k, id;
SELECT count(*) FROM ft a JOIN ft b ON a.id = b.id + 1;
SELECT id FROM ft WHERE id = (SELECT max(k) - 4990 FROM few);

-- statistics
SELECT relpages > 0 AS has_pages, reltuples FROM pg_class WHERE relname = 'ft';
SELECT attname, n_distinct, null_frac > 0 AS has_nulls FROM pg_stats WHERE tablename = 'ft' AND attname IN ('id', 'feeling') ORDER BY 1;

-- cursors, and a scan that is left before its end
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM ft ORDER BY id;
FETCH 2 FROM c;
MOVE 100 IN c;
FETCH 1 FROM c;
CLOSE c;
DECLARE d CURSOR FOR SELECT id > 0 FROM ft;
FETCH 1 FROM d;
COMMIT;
SELECT count(*) FROM (SELECT id FROM ft LIMIT 3) s;

-- errors come back whole
CREATE VIEW broken AS SELECT id, 10 / (id - 3) AS x FROM t;
CREATE FOREIGN TABLE fbroken (id int, x int) SERVER here OPTIONS (table_name 'broken');
SELECT * FROM fbroken WHERE id < 3;
SELECT * FROM fbroken;
SELECT * FROM ft WHERE id = 1;

-- rows are read as the role that asks, and a view's as its owner
CREATE ROLE fdw_reader;
CREATE ROLE fdw_stranger;
GRANT USAGE ON SCHEMA fdw TO fdw_reader, fdw_stranger;
GRANT SELECT ON ft TO fdw_reader, fdw_stranger;
GRANT SELECT ON t TO fdw_reader;
CREATE VIEW v AS SELECT id, name FROM ft;
GRANT SELECT ON v TO fdw_stranger;
SET ROLE fdw_reader;
SELECT name FROM ft WHERE id = 9;
SET ROLE fdw_stranger;
\set VERBOSITY sqlstate
SELECT name FROM ft WHERE id = 9;
\set VERBOSITY default
SELECT name FROM v WHERE id = 9;
RESET ROLE;
CREATE POLICY p ON t FOR SELECT TO fdw_reader USING (id <= 2);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
SET ROLE fdw_reader;
SELECT id FROM ft ORDER BY id;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA fdw CASCADE;
DROP SERVER here CASCADE;
DROP ROLE fdw_reader, fdw_stranger;
