# Rows of 100 MB go to other nodes and come from them; those of more than a
# gigabyte, which no server has, are refused, and nobody crashes.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, conf => "autovacuum = off\n");
my $size = 100_000_000;

$cluster->sql(1, <<'SQL');
CREATE TABLE d (id int PRIMARY KEY, n int, t text);
ALTER TABLE d ALTER t SET STORAGE EXTERNAL;
SELECT dlog.distribute_table('d', by => 'id', partitions => 4);
INSERT INTO d SELECT i, 0, 'x' FROM generate_series(1, 20) i;
SQL
my $there = $cluster->sql(1, q{SELECT min(id) FROM d WHERE dlog.partition_node(tableoid) = 'n2'});
my $here = $cluster->sql(1, q{SELECT min(id) FROM d WHERE dlog.partition_node(tableoid) = 'n1'});
$cluster->sql(1, "DELETE FROM d WHERE id IN ($here, $there)");

# From n1 both ways: one row stays, one travels; n2 reads the other.
my $digest = "SELECT id, n, length(t), md5(t) FROM d WHERE n > 0 ORDER BY id";
my $expected = sub
{
	my ($n, $expression) = @_;
	return $cluster->sql(1, "SELECT i, $n, length(t), md5(t) FROM (SELECT i, $expression AS t FROM unnest(ARRAY[$here, $there]) i) q ORDER BY i");
};
$cluster->sql(1, "INSERT INTO d SELECT i, 1, repeat(md5(i::text), $size / 32) FROM unnest(ARRAY[$here, $there]) i");
my $first = $expected->(1, "repeat(md5(i::text), $size / 32)");
is($cluster->sql(1, $digest), $first, 'INSERT, and computed by the nodes');
foreach my $i (1, 2)
{
	is($cluster->sql($i, "SELECT id, n, length(t), md5(t) FROM (SELECT * FROM d WHERE n > 0 AND random() >= 0 OFFSET 0) q ORDER BY id"),
		$first, "SELECT by n$i, and computed there");
}
is($cluster->sql(1, "SET dlog.enable_raw_rows = off; SELECT id, n, length(t), md5(t) FROM (SELECT * FROM d WHERE n > 0 AND random() >= 0 OFFSET 0) q ORDER BY id"),
	$first, 'column by column');
$cluster->sql(1, "UPDATE d SET n = 2, t = t || 'y' WHERE n = 1");
my $second = $expected->(2, "repeat(md5(i::text), $size / 32) || 'y'");
is($cluster->sql(2, $digest), $second, 'UPDATE as one statement');
is($cluster->sql(2, "UPDATE d SET n = 3, t = t || CASE WHEN random() >= 0 THEN 'z' END WHERE n = 2 RETURNING id - id, length(t)"),
	join("\n", ('0|' . ($size + 2)) x 2), 'row by row, with the rows coming back');
is($cluster->sql(1, $digest), $expected->(3, "repeat(md5(i::text), $size / 32) || 'yz'"), 'in both directions');
is($cluster->sql(2, "INSERT INTO d SELECT id + 1000, 4, t FROM d WHERE n = 3 RETURNING length(t)"), join("\n", ($size + 2) x 2), 'INSERT ... RETURNING');
is($cluster->sql(1, 'SELECT count(DISTINCT md5(t)), count(*) FROM d WHERE n > 2'), '2|4', 'and no byte is lost');

# --- too large ---------------------------------------------------------------------------

foreach my $case (
	[ "SELECT max(repeat(t, 11)) FROM d WHERE id = $there", 'a value' ],
	[ "SELECT max(repeat(t, 6)), max(repeat(t, 6) || 'x') FROM d WHERE id = $there", 'a row' ],
	[ "SET dlog.enable_raw_rows = off; SELECT max(repeat(t, 6)), max(repeat(t, 6) || 'x') FROM d WHERE id = $there", 'a row that is sent by its columns' ])
{
	my ($query, $what) = @$case;
	like($cluster->sql_error(1, $query), qr/54000: .*remote statement on node "n2"/s, "$what of more than a gigabyte is refused");
}
like($cluster->sql_error(1, "INSERT INTO d SELECT i, 5, repeat('x', 1073741823) FROM unnest(ARRAY[$here, $there]) i"),
	qr/54000/, 'one that is inserted, too');
is($cluster->sql(1, 'SELECT count(*), max(n) FROM d'), '22|4', 'nothing has changed');
unlike(slurp_file($cluster->node($_)->logfile), qr/TRAP|PANIC|terminated by signal/, "n$_: nobody crashed") foreach (1, 2);

done_testing();
