# A node that is down, a statement that is canceled, a session that is
# terminated: the statement fails with a clear error and leaves nothing.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IO::Handle;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $cluster = DlogCluster->new(nodes => 2);
$cluster->sql(2, 'CREATE TABLE t (id int, v text); CREATE TABLE l (id int)');
$cluster->sql(1, <<'SQL');
CREATE FOREIGN TABLE t (id int, v text) SERVER n2;
CREATE TABLE l (id int);
SQL

# Nothing of ours is at work on node 2.
sub is_idle
{
	my ($name) = @_;
	$cluster->wait_until(2, <<'SQL');
SELECT NOT EXISTS (
    SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE c.relname = 't' AND l.pid <> pg_backend_pid())
SQL
	is($cluster->sql(2, 'SELECT count(*) FROM t'), '0', $name);
	return;
}

# --- COPY that is canceled, and a session that is terminated in the middle of it

foreach my $function ('pg_cancel_backend', 'pg_terminate_backend')
{
	my $node = $cluster->node(1);
	my $said = "$PostgreSQL::Test::Utils::tmp_check/$function.err";

	open my $psql, '|-',
	  "psql -X -q -v VERBOSITY=verbose -d '" . $node->connstr('postgres') . "' 2> $said"
	  or die "could not start psql: $!";
	$psql->autoflush(1);
	print $psql "SET application_name = 'copier';\nCOPY t FROM stdin;\n";
	print $psql "$_\tsome text to fill a chunk with\n" foreach (1 .. 20000);
	$cluster->wait_until(2,
		"SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 't' AND mode = 'RowExclusiveLock')");
	$cluster->wait_until(2, q{SELECT count(*) = 1 FROM dlog.queries WHERE side = 'executor' AND waits_for = 'input'});
	$cluster->sql(1, "SELECT $function(pid) FROM pg_stat_activity WHERE application_name = 'copier'");
	{
		local $SIG{PIPE} = 'IGNORE';
		print $psql "1\tx\n\\.\n";
		close $psql;
	}
	my $error = slurp_file($said);
	like($error, $function eq 'pg_cancel_backend' ? qr/57014/ : qr/57P01/, "$function ends COPY");
	is_idle("and nothing of it remains on the other node");
}

# --- a scan that is canceled stops there

$cluster->sql(2, 'CREATE VIEW slow AS SELECT pg_sleep(100)::text AS v');
$cluster->sql(1, 'CREATE FOREIGN TABLE slow (v text) SERVER n2');
my $begun = time;
like($cluster->sql_error(1, "SET statement_timeout = '500ms'; SELECT * FROM slow"), qr/57014/,
	'a scan is canceled');
$cluster->wait_until(2, "SELECT count(*) = 0 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'slow'");
cmp_ok(time - $begun, '<', 10, 'there as well');

# --- a node that is down

$cluster->node(2)->stop('immediate');
$begun = time;
like($cluster->sql_error(1, "INSERT INTO t VALUES (1, 'x')"), qr/08006.*n2/s,
	'an insert fails with 08006 that names the node');
like($cluster->sql_error(1, 'SELECT * FROM t'), qr/08006.*n2/s, 'and so does a scan');
like($cluster->sql_error(1, "UPDATE t SET v = 'y'"), qr/08006.*n2/s, 'and an update');
cmp_ok(time - $begun, '<', 15, 'without waiting for long');
like($cluster->sql_error(1, "BEGIN; INSERT INTO l VALUES (1); INSERT INTO t VALUES (1, 'x'); COMMIT"),
	qr/08006/, 'in a transaction too');
is($cluster->sql(1, 'SELECT count(*) FROM l'), '0', 'of which nothing remains');

# --- and comes back

$cluster->node(2)->start;
$cluster->wait_for_links(1);
$cluster->sql(1, "INSERT INTO t VALUES (1, 'x')");
is($cluster->sql(2, 'SELECT * FROM t'), '1|x', 'when it is back, all is well');

# --- it dies in the middle of a transaction that has written there

my ($input, $output, $error) = ('', '', '');
my $psql = IPC::Run::start(
	[ 'psql', '-X', '-q', '-v', 'VERBOSITY=verbose', '-d', $cluster->node(1)->connstr('postgres') ],
	'<', \$input, '>', \$output, '2>', \$error);
$input .= "BEGIN;\nINSERT INTO l VALUES (2);\nINSERT INTO t VALUES (2, 'x');\n\\echo written\n";
$psql->pump until $output =~ /written/;
$cluster->node(2)->stop('immediate');
$input .= "COMMIT;\nSELECT 'rows: ' || count(*) FROM l;\n";
eval { $psql->finish };
like($error, qr/08006/, 'a node that is gone by COMMIT fails it');
like($output, qr/rows: 0/, 'and all is rolled back');
$cluster->node(2)->start;
is($cluster->sql(2, 'SELECT count(*) FROM t'), '1', 'there as well');

done_testing();
