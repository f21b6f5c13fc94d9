-- Text that runs on a node is its asker: it has the asker's privileges there,
-- and no way to become somebody else.
CREATE ROLE remote_alice;
CREATE ROLE remote_bob;
CREATE ROLE remote_chief SUPERUSER;
CREATE TABLE remote_secret (owner name, secret text);
INSERT INTO remote_secret VALUES ('remote_alice', 'a'), ('remote_bob', 'b');
CREATE POLICY own ON remote_secret USING (owner = current_user);
ALTER TABLE remote_secret ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON remote_secret TO remote_alice, remote_bob;
GRANT CREATE ON SCHEMA public TO remote_alice;
SET ROLE remote_alice;
SELECT * FROM dlog.execute('here', 'SELECT current_user::text, secret FROM remote_secret') AS (a text, b text);
SET ROLE remote_bob;
SELECT * FROM dlog.execute('here', 'SELECT current_user::text, secret FROM remote_secret') AS (a text, b text);
SELECT dlog.execute_command('here', 'INSERT INTO remote_secret VALUES (''remote_bob'', ''x'')');
SET ROLE remote_alice;
SELECT dlog.execute_command('here', 'SET ROLE remote_bob');
SELECT dlog.execute_command('here', 'RESET ROLE');
SELECT dlog.execute_command('here', 'SET SESSION AUTHORIZATION DEFAULT');
SELECT dlog.execute_command('here', 'RESET SESSION AUTHORIZATION');
SELECT dlog.execute_command('here', 'SET LOCAL SESSION AUTHORIZATION remote_chief');
SELECT dlog.execute_command('here', 'SELECT set_config(''role'', ''remote_chief'', false)');
SELECT dlog.execute_command('here', 'SELECT set_config(''session_authorization'', ''remote_chief'', true)');
SELECT dlog.execute_command('here', 'RESET ALL; SET ROLE NONE');
SELECT dlog.execute_command('here', 'DISCARD ALL');
SELECT dlog.execute_command('here', 'ALTER ROLE remote_alice SUPERUSER');
SELECT dlog.execute_command('here', 'SET log_statement = ''all''');
SELECT dlog.execute_command('here', 'LOAD ''/tmp/evil''');
SELECT dlog.execute_command('here', 'COPY (SELECT 1) TO PROGRAM ''true''');
SELECT * FROM dlog.execute('here', $$DO 'BEGIN SET LOCAL ROLE remote_bob; EXCEPTION WHEN OTHERS THEN NULL; END'; SELECT current_user::text$$) AS (a text);
SELECT dlog.execute_command('here', $$
    CREATE FUNCTION remote_become() RETURNS text LANGUAGE sql SET role = 'remote_chief' RETURN current_user::text;
    SELECT remote_become()$$);
-- what is left behind is nobody's
SELECT dlog.execute_command('here', 'DECLARE mine CURSOR WITH HOLD FOR SELECT secret FROM remote_secret');
SELECT dlog.execute_command('here', 'PREPARE mine AS SELECT secret FROM remote_secret');
SELECT dlog.execute_command('here', 'CREATE TEMP TABLE mine AS SELECT secret FROM remote_secret');
SELECT dlog.execute_command('here', 'SELECT pg_advisory_lock(4711)');
SELECT dlog.execute_command('here', 'LISTEN mine');
SET ROLE remote_bob;
SELECT count(*) FROM generate_series(1, 8) i, dlog.execute('here',
    'SELECT (SELECT count(*) FROM pg_cursors) + (SELECT count(*) FROM pg_prepared_statements) + (SELECT count(*) FROM pg_listening_channels())') AS (n bigint) WHERE n > 0;
RESET ROLE;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711;
SELECT count(*) FROM pg_class WHERE relname = 'mine';
-- a role that may not come in there
REVOKE CONNECT ON DATABASE regression FROM PUBLIC;
SET ROLE remote_alice;
SELECT dlog.execute_command('here', 'SELECT 1');
RESET ROLE;
GRANT CONNECT ON DATABASE regression TO PUBLIC;
-- a function that runs as its owner asks as its owner
CREATE FUNCTION remote_as_owner() RETURNS text LANGUAGE sql SECURITY DEFINER
RETURN (SELECT a FROM dlog.execute('here', 'SELECT current_user::text') AS (a text));
ALTER FUNCTION remote_as_owner OWNER TO remote_bob;
SET ROLE remote_alice;
SELECT remote_as_owner();
RESET ROLE;
-- the view of statements in flight shows its text to those who may see it
BEGIN;
SET LOCAL ROLE remote_alice;
SELECT * FROM dlog.execute('here', 'SELECT role, side FROM dlog.queries WHERE text LIKE ''%remote_unique%'' OR role = ''remote_alice'' ORDER BY side') AS (a text, b text);
COMMIT;
DROP FUNCTION remote_as_owner;
DROP TABLE remote_secret;
REVOKE CREATE ON SCHEMA public FROM remote_alice;
DROP ROLE remote_alice, remote_bob, remote_chief;
