
# A durable actor that is a supervisor's child is the same one after a restart
# of the server, a crash, and a restart of its supervisor; one that has stopped
# for good is followed by another.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, conf => "dlog.min_schedulers = 2");
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE TYPE note AS (n int);
CREATE TYPE spoil AS ();
CREATE FUNCTION book_init(first int) RETURNS int LANGUAGE sql RETURN first;
CREATE FUNCTION note(state int, m note) RETURNS int IMMUTABLE LANGUAGE sql RETURN state + m.n;
CREATE FUNCTION spoil(state int, m spoil) RETURNS int STABLE LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'spoilt';
END $$;
SELECT dlog.create_behavior('notebook', 'int', 'book_init', '{note,spoil}', durable => true);
SELECT dlog.create_supervisor('office');
SELECT dlog.start_child('office', 'book', 'notebook', ROW(100));
CREATE FUNCTION book() RETURNS dlog.actor_ref LANGUAGE sql AS
	$$SELECT child FROM dlog.which_children('office') WHERE name = 'book' AND state = 'running'$$;
SQL

sub book_is
{
	my ($ref, $state, $what) = @_;

	$cluster->wait_until(1, q{SELECT book()}, $ref);
	$cluster->wait_until(1, qq{SELECT dlog.state('$ref')}, $state);
	is($cluster->sql(1, 'SELECT count(*) FROM dlog.durable_actors'), 1, $what);
	return;
}

$cluster->wait_until(1, 'SELECT book() IS NOT NULL', 't');
my $book = $cluster->sql(1, 'SELECT book()');
$cluster->sql(1, "SELECT dlog.send('$book', ROW(1)::note)");
book_is($book, 101, 'a durable child');

$node->restart;
book_is($book, 101, 'it is the same after a restart');
$cluster->sql(1, "SELECT dlog.send('$book', ROW(1)::note)");
book_is($book, 102, 'and goes on');

# Mail waits, so it is loaded before its supervisor is there.
$cluster->sql(1, "SELECT dlog.suspend('$book')");
$cluster->sql(1, "SELECT dlog.send('$book', ROW(10)::note)");
$node->stop('immediate');
$node->start;
book_is($book, 112, 'it is the same after a crash, with its mail');

$cluster->sql(1, "SELECT dlog.kill('$book')");
book_is($book, 112, 'killed it is started again');
is($cluster->sql(1, q{SELECT restarts > 0 FROM dlog.which_children('office')}), 't', 'by its supervisor');

# A message that fails is no failure of the child.
$cluster->sql(1, "SELECT dlog.send('$book', ROW()::spoil), dlog.send('$book', ROW(1)::note)");
book_is($book, 113, 'a message that fails does not end it');

$cluster->sql(1, q{SELECT dlog.terminate_child('office', 'book')});
$cluster->wait_until(1, 'SELECT book() IS NULL', 't');
$cluster->sql(1, "SELECT dlog.send('$book', ROW(1)::note)");
$cluster->sql(1, q{SELECT dlog.restart_child('office', 'book')});
book_is($book, 114, 'terminated and started again it has its mail');

# The supervisor ends, and is started again.
# It gives up when its child is killed too often.
my $is_started = 0;
foreach (1 .. 1000)
{
	$cluster->sql(1, "SELECT dlog.kill('$book')");
	$is_started = !$node->psql($cluster->database, q{SELECT dlog.start_supervisor('office')}, on_error_stop => 1);
	last if $is_started;
}
ok($is_started, 'a supervisor that has given up');
book_is($book, 114, 'a new life of its supervisor finds it');

$cluster->sql(1, "SELECT dlog.stop('$book', 'full')");
$cluster->wait_until(1, "SELECT book() <> '$book'", 't');
is($cluster->sql(1, 'SELECT dlog.state(book())'), 100, 'stopped for good it is followed by another');
my $next = $cluster->sql(1, 'SELECT book()');
$node->restart;
$cluster->wait_until(1, q{SELECT book()}, $next);
is($cluster->sql(1, 'SELECT count(*) FROM dlog.durable_actors WHERE stopped_at IS NULL'), 1, 'which is the same after a restart');

done_testing();
