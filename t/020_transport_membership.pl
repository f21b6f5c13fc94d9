
# Nodes join a cluster, leave it, are removed from it and change their keys;
# every member then knows the same nodes, and what cannot be done is refused
# before anything has changed.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3, join => 0);
my @first = map { $cluster->conninfo($_) } (1 .. 3);

sub names
{
	my ($i) = @_;
	return $cluster->sql($i, "SELECT string_agg(name, ' ' ORDER BY name) FROM dlog.nodes");
}

sub join_node
{
	my ($i, $sponsor) = @_;
	return $cluster->sql($i, 'SELECT dlog.join(' . DlogCluster::quote($first[ $sponsor - 1 ]) . ')');
}

sub join_error
{
	my ($i, $conninfo) = @_;
	return $cluster->sql_error($i, 'SELECT dlog.join(' . DlogCluster::quote($conninfo) . ')');
}

# --- this node

my $key_file = $cluster->node(1)->data_dir . '/dlog_node_key';
is(sprintf('%o', (stat $key_file)[2] & 07777), '600', 'the key file is its owner\'s alone');
is($cluster->sql(1, "SELECT name, length(public_key), port, address FROM dlog.this_node()"),
	'n1|40|' . $cluster->dlog_port(1) . '|127.0.0.1', 'a node knows who it is');
my $id = $cluster->sql(1, 'SELECT node_id, public_key FROM dlog.this_node()');
$cluster->node(1)->restart;
is($cluster->sql(1, 'SELECT node_id, public_key FROM dlog.this_node()'),
	$id, 'and is the same after a restart');

# --- joining

like(join_error(2, 'nonsense'), qr/22023.*is not a connection string/s, 'a text that is no conninfo');
like(join_error(2, 'host=/nowhere port=1'), qr/08001.*could not connect/s, 'a server that is not there');
like(join_error(1, $first[0]), qr/22023.*cannot join itself/s, 'joining itself');
$cluster->node(1)->safe_psql('postgres', 'CREATE DATABASE bare');
(my $bare = $first[0]) =~ s/dbname='postgres'/dbname=bare/;
like(join_error(2, $bare), qr/42704.*does not have the extension/s, 'a database without the extension');
$cluster->node(1)->safe_psql('postgres',
	"CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
(my $latin = $first[0]) =~ s/dbname='postgres'/dbname=latin/;
$cluster->node(1)->safe_psql('latin', 'CREATE EXTENSION dlog');
like(join_error(2, $latin), qr/0A000.*different encodings/s, 'another encoding');
is(names(2), 'n2', 'nothing came of all that');

join_node(2, 1);
is(names(1), 'n1 n2', 'the sponsor knows the newcomer');
is(names(2), 'n1 n2', 'and the newcomer the sponsor');
like(join_error(2, $first[0]), qr/55000.*already belongs together/s, 'joining twice');

# A name that is taken.
$cluster->node(3)->append_conf('postgresql.conf', "dlog.node_name = 'n2'\n");
$cluster->node(3)->restart;
like(join_error(3, $first[0]), qr/42710.*node "n2" already exists/s, 'a name that is taken');
$cluster->node(3)->append_conf('postgresql.conf', "dlog.node_name = 'n3'\n");
$cluster->node(3)->restart;

# A member that is down, or has something in the way.
$cluster->node(1)->stop('fast');
like(join_error(3, $first[1]), qr/08006.*could not reach node "n1"/s, 'a member that is down is named');
is(names(2) . names(3), 'n1 n2n3', 'and nothing has changed');
$cluster->node(1)->start;
$cluster->wait_for_links(2, 1);
$cluster->sql(1, 'CREATE FOREIGN DATA WRAPPER other');
$cluster->sql(1, 'CREATE SERVER n3 FOREIGN DATA WRAPPER other');
like(join_error(3, $first[1]), qr/42710.*node "n1": a foreign server named "n3" already exists/s,
	'a member that refuses is named');
is(names(2) . names(3), 'n1 n2n3', 'and nothing has changed');
$cluster->sql(1, 'DROP SERVER n3');

join_node(3, 2);
is(names($_), 'n1 n2 n3', "node $_ knows all") foreach (1 .. 3);
$cluster->wait_for_links($_) foreach (1 .. 3);
is($cluster->sql(1, "SELECT string_agg(srvname, ' ' ORDER BY srvname) FROM pg_foreign_server"),
	'n2 n3', 'each other node has a foreign server');
is($cluster->sql(3, "SELECT dlog.ping('n1') < '10 s'"), 't', 'and answers');

# --- keys

my @keys = map { $cluster->sql($_, 'SELECT public_key FROM dlog.this_node()') } (1 .. 3);
$cluster->sql(2, 'SELECT dlog.rotate_key()');
my $new_key = $cluster->sql(2, 'SELECT public_key FROM dlog.this_node()');
isnt($new_key, $keys[1], 'a node has a new key');
foreach my $i (1, 3)
{
	is( $cluster->sql($i, "SELECT public_key, previous_key IS NULL FROM dlog.node WHERE name = 'n2'"),
		"$new_key|t", "node $i knows it and has forgotten the old one");
}
$cluster->wait_for_links($_) foreach (1 .. 3);
is(sprintf('%o', (stat $cluster->node(2)->data_dir . '/dlog_node_key')[2] & 07777),
	'600', 'the new key file is its owner\'s alone');
$cluster->node(2)->restart;
is($cluster->sql(2, 'SELECT public_key FROM dlog.this_node()'), $new_key, 'and is kept');
$cluster->wait_for_links($_) foreach (1 .. 3);

$cluster->node(3)->stop('fast');
like($cluster->sql_error(2, 'SELECT dlog.rotate_key()'),
	qr/08006.*could not reach node "n3"/s, 'a rotation that cannot be told to all is refused');
is($cluster->sql(2, 'SELECT public_key FROM dlog.this_node()'), $new_key, 'and changes nothing');

# A rotation that was broken off after the others had heard: they know a new
# key that is not used, and still admit the one that is.
$cluster->node(3)->start;
$cluster->sql(1, "UPDATE dlog.node SET previous_key = public_key, public_key = "
	  . DlogCluster::quote($keys[1]) . " WHERE name = 'n2'");
$cluster->node(1)->restart;
$cluster->wait_for_links($_) foreach (1, 2);
pass('a key that is not in use yet does no harm');
$cluster->sql(2, 'SELECT dlog.rotate_key()');
is($cluster->sql(1, "SELECT previous_key IS NULL FROM dlog.node WHERE name = 'n2'"), 't',
	'and another rotation sets it right');

# One that was broken off after the change, before the others could forget the
# old key: what is used is the newest that they know.
$cluster->wait_for_links($_) foreach (1 .. 3);
$cluster->sql(2, "SELECT dlog.stop_point_arm('key-replaced', 'error')");
like($cluster->sql_error(2, 'SELECT dlog.rotate_key()'), qr/stop point/, 'a rotation fails at its end');
$cluster->sql(2, "SELECT dlog.stop_point_release('key-replaced')");
$cluster->wait_until(2, "SELECT public_key <> '$new_key' FROM dlog.this_node()");
$cluster->wait_until($_, "SELECT dlog.ping('n2') < '10 s'") foreach (1, 3);
is($cluster->sql(1, "SELECT previous_key IS NULL FROM dlog.node WHERE name = 'n2'"), 'f',
	'the others know both keys');
$cluster->sql(2, 'SELECT dlog.rotate_key()');
$cluster->wait_for_links($_) foreach (1 .. 3);
is($cluster->sql($_, "SELECT public_key = " . DlogCluster::quote($cluster->sql(2, 'SELECT public_key FROM dlog.this_node()'))
	  . " AND previous_key IS NULL FROM dlog.node WHERE name = 'n2'"), 't', "the next one succeeds: node $_") foreach (1, 3);

# --- an extension that is dropped, but not really

my $epochs = "SELECT string_agg(node || ' ' || epoch, ',' ORDER BY node) FROM dlog.links";
my $before = $cluster->sql(1, $epochs);
$cluster->sql(1, 'BEGIN; SAVEPOINT s; DROP EXTENSION dlog CASCADE; ROLLBACK TO s; COMMIT');
is($cluster->sql(1, "SELECT dlog.ping('n2') < '10 s' AND dlog.ping('n3') < '10 s'"), 't',
	'a drop that is rolled back drops nothing');
is($cluster->sql(1, $epochs), $before, 'and closes no link');

# --- removing a dead node

$cluster->wait_for_links($_) foreach (1 .. 3);
$cluster->sql(1, 'CREATE FOREIGN TABLE there (id int) SERVER n3');
like($cluster->sql_error(2, "SELECT dlog.remove_node('n3')"),
	qr/2BP01.*node "n1": cannot remove node "n3" because tables have rows on it/s,
	'a node that a member still uses is not removed');
is(names(2), 'n1 n2 n3', 'and nothing has changed');
$cluster->sql(1, 'DROP FOREIGN TABLE there');
like($cluster->sql_error(2, "SELECT dlog.remove_node('n2')"), qr/22023.*is this node/s, 'removing oneself');
like($cluster->sql_error(2, "SELECT dlog.remove_node('n9')"), qr/42704.*does not exist/s, 'removing nobody');

$cluster->node(3)->stop('immediate');
$cluster->sql(2, "SELECT dlog.remove_node('n3')");
is(names($_), 'n1 n2', "node $_ knows the dead node no longer") foreach (1, 2);
$cluster->node(3)->start;
$cluster->wait_until(3, "SELECT count(*) = 2 FROM dlog.links WHERE state = 'refused'");
like($cluster->sql_error(3, "SELECT dlog.ping('n1')"), qr/08006.*does not admit this node's key/s,
	'back from the dead it is refused');
like($cluster->sql_error(3, 'SELECT dlog.leave()'), qr/08006/, 'it cannot leave in good order');
is($cluster->sql(3, 'SELECT dlog.leave(force => true)'), '', 'but by force');
is(names(3), 'n3', 'and is alone then');
like($cluster->sql_error(3, 'SELECT dlog.leave()'), qr/55000.*belongs to no other node/s, 'leaving nobody');

# --- leaving in good order

join_node(3, 1);
$cluster->wait_for_links($_) foreach (1 .. 3);
$cluster->sql(3, 'SELECT dlog.leave()');
is(names(1) . '/' . names(2) . '/' . names(3), 'n1 n2/n1 n2/n3', 'a node that leaves is gone everywhere');
is($cluster->sql(3, 'SELECT count(*) FROM pg_foreign_server'), '0', 'with its foreign servers');

# --- a hole in the file's protection

$cluster->node(3)->stop('fast');
chmod 0640, $cluster->node(3)->data_dir . '/dlog_node_key';
$cluster->node(3)->start;
$cluster->node(3)->wait_for_log(qr/file "dlog_node_key" has group or world access/);
like($cluster->sql_error(3, 'SELECT * FROM dlog.this_node()'), qr/55000.*no node key/s,
	'a key that others can read is not used');

done_testing();
