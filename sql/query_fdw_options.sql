-- The wrapper takes the options it knows, says which those are, and says what
-- is missing when a foreign table is used.
\set VERBOSITY terse
CREATE SERVER here FOREIGN DATA WRAPPER dlog;
\set VERBOSITY default
CREATE SERVER bad FOREIGN DATA WRAPPER dlog OPTIONS (host 'elsewhere');
CREATE SERVER bad FOREIGN DATA WRAPPER dlog OPTIONS (node '');
CREATE FOREIGN TABLE bad (a int) SERVER here OPTIONS (tabel_name 't');
CREATE FOREIGN TABLE bad (a int OPTIONS (name 'b')) SERVER here;
CREATE USER MAPPING FOR CURRENT_USER SERVER here OPTIONS (password 'x');
ALTER FOREIGN DATA WRAPPER dlog OPTIONS (debug 'on');
\set VERBOSITY sqlstate
CREATE FOREIGN TABLE bad (a int) SERVER here OPTIONS (tabel_name 't');
\set VERBOSITY default

-- a node nobody knows
CREATE SERVER nowhere FOREIGN DATA WRAPPER dlog;
CREATE FOREIGN TABLE lost (a int) SERVER nowhere OPTIONS (table_name 'no_such');
SELECT * FROM lost;
INSERT INTO lost VALUES (1);
ALTER SERVER nowhere OPTIONS (ADD node 'here');
-- a relation that is not there
\set VERBOSITY sqlstate
SELECT * FROM lost;
INSERT INTO lost VALUES (1);
TRUNCATE lost;
\set VERBOSITY default

CREATE FOREIGN TABLE itself (a int) SERVER here;
SELECT * FROM itself;
INSERT INTO itself VALUES (1);

-- names, by default and by option
CREATE SCHEMA "Fdw Ü";
CREATE TABLE "Fdw Ü"."Ta""ble" ("co'l" int, "select" text);
INSERT INTO "Fdw Ü"."Ta""ble" VALUES (1, 'one'), (2, NULL);
CREATE FOREIGN TABLE named (a int OPTIONS (column_name 'co''l'), "select" text)
    SERVER here OPTIONS (schema_name 'Fdw Ü', table_name 'Ta"ble');
SELECT * FROM named WHERE a < 2 AND "select" = 'one';
INSERT INTO named VALUES (3, 'three');
UPDATE named SET "select" = "select" || '!' WHERE a = 3 RETURNING *;
DELETE FROM named WHERE a = 3 RETURNING "select";
EXPLAIN (VERBOSE, COSTS OFF) SELECT "select" FROM named WHERE a = 1;

-- a column that is missing there, or of another type
CREATE FOREIGN TABLE missing (nothing int)
    SERVER here OPTIONS (schema_name 'Fdw Ü', table_name 'Ta"ble');
CREATE FOREIGN TABLE other_type ("co'l" date)
    SERVER here OPTIONS (schema_name 'Fdw Ü', table_name 'Ta"ble');
\set VERBOSITY sqlstate
SELECT * FROM missing;
SELECT * FROM other_type;
\set VERBOSITY default

-- importing a schema
CREATE TYPE "Fdw Ü".mood AS ENUM ('sad', 'happy');
CREATE TABLE "Fdw Ü".whole (
    id int GENERATED ALWAYS AS IDENTITY,
    code varchar(8) COLLATE "C" NOT NULL DEFAULT 'x',
    price numeric(10, 2) CHECK (price > 0),
    twice numeric GENERATED ALWAYS AS (price * 2) STORED,
    feeling "Fdw Ü".mood,
    tags text[]
);
CREATE VIEW "Fdw Ü".seen AS SELECT id, code FROM "Fdw Ü".whole;
CREATE TABLE "Fdw Ü".empty ();
CREATE TABLE "Fdw Ü".parts (a int) PARTITION BY LIST (a);
CREATE TABLE "Fdw Ü".part PARTITION OF "Fdw Ü".parts FOR VALUES IN (1);
CREATE SCHEMA imported;
IMPORT FOREIGN SCHEMA "Fdw Ü" FROM SERVER here INTO imported;
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
    a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'imported'::regnamespace
ORDER BY c.relname, a.attnum;
\d+ imported."Ta""ble"
SELECT * FROM imported."Ta""ble" ORDER BY 1;

CREATE SCHEMA imported_some;
IMPORT FOREIGN SCHEMA "Fdw Ü" LIMIT TO (part, whole) FROM SERVER here INTO imported_some
    OPTIONS (import_default 'true', import_not_null 'false', import_collate 'false');
\d imported_some.*
CREATE SCHEMA imported_rest;
IMPORT FOREIGN SCHEMA "Fdw Ü" EXCEPT (whole, seen, empty) FROM SERVER here INTO imported_rest;
SELECT relname FROM pg_class WHERE relnamespace = 'imported_rest'::regnamespace ORDER BY 1;
IMPORT FOREIGN SCHEMA no_such FROM SERVER here INTO imported;
IMPORT FOREIGN SCHEMA "Fdw Ü" FROM SERVER here INTO imported_rest OPTIONS (import_everything 'true');

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA imported, imported_some, imported_rest, "Fdw Ü" CASCADE;
DROP SERVER here CASCADE;
DROP SERVER nowhere CASCADE;
