
# Supervision trees and jobs outlive what can happen to a server: a restart, a
# crash, a scheduler that is terminated.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;
use Time::HiRes qw(time);

my $cluster = DlogCluster->new(nodes => 1);
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE TABLE started (name text, n serial);
CREATE TYPE add AS (by int);
CREATE TYPE fail AS (how text);
CREATE FUNCTION w_init(name text) RETURNS int LANGUAGE sql AS $$INSERT INTO started (name) VALUES (name) RETURNING 0$$;
CREATE FUNCTION w_add(state int, m add) RETURNS int LANGUAGE sql AS 'SELECT state + m.by';
CREATE FUNCTION w_fail(state int, m fail) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF m.how = 'sleep' THEN PERFORM pg_sleep(100); END IF;
	RAISE EXCEPTION '%', m.how;
END $$;
SELECT dlog.create_behavior('worker', 'int', 'w_init', '{w_add, w_fail}');
CREATE FUNCTION child(supervisor text, child text) RETURNS dlog.actor_ref LANGUAGE sql AS
	'SELECT w.child FROM dlog.which_children(supervisor) w WHERE w.name = $2';
CREATE FUNCTION state_of(supervisor text, child text) RETURNS text LANGUAGE sql AS
	'SELECT w.state FROM dlog.which_children(supervisor) w WHERE w.name = $2';
SQL

# --- a tree in tables ------------------------------------------------------

$cluster->sql(1, <<'SQL');
BEGIN;
SELECT dlog.create_supervisor('app');
SELECT dlog.start_child('app', 'first', 'worker', ROW('first'));
SELECT dlog.create_supervisor('left', 'one_for_all', parent => 'app');
SELECT dlog.start_child('left', 'a', 'worker', ROW('a'));
SELECT dlog.start_child('left', 'b', 'worker', ROW('b'));
SELECT dlog.create_supervisor('right', 'rest_for_one', parent => 'app');
SELECT dlog.start_child('right', 'c', 'worker', ROW('c'));
SELECT dlog.start_child('app', 'last', 'worker', ROW('last'));
COMMIT;
SQL

my $tree = "SELECT string_agg(t, E'\\n') FROM dlog.supervision_tree('app') t";
my $whole = <<'TREE';
app (one_for_one), running
├─ first: worker, running
├─ left (one_for_all), running
│  ├─ a: worker, running
│  └─ b: worker, running
├─ right (rest_for_one), running
│  └─ c: worker, running
└─ last: worker, running
TREE
chomp $whole;

sub is_up
{
	my ($name) = @_;
	$cluster->wait_until(1, "SELECT ($tree) = '$whole'");
	is($cluster->sql(1, "SELECT string_agg(name, ' ' ORDER BY n) FROM started"),
		'first a b c last', "$name: children started in their order");
	return;
}

$cluster->wait_until(1, "SELECT ($tree) = '$whole'");
is($cluster->sql(1, "SELECT string_agg(name, ' ' ORDER BY n) FROM started WHERE name IN ('a', 'b')")
	. $cluster->sql(1, "SELECT string_agg(name, ' ' ORDER BY n) FROM started WHERE name IN ('first', 'last')"),
	'a bfirst last', 'at first: each supervisor has started its children in their order');

# Nothing but the server's start brings it up; bench/supervision has how soon.
$cluster->sql(1, 'TRUNCATE started');
$node->restart;
is_up('after a restart');

$cluster->sql(1, 'TRUNCATE started');
$node->stop('immediate');
$node->start;
is_up('after a crash');

# --- a scheduler that is terminated ---------------------------------------

my $b = $cluster->sql(1, "SELECT child('left', 'b')");
my $first = $cluster->sql(1, "SELECT child('app', 'first')");
$cluster->sql(1, "SELECT dlog.send('$b', ROW(5)::add)");
$cluster->wait_until(1, "SELECT dlog.state('$b')::text = '5'");
$cluster->sql(1, "SELECT dlog.send(child('left', 'a'), ROW('sleep')::fail)");
$cluster->wait_until(1,
	"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type LIKE 'dlog scheduler%')");
$cluster->sql(1,
	"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type LIKE 'dlog scheduler%'");
$cluster->wait_until(1, "SELECT dlog.state('$b')::text = '0'");
$cluster->wait_until(1, "SELECT ($tree) = '$whole'");
pass('whose scheduler is terminated is restarted by its supervisor, with its group');
is($cluster->sql(1, "SELECT child('left', 'b') = '$b' AND child('app', 'first') = '$first'"),
	't', 'at their addresses');

# --- shutdown: a deadline, then it is killed, also in a query ---------------

$cluster->sql(1, "SELECT dlog.start_child('app', 'sleeper', 'worker', ROW('sleeper'), shutdown => '100 ms')");
$cluster->wait_until(1, "SELECT state_of('app', 'sleeper') = 'running'");
$cluster->sql(1, "SELECT dlog.send(child('app', 'sleeper'), ROW('sleep')::fail)");
$cluster->wait_until(1, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')");
my $begin = time;
$cluster->sql(1, "SELECT dlog.terminate_child('app', 'sleeper')");
cmp_ok(time - $begin, '<', 5, 'who does not stop in time is killed');
is($cluster->sql(1, "SELECT state_of('app', 'sleeper')"), 'stopped', 'and has stopped');
$cluster->sql(1, "SELECT dlog.delete_child('app', 'sleeper')");
$cluster->wait_until(1, "SELECT ($tree) = '$whole'");

# --- asks and messages while an actor restarts ------------------------------

$cluster->sql(1, "SELECT dlog.alter_supervisor('app', backoff => '500 ms', jitter => 0)");
$cluster->sql(1, "SELECT dlog.send('$first', ROW('once')::fail)");
$cluster->wait_until(1, "SELECT state_of('app', 'first') = 'restarting'");
$cluster->sql(1, "SELECT dlog.send('$first', ROW(3)::add)");
$cluster->wait_until(1, "SELECT dlog.state('$first')::text = '3'");
pass('what is sent while an actor waits for its restart is handled afterwards');

# --- jobs -------------------------------------------------------------------

$cluster->sql(1, <<'SQL');
CREATE TABLE ticks (at timestamptz DEFAULT clock_timestamp());
SELECT dlog.supervise('INSERT INTO ticks DEFAULT VALUES', 'tick', every => '1 s');
SELECT dlog.supervise('SELECT 1', 'asleep', every => '@yearly');
SELECT dlog.pause_job('asleep');
SELECT dlog.supervise('SELECT pg_sleep(1000)', 'loop', backoff => '10 ms');
SQL
$cluster->wait_until(1, "SELECT EXISTS (SELECT FROM ticks)");
$cluster->wait_until(1, "SELECT EXISTS (SELECT FROM dlog.job_runs WHERE job = 'loop' AND status = 'running')");
foreach my $how ('fast', 'immediate')
{
	$node->stop($how);
	$node->start;
	$cluster->sql(1, 'TRUNCATE ticks');
	$cluster->wait_until(1, "SELECT EXISTS (SELECT FROM ticks)");
	pass("$how: a schedule goes on after the restart");
	is($cluster->sql(1, "SELECT state FROM dlog.jobs WHERE name = 'asleep'"),
		'paused', "$how: what is paused stays so");
	$cluster->wait_until(1,
		"SELECT (SELECT count(*) FROM dlog.job_run WHERE job = 'loop' AND status = 'running') = 1");
	$cluster->wait_until(1,
		"SELECT EXISTS (SELECT FROM dlog.job_run WHERE job = 'loop' AND status = 'terminated')");
	pass("$how: a run that the server's end cut short is in the history, and repeated");
}

done_testing();
