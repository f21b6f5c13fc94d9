
# Two halves of a cluster lose each other, go on, and find each other again:
# nobody takes a node of its own half for dead, and what was changed in either
# half comes together.  A node whose database is busy is alive.  A node that
# takes the name of another is refused.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IO::Select;
use IO::Socket::INET;
use POSIX qw(_exit);
use Test::More;

my $cluster = DlogCluster->new(
	nodes => 4,
	conf => "dlog.probe_interval = '300 ms'\ndlog.probe_timeout = '150 ms'\ndlog.push_pull_interval = '2 s'\n");

# --- connections between the halves go through proxies that can be cut

my %proxies;

# What one node sends to the other goes over an address of its own.
sub start_proxy
{
	my ($from, $to) = @_;
	my $port = $cluster->dlog_port($to);
	my $listener = IO::Socket::INET->new(
		LocalAddr => "127.0.1.$from$to", LocalPort => $port, Listen => 20, ReuseAddr => 1)
	  or die "could not listen on 127.0.1.$from$to: $!";
	my $pid = fork // die "could not fork: $!";
	if ($pid == 0)
	{
		my $select = IO::Select->new($listener);
		my %other;
		$SIG{PIPE} = 'IGNORE';
		while (1)
		{
			foreach my $socket ($select->can_read)
			{
				if ($socket == $listener)
				{
					my $in = $listener->accept // next;
					my $out = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) // next;
					@other{ $in, $out } = ($out, $in);
					$select->add($in, $out);
					next;
				}
				my $peer = $other{$socket} // next;
				my $data;
				if (!sysread($socket, $data, 65536) || !defined syswrite($peer, $data))
				{
					delete @other{ $socket, $peer };
					$select->remove($socket, $peer);
					close $_ foreach ($socket, $peer);
				}
			}
		}
		_exit(0);
	}
	close $listener;
	$proxies{"$from$to"} = $pid;
	return;
}

my @across = map { my $i = $_; map { [ $i, $_ ], [ $_, $i ] } (3, 4) } (1, 2);

sub cut
{
	foreach my $pid (values %proxies)
	{
		kill 'KILL', $pid;
		waitpid $pid, 0;
	}
	%proxies = ();
	return;
}

sub heal
{
	start_proxy(@$_) foreach (@across);
	return;
}

END
{
	my $status = $?;
	cut();
	$? = $status;
}

# Who is in which state for a node, its own left out.
sub states
{
	my ($of) = @_;
	return "SELECT string_agg(node || ' ' || state, ', ' ORDER BY node) FROM dlog.members"
	  . " WHERE node <> (SELECT name FROM dlog.this_node())";
}

heal();
foreach my $pair (@across)
{
	my ($from, $to) = @$pair;
	$cluster->sql($from, "UPDATE dlog.node SET address = '127.0.1.$from$to' WHERE name = 'n$to'");
}
$cluster->wait_for_links($_) foreach (1 .. 4);
$cluster->wait_until(1, states(1), 'n2 alive, n3 alive, n4 alive');
$cluster->wait_until($_, "SELECT count(*) = 4 FROM dlog.flock_events WHERE flock = 'all' AND event = 'joined'") foreach (1 .. 4);
my $ours = "SELECT count(*) FROM dlog.flock_events WHERE flock = 'all' AND event = 'left' AND node IN";

# --- a busy database: all its schedulers stand still, and its tables are locked

my @schedulers = $cluster->worker_pids(4, qr/dlog scheduler/);
kill 'STOP', @schedulers;
my $seen = $cluster->sql(1, "SELECT received_messages FROM dlog.links WHERE node = 'n4'");
$cluster->wait_until(1, "SELECT received_messages > $seen + 30 FROM dlog.links WHERE node = 'n4'");
is($cluster->sql(1, "$ours ('n4')"), '0', 'a node whose schedulers stand still answers membership');
kill 'CONT', @schedulers;

# --- the split

cut();
$cluster->wait_until(1, states(1), 'n2 alive, n3 dead, n4 dead');
$cluster->wait_until(2, states(2), 'n1 alive, n3 dead, n4 dead');
$cluster->wait_until(3, states(3), 'n1 dead, n2 dead, n4 alive');
$cluster->wait_until(4, states(4), 'n1 dead, n2 dead, n3 alive');
pass('each half takes the other for dead, and goes on');

$cluster->sql(1, q{SELECT dlog.create_flock('left half'), dlog.create_flock('both', tags => '{"of": "left"}')});
$cluster->sql(3, q{SELECT dlog.create_flock('right half')});
$cluster->sql(4, q{SELECT dlog.create_flock('both', tags => '{"of": "right"}')});
$cluster->sql(4, q{SELECT dlog.set_tags('{"of": "right"}')});
$cluster->wait_until(2, "SELECT count(*) = 3 FROM dlog.flocks");
$cluster->wait_until(3, "SELECT count(*) = 3 FROM dlog.flocks");

# --- and the heal

heal();
foreach my $i (1 .. 4)
{
	my $others = join ', ', map { "n$_ alive" } grep { $_ != $i } (1 .. 4);
	$cluster->wait_until($i, states($i), $others);
}
pass('all know each other again');
my %half = (1 => "'n2'", 2 => "'n1'", 3 => "'n4'", 4 => "'n3'");
is(join(' ', map { $cluster->sql($_, "$ours ($half{$_})") } (1 .. 4)),
	'0 0 0 0', 'nobody ever took a node of its own half for dead');
$cluster->wait_until($_, "SELECT string_agg(name, ', ' ORDER BY name) FROM dlog.flocks", 'all, both, left half, right half')
  foreach (1 .. 4);
$cluster->wait_until($_, "SELECT tags->>'of' FROM dlog.flocks WHERE name = 'both'", 'right') foreach (1 .. 4);
pass('what was made in both halves is known in both; of one thing, the later');
$cluster->wait_until($_, "SELECT string_agg(node, ' ') FROM dlog.flock_members('both')", 'n4') foreach (1 .. 3);
pass('and so are tags');

# --- a node that comes back with an old state: older than what others know

$cluster->node(4)->stop('immediate');
$cluster->wait_until(1, "SELECT state IN ('dead', 'left') FROM dlog.members WHERE node = 'n4'");
$cluster->sql(1, q{SELECT dlog.drop_flock('right half')});
$cluster->node(4)->start;
$cluster->wait_until(4, "SELECT count(*) = 0 FROM dlog.flocks WHERE name = 'right half'");
$cluster->wait_until($_, "SELECT state FROM dlog.members WHERE node = 'n4'", 'alive') foreach (1 .. 3);
pass('a node that comes back catches up');

# --- one name for two nodes

$cluster->node(4)->append_conf('postgresql.conf', "dlog.node_name = 'n2'\n");
$cluster->node(4)->restart;
$cluster->wait_until(1, "SELECT last_error LIKE '%which is the name of another node%' FROM dlog.links WHERE node = 'n4'");
$cluster->node(1)->wait_for_log(qr/now calls itself "n2", which is the name of another node/);
pass('a node that takes the name of another is refused, and the log says so');
$cluster->node(4)->append_conf('postgresql.conf', "dlog.node_name = 'n4'\n");
$cluster->node(4)->restart;
$cluster->wait_until(1, "SELECT state FROM dlog.members WHERE node = 'n4'", 'alive');
pass('until it gives it back');

done_testing();
