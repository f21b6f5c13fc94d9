
# A live deployment follows its flock: members' values change, members join, leave,
# die, come back and fail, each by itself; the server that keeps it restarts; who
# lost the right is refused; what is dropped is gone.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3, conf => "dlog.probe_interval = '200 ms'\ndlog.probe_timeout = '100 ms'\n");
my $live = "FROM dlog.live_deployments WHERE name = 'total'";
my $value = "SELECT value $live";

$cluster->sql_everywhere(q{CREATE TABLE t (n bigint); CREATE TABLE word (w text)});
$cluster->sql($_, "INSERT INTO t VALUES (" . 10**$_ . "); INSERT INTO word VALUES ('n$_')") foreach (1 .. 3);
$cluster->sql(1, q{SELECT dlog.create_flock('workers', tags => '{"role": "worker"}', heartbeat_interval => '100 ms')});
$cluster->wait_until($_, q{SELECT count(*) FROM dlog.flocks WHERE name = 'workers'}, '1') foreach (1 .. 3);
$cluster->sql($_, q{SELECT dlog.set_tags('{"role": "worker"}')}) foreach (1, 2);
$cluster->wait_until(1, q{SELECT count(*) FROM dlog.flock_members('workers')}, '2');

# --- values

$cluster->sql(1, q{SELECT dlog.deploy_live('total', 'workers', 'SELECT sum(n)::bigint FROM t', 'sum', 0::bigint, every => '200 ms')});
$cluster->wait_until(1, $value, '110');
is($cluster->sql(1, "SELECT members, answered $live"), '2|2', 'all members have answered');
$cluster->sql(2, 'INSERT INTO t VALUES (1)');
$cluster->wait_until(1, $value, '111');
is($cluster->sql(1, "SELECT last_merges $live"), '1', 'a change of one of two members costs one merge');
is($cluster->sql(1, q{SELECT dlog.live_value('total', NULL::bigint) + 1}), '112', 'the value has its type');

# Nothing changes: nothing is written.  There is no event to wait for, so some rounds' time passes.
my $changes = $cluster->sql(1, "SELECT changes $live");
$cluster->sql(1, 'SELECT pg_sleep(0.7)');
is($cluster->sql(1, "SELECT changes $live"), $changes, 'as long as nothing changes, nothing is told');

# --- who listens

my $heard = $cluster->sql(1, q{
	LISTEN dlog_live;
	INSERT INTO t VALUES (2);
	DO $$ BEGIN
		WHILE (SELECT value FROM dlog.live_deployments WHERE name = 'total') <> '113' LOOP
			PERFORM pg_sleep(0.02);
		END LOOP;
	END $$;
	SELECT 1;});
like($heard, qr/"dlog_live" with payload "\{"name" : "total", "changes" : \d+\}"/, 'a change is notified');

# --- who joins and leaves, in far less than the time between rounds

$cluster->sql(1, q{SELECT dlog.deploy_live('words', 'workers', 'SELECT w FROM word', '||', ''::text, every => '1 h')});
my $words = q{SELECT value FROM dlog.live_deployments WHERE name = 'words'};
$cluster->wait_until(1, $words, 'n1n2');
$cluster->sql(3, q{SELECT dlog.set_tags('{"role": "worker"}')});
$cluster->wait_until(1, $words, 'n1n2n3');
$cluster->wait_until(1, $value, '1113');
pass('a node that joins is asked at once, and merged in the order of the names');
$cluster->sql(2, q{SELECT dlog.set_tags('{}')});
$cluster->wait_until(1, $words, 'n1n3');
$cluster->wait_until(1, $value, '1012');
pass('a node that leaves is taken out at once');
is($cluster->sql(1, q{SELECT last_merges FROM dlog.live_deployments WHERE name = 'words'}), '1', 'without asking or merging the others');
is($cluster->sql(1, q{SELECT string_agg(node || ' ' || value, ', ' ORDER BY node) FROM dlog.live_members WHERE deployment = 'words'}),
	'n1 n1, n3 n3', 'it is no member');

# --- a node that dies, and comes back

$cluster->node(3)->stop('immediate');
$cluster->wait_until(1, $words, 'n1');
$cluster->wait_until(1, "SELECT value || ' ' || members $live", '12 1');
pass('a node that dies is taken out');
$cluster->node(3)->start;
$cluster->wait_until(1, $value, '1012');
$cluster->wait_until(1, $words, 'n1n3');
pass('and is back when it is');

# --- a member that fails

$cluster->sql(3, 'ALTER TABLE t RENAME TO gone');
$cluster->wait_until(1, $value, '12');
is($cluster->sql(1, q{SELECT node, coalesce(value, error), sqlstate FROM dlog.live_members WHERE deployment = 'total' ORDER BY node}),
	"n1|12|\nn3|relation \"t\" does not exist|42P01", 'a member that fails is left out, with its error');
is($cluster->sql(1, "SELECT members, answered, error IS NULL $live"), '2|1|t', 'and the others count');
$cluster->sql(3, 'ALTER TABLE gone RENAME TO t');
$cluster->wait_until(1, $value, '1012');

# --- the server that keeps it restarts, and its job is killed

$changes = $cluster->sql(1, "SELECT changes $live");
$cluster->node(1)->restart;
$cluster->sql(3, 'INSERT INTO t VALUES (3)');
$cluster->wait_until(1, $value, '1015');
pass('it survives a restart of its server');
$cluster->sql(1, q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'dlog job live total'});
$cluster->sql(3, 'INSERT INTO t VALUES (4)');
$cluster->wait_until(1, $value, '1019');
pass('and the end of its process');
$cluster->node(1)->stop('immediate');
$cluster->node(1)->start;
$cluster->sql(3, 'INSERT INTO t VALUES (5)');
$cluster->wait_until(1, $value, '1024');
pass('and a crash');

# --- who may

$cluster->sql_everywhere(q{CREATE ROLE alice LOGIN IN ROLE dlog_deployer; GRANT SELECT ON t TO alice});
$cluster->sql(1, q{SET ROLE alice; SELECT dlog.deploy_live('hers', 'workers', 'SELECT sum(n)::bigint FROM t', '+', 0::bigint, every => '200 ms')});
my $hers = q{SELECT value FROM dlog.live_deployments WHERE name = 'hers'};
$cluster->wait_until(1, $hers, '1024');
is($cluster->sql(1, q{SET ROLE alice; SELECT string_agg(name, ' ') FROM dlog.live_deployments}), 'hers', 'a role sees its own');
is($cluster->sql(1, q{SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'dlog job live hers'}), 'alice',
	'and it runs as that role');
$cluster->sql(3, 'REVOKE SELECT ON t FROM alice');
$cluster->wait_until(1, $hers, '12');
is($cluster->sql(1, q{SELECT sqlstate FROM dlog.live_members WHERE deployment = 'hers' AND node = 'n3'}), '42501',
	'with its rights on each node');
$cluster->sql(1, 'REVOKE dlog_deployer FROM alice');
$cluster->wait_until(1, q{SELECT sqlstate FROM dlog.live_deployments WHERE name = 'hers'}, '42501');
pass('who may deploy no longer is told so');

# --- gone

$cluster->sql(1, 'SELECT dlog.drop_live(name) FROM dlog.live_deployments');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.live_deployments') . $cluster->sql(1, 'SELECT count(*) FROM dlog.live_members'), '00', 'what is dropped is gone');
$cluster->wait_until(1, q{SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'dlog job live %'}, '0');
pass('and nobody works for it');

done_testing();
