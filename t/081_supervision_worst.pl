
# The worst moments of a supervisor: the scheduler that spawns a child for it
# exits in the middle, and it is killed when there is no memory left.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, conf => "dlog.shared_memory_size = '16MB'\ndlog.mailbox_limit = 1000000\n");

$cluster->sql(1, <<'SQL');
CREATE TABLE gate (is_shut boolean);
CREATE FUNCTION passes(text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM gate) THEN PERFORM pg_sleep(1000); END IF;
	RETURN true;
END $$;
CREATE DOMAIN passer AS text CHECK (passes(VALUE));
CREATE TYPE go AS ();
CREATE TYPE fill AS (bytes text);
CREATE FUNCTION w_init(name passer) RETURNS text LANGUAGE sql AS 'SELECT name::text';
CREATE FUNCTION w_go(state text, m go) RETURNS text LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION w_fill(state text, m fill) RETURNS text LANGUAGE sql AS 'SELECT state';
SELECT dlog.create_behavior('worker', 'text', 'w_init', '{w_go,w_fill}');
CREATE FUNCTION state_of(supervisor text, child text) RETURNS text LANGUAGE sql AS
	'SELECT w.state FROM dlog.which_children(supervisor) w WHERE w.name = $2';
SELECT dlog.create_supervisor('app', max_restarts => 20);
SELECT dlog.start_child('app', 'c', 'worker', ROW('c'));
SQL
$cluster->wait_until(1, "SELECT state_of('app', 'c') = 'running'");

# --- a child's spawn is lost with its scheduler -----------------------------

$cluster->sql(1, "SELECT dlog.terminate_child('app', 'c')");
$cluster->sql(1, 'INSERT INTO gate VALUES (true)');
like($cluster->sql_error(1, "SET statement_timeout = '300 ms'; SELECT dlog.restart_child('app', 'c')"),
	qr/57014/, 'a child whose arguments take long is waited for');
my $sleeps = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type LIKE 'dlog scheduler%'";
$cluster->wait_until(1, "SELECT count(*) = 1 $sleeps");
$cluster->sql(1, 'DELETE FROM gate');
$cluster->sql(1, "SELECT pg_terminate_backend(pid) $sleeps");
$cluster->wait_until(1, "SELECT state_of('app', 'c') = 'stopped'");
pass('a child whose spawn is lost with its scheduler has failed to start');
$cluster->sql(1, "SELECT dlog.restart_child('app', 'c')");
is($cluster->sql(1, "SELECT state_of('app', 'c')"), 'running', 'and is started as before');

# --- no memory is left ------------------------------------------------------

$cluster->sql(1, <<'SQL');
SELECT dlog.start_child('app', 'd' || i, 'worker', ROW('d' || i)) FROM generate_series(1, 20) i;
SELECT dlog.create_supervisor('below', parent => 'app');
SELECT dlog.start_child('below', 'e' || i, 'worker', ROW('e' || i)) FROM generate_series(1, 5) i;
SQL
$cluster->wait_until(1, "SELECT count(*) = 26 FROM dlog.actors WHERE behavior = 'worker' AND state = 'idle'");
$cluster->sql(1, <<'SQL');
CREATE TABLE schedulers AS SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'dlog scheduler%';
SELECT dlog.spawn('worker', ROW('full'), name => 'full');
SQL
$cluster->sql(1, <<'SQL');
SELECT dlog.suspend(dlog.whereis('full'));
SELECT dlog.register('name ' || i, dlog.whereis('full')) FROM generate_series(1, 50) i;
DO $$
DECLARE
	size int;
BEGIN
	FOREACH size IN ARRAY ARRAY[60000, 15000, 4000, 1000, 200, 0] LOOP
		BEGIN
			LOOP
				BEGIN
					PERFORM dlog.send(dlog.whereis('full'), ROW(repeat('x', size))::fill);
				EXCEPTION WHEN configuration_limit_exceeded THEN EXIT;
				END;
			END LOOP;
		END;
	END LOOP;
END $$;
SQL
like($cluster->sql_error(1, "SELECT dlog.send(dlog.whereis('full'), ROW('x')::fill)"), qr/53400/, 'there is no memory left');

# A name gives its memory back, and that is all that the kill gets.
$cluster->sql(1, <<'SQL');
CREATE TABLE killed AS SELECT NULL::int AS names WHERE false;
DO $$
DECLARE
	app dlog.actor_ref := (SELECT actor FROM dlog.actors WHERE behavior = 'supervisor' ORDER BY spawned_at LIMIT 1);
BEGIN
	FOR i IN 1 .. 50 LOOP
		PERFORM dlog.unregister('name ' || i);
		BEGIN
			PERFORM dlog.kill(app);
			INSERT INTO killed VALUES (i);
			EXIT;
		EXCEPTION WHEN configuration_limit_exceeded THEN NULL;
		END;
	END LOOP;
END $$;
SQL
is($cluster->sql(1, 'SELECT count(*) FROM killed'), '1', 'a supervisor is killed');
$cluster->wait_until(1, "SELECT count(*) = 0 FROM dlog.actors WHERE behavior = 'supervisor'");
$cluster->wait_until(1, "SELECT count(*) = 1 FROM dlog.actors WHERE behavior = 'worker'");
pass('its children, and those of the supervisor below, end without memory');
is($cluster->sql(1, "SELECT count(*) FROM schedulers LEFT JOIN pg_stat_activity a USING (pid) WHERE a.pid IS NULL"),
	'0', 'and no scheduler with them');
done_testing();
