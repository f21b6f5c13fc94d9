# A node or link that is lost in the middle of a query: the query is asked again
# if nothing of its rows was read yet, else it fails and names the node.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3);
$cluster->sql(1, <<'SQL');
CREATE TABLE d (id int, k int, s text);
SELECT dlog.distribute_table('d', by => 'id', partitions => 6);
INSERT INTO d SELECT i, i % 10, repeat('x', 1000) FROM generate_series(1, 20000) i;
ANALYZE d;
SQL

# A session that has said "asked" when it begins with "query", and goes on after errors.
sub background
{
	my ($query) = @_;
	my $session = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);

	$session->{timeout}->start(60) if ref $session->{timeout};
	$session->query_until(qr/asked/, "\\set VERBOSITY verbose\n\\echo asked\n$query\n");
	return $session;
}

# --- nothing was read yet --------------------------------------------------------------

my %questions = (
	'groups' => q{SELECT 'answer ' || string_agg(k || ':' || n, ' ' ORDER BY k) FROM (SELECT k, count(*) AS n FROM d GROUP BY k) q;},
	'a join' => q{SELECT 'answer ' || count(*) || ' ' || sum(a.k) FROM d a JOIN d b USING (id);},
	'rows in order' => q{SELECT 'answer ' || string_agg(id::text, ' ') FROM (SELECT id FROM d WHERE id <= 50 ORDER BY id DESC LIMIT 20) q;});
foreach my $name (sort keys %questions)
{
	my $expected = $cluster->sql(1, $questions{$name});

	foreach my $i (1, 2)
	{
		$cluster->sql(2, "SELECT dlog.stop_point_arm('session-step', 'wait')");
		my $session = background($questions{$name});
		$cluster->wait_until(2, "SELECT dlog.stop_point_waiting('session-step') = 1");
		$cluster->kill_network($i);
		$cluster->wait_until(2, "SELECT cardinality(dlog.stop_point_pids('session-step')) > 1");
		$cluster->sql(2, "SELECT dlog.stop_point_release('session-step')");
		like($session->query_until(qr/answer.*\n/, "\n"), qr/^\Q$expected\E$/m,
			"$name: the network process of n$i was lost, and nobody has noticed");
		$session->quit;
		$cluster->wait_for_links($_) foreach (1 .. 3);
	}

	# A scheduler is terminated.
	$cluster->sql(2, "SELECT dlog.stop_point_arm('session-step', 'wait')");
	my $session = background($questions{$name});
	$cluster->wait_until(2, "SELECT dlog.stop_point_waiting('session-step') = 1");
	$cluster->sql(2, "SELECT pg_terminate_backend((dlog.stop_point_pids('session-step'))[1])");
	$cluster->wait_until(2, "SELECT cardinality(dlog.stop_point_pids('session-step')) > 1");
	$cluster->sql(2, "SELECT dlog.stop_point_release('session-step')");
	like($session->query_until(qr/answer.*\n/, "\n"), qr/^\Q$expected\E$/m, "$name: so was a scheduler");
	$session->quit;
}

# --- some of it was read -----------------------------------------------------------------

# All rows of this partition are n2's: of several nodes' rows those that came first might be another's.
my $partition = $cluster->sql(1, q{SELECT min(partition::text) FROM dlog.partitions WHERE node = 'n2'});
my $fetch = "BEGIN; DECLARE c CURSOR FOR SELECT * FROM $partition; MOVE 1000 FROM c;";
foreach my $what ('its network process', "this node's network process", 'a scheduler', 'the node')
{
	my $session = background("$fetch SELECT 'read';");

	$session->query_until(qr/read/, "\n");
	$cluster->wait_until(2, q{SELECT count(*) = 1 FROM dlog.queries WHERE side = 'executor' AND waits_for = 'reader'});
	if ($what eq 'its network process') { $cluster->kill_network(2); }
	elsif ($what eq 'a scheduler') { $cluster->sql(2, q{SELECT pg_terminate_backend(pid) FROM dlog.queries WHERE side = 'executor'}); }
	elsif ($what eq 'the node') { $cluster->node(2)->stop('immediate'); }
	else { $cluster->kill_network(1); }
	my $told = $session->query_until(qr/moved/, "MOVE ALL FROM c;\n\\echo :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE\n\\echo moved\n");
	like($told, qr/08006.*node "n2"/s,
		"$what is lost in the middle of rows: the error names the node");
	$session->{stderr} = '';
	$session->query_until(qr/undone/, "ROLLBACK;\n\\echo undone\n");
	if ($what eq 'the node')
	{
		like($cluster->sql_error(1, 'SELECT count(*) FROM d'), qr/08006.*node "n2"/s, 'one that is down is named too');
		$cluster->node(2)->start;
	}
	$cluster->wait_for_links($_) foreach (1 .. 3);
	is($session->query('SELECT count(*), sum(k) FROM d'), '20000|90000', 'the session goes on');
	$session->quit;
}

# A node that goes while a query that has read nothing waits for it, and does not come back.
{
	$cluster->sql(2, "SELECT dlog.stop_point_arm('session-step', 'wait')");
	my $session = background('SELECT count(*) FROM d;');
	$cluster->wait_until(2, "SELECT dlog.stop_point_waiting('session-step') = 1");
	$cluster->node(2)->stop('immediate');
	$session->query_until(qr/state 08006/, "\\echo state :LAST_ERROR_SQLSTATE\n");
	like($session->{stderr}, qr/08006.*node "n2"/s, 'a node that does not come back is named');
	$session->{stderr} = '';
	$session->quit;
	$cluster->node(2)->start;
	$cluster->wait_for_links($_) foreach (1 .. 3);
}

foreach my $i (1 .. 3)
{
	$cluster->wait_until($i, q{SELECT NOT EXISTS (SELECT FROM dlog.queries) AND NOT EXISTS (SELECT FROM dlog.actors WHERE behavior LIKE 'remote%')});
}
is($cluster->sql(1, 'SELECT count(*), sum(k) FROM d'), '20000|90000', 'nothing of it remains');
done_testing();
