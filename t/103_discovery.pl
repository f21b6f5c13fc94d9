
# Nodes are found where flocks say they may be.  None is trusted for that: a node
# with a token is let in, one that is known is followed to its new address, all
# others are listed with the reason why not.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3, join => 0, conf => "dlog.discovery_interval = '200 ms'\n");
my ($port1, $port2, $port3) = map { $cluster->dlog_port($_) } (1 .. 3);

sub verdict
{
	my ($endpoint, $via) = @_;
	my ($address, $port) = split /:/, $endpoint;
	return "SELECT verdict FROM dlog.candidates WHERE address = '$address' AND port = $port"
	  . (defined $via ? " AND found_via = '$via'" : '');
}

sub names
{
	return "SELECT string_agg(name, ' ' ORDER BY name) FROM dlog.nodes";
}

# --- what is no source

foreach my $source ('nonsense', 'carrier:pigeon', 'static:', 'static:host', 'static:host:0', 'static:a:1=short',
	'gossip:a:1,', 'dns:', 'dns:a:b', 'mdns:x', 'mdnsx')
{
	like($cluster->sql_error(1, "SELECT dlog.create_flock('f', discover_via => '$source')"),
		qr/22023.*cannot discover nodes via/s, "\"$source\" is no source");
}

# --- found, but not trusted

$cluster->sql(1, "SELECT dlog.create_flock('home', discover_via => 'static:127.0.0.1:$port1,127.0.0.1:$port2')");
$cluster->wait_until(1, verdict("127.0.0.1:$port1"), 'it is this node');
$cluster->wait_until(1, verdict("127.0.0.1:$port2"), 'not admitted: dlog.join_token is not set on this node');
is($cluster->sql(1, names()), 'n1', 'what is found is not trusted');
is($cluster->sql(2, 'SELECT count(*) FROM dlog.candidates'), '0', 'who does not look finds nothing');

# --- a newcomer with a token finds the cluster by its seeds, and is in

my $token = $cluster->sql(1, "SELECT dlog.create_join_token('1 h')");
$cluster->node(2)->append_conf('postgresql.conf', "dlog.join_token = '$token'\n");
$cluster->node(2)->reload;
$cluster->sql(2, "SELECT dlog.create_flock('seeds', discover_via => 'gossip:127.0.0.1:$port3,127.0.0.1:$port1')");
$cluster->wait_until(2, names(), 'n1 n2');
$cluster->wait_until(1, names(), 'n1 n2');
pass('a node with a token that finds a member joins by itself');
$cluster->wait_until(2, verdict("127.0.0.1:$port1", 'gossip'), 'it is node "n1"');
$cluster->wait_until(1, verdict("127.0.0.1:$port2", 'static'), 'it is node "n2"');
is($cluster->sql(1, 'SELECT state, used_by FROM dlog.join_tokens'), 'used|n2', 'and its token is used up');
$cluster->wait_until(2, verdict("127.0.0.1:$port3", 'gossip'),
	'not admitted: its key is not known here, and it has not shown a join token');
$cluster->wait_for_links($_, 1) foreach (1, 2);

# --- names of DNS: a small server that knows one of addresses and one of services

my $dns = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'udp') or die "no socket: $!";

# A name as DNS writes it.
sub dns_name
{
	return join('', map { pack('C/a', $_) } split /\./, $_[0]) . "\0";
}

# Answers one question after the other, until it is killed.
sub serve_names
{
	while (my $client = $dns->recv(my $question, 4096))
	{
		my ($id, $flags, $questions) = unpack 'n3', $question;
		my $name = '';
		my $at = 12;
		while (my $length = unpack 'C', substr($question, $at, 1))
		{
			$name .= '.' if $name ne '';
			$name .= lc substr($question, $at + 1, $length);
			$at += $length + 1;
		}
		my $type = unpack 'n', substr($question, $at + 1, 2);
		my @data;
		@data = map { pack 'C4', split /\./ } ('127.0.0.1', '127.0.0.9') if $type == 1 && $name eq 'nodes.test';
		@data = (pack('n3', 1, 1, $port1) . dns_name('localhost')) if $type == 33 && $name eq '_dlog._tcp.test';
		my $answers = join '', map { pack('n n n N n/a', 0xc00c, $type, 1, 60, $_) } @data;
		$dns->send(pack('n6', $id, 0x8580 | (@data || $name =~ /test$/ ? 0 : 3), 1, scalar @data, 0, 0)
			  . substr($question, 12, $at + 5 - 12) . $answers);
	}
	return;
}

my $dns_port = $dns->sockport;
my $dns_pid = fork // die "could not fork: $!";
if ($dns_pid == 0)
{
	serve_names();
	POSIX::_exit(0);
}
close $dns;

END
{
	my $status = $?;
	if (defined $dns_pid && $dns_pid > 0)
	{
		kill 'KILL', $dns_pid;
		waitpid $dns_pid, 0;
	}
	$? = $status;
}

$cluster->node(3)->append_conf('postgresql.conf', "dlog.name_server = '127.0.0.1:$dns_port'\n");
$cluster->node(3)->reload;
$cluster->sql(3, "SELECT dlog.create_flock('by dns', discover_via => 'dns:nodes.test.:$port2 dns:nobody.test.:1')");
$cluster->wait_until(3, verdict("127.0.0.9:$port2", "dns:nodes.test.:$port2"),
	'not admitted: dlog.join_token is not set on this node');
$cluster->wait_until(3, verdict("127.0.0.1:$port2", "dns:nodes.test.:$port2"),
	'not admitted: dlog.join_token is not set on this node');
is($cluster->sql(3, 'SELECT count(*) FROM dlog.candidates'), '2', 'addresses of a name are found, and nothing else');
$cluster->sql(3, "SELECT dlog.alter_flock('by dns', discover_via => 'dns:_dlog._tcp.test.')");
$cluster->wait_until(3, verdict("localhost:$port1", 'dns:_dlog._tcp.test.'),
	'not admitted: dlog.join_token is not set on this node');
pass('and a service, with its port');

# --- a node that has moved, with its key

my $key2 = $cluster->sql(2, 'SELECT public_key FROM dlog.this_node()');
my $moved = PostgreSQL::Test::Cluster::get_free_port();
$cluster->node(2)->append_conf('postgresql.conf', "dlog.port = $moved\n");
$cluster->node(2)->restart;
$cluster->sql(1, "SELECT dlog.alter_flock('home', discover_via => 'static:127.0.0.1:$moved=$key2')");
$cluster->wait_until(1, "SELECT port FROM dlog.node WHERE name = 'n2'", $moved);
$cluster->wait_for_links(1, 1);
pass('a node whose key is known is followed to another address');
like($cluster->sql(1, "SELECT fingerprint FROM dlog.candidates WHERE port = $moved"), qr/^[0-9a-f]{32}$/,
	'of a key the fingerprint is shown');

# Somebody else with that key's name on it is not believed.
$cluster->sql(1, "SELECT dlog.alter_flock('home', discover_via => 'static:127.0.0.1:$port3=$key2')");
$cluster->wait_until(1, verdict("127.0.0.1:$port3", 'static'), 'it is node "n2"');
is($cluster->sql(1, "SELECT port FROM dlog.node WHERE name = 'n2'"), $moved, 'a node with a link is not moved by what is found');

# A flock that is dropped is looked for no longer.
$cluster->sql(1, "SELECT dlog.drop_flock(name) FROM dlog.flocks WHERE discover_via <> ''");
is($cluster->sql(1, "SELECT count(*) FROM dlog.flocks WHERE discover_via <> ''"), '0', 'nothing is looked for any more');

done_testing();
