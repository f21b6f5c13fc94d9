# Names of 63 bytes with quotes, spaces and letters of several bytes, of all that
# a distributed table has to do with: every statement takes them to other nodes.

use strict;
use warnings;
use utf8;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Encode qw(encode_utf8);
use Test::More;

# A database's name goes through shells that the tests start, so it has no quotes.
my $database = 'a name of a database that is as long as can be, which is 63 byt';
my $cluster = DlogCluster->new(nodes => 3, database => $database);

# 63 bytes, as an identifier; and the same as a literal.
sub long_name
{
	my ($first) = @_;
	my $name = "$first \"'ü€😀 \\ %s \$1; --";

	$name .= 'ö' while length(encode_utf8($name)) <= 61;
	$name .= 'x' while length(encode_utf8($name)) < 63;
	return $name;
}
sub identifier { my ($name) = @_; return '"' . $name =~ s/"/""/gr . '"'; }

my %name = map { $_ => long_name($_) } qw(Table Key Column Schema Role Type Label Domain Index Check Policy Function Other);
my %i = map { $_ => identifier($name{$_}) } keys %name;
my $table = "$i{Schema}.$i{Table}";
my $sql = sub { my ($node, $text) = @_; return $cluster->sql($node, encode_utf8($text)); };

is(length(encode_utf8($name{$_})), 63, "$_ has 63 bytes") foreach sort keys %name;
foreach my $node (1 .. 3)
{
	$sql->($node, <<"SQL");
CREATE ROLE $i{Role};
CREATE SCHEMA $i{Schema} AUTHORIZATION $i{Role};
CREATE TYPE $i{Schema}.$i{Type} AS ENUM ('b', ${\ DlogCluster::quote($name{Label}) });
CREATE DOMAIN $i{Schema}.$i{Domain} AS text CHECK (value <> '');
CREATE FUNCTION $i{Schema}.$i{Function}(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN \$1 * 2; END';
SQL
}
$sql->(1, <<"SQL");
CREATE TABLE $table ($i{Key} int PRIMARY KEY, $i{Column} $i{Schema}.$i{Type}, d $i{Schema}.$i{Domain});
CREATE INDEX $i{Index} ON $table ($i{Column});
ALTER TABLE $table ADD CONSTRAINT $i{Check} CHECK ($i{Key} > 0), OWNER TO $i{Role};
CREATE POLICY $i{Policy} ON $table USING ($i{Key} < 1000);
SELECT dlog.distribute_table(${\ DlogCluster::quote($table) }, by => ${\ DlogCluster::quote($name{Key}) }, partitions => 6);
SQL
my $as = "SET dlog.shippable_schemas = ${\ DlogCluster::quote($i{Schema}) }; SET ROLE $i{Role};";
$sql->(2, "$as INSERT INTO $table SELECT i, (CASE WHEN i % 2 = 0 THEN 'b' ELSE ${\ DlogCluster::quote($name{Label}) } END)::$i{Schema}.$i{Type}, 'x' || i FROM generate_series(1, 100) i");
is($sql->($_, "$as SELECT count(*), sum($i{Key}), max(d) FROM $table WHERE $i{Column} = 'b'"), '50|2550|x98', "n$_ reads it") foreach (1 .. 3);
is($sql->(3, "$as SELECT $i{Column} = 'b', count(*), max($i{Schema}.$i{Function}($i{Key})) FROM $table GROUP BY $i{Column} ORDER BY 1"), "f|50|198\nt|50|200", 'groups it');
is($sql->(3, "$as UPDATE $table SET d = ${\ DlogCluster::quote($name{Label}) } WHERE $i{Key} = 7 RETURNING $i{Key}, length(d)"), '7|' . length($name{Label}), 'updates it');
is($sql->(1, "$as UPDATE $table SET d = d || CASE WHEN random() >= 0 THEN '!' END RETURNING 1") =~ tr/1//, 100, 'row by row');
is($sql->(2, "$as DELETE FROM $table WHERE $i{Key} IN (3, 4, 5) RETURNING $i{Column} = 'b'") =~ tr/tf//, 3, 'deletes');
is($sql->(2, "$as INSERT INTO $table VALUES (1, 'b', 'y'), (3, 'b', 'y') ON CONFLICT ($i{Key}) DO UPDATE SET d = excluded.d RETURNING $i{Key}") =~ tr/13//, 2, 'and upserts');
is($sql->(1, "SELECT count(*) FROM dlog.partition_sizes(${\ DlogCluster::quote($table) })"), '6', 'its sizes');
$sql->(2, "ALTER TABLE $table RENAME d TO $i{Other}; COMMENT ON COLUMN $table.$i{Other} IS ${\ DlogCluster::quote($name{Label}) }; DROP INDEX $i{Schema}.$i{Index}");
is($sql->($_, "$as SELECT count($i{Other}) FROM $table"), '98', "n$_ has the new name") foreach (1 .. 3);
$sql->(1, "ALTER TABLE $table RENAME TO $i{Other}");
is($sql->(3, "SELECT dlog.undistribute_table(${\ DlogCluster::quote(qq{$i{Schema}.$i{Other}}) }); SELECT count(*) FROM $i{Schema}.$i{Other}"), "\n98", 'an ordinary table again, on another node');

done_testing();
