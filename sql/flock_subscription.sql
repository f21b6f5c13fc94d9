-- Who may control a durable actor decides what it is told; the others do not.
SET client_min_messages = warning;
CREATE ROLE fs_alice;
CREATE ROLE fs_mallory;
CREATE SCHEMA fs;
GRANT ALL ON SCHEMA fs TO fs_alice, fs_mallory;
GRANT USAGE ON SCHEMA test TO fs_alice;
RESET client_min_messages;
SET search_path = fs;
SELECT 1 FROM dlog.create_flock('seen', tags => '{"fs": true}');
SET ROLE fs_alice;
CREATE FUNCTION hear(state text, m dlog.flock_change) RETURNS text LANGUAGE sql STABLE AS
    $$SELECT concat_ws(' ', state, m.event)$$;
SELECT dlog.create_behavior('hears', 'text', handlers => '{hear}', durable => true);
SELECT dlog.spawn('hears', name => 'ears') AS a \gset
SET ROLE fs_mallory;
\set VERBOSITY sqlstate
SELECT dlog.subscribe('seen', :'a');
\set VERBOSITY default
SET ROLE fs_alice;
SELECT dlog.subscribe('seen', :'a');
SET ROLE fs_mallory;
\set VERBOSITY sqlstate
SELECT dlog.unsubscribe('seen', :'a');
\set VERBOSITY default
RESET ROLE;
-- what comes is alice's, who may send to it
SELECT dlog.set_tags('{"fs": true}');
SELECT test.wait_until(format('dlog.state(%L) = ''joined''', :'a'));
SELECT role FROM dlog.journal WHERE actor = :'a'::dlog.actor_ref;
SET ROLE fs_alice;
SELECT dlog.unsubscribe('seen', :'a');
SELECT dlog.stop(:'a'::dlog.actor_ref);
RESET ROLE;
SELECT dlog.set_tags('{}');
SELECT dlog.drop_flock('seen');
SET client_min_messages = warning;
DROP SCHEMA fs CASCADE;
DROP OWNED BY fs_alice, fs_mallory;
DROP ROLE fs_alice, fs_mallory;
