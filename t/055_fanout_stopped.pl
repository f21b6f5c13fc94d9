
# Queries that are stopped at random points, 200 times: canceled, overdue, their
# sessions terminated, their clients killed.  Everything that was at work for them
# on any node stops, and nothing of them remains.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $cluster = DlogCluster->new(
	nodes => 3,
	conf => "client_connection_check_interval = 10ms\nwork_mem = 64kB\nmax_connections = 60\n");
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE TABLE d (id int, k int, v numeric, s text);
SELECT dlog.distribute_table('d', by => 'id', partitions => 6);
INSERT INTO d SELECT i, i % 100, i % 7, repeat('x', 100) FROM generate_series(1, 20000) i;
CREATE TABLE sink (id int, s text);
SELECT dlog.distribute_table('sink', by => 'id', colocate_with => 'd');
ANALYZE;
SQL

# Of each kind one that computes there, one that is read here, one that sorts in
# files, one that joins, one that writes, one in pieces, one that asks often.
my @queries = (
	'SELECT count(*), sum(a.v) FROM d a JOIN d b USING (k) WHERE a.id < 4000',
	'SELECT * FROM d WHERE random() < 2',
	'SELECT * FROM d ORDER BY s, v, id',
	'SELECT a.id FROM d a, d b WHERE a.id = b.id ORDER BY b.s, a.id',
	'INSERT INTO sink SELECT id, s FROM d',
	'BEGIN; UPDATE d SET v = v + 1; DECLARE c CURSOR FOR SELECT * FROM d; FETCH 3000 FROM c; SELECT count(*) FROM d; ROLLBACK',
	'SELECT g, (SELECT count(*) FROM d WHERE k = g) FROM generate_series(1, 200) g');

sub used_memory
{
	my ($i) = @_;
	return $cluster->sql($i, q{SELECT coalesce(sum(block_size * used), 0) FROM dlog.memory});
}

# Nothing is at work on a node: no statement, no actor, no lock, no transaction.
sub is_quiet
{
	my ($when) = @_;

	foreach my $i (1 .. 3)
	{
		$cluster->wait_until($i, <<'SQL');
SELECT NOT EXISTS (SELECT FROM dlog.queries)
	AND NOT EXISTS (SELECT FROM dlog.actors WHERE behavior LIKE 'remote%')
	AND NOT EXISTS (SELECT FROM dlog.schedulers WHERE state <> 'idle')
	AND NOT EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname ~ '^(d|sink)')
	AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dlog scheduler' AND xact_start IS NOT NULL)
SQL
		my @files = glob $cluster->node($i)->data_dir . '/base/pgsql_tmp/*';
		is(scalar @files, 0, "$when: no files remain on n$i");
	}
	is($cluster->sql(1, 'SELECT count(*), sum(v) FROM d'), '20000|59998', "$when: no row has changed");
	return;
}

# Sessions that do all of this have used what they keep; then nothing may be added.
$node->psql($cluster->database, join(";\n", @queries, 'TRUNCATE sink')) foreach (1, 2);
is_quiet('before');
my @used = map { used_memory($_) } (1 .. 3);

my $control = $node->background_psql($cluster->database);
my $stopped;

my $victim = q{FROM pg_stat_activity WHERE application_name = 'victim' AND state = 'active'};

# --- canceled, 80 times ---------------------------------------------------------
{
	my ($output, $errors) = ('', '');
	my $script = join '', map { "$_;\nROLLBACK;\n" } (@queries) x 200;
	my $client = IPC::Run::start(
		[ 'psql', '-X', '-q', '-A', '-t', '-o', '/dev/null', '-v', 'VERBOSITY=sqlstate', '-d',
			$node->connstr($cluster->database) . ' application_name=victim' ],
		'<', \$script, '>', \$output, '2>', \$errors);
	my $hits = 0;

	while ($hits < 80 && $client->pumpable)
	{
		usleep(int rand 60_000);
		$control->query_safe("SELECT pg_cancel_backend(pid) $victim");
		$client->pump_nb;
		$hits = () = $errors =~ /57014/g;
	}
	$control->query_safe("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'");
	eval { $client->finish };
	cmp_ok($hits, '>=', 80, 'canceled');

	# 08007: while other nodes committed what was inserted
	unlike($errors, qr/ERROR:  (?!57014|57P01|25P02|08007)/, 'with no other error');
	is_quiet('canceled');
}

# --- overdue, 40 times -----------------------------------------------------------
{
	my $script = join '', map {
		'SET statement_timeout = ' . (1 + int rand 60) . ";\n$queries[$_ % @queries];\nROLLBACK;\n"
	} (1 .. 100);
	my ($output, $errors);

	$node->psql($cluster->database, "\\set VERBOSITY sqlstate\n\\o /dev/null\n$script",
		stderr => \$errors, on_error_stop => 0);
	$stopped = () = $errors =~ /57014/g;
	cmp_ok($stopped, '>=', 40, 'overdue');
	unlike($errors, qr/ERROR:  (?!57014|25P02|08007)/, 'with no other error');
	is_quiet('overdue');
}

# --- terminated, 40 times, and the client killed, 40 times -------------------------
foreach my $how ('terminated', 'killed')
{
	$stopped = 0;
	foreach my $i (1 .. 200)
	{
		last if $stopped >= 40;
		my ($output, $errors) = ('', '');
		my $client = IPC::Run::start(
			[ 'psql', '-X', '-q', '-A', '-t', '-o', '/dev/null',
				'-d', $node->connstr($cluster->database) . ' application_name=victim',
				('-c', $queries[ $i % @queries ]) x 50 ],
			'<', \undef, '>', \$output, '2>', \$errors);

		$control->query_safe("DO \$\$ BEGIN WHILE NOT EXISTS (SELECT $victim) LOOP "
			  . 'PERFORM pg_stat_clear_snapshot(); PERFORM pg_sleep(0.001); END LOOP; END $$');
		usleep(int rand 50_000);
		if ($how eq 'terminated')
		{
			$control->query_safe("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'");
			eval { $client->finish };
			$stopped++ if $errors =~ /terminating connection/;
		}
		else
		{
			$client->kill_kill;
			$stopped++;
		}
	}
	cmp_ok($stopped, '>=', 40, $how);
	$cluster->wait_until(1, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'victim')");
	is_quiet($how);
}
$control->quit;

# --- what is left ------------------------------------------------------------------

foreach my $i (1 .. 3)
{
	# Blocks that processes keep at hand are not lost; a leak of 200 queries' chunks is more.
	my $more = used_memory($i) - $used[ $i - 1 ];
	cmp_ok($more, '<', 2 * 1024 * 1024, "n$i: shared memory has been given back") or diag("$more bytes more");
	unlike(slurp_file($cluster->node($i)->logfile), qr/TRAP|PANIC|terminated by signal/,
		"n$i: nobody crashed");
}
done_testing();
