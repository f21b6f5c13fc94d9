
# The mailbox of a durable actor is full: a session waits, or gets an error if
# it prefers that; an actor that sends is undone and tried again.  Nothing is
# dropped.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use IPC::Run;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, conf => "dlog.min_schedulers = 2");
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE TYPE note AS (n int);
CREATE TYPE pass AS (n int);
CREATE FUNCTION note(state text, m note) RETURNS text IMMUTABLE LANGUAGE sql RETURN concat_ws(' ', state, m.n);
CREATE FUNCTION pass(state int, m pass) RETURNS int STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.send(dlog.whereis('small'), ROW(m.n)::public.note);
	RETURN m.n;
END $$;
SELECT dlog.create_behavior('small', 'text', handlers => '{note}', durable => true, mailbox_limit => 3);
SELECT dlog.create_behavior('passer', 'int', handlers => '{pass}', durable => true, max_failures => 1);
SELECT dlog.spawn('small', name => 'small'), dlog.spawn('passer', name => 'passer');
SELECT dlog.suspend(dlog.whereis('small'));
SELECT dlog.send(dlog.whereis('small'), ROW(i)::note) FROM generate_series(1, 3) i;
SQL

# A session that sends, and has to wait.
sub sender
{
	my ($n) = @_;
	my ($output, $error) = ('', '');
	my $handle = IPC::Run::start(
		[ $node->installed_command('psql'), '-XqAt', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', "SELECT dlog.send(dlog.whereis('small'), ROW($n)::note)" ],
		'<', \undef, '>', \$output, '2>', \$error);

	$cluster->wait_until(1, "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT dlog.send.*ROW.$n' AND wait_event_type = 'Extension'", 1);
	return { handle => $handle, error => \$error };
}

like($cluster->sql_error(1, q{SET dlog.full_mailbox = error; SELECT dlog.send(dlog.whereis('small'), ROW(0)::note)}), qr/53400: /, 'an error, if the session prefers that');
my $cancelled = sender(4);
my $waits = sender(5);
$cluster->sql(1, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT dlog.send.*ROW.4'});
$cancelled->{handle}->finish;
like(${ $cancelled->{error} }, qr/57014: /, 'who waits can be cancelled');

# Three of an actor, which finds no room for any of them.
$cluster->sql(1, q{SELECT dlog.send(dlog.whereis('passer'), ROW(i)::pass) FROM generate_series(6, 8) i});
$cluster->wait_until(1, q{SELECT dlog.state(dlog.whereis('passer')) IS NULL AND (SELECT count(*) FROM dlog.mailbox) = 6});
is($cluster->sql(1, q{SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT dlog.send.*ROW.5' AND state = 'active'}), 1, 'the other one waits');
$cluster->sql(1, q{SELECT dlog.resume(dlog.whereis('small'))});
$waits->{handle}->finish;
is(${ $waits->{error} }, '', 'and has sent when there is room');
$cluster->wait_until(1, q{SELECT count(*) FROM dlog.journal WHERE name = 'small'}, 7);
my $state = $cluster->sql(1, q{SELECT dlog.state(dlog.whereis('small'))});
is(join(' ', sort split / /, $state), '1 2 3 5 6 7 8', 'all of it has come once, but for what was cancelled');
is(join(' ', grep { $_ != 5 } split / /, $state), '1 2 3 6 7 8', 'in order');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.quarantined'), 0, 'to find no room is no failure of a message');
is($cluster->sql(1, 'SELECT count(*) FROM dlog.mailbox'), 0, 'nothing is left');

# What is given up gives its place back.
$cluster->sql(1, q{SELECT dlog.suspend(dlog.whereis('small'))});
$cluster->sql(1, q{BEGIN; SELECT dlog.send(dlog.whereis('small'), ROW(i)::note) FROM generate_series(1, 3) i; ROLLBACK});
$cluster->sql(1, q{SET dlog.full_mailbox = error; SELECT dlog.send(dlog.whereis('small'), ROW(i)::note) FROM generate_series(9, 11) i});
like($cluster->sql_error(1, q{BEGIN; SET dlog.full_mailbox = wait; SELECT dlog.resume(dlog.whereis('small')); SELECT dlog.send(dlog.whereis('small'), ROW(i)::note) FROM generate_series(1, 4) i; COMMIT}),
	qr/53400: /, 'a transaction that has filled the mailbox itself does not wait for itself');

# --- two transactions wait for each other's places ---
$cluster->sql(1, q{SELECT dlog.resume(dlog.whereis('small'))});
$cluster->wait_until(1, q{SELECT count(*) FROM dlog.journal WHERE name = 'small'}, 10);
my $barrier = $node->background_psql('postgres');
$barrier->query('SELECT pg_advisory_lock(1)');

# A transaction that sends these, and one more when the barrier is gone.
sub rival
{
	my ($setting, @n) = @_;
	my ($output, $error) = ('', '');
	my @send = map { "SELECT dlog.send(dlog.whereis('small'), ROW($_)::note)" } @n;
	my $last = pop @send;
	my @sql = ($setting, 'BEGIN', @send, 'SELECT pg_advisory_xact_lock_shared(1)', $last, 'COMMIT');
	my $handle = IPC::Run::start(
		[ $node->installed_command('psql'), '-XqAt', '-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), map { ('-c', $_) } @sql ],
		'<', \undef, '>', \$output, '2>', \$error);

	return { handle => $handle, error => \$error };
}

my $gives_way = rival('SET deadlock_timeout = 1', 21, 22);
my $goes_on = rival(q{SET deadlock_timeout = '1h'}, 23, 24, 25);
$cluster->wait_until(1, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 2);
$barrier->quit;
$gives_way->{handle}->finish;
like(${ $gives_way->{error} }, qr/53400: .*is full\nDETAIL:  Transactions that have not committed have all its 3 places/, 'of two that wait for each other one gives way');
$goes_on->{handle}->finish;
is(${ $goes_on->{error} }, '', 'and the other one goes on');
$cluster->wait_until(1, q{SELECT dlog.state(dlog.whereis('small')) LIKE '% 11 23 24 25'});
is($cluster->sql(1, q{SELECT count(*) FROM dlog.journal WHERE name = 'small'}), 13, 'only what it has sent is there');

done_testing();
