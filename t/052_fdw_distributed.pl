# Partitions of a distributed table are modified through its parent on their
# node: by privileges and row-level security of the parent, one partition at a
# time, and rows go where they belong.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);
$cluster->sql($_, 'CREATE ROLE clerk; CREATE ROLE reader') foreach (1, 2);
$cluster->sql(1, <<'SQL');
CREATE TABLE d (id int PRIMARY KEY, owner text, n int CHECK (n >= 0));
SELECT dlog.distribute_table('d', by => 'id', partitions => 8);
INSERT INTO d SELECT i, CASE WHEN i % 2 = 0 THEN 'clerk' ELSE 'other' END, 1 FROM generate_series(1, 1000) i;
SQL
is($cluster->sql(1, 'SELECT count(*) > 0 FROM pg_foreign_table'), 't', 'some partitions are elsewhere');

# A row of a foreign partition of node 1.
my $there = $cluster->sql(1,
	"SELECT min(id) FROM d WHERE tableoid IN (SELECT ftrelid FROM pg_foreign_table) AND id > 10");

# --- one statement or row by row -----------------------------------------------

like($cluster->sql(1, "EXPLAIN (VERBOSE, COSTS OFF) UPDATE d SET n = n + 1 WHERE id = $there"),
	qr/UPDATE public\.d SET n = \(n \+ 1\) WHERE \(id = $there\)/, 'a whole update goes to the node');
is($cluster->sql(1, "UPDATE d SET n = n + 1 WHERE id = $there RETURNING n"), '2', 'and is done there');
is($cluster->sql(1, "UPDATE d SET n = n + length(random()::text) * 0 + 1 WHERE id = $there RETURNING n"), '3',
	'what it cannot compute is done row by row');
$cluster->sql(1, 'UPDATE d SET n = n + 10');
is($cluster->sql(2, 'SELECT count(*), sum(n) FROM d'), '1000|11002', 'an update of all changes each row once');
$cluster->sql(2, 'UPDATE d SET n = n + length(random()::text) * 0 - 10');
is($cluster->sql(1, 'SELECT count(*), sum(n) FROM d'), '1000|1002', 'from the other node too');
$cluster->sql(1, 'DELETE FROM d WHERE id % 10 = 3');
is($cluster->sql(2, 'SELECT count(*) FROM d'), '900', 'a delete as well');
is($cluster->sql(1, 'WITH x AS (DELETE FROM d USING (VALUES (4), (5), (6), (7)) v(i) WHERE id = i RETURNING id) SELECT * FROM x ORDER BY id'),
	"4\n5\n6\n7", 'and one with a join');

# --- rows that move ---------------------------------------------------------------

is($cluster->sql(1, 'WITH u AS (UPDATE d SET id = id + 10000 WHERE id <= 500 RETURNING id) SELECT count(*), min(id) > 10000 FROM u'),
	'446|t', 'many rows move, and are returned');
is($cluster->sql(2, 'SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE id <= 500) FROM d'),
	'896|896|0', 'each once');
is($cluster->sql(1, <<'SQL'), '0', 'all are where they belong');
SELECT count(*) FROM d WHERE NOT satisfies_hash_partition('d'::regclass, 8,
    (SELECT substring(relname FROM '\d+$')::int FROM pg_class WHERE oid = d.tableoid), id)
SQL

# --- privileges are the parent's ----------------------------------------------------

$cluster->sql(1, 'GRANT SELECT, INSERT, UPDATE, DELETE ON d TO clerk; GRANT SELECT ON d TO reader');
$cluster->sql(1, 'SET ROLE clerk; INSERT INTO d SELECT i, current_user, 1 FROM generate_series(2001, 2100) i');
is($cluster->sql(1, 'SET ROLE clerk; WITH u AS (UPDATE d SET n = 5 WHERE id BETWEEN 2001 AND 2100 RETURNING id) SELECT count(*) FROM u'),
	'100', 'who may write the table writes its partitions there');
like($cluster->sql_error(1, "SET ROLE reader; INSERT INTO d VALUES (3000, 'r', 1)"), qr/42501/, 'who may not does not');
like($cluster->sql_error(1, "SET ROLE reader; DELETE FROM d WHERE id = 2001"), qr/42501/, 'anything');

# A privilege that only node 2 has taken away.
$cluster->sql(2, 'SET dlog.propagate_ddl = off; REVOKE INSERT, UPDATE ON d FROM clerk');
like($cluster->sql_error(1, "SET ROLE clerk; INSERT INTO d SELECT i, 'c', 1 FROM generate_series(3001, 3100) i"),
	qr/42501.*n2/s, "it is the other node's privileges that count there");
is($cluster->sql(1, 'SELECT count(*) FROM d WHERE id > 3000 AND id < 10000'), '0', 'and nothing was written here');

# --- so is row-level security ---------------------------------------------------------

$cluster->sql(1, 'GRANT INSERT, UPDATE ON d TO clerk');
$cluster->sql(1, <<'SQL');
CREATE POLICY own ON d TO clerk USING (owner = current_user) WITH CHECK (owner = current_user AND n < 100);
ALTER TABLE d ENABLE ROW LEVEL SECURITY;
SQL
my $own = $cluster->sql(1, "SELECT count(*) FROM d WHERE owner = 'clerk'");
is($cluster->sql(1, 'SET ROLE clerk; SELECT count(*) FROM d'), $own, 'a role sees its rows');
is($cluster->sql(2, 'SET ROLE clerk; WITH u AS (UPDATE d SET n = 7 RETURNING 1) SELECT count(*) FROM u'),
	$own, 'updates its rows');
$cluster->sql(1, "SET ROLE clerk; INSERT INTO d SELECT i, 'clerk', 1 FROM generate_series(4001, 4020) i");
is($cluster->sql(2, 'SELECT count(*) FROM d WHERE id BETWEEN 4001 AND 4020'), '20', 'inserts its own');
like($cluster->sql_error(1, "SET ROLE clerk; INSERT INTO d SELECT i, 'other', 1 FROM generate_series(4021, 4040) i"),
	qr/42501/, 'and no others');
like($cluster->sql_error(1, 'SET ROLE clerk; UPDATE d SET n = 100'), qr/42501/, 'nor what the policy forbids');

done_testing();
