
# A node is restored from an older copy of its data directory, with its key: it
# and the others agree on what numbers its messages have, nothing new is taken
# for what was sent before, and what is lost is counted and said.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, conf => <<'CONF');
dlog.min_schedulers = 2
dlog.connect_timeout = 2s
CONF
$cluster->sql_everywhere(<<'SQL');
CREATE TYPE note AS (n int);
CREATE TABLE notes (n int, id serial);
CREATE FUNCTION note(state int, m note) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO notes VALUES (m.n);
	RETURN coalesce(state, 0) + 1;
END $$;
CREATE FUNCTION noted(state int, m note) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + 1;
SELECT dlog.create_behavior('notary', 'int', handlers => '{note}', apply => '{noted}', durable => true);
SQL
my @actor = (undef, map { $cluster->sql($_, "SELECT dlog.spawn('notary', name => 'notary $_')") } (1, 2));

# From one node's sessions to the other's actor.
sub send_to
{
	my ($i, $first, $last) = @_;

	$cluster->sql(3 - $i, "SELECT dlog.send('$actor[$i]', ROW(i)::note) FROM generate_series($first, $last) i");
	return;
}

sub all_has_come
{
	$cluster->wait_until($_, 'SELECT NOT EXISTS (SELECT FROM dlog.outbox) AND NOT EXISTS (SELECT FROM dlog.mailbox)') foreach (1, 2);
	return;
}

sub copy_directory
{
	my ($from, $to) = @_;

	system('rm', '-rf', $to) == 0 && system('cp', '-a', $from, $to) == 0 or die "cannot copy $from to $to";
	return;
}

my $node = $cluster->node(1);
my $copy = $node->basedir . '/copy';

# --- the copy is of a time at which nothing was under way ---
send_to(2, 1, 10);
send_to(1, 1, 10);
all_has_come();
$node->stop;
copy_directory($node->data_dir, $copy);
$node->start;
send_to(2, 11, 30);
send_to(1, 11, 25);
all_has_come();
is($cluster->sql(1, 'SELECT count(*) FROM notes'), 25, 'before: all has come here');
my $lost = $cluster->sql(2, "SELECT dlog.spawn('notary', name => 'lost', node => 'n1')");
$node->stop('immediate');
copy_directory($copy, $node->data_dir);
$node->start;

send_to(2, 101, 105);
$cluster->wait_until(2, 'SELECT count(*) FROM notes WHERE n > 100', 5);
pass('what the restored node sends is not taken for what it had sent before');
send_to(1, 101, 103);
$cluster->wait_until(1, 'SELECT count(*) FROM notes WHERE n > 100', 3);
all_has_come();
is($cluster->sql(2, "SELECT count(*), count(DISTINCT n), max(n), dlog.state('$actor[2]') FROM notes"), '35|35|105|35', 'each message is there once');
is($cluster->sql(1, "SELECT count(*), count(DISTINCT n), dlog.state('$actor[1]') FROM notes"), '13|13|13', 'also in the restored node, but for what it has lost');
is($cluster->sql(1, 'SELECT forgotten, missed FROM dlog.deliveries'), '20|15', 'what it had sent and taken, and does not know of, is counted');
my $log = slurp_file($node->logfile);
like($log, qr/WARNING:  dlog: node "n2" has 20 messages from this database of which it does not know itself/, 'its log says what was sent');
like($log, qr/HINT:  Compare what the databases have/, 'and what to do');
like($log, qr/15 messages from node -?\d+ were taken once and are lost here/, 'and what was taken');

# An actor that was spawned after the copy is gone, and no other is taken for it.
my $other = $cluster->sql(1, "SELECT dlog.spawn('notary', name => 'lost')");
isnt($other, $lost, 'an actor that is spawned now is another one');
$cluster->sql(2, "SELECT dlog.send('$lost', ROW(150)::note)");
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.inbox_refused', 1);
like($cluster->sql(1, 'SELECT sqlstate, error FROM dlog.inbox_refused'), qr/^42704\|.*does not exist/, 'what is sent to the one that is lost is refused, and kept');
is($cluster->sql(1, "SELECT dlog.state('$other') IS NULL"), 't', 'the other one does not get it');

# --- a batch was under way when the copy was made, and has arrived since ---
$cluster->node(2)->stop;
send_to(2, 201, 203);
$cluster->wait_until(1, "SELECT count(*) FROM dlog.outgoing WHERE is_under_way", 3);
$node->stop;
copy_directory($node->data_dir, $copy);
$cluster->node(2)->start;
$node->start;
all_has_come();
send_to(2, 204, 205);
all_has_come();
$node->stop('immediate');
copy_directory($copy, $node->data_dir);
$node->start;
send_to(2, 206, 207);
$cluster->wait_until(2, 'SELECT count(*) FROM notes WHERE n > 205', 2);
all_has_come();
is($cluster->sql(2, "SELECT count(*), count(DISTINCT n) FROM notes WHERE n > 200"), '7|7', 'a batch that has arrived already is not sent again');
is($cluster->sql(1, 'SELECT forgotten FROM dlog.deliveries'), 22, 'and what came after it is counted');

# --- to before the two have known each other's messages ---
$cluster->sql(1, 'DELETE FROM dlog.inbox_link');
$node->restart;
send_to(1, 301, 301);
$cluster->wait_until(1, 'SELECT count(*) FROM notes WHERE n = 301', 1);
is($cluster->sql(1, 'SELECT missed FROM dlog.deliveries'), 29, 'one that has nothing of the other has lost all');

# --- two servers have the same key ---
send_to(2, 302, 302);
all_has_come();
$cluster->sql(1, 'UPDATE dlog.outbox_link SET sequence = sequence - 3');
send_to(2, 401, 401);
$cluster->wait_until(1, q{SELECT count(*) FROM dlog.deliveries WHERE last_error ~ 'sends other messages than those that were taken'}, 1);
is($cluster->sql(2, 'SELECT count(*) FROM notes WHERE n = 401'), 0, 'another message with a number that is taken is refused');
$cluster->sql(1, 'UPDATE dlog.outbox_link SET sequence = sequence + 2');
send_to(2, 402, 402);
$cluster->wait_until(1, q{SELECT failures > 1 FROM dlog.deliveries});
is($cluster->sql(2, 'SELECT count(*) FROM notes WHERE n > 400'), 0, 'by what it says, if it has the number of the last one');
$cluster->sql(1, 'UPDATE dlog.outbox_link SET sequence = sequence + 1');
$cluster->wait_until(2, 'SELECT count(*) FROM notes WHERE n > 400', 2);
all_has_come();
is($cluster->sql(2, 'SELECT count(DISTINCT n) FROM notes WHERE n > 400'), 2, 'and comes when the number is free');

# --- another extension in the same life of the server ---
my $create = q{SELECT dlog.create_behavior('notary', 'int', handlers => '{note}', apply => '{noted}', durable => true)};
my $schedulers = q{SELECT count(*) > 0 FROM dlog.schedulers WHERE database = 'postgres' AND state = 'idle'};
my $spawn = q{SELECT dlog.spawn('notary') FROM generate_series(1, 3)};
my $ids = q{SELECT id FROM dlog.durable_actor};
my @ids;
foreach (1 .. 3)
{
	$cluster->sql(1, 'DROP EXTENSION dlog CASCADE');
	$cluster->sql(1, 'CREATE EXTENSION dlog');
	$cluster->wait_until(1, $schedulers);
	$cluster->sql(1, $create);
	$cluster->sql(1, $spawn);
	push @ids, split /\n/, $cluster->sql(1, $ids);
}
my %is_there = map { $_ => 1 } @ids;
is(scalar(@ids) . ' ' . scalar(keys %is_there), '9 9', 'its actors have other numbers');

done_testing();
