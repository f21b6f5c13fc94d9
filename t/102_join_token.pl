
# A node joins with a token: once, in time, not revoked, in its own cluster, and
# only itself.  What is refused says why, on both sides, and is counted.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3, join => 0);

sub token
{
	my ($i, $valid_for) = @_;
	return $cluster->sql($i, 'SELECT dlog.create_join_token(' . DlogCluster::quote($valid_for // '1 h') . ')');
}

sub join_sql
{
	my ($token, $endpoint) = @_;
	return 'SELECT dlog.join(' . DlogCluster::quote($token) . ', '
	  . (defined $endpoint ? DlogCluster::quote($endpoint) : 'NULL') . ')';
}

sub names
{
	my ($i) = @_;
	return $cluster->sql($i, "SELECT string_agg(name, ' ' ORDER BY name) FROM dlog.nodes");
}

my $refused = 'SELECT refused_joins FROM dlog.network';

# --- what is none

like($cluster->sql_error(2, join_sql('nonsense')), qr/22023.*this is not a join token/s, 'a text that is no token');
like($cluster->sql_error(1, "SELECT dlog.create_join_token('0')"), qr/22023.*valid_for/s, 'one that is never valid');
my $token = token(1);
like($cluster->sql_error(2, join_sql($token, 'nowhere')), qr/22023.*not an endpoint/s, 'an endpoint without a port');
like($cluster->sql_error(1, join_sql($token)), qr/22023.*cannot join itself/s, 'one\'s own');
is($cluster->sql(1, 'SELECT state, secret_hash ~ \'^[0-9a-f]{64}$\' FROM dlog.join_token JOIN dlog.join_tokens USING (id)'),
	'valid|t', 'a hash is kept of a token that is valid');

# Nobody listens there, or it is somebody else.
my $free = PostgreSQL::Test::Cluster::get_free_port();
like($cluster->sql_error(2, "SET dlog.connect_timeout = '500 ms'; " . join_sql($token, "127.0.0.1:$free")),
	qr/08006.*could not join with the token.*could not be reached/s, 'nobody is there');
like($cluster->sql_error(2, "SET dlog.connect_timeout = '2 s'; " . join_sql($token, '127.0.0.1:' . $cluster->dlog_port(3))),
	qr/08006.*could not join with the token/s, 'a node that is not the one of the token');
is(names(2), 'n2', 'nothing came of that');

# --- the token

$cluster->sql(1, q{CREATE TABLE t (id int PRIMARY KEY); SELECT dlog.distribute_table('t', by => 'id', partitions => 4)});
$cluster->sql(2, join_sql($token));
is(names(1) . '/' . names(2), 'n1 n2/n1 n2', 'a node that has it joins');
$cluster->wait_for_links($_, 1) foreach (1, 2);
$cluster->sql(1, 'INSERT INTO t SELECT generate_series(1, 10)');
is($cluster->sql(2, 'SELECT count(*) FROM t'), '10', 'and gets what they share');
is($cluster->sql(1, 'SELECT state, used_by FROM dlog.join_tokens'), 'used|n2', 'it is used up');
like($cluster->sql_error(3, join_sql($token)), qr/28000.*was used already.*By node "n2"/s, 'nobody else can use it');
is($cluster->sql(1, $refused), '1', 'which is counted');
$cluster->node(1)->wait_for_log(qr/refused to let node "n3" .* join: the join token was used already/);
like($cluster->sql_error(2, join_sql($token)), qr/55000.*already belongs together/s, 'nor it again while it is a member');

# A join that was broken off on this side after that can be repeated.
$cluster->sql(2, 'DROP TABLE t; DELETE FROM dlog.node; DROP SERVER n1');
$cluster->sql(2, join_sql($token));
$cluster->wait_for_links($_, 1) foreach (1, 2);
is(names(2), 'n1 n2', 'whose join was broken off may show it again');

# --- refused

$token = token(2);
$cluster->sql(2, 'SELECT dlog.revoke_join_token(id) FROM dlog.join_tokens');
like($cluster->sql_error(3, join_sql($token)), qr/28000.*was revoked/s, 'a token that was revoked');
like($cluster->sql_error(2, 'SELECT dlog.revoke_join_token(id) FROM dlog.join_tokens'),
	qr/42704.*no join token/s, 'which is done once');
$token = token(2, '1 ms');
like($cluster->sql_error(3, join_sql($token)), qr/28000.*has expired/s, 'one that has expired');
$token = token(2);
$cluster->sql(2, "DELETE FROM dlog.join_token WHERE revoked_at IS NULL");
like($cluster->sql_error(3, join_sql($token)), qr/28000.*is not valid/s, 'one that is not known');
is($cluster->sql(2, $refused), '3', 'all that is counted');
is(names(3), 'n3', 'and nobody was let in');

# A name that is taken.
$cluster->node(3)->append_conf('postgresql.conf', "dlog.node_name = 'n1'\n");
$cluster->node(3)->restart;
$token = token(2);
like($cluster->sql_error(3, join_sql($token)), qr/42710.*node "n1" already exists/s, 'a node with the name of another');
is($cluster->sql(2, "SELECT state FROM dlog.join_tokens ORDER BY id DESC LIMIT 1"), 'valid', 'does not use the token up');

# The neighbours' cluster.
$cluster->node(3)->append_conf('postgresql.conf', "dlog.node_name = 'n3'\ndlog.cluster_name = 'neighbours'\n");
$cluster->node(3)->restart;
like($cluster->sql_error(3, join_sql($token)), qr/22023.*the token is of cluster "dlog", this node of "neighbours"/s,
	'a neighbour\'s token');
like($cluster->sql_error(3, 'SELECT dlog.join(' . DlogCluster::quote($cluster->conninfo(1)) . ')'),
	qr/22023.*is of cluster "dlog", this node of "neighbours"/s, 'nor does it join by mistake');

# --- without tokens strangers are refused as ever

$cluster->sql($_, 'DELETE FROM dlog.join_token') foreach (1, 2);
$cluster->node(3)->append_conf('postgresql.conf', "dlog.cluster_name = 'dlog'\n");
$cluster->node(3)->reload;
$cluster->wait_until(3, "SELECT current_setting('dlog.cluster_name') = 'dlog'");
like($cluster->sql_error(3, "SET dlog.connect_timeout = '2 s'; " . join_sql($token)),
	qr/08006.*could not join with the token/s, 'without tokens nobody may even ask');

# A member that is down is named, and the token is still good.
$token = token(2);
$cluster->node(1)->stop('fast');
like($cluster->sql_error(3, join_sql($token)), qr/08006.*could not reach node "n1"/s, 'a member that is down is named');
$cluster->node(1)->start;
$cluster->wait_for_links(2, 1);
$cluster->sql(3, join_sql($token));
$cluster->wait_for_links($_) foreach (1 .. 3);
is(names($_), 'n1 n2 n3', "node $_ knows all") foreach (1 .. 3);

done_testing();
