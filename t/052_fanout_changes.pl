# UPDATE and DELETE of a distributed table do what they would do to an ordinary
# one: with joins, subqueries and RETURNING, asked on any node; and what the
# server refuses for foreign tables is refused.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3);
$cluster->sql(1, <<'SQL');
CREATE TABLE o_d (id int PRIMARY KEY, k int, v numeric, s text);
INSERT INTO o_d SELECT i, i % 20, i % 7, CASE WHEN i % 5 > 0 THEN 's' || i % 5 END FROM generate_series(1, 400) i;
CREATE TABLE o_e (id int, n int, s text);
INSERT INTO o_e SELECT i % 150, i % 9, 's' || i % 4 FROM generate_series(1, 300) i;
CREATE TABLE o_r (s text PRIMARY KEY, n int);
INSERT INTO o_r SELECT 's' || i, i FROM generate_series(0, 6) i;
CREATE TABLE l (id int PRIMARY KEY, k int, s text);
INSERT INTO l SELECT i, i % 11, 's' || i % 6 FROM generate_series(1, 60) i;

CREATE TABLE d_d (LIKE o_d INCLUDING ALL);
CREATE TABLE d_e (LIKE o_e INCLUDING ALL);
CREATE TABLE d_r (LIKE o_r INCLUDING ALL);
SELECT dlog.distribute_table('d_d', by => 'id', partitions => 6);
SELECT dlog.distribute_table('d_e', by => 'id', colocate_with => 'd_d');
SELECT dlog.replicate_table('d_r');
INSERT INTO d_d TABLE o_d;
INSERT INTO d_e TABLE o_e;
INSERT INTO d_r TABLE o_r;
ANALYZE;
SQL
foreach my $i (2, 3)
{
	$cluster->sql($i, 'CREATE TABLE l (id int PRIMARY KEY, k int, s text); INSERT INTO l SELECT i, i % 11, $$s$$ || i % 6 FROM generate_series(1, 60) i;'
		  . 'CREATE TABLE o_d (id int PRIMARY KEY, k int, v numeric, s text); INSERT INTO o_d SELECT * FROM d_d;'
		  . 'CREATE TABLE o_e (id int, n int, s text); INSERT INTO o_e SELECT * FROM d_e;'
		  . 'CREATE TABLE o_r (s text PRIMARY KEY, n int); INSERT INTO o_r SELECT * FROM d_r; ANALYZE');
}

# D is changed, E is co-located with it, R is replicated, l is here.
my @changes = (
	# by its own columns
	'UPDATE D SET v = v + 1 WHERE k < 5 RETURNING id, v',
	'UPDATE D SET v = v * 2, s = upper(s) WHERE s IS NOT NULL AND id % 3 = 0 RETURNING *',
	'UPDATE D SET (k, v) = (v::int, k) WHERE id < 50 RETURNING id, k, v',
	'UPDATE D SET k = DEFAULT WHERE id BETWEEN 20 AND 40 RETURNING id, k',
	'UPDATE D SET v = v + length(random()::text) * 0 WHERE k = 3 RETURNING id, v',
	'UPDATE D SET s = s || id::text, k = -k RETURNING id, s, k',
	'UPDATE D SET v = 1 WHERE false RETURNING id',
	'DELETE FROM D WHERE id % 4 = 1 RETURNING *',
	'DELETE FROM D WHERE random() >= 0 AND k = 4 RETURNING id',
	'DELETE FROM D RETURNING id',
	# with joins
	'UPDATE D SET v = l.k, s = l.s FROM l WHERE l.id = D.id RETURNING D.id, D.v, D.s, l.k',
	'UPDATE D SET v = -1 FROM l WHERE l.k = D.k AND l.id < 8 RETURNING D.id, D.v',
	'UPDATE D SET v = D.v + e.c FROM (SELECT id, count(*) AS c FROM E GROUP BY id) e WHERE e.id = D.id RETURNING D.id, D.v, e.c',
	'UPDATE D SET v = 100 FROM E e WHERE e.id = D.id AND e.n = 3 RETURNING D.id',
	'UPDATE D SET v = r.n FROM R r WHERE r.s = D.s RETURNING D.id, D.v, r.n',
	'UPDATE D SET v = r.n + l.k FROM R r JOIN l ON l.s = r.s WHERE l.id = D.id AND r.n > 1 RETURNING D.id, D.v',
	'UPDATE D SET v = o.v + 1 FROM D o WHERE o.id = D.id + 1 AND o.k = 7 RETURNING D.id, D.v, o.id',
	'UPDATE D SET s = e.s FROM l LEFT JOIN (SELECT DISTINCT ON (id) id, s FROM E ORDER BY id, n, s) e ON e.id = l.id WHERE l.id = D.id RETURNING D.id, D.s',
	'DELETE FROM D USING l WHERE l.id = D.id AND l.k > 3 RETURNING D.id, l.s',
	'DELETE FROM D USING E e WHERE e.id = D.id AND e.n < 2 RETURNING D.id',
	'DELETE FROM D USING R r WHERE r.s = D.s AND r.n = 2 RETURNING D.id, r.n',
	'DELETE FROM D USING D o WHERE o.id = D.id + 200 AND o.v = D.v RETURNING D.id',
	'DELETE FROM D USING E e JOIN l ON l.id = e.id WHERE e.id = D.id AND l.k = e.n RETURNING D.id',
	# with subqueries
	'UPDATE D SET v = (SELECT max(l.k) FROM l WHERE l.id < D.id) WHERE id < 30 RETURNING id, v',
	'UPDATE D SET v = (SELECT count(*) FROM E e WHERE e.id = D.id) WHERE k = 9 RETURNING id, v',
	'UPDATE D SET v = (SELECT sum(o.v) FROM D o WHERE o.k = D.k) WHERE id < 25 RETURNING id, v',
	'UPDATE D SET v = 5 WHERE id IN (SELECT id FROM E WHERE n = 4) RETURNING id',
	'UPDATE D SET v = 6 WHERE EXISTS (SELECT FROM E e WHERE e.id = D.id AND e.n = D.v) RETURNING id',
	'UPDATE D SET v = 7 WHERE NOT EXISTS (SELECT FROM E e WHERE e.id = D.id) AND k < 6 RETURNING id',
	'UPDATE D SET v = 8 WHERE v > (SELECT avg(v) FROM D) RETURNING id',
	'DELETE FROM D WHERE id IN (SELECT id FROM D ORDER BY v DESC, id LIMIT 10) RETURNING id',
	'DELETE FROM D WHERE k NOT IN (SELECT k FROM l WHERE k < 8) RETURNING id',
	'DELETE FROM D WHERE (k, s) IN (SELECT k, s FROM l) RETURNING id',
	'DELETE FROM D WHERE id = ANY (ARRAY(SELECT id FROM l WHERE k = 2)) RETURNING id',
	# in WITH
	'WITH x AS (DELETE FROM D WHERE k = 3 RETURNING *), y AS (INSERT INTO l SELECT id + 1000, k, s FROM x RETURNING id) SELECT x.id, (SELECT count(*) FROM y) FROM x',
	'WITH x AS (SELECT id, n FROM E WHERE n > 6) UPDATE D SET v = 9 FROM x WHERE x.id = D.id RETURNING D.id',
	'WITH RECURSIVE t(id) AS (VALUES (1) UNION ALL SELECT t.id * 2 FROM t JOIN D ON D.id = t.id WHERE t.id < 200) DELETE FROM D USING t WHERE t.id = D.id RETURNING D.id',
	'WITH x AS (UPDATE D SET v = 0 WHERE id < 10 RETURNING id, v), y AS (UPDATE E SET n = 0 WHERE id < 10 RETURNING id) SELECT x.id, x.v, (SELECT count(*) FROM y) FROM x',
	# that read what is changed: it is as it was
	'WITH x AS (DELETE FROM D WHERE id < 50 RETURNING id) SELECT (SELECT count(*) FROM x), (SELECT count(*) FROM D)',
	'WITH x AS (DELETE FROM D WHERE random() >= 0 RETURNING id) SELECT (SELECT count(*) FROM x), (SELECT count(*) FROM D), (SELECT sum(v) FROM D WHERE k = 3)',
	'WITH x AS (INSERT INTO D SELECT id + 1000, 5, v, s FROM D RETURNING id) SELECT (SELECT count(*) FROM x), (SELECT count(*) FROM D)',
	'WITH x AS (INSERT INTO D SELECT id + 1000, 5, v, s FROM D) SELECT count(*), sum(id) FROM D',
	'WITH x AS (UPDATE D SET v = 7 RETURNING id) SELECT (SELECT count(*) FROM x), (SELECT sum(v) FROM D)',
	'WITH x AS (UPDATE D SET v = 7 + length(random()::text) * 0 RETURNING id) SELECT x.id, o.v FROM x JOIN D o USING (id)',
	'WITH x AS (UPDATE D SET v = 7 RETURNING id, v), y AS (UPDATE E SET n = (SELECT max(v) FROM D) RETURNING id, n) SELECT (SELECT sum(v) FROM x), y.* FROM y',
	'UPDATE D SET v = D.v + 1 FROM l WHERE l.k = D.k RETURNING D.id, D.v',
	'UPDATE D SET v = D.v + 1 FROM E e WHERE e.id = D.id RETURNING D.id, D.v',
	'UPDATE D SET k = D.k + 1 FROM l WHERE l.k = D.k AND random() >= 0 RETURNING D.id, D.k',
	'UPDATE D SET v = o.s FROM l, LATERAL (SELECT sum(x.v) AS s FROM D x WHERE x.k = l.k) o WHERE l.id = D.id RETURNING D.id, D.v',
	'DELETE FROM D WHERE v >= (SELECT avg(o.v) FROM D o WHERE o.k = D.k) RETURNING id',
	# rows that move
	'UPDATE D SET id = id + 1000 WHERE k < 4 RETURNING id, k',
	'UPDATE D SET id = D.id + 2000, s = l.s FROM l WHERE l.id = D.id RETURNING D.id, D.s, l.k',
	'UPDATE D SET id = -id RETURNING id',
	# of tables that are only read above
	'UPDATE l SET k = D.k, s = D.s FROM D WHERE D.id = l.id AND D.v > 2 RETURNING l.id, l.k, l.s',
	'DELETE FROM l USING D WHERE D.id = l.id AND D.k > l.k RETURNING l.id',
	'UPDATE R SET n = (SELECT count(*) FROM D WHERE D.s = R.s) RETURNING s, n',
	'DELETE FROM E USING D WHERE D.id = E.id AND D.k = 5 RETURNING E.id, E.n',
	'INSERT INTO E SELECT D.id, D.k, l.s FROM D JOIN l USING (id) RETURNING id, n, s',
	'INSERT INTO D SELECT id + 5000, k, v, s FROM D WHERE k = 2 RETURNING id',
);

# What a change answers, and what the tables hold after it.
sub outcome
{
	my ($node, $change, $prefix, $settings) = @_;
	(my $text = $change) =~ s/\b([DER])\b/$prefix . lc $1/ge;
	my ($status, $output, $error) = $cluster->node($node)->psql('postgres', <<"SQL");
$settings
BEGIN;
CREATE TEMP TABLE answer (line text);
DO \$do\$
DECLARE answered record;
BEGIN
	FOR answered IN $text LOOP INSERT INTO answer VALUES (answered::text); END LOOP;
END \$do\$;
SELECT count(*), md5(string_agg(line, ',' ORDER BY line)) FROM answer;
SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM ${prefix}d t;
SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM ${prefix}e t;
SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM ${prefix}r t;
SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM l t;
ROLLBACK;
SQL
	return $output . join("\n", map { /(ERROR:.*)/ ? $1 : () } split /\n/, $error);
}

my %plain;
foreach my $change (@changes)
{
	foreach my $node (1 .. 3)
	{
		my $expected = $plain{$change} //= outcome(1, $change, 'o_', '');
		my $settings = ('', 'SET dlog.enable_fanout_scan = off; SET dlog.enable_raw_rows = off;', 'SET enable_hashjoin = off; SET enable_mergejoin = off;')[ $node - 1 ];

		is(outcome($node, $change, 'd_', $settings), $expected, "n$node: $change");
	}
	unlike($plain{$change}, qr/ERROR/, 'it is no error');
}

# What a later statement of the transaction reads has been changed.
is($cluster->sql(1, 'BEGIN; UPDATE d_d SET v = 100 WHERE id < 10; SELECT count(*) FROM d_d WHERE v = 100; '
	  . 'UPDATE d_d SET v = (SELECT count(*) FROM d_d o WHERE o.v = 100) WHERE id = 20 RETURNING v; ROLLBACK'), "9\n9", 'the next statement sees what was changed');
is($cluster->sql(1, <<'SQL'), '3|3|3', 'and so does a function that is volatile, in the middle of a statement');
CREATE FUNCTION add(i int) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN INSERT INTO d_d VALUES (i + 10000, 0, 0, NULL); RETURN (SELECT count(*) FROM d_d WHERE id > 10000); END';
BEGIN;
SELECT max(add(i)), count(*), (SELECT count(*) FROM d_d WHERE id > 10000) + 3 FROM generate_series(1, 3) i;
ROLLBACK;
SQL

# A cursor reads what there was when it was declared, whenever it is read.
is($cluster->sql(1, <<'SQL'), "1\n2\n400|800\n3|3|391", 'a cursor that is read after a change');
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM d_d ORDER BY id;
DECLARE e CURSOR FOR SELECT count(*), 2 * count(v) FROM d_d;
DELETE FROM d_d WHERE id < 10;
UPDATE d_d SET v = NULL WHERE id < 100;
FETCH 2 FROM c;
FETCH 1 FROM e;
FETCH 1 FROM c \gset
SELECT :id, 3, count(*) FROM d_d;
ROLLBACK;
SQL

# Statements in a loop over another one, in a transaction that has written.
is($cluster->sql(1, <<'SQL'), "400|79800\n400|0", 'a loop that changes what it reads reads it as it was');
BEGIN;
UPDATE d_d SET v = 0;
DO $$
DECLARE r record; n int := 0; total bigint := 0;
BEGIN
	FOR r IN SELECT id, v FROM d_d ORDER BY id LOOP
		UPDATE d_d SET v = n WHERE id = r.id;
		total := total + (SELECT v FROM d_d WHERE id = r.id) + r.v;
		n := n + 1;
	END LOOP;
	CREATE TEMP TABLE said AS SELECT n, total;
END $$;
TABLE said;
SELECT count(*), sum(v) - 79800 FROM d_d;
ROLLBACK;
SQL

# One row that several match is changed once, by either.
like($cluster->sql(1, 'BEGIN; UPDATE d_d SET v = e.n FROM d_e e WHERE e.id = d_d.id AND d_d.id = 7 RETURNING v; ROLLBACK'), qr/^\d$/,
	'a row that several match is changed once');

# --- what the plan says -------------------------------------------------------------

sub plan_of { my ($query) = @_; return $cluster->sql(1, "EXPLAIN (VERBOSE, COSTS OFF) $query"); }
like(plan_of('UPDATE d_d SET v = v + 1 WHERE k = 3'), qr/Foreign Update on .*Remote SQL: UPDATE public\.d_d SET v = \(v \+ '1'::numeric\) WHERE \(k = 3\)/s,
	'one statement a node where it can be');
like(plan_of('UPDATE d_d SET v = l.k FROM l WHERE l.id = d_d.id'), qr/Remote SQL: UPDATE public\.d_d SET v = \$2 WHERE ctid = \$1.*Remote SQL: SELECT .*ctid.* FOR UPDATE/s,
	'else rows by their place, locked when they are read');

# --- what is refused -----------------------------------------------------------------

foreach my $case (
	[ 'MERGE INTO d_d USING l ON l.id = d_d.id WHEN MATCHED THEN DELETE', '42809|0A000' ],
	[ 'BEGIN; DECLARE c CURSOR FOR SELECT * FROM d_d; FETCH 1 FROM c; DELETE FROM d_d WHERE CURRENT OF c', '0A000|42P10|24000' ],
	[ "INSERT INTO d_d VALUES (1, 1, 1, 'x') ON CONFLICT ON CONSTRAINT d_d_pkey DO NOTHING", '42704' ])
{
	my ($sql, $states) = @$case;
	like($cluster->sql_error(1, $sql), qr/(?:$states)/, "refused: $sql");
}
is($cluster->sql(1, 'SELECT count(*), sum(v) FROM d_d'), $cluster->sql(1, 'SELECT count(*), sum(v) FROM o_d'), 'nothing has changed');

done_testing();
