-- What changes a distributed table changes all of its partitions; what cannot
-- be done on every node is refused, and so is what would change one node alone.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA changing;
CREATE ROLE changer;
CREATE ROLE granted;
GRANT USAGE, CREATE ON SCHEMA changing TO changer;
GRANT USAGE ON SCHEMA changing TO granted;
SET search_path = changing;
CREATE TYPE mood AS ENUM ('calm');
CREATE FUNCTION is_good(int) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN $1 > 0;
CREATE TABLE events (id int, user_id int, mood mood, note text, PRIMARY KEY (id, user_id));
SELECT dlog.distribute_table('events', 'user_id', 2);
INSERT INTO events SELECT i, i, 'calm', i FROM generate_series(1, 10) i;

-- what is looked up on the way is the server's, whatever others have in their schemas
SET ROLE changer;
CREATE FUNCTION trap(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    ALTER ROLE changer SUPERUSER;
    RETURN false;
END $$;
CREATE OPERATOR changing.= (FUNCTION = trap, LEFTARG = oid, RIGHTARG = regclass);
RESET ROLE;
ALTER TABLE events ADD COLUMN y int;
ALTER TABLE events DROP COLUMN y;
SELECT rolsuper FROM pg_roles WHERE rolname = 'changer';
DROP FUNCTION trap CASCADE;

-- columns and constraints
ALTER TABLE events ADD COLUMN z int DEFAULT 7, ADD CHECK (z > 0);
ALTER TABLE events ALTER z DROP DEFAULT, ALTER z SET NOT NULL, ALTER z TYPE bigint;
ALTER TABLE events RENAME z TO zz;
ALTER TABLE events RENAME CONSTRAINT events_z_check TO positive;
INSERT INTO events (id, user_id, zz) VALUES (11, 11, 0);
SELECT dlog.definition_columns(p) FROM dlog.local_partitions('events') p;
ALTER TABLE events DROP COLUMN zz;
ALTER TABLE events ADD CONSTRAINT good CHECK (is_good(id)) NOT VALID;
ALTER TABLE events VALIDATE CONSTRAINT good;
ALTER TABLE events ADD COLUMN a serial;
ALTER TABLE events ADD COLUMN a int GENERATED ALWAYS AS IDENTITY;
ALTER TABLE events ADD COLUMN a int UNIQUE;
ALTER TABLE events ADD COLUMN a int REFERENCES events;
ALTER TABLE events ADD UNIQUE (user_id);
ALTER TABLE events DROP CONSTRAINT events_pkey;
ALTER TABLE events DROP COLUMN user_id;
ALTER TABLE events RENAME TO happened;
SELECT "table" FROM dlog.distributed_tables;
ALTER TABLE happened RENAME TO events;

-- indexes and statistics
CREATE INDEX ON events (note) WHERE note <> ' ON ONLY ';
CREATE INDEX IF NOT EXISTS events_note_idx ON events (id);
SELECT indexname FROM pg_indexes WHERE schemaname = 'changing' ORDER BY 1;
ALTER INDEX events_note_idx RENAME TO noted;
COMMENT ON INDEX noted IS 'an index';
DROP INDEX noted;
CREATE UNIQUE INDEX ON events (user_id, note);
CREATE INDEX ON ONLY events (note);
CREATE STATISTICS both_columns ON id, note FROM events;
DROP STATISTICS both_columns;

-- privileges, policies, comments, owner
GRANT SELECT, UPDATE (note) ON events TO granted;
GRANT INSERT ON ALL TABLES IN SCHEMA changing TO granted;
REVOKE INSERT ON ALL TABLES IN SCHEMA changing FROM granted;
SELECT dlog.definition_grants('events');
CREATE POLICY p ON events FOR SELECT TO granted USING (id > 3);
ALTER POLICY p ON events USING (id > 5);
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
SET ROLE granted;
SELECT count(*) FROM events;
RESET ROLE;
DROP OWNED BY granted;
ALTER POLICY p ON events RENAME TO q;
DROP POLICY q ON events;
REVOKE ALL ON events FROM granted;
COMMENT ON COLUMN events.note IS 'a note';
COMMENT ON TABLE events IS 'a table';
ALTER TABLE events OWNER TO changer;
SELECT relname, relowner::regrole FROM pg_class
WHERE relnamespace = 'changing'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1;
REASSIGN OWNED BY changer TO granted;

-- what is not for one node, or not for one partition
ALTER TABLE events SET SCHEMA public;
ALTER SCHEMA changing RENAME TO changed;
ALTER TABLE events DETACH PARTITION events_0;
CREATE TABLE events_x PARTITION OF events FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE outer_table (LIKE events) PARTITION BY LIST (id);
ALTER TABLE outer_table ATTACH PARTITION events DEFAULT;
CREATE TRIGGER t BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER t BEFORE INSERT ON events_0 FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE RULE r AS ON INSERT TO events DO INSTEAD NOTHING;
CREATE POLICY p ON events_0 USING (true);
ALTER TABLE events_0 ADD COLUMN a int;
ALTER TABLE events_0 RENAME TO first;
ALTER TABLE events_0 SET (fillfactor = 80);
DROP TABLE events_0;
-- what takes a part of the table along
DROP TYPE mood CASCADE;
DROP FUNCTION is_good CASCADE;
SELECT dlog.definition_columns('events');
-- by hand on this node alone
SET dlog.propagate_ddl = off;
ALTER TABLE events DROP CONSTRAINT good;
RESET dlog.propagate_ddl;

-- dropping it
TRUNCATE events;
SELECT count(*) FROM events;
CREATE VIEW seen AS SELECT * FROM events;
DROP TABLE events;
SELECT dlog.undistribute_table('events');
BEGIN;
DROP TABLE events CASCADE;
SELECT count(*) FROM dlog.distributed_table;
ROLLBACK;
DO $$ BEGIN DROP TABLE changing.events CASCADE; RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN NULL; END $$;
SELECT count(*) FROM dlog.partitions;
DROP TABLE outer_table, events CASCADE;
SELECT count(*) FROM dlog.distributed_table;
-- with its owner, and with its schema
SET ROLE changer;
CREATE TABLE own (id int);
SELECT dlog.distribute_table('own', 'id', 2);
RESET ROLE;
DROP OWNED BY changer;
SELECT count(*) FROM dlog.distributed_table;
CREATE TABLE again (id int);
SELECT dlog.distribute_table('again', 'id', 2);
DROP SCHEMA changing;
DROP SCHEMA changing CASCADE;
SELECT count(*) FROM dlog.distributed_table;
DROP ROLE changer, granted;

-- an extension that is dropped leaves partitioned tables behind
CREATE DATABASE other_database;
\c other_database
SET client_min_messages = warning;
CREATE EXTENSION dlog;
CREATE TABLE t (id int);
SELECT dlog.distribute_table('t', 'id', 2);
DROP EXTENSION dlog;
SELECT relname, relkind FROM pg_class WHERE relname ~ '^t(_\d)?$' ORDER BY 1;
DROP TABLE t_0;
\c regression
DROP DATABASE other_database WITH (FORCE);
