
# A message that crashes the server each time that it is handled is put into
# quarantine, and an actor that does so when it is loaded is left alone; who was
# at work beside them is not to blame.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, conf => "restart_after_crash = on\ndlog.min_schedulers = 2");
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE TYPE note AS (n int);
CREATE TYPE bomb AS (n int);
CREATE TYPE how_many AS ();
CREATE FUNCTION note(state int, m note) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + 1;
CREATE FUNCTION bomb(state int, m bomb) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
	RETURN state;
END $$;
CREATE FUNCTION apply_bomb(state int, m bomb) RETURNS int IMMUTABLE LANGUAGE sql RETURN state;
CREATE FUNCTION how_many(state int, m how_many) RETURNS int STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.reply(state);
	RETURN state;
END $$;
CREATE TYPE doze AS ();
CREATE FUNCTION doze(state int, m doze) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM dlog.quarantine) LOOP
		PERFORM pg_sleep(0.005);
	END LOOP;
	RETURN state + 100;
END $$;
CREATE FUNCTION apply_doze(state int, m doze) RETURNS int IMMUTABLE LANGUAGE sql RETURN state + 100;
SELECT dlog.create_behavior('counter', 'int', handlers => '{note,bomb,how_many,doze}', apply => '{apply_bomb,apply_doze}',
	durable => true, max_failures => 2);
SELECT dlog.spawn('counter', name => 'c'), dlog.spawn('counter', name => 'bystander');
SQL
$cluster->sql(1, "SELECT dlog.ask(dlog.whereis('bystander'), ROW()::how_many)");

# Its bystander is in the middle of a message at each crash.
$cluster->sql(1, <<'SQL');
SELECT dlog.suspend(dlog.whereis('c')), dlog.suspend(dlog.whereis('bystander'));
SELECT dlog.send(dlog.whereis('bystander'), ROW(0)::note), dlog.send(dlog.whereis('bystander'), ROW()::doze);
SELECT dlog.send(dlog.whereis('c'), ROW(1)::note), dlog.send(dlog.whereis('c'), ROW(2)::bomb),
	dlog.send(dlog.whereis('c'), ROW(3)::note);
SQL
$node->psql($cluster->database, q{SELECT dlog.resume(dlog.whereis('bystander')), dlog.resume(dlog.whereis('c'))});
$node->poll_query_until($cluster->database, 'SELECT count(*) = 1 FROM dlog.quarantine') or die 'the bomb is not in quarantine';
is($cluster->sql(1, q{SELECT name, message, payload, failures, sqlstate, error FROM dlog.quarantined}),
	'c|bomb|(2)|2|57P02|the server crashed while it was handled', 'a message that crashes the server is put into quarantine');
$cluster->wait_until(1, q{SELECT dlog.state(dlog.whereis('c'))}, '2');
pass('what came before it and after it is handled once');
$cluster->wait_until(1, q{SELECT dlog.state(dlog.whereis('bystander'))}, '101');
pass('what another scheduler was at is handled, too');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.mailbox}), 0, 'nothing is left');

# It is not sent again by the way, and crashes again if it is.
$node->restart;
$cluster->wait_until(1, q{SELECT dlog.ask(dlog.whereis('c'), ROW()::how_many)}, '2');
$node->psql($cluster->database, 'SELECT dlog.redeliver(id) FROM dlog.quarantined; SELECT pg_sleep(60)');
$node->poll_query_until($cluster->database, 'SELECT count(*) = 1 FROM dlog.quarantine') or die 'the bomb is not in quarantine again';
pass('sent again it is put there again');

# The server is stopped at once while a message is handled: that is no crash.
$cluster->wait_until(1, q{SELECT dlog.ask(dlog.whereis('c'), ROW()::how_many)}, '2');
foreach (1 .. 3)
{
	$cluster->sql(1, q{DELETE FROM dlog.quarantine});
	$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('bystander'), ROW()::doze)}) if $_ == 1;
	$cluster->wait_until(1, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE 'dlog scheduler%' AND wait_event = 'PgSleep')}, 't');
	$node->stop('immediate');
	$node->start;
}
is($cluster->sql(1, 'SELECT count(crashes) FROM dlog.mailbox'), 0, 'a server that is stopped at once has not crashed');
$cluster->sql(1, q{INSERT INTO dlog.quarantine (actor, sent_at, role, payload, failures, sqlstate, error)
	SELECT actor, sent_at, role, payload, 0, '00000', 'wake up' FROM dlog.mailbox LIMIT 1});
$cluster->wait_until(1, q{SELECT dlog.state(dlog.whereis('bystander'))}, '201');

# --- one that crashes the server when it is loaded ------------------------
foreach (1 .. 3)
{
	$node->restart;
	$cluster->wait_until(1, q{SELECT dlog.ask(dlog.whereis('bystander'), ROW()::how_many)}, '201');
	$cluster->sql(1, q{SELECT dlog.stop_point_arm('journal-loaded', 'crash')});
	$node->psql($cluster->database, q{SELECT dlog.state(dlog.whereis('c')); SELECT pg_sleep(60)});
	$node->poll_query_until($cluster->database, 'SELECT true') or die 'the server does not come back';

	# A server that is stopped before it has counted forgets.
	$cluster->wait_until(1, q{SELECT crashes FROM dlog.durable_actor WHERE name = 'c'}, $_);
}
$cluster->wait_until(1, q{SELECT dlog.ask(dlog.whereis('bystander'), ROW()::how_many)}, '201');
is($cluster->sql(1, q{SELECT crashes FROM dlog.durable_actor WHERE name = 'c'}), 3, 'crashes while an actor is loaded are counted');
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('c'), ROW(4)::note)});
$cluster->wait_until(1, q{SELECT mailbox FROM dlog.actors WHERE name = 'c'}, 1);
is($cluster->sql(1, 'SELECT count(*) FROM dlog.mailbox'), 1, 'then it is not loaded, and its mail waits');
is($cluster->sql(1, 'SELECT name, sqlstate, error, tries, next_try FROM dlog.broken_actors'),
	'c|57P02|the server has crashed 3 times while it was loaded|3|', 'why is said');
$cluster->sql(1, q{SELECT dlog.resume(dlog.whereis('c'))});
$cluster->wait_until(1, q{SELECT dlog.ask(dlog.whereis('c'), ROW()::how_many)}, '3');
is($cluster->sql(1, q{SELECT crashes FROM dlog.durable_actor WHERE name = 'c'}), 0, 'until it is resumed; once that has worked they are forgotten');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.broken_actors'), 0, 'and it is broken no more');

done_testing();
