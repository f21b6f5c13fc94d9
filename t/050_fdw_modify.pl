# Foreign tables over two nodes: what is inserted, copied, updated and deleted
# through them is there, all of it or nothing, and rows move between the
# partitions of a table that lie on both nodes.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);

# The same partitioned table on both nodes, made by hand: odd partitions are
# at home on node 1, even ones on node 2.
foreach my $i (1, 2)
{
	$cluster->sql($i,
		'CREATE TABLE p (id int NOT NULL, v text, n int DEFAULT 1) PARTITION BY RANGE (id)');
	foreach my $k (1 .. 4)
	{
		my $home = $k % 2 == 1 ? 1 : 2;
		my $bounds = sprintf 'FOR VALUES FROM (%d) TO (%d)', ($k - 1) * 25000 + 1, $k * 25000 + 1;
		$cluster->sql($i, $i == $home
			? "CREATE TABLE p$k PARTITION OF p $bounds; ALTER TABLE p$k ADD CHECK (n > 0)"
			: "CREATE FOREIGN TABLE p$k PARTITION OF p $bounds SERVER n$home");
	}
}

# --- rows in bulk ---------------------------------------------------------------

$cluster->sql(1, "INSERT INTO p SELECT i, 'row ' || i FROM generate_series(1, 100000) i");
is($cluster->sql(2, 'SELECT count(*), sum(id), count(DISTINCT v) FROM p'),
	'100000|5000050000|100000', '100,000 rows inserted from node 1 are seen from node 2');
is($cluster->sql(2, 'SELECT count(*) FROM ONLY p2'), '25000', 'each where it belongs');

$cluster->sql(2, 'TRUNCATE p');
is($cluster->sql(1, 'SELECT count(*) FROM p'), '0', 'truncated on both nodes');

my $rows = join '', map { "$_\tcopied $_\n" } (1 .. 60000);
$cluster->sql(2, "COPY p (id, v) FROM stdin;\n$rows\\.\n");
is($cluster->sql(1, 'SELECT count(*), min(v), max(n) FROM p'), '60000|copied 1|1',
	'60,000 rows copied from node 2');

$cluster->sql(1, 'CREATE TABLE twin (LIKE p); INSERT INTO twin SELECT id + 40000, v FROM p WHERE id > 20000');
is($cluster->sql(1, 'SELECT count(*) FROM twin'), '40000', 'read through both nodes into a local table');

# --- all or nothing -------------------------------------------------------------

like($cluster->sql_error(1, 'INSERT INTO p SELECT i, i, CASE WHEN i = 99000 THEN 0 ELSE 1 END FROM generate_series(60001, 100000) i'),
	qr/23514.*p4_n_check/s, 'a row that violates a constraint there fails the statement');
like($cluster->sql_error(1, 'INSERT INTO p SELECT i, i FROM generate_series(60001, 110000) i'),
	qr/23514.*no partition of relation "p"/s, 'and so does one that has no partition');
like($cluster->sql_error(2, "COPY p FROM stdin;\n60001\ta\t1\n1\tb\t1\n70000\tc\t0\n\\.\n"),
	qr/23514/, 'and one that is copied');
is($cluster->sql(2, 'SELECT count(*) FROM p'), '60000', 'nothing of them remains');

$cluster->sql(1, "BEGIN; INSERT INTO p SELECT i, 'undone' FROM generate_series(60001, 70000) i; DELETE FROM p WHERE id < 30000; ROLLBACK");
is($cluster->sql(2, "SELECT count(*), count(*) FILTER (WHERE v = 'undone') FROM p"), '60000|0',
	'rolled back here is rolled back there');

is($cluster->sql(1, <<'SQL'), "60001\n60002", 'a savepoint undoes what came after it, on both nodes');
BEGIN;
INSERT INTO p VALUES (60001, 'kept'), (75001, 'kept');
SAVEPOINT s;
INSERT INTO p VALUES (60003, 'lost'), (75003, 'lost');
UPDATE p SET v = 'lost' WHERE id IN (60001, 75001);
ROLLBACK TO s;
INSERT INTO p VALUES (60002, 'kept');
COMMIT;
SELECT id FROM p WHERE v = 'kept' AND id < 70000 ORDER BY id;
SQL
is($cluster->sql(2, "SELECT count(*) FROM p WHERE v = 'lost'"), '0', 'all of it');

# --- one row ---------------------------------------------------------------------

is($cluster->sql(1, 'SELECT v FROM p WHERE id = 30000'), 'copied 30000', 'a lookup by key');
is($cluster->sql(1, "INSERT INTO p VALUES (99999, 'back', 7) RETURNING id, v, n, tableoid::regclass"),
	'99999|back|7|p4', 'INSERT ... RETURNING');
is($cluster->sql(1, "UPDATE p SET n = n + 1 WHERE id = 99999 RETURNING n"), '8', 'UPDATE ... RETURNING');
is($cluster->sql(2, "UPDATE p SET v = p.v || t.v FROM (VALUES (10, '!'), (30000, '?')) t(i, v) WHERE id = t.i RETURNING id, p.v"),
	"10|copied 10!\n30000|copied 30000?", 'UPDATE with a join, on both nodes');
is($cluster->sql(1, "DELETE FROM p WHERE id = 99999 RETURNING v"), 'back', 'DELETE ... RETURNING');
is($cluster->sql(1, "WITH d AS (DELETE FROM p WHERE id BETWEEN 24998 AND 25003 RETURNING id) SELECT count(*), min(id) FROM d"),
	'6|24998', 'DELETE on both nodes');

# --- rows that move ---------------------------------------------------------------

my %moves = (
	'from here to there' => [ 1, 1, 25001 ],
	'from there to here' => [ 1, 25004, 24998 ],
	'from there to there' => [ 1, 25005, 99000 ],
	'from there to here, asked by the other node' => [ 2, 2, 25002 ],);
foreach my $name (sort keys %moves)
{
	my ($node, $from, $to) = @{ $moves{$name} };
	is($cluster->sql($node, "UPDATE p SET id = $to, v = 'moved' WHERE id = $from RETURNING id, v"),
		"$to|moved", "a row moves $name");
	is($cluster->sql(3 - $node, "SELECT count(*) FILTER (WHERE id = $from), count(*) FILTER (WHERE id = $to) FROM p"),
		'0|1', 'and is in one place');
}
my $before = $cluster->sql(1, 'SELECT count(*), sum(id) FROM p WHERE id <= 60000');
$cluster->sql(1, 'UPDATE p SET id = id + 20000 WHERE id BETWEEN 10001 AND 12000 OR id BETWEEN 30001 AND 31000');
is($cluster->sql(2, "SELECT count(*) FROM p WHERE id BETWEEN 10001 AND 12000"), '0', 'many rows move at once');
is($cluster->sql(1, 'SELECT count(*) FROM (SELECT id FROM p WHERE id BETWEEN 30001 AND 32000 GROUP BY id) x'),
	'2000', 'each of them once');
$cluster->sql(1, "BEGIN; UPDATE p SET id = id + 50000 WHERE id < 100; ROLLBACK");
is($cluster->sql(2, 'SELECT count(*) FROM p WHERE id BETWEEN 50001 AND 50099'),
	$cluster->sql(1, 'SELECT count(*) FROM p WHERE id BETWEEN 50001 AND 50099'), 'and not at all when it is undone');
like($cluster->sql_error(1, 'UPDATE p2 SET id = 1 WHERE id = 40000'), qr/23514/,
	'a partition that is updated by itself keeps its rows');

# --- the table over there has triggers ---------------------------------------------

$cluster->sql(2, <<'SQL');
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.v := upper(NEW.v); RETURN NEW; END';
CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON p4 FOR EACH ROW EXECUTE FUNCTION shout();
SQL
is($cluster->sql(1, "INSERT INTO p VALUES (98000, 'quiet') RETURNING v"), 'QUIET', 'which fire there');
$cluster->sql(1, "INSERT INTO p VALUES (98001, 'silent')");
is($cluster->sql(1, "SELECT v FROM p WHERE id = 98001"), 'SILENT', 'also without RETURNING');

done_testing();
