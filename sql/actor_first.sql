-- The first example: spawn a counter, increment twice, ask, "Count: 2".
CREATE SCHEMA first;
SET search_path = first;
CREATE TYPE counter_state AS (n int);
CREATE TYPE increment AS (amount int);
CREATE TYPE get_count AS ();
CREATE FUNCTION counter_init(n int) RETURNS counter_state LANGUAGE sql
RETURN ROW(n)::counter_state;
CREATE FUNCTION increment(state counter_state, message increment) RETURNS counter_state LANGUAGE sql
RETURN ROW(state.n + message.amount)::counter_state;
CREATE FUNCTION get_count(state counter_state, message get_count) RETURNS counter_state LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply('Count: ' || state.n);
    RETURN state;
END $$;
SELECT dlog.create_behavior('counter', 'counter_state', 'counter_init', '{increment,get_count}');
SELECT dlog.spawn('counter', ROW(0), name => 'first counter') AS c \gset
SELECT dlog.send(:'c', ROW(1)::increment);
SELECT dlog.send(:'c', ROW(1)::increment);
SELECT dlog.ask(:'c', ROW()::get_count);
SELECT dlog.ask(dlog.whereis('first counter'), ROW()::get_count, '2 s');
SELECT dlog.state(:'c'), (dlog.state(:'c', NULL::counter_state)).n;
-- in a column of the behavior's type
CREATE TABLE carts (id int PRIMARY KEY, actor counter);
INSERT INTO carts SELECT i, dlog.spawn('counter', ROW(i)) FROM generate_series(1, 3) i;
SELECT dlog.send(actor, ROW(10)::increment) FROM carts;
SELECT id, dlog.ask(actor, ROW()::get_count) FROM carts ORDER BY id;
SELECT id, dlog.ask(actor, ROW()::get_count, '3 s') FROM carts ORDER BY id;

-- what a session sends, leaves when it commits, in order; or not at all
BEGIN;
SELECT dlog.send(:'c', ROW(1)::increment);
ROLLBACK;
BEGIN;
SELECT dlog.send(:'c', ROW(10)::increment);
SAVEPOINT s;
SELECT dlog.send(:'c', ROW(100)::increment);
ROLLBACK TO s;
SELECT dlog.send(:'c', ROW(1000)::increment);
COMMIT;
SELECT dlog.ask(:'c', ROW()::get_count);
BEGIN;
SELECT dlog.spawn('counter', ROW(1), name => 'never') IS NOT NULL AS spawned;
SELECT dlog.ask(dlog.whereis('never'), ROW()::get_count) IS NULL;
ROLLBACK;
SELECT dlog.whereis('never') IS NULL AS gone;
BEGIN;
SELECT dlog.send(:'c', ROW(1)::increment);
PREPARE TRANSACTION 'never';

-- what is wrong is refused before anything leaves
SELECT dlog.send(:'c', ROW(1));
SELECT dlog.send(NULL, ROW(1)::increment);
SELECT dlog.send('dlog://77/5/1.2.3', ROW(1)::increment);
SELECT dlog.spawn('nobody');
SELECT dlog.spawn(NULL);
SELECT dlog.spawn('counter');
SELECT dlog.spawn('counter', ROW(1, 2));
SELECT dlog.spawn('counter', ROW('x'));
SELECT dlog.spawn('counter', ROW(1), name => 'first counter');
SELECT dlog.ask(:'c', ROW()::get_count, NULL::int);
SELECT dlog.ask(:'c', ROW(1)::increment, '10 ms');
SELECT dlog.self();
SELECT dlog.sender();
SELECT dlog.reply(1);
SELECT dlog.become('counter');
SELECT dlog.stash();
SELECT dlog.unstash();
SELECT dlog.stop();
SELECT dlog.send_after('1 s', ROW(1)::increment);
SELECT dlog.send_every('1 s', ROW(1)::increment);
SELECT dlog.cancel_timer(1);
SELECT dlog.monitor(:'c');

-- the end
SELECT dlog.stop(:'c');
SELECT test.wait_until(format('dlog.whereis(%L) IS NULL', 'first counter'));
\set VERBOSITY sqlstate
SELECT dlog.send(:'c', ROW(1)::increment);
SELECT dlog.ask(:'c', ROW()::get_count);
SELECT dlog.kill(:'c');
\set VERBOSITY default
-- the view's references are those that the functions take
SELECT count(*) = (SELECT count(*) FROM carts) AS all_shown FROM dlog.actors JOIN carts USING (actor);
SELECT dlog.kill(actor) FROM dlog.actors WHERE behavior = 'counter';
SELECT test.wait_until('NOT EXISTS (SELECT FROM dlog.actors WHERE behavior = ''counter'')');
SET client_min_messages = warning;
DROP SCHEMA first CASCADE;
