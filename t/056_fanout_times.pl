# Where the time of a query went, as EXPLAIN ANALYZE tells it for each node: it
# is known what takes time here, and that is where it is found.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;
use Time::HiRes qw(usleep);

my $cluster = DlogCluster->new(nodes => 2, conf => "dlog.min_schedulers = 1\ndlog.max_schedulers = 2\nautovacuum = off\n");
my $held_ms = 300;

$cluster->sql(1, <<'SQL');
CREATE TABLE d (id int, s text);
SELECT dlog.distribute_table('d', by => 'id', partitions => 4);
INSERT INTO d SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i;
ANALYZE d;
CREATE FUNCTION held(int) RETURNS bool LANGUAGE plpgsql AS
	'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN true; END';
CREATE FOREIGN TABLE slow (id int) SERVER n2;
CREATE TABLE written (id int);
SQL
$cluster->sql(2, "CREATE VIEW slow AS SELECT 1 AS id FROM pg_sleep($held_ms / 1000.0)");

# All that a plan says of nodes, in milliseconds, and of the whole.
sub times_of
{
	my ($plan) = @_;
	my @nodes;

	# LIMIT may leave a statement before its end has come.
	while ($plan =~ /Node: .*queued=([\d.]+) run=([\d.]+) wire=([\d.]+) stalled=([\d.]+) waited=([\d.]+) ms/g)
	{
		push @nodes, { queued => $1, run => $2, wire => $3, stalled => $4, waited => $5, sum => $1 + $2 + $3 + $4 };
	}
	my ($whole) = $plan =~ /Execution Time: ([\d.]+) ms/;
	return ($whole, @nodes);
}

# --- the parts are no more than the whole ----------------------------------------

my $explain = 'EXPLAIN (ANALYZE, COSTS OFF)';
foreach my $query (
	'SELECT left(s, 1), count(*) FROM d GROUP BY 1',
	'SELECT * FROM d',
	'SELECT * FROM d ORDER BY id DESC LIMIT 5',
	'SELECT g, (SELECT count(*) FROM d WHERE id % 7 = g) FROM generate_series(1, 5) g',
	'SELECT count(*) FROM d a JOIN d b USING (id)',
	'UPDATE d SET s = s WHERE id > 500',
	'DELETE FROM d WHERE id < 3 RETURNING id',
	'SELECT id FROM slow')
{
	foreach my $how ('', 'BEGIN ISOLATION LEVEL REPEATABLE READ;', "BEGIN; UPDATE d SET s = s WHERE id < 100;")
	{
		my ($whole, @nodes) = times_of($cluster->sql(1, "$how $explain $query"));

		cmp_ok(scalar @nodes, '>', 0, "$how $query: there are times") if $query !~ /LIMIT/;
		foreach my $node (@nodes)
		{
			cmp_ok($node->{run}, '>', 0, 'it has run');
			cmp_ok($node->{sum}, '<=', $whole, 'queued, run, wire and stalled are no more than the whole');
		}
	}
}

# --- each in its place -----------------------------------------------------------

my ($whole, $node) = times_of($cluster->sql(1, "$explain SELECT id FROM slow"));
cmp_ok($node->{run}, '>=', $held_ms, 'what takes long there is run');

# A session that is asked to explain a query, and its answer.
sub explain_begin
{
	my ($begin, $query) = @_;
	my $session = $cluster->node(1)->background_psql('postgres');

	$session->query_safe("SET application_name = 'explaining'");
	$session->query_safe($begin) if $begin;
	$session->query_until(qr/asked/, "\\echo asked\n$explain $query;\n\\echo answered\n");
	return $session;
}

sub explain_end
{
	my ($session) = @_;
	my $plan = $session->query_until(qr/answered/, "\n");

	$session->quit;
	return times_of($plan);
}

# While this is at its own work, what the node has done long ago takes no time there.
my $lock = $cluster->node(1)->background_psql('postgres');
my $is_held = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'explaining' AND wait_event = 'advisory'};
foreach my $begin ('', 'BEGIN ISOLATION LEVEL REPEATABLE READ')
{
	$lock->query_safe('SELECT pg_advisory_lock(4711)');
	my $session = explain_begin($begin, 'SELECT count(*) FROM d WHERE id < 30 AND held(id)');
	$cluster->wait_until(1, $is_held);
	$cluster->wait_until(2, q{SELECT count(*) = 0 FROM dlog.queries WHERE side = 'executor'});
	usleep(1000 * $held_ms);
	$lock->query_safe('SELECT pg_advisory_unlock(4711)');
	($whole, $node) = explain_end($session);
	cmp_ok($whole, '>=', $held_ms, "$begin: a query that takes long here");
	cmp_ok($node->{sum}, '<=', $whole - $held_ms, 'takes no longer there');
}

# Rows that are not read.
foreach my $begin ('', 'BEGIN ISOLATION LEVEL REPEATABLE READ')
{
	$lock->query_safe('SELECT pg_advisory_lock(4711)');
	my $session = explain_begin($begin, 'SELECT count(*), max(s) FROM d WHERE held(id)');
	$cluster->wait_until(1, $is_held);
	$cluster->wait_until(2, q{SELECT count(*) = 1 FROM dlog.queries WHERE side = 'executor' AND waits_for = 'reader'});
	usleep(1000 * $held_ms);
	$lock->query_safe('SELECT pg_advisory_unlock(4711)');
	($whole, $node) = explain_end($session);
	cmp_ok($node->{stalled}, '>=', $held_ms, "$begin: that its rows are not read has stalled it");
	cmp_ok($node->{run}, '<=', $whole - $held_ms, 'and is no part of its run');
}
$lock->quit;

# No scheduler there is free.
my @open;
foreach (1, 2)
{
	my $session = $cluster->node(1)->background_psql('postgres');
	$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT * FROM d');
	$session->query_safe('FETCH 1 FROM c');
	push @open, $session;
}
my $session = explain_begin('', 'SELECT count(*) FROM d');
$cluster->wait_until(1, q{SELECT count(*) = 1 FROM dlog.queries WHERE side = 'asker' AND waits_for = 'scheduler' AND text LIKE '%count%'});
usleep(1000 * $held_ms);
$open[0]->query_safe('ROLLBACK');
($whole, $node) = explain_end($session);
cmp_ok($node->{queued}, '>=', $held_ms, 'one that waits for a scheduler was queued');
cmp_ok($node->{run} + $node->{wire} + $node->{stalled}, '<=', $whole - $held_ms, 'and nothing else');
$_->quit foreach @open;

done_testing();
