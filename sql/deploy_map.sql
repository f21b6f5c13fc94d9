-- deploy_map runs a query on every node and gives one row per node, with its
-- result or its error.  Here the flock has one node; t/060_deploy.pl has more.
\set VERBOSITY terse
CREATE FUNCTION test.map(query text, timeout interval DEFAULT '30 s', writes boolean DEFAULT false)
RETURNS TABLE (node text, result jsonb, error text, sqlstate text, rows bigint, attempts int)
LANGUAGE sql AS
$$ SELECT node, result, error, sqlstate, rows, attempts
   FROM dlog.deploy_map('all', query, timeout, writes => writes) $$;

-- one column is a value, several are an object; several rows are an array
SELECT * FROM test.map('SELECT 1');
SELECT * FROM test.map('SELECT 1 AS a, ''x'' AS b');
SELECT * FROM test.map('SELECT a FROM generate_series(1, 3) a');
SELECT * FROM test.map('SELECT a, a * a AS b FROM generate_series(1, 2) a');
SELECT * FROM test.map('SELECT 1 WHERE false');
SELECT * FROM test.map('SELECT NULL::int');
SELECT * FROM test.map('VALUES (1, NULL), (NULL, ''y'')');
SELECT * FROM test.map('SELECT');

-- any statement will do; of several the last one answers
SELECT * FROM test.map('SHOW dlog.node_name');
SELECT * FROM test.map('EXPLAIN (COSTS OFF) SELECT 1');
SELECT * FROM test.map('WITH q AS (SELECT 1 AS a) TABLE q -- the end');
SELECT * FROM test.map('SELECT 1; SELECT 2;');

-- all the ways to call it
SELECT node, result FROM dlog.deploy_map('all', 'SELECT 1', '10 s', 2);
SELECT node, result FROM dlog.deploy_map('all', 'SELECT 1', interval '10 s');
SELECT node, result FROM dlog.deploy_map('all', 'SELECT 1', timeout => '10 s', retries => 3);
SELECT node, result FROM dlog.deploy_map('all', 'SELECT 1', retries => 3, on_error => 'report');
SELECT elapsed >= '10 ms' AND elapsed < '10 s' AS elapsed FROM dlog.deploy_map('all', 'SELECT pg_sleep(0.01)');

-- typed: a row for each row
SELECT node, result, pg_typeof(result), error, rows FROM dlog.deploy_map('all', 'SELECT a FROM generate_series(1, 2) a', NULL::bigint);
SELECT node, result, error, rows FROM dlog.deploy_map('all', 'SELECT a FROM generate_series(1, 0) a', NULL::bigint, '10 s');
SELECT node, result FROM dlog.deploy_map('all', 'SELECT ''x''', as_type => NULL::text, timeout => '10 s');
SELECT node, result FROM dlog.deploy_map('all', 'SELECT ARRAY[a, a] FROM generate_series(1, 2) a', NULL::int[]);
CREATE TYPE test.point3 AS (x int, y bigint, z text);
SELECT node, (result).* FROM dlog.deploy_map('all', 'SELECT a, a, ''z'' || a FROM generate_series(1, 2) a', NULL::test.point3);
SELECT node, (result).* FROM dlog.deploy_map('all', 'SELECT ROW(1, 2, 3)::test.point3', NULL::test.point3);
CREATE DOMAIN test.even AS int CHECK (VALUE % 2 = 0);
SELECT node, result FROM dlog.deploy_map('all', 'SELECT 4', NULL::test.even);

-- what does not fit is the node's error
SELECT result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT 3000000000', NULL::int);
SELECT result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT 1.5', NULL::int);
SELECT result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT 1, 2', NULL::int);
SELECT result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT', NULL::int);
SELECT result, error, sqlstate FROM dlog.deploy_map('all', 'SET work_mem = ''1MB''', NULL::int);
SELECT result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT 3', NULL::test.even);
SELECT result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT 1, 2', NULL::test.point3);
SELECT result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT 1, 2, 3, 4', NULL::test.point3);
SELECT result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT 1, 2, now()', NULL::test.point3);

-- arguments are bound, with their types, and a function may stand for the query
SELECT node, result, error FROM dlog.deploy_map('all', 'SELECT $1 + 1 AS a, $2 AS b, $3 AS c', args => ROW(41, 'it''s; DROP TABLE x', NULL::date));
SELECT result FROM dlog.deploy_map('all', 'SELECT $1; SELECT $2', as_type => NULL::text, args => ROW('first'::text, 'last'::text));
CREATE FUNCTION test.doubled(a int, b text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT b || a UNION ALL SELECT b || 2 * a $$;
SELECT result FROM dlog.deploy_map('all', 'test.doubled', args => ROW(4, 'x'::text));
SELECT result FROM dlog.deploy_map('all', ' "test"."doubled" ( integer, text )', as_type => NULL::text, args => ROW(4::smallint, 'x'));
SELECT result > 0 AS result FROM dlog.deploy_map('all', 'pg_database_size(name)', NULL::bigint, args => ROW(current_database()));
SELECT result FROM dlog.deploy_map('all', 'pg_catalog.version', as_type => NULL::text) WHERE result NOT LIKE 'PostgreSQL%';
SELECT error, sqlstate FROM dlog.deploy_map('all', 'nonesuch', args => ROW(1));
SELECT error, sqlstate FROM dlog.deploy_map('all', 'SELECT $2', args => ROW(1));
SELECT * FROM dlog.deploy_map('all', 'test.doubled(int, text)', args => ROW(1));
-- a type of the user's travels too
SELECT result FROM dlog.deploy_map('all', 'SELECT ($1).z', as_type => NULL::text, args => ROW(ROW(1, 2, 'z')::test.point3));

-- in FROM it is a scan whose rows come as the nodes answer
EXPLAIN (COSTS OFF) SELECT node FROM dlog.deploy_map('all', 'SELECT 1') WHERE error IS NULL;
EXPLAIN (COSTS OFF) SELECT m FROM dlog.deploy_map('all', 'SELECT 1') m;
SELECT count(m) FROM dlog.deploy_map('all', 'SELECT 1') m;
SELECT a, result FROM generate_series(1, 3) a, dlog.deploy_map('all', 'SELECT 10 * $1', NULL::int, args => ROW(a)) ORDER BY a;
SELECT a, result FROM generate_series(1, 2) a LEFT JOIN LATERAL dlog.deploy_map('all', 'SELECT generate_series(1, $1)', NULL::int, args => ROW(a)) ON result > 1;
SELECT (dlog.deploy_map('all', 'SELECT 7', NULL::int)).result;
BEGIN;
DECLARE answers CURSOR FOR SELECT result FROM dlog.deploy_map('all', 'SELECT generate_series(1, 3)', NULL::int);
FETCH 2 FROM answers;
FETCH 2 FROM answers;
CREATE TEMP TABLE seen AS SELECT 5 AS a;
SELECT result, error FROM dlog.deploy_map('all', 'SELECT a FROM seen', NULL::int);
ROLLBACK;
PREPARE again(int) AS SELECT result FROM dlog.deploy_map('all', 'SELECT $1', NULL::int, args => ROW($1));
EXECUTE again(1);
EXECUTE again(2);
DEALLOCATE again;

-- a failing query is an answer, and can be made to fail the statement
SELECT * FROM test.map('SELECT 1 / 0');
SELECT * FROM test.map('SELECT * FROM nonesuch');
SELECT * FROM dlog.deploy_map('all', 'SELECT 1 / 0', on_error => 'fail');
BEGIN;
SELECT * FROM test.map('SELECT 1 / 0');
SELECT 'the transaction goes on' AS still;
COMMIT;

-- it only reads, unless told
CREATE TABLE test.visit (a int UNIQUE);
SELECT * FROM test.map('INSERT INTO test.visit VALUES (1)');
SELECT * FROM test.map('SET transaction_read_only = off; INSERT INTO test.visit VALUES (1)');
SELECT * FROM test.map('INSERT INTO test.visit VALUES (1), (2)', writes => true);
SELECT * FROM test.map('UPDATE test.visit SET a = a + 10 RETURNING a', writes => true);
SELECT * FROM test.map('CREATE INDEX ON test.visit (a)', writes => true);
-- in the asking transaction, and as a whole
BEGIN;
SELECT * FROM test.map('DELETE FROM test.visit', writes => true);
SELECT * FROM test.map('SELECT count(*) FROM test.visit');
ROLLBACK;
SELECT * FROM test.map('SELECT count(*) FROM test.visit');
SELECT * FROM test.map('INSERT INTO test.visit VALUES (11)', writes => true);
BEGIN READ ONLY;
SELECT error, sqlstate FROM dlog.deploy_map('all', 'DELETE FROM test.visit');
SELECT * FROM test.map('DELETE FROM test.visit', writes => true);
ROLLBACK;
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', writes => true, on_error => 'report');
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', writes => true, retries => 1);

-- settings that the query changes end with it
SELECT * FROM test.map('SET work_mem = ''77MB''; SHOW work_mem');
SHOW work_mem;

-- too late
SELECT * FROM test.map('SELECT pg_sleep(60)', '50 ms');
SELECT * FROM test.map('SELECT 1 FROM dlog.deploy_map(''all'', ''SELECT pg_sleep(60)'', ''60 s'')', '50 ms');
SELECT * FROM test.map('SELECT error FROM dlog.deploy_map(''all'', ''SELECT pg_sleep(60)'', ''50 ms'')', '60 s');
SELECT result FROM test.map('SELECT 1', '0');
-- a timeout of the session's own is not the query's
SET statement_timeout = '50 ms';
SELECT * FROM test.map('SELECT pg_sleep(60)', '60 s');
RESET statement_timeout;

-- what is refused before any node is asked
SELECT * FROM dlog.deploy_map('nonesuch', 'SELECT 1');
SELECT * FROM dlog.deploy_map(NULL, 'SELECT 1');
SELECT * FROM dlog.deploy_map('all', NULL);
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', NULL::interval);
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', NULL::text);
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', 'soon');
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', '-1 s');
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', '1 year');
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', retries => -1);
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', retries => NULL);
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', writes => NULL);
SELECT * FROM dlog.deploy_map('all', 'SELECT 1', on_error => 'skip');
SELECT * FROM dlog.deploy_map('all', '');
SELECT * FROM dlog.deploy_map('all', ' ; -- nothing');
\set VERBOSITY default
SELECT * FROM dlog.deploy_map('all', 'SELECT 1, FROM x');
\set VERBOSITY terse
-- and what cannot run in a transaction that is the asker's
SELECT * FROM test.map('COMMIT');
SELECT * FROM test.map('VACUUM', writes => true);
SELECT * FROM test.map('COPY pg_class TO STDOUT');
SELECT * FROM test.map('SELECT $1');

-- only members of dlog_deployer may ask, with no more rights than they have
CREATE ROLE test_deployer;
SET ROLE test_deployer;
SELECT node, result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT current_user');
SELECT dlog.deploy_map('all', 'SELECT current_user');
SELECT dlog.deploy_answer('SELECT 1', NULL::int, 'rows', false);
RESET ROLE;
GRANT dlog_deployer TO test_deployer;
SET ROLE test_deployer;
SELECT node, result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT current_user');
SELECT node, result, error, sqlstate FROM dlog.deploy_map('all', 'SELECT * FROM pg_authid');
RESET ROLE;

DROP ROLE test_deployer;
DROP TABLE test.visit;
DROP FUNCTION test.doubled(int, text);
DROP TYPE test.point3;
DROP DOMAIN test.even;
DROP FUNCTION test.map(text, interval, boolean);
