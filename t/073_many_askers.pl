
# Many sessions that ask one actor at the same time get their answers, and leave
# nothing behind: who has its answer no longer monitors the actor.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IPC::Run;
use Test::More;

my $sessions = 8;
my $asks = 1000;

my $cluster = DlogCluster->new(nodes => 1);
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE TYPE one AS ();
CREATE FUNCTION zero() RETURNS int LANGUAGE sql RETURN 0;
CREATE FUNCTION one(state int, m one) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.reply(state + 1);
	RETURN state + 1;
END $$;
SELECT dlog.create_behavior('counting', 'int', 'zero', '{one}');
SELECT dlog.spawn('counting', name => 'counting');
CREATE FUNCTION ask_often(n int) RETURNS bigint LANGUAGE sql
	RETURN (SELECT count(DISTINCT dlog.ask(dlog.whereis('counting'), ROW()::one, NULL::int)) FROM generate_series(1, n));
SQL

# All at the same time: they start when the lock is given away.
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(1)');
my @askers;
foreach (1 .. $sessions)
{
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start(
		[
			$node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'),
			'-c', 'SELECT pg_advisory_lock_shared(1)', '-c', "SELECT ask_often($asks)"
		],
		'<', \undef, '>', \$out, '2>', \$err);
	push @askers, { run => $run, out => \$out, err => \$err };
}
$cluster->wait_until(1, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", $sessions);
$gate->quit;
foreach my $asker (@askers)
{
	$asker->{run}->finish;
	is(${ $asker->{out} } . ${ $asker->{err} }, "\n$asks\n", 'each question had an answer of its own');
}
is($cluster->sql(1, "SELECT dlog.ask(dlog.whereis('counting'), ROW()::one, NULL::int)"), $sessions * $asks + 1, 'each once');

# A monitor is the smallest block.
cmp_ok($cluster->sql(1, 'SELECT used FROM dlog.memory ORDER BY block_size LIMIT 1'), '<', $asks / 2, 'nothing is left behind');

done_testing();
