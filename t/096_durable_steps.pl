
# A message to a durable actor of another node, and a crash between every two
# of the steps that it takes: of the node at work, of the other one, and of the
# link.  It is handled once.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, conf => <<'CONF');
dlog.min_schedulers = 2
dlog.connect_timeout = 2s
CONF
$cluster->sql_everywhere(<<'SQL');
CREATE TYPE note AS (n int);
CREATE TABLE notes (n int);
CREATE FUNCTION note(state int, m note) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO notes VALUES (m.n);
	PERFORM dlog.reply(m.n);
	RETURN m.n;
END $$;
CREATE FUNCTION noted(state int, m note) RETURNS int IMMUTABLE LANGUAGE sql RETURN m.n;
SELECT dlog.create_behavior('notary', 'int', handlers => '{note}', apply => '{noted}', durable => true);
SQL
my $far = $cluster->sql(1, "SELECT dlog.spawn('notary', name => 'far', node => 'n2')");
my $n = 0;

# Start SQL in a session of node 1 that may be held, or lose its server.
sub begin_sql
{
	my ($sql) = @_;
	my ($out, $error) = ('', '');
	my $node = $cluster->node(1);
	return {
		out => \$out,
		error => \$error,
		handle => IPC::Run::start(
			[ $node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', $sql ],
			'<', \undef, '>', \$out, '2>', \$error)
	};
}

sub crash
{
	my ($i) = @_;
	$cluster->node($i)->stop('immediate');
	$cluster->node($i)->start;
	$cluster->wait_until(1, 'SELECT true');
	return;
}

# The steps, in their order: on which node, and what has become of a message
# whose sender's node, or receiver's, has crashed there.
my @steps = (
	[ 1, 'outbox-put', 0 ],
	[ 1, 'outbox-committed', 1 ],	# the batch is made
	[ 2, 'outbox-take', 1 ],
	[ 2, 'outbox-taken', 1 ],
	[ 1, 'outbox-sent', 1 ],
	[ 1, 'outbox-commit', 1 ],
	[ 1, 'remote-committed', 1 ],
	[ 2, 'journal-sent', 1 ],
	[ 2, 'actor-handled', 1 ],
	[ 2, 'journal-appended', 1 ],
	[ 2, 'journal-committed', 1 ],
);
foreach my $step (@steps)
{
	my ($i, $point, $expected) = @$step;
	foreach my $what ('node', 'other', 'link')
	{
		next if $what ne 'node' && $point =~ /^(outbox-put|actor|journal)/;
		$n++;
		$cluster->wait_until(1, 'SELECT NOT EXISTS (SELECT FROM dlog.outbox)');
		$cluster->sql($i, "SELECT dlog.stop_point_arm('$point', 'wait')");
		my $session = begin_sql("SELECT dlog.send('$far', ROW($n)::note)");
		$cluster->wait_until($i, "SELECT dlog.stop_point_waiting('$point') > 0");
		crash($i) if $what eq 'node';
		crash(3 - $i) if $what eq 'other';
		$cluster->kill_network(3 - $i) if $what eq 'link';
		$cluster->sql($i, "SELECT dlog.stop_point_release('$point')");
		$session->{handle}->finish;

		# The next message is behind it.
		$cluster->sql(1, "SELECT dlog.send('$far', ROW(-$n)::note)");
		$cluster->wait_until(2, "SELECT EXISTS (SELECT FROM notes WHERE n = -$n)");
		$cluster->wait_until(1, 'SELECT NOT EXISTS (SELECT FROM dlog.outbox)');
		is($cluster->sql(2, "SELECT count(*) FILTER (WHERE n = $n), count(*) FILTER (WHERE n = -$n) FROM notes"), "$expected|1",
			"$point, the $what: " . ($expected ? 'handled once' : 'not sent'));
	}
}

# --- an ask ---
foreach my $step ([ 1, 'outbox-question-stored' ], [ 2, 'outbox-taken' ], [ 2, 'journal-committed' ], [ 2, 'outbox-committed' ])
{
	my ($i, $point) = @$step;
	$n++;
	$cluster->sql($i, "SELECT dlog.stop_point_arm('$point', 'wait')");
	my $session = begin_sql("SELECT dlog.ask('$far', ROW($n)::note, interval '180 s')");
	$cluster->wait_until($i, "SELECT dlog.stop_point_waiting('$point') > 0");
	if ($i == 1)
	{
		$cluster->kill_network(2);
		$cluster->sql($i, "SELECT dlog.stop_point_release('$point')");
	}
	else
	{
		crash(2);
	}
	$session->{handle}->finish;
	is(${ $session->{out} }, "$n\n", "ask, $point: the answer comes in the end") or diag ${ $session->{error} };
	is($cluster->sql(2, "SELECT count(*) FROM notes WHERE n = $n"), 1, "ask, $point: handled once");
}

# An asker whose node crashes hears nothing; its message is handled.
$n++;
$cluster->sql(2, "SELECT dlog.stop_point_arm('outbox-taken', 'wait')");
my $session = begin_sql("SELECT dlog.ask('$far', ROW($n)::note, interval '180 s')");
$cluster->wait_until(2, "SELECT dlog.stop_point_waiting('outbox-taken') > 0");
crash(1);
$cluster->sql(2, "SELECT dlog.stop_point_release('outbox-taken')");
$session->{handle}->finish;
$cluster->wait_until(2, "SELECT EXISTS (SELECT FROM notes WHERE n = $n)");
$cluster->wait_until(2, 'SELECT NOT EXISTS (SELECT FROM dlog.outbox)');
is($cluster->sql(2, "SELECT count(*) FROM notes WHERE n = $n"), 1, 'what an asker has asked that is gone is handled once');
is(join(' ', $cluster->sql_everywhere('SELECT count(*) FROM dlog.inbox_refused')), '0 0', 'and the answer that nobody waits for is none that is refused');

done_testing();
