# deploy_reduce over more nodes than one merges: in a tree through the nodes,
# each of which counts once, whatever happens to those above it.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 6, conf => "dlog.deploy_fanin = 2\nshared_buffers = 16MB");
my $name = "current_setting(''dlog.node_name'')";

# Of node number i, 10 to the power of i - 1: who counted how often.
my $mark = "(10 ^ (substr($name, 2)::int - 1))::bigint";

# This node sleeps for so long, the others do not.
sub slow
{
	my ($node, $seconds) = @_;
	return "pg_sleep(CASE $name WHEN ''$node'' THEN $seconds ELSE 0 END)";
}

sub is_asleep
{
	my ($i) = @_;
	$cluster->wait_until($i, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	return;
}

sub nothing_runs
{
	$cluster->wait_until($_, "SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") foreach @_;
	return;
}

# --- what is merged ----------------------------------------------------------

is($cluster->sql(1, "SELECT dlog.deploy_reduce('all', 'SELECT $mark', '+', 0::bigint)"), '111111', 'every node counts once');
is($cluster->sql(4, "SELECT dlog.deploy_reduce('all', 'SELECT $name || \$1', '||', '>'::text, args => ROW('.'))"),
	'>n4.n1.n2.n3.n5.n6.', 'in the order of their names');
is($cluster->sql(1, "SELECT dlog.deploy_reduce('all', 'SELECT generate_series(1, substr($name, 2)::int)', 'avg(numeric)', NULL::numeric)::numeric(9, 6)"),
	'2.666667', 'an average over the rows of all');
is($cluster->sql(2, "SELECT dlog.deploy_reduce('all', 'SELECT $name', 'min', 'z'::text COLLATE \"C\")"), 'n1', 'a collation travels');

# Asked for all, a head asks those behind it, and nobody asks more than two.
my $session = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/asked/, "\\echo asked\nSELECT dlog.deploy_reduce('all', 'SELECT $mark FROM " . slow('n6', 3) . "', '+', 0::bigint);\n");
is_asleep(6);
is($cluster->sql(4, "SELECT count(DISTINCT node) BETWEEN 1 AND 2 FROM dlog.queries WHERE side = 'asker'"), 't', 'a head asks two at most')
  or diag($cluster->sql(4, 'SELECT * FROM dlog.queries'));
like($session->query(';'), qr/^111111$/m, '... and all of them have counted');

# Daily active users: each node has its own visits, and users visit several.
$cluster->sql($_, "CREATE TABLE visits (user_id bigint, at timestamptz);
	INSERT INTO visits SELECT i, now() FROM generate_series($_ * 100, $_ * 100 + 149) i;
	INSERT INTO visits SELECT i, now() - interval '2 days' FROM generate_series(10000, 10099) i") foreach (1 .. 6);
is($cluster->sql(3, <<'SQL'), '650', 'daily active users, each of whom counts once');
SELECT cardinality(dlog.deploy_reduce(
    'all',
    'SELECT array_agg(DISTINCT user_id) FROM visits WHERE at >= $1',
    'dlog.set_union',
    '{}'::bigint[],
    args => ROW(now() - interval '1 day'))) AS daily_active_users;
SQL

# --- failures -----------------------------------------------------------------

like($cluster->sql_error(1, "SELECT dlog.deploy_reduce('all', 'SELECT 1 / (CASE $name WHEN ''n6'' THEN 0 ELSE 1 END)', '+', 0)"),
	qr/22012: division by zero.*node "n6"/s, 'an error at the end of a branch names its node');
my ($status, $output, $error) = $cluster->node(1)->psql('postgres',
	"SELECT dlog.deploy_reduce('all', 'SELECT $mark / (CASE WHEN $name IN (''n4'', ''n5'') THEN 0 ELSE 1 END)', '+', 0::bigint, on_error => 'skip')");
is($output, '100111', 'a head that fails still asks those behind it');
like($error, qr/skipped 2 of 6 nodes\nDETAIL:  n[45]: division by zero\nn[45]: division by zero/, '... and both are named');
$cluster->sql_everywhere('CREATE FUNCTION add_small(a bigint, b bigint) RETURNS bigint LANGUAGE plpgsql AS '
	  . q($$ BEGIN IF a > 9999 OR b > 9999 THEN RAISE 'too large'; END IF; RETURN a + b; END $$));
like($cluster->sql_error(1, "SELECT dlog.deploy_reduce('all', 'SELECT $mark', 'add_small', 0::bigint, on_error => 'skip')"),
	qr/too large.*merging answers on node "n4"/s, 'an error of the reduce is nobody\'s to skip');

($status, $output, $error) = $cluster->node(1)->psql('postgres',
	"SELECT dlog.deploy_reduce('all', 'SELECT $mark FROM " . slow('n6', 1000) . "', '+', 0::bigint, '3 s', on_error => 'skip')");
is($output, '11111', 'who is too late does not keep the others from counting');
like($error, qr/n6: .*did not answer within 3000 ms/, '... and is named');
nothing_runs(1 .. 6);

# A cancel reaches the last of them.
$session->query_until(qr/asked/, "\\echo asked\nSELECT dlog.deploy_reduce('all', 'SELECT 1 FROM " . slow('n6', 1000) . "', '+', 0, '0');\n");
is_asleep(6);
$cluster->sql(1, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%deploy_reduce%' AND pid <> pg_backend_pid()");
nothing_runs(1 .. 6);
$session->quit;

# The scheduler of a head is terminated: its branch is asked again.
$session = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/asked/, "\\echo asked\nSELECT dlog.deploy_reduce('all', 'SELECT $mark FROM " . slow('n6', 3) . "', '+', 0::bigint);\n");
is_asleep(6);
$cluster->sql(4, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%deploy_merge%' AND pid <> pg_backend_pid()");
like($session->query(';'), qr/^111111$/m, 'after a head was terminated each counts once');

# The partial of a head has come, but not the word that it is all; then its
# scheduler is terminated, or the link is lost and the head, which knows
# nothing of that yet, goes on.  What is asked again comes twice and counts once.
foreach my $what ('its scheduler is terminated', 'the link is lost')
{
	$cluster->sql(4, "SELECT dlog.stop_point_arm('remote-rows-sent', 'wait')");
	$session->query_until(qr/asked/, "\\echo asked\nSELECT dlog.deploy_reduce('all', 'SELECT $mark', '+', 0::bigint, retries => 3);\n");
	$cluster->wait_until(1, "SELECT count(*) = 1 FROM dlog.queries WHERE side = 'asker' AND node = 'n4' AND rows = 1");
	if ($what eq 'the link is lost')
	{
		$cluster->kill_network(1, 'KILL');
	}
	else
	{
		$cluster->sql(4, "SELECT pg_terminate_backend(pid) FROM unnest(dlog.stop_point_pids('remote-rows-sent')) pid");
	}
	$cluster->sql(4, "SELECT dlog.stop_point_release('remote-rows-sent')");
	like($session->query(';'), qr/^111111$/m, "a partial that had come when $what counts once");
	$cluster->wait_for_links($_) foreach (1 .. 6);
}

# A head dies in the middle.
$session->query_until(qr/asked/, "\\echo asked\nSELECT dlog.deploy_reduce('all', 'SELECT $mark FROM " . slow('n6', 3) . "', '+', 0::bigint, on_error => 'skip');\n");
is_asleep(6);
$cluster->node(4)->stop('immediate');
like($session->query(';'), qr/^110111$/m, 'after a head has died those behind it count once');
$session->quit;
is($cluster->sql(2, "SELECT dlog.deploy_reduce('all', 'SELECT $mark', '+', 0::bigint, on_error => 'skip')"),
	'110111', 'and so do they when it is dead from the start');
like($cluster->sql_error(2, "SELECT dlog.deploy_reduce('all', 'SELECT $mark', '+', 0::bigint)"), qr/08006.*n4/s, 'which fails who asks for all');

done_testing();
