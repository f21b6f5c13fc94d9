/*
 * test_schema.sql
 *		What tests on a throw-away server can use.
 */
SET client_min_messages = warning;
CREATE EXTENSION dlog;
\ir t/stop_points.sql
CREATE SCHEMA test;

/*
 * Wait until a condition, given as an SQL expression, is true.  It fails
 * rather than waits for ever, and says what it waited for.
 */
CREATE FUNCTION test.wait_until(condition text, seconds int DEFAULT 30) RETURNS void
LANGUAGE plpgsql VOLATILE AS
$$
DECLARE
    deadline timestamptz := clock_timestamp() + make_interval(secs => seconds);
    is_true boolean;
BEGIN
    LOOP
        PERFORM pg_stat_clear_snapshot();
        EXECUTE 'SELECT ' || condition INTO is_true;
        EXIT WHEN is_true;
        IF clock_timestamp() > deadline THEN
            RAISE EXCEPTION 'still not true after % s: %', seconds, condition;
        END IF;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;

/*
 * Actors of this session, by number, and what they can do: the functions of
 * src/runtime/testfuncs.c.
 */
CREATE FUNCTION test.actor_spawn(behavior text) RETURNS integer
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_actor_spawn';
CREATE FUNCTION test.actor_address(actor integer) RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_actor_address';
CREATE FUNCTION test.actor_exit(actor integer) RETURNS void
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_actor_exit';
-- "receiver" is an address, or a database's name for its dispatcher
CREATE FUNCTION test.actor_send(actor integer, receiver text, content text) RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_actor_send';
CREATE FUNCTION test.actor_receive(actor integer, timeout_ms integer DEFAULT 10000) RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_actor_receive';
CREATE FUNCTION test.actor_monitor(actor integer, other text) RETURNS void
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_actor_monitor';
CREATE FUNCTION test.actor_demonitor(actor integer, other text) RETURNS void
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_actor_demonitor';

-- the arena: random use; a process killed in the middle of it
CREATE FUNCTION test.arena_churn(rounds integer, seed integer) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_arena_churn';
CREATE FUNCTION test.arena_crash(kills integer) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_arena_crash';
CREATE FUNCTION test.arena_fill(size integer) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_arena_fill';
CREATE FUNCTION test.arena_take() RETURNS void
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_arena_take';
CREATE FUNCTION test.arena_lost() RETURNS bigint
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_arena_lost';

-- native actors in a ring, which check the order of what they pass on; the
-- session's actor is told when a token arrives
CREATE FUNCTION test.ring_create(master integer, actors integer) RETURNS text[]
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_ring_create';
CREATE FUNCTION test.ring_start(actor text, hops integer, bytes integer) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_ring_start';
CREATE FUNCTION test.ring_send(actor text, what text) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_ring_send';

-- a native actor that does what test.actor_send() tells it, see testfuncs_victim.c
CREATE FUNCTION test.victim_spawn() RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_victim_spawn';
CREATE FUNCTION test.victims_spawn(actors integer, state_size integer) RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_victims_spawn';

-- native actors that flood each other, see testfuncs_flood.c
CREATE FUNCTION test.flooder_spawn() RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_flooder_spawn';
CREATE FUNCTION test.actor_shard(actor text) RETURNS integer
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_actor_shard';

-- names, links and timers; actors by their addresses
CREATE FUNCTION test.name_register(actor text, name text) RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_name_register';
CREATE FUNCTION test.name_unregister(name text) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_name_unregister';
CREATE FUNCTION test.name_lookup(name text) RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_name_lookup';
CREATE FUNCTION test.link(one text, other text) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_link';
CREATE FUNCTION test.unlink(one text, other text) RETURNS void
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_unlink';
CREATE FUNCTION test.send_exit(sender text, receiver text, reason text) RETURNS void
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_send_exit';
CREATE FUNCTION test.timer_set(owner text, receiver text, content text, ms bigint,
                               repeats boolean DEFAULT false) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_timer_set';
CREATE FUNCTION test.timer_cancel(timer bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_timer_cancel';

/*
 * A supervisor in a world of its own, with a fake clock: a script goes in,
 * and comes back with what the supervisor did at each line.
 *
 * supervisor STRATEGY [max_restarts=5] [within=10000] [any_significant |
 * all_significant] [backoff=MS] [backoff_max=MS] [jitter=PART]; child NAME
 * [permanent | transient | temporary] [shutdown=MS | brutal_kill | infinity]
 * [significant] [supervisor]; begin; stop; show; start_child NAME ...,
 * terminate_child, terminate_instance, restart_child, delete_child NAME; what befalls a
 * child: fail, finish (normal), leave (shutdown), die (killed), up; what its
 * actor is from now on: slow, broken, idle, stubborn, normal; after MS;
 * random PART.
 */
CREATE FUNCTION test.supervisor(script text) RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_supervisor';

-- the next time after this one; of intervals, counted from 2000-01-01 UTC
CREATE FUNCTION test.schedule(expression text, zone text, after timestamptz) RETURNS timestamptz
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_schedule';

/*
 * Merges that "members" values cost when they come, change and go, one after the
 * other; and whether sums and concatenations were right all the time
 * (src/deploy/testfuncs.c).
 */
CREATE FUNCTION test.partials(members integer, OUT is_right boolean, OUT per_join float8, OUT per_change float8, OUT per_leave float8)
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_partials';
