-- Durable actors whose behavior changes, or who change theirs; full mailboxes.
CREATE SCHEMA journal_change;
SET search_path = journal_change;
SET client_min_messages = warning;
CREATE TYPE purse AS (pence int);
CREATE TYPE put AS (pence int);
CREATE TYPE get AS ();
CREATE FUNCTION put(state purse, m put) RETURNS purse IMMUTABLE LANGUAGE sql
RETURN ROW(coalesce(state.pence, 0) + m.pence)::purse;
CREATE FUNCTION get(state purse, m get) RETURNS purse STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply(state);
    RETURN state;
END $$;

-- Snapshots by bytes.
SELECT dlog.create_behavior('purse_actor', 'purse', handlers => '{put,get}', durable => true,
    snapshot_every => 0, snapshot_bytes => 100);
SELECT dlog.spawn('purse_actor', name => 'p') AS p \gset
SELECT count(dlog.send(:'p', ROW(i)::put)) FROM generate_series(1, 20) i;
SELECT dlog.ask(:'p', ROW()::get);
SELECT count(*) BETWEEN 2 AND 11 AS some_snapshots, max(seq) > 10 AS late_ones
FROM dlog.journal_snapshot WHERE dlog.durable_ref(actor) = :'p';

-- An attribute more: it is null in what is older.
ALTER TYPE purse ADD ATTRIBUTE owner text;
SELECT dlog.state_at(:'p', 0), dlog.state_at(:'p', 1), dlog.state_at(:'p', 3);

-- Other types for state and message: upcasts make the newer values.
CREATE TYPE purse_v2 AS (pounds numeric);
CREATE TYPE put_v2 AS (pounds numeric);
CREATE FUNCTION purse_v2(old purse) RETURNS purse_v2 IMMUTABLE LANGUAGE sql RETURN ROW(old.pence / 100.0)::purse_v2;
CREATE FUNCTION put_v2(old put) RETURNS put_v2 IMMUTABLE LANGUAGE sql RETURN ROW(old.pence / 100.0)::put_v2;
CREATE FUNCTION put(state purse, m put_v2) RETURNS purse IMMUTABLE LANGUAGE sql
RETURN ROW(coalesce(state.pence, 0) + m.pounds * 100, state.owner)::purse;
SELECT dlog.alter_behavior('purse_actor', handlers => '{"put(purse,put_v2)"}', drop_messages => '{put}');
SELECT dlog.state_at(:'p', 1);
SELECT dlog.alter_behavior('purse_actor', upcast => '{put_v2}');
SELECT dlog.state_at(:'p', 1);
SELECT dlog.send(:'p', ROW(1)::put_v2);
SELECT dlog.ask(:'p', ROW()::get);
SELECT dlog.send(:'p', ROW(1)::put);

-- What replays must be what it says.
CREATE FUNCTION bad_upcast(old put) RETURNS put_v2 VOLATILE LANGUAGE sql RETURN ROW(random())::put_v2;
SELECT dlog.alter_behavior('purse_actor', upcast => '{bad_upcast}');
SELECT dlog.alter_behavior('purse_actor', snapshot_bytes => -1);
SELECT dlog.alter_behavior('purse_actor', max_failures => 0);

-- become is journaled; stash keeps a message until unstash, and only then is it an entry.
CREATE TYPE note AS (n int);
CREATE TYPE shut AS ();
CREATE TYPE unlock AS ();
CREATE FUNCTION note(state text, m note) RETURNS text STABLE LANGUAGE sql RETURN concat(state, m.n);
CREATE FUNCTION shut(state text, m shut) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.become('journal_change.shut_door');
    RETURN concat(state, '(');
END $$;
CREATE FUNCTION wait(state text, m note) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.stash();
    RETURN state;
END $$;
CREATE FUNCTION unlock(state text, m unlock) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.become('journal_change.open_door'), dlog.unstash();
    RETURN concat(state, ')');
END $$;
CREATE FUNCTION tell(state text, m get) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply(state);
    RETURN state;
END $$;
SELECT dlog.create_behavior('open_door', 'text', handlers => '{"note(text,note)",shut,tell}', durable => true);
SELECT dlog.create_behavior('shut_door', 'text', handlers => '{"wait(text,note)",unlock,tell}', durable => true);
SELECT dlog.spawn('open_door', name => 'd') AS d \gset
SELECT dlog.send(:'d', ROW(1)::note), dlog.send(:'d', ROW()::shut);
SELECT dlog.ask(:'d', ROW()::get);
SELECT dlog.send(:'d', ROW(2)::note), dlog.send(:'d', ROW(3)::note);
SELECT dlog.ask(:'d', ROW()::get);
SELECT count(*) AS stashed FROM dlog.mailbox WHERE dlog.durable_ref(actor) = :'d';
SELECT dlog.send(:'d', ROW()::unlock);
SELECT test.wait_until(format('dlog.state(%L) = ''1()23''', :'d'));
SELECT seq, message, payload, becomes FROM dlog.journal WHERE name = 'd' AND message <> 'get'::regtype ORDER BY seq;
SELECT message, state FROM dlog.history(:'d') WHERE message <> 'get'::regtype;
SELECT dlog.state_at(:'d', 2);

-- kill: its handler's work is undone, and the actor is there again as it was.
SELECT dlog.kill(:'d');
SELECT dlog.ask(:'d', ROW()::get);
-- stop in a handler is the end, with that message.
CREATE TYPE leave AS ();
CREATE FUNCTION leave(state text, m leave) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.stop('had enough');
    RETURN state || '.';
END $$;
SELECT dlog.alter_behavior('open_door', handlers => '{leave}');
SELECT dlog.send(:'d', ROW()::leave);
SELECT test.wait_until($$dlog.whereis('d') IS NULL$$);
SELECT stop_reason FROM dlog.durable_actors WHERE actor = :'d';
SELECT message, state FROM dlog.history(:'d') ORDER BY seq DESC LIMIT 1;

-- A full mailbox: an error, if that is wanted, or if who sends has filled it; else who sends waits.
SELECT dlog.create_behavior('small', 'text', handlers => '{"note(text,note)",tell}', durable => true, mailbox_limit => 3);
SELECT dlog.spawn('small', name => 's') AS s \gset
\set VERBOSITY sqlstate
SELECT dlog.suspend(:'s');
SELECT count(dlog.send(:'s', ROW(i)::note)) FROM generate_series(1, 3) i;
SET dlog.full_mailbox = error;
SELECT dlog.send(:'s', ROW(4)::note);
RESET dlog.full_mailbox;
SELECT dlog.resume(:'s');
SELECT dlog.ask(:'s', ROW()::get);
BEGIN;
SELECT count(dlog.send(:'s', ROW(i)::note)) FROM generate_series(4, 7) i;
ROLLBACK;
SELECT dlog.suspend(:'s');
SELECT count(dlog.send(:'s', ROW(i)::note)) FROM generate_series(4, 6) i;
SET statement_timeout = '100ms';
SELECT dlog.send(:'s', ROW(7)::note);
RESET statement_timeout;
SELECT dlog.resume(:'s');
SELECT dlog.send(:'s', ROW(7)::note);
SELECT dlog.ask(:'s', ROW()::get);

\set VERBOSITY default
SELECT dlog.drop_behavior(name, cascade => true) FROM unnest('{purse_actor,open_door,shut_door,small}'::text[]) name;
SELECT count(*) FROM dlog.durable_actors;
DROP SCHEMA journal_change CASCADE;
