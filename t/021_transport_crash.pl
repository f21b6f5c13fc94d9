
# The network process may die of anything: no session notices, the links are
# back at once, and those who wait for an answer learn that it will not come.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $cluster = DlogCluster->new(nodes => 2);
my $session = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
my $backend = $session->query_safe('SELECT pg_backend_pid()');

is($cluster->sql(1, 'SELECT pid FROM dlog.network'), $cluster->network_pid(1),
	'dlog.network names the network process');

foreach my $signal (qw(SEGV ABRT KILL))
{
	my $epoch = $cluster->sql(1, 'SELECT epoch FROM dlog.links');
	my $begun = time;

	$cluster->kill_network(1, $signal);
	is($session->query_safe("SELECT dlog.ping('n2') < '10 s'"), 't', "$signal: the link is back");
	cmp_ok(time - $begun, '<', 3, 'soon');
	is($session->query_safe('SELECT pg_backend_pid()'), $backend, 'the session has not noticed');
	cmp_ok($cluster->sql(1, 'SELECT epoch FROM dlog.links'), '>', $epoch, 'the epoch has ended');
	$cluster->wait_until(2, "SELECT state = 'up' FROM dlog.links");
	is($cluster->sql(2, "SELECT dlog.ping('n1') < '10 s'"), 't', 'the other side is back too');
}
$cluster->node(1)->wait_for_log(qr/network process was terminated by signal 11/);
pass('the log tells');

# What is under way when the link is lost: the other side stands still, so
# the question cannot have been answered.
my $other = $cluster->network_pid(2);
kill 'STOP', $other;
my $asking = $cluster->node(1)->background_psql('postgres', on_error_stop => 0);
$asking->query_until(qr/asking/, "\\echo asking\n\\set VERBOSITY verbose\nSELECT dlog.ping('n2');\n\\echo answered\n");
$cluster->wait_until(1, "SELECT count(*) = 1 FROM dlog.actors WHERE behavior = 'asker'");
kill 'KILL', $other;
$asking->query_until(qr/answered/, '');
like($asking->{stderr}, qr/08006.*did not answer.*the link to it was lost/s, 'who waits is told at once');
$asking->quit;
$cluster->wait_for_links($_) foreach (1, 2);

# The transport worker itself.
my ($worker) = $cluster->worker_pids(1, 'dlog transport');
$cluster->sql(1, "SELECT pg_terminate_backend($worker)");
$cluster->wait_until(1,
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'dlog transport' AND pid <> $worker");
$cluster->wait_for_links($_) foreach (1, 2);
is($session->query_safe("SELECT dlog.ping('n2') < '10 s'"), 't', 'a worker that was terminated comes back');
is($session->query_safe('SELECT pg_backend_pid()'), $backend, 'the session has not noticed');

# A node that is stopped is reported at once, not at a timeout.
$cluster->node(2)->stop('fast');
$session->query_safe("SET dlog.connect_timeout = '1min'");
my $begun = time;
$session->query("SELECT dlog.ping('n2')");
like($session->{stderr}, qr/could not reach node "n2" at 127\.0\.0\.1:\d+.*Connection refused/s,
	'a closed port is named with its reason');
cmp_ok(time - $begun, '<', 5, 'at once');
$session->{stderr} = '';
$cluster->node(2)->start;
$cluster->wait_for_links(1);
is($session->query_safe("SELECT dlog.ping('n2') < '10 s'"), 't', 'and is found again');

# A whole server that crashes.
$cluster->node(2)->stop('immediate');
$cluster->wait_until(1, "SELECT state = 'down' FROM dlog.links");
$cluster->node(2)->start;
$cluster->wait_for_links($_) foreach (1, 2);
is($session->query_safe("SELECT dlog.ping('n2') < '10 s'"), 't', 'a server that crashed is found again');
$session->quit;

done_testing();
