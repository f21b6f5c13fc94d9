# Nodes whose databases sort texts differently, or know other letters: the
# answers are those of the node that is asked.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

# C knows no letters but those of ASCII, C.UTF-8 all of them.
my $cluster = DlogCluster->new(nodes => 2, extension => 0);
my @ctype = ('C.UTF-8', 'C');
foreach my $i (1, 2)
{
	$cluster->node($i)->safe_psql('postgres',
		"CREATE DATABASE mixed TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE '$ctype[$i - 1]'");
	$cluster->node($i)->safe_psql('mixed', 'CREATE EXTENSION dlog');
	$cluster->node($i)->safe_psql('postgres',
		"CREATE DATABASE alike TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
	$cluster->node($i)->safe_psql('alike', 'CREATE EXTENSION dlog');
}

sub fill
{
	my ($notice) = @_;
	my (undef, undef, $said) = $cluster->node(2)->psql($cluster->database,
		'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(1)) . ')');
	like($said, $notice, 'who joins is told if they differ');
	$cluster->wait_for_links($_) foreach (1, 2);
	$cluster->sql(1, <<'SQL');
CREATE TABLE names (id int PRIMARY KEY, name text, code text COLLATE "C");
SELECT dlog.distribute_table('names', by => 'id', partitions => 8);
INSERT INTO names SELECT i, 'é' || i % 10, 'c' || i FROM generate_series(1, 1000) i;
ANALYZE names;
SQL
	return;
}

my @sorting = (
	[ "SELECT count(*) FROM names WHERE upper(name) = 'É3'", 'upper' ],
	[ "SELECT count(*) FROM names WHERE name ILIKE 'É%'", 'ILIKE' ],
	[ "SELECT count(*) FROM names WHERE name ~ '^\\w3'", 'a regular expression' ],
	[ "SELECT count(*) FROM names WHERE name < 'é5'", '<' ],
	[ 'SELECT min(name), max(name) FROM names', 'min and max' ],
	[ 'SELECT name FROM names ORDER BY name LIMIT 3', 'ORDER BY' ],
	[ 'SELECT id, sum(id) OVER (PARTITION BY id ORDER BY name) FROM names ORDER BY id LIMIT 3', 'a window' ],
	[ 'SELECT id, string_agg(id::text, $$,$$ ORDER BY name) FROM names GROUP BY id ORDER BY id LIMIT 3', 'an ordered aggregate' ],
);
my @blind = (
	[ "SELECT count(*) FROM names WHERE name = 'é3'", 'equality', qr/WHERE \(name = / ],
	[ "SELECT count(*) FROM names WHERE name LIKE 'é3%'", 'LIKE', qr/WHERE \(name ~~ / ],
	[ "SELECT count(*) FROM names WHERE name <> ALL (ARRAY['é3', 'é4'])", 'inequality', qr/WHERE \(name <> ALL / ],
	[ 'SELECT name, count(*) FROM names GROUP BY name ORDER BY 2, name', 'grouping', qr/GROUP BY .*name/ ],
	[ 'SELECT count(name) FROM names', 'count', qr/count\(.*name\)/ ],
	[ 'SELECT code FROM names ORDER BY code LIMIT 3', 'another collation', qr/ORDER BY .*code/ ],
);

sub remote
{
	my ($sql) = @_;
	return join "\n", grep { /Remote SQL|Not Pushed Down/ } split /\n/,
	  $cluster->sql(1, "EXPLAIN (VERBOSE, COSTS OFF) $sql");
}

# --- different ones ---
$cluster->{database} = 'mixed';
fill(qr/NOTICE:  the databases have different default collations\nDETAIL:  This one has libc C C, the one to join libc C C\.UTF-8/i);
foreach (@sorting, @blind)
{
	my ($sql, $name) = @$_;
	is($cluster->sql(1, $sql), $cluster->sql(1, "SET dlog.enable_fanout_scan = off; CREATE TEMP TABLE names AS TABLE public.names; $sql"),
		"$name: the answer is right");
}
unlike(join("\n", grep { /Remote SQL/ } split /\n/, remote($_->[0])), qr/upper|~|name <|min\(|max\(|ORDER BY [^,]*name|OVER/,
	"$_->[1] is left to this node") foreach @sorting;
like(remote('SELECT min(name) FROM names WHERE id % 2 = 0 GROUP BY id % 3'), qr/default collation of node "n2" differs/, 'EXPLAIN says why');
like(remote($_->[0]), $_->[2], "$_->[1] is not") foreach @blind;

# --- equal ones ---
$cluster->{database} = 'alike';
fill(qr/^$/);
like(remote("SELECT count(*) FROM names WHERE upper(name) = 'É3'"), qr/upper/, 'where all are the same, all is pushed down');
like(remote('SELECT name FROM names ORDER BY name LIMIT 3'), qr/ORDER BY .*name/, 'ORDER BY as well');

# A node that was never asked, and is not there.
$cluster->node(1)->stop;
$cluster->node(2)->stop;
$cluster->node(1)->start;
unlike(remote('SELECT name FROM names ORDER BY name LIMIT 3'), qr/Remote SQL.*ORDER BY/, 'what a node does is not known before it was asked');
$cluster->node(2)->start;
$cluster->wait_for_links(1);
like(remote('SELECT name FROM names ORDER BY name LIMIT 3'), qr/ORDER BY .*name/, 'then it is');
done_testing();
