-- A wrong message is refused when the statement is planned, wherever the type
-- of the reference says which behavior it is of.
CREATE SCHEMA bp;
SET search_path = bp;
CREATE TYPE state AS (n int);
CREATE TYPE add AS (by int);
CREATE TYPE "Get it" AS ();
CREATE TYPE other AS (x int);
CREATE FUNCTION handle(state, add) RETURNS state LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION handle(state, "Get it") RETURNS state LANGUAGE sql AS 'SELECT $1';
SELECT dlog.create_behavior('counter', 'state', handlers => '{handle}');
-- a function as dlog.send() is one
CREATE FUNCTION post(dlog.actor_ref, "any") RETURNS regtype LANGUAGE internal VOLATILE STRICT AS 'pg_typeof'
SUPPORT dlog.message_support;

-- columns
CREATE TABLE carts (id int PRIMARY KEY, actor counter, any_actor dlog.actor_ref);
EXPLAIN (COSTS OFF) SELECT post(actor, ROW(1)::add) FROM carts;
EXPLAIN (COSTS OFF) SELECT post(actor, ROW(1)::other) FROM carts;
EXPLAIN (COSTS OFF) SELECT post(actor, ROW(1)) FROM carts;
EXPLAIN (COSTS OFF) SELECT post(actor, 'x') FROM carts;
EXPLAIN (COSTS OFF) SELECT post(actor, 1) FROM carts;
EXPLAIN (COSTS OFF) SELECT post(actor, carts) FROM carts;
EXPLAIN (COSTS OFF) SELECT post(any_actor, ROW(1)::other) FROM carts;
EXPLAIN (COSTS OFF) SELECT post(s.a, ROW()::"Get it") FROM (SELECT actor AS a FROM carts) s;
EXPLAIN (COSTS OFF) SELECT post(s.a, ROW(1)::other) FROM (SELECT actor AS a FROM carts) s;
EXPLAIN (COSTS OFF) SELECT 1 FROM carts WHERE post(actor, ROW(1)::other) IS NULL;

-- variables, arguments, parameters
DO $$
DECLARE
    a counter := 'dlog://1/1/1.1.1';
    b dlog.actor_ref := 'dlog://1/1/1.1.1';
BEGIN
    RAISE NOTICE '%', post(a, ROW(1)::add);
    RAISE NOTICE '%', post(b, ROW(1)::other);
    RAISE NOTICE '%', post(a, ROW(1)::other);
END $$;
CREATE FUNCTION right(counter, int) RETURNS regtype LANGUAGE sql AS 'SELECT bp.post($1, ROW($2)::bp.add)';
CREATE FUNCTION wrong(counter, int) RETURNS regtype LANGUAGE sql AS 'SELECT bp.post($1, ROW($2)::bp.other)';
EXPLAIN (COSTS OFF) SELECT bp.right(actor, 1) FROM carts;
EXPLAIN (COSTS OFF) SELECT wrong(actor, 1) FROM carts;
PREPARE p(counter) AS SELECT post($1, ROW(1)::other);
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE p('dlog://1/1/1.1.1');
RESET plan_cache_mode;
DEALLOCATE p;

-- a domain over the behavior
CREATE DOMAIN vip AS counter NOT NULL;
CREATE TABLE vips (a vip);
EXPLAIN (COSTS OFF) SELECT post(a, ROW(1)::add) FROM vips;
EXPLAIN (COSTS OFF) SELECT post(a, ROW(1)::other) FROM vips;

-- a domain that is no behavior says nothing
CREATE DOMAIN nobody AS dlog.actor_ref;
CREATE TABLE nobodies (a nobody);
EXPLAIN (COSTS OFF) SELECT post(a, ROW(1)::other) FROM nobodies;

-- what it takes can change, in this session and in others
SELECT dlog.alter_behavior('counter', drop_messages => '{add}');
EXPLAIN (COSTS OFF) SELECT post(actor, ROW(1)::add) FROM carts;
CREATE FUNCTION handle(state, other) RETURNS state LANGUAGE sql AS 'SELECT $1';
SELECT n FROM dlog.execute('here', $$SELECT dlog.alter_behavior('bp.counter', handlers => '{"bp.handle(bp.state,bp.other)"}') IS NULL$$) AS e(n bool);
EXPLAIN (COSTS OFF) SELECT post(actor, ROW(1)::other) FROM carts;

-- the support function itself is of no use to anybody else
CREATE FUNCTION one(dlog.actor_ref) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4um' SUPPORT dlog.message_support;
EXPLAIN (COSTS OFF) SELECT one(actor) FROM carts;

SET client_min_messages = warning;
DROP SCHEMA bp CASCADE;
