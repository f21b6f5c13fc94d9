
# Whatever comes in at the port, from strangers or from a node gone mad, is
# refused, counted and logged, and disturbs nobody.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);
my $port = $cluster->dlog_port(1);
my $network = $cluster->network_pid(1);
my $epoch = $cluster->sql(1, "SELECT epoch FROM dlog.links WHERE node = 'n2'");
my $server_key = $cluster->sql(1, 'SELECT public_key FROM dlog.this_node()');

my $program = PostgreSQL::Test::Utils::tempdir() . '/hostile';
system_or_bail('cc', '-o', $program, "$FindBin::RealBin/hostile.c", '-lzmq');

sub counter
{
	my ($name) = @_;
	return $cluster->sql(1, "SELECT $name FROM dlog.network");
}

sub unharmed
{
	my ($after) = @_;
	is($cluster->network_pid(1), $network, "$after: the network process lives");
	is($cluster->sql(1, "SELECT state, epoch FROM dlog.links WHERE node = 'n2'"),
		"up|$epoch", "$after: the link to the other node has not noticed");
	return;
}

sub raw_socket
{
	return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp')
	  // die "could not connect: $!";
}

# --- raw bytes

srand(42);
foreach my $i (1 .. 50)
{
	my $socket = raw_socket();
	my $garbage = join '', map { chr int rand 256 } (1 .. 1 + int rand 2000);
	local $SIG{PIPE} = 'IGNORE';
	$socket->syswrite($garbage);
	close $socket;
}
my @half_open;
foreach my $i (1 .. 50)
{
	# The signature of the handshake, and nothing after it.
	my $socket = raw_socket();
	$socket->syswrite("\xff\0\0\0\0\0\0\0\1\x7f");
	push @half_open, $socket;
}
is($cluster->sql(1, "SELECT dlog.ping('n2') < '10 s'"), 't', 'links work beside half handshakes');
$cluster->wait_until(1, 'SELECT failed_handshakes > 0 AND accepted >= 100 FROM dlog.network');
unharmed('garbage');
close $_ foreach @half_open;

# --- strangers

my @nobody = split /\n/, `$program keypair`;

sub hostile
{
	my ($key, $what, %options) = @_;
	my ($out, $err);
	IPC::Run::run([ $program, $port, $options{server_key} // $server_key, @$key, 4242, $what ],
		'>', \$out, '2>', \$err) or die "hostile $what: $err";
	chomp $out;
	return $out;
}

my $refused = counter('refused_keys');
is(hostile(\@nobody, 'hello'), 'closed', 'an unknown key is not let in');
cmp_ok(counter('refused_keys'), '>', $refused, 'and counted');
$cluster->node(1)->wait_for_log(qr/refused a connection from .*: no node here has the key \Q$nobody[0]\E/);
pass('and logged');
is(hostile([ '', '' ], 'hello', server_key => ''), 'closed', 'nor is who does not encrypt');
unharmed('strangers');

# --- a node that has gone mad: its key is known

# It has a port, at which nobody ever answers.
my $silent = IO::Socket::INET->new(Listen => 100, LocalAddr => '127.0.0.1', Proto => 'tcp')
  // die "could not listen: $!";
$cluster->sql(1, 'SELECT dlog.add_node(' . join(', ',
	"'mad'", "'127.0.0.1'", $silent->sockport, DlogCluster::quote($nobody[0]), "'postgres'", 4242) . ')');

foreach my $case (
	[ 'other-id', 'its number is 4243, but its key belongs to node 4242' ],
	[ 'other-version', 'it speaks versions 200 to 200 of the protocol, and this node 1 to 2' ])
{
	my ($what, $log) = @$case;
	my $offset = -s $cluster->node(1)->logfile;

	is(hostile(\@nobody, $what), 'closed', "$what: the connection is closed");
	$cluster->node(1)->wait_for_log(qr/refused node "mad" at .*: \Q$log\E/, $offset);
	is($cluster->sql(1, "SELECT state FROM dlog.links WHERE node = 'mad'") =~ /refused|down|connecting/,
		1, "$what: there is no link");
}
unharmed('wrong greetings');

foreach my $case (
	[ 'parts', 'it has 100000 parts', 'multipart_messages' ],
	[ 'too-large', 'it is too large' ],
	[ 'replay', 'it is out of sequence' ],
	[ 'skip', 'it is out of sequence' ],
	[ 'version', 'its protocol version is not spoken here' ],
	[ 'type', 'its type is unknown' ],
	[ 'short', 'it is too short' ],
	[ 'garbage', '' ])
{
	my ($what, $log, $counter) = @$case;
	my $offset = -s $cluster->node(1)->logfile;

	$counter //= 'refused_frames';
	my $before = counter($counter);
	is(hostile(\@nobody, $what), 'closed', "$what: the connection is closed");
	is(counter($counter), $before + 1, "$what: counted");
	$cluster->node(1)->wait_for_log(qr/refused a frame from node "mad": \Q$log\E/, $offset);
}

# Bundles of frames: the log tells of each kind of line only so often.
foreach my $case (
	[ 'bundle-cut', 'its content is malformed' ],
	[ 'bundle-skip', 'it is out of sequence' ],
	[ 'bundle-nested', 'its content is malformed' ],
	[ 'bundle-early', 'its content is malformed' ])
{
	my ($what, $why) = @$case;
	my $before = counter('refused_frames');

	is(hostile(\@nobody, $what), 'closed', "$what: the connection is closed");
	is(counter('refused_frames'), $before + 1, "$what: counted");
	$cluster->wait_until(1, "SELECT last_error = 'a frame was refused: $why' FROM dlog.links WHERE node = 'mad'");
}
is(hostile(\@nobody, 'oversize'), 'closed', 'oversize: the connection is closed');
my $stale = counter('stale_frames');
is(hostile(\@nobody, 'stale'), 'closed', 'a frame before the greeting: the connection is closed');
is(counter('stale_frames'), $stale + 1, 'and counted');
unharmed('a mad node');

# --- its key is revoked

$cluster->sql(1, "SELECT dlog.remove_node('mad')");
is(hostile(\@nobody, 'hello'), 'closed', 'a removed node is not let in');
unharmed('all that');
is($cluster->sql(1, "SELECT dlog.ping('n2') < '10 s'"), 't', 'and messages flow');

done_testing();
