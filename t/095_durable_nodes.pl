
# Durable actors of other nodes: what is sent to them in a transaction is there
# once and in order, whatever is down meanwhile; asks; what is refused, and
# what has no room.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, database => 'shop', conf => <<'CONF');
dlog.min_schedulers = 2
dlog.connect_timeout = 1s
CONF

$cluster->sql_everywhere(<<'SQL');
CREATE TYPE note AS (n int);
CREATE TYPE how_many AS ();
CREATE TYPE fail AS ();
CREATE TYPE ask_other AS (other dlog.actor_ref);
CREATE TYPE told AS (what text);
CREATE TABLE notes (n int, id serial);
CREATE TABLE heard (what text);
CREATE FUNCTION note(state int, m note) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO notes VALUES (m.n);
	RETURN coalesce(state, 0) + 1;
END $$;
CREATE FUNCTION noted(state int, m note) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + 1;
CREATE FUNCTION how_many(state int, m how_many) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.reply(coalesce(state, 0));
	RETURN state;
END $$;
CREATE FUNCTION same(state int, m how_many) RETURNS int IMMUTABLE LANGUAGE sql RETURN state;
CREATE FUNCTION fail(state int, m fail) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'no'; END$$;
CREATE FUNCTION ask_other(state int, m ask_other) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.send(m.other, ROW('hello')::told);
	RETURN state;
END $$;
CREATE FUNCTION same(state int, m ask_other) RETURNS int IMMUTABLE LANGUAGE sql RETURN state;
CREATE FUNCTION told(state int, m told) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO heard VALUES (m.what);
	IF m.what = 'hello' THEN
		PERFORM dlog.reply(ROW('hello, you')::told);
	END IF;
	RETURN state;
END $$;
CREATE FUNCTION same(state int, m told) RETURNS int IMMUTABLE LANGUAGE sql RETURN state;
CREATE ROLE clerk;
SELECT dlog.create_behavior('notary', 'int', handlers => '{note,how_many,fail,ask_other,told}', durable => true,
	apply => '{noted,same}', max_failures => 1, mailbox_limit => 20000);
SQL

# What the table of a node should have, in order.
sub is_noted
{
	my ($expected, $name) = @_;
	$cluster->wait_until(2, "SELECT coalesce(string_agg(n::text, ',' ORDER BY id), '') = '$expected' FROM notes");
	pass($name);
	return;
}

# --- sending ---
my $far = $cluster->sql(1, "SELECT dlog.spawn('notary', name => 'far', node => 'n2')");
is($cluster->sql(2, "SELECT dlog.whereis('far')"), $far, 'a durable actor is spawned on another node');
$cluster->sql(1, "SELECT dlog.send('$far', ROW(1)::note)");
$cluster->sql(1, "BEGIN; SELECT dlog.send('$far', ROW(2)::note); ROLLBACK");
$cluster->sql(1, "BEGIN; SELECT dlog.send('$far', ROW(3)::note); SAVEPOINT s; SELECT dlog.send('$far', ROW(4)::note); "
	  . "ROLLBACK TO s; SELECT dlog.send('$far', ROW(5)::note); COMMIT");
is_noted('1,3,5', 'what is sent comes when it commits, and not otherwise');
$cluster->wait_until(1, 'SELECT NOT EXISTS (SELECT FROM dlog.outgoing)');
is($cluster->sql(1, "SELECT waiting, delivered, refused FROM dlog.deliveries"), '0|3|0', 'the outbox is empty then');
is($cluster->sql(2, "SELECT taken, missed, refused FROM dlog.deliveries"), '3|0|0', 'and the other side has counted');
like($cluster->sql_error(1, "BEGIN; SELECT dlog.send('$far', ROW(6)::note); PREPARE TRANSACTION 'p'"),
	qr/0A000: cannot prepare a transaction that has sent messages/, 'not in a prepared transaction');
like($cluster->sql_error(1, 'SET ROLE clerk; SELECT * FROM dlog.outbox'), qr/42501/, 'the outbox is not everybody\'s to read');

# --- order ---
$cluster->sql(2, 'TRUNCATE notes');
$cluster->sql(1, join '', map { "SELECT dlog.send('$far', ROW($_ * 100 + i)::note) FROM generate_series(0, 99) i;" } 0 .. 29);
$cluster->wait_until(2, 'SELECT count(*) = 3000 FROM notes');
is($cluster->sql(2, 'SELECT count(*) FROM (SELECT n, row_number() OVER (ORDER BY id) - 1 AS r FROM notes) t WHERE n <> r'),
	0, 'thousands of messages of a session come once and in order');

# --- asking ---
is($cluster->sql(1, "SELECT dlog.ask('$far', ROW()::how_many)"), 3003, 'an actor there can be asked');
is($cluster->sql(1, "SELECT dlog.ask('$far', ROW()::how_many, NULL::int) + 1"), 3004, 'the answer has its type');
like($cluster->sql_error(1, "SELECT dlog.ask('$far', ROW()::how_many, NULL::bigint)"), qr/42804: the actor answered with integer, not bigint/,
	'another type is refused');
like($cluster->sql_error(1, "SELECT dlog.ask('$far', ROW()::fail)"), qr/the actor did not answer: .*no/,
	'a failing handler is told to who asks');
$cluster->sql(1, "SELECT dlog.send('$far', ROW(7)::note)");
is($cluster->sql(1, "SELECT dlog.ask('$far', ROW()::how_many)"), 3004, 'a question comes after what its session sent before');
like($cluster->sql_error(1, "SELECT dlog.ask('$far', ROW(8)::note, interval '300 ms')"),
	qr/57014: the actor did not answer within 300 ms.*is stored, and will be handled once/s, 'who gets no answer is told so');
$cluster->wait_until(2, 'SELECT EXISTS (SELECT FROM notes WHERE n = 8)');
pass('and the message has been handled');

# --- from actor to actor, and back ---
my $near = $cluster->sql(1, "SELECT dlog.spawn('notary', name => 'near')");
$cluster->sql(1, "SELECT dlog.send('$near', ROW('$far')::ask_other)");
$cluster->wait_until(1, "SELECT string_agg(what, ',') = 'hello, you' FROM heard");
is($cluster->sql(2, 'SELECT string_agg(what, \',\') FROM heard'), 'hello', 'actors send and reply to each other over nodes');
is($cluster->sql(2, "SELECT sender FROM dlog.journal WHERE payload ~ 'hello'"), $near, 'the journal tells who sent what');

# --- what is wrong ---
$cluster->sql(1, 'CREATE TYPE unknown_there AS (n int)');
$cluster->sql(1, "SELECT dlog.send('$far', ROW(1)::unknown_there)");
$cluster->sql(1, "SELECT dlog.send('$far', ROW(9)::note)");
$cluster->wait_until(2, 'SELECT EXISTS (SELECT FROM notes WHERE n = 9)');
is($cluster->sql(2, 'SELECT payload, sqlstate, error FROM dlog.inbox_refused'),
	q{'(1)'::public.unknown_there|42704|type "public.unknown_there" does not exist},
	'what cannot be read is refused, and kept, and others go on');
$cluster->sql(2, 'CREATE TYPE unknown_there AS (n int)');
like($cluster->sql_error(2, 'SELECT dlog.take_refused(id) FROM dlog.inbox_refused'), qr/42804/, 'it can be taken again, and refused again');
like($cluster->sql_error(2, 'SELECT dlog.take_refused(-1)'), qr/42704: there is no refused message -1/, 'one that is not there is not taken');
like($cluster->sql_error(1, "SELECT dlog.ask('$far', ROW(1)::unknown_there)"), qr/42804.*takes no messages of type/s, 'who asks is told');
like($cluster->sql_error(1, "SET ROLE clerk; SELECT dlog.ask('$far', ROW()::how_many)"), qr/42501.*permission denied/s,
	'the rights are those of who sends');
my $gone = $far =~ s/\d+$/999999/r;
like($cluster->sql_error(1, "SELECT dlog.ask('$gone', ROW()::how_many)"), qr/42704/, 'an actor that is not there is told');

# --- whose work it is ---
# A node's own work is a superuser's; what users define must not be run by it.
$cluster->sql_everywhere('CREATE ROLE mallory; CREATE SCHEMA mal AUTHORIZATION mallory');
$cluster->sql(1, 'SET ROLE mallory; CREATE TYPE mal.trap AS (a text)');
$cluster->sql(2, <<'SQL');
SET ROLE mallory;
CREATE FUNCTION mal.who(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'the check runs as %', current_user; END $$;
CREATE DOMAIN mal.checked AS text CHECK (mal.who(VALUE));
CREATE TYPE mal.trap AS (a mal.checked);
SQL
$cluster->sql(1, "SET ROLE mallory; SELECT dlog.send('$far', ROW('x')::mal.trap)");
$cluster->wait_until(2, "SELECT EXISTS (SELECT FROM dlog.inbox_refused WHERE error ~ 'the check')");
is($cluster->sql(2, "SELECT error FROM dlog.inbox_refused WHERE error ~ 'the check'"), 'the check runs as mallory',
	'a message is read as the role that sent it');
like($cluster->sql_error(2, "SELECT dlog.take_refused(id) FROM dlog.inbox_refused WHERE error ~ 'the check'"),
	qr/the check runs as mallory/, 'by whomever it is taken after all');

$cluster->sql(1, <<'SQL');
SET ROLE mallory;
CREATE FUNCTION mal.differs(bigint[], bigint[]) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'the operator runs as %', current_user; END $$;
CREATE OPERATOR mal.<> (FUNCTION = mal.differs, LEFTARG = bigint[], RIGHTARG = bigint[]);
RESET ROLE;
ALTER DATABASE shop SET search_path = mal, pg_catalog;
SQL
$cluster->sql(1, 'SELECT pg_terminate_backend(pid) FROM dlog.schedulers');
$cluster->sql(1, "SELECT dlog.send('$far', ROW(10)::public.note)");
$cluster->wait_until(1, "SELECT NOT EXISTS (SELECT FROM dlog.outgoing) OR EXISTS (SELECT FROM dlog.deliveries WHERE last_error ~ 'the operator')");
is($cluster->sql(1, "SELECT count(*) FROM dlog.outgoing"), 0, 'no operator of a user is in the way of the outbox');
$cluster->sql(1, 'ALTER DATABASE shop RESET search_path; SELECT pg_terminate_backend(pid) FROM dlog.schedulers');
$cluster->wait_until(2, 'SELECT EXISTS (SELECT FROM notes WHERE n = 10)');

# --- no room ---
$cluster->sql(2, "SELECT dlog.create_behavior('small', 'int', handlers => '{note}', apply => '{noted}', durable => true, mailbox_limit => 10)");
my $small = $cluster->sql(2, "SELECT dlog.spawn('small', name => 'small')");
$cluster->sql(2, 'TRUNCATE notes');
$cluster->sql(2, "SELECT dlog.suspend('$small')");
$cluster->sql(1, "SELECT dlog.send('$small', ROW(i)::note) FROM generate_series(1, 35) i");
$cluster->wait_until(1, "SELECT waiting = 25 FROM dlog.deliveries");
pass('what has no room there waits here');
$cluster->sql(2, "SELECT dlog.resume('$small')");
is_noted(join(',', 1 .. 35), 'and comes in order when there is room');

# --- a node is down ---
$cluster->sql(2, 'TRUNCATE notes');
$cluster->node(2)->stop('immediate');
$cluster->sql(1, "SELECT dlog.send('$far', ROW(i)::note) FROM generate_series(1, 10) i");
like($cluster->sql_error(1, "SELECT dlog.ask('$far', ROW(11)::note, interval '200 ms')"),
	qr/08006: the actor did not answer within 200 ms, and node "n2" cannot be reached.*is stored, and will be handled once/s,
	'who asks is told that the node is down');
$cluster->wait_until(1, "SELECT waiting = 11 AND failures > 0 AND last_error ~ 'n2' FROM dlog.deliveries");
is($cluster->sql(1, "SELECT count(*), min(node), bool_and(role::text = 'postgres') FROM dlog.outgoing"), '11|n2|t', 'all of it waits, and can be seen');
$cluster->node(1)->stop('immediate');
$cluster->node(1)->start;
$cluster->node(2)->start;
is_noted(join(',', 1 .. 11), 'it arrives when both are there again');

# --- a type is dropped while a message of it is on its way ---
$cluster->node(2)->stop;
$cluster->sql(1, 'CREATE TYPE fleeting AS (n int)');
$cluster->sql(1, "SELECT dlog.send('$far', ROW(77)::fleeting), dlog.send('$far', ROW(78)::note)");
$cluster->sql(1, 'DROP TYPE fleeting');
$cluster->node(2)->start;
$cluster->wait_until(2, 'SELECT EXISTS (SELECT FROM notes WHERE n = 78)');
my $refused = "dlog.inbox_refused WHERE error = 'the type of the message was dropped on the node that sent it'";
is($cluster->sql(2, "SELECT sqlstate FROM $refused"), '42704', 'such a message is refused, and others go on');
my $bytes = $cluster->sql(2, "SELECT payload FROM $refused");
like($bytes, qr/^GONE \d+ [0-9a-f]+$/, 'it is kept');
$cluster->sql(1, 'CREATE TYPE fleeting AS (n int)');
is($cluster->sql(1, "SELECT '$bytes'::dlog.payload"), q{'(77)'::public.fleeting}, 'and can be read where it was sent, when the type is there again');

# --- links break, in the middle ---
$cluster->sql(2, 'TRUNCATE notes');
foreach my $round (1 .. 6)
{
	$cluster->sql(1, "SELECT dlog.send('$far', ROW($round * 1000 + i)::note) FROM generate_series(1, 200) i");
	$cluster->kill_network($round % 2 + 1);
}
$cluster->wait_until(2, 'SELECT count(*) >= 1200 FROM notes');
$cluster->wait_until(1, 'SELECT NOT EXISTS (SELECT FROM dlog.outgoing)');
is($cluster->sql(2, 'SELECT count(*), count(DISTINCT n) FROM notes'), '1200|1200', 'a broken link loses and doubles nothing');
is($cluster->sql(2, 'SELECT count(*) FROM (SELECT n, lag(n) OVER (ORDER BY id) AS before FROM notes) t WHERE n < before'),
	0, 'nor changes the order');

# --- an error that passes ---
$cluster->node(2)->append_conf('postgresql.conf', "max_prepared_transactions = 1\nlock_timeout = 200ms\n");
$cluster->node(2)->restart;
$cluster->sql(2, "CREATE ROLE owner; TRUNCATE notes; BEGIN; ALTER TYPE note OWNER TO owner; PREPARE TRANSACTION 'alter'");
$cluster->node(2)->restart;
my $n_refused = $cluster->sql(2, 'SELECT count(*) FROM dlog.inbox_refused');
$cluster->sql(1, "SELECT dlog.send('$far', ROW(i)::note) FROM generate_series(1, 3) i");
$cluster->wait_until(1, "SELECT waiting = 3 AND failures > 0 AND last_error ~ 'lock timeout' FROM dlog.deliveries");
is($cluster->sql(2, 'SELECT count(*) FROM dlog.inbox_refused'), $n_refused, 'what meets a lock there is not refused, and here is said why it waits');
$cluster->sql(2, "COMMIT PREPARED 'alter'");
is_noted('1,2,3', 'it comes when the lock is gone');

# --- which numbers are free, while a batch is taken ---
foreach my $take ('UPDATE dlog.inbox_link SET sequence = sequence + 1', 'UPDATE dlog.inbox_link SET generation = generation - 1',
	'INSERT INTO dlog.inbox_link (node_id, generation, sequence) VALUES (1, 1, 1)')
{
	$cluster->wait_until(1, 'SELECT NOT EXISTS (SELECT FROM dlog.outgoing)');
	my $link = $take =~ /^INSERT/ ? '1, 1' : $cluster->sql(2, 'SELECT node_id, generation FROM dlog.inbox_link') =~ s/\|/, /r;
	$cluster->sql(2, "BEGIN; $take; PREPARE TRANSACTION 'take'");
	like($cluster->sql_error(2, "SELECT dlog.outbox_last($link)"), qr/55P03/, 'who asks which numbers are free waits for a batch that is taken');
	$cluster->sql(2, "ROLLBACK PREPARED 'take'");
}

# --- a new extension counts anew ---
$cluster->sql(2, 'TRUNCATE notes');
$cluster->sql(1, "UPDATE dlog.outbox_link SET generation = generation + 1, sequence = 1");
$cluster->sql(1, "SELECT dlog.send('$far', ROW(1)::note)");
is_noted('1', 'another outbox of the same node is another one');

done_testing();
