-- A flood to one SQL actor does not delay others by more than a turn: actors
-- that wait share dlog.batch_messages.
CREATE SCHEMA fairness;
SET search_path = fairness;
CREATE SEQUENCE handled;
CREATE TABLE seen (by text, handled bigint);
CREATE TYPE flooded_state AS (n int);
CREATE TYPE mail AS (n int);
CREATE TYPE slow_mail AS (n int);
CREATE FUNCTION flooded_init(n int) RETURNS flooded_state LANGUAGE sql RETURN ROW(n)::flooded_state;
-- a sequence shows what others did in the same transaction
CREATE FUNCTION got_mail(state flooded_state, message mail) RETURNS flooded_state LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('fairness.handled');
    RETURN ROW(state.n + 1)::fairness.flooded_state;
END $$;
CREATE FUNCTION got_slow_mail(state flooded_state, message slow_mail) RETURNS flooded_state LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('fairness.handled'), pg_sleep(0.006); -- longer than dlog.batch_time
    RETURN ROW(state.n + 1)::fairness.flooded_state;
END $$;
SELECT dlog.create_behavior('flooded', 'flooded_state', 'flooded_init', '{got_mail,got_slow_mail}');
CREATE TYPE witness_state AS (name text);
CREATE TYPE look AS (n int);
CREATE FUNCTION witness_init(name text) RETURNS witness_state LANGUAGE sql RETURN ROW(name)::witness_state;
CREATE FUNCTION look(state witness_state, message look) RETURNS witness_state LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fairness.seen SELECT state.name, CASE WHEN is_called THEN last_value ELSE 0 END FROM fairness.handled;
    RETURN state;
END $$;
SELECT dlog.create_behavior('witness', 'witness_state', 'witness_init', '{look}');
SELECT dlog.spawn('flooded', ROW(0)) AS flooded \gset
SELECT dlog.spawn('witness', ROW('1')) AS one, dlog.spawn('witness', ROW('2')) AS two \gset

BEGIN;
SELECT count(dlog.send(:'flooded', ROW(i)::mail)) FROM generate_series(1, 20000) i;
SELECT dlog.send(:'one', ROW(1)::look), dlog.send(:'two', ROW(1)::look);
COMMIT;
SELECT test.wait_until('(SELECT count(*) = 2 FROM fairness.seen)');
SELECT by, handled <= current_setting('dlog.batch_messages')::int AS fair FROM seen ORDER BY by;
SELECT test.wait_until('(SELECT last_value = 20000 FROM fairness.handled)');

-- a handler that takes longer than a batch: the clock is looked at after some messages
TRUNCATE seen;
ALTER SEQUENCE handled RESTART;
BEGIN;
SELECT count(dlog.send(:'flooded', ROW(i)::slow_mail)) FROM generate_series(1, 100) i;
SELECT dlog.send(:'one', ROW(1)::look), dlog.send(:'two', ROW(1)::look);
COMMIT;
SELECT test.wait_until('(SELECT count(*) = 2 FROM fairness.seen)');
SELECT by, handled <= 8 AS fair FROM seen ORDER BY by;
SELECT test.wait_until('(SELECT last_value = 100 FROM fairness.handled)');

SELECT dlog.kill(actor) FROM unnest(ARRAY[:'flooded'::dlog.actor_ref, :'one', :'two']) actor;
SET client_min_messages = warning;
DROP SCHEMA fairness CASCADE;
