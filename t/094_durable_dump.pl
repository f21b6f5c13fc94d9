
# Durable actors are in dumps, with all that waits for them and that they have
# said: in a database that one was restored into they wait until somebody says
# whether it is the successor of the dumped one or a copy, and then go on.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, database => 'shop', conf => "dlog.min_schedulers = 2\ndlog.connect_timeout = 1s");
my $node = $cluster->node(1);

# A server that knows none of the others, and where types get other numbers.
my $fresh = PostgreSQL::Test::Cluster->new('n3');
$fresh->init(extra => [ '-U', 'postgres', '-E', 'UTF8', '--no-locale' ]);
$fresh->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'dlog'
dlog.node_name = 'n3'
dlog.port = @{[ PostgreSQL::Test::Cluster::get_free_port() ]}
dlog.min_schedulers = 2
dlog.connect_timeout = 1s
CONF
$fresh->start;
$fresh->safe_psql('postgres', 'CREATE ROLE clerk; CREATE TYPE before_all AS (n int); CREATE DATABASE elsewhere; CREATE DATABASE shop');
$fresh->safe_psql('elsewhere', 'CREATE TYPE a AS (n int); CREATE TYPE b AS (n int); CREATE TABLE c (n int)');

my $types = <<'SQL';
CREATE SCHEMA "Odd schema";
CREATE DOMAIN "Odd schema".positive AS int CHECK (VALUE > 0);
CREATE TYPE "Odd schema".note AS (n "Odd schema".positive, what text);
CREATE TYPE forward AS (n int, too dlog.actor_ref);
CREATE TYPE how_many AS ();
CREATE TYPE fail AS ();
CREATE TYPE wake AS (what text);
CREATE TYPE book AS (notes int, last text, timer bigint, friend dlog.actor_ref);
CREATE TABLE notes (actor text, n int, what text);
CREATE FUNCTION note(state book, m "Odd schema".note) RETURNS book LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.notes VALUES (dlog.self()::text, m.n, m.what);
	RETURN ROW(coalesce(state.notes, 0) + 1, m.what, state.timer, state.friend);
END $$;
CREATE FUNCTION apply_note(state book, m "Odd schema".note) RETURNS book IMMUTABLE LANGUAGE sql
	RETURN ROW(coalesce(state.notes, 0) + 1, m.what, state.timer, state.friend)::book;
CREATE FUNCTION forward(state book, m forward) RETURNS book STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.send(coalesce(m.too, state.friend), ROW(m.n, 'forwarded')::"Odd schema".note);
	RETURN ROW(state.notes, state.last, state.timer, coalesce(m.too, state.friend));
END $$;
CREATE FUNCTION how_many(state book, m how_many) RETURNS book STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.reply(coalesce(state.notes, 0));
	RETURN state;
END $$;
CREATE FUNCTION fail(state book, m fail) RETURNS book STABLE LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'it fails';
END $$;
CREATE FUNCTION wake(state book, m wake) RETURNS book STABLE LANGUAGE plpgsql AS $$
BEGIN
	IF m.what = 'set' THEN
		RETURN ROW(state.notes, state.last, dlog.send_after('1 day', ROW('gone off')::public.wake), state.friend);
	END IF;
	RETURN ROW(state.notes, m.what, state.timer, state.friend);
END $$;
SELECT dlog.create_behavior('"Odd schema".notebook', 'book', handlers => '{note,forward,how_many,fail,wake}',
	durable => true, apply => '{apply_note}', snapshot_every => 7, audit => true, max_failures => 1);
SQL
$cluster->sql_everywhere("CREATE ROLE clerk; SET search_path = public, \"Odd schema\"; $types");
$cluster->sql(1, <<'SQL');
SELECT dlog.spawn('"Odd schema".notebook', name => name) FROM (VALUES ('one'), ('two'), ('ended')) v (name);
SELECT dlog.create_supervisor('office');
SELECT dlog.start_child('office', 'clerk', '"Odd schema".notebook');
GRANT SELECT ON dlog."journal_notebook" TO clerk;
SQL
my $far = $cluster->sql(2, q{SELECT dlog.spawn('"Odd schema".notebook', name => 'far')});
my $clerk = q{(SELECT child FROM dlog.which_children('office') WHERE name = 'clerk' AND state = 'running')};

# What is behind them: entries in two partitions, a state with a timer and a reference, a failure.
$cluster->sql(1, q{DO $$BEGIN
	EXECUTE format('CREATE TABLE dlog.old_entries (LIKE dlog.journal_entry INCLUDING STORAGE)');
	EXECUTE format('ALTER TABLE dlog.journal_notebook ATTACH PARTITION dlog.old_entries FOR VALUES FROM (%L) TO (%L)', now() - interval '2 days', now() + interval '1 second');
END$$});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis(name), ROW(i, 'it''s ' || i)::"Odd schema".note) FROM unnest('{one,two,ended}'::text[]) name, generate_series(1, 10) i});
$cluster->wait_until(1, q{SELECT count(*) FROM notes}, 30);
$cluster->sql(1, "SELECT dlog.send($clerk, ROW(7, 'child')::\"Odd schema\".note)");
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('one'), ROW('set')::wake), dlog.send(dlog.whereis('one'), ROW()::fail),
	dlog.send(dlog.whereis('one'), ROW(11, dlog.whereis('two'))::forward)});
$cluster->wait_until(1, q{SELECT count(*) FROM notes}, 32);
$cluster->wait_until(1, q{SELECT count(*) FROM dlog.quarantined}, 1);
$cluster->wait_until(1, q{SELECT now() > spawned_at + interval '1.5 s' FROM dlog.durable_actors WHERE name = 'one'}, 't');
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('two'), ROW(12, 'later')::"Odd schema".note)});
$cluster->wait_until(1, q{SELECT count(*) FROM notes}, 33);
$cluster->sql(1, q{SELECT dlog.stop(dlog.whereis('ended'))});
is($cluster->sql(1, q{SELECT count(DISTINCT e.tableoid) FROM dlog.journal_entry e}), 2, 'entries are in two partitions');

# What is under way: mail that waits, messages for a node that is down.
$cluster->sql(1, q{SELECT dlog.suspend(dlog.whereis('one')), dlog.suspend(dlog.whereis('two'))});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('one'), ROW(i, 'waits')::"Odd schema".note) FROM generate_series(1, 5) i});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('one'), ROW(20, NULL)::forward)});
$cluster->sql(1, "SELECT dlog.send('$far', ROW(1, 'delivered')::\"Odd schema\".note)");
$cluster->wait_until(2, q{SELECT count(*) FROM notes}, 1);
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.outgoing', 0);
$cluster->node(2)->stop;
$cluster->sql(1, "SELECT dlog.send('$far', ROW(i, 'to be delivered')::\"Odd schema\".note) FROM generate_series(2, 4) i");

my $dumped = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('shop'), '-f', "$dumped.sql" ], 'a dump as text');
$node->command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('shop'), '-f', "$dumped.custom" ], 'a dump in an archive');

my $facts = <<'SQL';
SELECT 'actor', behavior::text, name, owner::text, stopped_at IS NULL, stop_reason FROM dlog.durable_actors
UNION ALL SELECT 'quarantine', name, payload, error, true, sqlstate FROM dlog.quarantined
UNION ALL SELECT 'mail', actor::text, dlog.payload_type(payload)::text, dlog.payload_text(payload), true, id::text FROM dlog.mailbox
UNION ALL SELECT 'timer', actor::text, id::text, due::text, true, dlog.payload_text(payload) FROM dlog.durable_timer
UNION ALL SELECT 'journal', name, seq::text, message::text || payload, role = 'postgres', at::text || sender::text FROM dlog.journal
UNION ALL SELECT 'outgoing', receiver::text, payload::text, role::text, true, id::text FROM dlog.outgoing
UNION ALL SELECT 'child', s.name, c.name, c.durable::text, true, NULL FROM dlog.child c JOIN dlog.supervisor s ON s.id = c.supervisor
ORDER BY 1, 2, 3, 4, 5, 6
SQL
my $before = $cluster->sql(1, $facts);
like($before, qr/^actor\|.*notebook\|one/m, 'there are actors');
like($before, qr/^$_\|/m, "there is something of $_") foreach qw(quarantine mail timer journal outgoing child);

# A database that all of it has been restored into.
sub waits
{
	my ($server, $database, $name) = @_;
	my ($status, $output, $error);

	is($server->safe_psql($database, $facts), $before, "$name: the same actors, and all that is theirs");
	is($server->safe_psql($database, q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'dlog.journal_notebook'::regclass AND tgenabled = 'A'}), 2, "$name: the journal is append-only");
	$server->poll_query_until($database, q{SELECT count(*) FROM dlog.schedulers WHERE database = current_database()}, '2');
	foreach my $sql (q{SELECT dlog.ask(dlog.whereis('one'), ROW()::how_many)},
		q{SELECT dlog.send(dlog.whereis('one'), ROW(1, 'x')::"Odd schema".note)},
		q{SELECT dlog.spawn('"Odd schema".notebook')}, q{SELECT dlog.redeliver(1)})
	{
		($status, $output, $error) = $server->psql($database, "\\set VERBOSITY verbose\n$sql");
		like($error, qr/55000: durable actors of this database wait, for it was restored.*HINT:  .*dlog.settle/s, "$name: refused: $sql");
	}
	is($server->safe_psql($database, $facts), $before, "$name: nothing has happened");
	return;
}

sub settle
{
	my ($server, $database, $is_successor) = @_;

	$server->safe_psql($database, 'UPDATE dlog.durable_timer SET due = now()');
	return $server->safe_psql($database, "SELECT dlog.settle($is_successor)");
}

# Once it is settled.
sub goes_on
{
	my ($server, $database, $name) = @_;

	$server->poll_query_until($database, q{SELECT count(*) FROM dlog.mailbox}, '0') or die 'mail is not handled';
	$server->poll_query_until($database, q{SELECT notes || last FROM dlog.state(dlog.whereis('one'), NULL::book)}, '15gone off')
		or die 'what waited was not handled, or the timer does not go off';
	is($server->safe_psql($database, q{SELECT string_agg(payload, ' ' ORDER BY seq) FROM dlog.journal WHERE name = 'one' AND payload LIKE '%waits%'}),
		'(1,waits) (2,waits) (3,waits) (4,waits) (5,waits)', "$name: in order");
	$server->poll_query_until($database, qq{SELECT (dlog.state($clerk, NULL::book)).notes}, '1') or die 'the child does not run: ' . $server->safe_psql($database, q{SELECT c::text FROM dlog.which_children('office') c});
	is($server->safe_psql($database, q{SELECT count(*) FROM dlog.durable_actor}), 4, "$name: a supervised child is the same one");
	is($server->safe_psql($database, q{SELECT string_agg(DISTINCT (dlog.verify_journal(actor)).is_intact::text, '') FROM dlog.durable_actors}), 'true', "$name: journals are intact");
	is($server->safe_psql($database, q{SELECT bool_and(dlog.state_at(actor, 5) LIKE '(5,"it''s 5",%') FROM dlog.durable_actors WHERE name IS NOT NULL}), 't', "$name: the past is there");
	is($server->safe_psql($database, q{SELECT stop_reason FROM dlog.durable_actors WHERE stopped_at IS NOT NULL}), 'shutdown', "$name: who has stopped has stopped");
	$server->safe_psql($database, q{SELECT dlog.send(dlog.whereis('one'), ROW(6, 'new')::"Odd schema".note)});
	$server->poll_query_until($database, q{SELECT (dlog.state(dlog.whereis('one'), NULL::book)).notes}, '16') or die 'it does not go on';
	is($server->safe_psql($database, q{SELECT count(*) = max(seq) FROM dlog.journal WHERE name = 'one'}), 't', "$name: its journal has no gap");
	my ($status, $output, $error) = $server->psql($database, 'SELECT dlog.settle(true)');
	like($error, qr/do not wait for dlog.settle/, "$name: it is settled for good");
	return;
}

# --- a copy, in the same server ---------------------------------------------
$node->safe_psql('postgres', 'CREATE DATABASE as_text');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('as_text'), '-f', "$dumped.sql" ], 'text: is restored, statement by statement');
waits($node, 'as_text', 'copy');
is(settle($node, 'as_text', 'false'), 3, 'copy: messages for other nodes are not sent twice');
goes_on($node, 'as_text', 'copy');
is($node->safe_psql('as_text', q{SELECT count(*) FROM dlog.outgoing}), 0, 'copy: none is left');
is($node->safe_psql('as_text', q{SELECT count(*) FROM dlog.quarantined}), 2, 'copy: a reference to what was dumped is not taken for one to the copy');

# --- the same in one transaction, and after a restart ---------------------------
$node->safe_psql('postgres', 'CREATE DATABASE at_once');
$node->command_ok([ 'psql', '-X', '-1', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('at_once'), '-f', "$dumped.sql" ], 'text: is restored in one transaction');
$node->restart;
waits($node, 'at_once', 'at once');
settle($node, 'at_once', 'false');
goes_on($node, 'at_once', 'at once');

# --- a successor, in another server ---------------------------------------------
my ($restored, $complaint) = run_command([ 'pg_restore', '-e', '-j', '2', '-d', $fresh->connstr('shop'), "$dumped.custom" ]);
is($complaint, '', 'archive: is restored by two');
waits($fresh, 'shop', 'successor');
$fresh->restart;
waits($fresh, 'shop', 'successor, restarted');
my ($status, $output, $error) = $fresh->psql('shop', 'BEGIN; SELECT dlog.settle(true); ROLLBACK');
waits($fresh, 'shop', 'successor, after a rollback');
$node->stop;
$cluster->node(2)->start;
is(settle($fresh, 'shop', 'true'), 3, 'successor: messages for other nodes will leave');
goes_on($fresh, 'shop', 'successor');
is($fresh->safe_psql('shop', q{SELECT count(*) FROM dlog.journal WHERE name = 'two' AND payload = '(20,forwarded)'}), 1, 'successor: references mean its actors');
is($cluster->sql(2, 'SELECT count(*) FROM notes'), 1, 'nothing has left yet, for it has no nodes');
$cluster->sql(2, q{SELECT dlog.remove_node('n1')});
$fresh->safe_psql('shop', 'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(2)) . ')');
$cluster->wait_until(2, q{SELECT string_agg(n::text, ' ' ORDER BY n) FROM notes}, '1 2 3 4');
is($cluster->sql(2, q{SELECT count(*) FROM dlog.journal WHERE name = 'far' AND payload LIKE '%delivered%'}), 4, 'what waited for other nodes is there once');
$fresh->poll_query_until('shop', 'SELECT count(*) FROM dlog.outgoing', '0') or die 'the outbox is not empty';

done_testing();
