# Each partition that other nodes ask for has an actor.  While a transaction
# holds the partition, requests wait in the actor's mailbox and occupy no
# scheduler; then they go on, as if they had just come.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, conf => "dlog.min_schedulers = 1\ndlog.max_schedulers = 6");

$cluster->sql($_, 'CREATE ROLE reader LOGIN; CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO reader') foreach (1, 2);
$cluster->sql(1, <<'SQL');
CREATE TABLE app.t (k integer PRIMARY KEY, v integer NOT NULL);
INSERT INTO app.t SELECT i, i % 10 FROM generate_series(1, 1000) i;
SELECT dlog.distribute_table('app.t', by => 'k', partitions => 4);
GRANT SELECT ON app.t TO reader;
SQL

# What node 2 knows of its partitions t_1 and t_3.
sub gate
{
	my ($column, $partition) = @_;

	return $cluster->sql(2, "SELECT $column FROM dlog.partition_gates() WHERE partition = 'app.$partition'::regclass");
}

sub waiting
{
	my ($count, $partition) = @_;

	$cluster->wait_until(2, "SELECT waiting = $count FROM dlog.partition_gates() WHERE partition = 'app.$partition'::regclass");
}

# --- what passes is counted

my $sum = $cluster->sql(1, 'SELECT sum(k) FROM app.t');
is($sum, '500500', 'rows of both nodes');
my $before = gate('requests', 't_1');
$cluster->sql(1, 'SELECT sum(k) FROM app.t') foreach (1 .. 3);
is(gate('requests', 't_1') - $before, 3, 'a request is counted for each partition that it names');
is(gate('running', 't_1'), 0, 'and has ended');
is($cluster->sql(2, "SELECT a.behavior FROM dlog.partitions p JOIN dlog.actors a USING (actor) WHERE partition = 'app.t_3'::regclass"),
	'partition', 'the actor of a partition is one of dlog.actors');
is($cluster->sql(1, "SELECT count(*) FROM dlog.partitions WHERE is_local AND actor IS NOT NULL"), 0,
	'nobody has asked node 1 for any');

# A key of each partition.
my %key = map { ("app.$_" => $cluster->sql(2, "SELECT min(k) FROM app.$_")) } qw(t_1 t_3);

# --- held: requests wait, and occupy nobody

my $holder = $cluster->node(2)->background_psql('postgres', on_error_stop => 0);
$holder->query_safe("BEGIN; SELECT dlog.hold_partition('app.t_1'); LOCK TABLE app.t_1 IN ACCESS EXCLUSIVE MODE");
is(gate('is_held', 't_1'), 't', 'it is held');

my @askers = map { $cluster->node(1)->background_psql('postgres', on_error_stop => 0) } (1 .. 8);
$askers[$_]->query_until(qr/begun/, "\\echo begun\nSELECT sum(k), $_ FROM app.t;\n") foreach (0 .. 5);
$askers[6]->query_until(qr/begun/, "\\echo begun\nBEGIN; UPDATE app.t SET v = v + 1 WHERE k = $key{'app.t_1'}; COMMIT;\n");
$askers[7]->query_until(qr/begun/, "\\echo begun\nCOPY app.t FROM PROGRAM 'seq 1001 1100 | sed s/\$/,0/' (FORMAT csv);\n");
waiting(8, 't_1');
is($cluster->sql(2, "SELECT count(*) FROM dlog.queries WHERE side = 'executor'"), 0, 'no scheduler runs any of them');
is($cluster->sql(2, "SELECT a.mailbox FROM dlog.partition_gates() p JOIN dlog.actors() a USING (actor) WHERE partition = 'app.t_1'::regclass"),
	8, 'they are in the mailbox of the actor');
is(gate('running', 't_1'), 0, 'none has begun');
is($cluster->sql(1, "SELECT v FROM app.t WHERE k = $key{'app.t_3'}"), $key{'app.t_3'} % 10,
	'what does not name the partition goes on');
is(gate('waiting', 't_3'), 0, 'nobody waits for the other partition');

$holder->query_safe('COMMIT');
# The rows of COPY may have come before, or some of them.
like($askers[$_]->query('SELECT 1'), qr/^[56]\d{5}\|$_\n1$/, "asker $_ got its answer") foreach (0 .. 5);
$askers[$_]->query('SELECT 1') foreach (6, 7);
is($askers[6]->{stderr} . $askers[7]->{stderr}, '', 'writers went on, too');
is($cluster->sql(2, 'SELECT count(*), sum(v) FROM app.t WHERE k > 1000'), '100|0', 'the rows of COPY are in');
is($cluster->sql(2, "SELECT v FROM app.t WHERE k = $key{'app.t_1'}"), $key{'app.t_1'} % 10 + 1, 'and the update');
is(gate('waiting', 't_1'), 0, 'nobody waits');
cmp_ok(gate('waited', 't_1'), '>=', 8, 'but some have');
is(gate('is_held', 't_1'), 'f', 'it is not held');

# --- an asker that gives up

$holder->query_safe("BEGIN; SELECT dlog.hold_partition('app.t_1')");
my $pid = $askers[0]->query('SELECT pg_backend_pid()');
$askers[0]->query_until(qr/begun/, "\\echo begun\nSELECT sum(k) FROM app.t;\n");
waiting(1, 't_1');
$cluster->sql(1, "SELECT pg_cancel_backend($pid)");
$askers[0]->query('SELECT 1');
like($askers[0]->{stderr}, qr/canceling statement/, 'an asker can give up');
$askers[0]->{stderr} = '';
$holder->query_safe('ROLLBACK');
waiting(0, 't_1');
$cluster->wait_until(2, "SELECT running = 0 FROM dlog.partition_gates() WHERE partition = 'app.t_1'::regclass");
is($askers[0]->query('SELECT count(*) FROM app.t'), 1100, 'and ask again');

# --- a transaction that has begun over there goes on

$askers[1]->query_safe("BEGIN; UPDATE app.t SET v = 0 WHERE k = $key{'app.t_1'}");
$holder->query_safe("BEGIN; SELECT dlog.hold_partition('app.t_1')");
is($askers[1]->query("SELECT v FROM app.t WHERE k = $key{'app.t_1'}"), 0, 'a transaction that has begun is not kept waiting');
$askers[1]->query_safe('COMMIT');
$holder->query_safe('COMMIT');

# --- the end of a subtransaction, and of the holder

$holder->query_safe("BEGIN; SAVEPOINT a; SELECT dlog.hold_partition('app.t_1')");
$askers[2]->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM app.t;\n");
waiting(1, 't_1');
$holder->query_safe('ROLLBACK TO a');
is($askers[2]->query('SELECT 1'), "1100\n1", 'what a savepoint held goes on when that is rolled back');
$holder->query_safe("SAVEPOINT b; SELECT dlog.hold_partition('app.t_1'); RELEASE b");
$askers[2]->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM app.t;\n");
waiting(1, 't_1');
$pid = $holder->query('SELECT pg_backend_pid()');
$cluster->sql(2, "SELECT pg_terminate_backend($pid)");
is($askers[2]->query('SELECT 1'), "1100\n1", 'and when who held it is terminated');

# --- two holders; what was dropped meanwhile

$holder->{run}->finish;
my @holders = map { $cluster->node(2)->background_psql('postgres', on_error_stop => 0) } (1, 2);
$_->query_safe("BEGIN; SELECT dlog.hold_partition('app.t_1')") foreach @holders;
$askers[3]->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM app.t;\n");
waiting(1, 't_1');
$holders[0]->query_safe('COMMIT');
is(gate('waiting', 't_1'), 1, 'the second holder holds it still');
$holders[1]->query_safe('COMMIT');
is($askers[3]->query('SELECT 1'), "1100\n1", 'until it is through');

# --- an actor that is stopped: who waited asks again, and finds another

$holders[0]->query_safe("BEGIN; SELECT dlog.hold_partition('app.t_1')");
$askers[4]->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM app.t;\n");
waiting(1, 't_1');
my $old = gate('actor', 't_1');
$cluster->sql(2, <<"SQL");
CREATE FUNCTION send_exit(sender text, receiver text, reason text) RETURNS void
LANGUAGE c VOLATILE STRICT AS '\$libdir/dlog', 'dlog_test_send_exit';
SELECT send_exit('$old', '$old', 'kill');
SQL
$cluster->wait_until(2, "SELECT waiting = 1 AND actor <> '$old' FROM dlog.partition_gates() WHERE partition = 'app.t_1'::regclass");
$holders[0]->query_safe('COMMIT');
is($askers[4]->query('SELECT 1'), "1100\n1", 'an actor that was stopped has a successor');

# --- who may hold what

like($cluster->sql_error(2, "SET ROLE reader; SELECT dlog.hold_partition('app.t_1')"),
	qr/42501: must be owner of table t_1/, 'only the owner holds a partition');
like($cluster->sql_error(1, "SELECT dlog.hold_partition('app.t_1')"),
	qr/42809: partition "t_1" is not on this node.*Its rows are on node "n2"/s, 'only where it is');
like($cluster->sql_error(2, "SELECT dlog.hold_partition('app.t')"),
	qr/42809: "t" is not a partition of a distributed table/, 'and only a partition');
like($cluster->sql_error(2, "SELECT dlog.hold_partition(1)"), qr/42P01: relation with OID 1 does not exist/, 'that is there');

# --- the actor goes with its partition

my $actors = "SELECT count(*) FROM dlog.actors WHERE behavior = 'partition'";
is($cluster->sql(2, $actors), 2, 'two partitions, two actors');
$_->quit foreach @holders, @askers;
$cluster->sql(1, 'DROP TABLE app.t');
$cluster->wait_until(2, $actors, 0);
is($cluster->sql(2, 'SELECT count(*) FROM dlog.partition_gates()'), 0, 'and no gate remains');

done_testing();
