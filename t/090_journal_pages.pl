
# Rows leave the mailbox page by page, and entries get into the index of a
# journal many at a time: what is logged of that makes the same pages on a
# standby and after a crash, and the index is as the server's own checks want it.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $actors = 20;
my $cluster = DlogCluster->new(nodes => 1, conf => <<'CONF');
wal_level = replica
max_wal_senders = 4
hot_standby = on
dlog.min_schedulers = 4
CONF
$cluster->sql(1, <<"SQL");
CREATE EXTENSION amcheck;
CREATE EXTENSION pageinspect;
CREATE TYPE add AS (n int, filler text);
CREATE TABLE actors (number int, actor dlog.actor_ref);
CREATE FUNCTION add(state bigint, m add) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS
	\$\$BEGIN RETURN coalesce(state, 0) + m.n; END\$\$;
SELECT dlog.create_behavior('tally', 'bigint', handlers => '{add}', durable => true, mailbox_limit => 100000);
INSERT INTO actors SELECT i, dlog.spawn('tally') FROM generate_series(0, $actors - 1) i;
SQL
my $primary = $cluster->node(1);
$primary->append_conf('pg_hba.conf', "local replication all trust\nhost replication all 127.0.0.1/32 trust");
$primary->reload;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
chmod 0600, $standby->data_dir . '/dlog_node_key' or die $!;
$standby->start;

my $sent = 0;

# So many messages in each of some sessions' transactions, round about.
sub send_messages
{
	my ($sessions, $transactions, $n, $filler) = @_;
	$primary->pgbench("-n -c $sessions -t $transactions", 0, [qr/processed: \d+/], [], 'send messages',
		{ 'send' . $sent => "SELECT count(dlog.send(actor, ROW(1, repeat('x', $filler))::add)) FROM generate_series(1, $n) i"
			  . " JOIN actors ON number = i % $actors;" });
	$sent += $sessions * $transactions * $n;
}

my $journal_indexes = <<'SQL';
SELECT inhrelid::regclass FROM pg_inherits JOIN pg_class ON oid = inhrelid
WHERE relkind = 'i' AND inhparent IN
	(SELECT indexrelid FROM pg_index JOIN pg_inherits ON indrelid = inhrelid WHERE inhparent = 'dlog.journal_entry'::regclass)
SQL

# All that is on the pages of the mailbox and of the indexes, but for what is no
# more than a hint, and for command numbers, which nobody looks at later.
sub pages    # a line each
{
	my ($node) = @_;
	return $node->safe_psql('postgres', <<"SQL");
SELECT count(*) || ' rows ' || md5(string_agg(page || ' ' || item::text, ',' ORDER BY page, lp))
FROM generate_series(0, pg_relation_size('dlog.mailbox') / 8192 - 1) page,
	LATERAL (SELECT lp, (lp, lp_off, lp_flags, lp_len, t_xmin, t_xmax, t_ctid, t_infomask2, t_infomask & ~3840, t_data) item
		FROM heap_page_items(get_raw_page('dlog.mailbox', page::int))) items;
SELECT count(*) || ' entries ' || md5(string_agg(index || ' ' || page || ' ' || item::text, ',' ORDER BY index, page, itemoffset))
FROM ($journal_indexes) i (index), LATERAL generate_series(1, pg_relation_size(index) / 8192 - 1) page,
	LATERAL (SELECT itemoffset, (itemoffset, ctid, itemlen, data, htid) item FROM bt_page_items(index::text, page::int)) items;
SQL
}

sub indexes_are_right
{
	my ($node, $where) = @_;
	is($node->safe_psql('postgres', "SELECT count(bt_index_check(index, true)) > 0 FROM ($journal_indexes) i (index)"), 't',
		"$where: the index of the journal is as the server wants it");
	is($node->safe_psql('postgres', <<"SQL"), "$sent|$actors|t", "$where: all entries are there, without a gap");
SET enable_seqscan = off;
SELECT sum(n), count(*), bool_and(n = last AND found = n)
FROM (SELECT count(*) n, max(seq) last, (SELECT count(*) FROM dlog.journal_tally j WHERE j.actor = e.actor AND seq > 0) found
	FROM dlog.journal_tally e GROUP BY e.actor) a
SQL
	is($node->safe_psql('postgres', 'SELECT count(*) FROM dlog.mailbox'), 0, "$where: and none is in the mailbox any more");
}

my $all_handled = "SELECT sum(dlog.state(actor)::text::bigint) = %d FROM actors";

send_messages(4, 5, 1000, 0);
$cluster->wait_until(1, sprintf($all_handled, $sent));
$cluster->sql(1, 'CHECKPOINT');
send_messages(4, 20, 100, 100);
send_messages(2, 100, 1, 0);
$cluster->wait_until(1, sprintf($all_handled, $sent));
indexes_are_right($primary, 'primary');
$primary->wait_for_catchup($standby);
is(pages($standby), pages($primary), 'the standby has the same pages');
indexes_are_right($standby, 'standby');

# Pages are used again, by rows of another length.
$cluster->sql(1, 'VACUUM dlog.mailbox');
send_messages(4, 5, 1000, 10);
$cluster->wait_until(1, sprintf($all_handled, $sent));
my $before = pages($primary) =~ s/.*\n//r;
$primary->stop('immediate');
$primary->start;
is(pages($primary) =~ s/.*\n//r, $before, 'the index has the same pages after a crash');
is($cluster->sql(1, 'SELECT sum(dlog.state(actor)::text::bigint) FROM actors'), $sent, 'the states are as they were');
indexes_are_right($primary, 'after a crash');
$primary->wait_for_catchup($standby);
is(pages($standby), pages($primary), 'and so has the standby');
indexes_are_right($standby, 'standby again');

# A server that compares all pages with what its log makes of them finds no difference.
$cluster->sql(1, "ALTER SYSTEM SET wal_consistency_checking = 'all'");
$primary->reload;
send_messages(4, 5, 500, 10);
$cluster->wait_until(1, sprintf($all_handled, $sent));
$cluster->sql(1, 'SELECT count(*) FROM dlog.mailbox');
send_messages(4, 5, 500, 10);
$cluster->wait_until(1, sprintf($all_handled, $sent));
$primary->wait_for_catchup($standby);
indexes_are_right($standby, 'a standby that checks');

done_testing();
