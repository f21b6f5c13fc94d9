
# SQL actors over nodes, and in a storm: schedulers are terminated while a
# hundred messages a time arrive, and no message is lost or handled twice.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, database => 'shop', conf => 'dlog.min_schedulers = 2');
my $definition = <<'SQL';
CREATE TYPE note AS (n int);
CREATE TYPE how_many AS ();
CREATE TABLE notes (n int);
CREATE FUNCTION note(state int, m note) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO notes VALUES (m.n);
	RETURN coalesce(state, 0) + 1;
END $$;
CREATE FUNCTION how_many(state int, m how_many) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.reply(state);
	RETURN state;
END $$;
CREATE ROLE clerk;
SELECT dlog.create_behavior('notary', 'int', handlers => '{note,how_many}');
SQL
$cluster->sql_everywhere($definition);

# --- what schedulers do for actors is counted ---
$cluster->sql(1, <<'SQL');
CREATE TYPE work AS ();
CREATE FUNCTION work(state int, m work) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.02);
	PERFORM dlog.reply(pg_backend_pid());
	RETURN state;
END $$;
SELECT dlog.create_behavior('worker', 'int', handlers => '{work}');
SELECT dlog.spawn('worker', name => 'worker');
SQL
my $workers = $cluster->sql(1, "SELECT string_agg(dlog.ask(dlog.whereis('worker'), ROW()::work), ',') FROM generate_series(1, 25)");
$cluster->wait_until(1, "SELECT sum(busy * extract(epoch FROM clock_timestamp() - started_at)) >= 0.4
	FROM dlog.schedulers WHERE pid IN ($workers)", 't');
pass('a scheduler that runs short handlers is busy meanwhile');

# --- another node's actor ---
my $far = $cluster->sql(1, "SELECT dlog.spawn('notary', name => 'far notary', node => 'n2')");
like($far, qr{^dlog://\d+/\d+/\d+\.\d+\.\d+$}, 'an actor is spawned on another node');
is($cluster->sql(1, "SELECT dlog.whereis('dlog://n2/shop/far%20notary')"), $far, 'and is found there by its name');
is($cluster->sql(2, "SELECT dlog.whereis('far notary')"), $far, 'where its reference is the same');
$cluster->sql(1, "SELECT dlog.send('$far', ROW(1)::note)");
$cluster->sql(1, "BEGIN; SELECT dlog.send('$far', ROW(2)::note); ROLLBACK");
$cluster->sql(1, "BEGIN; SELECT dlog.send('$far', ROW(3)::note); SAVEPOINT s; SELECT dlog.send('$far', ROW(4)::note); ROLLBACK TO s; COMMIT");
$cluster->wait_until(2, "SELECT string_agg(n::text, ',' ORDER BY n) FROM notes", '1,3');
is($cluster->sql(2, "SELECT dlog.ask('$far', ROW()::how_many)"), '2', 'what is sent there comes when it commits here');
like($cluster->sql_error(1, "SET ROLE clerk; SELECT dlog.send('$far', ROW(5)::note)"), qr/42501: permission denied for behavior notary/,
	'and with the rights of who sends');
like($cluster->sql_error(1, "SELECT dlog.send('$far', ROW(NULL, 'x')::dlog.down)"), qr/42804: behavior "notary" takes no messages of type dlog.down/, 'a wrong message is refused there');

# --- a storm ---
my $rounds = 12;
$cluster->sql(1, "SELECT dlog.spawn('notary', name => 'notary ' || i) FROM generate_series(1, 10) i");
foreach my $round (1 .. $rounds)
{
	$cluster->sql(1, "SELECT dlog.send(dlog.whereis('notary ' || i % 10 + 1), ROW($round * 1000 + i)::note) FROM generate_series(1, 100) i");
	# Only when all idle: what runs a handler takes its actor along.
	$cluster->wait_until(1, "SELECT count(*) FROM notes", 100 * $round) if $round % 2 == 0;
	$cluster->sql(1, "SELECT pg_terminate_backend(pid) FROM dlog.schedulers WHERE state = 'idle' LIMIT 1")
	  if $round % 2 == 0;
}
$cluster->wait_until(1, "SELECT count(*) FROM notes", 100 * $rounds);
is($cluster->sql(1, "SELECT count(DISTINCT n) FROM notes"), 100 * $rounds, 'no message is lost, none handled twice');
is($cluster->sql(1, "SELECT sum(dlog.ask(dlog.whereis('notary ' || i), ROW()::how_many)::int) FROM generate_series(1, 10) i"),
	100 * $rounds, 'and the actors know');

# --- a crash: they are gone, and their references mean nobody ---
my $near = $cluster->sql(1, "SELECT dlog.whereis('notary 1')");
$cluster->node(1)->stop('immediate');
$cluster->node(1)->start;
is($cluster->sql(1, "SELECT dlog.whereis('notary 1') IS NULL"), 't', 'after a crash actors are gone');
$cluster->sql(1, "SELECT dlog.spawn('notary') FROM generate_series(1, 20) i");
like($cluster->sql_error(1, "SELECT dlog.send('$near', ROW(5)::note)"), qr/42704: actor .* does not exist/,
	'an old reference is nobody, whoever has the slot now');

done_testing();
