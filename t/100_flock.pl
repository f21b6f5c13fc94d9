
# A flock is made on one node and known on all, also on one that was down; its
# members come and go by their tags and their lives; who listens hears of it; a
# broadcast reaches each, and says of each that it does not reach why.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3, conf => "dlog.probe_interval = '200 ms'\ndlog.probe_timeout = '100 ms'\n");

sub flocks
{
	return "SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM dlog.flocks";
}

sub members
{
	my ($flock) = @_;
	return "SELECT coalesce(string_agg(node, ' ' ORDER BY node), '') FROM dlog.flock_members('$flock')";
}

# What has happened to a node in a flock, as node 1 has seen it.
sub history
{
	my ($flock, $node) = @_;
	return "SELECT coalesce(string_agg(event, ' ' ORDER BY id), '') FROM dlog.flock_events"
	  . " WHERE flock = '$flock' AND node = '$node'";
}

# --- made on one node, known on all

$cluster->sql(1, q{SELECT dlog.create_flock('workers', tags => '{"role": "worker"}', heartbeat_interval => '100 ms')});
$cluster->wait_until($_, flocks(), 'all workers') foreach (1 .. 3);
pass('a flock is known on all nodes');
$cluster->sql($_, q{SELECT dlog.set_tags('{"role": "worker", "disk": "large"}')}) foreach (2, 3);
$cluster->wait_until($_, members('workers'), 'n2 n3') foreach (1 .. 3);
pass('and so are its members, by their tags');
is($cluster->sql(1, "SELECT string_agg(node || ' ' || result, ', ' ORDER BY node) FROM dlog.deploy_map('workers', 'SELECT 1')"),
	'n2 1, n3 1', 'a question goes to the members');

# Changed on two nodes one after the other: the later change holds.
$cluster->sql(2, q{SELECT dlog.alter_flock('workers', tags => '{"disk": "large"}')});
$cluster->wait_until($_, q{SELECT tags FROM dlog.flocks WHERE name = 'workers'}, '{"disk": "large"}') foreach (1, 3);
$cluster->sql(3, q{SELECT dlog.alter_flock('workers', tags => '{"role": "worker"}')});
$cluster->wait_until($_, q{SELECT tags FROM dlog.flocks WHERE name = 'workers'}, '{"role": "worker"}') foreach (1, 2);
pass('a change on any node is one on all');

# Many, which is more than a page.
$cluster->sql(2, q{SELECT dlog.create_flock('flock ' || i) FROM generate_series(1, 40) AS i});
$cluster->wait_until($_, 'SELECT count(*) FROM dlog.flocks', 42) foreach (1, 3);
$cluster->sql(3, q{SELECT dlog.drop_flock(name) FROM dlog.flocks WHERE name LIKE 'flock %'});
$cluster->wait_until($_, flocks(), 'all workers') foreach (1, 2);
pass('as many as there are');

# --- who listens

my $heard = $cluster->sql(1, q{
	LISTEN dlog_flock;
	SELECT dlog.set_tags('{"role": "worker"}');
	DO $$ BEGIN
		WHILE NOT EXISTS (SELECT FROM dlog.flock_events WHERE flock = 'workers' AND node = 'n1') LOOP
			PERFORM pg_sleep(0.02);
		END LOOP;
	END $$;
	SELECT 1;});
like($heard, qr/"dlog_flock" with payload "\{"flock" : "workers", "node" : "n1", "event" : "joined"/,
	'an event is notified');

# --- broadcast

$cluster->sql_everywhere(q{
	CREATE TYPE question AS (n int);
	CREATE FUNCTION answer(state int, message question) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM dlog.reply(state + message.n);
		RETURN state;
	END $$;
	CREATE FUNCTION oracle_init(n int) RETURNS int LANGUAGE sql RETURN n;
	SELECT dlog.create_behavior('oracle', 'int', 'oracle_init', '{answer}');});
$cluster->sql($_, "SELECT dlog.spawn('oracle', ROW($_), name => 'oracle')") foreach (1, 2, 3);
my $collect = q{
	SELECT dlog.broadcast('all', 'oracle', ROW(10)::question) AS b \gset
	SELECT string_agg(node || ' ' || coalesce(reply, sqlstate), ', ' ORDER BY node) FROM dlog.collect_replies(:b, '60 s');};
is($cluster->sql(1, $collect), 'n1 11, n2 12, n3 13', 'every member replies');
is( $cluster->sql(2, q{
	SELECT string_agg(DISTINCT coalesce(error, 'replied'), ', ') || ' ' || count(*)
	FROM (SELECT dlog.broadcast('all', 'oracle', ROW(i)::question) AS b FROM generate_series(1, 30) AS i OFFSET 0) AS s,
		LATERAL dlog.collect_replies(s.b, '60 s')}),
	'replied 90', 'of many broadcasts each is told apart');

# --- a node that dies

$cluster->node(3)->stop('immediate');
$cluster->wait_until(1, "SELECT (" . history('workers', 'n3') . ") LIKE '%left'");
like($cluster->sql(1, history('workers', 'n3')), qr/^joined (suspect )?left$/, 'a node that dies leaves');
like($cluster->sql(1, "SELECT why FROM dlog.flock_events WHERE flock = 'workers' AND node = 'n3' ORDER BY id DESC LIMIT 1"),
	qr/answered|said so/, 'and it is said why');
is($cluster->sql(1, members('workers')), 'n1 n2', 'it is no member');
is($cluster->sql(1, $collect), 'n1 11, n2 12, n3 08006', 'a broadcast says whom it has not reached');
is($cluster->sql(1, $collect =~ s/'all'/'workers'/r), 'n1 11, n2 12', 'and goes to the living of a flock');

$cluster->sql(1, q{SELECT dlog.create_flock('meanwhile')});
$cluster->sql(2, q{SELECT dlog.drop_flock('workers')});
$cluster->wait_until(1, flocks(), 'all meanwhile');
$cluster->node(3)->start;
$cluster->wait_until(3, flocks(), 'all meanwhile');
pass('who was away learns what has changed, and does not bring back what is gone');
$cluster->wait_until(1, history('meanwhile', 'n3'), 'joined');
pass('a node that is back joins again');

# --- shut down in good order

$cluster->node(3)->stop('fast');
$cluster->wait_until(1, history('meanwhile', 'n3'), 'joined left');
is($cluster->sql(1, "SELECT why FROM dlog.flock_events WHERE flock = 'meanwhile' AND node = 'n3' ORDER BY id DESC LIMIT 1"),
	'it was shut down', 'a shutdown is told from a death');
$cluster->node(3)->start;
$cluster->wait_for_links(3);
$cluster->wait_for_links(1);

# --- a node that leaves the cluster leaves its flocks to it

$cluster->sql(3, 'SELECT dlog.leave()');
is($cluster->sql(3, flocks()), 'all', 'who leaves has no flocks of others');
$cluster->wait_until(1, members('meanwhile'), 'n1 n2');
$cluster->wait_until(1, "SELECT why FROM dlog.flock_events WHERE node = 'n3' AND flock = 'meanwhile' ORDER BY id DESC LIMIT 1",
	'it is no node of this database any longer');
pass('and is gone from theirs');

done_testing();
