-- Rows of a foreign table are inserted, updated and deleted there, in the
-- asking transaction.
CREATE SERVER here FOREIGN DATA WRAPPER dlog;
CREATE SCHEMA fdw;
SET search_path = fdw, public;
CREATE TABLE t (
    id int PRIMARY KEY,
    name varchar(10) DEFAULT 'there',
    n numeric CHECK (n >= 0),
    twice numeric GENERATED ALWAYS AS (n * 2) STORED
);
CREATE FOREIGN TABLE ft (id int, gone int, name varchar(10) DEFAULT 'here', n numeric,
    twice numeric GENERATED ALWAYS AS (n * 2) STORED) SERVER here OPTIONS (table_name 't');
ALTER FOREIGN TABLE ft DROP COLUMN gone;

-- INSERT
INSERT INTO ft VALUES (1, 'one', 1.5), (2, DEFAULT, NULL);
INSERT INTO ft (id) VALUES (3) RETURNING *;
INSERT INTO ft SELECT i, 'row ' || i, i FROM generate_series(4, 3000) i;
SELECT count(*), sum(n), sum(twice), max(name) FROM t;
COPY ft (id, name) FROM stdin;
5001	copied
5002	\N
\.
SELECT * FROM t WHERE id IN (1, 2, 3, 3000, 5001, 5002) ORDER BY id;

-- an error in the middle leaves nothing
INSERT INTO ft SELECT i, 'x', i - 10 FROM generate_series(10000, 9000, -1) i WHERE i < 10 OR i > 9990 UNION ALL SELECT 20000, 'x', -1;
INSERT INTO ft SELECT 6000 + i, 'x', 1 FROM generate_series(1, 100) i UNION ALL SELECT 1, 'x', 1;
INSERT INTO ft VALUES (6000, 'longer than ten', 1);
INSERT INTO t VALUES (7000, 'x', -1);
SELECT count(*) FROM t WHERE id >= 6000;

-- conflicts
INSERT INTO ft SELECT i, 'again', 0 FROM generate_series(2999, 3002) i ON CONFLICT DO NOTHING;
SELECT id, name FROM t WHERE id BETWEEN 2998 AND 3003 ORDER BY id;
INSERT INTO ft VALUES (3002, 'again', 0), (3003, 'new', 0) ON CONFLICT DO NOTHING RETURNING id;
INSERT INTO ft VALUES (3003, 'again', 1), (3004, 'new', 1) ON CONFLICT (id) DO UPDATE SET name = ft.name || '+' || left(excluded.name, 2), n = 0 RETURNING id, name, n;
EXPLAIN (VERBOSE, COSTS OFF) INSERT INTO ft VALUES (1, 'x', 0) ON CONFLICT (id) WHERE id > 0 DO UPDATE SET name = upper(excluded.name) WHERE ft.n < 5;
\set VERBOSITY sqlstate
INSERT INTO ft VALUES (3005, 'x', 0), (3005, 'x', 0) ON CONFLICT (id) DO UPDATE SET name = 'y';
INSERT INTO ft VALUES (1, 'x', 0) ON CONFLICT (name) DO UPDATE SET name = 'y';
INSERT INTO ft VALUES (1, 'x', 0) ON CONFLICT (id) DO UPDATE SET name = random();
MERGE INTO ft USING (VALUES (1)) v(i) ON id = i WHEN MATCHED THEN DELETE;
\set VERBOSITY default

-- UPDATE and DELETE, in one statement or row by row
EXPLAIN (VERBOSE, COSTS OFF) UPDATE ft SET name = upper(name) WHERE id < 3;
UPDATE ft SET name = upper(name), n = n + 1 WHERE id < 4 RETURNING id, name, n, twice;
EXPLAIN (VERBOSE, COSTS OFF) DELETE FROM ft WHERE id > 2990;
DELETE FROM ft WHERE id > 2990;
DELETE FROM ft WHERE id > 2988 RETURNING *;
CREATE TABLE src (k int, v text);
INSERT INTO src VALUES (10, 'ten'), (11, 'eleven'), (11, 'elf'), (5000, 'none');
UPDATE ft SET name = v, n = 0 FROM src WHERE id = k AND v <> 'elf' RETURNING id, name, v;
UPDATE ft SET name = v FROM src WHERE id = k;
DELETE FROM ft USING src WHERE id = k RETURNING id, k;
SELECT count(*), count(*) FILTER (WHERE id IN (10, 11)) FROM t;
UPDATE ft SET n = -1 WHERE id = 5;
SELECT n FROM t WHERE id = 5;
CREATE FOREIGN TABLE plain (id int, name varchar(10), n numeric) SERVER here OPTIONS (table_name 't');
EXPLAIN (VERBOSE, COSTS OFF) UPDATE plain SET name = lower(name), n = n * 2 WHERE id < 3 RETURNING id, n;
UPDATE plain SET name = lower(name), n = 10 / n WHERE id < 2 RETURNING id, name, n, 3 - n;
EXPLAIN (VERBOSE, COSTS OFF) DELETE FROM plain WHERE id > 2980 AND id < 2982;
DELETE FROM plain WHERE id > 2980 AND id < 2982;
EXPLAIN (VERBOSE, COSTS OFF) UPDATE plain SET n = random() * 0 WHERE id = 5;
UPDATE plain SET n = random() * 0 WHERE id = 5;
WITH gone AS (DELETE FROM plain WHERE id > 2970 RETURNING id)
SELECT count(*) FROM gone;
PREPARE up(int, numeric) AS UPDATE plain SET n = $2 WHERE id = $1 RETURNING n;
EXECUTE up(5, 55);
SET plan_cache_mode = force_generic_plan;
EXECUTE up(5, 56);
EXPLAIN (VERBOSE, COSTS OFF) EXECUTE up(5, 57);
RESET plan_cache_mode;

-- the transaction is one
BEGIN;
INSERT INTO ft VALUES (8000, 'mine', 0);
UPDATE ft SET name = 'still mine' WHERE id = 8000;
SELECT id, name FROM ft WHERE id = 8000;
SAVEPOINT s;
DELETE FROM ft WHERE id = 8000;
SELECT count(*) FROM ft WHERE id = 8000;
ROLLBACK TO s;
SELECT count(*) FROM ft WHERE id = 8000;
SAVEPOINT s;
INSERT INTO ft VALUES (8000, 'double', 0);
ROLLBACK TO s;
INSERT INTO ft VALUES (8001, 'second', 0);
SELECT count(*) FROM ft WHERE id >= 8000;
ROLLBACK;
SELECT count(*) FROM t WHERE id >= 8000;
BEGIN;
INSERT INTO ft VALUES (8000, 'kept', 0);
COMMIT;
SELECT name FROM t WHERE id = 8000;
DO $$
BEGIN
    INSERT INTO fdw.ft VALUES (8001, 'a', 0);
    BEGIN
        INSERT INTO fdw.ft VALUES (8002, 'b', 0), (8000, 'c', 0);
    EXCEPTION WHEN unique_violation THEN
        RAISE NOTICE 'caught: %', SQLERRM;
    END;
    INSERT INTO fdw.ft VALUES (8003, 'd', 0);
END $$;
SELECT id FROM t WHERE id > 8000 ORDER BY id;
BEGIN READ ONLY;
\set VERBOSITY sqlstate
INSERT INTO ft VALUES (9000, 'x', 0);
ROLLBACK;
\set VERBOSITY default

-- locks
BEGIN;
SELECT id FROM ft WHERE id = 1 FOR UPDATE;
SELECT id FROM t WHERE id = 1 FOR UPDATE NOWAIT;
ROLLBACK;
BEGIN;
SELECT id FROM t WHERE id = 1 FOR UPDATE;
SELECT id FROM ft WHERE id IN (1, 2) ORDER BY id FOR SHARE SKIP LOCKED;
SELECT id FROM ft WHERE id = 1 FOR KEY SHARE NOWAIT;
ROLLBACK;

-- triggers on the foreign table fire here, those on the table there
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% % % on %: % %', TG_WHEN, TG_LEVEL, TG_OP, TG_TABLE_NAME, OLD, NEW;
    IF TG_WHEN = 'BEFORE' AND TG_LEVEL = 'ROW' AND TG_OP <> 'DELETE' THEN
        NEW.name := left(NEW.name || '+', 10);
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON plain FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON plain FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER c AFTER INSERT OR UPDATE OR DELETE ON plain FOR EACH STATEMENT EXECUTE FUNCTION note();
INSERT INTO plain VALUES (9001, 'a', 1), (9002, 'b', 2);
UPDATE plain SET n = n + 1 WHERE id > 9000;
DELETE FROM plain WHERE id > 9001;
COPY plain FROM stdin;
9003	c	3
\.
DROP TRIGGER a ON plain;
DROP TRIGGER b ON plain;
INSERT INTO plain VALUES (9004, 'd', 4), (9005, 'e', 5);
DROP TRIGGER c ON plain;
SELECT id, name, n FROM t WHERE id > 9000 ORDER BY id;
CREATE FUNCTION count_ft() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% rows above 9000', (SELECT count(*) FROM fdw.ft WHERE id > 9000);
    RETURN NULL;
END $$;
CREATE TRIGGER c AFTER INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION count_ft();
INSERT INTO plain VALUES (9006, 'f', 6);
DROP TRIGGER c ON plain;

-- views with checks
CREATE VIEW checked AS SELECT * FROM plain WHERE n < 100 WITH CHECK OPTION;
INSERT INTO checked VALUES (9010, 'in', 1);
INSERT INTO checked VALUES (9011, 'out', 100);
UPDATE checked SET n = 200 WHERE id = 9010;
SELECT id, n FROM t WHERE id >= 9010;

-- identity columns there, and columns that only one side has
CREATE TABLE ids (id int GENERATED ALWAYS AS IDENTITY, v text, extra int DEFAULT 7);
CREATE FOREIGN TABLE fids (id int, v text) SERVER here OPTIONS (table_name 'ids');
CREATE FOREIGN TABLE fv (v text) SERVER here OPTIONS (table_name 'ids');
INSERT INTO fids VALUES (100, 'given');
INSERT INTO fids VALUES (101, 'given') RETURNING *;
INSERT INTO fv VALUES ('generated');
INSERT INTO fv VALUES ('generated too') RETURNING *;
SELECT * FROM ids ORDER BY id;

-- TRUNCATE
TRUNCATE ft, fids RESTART IDENTITY;
SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM ids);
BEGIN;
INSERT INTO fv VALUES ('first again');
TRUNCATE fv;
INSERT INTO fv VALUES ('second');
SELECT count(*) FROM fv;
ROLLBACK;
SELECT count(*) FROM fv;

-- permissions are those of the asking role there
CREATE ROLE fdw_writer;
GRANT USAGE ON SCHEMA fdw TO fdw_writer;
GRANT ALL ON fids TO fdw_writer;
GRANT SELECT, INSERT ON ids TO fdw_writer;
SET ROLE fdw_writer;
INSERT INTO fids VALUES (1, 'as writer');
\set VERBOSITY sqlstate
UPDATE fids SET v = 'changed';
DELETE FROM fids;
TRUNCATE fids;
\set VERBOSITY default
RESET ROLE;
SELECT v FROM ids;

SET client_min_messages = warning;
DROP SCHEMA fdw CASCADE;
DROP SERVER here CASCADE;
DROP ROLE fdw_writer;
