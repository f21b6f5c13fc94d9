-- What can be a replicated table, what may be changed of one, and what it is
-- again when it is not replicated any more.  Here one node has the only copy;
-- t/045_replicate.pl has more nodes.
SET client_min_messages = warning;
CREATE SCHEMA small;
CREATE ROLE small_owner;
CREATE ROLE small_reader;
GRANT CREATE, USAGE ON SCHEMA small TO small_owner;
GRANT USAGE ON SCHEMA small TO small_reader;

-- refused
CREATE TABLE small.keyless (a int);
SELECT dlog.replicate_table('small.keyless');
CREATE TABLE small.late (a int PRIMARY KEY DEFERRABLE);
SELECT dlog.replicate_table('small.late');
CREATE TABLE small.numbered (a serial PRIMARY KEY);
SELECT dlog.replicate_table('small.numbered');
CREATE TABLE small.referring (a int PRIMARY KEY REFERENCES small.numbered);
SELECT dlog.replicate_table('small.referring');
CREATE TEMPORARY TABLE passing (a int PRIMARY KEY);
SELECT dlog.replicate_table('passing');
CREATE UNLOGGED TABLE small.unlogged (a int PRIMARY KEY);
SELECT dlog.replicate_table('small.unlogged');
CREATE VIEW small.view AS SELECT 1 AS a;
SELECT dlog.replicate_table('small.view');
SELECT dlog.replicate_table('pg_class');
SELECT dlog.replicate_table(0);
SELECT dlog.unreplicate_table('small.keyless');
CREATE TABLE small.spread (a int PRIMARY KEY);
SELECT dlog.distribute_table('small.spread', by => 'a', partitions => 2);
SELECT dlog.replicate_table('small.spread');
SELECT dlog.replicate_table('small.spread_0');

-- a table with everything
CREATE TABLE small.kinds (
    kind int,
    "of it" text COLLATE "C",
    label text NOT NULL CHECK (label <> ''),
    twice int GENERATED ALWAYS AS (kind * 2) STORED,
    PRIMARY KEY (kind, "of it")
);
INSERT INTO small.kinds SELECT i, 'x' || i, 'label ' || i FROM generate_series(1, 5) i;
ALTER TABLE small.kinds OWNER TO small_owner;
GRANT SELECT ON small.kinds TO small_reader;
SET ROLE small_reader;
SELECT dlog.replicate_table('small.kinds');
SET ROLE small_owner;
SELECT dlog.replicate_table('small.kinds');
SELECT dlog.replicate_table('small.kinds');
SELECT * FROM dlog.replicated_tables;
SELECT dlog.distribute_table('small.kinds', by => 'kind');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'small.kinds'::regclass ORDER BY 1;

-- rows are changed in all ways
INSERT INTO small.kinds VALUES (6, 'x6', 'six');
UPDATE small.kinds SET kind = kind + 10 WHERE kind = 6;
INSERT INTO small.kinds VALUES (1, 'x1', 'one') ON CONFLICT (kind, "of it") DO UPDATE SET label = excluded.label;
MERGE INTO small.kinds k USING (VALUES (2), (7)) v (kind) ON k.kind = v.kind
    WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.kind, 'x7', 'seven');
DELETE FROM small.kinds WHERE kind = 3;
SELECT * FROM small.kinds ORDER BY kind;
BEGIN;
TRUNCATE small.kinds;
SELECT count(*) FROM small.kinds;
ROLLBACK;
SELECT count(*) FROM small.kinds;

-- what another node does to a copy
SELECT dlog.replicated_apply('small.kinds', 'i', NULL,
    ARRAY[(8, 'x8', 'eight', 0), (9, 'x9', 'nine', 0)]::small.kinds[]);
SELECT dlog.replicated_apply('small.kinds', 'u',
    ARRAY[(8, 'x8', 'eight', 0), (9, 'x9', 'nine', 0)]::small.kinds[],
    ARRAY[(9, 'x9', 'neun', 0), (10, 'x10', 'zehn', 0)]::small.kinds[]);
SELECT * FROM small.kinds WHERE kind >= 8 ORDER BY kind;
SELECT dlog.replicated_apply('small.kinds', 'd', ARRAY[(9, 'x9', 'neun', 0), (99, 'x', 'y', 0)]::small.kinds[], NULL);
SELECT dlog.replicated_apply('small.kinds', 'x', NULL, ARRAY[(9, 'x9', 'neun', 0)]::small.kinds[]);
SELECT dlog.replicated_apply('small.kinds', 'd', NULL, NULL::small.kinds[]);
SELECT dlog.replicated_apply('small.kinds', 'i', NULL, ARRAY[1]);
SELECT dlog.replicated_apply(NULL, 'i', NULL, ARRAY[1]);
SET ROLE small_reader;
SELECT dlog.replicated_apply('small.kinds', 't', NULL, NULL::small.kinds[]);
SET ROLE small_owner;

-- its definition is changed on all nodes, or not at all
ALTER TABLE small.kinds ADD COLUMN note text DEFAULT 'none', ADD UNIQUE (label);
CREATE INDEX ON small.kinds (lower(label));
CREATE UNIQUE INDEX ON small.kinds (note, kind);
ALTER TABLE small.kinds RENAME COLUMN note TO remark;
ALTER TABLE small.kinds DROP COLUMN remark;
ALTER TABLE small.kinds DROP CONSTRAINT kinds_pkey;
ALTER TABLE small.kinds ALTER kind ADD GENERATED ALWAYS AS IDENTITY;
ALTER TABLE small.kinds SET SCHEMA public;
ALTER TABLE small.kinds DISABLE TRIGGER dlog_insert;
DROP TRIGGER dlog_insert ON small.kinds;
CREATE FUNCTION small.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER mine AFTER INSERT ON small.kinds EXECUTE FUNCTION small.f();
CREATE RULE mine AS ON INSERT TO small.kinds DO ALSO NOTHING;
CREATE TABLE small.child () INHERITS (small.kinds);
RESET ROLE;
ALTER SCHEMA small RENAME TO little;

-- an ordinary table again
SELECT dlog.unreplicate_table('small.kinds');
SELECT * FROM dlog.replicated_tables;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'small.kinds'::regclass;
ALTER TABLE small.kinds ADD COLUMN serial serial;
SELECT count(*) FROM small.kinds;

-- dropped
CREATE TABLE small.more (a int PRIMARY KEY);
SELECT dlog.replicate_table('small.more');
DROP TABLE small.more;
SELECT * FROM dlog.replicated_tables;
SELECT dlog.replicate_before();
DROP SCHEMA small CASCADE;
DROP ROLE small_owner, small_reader;
