-- A distributed table has everything that the table had, and its rows; and
-- undistributed it is the same table again.  Here one node has all partitions;
-- t/040_distribute.pl has more nodes.
SET client_min_messages = warning;
CREATE SCHEMA app;
CREATE ROLE app_owner;
CREATE ROLE app_reader;
GRANT CREATE, USAGE ON SCHEMA app TO app_owner;
GRANT USAGE ON SCHEMA app TO app_reader;
CREATE TYPE app.mood AS ENUM ('calm', 'bright');
CREATE TABLE app.events (
    id bigint NOT NULL,
    user_id bigint,
    dropped int,
    mood app.mood DEFAULT 'calm',
    amount numeric(10,2) CHECK (amount > 0),
    name text COMPRESSION pglz COLLATE "C" DEFAULT 'it''s',
    twice bigint GENERATED ALWAYS AS (id * 2) STORED,
    tags text[],
    PRIMARY KEY (id, user_id),
    UNIQUE (user_id, name) INCLUDE (amount) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT short CHECK (length(name) < 100)
) WITH (fillfactor = 70, toast.autovacuum_enabled = off);
ALTER TABLE app.events DROP COLUMN dropped;
ALTER TABLE app.events ADD CONSTRAINT unproven CHECK (id <> 13) NOT VALID;
ALTER TABLE app.events ALTER tags SET STORAGE EXTERNAL, ALTER amount SET STATISTICS 50,
    ALTER amount SET (n_distinct = -0.5);
CREATE INDEX ON app.events (lower(name) text_pattern_ops DESC) INCLUDE (mood) WHERE amount > 5;
CREATE INDEX "Tags of, events" ON app.events USING gin (tags) WITH (fastupdate = off);
CREATE UNIQUE INDEX "Only One" ON app.events (user_id, lower(name)) WHERE amount > 5;
CREATE STATISTICS app.together (ndistinct) ON id, amount FROM app.events;
ALTER STATISTICS app.together SET STATISTICS 70;
COMMENT ON TABLE app.events IS 'what''s happened';
COMMENT ON COLUMN app.events.name IS 'a name';
COMMENT ON INDEX app."Tags of, events" IS 'an index';
COMMENT ON CONSTRAINT short ON app.events IS 'a check';
COMMENT ON CONSTRAINT events_pkey ON app.events IS 'a key';
COMMENT ON STATISTICS app.together IS 'statistics';
CREATE POLICY mine ON app.events FOR SELECT TO app_reader, app_owner USING (id > 3);
CREATE POLICY strict ON app.events AS RESTRICTIVE USING (true) WITH CHECK (amount < 1000000);
COMMENT ON POLICY mine ON app.events IS 'a policy';
ALTER TABLE app.events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, OWNER TO app_owner,
    REPLICA IDENTITY FULL;
GRANT SELECT ON app.events TO app_reader;
GRANT INSERT ON app.events TO PUBLIC;
GRANT UPDATE (name, mood) ON app.events TO app_reader WITH GRANT OPTION;
INSERT INTO app.events (id, user_id, mood, amount, name, tags)
SELECT i, i % 100, 'bright', i / 10.0, 'name ' || i, ARRAY['a', 'b' || i % 7]
FROM generate_series(20, 2000) i;

-- all that can be said of a table, and what belongs to its storage
CREATE FUNCTION pg_temp.definition(source regclass) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT dlog.definition_columns(source) UNION ALL
    SELECT dlog.definition_alterations(source) UNION ALL
    SELECT dlog.definition_settings(source) UNION ALL
    SELECT dlog.definition_grants(source) UNION ALL
    SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = source $$;
CREATE FUNCTION pg_temp.storage(source regclass) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT dlog.definition_storage(source) UNION ALL
    SELECT relreplident::text FROM pg_class WHERE oid = source UNION ALL
    SELECT concat_ws(' ', name, kind, definition, timing, description)
    FROM dlog.definition_keys(source) $$;
CREATE TEMP TABLE before AS SELECT line FROM pg_temp.definition('app.events') line;
CREATE TEMP TABLE stored AS SELECT line FROM pg_temp.storage('app.events') line;
CREATE TEMP TABLE rows AS SELECT * FROM app.events;
\pset format unaligned
\pset tuples_only on
SELECT line FROM before;
SELECT line FROM stored;
\pset format aligned
\pset tuples_only off

SET client_min_messages = notice;
SELECT dlog.distribute_table('app.events', by => 'user_id', partitions => 4);
SET client_min_messages = warning;
SELECT "table", key, partitions, nodes, keys FROM dlog.distributed_tables;
SELECT partition, bounds, node, is_local, bytes > 0 AS has_bytes FROM dlog.partitions ORDER BY 1;
SELECT dlog.local_partitions('app.events');
SELECT partition, node, rows, bytes > 0 AS has_bytes FROM dlog.partition_sizes('app.events') ORDER BY 1;
-- what a node that joins is told: every partition is elsewhere
SELECT count(*), string_agg(DISTINCT schema || '.' || name, ', ') FROM json_to_recordset(dlog.definitions())
    d (schema text, schema_owner text, name text, script text);
SELECT line FROM string_to_table(dlog.definition_script('app.events'), E'\n') line
WHERE line ~ 'PARTITION|UNIQUE';
SELECT relkind FROM pg_class WHERE oid = 'app.events'::regclass;
-- nothing is lost and nothing is new
SELECT line FROM before EXCEPT ALL SELECT pg_temp.definition('app.events');
SELECT pg_temp.definition('app.events') EXCEPT ALL SELECT line FROM before;
(SELECT * FROM rows EXCEPT ALL SELECT * FROM app.events) UNION ALL
(SELECT * FROM app.events EXCEPT ALL SELECT * FROM rows);
-- each partition has the keys, under names of its own
SELECT pg_temp.storage('app.events_2');
SELECT pg_temp.definition('app.events_2');

-- it works
SELECT dlog.partition_node('app.events_2');
INSERT INTO app.events (id, user_id, amount) VALUES (5001, 7, 1) RETURNING id, mood, name, twice;
INSERT INTO app.events (id, user_id, amount) VALUES (5001, 7, 1);
INSERT INTO app.events (id, user_id, amount) VALUES (5002, 7, 0);
UPDATE app.events SET user_id = 8 WHERE id = 5001;
SELECT tableoid::regclass IN (SELECT dlog.local_partitions('app.events')) FROM app.events WHERE id = 5001;
SET ROLE app_reader;
SELECT count(*) FROM app.events;
UPDATE app.events SET amount = 1;
RESET ROLE;
DELETE FROM app.events WHERE id = 5001;

-- and back
SET client_min_messages = notice;
SELECT dlog.undistribute_table('app.events');
SET client_min_messages = warning;
SELECT line FROM before EXCEPT ALL SELECT pg_temp.definition('app.events');
SELECT pg_temp.definition('app.events') EXCEPT ALL SELECT line FROM before;
SELECT line FROM stored EXCEPT ALL SELECT pg_temp.storage('app.events');
SELECT pg_temp.storage('app.events') EXCEPT ALL SELECT line FROM stored;
(SELECT * FROM rows EXCEPT ALL SELECT * FROM app.events) UNION ALL
(SELECT * FROM app.events EXCEPT ALL SELECT * FROM rows);
SELECT count(*) FROM dlog.distributed_table;
SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p', 'f');

-- all of it or nothing
BEGIN;
SELECT dlog.distribute_table('app.events', by => 'user_id', partitions => 4);
ROLLBACK;
SELECT line FROM before EXCEPT ALL SELECT pg_temp.definition('app.events');
SELECT count(*) FROM dlog.distributed_table;

-- several columns, NULL keys, no rows, no columns but the key
CREATE TABLE app.several (a int, b text);
INSERT INTO app.several VALUES (NULL, NULL), (NULL, 'x'), (1, NULL), (2, 'y');
SELECT dlog.distribute_table('app.several', ARRAY['a', 'b'], 3);
SELECT key, partitions FROM dlog.distributed_tables;
SELECT * FROM app.several ORDER BY a, b;
CREATE TABLE app.default_count (id uuid DEFAULT gen_random_uuid());
SELECT dlog.distribute_table('app.default_count', 'id');
SELECT count(*) FROM app.default_count;
SELECT count(*) FROM dlog.partitions WHERE "table" = 'app.default_count'::regclass;

-- names with quotes, spaces, and 63 bytes of UTF-8
CREATE SCHEMA "A ""schema""; --";
CREATE TABLE "A ""schema""; --"."Ünïcödé tàblé wïth sîxty-thrèè bÿtes öf nàmé, ând \q'" (
    "the 'Key'" text, "Größe %s %I $1" int, PRIMARY KEY ("the 'Key'"));
INSERT INTO "A ""schema""; --"."Ünïcödé tàblé wïth sîxty-thrèè bÿtes öf nàmé, ând \q'"
SELECT i, i FROM generate_series(1, 100) i;
SELECT octet_length(relname::text) FROM pg_class WHERE relname LIKE 'Ünïcödé%' AND relkind = 'r';
SELECT dlog.distribute_table('"A ""schema""; --"."Ünïcödé tàblé wïth sîxty-thrèè bÿtes öf nàmé, ând \q''"', 'the ''Key''', 12);
SELECT count(*), sum("Größe %s %I $1")
FROM "A ""schema""; --"."Ünïcödé tàblé wïth sîxty-thrèè bÿtes öf nàmé, ând \q'";
SELECT relname, octet_length(relname::text) FROM pg_class
WHERE relnamespace = '"A ""schema""; --"'::regnamespace AND relname LIKE '%\_11' ORDER BY relname;
SELECT dlog.undistribute_table('"A ""schema""; --"."Ünïcödé tàblé wïth sîxty-thrèè bÿtes öf nàmé, ând \q''"');
SELECT count(*), sum("Größe %s %I $1")
FROM "A ""schema""; --"."Ünïcödé tàblé wïth sîxty-thrèè bÿtes öf nàmé, ând \q'";

-- the owner need not be a superuser
GRANT CREATE ON SCHEMA app TO app_owner;
SET ROLE app_owner;
CREATE TABLE app.own (id int PRIMARY KEY);
SELECT dlog.distribute_table('app.own', 'id', 2);
SELECT count(*) FROM app.own;
SELECT dlog.undistribute_table('app.own');
RESET ROLE;

DROP SCHEMA app, "A ""schema""; --" CASCADE;
SELECT count(*) FROM dlog.distributed_table;
DROP ROLE app_owner, app_reader;
