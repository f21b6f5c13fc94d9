
# Two nodes show one join token at the same moment: it lets in one of them.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 3, join => 0, conf => 'dlog.min_schedulers = 2');
my $token = $cluster->sql(1, 'SELECT dlog.create_join_token()');

# Both come as far as the token's row, which a session holds.
my $holder = $cluster->node(1)->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT count(*) FROM (SELECT FROM dlog.join_token FOR UPDATE) t');
my %guests;
foreach my $i (2, 3)
{
	$guests{$i} = $cluster->node($i)->background_psql('postgres', on_error_stop => 0);
	$guests{$i}->query_until(qr/joining/,
		"\\echo joining\n\\set VERBOSITY verbose\nSELECT dlog.join(" . DlogCluster::quote($token) . ", NULL);\n\\echo ended\n");
}
$cluster->wait_until(1, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'dlog scheduler%' AND wait_event_type = 'Lock'");
$holder->query_safe('COMMIT');
$holder->quit;
$guests{$_}->query_until(qr/ended/, '') foreach (2, 3);

my @refused = grep { $guests{$_}{stderr} =~ /28000.*was used already/s } (2, 3);
is(scalar @refused, 1, 'one of two that show a token at once is refused');
my $other = $refused[0] == 2 ? 3 : 2;
is($guests{$other}{stderr}, '', 'the other is let in');
$guests{$_}->quit foreach (2, 3);
is($cluster->sql($_, "SELECT string_agg(name, ' ' ORDER BY name) FROM dlog.nodes"), "n1 n$other", "node $_ knows who is in")
  foreach (1, $other);
is($cluster->sql($refused[0], 'SELECT count(*) FROM dlog.nodes'), '1', 'the refused one is alone');
is($cluster->sql(1, 'SELECT state, used_by FROM dlog.join_tokens'), "used|n$other", 'the token is used, once');

done_testing();
