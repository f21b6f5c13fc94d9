
# Timers of durable actors are of the transaction that sets them, go off once,
# and outlive the server; a state that holds a timer's number is the same when
# it is made of the journal.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, conf => "restart_after_crash = on\ndlog.min_schedulers = 2");
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE TYPE go AS (what text, delay interval);
CREATE TYPE tick AS (what text);
CREATE TYPE clock AS (timer bigint, ticks text);
CREATE FUNCTION go(state clock, m go) RETURNS clock STABLE LANGUAGE plpgsql AS $$
BEGIN
	IF m.what = 'every' THEN
		RETURN ROW(dlog.send_every(m.delay, ROW('every')::tick), state.ticks);
	ELSIF m.what = 'cancel' THEN
		PERFORM dlog.cancel_timer(state.timer);
		PERFORM dlog.reply('cancelled');
		RETURN state;
	ELSIF m.what = 'fail' THEN
		PERFORM dlog.send_after(m.delay, ROW('never')::tick);
		RAISE EXCEPTION 'failed';
	ELSIF m.what = 'undo' THEN
		BEGIN
			PERFORM dlog.send_after(m.delay, ROW('never')::tick);
			RAISE EXCEPTION 'caught';
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
		RETURN state;
	ELSIF m.what = 'stash' THEN
		PERFORM dlog.send_after(m.delay, ROW('never')::tick), dlog.stash();
		RETURN state;
	ELSIF m.what = 'bad' THEN
		PERFORM dlog.send_after(m.delay, ROW(1, 'x')::clock);
	END IF;
	PERFORM dlog.send_after('1 h', ROW('never')::tick);
	RETURN ROW(dlog.send_after(m.delay, ROW(m.what)::tick), state.ticks);
END $$;
CREATE FUNCTION tick(state clock, m tick) RETURNS clock IMMUTABLE LANGUAGE sql
	RETURN ROW(state.timer, concat_ws(' ', state.ticks, m.what))::clock;
SELECT dlog.create_behavior('clock_actor', 'clock', handlers => '{go,tick}', durable => true, snapshot_every => 0, max_failures => 1);
SELECT dlog.spawn('clock_actor', name => 'c');
SQL

sub go_on
{
	my ($what, $delay) = @_;

	$cluster->sql(1, qq{SELECT dlog.send(dlog.whereis('c'), ROW('$what', '$delay')::go)});
	return;
}

sub ticks_are
{
	my ($ticks, $what) = @_;

	$cluster->wait_until(1, q{SELECT (dlog.state(dlog.whereis('c'), NULL::clock)).ticks}, $ticks);
	pass($what);
	return;
}

go_on('one', '10 ms');
ticks_are('one', 'a timer goes off');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.durable_timer'), 1, 'and is gone; the other one is still to come');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.journal WHERE name = 'c' AND message = 'tick'::regtype AND sender IS NULL}), 1, 'it is in the journal');

# What is undone sets none.
go_on('fail', '1 ms');
go_on('undo', '1 ms');
go_on('stash', '1 ms');
go_on('bad', '1 ms');
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.quarantine', 3);
is($cluster->sql(1, 'SELECT count(*) FROM dlog.durable_timer'), 1, 'what is undone has set none');
is($cluster->sql(1, q{SELECT string_agg(sqlstate, ' ' ORDER BY id) FROM dlog.quarantined}), 'P0001 0A000 42804',
	'a message that is stashed cannot set any, nor can one be of a type that has no handler');

# The number in the state, and the state of the journal.
my $state = $cluster->sql(1, q{SELECT dlog.state(dlog.whereis('c'))});
is($cluster->sql(1, q{SELECT dlog.state_at(dlog.whereis('c'), 'infinity'::timestamptz)}), $state, 'numbers of timers are the same in a replay');

# A restart, and a crash at each step.
go_on('two', '1 s');
$cluster->wait_until(1, q{SELECT count(*) FROM dlog.durable_timer}, 3);
$node->stop('immediate');
$node->start;
ticks_are('one two', 'a timer outlives a crash');
$cluster->sql(1, q{SELECT dlog.stop_point_arm('journal-timers-fired', 'crash')});
go_on('three', '10 ms');
$node->poll_query_until($cluster->database, q{SELECT (dlog.state(dlog.whereis('c'), NULL::clock)).ticks = 'one two three'})
	or die 'no tick after a crash';
pass('a crash as it goes off: it goes off once');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.durable_timer WHERE due < now() + interval '1 min'}), 0, 'none is left');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.mailbox}), 0, 'nor is a message');

# One that repeats goes on after a restart, until it is cancelled.
go_on('every', '20 ms');
$cluster->wait_until(1, q{SELECT (dlog.state(dlog.whereis('c'), NULL::clock)).ticks LIKE '%every every every'}, 't');
$node->restart;
my $before = $cluster->sql(1, q{SELECT (dlog.state(dlog.whereis('c'), NULL::clock)).ticks});
$cluster->wait_until(1, qq{SELECT (dlog.state(dlog.whereis('c'), NULL::clock)).ticks LIKE '$before every every%'}, 't');
pass('one that repeats goes on after a restart');

# What it cannot have for a while, here a lock on its type, is waited for.
$node->append_conf('postgresql.conf', <<'CONF');
max_prepared_transactions = 1
lock_timeout = 200ms
deadlock_timeout = 10ms
log_lock_waits = on
CONF
$node->restart;
$cluster->sql(1, q{CREATE ROLE owner; BEGIN; ALTER TYPE tick OWNER TO owner; PREPARE TRANSACTION 'alter'});
my $log = -s $node->logfile;
$node->restart;
$node->wait_for_log(qr/still waiting for AccessShareLock/, $log);
$cluster->wait_until(1, q{SELECT due > pg_postmaster_start_time() FROM dlog.durable_timer WHERE period_ms IS NOT NULL}, 't');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.quarantine}), 3, 'one that meets a lock is not given up');
$before = $cluster->sql(1, q{SELECT count(*) FROM dlog.journal WHERE name = 'c'});
$cluster->sql(1, q{COMMIT PREPARED 'alter'});
$cluster->wait_until(1, qq{SELECT count(*) >= $before + 2 FROM dlog.journal WHERE name = 'c'}, 't');
pass('and goes on repeating afterwards');
is($cluster->sql(1, q{SELECT dlog.ask(dlog.whereis('c'), ROW('cancel', NULL)::go)}), 'cancelled', 'cancelled');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.durable_timer WHERE period_ms IS NOT NULL}), 0, 'it is gone');

$cluster->sql(1, q{SELECT dlog.stop(dlog.whereis('c'))});
is($cluster->sql(1, q{SELECT count(*) FROM dlog.durable_timer}), 0, 'timers go with their actor');

done_testing();
