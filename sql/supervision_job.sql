-- Any SQL can be supervised: run in the background as its owner, on a schedule, repeated when it fails, with a history.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE TABLE done (what text, role text DEFAULT session_user, n serial);
CREATE FUNCTION runs(job text) RETURNS TABLE (status text, command_tag text, rows bigint, sqlstate text, error text) LANGUAGE sql AS
    'SELECT r.status, r.command_tag, r.rows, r.sqlstate, r.error FROM dlog.job_runs r WHERE r.job = $1 ORDER BY r.id';
CREATE FUNCTION wait_for_runs(job text, how_many int) RETURNS void LANGUAGE sql AS
    $$SELECT test.wait_until(format('(SELECT count(*) FROM dlog.job_runs WHERE job = %L AND status <> ''running'') >= %s', job, how_many))$$;

-- Once, now.
SELECT dlog.supervise($$INSERT INTO done (what) VALUES ('once')$$, 'once');
SELECT wait_for_runs('once', 1);
SELECT * FROM runs('once');
SELECT what, role FROM done;
SELECT test.wait_until($$(SELECT state FROM dlog.jobs WHERE name = 'once') = 'stopped'$$);
-- ... and again, since its spec is there.
SELECT dlog.restart_child('once', 'once');
SELECT wait_for_runs('once', 2);
SELECT count(*) FROM done;

-- A procedure may commit; statements are transactions of their own, so VACUUM works.
CREATE PROCEDURE in_two_steps() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO done (what) VALUES ('first step');
    COMMIT;
    INSERT INTO done (what) VALUES ('second step');
    ROLLBACK;
END $$;
SELECT dlog.supervise('CALL in_two_steps(); VACUUM done; SELECT * FROM done', 'steps');
SELECT wait_for_runs('steps', 1);
SELECT status, command_tag, rows FROM runs('steps');
SELECT what FROM done WHERE what LIKE '%step';

-- A transaction that rolls back leaves nothing.
BEGIN;
SELECT dlog.supervise($$INSERT INTO done (what) VALUES ('never')$$, 'never');
ROLLBACK;
SELECT name FROM dlog.jobs ORDER BY name;

-- What fails is repeated after the backoff, until it succeeds.
CREATE SEQUENCE attempt;
CREATE PROCEDURE third_time() LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('attempt') < 3 THEN
        RAISE EXCEPTION 'not yet' USING ERRCODE = 'U0001';
    END IF;
END $$;
SELECT dlog.supervise('CALL third_time()', 'third', backoff => '10 ms');
SELECT wait_for_runs('third', 3);
SELECT * FROM runs('third');
SELECT name, sqlstate, error, message FROM dlog.failures WHERE name = 'third';
-- ... or until it gives up, of which everybody hears.
SELECT dlog.supervise('SELECT 1 / 0', 'hopeless', backoff => '1 ms', max_restarts => 2);
SELECT test.wait_until($$(SELECT state FROM dlog.jobs WHERE name = 'hopeless') = 'gave up'$$);
SELECT status, sqlstate FROM runs('hopeless');
SELECT sqlstate FROM dlog.failures WHERE name = 'hopeless' ORDER BY number DESC LIMIT 1;
SELECT test.wait_until($$dlog.supervision_tree('hopeless') IS NOT NULL$$);
\pset format unaligned
\pset tuples_only on
SELECT dlog.supervision_tree('hopeless');
\pset format aligned
\pset tuples_only off
-- restart => 'temporary': once, and then the job is gone; its history is not.
SELECT dlog.supervise('SELECT 1 / 0', 'fleeting', restart => 'temporary');
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.job WHERE name = 'fleeting')$$);
SELECT status, sqlstate FROM runs('fleeting');
-- restart => 'permanent': again and again.
CREATE SEQUENCE turns;
SELECT dlog.supervise($$SELECT nextval('turns')$$, 'loop', restart => 'permanent', backoff => '1 ms', max_restarts => 1000, history => 2);
SELECT test.wait_until($$(SELECT last_value FROM turns) >= 4$$);
SELECT dlog.unsupervise('loop');
SELECT test.wait_until($$NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dlog job')$$);
SELECT count(*) FROM runs('loop');

-- On a schedule.
SELECT dlog.supervise($$INSERT INTO done (what) VALUES ('tick')$$, 'tick', every => '1 s');
SELECT name, command, schedule, state, next_run BETWEEN now() AND now() + interval '1 s' AS is_soon FROM dlog.jobs WHERE name = 'tick';
SELECT wait_for_runs('tick', 2);
SELECT dlog.pause_job('tick');
SELECT test.wait_until($$NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dlog job')$$);
SELECT name, state, next_run IS NULL AS is_not_due, is_paused FROM dlog.jobs WHERE name = 'tick';
SELECT count(*) AS before FROM done WHERE what = 'tick' \gset
-- run it now, paused or not
SELECT dlog.run_job('tick');
SELECT test.wait_until(format('(SELECT count(*) FROM done WHERE what = ''tick'') = %s', :before + 1));
SELECT dlog.resume_job('tick');
SELECT test.wait_until(format('(SELECT count(*) FROM done WHERE what = ''tick'') > %s', :before + 1));
SELECT dlog.unsupervise('tick');

SELECT dlog.supervise('SELECT 1', 'nightly', every => '30 3 * * mon-fri', time_zone => 'Europe/Berlin');
SELECT test.wait_until($$(SELECT next_run FROM dlog.jobs WHERE name = 'nightly') IS NOT NULL$$);
SELECT schedule, time_zone, to_char(next_run AT TIME ZONE 'Europe/Berlin', 'HH24:MI') FROM dlog.jobs WHERE name = 'nightly';
SELECT dlog.run_job('nightly');
SELECT wait_for_runs('nightly', 1);
SELECT * FROM runs('nightly');
SELECT dlog.unsupervise('nightly');

-- A scheduled run that failed is repeated as often as the job says.
ALTER SEQUENCE attempt RESTART;
SELECT dlog.supervise('CALL third_time()', 'retried', every => '1 day', retries => 5, backoff => '1 ms');
SELECT dlog.run_job('retried');
SELECT wait_for_runs('retried', 3);
SELECT status, error FROM runs('retried');
SELECT state FROM dlog.jobs WHERE name = 'retried';
SELECT dlog.unsupervise('retried');

-- What is due while a run is at work: skipped, queued, or run beside it.
SELECT dlog.supervise('SELECT pg_advisory_lock_shared(80)', 'lap ' || overlap, every => '1 day', overlap => overlap)
FROM unnest(ARRAY['skip', 'queue', 'allow']) overlap;
SELECT pg_advisory_lock(80);
SELECT dlog.run_job('lap ' || overlap) FROM unnest(ARRAY['skip', 'queue', 'allow']) overlap;
SELECT test.wait_until($$(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dlog job' AND wait_event = 'advisory') = 3$$);
SELECT dlog.run_job('lap ' || overlap) FROM unnest(ARRAY['skip', 'queue', 'allow']) overlap;
SELECT test.wait_until($$(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dlog job' AND wait_event = 'advisory') = 4$$);
SELECT pg_advisory_unlock(80);
SELECT wait_for_runs('lap queue', 2), wait_for_runs('lap allow', 2);
SELECT job, count(*) FROM dlog.job_runs WHERE job LIKE 'lap%' GROUP BY 1 ORDER BY 1;
SELECT dlog.unsupervise('lap ' || overlap) FROM unnest(ARRAY['skip', 'queue', 'allow']) overlap;

-- A run may last so long; one that is stopped ends, also in the middle.
SELECT dlog.supervise('SELECT pg_sleep(100)', 'slow', timeout => '50 ms', restart => 'temporary');
SELECT wait_for_runs('slow', 1);
SELECT status, sqlstate, error FROM runs('slow');
SELECT dlog.supervise('SELECT pg_sleep(100)', 'long');
SELECT test.wait_until($$EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dlog job' AND wait_event = 'PgSleep')$$);
SELECT state FROM dlog.jobs WHERE name = 'long';
SELECT dlog.terminate_child('long', 'long');
SELECT status, sqlstate FROM runs('long');
SELECT state FROM dlog.jobs WHERE name = 'long';
-- ... and one that is terminated from outside failed.
SELECT dlog.restart_child('long', 'long');
SELECT test.wait_until($$EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dlog job' AND wait_event = 'PgSleep')$$);
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'dlog job';
SELECT test.wait_until($$(SELECT count(*) FROM dlog.job_run WHERE job = 'long' AND status = 'terminated') = 1$$);
SELECT dlog.unsupervise('long');
SELECT test.wait_until($$NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dlog job')$$);

-- A command cannot leave a transaction open, nor be none.
SELECT dlog.supervise('BEGIN; SELECT 1', 'open', restart => 'temporary');
SELECT wait_for_runs('open', 1);
SELECT status, sqlstate, error FROM runs('open');
SELECT dlog.supervise('');
SELECT dlog.supervise('SELEC 1');
SELECT dlog.supervise(NULL);
SELECT dlog.supervise('SELECT 1', 'once');
SELECT dlog.supervise('SELECT 1', every => 'sometimes');
SELECT dlog.supervise('SELECT 1', every => '0 0 31 2 *');
SELECT dlog.supervise('SELECT 1', every => '1 min', time_zone => 'Mars/Olympus');
SELECT dlog.supervise('SELECT 1', overlap => 'never');
SELECT dlog.supervise('SELECT 1', retries => -1);
SELECT dlog.supervise('SELECT 1', history => 0);
SELECT dlog.supervise('SELECT 1', max_restarts => -1);
SELECT dlog.supervise('SELECT 1', supervisor => 'no such');
SELECT dlog.unsupervise('no such');
SELECT dlog.run_job('hopeless');

-- A job of a tree of mine.
SELECT 1 FROM dlog.create_supervisor('mine');
SELECT dlog.supervise('SELECT 1', 'in a tree', every => '@daily', supervisor => 'mine');
\pset format unaligned
\pset tuples_only on
SELECT test.wait_until($$(SELECT state FROM dlog.which_children('mine')) = 'running'$$);
SELECT dlog.supervision_tree('mine');
\pset format aligned
\pset tuples_only off
SELECT dlog.drop_supervisor('mine', cascade => true);
SELECT count(*) FROM dlog.job WHERE name = 'in a tree';

-- It runs as who made it, and only that role and its members control it.
CREATE ROLE job_owner LOGIN;
CREATE ROLE job_other LOGIN;
GRANT INSERT, SELECT ON done TO job_owner;
GRANT USAGE ON SEQUENCE done_n_seq TO job_owner;
GRANT USAGE ON SCHEMA test TO job_owner;
SET ROLE job_owner;
SELECT dlog.supervise($$INSERT INTO done (what) VALUES ('as ' || current_user)$$, 'owned');
SELECT wait_for_runs('owned', 1);
SELECT dlog.supervise('SET ROLE postgres', 'escape', restart => 'temporary');
SELECT dlog.supervise('SET SESSION AUTHORIZATION postgres', 'escape too', restart => 'temporary');
SELECT wait_for_runs('escape', 1), wait_for_runs('escape too', 1);
SELECT sqlstate, error FROM runs('escape') UNION ALL SELECT sqlstate, error FROM runs('escape too');
SELECT what, role FROM done WHERE what LIKE 'as%';
SET ROLE job_other;
SELECT * FROM dlog.jobs;
SELECT * FROM dlog.job_runs;
SELECT dlog.run_job('owned');
SELECT dlog.pause_job('owned');
SELECT dlog.unsupervise('owned');
SELECT * FROM dlog.job;
SELECT * FROM dlog.job_run;
RESET ROLE;

-- Temporary ones go by themselves.
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.job WHERE name LIKE 'escape%')$$);
SELECT dlog.unsupervise(name) FROM dlog.jobs ORDER BY name;
SELECT count(*) FROM dlog.job;
SELECT count(*) FROM dlog.supervisor;
DROP TABLE done;
DROP FUNCTION runs(text), wait_for_runs(text, int);
DROP PROCEDURE in_two_steps(), third_time();
DROP SEQUENCE attempt, turns;
DELETE FROM dlog.job_run;
REVOKE USAGE ON SCHEMA test FROM job_owner;
DROP ROLE job_owner, job_other;
