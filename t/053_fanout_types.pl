# Values of every type go from node to node and come back as they were: all
# types that the server has, and enums, domains, composites, ranges and arrays
# of the user's; stored, read, filtered and returned, in each form that rows
# travel in.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);

# Values of each type, as text; an array is made of them as well.  The user's
# objects exist on both nodes, under different oids.
my %values = (
	bool => [ 'true', 'false' ],
	bytea => [ '\x', '\x00ff5c27' ],
	char => [ 'x', '' ],
	name => [ 'a', 'zwölf "Namen"' ],
	int8 => [ '-9223372036854775808', '9223372036854775807' ],
	int2 => [ '-32768', '32767' ],
	int2vector => [ '1 2 3', '' ],
	int4 => [ '-2147483648', '2147483647' ],
	regproc => [ 'now', 'only_ours' ],
	text => [ '', "tab\t, \\ and 'quote' and ü€😀" ],
	oid => [ '0', '4294967295' ],
	tid => [ '(0,1)', '(4294967294,65535)' ],
	xid => [ '3', '4294967295' ],
	cid => [ '0', '7' ],
	oidvector => [ '1 4294967295', '' ],
	json => [ '{"a" : [1, null]}', '"ü"' ],
	xml => [],    # of servers built with libxml only
	point => [ '(1.5,-2)', '(0,Infinity)' ],
	lseg => [ '[(0,0),(1,1)]' ],
	path => [ '((0,0),(1,1),(2,0))', '[(0,0),(1,1)]' ],
	box => [ '(2,2),(1,1)' ],
	polygon => [ '((0,0),(1,1),(2,0))' ],
	line => [ '{1,-1,0.5}' ],
	cidr => [ '10.0.0.0/8', '2001:db8::/32' ],
	float4 => [ 'NaN', '-Infinity', '1.1754944e-38', '0.1' ],
	float8 => [ 'NaN', '-0', '2.2250738585072014e-308', '0.1' ],
	circle => [ '<(1,2),3>' ],
	macaddr8 => [ '08:00:2b:01:02:03:04:05' ],
	money => [ '-92233720368547758.08', '12.34' ],
	macaddr => [ '08:00:2b:01:02:03' ],
	inet => [ '192.168.1.5/24', '::1' ],
	aclitem => [ 'postgres=r/postgres' ],
	bpchar => [ 'blank   ', '' ],
	varchar => [ 'ü', '' ],
	date => [ '0044-03-15 BC', 'infinity', '2024-02-29' ],
	time => [ '00:00:00', '24:00:00', '12:34:56.789012' ],
	timestamp => [ '-infinity', '2024-02-29 12:34:56.789012' ],
	timestamptz => [ 'infinity', '2024-02-29 12:34:56.789012+05:30' ],
	interval => [ '1 year -2 days 03:04:05.678', '-1 mon' ],
	timetz => [ '12:34:56.789012+05:30', '24:00:00-15:59' ],
	bit => [ '1', '0' ],
	varbit => [ '', '10110' ],
	numeric => [ 'NaN', 'Infinity', '-1234567890.0987654321', '0.000', '1e-1000', '1e1000' ],
	refcursor => [ 'c' ],
	regprocedure => [ 'sum(integer)', 'only_ours(integer)' ],
	regoper => [ 'pg_catalog.||/' ],
	regoperator => [ '+(integer,integer)', '-(NONE,integer)' ],
	regclass => [ 'pg_class', '"Auch unsere"' ],
	regtype => [ 'integer[]', 'mood' ],
	uuid => [ 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' ],
	txid_snapshot => [ '10:20:10,14,15' ],
	pg_lsn => [ 'FFFFFFFF/FFFFFFFF', '0/0' ],
	tsvector => [ "'fat':2A 'rat':3 'ü':4", '' ],
	tsquery => [ "'fat' & ( 'rat':AB | !'cat' )", "'a' <2> 'b'" ],
	regconfig => [ 'english', 'simple' ],
	regdictionary => [ 'simple' ],
	jsonb => [ '{"a": [1, null, {"b": "ü"}]}', 'null' ],
	int4range => [ 'empty', '[1,10)', '(,)' ],
	numrange => [ '(1.5,2.5]', '[,3)' ],
	tsrange => [ '["2024-01-01 00:00:00","2024-01-02 00:00:00")' ],
	tstzrange => [ '["2024-01-01 00:00:00+00",)' ],
	daterange => [ '[2024-01-01,2024-02-01)' ],
	int8range => [ '[1,9223372036854775807)' ],
	jsonpath => [ '$."a"[*]?(@ > 1)', '$' ],
	regnamespace => [ 'pg_catalog', 'public' ],
	regrole => [ 'postgres', 'somebody' ],
	regcollation => [ '"C"', '"POSIX"' ],
	int4multirange => [ '{}', '{[1,3),[5,8)}' ],
	nummultirange => [ '{(1.5,2.5]}' ],
	tsmultirange => [ '{["2024-01-01 00:00:00","2024-01-02 00:00:00")}' ],
	tstzmultirange => [ '{["2024-01-01 00:00:00+00",)}' ],
	datemultirange => [ '{[2024-01-01,2024-02-01)}' ],
	int8multirange => [ '{(,5)}' ],
	pg_snapshot => [ '10:20:10,14,15' ],
	xid8 => [ '18446744073709551615' ],

	# The user's.
	mood => [ 'sad', 'happy' ],
	small => [ '1', '100' ],
	pair => [ '(1,"a ""b""")', '(,)' ],
	nested => [ '("(1,x)",happy,"{1,2}",2024-01-01)', '(,,,)' ],
	floatrange => [ '[1.5,2.5)', 'empty' ],
	floatmultirange => [ '{[1.5,2.5),[3,4)}' ],
	moods => [ '{sad,happy}', '{}' ],
	pairs => [ '{"(1,a)",NULL}' ]);

# Types without input: they hold what the server computes, and no statement can
# bring a value of theirs into a table.
my @without_input = qw(gtsvector pg_node_tree pg_ndistinct pg_dependencies
  pg_brin_bloom_summary pg_brin_minmax_multi_summary pg_mcv_list);

# Other oids on each node.
foreach my $node (1, 2)
{
	$cluster->sql($node, join "\n",
		map({ "CREATE TABLE filler$_ (); CREATE TYPE fill$_ AS ENUM ();" } 1 .. 3 * $node),
		<<'SQL');
CREATE TYPE mood AS ENUM ('sad', 'ok');
ALTER TYPE mood ADD VALUE 'happy' BEFORE 'ok';
CREATE DOMAIN small AS int CHECK (value <= 100);
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nested AS (p pair, m mood, numbers int[], d date);
CREATE TYPE floatrange AS RANGE (subtype = float8, multirange_type_name = floatmultirange);
CREATE DOMAIN moods AS mood[];
CREATE DOMAIN pairs AS pair[];
CREATE FUNCTION only_ours(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE TABLE "Auch unsere" ();
CREATE ROLE somebody;
SQL
}

my @builtin = split /\n/, $cluster->sql(1, <<'SQL');
SELECT typname FROM pg_type
WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')
	AND NOT (typlen = -1 AND typelem <> 0 AND typsubscript = 'array_subscript_handler'::regproc)
ORDER BY oid
SQL
my %without_input = map { $_ => 1 } @without_input;
is(join(' ', grep { !$values{$_} && !$without_input{$_} } @builtin),
	'', 'the values are of all types that the server has');

# A table with a column of each type and one of arrays of it; the row's number
# decides where it is.
my @types = grep { @{ $values{$_} } } sort keys %values;
my %is_builtin = map { $_ => 1 } @builtin;
sub type_name { my ($type) = @_; return $is_builtin{$type} ? qq{pg_catalog."$type"} : $type; }

my (@columns, @expressions);
foreach my $type (@types)
{
	my $name = type_name($type);
	my $count = @{ $values{$type} };
	my $choose = sub { 'ARRAY[' . join(', ', map { DlogCluster::quote($_) } @_) . "]::text[])[1 + n % $count]" };

	push @columns, qq{"c $type" $name};
	push @expressions, 'CASE WHEN n % 7 <> 0 THEN (' . $choose->(@{ $values{$type} }) . "::$name END";
	next if $type eq 'int2vector' || $type eq 'oidvector';
	my $delimiter = $type eq 'box' ? ';' : ',';
	push @columns, qq{"a $type" $name} . '[]';
	push @expressions, "CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN '{}' ELSE ("
	  . $choose->(map { '{"' . s/(["\\])/\\$1/gr . "\"${delimiter}NULL}" } @{ $values{$type} })
	  . "::$name" . '[] END';
}
cmp_ok(scalar @columns, '>', 140, 'there are many columns');

$cluster->sql(1, 'CREATE TABLE plain (n int, ' . join(', ', @columns) . ')');
$cluster->sql(1, 'CREATE TABLE d (LIKE plain)');
$cluster->sql(1, q{SELECT dlog.distribute_table('d', by => 'n', partitions => 4)});
$cluster->sql(1, 'INSERT INTO plain SELECT n, ' . join(', ', @expressions) . ' FROM generate_series(1, 42) n');

# --- whole rows ---------------------------------------------------------------

my $rows = sub { "SELECT n, md5(r::text) FROM $_[0] r ORDER BY n" };
my $expected = $cluster->sql(1, $rows->('plain'));

$cluster->sql(1, 'INSERT INTO d SELECT * FROM plain');
foreach my $settings ('', 'SET dlog.enable_raw_rows = off',
	'SET dlog.enable_fanout_scan = off',
	'SET dlog.enable_fanout_scan = off; SET dlog.enable_raw_rows = off')
{
	is($cluster->sql(1, "$settings; " . $rows->('d')), $expected,
		'rows come back as they were: ' . ($settings || 'default settings'));
}
is($cluster->sql(2, $rows->('d')), $expected, 'on the other node too');

# A row at a time, with the values as parameters; a mixed session's settings.
$cluster->sql(1, 'TRUNCATE d; ' . <<'SQL');
SET DateStyle = 'German, DMY'; SET IntervalStyle = 'sql_standard';
SET extra_float_digits = 0; SET TimeZone = 'Asia/Kolkata'; SET bytea_output = 'escape';
DO $$
DECLARE row plain; returned d;
BEGIN
	FOR row IN SELECT * FROM plain LOOP
		INSERT INTO d SELECT row.* RETURNING * INTO returned;
		IF returned::text IS DISTINCT FROM row::text THEN
			RAISE 'row % was returned as %', row, returned;
		END IF;
	END LOOP;
END $$;
SQL
is($cluster->sql(2, $rows->('d')), $expected, 'inserted one by one and returned');
my $odd = "SET DateStyle = 'German, DMY'; SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Asia/Kolkata'; SET dlog.enable_raw_rows = off; ";
is($cluster->sql(1, $odd . $rows->('d')), $cluster->sql(1, $odd . $rows->('plain')),
	'read under other formats of dates and times');

# --- each column in an expression -----------------------------------------------

my @columns_only = map { /^("[^"]+")/ } @columns;

# What is compared over there: the column is a constant of this session's.
my $script = <<'SQL';
DO $do$
DECLARE
	col record;
	value text;
	here bigint;
	there bigint;
	wrong text := '';
BEGIN
	FOR col IN SELECT attname, format_type(atttypid, atttypmod) AS type
		FROM pg_attribute WHERE attrelid = 'plain'::regclass AND attnum > 1
	LOOP
		EXECUTE format('SELECT max(%I::text) FROM plain', col.attname) INTO value;
		BEGIN
			EXECUTE format('SELECT count(*) FROM plain WHERE %I = $1::%s', col.attname, col.type) INTO here USING value;
		EXCEPTION WHEN undefined_function THEN
			EXECUTE format('SELECT count(*) FROM plain WHERE %I::text = $1', col.attname) INTO here USING value;
			EXECUTE format('SELECT count(*) FROM d WHERE %I::text = $1', col.attname) INTO there USING value;
			IF here <> there THEN wrong := wrong || format(' %s::text: %s, not %s', col.attname, there, here); END IF;
			CONTINUE;
		END;
		EXECUTE format('SELECT count(*) FROM d WHERE %I = $1::%s', col.attname, col.type) INTO there USING value;
		IF here <> there THEN wrong := wrong || format(' %s: %s, not %s', col.attname, there, here); END IF;
		EXECUTE format('SELECT count(*) FROM d WHERE %I = %L::%s', col.attname, value, col.type) INTO there;
		IF here <> there THEN wrong := wrong || format(' %s constant: %s, not %s', col.attname, there, here); END IF;
	END LOOP;
	RAISE INFO 'wrong:%', wrong;
END $do$;
SQL
foreach my $settings ('', 'SET dlog.enable_raw_rows = off', 'SET dlog.enable_fanout_scan = off')
{
	my ($output, $error);
	$cluster->node(1)->psql('postgres', "$settings; $script", stdout => \$output, stderr => \$error);
	is($error =~ s/^psql:.*?INFO:\s*//r, 'wrong:', 'what compares, compares alike: ' . ($settings || 'default settings'));
}

# Groups, order, smallest and largest, distinct values, for each that has them.
$script = <<'SQL';
DO $do$
DECLARE
	col record;
	what text;
	here text;
	there text;
	wrong text := '';
	tried int := 0;
BEGIN
	FOR col IN SELECT attname FROM pg_attribute WHERE attrelid = 'plain'::regclass AND attnum > 1
	LOOP
		FOREACH what IN ARRAY ARRAY['string_agg(x::text, '' '') FROM (SELECT %I AS x FROM %s ORDER BY 1) q',
			'min(%1$I)::text || max(%1$I)::text FROM %2$s',
			'string_agg(x, '' '' ORDER BY x) FROM (SELECT %I::text || count(*) AS x FROM %s GROUP BY %1$I) q',
			'count(DISTINCT %I)::text FROM %s',
			'string_agg(x::text, '' '' ORDER BY x::text) FROM (SELECT DISTINCT %I AS x FROM %s) q']
		LOOP
			BEGIN
				EXECUTE 'SELECT ' || format(what, col.attname, 'plain') INTO here;
			EXCEPTION WHEN undefined_function THEN
				CONTINUE;
			END;
			EXECUTE 'SELECT ' || format(what, col.attname, 'd') INTO there;
			tried := tried + 1;
			IF here IS DISTINCT FROM there THEN
				wrong := wrong || format(E'\n%s %s: %s, not %s', col.attname, what, there, here);
			END IF;
		END LOOP;
	END LOOP;
	RAISE INFO 'tried % wrong:%', tried > 500, wrong;
END $do$;
SQL
foreach my $settings ('', 'SET dlog.enable_raw_rows = off; SET enable_hashagg = off')
{
	my ($output, $error);
	$cluster->node(1)->psql('postgres', "$settings; $script", stdout => \$output, stderr => \$error);
	is($error =~ s/^psql:.*?INFO:\s*//r, 'tried t wrong:', 'what sorts and groups does so alike: ' . ($settings || 'default settings'));
}

# --- types without input --------------------------------------------------------

$cluster->sql(1, 'CREATE TABLE odd (n int, t pg_node_tree, s pg_ndistinct)');
$cluster->sql(1, q{SELECT dlog.distribute_table('odd', by => 'n', partitions => 4)});
my $foreign = $cluster->sql(1, 'SELECT ftrelid::regclass FROM pg_foreign_table WHERE ftrelid::regclass::text LIKE \'odd%\' LIMIT 1');
$cluster->sql(1, 'INSERT INTO odd SELECT n, NULL, NULL FROM generate_series(1, 20) n');
is($cluster->sql(1, 'SELECT count(*), count(t) FROM odd'), '20|0', 'nulls have any type');
like($cluster->sql_error(1, q{INSERT INTO odd SELECT n, adbin, NULL FROM generate_series(1, 20) n, (SELECT adbin FROM pg_attrdef LIMIT 1) a}),
	qr/0A000.*cannot accept a value of type pg_node_tree.*node "n2"/s, 'what cannot be put in is refused, and nothing breaks');
$cluster->sql(2, q{INSERT INTO odd SELECT n, NULL, NULL FROM generate_series(1, 20) n});

# What is there can be read.
my $there = $cluster->sql(1, 'SELECT min(n) FROM odd WHERE dlog.partition_node(tableoid) = \'n2\'');
$cluster->sql(2, "UPDATE odd SET t = (SELECT adbin FROM pg_attrdef LIMIT 1) WHERE n = $there");
is($cluster->sql(1, "SELECT DISTINCT left(t::text, 1) FROM odd WHERE n = $there"), '{', 'what is there is read');
like($cluster->sql_error(1, "SET dlog.enable_raw_rows = off; SELECT t FROM odd WHERE n = $there"),
	qr/0A000.*cannot accept a value of type pg_node_tree/s, 'or refused');

done_testing();
