# A session that looks up one key after the other plans that once for each
# partition.  Whatever the key and its type are, whatever else is asked, and
# whatever changes in between: the answers are those of an ordinary table.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $seed = $ENV{LOOKUP_RANDOM_SEED} // 1;
my $cluster = DlogCluster->new(nodes => 3);
$cluster->sql_everywhere(<<'SQL');
CREATE ROLE clerk LOGIN; CREATE ROLE chief LOGIN;
CREATE DOMAIN small_int AS int CHECK (VALUE < 1000000);
SQL
my $columns = '(id int, k int, v numeric, s text, t timestamp)';
my $rows = <<'SQL';
SELECT i % 400, nullif(i % 13, 5), nullif(i % 37, 11) / 4.0, nullif('s' || i % 7, 's3'), timestamp '2024-02-27' + i * interval '7 hours'
FROM generate_series(1, 1200) i UNION ALL SELECT 1000, i, i, 'many', timestamp '2024-02-27' FROM generate_series(1, 500) i
SQL
$cluster->sql(1, <<"SQL");
CREATE TABLE d $columns; CREATE INDEX ON d (id); CREATE INDEX ON d (t);
SELECT dlog.distribute_table('d', by => 'id', partitions => 8);
CREATE TABLE p $columns;
INSERT INTO d $rows; INSERT INTO p $rows;
ANALYZE d; ANALYZE p;
GRANT SELECT ON d TO clerk, chief;
SQL

my $hour = "SET dlog.plan_lifetime = '1h';\n";

# One session's answers; those of statements without any are left out.
sub ask
{
	my ($statements) = @_;
	my ($status, $output, $error) = $cluster->node(1)->psql('postgres', $hour . $statements, on_error_stop => 0);
	return ($output, $error);
}

sub one_of { return $_[ int(rand(@_)) ] }

# Keys of rows that are here (0), or on another node (1), by partition.
my @keys = ({}, {});
foreach (split /\n/, $cluster->sql(1, 'SELECT DISTINCT dlog.partition_node(tableoid), tableoid::regclass, id FROM d WHERE id < 400 ORDER BY 3'))
{
	my ($node, $leaf, $id) = split /\|/;
	push @{ $keys[ $node ne 'n1' ]{$leaf} }, $id;
}
my ($here) = sort keys %{ $keys[0] };
my ($there) = sort keys %{ $keys[1] };
my @here = @{ $keys[0]{$here} };
my @there = @{ $keys[1]{$there} };
cmp_ok(scalar(@here), '>', 20, 'keys that are here');
cmp_ok(scalar(@there), '>', 20, 'and keys that are not');

# --- it is kept -------------------------------------------------------------------

# The second time that a key of a partition is asked for.
sub lookup { my ($key) = @_; return "SELECT * FROM d WHERE id = $key;\n" }
sub explained { my ($key) = @_; return 'EXPLAIN ' . lookup($key) }
my ($output, $error) = ask(join '', map { explained($_) } @here[ 0 .. 2 ]);
is($error, '', 'no error');
like($output, qr/id = $here[$_]\)/, "the plan shows key $here[$_]") foreach 0 .. 2;
my $locks = "SELECT relkind, count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relname ~ '^d(_\\d+)?\$' WHERE l.pid = pg_backend_pid() GROUP BY 1 ORDER BY 1;\n";
my $quietly = sub { return "\\o /dev/null\n" . join('', @_) . "\\o\n" };
($output, $error) = ask($quietly->(map { lookup($_) } @there[ 0 .. 2 ]) . 'BEGIN;' . $quietly->(lookup($there[3])) . "$locks COMMIT;");
is($output, 'p|1', 'a partition elsewhere is not looked at again');
($output, $error) = ask('SET dlog.plan_lifetime = 0;' . $quietly->(map { lookup($_) } @there[ 0 .. 2 ]) . 'BEGIN;' . $quietly->(lookup($there[3])) . "$locks COMMIT;");
is($output, "f|1\np|1", 'as it is when it is planned');
($output, $error) = ask($quietly->(map { lookup($_) } @here[ 0 .. 2 ]) . 'BEGIN;' . $quietly->(lookup($here[3])) . "$locks COMMIT;");
is($output, "p|1\nr|1", 'one that is here is locked');
foreach my $mode ('force_custom_plan', 'auto')
{
	($output, $error) = ask("SET plan_cache_mode = $mode; PREPARE q(int) AS SELECT * FROM d WHERE id = \$1;" . $quietly->(map { "EXECUTE q($_);" } @there[ 0 .. 2 ])
		  . 'BEGIN;' . $quietly->("EXECUTE q($there[3]);") . "$locks COMMIT;");
	is($output, 'p|1', "a prepared statement, $mode");
}

# --- answers -------------------------------------------------------------------------

srand($seed);

sub key { return one_of(@here, @there, map { int(rand(400)) } 1 .. 100) }

# One shape of a lookup: a function of the key.
my @conditions = ('', '', ' AND k > 3', ' AND k = 4', ' AND v IS NOT NULL', " AND s LIKE 's%'", " AND t > timestamp '2024-03-09'", ' AND k < id', ' AND (k = 2 OR v > 5)',
	' AND id < 200', ' AND id <> 17', ' AND id IN (3, 5, 17, 200)', ' AND k + 0 = id', ' AND random() >= 0', ' AND false', ' AND now() > t');
my @questions = (
	sub { "SELECT *, tableoid::regclass::text ~ '^.' FROM {t} WHERE $_[0] ORDER BY id, k, v, s, t" },
	sub { "SELECT count(*), sum(v), max(s), avg(k) FROM {t} WHERE $_[0]" },
	sub { "SELECT count(DISTINCT k), array_agg(s ORDER BY t), string_agg(s, ',' ORDER BY t DESC) FROM {t} WHERE $_[0]" },
	sub { "SELECT k, s, count(*), min(t) FROM {t} WHERE $_[0] GROUP BY k, s HAVING count(*) < 100 ORDER BY 1, 2" },
	sub { "SELECT DISTINCT id, k FROM {t} WHERE $_[0] ORDER BY 2 LIMIT 3" },
	sub { "SELECT k, v FROM {t} WHERE $_[0] ORDER BY t DESC, k, v LIMIT 2 OFFSET 1" },
	sub { "SELECT k, rank() OVER (PARTITION BY id ORDER BY v, k, t), sum(k) OVER () FROM {t} WHERE $_[0] ORDER BY 1, 2" },
	sub { "SELECT max(t), min(id) FROM {t} WHERE $_[0]" },
	sub { "SELECT id, generate_series(1, 2) FROM {t} WHERE $_[0] ORDER BY 1, 2" },
	sub { "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM {t} WHERE $_[0]" },
	sub { "SELECT x.k FROM {t} x WHERE $_[0] ORDER BY x.t, x.k" },
	sub { "SELECT i.k, (SELECT count(*) FROM {t} x WHERE x.id = i.id) FROM {t} i WHERE $_[0] ORDER BY 1" },
	sub { "SELECT a.k, b.t FROM {t} a JOIN {t} b USING (id, s) WHERE $_[0] ORDER BY 1, 2" },
	sub { "SELECT * FROM (SELECT k, v FROM {t} WHERE $_[0] OFFSET 0) x ORDER BY 1, 2" },
	sub { "SELECT k FROM {t} WHERE $_[0] UNION ALL SELECT v::int FROM {t} WHERE k = 100 ORDER BY 1" });
my @equalities = ((sub { "id = $_[0]" }) x 5, sub { "$_[0] = id" }, sub { "id = '$_[0]'" }, sub { "id = $_[0]::int8" }, sub { "id = int2 '$_[0]'" },
	sub { "id = $_[0]\::numeric" }, sub { "id = -$_[0]" }, sub { "id = $_[0] AND id = $_[0] + 1" }, sub { "id IN ($_[0])" }, sub { "(id = $_[0] OR id = 7)" },
	sub { 'id = NULL' }, sub { "id IS NOT DISTINCT FROM $_[0]" }, sub { "id = 99999999999" }, sub { "id = abs(-$_[0])" }, sub { "id = (SELECT $_[0])" }, sub { "NOT id <> $_[0]" });
my (%script, $count);
foreach my $i (1 .. 120)
{
	my $question = one_of(@questions);
	my $equality = one_of(@equalities);
	my $condition = one_of(@conditions);
	my @shape = map { $equality->(key()) . $condition } 1 .. 12;

	# Other parts of the query do not know which of two tables a column is of.
	s/\b([ktv])\b(?!')/a.$1/g foreach $question == $questions[12] ? @shape : ();
	foreach my $where (@shape)
	{
		my $text = $question->($where);
		$script{$_} .= ($text =~ s/\{t\}/$_/gr) . ";\n" foreach 'd', 'p';
		$count++;
	}
}
my ($ours, $our_errors) = ask($script{d});
my ($theirs, $their_errors) = ask($script{p});
is($our_errors, '', "$count lookups: no errors");
is($their_errors, '', 'nor in an ordinary table');
is($ours, $theirs, 'and answers');
cmp_ok(length($ours), '>', 10000, 'there are some');

# --- types -------------------------------------------------------------------------------

my %types = (
	smallint => 'i', bigint => "i * 3000000000", text => "'key ' || i", 'varchar(20)' => "'it''s ' || i", 'char(8)' => "'c' || i", name => "'n' || i", 'text COLLATE "C"' => "'é' || i",
	numeric => 'i / 8.0', float8 => 'i * 1.5', float4 => 'i / 2', bool => 'i % 2 = 0', date => "date '2024-01-01' + i", timestamp => "timestamp '2024-01-01 10:00' + i * interval '1 hour'",
	timestamptz => "timestamptz '2024-01-01 10:00+2' + i * interval '1 hour'", time => "time '00:00' + i * interval '1 minute'", interval => "i * interval '1 day'",
	uuid => "md5(i::text)::uuid", bytea => "decode(md5(i::text), 'hex')", inet => "('10.0.0.' || i)::inet", oid => 'i::oid',
	small_int => 'i', 'int[]' => 'ARRAY[i, i + 1]', int4range => 'int4range(i, i + 5)', jsonb => "jsonb_build_object('i', i)", '"char"' => "chr(65 + i % 26)::\"char\"");
foreach my $type (sort keys %types)
{
	my $cast = $type =~ s/ COLLATE.*//r;

	$cluster->sql(1, <<"SQL");
CREATE TABLE typed (key $type, n int);
CREATE INDEX ON typed (key);
SELECT dlog.distribute_table('typed', by => 'key', partitions => 4);
CREATE TABLE plain (key $type, n int);
INSERT INTO plain SELECT ($types{$type})\::$cast, i FROM generate_series(1, 40) i;
INSERT INTO typed SELECT * FROM plain;
SQL
	my @literals = split /\n/, $cluster->sql(1, 'SELECT DISTINCT quote_literal(key::text) FROM plain');
	my $both = '';
	foreach my $form ("%s", "%s::$cast")
	{
		foreach my $literal (@literals, @literals[ 0 .. 1 ])
		{
			my $where = sprintf("WHERE key = $form", $literal);
			$both .= "SELECT n FROM {t} $where ORDER BY n;\n";
		}
	}
	$both .= "PREPARE q_{t} AS SELECT n FROM {t} WHERE key = \$1 ORDER BY n;\n" . join('', map { "EXECUTE q_{t}($_);\n" } @literals);
	my ($typed, $typed_error) = ask($both =~ s/\{t\}/typed/gr);
	my ($plain, $plain_error) = ask($both =~ s/\{t\}/plain/gr);
	is($typed_error, $plain_error =~ s/plain/typed/gr, "$type: errors");
	is($typed, $plain, 'and rows');
	cmp_ok(scalar(split /\n/, $typed), '>=', 80, 'all of them');
	$cluster->sql(1, 'DROP TABLE typed, plain');
}

# --- PL/pgSQL, and plans at work at the same time ---------------------------------------------

$cluster->sql(1, <<'SQL');
CREATE FUNCTION looked_up(tab text, key int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	one text; other text; third text;
BEGIN
	EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(k), 0) FROM %I WHERE id = %s', tab, key) INTO one;
	EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(k), 0) FROM %I WHERE id = $1', tab) INTO other USING key;
	IF tab = 'd' THEN
		SELECT count(*) || ' ' || coalesce(sum(k), 0) INTO third FROM d WHERE id = key;
	ELSE
		SELECT count(*) || ' ' || coalesce(sum(k), 0) INTO third FROM p WHERE id = key;
	END IF;
	RETURN one || ',' || other || ',' || third;
END $$;
-- Within a lookup of one key of a partition, look up others of the same one.
CREATE FUNCTION nested(tab text, depth int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	r record;
	total bigint := 0;
	inner_total bigint;
BEGIN
	FOR r IN EXECUTE format('SELECT id, k, %s AS d FROM %I WHERE id = %s', depth, tab, CASE depth WHEN 2 THEN 1000 ELSE depth * 3 END) LOOP
		total := total * 3 % 1000003 + r.id + coalesce(r.k, 0);
		IF depth > 0 THEN
			EXECUTE format('SELECT nested(%L, %s)', tab, depth - 1) INTO inner_total;
			total := total + inner_total;
		END IF;
	END LOOP;
	RETURN total;
END $$;
CREATE FUNCTION again(tab text, i int, key int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	n int;
BEGIN
	IF i % 100 = 0 THEN
		EXECUTE format('SELECT again(%L, 1, 0) + count(*) FROM %I WHERE id = %s', tab, tab, key) INTO n;
		EXECUTE format('SELECT count(*) FROM %I WHERE id = %s', tab, key + i / 100) INTO n;
		EXECUTE 'ANALYZE d';
		RETURN n;
	END IF;
	RETURN 0;
END $$;
SQL
foreach my $statement (
	"SELECT string_agg(looked_up('{t}', i), ';' ORDER BY i) FROM generate_series(1, 100) i",
	"SELECT nested('{t}', 2)",
	"SELECT sum(again('{t}', k, 1000)), count(*) FROM {t} WHERE id = 1000")
{
	my ($ours, $our_error) = ask((($statement =~ s/\{t\}/d/gr) . ";\n") x 4);
	my ($theirs) = ask((($statement =~ s/\{t\}/p/gr) . ";\n") x 4);
	is($our_error, '', 'no error');
	is($ours, $theirs, $statement);
}

# A cursor on one key stays on it.
my @near = @here[ 0 .. 5 ];
my $cursor = sub { my ($t) = @_; return join('', map { "SELECT k FROM $t WHERE id = $_ ORDER BY t, k;\n" } @near[ 0 .. 2 ])
	. "BEGIN; DECLARE c CURSOR FOR SELECT k FROM $t WHERE id = $near[3] ORDER BY t, k; FETCH 1 FROM c; "
	. "DECLARE e CURSOR WITH HOLD FOR SELECT k FROM $t WHERE id = $near[4] ORDER BY t, k; SELECT k FROM $t WHERE id = $near[5] ORDER BY t, k; FETCH ALL FROM c; FETCH 1 FROM e; COMMIT; "
	. "SELECT k FROM $t WHERE id = $near[0] ORDER BY t, k; FETCH ALL FROM e;\n" };
is((ask($cursor->('d')))[0], (ask($cursor->('p')))[0], 'cursors beside other lookups');

# --- what changes in between ----------------------------------------------------------------------

my $one = sub { return join '', map { "SELECT k FROM d WHERE id = $_ ORDER BY k LIMIT 1;\n" } @_ };
my $first = $cluster->sql(1, join '', map { "SELECT k FROM p WHERE id = $_ ORDER BY k LIMIT 1;" } $here[0], $there[0]);
my $warm = $quietly->($one->(@here[ 0 .. 3 ], @there[ 0 .. 3 ]));
my $ask_both = $one->($here[0], $there[0]);

($output, $error) = ask("$warm INSERT INTO d VALUES ($here[0], -1), ($there[0], -2); $ask_both DELETE FROM d WHERE k < 0; $ask_both");
is($output, "-1\n-2\n$first", 'rows come and go');
($output, $error) = ask("$warm BEGIN; UPDATE d SET k = -3 WHERE id IN ($here[0], $there[0]); $ask_both ROLLBACK; $ask_both");
is($output, "-3\n-3\n$first", 'a transaction sees what it has written');
($output, $error) = ask("$warm ALTER TABLE d ADD COLUMN more int DEFAULT 5; SELECT DISTINCT more FROM d WHERE id = $here[0]; $warm ALTER TABLE d DROP COLUMN more; $ask_both");
is($output, "5\n$first", 'columns come and go');
is($error, '', 'without an error');
($output, $error) = ask("$warm CREATE TEMP TABLE d (id int, k int); INSERT INTO d VALUES ($here[0], 77); $ask_both DROP TABLE d; $ask_both");
is($output, "77\n$first", 'another table of that name');
($output, $error) = ask(join('', map { "SELECT 1 / ($_ - $here[0]) FROM d WHERE id = $_ LIMIT 1;\n" } @here[ 0 .. 2 ], $here[0]) . $ask_both);
is(() = $error =~ /division by zero/g, 2, 'an error while it is planned');
like($output, qr/$first\z/, 'harms no other');
($output, $error) = ask("$warm SET enable_indexscan = off; SET enable_bitmapscan = off; EXPLAIN (COSTS OFF) " . $one->($here[0]) . 'SET dlog.enable_fanout_scan = off; EXPLAIN (COSTS OFF) ' . $one->($there[0]));
like($output, qr/Seq Scan on $here/, 'a setting of the planner holds at once');
like($output, qr/Foreign Scan/, 'and another one');

# What waits for a lock on the partition finds it changed, and its plan dropped.
my $waiting = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
$waiting->query_safe("$hour SET application_name = 'waiting';\n" . $one->(@here[ 0 .. 2 ]));
my $truncating = $cluster->node(1)->background_psql('postgres');
$truncating->query_safe("BEGIN; CREATE TEMP TABLE saved AS SELECT * FROM $here; TRUNCATE $here;");
$waiting->query_until(qr/asked/, "\\echo asked\n" . $one->($here[3]) . "SELECT 'answered';\n");
$cluster->wait_until(1, "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'waiting' AND wait_event_type = 'Lock'");
$truncating->query_safe('COMMIT');
is($waiting->query('SELECT 1'), "answered\n1", 'a partition that is emptied while a lookup waits for it');
$truncating->query_safe("INSERT INTO $here SELECT * FROM saved; ANALYZE $here; DROP TABLE saved");
is($waiting->query($one->($here[0])), (split /\n/, $first)[0], 'and filled again');
$_->quit foreach $waiting, $truncating;

# Functions that are inlined find what they call by the search path.
$cluster->sql_everywhere(<<'SQL');
SET dlog.propagate_ddl = off;
CREATE SCHEMA a; CREATE FUNCTION a.g() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE SCHEMA b; CREATE FUNCTION b.g() RETURNS int LANGUAGE sql STABLE AS 'SELECT 2';
SET search_path = a, public;
CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1 + g()';
SQL
my $inlined = sub { return join '', map { "SELECT public.f(k) - k FROM public.d WHERE id = $_ AND k IS NOT NULL LIMIT 1;\n" } @_ };
($output, $error) = ask('SET search_path = a, public; ' . $inlined->(@here[ 0 .. 2 ], @there[ 0 .. 2 ]) . 'SET search_path = b, public; ' . $inlined->($here[3], $there[3]));
is($output, join("\n", (1) x 6, (2) x 2), 'the search path');
is($error, '', 'without an error');
my $written = sub { return join '', map { "SELECT (float8 '0.1' + 0.2)::text, bytea 'a'::text, interval '1 day'::text FROM d WHERE id = $_ LIMIT 1;\n" } @_ };
($output, $error) = ask($written->(@here[ 0 .. 2 ]) . "SET extra_float_digits = 0; SET bytea_output = escape; SET intervalstyle = iso_8601;" . $written->($here[3]));
is($output, join("\n", ('0.30000000000000004|\\x61|1 day') x 3, '0.3|a|P1D'), 'how values are written');

# Roles.
$cluster->sql(1, 'REVOKE SELECT ON d FROM chief; GRANT SELECT (id, k) ON d TO chief');
my $whole = join '', map { "SELECT count(v) FROM d WHERE id = $_;\n" } @here[ 0 .. 3 ], @there[ 0 .. 3 ];
my $columns_only = join '', map { "SELECT count(k) FROM d WHERE id = $_;\n" } @here[ 0 .. 3 ], @there[ 0 .. 3 ];
($output, $error) = ask("SET ROLE clerk; $whole SET ROLE chief; $whole $columns_only");
is(() = $error =~ /permission denied for table d/g, 8, 'who may not read a column does not');
is(() = $output =~ /^\d+$/mg, 16, 'and who may does');
($output, $error) = ask("SET ROLE clerk; $warm RESET ROLE; REVOKE SELECT ON d FROM clerk; SET ROLE clerk; $ask_both RESET ROLE; GRANT SELECT ON d TO clerk;");
is(() = $error =~ /permission denied for table d/g, 2, 'a right that is taken away');
$cluster->sql(1, q{GRANT SELECT ON d TO chief; ALTER TABLE d ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON d USING (s = current_setting('app.s', true) OR current_user = 'chief')});
my ($ours_rls) = ask("SET ROLE clerk; " . join('', map { my $s = $_; "SET app.s = '$s';\n" . join('', map { "SELECT count(*) FROM d WHERE id = $_;\n" } @here[ 0 .. 2 ], @there[ 0 .. 2 ]) } 's1', 's2')
	  . 'SET ROLE chief;' . $columns_only);
my ($theirs_rls) = ask(join('', map { my $s = $_; join('', map { "SELECT count(*) FROM p WHERE id = $_ AND s = '$s';\n" } @here[ 0 .. 2 ], @there[ 0 .. 2 ]) } 's1', 's2') . $columns_only =~ s/FROM d/FROM p/gr);
is($ours_rls, $theirs_rls, 'row-level security');
$cluster->sql(1, 'ALTER TABLE d DISABLE ROW LEVEL SECURITY; DROP POLICY own ON d');
$cluster->sql(1, 'CREATE VIEW of_owner AS SELECT * FROM d WHERE k IS NOT NULL; REVOKE SELECT ON d FROM clerk; GRANT SELECT ON of_owner TO clerk');
($output, $error) = ask('SET ROLE clerk;' . join '', map { "SELECT min(k) FROM of_owner WHERE id = $_;\n" } @here[ 0 .. 2 ], @there[ 0 .. 2 ]);
is($output, $cluster->sql(1, join '', map { "SELECT min(k) FROM p WHERE id = $_;" } @here[ 0 .. 2 ], @there[ 0 .. 2 ]), 'a view reads as its owner');

# An index that only some values can use is used by these.
$cluster->sql(1, "CREATE TABLE part (id int, k int); SELECT dlog.distribute_table('part', by => 'id', colocate_with => 'd');
	INSERT INTO part SELECT i % 400, i FROM generate_series(1, 20000) i; CREATE INDEX small ON part (id) WHERE id < $here[3]; ANALYZE part");
($output, $error) = ask("SET enable_seqscan = off;" . join '', map { "EXPLAIN (COSTS OFF) SELECT count(*) FROM part WHERE id = $_;\n" } @here[ 0 .. 5 ]);
is(() = $output =~ /Index.*Scan (?:on|using) part_\d+_id_idx/g, 3, 'a partial index') or diag($output);
($output, $error) = ask(join '', map { "SELECT count(*) FROM part WHERE id = $_;\n" } @here[ 0 .. 5 ]);
is($output, join("\n", (50) x 6), 'and its rows');

# Also if another lookup is planned and kept while that one is sized up.
$cluster->sql(1, <<"SQL");
CREATE FUNCTION sized() RETURNS int LANGUAGE plpgsql STABLE AS \$\$
BEGIN
	IF current_setting('app.how', true) = 'others' THEN
		PERFORM set_config('app.how', '', false);
		FOR i IN 1 .. 3 LOOP
			EXECUTE 'SELECT count(*) FROM d WHERE id = $here[5]';
		END LOOP;
	END IF;
	RETURN 0;
END \$\$;
SQL
my $sized = sub { my ($how, $key) = @_; return "SET app.how = '$how'; SELECT count(*) FROM part WHERE id = $key AND k > sized();\n" };
($output, $error) = ask($sized->('', $here[0]) . $sized->('', $here[1]) . $sized->('others', $here[2]) . "SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'dlog lookup plan';\n");
is($output, "50\n50\n50\n1", 'a partial index, and another lookup that is planned within');
is($error, '', 'without an error');

# Locked and changed rows are none of this.
($output, $error) = ask("$warm BEGIN; " . join('', map { "SELECT k FROM d WHERE id = $_ ORDER BY k LIMIT 1 FOR UPDATE;\nUPDATE d SET v = v WHERE id = $_;\nDELETE FROM d WHERE id = $_ AND k = -1;\n" } $here[0], $there[0]) . 'ROLLBACK;');
is($output, $first, 'FOR UPDATE, UPDATE and DELETE');
is($error, '', 'without an error');

# While a lookup is planned, another one of the same partition is, or as many
# others as take its place.
$cluster->sql(1, <<"SQL");
CREATE FUNCTION disturbed() RETURNS int LANGUAGE plpgsql IMMUTABLE AS \$\$
DECLARE
	how text := current_setting('app.how', true);
BEGIN
	PERFORM set_config('app.how', '', false);
	IF how = 'same' THEN
		EXECUTE 'SELECT count(*) FROM d WHERE id = $here[5] AND id <> disturbed()';
	ELSIF how = 'others' THEN
		FOR i IN 1 .. 40 LOOP
			EXECUTE format('SELECT k AS a%s FROM d WHERE id = $here[5]', i);
		END LOOP;
	END IF;
	RETURN -1;
END \$\$;
SQL
my $n_plans = "SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'dlog lookup plan';\n";
my $disturbed = sub { my ($how, $key) = @_; return "SET app.how = '$how'; SELECT count(*) FROM d WHERE id = $key AND id <> disturbed();\n" };
foreach ([ '', 1 ], [ 'same', 1 ], [ 'others', 0 ])
{
	my ($how, $n) = @$_;
	($output, $error) = ask($disturbed->('', $here[0]) . $disturbed->('', $here[1]) . $disturbed->($how, $here[2]) . $n_plans);
	is($output, "3\n3\n3\n$n", "planned while others are: '$how'");
	is($error, '', 'without an error');
}

# One text by turns in two states.
my $by_turns = sub { return "BEGIN; DO \$\$ BEGIN FOR i IN 1 .. 400 LOOP PERFORM set_config('work_mem', (4096 + i % 2 * 64)::text, true); EXECUTE '$_[0]'; END LOOP; END \$\$;\n"
	. "SELECT count(*) < 20 FROM pg_backend_memory_contexts WHERE name ~ '^dlog (lookup|kept)'; COMMIT;\n" };
foreach my $text ("SELECT FROM d WHERE id = $here[0]", 'SELECT count(*) FROM d')
{
	($output, $error) = ask($by_turns->($text));
	is($output, 't', "nothing is left over by: $text");
	is($error, '', 'without an error');
}

# More shapes than are kept, and more partitions.
my @aliases = map { "a$_" } 1 .. 40;
($output, $error) = ask(join '', map { my $key = $_; map { "SELECT count(*) AS $_ FROM d WHERE id = $key;\n" } @aliases } @here[ 0 .. 2 ]);
is($output, join("\n", (3) x 120), 'more queries than are kept');
$cluster->sql(1, "CREATE TABLE wide (id int, k int); SELECT dlog.distribute_table('wide', by => 'id', partitions => 600); INSERT INTO wide SELECT i, i FROM generate_series(1, 3000) i");
my $loop = "DO \$\$ DECLARE n int; BEGIN FOR i IN 1 .. 3000 LOOP EXECUTE format('SELECT k FROM %I WHERE id = %s', 'wide', i) INTO STRICT n; ASSERT n = i; END LOOP; END \$\$;\n";
($output, $error) = ask("$loop $ask_both $loop $warm $ask_both");
is($error, '', 'more partitions than plans are kept for');
is($output, "$first\n$first", 'other lookups go on');

# A partition moves to another node while a session looks into it.
my $name = $there =~ s/.*\.//r;
my ($home) = $cluster->sql(1, "SELECT dlog.partition_node('$there')") =~ /(\d)/;
my $other = 5 - $home;
my $session = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
$session->query_safe($hour . join '', map { "SELECT k FROM d WHERE id = $_ ORDER BY k LIMIT 1;\n" } @there[ 0 .. 4 ]);
my $moved = $cluster->sql($home, "SELECT string_agg(format('(%L,%L,%L,%L,%L)', id, k, v, s, t), ',') FROM $there");
my ($bound) = $cluster->sql(1, "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = '$there'::regclass");
$cluster->sql($other, "SET dlog.propagate_ddl = off; BEGIN; DROP FOREIGN TABLE $there; CREATE TABLE $there PARTITION OF d $bound; INSERT INTO $there VALUES $moved; COMMIT;");
$cluster->sql($home, "SET dlog.propagate_ddl = off; BEGIN; DROP TABLE $there; CREATE FOREIGN TABLE $there PARTITION OF d $bound SERVER n$other OPTIONS (schema_name 'public', table_name '$name'); COMMIT;");
my ($there_first) = (split /\n/, $first)[1];
is($session->query("SELECT k FROM d WHERE id = $there[0] ORDER BY k LIMIT 1;"), $there_first, 'a partition has moved');
$cluster->sql(1, "SELECT dlog.set_partition_node('$there', 'n$other')");
my $asked = "SELECT requests FROM dlog.partitions WHERE partition = '$there'::regclass";
my ($before) = $cluster->sql($other, $asked);
is($session->query("SELECT k FROM d WHERE id = $there[0] ORDER BY k LIMIT 1;"), $there_first, 'and this node knows it');
is($cluster->sql($other, $asked), $before + 1, 'and asks its new home');
$cluster->sql(1, 'DROP VIEW of_owner');
$session->query_safe("SELECT k FROM d WHERE id = $there[1] ORDER BY k LIMIT 1;");
$cluster->sql(1, "SET client_min_messages = warning; DROP TABLE d");
like($session->query("SELECT k FROM d WHERE id = $there[0] ORDER BY k LIMIT 1;\n\\echo :SQLSTATE"), qr/42P01/, 'a table that is dropped');
$session->quit;

done_testing();
