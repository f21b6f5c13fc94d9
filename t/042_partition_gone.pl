# A partition has another home, and a node does not know it yet: whom it asks
# for the rows asks for them where they are now.  Nothing is lost, and nothing
# is there twice.  Two nodes that take each other for the home say so.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3);

$cluster->sql(1, <<'SQL');
CREATE TABLE t (k integer PRIMARY KEY, v integer NOT NULL, s text);
CREATE TABLE u (k integer PRIMARY KEY, w integer NOT NULL);
INSERT INTO t SELECT i, i % 10, 'row ' || i FROM generate_series(1, 3000) i;
INSERT INTO u SELECT i, i % 7 FROM generate_series(1, 3000) i;
SELECT dlog.distribute_table('t', by => 'k', partitions => 6);
SELECT dlog.distribute_table('u', by => 'k', colocate_with => 't');
SQL

my @queries = (
	'SELECT count(*), sum(k), sum(v) FROM t',
	'SELECT v, count(*), avg(k), max(s) FROM t GROUP BY v ORDER BY v',
	'SELECT k, count(*) FROM t WHERE k < 40 GROUP BY k ORDER BY k',
	'SELECT * FROM t ORDER BY v DESC, k LIMIT 20',
	'SELECT count(*), sum(w) FROM t JOIN u USING (k) WHERE v = 3',
	'SELECT k, row_number() OVER (PARTITION BY k) FROM t WHERE k < 20 ORDER BY k',
	'SELECT count(*) FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.k = t.k AND w = 1)',
	'SELECT count(*), min(k) FROM t_1',
	'SELECT count(DISTINCT s) FROM t',
	'SELECT tableoid::regclass, count(*), min(k) FROM t GROUP BY 1 ORDER BY 3',
	"SELECT count(*) FROM t WHERE tableoid::regclass::text = 't_1'",
);
my @expected = map { $cluster->sql(1, $_) } @queries;

# By hand: t_1 goes from node 2 to node 3.  Node 1 is told nothing.
is($cluster->sql(1, "SELECT dlog.partition_node('t_1')"), 'n2', 'a partition of node 2');
my $rows = $cluster->sql(2, "SELECT string_agg(format('(%s,%s,%L)', k, v, s), ',') FROM t_1");
$cluster->sql(3, <<"SQL");
SET dlog.propagate_ddl = off;
BEGIN;
DROP FOREIGN TABLE t_1;
CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 6, REMAINDER 1);
ALTER TABLE t_1 ADD PRIMARY KEY (k);
INSERT INTO t_1 VALUES $rows;
COMMIT;
SQL
$cluster->sql(2, <<'SQL');
SET dlog.propagate_ddl = off;
BEGIN;
DROP TABLE t_1;
CREATE FOREIGN TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 6, REMAINDER 1)
	SERVER n3 OPTIONS (schema_name 'public', table_name 't_1');
COMMIT;
SQL

foreach my $node (1 .. 3)
{
	foreach my $i (0 .. $#queries)
	{
		is($cluster->sql($node, $queries[$i]), $expected[$i], "node $node: $queries[$i]");
	}
}

# --- writers, and what they see of each other

my $key = $cluster->sql(3, 'SELECT min(k) FROM t_1');
$cluster->sql(1, "UPDATE t SET v = v + 100 WHERE k = $key");
is($cluster->sql(3, "SELECT v FROM t_1 WHERE k = $key"), $key % 10 + 100, 'an update arrives');
is($cluster->sql(1, "BEGIN; UPDATE t SET v = 7 WHERE k = $key; SELECT v FROM t WHERE k = $key; ROLLBACK"), 7,
	'a transaction sees what it has written');
is($cluster->sql(3, "SELECT v FROM t_1 WHERE k = $key"), $key % 10 + 100, 'a rollback arrives, too');
$cluster->sql(1, 'INSERT INTO t SELECT i, 0 FROM generate_series(3001, 3200) i');
$cluster->sql(1, "COPY t FROM PROGRAM 'seq 3201 3400 | sed s/\$/,0,x/' (FORMAT csv)");
$cluster->sql(1, 'UPDATE t SET v = 1 WHERE k > 3000');
$cluster->sql(1, 'DELETE FROM t WHERE k BETWEEN 3101 AND 3300');
is($cluster->sql($_, 'SELECT count(*), sum(k), sum(v) FROM t WHERE k > 3000'), '200|640100|200', "node $_ sees what was written")
  foreach (1 .. 3);
cmp_ok($cluster->sql(3, 'SELECT count(*) FROM t_1 WHERE k > 3000'), '>', 0, 'some of it in that partition');
like($cluster->sql_error(1, "INSERT INTO t VALUES ($key, 0)"), qr/23505: duplicate key/, 'its key holds');
is($cluster->sql(1, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t WHERE k <= 3000; COMMIT"), 3000,
	'REPEATABLE READ');
$cluster->sql(1, "PREPARE p AS SELECT count(*) FROM t WHERE k <= \$1; SET plan_cache_mode = force_generic_plan; EXECUTE p(3000)");

# --- a partition that goes while a request for it waits for its lock

my $mover = $cluster->node(3)->background_psql('postgres', on_error_stop => 0);
my $asker = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
is($cluster->sql(1, "SELECT dlog.partition_node('t_2')"), 'n3', 'a partition of node 3');
$rows = $cluster->sql(3, "SELECT string_agg(format('(%s,%s,%L)', k, v, s), ',') FROM t_2");
my $before = $cluster->sql(1, 'SELECT count(*), sum(k) FROM t_2');
$mover->query_safe(<<'SQL');
SET dlog.propagate_ddl = off;
BEGIN;
LOCK TABLE t IN ACCESS EXCLUSIVE MODE;
DROP TABLE t_2;
CREATE FOREIGN TABLE t_2 PARTITION OF t FOR VALUES WITH (MODULUS 6, REMAINDER 2)
	SERVER n2 OPTIONS (schema_name 'public', table_name 't_2');
SQL
$asker->query_until(qr/begun/, "\\echo begun\nSELECT count(*), sum(k) FROM t_2;\n");
$cluster->wait_until(3, "SELECT count(*) > 0 FROM pg_locks WHERE relation = 't'::regclass AND NOT granted");
$cluster->sql(2, <<"SQL");
SET dlog.propagate_ddl = off;
BEGIN;
DROP FOREIGN TABLE t_2;
CREATE TABLE t_2 PARTITION OF t FOR VALUES WITH (MODULUS 6, REMAINDER 2);
INSERT INTO t_2 VALUES $rows;
COMMIT;
SQL
$mover->query_safe('COMMIT');
is($asker->query('SELECT 1'), "$before\n1", 'a request that waited for the lock finds where it has gone');
$asker->quit;
$mover->quit;

# --- nodes that differ

$cluster->sql(3, <<'SQL');
SET dlog.propagate_ddl = off;
BEGIN;
DROP TABLE t_1;
CREATE FOREIGN TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 6, REMAINDER 1)
	SERVER n2 OPTIONS (schema_name 'public', table_name 't_1');
COMMIT;
SQL
like($cluster->sql_error(1, 'SELECT count(*) FROM t'),
	qr/55000: a partition that has gone to node "n[23]" is not there.*Nodes differ/s,
	'nodes that take each other for its home say so');
like($cluster->sql_error(1, "INSERT INTO t SELECT * FROM generate_series(5000, 5100) i, generate_series(1, 1)"),
	qr/55000: a partition that has gone/, 'to writers, too');
# --- a map that is mended, under readers and writers

like($cluster->sql_error(3, "SELECT dlog.set_partition_node('t_1', 'n9')"), qr/42704: node "n9" does not exist/, 'no such node');
like($cluster->sql_error(3, "SELECT dlog.set_partition_node('t_1', 'n3')"), qr/22023: node "n3" is this node/, 'nor this one');
like($cluster->sql_error(3, "SELECT dlog.set_partition_node('t_0', 'n3'), dlog.set_partition_node('t_5', 'n2')"),
	qr/22023|42809/, 'nor for what is here');
like($cluster->sql_error(2, "SELECT dlog.set_partition_node('t_4', 'n1')"),
	qr/42809: the rows of partition "t_4" are on this node/, 'a partition that is here has no other home');
like($cluster->sql_error(1, "SELECT dlog.set_partition_node('t', 'n2')"),
	qr/42809: "t" is not a partition of a distributed table/, 'nor has a table');
like($cluster->sql_error(1, "CREATE ROLE other; SET ROLE other; SELECT dlog.set_partition_node('t_1', 'n2')"),
	qr/42501: must be owner of foreign table t_1/, 'only the owner mends');

$cluster->sql(1, 'CREATE ROLE keeper; SET dlog.propagate_ddl = off; ALTER FOREIGN TABLE t_1 OWNER TO keeper');
$cluster->sql(1, 'REVOKE USAGE ON FOREIGN SERVER n2 FROM PUBLIC');
like($cluster->sql_error(1, "SET ROLE keeper; SELECT dlog.set_partition_node('t_1', 'n2')"),
	qr/42501: permission denied for foreign server n2/, 'who may use its server');
$cluster->sql(1, 'GRANT USAGE ON FOREIGN SERVER n2 TO keeper');
$cluster->sql(1, "SET ROLE keeper; SELECT dlog.set_partition_node('t_1', 'n2')");

my $reader = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
my $count = $cluster->sql(1, 'SELECT count(*) FROM t_2');
is($cluster->sql(1, "SELECT dlog.partition_node('t_2')"), 'n3', 'node 1 has an old map');
$reader->query_safe("PREPARE q AS SELECT count(*) FROM t_2; BEGIN; UPDATE t_2 SET v = v; EXECUTE q");
$cluster->sql(1, "SELECT dlog.set_partition_node('t_2', 'n2')");
is($cluster->sql(1, "SELECT dlog.partition_node('t_2')"), 'n2', 'it is mended while a transaction writes');
is($reader->query('EXECUTE q'), $count, 'which goes on');
$reader->query_safe('COMMIT');
is($reader->query('EXECUTE q'), $count, 'and the next finds the rows');
$reader->quit;
my $asked = "SELECT requests FROM dlog.partitions WHERE partition = 't_2'::regclass";
my ($old, $new) = map { $cluster->sql($_, $asked) } (3, 2);
is($cluster->sql(1, 'SELECT count(*) FROM t_2'), $count, 'a request');
is($cluster->sql(3, $asked), $old, 'does not go by the old home any more');
is($cluster->sql(2, $asked), $new + 1, 'but straight to the new one');
is($cluster->sql(1, q{SELECT count(*) FROM pg_depend d JOIN pg_foreign_server s ON d.refobjid = s.oid
	WHERE refclassid = 'pg_foreign_server'::regclass AND d.objid = 't_2'::regclass AND srvname = 'n2'}), 1, 'it depends on its new server');

is($cluster->sql(1, 'SELECT count(*) FROM t_4'), $cluster->sql(2, 'SELECT count(*) FROM t_4'), 'other partitions are not concerned');

done_testing();
