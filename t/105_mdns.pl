
# Nodes find each other by multicast DNS: with a real Avahi each, in networks of
# their own that hang on one switch.  Avahi may come late, go and come back; a name
# may be taken; a program that is killed is started again.  Nothing found is trusted.
#
# The networks are namespaces that belong to this test's processes, and are gone
# with them.  Nobody has to be root, where the kernel lets users make namespaces.

use strict;
use warnings;
use Test::More;

# Once more from the beginning, in a namespace.
BEGIN
{
	my @namespaces = qw(unshare --user --map-current-user --keep-caps --net);

	if (!$ENV{DLOG_TEST_NETWORK})
	{
		$ENV{PATH} .= ':/usr/sbin:/sbin';
		my @missing = grep { system("command -v $_ >/dev/null 2>&1") != 0 }
		  qw(avahi-daemon dbus-daemon ip unshare nsenter setpriv);
		plan skip_all => "these are not here: @missing (tools/packages test installs them)" if @missing;
		plan skip_all => 'the kernel does not let this user make networks'
		  if system("@namespaces ip link add name d0 type veth peer name d1 >/dev/null 2>&1") != 0;
		$ENV{DLOG_TEST_NETWORK} = 1;
		exec @namespaces, $^X, (map { "-I$_" } @INC), $0;
	}
}

use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;

my $directory = PostgreSQL::Test::Utils::tempdir_short();
my @started;    # processes that are ours to end

# Runs a command with nothing to say, or dies.
sub run_quietly
{
	my (@command) = @_;
	system("@command >>$directory/log 2>&1") == 0 or die "@command failed, see $directory/log: " . slurp_file("$directory/log");
	return;
}

# Starts a program that ends with this test at the latest.
sub start_program
{
	my ($command) = @_;
	my $pid = fork // die "could not fork: $!";

	if ($pid == 0)
	{
		open STDOUT, '>>', "$directory/log";
		open STDERR, '>&', \*STDOUT;
		exec 'sh', '-c', "exec $command";
	}
	push @started, $pid;
	return $pid;
}

sub stop_program
{
	my ($pid, $signal) = @_;
	kill $signal // 'TERM', $pid;
	waitpid $pid, 0;
	@started = grep { $_ != $pid } @started;
	return;
}

END
{
	my $status = $?;
	stop_program($_, 'KILL') foreach (@started);
	$? = $status;
}

# --- a switch, and a network for each node

my @networks;    # by node, the path of its namespace
my %bus;         # by node, the process
my %avahi;

# Wait until it is true, at most a minute.
sub wait_for
{
	my ($what, $is_true) = @_;

	foreach (1 .. 6000)
	{
		return if $is_true->();
		select undef, undef, undef, 0.01;
	}
	die "no $what within a minute";
}

sub in_network
{
	my ($i, $command) = @_;
	return "nsenter --net=$networks[$i] $command";
}

sub make_network
{
	my ($i) = @_;
	my $pid = start_program('setpriv --pdeathsig KILL unshare --net sleep 100000');

	$networks[$i] = "/proc/$pid/ns/net";
	wait_for("network $i", sub {
		(readlink($networks[$i]) // '') ne readlink('/proc/self/ns/net') && slurp_file("/proc/$pid/comm") =~ /sleep/;
	});
	run_quietly("ip link add name node$i type veth peer name lan netns $pid");
	run_quietly("ip link set node$i master switch up");
	run_quietly(in_network($i, 'ip link set lo up'));
	run_quietly(in_network($i, 'ip link set lan up'));
	run_quietly(in_network($i, "ip addr add 10.77.0.$i/24 dev lan"));
	return;
}

sub start_bus
{
	my ($i) = @_;

	append_to_file("$directory/bus$i.conf", <<"CONF");
<busconfig>
  <type>system</type>
  <listen>unix:path=$directory/bus$i</listen>
  <auth>ANONYMOUS</auth><allow_anonymous/>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_type="signal"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
  </policy>
</busconfig>
CONF
	$bus{$i} = start_program(in_network($i, "setpriv --pdeathsig KILL dbus-daemon --config-file=$directory/bus$i.conf --nofork --nopidfile"));
	# Avahi gives up when there is no bus.
	wait_for("bus $i", sub { IO::Socket::UNIX->new(Peer => "$directory/bus$i") });
	return;
}

# Avahi wants a directory in /run and a user of its name; both are made up in a
# mount namespace.
sub start_avahi
{
	my ($i) = @_;

	append_to_file("$directory/avahi$i.conf", "[server]\nhost-name=host$i\nenable-dbus=yes\n[rlimits]\n") unless -e "$directory/avahi$i.conf";
	append_to_file("$directory/avahi$i.sh", <<"SH") unless -e "$directory/avahi$i.sh";
set -e
mount -t tmpfs tmpfs /run
mkdir /run/avahi-daemon
echo 'avahi:x:0:0::/:/bin/sh' >/run/passwd
echo 'avahi:x:0:' >/run/group
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
DBUS_SYSTEM_BUS_ADDRESS=unix:path=$directory/bus$i exec setpriv --pdeathsig KILL \\
	avahi-daemon -f $directory/avahi$i.conf --no-drop-root --no-chroot --no-rlimits
SH
	$avahi{$i} = start_program(in_network($i, "unshare --user --map-root-user --mount sh $directory/avahi$i.sh"));
	return;
}

run_quietly('ip link add name switch type bridge');
run_quietly('ip link set switch up');
make_network($_) foreach (1 .. 3);

# Servers are started in their networks, whoever starts them.
my $pg_ctl = "$ENV{SERVER_BIN}/pg_ctl";
mkdir "$directory/bin";
append_to_file("$directory/bin/pg_ctl", <<"SH");
#!/bin/sh
case "\$*" in
@{[ map { "*_n${_}_data*) network=$networks[$_] bus=$directory/bus$_ ;;\n" } (1 .. 3) ]}
esac
case "\$*" in *start) ;; *) exec $pg_ctl "\$@" ;; esac
DBUS_SYSTEM_BUS_ADDRESS=unix:path=\$bus exec nsenter --net=\$network $pg_ctl "\$@"
SH
chmod 0755, "$directory/bin/pg_ctl";
$ENV{PATH} = "$directory/bin:$ENV{PATH}";

my $cluster = DlogCluster->new(
	nodes => 3,
	join => 0,
	conf => "dlog.listen_address = '*'\ndlog.discovery_interval = '1 s'\n");

sub set
{
	my ($i, $setting) = @_;
	$cluster->node($i)->append_conf('postgresql.conf', "$setting\n");
	$cluster->node($i)->reload;
	return;
}

sub verdict
{
	my ($address) = @_;
	return "SELECT string_agg(verdict, ' and ') FROM dlog.candidates WHERE address = '$address' AND found_via = 'mdns'";
}

my $state = q{SELECT concat_ws(' ', state, published_as) FROM dlog.mdns};
chomp(my $program = `$ENV{SERVER_BIN}/pg_config --pkglibdir`);
$program .= '/dlog_mdns';

if (!-x $program)
{
	like($cluster->sql_error(1, q{SELECT dlog.create_flock('home', discover_via => 'mdns')}),
		qr/0A000.*dlog_mdns" is not installed.*libavahi-client-dev/s, 'built without Avahi, mdns is refused');
	done_testing();
	exit;
}

set($_, "dlog.advertise_address = '10.77.0.$_'") foreach (1, 2);
set(3, "dlog.cluster_name = 'neighbours'");
is($cluster->sql(1, $state), 'off', 'a node that no flock looks for is not published');

# --- Avahi comes late: first the bus is missing, then the daemon

$cluster->sql(1, q{SELECT dlog.create_flock('home', discover_via => 'mdns')});
$cluster->wait_until(1, $state, 'waiting');
$cluster->wait_until(1, q{SELECT error LIKE 'D-Bus cannot be reached%' FROM dlog.mdns});
pass('without a bus, a node says so');
start_bus(1);
$cluster->wait_until(1, q{SELECT error FROM dlog.mdns}, q{Avahi's daemon is not running});
pass('and the same without a daemon');
start_avahi(1);
$cluster->wait_until(1, $state, 'published n1');
is($cluster->sql(1, 'SELECT error FROM dlog.mdns'), '', 'it is published when the daemon is there');

# --- found, but not trusted

start_bus($_), start_avahi($_) foreach (2, 3);
$cluster->sql($_, q{SELECT dlog.create_flock('home', discover_via => 'mdns')}) foreach (2, 3);
$cluster->wait_until($_, $state, "published n$_") foreach (2, 3);
$cluster->wait_until(2, verdict('10.77.0.1'), 'not admitted: dlog.join_token is not set on this node');
$cluster->wait_until(1, verdict('10.77.0.2'), 'not admitted: dlog.join_token is not set on this node');
is( $cluster->sql(2, q{SELECT fingerprint || ' ' || port FROM dlog.candidates WHERE address = '10.77.0.1'}),
	$cluster->sql(1, q{SELECT dlog.key_fingerprint(public_key) || ' ' || port FROM dlog.this_node()}),
	'a node is found with its address, its port and its fingerprint');
$cluster->wait_until(1, verdict('10.77.0.3'), 'not admitted: it is of cluster "neighbours"');
$cluster->wait_until(3, verdict($_), 'not admitted: it is of cluster "dlog"') foreach ('10.77.0.1', '10.77.0.2');
pass('a neighbour of another cluster is told from our own');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.nodes'), '1', 'what is found is not trusted');
is($cluster->sql(1, q{SELECT count(*) FROM dlog.candidates WHERE address = '10.77.0.1'}), '0', 'nobody finds himself');

# --- a stranger with our cluster's name, and the name of a node

my $stranger = start_program(
	in_network(3, "env DBUS_SYSTEM_BUS_ADDRESS=unix:path=$directory/bus3 setpriv --pdeathsig KILL "
		  . "$program n2 9 '' dlog 00000000000000000000000000000000 10.77.0.66 >$directory/stranger"));
$cluster->wait_until(1, verdict('10.77.0.66'), 'not admitted: dlog.join_token is not set on this node');
# Who is told of the collision, and when, is Avahi's affair.
wait_for('another name', sub { slurp_file("$directory/stranger") =~ /n2 #2\0/ });
pass('a name that is taken is followed by a number');

# --- two nodes join by a token

my $token = $cluster->sql(1, q{SELECT dlog.create_join_token('1 h')});
set(2, "dlog.join_token = '$token'");
$cluster->wait_for_links($_, 1) foreach (1, 2);
is($cluster->sql(2, q{SELECT string_agg(name, ' ' ORDER BY name) FROM dlog.nodes}), 'n1 n2',
	'a node that is found and made the token takes the newcomer in');
$cluster->wait_until(2, verdict('10.77.0.1'), 'it is node "n1"');
$cluster->wait_until(1, verdict('10.77.0.2'), 'it is node "n2"');
is($cluster->sql(1, 'SELECT state, used_by FROM dlog.join_tokens'), 'used|n2', 'and the token is used up');
$cluster->wait_until(2, verdict('10.77.0.66'), 'not admitted: its key is not known here, and it has not shown a join token');
pass('a stranger is nobody, whatever it says');
set(3, "dlog.cluster_name = 'dlog'\ndlog.join_token = '" . $cluster->sql(1, q{SELECT dlog.create_join_token('1 h')}) . "'");
$cluster->wait_for_links($_, 2) foreach (1 .. 3);
pass('a third one joins when its cluster is the same');

# --- the daemon goes away and comes back

stop_program($avahi{1});
$cluster->wait_until(1, q{SELECT state = 'waiting' AND error IS NOT NULL FROM dlog.mdns});
is($cluster->sql(1, 'SELECT services FROM dlog.mdns'), '0', 'what was found is forgotten with the daemon');
start_avahi(1);
$cluster->wait_until(1, $state, 'published n1');
$cluster->wait_until(1, 'SELECT services > 0 FROM dlog.mdns');
pass('and found again');

# --- the program is killed

my $starts = $cluster->sql(1, 'SELECT starts FROM dlog.mdns');
my ($transport) = $cluster->worker_pids(1, qr/dlog transport/);
my ($pid) = DlogCluster::children($transport, qr/^dlog_mdns/);
my $postmaster_start = $cluster->sql(1, 'SELECT pg_postmaster_start_time()');
kill 'SEGV', $pid;
$cluster->wait_until(1, "SELECT state = 'published' AND starts > $starts FROM dlog.mdns");
is( $cluster->sql(1, "SELECT pg_postmaster_start_time() = '$postmaster_start', count(*) FROM dlog.links WHERE state = 'up'"),
	't|2', 'a crash of the program is none of the server\'s');

# --- a node gets another address

run_quietly(in_network(2, 'ip addr del 10.77.0.2/24 dev lan'));
run_quietly(in_network(2, 'ip addr add 10.77.0.22/24 dev lan'));
set(2, "dlog.advertise_address = '10.77.0.22'");
$cluster->wait_until(1, q{SELECT address FROM dlog.node WHERE name = 'n2'}, '10.77.0.22');
$cluster->wait_for_links(1, 2);
pass('a node that gets another address is followed there');

# --- nobody looks any longer

stop_program($stranger);
$cluster->sql(1, q{SELECT dlog.drop_flock('home')});
$cluster->wait_until($_, $state, 'off') foreach (1 .. 3);
is(join(' ', DlogCluster::children($transport, qr/^dlog_mdns/)), '', 'without a flock that looks, no program runs');

done_testing();
