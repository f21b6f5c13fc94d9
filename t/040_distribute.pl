# A table distributed over three nodes is the same table on all of them; it is
# changed, dropped and brought back from any of them, on all or on none,
# whatever fails on the way; and a node that joins later has it too.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 4, join => 0);
$cluster->sql($_, 'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(1)) . ')') foreach (2, 3);
$cluster->wait_for_links($_, 2) foreach (1 .. 3);

# The same on each of the first three nodes?
sub same_everywhere
{
	my ($query, $name) = @_;
	my @answers = map { $cluster->sql($_, $query) } (1 .. 3);

	is($answers[1], $answers[0], "$name: node 2 as node 1");
	is($answers[2], $answers[0], "$name: node 3 as node 1");
	return $answers[0];
}

# All that the catalogs know of a distributed table, without oids.
sub definition
{
	my ($table) = @_;

	return <<"SQL";
SELECT dlog.definition_columns('$table') UNION ALL
SELECT dlog.definition_alterations('$table') UNION ALL
SELECT dlog.definition_settings('$table') UNION ALL
SELECT dlog.definition_grants('$table') UNION ALL
(SELECT c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid) || ' ' || relowner::regrole || ' '
	|| dlog.partition_node(c.oid) || ' ' || dlog.definition_columns(c.oid)
 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = '$table'::regclass ORDER BY c.relname) UNION ALL
SELECT relowner::regrole::text FROM pg_class WHERE oid = '$table'::regclass UNION ALL
SELECT key || keys::text || colocation::text FROM dlog.distributed_tables
WHERE "table" = '$table'::regclass
SQL
}

# What of a schema's tables a node has.
my $relations = "SELECT count(*) FROM pg_class WHERE relnamespace = 'app'::regnamespace";

sub nothing_elsewhere
{
	my ($name) = @_;

	is($cluster->sql($_, "$relations AND relname LIKE 'events%'"), 0, "$name: nothing on node $_") foreach (2, 3);
	is($cluster->sql(1, "SELECT relkind, (SELECT count(*) FROM app.events) FROM pg_class WHERE oid = 'app.events'::regclass"),
		'r|20000', "$name: the table is as it was");
	is($cluster->sql(1, 'SELECT count(*) FROM dlog.distributed_table'), 0, "$name: it is not distributed");
}

foreach (1 .. 3)
{
	$cluster->sql($_, 'CREATE ROLE owner; CREATE ROLE reader');
}
$cluster->sql(1, <<'SQL');
CREATE SCHEMA app AUTHORIZATION owner;
GRANT USAGE ON SCHEMA app TO reader;
CREATE TYPE public.mood AS ENUM ('calm', 'bright');
CREATE TABLE app.events (
	id bigint NOT NULL,
	user_id bigint,
	mood mood DEFAULT 'calm',
	amount numeric(10,2) CHECK (amount > 0),
	name text COLLATE "C" DEFAULT 'it''s',
	twice bigint GENERATED ALWAYS AS (id * 2) STORED,
	tags text[],
	made timestamptz DEFAULT '2026-01-01',
	PRIMARY KEY (id, user_id),
	UNIQUE (user_id, name) DEFERRABLE
) WITH (fillfactor = 70);
ALTER TABLE app.events ADD CONSTRAINT unproven CHECK (id <> 13) NOT VALID;
ALTER TABLE app.events ALTER tags SET STORAGE EXTERNAL, ALTER amount SET STATISTICS 50;
CREATE INDEX ON app.events (lower(name)) WHERE amount > 5;
CREATE UNIQUE INDEX "Only One" ON app.events (user_id, lower(name));
CREATE STATISTICS app.together ON id, amount FROM app.events;
COMMENT ON TABLE app.events IS 'what''s happened';
COMMENT ON COLUMN app.events.name IS 'a name';
CREATE POLICY mine ON app.events FOR SELECT TO reader USING (user_id < 50);
ALTER TABLE app.events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, OWNER TO owner;
GRANT SELECT ON app.events TO reader;
GRANT UPDATE (name) ON app.events TO reader;
INSERT INTO app.events (id, user_id, mood, amount, name, tags)
SELECT i, i % 100, 'bright', i / 10.0, 'name ' || i, ARRAY['a', 'b' || i % 7]
FROM generate_series(101, 20100) i;
SQL
my $checksum = q{SELECT count(*), sum(id), sum(user_id), sum(twice), sum(amount),
	sum(hashtext(events::text)::bigint) FROM app.events};
my $before = $cluster->sql(1, $checksum);

# --- what a node lacks is named, and nothing remains

my $distribute = "SELECT dlog.distribute_table('app.events', by => 'user_id', partitions => 8)";
my $error = $cluster->sql_error(1, $distribute);
like($error, qr/ERROR:  42704: type "public.mood" does not exist/, 'a missing type is named');
like($error, qr/node "?n2/, 'and the node that lacks it');
is($cluster->sql(2, "SELECT to_regnamespace('app') IS NULL"), 't', 'no schema was left behind there');
$cluster->sql($_, "CREATE TYPE mood AS ENUM ('bright', 'calm')") foreach (2, 3);

# --- an error, a cancel, and a lost scheduler half way

$cluster->sql(1, "SELECT dlog.stop_point_arm('distribute-rows-moved', 'error')");
$error = $cluster->sql_error(1, $distribute);
$cluster->sql(1, "SELECT dlog.stop_point_release('distribute-rows-moved')");
like($error, qr/distribute-rows-moved/, 'it fails half way');
is($cluster->sql(2, "SELECT to_regnamespace('app') IS NULL"), 't', 'the schema was not created there');
$cluster->sql($_, 'CREATE SCHEMA app AUTHORIZATION owner; GRANT USAGE ON SCHEMA app TO reader') foreach (2, 3);
nothing_elsewhere('after an error');

sub interrupted
{
	my ($name, $interrupt, $expected) = @_;
	my $session = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);

	$cluster->sql(1, "SELECT dlog.stop_point_arm('distribute-rows-moved', 'wait')");
	my $pid = $session->query('SELECT pg_backend_pid()');
	$session->query_until(qr/begun/, "\\echo begun\n$distribute;\n");
	$cluster->wait_until(1, "SELECT dlog.stop_point_waiting('distribute-rows-moved') = 1");
	$interrupt->($pid);
	$cluster->sql(1, "SELECT dlog.stop_point_release('distribute-rows-moved')");
	$session->query('SELECT 1');
	like($session->{stderr}, $expected, "$name: it says so");
	$session->{stderr} = '';
	$session->quit;
	foreach my $i (2, 3)
	{
		$cluster->wait_until($i, "$relations AND relname LIKE 'events%'", 0);
	}
	nothing_elsewhere($name);
}
interrupted('canceled',
	sub { $cluster->sql(1, "SELECT pg_cancel_backend($_[0])") },
	qr/canceling statement due to user request/);
interrupted('a scheduler is terminated',
	sub {
		is($cluster->sql(2, <<'SQL'), 't', 'the scheduler that has the transaction is terminated');
SELECT bool_and(pg_terminate_backend(pid, 30000)) FROM (SELECT DISTINCT pid FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid <> pg_backend_pid()) holders
SQL
	},
	qr/node "?n2/);

# --- a node that is down

$cluster->node(3)->stop('fast');
$error = $cluster->sql_error(1, $distribute);
like($error, qr/ERROR:  08006: .*n3/, 'refused while a node is down');
nothing_elsewhere_on_two();
$cluster->node(3)->start;
$cluster->wait_for_links($_, 2) foreach (1, 2);

sub nothing_elsewhere_on_two
{
	is($cluster->sql(2, "$relations AND relname LIKE 'events%'"), 0, 'nothing was begun on node 2');
}

# --- it works

$cluster->sql(1, $distribute);
same_everywhere($checksum, 'rows');
is($cluster->sql(2, $checksum), $before, 'no row is lost or changed');
same_everywhere(definition('app.events'), 'definition');
is(join(' ', map { $cluster->sql($_, "SELECT count(*) FROM dlog.local_partitions('app.events')") } (1 .. 3)),
	'3 3 2', 'partitions are dealt out');
is($cluster->sql(2, "SELECT count(*), count(DISTINCT node), sum(rows) FROM dlog.partition_sizes('app.events')"),
	'8|3|20000', 'sizes are asked of all nodes');
my $keys = join '', map { $cluster->sql($_, <<'SQL') . "\n" } (1 .. 3);
SELECT p || ': ' || string_agg(concat_ws(' ', kind, definition, timing), '; ' ORDER BY name)
FROM dlog.local_partitions('app.events') p, dlog.definition_keys(p) GROUP BY p ORDER BY p::text
SQL
is(() = $keys =~ /: USING btree \(user_id, lower\(name\)\) ; PRIMARY KEY USING btree \(id, user_id\) ; UNIQUE USING btree \(user_id, name\) DEFERRABLE$/mg,
	8, 'every partition has all keys at its home');

# --- as other roles see it

is($cluster->sql($_, 'SET ROLE reader; SELECT count(*) FROM app.events'), 10000,
	"row-level security holds, asked on node $_") foreach (1 .. 3);
like($cluster->sql_error(2, 'SET ROLE reader; DELETE FROM app.events'), qr/42501/, 'so do privileges');

# --- rows from any node, in the asking transaction

foreach my $i (1 .. 3)
{
	$cluster->sql($i, <<"SQL");
INSERT INTO app.events (id, user_id, amount, name)
SELECT 100000 * $i + g, g, 1, 'from $i ' || g FROM generate_series(1, 100) g
SQL
}
is(same_everywhere('SELECT count(*), sum(id) FROM app.events WHERE id > 100000', 'rows of all'),
	'300|60015150', 'rows inserted on three nodes');
$cluster->sql(2, <<'SQL');
BEGIN;
INSERT INTO app.events (id, user_id, amount, name) SELECT 900000 + g, g, 1, 'x' || g FROM generate_series(1, 100) g;
ROLLBACK;
SQL
is(same_everywhere('SELECT count(*) FROM app.events WHERE id > 900000', 'after a rollback'), 0,
	'rolled back there is rolled back everywhere');
like($cluster->sql_error(2, "INSERT INTO app.events (id, user_id, amount, name) SELECT id, user_id, 1, 'again' || id FROM app.events LIMIT 10"),
	qr/23505/, 'a duplicate is refused at its home');

# --- changes from any node reach all

$cluster->sql(2, <<'SQL');
SET search_path = app, public;
ALTER TABLE events ADD COLUMN score int DEFAULT 7, ADD CHECK (score > 0);
ALTER TABLE events RENAME COLUMN score TO points;
CREATE INDEX ON events (points) WHERE name <> ' ON ONLY ';
CREATE STATISTICS s ON points, amount FROM events;
COMMENT ON COLUMN events.points IS 'pts';
SQL
$cluster->sql(3, <<'SQL');
SET search_path = app, public;
DROP POLICY mine ON events;
CREATE POLICY other ON events FOR SELECT USING (points = 7);
GRANT INSERT ON events TO reader;
REVOKE UPDATE (name) ON events FROM reader;
ALTER TABLE events OWNER TO reader;
ALTER TABLE events RENAME TO happened;
SQL
same_everywhere(definition('app.happened'), 'changed definition');
is(same_everywhere('SELECT count(*), sum(points) FROM app.happened', 'new column'),
	'20300|142100', 'a new column has its default everywhere');
# an error on another node undoes it here
$cluster->sql(3, 'CREATE TABLE app.taken (a int)');
like($cluster->sql_error(1, 'ALTER TABLE app.happened RENAME TO taken'), qr/42P07.*n3/s, 'a name is taken on node 3');
is($cluster->sql(1, "SELECT to_regclass('app.taken') IS NULL"), 't', 'and so it is not taken here');
like($cluster->sql_error(1, 'DROP TYPE mood CASCADE'), qr/2BP01.*on this node alone/, 'no part is lost on one node alone');

# Two nodes that change one table take turns.
my $first = $cluster->node(1)->background_psql('postgres');
$first->query_safe('BEGIN; ALTER TABLE app.happened ADD COLUMN one int');
my $second = $cluster->node(3)->background_psql('postgres');
$second->query_until(qr/begun/, "\\echo begun\nALTER TABLE app.happened ADD COLUMN two int;\n");
$cluster->wait_until(1, "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
$first->query_safe('COMMIT');
$second->query_safe('SELECT 1');
$_->quit foreach ($first, $second);
is(same_everywhere("SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'app.happened'::regclass AND attname IN ('one', 'two')", 'changes of two nodes'),
	'one two', 'one after the other');

# What waits for each other across nodes is told apart by a timeout.
$first = $cluster->node(2)->background_psql('postgres');
$first->query_safe('BEGIN; LOCK TABLE app.happened IN ROW EXCLUSIVE MODE');
like($cluster->sql_error(1, "SET dlog.ddl_lock_timeout = '50ms'; ALTER TABLE app.happened ADD COLUMN three int"),
	qr/55P03.*node "n2"/s, 'a change does not wait for ever for a lock on another node');
$first->query_safe('COMMIT');
$first->quit;

# --- TRUNCATE

$cluster->sql(2, 'BEGIN; TRUNCATE app.happened; ROLLBACK');
is(same_everywhere('SELECT count(*) FROM app.happened', 'after TRUNCATE and ROLLBACK'), 20300, 'TRUNCATE rolls back');

# --- co-located

$cluster->sql(2, <<'SQL');
CREATE TABLE app.users (user_id bigint PRIMARY KEY, country text);
INSERT INTO app.users SELECT g, 'c' || g % 5 FROM generate_series(1, 100) g;
SELECT dlog.distribute_table('app.users', 'user_id', colocate_with => 'app.happened');
SQL
is($cluster->sql(3, <<'SQL'), 8, 'co-located partitions are at the same nodes');
SELECT count(*) FROM dlog.partitions a JOIN dlog.partitions b USING (bounds, node)
WHERE a."table" = 'app.users'::regclass AND b."table" = 'app.happened'::regclass
SQL
is(same_everywhere('SELECT count(*) FROM app.happened JOIN app.users USING (user_id)', 'join'), 20100, 'and can be joined');

# --- a node that joins later

like($cluster->sql_error(2, 'SELECT dlog.leave()'), qr/this node has partitions of distributed table/, 'a node with rows cannot leave');
like($cluster->sql_error(1, q{SELECT dlog.remove_node('n3')}), qr/2BP01.*cannot remove node "n3" because tables have rows on it.*HINT:  Undistribute or drop/s, 'nor be removed');
$cluster->sql(4, "CREATE TYPE mood AS ENUM ('calm', 'bright'); CREATE ROLE owner; CREATE ROLE reader");
$cluster->sql(4, 'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(2)) . ')');
$cluster->wait_for_links($_, 3) foreach (1 .. 4);
is($cluster->sql(4, 'SELECT count(*), sum(points) FROM app.happened'), '20300|142100', 'the newcomer answers');
is($cluster->sql(4, definition('app.happened')), $cluster->sql(1, definition('app.happened')), 'its definition is that of the others');
$cluster->sql(4, "INSERT INTO app.users VALUES (1000, 'c4')");
is($cluster->sql(1, 'SELECT count(*) FROM app.users'), 101, 'and inserts');
is($cluster->sql(4, 'SELECT dlog.sync_definitions()'), 0, 'there is nothing left to tell it');
$cluster->sql(4, 'SET dlog.propagate_ddl = off; DROP TABLE app.users');
is($cluster->sql(4, 'SELECT dlog.sync_definitions()'), 1, 'what it lost it can ask for');
is($cluster->sql(4, 'SELECT count(*) FROM app.users'), 101, 'and it is whole again');

# --- dropped from any node, and brought back

$cluster->sql(4, 'DROP TABLE app.users');
is($cluster->sql($_, "SELECT count(*) FROM pg_class WHERE relname LIKE 'users%'"), 0, "dropped on node $_") foreach (1 .. 4);
$cluster->sql(4, 'SELECT dlog.leave()');
is($cluster->sql(4, 'SELECT count(*) FROM dlog.distributed_table'), 0, 'a node without rows leaves, and the tables go');
$cluster->wait_for_links($_, 2) foreach (1 .. 3);

$cluster->sql(3, "SELECT dlog.undistribute_table('app.happened')");
is($cluster->sql(3, 'SELECT count(*), sum(points) FROM app.happened'), '20300|142100', 'undistributed on another node, whole');
is($cluster->sql(3, "SELECT relkind FROM pg_class WHERE oid = 'app.happened'::regclass"), 'r', 'as an ordinary table');
is($cluster->sql(3, "SELECT string_agg(concat_ws(' ', name, kind), ', ') FROM dlog.definition_keys('app.happened')"),
	'Only One, events_pkey PRIMARY KEY, events_user_id_name_key UNIQUE', 'with its keys');
is($cluster->sql($_, "SELECT count(*) FROM pg_class WHERE relname LIKE 'happened%' OR relname LIKE 'events%'"),
	0, "nothing is left on node $_") foreach (1, 2);
is($cluster->sql($_, 'SELECT count(*) FROM dlog.distributed_table'), 0, "nothing is recorded on node $_") foreach (1 .. 3);

done_testing();
