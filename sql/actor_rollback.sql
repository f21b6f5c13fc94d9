-- What a handler has said is undone by a rollback to a savepoint, too, and
-- nothing else is; what is another's stays another's.
SET client_min_messages = warning;
CREATE SCHEMA ar;
RESET client_min_messages;
SET search_path = ar;
CREATE TYPE try AS (what text);
CREATE TYPE tick AS (n int);
CREATE TYPE ask AS ();
CREATE TYPE run AS (sql text);
CREATE FUNCTION try(state text, m try) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        IF m.what = 'stash' THEN PERFORM dlog.stash(); END IF;
        IF m.what = 'become' THEN PERFORM dlog.become('ar.other'); END IF;
        IF m.what = 'unstash' THEN PERFORM dlog.unstash(); END IF;
        IF m.what = 'stop' THEN PERFORM dlog.stop('for good'); END IF;
        IF m.what = 'every' THEN PERFORM dlog.send_every('1 ms', ROW(1)::ar.tick), pg_sleep(0.05); END IF;
        IF m.what = 'after' THEN PERFORM dlog.send_after('0 ms', ROW(1)::ar.tick), pg_sleep(0.05); END IF;
        IF m.what = 'nested' THEN
            BEGIN
                PERFORM dlog.stop('inside');
            EXCEPTION WHEN division_by_zero THEN NULL;
            END;
        END IF;
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
    RETURN coalesce(state || ' ', '') || m.what;
END $$;
CREATE FUNCTION tick(state text, m tick) RETURNS text LANGUAGE sql AS $$SELECT coalesce(state || ' ', '') || 'tick'$$;
CREATE FUNCTION ask(state text, m ask) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply(coalesce(state, 'nothing'));
    RETURN NULL;
END $$;
CREATE FUNCTION ask_other(state text, m ask) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply('another behavior');
    RETURN state;
END $$;
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
SELECT dlog.create_behavior('trier', 'text', handlers => '{try,tick,ask,run}');
SELECT dlog.create_behavior('other', 'text', handlers => '{ask_other}');
SELECT dlog.spawn('trier') AS a \gset
SELECT dlog.send(:'a', ROW(w)::try) FROM unnest('{stash,become,unstash,stop,nested,after,every}'::text[]) w;
-- each was handled once, with its new state, and no tick came
SELECT dlog.ask(:'a', ROW()::ask);
SELECT dlog.ask(:'a', ROW('SELECT pg_sleep(0.1)')::run);
SELECT dlog.ask(:'a', ROW()::ask);
-- the same in one that counts
SELECT dlog.send(:'a', ROW('every')::try) FROM generate_series(1, 3);
SELECT dlog.ask(:'a', ROW()::ask);

-- the savepoint alone: what was said before it stands
CREATE TYPE keep AS ();
CREATE FUNCTION keep(state text, m keep) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM dlog.stop('by and by');
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    BEGIN
        PERFORM dlog.stop('at once'), 1 / 0;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    PERFORM dlog.reply('stops');
    RETURN state;
END $$;
SELECT dlog.alter_behavior('trier', handlers => '{keep}');
SELECT dlog.spawn('trier', name => 'keeper') AS k \gset
SELECT dlog.ask(:'k', ROW()::keep);
SELECT test.wait_until('dlog.whereis(''keeper'') IS NULL');

-- timers: only one's own can be cancelled
SELECT dlog.spawn('trier') AS mine, dlog.spawn('trier') AS others \gset
SELECT dlog.ask(:'others', ROW('SELECT dlog.send_after(''1 s'', ROW(1)::ar.tick)')::run) AS timer \gset
SELECT dlog.ask(:'mine', ROW(format('SELECT dlog.cancel_timer(%s)', :'timer'))::run);
SELECT test.wait_until(format('dlog.state(%L) = ''tick''', :'others'));
SELECT dlog.ask(:'mine', ROW('SELECT dlog.send_after(''1 hour'', ROW(1)::ar.tick)')::run) AS timer \gset
SELECT dlog.ask(:'mine', ROW(format('SELECT dlog.cancel_timer(%s)', :'timer'))::run);

-- a timer that is refused leaves nothing behind
SELECT dlog.ask(:'mine', ROW('SELECT dlog.send_every(''0 ms'', ROW(1)::ar.tick)')::run);
SELECT dlog.ask(:'mine', ROW('SELECT dlog.send_after(''1 ms'', ROW(1))')::run);

-- a name that somebody else has taken since stays his
SELECT dlog.spawn('trier') AS x, dlog.spawn('trier') AS y \gset
BEGIN;
SELECT dlog.register('wanted', :'x');
SELECT dlog.unregister('wanted');
SELECT dlog.ask(:'mine', ROW(format('SELECT dlog.register(''wanted'', %L)', :'y'))::run);
ROLLBACK;
SELECT dlog.whereis('wanted') = :'y' AS is_his;

SET client_min_messages = warning;
DROP SCHEMA ar CASCADE;
