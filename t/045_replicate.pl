# A replicated table is whole and the same on all nodes, whichever of them
# changes its rows or its definition, and whatever fails on the way; joins of a
# distributed table with it are done by the nodes; and a node that joins later
# is asked for none until it has a copy.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IPC::Run ();
use Test::More;

my $cluster = DlogCluster->new(nodes => 4, join => 0);
$cluster->sql($_, 'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(1)) . ')') foreach (2, 3);
$cluster->wait_for_links($_, 2) foreach (1 .. 3);

my $rows = q{SELECT count(*) || ' ' || coalesce(md5(string_agg(k::text, ',' ORDER BY kind)), '') FROM app.kinds k};

sub same_everywhere
{
	my ($name, @nodes) = @_;
	@nodes = (1 .. 3) unless @nodes;
	my @answers = map { $cluster->sql($_, $rows) } @nodes;

	is(join(' | ', @answers), join(' | ', ($answers[0]) x @answers), "$name: the same on all nodes");
	return $answers[0];
}

$cluster->sql(1, <<'SQL');
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('calm', 'bright');
CREATE TABLE app.e (id bigint, k int NOT NULL, kind int, v numeric);
INSERT INTO app.e SELECT i, i % 97, i % 12, i / 10.0 FROM generate_series(1, 3000) i;
CREATE TABLE app.kinds (kind int PRIMARY KEY, dropped int, label text NOT NULL, mood app.mood, tags text[], twice int GENERATED ALWAYS AS (kind * 2) STORED);
ALTER TABLE app.kinds DROP dropped;
INSERT INTO app.kinds SELECT i, 'kind ' || i, 'calm', ARRAY['a "b"', NULL, 'c,d'] FROM generate_series(0, 9) i;
GRANT USAGE ON SCHEMA app TO PUBLIC;
GRANT SELECT ON app.kinds TO PUBLIC;
SQL

# --- made, or not at all ---
like($cluster->sql_error(1, q{SELECT dlog.replicate_table('app.kinds')}),
	qr/type "app.mood" does not exist.*node "n2"/s, 'a node lacks a type');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.replicated_tables'), '0', 'nothing is left of it here');
is($cluster->sql($_, q{SELECT to_regclass('app.kinds') IS NULL}), 't', "nor on node $_") foreach (2, 3);
$cluster->sql($_, q{CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC; CREATE TYPE app.mood AS ENUM ('calm', 'bright')}) foreach (2, 3, 4);
$cluster->sql(1, q{SELECT dlog.distribute_table('app.e', by => 'k', partitions => 6)});
my $before = $cluster->sql(1, $rows);
$cluster->sql(1, q{SELECT dlog.replicate_table('app.kinds')});
is(same_everywhere('as it was made'), $before, 'with its rows');
is($cluster->sql($_, q{SELECT array_to_string(nodes, ',') FROM dlog.replicated_tables}), 'n1,n2,n3', "node $_ knows who has copies")
	foreach (1 .. 3);
is($cluster->sql(2, q{SELECT has_table_privilege('public', 'app.kinds', 'SELECT')}), 't', 'its grants are there');

# --- rows, changed by each node ---
$cluster->sql(1, q{INSERT INTO app.kinds SELECT i, 'new ' || i, NULL, NULL FROM generate_series(10, 2500) i});
same_everywhere('INSERT');
$cluster->sql(2, q{UPDATE app.kinds SET label = 'Kind ' || kind, mood = 'bright' WHERE kind % 2 = 0});
same_everywhere('UPDATE');
$cluster->sql(3, q{UPDATE app.kinds SET kind = kind + 5000 WHERE kind > 2000});
same_everywhere('UPDATE of keys');
$cluster->sql(3, q{DELETE FROM app.kinds WHERE kind > 20});
is((split ' ', same_everywhere('DELETE'))[0], '21', 'DELETE deletes');
$cluster->sql(2, q{INSERT INTO app.kinds VALUES (20, 'twenty'), (21, 'twenty-one')
	ON CONFLICT (kind) DO UPDATE SET label = excluded.label});
same_everywhere('ON CONFLICT');
$cluster->sql(2, qq{COPY app.kinds (kind, label) FROM stdin;\n30\tthirty\n31\tthirty-one\n\\.\n});
same_everywhere('COPY');
$cluster->sql(1, q{MERGE INTO app.kinds k USING (VALUES (30), (40), (31)) v (kind) ON k.kind = v.kind
	WHEN MATCHED AND v.kind = 30 THEN DELETE WHEN MATCHED THEN UPDATE SET label = 'merged'
	WHEN NOT MATCHED THEN INSERT (kind, label) VALUES (v.kind, 'forty')});
same_everywhere('MERGE');
is($cluster->sql(3, q{BEGIN; TRUNCATE app.kinds; INSERT INTO app.kinds VALUES (1, 'only'); SELECT count(*) FROM app.kinds; ROLLBACK}),
	'1', 'TRUNCATE, taken back');
is((split ' ', same_everywhere('ROLLBACK'))[0], '24', 'as before');
is($cluster->sql(1, q{BEGIN; SAVEPOINT a; DELETE FROM app.kinds; ROLLBACK TO a; UPDATE app.kinds SET label = 'x' WHERE kind = 31; COMMIT;
	SELECT count(*) FROM app.kinds}), '24', 'a savepoint');
same_everywhere('ROLLBACK TO');
$cluster->sql(1, 'CREATE ROLE writer');
$cluster->sql($_, 'CREATE ROLE writer') foreach (2, 3);
$cluster->sql(2, 'GRANT INSERT, UPDATE ON app.kinds TO writer');
$cluster->sql(3, q{SET ROLE writer; UPDATE app.kinds SET label = 'by a writer' WHERE kind = 31});
same_everywhere('who may update need not be allowed to delete');
like($cluster->sql_error(3, q{SET ROLE writer; DELETE FROM app.kinds}), qr/42501/, 'nor may then');

like($cluster->sql_error(3, q{SET ROLE writer; SET dlog.propagate_ddl = off; UPDATE app.kinds SET label = 'here alone' WHERE kind = 31}),
	qr/42501.*must be owner of replicated table "kinds"/s, 'nor change one copy alone');
same_everywhere('which it did not');

# --- a copy that differs is found out ---
$cluster->sql(2, q{SET dlog.propagate_ddl = off; DELETE FROM app.kinds WHERE kind = 7});
like($cluster->sql_error(1, 'DELETE FROM app.kinds WHERE kind IN (6, 7)'),
	qr/XX001.*copy of replicated table "kinds" on node "n2" differs/s, 'a row is missing there');
is($cluster->sql(1, 'SELECT count(*) FROM app.kinds WHERE kind IN (6, 7)'), '2', 'nothing was deleted here');
is($cluster->sql(3, 'SELECT count(*) FROM app.kinds WHERE kind IN (6, 7)'), '2', 'nor elsewhere');
$cluster->sql(2, q{SET dlog.propagate_ddl = off; INSERT INTO app.kinds VALUES (7, 'kind 7', 'calm', ARRAY['a "b"', NULL, 'c,d'])});
same_everywhere('mended');

# --- writers of all nodes at once follow each other ---
{
	my @runs;

	foreach my $node (1 .. 3)
	{
		my $script = join ';', map { "UPDATE app.kinds SET twice = DEFAULT, label = label || $node WHERE kind < 5" } (1 .. 5);
		my $out = '';

		push @runs, [ IPC::Run::start([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $cluster->conninfo($node), '-c', "SET statement_timeout = '60s'", map { ('-c', $_) } split /;/, $script ],
				'>', \$out, '2>&1'), \$out ];
	}
	foreach (@runs)
	{
		my ($run, $out) = @$_;

		ok($run->finish, 'a writer comes through') or diag($$out);
	}
	same_everywhere('writers at once');
	is($cluster->sql(2, 'SELECT DISTINCT length(label) - length(regexp_replace(label, $$[1-3]{15}$$, $$$$)) FROM app.kinds WHERE kind < 5'),
		'15', 'no change is lost');
}

# --- joins are done by the nodes ---
my $question = 'SELECT t.label, count(*), sum(e.v) FROM app.e JOIN app.kinds t ON t.kind = e.kind GROUP BY t.label ORDER BY 1';
my $plan = $cluster->sql(1, "EXPLAIN (VERBOSE, COSTS OFF) $question");
like($plan, qr/Remote SQL: SELECT kinds.label, count\(\*\), sum\(e.v\) FROM app.e, app.kinds WHERE \(e.kind = kinds.kind\) GROUP BY kinds.label/,
	'join and partial aggregates');
my $answer = $cluster->sql(1, $question);
is($cluster->sql(1, "SET dlog.enable_fanout_scan = off; $question"), $answer, 'and right');
is($cluster->sql($_, $question), $answer, "asked on node $_") foreach (2, 3);
is($cluster->sql(1, "BEGIN; UPDATE app.kinds SET label = 'z' || label WHERE kind = 3; $question; ROLLBACK"),
	$cluster->sql(1, "SET dlog.enable_fanout_scan = off; BEGIN; UPDATE app.kinds SET label = 'z' || label WHERE kind = 3; $question; ROLLBACK"),
	'a transaction sees its own changes in all copies');
unlike($cluster->sql(1, 'EXPLAIN (VERBOSE, COSTS OFF) SELECT t.tableoid, t.ctid, e.id FROM app.e JOIN app.kinds t ON t.kind = e.kind'),
	qr/app.kinds WHERE/, 'not with what differs from copy to copy');
like($cluster->sql(1, 'EXPLAIN (VERBOSE, COSTS OFF) SELECT count(*), count(DISTINCT e.k) FROM app.e JOIN app.kinds t ON t.kind = e.kind'),
	qr/Remote SQL: SELECT count\(\*\), count\(DISTINCT e.k\)/, 'groups are whole where those of the distributed table are');
unlike($cluster->sql(1, 'EXPLAIN SELECT count(*) FROM app.kinds'), qr/DLog/, 'alone it is read here');

# --- the definition ---
$cluster->sql(2, q{ALTER TABLE app.kinds ADD COLUMN note text DEFAULT 'none'});
$cluster->sql(3, q{CREATE UNIQUE INDEX by_note ON app.kinds (note, kind)});
same_everywhere('a new column');
is($cluster->sql($_, q{SELECT count(*) FROM pg_index WHERE indexrelid = 'app.by_note'::regclass AND indisunique}), '1', "the index is on node $_")
	foreach (1 .. 3);

# --- a node that joins later ---
$cluster->sql(4, 'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(1)) . ')');
$cluster->wait_for_links($_, 3) foreach (1 .. 4);
is($cluster->sql(4, q{SELECT to_regclass('app.kinds') IS NULL}), 't', 'a node that joins has no copy');
$cluster->sql(2, q{UPDATE app.kinds SET note = 'still changed' WHERE kind = 1});
same_everywhere('with a node without copy');
like($cluster->sql_error(1, 'ALTER TABLE app.kinds DROP COLUMN note'), qr/55000.*node "n4" has no copy/s, 'it cannot be altered');
$cluster->sql(4, 'CREATE ROLE writer');
$cluster->sql(2, q{SELECT dlog.replicate_table('app.kinds')});
same_everywhere('replicated again', 1 .. 4);
$cluster->sql(4, q{DELETE FROM app.kinds WHERE kind = 2});
same_everywhere('changed by the new node', 1 .. 4);

# --- a node that goes, and comes back ---
$cluster->sql(4, 'SELECT dlog.leave()');
is($cluster->sql($_, q{SELECT nodes FROM dlog.replicated_tables}), '{n2,n1,n3}', "node $_ knows that a copy is gone") foreach (1 .. 3);
$cluster->sql($_, q{UPDATE app.kinds SET note = note || 'x' WHERE kind = 1}) foreach (1 .. 3);
same_everywhere('without a node that has left');
$cluster->sql(4, 'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(1)) . ')');
$cluster->wait_for_links($_, 3) foreach (1 .. 4);
$cluster->sql(1, q{UPDATE app.kinds SET note = note || 'y' WHERE kind = 1});
same_everywhere('nor with it, until it has a copy again');
$cluster->sql(2, q{SELECT dlog.replicate_table('app.kinds')});
same_everywhere('which it gets', 1 .. 4);
$cluster->sql(1, q{SELECT dlog.remove_node('n4')});
$cluster->sql($_, q{UPDATE app.kinds SET note = note || 'z' WHERE kind = 1}) foreach (1 .. 3);
same_everywhere('without a node that was removed');
$cluster->sql(4, q{SELECT dlog.leave(force => true)});
$cluster->sql(4, 'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(1)) . ')');
$cluster->wait_for_links($_, 3) foreach (1 .. 4);
$cluster->sql(3, q{SELECT dlog.replicate_table('app.kinds')});
same_everywhere('all four again', 1 .. 4);

# --- the end ---
$cluster->sql(4, q{SELECT dlog.unreplicate_table('app.kinds')});
is($cluster->sql($_, q{SELECT to_regclass('app.kinds') IS NULL}), 't', "no longer on node $_") foreach (1 .. 3);
is($cluster->sql(4, q{INSERT INTO app.kinds VALUES (2, 'again') RETURNING kind}), '2', 'an ordinary table here');
$cluster->sql(4, q{SELECT dlog.replicate_table('app.kinds')});
$cluster->sql(1, 'DROP TABLE app.kinds');
is($cluster->sql($_, q{SELECT to_regclass('app.kinds') IS NULL AND NOT EXISTS (SELECT FROM dlog.replicated_tables)}), 't', "dropped on node $_")
	foreach (1 .. 4);

done_testing();
