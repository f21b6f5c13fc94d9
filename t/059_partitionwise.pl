
# Windows and counts of distinct values are computed a partition at a time
# where their rows are all in one partition, here and on the other nodes; the
# answers are those of a plain table in any case.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);
$cluster->sql(1, <<'SQL');
CREATE TABLE plain (id int, k int, region text, v numeric, at timestamptz, other bigint, gone int);
INSERT INTO plain SELECT i, nullif(i * 31 % 2000, 7), chr(97 + i % 3), i * 7919 % 1009, '2026-01-01'::timestamptz + i * interval '1 minute', i % 50, 0
FROM generate_series(1, 24000) i;
CREATE TABLE d (LIKE plain);
SELECT dlog.distribute_table('d', by => 'k', partitions => 6);
INSERT INTO d TABLE plain;
-- Partitioned by two columns, one below the other, with columns in another order.
CREATE TABLE nested (LIKE plain) PARTITION BY LIST (region);
CREATE TABLE nested_a PARTITION OF nested FOR VALUES IN ('a') PARTITION BY HASH (k);
CREATE TABLE nested_a0 PARTITION OF nested_a FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE nested_rest PARTITION OF nested DEFAULT;
SQL
$cluster->sql(2, 'CREATE TABLE a1 (other bigint, v numeric, k int, id int, region text, at timestamptz)');
$cluster->sql(1, <<'SQL');
CREATE SERVER IF NOT EXISTS n2 FOREIGN DATA WRAPPER dlog;
ALTER TABLE nested DROP COLUMN gone;
ALTER TABLE plain DROP COLUMN gone;
ALTER TABLE d DROP COLUMN gone;
CREATE FOREIGN TABLE nested_a1 PARTITION OF nested_a FOR VALUES WITH (MODULUS 2, REMAINDER 1) SERVER n2 OPTIONS (table_name 'a1');
INSERT INTO nested (id, k, region, v, at, other) SELECT id, k, region, v, at, other FROM plain;
ANALYZE;
SQL
$cluster->sql(2, 'ANALYZE');

# How often each part of a plan aggregates, or windows: here and on n2.
sub nodes_of
{
	my ($node, $query) = @_;
	my $plan = $cluster->sql(1, "EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF) $query");
	my ($there, $here) = $plan =~ /^( *)Node: n2(.*?)^\1->  (.*)/ms ? ($2, $3) : ('', $plan);

	return join ', ', map { my $part = $_; scalar(() = ($part // '') =~ /$node/g) } ($here, $there);
}

# Partitions of d that are here and there.
my $parts = $cluster->sql(1, "SELECT count(*) FILTER (WHERE node = 'n1') || ', ' || count(*) FILTER (WHERE node = 'n2') "
	  . "FROM dlog.partitions WHERE \"table\" = 'd'::regclass");
like($parts, qr/^[2-9], [2-9]$/, 'several partitions are here, and several there');

is(nodes_of('WindowAgg', $_), $parts, "a partition at a time: $_")
  foreach ('SELECT id, row_number() OVER (PARTITION BY k ORDER BY v, id) FROM d',
	'SELECT id, sum(v) OVER (PARTITION BY region, k ORDER BY id ROWS 3 PRECEDING) FROM d',
	'SELECT id FROM (SELECT id, count(v) OVER (PARTITION BY k ORDER BY v) AS n FROM d) q WHERE n <= 2');
is(nodes_of('Aggregate', $_), $parts, "a partition at a time: $_")
  foreach ('SELECT count(DISTINCT k) FROM d', 'SELECT count(DISTINCT k), count(*), count(v) FILTER (WHERE v > 3) FROM d WHERE id > 5');
like($cluster->sql(1, "EXPLAIN (COSTS OFF) $_"), qr/^WindowAgg(?!.*WindowAgg)/s, "all at once, and here: $_")
  foreach ('SELECT id, row_number() OVER (PARTITION BY region ORDER BY v, id) FROM d', 'SELECT id, sum(v) OVER (ORDER BY id) FROM d');
is(nodes_of('Aggregate', 'SELECT count(DISTINCT k) FROM d WHERE id < 100'), '1, 1', 'a few rows are counted at once');

my @questions = (
	'SELECT id, row_number() OVER (PARTITION BY k ORDER BY v, id) FROM T ORDER BY id',
	'SELECT id, k, first_value(v) OVER (PARTITION BY k ORDER BY at DESC), sum(v) OVER (PARTITION BY k) FROM T ORDER BY id',
	# Windows of several orders, one of them by an expression.
	'SELECT id, rank() OVER (PARTITION BY k ORDER BY v), lag(id) OVER (PARTITION BY k, region ORDER BY id), '
	  . 'dense_rank() OVER (PARTITION BY other, k ORDER BY v + id DESC) FROM T ORDER BY id',
	q{SELECT id, avg(v) OVER (PARTITION BY k ORDER BY at RANGE BETWEEN '1 day' PRECEDING AND '2 days' FOLLOWING EXCLUDE CURRENT ROW) FROM T ORDER BY id},
	'SELECT id, n FROM (SELECT id, row_number() OVER (PARTITION BY k ORDER BY v DESC, id) AS n FROM T) q WHERE n <= 3 ORDER BY id',
	'SELECT id, n FROM (SELECT id, count(v) OVER (PARTITION BY k ORDER BY v) AS n FROM T) q WHERE n <= 2 ORDER BY id',
	'SELECT id, n, m FROM (SELECT id, count(*) OVER (PARTITION BY k ORDER BY v) AS n, rank() OVER (PARTITION BY k ORDER BY id) AS m FROM T) q '
	  . 'WHERE n <= 5 AND m <= 4 ORDER BY id',
	'SELECT k, id, ntile(3) OVER w, sum(id) FILTER (WHERE v > 100) OVER w FROM T WHERE v % 3 = 1 WINDOW w AS (PARTITION BY k ORDER BY id) ORDER BY id',
	'SELECT id, row_number() OVER (PARTITION BY upper(region) ORDER BY id) FROM T ORDER BY id',
	'SELECT id, row_number() OVER (PARTITION BY k, region ORDER BY id), sum(v) OVER (PARTITION BY region, k) FROM T WHERE region = \'a\' ORDER BY id',
	'SELECT DISTINCT k, max(v) OVER (PARTITION BY k) FROM T ORDER BY 1, 2',
	'SELECT id, row_number() OVER (PARTITION BY k ORDER BY id) FROM T WHERE k IS NULL ORDER BY id',
	'SELECT count(DISTINCT k) FROM T',
	'SELECT count(DISTINCT k), count(*), count(k), count(DISTINCT region) FROM T',
	'SELECT count(DISTINCT k) FILTER (WHERE v > 500), count(v) FROM T WHERE id % 2 = 0',
	'SELECT 1 + count(DISTINCT k) FROM T HAVING count(*) > 3',
	'SELECT (SELECT count(DISTINCT k) FROM T), count(DISTINCT (region, k)) FROM T',
	'SELECT count(DISTINCT k) FROM (SELECT k FROM T UNION ALL SELECT other FROM T) u',
	'SELECT count(DISTINCT k) FROM T WHERE false');
foreach my $table ('d', 'nested')
{
	foreach my $question (@questions)
	{
		(my $asked = $question) =~ s/\bT\b/$table/g;
		(my $plainly = $question) =~ s/\bT\b/plain/g;
		is($cluster->sql(1, $asked), $cluster->sql(1, $plainly), "$table: $question");
	}
}

# A function of the node's own that counts does not return several rows.
$cluster->sql_everywhere(<<'SQL');
CREATE FUNCTION keys_counted() RETURNS bigint STABLE LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT count(DISTINCT amname) FROM pg_am); END $$;
SQL
is($cluster->sql(1, 'SELECT count(DISTINCT k) FILTER (WHERE k > keys_counted()) FROM d'),
	$cluster->sql(1, 'SELECT count(DISTINCT k) FILTER (WHERE k > keys_counted()) FROM plain'), 'a query within the query');

done_testing();
