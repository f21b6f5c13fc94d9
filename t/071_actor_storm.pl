
# A storm: while messages come, a hundred schedulers are terminated, whatever
# they are at, and then the server crashes.  What was sent is handled once.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, conf => "dlog.min_schedulers = 2\nlog_min_messages = fatal");
my $node = $cluster->node(1);

my $terminations = 100;
my $each = 50;
my $all = $terminations * $each;

$cluster->sql(1, <<'SQL');
CREATE TYPE note AS (n int);
CREATE TABLE notes (n int);
CREATE TABLE started (n int);
CREATE FUNCTION notary_init(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO started VALUES (n) RETURNING n';
CREATE FUNCTION note(state int, m note) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO notes VALUES (m.n);
	-- Odd ones tell a neighbour, in the same transaction.
	IF m.n % 2 = 1 AND m.n < 1000000 THEN
		PERFORM dlog.send(child, ROW(m.n + 1000000)::note) FROM notary WHERE id = (state + 1) % 10;
	END IF;
	RETURN state;
END $$;
SELECT dlog.create_behavior('notary_at_work', 'int', 'notary_init', '{note}');
SELECT dlog.create_supervisor('office', max_restarts => 8000);
SELECT dlog.start_child('office', 'notary ' || i, 'notary_at_work', ROW(i), on_failure => 'retry', retries => 1000)
	FROM generate_series(0, 9) i;
CREATE TABLE notary (id int PRIMARY KEY, child dlog.actor_ref);
CREATE PROCEDURE storm(terminations int, each int) LANGUAGE plpgsql AS $$
DECLARE
	victim int;
BEGIN
	FOR i IN 0 .. terminations - 1 LOOP
		PERFORM dlog.send(child, ROW(i * each + j)::note) FROM generate_series(1, each) j JOIN notary ON id = j % 10;
		COMMIT;
		LOOP
			SELECT pid INTO victim FROM dlog.schedulers ORDER BY random() LIMIT 1;
			EXIT WHEN pg_terminate_backend(victim);
			PERFORM pg_sleep(0.002);
		END LOOP;
		-- It is gone before the next one goes.
		WHILE EXISTS (SELECT FROM dlog.schedulers WHERE pid = victim) LOOP
			PERFORM pg_sleep(0.002);
		END LOOP;
	END LOOP;
END $$;
SQL
my $are_up = "SELECT active FROM dlog.count_children('office')";
$cluster->wait_until(1, $are_up, '10');
my $remember = <<'SQL';
TRUNCATE notary;
INSERT INTO notary SELECT substr(name, 8)::int, child FROM dlog.which_children('office');
SQL
$cluster->sql(1, $remember);

$cluster->sql(1, "SET client_min_messages = error; CALL storm($terminations, $each)");
my $wanted = $all + $all / 2;
$cluster->wait_until(1, 'SELECT count(*) FROM notes', $wanted);
is($cluster->sql(1, 'SELECT count(DISTINCT n) FROM notes'), $wanted,
	"$terminations schedulers were terminated: nothing is lost, nothing handled twice");
$cluster->wait_until(1, $are_up, '10');
pass('and whoever was at work has been restarted');

# --- a crash in the middle: mailboxes are memory, what was done stays done ----

$cluster->sql(1, 'TRUNCATE notes, started');
$cluster->sql(1, "SELECT dlog.send(child, ROW(i)::note) FROM generate_series(1, $all) i JOIN notary ON id = i % 10");
$cluster->wait_until(1, 'SELECT EXISTS (SELECT FROM notes)');
$node->stop('immediate');
$node->start;
$cluster->wait_until(1, $are_up, '10');
is($cluster->sql(1, 'SELECT count(*) - count(DISTINCT n) FROM notes'), '0', 'a crash: nothing is handled twice');
is($cluster->sql(1, 'SELECT count(*) FROM notes a WHERE n > 1000000 AND NOT EXISTS (SELECT FROM notes b WHERE b.n = a.n - 1000000)'),
	'0', 'and nothing was heard of what did not happen');
is($cluster->sql(1, 'SELECT count(*) FROM (SELECT n FROM started GROUP BY n HAVING count(*) = 1) s'), '10',
	'each actor was started once again');
$cluster->sql(1, 'TRUNCATE notes');
$cluster->sql(1, $remember);
$cluster->sql(1, "SELECT dlog.send(child, ROW(2 * id)::note) FROM notary");
$cluster->wait_until(1, 'SELECT count(*) FROM notes', '10');
pass('and works');

done_testing();
