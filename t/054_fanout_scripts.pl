
# What takes more than one statement: prepared statements, PL/pgSQL, cursors,
# changes in the same transaction, views, recursion, samples, locks, settings
# that change plans.  Sessions over a distributed table, or over partitions that
# were made by hand two levels deep, print what they would over an ordinary one;
# and so do two sessions that meet.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3);
my $columns = 'id int, k int, v numeric, s text, ts timestamptz, '
  . 'g int GENERATED ALWAYS AS (id % 10) STORED, b bool';

$cluster->sql(1, <<"SQL");
SET client_min_messages = warning;
CREATE TABLE r ($columns);
INSERT INTO r (id, k, v, s, ts, b) SELECT i, nullif(i % 50, 17), i % 997 / 7.0,
	'x' || i % 17, timestamptz '2024-01-01' + i * interval '17 min', i % 3 = 0
FROM generate_series(1, 1500) i;
CREATE TABLE p (id int PRIMARY KEY, k int, v numeric, s text, n int);
INSERT INTO p SELECT i, i % 50, i / 7.0, 'x' || i % 17, 0 FROM generate_series(1, 200) i;

CREATE TABLE d (gone int, id int, k int, v numeric, s text, ts timestamptz,
	g int GENERATED ALWAYS AS (id % 10) STORED);
ALTER TABLE d DROP COLUMN gone, ADD COLUMN b bool;
SELECT dlog.distribute_table('d', by => 'id', partitions => 7);
ALTER TABLE d ADD COLUMN gone int DEFAULT 5;
ALTER TABLE d DROP COLUMN gone;
INSERT INTO d (id, k, v, s, ts, b) SELECT id, k, v, s, ts, b FROM r;
SQL

# Ranges, in them hashes; a list would have no place for new rows.
$cluster->sql(2, "CREATE TABLE one ($columns); CREATE TABLE two ($columns)");
$cluster->sql(3, "CREATE TABLE three (b bool, s text, ts timestamptz, id int, k int, v numeric, "
	  . 'g int GENERATED ALWAYS AS (id % 10) STORED)');
$cluster->sql(1, <<"SQL");
CREATE SERVER IF NOT EXISTS n2 FOREIGN DATA WRAPPER dlog;
CREATE SERVER IF NOT EXISTS n3 FOREIGN DATA WRAPPER dlog;
CREATE TABLE h ($columns) PARTITION BY RANGE (id);
CREATE TABLE h0 PARTITION OF h FOR VALUES FROM (MINVALUE) TO (300);
CREATE TABLE h1 PARTITION OF h FOR VALUES FROM (300) TO (1000) PARTITION BY HASH (id);
CREATE FOREIGN TABLE h1a PARTITION OF h1 FOR VALUES WITH (MODULUS 2, REMAINDER 0) SERVER n2
	OPTIONS (schema_name 'public', table_name 'one');
CREATE FOREIGN TABLE h1b PARTITION OF h1 FOR VALUES WITH (MODULUS 2, REMAINDER 1) SERVER n2
	OPTIONS (schema_name 'public', table_name 'two');
CREATE FOREIGN TABLE h2 PARTITION OF h DEFAULT SERVER n3
	OPTIONS (schema_name 'public', table_name 'three');
INSERT INTO h (id, k, v, s, ts, b) SELECT id, k, v, s, ts, b FROM r;
ANALYZE;
SQL

my %scripts;
my @names;
foreach my $line (split /\n/, slurp_file("$FindBin::RealBin/fanout_scripts.sql"))
{
	if ($line =~ /^-- @(\w+)$/)
	{
		push @names, $1;
		$scripts{$1} = '';
	}
	elsif (@names)
	{
		$scripts{ $names[-1] } .= "$line\n";
	}
}
cmp_ok(scalar @names, '>=', 20, 'there are scripts');

# What a script prints, errors and notices included, but for where they are from.
sub printed
{
	my ($script, $table, $settings) = @_;
	(my $text = $script) =~ s/\bT\b/$table/g;
	my ($output, $error);

	$cluster->node(1)->psql($cluster->database, "$settings;\n$text",
		stdout => \$output, stderr => \$error, on_error_stop => 0);
	$error =~ s/^psql:\S+ //mg;
	$error = join "\n", grep { /^(INFO|ERROR|WARNING|FATAL)/ } split /\n/, $error;
	return "$output\n$error";
}

# The tables that a session over "d" or "h" would see, from a fresh session.
foreach my $name (@names)
{
	my $expected = printed($scripts{$name}, 'r', '');

	foreach my $table ('d', 'h')
	{
		is(printed($scripts{$name}, $table, ''), $expected, "$name over $table");
	}
}
foreach my $settings ('SET dlog.enable_fanout_scan = off',
	'SET dlog.enable_raw_rows = off; SET enable_hashagg = off; SET plan_cache_mode = force_generic_plan')
{
	foreach my $name (qw(prepared cursor_scroll cursor_several changes rescan huge window))
	{
		is(printed($scripts{$name}, 'd', $settings),
			printed($scripts{$name}, 'r', ''), "$name, $settings");
	}
}

# --- two sessions that meet ---------------------------------------------------

# The second waits for the first, which changes a row; then PostgreSQL looks at
# the new version of the row, and at what was joined to it, once more.
my $first = $cluster->node(1)->background_psql($cluster->database);
foreach my $statement (
	'UPDATE p SET v = T.v FROM T WHERE T.id = p.id AND p.id = 20 AND p.n + T.id >= 20 RETURNING p.n, p.v',
	'DELETE FROM p USING T WHERE T.id = p.id AND p.id = 20 AND p.n = 0 RETURNING p.n',
	'SELECT p.n, T.s FROM p JOIN T ON T.id = p.id WHERE p.id = 20 AND T.k >= p.n FOR UPDATE OF p',
	'UPDATE p SET v = (SELECT count(*) FROM T WHERE T.k = p.n) WHERE id = 20 RETURNING n, v',
	'UPDATE p SET v = q.c FROM (SELECT k, count(*) AS c FROM T GROUP BY k) q WHERE q.k = p.k AND p.id = 20 AND q.c > p.n RETURNING n, v')
{
	my %answers;

	foreach my $table ('r', 'd', 'h')
	{
		(my $text = $statement) =~ s/\bT\b/$table/g;
		$first->query_safe('BEGIN; UPDATE p SET n = n + 3 WHERE id = 20;');
		my $second = $cluster->node(1)->background_psql($cluster->database);
		$second->query_safe("SET application_name = 'second'");
		$second->query_until(qr/asked/, "\\echo asked\nBEGIN;\n$text;\n\\echo answered\n");
		$cluster->wait_until(1,
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'second' AND wait_event_type = 'Lock'");
		$first->query_safe('COMMIT');
		my $answer = $second->query_until(qr/answered/, "\n");
		$second->quit;
		$cluster->sql(1, 'UPDATE p SET n = 0 WHERE id = 20');
		$answers{$table} = $answer =~ s/.*\n?asked\n//sr;
	}
	is($answers{d}, $answers{r}, "over d, changed meanwhile: $statement");
	is($answers{h}, $answers{r}, "over h, changed meanwhile: $statement");
}
$first->quit;

done_testing();
