
# deploy_map and deploy_reduce ask every node: in parallel, with an error or a
# result of each, no longer than the timeout, and leave nothing running.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;
use Time::HiRes qw(time);

my $cluster = DlogCluster->new(nodes => 3);
my $name = "current_setting(''dlog.node_name'')";

# Nothing of what was deployed is at work on this node any more.
sub nothing_runs
{
	my ($i) = @_;
	$cluster->wait_until($i,
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	return;
}

# --- every node answers ------------------------------------------------------

is($cluster->sql(2, "SELECT node, result FROM dlog.deploy_map('all', 'SELECT $name') ORDER BY node"),
	qq(n1|"n1"\nn2|"n2"\nn3|"n3"), 'a row of each node');
is($cluster->sql(1, "SELECT node, result, rows, attempts, error IS NULL, elapsed > '0' "
	  . "FROM dlog.deploy_map('all', 'SELECT generate_series(1, 2)', NULL::bigint) ORDER BY node, result"),
	join("\n", map { ("$_|1|2|1|t|t", "$_|2|2|1|t|t") } qw(n1 n2 n3)), 'typed rows of each node');

my $begun = time;
is($cluster->sql(3, "SELECT count(*) FROM dlog.deploy_map('all', 'SELECT pg_sleep(1)')"), '3',
	'all of them sleep');
cmp_ok(time - $begun, '<', 2.9, '... at the same time');

is($cluster->sql(2, "SELECT dlog.deploy_reduce('all', 'SELECT 10', 'sum', 1)"), '31', 'a sum');
is($cluster->sql(2, "SELECT dlog.deploy_reduce('all', 'SELECT $name', 'max', ''::text)"), 'n3', 'a maximum');
is($cluster->sql(1, "SELECT dlog.deploy_reduce('all', "
	  . "'SELECT $name || pg_sleep(CASE $name WHEN ''n2'' THEN 0.3 ELSE 0 END)', '||', '>'::text)"),
	'>n1n2n3', 'values are merged in the order of the nodes, whoever answers first');

# --- rows come as nodes answer, and nobody works on when they are not wanted -----

foreach my $slow (qw(n1 n3))
{
	is($cluster->sql(1, "SELECT string_agg(node, ',' ORDER BY node) FROM (SELECT node FROM dlog.deploy_map('all', "
		  . "'SELECT pg_sleep(CASE $name WHEN ''$slow'' THEN 1000 ELSE 0 END)', '2000 s') LIMIT 2) m"),
		join(',', grep { $_ ne $slow } qw(n1 n2 n3)), "the others' rows do not wait for $slow");
	nothing_runs($_) foreach (1 .. 3);
}
is(join(',', sort split /\n/, $cluster->sql(1, "BEGIN; DECLARE c CURSOR FOR SELECT node FROM dlog.deploy_map('all', "
	  . "'SELECT pg_sleep(CASE $name WHEN ''n3'' THEN 1000 ELSE 0 END)', '2000 s'); FETCH 1 FROM c; FETCH 1 FROM c; CLOSE c; COMMIT")),
	'n1,n2', 'nor do those of a cursor');
nothing_runs($_) foreach (1 .. 3);
is($cluster->sql(2, "SELECT node, result FROM dlog.deploy_map('all', 'SELECT $name || \$1', as_type => NULL::text, args => ROW('!')) ORDER BY node"),
	"n1|n1!\nn2|n2!\nn3|n3!", 'arguments reach every node');

# --- a slow node ---------------------------------------------------------------

$begun = time;
is($cluster->sql(1, "SELECT node, result, sqlstate FROM dlog.deploy_map('all', "
	  . "'SELECT $name FROM pg_sleep(CASE $name WHEN ''n2'' THEN 60 ELSE 0 END)', '1 s') ORDER BY node"),
	qq(n1|"n1"|\nn2||57014\nn3|"n3"|), 'the slow one is reported');
cmp_ok(time - $begun, '<', 5, '... at the timeout');
nothing_runs($_) foreach (1 .. 3);
like($cluster->sql_error(1, "SELECT dlog.deploy_reduce('all', 'SELECT 1 FROM pg_sleep(60)', '+', 0, '500 ms')"),
	qr/57014: node "n\d" did not answer within 500 ms/, 'a reduce fails');
nothing_runs($_) foreach (1 .. 3);

is($cluster->sql(1, "SELECT node, elapsed < '1 s' FROM dlog.deploy_map('all', "
	  . "'SELECT pg_sleep(CASE $name WHEN ''n1'' THEN 1.2 ELSE 0 END)') ORDER BY node"),
	"n1|f\nn2|t\nn3|t", 'a slow asking node does not make the others look slow');

# --- errors ----------------------------------------------------------------------

$cluster->sql($_, 'CREATE TABLE partly (a int); INSERT INTO partly VALUES (1)') foreach (1, 2);
is($cluster->sql(1, "SELECT node, result, sqlstate, error FROM dlog.deploy_map('all', 'SELECT a FROM partly') ORDER BY node"),
	qq(n1|1||\nn2|1||\nn3||42P01|relation "partly" does not exist), 'what is not on a node');
like($cluster->sql_error(1, "SELECT * FROM dlog.deploy_map('all', 'SELECT a FROM partly', on_error => 'fail')"),
	qr/ERROR:  42P01: relation "partly" does not exist.*n3/s, '... can fail the whole and names the node');
like($cluster->sql_error(1, "SELECT dlog.deploy_reduce('all', 'SELECT a FROM partly', '+', 0)"),
	qr/ERROR:  42P01: relation "partly" does not exist.*n3/s, '... and does so in a reduce');
my ($status, $output, $error) = $cluster->node(1)->psql('postgres',
	"SELECT dlog.deploy_reduce('all', 'SELECT a FROM partly', '+', 40, on_error => 'skip')");
is($output, '42', 'unless it is to be skipped');
like($error, qr/WARNING:  skipped 1 of 3 nodes\nDETAIL:  n3: relation "partly" does not exist/, '... which is said');
is($cluster->sql(1, "BEGIN; SELECT count(sqlstate) FROM dlog.deploy_map('all', 'SELECT 1 / 0'); "
	  . "SELECT count(result) FROM dlog.deploy_map('all', 'SELECT 1'); COMMIT"),
	"3\n3", 'the asking transaction goes on after errors');

# --- roles -------------------------------------------------------------------------

$cluster->sql(1, 'CREATE ROLE alone IN ROLE dlog_deployer');
is($cluster->sql(1, "SET ROLE alone; SELECT node, result, sqlstate FROM dlog.deploy_map('all', 'SELECT current_user') ORDER BY node"),
	qq(n1|"alone"|\nn2||42704\nn3||42704), 'a role that is not there');
$cluster->sql_everywhere('CREATE ROLE alice; CREATE TABLE secret (a int)');
$cluster->sql($_, 'GRANT dlog_deployer TO alice') foreach (1, 2);
is($cluster->sql(1, "SET ROLE alice; SELECT node, result, sqlstate FROM dlog.deploy_map('all', 'SELECT current_user') ORDER BY node"),
	qq(n1|"alice"|\nn2|"alice"|\nn3||42501), 'whether a role may deploy is up to each node');
$cluster->sql(3, 'GRANT dlog_deployer TO alice');
is($cluster->sql(1, "SET ROLE alice; SELECT node, result, sqlstate FROM dlog.deploy_map('all', 'SELECT current_user') ORDER BY node"),
	qq(n1|"alice"|\nn2|"alice"|\nn3|"alice"|), 'a role runs as itself');
foreach my $way ('SELECT * FROM secret', 'RESET ROLE; SELECT * FROM secret', 'SET ROLE postgres; SELECT * FROM secret',
	'SET SESSION AUTHORIZATION postgres; SELECT * FROM secret', 'RESET SESSION AUTHORIZATION; SELECT * FROM secret')
{
	is($cluster->sql(1, "SET ROLE alice; SELECT count(*) FROM dlog.deploy_map('all', '$way') WHERE node <> 'n1' AND result IS NULL AND sqlstate LIKE '42%'"),
		'2', "what it may not it may nowhere: $way");
}

# --- writes --------------------------------------------------------------------------

is($cluster->sql(1, "SELECT node, sqlstate FROM dlog.deploy_map('all', 'CREATE TABLE x ()') ORDER BY node"),
	"n1|25006\nn2|25006\nn3|25006", 'it only reads');
$cluster->sql(1, "SELECT dlog.deploy_map('all', 'CREATE TABLE note (a int PRIMARY KEY)', writes => true)");
is($cluster->sql(1, "SELECT sum(rows) FROM dlog.deploy_map('all', 'INSERT INTO note VALUES (1), (2)', writes => true)"),
	'6', 'unless told');
$cluster->sql(1, "BEGIN; SELECT dlog.deploy_map('all', 'DELETE FROM note', writes => true); ROLLBACK");
is($cluster->sql(3, "SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM note', '+', 0)"), '6', 'a rollback is one everywhere');
is($cluster->sql(1, "BEGIN; SELECT sum(rows) FROM dlog.deploy_map('all', 'DELETE FROM note WHERE a = 1', writes => true); "
	  . "SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM note', '+', 0); COMMIT"), "3\n3",
	'the transaction sees what it has written, everywhere');
$cluster->sql(3, 'INSERT INTO note VALUES (7)');
like($cluster->sql_error(1, "SELECT * FROM dlog.deploy_map('all', 'INSERT INTO note VALUES (7)', writes => true)"),
	qr/23505.*n3/s, 'what fails on one node');
is($cluster->sql(1, "SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM note', '+', 0)"), '4', '... is undone on all');
$cluster->sql_error(1, "BEGIN; SELECT dlog.deploy_map('all', 'DELETE FROM note', writes => true); "
	  . "SELECT count(*) FROM dlog.deploy_map('all', 'SELECT 1 / (SELECT count(*) FROM note)'); SELECT 1 / 0; COMMIT");
is($cluster->sql(1, "SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM note', '+', 0)"), '4', 'nor is anything kept after an error');

# A session over there is used again by others: it must not keep things.
$cluster->sql(1, "SELECT dlog.deploy_map('all', 'CREATE TEMP TABLE passing (b text)', writes => true)");
is($cluster->sql(1, "SELECT count(*) FROM dlog.deploy_map('all', 'TABLE passing') WHERE node <> 'n1' AND sqlstate = '42P01'"),
	'2', 'no temporary table stays in a scheduler');
$cluster->sql(1, "SELECT dlog.deploy_map('all', 'SELECT pg_advisory_lock(4711)')");
$cluster->sql(1, "SELECT dlog.deploy_map('all', 'SELECT pg_advisory_lock(4711), 1 / 0')");
is($cluster->sql(2, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), '0', 'nor a lock');
$cluster->sql(1, "SELECT dlog.deploy_map('all', 'PREPARE other AS SELECT 1', writes => true)");
is($cluster->sql(1, "SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM pg_prepared_statements WHERE $name <> ''n1''', '+', 0)"),
	'0', 'nor a prepared statement');
$cluster->sql(1, "SELECT dlog.deploy_map('all', 'DECLARE other CURSOR WITH HOLD FOR SELECT 1', writes => true)");
is($cluster->sql(1, "SELECT dlog.deploy_reduce('all', 'SELECT count(*) FROM pg_cursors WHERE name = ''other'' AND $name <> ''n1''', '+', 0)"),
	'0', 'nor a cursor');

# --- cancel ----------------------------------------------------------------------------

my $session = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_until(qr/asked/, "\\echo asked\nSELECT dlog.deploy_map('all', 'SELECT pg_sleep(600)', '0');\n");
$cluster->wait_until($_, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") foreach (1 .. 3);
$cluster->sql(1, "SELECT pg_cancel_backend($pid)");
nothing_runs($_) foreach (1 .. 3);
pass('a cancel reaches every node');

# One that comes before the other nodes have said a word reaches them as well.
foreach my $ms (0, 1, 2, 3, 5, 8, 13)
{
	$session->query("SET statement_timeout = @{[ $ms + 1 ]}");
	$session->query("SELECT dlog.deploy_map('all', 'SELECT pg_sleep(600)', '0')");
}
nothing_runs($_) foreach (1 .. 3);
pass('however early it comes');
$session->quit;

# --- a connection that fails ---------------------------------------------------------

# The query waits for a lock on nodes 2 and 3 until it is let go.
my @holders = map { $cluster->node($_)->background_psql('postgres') } (2, 3);
$_->query_safe('SELECT pg_advisory_lock(11)') foreach @holders;
$session = $cluster->node(1)->background_psql('postgres');
$session->query_until(qr/asked/, "\\echo asked\nCREATE TABLE retried AS SELECT node, result, sqlstate "
	  . "FROM dlog.deploy_map('all', 'SELECT $name FROM pg_advisory_xact_lock_shared(11)', '0', 100);\n");
my $waits = "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
$cluster->wait_until($_, $waits) foreach (2, 3);
$cluster->kill_network(2);
$cluster->wait_until($_, $waits) foreach (2, 3);
$_->quit foreach @holders;
$session->query_safe('SELECT 1');
$session->quit;
is($cluster->sql(1, 'SELECT node, result, sqlstate FROM retried ORDER BY node'), qq(n1|"n1"|\nn2|"n2"|\nn3|"n3"|),
	'a network process is killed and the query is repeated');
$cluster->wait_for_links(1);

# --- a node that is dead -----------------------------------------------------------------

$cluster->node(3)->stop('immediate');
$begun = time;
is($cluster->sql(1, "SELECT node, result, sqlstate FROM dlog.deploy_map('all', 'SELECT 1') ORDER BY node"),
	"n1|1|\nn2|1|\nn3||08006", 'a dead node is reported');
like($cluster->sql_error(1, "SELECT dlog.deploy_reduce('all', 'SELECT 1', '+', 0)"), qr/08006.*n3/s, '... and fails a reduce');
like($cluster->sql_error(1, "SELECT dlog.deploy_map('all', 'CREATE TABLE y ()', writes => true)"), qr/08006.*n3/s, '... and a write');
cmp_ok(time - $begun, '<', 10, '... at once, not at the timeout');
is($cluster->sql(2, "SELECT count(*) FROM pg_class WHERE relname = 'y'"), '0', 'which then wrote nowhere');
is($cluster->sql(1, "SELECT attempts > 1, sqlstate FROM dlog.deploy_map('all', 'SELECT 1', '1 s', 1000) WHERE node = 'n3'"),
	't|57014', 'retries end with the timeout');

done_testing();
