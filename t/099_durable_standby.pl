
# A standby is promoted when its primary has died: durable actors go on from
# the last commit that it has received, and so does what is on its way between
# them and another node.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 2, conf => <<'CONF');
wal_level = replica
max_wal_senders = 4
hot_standby = on
dlog.min_schedulers = 2
dlog.connect_timeout = 2s
CONF
$cluster->sql_everywhere(<<'SQL');
CREATE TYPE note AS (n int);
CREATE TABLE notes (n int, id serial);
CREATE FUNCTION note(state int, m note) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO notes VALUES (m.n);
	RETURN coalesce(state, 0) + 1;
END $$;
CREATE FUNCTION noted(state int, m note) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + 1;
CREATE TYPE remind AS (n int);
CREATE FUNCTION remind(state int, m remind) RETURNS int STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dlog.send_after('1 day', ROW(m.n)::public.note);
	RETURN state;
END $$;
SELECT dlog.create_behavior('notary', 'int', handlers => '{note,remind}', apply => '{noted}', durable => true);
SQL
my $primary = $cluster->node(1);
my $near = $cluster->sql(1, "SELECT dlog.spawn('notary', name => 'near')");
my $busy = $cluster->sql(1, "SELECT dlog.spawn('notary', name => 'busy')");
my $reminded = $cluster->sql(1, "SELECT dlog.spawn('notary', name => 'reminded')");
my $far = $cluster->sql(2, "SELECT dlog.spawn('notary', name => 'far')");

$primary->append_conf('pg_hba.conf', "local replication all trust\nhost replication all 127.0.0.1/32 trust");
$primary->reload;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
# The copy of the backup is not pg_basebackup's, and has made the key readable.
chmod 0600, $standby->data_dir . '/dlog_node_key' or die $!;
$standby->start;

# So the numbers of its actors are greater than when the standby has started.
$primary->restart;
$cluster->sql(1, "SELECT dlog.spawn('notary')");

$cluster->sql(1, "SELECT dlog.send('$near', ROW(i)::note) FROM generate_series(1, 100) i");
$cluster->sql(1, "SELECT dlog.send('$far', ROW(i)::note) FROM generate_series(1, 100) i");
$cluster->sql(2, "SELECT dlog.send('$near', ROW(100 + i)::note) FROM generate_series(1, 100) i");
$cluster->wait_until(1, 'SELECT count(*) = 200 FROM notes');
$cluster->wait_until(2, 'SELECT count(*) = 100 FROM notes');
$cluster->wait_until($_, 'SELECT NOT EXISTS (SELECT FROM dlog.outbox)') foreach (1, 2);

# What waits in a mailbox, and in the outbox of a node that has no link.
$cluster->sql(1, "SELECT dlog.suspend('$busy')");
$cluster->sql(1, "SELECT dlog.send('$busy', ROW(1000 + i)::note) FROM generate_series(1, 10) i");
$cluster->sql(1, "SELECT dlog.send('$reminded', ROW(2000)::remind)");
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.durable_timer', 1);
$cluster->node(2)->stop;
$cluster->sql(1, "SELECT dlog.send('$far', ROW(9000 + i)::note) FROM generate_series(1, 3) i");
$cluster->wait_until(1, 'SELECT count(*) FROM dlog.outgoing WHERE is_under_way', 3);
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM dlog.mailbox'), 10, 'the standby has what waits');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM notes'), 200, 'and handles none of it');

# From here on the standby hears nothing: these commits will be lost.
$standby->append_conf('postgresql.conf', "primary_conninfo = ''");
$standby->reload;
$standby->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)') or die 'the standby still listens';
$cluster->node(2)->start;
$cluster->wait_until(2, 'SELECT count(*) = 103 FROM notes');
$cluster->sql(1, "SELECT dlog.send('$near', ROW(5000)::note)");
$cluster->sql(1, "SELECT dlog.send('$far', ROW(5000 + i)::note) FROM generate_series(1, 7) i");
$cluster->wait_until(1, 'SELECT EXISTS (SELECT FROM notes WHERE n = 5000)');
$cluster->wait_until(2, 'SELECT count(*) = 110 FROM notes');
$cluster->sql(2, "SELECT dlog.send('$near', ROW(6000)::note)");
$cluster->wait_until(1, 'SELECT EXISTS (SELECT FROM notes WHERE n = 6000)');
$cluster->wait_until(2, 'SELECT NOT EXISTS (SELECT FROM dlog.outbox)');
# More than the numbers that the server logs ahead.
my @lost = split /\n/, $cluster->sql(1, "SELECT dlog.spawn('notary') FROM generate_series(1, 40)");
$primary->kill9;

$standby->promote;
$cluster->{nodes}[0] = $standby;

$cluster->wait_until(1, "SELECT dlog.state('$busy')::text = '10'");
pass('what waited in the mailbox of the primary is handled by the standby');
is($cluster->sql(1, "SELECT dlog.state('$near')"), 200, 'each actor is as the last commit that came left it');
is($cluster->sql(1, 'SELECT count(*), max(n) FROM notes'), '210|1010', 'and so are the tables');
$cluster->sql(1, "SELECT dlog.send('$near', ROW(300 + i)::note) FROM generate_series(1, 5) i");
$cluster->wait_until(1, "SELECT dlog.state('$near')::text = '205'");
is($cluster->sql(1, "SELECT count(*), min(seq), max(seq) FROM dlog.journal WHERE actor = '$near'"), '205|1|205',
	'they go on, and the journal has no gap');

# --- actors that were spawned in lost commits ---
my %is_lost = map { $_ => 1 } @lost;
my @spawned = split /\n/, $cluster->sql(1, "SELECT dlog.spawn('notary') FROM generate_series(1, 80)");
is(scalar(@lost) . ' ' . scalar(@spawned) . ' ' . scalar(grep { $is_lost{$_} } @spawned), '40 80 0', 'no new actor has the number of one that is lost');

# --- the other node ---
$cluster->sql(1, "SELECT dlog.send('$far', ROW(7000 + i)::note) FROM generate_series(1, 20) i");
$cluster->wait_until(2, 'SELECT count(*) >= 130 FROM notes');
$cluster->wait_until(1, 'SELECT NOT EXISTS (SELECT FROM dlog.outbox)');
is($cluster->sql(2, 'SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE n BETWEEN 7001 AND 8000) FROM notes'), '130|130|20',
	'what it sends to another node is neither taken for what was lost nor sent twice');
$cluster->sql(2, "SELECT dlog.send('$near', ROW(8000 + i)::note) FROM generate_series(1, 20) i");
$cluster->wait_until(1, 'SELECT count(*) = 20 FROM notes WHERE n > 8000');
$cluster->wait_until(2, 'SELECT NOT EXISTS (SELECT FROM dlog.outbox)');
is($cluster->sql(1, "SELECT dlog.state('$near')"), 225, 'what another node sends is taken once');
is($cluster->sql(1, 'SELECT missed, forgotten FROM dlog.deliveries'), '1|7', 'what was taken, and what was sent, in lost commits is counted');

# --- its timers ---
is($cluster->sql(1, "SELECT count(*), min(due) > now() FROM dlog.durable_timer"), '1|t', 'the standby has the timers');
$cluster->sql(1, 'UPDATE dlog.durable_timer SET due = now()');
$standby->restart;
$cluster->wait_until(1, 'SELECT count(*) FROM notes WHERE n = 2000', 1);
is($cluster->sql(1, "SELECT dlog.state('$reminded')"), 1, 'which go off there');

done_testing();
