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
-- deferred triggers run as who commits, as they do without a node between,
-- whoever asked last: a view's or a function's owner, or nobody any more
CREATE TABLE remote_sprung (at serial, means text, who name, caller name);
GRANT INSERT ON remote_sprung TO PUBLIC;
GRANT USAGE ON SEQUENCE remote_sprung_at_seq TO PUBLIC;
CREATE FUNCTION remote_as_chief(node text, sql text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF node IS NULL THEN EXECUTE sql; ELSE PERFORM dlog.execute_command(node, sql); END IF;
END $$;
ALTER FUNCTION remote_as_chief OWNER TO remote_chief;
CREATE FUNCTION remote_do(node text, sql text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF node IS NULL THEN EXECUTE sql; ELSE PERFORM dlog.execute_command(node, sql); END IF;
END $$;
GRANT remote_bob TO remote_alice;
SET ROLE remote_alice;
CREATE TABLE remote_trap (means text);
CREATE FUNCTION remote_spring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.remote_sprung (means, who, caller) VALUES (new.means, current_user, session_user);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER spring AFTER INSERT ON remote_trap DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION remote_spring();
GRANT INSERT ON remote_trap TO remote_bob;
RESET ROLE;
GRANT INSERT ON remote_trap TO remote_chief;
SET SESSION AUTHORIZATION remote_alice;
\set trap 'INSERT INTO public.remote_trap VALUES (''%s'')'
-- each of them once here, once over there
BEGIN;
SELECT remote_do(NULL, format(:'trap', 'then chief')), remote_as_chief(NULL, 'SELECT 1');
COMMIT;
BEGIN;
SELECT remote_do('here', format(:'trap', 'then chief')), remote_as_chief('here', 'SELECT 1');
COMMIT;
BEGIN;
SELECT remote_as_chief(NULL, format(:'trap', 'by chief'));
COMMIT;
BEGIN;
SELECT remote_as_chief('here', format(:'trap', 'by chief'));
COMMIT;
BEGIN;
SELECT remote_do(NULL, format(:'trap', 'rollback to'));
SAVEPOINT s;
SELECT remote_as_chief(NULL, format(:'trap', 'lost'));
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT remote_do('here', format(:'trap', 'rollback to'));
SAVEPOINT s;
SELECT remote_as_chief('here', format(:'trap', 'lost'));
ROLLBACK TO s;
COMMIT;
BEGIN;
SAVEPOINT s;
SELECT remote_as_chief(NULL, format(:'trap', 'chief, then alice, then bob'));
RELEASE s;
SELECT remote_do(NULL, format(:'trap', 'alice, then bob'));
SET LOCAL ROLE remote_bob;
SELECT remote_do(NULL, format(:'trap', 'bob'));
COMMIT;
BEGIN;
SAVEPOINT s;
SELECT remote_as_chief('here', format(:'trap', 'chief, then alice, then bob'));
RELEASE s;
SELECT remote_do('here', format(:'trap', 'alice, then bob'));
SET LOCAL ROLE remote_bob;
SELECT remote_do('here', format(:'trap', 'bob'));
COMMIT;
BEGIN;
SELECT remote_as_chief(NULL, format(:'trap', 'chief, at once for alice')), remote_do(NULL, 'SET CONSTRAINTS ALL IMMEDIATE');
COMMIT;
BEGIN;
SELECT remote_as_chief('here', format(:'trap', 'chief, at once for alice')), remote_do('here', 'SET CONSTRAINTS ALL IMMEDIATE');
COMMIT;
-- what is made over there for the purpose
BEGIN;
SELECT dlog.execute_command('here', $$
    CREATE FUNCTION remote_evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER ROLE remote_alice SUPERUSER; RETURN NULL; END';
    CREATE TEMP TABLE trap (x int);
    CREATE CONSTRAINT TRIGGER spring AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION remote_evil();
    INSERT INTO trap VALUES (1)$$);
SELECT remote_as_chief('here', 'SELECT 1');
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT rolsuper FROM pg_roles WHERE rolname = 'remote_alice';
SELECT means, who, caller, count(*) FROM remote_sprung GROUP BY 1, 2, 3 ORDER BY min(at);
-- a check that fails at the commit fails all of it
CREATE TABLE remote_referred (x int PRIMARY KEY);
CREATE TABLE remote_refers (x int REFERENCES remote_referred DEFERRABLE INITIALLY DEFERRED);
GRANT INSERT ON remote_referred, remote_refers TO remote_alice;
SET SESSION AUTHORIZATION remote_alice;
BEGIN;
SELECT remote_do('here', 'INSERT INTO public.remote_refers VALUES (1)'), remote_as_chief('here', 'SELECT 1');
COMMIT;
BEGIN;
SELECT remote_do('here', 'INSERT INTO public.remote_refers VALUES (2); INSERT INTO public.remote_referred VALUES (2)');
COMMIT;
RESET SESSION AUTHORIZATION;
TABLE remote_refers;

-- session_user is the asker's as well: functions and policies go by it
CREATE FUNCTION remote_called() RETURNS text LANGUAGE sql SECURITY DEFINER
RETURN session_user || ' calls ' || current_user;
ALTER FUNCTION remote_called OWNER TO remote_chief;
CREATE TABLE remote_own (owner name, what text);
INSERT INTO remote_own SELECT o, repeat('x', 100) FROM unnest('{postgres,remote_alice,remote_bob}'::name[]) o, generate_series(1, 500);
CREATE POLICY own ON remote_own USING (owner = session_user);
ALTER TABLE remote_own ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON remote_own TO remote_alice, remote_bob;
ANALYZE remote_own;
\set called 'SELECT public.remote_called(), (SELECT string_agg(DISTINCT owner, '' '') FROM public.remote_own)'
\set parallel 'SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET parallel_leader_participation = off;'
SET SESSION AUTHORIZATION remote_alice;
SELECT * FROM dlog.execute('here', :'called') AS (called text, owners text);
SELECT * FROM dlog.execute('here', :'parallel' || 'SELECT string_agg(DISTINCT owner || '' '' || session_user, '','') FROM public.remote_own') AS (owners text);
SET ROLE remote_bob;
SELECT * FROM dlog.execute('here', :'called') AS (called text, owners text);
BEGIN READ ONLY;
SELECT * FROM dlog.execute('here', :'called') AS (called text, owners text);
COMMIT;
RESET SESSION AUTHORIZATION;
SET ROLE remote_alice;
SELECT * FROM dlog.execute('here', :'called') AS (called text, owners text);
RESET ROLE;
SELECT * FROM dlog.execute('here', 'SELECT public.remote_called(), current_setting(''is_superuser'')') AS (called text, super text);
DROP FUNCTION remote_called, remote_as_chief, remote_do, remote_spring CASCADE;
DROP TABLE remote_own, remote_sprung, remote_trap, remote_refers, remote_referred;

-- the view of statements in flight shows its text to those who may see it
BEGIN;
SET LOCAL ROLE remote_alice;
SELECT * FROM dlog.execute('here', 'SELECT role, side FROM dlog.queries WHERE text LIKE ''%remote_unique%'' OR role = ''remote_alice'' ORDER BY side') AS (a text, b text);
COMMIT;
DROP FUNCTION remote_as_owner;
DROP TABLE remote_secret;
REVOKE CREATE ON SCHEMA public FROM remote_alice;
DROP ROLE remote_alice, remote_bob, remote_chief;
