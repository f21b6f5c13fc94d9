
# A server that preloads the library runs with the extension, restarts with
# it, and stops fast; one that does not preload it says what to do.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;
use Time::HiRes qw(time);

my $cluster = DlogCluster->new(nodes => 1);

is($cluster->sql(1, "SELECT extversion FROM pg_extension WHERE extname = 'dlog'"),
	'1.0', 'the extension is there');

$cluster->node(1)->restart;
is($cluster->sql(1, 'SHOW dlog.node_name'), 'n1', 'and after a restart');

my $begun = time;
$cluster->node(1)->stop('fast');
cmp_ok(time - $begun, '<', 3, 'a fast stop is fast');

$cluster->node(1)->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$cluster->node(1)->start;
is($cluster->sql(1, 'SELECT 1'), '1', 'the server runs without the library');

done_testing();
