-- SQL runs on a node by its name, as me, under my settings, and in my
-- transaction; what goes wrong there is told whole.
\set VERBOSITY default
SELECT * FROM dlog.execute('here', 'SELECT 1, ''two''::text, NULL::date') AS (a int, b text, c date);
SELECT count(*), sum(a) FROM dlog.execute('here', 'SELECT generate_series(1, 100000)') AS (a int);
SELECT * FROM dlog.execute('here', 'SELECT WHERE false') AS (a int);

-- several statements; the rows are those of the last that returns any
CREATE TABLE remote_t (a int PRIMARY KEY, b text CHECK (b <> 'bad'));
SELECT * FROM dlog.execute('here', $$
    INSERT INTO remote_t VALUES (1, 'one'), (2, 'two');
    SELECT 'not these'::text;
    SELECT b FROM remote_t ORDER BY a;
    UPDATE remote_t SET b = upper(b)
$$) AS (b text);
SELECT * FROM remote_t ORDER BY a;
SELECT * FROM dlog.execute('here', 'DELETE FROM remote_t WHERE a = 2 RETURNING *') AS (a int, b text);
SELECT dlog.execute_command('here', 'INSERT INTO remote_t SELECT i, i::text FROM generate_series(10, 14) i');
SELECT dlog.execute_command('here', 'CREATE TABLE remote_made (a int)');
SELECT dlog.execute_command('here', '');
SELECT dlog.execute_command('here', 'SELECT 1; SELECT 2');

-- a transaction that only reads stays one over there
BEGIN READ ONLY;
SELECT dlog.execute_command('here', 'SET TRANSACTION READ WRITE; INSERT INTO remote_t VALUES (30, ''x'')');
ROLLBACK;
BEGIN READ ONLY;
SELECT dlog.execute_command('here', 'SET transaction_read_only = off; INSERT INTO remote_t VALUES (31, ''x'')');
ROLLBACK;
BEGIN READ ONLY;
SELECT dlog.execute_command('here', 'RESET transaction_read_only; INSERT INTO remote_t VALUES (32, ''x'')');
ROLLBACK;
BEGIN READ ONLY;
SELECT dlog.execute_command('here', 'SELECT set_config(''transaction_read_only'', ''off'', true); INSERT INTO remote_t VALUES (33, ''x'')');
ROLLBACK;
BEGIN READ ONLY;
SELECT dlog.execute_command('here', 'DO ''BEGIN SET TRANSACTION READ WRITE; END''; INSERT INTO remote_t VALUES (34, ''x'')');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT dlog.execute_command('here', 'SET LOCAL transaction_read_only TO DEFAULT; INSERT INTO remote_t VALUES (35, ''x'')');
ROLLBACK;
SELECT dlog.execute_command('here', 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE');
SELECT count(*) FROM remote_t WHERE a BETWEEN 30 AND 39;

-- columns must be what was said
SELECT * FROM dlog.execute('here', 'SELECT 1::bigint AS x') AS (x int);
SELECT * FROM dlog.execute('here', 'SELECT 1, 2') AS (x int);
SELECT * FROM dlog.execute('here', 'CREATE TABLE remote_other (a int)') AS (x int);

-- errors are whole
SELECT * FROM dlog.execute('here', 'SELECT 1 / 0') AS (x int);
SELECT dlog.execute_command('here', 'INSERT INTO remote_t VALUES (10, ''again'')');
SELECT dlog.execute_command('here', 'SELEKT');
DO $$
DECLARE
    state text; said text; detailed text; hinted text; in_schema text; in_table text; con text;
BEGIN
    PERFORM dlog.execute_command('here', 'INSERT INTO public.remote_t VALUES (20, ''bad'')');
EXCEPTION WHEN check_violation THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detailed = PG_EXCEPTION_DETAIL,
        in_schema = SCHEMA_NAME, in_table = TABLE_NAME, con = CONSTRAINT_NAME;
    RAISE NOTICE '% | % | % | % | % | %', state, said, detailed, in_schema, in_table, con;
END $$;
SELECT dlog.execute_command('here', $$DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''XX123'', MESSAGE = ''m'', DETAIL = ''d'', HINT = ''h''; END'$$);

-- so are notices and warnings
SELECT dlog.execute_command('here', $$DO 'BEGIN RAISE NOTICE ''told'' USING HINT = ''so''; RAISE WARNING ''warned''; RAISE INFO ''known''; END'$$);
SELECT dlog.execute_command('here', 'DROP TABLE IF EXISTS remote_missing');

-- bad arguments
SELECT dlog.execute_command('nowhere', 'SELECT 1');
SELECT dlog.execute_command(NULL, 'SELECT 1');
SELECT dlog.execute_command('here', NULL);
SELECT dlog.execute_command('here', 'SELECT 1', '-1 s');
SELECT * FROM dlog.execute('here', 'SELECT 1');

-- what belongs to this transaction stays in its hands
SELECT dlog.execute_command('here', 'COMMIT');
SELECT dlog.execute_command('here', 'SELECT 1; ROLLBACK');
SELECT dlog.execute_command('here', 'VACUUM remote_t');
SELECT dlog.execute_command('here', 'CREATE PROCEDURE remote_commit() LANGUAGE plpgsql AS $$BEGIN COMMIT; END$$');
SELECT dlog.execute_command('here', 'CALL remote_commit()');
SELECT dlog.execute_command('here', 'COPY remote_t TO STDOUT');

-- transactions
BEGIN;
SELECT dlog.execute_command('here', 'INSERT INTO remote_t VALUES (30, ''rolled back'')');
SELECT * FROM dlog.execute('here', 'SELECT b FROM remote_t WHERE a = 30') AS (b text);
ROLLBACK;
SELECT count(*) FROM remote_t WHERE a = 30;
BEGIN;
SELECT dlog.execute_command('here', 'INSERT INTO remote_t VALUES (31, ''kept'')');
SAVEPOINT one;
SELECT dlog.execute_command('here', 'INSERT INTO remote_t VALUES (32, ''rolled back'')');
SAVEPOINT two;
SELECT dlog.execute_command('here', 'INSERT INTO remote_t VALUES (31, ''twice'')');
ROLLBACK TO two;
SELECT dlog.execute_command('here', 'INSERT INTO remote_t VALUES (33, ''rolled back too'')');
RELEASE two;
ROLLBACK TO one;
SELECT dlog.execute_command('here', 'INSERT INTO remote_t VALUES (34, ''kept too'')');
RELEASE one;
SELECT * FROM dlog.execute('here', 'SELECT b FROM remote_t WHERE a > 30 ORDER BY a') AS (b text);
COMMIT;
SELECT a, b FROM remote_t WHERE a >= 30 ORDER BY a;
BEGIN;
SELECT dlog.execute_command('here', 'SELECT 1 / 0');
SELECT 1;
ROLLBACK;
-- an error that is caught rolls back there what it rolls back here
DO $$
BEGIN
    PERFORM dlog.execute_command('here', 'INSERT INTO remote_t VALUES (40, ''kept'')');
    BEGIN
        PERFORM dlog.execute_command('here', 'INSERT INTO remote_t VALUES (41, ''lost'')');
        PERFORM dlog.execute_command('here', 'SELECT 1 / 0');
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'caught';
    END;
    PERFORM dlog.execute_command('here', 'INSERT INTO remote_t VALUES (42, ''kept'')');
END $$;
SELECT a, b FROM remote_t WHERE a >= 40 ORDER BY a;
-- a deferred constraint fails at commit, here and there
SELECT dlog.execute_command('here', 'CREATE TABLE remote_d (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)');
SELECT dlog.execute_command('here', 'INSERT INTO remote_d VALUES (1), (1)');
SELECT count(*) FROM remote_d;
BEGIN;
SELECT dlog.execute_command('here', 'INSERT INTO remote_d VALUES (2)');
PREPARE TRANSACTION 'remote';
SELECT count(*) FROM remote_d;

-- a transaction that only reads runs nothing that writes
BEGIN READ ONLY;
SELECT * FROM dlog.execute('here', 'SELECT b FROM remote_t WHERE a = 1') AS (b text);
SELECT dlog.execute_command('here', 'INSERT INTO remote_t VALUES (50, ''no'')');
ROLLBACK;
-- one snapshot for the whole transaction under REPEATABLE READ
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT * FROM dlog.execute('here', $$SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')$$) AS (a text, b text);
SELECT DISTINCT count(*) OVER () FROM (
    SELECT * FROM dlog.execute('here', 'SELECT pg_backend_pid()') AS (a int)
    UNION ALL
    SELECT * FROM dlog.execute('here', 'SELECT pg_backend_pid()') AS (a int)) s GROUP BY a;
COMMIT;

-- settings travel
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SET search_path = pg_catalog, dlog;
SELECT * FROM dlog.execute('here', $$SELECT current_setting('TimeZone'), current_setting('DateStyle'),
    current_setting('search_path'), '2024-01-01 00:00'::timestamptz::text$$) AS (a text, b text, c text, d text);
RESET TimeZone;
RESET DateStyle;
RESET search_path;
SELECT * FROM dlog.execute('here', 'SET work_mem = ''77MB''; SHOW work_mem') AS (a text);
SELECT count(*) FROM generate_series(1, 5) i,
    dlog.execute('here', 'SELECT current_setting(''work_mem'')') AS (a text) WHERE a = '77MB' AND i = 1;

-- plans are kept, and follow what changes
CREATE FUNCTION remote_rows() RETURNS bigint LANGUAGE sql
RETURN (SELECT a FROM dlog.execute('here', 'SELECT count(*) FROM public.remote_d') AS (a bigint));
SELECT remote_rows();
INSERT INTO remote_d SELECT generate_series(1, 3);
SELECT remote_rows();
ALTER TABLE remote_d ADD COLUMN b int;
CREATE INDEX ON remote_d (b);
SELECT remote_rows();
DROP TABLE remote_d;
SELECT remote_rows();

-- a statement is not held up by what it cannot finish
SELECT dlog.execute_command('here', 'SELECT pg_sleep(60)', '100 ms');
SET statement_timeout = '100 ms';
SELECT dlog.execute_command('here', 'SELECT pg_sleep(60)');
RESET statement_timeout;
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.queries WHERE text LIKE '%pg_sleep(60)%')$$);

DROP FUNCTION remote_rows;
DROP PROCEDURE remote_commit;
DROP TABLE remote_t, remote_made;
