-- Actors cannot be used to become another role, to leave anything behind for
-- the next one, or to reach what is another role's.
SET client_min_messages = warning;
CREATE ROLE sec_alice;
CREATE ROLE sec_mallory;
CREATE SCHEMA sec;
CREATE SCHEMA sec_public;
GRANT USAGE ON SCHEMA sec TO PUBLIC;
GRANT ALL ON SCHEMA sec_public TO PUBLIC;
CREATE SCHEMA sec_mallory AUTHORIZATION sec_mallory;
RESET client_min_messages;
SET search_path = sec;
CREATE TABLE secret (what text);
ALTER TABLE secret OWNER TO sec_alice;
INSERT INTO secret VALUES ('treasure');

-- An actor that runs what it is told, as its owner, and answers what came of it.
CREATE TYPE run AS (sql text);
CREATE TYPE keep AS (sql text);
CREATE FUNCTION run(state text, m run) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE m.sql INTO result;
    PERFORM dlog.reply(coalesce(result, 'nothing'));
    RETURN state;
EXCEPTION WHEN OTHERS THEN
    PERFORM dlog.reply(SQLSTATE || ': ' || SQLERRM);
    RETURN state;
END $$;
CREATE FUNCTION keep(state text, m keep) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    cursor refcursor := 'left_open';
BEGIN
    OPEN cursor FOR EXECUTE m.sql;
    PERFORM set_config('search_path', 'sec_mallory', false), set_config('my.secret', 'left', false),
        pg_advisory_lock(4711);
    RETURN state;
END $$;
SELECT dlog.create_behavior('runner', 'text', handlers => '{run,keep}');
SET ROLE sec_mallory;
SELECT dlog.spawn('sec.runner') AS m, dlog.spawn('sec.runner') AS m2 \gset
RESET ROLE;
SET ROLE sec_alice;
SELECT dlog.spawn('sec.runner', name => 'alice') AS a \gset
RESET ROLE;

-- each is its owner, whoever sends
SELECT dlog.ask(:'m', ROW('SELECT current_user')::run), dlog.ask(:'a', ROW('SELECT current_user')::run);
SELECT dlog.ask(:'m', ROW('SELECT session_user')::run), dlog.ask(:'a', ROW('SELECT session_user')::run);
SELECT dlog.ask(:'a', ROW('SELECT what FROM sec.secret')::run), dlog.ask(:'m', ROW('SELECT what FROM sec.secret')::run);

SET ROLE sec_mallory;
-- becoming somebody else
SELECT sql, dlog.ask(:'m', ROW(sql)::run) FROM (VALUES
    (1, 'SET ROLE sec_alice'), (2, 'SET ROLE postgres'), (3, 'RESET ROLE'), (4, 'SET SESSION AUTHORIZATION postgres'),
    (5, 'RESET SESSION AUTHORIZATION'), (6, 'SELECT set_config(''role'', ''postgres'', true)'),
    (7, 'SELECT set_config(''session_authorization'', ''postgres'', false)'), (8, 'SET LOCAL ROLE NONE'),
    (9, 'ALTER ROLE sec_mallory SUPERUSER'), (10, 'GRANT sec_alice TO sec_mallory'),
    (11, 'CREATE FUNCTION sec_mallory.f() RETURNS int LANGUAGE c AS ''dlog'', ''dlog_start'''),
    (12, 'COPY (SELECT 1) TO PROGRAM ''id'''), (13, 'COPY (SELECT 1) TO ''/tmp/x'''),
    (14, 'SELECT pg_read_file(''postgresql.conf'')'), (15, 'SELECT pg_terminate_backend(pg_backend_pid())'),
    (16, 'ALTER SYSTEM SET work_mem = 64'), (17, 'SET session_replication_role = replica'),
    (18, 'LOAD ''nothing'''), (19, 'UPDATE pg_authid SET rolsuper = true'),
    (20, 'SELECT u FROM dlog.execute(''here'', ''SELECT current_user'') AS e(u name)')) v(n, sql) ORDER BY n;

-- what ends or leaves the transaction, or would stay in the process
SELECT sql, dlog.ask(:'m', ROW(sql)::run) FROM (VALUES
    (1, 'COMMIT'), (2, 'ROLLBACK'), (3, 'PREPARE TRANSACTION ''x'''), (4, 'CREATE TEMP TABLE t (x int)'),
    (5, 'PREPARE p AS SELECT 1'), (6, 'LISTEN x'), (7, 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'), (8, 'DISCARD ALL'),
    (9, 'DEALLOCATE ALL'), (10, 'CREATE VIEW pg_temp.v AS SELECT 1')) v(n, sql) ORDER BY n;

-- what one message leaves, the next one does not find; nor another actor
SELECT dlog.send(:'m', ROW('SELECT ''mallory''''s''')::keep);
SELECT dlog.ask(:'m', ROW('SELECT current_setting(''search_path'') || coalesce(nullif(current_setting(''my.secret'', true), ''''), '' unset'')')::run);
RESET ROLE;
SELECT dlog.send(:'a', ROW('SELECT what FROM sec.secret')::keep), dlog.send(:'m', ROW('FETCH left_open')::run);
SELECT dlog.ask(:'m', ROW('FETCH left_open')::run);
SELECT dlog.ask(:'a', ROW('SELECT current_setting(''search_path'')')::run);
SELECT test.wait_until('NOT EXISTS (SELECT FROM pg_locks WHERE locktype = ''advisory'' AND objid = 4711)');

-- deferred triggers would run at the commit of all, as nobody in particular
SET ROLE sec_mallory;
CREATE TABLE sec_mallory.trap (x int);
CREATE FUNCTION sec_mallory.spring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    ALTER ROLE sec_mallory SUPERUSER;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER spring AFTER INSERT ON sec_mallory.trap DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION sec_mallory.spring();
SELECT dlog.ask(:'m', ROW('INSERT INTO sec_mallory.trap VALUES (1)')::run);
-- nor do they so by way of another node
SELECT dlog.ask(:'m', ROW($$SELECT dlog.execute_command('here', 'INSERT INTO sec_mallory.trap VALUES (1)')$$)::run);
RESET ROLE;
SELECT rolsuper FROM pg_roles WHERE rolname = 'sec_mallory';
-- those of good will are checked in time
CREATE TABLE sec.referred (x int PRIMARY KEY);
CREATE TABLE sec.refers (x int REFERENCES sec.referred DEFERRABLE INITIALLY DEFERRED);
SELECT dlog.spawn('sec.runner') AS p \gset
SELECT dlog.ask(:'p', ROW('INSERT INTO sec.refers VALUES (1)')::run);
CREATE FUNCTION insert_both(a int, b int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    INSERT INTO sec.referred VALUES (a);
    INSERT INTO sec.refers VALUES (b);
    RETURN 'done';
END $$;
SELECT dlog.ask(:'p', ROW('SELECT insert_both(1, 1)')::run);
SELECT dlog.ask(:'p', ROW('SELECT insert_both(2, 3)')::run);
TABLE sec.refers;

-- others' actors: a reference is worth nothing without the right to send
SET ROLE sec_mallory;
SELECT dlog.send(:'a', ROW('DROP TABLE sec.secret')::run);
SELECT dlog.ask(:'a', ROW('SELECT what FROM sec.secret')::run);
SELECT dlog.ask(dlog.whereis('alice'), ROW('SELECT what FROM sec.secret')::run);
SELECT dlog.ask(:'m', ROW(format('SELECT dlog.send(%L, ROW(''DROP TABLE sec.secret'')::sec.run)', :'a'))::run);
\set VERBOSITY sqlstate
SELECT dlog.state(:'a');
SELECT dlog.stop(:'a'::dlog.actor_ref);
SELECT dlog.stop(:'a');
SELECT dlog.kill(:'a');
SELECT dlog.suspend(:'a');
SELECT dlog.resume(:'a');
SELECT dlog.register('mine', :'a');
SELECT dlog.unregister('alice');
\set VERBOSITY default
SELECT * FROM dlog.actors;
SELECT dlog.alter_behavior('sec.runner', drop_messages => '{sec.keep}');
GRANT USAGE ON TYPE sec.runner TO sec_mallory;
RESET ROLE;
-- a made-up reference reaches nobody
\set VERBOSITY sqlstate
SELECT dlog.send(regexp_replace(:'a', '[^/]*$', '0.0.0')::dlog.actor_ref, ROW('SELECT 1')::run);
SELECT dlog.send(regexp_replace(:'a', '[^/]*$', '1.1.1')::dlog.actor_ref, ROW('SELECT 1')::run);
SELECT dlog.send(regexp_replace(:'a', '[^/]*$', '4294967295.1.1')::dlog.actor_ref, ROW('SELECT 1')::run);
SELECT dlog.send(regexp_replace(:'a', '[.][0-9]*$', '.1')::dlog.actor_ref, ROW('SELECT 1')::run);
\set VERBOSITY default
-- who owns the behavior says who sends
GRANT USAGE ON TYPE sec.runner TO sec_mallory;
SET ROLE sec_mallory;
SELECT dlog.ask(:'a', ROW('SELECT current_user')::run);
RESET ROLE;
REVOKE USAGE ON TYPE sec.runner FROM sec_mallory;

-- names in a handler mean the same, whatever others put into its schema
CREATE TYPE sec_public.go AS (x int);
CREATE FUNCTION sec_public.go(state int, m sec_public.go) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply(format('%s %s %s', m.x + 1, length('four'), current_setting('search_path')));
    BEGIN
        PERFORM helper(m.x);
    EXCEPTION WHEN undefined_function THEN
        state := 42;
    END;
    RETURN state;
END $$;
CREATE FUNCTION sec_public.helper(int) RETURNS void LANGUAGE sql AS '';
SELECT dlog.create_behavior('sec_public.goer', 'int', handlers => '{sec_public.go}');
SET ROLE sec_mallory;
CREATE FUNCTION sec_public.evil(int, int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    ALTER ROLE sec_mallory SUPERUSER;
    RETURN 0;
END $$;
CREATE OPERATOR sec_public.+ (FUNCTION = sec_public.evil, LEFTARG = int, RIGHTARG = int);
CREATE FUNCTION sec_public.length(text) RETURNS int LANGUAGE sql AS 'SELECT sec_public.evil(1, 1)';
CREATE FUNCTION sec_public.helper(bigint) RETURNS void LANGUAGE sql AS 'SELECT sec_public.evil(1, 1)';
RESET ROLE;
SET search_path = sec_public, sec;
SELECT dlog.spawn('goer') AS g \gset
SELECT dlog.ask(:'g', ROW(1)::go);
SELECT test.wait_until(format('dlog.state(%L) IS NOT NULL', :'g'));
SELECT dlog.state(:'g');
SET search_path = sec;
SELECT rolsuper FROM pg_roles WHERE rolname = 'sec_mallory';

-- what the owner may no longer call, its actors do not call either
SET ROLE sec_mallory;
SELECT dlog.spawn('sec.runner') AS m3 \gset
RESET ROLE;
REVOKE EXECUTE ON FUNCTION run FROM PUBLIC;
SET ROLE sec_mallory;
SELECT dlog.ask(:'m3', ROW('SELECT 1')::run);
SELECT dlog.spawn('sec.runner');
RESET ROLE;
GRANT EXECUTE ON FUNCTION run TO PUBLIC;

-- a handler that catches its cancellation again and again
CREATE TYPE loop AS ();
CREATE FUNCTION loop(state text, m loop) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        BEGIN
            PERFORM pg_sleep(60);
        EXCEPTION WHEN query_canceled THEN
            NULL;
        END;
    END LOOP;
END $$;
SELECT dlog.alter_behavior('runner', handlers => '{loop}', handler_timeout => '50 ms');
SET ROLE sec_mallory;
SELECT dlog.spawn('sec.runner', name => 'loops') AS m4 \gset
SELECT dlog.ask(:'m4', ROW()::sec.loop, '20 s');
RESET ROLE;
SELECT dlog.whereis('loops') IS NULL AS gone, dlog.ask(:'a', ROW('SELECT 1')::run) AS others_live;

-- an owner that is dropped
SET ROLE sec_alice;
SELECT dlog.spawn('sec.runner', name => 'orphan') AS o \gset
SELECT dlog.ask(:'o', ROW('SELECT 1')::run);
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY sec_alice;
DROP ROLE sec_alice;
RESET client_min_messages;
\set VERBOSITY sqlstate
SELECT dlog.ask(:'o', ROW('SELECT current_user')::run);
\set VERBOSITY default
SELECT test.wait_until('dlog.whereis(''orphan'') IS NULL');

SET client_min_messages = warning;
DROP SCHEMA sec, sec_public, sec_mallory CASCADE;
DROP OWNED BY sec_mallory;
DROP ROLE sec_mallory;
