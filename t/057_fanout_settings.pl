
# On other nodes a query runs as the asking session would run it here: as its
# role, with that role's privileges and row-level security, under its settings.
# What differs there is refused, and the difference is named.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);
$cluster->sql_everywhere('CREATE ROLE clerk LOGIN; CREATE ROLE chief LOGIN; GRANT CREATE ON SCHEMA public TO chief; CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC;');
$cluster->sql(1, 'CREATE ROLE stranger LOGIN');

my $columns = 'id int, k int, v numeric, f float8, t timestamptz, d date, i interval, y bytea, '
  . 'a text COLLATE "C", z text, m money, x text';
$cluster->sql(1, <<"SQL");
CREATE TABLE plain ($columns);
INSERT INTO plain SELECT i, i % 5, i / 7.0, i / 7.0::float8,
	timestamptz '2024-03-30 00:00 UTC' + i * interval '97 min', date '2024-01-01' + i, i * interval '31 hours',
	int4send(i), chr(65 + i % 40), chr(65 + i % 40), i, 'x' || i % 3
FROM generate_series(1000, 1400) i;
CREATE TABLE d (LIKE plain);
SELECT dlog.distribute_table('d', by => 'id', partitions => 5);
INSERT INTO d TABLE plain;
CREATE TABLE other.d AS SELECT -1 AS id, 0 AS k;
ANALYZE;
SQL
cmp_ok($cluster->sql(1, q{SELECT count(*) FROM d WHERE dlog.partition_node(tableoid) = 'n2'}), '>', 50, 'rows are on both nodes');

# --- settings ---------------------------------------------------------------------

my @questions = (
	'SELECT max(f::text), min(f::text), count(DISTINCT f::text) FROM T',
	'SELECT f::text || v::text, count(*) FROM T GROUP BY 1',
	"SELECT date_trunc('day', t), count(*), min(t), max(t::text) FROM T GROUP BY 1",
	"SELECT t::date, count(*) FROM T WHERE t > '2024-04-20' GROUP BY 1",
	"SELECT extract(hour FROM t), count(*) FROM T GROUP BY 1",
	'SELECT max(d::text), min(i::text), max(y::text), max(m::text) FROM T',
	'SELECT i::text, d::text, y::text, m::text FROM T WHERE id % 50 = 0',
	"SELECT count(*) FROM T WHERE d = '10.4.2027'::date OR d::text LIKE '%2027%'",
	'SELECT a, count(*) FROM T GROUP BY a ORDER BY a LIMIT 9',
	'SELECT max(a), min(z), max(z COLLATE "C") FROM T',
	'SELECT z FROM T ORDER BY z COLLATE "POSIX", id LIMIT 5',
	'SELECT count(*) FROM T WHERE z < \'k\' COLLATE "C"',
	"SELECT string_agg(x, ',' ORDER BY id) FROM T WHERE id < 1050",
	"SELECT count(*) FROM T WHERE to_tsvector(x) @@ to_tsquery('x1')",
	"SELECT count(*) FROM T WHERE x = NULL",
	'SELECT to_char(t, \'TMMonth DD HH24\'), count(*) FROM T GROUP BY 1');

foreach my $settings (
	'',
	"SET TimeZone = 'Europe/Berlin'; SET DateStyle = 'German, DMY'; SET extra_float_digits = -10",
	"SET TimeZone = 'Pacific/Chatham'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'escape'",
	"SET IntervalStyle = 'sql_standard'; SET DateStyle = 'Postgres, MDY'; SET extra_float_digits = 3; SET dlog.enable_raw_rows = off",
	"SET transform_null_equals = on; SET default_text_search_config = 'pg_catalog.simple'; SET quote_all_identifiers = on",
	"SET search_path = other, public; SET standard_conforming_strings = off")
{
	foreach my $question (@questions)
	{
		my %answer;

		foreach my $table ('plain', 'public.d')
		{
			(my $query = $question) =~ s/\bT\b/$table/g;
			my ($status, $output, $error) = $cluster->node(1)->psql('postgres', "$settings; $query");
			$answer{$table} = join "\n", ($question =~ /ORDER BY a|LIMIT 5/ ? split(/\n/, $output) : sort split /\n/, $output),
			  map { /(ERROR:.*)/ ? $1 : () } split /\n/, $error;
		}
		is($answer{'public.d'}, $answer{plain}, "$question under: " . ($settings || 'defaults'));
	}
}
is($cluster->sql(1, 'SET search_path = other, public; SELECT count(*) FROM d'), '1', 'search_path says which table is meant');
is($cluster->sql(1, 'SET search_path = other; SELECT count(*) FROM public.d'), '401', 'and a qualified name does');
is($cluster->sql(1, 'SET client_encoding = LATIN1; SELECT max(a) = min(a) FROM d'), 'f', 'whatever the client speaks');

# --- privileges ----------------------------------------------------------------------

$cluster->sql(1, 'GRANT SELECT (id, k, x) ON d TO clerk; GRANT SELECT ON d TO chief');
is($cluster->sql(1, 'SET ROLE clerk; SELECT count(*), count(k) FROM d'), '401|401', 'columns that are granted are read');
is($cluster->sql(1, 'SET ROLE clerk; SELECT count(*) FROM d WHERE id % 2 = 0 AND x LIKE \'x%\''), '201', 'and filtered by');
like($cluster->sql_error(1, 'SET ROLE clerk; SELECT sum(v) FROM d'), qr/42501/, 'others are not');
like($cluster->sql_error(1, 'SET ROLE clerk; SELECT count(*) FROM d WHERE v > 1'), qr/42501/, 'nor filtered by');
like($cluster->sql_error(1, 'SET ROLE clerk; UPDATE d SET k = 1'), qr/42501/, 'nor written');

# The other node decides by its own grants.
$cluster->sql(2, 'SET dlog.propagate_ddl = off; REVOKE SELECT (x) ON d FROM clerk');
like($cluster->sql_error(1, 'SET ROLE clerk; SELECT max(x) FROM d'), qr/42501.*node "n2"/s, 'what that node has not granted is refused by it');
$cluster->sql(2, 'SET dlog.propagate_ddl = off; GRANT SELECT (x) ON d TO clerk');

# Functions that run as their owner, and views.
$cluster->sql(1, <<'SQL');
SET ROLE chief;
CREATE FUNCTION sum_of_all() RETURNS numeric LANGUAGE sql SECURITY DEFINER SET search_path = public AS 'SELECT round(sum(v)) FROM d';
CREATE FUNCTION my_sum() RETURNS numeric LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT round(sum(v)) FROM d); END';
CREATE VIEW totals AS SELECT k, round(sum(v)) AS total FROM d GROUP BY k;
CREATE VIEW mine WITH (security_invoker) AS SELECT k, round(sum(v)) AS total FROM d GROUP BY k;
GRANT SELECT ON totals, mine TO clerk;
SQL
my $sum = $cluster->sql(1, 'SELECT round(sum(v)) FROM plain');
is($cluster->sql(1, 'SET ROLE clerk; SELECT sum_of_all()'), $sum, 'a SECURITY DEFINER function reads as its owner');
like($cluster->sql_error(1, 'SET ROLE clerk; SELECT my_sum()'), qr/42501/, 'another as its caller');
is($cluster->sql(1, 'SET ROLE clerk; SELECT count(*) FROM totals'), '5', 'a view reads as its owner');
like($cluster->sql_error(1, 'SET ROLE clerk; SELECT count(*) FROM mine'), qr/42501/, 'one with security_invoker as its caller');
is($cluster->sql(1, 'SET SESSION AUTHORIZATION clerk; SELECT count(k) FROM d'), '401', 'SET SESSION AUTHORIZATION holds there');

# A role that is not there.
$cluster->sql(1, 'SET dlog.propagate_ddl = off; GRANT SELECT ON d TO stranger');
like($cluster->sql_error(1, 'SET ROLE stranger; SELECT count(*) FROM d'),
	qr/42704.*role "stranger" does not exist on node "n2".*HINT/s, 'a role that is missing there is named');

# Row-level security, with a filter that gives nothing away.
$cluster->sql(1, <<'SQL');
CREATE POLICY thirds ON d TO clerk USING (x = 'x1');
ALTER TABLE d ENABLE ROW LEVEL SECURITY;
SQL
is($cluster->sql(1, 'SET ROLE clerk; SELECT count(*), min(x), max(x) FROM d'), '134|x1|x1', 'a policy holds on both nodes');
like($cluster->sql(1, 'SET ROLE clerk; EXPLAIN (VERBOSE, COSTS OFF) SELECT count(*) FROM d WHERE k = 3'),
	qr/Remote SQL:.*k = /, 'a leakproof filter travels below it');
unlike($cluster->sql(1, 'SET ROLE clerk; EXPLAIN (VERBOSE, COSTS OFF) SELECT count(*) FROM d WHERE 1 / (k - 3) < 2'),
	qr/Remote SQL:.*\(k - /, 'another does not');
is($cluster->sql(1, "SET ROLE clerk; SELECT count(*) FROM d WHERE k = 3"),
	$cluster->sql(1, "SELECT count(*) FROM plain WHERE k = 3 AND x = 'x1'"), 'and the answer is right');
is($cluster->sql(1, 'SET ROLE clerk; PREPARE q AS SELECT count(*) FROM d; EXECUTE q; RESET ROLE; EXECUTE q'), "134\n401", 'a prepared statement follows the role');
like($cluster->sql_error(1, 'SET ROLE clerk; SET row_security = off; SELECT count(*) FROM d'), qr/42501/, 'row_security = off is refused');
$cluster->sql(1, 'ALTER TABLE d DISABLE ROW LEVEL SECURITY');

# --- functions that do not travel ----------------------------------------------------

$cluster->sql(1, 'CREATE FUNCTION only_here(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \'BEGIN RETURN $1 + 1; END\'');
foreach my $call ('only_here(k)', 'k + (random() * 0)::int', "length(to_char(v, '999'))")
{
	my $plan = $cluster->sql(1, "EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM d WHERE $call >= 0");
	unlike($plan, qr/Remote SQL:.*(only_here|random|to_char)/, "$call is computed here");
	is($cluster->sql(1, "SELECT count(*), sum($call) IS NOT NULL FROM d WHERE $call >= 0"), '401|t', "$call is computed");
}

# --- definitions that differ -----------------------------------------------------------

foreach my $case (
	[ 'ALTER TABLE d ALTER k TYPE bigint', 'SELECT max(k) FROM d', qr/column.*has type bigint on node "n2" where integer is expected/,
		'ALTER TABLE d ALTER k TYPE int' ],
	[ 'ALTER TABLE d ALTER k TYPE bigint', 'SELECT k FROM d', qr/column "k" has type bigint on node "n2" where integer is expected/,
		'ALTER TABLE d ALTER k TYPE int' ],
	[ 'ALTER TABLE d RENAME x TO y2', 'SELECT max(x) FROM d', qr/column "x" does not exist.*node "n2"/s, 'ALTER TABLE d RENAME y2 TO x' ],
	[ 'ALTER TABLE d RENAME TO gone', 'SELECT count(*) FROM d', qr/"public.d" does not exist.*node "n2"/s, 'ALTER TABLE gone RENAME TO d' ])
{
	my ($change, $query, $message, $back) = @$case;
	$cluster->sql(2, "SET dlog.propagate_ddl = off; $change");
	like($cluster->sql_error(1, $query), $message, "refused: $change there");
	$cluster->sql(2, "SET dlog.propagate_ddl = off; $back");
	is($cluster->sql(1, 'SELECT count(*), max(x) FROM d'), '401|x2', 'until it is changed back');
}

# --- what is seen of it -------------------------------------------------------------

my $plan = $cluster->sql(1, 'EXPLAIN (ANALYZE, VERBOSE) SELECT x, count(*) FROM d WHERE k < 4 GROUP BY x');
like($plan, qr/Node: n2: partitions=\d, rows=3 chunks=1 bytes=\d+ queued=[\d.]+ run=[\d.]+ wire=[\d.]+ stalled=[\d.]+ waited=[\d.]+ ms/,
	'EXPLAIN ANALYZE tells rows, bytes and times of each node');
like($plan, qr/Remote Plan:\n.*Aggregate.*actual time=.*Seq Scan on d_\d.*actual time=/s, 'and how it ran its part');
like($cluster->sql(1, 'EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) SELECT count(*) FROM d'), qr/"Wire": [\d.]+,.*"Remote Plan": "/s, 'as JSON, too');
my $partition = $cluster->sql(1, q{SELECT partition FROM dlog.partitions WHERE "table" = 'd'::regclass AND NOT is_local LIMIT 1});
like($cluster->sql(1, "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM $partition WHERE random() >= 0"),
	qr/Foreign Scan.*Remote Plan:\n.*Seq Scan/s, 'of one partition as well');
unlike($cluster->sql(1, 'EXPLAIN (ANALYZE) SELECT count(*) FROM d'), qr/Remote Plan/, 'without VERBOSE it is left out');

# One that is known to run there until it is canceled.
$cluster->sql(2, 'CREATE VIEW endless AS SELECT generate_series(1, 1000000000) AS n');
$cluster->sql(1, 'CREATE FOREIGN TABLE endless (n int) SERVER n2; GRANT SELECT ON endless TO chief');
$cluster->sql(2, 'GRANT SELECT ON endless TO chief');
my $session = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
$session->query_safe("SET application_name = 'report'; SET compute_query_id = on; SET ROLE chief");
$session->query_until(qr/asked/, "\\echo asked\nSELECT n FROM endless WHERE n < 0;\n");
$cluster->wait_until(2, q{SELECT count(*) = 1 FROM dlog.queries WHERE side = 'executor' AND text LIKE '%endless%'});
my $pid = $cluster->sql(1, q{SELECT pid FROM pg_stat_activity WHERE application_name = 'report'});
my $id = $cluster->sql(1, "SELECT query_id FROM pg_stat_activity WHERE pid = $pid");
is($cluster->sql(1, q{SELECT node, role, state, waits_for, text FROM dlog.queries WHERE side = 'asker'}),
	'n2|chief|waiting|rows|SELECT n FROM public.endless WHERE (n < 0)', 'dlog.queries tells what is asked of whom');
is($cluster->sql(2, q{SELECT node, role, state, text FROM dlog.queries WHERE side = 'executor'}),
	'n1|chief|running|SELECT n FROM public.endless WHERE (n < 0)', 'and for whom it runs');
is($cluster->sql(2, q{SELECT application_name, state, query FROM pg_stat_activity WHERE backend_type = 'dlog scheduler' AND query LIKE '%endless%'}),
	"dlog: session $pid on n1|active|SELECT n FROM public.endless WHERE (n < 0)", 'pg_stat_activity there names the session');
like($id, qr/^-?\d+$/, 'the query has an id');
is($cluster->sql(2, q{SELECT query_id FROM pg_stat_activity WHERE query LIKE '%endless WHERE (n < 0)' AND backend_type = 'dlog scheduler'}), $id,
	'the query id travels');
is($cluster->sql(1, "SELECT wait_event_type || ' ' || wait_event FROM pg_stat_activity WHERE pid = $pid"),
	$cluster->node(1)->pg_version >= 17 ? 'Extension DlogRows' : 'Extension Extension', 'and here it waits');
$cluster->sql(1, "SELECT pg_cancel_backend($pid)");
$cluster->wait_until(2, 'SELECT count(*) = 0 FROM dlog.queries');
$session->quit;

done_testing();
