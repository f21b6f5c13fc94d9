
# A process of the runtime is terminated in the worst moment: between any two
# steps of what it does with messages, shards, timers and actors.  Nothing
# leaks, no message of other actors is lost or overtakes another, and the
# actor that it ran is reported as failed.  And: too many actors.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, extension => 0, conf => <<'CONF');
dlog.max_actors = 1024
dlog.min_schedulers = 2
dlog.max_schedulers = 2
dlog.shared_memory_size = '64MB'
CONF
my $node = $cluster->node(1);
system_or_bail('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'),
	'-f', "$FindBin::RealBin/../test_schema.sql");

# The session in which the test's own actor lives, number 1.
my $session = $node->background_psql('postgres', on_error_stop => 1);
sub sql { return $session->query_safe($_[0]); }
sub wait_until { $node->poll_query_until('postgres', $_[0]) or die "still not true: $_[0]"; return; }

sub statistic { return sql("SELECT value FROM dlog.stat_runtime WHERE name = '$_[0]'"); }

# The timers' chunk stays once it is there; a scheduler has a block at hand
# for as long as it holds a shard.
my $used = '(SELECT sum(used) FROM dlog.memory)';
my $schedulers = "(SELECT count(*) FROM dlog.schedulers WHERE state = 'idle')";

is(sql("SELECT test.actor_spawn('judge')"), '1', 'there is an actor to judge');
sql("SELECT test.timer_set(test.actor_address(1), test.actor_address(1), 'tick', 1)");
is(sql("SELECT test.actor_receive(1)"), 'tick', 'timers work');
sql("CREATE TABLE ring AS SELECT row_number() OVER () AS number, actor FROM unnest(test.ring_create(1, 50)) actor");
wait_until("SELECT $schedulers = 2");

# Whoever was at this point is terminated; what it was at goes on.
sub terminate
{
	my ($point) = @_;

	wait_until("SELECT dlog.stop_point_waiting('$point') > 0");
	my $pids = sql("SELECT array_to_string(dlog.stop_point_pids('$point'), ',')");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM unnest('{$pids}'::int[]) pid");
	sql("SELECT dlog.stop_point_release('$point')");
	wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid IN ($pids)");
	return;
}

# --- while 200 tokens go round, half of them too large to lie in a queue

my $memory = sql("SELECT $used");
foreach my $point (qw(shard-message shard-handled shard-flush shard-pushed shard-released shard-given
	shard-notified shard-taken))
{
	my $hops = 8000;
	my $tokens = 0;
	my $handled = q{(SELECT sum(received) FROM dlog.actors() WHERE behavior = 'test ring')};
	my $before = sql("SELECT $handled");

	# The point may not be on their way, if one scheduler does it all: then they go round again.
	do
	{
		sql("SELECT dlog.stop_point_release('$point');"
			  . " SELECT count(test.ring_start(actor, $hops, i % 2 * 100)) FROM ring, generate_series(1, 4) i;"
			  . " SELECT dlog.stop_point_arm('$point', 'hold')");
		$tokens += 200;
		wait_until("SELECT dlog.stop_point_waiting('$point') > 0 OR $handled >= $before + $tokens * $hops");
	} until (sql("SELECT dlog.stop_point_waiting('$point') > 0") eq 't');
	terminate($point);
	is(sql("SELECT test.actor_receive(1, 60000), count(*) FROM generate_series(1, $tokens) GROUP BY 1"), "arrived|$tokens",
		"$point: no message is lost");
	wait_until("SELECT $used <= $memory");
	wait_until("SELECT $schedulers = 2");
}
pass('no memory is lost');

# --- in a handler, before and after it has sent; with what is inline and not

foreach my $point (qw(victim-begins victim-has-sent))
{
	foreach my $text ('work', 'work' . ' ' x 300)
	{
		my $failed = sql("SELECT failed FROM dlog.stat_behaviors WHERE behavior = 'test victim'") || 0;
		my $victim = sql('SELECT test.victim_spawn()');

		sql("SELECT test.actor_monitor(1, '$victim'), dlog.stop_point_arm('$point', 'wait')");
		is(sql("SELECT test.actor_send(1, '$victim', '$text'), test.actor_send(1, '$victim', 'behind it')"), 'ok|ok', 'it is told to work');
		terminate($point);
		my @heard = sort split /\n/, sql("SELECT test.actor_receive(1) FROM generate_series(1, " . ($point eq 'victim-begins' ? 2 : 3) . ")");
		is_deeply(\@heard,
			[ 'down: process exited', 'undelivered: type 65000, reason 1', $point eq 'victim-begins' ? () : 'worked' ],
			"$point: the actor is reported as failed, what it has sent arrives, what waited for it is answered");
		is(sql("SELECT failed - $failed FROM dlog.stat_behaviors WHERE behavior = 'test victim'"), '1', 'and counted');
		wait_until("SELECT $used <= $memory");
	}
}

# --- in the middle of spawning and of exiting: it is done

my $actors = statistic('actors');
my $spawner = sql('SELECT test.victim_spawn()');
sql("SELECT dlog.stop_point_arm('actor-spawn', 'hold'); SELECT test.actor_send(1, '$spawner', 'spawn')");
terminate('actor-spawn');
my $child = sql('SELECT test.actor_receive(1)');
like($child, qr{^\d+/\d+/\d+$}, 'actor-spawn: the new actor lives');
is(statistic('actors'), $actors + 2, 'as does who spawned it');

foreach my $point (qw(actor-exit actor-exited))
{
	my $victim = $point eq 'actor-exit' ? $child : $spawner;

	sql("SELECT test.actor_monitor(1, '$victim')");
	sql("SELECT dlog.stop_point_arm('$point', 'hold'); SELECT test.actor_send(1, '$victim', 'exit')");
	terminate($point);
	is(sql('SELECT test.actor_receive(1)'), 'down: normal', "$point: the actor has exited for its own reason");
}
is(statistic('actors'), $actors, 'nobody is left');

# --- an error in the middle of a handler's work takes nothing else along

my $failing = sql('SELECT test.victim_spawn()');
sql("SELECT test.actor_monitor(1, '$failing'), dlog.stop_point_arm('victim-has-sent', 'error')");
sql("SELECT test.actor_send(1, '$failing', 'work')");
is(join('; ', sort split /\n/, sql('SELECT test.actor_receive(1) FROM generate_series(1, 2)')),
	'down: error: stop point "victim-has-sent"; worked', 'an error: what was sent before it arrives');
sql("SELECT dlog.stop_point_release('victim-has-sent')");

# --- a timer is due: its message is sent, by whoever looks after timers

sql("SELECT dlog.stop_point_arm('timer-fired', 'hold');"
	  . " SELECT test.timer_set(test.actor_address(1), test.actor_address(1), 'once', 1),"
	  . " test.timer_set(test.actor_address(1), test.actor_address(1), 'again', 20)");
terminate('timer-fired');
is(sql('SELECT test.actor_receive(1) FROM generate_series(1, 2)'), "once\nagain", 'timer-fired: none is lost, and others go on');
is(statistic('timers'), '0', 'and none is left');

# --- a session is terminated before anybody is told of what it sent

my $idler = sql('SELECT test.victim_spawn()');
sql("SELECT test.actor_monitor(1, '$idler'), dlog.stop_point_arm('shard-pushed', 'hold')");
my $sender = $node->background_psql('postgres', on_error_stop => 0);
$sender->query_until(qr/sends/, "\\echo sends\nSELECT test.actor_send(0, '$idler', 'exit');\n");
terminate('shard-pushed');
is(sql('SELECT test.actor_receive(1)'), 'down: normal', 'shard-pushed, in a session: the message arrives');
$sender->{run}->finish;

# --- order was kept all the time, and all is as before

wait_until("SELECT $schedulers = 2");
is(sql("SELECT count(test.ring_send(actor, 'stop')) FROM ring; SELECT test.actor_receive(1), count(*) FROM generate_series(1, 50) GROUP BY 1"),
	"50\n0 violations|50", 'no message has overtaken another');
is(statistic('actors'), $actors - 50, 'all actors are gone');
wait_until("SELECT $used <= $memory");
is(sql('SELECT test.arena_lost()'), '0', 'no memory is lost');

# --- too many actors: an error that names the setting, counted; then there is room again

my ($code, $out, $err) = $node->psql('postgres', 'SELECT count(test.victim_spawn()) FROM generate_series(1, 1100)');
like($err, qr/too many actors\nDETAIL:  1024 actors live on this node.\nHINT:  Raise dlog.max_actors/, 'there is a limit to actors');
is(statistic('actors refused'), '1', 'who is refused is counted');
is(statistic('actors'), '1024', 'others live');
sql("SELECT count(test.actor_send(0, actor, 'exit')) FROM dlog.actors() WHERE behavior = 'test victim'");
wait_until("SELECT value = $actors - 50 FROM dlog.stat_runtime WHERE name = 'actors'");
like(sql("SELECT test.victim_spawn()"), qr{^\d+/}, 'until some exit');

$session->quit;
done_testing();
