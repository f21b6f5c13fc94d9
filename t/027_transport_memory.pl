# A node whose shared memory is full stops reading from its links: what was
# sent to it waits with the sender, nothing is lost, and it arrives as soon as
# there is memory again.  Those who want memory there meanwhile are told which
# setting to raise.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, conf => "dlog.shared_memory_size = '16MB'\n");
$cluster->sql(2, q(CREATE FUNCTION arena_fill(size int) RETURNS bigint
	LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_arena_fill'));
$cluster->sql(2, q(CREATE TABLE notes (id int PRIMARY KEY, note text)));
$cluster->sql(1, 'IMPORT FOREIGN SCHEMA public LIMIT TO (notes) FROM SERVER n2 INTO public');

my $filler = $cluster->node(2)->background_psql('postgres');
$cluster->sql(2, "SELECT dlog.stop_point_arm('arena-is-full', 'wait')");
$filler->query_until(qr/filling/, "\\echo filling\nSELECT arena_fill(50);\n");
$cluster->wait_until(2, "SELECT dlog.stop_point_waiting('arena-is-full') = 1");

# 20 kB: no block of this size is left over anywhere
my $sender = $cluster->node(1)->background_psql('postgres');
$sender->query_until(qr/sending/,
	"\\echo sending\nINSERT INTO notes SELECT i, repeat('x', 20000) FROM generate_series(1, 50) i;\n\\echo sent\n");
$cluster->wait_until(2, 'SELECT stalls > 0 FROM dlog.network');
pass('the node stops reading');
is($cluster->sql(2, 'SELECT count(*) FROM notes'), '0', 'nothing of it has arrived');
like($cluster->sql_error(2, "SELECT * FROM dlog.execute('n1', repeat(' ', 20000) || 'SELECT 1') AS r (x int)"),
	qr/dlog\.shared_memory_size/, 'who wants memory there is told what to raise');

$cluster->sql(2, "SELECT dlog.stop_point_release('arena-is-full')");
$sender->query_until(qr/sent/, '');
is($sender->{stderr}, '', 'the sender noticed nothing');
is($cluster->sql(2, 'SELECT count(*), sum(length(note)) FROM notes'), '50|1000000', 'all of it has arrived');
$filler->quit;
$sender->quit;

done_testing();
