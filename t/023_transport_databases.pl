
# The databases of a server belong to clusters of their own: a node that one
# of them lists gets nowhere in another.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3, join => 0);

# Database postgres of n1 and n2 belong together, and database b of n1 and n3.
$cluster->node($_)->safe_psql('postgres', 'CREATE DATABASE b') foreach (1 .. 3);
$cluster->node($_)->safe_psql('b', 'CREATE EXTENSION dlog') foreach (1 .. 3);

sub in_b
{
	my ($i, $sql) = @_;
	return $cluster->node($i)->safe_psql('b', $sql);
}
(my $b_of_1 = $cluster->conninfo(1)) =~ s/dbname='postgres'/dbname=b/;

$cluster->sql(2, 'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(1)) . ')');
in_b(3, 'SELECT dlog.join(' . DlogCluster::quote($b_of_1) . ')');

is($cluster->sql(1, "SELECT string_agg(name, ' ' ORDER BY name) FROM dlog.nodes"), 'n1 n2', 'one database knows one');
is(in_b(1, "SELECT string_agg(name, ' ' ORDER BY name) FROM dlog.nodes"), 'n1 n3', 'the other another');
is($cluster->sql(2, "SELECT dlog.ping('n1') < '10 s'"), 't', 'n2 reaches its own');
is(in_b(3, "SELECT dlog.ping('n1') < '10 s'"), 't', 'n3 its own');

# n2 lists database b of n1 without being listed there.
my $key = $cluster->sql(1, 'SELECT public_key FROM dlog.this_node()');
in_b(2, 'SELECT dlog.add_node(' . join(', ', "'n1'", "'127.0.0.1'", $cluster->dlog_port(1), DlogCluster::quote($key), "'b'") . ')');
my ($status, $out, $error) = $cluster->node(2)->psql('b', "SELECT dlog.ping('n1')");
like($error, qr/it has no such database with dlog, or that does not list this node/,
	'a node of one database is a stranger in the other');
is($cluster->sql(1, 'SELECT not_admitted > 0 FROM dlog.network'), 't', 'which is counted');
is($cluster->sql(2, "SELECT dlog.ping('n1') < '10 s'"), 't', 'its own database still answers');

# A new key reaches the members of all databases.
$cluster->sql(1, 'SELECT dlog.rotate_key()');
is($cluster->sql(2, "SELECT dlog.ping('n1') < '10 s'"), 't', 'after a rotation n2 still reaches it');
is(in_b(3, "SELECT dlog.ping('n1') < '10 s'"), 't', 'and so does n3');

# What is gone admits nobody.
in_b(1, 'DROP EXTENSION dlog CASCADE');
($status, $out, $error) = $cluster->node(3)->psql('b', "SELECT dlog.ping('n1')");
like($error, qr/08006|could not reach|did not answer/, 'without its extension a database is reached by nobody');
$cluster->wait_until(1, "SELECT count(*) = 1 FROM dlog.links");
$cluster->node(1)->safe_psql('postgres', 'DROP DATABASE b');
is($cluster->sql(2, "SELECT dlog.ping('n1') < '10 s'"), 't', 'the other database goes on');

done_testing();
