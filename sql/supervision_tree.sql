-- Supervisors start, watch and restart actors; the guide's examples (docs/supervision.md) do what it says.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA sv;
SET search_path = sv;
CREATE TYPE increment AS (amount integer);
CREATE TYPE divide AS (amount integer);
CREATE FUNCTION counter_init(start integer) RETURNS integer LANGUAGE sql AS 'SELECT start';
CREATE FUNCTION counter_increment(state integer, m increment) RETURNS integer LANGUAGE sql AS 'SELECT state + m.amount';
CREATE FUNCTION counter_divide(state integer, m divide) RETURNS integer LANGUAGE sql AS 'SELECT state / m.amount';
SELECT dlog.create_behavior('counter', 'integer', 'counter_init', '{counter_increment, counter_divide}');

-- the child of this name, and its state
CREATE FUNCTION child(supervisor text, child text) RETURNS dlog.actor_ref LANGUAGE sql AS
    'SELECT w.child FROM dlog.which_children(supervisor) w WHERE w.name = $2';
CREATE FUNCTION tree() RETURNS SETOF text LANGUAGE sql AS
    $$SELECT * FROM dlog.supervision_tree()$$;
CREATE FUNCTION wait_for_tree(wanted text) RETURNS void LANGUAGE sql AS
    $$SELECT test.wait_until(format('(SELECT string_agg(t, E''\n'') FROM dlog.supervision_tree() t) LIKE %L', wanted))$$;

SELECT 1 FROM dlog.create_supervisor('shop');
SELECT 1 FROM dlog.start_child('shop', 'visits', 'counter', ROW(10));
SELECT 1 FROM dlog.create_supervisor('carts', 'simple_one_for_one', parent => 'shop');
SELECT dlog.define_child('carts', 'counter', ROW(0));
SELECT 1 FROM dlog.start_child('carts');
SELECT 1 FROM dlog.start_child('carts');
SELECT wait_for_tree('%visits: counter, running%2 × counter, running%');
\pset format unaligned
\pset tuples_only on
SELECT dlog.supervision_tree();
\pset format aligned
\pset tuples_only off
SELECT name, state, type, behavior, restart, restarts FROM dlog.which_children('shop');
SELECT name, state, type, behavior, restart, restarts FROM dlog.which_children('carts');
SELECT * FROM dlog.count_children('shop');
SELECT * FROM dlog.count_children('carts');

-- A failing child is restarted at the same address; what has come for it meanwhile is handled then.
SELECT child('shop', 'visits') AS visits \gset
SELECT dlog.send(:'visits', ROW(5)::increment);
BEGIN;
SELECT dlog.send(:'visits', ROW(0)::divide);
SELECT dlog.send(:'visits', ROW(7)::increment);
COMMIT;
SELECT test.wait_until(format('dlog.state(%L)::text = ''17''', :'visits'));
SELECT child('shop', 'visits') = :'visits' AS is_the_same;
SELECT name, state, restarts FROM dlog.which_children('shop') WHERE name = 'visits';
SELECT actor = :'visits' AS is_it, behavior, role, sqlstate, error, context IS NOT NULL AS has_context, message_type, message
FROM dlog.failures ORDER BY number DESC LIMIT 1;

-- What becomes of the message: retried, and then a dead letter.
SELECT count(*) AS failures FROM dlog.failures \gset
SELECT dlog.alter_child('shop', 'visits', on_failure => 'retry', retries => 2);
SELECT dlog.send(:'visits', ROW(0)::divide);
SELECT test.wait_until(format('(SELECT count(*) FROM dlog.failures) = %s', :failures + 3));
SELECT dlog.send(:'visits', ROW(1)::increment);
SELECT test.wait_until(format('dlog.state(%L)::text = ''11''', :'visits'));
SELECT name, state, restarts FROM dlog.which_children('shop') WHERE name = 'visits';

-- A transaction that rolls back leaves nothing.
BEGIN;
SELECT 1 FROM dlog.create_supervisor('never', parent => 'shop');
SELECT 1 FROM dlog.start_child('never', 'a', 'counter', ROW(1));
SELECT 1 FROM dlog.start_child('shop', 'b', 'counter', ROW(1));
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT 1 FROM dlog.create_supervisor('never');
SELECT 1 FROM dlog.start_child('shop', 'b', 'counter', ROW(1));
ROLLBACK TO s;
SELECT 1 FROM dlog.start_child('shop', 'c', 'counter', ROW(1));
COMMIT;
SELECT wait_for_tree('%c: counter, running');
SELECT name, state FROM dlog.which_children('shop');
SELECT name FROM dlog.supervisor ORDER BY 1;
-- ... and one that commits has all of it, also what is below what it has made.
BEGIN;
SELECT 1 FROM dlog.create_supervisor('deep', 'rest_for_one', parent => 'shop');
SELECT 1 FROM dlog.start_child('deep', 'a', 'counter', ROW(1));
SELECT 1 FROM dlog.start_child('deep', 'b', 'counter', ROW(2));
COMMIT;
SELECT wait_for_tree('%a: counter, running%b: counter, running');

-- rest_for_one: what was started after it starts anew with it, at its address.
SELECT child('deep', 'a') AS a, child('deep', 'b') AS b \gset
SELECT dlog.send(:'b', ROW(40)::increment);
SELECT test.wait_until(format('dlog.state(%L)::text = ''42''', :'b'));
SELECT dlog.send(:'a', ROW(0)::divide);
SELECT test.wait_until(format('dlog.state(%L)::text = ''2''', :'b'));
SELECT name, state, restarts FROM dlog.which_children('deep');

-- terminate_child, restart_child, delete_child, and their errors
SELECT dlog.restart_child('deep', 'b');
SELECT dlog.delete_child('deep', 'b');
SELECT dlog.terminate_child('deep', 'b');
SELECT dlog.terminate_child('deep', 'b');
SELECT name, state, child IS NULL AS is_gone FROM dlog.which_children('deep');
SELECT dlog.restart_child('deep', 'b');
SELECT name, state FROM dlog.which_children('deep');
SELECT dlog.terminate_child('deep', 'b');
BEGIN;
SELECT dlog.delete_child('deep', 'b');
ROLLBACK;
SELECT name, state FROM dlog.which_children('deep');
SELECT dlog.delete_child('deep', 'b');
SELECT test.wait_until($$(SELECT count(*) FROM dlog.which_children('deep')) = 1$$);
SELECT dlog.terminate_child('deep', 'b');
SELECT dlog.restart_child('deep', 'b');
SELECT dlog.delete_child('deep', 'b');
SELECT dlog.terminate_child('no such', 'b');
SELECT 1 FROM dlog.start_child('deep', 'a', 'counter', ROW(1));
SELECT dlog.restart_child('carts', 'x');
SELECT dlog.terminate_child('carts', 'x');
SELECT dlog.terminate_child('carts', child) FROM dlog.which_children('carts') LIMIT 1;
SELECT * FROM dlog.count_children('carts');
SELECT dlog.terminate_child('carts', :'a'::dlog.actor_ref);

-- A child that does not start: its spec is gone again.
CREATE FUNCTION broken_init() RETURNS integer LANGUAGE sql AS 'SELECT 1 / 0';
CREATE FUNCTION broken_handle(state integer, m increment) RETURNS integer LANGUAGE sql AS 'SELECT 1';
SELECT dlog.create_behavior('broken', 'integer', 'broken_init', '{broken_handle}');
SELECT 1 FROM dlog.start_child('deep', 'broken', 'broken');
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.child WHERE name = 'broken')$$);
SELECT behavior, sqlstate, error, message_type FROM dlog.failures ORDER BY number DESC LIMIT 1;

-- A temporary child's spec goes with it.
SELECT 1 FROM dlog.start_child('deep', 'brief', 'counter', ROW(1), restart => 'temporary');
SELECT test.wait_until($$EXISTS (SELECT FROM dlog.which_children('deep') WHERE name = 'brief' AND state = 'running')$$);
SELECT dlog.send(child('deep', 'brief'), ROW(0)::divide);
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.child WHERE name = 'brief')$$);

-- More failures than its intensity: the supervisor exits, and its parent starts it again, with all that it has.
SELECT dlog.alter_supervisor('deep', max_restarts => 0);
SELECT restarts FROM dlog.which_children('shop') WHERE name = 'deep';
SELECT dlog.send(child('deep', 'a'), ROW(0)::divide);
SELECT test.wait_until($$(SELECT restarts FROM dlog.which_children('shop') WHERE name = 'deep') = 1$$);
SELECT wait_for_tree('%deep (rest_for_one), running%a: counter, running');
SELECT name, sqlstate, error FROM dlog.failures WHERE sqlstate = 'LG002' AND name = 'deep';
-- A root stays down until it is told.
SELECT dlog.alter_supervisor('shop', max_restarts => 0);
SELECT dlog.send(child('deep', 'a'), ROW(0)::divide);
SELECT wait_for_tree('shop (one_for_one), gave up%');
\pset format unaligned
\pset tuples_only on
SELECT dlog.supervision_tree();
\pset format aligned
\pset tuples_only off
SELECT 1 FROM dlog.start_child('shop', 'late', 'counter', ROW(1));
SELECT dlog.terminate_child('shop', 'visits');
SELECT dlog.alter_supervisor('shop', max_restarts => 5);
SELECT dlog.start_supervisor('shop');
SELECT dlog.start_supervisor('shop');
SELECT dlog.start_supervisor('deep');
SELECT wait_for_tree('shop (one_for_one), running%visits: counter, running%');

-- Backoff: a restart waits.
SELECT dlog.alter_supervisor('shop', backoff => '300 ms', jitter => 0);
SELECT child('shop', 'visits') AS visits \gset
SELECT clock_timestamp() AS before \gset
SELECT dlog.send(:'visits', ROW(0)::divide);
SELECT dlog.send(:'visits', ROW(1)::increment);
SELECT test.wait_until($$(SELECT state FROM dlog.which_children('shop') WHERE name = 'visits') = 'restarting'$$);
SELECT dlog.restart_child('shop', 'visits');
SELECT test.wait_until(format('dlog.state(%L)::text = ''11''', :'visits'));
SELECT clock_timestamp() - :'before' > '300 ms' AS has_waited;

-- alter and drop
SELECT dlog.drop_supervisor('deep');
SELECT dlog.drop_supervisor('deep', cascade => true);
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.which_children('shop') WHERE name = 'deep')$$);
BEGIN;
SELECT dlog.drop_supervisor('shop', cascade => true);
ROLLBACK;
SELECT wait_for_tree('shop (one_for_one), running%visits: counter, running%');
SELECT dlog.drop_supervisor('shop', cascade => true);
SELECT count(*) FROM dlog.supervision_tree();
SELECT count(*) FROM dlog.supervisor;
SELECT count(*) FROM dlog.child;
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.actors WHERE behavior = 'supervisor')$$);

-- What makes no supervisor, and no child.
SELECT dlog.create_supervisor(NULL);
SELECT dlog.create_supervisor('');
SELECT dlog.create_supervisor('s', 'one_for_none');
SELECT dlog.create_supervisor('s', max_restarts => -1);
SELECT dlog.create_supervisor('s', within => '0');
SELECT dlog.create_supervisor('s', within => '1 month');
SELECT dlog.create_supervisor('s', backoff => '-1 s');
SELECT dlog.create_supervisor('s', backoff => '2 min');
SELECT dlog.create_supervisor('s', jitter => 1.5);
SELECT dlog.create_supervisor('s', auto_shutdown => 'often');
SELECT dlog.create_supervisor('s', restart => 'never');
SELECT dlog.create_supervisor('s', parent => 'no such');
SELECT 1 FROM dlog.create_supervisor('s');
SELECT 1 FROM dlog.create_supervisor('s');
SELECT dlog.create_supervisor('t', parent => 's', significant => true);
SELECT dlog.start_child('s');
SELECT dlog.start_child('s', 'a');
SELECT dlog.start_child('s', 'a', 'integer');
SELECT dlog.start_child('s', 'a', 'counter');
SELECT dlog.start_child('s', 'a', 'counter', ROW('x'));
SELECT dlog.start_child('s', 'a', 'counter', ROW(1, 2));
SELECT dlog.start_child('s', 'a', 'counter', ROW(1), restart => 'sometimes');
SELECT dlog.start_child('s', 'a', 'counter', ROW(1), shutdown => '-1 s');
SELECT dlog.start_child('s', 'a', 'counter', ROW(1), significant => true);
SELECT dlog.start_child('s', 'a', 'counter', ROW(1), on_failure => 'hide');
SELECT dlog.start_child('s', 'a', 'counter', ROW(1), retries => -1);
SELECT dlog.define_child('s', 'counter');
SELECT dlog.drop_supervisor('no such');
SELECT 1 FROM dlog.create_supervisor('pool', 'simple_one_for_one');
SELECT dlog.start_child('pool');
SELECT dlog.define_child('pool', 'counter');
SELECT dlog.start_child('pool', 'named', args => ROW(1));
SELECT dlog.start_child('pool', behavior => 'broken', args => ROW(1));
SELECT dlog.create_supervisor('t', parent => 'pool');
SELECT count(*) FROM dlog.child;

-- Only members of the owner control a supervisor; children run as who added them.
CREATE ROLE sv_owner;
CREATE ROLE sv_member IN ROLE sv_owner;
CREATE ROLE sv_other;
GRANT USAGE ON SCHEMA test TO sv_member;
GRANT USAGE ON SCHEMA sv TO sv_member, sv_other;
GRANT EXECUTE ON FUNCTION counter_init, counter_increment, counter_divide TO sv_owner, sv_member, sv_other;
SELECT dlog.alter_supervisor('s', owner => 'sv_owner');
SET ROLE sv_member;
SELECT 1 FROM dlog.start_child('s', 'mine', 'counter', ROW(1));
SELECT test.wait_until($$(SELECT state FROM dlog.which_children('s') WHERE name = 'mine') = 'running'$$);
SELECT dlog.send(child('s', 'mine'), ROW(0)::divide);
SELECT test.wait_until($$EXISTS (SELECT FROM dlog.failures WHERE role = 'sv_member'::regrole)$$);
SET ROLE sv_other;
SELECT * FROM dlog.failures;
SELECT dlog.supervision_tree();
SELECT * FROM dlog.which_children('s');
SELECT dlog.start_child('s', 'yours', 'counter', ROW(1));
SELECT dlog.terminate_child('s', 'mine');
SELECT dlog.alter_supervisor('s', max_restarts => 1);
SELECT dlog.alter_child('s', 'mine', restart => 'temporary');
SELECT dlog.drop_supervisor('s', true);
SELECT dlog.create_supervisor('t', parent => 's');
SELECT * FROM dlog.supervisor;
SELECT * FROM dlog.child;
RESET ROLE;

-- Who asks is told why the handler failed.
\set VERBOSITY default
SELECT dlog.ask(child('s', 'mine'), ROW(0)::divide);
\set VERBOSITY terse
SELECT dlog.drop_supervisor('s', cascade => true);
SELECT dlog.drop_supervisor('pool', cascade => true);
SELECT dlog.drop_behavior('counter'), dlog.drop_behavior('broken');
DROP FUNCTION child(text, text), tree(), wait_for_tree(text), counter_increment, counter_divide, counter_init, broken_init, broken_handle;
DROP TYPE increment, divide;
REVOKE USAGE ON SCHEMA test FROM sv_member;
RESET search_path;
DROP SCHEMA sv CASCADE;
DROP ROLE sv_owner, sv_member, sv_other;
