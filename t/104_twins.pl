
# Two servers with one key, since somebody has copied a data directory and
# started both: their links are refused, loudly, until one of them is gone.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2);
my $original = $cluster->node(2);
$original->stop('fast');
$original->backup_fs_cold('copy');
$original->start;
$cluster->wait_for_links(1);

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($original, 'copy');
# The key file of a copy has to be its owner's alone as well.
chmod 0600, $copy->data_dir . '/dlog_node_key' or die "could not protect the key: $!";
my $port = PostgreSQL::Test::Cluster::get_free_port();
$copy->append_conf('postgresql.conf', "dlog.port = $port\n");
$copy->start;

$cluster->wait_until(1, "SELECT last_error LIKE '%two servers use its key%' FROM dlog.links WHERE node = 'n2'");
pass('two servers with one key are refused');
$cluster->node(1)->wait_for_log(qr/two servers use its key; on the one that is a copy, remove the file dlog_node_key/);
pass('and the log says what to do');

# The copy becomes a node of its own, and a stranger.
$copy->stop('fast');
unlink $copy->data_dir . '/dlog_node_key' or die "could not remove the key: $!";
$copy->append_conf('postgresql.conf', "dlog.node_name = 'n3'\n");
$copy->start;
$cluster->wait_for_links(1);
is($cluster->sql(1, "SELECT string_agg(name, ' ' ORDER BY name) FROM dlog.nodes"), 'n1 n2', 'then the original is back');
isnt(
	$copy->safe_psql('postgres', 'SELECT public_key FROM dlog.this_node()'),
	$cluster->sql(2, 'SELECT public_key FROM dlog.this_node()'),
	'and the copy is somebody else');

done_testing();
