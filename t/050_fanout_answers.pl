

# Any query over a distributed table, or over partitions that were made by
# hand on other nodes, is answered as if the table were here: for some 170
# queries, with each way to answer them switched on and off.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $columns = 'id int NOT NULL, k int, v numeric, s text, ts timestamptz, b bool';
my $cluster = DlogCluster->new(nodes => 3);

# The right answers: an ordinary table.  "p" takes part in joins.
$cluster->sql(1, <<"SQL");
CREATE TABLE r ($columns);
SELECT setseed(0.5);
INSERT INTO r SELECT i, (random() * 50)::int, round((random() * 1000)::numeric, 2),
	'x' || (i % 17), timestamptz '2024-01-01' + i * interval '17 min', i % 3 = 0
FROM generate_series(1, 1500) i;
UPDATE r SET k = NULL WHERE id % 41 = 0;
UPDATE r SET s = NULL WHERE id % 37 = 0;
CREATE TABLE p AS TABLE r;
CREATE TABLE same AS TABLE r;
CREATE TABLE lacking AS SELECT * FROM r WHERE id <> 1000;
ANALYZE r, p;
SQL

# A distributed table; a column was dropped and one added before.
$cluster->sql(1, <<"SQL");
CREATE TABLE q (s text PRIMARY KEY, n int, note text);
INSERT INTO q SELECT 'x' || i, i % 6, 'note ' || i % 4 FROM generate_series(0, 13) i;
SELECT dlog.replicate_table('q');
CREATE TABLE d (gone int, id int NOT NULL, k int, v numeric, s text, ts timestamptz);
ALTER TABLE d DROP COLUMN gone, ADD COLUMN b bool;
SELECT dlog.distribute_table('d', by => 'k', partitions => 7);
INSERT INTO d SELECT id, k, v, s, ts, b FROM r;
CREATE INDEX ON d (ts);
CREATE TABLE d2 (LIKE r);
SELECT dlog.distribute_table('d2', by => 'k', colocate_with => 'd');
INSERT INTO d2 TABLE p;
SQL

# Partitions by hand: two levels, columns in another order and by another
# name, a name that needs quotes.
$cluster->sql(2, "CREATE TABLE one ($columns);"
	  . 'CREATE TABLE two (k int, number int, v numeric, s text, ts timestamptz, b bool);');
$cluster->sql(3, qq{CREATE TABLE "Drei ""3""" ($columns)});
$cluster->sql(1, <<"SQL");
CREATE SERVER IF NOT EXISTS n2 FOREIGN DATA WRAPPER dlog;
CREATE SERVER IF NOT EXISTS n3 FOREIGN DATA WRAPPER dlog;
CREATE TABLE h ($columns) PARTITION BY RANGE (k);
CREATE TABLE h0 PARTITION OF h FOR VALUES FROM (MINVALUE) TO (10);
CREATE TABLE h1 PARTITION OF h FOR VALUES FROM (10) TO (40) PARTITION BY LIST (b);
CREATE FOREIGN TABLE h1a PARTITION OF h1 FOR VALUES IN (true) SERVER n2
	OPTIONS (schema_name 'public', table_name 'one');
CREATE FOREIGN TABLE h1b (id int OPTIONS (column_name 'number') NOT NULL,
	k int, v numeric, s text, ts timestamptz, b bool)
	SERVER n2 OPTIONS (schema_name 'public', table_name 'two');
ALTER TABLE h1 ATTACH PARTITION h1b FOR VALUES IN (false);
CREATE FOREIGN TABLE h2 PARTITION OF h DEFAULT SERVER n3
	OPTIONS (schema_name 'public', table_name 'Drei "3"');
INSERT INTO h SELECT * FROM r;
SQL

my %questions;
my @names;
open my $file, '<', "$FindBin::RealBin/fanout_questions.txt" or die $!;
while (<$file>)
{
	next if /^#/;
	chomp;
	my ($name, $query) = split /\t/, $_, 2;
	push @names, $name;
	$questions{$name} = $query;
}
close $file;

# A digest of the answer, as a bag of rows.
sub digest
{
	my ($name, $table) = @_;
	my $other = $table eq 'd' ? 'd2' : 'p';
	(my $query = $questions{$name}) =~ s/\bT\b/$table/g;
	$query =~ s/\bU\b/$other/g;

	return 'SELECT count(*) || \' \' || md5(string_agg(row, \',\' ORDER BY row)) '
	  . "FROM (SELECT q::text AS row FROM ($query) q) rows";
}

# The right ones are kept.
$cluster->sql(1, join "\n",
	'CREATE TABLE answers (name text, digest text);',
	map { "INSERT INTO answers SELECT '$_', (" . digest($_, 'r') . ');' } @names);

# All questions about one table, in one session; returns what went wrong.
sub answers_differ
{
	my ($table, $settings) = @_;
	my $script = "SET client_min_messages = warning; $settings;\n";

	foreach my $name (@names)
	{
		my $digest = digest($name, $table);

		$script .= <<"SQL";
DO \$do\$
DECLARE
	expected text := (SELECT digest FROM answers WHERE name = '$name');
	answer text;
BEGIN
	EXECUTE \$q\$$digest\$q\$ INTO answer;
	IF answer IS DISTINCT FROM expected THEN
		RAISE WARNING '$name: % and not %', answer, expected;
	END IF;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '$name: % %', SQLSTATE, SQLERRM;
END
\$do\$;
SQL
	}
	my ($output, $error);
	$cluster->node(1)->psql($cluster->database, $script,
		stdout => \$output, stderr => \$error);
	return join "\n", grep { /WARNING|ERROR|FATAL|connection/ } split /\n/, $error;
}

cmp_ok(scalar @names, '>', 135, 'there are questions');
is(answers_differ('same', ''),
	'', 'a table that is the same gives the same answers');
like(answers_differ('lacking', ''),
	qr/agg: .* and not /, 'one that lacks a row does not');

foreach my $case (
	[ 'd', '' ],
	[ 'h', '' ],
	[ 'd', 'SET plan_cache_mode = force_generic_plan; SET dlog.enable_raw_rows = off' ],
	[ 'd', 'SET enable_hashagg = off; SET enable_hashjoin = off; SET enable_mergejoin = off' ],
	[ 'h', 'SET dlog.enable_partial_aggregate = off' ],
	[ 'd', 'SET dlog.enable_fanout_scan = off' ],
	[ 'h', 'SET enable_partitionwise_join = on; SET enable_partitionwise_aggregate = on' ])
{
	my ($table, $settings) = @$case;
	is(answers_differ($table, $settings), '', "answers over $table: "
		  . ($settings || 'default settings'));
}

# The same from a node that has other partitions.
is($cluster->sql(3, 'SELECT count(*), sum(v), count(DISTINCT k) FROM d'),
	$cluster->sql(1, 'SELECT count(*), sum(v), count(DISTINCT k) FROM r'),
	'asked of another node');

done_testing();
