# A transaction under REPEATABLE READ that is older than a table is distributed,
# undistributed or replicated has a snapshot with none of the new tables' rows.
# It is told so; it does not read an empty table, and changes nothing.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);
$cluster->sql(1, 'CREATE TABLE t AS SELECT i, i % 7 AS k FROM generate_series(1, 100) i;'
	  . 'ALTER TABLE t ADD PRIMARY KEY (i);'
	  . 'CREATE TABLE other AS SELECT 1 AS one');
$cluster->sql(2, 'CREATE TABLE other AS SELECT 1 AS one');

my $state = qr/state (\w+)/;

# A session with a transaction whose snapshot is taken.
sub begun
{
	my ($i, $level) = @_;
	my $session = $cluster->node($i)->background_psql('postgres', on_error_stop => 0);

	$session->query_safe("BEGIN ISOLATION LEVEL $level; SELECT one FROM other");
	return $session;
}

# What a statement of it says: a state, and the answer.
sub say_of
{
	my ($session, $sql) = @_;
	my $said = $session->query("SAVEPOINT s;\n$sql;\n\\echo state :SQLSTATE\nROLLBACK TO s");

	return $said =~ /(.*?)\s*state (\w+)/s ? "$2 $1" : $said;
}

# All that an older transaction may ask of t, of which nothing is answered.
sub is_refused
{
	my ($session, $name) = @_;

	foreach my $sql ('SELECT count(*) FROM t', 'SELECT k FROM t WHERE i = 5', 'UPDATE t SET k = 9', 'DELETE FROM t WHERE i < 10',
		'SELECT one FROM other WHERE EXISTS (SELECT FROM t)', 'COPY (SELECT i FROM t) TO STDOUT', 'SELECT i FROM t WHERE i = 3 FOR UPDATE')
	{
		is(say_of($session, $sql), '40001 ', "$name: $sql");
	}
	is(say_of($session, 'SELECT one FROM other'), '00000 1', "$name: others can be read");
	return;
}

foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	my ($here, $there, $last) = (begun(1, $level), begun(2, $level), begun(1, $level));

	$cluster->sql(1, "SELECT dlog.distribute_table('t', by => 'i', partitions => 6)");
	is_refused($here, "$level, distributed");
	is_refused($there, "$level, distributed, on the other node");
	my ($partition) = split /\n/, $cluster->sql(1, q{SELECT p FROM dlog.local_partitions('t') p});
	is(say_of($here, "SELECT count(*) FROM $partition"), '40001 ', 'a partition is refused, too');
	is(say_of($here, "COPY $partition TO STDOUT"), '40001 ', 'and is not copied');
	like($cluster->sql_error(1, "BEGIN ISOLATION LEVEL $level; SELECT 1 / (count(*) - 100) FROM t"), qr/22012/, 'a transaction that begins now reads all');
	$_->quit foreach ($here, $there);

	# Statements about the definition are nothing to refuse.
	my $during = begun(1, $level);
	$cluster->sql(1, 'ALTER TABLE t ADD COLUMN more int; ALTER TABLE t DROP COLUMN more');
	is(say_of($during, 'SELECT count(*) FROM t'), '00000 100', 'one that is older than a change of the definition reads all');
	$cluster->sql(1, 'ANALYZE t');
	is(say_of($during, 'SELECT count(*) FROM t WHERE k < 3'), '00000 44', 'or than ANALYZE');

	$cluster->sql(1, "SELECT dlog.undistribute_table('t')");
	is_refused($during, "$level, undistributed");
	is(say_of($during, 'COPY t TO STDOUT'), '40001 ', 'and not copied');
	$during->quit;

	# One that has seen neither state.
	$cluster->sql(1, "SELECT dlog.replicate_table('t')");
	$during = begun(2, $level);
	$cluster->sql(1, "SELECT dlog.unreplicate_table('t')");
	is($cluster->sql(1, "BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM t"), '100', 'it is an ordinary table again');
	$_->quit foreach ($during, $last);

	$there = begun(2, $level);
	$cluster->sql(1, "SELECT dlog.replicate_table('t')");
	is(say_of($there, 'SELECT count(*) FROM t'), '40001 ', 'a copy that is newer is refused');
	$there->quit;
	is($cluster->sql(2, "BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM t"), '100', 'and read by those who are not older');
	$cluster->sql(1, "SELECT dlog.unreplicate_table('t')");
}

# A table that takes another's name is none of our business.
my $older = begun(1, 'REPEATABLE READ');
$cluster->sql(1, 'DROP TABLE t; CREATE TABLE t AS SELECT 1 AS i');
is(say_of($older, 'SELECT count(*) FROM t'), '00000 0', 'an ordinary table is read as ever');
$older->quit;
is($cluster->sql(1, 'SELECT count(*) FROM t'), '1', 'READ COMMITTED reads what there is');

done_testing();
