-- A message that waits for a durable actor when its behavior stops to take it: quarantine.
CREATE SCHEMA journal_unhandled;
SET search_path = journal_unhandled;
CREATE TYPE add AS (n int);
CREATE TYPE double AS ();
CREATE FUNCTION add(state int, message add) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + message.n;
CREATE FUNCTION double(state int, message double) RETURNS int IMMUTABLE LANGUAGE sql RETURN state * 2;
SELECT dlog.create_behavior('adder', 'int', handlers => '{add,double}', durable => true);
SELECT dlog.spawn('adder', name => 'adder') AS a \gset
SELECT dlog.send(:'a', ROW(1)::add);
SELECT test.wait_until(format('dlog.state(%L) = ''1''', :'a'));
SELECT dlog.suspend(:'a');
SELECT dlog.send(:'a', ROW()::double);
SELECT dlog.send(:'a', ROW(10)::add);
SELECT dlog.alter_behavior('adder', drop_messages => '{double}');
SELECT dlog.resume(:'a');
SELECT test.wait_until('NOT EXISTS (SELECT FROM dlog.mailbox)');
SELECT payload, failures, sqlstate, error FROM dlog.quarantined;
SELECT dlog.state(:'a');
SELECT seq, payload FROM dlog.journal WHERE name = 'adder' ORDER BY seq;

-- taken again, it can be sent again
SELECT dlog.alter_behavior('adder', handlers => '{double}');
SELECT dlog.redeliver(id) FROM dlog.quarantined;
SELECT test.wait_until(format('dlog.state(%L) = ''22''', :'a'));
SET client_min_messages = warning;
SELECT dlog.drop_behavior('adder', cascade => true);
DROP SCHEMA journal_unhandled CASCADE;
