# stops.pl PSQL SOCKET-DIRECTORY PORTS STOPS WANTED-MS
#	Stop a query again and again, each time in the next of four ways, and print
#	how long the other nodes went on.

use strict;
use warnings;
use IPC::Open2;
use List::Util qw(max);
use Time::HiRes qw(usleep);

my ($psql, $directory, $ports, $stops, $wanted_ms) = @ARGV;
my @ports = split /,/, $ports;
$| = 1;

# A session that answers one statement at a time.
package Session;

sub new
{
	my ($class, $port) = @_;
	my $self = bless {}, $class;

	# What the stopped ones say is expected.
	open my $errors, '>&', \*STDERR;
	open STDERR, '>', '/dev/null';
	$self->{pid} = IPC::Open2::open2($self->{out}, $self->{in}, $psql, '-X', '-q', '-A', '-t',
		'-h', $directory, '-p', $port, '-U', 'postgres', '-d', 'postgres');
	open STDERR, '>&', $errors;
	$self->{in}->autoflush(1);
	return $self;
}

sub send
{
	my ($self, $sql) = @_;
	print { $self->{in} } "$sql;\n\\echo ==\n";
	return;
}

sub receive
{
	my ($self) = @_;
	my $answer = '';

	while (defined(my $line = readline $self->{out}))
	{
		last if $line eq "==\n";
		$answer .= $line;
	}
	chomp $answer;
	return $answer;
}

sub query
{
	my ($self, $sql) = @_;
	$self->send($sql);
	return $self->receive;
}

sub leave
{
	my ($self) = @_;
	close $self->{in};
	close $self->{out};
	waitpid $self->{pid}, 0;
	return;
}

package main;

my @sessions = map { Session->new($_) } @ports;
my ($here, @others) = @sessions;

# When was nothing at work there?  Looked at every half millisecond.
$_->query(<<'SQL') foreach @others;
CREATE FUNCTION at_work() RETURNS bool LANGUAGE sql AS
	$$ SELECT EXISTS (SELECT FROM dlog.queries WHERE side = 'executor') $$;
CREATE PROCEDURE idle_since(INOUT since float8) LANGUAGE plpgsql AS $$
BEGIN
	WHILE at_work() LOOP
		PERFORM pg_sleep(0.0005);
	END LOOP;
	since := extract(epoch FROM clock_timestamp());
END $$
SQL

# The nodes compute and send nothing yet; or they wait for a slow reader.
my @queries = (
	'SELECT sum(length(repeat(md5(v::text), 10000))) FROM t',
	'SELECT id FROM t WHERE length(repeat(md5(v::text), 10000)) > 0 ORDER BY id',
	'SELECT pad, pg_sleep(0.001) FROM t');
my $timeout_ms = 300;
my %took;

for (my $n = 0; $n < $stops; $n++)
{
	my $way = (qw(cancel timeout terminate disconnect))[ $n % 4 ];
	my $session = Session->new($ports[0]);
	my $pid = $session->query('SELECT pg_backend_pid()');
	my $begun;

	$session->query("SET statement_timeout = $timeout_ms") if $way eq 'timeout';
	$session->send($queries[ ($n >> 2) % @queries ]);
	foreach my $other (@others)
	{
		my $tries = 0;
		usleep 1000 while $other->query('SELECT at_work()') ne 't' && $tries++ < 5000;
		die "the query does not run on every node: " . $queries[ ($n >> 2) % @queries ] . "\n" if $tries >= 5000;
	}
	usleep int rand 20000 if $way ne 'timeout';
	$_->send('CALL idle_since(NULL)') foreach @others;

	if ($way eq 'cancel' || $way eq 'terminate')
	{
		($begun) = split /\|/, $here->query(
			"SELECT extract(epoch FROM clock_timestamp()), pg_${way}_backend($pid)");
	}
	elsif ($way eq 'timeout')
	{
		$begun = $here->query("SELECT extract(epoch FROM query_start) + $timeout_ms / 1000.0 FROM pg_stat_activity WHERE pid = $pid");
	}
	else
	{
		$begun = Time::HiRes::time();
		kill 'KILL', $session->{pid};
	}
	push @{ $took{$way} }, 1000 * (max(map { $_->receive } @others) - $begun);
	$session->leave;
}

my $n_missed = 0;
foreach my $way (sort(keys %took), 'all')
{
	my @ms = sort { $a <=> $b } $way eq 'all' ? map { @$_ } values %took : @{ $took{$way} };

	printf "%-10s %3d stops: p50 %6.1f  p99 %6.1f  max %6.1f ms\n", $way, scalar @ms,
	  $ms[ $#ms / 2 ], $ms[ $#ms * 0.99 ], $ms[-1];
	printf "RESULT bench=stop case=%s system=dlog metric=%s value=%.1f\n", $way, @$_
	  foreach [ p50_ms => $ms[ $#ms / 2 ] ], [ p99_ms => $ms[ $#ms * 0.99 ] ], [ max_ms => $ms[-1] ];
	$n_missed += grep { $_ > $wanted_ms } @ms if $way ne 'all';
}
printf "%-7s  stops that took longer than %d ms: %d\n", $n_missed ? 'MISSED' : 'reached', $wanted_ms, $n_missed;
