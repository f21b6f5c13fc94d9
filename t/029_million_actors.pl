
# A million idle native actors fit into 300 MB, all counted: what dlog.memory
# tells by class, and by how much the memory of all processes of the server
# has grown; with small states and with the largest.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $million = 1_000_000;
my $cluster = DlogCluster->new(nodes => 1, extension => 0, conf => <<'CONF');
dlog.max_actors = 1000100
dlog.min_schedulers = 2
dlog.max_schedulers = 2
dlog.shared_memory_size = '64MB'
shared_buffers = '16MB'
CONF
my $node = $cluster->node(1);
system_or_bail('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'),
	'-f', "$FindBin::RealBin/../test_schema.sql");
my $session = $node->background_psql('postgres', on_error_stop => 1);
sub sql { return $session->query_safe($_[0]); }

# Proportional set sizes of all the server's processes, in MB; -1 where the
# system does not tell.
sub memory
{
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my %parent;
	my $kb = 0;

	foreach my $file (glob '/proc/[0-9]*/stat')
	{
		my ($pid, $ppid) = (eval { slurp_file($file) } // '') =~ /^(\d+) \(.*\) \S (\d+)/s;
		$parent{$pid} = $ppid if defined $pid;
	}
	foreach my $pid (keys %parent)
	{
		my $ancestor = $pid;

		$ancestor = $parent{$ancestor} while $ancestor != $postmaster && $parent{$ancestor};
		next unless $ancestor == $postmaster;
		my ($pss) = (eval { slurp_file("/proc/$pid/smaps_rollup") } // '') =~ /^Pss:\s+(\d+) kB/m;
		$kb += $pss // 0;
	}
	return $kb > 0 ? $kb / 1024 : -1;
}

# What dlog counts, in MB: all slots that were ever used, and blocks in use.
my $counted = q{SELECT class, round(sum(block_size::numeric * CASE class WHEN 'blocks' THEN used ELSE total END) / 1048576)
	FROM dlog.memory GROUP BY class ORDER BY class};
sub counted_mb
{
	my $mb = 0;

	$mb += (split /\|/, $_)[1] foreach split /\n/, sql($counted);
	return $mb;
}

foreach my $size (32, 96)
{
	my $before = memory();
	my $last = sql("SELECT test.victims_spawn($million, $size)");

	is(sql("SELECT used >= $million FROM dlog.memory WHERE class = 'actors'"), 't', "a million actors with states of $size bytes live");
	note(sql($counted));
	cmp_ok(counted_mb(), '<=', 300, '... in 300 MB by what dlog.memory counts');
	my $after = memory();
	if ($before >= 0)
	{
		note("the server's processes had $before MB and have $after");
		cmp_ok($after - $before, '<=', 300, '... and by what the server\'s processes have more');
	}

	my $judge = sql("SELECT test.actor_spawn('judge')");
	sql("SELECT test.actor_send($judge, '$last', 'work')");
	is(sql("SELECT test.actor_receive($judge)"), 'worked', 'the last of them works');
	$session->quit;
	$node->restart;
	$session = $node->background_psql('postgres', on_error_stop => 1);
}

$session->quit;
done_testing();
