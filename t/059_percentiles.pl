
# A percentile of many values on several nodes is found by samples: it is the
# value that the server's own function gives, whatever the values are.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);
$cluster->sql(1, <<'SQL');
CREATE TABLE plain (id int, k int, v float8, n numeric, few int, same int, odd float8, tail float8);
INSERT INTO plain SELECT i, i % 7, sin(i) * 1000, (i * 7919 % 50021) / 3.0, i % 4, 5,
	CASE i % 10 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' WHEN 2 THEN '-Infinity' WHEN 3 THEN NULL ELSE i::float8 END,
	CASE WHEN i % 100 = 0 THEN exp(i / 3000.0) ELSE 1 END
FROM generate_series(1, 50000) i;
CREATE TABLE d (LIKE plain);
SELECT dlog.distribute_table('d', by => 'id', partitions => 8);
INSERT INTO d TABLE plain;
CREATE TABLE here (LIKE plain) PARTITION BY RANGE (id);
ANALYZE;
SQL
cmp_ok($cluster->sql(1, q{SELECT count(*) FROM d WHERE dlog.partition_node(tableoid) = 'n2'}), '>', 10000, 'rows are on both nodes');

# Low values here and high ones there, so that the sample misleads.
$cluster->sql(2, 'CREATE TABLE there (LIKE d INCLUDING ALL)');
$cluster->sql(2, 'INSERT INTO there SELECT i, i % 7, i, i, 0, 5, i, i FROM generate_series(20001, 50000) i; ANALYZE there');
$cluster->sql(1, <<'SQL');
CREATE SERVER IF NOT EXISTS n2 FOREIGN DATA WRAPPER dlog;
CREATE TABLE low PARTITION OF here FOR VALUES FROM (0) TO (20001);
INSERT INTO low SELECT i, i % 7, i, i, 0, 5, i, i FROM generate_series(1, 20000) i;
CREATE FOREIGN TABLE high PARTITION OF here FOR VALUES FROM (20001) TO (50001) SERVER n2 OPTIONS (table_name 'there');
ANALYZE here;
ANALYZE low;
CREATE TABLE plain_ordered AS SELECT * FROM here;
SQL

sub plan_of { return $cluster->sql(1, "EXPLAIN (VERBOSE) $_[0]"); }

my $by_samples = qr/Percentile: by samples/;
like(plan_of('SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) FROM d'), $by_samples, 'by samples');
like(plan_of('SELECT 1 + percentile_disc(0.5) WITHIN GROUP (ORDER BY v DESC) FROM d'), $by_samples, 'the other function, in an expression');
unlike(plan_of($_), $by_samples, "not so: $_")
  foreach ('SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM d WHERE id < 100',
	'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v), count(*) FROM d',
	'SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY few) FROM d',
	"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v * interval '1 s') FROM d",
	'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FILTER (WHERE k = 1) FROM d',
	'SELECT percentile_cont(array[0.5]) WITHIN GROUP (ORDER BY v) FROM d',
	'SELECT percentile_cont(NULL::float8) WITHIN GROUP (ORDER BY v) FROM d');

sub same
{
	my ($question, $table, $twin, $before) = @_;
	(my $asked = $question) =~ s/\bT\b/$table/g;
	(my $plainly = $question) =~ s/\bT\b/$twin/g;
	my $set = 'SET extra_float_digits = 3; ' . ($before // '');
	is($cluster->sql(1, "$set $asked"), $cluster->sql(1, "$set $plainly"), $question);
	return;
}

foreach my $column (qw(v n few same odd tail -v))
{
	foreach my $fraction (0, 0.0001, 0.25, 0.5, 0.8, 0.99, 0.9999, 1)
	{
		same("SELECT percentile_cont($fraction) WITHIN GROUP (ORDER BY $column) FROM T", 'd', 'plain');
	}
	same("SELECT percentile_disc(0.3) WITHIN GROUP (ORDER BY ($column)::float8 DESC) FROM T", 'd', 'plain');
	same("SELECT percentile_cont(0.3) WITHIN GROUP (ORDER BY ($column)::float8 DESC NULLS LAST) FROM T", 'd', 'plain');
}
foreach my $fraction (0, 0.1, 0.39, 0.4, 0.41, 0.7, 1)
{
	like(plan_of("SELECT percentile_cont($fraction) WITHIN GROUP (ORDER BY v) FROM here"), $by_samples, 'by samples');
	same("SELECT percentile_cont($fraction) WITHIN GROUP (ORDER BY v) FROM T", 'here', 'plain_ordered');
	same("SELECT percentile_disc($fraction) WITHIN GROUP (ORDER BY v DESC) FROM T", 'here', 'plain_ordered');
}

# Estimates that are far off: nothing, few, or much more than was thought.
my $median = 'percentile_cont(0.5) WITHIN GROUP (ORDER BY v)';
same("SELECT $median FROM T WHERE v > 1e9", 'd', 'plain');
same("SELECT $median FROM T WHERE sqrt(id) > 223 OR id < 0", 'd', 'plain');
same("SELECT $median FROM T WHERE id % 7 = 3 AND k = 3", 'd', 'plain');
same("SELECT $median FROM T WHERE odd IS NULL", 'd', 'plain');

# Parameters of the condition, subqueries, and what a transaction has changed.
same("PREPARE q(int) AS SELECT $median FROM T WHERE k < \$1; EXECUTE q(3); EXECUTE q(7)", 'd', 'plain', 'SET plan_cache_mode = force_generic_plan;');
same("SELECT count(*) FROM T WHERE v > (SELECT $median FROM T)", 'd', 'plain');
same("SELECT i, (SELECT $median FROM T WHERE k <> i) FROM generate_series(1, 3) i", 'd', 'plain');
same("SELECT $median FROM (SELECT id, v * 2 AS v FROM T) t", 'd', 'plain');
same("BEGIN; UPDATE T SET v = v + 1000 WHERE id % 2 = 0; SELECT $median FROM T; ROLLBACK", 'd', 'plain');
same("BEGIN; DECLARE c CURSOR FOR SELECT $median FROM T; FETCH c; FETCH c; CLOSE c; COMMIT", 'd', 'plain');

my ($status, $output, $error) = $cluster->node(1)->psql('postgres', 'SELECT percentile_cont(1.5) WITHIN GROUP (ORDER BY v) FROM d');
like($error, qr/percentile value 1.5 is not between 0 and 1/, 'a wrong fraction');
($status, $output, $error) = $cluster->node(1)->psql('postgres', 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v / (id - 31415)) FROM d');
like($error, qr/division by zero/, 'an error of the nodes');

done_testing();
