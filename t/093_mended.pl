
# What durable actors are made of is changed or dropped while mail waits for
# them: the mail that cannot be read is kept, nobody else waits, an error says
# what to do, and all goes on when that is done, without a restart.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, conf => "dlog.min_schedulers = 2");
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE ROLE stranger;
CREATE TYPE add AS (n int);
CREATE TYPE hue AS ENUM ('red');
CREATE TYPE paint AS (n int, hue hue, text text);
CREATE TYPE draw AS (n int, hue hue, text text);
CREATE TABLE is_open (yes bool);
CREATE TYPE visit AS (n int);
CREATE FUNCTION add(state int, m add) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + m.n;
CREATE FUNCTION paint(state int, m paint) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + m.n + length(m.text);
CREATE FUNCTION draw(state int, m draw) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + m.n + length(m.text);
CREATE FUNCTION visit(state int, m visit) RETURNS int STABLE LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM public.is_open) THEN
		RAISE 'it is not open' USING HINT = 'Open it.';
	END IF;
	RETURN coalesce(state, 0) + m.n;
END $$;
SELECT dlog.create_behavior('adder', 'int', handlers => '{add,paint,draw}', durable => true);
SELECT dlog.create_behavior('other', 'int', handlers => '{add}', durable => true);
SELECT dlog.create_behavior('shop', 'int', handlers => '{visit}', durable => true);
SQL

# A new actor, that is suspended.
sub suspended
{
	my ($behavior, $name) = @_;

	$cluster->sql(1, "SELECT dlog.spawn('$behavior', name => '$name')");
	$cluster->sql(1, "SELECT dlog.suspend(dlog.whereis('$name'))");
	return;
}

sub state_becomes
{
	my ($name, $expected, $what) = @_;

	$cluster->wait_until(1, "SELECT dlog.state(dlog.whereis('$name'))", $expected);
	pass($what);
	return;
}

sub is_broken
{
	my ($name, $pattern, $what) = @_;

	$cluster->wait_until(1, "SELECT count(*) FROM dlog.broken_actors WHERE name = '$name'", '1');
	like($cluster->sql(1, "SELECT sqlstate, error, detail, hint FROM dlog.broken_actors WHERE name = '$name'"), $pattern, $what);
	return;
}

# --- the type of a message that waits is dropped --------------------------
suspended('adder', 'a');
suspended('other', 'b');
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('a'), ROW(1)::add), dlog.send(dlog.whereis('a'), ROW(10, 'red', 'x')::paint),
	dlog.send(dlog.whereis('a'), ROW(20, 'red', 'xy')::draw), dlog.send(dlog.whereis('a'), ROW(2)::add), dlog.send(dlog.whereis('b'), ROW(4)::add)});
$cluster->sql(1, q{SELECT dlog.alter_behavior('adder', drop_messages => '{paint}'); DROP FUNCTION paint(int, paint); DROP TYPE paint});

# An attribute of a message goes with its type.
$cluster->sql(1, 'DROP TYPE hue CASCADE');
$node->restart;
state_becomes('b', '4', 'nobody waits for mail that cannot be read');
state_becomes('a', '25', 'nor does its actor, whose other mail is read without what was dropped of it');
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.quarantined', 1);
is($cluster->sql(1, 'SELECT name, failures, sqlstate, error, detail FROM dlog.quarantined'),
	q{a|0|42704|a payload is of type public.paint, which does not exist any more|It had attributes of types integer, public.hue, text.},
	'it is in quarantine');
my $redeliver = 'SELECT dlog.redeliver(id) FROM dlog.quarantined';
like($cluster->sql_error(1, $redeliver), qr/42704: .*type public.paint.*HINT:  Create it with the attributes/s, 'what is missing is said');
is($cluster->sql(1, 'SELECT message, left(payload, 4) FROM dlog.quarantined'), '|GONE', 'and its bytes are kept');

# ... and there again, first as another one.
my $paint = <<'SQL';
CREATE FUNCTION paint(state int, m paint) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + m.n + length(m.text);
SELECT dlog.alter_behavior('adder', handlers => '{paint}');
SQL
$cluster->sql(1, 'CREATE TYPE paint AS (text text, n int)');
like($cluster->sql_error(1, $redeliver), qr/42804: .*is of other attributes now.*Attribute 1 of type paint was of type integer/s, 'another type of the name is not taken for it');
$cluster->sql(1, "DROP TYPE paint; CREATE TYPE paint AS (n int, hue text, text text); ALTER TYPE paint DROP ATTRIBUTE hue; $paint");
like($cluster->sql_error(1, $redeliver), qr/42804: /, 'nor one with an attribute that was of another length');
$cluster->sql(1, q{SELECT dlog.alter_behavior('adder', drop_messages => '{paint}'); DROP FUNCTION paint(int, paint); DROP TYPE paint});
$cluster->sql(1, "CREATE TYPE hue AS ENUM ('red'); CREATE TYPE paint AS (n int, hue hue, text text); DROP TYPE hue CASCADE; $paint");
is($cluster->sql(1, 'SELECT message, payload FROM dlog.quarantined'), 'paint|(10,x)', 'when the type is there again it can be read');
$cluster->sql(1, $redeliver);
state_becomes('a', '36', 'and is handled');
is($cluster->sql(1, q{SELECT string_agg(message || payload, ' ' ORDER BY seq) FROM dlog.journal WHERE name = 'a'}),
	'add(1) draw(20,xy) add(2) paint(10,x)', 'each once');

# --- the journal cannot be replayed ----------------------------------------
$cluster->sql(1, q{SELECT dlog.alter_behavior('adder', drop_messages => '{paint}'); DROP FUNCTION paint(int, paint); DROP TYPE paint});
$node->restart;
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('a'), ROW(100)::add), dlog.send(dlog.whereis('b'), ROW(100)::add)});
state_becomes('b', '104', 'nobody waits for who cannot be replayed');
is_broken('a', qr/^42704\|a payload is of type public.paint, which does not exist any more\|/, 'why it cannot is in a view');
is($cluster->sql(1, 'SET ROLE stranger; SELECT count(*) FROM dlog.broken_actors'), 0, 'not for everybody');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.mailbox}), 1, 'its mail waits');
$cluster->sql(1, "CREATE TYPE paint AS (n int, hue int, text text); $paint");
is_broken('a', qr/^42804\|.*Attribute 2/, 'it has been tried again');
$cluster->sql(1, q{SELECT dlog.alter_behavior('adder', drop_messages => '{paint}'); DROP FUNCTION paint(int, paint); DROP TYPE paint});
$cluster->sql(1, "CREATE TYPE hue AS ENUM ('red'); CREATE TYPE paint AS (n int, hue hue, text text); DROP TYPE hue CASCADE; $paint");
state_becomes('a', '136', 'mended, it goes on without a restart');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.broken_actors'), 0, 'and is broken no more');

# --- a handler cannot be replayed any more ------------------------------------
$cluster->sql(1, q{SELECT dlog.suspend(dlog.whereis('b'))});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('b'), ROW(i)::add) FROM generate_series(1, 3) i});
$cluster->sql(1, 'ALTER FUNCTION add(int, add) VOLATILE');
$node->restart;
is_broken('b', qr/42P13\|handler public.add\(.*\) of durable behavior "public.other" is VOLATILE\|.*ALTER FUNCTION .* STABLE/, 'an actor whose behavior cannot be used waits');
like($cluster->sql_error(1, q{SELECT dlog.send(dlog.whereis('b'), ROW(4)::add)}), qr/42P13: handler .* is VOLATILE/, 'who sends is told why');
$cluster->sql(1, q{SELECT dlog.spawn('shop', name => 's'), dlog.spawn('shop', name => 't')});
$cluster->sql(1, q{INSERT INTO is_open VALUES (true)});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('s'), ROW(1)::visit)});
state_becomes('s', '1', 'others go on');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.mailbox}), 3, 'and its mail waits');
$cluster->sql(1, 'ALTER FUNCTION add(int, add) IMMUTABLE');
state_becomes('b', '110', 'it goes on when the function is what it was');
is($cluster->sql(1, q{SELECT string_agg(payload, '' ORDER BY seq) FROM dlog.journal WHERE name = 'b' AND seq > 2}), '(1)(2)(3)', 'in order');

# The same while it is loaded.
$cluster->sql(1, q{SELECT dlog.suspend(dlog.whereis('b'))});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('b'), ROW(1)::add)});
$cluster->sql(1, 'ALTER FUNCTION add(int, add) VOLATILE');
$cluster->sql(1, q{SELECT dlog.resume(dlog.whereis('b'))});
is_broken('b', qr/is VOLATILE/, 'one that is loaded is broken then, too');
$cluster->sql(1, q{SELECT dlog.suspend(dlog.whereis('b'))});
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.broken_actors', 0);
$cluster->sql(1, 'ALTER FUNCTION add(int, add) IMMUTABLE');
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('s'), ROW(1)::visit)});
state_becomes('s', '2', 'others go on');
is($cluster->sql(1, q{SELECT dlog.state(dlog.whereis('b'))}), '110', 'who is suspended stays so when it is mended');
$cluster->sql(1, q{SELECT dlog.resume(dlog.whereis('b'))});
state_becomes('b', '111', 'until it is resumed');

# --- what no DDL mends -----------------------------------------------------
$cluster->sql(1, 'TRUNCATE is_open');
$node->restart;
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('s'), ROW(4)::visit)});
is_broken('s', qr/^P0001\|it is not open\|\|Open it\./, 'a handler that fails in the replay: the actor waits');
$cluster->wait_until(1, q{SELECT tries >= 3 AND next_try > since FROM dlog.broken_actors});
pass('it is tried again and again');
$cluster->sql(1, 'INSERT INTO is_open VALUES (true)');
state_becomes('s', '6', 'until it goes well');

# --- what an actor has become is dropped -----------------------------------------
$cluster->sql(1, <<'SQL');
CREATE TYPE shut AS ();
CREATE TYPE knock AS (n int);
CREATE FUNCTION shut(state int, m shut) RETURNS int STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.become('public.shut_door');
	RETURN state;
END $$;
CREATE FUNCTION knock(state int, m knock) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + m.n;
SELECT dlog.create_behavior('open_door', 'int', handlers => '{shut,knock}', durable => true);
SQL
my $shut_door = <<'SQL';
CREATE FUNCTION knock_shut(state int, m knock) RETURNS int IMMUTABLE LANGUAGE sql RETURN state + 10 * m.n;
SELECT dlog.create_behavior('shut_door', 'int', handlers => '{knock_shut}', durable => true);
SQL
$cluster->sql(1, $shut_door);
$cluster->sql(1, q{SELECT dlog.spawn('open_door', name => 'd')});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('d'), ROW(1)::knock), dlog.send(dlog.whereis('d'), ROW()::shut)});
$cluster->wait_until(1, q{SELECT count(*) FROM dlog.journal WHERE name = 'd'}, 2);
foreach my $round (1, 2)
{
	my $before = $cluster->sql(1, q{SELECT dlog.state(dlog.whereis('d'))});

	$cluster->sql(1, q{SELECT dlog.suspend(dlog.whereis('d'))});
	$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('d'), ROW(2)::knock)});
	$cluster->sql(1, 'DROP FUNCTION knock_shut CASCADE');
	$node->restart if $round == 1;
	$cluster->sql(1, q{SELECT dlog.resume(dlog.whereis('d'))}) if $round == 2;
	is_broken('d', qr/^42704\|behavior .*does not exist/, 'what an actor has become is gone: it waits');
	$cluster->sql(1, $shut_door);
	state_becomes('d', $before + 20, 'and goes on when there is one of the name again');
}

# --- other types for what is journaled already ----------------------------------
$cluster->sql(1, <<'SQL');
CREATE TYPE purse AS (pence int);
CREATE TYPE put AS (pence int);
CREATE TYPE put_pounds AS (pounds numeric);
CREATE FUNCTION put(state purse, m put) RETURNS purse IMMUTABLE LANGUAGE sql RETURN ROW(coalesce(state.pence, 0) + m.pence)::purse;
CREATE FUNCTION put_pounds(state purse, m put_pounds) RETURNS purse IMMUTABLE LANGUAGE sql RETURN ROW(coalesce(state.pence, 0) + m.pounds * 100)::purse;
CREATE FUNCTION in_pounds(m put) RETURNS put_pounds IMMUTABLE LANGUAGE sql RETURN ROW(m.pence / 100.0)::put_pounds;
SELECT dlog.create_behavior('purse_actor', 'purse', handlers => '{put}', durable => true, snapshot_every => 0);
SELECT dlog.spawn('purse_actor', name => 'p');
SELECT dlog.send(dlog.whereis('p'), ROW(i)::put) FROM generate_series(1, 3) i;
SQL
state_becomes('p', '(6)', 'messages of a type');
like($cluster->sql_error(1, 'ALTER TYPE put ALTER ATTRIBUTE pence TYPE text'), qr/0A000: cannot alter type/, 'which cannot be made another one while it is used');
$cluster->sql(1, q{SELECT dlog.alter_behavior('purse_actor', handlers => '{put_pounds}', drop_messages => '{put}'); DROP FUNCTION put(purse, put)});
$node->restart;
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('p'), ROW(1)::put_pounds)});
is_broken('p', qr/^42804\|behavior "purse_actor" cannot replay messages of type put\|\|.*upcast/, 'without an upcast it cannot be replayed after a restart');
$cluster->sql(1, q{SELECT dlog.alter_behavior('purse_actor', upcast => '{in_pounds}')});
state_becomes('p', '(106)', 'with one it goes on at once');
is($cluster->sql(1, q{SELECT dlog.state_at(dlog.whereis('p'), 2)}), '(3)', 'old states can be made');
is($cluster->sql(1, q{SELECT string_agg(seq || message::text || state, ' ' ORDER BY seq) FROM dlog.history(dlog.whereis('p'))}),
	'1put(1) 2put(3) 3put(6) 4put_pounds(106)', 'and so can its history');
$cluster->sql(1, 'ALTER TYPE purse ADD ATTRIBUTE owner text');
$node->restart;
is($cluster->sql(1, q{SELECT dlog.state(dlog.whereis('p'))}), '(106,)', 'a state type that has got an attribute is read after a restart');

# --- what cannot be dropped alone --------------------------------------------
suspended('other', 'c');
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('c'), ROW(1)::add)});
like($cluster->sql_error(1, 'DROP FUNCTION add(int, add)'), qr/2BP01: cannot drop function add.*type other depends/s, 'a handler cannot be dropped');
like($cluster->sql_error(1, 'DROP TYPE visit'), qr/2BP01: /, 'nor the type of a message that a behavior takes');
like($cluster->sql_error(1, 'DROP TYPE purse'), qr/2BP01: /, 'nor that of a state');
$cluster->sql(1, 'DROP FUNCTION add(int, add) CASCADE');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.mailbox}), 0, 'with the behavior its actors go, and their mail');
$node->restart;
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('s'), ROW(5)::visit)});
state_becomes('s', '11', 'others go on after a restart');

# --- who puts mail into quarantine is terminated before that is committed ------------
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 1');
$node->restart;
$cluster->sql(1, <<'SQL');
CREATE TYPE lost AS (n int);
CREATE TYPE kept AS (n int);
CREATE FUNCTION lost(state int, m lost) RETURNS int IMMUTABLE LANGUAGE sql RETURN m.n;
CREATE FUNCTION kept(state int, m kept) RETURNS int IMMUTABLE LANGUAGE sql RETURN m.n;
SELECT dlog.create_behavior('loser', 'int', handlers => '{lost,kept}', durable => true);
SQL
suspended('loser', 'l');
suspended('shop', 'v');
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('l'), ROW(1)::lost)});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('v'), ROW(3)::visit)});
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('l'), ROW(2)::kept)});
$cluster->sql(1, q{SELECT dlog.alter_behavior('loser', drop_messages => '{lost}'); DROP FUNCTION lost(int, lost); DROP TYPE lost});
$cluster->sql(1, q{DELETE FROM dlog.quarantine; BEGIN; ALTER TYPE visit OWNER TO stranger; PREPARE TRANSACTION 'alter'});
$node->restart;

# Who goes on has been there before: as many as shall be idle are, so nobody is started.
my $waiting = q{FROM pg_locks WHERE NOT granted AND relation = 'visit'::regclass};
my $idle = q{FROM dlog.schedulers WHERE state = 'idle'};
$cluster->wait_until(1, "SELECT (SELECT count(*) $waiting), (SELECT count(*) $idle)", '1|2');
my @idle = split /\n/, $cluster->sql(1, "SELECT pid $idle");
$cluster->sql(1, "SELECT pg_terminate_backend(pid) $waiting");
$cluster->wait_until(1, "SELECT count(*) $waiting AND pid IN (" . join(',', @idle) . ')', 1);
pass('when it is terminated, one that was idle takes up the delivery');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.quarantine'), 0, 'who was terminated has put nothing there');
$cluster->sql(1, q{COMMIT PREPARED 'alter'});
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.quarantine', 1);
pass('the next one does it');
$cluster->sql(1, q{SELECT dlog.resume(dlog.whereis('v')), dlog.resume(dlog.whereis('l'))});
state_becomes('v', '3', 'and mail behind it is delivered');
state_becomes('l', '2', 'to its own actor, too');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.journal WHERE name IN ('v', 'l')}), 2, 'each once');

# --- a lock is in the way of the delivery ---------------------------------------
$node->append_conf('postgresql.conf', <<'CONF');
lock_timeout = 200ms
deadlock_timeout = 10ms
log_lock_waits = on
CONF
$node->restart;
suspended('shop', 'w');
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('w'), ROW(7)::visit)});
$cluster->sql(1, q{BEGIN; ALTER TYPE visit OWNER TO postgres; PREPARE TRANSACTION 'alter'});
my $log = -s $node->logfile;
$node->restart;
$node->wait_for_log(qr/(still waiting for AccessShareLock.*){3}/s, $log);
$cluster->sql(1, q{COMMIT PREPARED 'alter'});
$cluster->sql(1, q{SELECT dlog.resume(dlog.whereis('w'))});
state_becomes('w', '7', 'mail that meets a lock is delivered when that is gone');

# --- no partition can be made for a journal --------------------------------------
$cluster->sql(1, <<'SQL');
SELECT dlog.create_behavior('mall', 'int', handlers => '{visit}', durable => true);
SELECT dlog.spawn('mall', name => 'm');
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no tables today'; END$$;
CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse();
DELETE FROM dlog.quarantine;
SQL

# First for what begins it, then for a message, as when the day changes.
foreach my $round (1, 2)
{
	$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('m'), ROW(3)::visit)});
	is_broken('m', qr/^P0001\|journal "journal_mall" has no partition for the present time, and none can be made\|no tables today\|/, 'why it cannot go on is in the view');
	$cluster->wait_until(1, q{SELECT tries >= 4 FROM dlog.broken_actors WHERE name = 'm'});
	$cluster->sql(1, 'ALTER EVENT TRIGGER refuse DISABLE');
	state_becomes('m', 3 * $round, 'and it does when one can be made');
	is($cluster->sql(1, 'SELECT (SELECT count(*) FROM dlog.broken_actors), (SELECT count(*) FROM dlog.quarantined)'), '0|0', 'with its mail');
	last if $round == 2;
	$cluster->sql(1, 'SELECT dlog.snapshot(dlog.whereis(\'m\'))');
	$cluster->sql(1, q{SELECT format('DROP TABLE %s', i.inhrelid::regclass) FROM pg_inherits i WHERE i.inhparent = 'dlog.journal_mall'::regclass \gexec});
	$cluster->sql(1, 'ALTER EVENT TRIGGER refuse ENABLE');
}

done_testing();
