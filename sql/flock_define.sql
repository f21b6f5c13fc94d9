-- A flock is named once, is who has its tags, and changes as tags do; who may
-- make one, and whose it is; what happens in it is told once to each who listens.
SELECT * FROM dlog.flocks;
SELECT node, state FROM dlog.flock_members('all');
SELECT node FROM dlog.flock_members('nobody');
SELECT dlog.create_flock('all');
SELECT dlog.create_flock('');
SELECT dlog.create_flock(repeat('x', 64));
SELECT dlog.create_flock(NULL);
SELECT dlog.create_flock('workers', tags => '["role"]');
SELECT dlog.create_flock('workers', heartbeat_interval => '1 ms');
SELECT dlog.create_flock('workers', heartbeat_interval => '2 h');
SELECT dlog.create_flock('workers', tags => jsonb_build_object('role', repeat('x', 2000)));

-- an event is told to an actor that has subscribed, and in the table
CREATE SCHEMA flock_test;
SET search_path = flock_test;
CREATE TABLE heard (flock text, node text, event text, why text);
CREATE FUNCTION heard_change(state int, message dlog.flock_change) RETURNS int LANGUAGE plpgsql
SET search_path = flock_test AS $$
BEGIN
    INSERT INTO heard VALUES (message.flock, message.node, message.event, message.why);
    RETURN state + 1;
END $$;
CREATE TYPE other_message AS (n int);
CREATE FUNCTION heard_other(state int, message other_message) RETURNS int LANGUAGE sql RETURN state;
CREATE FUNCTION listener_init() RETURNS int LANGUAGE sql RETURN 0;
SELECT dlog.create_behavior('listener', 'int', 'listener_init', '{heard_change}');
SELECT dlog.create_behavior('deaf', 'int', 'listener_init', '{heard_other}');
SELECT dlog.spawn('listener', name => 'listener') AS listener \gset
SELECT dlog.spawn('deaf', name => 'deaf') AS deaf \gset
SELECT dlog.create_flock('workers', tags => '{"role": "worker"}', heartbeat_interval => '500 ms');
SELECT dlog.create_flock('workers');
SELECT dlog.subscribe('workers', :'listener');
SELECT dlog.subscribe('workers', :'listener');
SELECT dlog.subscribe('nobody', :'listener');
\set VERBOSITY sqlstate
SELECT dlog.subscribe('workers', :'deaf');
\set VERBOSITY default
SELECT dlog.subscribe('workers', NULL);
SELECT dlog.subscribe('workers', 'dlog://77/5/1.2.3');
SELECT name, tags, heartbeat_interval, owner = current_user AS is_ours FROM dlog.flocks;
SELECT node FROM dlog.flock_members('workers');
SELECT dlog.set_tags('{"role": "worker", "zone": 1}');
SELECT test.wait_until($$EXISTS (SELECT FROM flock_test.heard)$$);
SELECT node, state, tags FROM dlog.flock_members('workers');
SELECT result FROM dlog.deploy_map('workers', 'SELECT 1');
SELECT dlog.set_tags('{}');
SELECT test.wait_until($$(SELECT count(*) FROM flock_test.heard) = 2$$);
SELECT node FROM dlog.flock_members('workers');
SELECT count(*) FROM dlog.deploy_map('workers', 'SELECT 1');
SELECT dlog.alter_flock('workers', tags => '{}');
SELECT test.wait_until($$(SELECT count(*) FROM flock_test.heard) = 3$$);
SELECT name, tags, heartbeat_interval FROM dlog.flocks WHERE name = 'workers';
SELECT dlog.drop_flock('workers');
SELECT test.wait_until($$(SELECT count(*) FROM flock_test.heard) = 4$$);
SELECT flock, node, event, why FROM heard;
SELECT flock, node, event, why FROM dlog.flock_events WHERE flock = 'workers';
SELECT node, event FROM dlog.flock_events WHERE flock = 'all';

-- gone again
SELECT dlog.drop_flock('workers');
SELECT dlog.drop_flock('workers', if_exists => true);
SELECT dlog.alter_flock('workers', tags => '{}');
SELECT dlog.subscribe('workers', :'listener');
SELECT dlog.unsubscribe('workers', :'listener');
SELECT dlog.unsubscribe('workers', :'listener');

-- nothing is made by a transaction that is rolled back
BEGIN;
SELECT dlog.create_flock('never');
ROLLBACK;
SELECT name FROM dlog.flocks;

-- who does not live any longer is told no more
SELECT dlog.create_flock('workers', tags => '{"role": "worker"}');
SELECT dlog.subscribe('workers', :'listener');
SELECT dlog.stop(:'listener'::dlog.actor_ref);
SELECT test.wait_until($$dlog.whereis('listener') IS NULL$$);
SELECT dlog.set_tags('{"role": "worker"}');
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.flock_subscription)$$);

-- rights
CREATE ROLE flock_clerk;
CREATE ROLE flock_chief;
GRANT USAGE ON SCHEMA flock_test TO flock_clerk;
SET ROLE flock_clerk;
SELECT dlog.create_flock('mine');
SELECT dlog.set_tags('{}');
SELECT dlog.alter_flock('workers', tags => '{}');
SELECT dlog.drop_flock('workers');
\set VERBOSITY sqlstate
SELECT dlog.subscribe('workers', :'deaf');
\set VERBOSITY default
SELECT node FROM dlog.flock_members('workers');
RESET ROLE;
GRANT EXECUTE ON FUNCTION dlog.create_flock TO flock_clerk;
SET ROLE flock_clerk;
SELECT dlog.create_flock('mine');
SELECT dlog.alter_flock('mine', tags => '{"role": "worker"}');
RESET ROLE;
SET ROLE flock_chief;
SELECT dlog.drop_flock('mine');
RESET ROLE;
GRANT flock_clerk TO flock_chief;
SET ROLE flock_chief;
SELECT dlog.drop_flock('mine');
RESET ROLE;

-- broadcast: every member's actor of that name, and what it replies
CREATE TYPE question AS (n int);
CREATE FUNCTION answer(state int, message question) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF message.n = 0 THEN
        RAISE EXCEPTION 'nothing to say';
    ELSIF message.n > 0 THEN
        PERFORM dlog.reply(repeat('x', message.n));
    END IF;
    RETURN state;
END $$;
SELECT dlog.create_behavior('oracle', 'int', 'listener_init', '{answer}');
SELECT dlog.spawn('oracle', name => 'oracle') IS NOT NULL AS spawned;
SELECT test.wait_until($$EXISTS (SELECT FROM dlog.flock_members('workers'))$$);
SELECT dlog.broadcast('workers', 'oracle', ROW(3)::question) AS b \gset
SELECT node, reply, error, sqlstate, elapsed > '0' AS took FROM dlog.collect_replies(:b, '30 s');
SELECT * FROM dlog.collect_replies(:b);
SELECT dlog.broadcast('workers', 'nobody', ROW(3)::question) AS b \gset
SELECT node, reply, error, sqlstate FROM dlog.collect_replies(:b, '30 s');
SELECT dlog.broadcast('workers', 'oracle', ROW(3)::other_message) AS b \gset
SELECT node, reply, error, sqlstate FROM dlog.collect_replies(:b, '30 s');
SELECT dlog.broadcast('all', 'oracle', ROW(0)::question) AS b \gset
SELECT node, reply, error, sqlstate FROM dlog.collect_replies(:b, '30 s');
SELECT test.wait_until($$dlog.whereis('oracle') IS NULL$$);
SELECT dlog.spawn('oracle', name => 'oracle') IS NOT NULL AS spawned;
SELECT dlog.broadcast('workers', 'oracle', ROW(70000)::question) AS b \gset
SELECT node, reply, error, sqlstate FROM dlog.collect_replies(:b, '30 s');
-- one that does not reply, and one that is late
SELECT dlog.broadcast('workers', 'oracle', ROW(-1)::question, '100 ms') AS b \gset
SELECT node, reply, error, sqlstate FROM dlog.collect_replies(:b, '0');
SELECT node, reply, error, sqlstate FROM dlog.collect_replies(:b, '30 s');
-- several under way are told apart
SELECT dlog.broadcast('workers', 'oracle', ROW(1)::question) AS b1, dlog.broadcast('workers', 'oracle', ROW(2)::question) AS b2 \gset
SELECT reply, error FROM dlog.collect_replies(:b2, '30 s');
SELECT reply, error FROM dlog.collect_replies(:b1, '30 s');
-- a flock without members
SELECT dlog.set_tags('{}');
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.flock_members('workers'))$$);
SELECT dlog.broadcast('workers', 'oracle', ROW(1)::question) AS b \gset
SELECT count(*) FROM dlog.collect_replies(:b);
-- what cannot be sent
SELECT dlog.broadcast('nobody', 'oracle', ROW(1)::question);
SELECT dlog.broadcast('all', 'oracle', ROW(1));
SELECT dlog.broadcast('all', 'oracle', 1);
SELECT dlog.broadcast('all', NULL, ROW(1)::question);
SELECT dlog.broadcast('all', repeat('x', 64), ROW(1)::question);
CREATE TYPE long_message AS (t text);
SELECT dlog.broadcast('all', 'oracle', ROW(repeat('x', 100000))::long_message);
SELECT dlog.broadcast('all', 'oracle', ROW(1)::question, '-1 s');
SELECT * FROM dlog.collect_replies(NULL);
-- it is sent as who sends it, whatever is in that role's search_path
SET ROLE flock_chief;
SELECT dlog.broadcast('all', 'oracle', ROW(1)::flock_test.question) AS b \gset
SELECT node, reply, error, sqlstate FROM dlog.collect_replies(:b, '30 s');
RESET ROLE;

SELECT dlog.drop_flock('workers');
REVOKE EXECUTE ON FUNCTION dlog.create_flock FROM flock_clerk;
SET client_min_messages = warning;
DROP SCHEMA flock_test CASCADE;
DROP ROLE flock_clerk, flock_chief;
