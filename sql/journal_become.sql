-- What a durable actor becomes is in its journal, wherever it says so: in its init, and beside a message that it stashes.
CREATE SCHEMA journal_become;
SET search_path = journal_become;
CREATE TYPE work AS (n int);
CREATE TYPE rest AS ();
CREATE FUNCTION init() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.become('journal_become.idle');
    RETURN 'begun';
END $$;
CREATE FUNCTION idle_work(state text, message work) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.stash(), dlog.become('journal_become.busy');
    RETURN 'lost, as the message is stashed';
END $$;
CREATE FUNCTION busy_work(state text, message work) RETURNS text IMMUTABLE LANGUAGE sql
    RETURN concat_ws(' ', state, message.n);
CREATE FUNCTION busy_rest(state text, message rest) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.unstash(), dlog.become('journal_become.rested');
    RETURN concat_ws(' ', state, 'rests');
END $$;
CREATE FUNCTION never(state text, message rest) RETURNS text IMMUTABLE LANGUAGE sql RETURN 'never';
SELECT dlog.create_behavior('new', 'text', 'init', '{never}', durable => true, audit => true);
SELECT dlog.create_behavior('idle', 'text', handlers => '{idle_work}', durable => true, audit => true);
SELECT dlog.create_behavior('busy', 'text', handlers => '{busy_rest}', durable => true, audit => true);
SELECT dlog.create_behavior('rested', 'text', handlers => '{busy_work}', durable => true, audit => true);
SELECT dlog.alter_behavior('busy', handlers => '{busy_work}');
CREATE VIEW entries AS SELECT seq, message, payload, becomes FROM dlog.journal WHERE name = 'w' ORDER BY seq;
SELECT dlog.spawn('new', name => 'w') AS w \gset
SELECT test.wait_until(format('dlog.state(%L) = ''begun''', :'w'));

-- killed, it is loaded again, and of the behavior that init gave it
SELECT dlog.kill(:'w');
SELECT dlog.send(:'w', ROW(1)::work);
SELECT test.wait_until('(SELECT count(*) FROM journal_become.entries) = 1');
TABLE entries;

-- its stash comes back when it is loaded, and it is busy
SELECT dlog.kill(:'w');
SELECT test.wait_until(format('dlog.state(%L) = ''begun 1''', :'w'));
SELECT dlog.send(:'w', ROW(2)::work), dlog.send(:'w', ROW()::rest), dlog.send(:'w', ROW(3)::work);
SELECT test.wait_until(format('dlog.state(%L) = ''begun 1 2 rests 3''', :'w'));
SELECT dlog.kill(:'w');
SELECT dlog.send(:'w', ROW(4)::work);
SELECT test.wait_until(format('dlog.state(%L) = ''begun 1 2 rests 3 4''', :'w'));
TABLE entries;
SELECT seq, message, state FROM dlog.history(:'w');
SELECT dlog.state_at(:'w', 1), dlog.state_at(:'w', 4);
SELECT entries, is_intact, problem FROM dlog.verify_journal(:'w');
SELECT count(*) FROM dlog.quarantined WHERE name = 'w';
SELECT count(*) FROM dlog.mailbox m JOIN dlog.durable_actor a ON a.id = m.actor WHERE a.name = 'w';
SELECT dlog.stop(:'w');
SET client_min_messages = warning;
SELECT dlog.drop_behavior(b, cascade => true) FROM unnest('{new,idle,busy,rested}'::text[]) b;
DROP SCHEMA journal_become CASCADE;
