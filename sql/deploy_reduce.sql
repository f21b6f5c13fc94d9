-- deploy_reduce merges one value per node with whatever is (A, A) -> A, where
-- A is the type of "init", and refuses everything else before a node is asked.
\set VERBOSITY terse

-- operators, functions and aggregates
SELECT dlog.deploy_reduce('all', 'SELECT 5', '+', 1);
SELECT dlog.deploy_reduce('all', 'SELECT 5', ' pg_catalog.* ', 2);
SELECT dlog.deploy_reduce('all', 'SELECT ''b''', '||', 'a'::text);
SELECT dlog.deploy_reduce('all', 'SELECT ''b''', '||', 'a'::varchar);
SELECT dlog.deploy_reduce('all', 'SELECT ARRAY[2, 3]', '||', ARRAY[1]);
SELECT dlog.deploy_reduce('all', 'SELECT ''{"b": 2}''::jsonb', '||', '{"a": 1}'::jsonb);
SELECT dlog.deploy_reduce('all', 'SELECT 5', 'int4larger', 7);
SELECT dlog.deploy_reduce('all', 'SELECT 5', 'pg_catalog.int4smaller', 7);
SELECT dlog.deploy_reduce('all', 'SELECT 5', 'int4larger(int, int)', 7);
SELECT dlog.deploy_reduce('all', 'SELECT 5', 'int4smaller(int, int)'::regprocedure, 7);
SELECT dlog.deploy_reduce('all', 'SELECT ''b''', 'max', 'a'::text);
SELECT dlog.deploy_reduce('all', 'SELECT ''b''', 'min', 'a'::text COLLATE "C");
SELECT dlog.deploy_reduce('all', 'SELECT 5', 'max(int)'::regprocedure, 7);
SELECT dlog.deploy_reduce('all', 'SELECT false', 'bool_and', true);
SELECT dlog.deploy_reduce('all', 'SELECT interval ''1 h''', 'sum', interval '1 min');
SELECT dlog.deploy_reduce('all', 'SELECT 0.5', 'sum', 1::numeric);
SELECT dlog.deploy_reduce('all', 'SELECT ARRAY[1, 3]', 'max', ARRAY[1, 2]);
-- count merges by adding; sums take what count(*) returns
SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM generate_series(1, 10)', 'count', 0::bigint);
SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM generate_series(1, 10)', 'sum', 0::bigint);
SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM generate_series(1, 10)', 'sum', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 3000000000', 'sum', 0);
SELECT pg_typeof(dlog.deploy_reduce('all', 'SELECT 1', '+', 0::bigint, '10 s', 2));

-- a function of the user's, over a row type
CREATE TYPE test.extent AS (low int, high int);
CREATE FUNCTION test.widen(a test.extent, b test.extent) RETURNS test.extent
LANGUAGE sql IMMUTABLE AS
$$ SELECT least((a).low, (b).low), greatest((a).high, (b).high) $$;
SELECT dlog.deploy_reduce('all', 'SELECT min(a), max(a) FROM generate_series(3, 9) a', 'test.widen', ROW(5, 6)::test.extent);
-- an aggregate of the user's
CREATE AGGREGATE test.widest(test.extent) (SFUNC = test.widen, STYPE = test.extent, COMBINEFUNC = test.widen);
SELECT dlog.deploy_reduce('all', 'SELECT 1, 2', 'test.widest', ROW(5, 6)::test.extent);

-- nulls: a strict reduce never sees one, another one does; no row is no value
SELECT dlog.deploy_reduce('all', 'SELECT NULL::int', '+', 1);
SELECT dlog.deploy_reduce('all', 'SELECT 1', '+', NULL::int);
SELECT dlog.deploy_reduce('all', 'SELECT NULL::int', '+', NULL::int);
SELECT dlog.deploy_reduce('all', 'SELECT 1 WHERE false', '+', 1);
CREATE FUNCTION test.say(a text, b text) RETURNS text LANGUAGE plpgsql CALLED ON NULL INPUT AS
$$ BEGIN RETURN coalesce(a, 'null') || '+' || coalesce(b, 'null'); END $$;
SELECT dlog.deploy_reduce('all', 'SELECT NULL::text', 'test.say', NULL::text);
SELECT dlog.deploy_reduce('all', 'SELECT ''x'' WHERE false', 'test.say', 'init'::text);

-- what does not merge is refused, with what was expected
\set VERBOSITY default
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'avg', 0::numeric);
\set VERBOSITY terse
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'avg(int)'::regprocedure, 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'array_agg', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'row_number', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', '<', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', '||', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', '+', 'a'::text);
SELECT dlog.deploy_reduce('all', 'SELECT 1', '+ 1 +', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'nonesuch', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'nonesuch(int, int)', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'abs(int)', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'int8pl(bigint, bigint)', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'generate_series', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'power', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'test.say', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 0::regprocedure, 0);

-- an aggregate that is named with its types stands for itself, over all rows
SELECT dlog.deploy_reduce('all', 'SELECT generate_series(1, 4)', 'avg(numeric)', NULL::numeric);
SELECT dlog.deploy_reduce('all', 'SELECT a FROM generate_series(1, 4) a WHERE a > $1; -- the end', 'pg_catalog.avg(bigint)', NULL::numeric, args => ROW(2));
SELECT round(dlog.deploy_reduce('all', 'SELECT a::float8 FROM generate_series(1, 4) a', 'stddev(float8)', NULL::float8)::numeric, 6);
SELECT dlog.deploy_reduce('all', 'SELECT a, 2 * a FROM generate_series(1, 4) a', 'regr_slope(float8, float8)', NULL::float8);
SELECT dlog.deploy_reduce('all', 'SELECT 1 WHERE false', 'avg(int)', NULL::numeric);
SELECT dlog.deploy_reduce('all', 'SELECT generate_series(1, 4)', 'sum(bigint)'::regprocedure, NULL::numeric);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'avg(int)', 0::numeric);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'avg(int)', NULL::int);
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'string_agg(text, text)', NULL::text);
SELECT dlog.deploy_reduce('all', 'SELECT 1, 2', 'avg(int)', NULL::numeric);
SELECT dlog.deploy_reduce('all', 'SHOW work_mem', 'avg(int)', NULL::numeric);

-- init, checked to be neutral
SELECT dlog.deploy_reduce('all', 'SELECT 5', '+', 0, check_init => true);
SELECT dlog.deploy_reduce('all', 'SELECT 5', 'max', NULL::int, check_init => true);
SELECT dlog.deploy_reduce('all', 'SELECT ''b''', '||', ''::text, check_init => true);
\set VERBOSITY default
SELECT dlog.deploy_reduce('all', 'SELECT 5', '+', 1, check_init => true);
\set VERBOSITY terse
SELECT dlog.deploy_reduce('all', 'SELECT 5', '+', 1, check_init => NULL);

-- numbers of distinct values do not add up
\set VERBOSITY default
SELECT dlog.deploy_reduce('all', 'SELECT count(DISTINCT user_id) FROM visits', '+', 0::bigint);
\set VERBOSITY terse
SELECT dlog.deploy_reduce('all', 'SELECT 1 + count(DISTINCT lower(name)) FROM visits', 'sum', 0::numeric);
SELECT dlog.deploy_reduce('all', 'SELECT count(DISTINCT a) FROM generate_series(1, 3) a', 'max', 0::bigint);
SELECT dlog.deploy_reduce('all', 'SELECT n FROM (SELECT count(DISTINCT a) AS n FROM generate_series(1, 3) a) s', '+', 0::bigint);
SELECT cardinality(dlog.deploy_reduce('all', 'SELECT array_agg(DISTINCT a % 3) FROM generate_series(1, 9) a', 'dlog.set_union', ARRAY[7, 0]));
SELECT dlog.set_union(ARRAY['b', NULL, 'a', 'b'], '{c,a}'), dlog.set_union('{}'::int[], '{}'), dlog.set_union(ARRAY[3, 1], '{2}');
SELECT dlog.set_union(ARRAY['{}'::json], ARRAY['{}'::json]);

-- maps that do not give one value of that type
SELECT dlog.deploy_reduce('all', 'SELECT 1, 2', '+', 0);
SELECT dlog.deploy_reduce('all', 'SELECT generate_series(1, 2)', '+', 0);
SELECT dlog.deploy_reduce('all', 'SELECT ''a''', '+', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1.5', '+', 0);
SELECT dlog.deploy_reduce('all', 'CREATE TABLE test.x ()', '+', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1; SET work_mem = ''1MB''', '+', 0);

-- errors of nodes fail the reduce, or are skipped and counted
SELECT dlog.deploy_reduce('all', 'SELECT 1 / 0', '+', 0);
\set VERBOSITY default
SELECT dlog.deploy_reduce('all', 'SELECT 1 / 0', '+', 42, on_error => 'skip');
-- and so do errors of the reduce
SELECT dlog.deploy_reduce('all', 'SELECT 0', '/', 42);
\set VERBOSITY terse
SELECT dlog.deploy_reduce('all', 'SELECT 2147483647', '+', 1);

-- the rest of bad input
SELECT dlog.deploy_reduce('nonesuch', 'SELECT 1', '+', 0);
SELECT dlog.deploy_reduce(NULL, 'SELECT 1', '+', 0);
SELECT dlog.deploy_reduce('all', NULL, '+', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', NULL::text, 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', NULL::regprocedure, 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', ' ', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', '+', '0');
SELECT dlog.deploy_reduce('all', '', '+', 0);
SELECT dlog.deploy_reduce('all', 'SELEC 1', '+', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', '+', 0, '-1 s');
SELECT dlog.deploy_reduce('all', 'SELECT 1', '+', 0, retries => -1);
SELECT dlog.deploy_reduce('all', 'SELECT 1', '+', 0, on_error => 'report');
SELECT dlog.deploy_reduce('all', 'SELECT 1 FROM pg_sleep(60)', '+', 0, '50 ms');

-- a reduce that one may not execute
CREATE FUNCTION test.secret(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $2';
REVOKE EXECUTE ON FUNCTION test.secret(int, int) FROM PUBLIC;
GRANT USAGE ON SCHEMA test TO PUBLIC;
CREATE ROLE test_reducer IN ROLE dlog_deployer;
SET ROLE test_reducer;
SELECT dlog.deploy_reduce('all', 'SELECT 1', 'test.secret', 0);
SELECT dlog.deploy_reduce('all', 'SELECT 1', '+', 0);
RESET ROLE;
REVOKE USAGE ON SCHEMA test FROM PUBLIC;

DROP ROLE test_reducer;
DROP FUNCTION test.secret(int, int);
DROP FUNCTION test.say(text, text);
DROP AGGREGATE test.widest(test.extent);
DROP FUNCTION test.widen(test.extent, test.extent);
DROP TYPE test.extent;

-- each node would add up the whole table
CREATE TABLE "Whole" (id int PRIMARY KEY);
SET client_min_messages = warning;
SELECT dlog.distribute_table('"Whole"', by => 'id', partitions => 4);
INSERT INTO "Whole" SELECT generate_series(1, 10);
SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM (SELECT FROM "Whole" WHERE id > 3) w', 'sum', 0::bigint);
SELECT dlog.deploy_reduce('all', 'SELECT count(*) AS partitions FROM dlog.local_partitions(''public."Whole"'')', 'sum', 0::bigint);
RESET client_min_messages;
DROP TABLE "Whole";
