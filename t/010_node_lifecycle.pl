
# A node's schedulers are there whenever its databases have the extension:
# created and dropped, in several databases, through statements that want a
# database for themselves, restarts, terminated workers; and a node that has
# nothing to do does nothing.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = DlogCluster->new(nodes => 1, extension => 0, conf => 'max_prepared_transactions = 5');
my $node = $cluster->node(1);

# The pids of a database's schedulers, once there are as many idle ones as
# shall be.
sub schedulers
{
	my ($database) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) >= current_setting('dlog.min_schedulers')::int FROM dlog.schedulers"
		  . " WHERE database = '$database' AND state = 'idle'")
	  or die "no schedulers in $database";
	return $node->safe_psql('postgres',
		"SELECT string_agg(pid::text, ',' ORDER BY pid) FROM dlog.schedulers WHERE database = '$database'");
}

# Wait until nothing of ours is connected to a database.
sub no_schedulers
{
	my ($database) = @_;

	return $node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity"
		  . " WHERE datname = '$database' AND backend_type = 'dlog scheduler'");
}

sub sql { return $node->safe_psql(@_); }

# --- the server's limits

is(sql('postgres', 'SHOW max_worker_processes'), '72', 'the default of a setting is raised');
is(sql('postgres', 'SHOW max_prepared_transactions'), '5', 'what the user set is left alone');

# --- CREATE and DROP EXTENSION

sql('postgres', "BEGIN; CREATE EXTENSION dlog; ROLLBACK;");
sql('postgres', "CREATE EXTENSION dlog");
ok(schedulers('postgres'), 'schedulers run after CREATE EXTENSION');

sql('postgres', "CREATE DATABASE other");
sql('other', "CREATE EXTENSION dlog");
ok(schedulers('other'), 'so they do in a second database');

my $before = schedulers('other');
sql('other', "BEGIN; DROP EXTENSION dlog; ROLLBACK;");
is(schedulers('other'), $before, 'a DROP EXTENSION that is rolled back stops nothing');
sql('other', "DROP EXTENSION dlog");
ok(no_schedulers('other'), 'DROP EXTENSION stops them');
ok(schedulers('postgres'), 'in this database only');
sql('other', "CREATE EXTENSION dlog; DROP EXTENSION dlog; CREATE EXTENSION dlog;");
ok(schedulers('other'), 'created, dropped, created: they run');

# A handler reads tables in another order than DROP EXTENSION locks them.
sql('postgres', 'CREATE DATABASE third');
sql('third', <<'SQL');
CREATE EXTENSION dlog;
CREATE TYPE look AS (n int);
CREATE FUNCTION look(state int, message look) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM dlog.flock;
	PERFORM pg_advisory_xact_lock(1);
	PERFORM FROM dlog.node;
	RETURN state;
END $$;
SELECT dlog.create_behavior('looker', 'int', handlers => '{look}');
SQL
my $locker = $node->background_psql('third');
$locker->query_safe('SELECT pg_advisory_lock(1)');
sql('third', "DO \$\$ BEGIN PERFORM dlog.send(dlog.spawn('looker'), ROW(1)::look); END \$\$");
my $waits = "SELECT count(*) > 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
  . " WHERE d.datname = 'third' AND NOT granted AND ";
$node->poll_query_until('postgres', $waits . "locktype = 'advisory'") or die 'no handler waits';
my $drop = $node->background_psql('third');
$drop->query_until(qr/begins/, "\\echo begins\nDROP EXTENSION dlog CASCADE;\n");
$node->poll_query_until('postgres', $waits . "locktype <> 'advisory' AND mode = 'AccessExclusiveLock'")
  or die 'DROP EXTENSION does not wait';
$locker->query_safe('SELECT pg_advisory_unlock(1)');
ok($node->poll_query_until('third', "SELECT count(*) = 0 FROM pg_extension WHERE extname = 'dlog'"),
	'DROP EXTENSION waits for a handler that reads the tables');
$drop->quit;
$locker->quit;
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'and meets it in no deadlock');
sql('third', 'CREATE EXTENSION dlog');
ok(schedulers('third'), 'the extension can be created again');

# A library that is not of the version of the extension's SQL.
sql('third', "UPDATE dlog.installed SET fingerprint = 'that of another version'");
my ($status, $output, $error) = $node->psql('third', "\\set VERBOSITY verbose\nSELECT dlog.whereis('x')");
like($error, qr/55000.*is not of the version of its library.*HINT:  Run ALTER EXTENSION dlog UPDATE/s,
	'functions refuse to be called with the arguments of another version');
$node->restart('fast');
$node->wait_for_log(qr/dlog scheduler.*is not of the version of its library/);
ok(no_schedulers('third'), 'no scheduler reads the tables of another version');
is(sql('postgres', 'SELECT count(*) > 0 FROM dlog.nodes'), 't', 'other databases work');
sql('third', 'DROP EXTENSION dlog; CREATE EXTENSION dlog;');
ok(schedulers('third'), 'an extension of this version is served');
sql('third', 'SELECT dlog.whereis($$x$$)');
sql('postgres', 'DROP DATABASE third');

($status, $output, $error) = $node->psql('postgres',
	"BEGIN; DROP EXTENSION dlog; PREPARE TRANSACTION 'x';");
like($error, qr/cannot PREPARE a transaction that has/,
	'a prepared transaction would come too late for us');

# --- statements that want a database for themselves

sql('postgres', "ALTER DATABASE other RENAME TO another");
ok(schedulers('another'), 'a renamed database has schedulers');

sql('postgres', "CREATE DATABASE copy TEMPLATE another");
ok(schedulers('another'), 'a copied database has schedulers');
ok(schedulers('copy'), 'so has the copy');

my $place = PostgreSQL::Test::Utils::tempdir;
sql('postgres', "CREATE TABLESPACE place LOCATION '$place'");
sql('postgres', "ALTER DATABASE copy SET TABLESPACE place");
ok(schedulers('copy'), 'so has one that moved to another tablespace');

$before = schedulers('copy');
sql('postgres', "CREATE ROLE nobody LOGIN");
($status, $output, $error) = $node->psql('postgres', "SET ROLE nobody; DROP DATABASE copy");
like($error, qr/must be owner/, 'a stranger may not drop it');
is(schedulers('copy'), $before, 'and does not disturb its schedulers');

($status, $output, $error) = $node->psql('postgres', "BEGIN; DROP DATABASE copy");
like($error, qr/cannot run inside a transaction block/, 'a DROP DATABASE that fails');
ok(schedulers('copy'), 'lets them come back');

sql('postgres', "ALTER DATABASE copy ALLOW_CONNECTIONS false");
ok(no_schedulers('copy'), 'a database without connections has none');
sql('postgres', "ALTER DATABASE copy ALLOW_CONNECTIONS true");
ok(schedulers('copy'), 'until it allows them again');

sql('postgres', "DROP DATABASE copy");
sql('postgres', "DROP TABLESPACE place");
ok(1, 'DROP DATABASE works while schedulers run');

# --- workers that are terminated come back

my $session = $node->background_psql('postgres');
$session->query_safe('SELECT 1');
$before = schedulers('another');
sql('postgres', "SELECT pg_terminate_backend(pid) FROM dlog.schedulers WHERE database = 'another'");
$node->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM dlog.schedulers WHERE pid IN ($before)")
  or die;
ok(schedulers('another'), 'terminated schedulers come back');

sql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'dlog %'");
ok(schedulers('another'), 'they do when the launcher is terminated with them');
ok(schedulers('postgres'), 'everywhere');
is($session->query_safe('SELECT 2'), '2', 'and sessions do not notice');
$session->quit;

# --- an idle node

SKIP:
{
	skip 'there is no /proc here', 1 unless -r '/proc/self/status';

	my @pids = split /,/,
	  sql('postgres', "SELECT string_agg(pid::text, ',') FROM pg_stat_activity"
		  . " WHERE backend_type IN ('dlog launcher', 'dlog scheduler')");
	my $switches = sub {
		my $sum = 0;
		$sum += (slurp_file("/proc/$_/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m)[0] foreach @pids;
		return $sum;
	};

	# What the statements above have set off may still be going on.
	my ($last, $now) = (-1, $switches->());
	my $deadline = time + 30;
	while ($now != $last && time < $deadline)
	{
		usleep(500_000);
		($last, $now) = ($now, $switches->());
	}
	my $from = $switches->();
	usleep(1_500_000);
	# A scheduler may report statistics once.
	cmp_ok($switches->() - $from, '<=', 2, 'launcher and schedulers sleep without waking up');
}

# --- stop, start, too few workers

my $begun = time;
$node->stop('fast');
cmp_ok(time - $begun, '<', 3, 'a fast stop is fast');
$node->append_conf('postgresql.conf', "max_worker_processes = 3\n");
$node->start;
$node->wait_for_log(qr/could not start a dlog scheduler: no background worker slot is free/);
like(slurp_file($node->logfile), qr/HINT:  Raise max_worker_processes/, 'too few workers: the log says which setting to raise');
$node->stop('fast');
$node->backup_fs_cold('backup');
$node->append_conf('postgresql.conf', "max_worker_processes = 50\n");
$node->start;
ok(schedulers('postgres'), 'schedulers run after a restart');
ok(schedulers('another'), 'in all databases');

# --- a standby is quiet until it is promoted

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup');
$standby->set_standby_mode;
$standby->append_conf('postgresql.conf',
	"max_worker_processes = 50\ndlog.node_name = 'standby'\ndlog.port = " . PostgreSQL::Test::Cluster::get_free_port() . "\n");
$standby->start;
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'dlog %'"),
	'0', 'a hot standby runs none of it');
$standby->promote;
$standby->poll_query_until('postgres',
	"SELECT count(DISTINCT database) = 2 FROM dlog.schedulers WHERE state = 'idle'")
  or die 'no schedulers after promotion';
ok(1, 'a promoted one does');
$standby->stop('fast');

# --- not preloaded

$node->stop('fast');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->start;
($status, $output, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM dlog.actors");
like($error, qr/55000.*dlog must be loaded when the server starts.*HINT:.*shared_preload_libraries/s,
	'a function says what to do when the library is not preloaded');
sql('postgres', 'DROP EXTENSION dlog CASCADE');
($status, $output, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nCREATE EXTENSION dlog");
like($error, qr/55000.*dlog must be loaded when the server starts.*HINT:.*shared_preload_libraries/s,
	'so does CREATE EXTENSION');
is(sql('postgres', "SELECT count(*) FROM pg_extension WHERE extname = 'dlog'"), '0', 'and creates nothing');

done_testing();
