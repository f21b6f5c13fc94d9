
# A bank in a storm: durable accounts on two nodes, transfers between them from
# several sessions, and at random a server is stopped at once, a backend, a
# scheduler, the postmaster or the network process is killed.  Then the sum of
# the balances, each account's state, the table of movements and the journal
# agree, and every transfer that was acknowledged is there once.
#
# STORM_SECONDS=30 is how long it blows; STORM_SEED=n repeats the order of what
# is killed, but not the moments.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use POSIX ();

my $seconds = $ENV{STORM_SECONDS} // 30;
my $seed = $ENV{STORM_SEED} // int(time);
my $accounts = 6;    # on each node
my $sessions = 3;    # on each node
my $start_balance = 1000;
srand $seed;
note "STORM_SEED=$seed";

my $cluster = DlogCluster->new(nodes => 2, database => 'bank', conf => <<'CONF');
restart_after_crash = on
dlog.min_schedulers = 2
dlog.connect_timeout = 2s
CONF

$cluster->sql_everywhere(<<'SQL');
CREATE TYPE account AS (number int, balance int);
CREATE TYPE transfer AS (id text, target dlog.actor_ref, amount int);
CREATE TYPE deposit AS (id text, amount int);
CREATE TYPE balance AS ();
CREATE TABLE movement (account int, id text, amount int);
CREATE FUNCTION open_account(number int, balance int) RETURNS account IMMUTABLE LANGUAGE sql
RETURN ROW(number, balance)::account;
CREATE FUNCTION withdrawn(state account, m transfer) RETURNS account IMMUTABLE LANGUAGE sql
RETURN ROW(state.number, state.balance - m.amount)::account;
CREATE FUNCTION on_transfer(state account, m transfer) RETURNS account VOLATILE LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO movement VALUES (state.number, m.id, -m.amount);
	PERFORM dlog.send(m.target, ROW(m.id, m.amount)::deposit);
	PERFORM dlog.reply(m.id);
	RETURN ROW(state.number, state.balance - m.amount)::account;
END $$;
CREATE FUNCTION deposited(state account, m deposit) RETURNS account IMMUTABLE LANGUAGE sql
RETURN ROW(state.number, state.balance + m.amount)::account;
CREATE FUNCTION on_deposit(state account, m deposit) RETURNS account VOLATILE LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO movement VALUES (state.number, m.id, m.amount);
	RETURN ROW(state.number, state.balance + m.amount)::account;
END $$;
SQL

my @open;    # references of all accounts
foreach my $i (1, 2)
{
	$cluster->sql($i, "SELECT dlog.create_behavior('bank_account', 'account', 'open_account', '{on_transfer,on_deposit}', "
		  . "durable => true, apply => '{withdrawn,deposited}', snapshot_every => 50)");
	push @open, split /\n/, $cluster->sql($i,
		"SELECT dlog.spawn('bank_account', ROW(n, $start_balance), name => 'account ' || n) "
		  . "FROM generate_series(($i - 1) * $accounts + 1, $i * $accounts) n ORDER BY n");
}

# --------------------------------------------------------------- the sessions

my $dir = PostgreSQL::Test::Utils::tempdir();

# What a session does: appends what it has tried, what was acknowledged, and
# what can never have happened, since it was rolled back.
sub session
{
	my ($number, $i, $until) = @_;
	my $node = $cluster->node($i);
	my @psql = ($node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('bank'));
	my $count = 0;

	open my $log, '>>', "$dir/session$number" or die $!;
	$log->autoflush(1);
	srand($seed + $number);
	while (time < $until)
	{
		my $script = '';
		foreach (1 .. 8)
		{
			my $transfer = sub {
				my $id = "$number-" . ++$count;
				print $log "tried $id\n";
				my $from = $open[ rand @open ];
				my $to = $open[ rand @open ];
				return ($id, "('$from', ROW('$id', '$to', " . (1 + int(rand 20)) . ')::transfer');
			};
			my ($id, $arguments) = $transfer->();
			my $kind = rand;
			if ($kind < 0.5)
			{
				$script .= "SELECT dlog.send$arguments);\n\\echo ack $id\n";
			}
			elsif ($kind < 0.7)
			{
				$script .= "SELECT dlog.ask$arguments, timeout => interval '3 s');\n\\echo ack $id\n";
			}
			elsif ($kind < 0.9)
			{
				my ($id2, $arguments2) = $transfer->();
				$script .= "BEGIN; SELECT dlog.send$arguments); SELECT dlog.send$arguments2); COMMIT;\n\\echo ack $id\n\\echo ack $id2\n";
			}
			else
			{
				print $log "never $id\n";
				$script .= "BEGIN; SELECT dlog.send$arguments); ROLLBACK;\n";
			}
		}
		open my $file, '>', "$dir/script$number" or die $!;
		print $file $script;
		close $file;
		open my $psql, '-|', 'sh', '-c', '"$@" 2>/dev/null', 'sh', @psql, '-f', "$dir/script$number" or die $!;
		while (my $line = <$psql>)
		{
			print $log $line if $line =~ /^ack /;
		}
		close $psql;
		sleep 0.2 if $? != 0;    # the server is down
	}
	POSIX::_exit(0);
}

# ------------------------------------------------------------------ the storm

sub wait_until_up
{
	my ($i) = @_;
	# The harness dies when its psql has gone before it was written to.
	foreach (1 .. 100)
	{
		return if eval { $cluster->wait_until($i, 'SELECT true'); 1 };
	}
	die "node $i does not come back";
}

sub kill_and_start
{
	my ($node) = @_;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		# Processes of the server that was killed may still be there.  Then the
		# node believes what the old pid file says, until it is killed again.
		$node->kill9;
		return if $node->start(fail_ok => 1);
		sleep 0.1;
	}
	die 'the server did not start again';
}

# Kill one of the node's processes of this title; false: there is none.
sub kill_one
{
	my ($i, $title, $signal) = @_;
	my @pids = $cluster->worker_pids($i, $title);
	return 0 unless @pids && kill $signal, $pids[ rand @pids ];
	wait_until_up($i);
	return 1;
}

my %storm = (
	'a server stopped at once' => sub { $_[1]->stop('immediate'); $_[1]->start; 1 },
	'a postmaster killed' => sub { kill_and_start($_[1]); 1 },
	'a session killed' => sub { kill_one($_[0], qr/: postgres bank \[/, 'KILL') },
	'a scheduler killed' => sub { kill_one($_[0], qr/dlog scheduler/, 'KILL') },
	'a scheduler terminated' => sub { kill_one($_[0], qr/dlog scheduler/, 'TERM') },
	'a network process killed' => sub {
		my $pid = $cluster->network_pid($_[0]);
		return defined $pid && kill 'KILL', $pid;
	},
);
my @kinds = sort keys %storm;
my %count = map { $_ => 0 } @kinds;
my $until = time + $seconds;
my @children;

foreach my $number (1 .. 2 * $sessions)
{
	my $pid = fork // die $!;
	session($number, ($number - 1) % 2 + 1, $until) if $pid == 0;
	push @children, $pid;
}
my @next = @kinds;    # each once, then at random
while (time < $until)
{
	sleep 0.5 + rand 1;
	my $kind = @next ? shift @next : $kinds[ rand @kinds ];
	my $i = 1 + int rand 2;
	$count{$kind}++ if $storm{$kind}->($i, $cluster->node($i));
}
waitpid $_, 0 foreach @children;
note "$_: $count{$_}" foreach @kinds;

# -------------------------------------------------------------- the aftermath

# Nothing waits, anywhere, twice in a row: a message may have been between two
# looks on its way from one place to the next.
my $quiet = 'SELECT NOT EXISTS (SELECT FROM dlog.mailbox) AND NOT EXISTS (SELECT FROM dlog.outbox)';
foreach my $round (1 .. 2)
{
	wait_until_up($_) foreach (1, 2);
	$cluster->wait_until($_, $quiet) foreach (1, 2);
}

my (%tried, %acknowledged, %never);
foreach my $number (1 .. 2 * $sessions)
{
	foreach my $line (split /\n/, slurp_file("$dir/session$number"))
	{
		$tried{$1} = 1 if $line =~ /^tried (\S+)$/;
		$acknowledged{$1} = 1 if $line =~ /^ack (\S+)$/;
		$never{$1} = 1 if $line =~ /^never (\S+)$/;
	}
}
note scalar(keys %tried) . ' transfers, ' . scalar(keys %acknowledged) . ' acknowledged';
cmp_ok(scalar(keys %acknowledged), '>', 0, 'transfers were acknowledged');

sub everywhere
{
	my ($sql) = @_;
	return map { split /\n/ } $cluster->sql_everywhere($sql);
}

is(join(' ', everywhere("SELECT 1 FROM dlog.quarantine UNION ALL SELECT 1 FROM dlog.inbox_refused")), '', 'no message is refused');

my $total = 0;
$total += $_ foreach everywhere("SELECT (dlog.state(dlog.whereis(name), NULL::account)).balance FROM dlog.durable_actors");
is($total, 2 * $accounts * $start_balance, 'the sum of all balances is what it was');
is(join(' ', everywhere(<<SQL)), '', 'state, journal and table of each account agree');
WITH accounts AS (
	SELECT dlog.whereis(name) AS actor, split_part(name, ' ', 2)::int AS number FROM dlog.durable_actors),
journal AS (
	SELECT actor, count(*) AS n, min(seq) AS first, max(seq) AS last FROM dlog.journal GROUP BY actor)
SELECT a.number, j.n, j.first, j.last, m.n, m.total, dlog.state(a.actor), dlog.state_at(a.actor, j.last)
FROM accounts a LEFT JOIN journal j ON j.actor = a.actor
LEFT JOIN (SELECT account, count(*) AS n, sum(amount) AS total FROM movement GROUP BY account) m ON m.account = a.number
WHERE (j.n IS NOT NULL OR m.n IS NOT NULL) AND NOT coalesce(j.first = 1 AND j.last = j.n AND j.n = m.n
	AND dlog.state(a.actor, NULL::account) = ROW(a.number, $start_balance + m.total)::account
	AND dlog.state_at(a.actor, NULL::account, j.last) = dlog.state(a.actor, NULL::account), false)
SQL

my (%debit, %credit);
$debit{$_}++ foreach everywhere('SELECT id FROM movement WHERE amount < 0');
$credit{$_}++ foreach everywhere('SELECT id FROM movement WHERE amount > 0');

# The first few of those that should not be there.
sub is_none
{
	my ($what, @ids) = @_;
	is(join(' ', splice(@ids, 0, 5)), '', $what);
	return;
}
is_none('every acknowledged transfer is there', grep { !$debit{$_} } keys %acknowledged);
is_none('no transfer is there twice', grep { $debit{$_} > 1 } keys %debit);
is_none('nor has come twice', grep { $credit{$_} > 1 } keys %credit);
is_none('what has left has come', grep { !$credit{$_} } keys %debit);
is_none('what has come has left', grep { !$debit{$_} } keys %credit);
is_none('nothing that was rolled back is there', grep { $debit{$_} } keys %never);
is_none('nothing is there that nobody has sent', grep { !$tried{$_} } keys %debit);

# The journals tell the same.
my %journal;
$journal{$_}++ foreach everywhere(
	"SELECT message || ' ' || substring(payload from '^\\(([^,]+),') FROM dlog.journal");
is_none('what is in the tables is in the journals', grep { ($journal{"transfer $_"} // 0) != 1 || ($journal{"deposit $_"} // 0) != 1 } keys %debit);
is(scalar(keys %journal), 2 * keys %debit, 'and nothing else');

done_testing();
