-- Time limits, locks, full mailboxes, names and timers: what holds an actor up,
-- what ends it, and what a transaction that is undone leaves of all that.
\set VERBOSITY terse
CREATE SCHEMA ac;
SET search_path = ac;
CREATE TYPE go AS (what text, n bigint);
CREATE TABLE counts (id int PRIMARY KEY, n int);
INSERT INTO counts VALUES (1, 0), (2, 0);
CREATE FUNCTION go(state text, m go) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    present int;
BEGIN
    CASE m.what
    WHEN 'write' THEN
        INSERT INTO counts VALUES (m.n, 0);
    WHEN 'both' THEN
        -- The first time it waits until somebody waits for it.
        UPDATE counts SET n = n + 1 WHERE id = 1 RETURNING n INTO present;
        WHILE present = 1 AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted) LOOP
            PERFORM pg_sleep(0.005);
        END LOOP;
        UPDATE counts SET n = n + 1 WHERE id = 2;
    WHEN 'timer' THEN
        PERFORM dlog.reply(dlog.send_after('1 h', ROW('never', 0)::go));
    WHEN 'timer and fail' THEN
        PERFORM dlog.send_after('1 h', ROW('never', 0)::go), dlog.send_every('1 h', ROW('never', 0)::go);
        RAISE EXCEPTION 'failed';
    WHEN 'timer and go back' THEN
        BEGIN
            PERFORM dlog.send_after('1 h', ROW('never', 0)::go);
            RAISE EXCEPTION 'caught';
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
        PERFORM dlog.reply('went on');
    WHEN 'cancel' THEN
        PERFORM dlog.cancel_timer(m.n);
        PERFORM dlog.reply('cancelled');
    WHEN 'monitor' THEN
        PERFORM dlog.monitor(dlog.whereis('watched')), dlog.monitor(dlog.whereis('other'));
        PERFORM dlog.reply('watches');
    WHEN 'demonitor' THEN
        PERFORM dlog.demonitor(dlog.whereis('watched'));
        PERFORM dlog.reply('looks away');
    WHEN 'ask' THEN
        PERFORM dlog.ask(dlog.self(), ROW('swallow', 0)::go);
    WHEN 'swallow' THEN
        NULL;
    END CASE;
    RETURN concat_ws(', ', state, m.what);
END $$;
CREATE FUNCTION down(state text, m dlog.down) RETURNS text LANGUAGE sql AS
    $$SELECT concat_ws(', ', state, 'down: ' || m.reason)$$;
-- what is not volatile sees what was committed before its message, and what the one before it has written
CREATE TYPE look AS ();
CREATE TYPE put AS (n int);
CREATE FUNCTION look(state text, m look) RETURNS text LANGUAGE sql STABLE AS
    $$SELECT count(*)::text || ' seen' FROM counts$$;
CREATE FUNCTION put(state text, m put) RETURNS text LANGUAGE sql AS
    $$INSERT INTO counts VALUES (m.n, 0) RETURNING 'put'$$;
SELECT dlog.create_behavior('actor', 'text', handlers => '{go,down}', mailbox_limit => 5),
       dlog.create_behavior('hasty', 'text', handlers => '{go}', handler_timeout => '100 ms'),
       dlog.create_behavior('looker', 'text', handlers => '{look,put}');

-- a handler that runs too long is cancelled, also where it waits for a lock
SELECT dlog.spawn('hasty', name => 'waits') AS w \gset
BEGIN;
LOCK TABLE counts;
SELECT dlog.ask(:'w', ROW('write', 3)::go, '30 s');
ROLLBACK;
SELECT dlog.whereis('waits') IS NULL AS is_gone, count(*) FROM counts;

-- who loses against another transaction tries again, and nobody hears of it
SELECT count(*) AS failures FROM dlog.failures \gset
SELECT dlog.spawn('actor') AS p \gset
SET deadlock_timeout = '100 s';
SELECT dlog.send(:'p', ROW('both', 0)::go);
SELECT test.wait_until($$EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type LIKE 'dlog scheduler%')$$);
BEGIN;
UPDATE counts SET n = n + 10 WHERE id = 2;
UPDATE counts SET n = n + 10 WHERE id = 1;
COMMIT;
RESET deadlock_timeout;
SELECT test.wait_until(format('dlog.state(%L) = ''both''', :'p'));
SELECT * FROM counts ORDER BY id;
SELECT count(*) - :failures AS failures FROM dlog.failures;

-- a full mailbox; what is refused is not there, and what waited is
SELECT dlog.spawn('actor', name => 'watched') AS f \gset
SELECT dlog.suspend(:'f');
SELECT dlog.send(:'f', ROW('swallow', i)::go) FROM generate_series(1, 5) i;
\set VERBOSITY sqlstate
SELECT dlog.send(:'f', ROW('swallow', 6)::go);
SELECT dlog.ask(:'f', ROW('swallow', 6)::go);
\set VERBOSITY terse
SELECT mailbox, mailbox_high_water FROM dlog.actors WHERE name = 'watched';
SELECT dlog.resume(:'f');
SELECT test.wait_until(format('dlog.state(%L) = ''swallow, swallow, swallow, swallow, swallow''', :'f'));

-- an ask that nobody answers
SELECT dlog.spawn('actor', name => 'other') AS o \gset
SELECT dlog.suspend(:'o');
SELECT dlog.ask(:'o', ROW('swallow', 1)::go, '50 ms');

-- names: given in a transaction, gone with its rollback; by their text
SELECT dlog.register('second name', :'f');
SELECT dlog.whereis('second name') = :'f' AS found, dlog.whereis('dlog://here/regression/second%20name') = :'f' AS by_text,
    dlog.whereis(:'f'::text) = :'f' AS by_reference;
SELECT dlog.register('second name', :'o');
SELECT dlog.unregister('second name'), dlog.unregister('second name'), dlog.whereis('second name') IS NULL AS gone;
BEGIN;
SELECT dlog.register('third name', :'f');
SAVEPOINT s;
SELECT dlog.register('fourth name', :'f');
ROLLBACK TO s;
COMMIT;
SELECT dlog.whereis('third name') = :'f' AS third, dlog.whereis('fourth name') IS NULL AS no_fourth;
SELECT dlog.whereis('dlog://here/another/name');
SELECT dlog.whereis('dlog://nowhere/regression/name');
SELECT dlog.whereis('dlog://here/');

-- timers: set, cancelled; and those of a handler, or a part of one, that is undone
CREATE VIEW timers AS SELECT value FROM dlog.stat_runtime WHERE name = 'timers';
SELECT value AS timers FROM timers \gset
SELECT dlog.spawn('actor', name => 'timer') AS t \gset
SELECT dlog.ask(:'t', ROW('timer', 0)::go)::bigint AS timer \gset
SELECT value - :timers AS set FROM timers;
SELECT dlog.ask(:'t', ROW('timer and go back', 0)::go), (SELECT value FROM timers) - :timers AS set;
SELECT dlog.ask(:'t', ROW('cancel', :timer)::go), test.wait_until('(SELECT value FROM timers) = ' || :timers);
SELECT dlog.ask(:'t', ROW('timer and fail', 0)::go);
SELECT test.wait_until('(SELECT value FROM timers) = ' || :timers);

-- monitors: of one that exits, and of one that is not watched any more
SELECT dlog.spawn('actor', name => 'watcher') AS m \gset
SELECT dlog.ask(:'m', ROW('monitor', 0)::go), dlog.ask(:'m', ROW('demonitor', 0)::go);
SELECT dlog.kill(:'f'), dlog.stop(:'o', 'went home');
SELECT test.wait_until('dlog.whereis(''watched'') IS NULL AND dlog.whereis(''other'') IS NULL');
SELECT test.wait_until(format('dlog.state(%L) LIKE ''%%down%%''', :'m'));
SELECT dlog.state(:'m');
-- a handler asks nobody
SELECT dlog.ask(:'m', ROW('ask', 0)::go);

-- snapshots
SELECT dlog.spawn('looker') AS l \gset
BEGIN;
SELECT dlog.send(:'l', ROW(10)::put), dlog.send(:'l', ROW()::look);
COMMIT;
SELECT test.wait_until(format('dlog.state(%L) = ''3 seen''', :'l'));
INSERT INTO counts VALUES (11, 0);
SELECT dlog.send(:'l', ROW()::look);
SELECT test.wait_until(format('dlog.state(%L) = ''4 seen''', :'l'));

SELECT dlog.kill(a) FROM unnest(ARRAY[:'p', :'l']::dlog.actor_ref[]) a;
SELECT test.wait_until('NOT EXISTS (SELECT FROM dlog.actors WHERE behavior IN (''actor'', ''hasty'', ''looker''))');
SET client_min_messages = warning;
DROP SCHEMA ac CASCADE;
