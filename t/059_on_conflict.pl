# INSERT ... ON CONFLICT with a target, into distributed tables from any node and
# into foreign tables: what is left in them, what is returned, what is counted
# and what is refused is as with an ordinary table.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3);
my $columns = "id int, name text DEFAULT 'new', n int DEFAULT 0 CHECK (n < 1000), \"at all\" timestamptz, twice int GENERATED ALWAYS AS (n * 2) STORED";

$cluster->sql(1, <<"SQL");
CREATE TABLE d (gone int, $columns, PRIMARY KEY (id));
ALTER TABLE d DROP COLUMN gone;
SELECT dlog.distribute_table('d', by => 'id', partitions => 9);
SQL

# The twin, on each node, so that statements can be compared wherever they run.
$cluster->sql_everywhere("CREATE TABLE p ($columns, PRIMARY KEY (id))");

# Runs a statement over {t} on the distributed table, and on the twin; both must
# say the same, rows returned, their number, or the SQLSTATE, and leave the same.
my $moment = "'2026-01-02 03:04:05+00'";

sub outcome
{
	my ($node, $sql, $table) = @_;
	my $text = $sql =~ s/\{t\}/$table/gr;
	my ($status, $output, $error) = $cluster->node($node)->psql('postgres',
		"\\set VERBOSITY sqlstate\n\\set QUIET off\n$text");

	return join '|', sort split /\n/, $output . ($error =~ /(ERROR:  \w+)/ ? "\n$1" : $error);
}

sub alike
{
	my ($sql, $name) = @_;

	foreach my $node (1 .. $cluster->count)
	{
		# Both begin with the same rows.
		$cluster->sql(1, "TRUNCATE d; INSERT INTO d (id, name, n) SELECT i, 'old ' || i, i FROM generate_series(1, 60) i");
		$cluster->sql($node, "TRUNCATE p; INSERT INTO p (id, name, n) SELECT i, 'old ' || i, i FROM generate_series(1, 60) i");

		my $ours = outcome($node, $sql, 'd');
		is($ours, outcome($node, $sql, 'p'), "$name, from n$node");
		is($cluster->sql($node, 'SELECT * FROM d ORDER BY id'), $cluster->sql($node, 'SELECT * FROM p ORDER BY id'),
			'and the rows are the same');
	}
	return;
}

my $rows = "SELECT i, 'new ' || i, i + 100 FROM generate_series(31, 90) i";

alike("INSERT INTO {t} (id, name, n) $rows ON CONFLICT (id) DO NOTHING", 'DO NOTHING');
alike("INSERT INTO {t} (id, name, n) $rows ON CONFLICT (id) DO NOTHING RETURNING id, name, n, twice", 'DO NOTHING RETURNING');
alike("INSERT INTO {t} (id, name, n) $rows ON CONFLICT (id) DO UPDATE SET name = excluded.name", 'DO UPDATE');
alike("INSERT INTO {t} AS o (id, name, n) $rows ON CONFLICT (id) DO UPDATE SET n = o.n + excluded.n, name = o.name || ' and ' || excluded.name RETURNING *",
	'both rows, RETURNING');
alike("INSERT INTO {t} (id, n) SELECT i, i FROM generate_series(31, 90) i ON CONFLICT (id) DO UPDATE SET name = DEFAULT, n = {t}.n + excluded.n WHERE {t}.n % 2 = 0",
	'WHERE, defaults');
alike("INSERT INTO {t} (id, n) SELECT i, i FROM generate_series(31, 90) i ON CONFLICT (id) DO UPDATE SET n = {t}.n + 1 WHERE {t}.n % 2 = 0 RETURNING id, n, twice",
	'WHERE, RETURNING');
alike("INSERT INTO {t} (id) VALUES (7) ON CONFLICT (id) DO UPDATE SET \"at all\" = $moment, n = 1 + (SELECT count(*)::int FROM generate_series(1, 3)) RETURNING n",
	'one row, with values of here');
alike("INSERT INTO {t} (id, n) VALUES (7, 5), (700, 6) ON CONFLICT (id) DO UPDATE SET (n, name) = (excluded.n * 2, upper({t}.name)) RETURNING *",
	'several columns at once');
alike("INSERT INTO {t} (name, id) VALUES ('a', 5) ON CONFLICT (id) WHERE true DO UPDATE SET name = excluded.name", 'a condition in the target');
alike("WITH u AS (INSERT INTO {t} (id, n) SELECT i, 1 FROM generate_series(51, 70) i ON CONFLICT (id) DO UPDATE SET n = 500 RETURNING id, n) SELECT count(*), sum(n) FROM u",
	'in a WITH clause');
alike("WITH u AS (INSERT INTO {t} (id, n) SELECT i, 1 FROM generate_series(51, 70) i ON CONFLICT (id) DO UPDATE SET n = 500 RETURNING id), "
	  . "v AS (INSERT INTO {t} (id, n) SELECT i, 1 FROM generate_series(31, 40) i ON CONFLICT (id) DO NOTHING) SELECT count(*) FROM u",
	'two of them in one statement');
alike("PREPARE u(int, text) AS INSERT INTO {t} (id, name) VALUES (\$1, \$2) ON CONFLICT (id) DO UPDATE SET name = {t}.name || excluded.name || \$2;"
	  . join('', map { "EXECUTE u($_, 'x$_');" } (5 .. 12, 5 .. 12, 100 .. 104)),
	'prepared, with a generic plan');
alike("INSERT INTO {t} (id, n) SELECT 60 + n, n FROM {t} ON CONFLICT (id) DO UPDATE SET n = 1", 'rows of the table itself');
alike("BEGIN; INSERT INTO {t} (id, n) SELECT i, 1 FROM generate_series(1, 90) i ON CONFLICT (id) DO UPDATE SET n = 7; SAVEPOINT s;"
	  . "INSERT INTO {t} (id, n) SELECT i, 1 FROM generate_series(1, 90) i ON CONFLICT (id) DO UPDATE SET n = {t}.n + 1;"
	  . "ROLLBACK TO s; INSERT INTO {t} (id, n) SELECT i, 1 FROM generate_series(1, 20) i ON CONFLICT (id) DO UPDATE SET n = {t}.n + 10; COMMIT",
	'one after the other in a transaction');

# --- what is refused, as it is of an ordinary table ------------------------------

alike("INSERT INTO {t} (id, n) VALUES (61, 1), (62, 1), (63, 1), (64, 1), (65, 1), (66, 1), (61, 2), (62, 2), (63, 2) ON CONFLICT (id) DO UPDATE SET n = 3",
	'a row twice, in one batch');
alike("INSERT INTO {t} (id, n) VALUES (61, 1), (62, 1), (63, 1), (64, 1), (65, 1), (66, 1), (61, 2), (62, 2), (63, 2) ON CONFLICT (id) DO NOTHING",
	'which DO NOTHING allows');
foreach my $batch (1, 2)
{
	alike("SET dlog.insert_batch_size = $batch; INSERT INTO {t} (id, n) SELECT 1 + i % 300, i FROM generate_series(1, 301) i ON CONFLICT (id) DO UPDATE SET n = 3",
		"a row twice, in batches of $batch");
}
alike("INSERT INTO {t} (id, n) SELECT 1 + i % 300, i FROM generate_series(1, 301) i ON CONFLICT (id) DO UPDATE SET n = 3 RETURNING id",
	'a row twice, RETURNING');
alike("INSERT INTO {t} (id, n) SELECT i, 2000 FROM generate_series(1, 60) i ON CONFLICT (id) DO UPDATE SET n = excluded.n", 'what a check forbids');
alike("INSERT INTO {t} (id) SELECT i FROM generate_series(1, 60) i ON CONFLICT (id) DO UPDATE SET n = 2000", 'also in the update');
alike("INSERT INTO {t} (id) VALUES (NULL) ON CONFLICT (id) DO UPDATE SET n = 2", 'a null key');
alike("INSERT INTO {t} (id) VALUES (1) ON CONFLICT (name) DO NOTHING", 'a target without an index');
alike("INSERT INTO {t} (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET n = 1 / 0", 'an error in the update');
alike("INSERT INTO {t} (id) VALUES (1) ON CONFLICT ON CONSTRAINT none DO NOTHING", 'a constraint that is not there');

# --- of a partitioned table --------------------------------------------------------

sub partitioned_error
{
	my ($sql) = @_;

	return join "\n", map { $cluster->sql_error($_, $sql) } 1 .. $cluster->count;
}

my @errors = split /^(?=psql)/m, partitioned_error("INSERT INTO d (id) VALUES (1), (2), (3) ON CONFLICT (id) DO UPDATE SET id = excluded.id + 1");
is(scalar(grep { /invalid ON UPDATE specification/ } @errors), 3, 'a row does not move to another partition');
is($cluster->sql(1, 'SELECT count(*) FROM d'), '60', 'and nothing has changed');

# --- what cannot be left to the nodes ---------------------------------------------

like($cluster->sql_error(1, 'INSERT INTO d (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET n = (random() * 5)::int'),
	qr/0A000.*volatile function.*EXCLUDED/s, 'a volatile value in the update is refused');
$cluster->sql(1, 'INSERT INTO d (id, n) SELECT 1, (random() * 0)::int + 3 ON CONFLICT (id) DO UPDATE SET n = excluded.n');
is($cluster->sql(2, 'SELECT n FROM d WHERE id = 1'), '3', 'but may be in the row');
$cluster->sql(1, 'CREATE FUNCTION mine(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN $1; END$$');
like($cluster->sql_error(1, 'INSERT INTO d (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET n = mine(d.n)'),
	qr/0A000.*function mine may differ/s, 'a function that others may not have is refused');
like($cluster->sql_error(1, 'INSERT INTO d (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET n = 1 WHERE d.n = (SELECT max(n) FROM p WHERE p.id = d.id)'),
	qr/0A000.*subquery/s, 'a subquery over the row as well');
like($cluster->sql_error(1, 'MERGE INTO d USING (VALUES (1)) v(i) ON id = i WHEN MATCHED THEN DELETE'),
	qr/0A000.*not supported for foreign tables/s, 'MERGE is refused');

# --- plans --------------------------------------------------------------------------

my $plan = $cluster->sql(1, 'EXPLAIN (COSTS OFF) INSERT INTO d (id, n) SELECT i, i FROM generate_series(1, 3) i ON CONFLICT (id) DO UPDATE SET n = excluded.n WHERE d.n > 5');
is($plan, <<'PLAN' =~ s/\n\z//r, 'EXPLAIN shows the target');
Insert on d
  Conflict Resolution: UPDATE
  Conflict Filter: (d.n > 5)
  ->  Custom Scan (DLog Conflict)
        Conflict Target: id
        ->  Function Scan on generate_series i
PLAN
my ($foreign, $node) = split /\|/, $cluster->sql(1, 'SELECT ftrelid::regclass, srvname FROM pg_foreign_table JOIN pg_foreign_server s ON s.oid = ftserver ORDER BY ftrelid LIMIT 1');
like($cluster->sql(1, "EXPLAIN (VERBOSE, COSTS OFF) INSERT INTO $foreign (id, n) VALUES (3, 4) ON CONFLICT (id) DO UPDATE SET n = excluded.n + $foreign.n WHERE $foreign.n > 5"),
	qr/ON CONFLICT \(id\) DO UPDATE SET n = \(excluded\.n \+ r\.n\) WHERE dlog\.upsert_once\(\$1, NULL, NULL\) AND \(r\.n > 5\)/, 'and what a foreign table sends');

# --- one partition by itself ---------------------------------------------------------

my $there = $cluster->sql(1, "SELECT min(id) FROM d WHERE tableoid = '$foreign'::regclass");
is($cluster->sql(1, "INSERT INTO $foreign (id, n) VALUES ($there, 77) ON CONFLICT (id) DO UPDATE SET n = excluded.n RETURNING n"),
	'77', 'into a foreign partition');
is($cluster->sql(2, "SELECT n FROM d WHERE id = $there"), '77', 'which changes the row there');
is($cluster->sql(1, "INSERT INTO $foreign (id, n) VALUES ($there, 78) ON CONFLICT (id) DO NOTHING RETURNING n"), '', 'or leaves it');

# --- several indexes -------------------------------------------------------------------

$cluster->sql(1, <<'SQL');
CREATE TABLE e (a int, b text, c int, PRIMARY KEY (a));
CREATE UNIQUE INDEX ON e (a, lower(b)) WHERE c > 0;
CREATE UNIQUE INDEX ON e (c, a);
SELECT dlog.distribute_table('e', by => 'a', partitions => 6);
SQL
$cluster->sql_everywhere('CREATE TABLE q (a int, b text, c int, PRIMARY KEY (a)); CREATE UNIQUE INDEX ON q (a, lower(b)) WHERE c > 0; CREATE UNIQUE INDEX ON q (c, a)');
foreach my $target ('(a)', '(a, c)', '(c, a)', '(a, lower(b)) WHERE c > 0', '(a, lower(b)) WHERE c > 5')
{
	foreach my $action ('DO NOTHING', "DO UPDATE SET b = excluded.b || '!', c = {t}.c + 1")
	{
		foreach my $node (1, 3)
		{
			$cluster->sql(1, 'TRUNCATE e');
			$cluster->sql($node, 'TRUNCATE q');
			my @said = map {
				my $table = $_;
				outcome($node, "INSERT INTO {t} SELECT i, 'B' || i, i % 4 FROM generate_series(1, 40) i;"
					  . "INSERT INTO {t} SELECT i, 'b' || i, i % 4 FROM generate_series(21, 60) i ON CONFLICT $target $action RETURNING *;", $table)
			} ('e', 'q');
			is($said[0], $said[1], "ON CONFLICT $target $action, from n$node");
			is($cluster->sql($node, 'SELECT * FROM e ORDER BY a'), $cluster->sql($node, 'SELECT * FROM q ORDER BY a'), 'and the rows are the same');
		}
	}
}

# --- privileges and row-level security are those of the table, there as well --------------

$cluster->sql(1, 'TRUNCATE d; INSERT INTO d (id, name) SELECT i, CASE WHEN i % 2 = 0 THEN \'clerk\' ELSE \'other\' END FROM generate_series(1, 20) i');
$cluster->sql($_, 'CREATE ROLE clerk') foreach 1 .. 3;
$cluster->sql(1, 'GRANT SELECT (id, n), INSERT (id, n), UPDATE (n) ON d TO clerk');
my $upsert = 'INSERT INTO d (id, n) SELECT i, 5 FROM generate_series(1, 30) i ON CONFLICT (id) DO UPDATE SET n = excluded.n';
$cluster->sql($_, "SET ROLE clerk; $upsert") foreach 1 .. 3;
is($cluster->sql(1, 'SELECT count(*), sum(n) FROM d'), '30|150', 'columns suffice of which one has the rights');
$cluster->sql(1, 'SET ROLE clerk; INSERT INTO d (id, n) SELECT i, 5 FROM generate_series(31, 40) i');
is($cluster->sql(1, "DELETE FROM d WHERE id > 30 RETURNING name"), join("\n", ('new') x 10), 'for a plain INSERT as well, whose defaults are the table\'s');
like($cluster->sql_error(1, "SET ROLE clerk; $upsert, name = 'mine'"), qr/42501/, 'no others');
$cluster->sql(2, 'SET dlog.propagate_ddl = off; REVOKE UPDATE (n) ON d FROM clerk');
like($cluster->sql_error(1, "SET ROLE clerk; $upsert"), qr/42501.*node "n2"/s, 'what another node forbids is forbidden');
$cluster->sql(2, 'SET dlog.propagate_ddl = off; GRANT UPDATE (n) ON d TO clerk');
$cluster->sql(1, <<'SQL');
GRANT ALL ON d TO clerk;
CREATE POLICY own ON d TO clerk USING (name = current_user) WITH CHECK (name = current_user AND n < 100);
ALTER TABLE d ENABLE ROW LEVEL SECURITY;
SQL
my $own = "INSERT INTO d (id, name, n) SELECT i, 'clerk', 50 FROM generate_series(2, 20, 2) i ON CONFLICT (id) DO UPDATE SET n = d.n + excluded.n";
foreach my $i (1 .. 3)
{
	is($cluster->sql($i, "UPDATE d SET n = 5; SET ROLE clerk; WITH u AS ($own RETURNING n) SELECT count(*), min(n), max(n) FROM u"), '10|55|55', "n$i: rows of one's own are updated");
	like($cluster->sql_error($i, "SET ROLE clerk; $own"), qr/42501/, 'not beyond what the policy allows');
	like($cluster->sql_error($i, "SET ROLE clerk; INSERT INTO d (id, name) SELECT i, 'clerk' FROM generate_series(1, 20) i ON CONFLICT (id) DO UPDATE SET n = 1"),
		qr/42501/, 'and others are not');
}
is($cluster->sql(1, "SELECT count(*), sum(n) FROM d WHERE name = 'clerk'"), '10|550', 'nothing was half done');

# --- a foreign table, and triggers on either side ------------------------------------------

$cluster->sql(2, <<'SQL');
CREATE TABLE far (k int PRIMARY KEY, v text, seen text DEFAULT '');
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.seen := NEW.seen || TG_OP || ' '; RETURN NEW; END$$;
CREATE TRIGGER note BEFORE INSERT OR UPDATE ON far FOR EACH ROW EXECUTE FUNCTION note();
SQL
$cluster->sql(1, 'CREATE FOREIGN TABLE near (key int OPTIONS (column_name \'k\'), v text) SERVER n2 OPTIONS (table_name \'far\')');
is($cluster->sql(1, "INSERT INTO near VALUES (1, 'a'), (2, 'b') ON CONFLICT (key) DO UPDATE SET v = near.v || excluded.v;"
	  . "INSERT INTO near VALUES (2, 'c'), (3, 'd') ON CONFLICT (key) DO UPDATE SET v = near.v || excluded.v RETURNING *"),
	"2|bc\n3|d", 'into a foreign table whose columns have other names there');
is($cluster->sql(2, 'SELECT * FROM far ORDER BY k'), "1|a|INSERT \n2|bc|INSERT UPDATE \n3|d|INSERT ", 'triggers there see what happens there');
like($cluster->sql_error(1, "INSERT INTO near VALUES (1, 'a') ON CONFLICT (v) DO NOTHING"), qr/42P10.*n2/s, 'a target that has no index there');
$cluster->sql(1, <<'SQL');
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.v := NEW.v || ' from here'; RETURN NEW; END$$;
CREATE TRIGGER note BEFORE INSERT ON near FOR EACH ROW EXECUTE FUNCTION note();
SQL
is($cluster->sql(1, "INSERT INTO near VALUES (1, 'z') ON CONFLICT (key) DO UPDATE SET v = excluded.v RETURNING v"), 'z from here', 'a trigger here sees the row that is proposed');
$cluster->sql(1, 'DROP TRIGGER note ON near; CREATE TRIGGER note AFTER INSERT ON near FOR EACH ROW EXECUTE FUNCTION note()');
like($cluster->sql_error(1, "INSERT INTO near VALUES (1, 'z') ON CONFLICT (key) DO UPDATE SET v = excluded.v"), qr/0A000.*which rows are updated/s,
	'one that would have to know whether it was inserted is refused');

# --- partitions made by hand, in two levels -------------------------------------------------

$cluster->sql(2, 'CREATE TABLE h_far (v text, k int PRIMARY KEY, y int)');
$cluster->sql(1, <<'SQL');
CREATE TABLE h (k int, y int, v text) PARTITION BY RANGE (k);
CREATE TABLE h_here PARTITION OF h FOR VALUES FROM (0) TO (100);
ALTER TABLE h_here ADD PRIMARY KEY (k);
CREATE TABLE h_below (v text, y int, k int) PARTITION BY LIST (k);
CREATE TABLE h_default PARTITION OF h_below DEFAULT;
CREATE UNIQUE INDEX ON h_default (k);
CREATE FOREIGN TABLE h_there (y int, v text, k int) SERVER n2 OPTIONS (table_name 'h_far');
ALTER TABLE h_below ATTACH PARTITION h_there FOR VALUES IN (101, 102, 103);
ALTER TABLE h ATTACH PARTITION h_below FOR VALUES FROM (100) TO (1000);
SQL
foreach my $round (1, 2)
{
	$cluster->sql(1, 'INSERT INTO h SELECT i, 1, \'v\' || i FROM generate_series(95, 110) i ON CONFLICT (k) DO UPDATE SET y = h.y + excluded.y, v = excluded.v || h.v');
}
is($cluster->sql(1, 'SELECT tableoid::regclass, count(*), min(v), sum(y) FROM h GROUP BY 1 ORDER BY 1'),
	"h_here|5|v95v95|10\nh_default|8|v100v100|16\nh_there|3|v101v101|6", 'partitions of two levels, whose columns are in another order');

# --- a concurrent twin ------------------------------------------------------------------------

$cluster->sql(1, 'ALTER TABLE d DISABLE ROW LEVEL SECURITY; TRUNCATE d');
my @writers;
foreach my $i (1 .. 3)
{
	my $file = PostgreSQL::Test::Utils::tempdir() . '/upserts.sql';

	PostgreSQL::Test::Utils::append_to_file($file, "\\set k random(1, 5)\nINSERT INTO d (id, n) VALUES (:k, 1) ON CONFLICT (id) DO UPDATE SET n = d.n + 1;\n");
	push @writers, IPC::Run::start([ 'pgbench', '-n', '-c', 2, '-t', 50, '-f', $file, '-h', $cluster->node($i)->host, '-p', $cluster->node($i)->port, 'postgres' ],
		'>', \my $out, '2>', \my $err);
}
$_->finish foreach @writers;
is(scalar(grep { $_->result(0) != 0 } @writers), 0, 'three nodes update the same rows at once');
is($cluster->sql(1, 'SELECT sum(n) FROM d'), '300', 'and none of it is lost');

done_testing();
