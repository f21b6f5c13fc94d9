
# Durable actors outlive the server, however it ends: what a transaction has
# sent is handled once, in order, and the actor, the user's table and the
# journal agree.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, conf => "restart_after_crash = on\ndlog.min_schedulers = 2");
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE TYPE note AS (n int);
CREATE TYPE forward AS (n int, too dlog.actor_ref);
CREATE TYPE spoil AS ();
CREATE TYPE how_many AS ();
CREATE TYPE book AS (notes int, last int);
CREATE TABLE notes (actor text, n int, at timestamptz DEFAULT now());
CREATE FUNCTION book_init(name text) RETURNS book LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO notes VALUES (name, 0);
	RETURN ROW(0, 0);
END $$;
CREATE FUNCTION note(state book, m note) RETURNS book LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO notes VALUES (dlog.self()::text, m.n);
	IF dlog.sender() IS NULL THEN
		PERFORM dlog.reply('noted ' || m.n);
	END IF;
	RETURN ROW(state.notes + 1, m.n);
END $$;
CREATE FUNCTION apply_note(state book, m note) RETURNS book IMMUTABLE LANGUAGE sql
	RETURN ROW(state.notes + 1, m.n)::book;
CREATE FUNCTION forward(state book, m forward) RETURNS book STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.send(m.too, ROW(m.n)::note);
	RETURN ROW(state.notes + 1, m.n);
END $$;
CREATE FUNCTION spoil(state book, m spoil) RETURNS book STABLE LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'spoilt';
END $$;
CREATE FUNCTION how_many(state book, m how_many) RETURNS book STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.reply(state.notes);
	RETURN state;
END $$;
SELECT dlog.create_behavior('notebook', 'book', 'book_init', '{note,forward,spoil,how_many}',
	durable => true, apply => '{apply_note}', snapshot_every => 7, audit => true);
SELECT dlog.spawn('notebook', ROW('one'), name => 'one'), dlog.spawn('notebook', ROW('two'), name => 'two');
CREATE FUNCTION agrees(name text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (SELECT count(*) FROM notes n WHERE n.actor = dlog.whereis($1)::text),
		(SELECT count(*) FROM dlog.journal j WHERE j.name = $1 AND message = 'note'::regtype),
		(dlog.state(dlog.whereis($1), NULL::book)).notes)
$$;
SQL

sub crashes
{
	my ($sql) = @_;
	my ($status, $output, $error) = $node->psql($cluster->database, $sql);

	return $status != 0;
}

# The server that has crashed is told from the one after it by its checkpointer.
my $checkpointer = 0;

sub arm_crash
{
	my ($point) = @_;

	$checkpointer = $cluster->sql(1, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
	$cluster->sql(1, qq{SELECT dlog.stop_point_arm('$point', 'crash')});
	return;
}

sub wait_for_crash
{
	$node->poll_query_until($cluster->database, "SELECT pid <> $checkpointer FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
		or die 'the server does not crash';
	wait_for_server();
	return;
}

sub wait_for_server
{
	# It may still be about to restart; and durable sends wait until old mail has been delivered.
	$node->poll_query_until($cluster->database, q{SELECT dlog.ask(dlog.whereis('one'), ROW()::how_many, '60 s') IS NOT NULL})
		or die 'the server does not come back';
}

# --- a restart -----------------------------------------------------------
my $one = $cluster->sql(1, q{SELECT dlog.whereis('one')});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('one'), ROW(i)::note) FROM generate_series(1, 20) i});
$cluster->wait_until(1, q{SELECT agrees('one')}, '20 20 20');
$node->restart;
is($cluster->sql(1, q{SELECT count(*) FROM dlog.actors WHERE behavior = 'notebook'}), 0, 'after a restart nobody is loaded before he is needed');
is($cluster->sql(1, q{SELECT dlog.whereis('one')}), $one, 'it has its name and reference');
is($cluster->sql(1, q{SELECT dlog.state(dlog.whereis('one'))}), '(20,20)', 'and its state');
is($cluster->sql(1, qq{SELECT dlog.ask('$one', ROW(21)::note)}), 'noted 21', 'and answers');
is($cluster->sql(1, q{SELECT count(*) FROM notes WHERE n = 0}), 2, 'its init is not run again, nor is it replayed');
is($cluster->sql(1, q{SELECT agrees('one')}), '21 21 21', 'nothing is written twice');

# --- mail that nobody has handled ----------------------------------------
$cluster->sql(1, qq{SELECT dlog.suspend('$one')});
$cluster->sql(1, qq{SELECT dlog.send('$one', ROW(i)::note) FROM generate_series(22, 40) i});
is($cluster->sql(1, 'SELECT count(*) FROM dlog.mailbox'), 19, 'mail for one that is suspended waits in a table');
$node->stop('immediate');
$node->start;
$cluster->wait_until(1, q{SELECT agrees('one')}, '40 40 40');
is($cluster->sql(1, q{SELECT string_agg(payload, '' ORDER BY seq) FROM dlog.journal WHERE name = 'one' AND message = 'note'::regtype AND seq > 21}),
	join('', map { "($_)" } 22 .. 40), 'and is handled in order after a crash');

# --- a crash at each step ------------------------------------------------
my $n = 40;
my $twos = 0;
foreach my $case (
	[ 'journal-mailbox-written', 0 ], [ 'journal-sent', 1 ], [ 'actor-handled', 1 ],
	[ 'journal-appended', 1 ], [ 'actor-batch-commit', 1 ], [ 'journal-committed', 1 ], [ 'actor-batch-told', 1 ])
{
	my ($point, $is_kept) = @$case;

	$n++;
	arm_crash($point);
	my $failed = crashes(qq{SELECT dlog.send('$one', ROW($n)::note)});
	ok($failed, "a sender at $point learns that it may be lost") if $point =~ /written|sent/;
	wait_for_crash();
	$n-- unless $is_kept;
	$cluster->wait_until(1, q{SELECT agrees('one')}, "$n $n $n");
	pass("a crash at $point: it is handled " . ($is_kept ? 'once' : 'never'));
}

# an ask, which is stored by nobody but the transaction that handles it
foreach my $case ([ 'actor-handled', 0 ], [ 'journal-appended', 0 ], [ 'actor-batch-commit', 0 ], [ 'journal-committed', 1 ])
{
	my ($point, $is_kept) = @$case;

	arm_crash($point);
	ok(crashes(qq{SELECT dlog.ask('$one', ROW($n + 1)::note)}), "an asker at $point gets no answer");
	wait_for_crash();
	$n += $is_kept;
	$cluster->wait_until(1, q{SELECT agrees('one')}, "$n $n $n");
	pass('what was asked is handled ' . ($is_kept ? 'once' : 'never'));
}

# one durable actor to another: its send is of the transaction that handles
foreach my $point ('journal-mailbox-written', 'journal-appended', 'journal-committed', 'journal-sent')
{
	$twos++;
	$cluster->sql(1, qq{SELECT dlog.suspend('$one')});
	$cluster->sql(1, qq{SELECT dlog.send('$one', ROW($twos, dlog.whereis('two'))::forward)});
	arm_crash($point);
	crashes(qq{SELECT dlog.resume('$one'), pg_sleep(60)});
	wait_for_crash();
	$cluster->wait_until(1, q{SELECT agrees('two')}, "$twos $twos $twos");
	pass("a crash at $point: what it sends arrives once");
}
is($cluster->sql(1, q{SELECT count(DISTINCT sender) FROM dlog.journal WHERE name = 'two'}), 1, 'with its sender');

# while it is loaded, and while a bad message is put aside
$cluster->sql(1, q{SELECT dlog.stop_point_arm('journal-loaded', 'crash')});
$node->stop('immediate');
$node->start;
wait_for_server();
arm_crash('journal-quarantined');
crashes(qq{SELECT dlog.send('$one', ROW()::spoil); SELECT pg_sleep(60)});
wait_for_crash();
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.quarantine', 1);
pass('a message that fails is in quarantine, once');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.mailbox'), 0, 'nothing is left in the mailbox');

# --- in the middle of it --------------------------------------------------
my $before = $n;
my $script = join(";\n", map { "SELECT dlog.send('$one', ROW(" . ($before + $_) . ")::note)" } 1 .. 2000);
my $file = PostgreSQL::Test::Utils::tempdir() . '/sends.sql';
PostgreSQL::Test::Utils::append_to_file($file, "$script;\n");
my $sender = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr($cluster->database), '-f', $file ],
	'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
$cluster->wait_until(1, qq{SELECT count(*) > $before + 300 FROM notes WHERE actor = '$one'}, 't');
$node->stop('immediate');
eval { $sender->finish };
$node->start;
wait_for_server();
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.mailbox', 0);
my ($written, $journaled, $counted) = split / /, $cluster->sql(1, q{SELECT agrees('one')});
ok($written == $journaled, 'the journal agrees with the table');
is($cluster->sql(1, qq{SELECT count(*) = max(n) AND count(DISTINCT n) = count(*) FROM notes WHERE actor = '$one'}), 't',
	'no message of a session is missing before one that is there, none is there twice');
is($cluster->sql(1, q{SELECT bool_and(n = before + 1) FROM (SELECT substring(payload, 2, length(payload) - 2)::int AS n,
	lag(substring(payload, 2, length(payload) - 2)::int, 1, 0) OVER (ORDER BY seq) AS before
	FROM dlog.journal WHERE name = 'one' AND message = 'note'::regtype) x}), 't', 'and they are in order');
is($cluster->sql(1, q{SELECT max(seq) = count(*) AND min(seq) = 1 FROM dlog.journal WHERE name = 'one'}), 't', 'entries have no gaps');

done_testing();
