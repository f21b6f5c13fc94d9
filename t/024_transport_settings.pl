
# Links are encrypted unless they cannot leave the machine, and nodes of
# different versions agree on what both speak or say why not.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);
my ($one, $two) = map { $cluster->node($_) } (1, 2);

# --- without encryption

$one->stop('fast');
$one->append_conf('postgresql.conf', "dlog.encryption = off\ndlog.listen_address = '*'\n");
is($one->start(fail_ok => 1), 0, 'a port open to others is not served without encryption');
like(PostgreSQL::Test::Utils::slurp_file($one->logfile),
	qr/dlog\.encryption cannot be off while dlog\.listen_address is "\*"/, 'which is said');

$one->append_conf('postgresql.conf', "dlog.listen_address = '127.0.0.1'\n");
$two->stop('fast');
$two->append_conf('postgresql.conf', "dlog.encryption = off\n");
$_->start foreach ($one, $two);
$cluster->wait_for_links($_) foreach (1, 2);
is($cluster->sql(1, "SELECT dlog.ping('n2') < '10 s'"), 't', 'on loopback it works without');

# One side only.
$two->stop('fast');
$two->append_conf('postgresql.conf', "dlog.encryption = curve\n");
$two->start;
like($cluster->sql_error(1, "SELECT dlog.ping('n2')"), qr/08006/, 'an encrypted node and another do not talk');
$one->stop('fast');
$one->append_conf('postgresql.conf', "dlog.encryption = curve\n");
$one->start;
$cluster->wait_for_links($_) foreach (1, 2);

# --- all addresses, IPv6 included where there is any

$one->stop('fast');
$one->append_conf('postgresql.conf', "dlog.listen_address = '*'\ndlog.advertise_address = 'localhost'\n");
$one->start;
$cluster->wait_for_links($_) foreach (1, 2);
is($cluster->sql(1, 'SELECT address FROM dlog.this_node()'), 'localhost', 'what is advertised');
$cluster->sql(2, "UPDATE dlog.node SET address = 'localhost'");
$cluster->wait_until(2, "SELECT state = 'up' FROM dlog.links");
is($cluster->sql(2, "SELECT dlog.ping('n1') < '10 s'"), 't', 'a name is resolved');
$cluster->sql(2, "UPDATE dlog.node SET address = 'no-such-host.invalid'");
like($cluster->sql_error(2, "SELECT dlog.ping('n1')"),
	qr/08006.*could not resolve host "no-such-host.invalid"/s, 'or it is said that it cannot be');
$cluster->sql(2, "UPDATE dlog.node SET address = '127.0.0.1'");
$cluster->wait_for_links($_) foreach (1, 2);

# --- versions of the protocol

is($cluster->sql(2, 'SELECT protocol_version FROM dlog.links'), '2', 'the highest version');

# One that knows a later version, and one that knows only the one before.
foreach my $case ([ 3, 2 ], [ 1, 1 ])
{
	my ($highest, $spoken) = @$case;

	$one->append_conf('postgresql.conf', "dlog.protocol_highest = $highest\n");
	$one->restart;
	$cluster->wait_for_links($_) foreach (1, 2);
	is($cluster->sql(2, 'SELECT protocol_version FROM dlog.links'), $spoken,
		"up to $highest and up to 2: the highest version that both speak");
	is($cluster->sql(2, "SELECT dlog.ping('n1') < '10 s'"), 't', 'is spoken');
	is($cluster->sql(2, "SELECT sum(result::int) FROM dlog.deploy_map('all', 'SELECT 1')"), '2', 'by statements, too');
}

$one->append_conf('postgresql.conf', "dlog.protocol_lowest = 3\ndlog.protocol_highest = 3\n");
$one->restart;
$cluster->wait_until(1, "SELECT state = 'refused' FROM dlog.links");
$cluster->wait_until(2, "SELECT state = 'refused' FROM dlog.links");
like($cluster->sql(1, 'SELECT last_error FROM dlog.links'),
	qr/versions 1 to 2 of the protocol, and this node 3 to 3|versions 3 to 3 of the protocol, and this node 1 to 2/,
	'no version in common: both sides say so');
like($cluster->sql(2, 'SELECT last_error FROM dlog.links'), qr/versions . to . of the protocol/, 'the other too');
like($cluster->sql_error(1, "SELECT dlog.ping('n2')"), qr/08006.*of the protocol/s, 'and who asks is told');

done_testing();
