

# What a query over a distributed table sends to the other nodes, and what it
# does not: one request per node, as little as possible, and EXPLAIN says why
# when it is more.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3);

$cluster->sql(1, <<'SQL');
CREATE TABLE e (id int NOT NULL, k int NOT NULL, v numeric, s text, ts timestamptz);
CREATE TABLE f (k int NOT NULL, n int, PRIMARY KEY (k, n));
SELECT dlog.distribute_table('e', by => 'k', partitions => 9);
SELECT dlog.distribute_table('f', by => 'k', colocate_with => 'e');
INSERT INTO e SELECT i, i % 30, i % 7, 's' || i % 5, '2024-01-01'::timestamptz + i * interval '1 hour'
FROM generate_series(1, 600) i;
INSERT INTO f SELECT k, n FROM generate_series(0, 19) k, generate_series(1, 2) n;
ANALYZE e, f;
CREATE TABLE keys (place text, k int);
INSERT INTO keys SELECT dlog.partition_node(tableoid), min(k) FROM e GROUP BY 1;
SQL

# A key whose row is on this node.
sub key_on
{
	my ($node) = @_;
	return $cluster->sql(1, "SELECT k FROM keys WHERE place = '$node'");
}

sub plan_of
{
	my ($query, %options) = @_;
	my $settings = $options{settings} // '';
	my $what = $options{analyze} ? ', ANALYZE, TIMING OFF, SUMMARY OFF' : '';

	return $cluster->sql(1, "$settings; EXPLAIN (COSTS OFF, VERBOSE$what) $query");
}

sub remote_sql
{
	my ($plan) = @_;
	return join "\n", $plan =~ /Remote SQL: (.*)/g;
}

my $plan = plan_of('SELECT id, upper(s) FROM e WHERE v > 3 AND ts < now()');
like($plan, qr/Nodes: 2 remote, \d local partitions/, 'one scan for all partitions');
unlike($plan, qr/Foreign Scan/, 'and no other');
is(remote_sql($plan),
	"SELECT id, s FROM public.e WHERE ((v > '3'::numeric) AND (ts < \$1))",
	'filters and only the needed columns travel');

# --- partitions are pruned ---
my ($here, $there) = (key_on('n1'), key_on('n2'));
$plan = plan_of("SELECT * FROM e WHERE k = $here");
unlike($plan, qr/DLog Fanout/, 'a key of this node concerns nobody else');
$plan = plan_of("SELECT * FROM e WHERE k = $there");
like($plan, qr/Node: n2: partitions=1$/m, 'a key of another node is asked for there');
unlike($plan, qr/Node: n3|e_\d/, 'and only there');

my $generic = "SET plan_cache_mode = force_generic_plan; PREPARE q(int) AS SELECT count(*) FROM e WHERE k = \$1";
$plan = plan_of("EXECUTE q($there)", settings => $generic);
like($plan, qr/Nodes: 1 remote$/m, 'a generic plan prunes when it starts');
like(remote_sql($plan), qr/WHERE \(k = \$1\)/, 'for a key that travels');
$plan = plan_of("EXECUTE q($here)", settings => $generic, analyze => 1);
like($plan, qr/Nodes: 0 remote, 1 local partition$/m, 'and asks nobody for a key of this node');

$plan = plan_of('SELECT keys.place, e.id FROM keys JOIN e ON e.k = keys.k WHERE keys.place = \'n2\'',
	settings => 'SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; SET enable_memoize = off',
	analyze => 1);
like($plan, qr/n2: partitions=1, rows=20.*n3: partitions=0, rows=0.*never executed/s,
	'so does the inner side of a nested loop');

$plan = plan_of('SELECT count(*) FROM e WHERE k = (SELECT k FROM keys WHERE place = \'n3\')',
	analyze => 1);
like($plan, qr/n2: partitions=0.*n3: partitions=1.*never executed/s,
	'and a subquery\'s value');

# --- order and limit ---
$plan = plan_of('SELECT id FROM e ORDER BY ts DESC, id LIMIT 3 OFFSET 2', analyze => 1);
is(remote_sql($plan),
	q{SELECT id, ts FROM public.e ORDER BY ts DESC, id LIMIT '5'::bigint},
	'nodes sort, and send no more than could be wanted');
unlike($plan, qr/Node: n\d: partitions=\d, rows=([6-9]|\d\d)/, 'they do not');
like($plan, qr/top-N heapsort|Sort Method/, 'the local part is sorted too');
is(remote_sql(plan_of('SELECT id FROM e LIMIT 4')),
	q{SELECT id FROM public.e LIMIT '4'::bigint}, 'a limit alone travels');
unlike(remote_sql(plan_of('SELECT id FROM e WHERE random() < 2 LIMIT 4')),
	qr/LIMIT|random/, 'but not below a filter of this node');
unlike(remote_sql(plan_of('SELECT id FROM e ORDER BY id FETCH FIRST 2 ROWS WITH TIES')),
	qr/LIMIT/, 'nor with ties');

# --- groups ---
$plan = plan_of('SELECT s, count(*), avg(v) FROM e GROUP BY s HAVING count(*) > 2');
like($plan, qr/Finalize.*DLog Fanout.*Partial/s, 'groups over several nodes are combined');
is(remote_sql($plan), 'SELECT s, count(*), avg(v) FROM public.e GROUP BY s',
	'from transition states');

$plan = plan_of('SELECT k, array_agg(id), count(DISTINCT s) FROM e GROUP BY k HAVING sum(v) > 0');
unlike($plan, qr/Finalize/, 'groups by the key are whole on their nodes');
is(remote_sql($plan),
	"SELECT k, array_agg(id), count(DISTINCT s) FROM public.e GROUP BY k HAVING (sum(v) > '0'::numeric)",
	'any aggregate and HAVING travel');

$plan = plan_of('SELECT k, count(*) AS c FROM e GROUP BY k ORDER BY c DESC LIMIT 2');
like(remote_sql($plan), qr/GROUP BY k ORDER BY \(count\(\*\)\) DESC LIMIT '2'/,
	'and so do the first of them');

like(remote_sql(plan_of("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM e WHERE k = $there")),
	qr/percentile_cont/, 'all of a query on one node travels');
is(remote_sql(plan_of('SELECT DISTINCT s FROM e')),
	'SELECT s FROM public.e GROUP BY s', 'DISTINCT is done by the nodes first');
$plan = plan_of('SELECT count(DISTINCT k) FROM e');
is(remote_sql($plan), 'SELECT count(DISTINCT k) FROM public.e',
	'distinct keys are counted by the nodes');

foreach my $case (
	[ 'percentile_cont(0.5) WITHIN GROUP (ORDER BY v)', 'aggregate percentile_cont has no combine function' ],
	[ 'count(DISTINCT s)', 'aggregate count has DISTINCT' ],
	[ 'sum(v ORDER BY id)', 'aggregate sum has ORDER BY' ],
	[ 'sum(random())', 'it has a volatile function or a subquery' ],
	[ 'sum(mine(id))', 'function mine may differ on other nodes', 'CREATE OR REPLACE FUNCTION mine(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN $1; END$$' ],
	[ 'count(*)', 'dlog.enable_partial_aggregate is off', 'SET dlog.enable_partial_aggregate = off' ])
{
	my ($aggregate, $reason, $settings) = @$case;
	like(plan_of("SELECT s, $aggregate FROM e GROUP BY s", settings => $settings),
		qr/Not Pushed Down: \Q$reason\E/, "EXPLAIN tells: $reason");
}

# Everything else that keeps work here.
$cluster->sql_everywhere('CREATE ROLE viewer');
$cluster->sql(1, <<'SQL');
CREATE TABLE here_only (k int, t text);
CREATE TABLE g (k int, n int);
SELECT dlog.distribute_table('g', by => 'k', partitions => 5);
CREATE TABLE copied (k int PRIMARY KEY, n int);
SELECT dlog.replicate_table('copied');
CREATE TABLE odd (k int, c regclass, j json);
SELECT dlog.distribute_table('odd', by => 'k', partitions => 6);
CREATE FOREIGN TABLE by_hand (k int, n int) SERVER n2;
CREATE TABLE hand (k int, n int) PARTITION BY LIST (k);
CREATE FOREIGN TABLE hand1 PARTITION OF hand DEFAULT SERVER n2;
CREATE FUNCTION same(int, int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 = $2; END';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same);
CREATE AGGREGATE mine_total (int) (SFUNC = int4pl, STYPE = int, COMBINEFUNC = int4pl);
CREATE TYPE feeling AS ENUM ('sad');
CREATE FUNCTION feel(int) RETURNS feeling IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN 'sad'; END$$;
CREATE VIEW mine AS SELECT * FROM f;
GRANT SELECT ON f TO viewer;
ALTER VIEW mine OWNER TO viewer;
SQL
foreach my $case (
	# groups
	[ 'SELECT s, count(*) FROM e GROUP BY ROLLUP (s)', 'it has grouping sets' ],
	[ 'SELECT s, generate_series(1, 2), count(*) FROM e GROUP BY s', 'it has a set-returning function' ],
	[ q{SELECT s, 'x', count(*) FROM e GROUP BY s, 'x'::text}, 'it groups by a value that is the same for all rows' ],
	[ 'SELECT sum((SELECT e.id + 1)) FROM e', 'it has a subquery' ],
	[ 'SELECT (id % 4) * 2 + k, count(*), rank() OVER (ORDER BY count(*)) FROM e GROUP BY k, id % 4', 'it computes with what it groups by, above the groups' ],
	[ q{SELECT sum(length(to_char(v, '99'))) FROM e}, 'function to_char is not immutable' ],
	[ q{SELECT count(*) FILTER (WHERE s COLLATE "C" < 'x') FROM e}, 'a collation does not come from a column' ],
	[ 'SELECT count(*) FILTER (WHERE id === k) FROM e', 'operator === may differ on other nodes' ],
	[ 'SELECT mine_total(id) FROM e', 'aggregate mine_total may differ on other nodes' ],
	[ 'SELECT max(feel(id)) FROM e', 'type feeling may differ on other nodes' ],
	[ 'SELECT count(*) FILTER (WHERE c IS NULL) FROM odd', 'values of type regclass differ on other nodes' ],
	[ 'SELECT count(*) FILTER (WHERE c::oid = 3) FROM odd', q{an oid is another object's on other nodes} ],
	[ 'SELECT count(*) FILTER (WHERE (id, k) < (3, 4)) FROM e', 'it has an expression that cannot be shipped' ],
	[ 'SELECT json_agg(id), count(*) FROM e', 'aggregate json_agg has no combine function' ],
	[ 'SELECT jsonb_agg(id) FROM e', 'aggregate jsonb_agg has no combine function' ],
	[ 'SELECT string_agg(s, $$,$$) FROM e', 'aggregate string_agg has no combine function' ],
	[ 'SELECT array_agg(id) FROM e', 'aggregate array_agg has no combine function' ],
	[ 'SELECT mode() WITHIN GROUP (ORDER BY s) FROM e', 'aggregate mode has no combine function' ],
	[ 'SELECT rank(3) WITHIN GROUP (ORDER BY id) FROM e', 'aggregate rank has no combine function' ],
	# conditions
	[ 'SELECT count(*) FROM e WHERE random() < 2', 'a condition is checked here: it has a volatile function or a subquery' ],
	[ q{SELECT id FROM e WHERE to_char(v, '9') = 'x'}, 'a condition is checked here: function to_char is not immutable' ],
	[ 'SELECT id FROM e WHERE mine(id) = 3', 'a condition is checked here: function mine may differ on other nodes' ],
	[ q{SELECT count(*) FROM e WHERE now() > '2020-01-01'}, 'a condition is checked once for all rows' ],
	# order, limit, HAVING, DISTINCT
	[ 'SELECT id FROM e ORDER BY id, random() LIMIT 3', 'it is ordered by a volatile function' ],
	[ 'SELECT id FROM e ORDER BY mine(id) LIMIT 3', 'function mine may differ on other nodes' ],
	[ 'SELECT k FROM odd ORDER BY c LIMIT 3', q{an oid is another object's on other nodes} ],
	[ 'SELECT id FROM e ORDER BY id FETCH FIRST 3 ROWS WITH TIES', 'LIMIT has WITH TIES' ],
	[ 'SELECT id FROM e ORDER BY id LIMIT (random() * 10)::int', 'LIMIT has a volatile function or a subquery' ],
	[ 'SELECT id FROM e WHERE mine(id) > 3 ORDER BY id LIMIT 3', 'a condition is checked here: function mine may differ on other nodes' ],
	[ 'SELECT s, count(*) AS c FROM e GROUP BY s ORDER BY c LIMIT 3', 'a group has rows of several nodes' ],
	[ 'SELECT s, count(*) FROM e GROUP BY s HAVING count(*) > 3', 'a group has rows of several nodes' ],
	[ 'SELECT k, count(*) FROM e GROUP BY k HAVING mine(count(*)::int) > 3', 'function mine may differ on other nodes' ],
	[ 'SELECT k, count(*) AS c FROM e GROUP BY k ORDER BY mine(count(*)::int) LIMIT 3', 'function mine may differ on other nodes' ],
	[ 'SELECT k, count(*) AS c FROM e GROUP BY k ORDER BY c FETCH FIRST 3 ROWS WITH TIES', 'LIMIT has WITH TIES' ],
	[ 'SELECT DISTINCT mine(id) FROM e', 'function mine may differ on other nodes' ],
	# windows
	[ 'SELECT rank() OVER (ORDER BY id) FROM e', 'a window has rows of several nodes' ],
	[ 'SELECT rank() OVER (PARTITION BY k ORDER BY c) FROM odd', 'a window is ordered by a type that may differ on other nodes' ],
	[ 'SELECT rank() OVER (PARTITION BY k ORDER BY mine(id)) FROM e', 'function mine may differ on other nodes' ],
	[ 'SELECT rank() OVER (PARTITION BY k ORDER BY id), generate_series(1, 2) FROM e', 'it has a set-returning function' ],
	[ 'SELECT s, rank() OVER (PARTITION BY s ORDER BY count(*)) FROM e GROUP BY s', 'a group has rows of several nodes' ],
	[ 'SELECT s, k, rank() OVER (PARTITION BY s ORDER BY count(*)) FROM e GROUP BY s, k', 'a window has rows of several nodes' ],
	[ 'SELECT s, k, rank() OVER (PARTITION BY k ORDER BY mine(count(*)::int)) FROM e GROUP BY s, k', 'function mine may differ on other nodes' ],
	# joins
	[ 'SELECT e.id, f.n FROM e JOIN f ON f.k = e.id', 'a join is not by what its tables are distributed by' ],
	[ 'SELECT e.id, f.n FROM e JOIN f ON f.k < e.k', 'a join is not by what its tables are distributed by' ],
	[ 'SELECT e.id, g.n FROM e JOIN g USING (k)', 'a join is of tables that are not co-located' ],
	[ 'SELECT e.id, f.n FROM e FULL JOIN f ON f.k = e.id', 'a join is not by what its tables are distributed by' ],
	[ 'SELECT o.id, f.n FROM (SELECT * FROM e WHERE id > 3) o FULL JOIN f USING (k)', 'a table of a full join has a condition of its own' ],
	[ 'SELECT e.id, c.n FROM e FULL JOIN copied c USING (k)', 'an outer join or semijoin keeps rows of a replicated table' ],
	[ 'SELECT e.id, f.n, c.n FROM e FULL JOIN f USING (k) LEFT JOIN copied c ON c.n = f.n', 'a full join is joined with another table' ],
	[ 'SELECT e.id, h.t FROM e JOIN here_only h USING (k)', 'it is joined with "here_only", which is not on all nodes asked' ],
	[ 'SELECT e.id, v.x FROM e JOIN (VALUES (1), (2)) v(x) ON v.x = e.id', 'it is joined with rows that are made here' ],
	[ 'SELECT e.id, h.n FROM e JOIN hand h USING (k)', 'a join is of a table that was not made by distribute_table()' ],
	[ 'SELECT c.k, e.id FROM copied c LEFT JOIN e USING (k)', 'an outer join or semijoin keeps rows of a replicated table' ],
	[ 'SELECT e.id, f.n FROM e LEFT JOIN (f JOIN copied c ON c.n = f.n) ON f.k = e.k', 'an outer join or semijoin is with a join' ],
	[ 'SELECT e.id, f.n FROM e JOIN f USING (k) WHERE mine(e.id) = 3', 'a condition is checked here: function mine may differ on other nodes' ],
	[ 'SELECT e.id, f.n FROM e JOIN f USING (k) WHERE mine(e.id + f.n) = 3', 'a condition of a join is checked here: function mine may differ on other nodes' ],
	[ 'SELECT e.id, x.y FROM e LEFT JOIN (SELECT k, coalesce(n, 0) AS y FROM f) x USING (k)', 'it has an expression that is computed below a join' ],
	[ 'SELECT e.id, m.n FROM e JOIN mine m USING (k)', 'tables are read as different roles' ],
	[ 'SELECT c.ctid, e.id FROM e JOIN copied c USING (k)', 'it uses a system column of a replicated table' ])
{
	my ($query, $reason) = @$case;
	like(plan_of($query), qr/Not Pushed Down: \Q$reason\E$/m, "$query: $reason");
}
unlike(plan_of($_), qr/Not Pushed Down/, "nothing keeps it here: $_") foreach (
	'SELECT * FROM e WHERE id > 3 ORDER BY id LIMIT 3',
	'SELECT k, count(*) AS c FROM e GROUP BY k HAVING count(*) > 2 ORDER BY c LIMIT 3',
	'SELECT s, count(*) FROM e GROUP BY s',
	'SELECT DISTINCT s FROM e',
	'SELECT e.id, f.n FROM e JOIN f USING (k) LIMIT 3',
	'SELECT e.id, f.n FROM e LEFT JOIN f USING (k)',
	'SELECT e.id, f.n FROM e FULL JOIN f USING (k)',
	'SELECT e.id FROM e WHERE EXISTS (SELECT FROM f WHERE f.k = e.k)',
	'SELECT e.id, c.n FROM e JOIN copied c ON c.n = e.id',
	'SELECT rank() OVER (PARTITION BY k ORDER BY id) FROM e',
	'SELECT s, k, rank() OVER (PARTITION BY k ORDER BY count(*)) FROM e GROUP BY s, k');

# --- functions and aggregates of the user ---
$cluster->sql_everywhere(<<'SQL');
CREATE SCHEMA shared;
CREATE FUNCTION shared.twice(numeric) RETURNS numeric IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 2 * $1; END';
CREATE AGGREGATE shared.total (numeric) (SFUNC = numeric_add, STYPE = numeric, COMBINEFUNC = numeric_add);
SQL
my $shared = "SET dlog.shippable_schemas = 'shared'";
$plan = plan_of('SELECT s, shared.total(shared.twice(v)) FROM e GROUP BY s', settings => $shared);
is(remote_sql($plan), 'SELECT s, shared.total(shared.twice(v)) FROM public.e GROUP BY s',
	'what is in a schema that is the same everywhere travels');
is($cluster->sql(1, "$shared; SELECT shared.total(shared.twice(v)) FROM e"),
	$cluster->sql(1, 'SELECT 2 * sum(v) FROM e'), 'and is combined');

# --- one that nodes could not send the state of ---
$cluster->sql_everywhere('CREATE AGGREGATE shared.average (int8) (SFUNC = int8_avg_accum, STYPE = internal, COMBINEFUNC = int8_avg_combine, FINALFUNC = numeric_poly_avg)');
like(plan_of('SELECT shared.average(id) FROM e', settings => $shared),
	qr/Not Pushed Down: aggregate average has no serialization function$/m, 'EXPLAIN tells: an aggregate has no serialization function');
is($cluster->sql(1, "$shared; SELECT shared.average(id) = avg(id) FROM e"), 't', 'and it is right');

# --- what must be done here is prepared there ---
$plan = plan_of('SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM e');
is(remote_sql($plan), 'SELECT (v)::double precision FROM public.e ORDER BY ((v)::double precision)',
	'the nodes compute and sort what an aggregate is given');
like($plan, qr/Not Pushed Down: aggregate percentile_cont has no combine function/, 'and EXPLAIN says why no more');
$cluster->sql(1, 'CREATE INDEX e_id ON e (id)');
like(plan_of('SELECT id, v FROM e ORDER BY id, v LIMIT 5', settings => 'SET enable_sort = off'),
	qr/Incremental Sort.*Merge Append.*Index Scan/s, 'the local part of a top-N uses indexes as far as they go');
$cluster->sql(1, 'DROP INDEX e_id');

# --- joins ---
$plan = plan_of('SELECT s, count(*) FROM e JOIN f USING (k) WHERE n = 1 GROUP BY s');
is(remote_sql($plan),
	'SELECT e.s, count(*) FROM public.e, public.f WHERE ((f.n = $1) AND (e.k = f.k)) GROUP BY e.s',
	'a join on the keys of co-located tables is done by the nodes');
is($cluster->sql(1, 'SELECT count(*), sum(id) FROM e JOIN f USING (k) WHERE n = 1'),
	$cluster->sql(1, 'SET dlog.enable_fanout_scan = off; SELECT count(*), sum(id) FROM e JOIN f USING (k) WHERE n = 1'),
	'and right');
unlike(remote_sql(plan_of('SELECT count(*) FROM e JOIN f ON e.id = f.k')),
	qr/public\.e.*public\.f/, 'one on other columns is not');
like(remote_sql(plan_of('SELECT e.id, f.n FROM e LEFT JOIN f ON f.k = e.k AND f.n = 2 WHERE e.v > 1')),
	qr/FROM \(public\.e LEFT JOIN public\.f ON .*f\.n = .*\) WHERE \(e\.v > '1'::numeric\)$/, 'a left join is done there too');
like(remote_sql(plan_of('SELECT coalesce(e.k, f.k), count(*) FROM e FULL JOIN f ON f.k = e.k AND f.n > e.id WHERE coalesce(f.n, 0) < 3 GROUP BY 1')),
	qr/^SELECT COALESCE\(e\.k, f\.k\), count\(\*\) FROM \(public\.e FULL JOIN public\.f ON .*f\.n > e\.id.*\) WHERE .*COALESCE\(f\.n, .*GROUP BY COALESCE/, 'a full join, too');
like(plan_of('SELECT f.n, count(*) FROM e LEFT JOIN f USING (k) GROUP BY f.n'),
	qr/Finalize.*LEFT JOIN.*GROUP BY f\.n/s, 'and grouped');
like(remote_sql(plan_of('SELECT count(*) FROM e WHERE EXISTS (SELECT FROM f WHERE f.k = e.k AND f.n < e.id)')),
	qr/FROM public\.e WHERE \(EXISTS \( SELECT\s+FROM public\.f WHERE /, 'so is a semijoin');
like(remote_sql(plan_of('SELECT id FROM e WHERE NOT EXISTS (SELECT FROM f WHERE f.k = e.k AND f.n > 1)')),
	qr/FROM public\.e WHERE \(NOT \(EXISTS \( SELECT\s+FROM public\.f WHERE /, 'and an antijoin');
unlike(remote_sql(plan_of('SELECT count(*) FROM e LEFT JOIN f ON e.id = f.k')),
	qr/LEFT JOIN/, 'but not on other columns');

# --- windows ---
$plan = plan_of('SELECT id, sum(v) OVER (PARTITION BY k ORDER BY id) FROM e');
like($plan, qr/^Custom Scan \(DLog Fanout\)/, 'windows by the key are whole on their nodes');
like(remote_sql($plan), qr/^SELECT id, sum\(v\) OVER \(PARTITION BY k ORDER BY id\).* FROM public\.e$/, 'and computed there');
$plan = plan_of('SELECT k, s, rank() OVER (PARTITION BY k ORDER BY sum(v) / count(*)) FROM e GROUP BY k, s');
like($plan, qr/^Custom Scan \(DLog Fanout\)/, 'so are those over groups by the key');
like(remote_sql($plan), qr/^SELECT k, s, .*rank\(\) OVER \(PARTITION BY k ORDER BY \(sum\(v\) \/ .*count\(\*\).*\) FROM public\.e GROUP BY k, s$/, 'and computed there, too');
like(plan_of('SELECT rank() OVER (PARTITION BY s ORDER BY id) FROM e'),
	qr/Not Pushed Down: a window has rows of several nodes/, 'others are not');
SKIP:
{
	skip 'later servers keep it elsewhere', 1 if $cluster->node(1)->pg_version >= 17;
	like(remote_sql(plan_of('SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY k ORDER BY id) AS n FROM e) q WHERE n <= 2')),
		qr/ FROM \( SELECT .* FROM public\.e\) rows WHERE \(c\d <= 2\)$/, 'what is asked of a row\'s place travels');
}

# --- cursors, restarts, errors ---
is($cluster->sql(1, <<'SQL'), "1\n2\n3\n4\n5\n4", 'a cursor goes on, and back if it may');
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM e ORDER BY id;
FETCH 3 FROM c;
FETCH 2 FROM c;
FETCH PRIOR FROM c;
COMMIT;
SQL
is($cluster->sql(1, <<'SQL'), "2\n2\n596", 'so does one without order');
BEGIN;
CREATE TEMP TABLE seen (id int);
DECLARE c CURSOR FOR SELECT id FROM e;
CREATE FUNCTION pg_temp.take(c refcursor) RETURNS int LANGUAGE plpgsql AS
	'DECLARE row record; BEGIN FETCH c INTO row; INSERT INTO seen VALUES (row.id); FETCH c INTO row; INSERT INTO seen VALUES (row.id); RETURN 2; END';
SELECT pg_temp.take('c');
SELECT pg_temp.take('c');
CREATE FUNCTION pg_temp.drain(c refcursor) RETURNS bigint LANGUAGE plpgsql AS
	'DECLARE row record; n bigint := 0; BEGIN LOOP FETCH c INTO row; EXIT WHEN NOT FOUND; n := n + 1; END LOOP; RETURN n; END';
SELECT pg_temp.drain('c');
COMMIT;
SQL
like($cluster->sql_error(1, "SELECT sum(1 / (id - $there)) FROM e WHERE k = $there AND id = $there"),
	qr/22012.*division by zero.*node "n2"/s, 'an error names its node');
is($cluster->sql(1, 'SELECT count(*) FROM e'), '600', 'and ends nothing else');

# A view's tables are read as its owner, a session's own as its role.
$cluster->sql_everywhere('CREATE ROLE analyst LOGIN');
$cluster->sql(1, <<'SQL');
CREATE VIEW open_to_all AS SELECT s, v FROM e;
GRANT SELECT ON open_to_all TO analyst;
SQL
is($cluster->sql(1, 'SET ROLE analyst; SELECT count(v) FROM open_to_all'), '600',
	'through a view');
like($cluster->sql_error(1, 'SET ROLE analyst; SELECT count(v) FROM e'),
	qr/42501/, 'not without it');

# Row-level security: what the policy does not show, no function sees.
$cluster->sql(1, <<'SQL');
GRANT SELECT ON e, f TO analyst;
ALTER TABLE e ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_one ON e FOR SELECT TO analyst USING (s = 's1');
SQL
$plan = plan_of('SELECT count(*) FROM e WHERE 1 / (v - 100) < 1', settings => 'SET ROLE analyst');
unlike(remote_sql($plan), qr/100/, 'a filter that could tell stays above the policy');
like($plan, qr/Not Pushed Down: a condition is checked here: it could tell of rows that row-level security or a view hides$/m, 'and EXPLAIN says why');
like(plan_of('SELECT e.id, f.n FROM e JOIN f USING (k)', settings => 'SET ROLE analyst'),
	qr/Not Pushed Down: row-level security or a view hides rows$/m, 'as it does of a join');
is($cluster->sql(1, 'SET ROLE analyst; SELECT count(*), min(s), max(s) FROM e'),
	'120|s1|s1', 'the policy holds on all nodes');

done_testing();
