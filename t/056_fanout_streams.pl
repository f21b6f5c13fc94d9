
# A stream of rows holds no more memory than its credits on either side, however
# much passes; one that is not read waits, and only it.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $cluster = DlogCluster->new(nodes => 2, conf => "dlog.max_schedulers = 4\nautovacuum = off\n");
my $limit_kb = 64 * 1024;

# Rows without end, made while they are read.
$cluster->sql(2, <<'SQL');
CREATE VIEW source AS SELECT i, repeat('x', 1000) AS t FROM (SELECT generate_series(1, 100000000) AS i) q;
CREATE TABLE few AS SELECT i, 'few'::text AS t FROM generate_series(1, 1000) i;
SQL
$cluster->sql(1, <<'SQL');
CREATE TABLE big (i int, t text) PARTITION BY RANGE (i);
CREATE FOREIGN TABLE big1 PARTITION OF big FOR VALUES FROM (MINVALUE) TO (MAXVALUE)
	SERVER n2 OPTIONS (schema_name 'public', table_name 'source');
CREATE FOREIGN TABLE few (i int, t text) SERVER n2;
SQL

# The memory of each process of the nodes that is its own, in kB.
sub own_memory
{
	my %memory;

	foreach my $i (1, 2)
	{
		foreach my $pid ($cluster->worker_pids($i, qr/./), $cluster->network_pid($i) // ())
		{
			my $status = eval { slurp_file("/proc/$pid/status") } // next;
			$memory{$pid} = $1 if $status =~ /^RssAnon:\s+(\d+)/m;
		}
	}
	return \%memory;
}

sub arena
{
	my ($i) = @_;
	return $cluster->sql($i, 'SELECT coalesce(sum(block_size * used), 0) / 1024 FROM dlog.memory');
}

# --- 300 MB through a node -------------------------------------------------------

foreach my $table ('big', 'big1')
{
	my ($output, $errors) = ('', '');
	my $script = "SELECT count(*), sum(length(t)) FROM $table WHERE i <= 300000 AND length(t) > random() * -1;";
	my (%first, %most);
	my $round = 0;
	my $arena = 0;
	my $client = IPC::Run::start(
		[ 'psql', '-X', '-q', '-A', '-t', '-d', $cluster->node(1)->connstr('postgres'), '-c', $script ],
		'<', \undef, '>', \$output, '2>', \$errors);

	while ($client->pumpable)
	{
		my $memory = own_memory();
		foreach my $pid (keys %$memory)
		{
			$first{$pid} //= $memory->{$pid};
			$most{$pid} = $memory->{$pid} if $memory->{$pid} > ($most{$pid} // 0);
		}
		my $used = arena(1 + $round++ % 2);
		$arena = $used if $used > $arena;
		usleep(100_000);
		eval { $client->pump_nb };
	}
	$client->finish;
	is($output, "300000|300000000\n", "$table: all has passed");
	my ($worst) = sort { $b <=> $a } map { $most{$_} - $first{$_} } keys %most;
	cmp_ok(scalar keys %most, '>', 4, "$table: the processes were looked at");
	cmp_ok($worst, '<', $limit_kb, "$table: no process has grown by more than 64 MB") or diag("$worst kB");
	cmp_ok($arena, '<', $limit_kb, "$table: nor has shared memory") or diag("$arena kB");
}

# --- a cursor that is left open ---------------------------------------------------

my $before = own_memory();
my @open;
foreach my $n (1 .. 3)
{
	my $session = $cluster->node(1)->background_psql('postgres');
	$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT i, t FROM big;');
	is($session->query_safe('FETCH 2 FROM c') =~ s/x{1000}/x/gr, "1|x\n2|x", "cursor $n is read a little");
	push @open, $session;
}
$cluster->wait_until(2,
	q{SELECT count(*) = 3 FROM dlog.queries WHERE side = 'executor' AND waits_for = 'reader'});
pass('dlog.queries says that they wait for their reader');
is($cluster->sql(2, q{SELECT count(*) FROM dlog.queries WHERE side = 'executor' AND rows > 100000}),
	'0', 'their statements have stopped');
my $credits = $cluster->sql(1, 'SHOW dlog.stream_credits');
foreach my $i (1, 2)
{
	cmp_ok(arena($i), '<=', 3 * ($credits + 4) * 64 + 1024, "n$i holds their credits and nothing else");
}
my $after = own_memory();
my ($worst) = sort { $b <=> $a } map { $after->{$_} - ($before->{$_} // $after->{$_}) } keys %$after;
cmp_ok($worst, '<', $limit_kb, 'and no process has grown');

# --- who reads slowly slows only himself --------------------------------------------

is($cluster->sql(1, 'SELECT count(*), sum(length(t)) FROM big WHERE i <= 20000 AND length(t) > random() * -1'),
	'20000|20000000', 'others get their rows');
is($cluster->sql(1, 'SELECT count(*) FROM few WHERE length(t) > random() * -1'), '1000', 'and answers');
is($open[0]->query_safe('FETCH 1 FROM c') =~ s/x{1000}/x/gr, '3|x', 'a cursor goes on');
is($open[1]->query_safe('MOVE 5000 FROM c; FETCH 1 FROM c') =~ s/x{1000}/x/gr, '5003|x', 'and another');

# With all schedulers held, who comes next waits; dlog.queries says for what.
my $fourth = $cluster->node(1)->background_psql('postgres');
$fourth->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT i, t FROM big;');
$fourth->query_safe('FETCH 1 FROM c');
push @open, $fourth;
my $fifth = $cluster->node(1)->background_psql('postgres');
$fifth->query_until(qr/asked/, "\\echo asked\nSELECT 'rows: ' || count(*) FROM few WHERE length(t) > random() * -1;\n");
$cluster->wait_until(1,
	q{SELECT count(*) = 1 FROM dlog.queries WHERE side = 'asker' AND waits_for = 'scheduler' AND text LIKE '%few%'});
pass('one that finds no scheduler free waits, and says so');
is($cluster->sql(2, q{SELECT count(*) FROM dlog.schedulers WHERE database = 'postgres' AND state <> 'idle'}), '4',
	'dlog.schedulers shows that all are at work');
$open[0]->query_safe('CLOSE c');
$fifth->query_until(qr/rows: 1000/, "\n");
pass('and is answered when one is');
$_->query_safe('ROLLBACK') foreach (@open);
$_->quit foreach (@open, $fifth);

foreach my $i (1, 2)
{
	$cluster->wait_until($i, q{SELECT NOT EXISTS (SELECT FROM dlog.queries) AND NOT EXISTS (SELECT FROM dlog.actors WHERE behavior LIKE 'remote%')});
	cmp_ok(arena($i), '<', 4096, "n$i has given back what they held");
}
done_testing();
