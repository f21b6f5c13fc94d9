
# Statements on other nodes: what becomes of them when sessions, schedulers,
# links and transactions end in the middle.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(
	nodes => 2,
	conf => "dlog.max_schedulers = 4\nmax_connections = 120\nmax_worker_processes = 24\n");
my $asker = $cluster->node(1);

$cluster->sql(2, 'CREATE TABLE t (a int PRIMARY KEY, b text)');

sub background
{
	my ($sql) = @_;
	my $session = $asker->background_psql('postgres', on_error_stop => 0);
	$session->{timeout}->start(60) if ref $session->{timeout};
	$session->query_until(qr/started/, "\\echo started\n$sql\n");
	return $session;
}

# How many statements with this in their text run on node 2.
sub running
{
	my ($text) = @_;
	return "SELECT count(*) FROM dlog.queries WHERE side = 'executor' AND text LIKE '%$text%'";
}

sub is_gone
{
	my ($text, $name) = @_;
	$cluster->wait_until(2, "SELECT (" . running($text) . ") = 0");
	pass($name);
	return;
}

sub is_running
{
	my ($text) = @_;
	$cluster->wait_until(2, "SELECT (" . running($text) . ") > 0");
	return;
}

# --- ways to stop a statement ---------------------------------------------

my $sleep = q{SELECT dlog.execute_command('n2', 'SELECT pg_sleep(100) /* %s */');};

foreach my $read_only (0, 1)
{
	my $how = $read_only ? 'alone' : 'pinned';
	my $begin = $read_only ? 'SET default_transaction_read_only = on;' : '';

	foreach my $function ('pg_cancel_backend', 'pg_terminate_backend')
	{
		my $mark = "$how-$function";
		my $session = background($begin . sprintf($sleep, $mark));
		is_running($mark);
		$cluster->sql(1, "SELECT $function(pid) FROM dlog.queries"
			  . " WHERE side = 'asker' AND text LIKE '%$mark%'");
		is_gone($mark, "$how: $function ends the statement there");
		eval { $session->quit };
	}

	# computing rather than sleeping
	my $mark = "$how-busy";
	my $started = time;
	my $error = $cluster->sql_error(1, "$begin SET statement_timeout = '300ms';"
		  . "SELECT dlog.execute_command('n2', 'SELECT count(*) FROM generate_series(1, 1000000000) /* $mark */')");
	like($error, qr/57014.*canceling statement due to statement timeout/,
		"$how: a timeout is reported");
	is_gone($mark, "$how: and ends a busy statement there");
	cmp_ok(time - $started, '<', 10, "$how: promptly");
}

# --- a scheduler ends -----------------------------------------------------

{
	my $session = background("SET default_transaction_read_only = on;"
		  . sprintf($sleep, 'retried'));
	is_running('retried');
	my $pid = $cluster->sql(2,
		"SELECT pid FROM dlog.queries WHERE side = 'executor' AND text LIKE '%retried%'");
	$cluster->sql(2, "SELECT pg_terminate_backend($pid)");
	$cluster->wait_until(2, "SELECT count(*) > 0 FROM dlog.queries"
		  . " WHERE side = 'executor' AND text LIKE '%retried%' AND pid <> $pid");
	pass('a statement that only reads goes on with another scheduler');
	$cluster->sql(1, "SELECT pg_cancel_backend(pid) FROM dlog.queries WHERE side = 'asker'");
	is_gone('retried', 'until it is cancelled');
	eval { $session->quit };
}
{
	my $error = $cluster->sql_error(1, q{SELECT dlog.execute_command('n2',
		'INSERT INTO t VALUES (1, ''terminated''); SELECT pg_terminate_backend(pg_backend_pid())')});
	like($error, qr/08006|57P01/, 'one that writes is reported as lost');
	is($cluster->sql(2, 'SELECT count(*) FROM t'), '0', 'and has been rolled back');
}

# --- the network process is killed ------------------------------------------

my $network_pid = 'SELECT pid FROM dlog.network()';
{
	my $session = background("SET default_transaction_read_only = on;"
		  . q{SELECT 'answer ' || a FROM dlog.execute('n2', 'SELECT 42 FROM pg_sleep(1.5) /* net */') AS (a int);});
	is_running('net');
	kill 'KILL', $cluster->sql(1, $network_pid);
	$session->query_until(qr/answer 42/, "\n");
	pass('a statement that only reads survives the network process');
	$session->quit;
}
{
	my $session = background(q{BEGIN; SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (2, ''lost'')');});
	$cluster->wait_until(2, "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'dlog: session%'");
	kill 'SEGV', $cluster->sql(1, $network_pid);
	$cluster->wait_until(2, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'dlog: session%'");
	$session->query_until(qr/said/, "COMMIT;\n\\echo said\n");
	$session->quit;
	is($cluster->sql(2, 'SELECT count(*) FROM t'), '0',
		'a transaction whose link was lost is rolled back there');
	$cluster->wait_for_links(1);
	is($cluster->sql(1, q{SELECT dlog.execute_command('n2', 'SELECT 1')}), 'SELECT 1',
		'and the next one works');
}

# --- transactions -----------------------------------------------------------

$cluster->sql(1, q{
BEGIN;
SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (10, ''kept'')');
SAVEPOINT s;
SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (11, ''lost'')');
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (12, ''lost'')');
ROLLBACK;
});
is($cluster->sql(2, 'SELECT a, b FROM t'), '10|kept', 'transactions and savepoints are followed');
$cluster->sql_error(1, q{
BEGIN;
SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (13, ''lost'')');
SELECT 1 / 0;
COMMIT;
});
is($cluster->sql(2, 'SELECT count(*) FROM t'), '1', 'an error here rolls back there');
{
	my $session = background(q{BEGIN; SELECT dlog.execute_command('n2', 'INSERT INTO t VALUES (14, ''lost'')');});
	$cluster->wait_until(2, "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'dlog: session%'");
	$cluster->wait_until(1, "SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_type = 'client backend'");
	my $pid = $cluster->sql(1, "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_type = 'client backend'");
	kill 'TERM', $pid;
	$cluster->wait_until(2, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'dlog: session%'");
	is($cluster->sql(2, 'SELECT count(*) FROM t'), '1', 'the end of the session rolls back there');
	eval { $session->quit };
}

# --- who waits sleeps ----------------------------------------------------------

# Clock ticks of a hundredth of a second that a process has had.
sub cpu_ticks
{
	my ($pid) = @_;
	my @fields = split ' ', PostgreSQL::Test::Utils::slurp_file("/proc/$pid/stat") =~ s/.*\) //sr;
	return $fields[11] + $fields[12];
}
{
	# Answers that come soon make a session stay awake for them, but not for long.
	my $session = $asker->background_psql('postgres');
	$session->query_safe('SET default_transaction_read_only = on');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe("SELECT count(dlog.execute_command('n2', 'SELECT 1')) FROM generate_series(1, 100)");
	my $before = cpu_ticks($pid);
	$session->query_safe("SELECT dlog.execute_command('n2', 'SELECT pg_sleep(1)')");
	cmp_ok(cpu_ticks($pid) - $before, '<', 50, 'who waits for a second sleeps');
	$session->quit;
}

# --- many at once ------------------------------------------------------------

$asker->pgbench('-n -c 40 -j 2 -t 5', 0, [qr/200\/200/], [],
	'200 statements of 40 sessions with four schedulers',
	{ '040_many' => q{SELECT dlog.execute_command('n2', 'SELECT pg_sleep(0.005)');} });

# --- what is left --------------------------------------------------------------

foreach my $i (1, 2)
{
	$cluster->wait_until($i, 'SELECT count(*) = 0 FROM dlog.queries');
	$cluster->wait_until($i, "SELECT count(*) = 0 FROM dlog.actors WHERE behavior LIKE 'remote%'");
	unlike(PostgreSQL::Test::Utils::slurp_file($cluster->node($i)->logfile),
		qr/TRAP|PANIC|WARNING|terminated by signal (?!9|11)/, "n$i logged nothing strange");
}
done_testing();
