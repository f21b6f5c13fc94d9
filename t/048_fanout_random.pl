# Queries made at random, over two co-located tables, a replicated and a local
# one, are answered as they are over ordinary tables; and so are changes, which
# leave in the tables what they would leave in ordinary ones.
#
# The same queries are made in each run.  FANOUT_RANDOM_SEED and
# FANOUT_RANDOM_QUERIES ask for others, and for more.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $seed = $ENV{FANOUT_RANDOM_SEED} // 1;
my $count = $ENV{FANOUT_RANDOM_QUERIES} // 450;
my $cluster = DlogCluster->new(nodes => 3);

# a.id is unique, b.id is not and may be null; k, v and s repeat and may be null.
my $common = "(id int, k int, v numeric, s text, b bool, t timestamp)";
my $fill = <<'SQL';
INSERT INTO %sa SELECT i, nullif(i % 13, 5), nullif(i % 37, 11) * 0.25, nullif('s' || i % 7, 's3'), nullif(i % 3, 1) = 0,
	timestamp '2024-02-27' + i * interval '7 hours' FROM generate_series(1, 150) i;
INSERT INTO %sb SELECT nullif(i % 90, 17), nullif(i % 11, 4), nullif(i % 29, 3) * 0.25, nullif('s' || i % 9, 's2'), i % 4 < 2,
	timestamp '2024-02-27' + i * interval '5 hours' FROM generate_series(1, 220) i;
INSERT INTO %sr SELECT i, nullif(i % 6, 2), i * 0.25, 's' || i % 5, i % 2 = 0, timestamp '2024-03-01' + i * interval '1 day' FROM generate_series(1, 15) i;
INSERT INTO %sl SELECT i * 3, nullif(i % 8, 3), i * 0.25, 's' || i % 6, i % 3 = 0, timestamp '2024-03-01' FROM generate_series(1, 25) i;
SQL

$cluster->sql(1, <<"SQL");
CREATE TABLE d_a $common; CREATE TABLE d_b $common; CREATE TABLE d_r $common;
ALTER TABLE d_r ADD PRIMARY KEY (id); ALTER TABLE d_a ADD PRIMARY KEY (id);
SELECT dlog.distribute_table('d_a', by => 'id', partitions => 7);
SELECT dlog.distribute_table('d_b', by => 'id', colocate_with => 'd_a');
SELECT dlog.replicate_table('d_r');
SQL
foreach my $node (1 .. 3)
{
	$cluster->sql($node, "CREATE TABLE d_l $common;" . join('', map { "CREATE TABLE p_$_ $common;" } qw(a b r l)));
	$cluster->sql($node, $fill =~ s/%s/p_/gr);
	$cluster->sql($node, ($fill =~ s/%s/d_/gr) =~ s/^(?!INSERT INTO d_l).*?;\n//msgr) if $node > 1;
}
$cluster->sql(1, $fill =~ s/%s/d_/gr);
$cluster->sql($_, <<'SQL') foreach 1 .. 3;
ANALYZE;
CREATE FUNCTION answer(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	rows text;
BEGIN
	EXECUTE 'SELECT count(*) || string_agg(x::text, E''\n'' ORDER BY x::text COLLATE "C") FROM (' || query || ') x' INTO rows;
	RETURN rows;
EXCEPTION WHEN others THEN
	RETURN SQLSTATE;
END$$;

-- What a change returns and leaves behind, all of which is undone.
CREATE FUNCTION outcome(change text, prefix text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text;
	rows text;
	name text;
BEGIN
	EXECUTE change INTO outcome;
	FOREACH name IN ARRAY ARRAY['a', 'b', 'r', 'l'] LOOP
		EXECUTE 'SELECT count(*) || md5(string_agg(x::text, E''\n'' ORDER BY x::text COLLATE "C")) FROM ' || prefix || '_' || name || ' x' INTO rows;
		outcome := concat_ws(' ', outcome, rows);
	END LOOP;
	RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = outcome;
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
	RETURN SQLERRM;
WHEN others THEN
	RETURN SQLSTATE;
END$$;
SQL

# --- the queries ------------------------------------------------------------------

srand($seed);

sub one_of { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

# The queries' own names are t1, t2, ...; {a} is the name of table a.
my $alias;

sub column { my ($t) = @_; return "$t." . one_of(qw(id id k v s b t)) }

sub number_of { my ($t) = @_; return one_of("$t.id", "$t.k", "$t.v", "$t.k + 1", "$t.id % 5", "coalesce($t.k, 0)", "length($t.s)", "$t.id * 2 - $t.k") }

sub predicate
{
	my (@t) = @_;
	my ($x, $y) = (one_of(@t), one_of(@t));

	return one_of(
		"$x.id < " . int(rand(160)),
		"$x.id = " . int(rand(160)),
		"$x.id IN (" . join(', ', map { int(rand(100)) } 1 .. 5) . ')',
		"$x.k " . one_of('=', '<', '>', '<>') . ' ' . int(rand(12)),
		"$x.k BETWEEN 2 AND " . int(rand(12)),
		"$x.v > " . int(rand(9)) . '.25',
		"$x.s = 's" . int(rand(8)) . "'",
		"$x.s LIKE 's%" . int(rand(8)) . "'",
		"$x.s IS " . one_of('NULL', 'NOT NULL'),
		"$x.b", "NOT $x.b", "$x.b IS NOT TRUE",
		"$x.t >= timestamp '2024-03-03' + interval '1 day' * " . int(rand(9)),
		"$x.k < $y.k", "$x.id > $y.k", "$x.v IS DISTINCT FROM $y.v",
		"($x.k = " . int(rand(11)) . " OR $y.s = 's1')",
		"CASE WHEN $x.b THEN $y.k > 3 ELSE $x.id > 50 END",
		"coalesce($x.k, $y.id) > 4",
		"(SELECT count(*) FROM {l} i WHERE i.k = $x.k) > 2",
		"$x.id = ANY (SELECT i.id FROM {" . one_of(qw(a b r l)) . "} i WHERE i.k > 2)",
		"$x.k NOT IN (SELECT i.k FROM {" . one_of(qw(a b r l)) . "} i WHERE i.k IS NOT NULL AND i.id < 40)",
		one_of('', 'NOT ') . "EXISTS (SELECT FROM {" . one_of(qw(a b b r l)) . "} i WHERE i.id = $x.id" . (chance(0.5) ? " AND i.k > 3" : '') . ')',
		one_of('', 'NOT ') . "EXISTS (SELECT FROM {" . one_of(qw(a b r l)) . "} i WHERE i.k = $x.k AND i.v < 3)");
}

# Tables that are joined; returns the text and the names in it.
sub from
{
	my ($limit) = @_;
	my $t = 't' . ++$alias;
	my $text = '{' . one_of(qw(a a b b r l)) . "} $t";
	my @names = ($t);

	if (chance(0.12))
	{
		my $key = one_of('id', 'id', 'k');

		$text = "(SELECT i.$key AS id, max(i.k) AS k, sum(i.v) AS v, min(i.s) AS s, bool_or(i.b) AS b, max(i.t) AS t FROM {" . one_of(qw(a b)) . "} i GROUP BY i.$key) $t";
	}
	foreach (2 .. 1 + int(rand($limit)))
	{
		my $u = 't' . ++$alias;
		my $table = '{' . one_of(qw(a b b r l)) . "} $u";
		my $x = one_of(@names);
		my $join = one_of('JOIN', 'JOIN', 'LEFT JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN');
		my $on = one_of("$x.id = $u.id", "$x.id = $u.id", "$x.id = $u.id", "$x.k = $u.k", "$x.k = $u.id", "$x.id = $u.k");

		$on .= ' AND ' . predicate($join eq 'FULL JOIN' ? $u : ($x, $u)) if $join ne 'FULL JOIN' && chance(0.4);
		if (chance(0.15) && $limit > 1)
		{
			# An outer join of a join.
			my $w = 't' . ++$alias;

			$table = "($table " . one_of('JOIN', 'LEFT JOIN') . ' {' . one_of(qw(a b r)) . "} $w ON $u." . one_of('id', 'k') . " = $w.id)";
			$text = "$text $join $table ON $on";
			push @names, $u, $w;
			next;
		}
		$text = "$text $join $table ON $on";
		push @names, $u;
	}
	return ($text, @names);
}

sub aggregate
{
	my ($t) = @_;
	my $filter = chance(0.2) ? ' FILTER (WHERE ' . predicate($t) . ')' : '';
	my $n = number_of($t);

	return one_of('count(*)', "count($t.k)", "sum($n)", "avg($n)", "min($n)", "max($t.s)", "min($t.t)", "bool_or($t.b)", "bit_or($t.id)",
		"count(DISTINCT $t." . one_of(qw(id k s)) . ')', "sum(DISTINCT $t.k)", "stddev($n)::numeric(20, 6)", "string_agg($t.s, ',' ORDER BY $t.s, $t.id)",
		"array_agg($t.k ORDER BY $t.k)") . $filter;
}

sub where { my (@t) = @_; return chance(0.7) ? ' WHERE ' . join(' AND ', map { predicate(@t) } 1 .. 1 + int(rand(3))) : '' }

# Everything is in the order, so that a limit has one answer.
sub ordered
{
	my ($query, $columns) = @_;
	my $order = join ', ', map { $_ . one_of('', ' DESC', ' NULLS FIRST') } 1 .. $columns;

	return $query unless chance(0.4);
	$query .= " ORDER BY $order";
	$query .= ' LIMIT ' . int(rand(30)) . (chance(0.3) ? ' OFFSET ' . int(rand(5)) : '') if chance(0.8);
	return $query;
}

sub rows_of
{
	my ($from, @t) = from(3);
	my @columns = map { chance(0.7) ? column(one_of(@t)) : number_of(one_of(@t)) } 1 .. 1 + int(rand(4));

	push @columns, "(SELECT max(i.v) FROM {" . one_of(qw(a b r l)) . "} i WHERE i.id = $t[0]." . one_of('id', 'k') . ')' if chance(0.15);
	return ordered('SELECT ' . (chance(0.2) ? 'DISTINCT ' : '') . join(', ', map { "$columns[$_] AS c$_" } 0 .. $#columns) . " FROM $from" . where(@t), scalar @columns);
}

sub groups_of
{
	my ($from, @t) = from(3);
	my @keys = map { one_of(column(one_of(@t)), "$t[0].id", number_of(one_of(@t))) } 1 .. int(rand(3));
	my @columns = (@keys, map { aggregate(one_of(@t)) } 1 .. 1 + int(rand(3)));

	$columns[0] = "($keys[0])::text || '!'" if @keys && chance(0.2);
	my $group = '';

	if (@keys)
	{
		$group = ' GROUP BY ' . (@keys > 1 && chance(0.15) ? one_of('ROLLUP', 'CUBE') . ' (' . join(', ', @keys) . ')' : join(', ', @keys));
	}
	$group .= ' HAVING ' . one_of('count(*) > 1', "max($t[0].id) > 40", "sum($t[0].k) IS NOT NULL") if chance(0.25);
	push @columns, one_of('row_number() OVER (ORDER BY ' . join(', ', @keys) . ')', 'rank() OVER (PARTITION BY ' . $keys[0] . ' ORDER BY count(*))',
		'sum(count(*)) OVER (PARTITION BY ' . $keys[-1] . ')') if @keys && $group !~ /ROLLUP|CUBE/ && chance(0.2);
	return ordered('SELECT ' . join(', ', map { "$columns[$_] AS c$_" } 0 .. $#columns) . " FROM $from" . where(@t) . $group, scalar @columns);
}

sub windows_of
{
	my ($from, @t) = from(2);
	my $x = one_of(@t);
	my $window = 'PARTITION BY ' . one_of("$x.id", "$x.id", "$x.k", "$x.id, $x.s", "$x.id, $x.k % 3")
	  . ' ORDER BY ' . one_of('', number_of($x) . ', ', "$x.s || 'x', ") . "$x.v, $x.t, $x.s, $x.k, $x.id";
	my $function = one_of('rank()', 'dense_rank()', "sum($x.k)", 'count(*)', "max($x.s)");
	my $query = "SELECT $x.id AS c0, $x.k AS c1, $function OVER ($window) AS c2 FROM $from" . where(@t);

	return chance(0.3) ? "SELECT * FROM ($query) w WHERE c2 " . one_of('<= 2', '= 1', '> 3') =~ s/$/$function =~ m{max} ? '::text::numeric' : ''/er : $query
	  if $function !~ /max/;
	return $query;
}

sub set_of
{
	my $columns = one_of('id', 'k', 'id, s', 'v, b');
	my $branch = sub { my ($from, @t) = from(2); return 'SELECT ' . join(', ', map { "$t[0].$_" } split /, /, $columns) . " FROM $from" . where(@t) };

	return $branch->() . ' ' . one_of('UNION ALL', 'UNION', 'INTERSECT', 'EXCEPT', 'EXCEPT ALL') . ' ' . $branch->();
}

sub lateral_of
{
	my ($from, @t) = from(2);

	return "SELECT $t[0].id AS c0, y.* FROM $from, LATERAL (SELECT i.id AS c1, i.v AS c2 FROM {" . one_of(qw(a b r)) . "} i WHERE i."
	  . one_of('id', 'k') . " = $t[0]." . one_of('id', 'k') . ' ORDER BY i.v, i.id, i.t LIMIT ' . (1 + int(rand(3))) . ') y' . where(@t);
}

sub query
{
	$alias = 0;
	my $kind = rand();

	return $kind < 0.35 ? rows_of() : $kind < 0.72 ? groups_of() : $kind < 0.84 ? windows_of() : $kind < 0.93 ? set_of() : lateral_of();
}

# What a change sets depends on the row and on all that match it, as which of those
# comes first is not said.
sub change_of
{
	my $target = one_of(qw(a a b b b r l));
	my $x = 't' . ++$alias;
	my @names = ($x);
	my $more = '';
	my $where;
	my $returning = "RETURNING $x.id, $x.k, $x.v, $x.s";
	my $kind = rand();

	if (chance(0.5))
	{
		my ($from, @t) = from(2);

		$more = $from;
		@names = ($x, @t);
		$where = ' WHERE ' . one_of("$x.id = $t[0].id", "$x.id = $t[0].id", "$x.k = $t[0].k", "$x.id = $t[0].k") . ' AND ' . join(' AND ', map { predicate(@names) } 1 .. 1 + int(rand(2)));
	}
	else
	{
		$where = where($x);
	}
	if ($kind < 0.25)
	{
		return "DELETE FROM {$target} $x" . ($more ? " USING $more" : '') . "$where $returning";
	}
	if ($kind < 0.4)
	{
		my ($from, @t) = from(2);

		return "INSERT INTO {b} AS $x (id, k, v, s) SELECT $t[0].id + " . int(rand(3)) * 500 . ", $t[0].k, $t[0].v, $t[-1].s FROM $from" . where(@t) . " $returning";
	}
	my %set = (
		k => one_of("coalesce($x.k, 0) + 1", "$x.id % 4", 'NULL', "(SELECT count(*) FROM {" . one_of(qw(a b r l)) . "} i WHERE i.k = $x.k)"),
		v => one_of("$x.v * 2", "$x.v + length(random()::text) * 0", "(SELECT max(i.v) FROM {" . one_of(qw(a b r l)) . "} i WHERE i.id = $x." . one_of('id', 'k') . ')',
			"(SELECT sum(i.v) FROM {" . one_of(qw(a b)) . "} i)"),
		s => one_of("upper($x.s)", "$x.s || $x.id", "(SELECT min(i.s) FROM {" . one_of(qw(a b)) . "} i WHERE i.k < $x.k)"));
	delete $set{ one_of(qw(k v s)) };
	$set{id} = "$x.id + 1000" if $target eq 'b' && chance(0.2);
	return "UPDATE {$target} $x SET " . join(', ', map { "$_ = $set{$_}" } sort keys %set) . ($more ? " FROM $more" : '') . "$where $returning";
}

sub change
{
	$alias = 0;
	my $change = change_of();
	my $n = ++$alias;
	my $other = change_of();
	my ($target, $other_target) = map { /(?:FROM|INTO|UPDATE) \{(\w)\}/ ? $1 : die } $change, $other;

	# Which of two changes of one row counts is not said.
	my $second = chance(0.3) && $target ne $other_target ? ", y$n AS ($other)" : '';
	my $read = chance(0.5) ? "|| ' ' || (SELECT concat_ws(' ', count(*), sum(i.k), sum(i.v)) FROM {" . one_of(qw(a b r l)) . '} i)' : '';

	return "WITH x$n AS ($change)$second SELECT count(*) || ' ' || coalesce(md5(string_agg(x::text, ',' ORDER BY x::text COLLATE \"C\")), '') $read FROM x$n x";
}

# --- the comparison -----------------------------------------------------------------

my @settings = ('', 'enable_partitionwise_join = on', 'enable_hashjoin = off', 'enable_nestloop = off', 'dlog.enable_raw_rows = off', 'enable_hashagg = off');
my %queries;

# What was wrong once, then what may be.
my @found = (
	# partitions pruned in a nested loop, and fewer columns returned than read
	'SELECT t3.t AS c0, t2.id AS c1 FROM {b} t1 LEFT JOIN {a} t2 ON t1.k = t2.k AND t1.id < 148 JOIN {b} t3 ON t1.k = t3.id '
	  . 'WHERE (SELECT count(*) FROM {l} i WHERE i.k = t3.k) > 2',
);

$queries{$_} = [@found] foreach 1 .. 3;
push @{ $queries{ 1 + $_ % 3 } }, query() foreach 1 .. $count;
foreach my $node (sort keys %queries)
{
	my $script = "SET client_min_messages = warning; SET statement_timeout = '60 s';\n";
	my @all = @{ $queries{$node} };

	foreach my $i (0 .. $#all)
	{
		my $setting = one_of(@settings);
		my ($ours, $theirs) = map { my $kind = $_; $all[$i] =~ s/\{(\w)\}/$kind$1/gr } ('d_', 'p_');

		$script .= "RESET ALL; SET statement_timeout = '60 s';" . ($setting ? "SET $setting;" : '') . "\n";
		$script .= "SELECT $i || ' ' || translate(left(coalesce(ours, 'null'), 5), E'\\n ', '__') || ' ' || translate(left(coalesce(theirs, 'null'), 5), E'\\n ', '__') || CASE WHEN ours IS DISTINCT FROM theirs THEN ' differ' ELSE ' alike' END "
		  . "FROM (SELECT answer(\$q\$$ours\$q\$) AS ours, answer(\$q\$$theirs\$q\$) AS theirs OFFSET 0) x;\n";
	}
	my @said = split /\n/, $cluster->sql($node, $script);
	my @differ = grep { / differ$/ } @said;
	my @refused = grep { /^\d+ (?!null)[0-9A-Z]{5} / && / 42/ } @said;

	is(scalar(@said), scalar(@all), "n$node: all queries were asked");
	is(scalar(@differ), 0, 'and answered alike');
	diag("seed $seed: $_\n" . $all[ (split / /)[0] ]) foreach @differ[ 0 .. ($#differ > 4 ? 4 : $#differ) ];
	cmp_ok(scalar(@refused), '<', @all / 20, 'few of them are no queries at all');
	note("$_: " . $all[ (split / /)[0] ]) foreach @refused;
}

# --- changes ----------------------------------------------------------------------------

foreach my $node (1 .. 3)
{
	my @all = map { change() } 1 .. $count / 6;
	my $script = "SET client_min_messages = warning;\n";

	foreach my $i (0 .. $#all)
	{
		my $setting = one_of(@settings, 'dlog.enable_fanout_scan = off', 'enable_material = off');
		my ($ours, $theirs) = map { my $kind = $_; $all[$i] =~ s/\{(\w)\}/$kind$1/gr } ('d_', 'p_');

		$script .= "RESET ALL; SET statement_timeout = '60 s';" . ($setting ? "SET $setting;" : '') . "\n";
		$script .= "SELECT $i || ' ' || left(replace(ours, ' ', '_'), 5) || ' ' || left(replace(theirs, ' ', '_'), 5) || CASE WHEN ours = theirs THEN ' alike' ELSE ' differ' END "
		  . "FROM (SELECT outcome(\$q\$$ours\$q\$, 'd') AS ours, outcome(\$q\$$theirs\$q\$, 'p') AS theirs OFFSET 0) x;\n";
	}
	my @said = split /\n/, $cluster->sql($node, $script);
	my @differ = grep { / differ$/ } @said;
	my @refused = grep { / [0-9A-Z]{5} [0-9A-Z]{5} alike$/ && / 42/ } @said;

	is(scalar(@said), scalar(@all), "n$node: all changes were made");
	is(scalar(@differ), 0, 'and came out alike');
	diag("seed $seed: $_\n" . $all[ (split / /)[0] ]) foreach @differ[ 0 .. ($#differ > 4 ? 4 : $#differ) ];
	cmp_ok(scalar(@refused), '<', @all / 20, 'few of them are no changes at all');
	note("$_: " . $all[ (split / /)[0] ]) foreach @refused;
}

done_testing();
