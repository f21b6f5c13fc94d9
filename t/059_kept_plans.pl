
# A session keeps the plan of a query over several nodes that it repeats, as
# long as nothing is different that the planner would see.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, conf => "shared_preload_libraries = 'dlog, pg_stat_statements'");
$cluster->sql_everywhere('CREATE ROLE clerk LOGIN; CREATE ROLE chief LOGIN; CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC');
$cluster->sql(1, <<'SQL');
CREATE TABLE d (id int, k int, who text);
SELECT dlog.distribute_table('d', by => 'id', partitions => 8);
INSERT INTO d SELECT i, i % 10, CASE WHEN i % 3 = 0 THEN 'clerk' ELSE 'chief' END FROM generate_series(1, 300) i;
ANALYZE d;
GRANT SELECT ON d TO clerk, chief;
CREATE TABLE other.d AS SELECT -1 AS id, 0 AS k, 'x' AS who;
SQL
cmp_ok($cluster->sql(1, q{SELECT count(*) FROM d WHERE dlog.partition_node(tableoid) = 'n2'}), '>', 50, 'rows are on both nodes');

# One session's answers; those of statements without any are left out.
sub ask
{
	my ($statements) = @_;
	my ($status, $output, $error) = $cluster->node(1)->psql('postgres', $statements, on_error_stop => 0);
	return ($output, $error);
}

# The rows that the planner expects of d, one number a question.
sub expected
{
	my ($statements) = @_;
	my ($output, $error) = ask($statements);
	is($error, '', 'no error');
	return $output =~ /DLog Fanout.*? rows=(\d+)/g;
}

# --- it is kept -----------------------------------------------------------------

my $plan = "EXPLAIN SELECT * FROM d;\n";
my $grow = "INSERT INTO d SELECT i, i % 10, 'chief' FROM generate_series(301, 30000) i;\n";
my $shrink = "DELETE FROM d WHERE id > 300;\n";
my ($first, $second, $kept, $anew) =
  expected("SET dlog.plan_lifetime = '1h'; $plan $plan $grow $plan SET dlog.plan_lifetime = 0; $plan");
is($second, $first, 'nothing has changed');
is($kept, $second, 'the plan of the second time is kept');
cmp_ok($anew, '>', $kept, 'and without that the planner sees that the table has grown');

my ($before, undef, $analyzed) = expected("SET dlog.plan_lifetime = '1h'; $plan $plan ANALYZE d; $plan");
cmp_ok($analyzed, '>', $before, 'ANALYZE is noticed');
$cluster->sql(1, "$shrink; VACUUM ANALYZE d");

# --- what makes a difference ------------------------------------------------------

my $hour = "SET dlog.plan_lifetime = '1h';";
my $count = "SELECT count(*) FROM d;\n";
my ($output, $error) = ask("$hour $count $count $count INSERT INTO d VALUES (301, 1, 'clerk'); $count DELETE FROM d WHERE id = 301; $count");
is($output, "300\n300\n300\n301\n300", 'a kept plan reads what there is');

($output, $error) = ask("$hour $count $count $count SET search_path = other; $count SET search_path = public; $count");
is($output, "300\n300\n300\n1\n300", 'the same text over another table is another query');

($output, $error) = ask("$hour $count $count $count CREATE TEMP TABLE d (i int); $count DROP TABLE d; $count");
is($output, "300\n300\n300\n0\n300", 'a temporary table is in front');

my $star = "SELECT * FROM d WHERE id = 7;\n";
($output, $error) = ask("$hour $star $star $star ALTER TABLE d ADD COLUMN more int DEFAULT 5; $star ALTER TABLE d DROP COLUMN more; $star");
is($output, join("\n", ('7|7|chief') x 3, '7|7|chief|5', '7|7|chief'), 'columns come and go');
is($error, '', 'without an error');

($output, $error) = ask("$hour $count $count BEGIN; ALTER TABLE d ADD COLUMN more int; $count ROLLBACK; $count $count");
is($output, join("\n", (300) x 5), 'a rollback');

my $explain = "EXPLAIN (COSTS OFF) SELECT count(*) FROM d;\n";
($output, $error) = ask("$hour $explain $explain $explain SET dlog.enable_fanout_scan = off; $explain");
is(() = $output =~ /DLog Fanout/g, 3, 'a setting of the planner holds at once');
like($output, qr/Foreign Scan/, 'and shows');

$cluster->sql_everywhere(<<'SQL');
SET dlog.propagate_ddl = off;
CREATE SCHEMA a; CREATE FUNCTION a.g() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE SCHEMA b; CREATE FUNCTION b.g() RETURNS int LANGUAGE sql STABLE AS 'SELECT 2';
SET search_path = a, public;
CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1 + g()';
SQL
my $inlined = "SELECT public.f(k) - k, count(*) FROM public.d GROUP BY 1;\n";
($output, $error) = ask("$hour SET search_path = a, public; $inlined $inlined $inlined SET search_path = b, public; $inlined");
is($output, "1|300\n1|300\n1|300\n2|300", 'functions that are inlined look for names in the search path');
is($error, '', 'without an error');

# So do those that return sets, and whatever comes to be in front of what they read.
$cluster->sql_everywhere('SET dlog.propagate_ddl = off; CREATE TABLE public.near AS SELECT 1 AS i; CREATE SCHEMA front;'
	  . q{CREATE FUNCTION public.nearest() RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT i FROM near';});
my $nearest = "SELECT i, count(*) FROM public.d, public.nearest() i GROUP BY i;\n";
my $keep = "$hour CREATE TEMP TABLE nothing (); SET search_path = front, public; $nearest $nearest $nearest";
foreach (
	[ 'CREATE TEMP TABLE near AS SELECT 2 AS i;', 'DROP TABLE near;', 'a temporary table' ],
	[ 'CREATE TEMP VIEW near AS SELECT 2 AS i;', 'DROP VIEW near;', 'a temporary view' ],
	[ 'CREATE TEMP TABLE far AS SELECT 2 AS i; BEGIN; ALTER TABLE far RENAME TO near;', 'ROLLBACK;', 'one that is renamed' ],
	[ 'SET dlog.propagate_ddl = off; CREATE TABLE front.near AS SELECT 2 AS i;', 'DROP TABLE front.near;', 'a table of a schema in front' ])
{
	my ($come, $go, $what) = @$_;
	($output, $error) = ask("$keep $come $nearest $go $nearest");
	is($output, join("\n", ('1|300') x 3, '2|300', '1|300'), "$what comes and goes");
	is($error, '', 'without an error');
}

$cluster->sql_everywhere('ALTER TABLE public.near ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON public.near USING (true); GRANT SELECT ON public.near TO clerk');
($output, $error) = ask("$hour SET ROLE clerk; $nearest $nearest $nearest SET row_security = off; $nearest SET row_security = on; $nearest");
is($output, join("\n", ('1|300') x 4), 'rows that a policy may hide are not read');
like($error, qr/would be affected by row-level security/, 'where row_security is off');

# What such a function's literals mean depends on settings.
$cluster->sql_everywhere(<<'SQL');
SET dlog.propagate_ddl = off;
CREATE FUNCTION public.noon() RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT timestamptz '2024-01-01 12:00'$$;
CREATE FUNCTION public.second_day() RETURNS date LANGUAGE sql STABLE AS $$SELECT date '02/01/2024'$$;
CREATE FUNCTION public.is_nothing(int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT $1 = NULL';
SQL
foreach (
	[ "SELECT extract(epoch FROM noon()), count(*) FROM d GROUP BY 1;", "SET timezone = 'UTC';", "SET timezone = 'UTC+1';", '1704110400.000000|300', '1704114000.000000|300' ],
	[ "SELECT extract(month FROM second_day()), count(*) FROM d GROUP BY 1;", "SET datestyle = 'MDY';", "SET datestyle = 'DMY';", '2|300', '1|300' ],
	[ "SELECT is_nothing(k), count(*) FROM d GROUP BY 1;", '', 'SET transform_null_equals = on;', '|300', 'f|300' ])
{
	my ($query, $set, $reset, $first, $last) = @$_;
	($output, $error) = ask("$hour $set" . "$query\n" x 3 . "$reset $query\n");
	is($output, join("\n", ($first) x 3, $last), $reset);
	is($error, '', 'without an error');
}

# --- roles --------------------------------------------------------------------------

my $mine = "SELECT count(*) FROM d WHERE who = current_user;\n";
$cluster->sql(1, 'REVOKE SELECT ON d FROM chief');
($output, $error) = ask("$hour SET ROLE clerk; $mine $mine $mine SET ROLE chief; $mine RESET ROLE; $mine SET ROLE clerk; $mine");
is($output, "100\n100\n100\n0\n100", 'what a role asks is that role\'s');
like($error, qr/permission denied for table d/, 'and who may not read it does not');
$cluster->sql(1, 'GRANT SELECT ON d TO chief; ALTER TABLE d ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON d USING (who = current_user)');
($output, $error) = ask("$hour SET ROLE clerk; $count $count $count SET ROLE chief; $count RESET ROLE; $count SET ROLE clerk; $count");
is($output, "100\n100\n100\n200\n300\n100", 'row-level security');
is($error, '', 'without an error');
$cluster->sql(1, 'ALTER TABLE d DISABLE ROW LEVEL SECURITY');

# --- a plan that becomes stale while it is at work -------------------------------------

$cluster->sql(1, <<'SQL');
CREATE FUNCTION disturb(i int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	IF i % 100 = 0 THEN
		EXECUTE 'ANALYZE d';
		PERFORM count(*) FROM d;
	END IF;
	RETURN true;
END $$;
SQL
my $disturbed = "SELECT count(*) FROM d WHERE disturb(id);\n";
($output, $error) = ask($hour . $disturbed x 5);
is($output, join("\n", (300) x 5), 'ANALYZE in the middle of it');
is($error, '', 'without an error');
($output, $error) = ask("$hour BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id FROM d ORDER BY id; CLOSE c; "
	  . 'DECLARE c CURSOR WITH HOLD FOR SELECT id FROM d ORDER BY id; FETCH 2 FROM c; COMMIT; ANALYZE d; MOVE 296 FROM c; FETCH ALL FROM c; CLOSE c;');
is($output, "1\n2\n299\n300", 'a cursor that outlives its transaction');

# The same statement within itself, further behind in a longer text.
$cluster->sql(1, <<'SQL');
CREATE EXTENSION pg_stat_statements;
CREATE FUNCTION deeper(i int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('app.deeper', true) = 'yes' THEN
		PERFORM set_config('app.deeper', 'no', false);
		EXECUTE 'SELECT 1' || repeat(' ', 5000) || ';SELECT count(*) FROM d WHERE deeper(id);';
	END IF;
	RETURN true;
END $$;
SQL
my $deeper = "SELECT count(*) FROM d WHERE deeper(id);\n";
($output, $error) = ask("$hour $deeper $deeper SELECT FROM pg_stat_statements_reset(); SET app.deeper = yes; $deeper SELECT query FROM pg_stat_statements WHERE query ~ 'count';");
is($output, join("\n", (300) x 3, 'SELECT count(*) FROM d WHERE deeper(id)'), 'each of them has its own text');
is($error, '', 'without an error');

# --- locks ------------------------------------------------------------------------------

my $locks = "SELECT relkind, count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relname ~ '^d' WHERE l.pid = pg_backend_pid() GROUP BY 1 ORDER BY 1;\n";
my $local = $cluster->sql(1, q{SELECT count(*) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'd'::regclass AND relkind = 'r'});
($output, $error) = ask("$hour $count $count BEGIN; $count $locks COMMIT;");
is($output, "300\n300\n300\np|1\nr|$local", 'partitions elsewhere are not locked again');
($output, $error) = ask("PREPARE q AS $count EXECUTE q; BEGIN; EXECUTE q; $locks COMMIT;");
is($output, "300\n300\np|1\nr|$local", 'nor are they by a prepared statement');

# More queries than are kept.
my $many = join '', map { "SELECT count(*) FROM d WHERE k < $_;\n" } 0 .. 50;
($output, $error) = ask($hour . $many x 3);
is($output, join("\n", map { 30 * ($_ < 10 ? $_ : 10) } (0 .. 50) x 3), 'the oldest make room');

done_testing();
