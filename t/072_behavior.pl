
# Behaviors are in dumps: restored, they are checked, may be used by the same
# roles, and what they need cannot be dropped.  After an upgrade of the server,
# which brings rows and no dependencies, the dependencies come back.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use DlogCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DlogCluster->new(nodes => 1, database => 'shop');
my $node = $cluster->node(1);

$cluster->sql(1, <<'SQL');
CREATE ROLE clerk;
CREATE ROLE boss;
CREATE SCHEMA "Odd schema" AUTHORIZATION boss;
CREATE TYPE state AS (n int, parts text[]);
CREATE TYPE "Odd schema"."add, it" AS (by int);
CREATE TYPE get AS ();
CREATE FUNCTION init(n int, numeric(3,1)) RETURNS state LANGUAGE sql AS 'SELECT ROW(n, NULL)::state';
CREATE FUNCTION "Odd schema"."han dle"(state, "Odd schema"."add, it") RETURNS state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION "Odd schema"."han dle"(state, get) RETURNS state LANGUAGE sql AS 'SELECT $1';
SELECT dlog.create_behavior('"Odd schema".counter', 'state', 'init', '{"\"Odd schema\".\"han dle\""}',
	mailbox_limit => 17, handler_timeout => '3 s');
ALTER DOMAIN "Odd schema".counter OWNER TO boss;
GRANT USAGE ON DOMAIN "Odd schema".counter TO clerk;
COMMENT ON DOMAIN "Odd schema".counter IS 'it counts';

-- what mentions the behavior, in ways that order a dump
ALTER TYPE get ADD ATTRIBUTE reply_to "Odd schema".counter;
CREATE FUNCTION json_handle(jsonb, get) RETURNS jsonb LANGUAGE sql
BEGIN ATOMIC
	SELECT CASE WHEN NULL::"Odd schema".counter IS NULL THEN $1 END;
END;
SELECT dlog.create_behavior('a_json', 'jsonb', handlers => '{json_handle}');
CREATE TABLE carts (id int PRIMARY KEY, actor "Odd schema".counter, any_actor dlog.actor_ref, peers a_json[]);
INSERT INTO carts VALUES (1, 'dlog://77/5/1.2.3', 'dlog://0/0/0.0.9', ARRAY['dlog://1/1/1.1.1'::a_json]);
SQL

my $behaviors = <<'SQL';
SELECT behavior, owner, state, init, messages, handlers, mailbox_limit, handler_timeout, privileges, description
FROM dlog.behaviors ORDER BY behavior::text
SQL
my $before = $cluster->sql(1, $behaviors);
like($before, qr/han dle.*clerk=U/s, 'there are behaviors');

# What a restored database must be like.
sub is_whole
{
	my ($database, $name) = @_;

	is($node->safe_psql($database, $behaviors), $before, "$name: the same behaviors");
	is($node->safe_psql($database, 'TABLE carts'),
		'1|dlog://77/5/1.2.3|dlog://0/0/0.0.9|{dlog://1/1/1.1.1}', "$name: the same references");
	my ($status, $output, $error) = $node->psql($database, 'DROP FUNCTION init(int, numeric)');
	like($error, qr/cannot drop function init.*counter depends on/s, "$name: a function in use stays");
	($status, $output, $error) = $node->psql($database, 'DROP FUNCTION json_handle(jsonb, get)');
	like($error, qr/cannot drop function json_handle.*a_json depends on/s, "$name: another one, too");
	is($node->safe_psql($database,
			'SET client_min_messages = warning; BEGIN; DROP TYPE state CASCADE; SELECT count(*) FROM dlog.behaviors; ROLLBACK'),
		'0', "$name: and they go together");
	return;
}

my $file = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('shop'), '-f', "$file.sql" ], 'a dump as text');
$node->safe_psql('postgres', 'CREATE DATABASE as_text');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('as_text'), '-f', "$file.sql" ],
	'is restored');
is_whole('as_text', 'text');

$node->command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('shop'), '-f', "$file.custom" ], 'a dump in an archive');
$node->safe_psql('postgres', 'CREATE DATABASE as_archive');
$node->command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('as_archive'), "$file.custom" ],
	'is restored by two');
is_whole('as_archive', 'archive');

# A row that lies is refused.
my ($status, $output, $error) = $node->psql('as_text', <<'SQL');
INSERT INTO dlog.behavior SELECT 'text', state, functions FROM dlog.behavior LIMIT 1;
SQL
like($error, qr/type text is not a domain over dlog.actor_ref/, 'no behavior that is none');
($status, $output, $error) = $node->psql('as_text', <<'SQL');
CREATE DOMAIN liar AS dlog.actor_ref;
INSERT INTO dlog.behavior VALUES ('liar', 'text', ARRAY['public.init(integer,numeric)']);
SQL
like($error, qr/function init\(integer,numeric\) returns state and cannot be init of behavior "liar"/,
	'none that cannot work');

# After pg_upgrade there are the rows, and types of the same oids.
$node->safe_psql('shop', <<'SQL');
SET allow_system_table_mods = on;
DELETE FROM pg_depend WHERE classid = 'pg_type'::regclass AND refclassid IN ('pg_proc'::regclass, 'pg_type'::regclass)
	AND deptype = 'n' AND objid IN (SELECT typarray FROM dlog.behavior JOIN pg_type t ON t.oid = behavior);
SQL
is($node->safe_psql('shop', $behaviors), $before, 'behaviors are found by the names of their functions');
$node->restart;
$cluster->wait_until(1, <<'SQL', '2');
SELECT count(DISTINCT objid) FROM pg_depend
WHERE classid = 'pg_type'::regclass AND refclassid = 'pg_proc'::regclass
	AND deptype = 'n' AND objid IN (SELECT typarray FROM dlog.behavior JOIN pg_type t ON t.oid = behavior)
SQL
is_whole('shop', 'upgrade');

done_testing();
