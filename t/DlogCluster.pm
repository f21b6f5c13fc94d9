
# DlogCluster: a few servers on this machine that are nodes of dlog.
#
#	my $cluster = DlogCluster->new(nodes => 3);
#	$cluster->sql(1, "SELECT count(*) FROM dlog.nodes");
#
# Nodes are numbered from 1 and named n1, n2, ...  Each is an ordinary
# PostgreSQL::Test::Cluster, so that it is stopped when the test ends, however
# it ends.

package DlogCluster;

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use File::Basename;
use Test::More;

# Functions that arm stop points; the library of a test run has them.
my $stop_points = dirname(__FILE__) . '/stop_points.sql';

# While a server restarts, psql may end before its query has been written to it,
# which IPC::Run takes for an error of ours.
{
	no warnings 'redefine';
	my $poll = \&PostgreSQL::Test::Cluster::poll_query_until;

	*PostgreSQL::Test::Cluster::poll_query_until = sub {
		my @arguments = @_;

		while (1)
		{
			my $is_true;

			return $is_true if eval { $is_true = $poll->(@arguments); 1 };
			die $@ unless $@ =~ /Broken pipe/;
		}
	};
}

# new(nodes => 1, conf => '...', database => 'postgres', join => 1)
#	Start the nodes, with "conf" appended to each postgresql.conf, create the
#	extension in "database" (created if it is another than postgres) and, with
#	more than one node, join them and wait until every one can reach every
#	other.  join => 0 leaves them strangers to each other; extension => 0
#	leaves out the extension as well.
sub new
{
	my ($class, %options) = @_;
	my $self = bless {
		nodes => [],
		database => $options{database} // 'postgres',
	}, $class;
	my $count = $options{nodes} // 1;

	# All tests log in as this role, whoever runs them.
	$ENV{PGUSER} = 'postgres';

	foreach my $i (1 .. $count)
	{
		my $node = PostgreSQL::Test::Cluster->new("n$i");
		my $port = PostgreSQL::Test::Cluster::get_free_port();

		$node->init(extra => [ '-U', 'postgres', '-E', 'UTF8', '--no-locale' ]);
		$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'dlog'
dlog.node_name = 'n$i'
dlog.port = $port
wal_level = replica
log_statement = none
log_line_prefix = '%m %b[%p] %q%a '
@{[ $options{conf} // '' ]}
CONF
		$node->start;
		push @{ $self->{nodes} }, $node;
		push @{ $self->{ports} }, $port;

		$node->safe_psql('postgres', "CREATE DATABASE \"$self->{database}\"")
		  if $self->{database} ne 'postgres';
		$self->sql($i, 'CREATE EXTENSION dlog;' . slurp_file($stop_points))
		  if $options{extension} // 1;
	}
	$self->join_all if $count > 1 && ($options{join} // 1) && ($options{extension} // 1);

	return $self;
}

# Join every node to the first, and wait until all links are up.
sub join_all
{
	my ($self) = @_;
	my $count = $self->count;

	foreach my $i (2 .. $count)
	{
		$self->sql($i, 'SELECT dlog.join(' . quote($self->conninfo(1)) . ')');
	}
	$self->wait_for_links($_) foreach (1 .. $count);
	return;
}

# Wait until this node knows "others" others (default: all) with links up.
sub wait_for_links
{
	my ($self, $i, $others) = @_;
	$others //= $self->count - 1;

	$self->wait_until($i,
		"SELECT count(*) = $others FROM dlog.links WHERE state = 'up'");
	return;
}

# The PostgreSQL::Test::Cluster of a node.
sub node
{
	my ($self, $i) = @_;
	return $self->{nodes}[ $i - 1 ] // die "there is no node $i";
}

sub count
{
	my ($self) = @_;
	return scalar @{ $self->{nodes} };
}

sub database
{
	my ($self) = @_;
	return $self->{database};
}

# The TCP port at which a node waits for others.
sub dlog_port
{
	my ($self, $i) = @_;
	return $self->{ports}[ $i - 1 ];
}

# A connection string for dlog.join().
sub conninfo
{
	my ($self, $i) = @_;
	my $node = $self->node($i);
	return sprintf("host=%s port=%d user=postgres dbname='%s'",
		$node->host, $node->port, $self->{database});
}

# Run SQL and return its output; die if it fails.
sub sql
{
	my ($self, $i, $sql, %options) = @_;
	return $self->node($i)->safe_psql($self->{database}, $sql, %options);
}

# Run SQL on every node.
sub sql_everywhere
{
	my ($self, $sql) = @_;
	return map { $self->sql($_, $sql) } (1 .. $self->count);
}

# Run SQL that fails; returns what it says, SQLSTATE included.
sub sql_error
{
	my ($self, $i, $sql) = @_;
	my ($status, $output, $error) = $self->node($i)->psql(
		$self->{database}, "\\set VERBOSITY verbose\n$sql");

	die "this did not fail: $sql" if $status == 0;
	return $error;
}

# Wait until a query returns what is expected (default: 't').
sub wait_until
{
	my ($self, $i, $query, $expected) = @_;

	$self->node($i)->poll_query_until($self->{database}, $query, $expected)
	  or die "node $i: this did not become true: $query";
	return;
}

# The children of a process whose title matches, in /proc: some of dlog's
# processes are in no view of the server.
sub children
{
	my ($parent, $title) = @_;
	my @pids;

	foreach my $directory (glob '/proc/[0-9]*')
	{
		my $stat = eval { slurp_file("$directory/stat") } // next;
		next unless $stat =~ /^(\d+) \(.*\) \S (\d+) /s && $2 == $parent;
		my $pid = $1;
		my $command = eval { slurp_file("$directory/cmdline") } // next;
		push @pids, $pid if $command =~ $title;
	}
	return sort { $a <=> $b } @pids;
}

# The processes of a node whose title matches, for example qr/dlog scheduler/.
sub worker_pids
{
	my ($self, $i, $title) = @_;
	return children($self->node($i)->{_pid}, $title);
}

# The network process: the child of the transport worker.
sub network_pid
{
	my ($self, $i) = @_;
	my ($transport) = $self->worker_pids($i, qr/dlog transport/);
	my ($network) = defined $transport ? children($transport, qr/dlog network/) : ();
	return $network;
}

# Kill the network process of a node, and wait until there is another.
sub kill_network
{
	my ($self, $i, $signal) = @_;
	my $old = $self->network_pid($i) // die "node $i has no network process";

	kill $signal // 'KILL', $old;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $new = $self->network_pid($i);
		return $new if defined $new && $new != $old;
		select(undef, undef, undef, 0.1);
	}
	die "node $i did not get a new network process";
}

# A string as an SQL literal.
sub quote
{
	my ($string) = @_;
	$string =~ s/'/''/g;
	return "'$string'";
}

1;
