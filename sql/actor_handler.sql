-- What a handler can do: its state, its writes, its sends and its answer come
-- true together; and what it fails at is undone, and nothing else.
CREATE SCHEMA ah;
SET search_path = ah;
CREATE TYPE step AS (what text, n int);
CREATE TYPE look AS ();
CREATE TABLE log (n serial, what text);
CREATE FUNCTION step(state text[], m step) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    IF m.what = 'log' THEN
        INSERT INTO log (what) VALUES (m.n);
    ELSIF m.what = 'fail' THEN
        INSERT INTO log (what) VALUES ('never');
        RAISE EXCEPTION 'failed at %', m.n;
    ELSIF m.what = 'tell' THEN
        PERFORM dlog.send(dlog.whereis('other'), ROW('told', m.n)::step);
    ELSIF m.what = 'answer' THEN
        PERFORM dlog.reply(ROW('answer', m.n)::step);
    ELSIF m.what = 'echo' THEN
        PERFORM dlog.reply(ROW('echoed', m.n)::step);
    ELSIF m.what = 'say echo' THEN
        PERFORM dlog.send(dlog.whereis('other'), ROW('echo', m.n)::step);
    ELSIF m.what = 'later' THEN
        PERFORM dlog.send_after('1 ms', ROW('came later', m.n)::step);
    ELSIF m.what = 'often' THEN
        PERFORM dlog.send_every('1 ms', ROW('count', 0)::step);
    ELSIF m.what = 'watch' THEN
        PERFORM dlog.monitor(dlog.whereis('other'));
    ELSIF m.what = 'stop' THEN
        PERFORM dlog.stop('had enough');
    ELSIF m.what = 'be strict' THEN
        PERFORM dlog.become('ah.strict');
    ELSIF m.what = 'ask' THEN
        PERFORM dlog.ask(dlog.whereis('other'), ROW()::look);
    ELSIF m.what = 'spawn' THEN
        PERFORM dlog.spawn('ah.actor', name => 'child');
    END IF;
    RETURN state || (m.what || ' ' || m.n);
END $$;
CREATE FUNCTION look(state text[], m look) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply(array_to_string(state, ', '));
    RETURN state;
END $$;
CREATE FUNCTION down(state text[], m dlog.down) RETURNS text[] LANGUAGE sql AS $$
    SELECT state || ('down: ' || m.reason)
$$;
-- it puts everything aside until it is told to go on
CREATE FUNCTION strict(state text[], m step) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    IF m.what = 'go on' THEN
        PERFORM dlog.unstash(), dlog.become('ah.actor');
        RETURN state || 'gone on'::text;
    END IF;
    PERFORM dlog.stash();
    RETURN state;
END $$;
SELECT dlog.create_behavior('actor', 'text[]', handlers => '{step,look,down}'),
       dlog.create_behavior('strict', 'text[]', handlers => '{strict,look}');
SELECT dlog.spawn('actor', name => 'one') AS one, dlog.spawn('actor', name => 'other') AS other \gset

-- writes and sends of a handler
SELECT dlog.send(:'one', ROW('log', 1)::step), dlog.send(:'one', ROW('tell', 2)::step);
SELECT test.wait_until(format('dlog.state(%L) LIKE ''%%told%%''', :'other'));
SELECT what FROM log;
SELECT dlog.ask(:'one', ROW('answer', 3)::step, NULL::step);
SELECT dlog.ask(:'one', ROW('answer', 3)::step);
SELECT dlog.send(:'one', ROW('say echo', 4)::step);
SELECT test.wait_until(format('dlog.state(%L) LIKE ''%%echoed%%''', :'one'));
SELECT dlog.ask(:'one', ROW()::look);

-- stash, unstash, become
SELECT dlog.send(:'one', ROW('be strict', 5)::step), dlog.send(:'one', ROW('put aside', 6)::step),
    dlog.send(:'one', ROW('put aside', 7)::step), dlog.send(:'one', ROW('go on', 8)::step);
SELECT test.wait_until(format('dlog.state(%L) LIKE ''%%aside 7%%''', :'one'));
SELECT dlog.ask(:'one', ROW()::look);

-- timers, monitors, spawn
SELECT dlog.send(:'other', ROW('later', 1)::step);
SELECT test.wait_until(format('dlog.state(%L) LIKE ''%%came later 1%%''', :'other'));
SELECT dlog.send(:'other', ROW('often', 1)::step);
SELECT test.wait_until(format('dlog.state(%L) LIKE ''%%count%%count%%count%%''', :'other'));
SELECT dlog.send(:'one', ROW('spawn', 1)::step), dlog.send(:'one', ROW('watch', 1)::step);
SELECT test.wait_until(format('dlog.state(%L) LIKE ''%%watch%%''', :'one'));
SELECT dlog.ask(dlog.whereis('child'), ROW()::look) IS NULL AS child_lives;
SELECT dlog.send(:'other', ROW('stop', 1)::step);
SELECT test.wait_until(format('dlog.state(%L) LIKE ''%%down: had enough%%''', :'one'));

-- a handler that fails: only what it did is undone, and who asked is told
SELECT dlog.send(:'one', ROW('log', 10)::step), dlog.send(:'one', ROW('fail', 11)::step);
SELECT dlog.send(dlog.whereis('child'), ROW('log', 12)::step);
SELECT test.wait_until('dlog.whereis(''one'') IS NULL');
SELECT dlog.ask(dlog.whereis('child'), ROW()::look);
SELECT what FROM log ORDER BY what::int;
SELECT dlog.ask(dlog.whereis('child'), ROW('fail', 13)::step);
SELECT dlog.spawn('actor') AS c \gset
SELECT dlog.ask(:'c', ROW('ask', 14)::step);

-- suspend and resume; CREATE OR REPLACE takes effect at the next message
SELECT dlog.spawn('actor', name => 'last') AS c \gset
SELECT dlog.send(:'c', ROW('before', 1)::step);
SELECT test.wait_until(format('dlog.state(%L) LIKE ''%%before%%''', :'c'));
SELECT dlog.suspend(:'c');
SELECT dlog.send(:'c', ROW('meanwhile', 2)::step);
CREATE OR REPLACE FUNCTION step(state text[], m step) RETURNS text[] LANGUAGE sql AS $$
    SELECT state || ('new: ' || m.what || ' ' || m.n)
$$;
SELECT dlog.resume(:'c');
SELECT dlog.ask(:'c', ROW()::look);
-- and so does another attribute of a message or a state
ALTER TYPE step ADD ATTRIBUTE more int;
CREATE OR REPLACE FUNCTION step(state text[], m step) RETURNS text[] LANGUAGE sql AS $$
    SELECT state || (m.what || ' ' || m.n || ' ' || coalesce(m.more::text, 'null'))
$$;
SELECT dlog.send(:'c', ROW('after', 3, 4)::step);
SELECT dlog.ask(:'c', ROW()::look);

SELECT dlog.kill(:'c');
SELECT test.wait_until('dlog.whereis(''last'') IS NULL');
SET client_min_messages = warning;
DROP SCHEMA ah CASCADE;
