# Requests that are sent again, called off half sent, and transactions that
# lose a node, or their user's patience, while they commit.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3);
my $asker = $cluster->node(1);

$cluster->sql($_, 'CREATE TABLE t (a int)') foreach (2, 3);

# A session that goes on after errors.
sub background
{
	my ($sql) = @_;
	my $session = $asker->background_psql('postgres', on_error_stop => 0);
	$session->{timeout}->start(60) if ref $session->{timeout};
	$session->query_until(qr/started/, "\\echo started\n$sql\n");
	return $session;
}

sub hold
{
	my ($i, $point) = @_;
	$cluster->sql($i, "SELECT dlog.stop_point_arm('$point', 'wait')");
	return;
}

sub wait_for_held
{
	my ($i, $point) = @_;
	$cluster->wait_until($i, "SELECT dlog.stop_point_waiting('$point') > 0");
	return;
}

sub release
{
	my ($i, $point) = @_;
	$cluster->sql($i, "SELECT dlog.stop_point_release('$point')");
	return;
}

# --- a request that is sent again -------------------------------------------

# Long rows that are not raw: their reader keeps what it has of each.
$cluster->sql(2, "CREATE TABLE long AS SELECT i AS a, i / 8.0 AS b, repeat(md5(i::text), 640) AS c FROM generate_series(1, 300) i");
$cluster->sql(1, "CREATE FOREIGN TABLE long (a int, b numeric, c text) SERVER n2");
{
	my $whole = "count(*) || ' ' || sum(b) || ' ' || md5(string_agg(c, '' ORDER BY a))";

	hold(2, 'session-step');
	my $session = background("SET dlog.enable_raw_rows = off;"
		  . " WITH x AS MATERIALIZED (SELECT * FROM long) SELECT 'answer ' || $whole FROM x;");
	wait_for_held(2, 'session-step');
	$cluster->kill_network(1);
	$cluster->wait_until(2, "SELECT cardinality(dlog.stop_point_pids('session-step')) > 1");
	release(2, 'session-step');
	my $expected = 'answer ' . $cluster->sql(2, "SELECT $whole FROM long");
	like($session->query_until(qr/answer.*\n/, "\n"), qr/\Q$expected\E/,
		'rows of a request that was sent again are whole');
	$session->quit;
	$cluster->wait_for_links(1);
}

# --- a request that does not fit into one message ------------------------------

my $ids = "'{" . join(',', 1 .. 20000) . "}'::int[]";
{
	my $session = background(q{BEGIN; SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (1)'); SAVEPOINT s;});

	hold(1, 'stream-body');
	$session->query_until(qr/sent/, "\\echo sent\nSELECT dlog.execute_command('n2', \$\$SELECT count(*) FROM t WHERE a = ANY($ids)\$\$);\n");
	wait_for_held(1, 'stream-body');
	$cluster->sql(1, "SELECT pg_cancel_backend(pid) FROM dlog.queries WHERE side = 'asker'");
	$session->query_until(qr/state 57014/, "\\echo state :LAST_ERROR_SQLSTATE\n");
	release(1, 'stream-body');
	$session->query_until(qr/state 00000/, <<'SQL');
ROLLBACK TO s;
SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (2)');
COMMIT;
\echo state :SQLSTATE
SQL
	$session->quit;
	is($cluster->sql(2, 'SELECT string_agg(a::text, \' \' ORDER BY a) FROM t'), '1 2',
		'a request that was called off half sent spoils nothing');
}
$cluster->sql(2, 'CREATE TABLE u AS SELECT generate_series(1, 100) AS a');
$cluster->sql(1, 'CREATE FOREIGN TABLE t (a int) SERVER n2; CREATE FOREIGN TABLE u (a int) SERVER n2');
is($cluster->sql(1, "BEGIN ISOLATION LEVEL REPEATABLE READ;"
	  . " SELECT count(*) FROM (SELECT a FROM t WHERE a = ANY($ids) UNION ALL SELECT a FROM u WHERE a = ANY($ids)) x;"
	  . " COMMIT"), '102', 'two of them at once');

# --- a node that is lost before the commit -----------------------------------

{
	my $session = background(q{BEGIN;
		SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (10)');
		SELECT dlog.execute_command('n3', 'INSERT INTO t VALUES (10)');});
	$session->query_until(qr/done/, "\\echo done\n");
	$cluster->node(3)->stop('immediate');
	$cluster->wait_until(1, "SELECT count(*) = 1 FROM dlog.links WHERE state = 'up'");
	$session->query_until(qr/state 08006/, "COMMIT;\n\\echo state :LAST_ERROR_SQLSTATE\n");
	$session->quit;
	is($cluster->sql(2, 'SELECT count(*) FROM t WHERE a = 10'), '0',
		'a node that is known to be lost lets no other commit');
	$cluster->node(3)->start;
	$cluster->wait_for_links(1);
}

# --- a commit that its user does not wait for ------------------------------------

foreach my $function ('pg_cancel_backend', 'pg_terminate_backend')
{
	my $log = -s $asker->logfile;
	my $session = background(q{BEGIN; SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (20)');});
	my $pid;

	$session->query_until(qr/done/, "\\echo done\n");
	hold(2, 'session-commit');
	$session->query_until(qr/commits/, "\\echo commits\nCOMMIT;\n");
	wait_for_held(2, 'session-commit');
	$cluster->sql(1, "SELECT $function(pid) FROM pg_stat_activity WHERE query = 'COMMIT;' AND state = 'active'");
	$cluster->wait_until(1, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query = 'COMMIT;' AND state = 'active'");
	release(2, 'session-commit');
	like(PostgreSQL::Test::Utils::slurp_file($asker->logfile, $log),
		qr/ERROR:  canceled while node "n2" was committing/,
		"$function: it is not known what the node has done");
	eval { $session->quit };
	$cluster->wait_until(2, "SELECT count(*) = 0 FROM dlog.actors WHERE behavior LIKE 'remote%'");
}

# --- roles that the other node does not have ----------------------------------------

$cluster->sql($_, 'CREATE ROLE shared; GRANT ALL ON SCHEMA public TO shared') foreach (1, 2);
$cluster->sql(1, q{
CREATE ROLE alone IN ROLE shared;
CREATE FUNCTION put(i int) RETURNS text LANGUAGE sql SECURITY DEFINER
RETURN dlog.execute_command('n2', 'INSERT INTO t VALUES (' || i || ')');
});
is($cluster->sql(1, q{SET SESSION AUTHORIZATION alone; SET ROLE shared;
	SELECT * FROM dlog.execute('n2', 'SELECT session_user::text') AS (s text)}),
	'shared', 'a session user that a node does not have is the asking role there');
$cluster->sql(1, 'SET SESSION AUTHORIZATION alone; BEGIN; SELECT put(30); COMMIT');
like($cluster->sql_error(1, q{SET SESSION AUTHORIZATION alone; BEGIN; SELECT put(31); SET ROLE shared;
	SELECT dlog.execute_command('n2', 'SELECT 1'); RESET ROLE; COMMIT}),
	qr/42704.*role "alone" does not exist on node "n2"/, 'it can commit what was done as one other role only');
is($cluster->sql(2, 'SELECT string_agg(a::text, \' \') FROM t WHERE a >= 30'), '30', 'or nothing of it is kept');

foreach my $i (1, 2)
{
	unlike(PostgreSQL::Test::Utils::slurp_file($cluster->node($i)->logfile),
		qr/TRAP|PANIC|terminated by signal (?!9)/, "n$i logged nothing strange");
}
done_testing();
