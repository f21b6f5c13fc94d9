/* dlog--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION dlog" to load this file. \quit

-- ------------------------------------------------------------------ base

-- What is in it says itself who may.
GRANT USAGE ON SCHEMA dlog TO PUBLIC;


-- ------------------------------------------------------------------ wire


-- --------------------------------------------------------------- runtime

CREATE FUNCTION dlog.start() RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dlog_start';
COMMENT ON FUNCTION dlog.start() IS
'starts the schedulers of this database at commit; CREATE EXTENSION calls it';
REVOKE ALL ON FUNCTION dlog.start() FROM PUBLIC;

-- Says at once when the library is not preloaded.
SELECT dlog.start();

CREATE FUNCTION dlog.actors(
    OUT actor text,
    OUT behavior text,
    OUT database text,
    OUT role text,
    OUT pid integer,
    OUT mailbox integer,
    OUT mailbox_high_water integer,
    OUT received bigint,
    OUT spawned_at timestamptz
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_actors';
COMMENT ON FUNCTION dlog.actors() IS
'the actors that live on this node';
REVOKE ALL ON FUNCTION dlog.actors() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.actors() TO pg_monitor;

CREATE VIEW dlog.actors AS SELECT * FROM dlog.actors();
COMMENT ON VIEW dlog.actors IS
'the actors that live on this node, the process of each, and its mailbox';
GRANT SELECT ON dlog.actors TO pg_monitor;

CREATE FUNCTION dlog.schedulers(
    OUT pid integer,
    OUT database text,
    OUT state text,
    OUT activity text,
    OUT since timestamptz,
    OUT started_at timestamptz,
    OUT works bigint,
    OUT failed bigint,
    OUT busy double precision
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_schedulers';
COMMENT ON FUNCTION dlog.schedulers() IS
'the schedulers of this server';
REVOKE ALL ON FUNCTION dlog.schedulers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.schedulers() TO pg_monitor;

CREATE VIEW dlog.schedulers AS SELECT * FROM dlog.schedulers();
COMMENT ON VIEW dlog.schedulers IS
'the schedulers of all databases: what each does, works done, share of its life that it was busy';
GRANT SELECT ON dlog.schedulers TO pg_monitor;

CREATE FUNCTION dlog.memory(
    OUT block_size integer,
    OUT total bigint,
    OUT used bigint
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_memory';
COMMENT ON FUNCTION dlog.memory() IS
'blocks of shared memory by size';

CREATE VIEW dlog.memory AS SELECT * FROM dlog.memory();
COMMENT ON VIEW dlog.memory IS
'blocks of shared memory by size: how many there are and how many are in use';
GRANT SELECT ON dlog.memory TO PUBLIC;

CREATE FUNCTION dlog.dead_letters(
    OUT number bigint,
    OUT at timestamptz,
    OUT type text,
    OUT reason text,
    OUT receiver text,
    OUT sender text
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_dead_letters';
COMMENT ON FUNCTION dlog.dead_letters() IS
'the last messages that reached nobody';
REVOKE ALL ON FUNCTION dlog.dead_letters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dlog.dead_letters() TO pg_monitor;

CREATE VIEW dlog.dead_letters AS SELECT * FROM dlog.dead_letters() ORDER BY number;
COMMENT ON VIEW dlog.dead_letters IS
'the last messages that reached nobody, and why; dlog.stat_runtime counts all';
GRANT SELECT ON dlog.dead_letters TO pg_monitor;

CREATE FUNCTION dlog.stat_runtime(
    OUT name text,
    OUT value bigint
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_stat_runtime';
COMMENT ON FUNCTION dlog.stat_runtime() IS
'counters of the runtime since the server started';

CREATE VIEW dlog.stat_runtime AS SELECT * FROM dlog.stat_runtime();
COMMENT ON VIEW dlog.stat_runtime IS
'counters of the runtime since the server started';
GRANT SELECT ON dlog.stat_runtime TO PUBLIC;

CREATE FUNCTION dlog.messages(
    OUT number integer,
    OUT name text
) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dlog_messages';
COMMENT ON FUNCTION dlog.messages() IS
'the types of messages that nodes and actors send each other';

CREATE VIEW dlog.messages AS SELECT * FROM dlog.messages();
COMMENT ON VIEW dlog.messages IS
'the types of messages that nodes and actors send each other';
GRANT SELECT ON dlog.messages TO PUBLIC;


-- ------------------------------------------------------------- transport


-- ---------------------------------------------------------------- remote


-- ------------------------------------------------------------- partition

-- The tables that dlog distributed.  Which partition lives where is in the
-- catalogs: a foreign partition's server is named for its home.
CREATE TABLE dlog.distributed_table
(
    relation regclass PRIMARY KEY,
    colocation uuid NOT NULL
);
COMMENT ON TABLE dlog.distributed_table IS
    'tables that dlog distributed over the nodes';
COMMENT ON COLUMN dlog.distributed_table.relation IS
    'the partitioned table, of the same name on every node';
COMMENT ON COLUMN dlog.distributed_table.colocation IS
    'tables of one value have the same bounds and placement';
SELECT pg_catalog.pg_extension_config_dump('dlog.distributed_table', '');
GRANT SELECT ON dlog.distributed_table TO PUBLIC;


-- ---------------------------------------------------------------- deploy

-- What a node answers to one that deploys a query.  Anyone may call it: it
-- does what the caller could do with the query itself.
CREATE FUNCTION dlog.deploy_answer(query text, as_type anyelement, form text, writes boolean,
                                   OUT result anyelement, OUT rows bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'dlog_deploy_answer'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_answer(text, anyelement, text, boolean) IS
    'what a node answers to another one that deploys a query';

CREATE FUNCTION dlog.deploy_map(flock text, query text, timeout interval DEFAULT '30 s',
                                retries int DEFAULT 0, writes boolean DEFAULT false,
                                on_error text DEFAULT NULL)
    RETURNS TABLE (node text, result jsonb, error text, sqlstate text, rows bigint,
                   elapsed interval, attempts int)
    AS 'MODULE_PATHNAME', 'dlog_deploy_map'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION dlog.deploy_map(text, text, interval, int, boolean, text) IS
    'runs a query on every node of a flock; one row per node, its rows as jsonb';

-- A bare string in third place is a timeout; without this twin it could as
-- well be a value that tells the type of results.
CREATE FUNCTION dlog.deploy_map(flock text, query text, timeout text,
                                retries int DEFAULT 0, writes boolean DEFAULT false,
                                on_error text DEFAULT NULL)
    RETURNS TABLE (node text, result jsonb, error text, sqlstate text, rows bigint,
                   elapsed interval, attempts int)
    AS 'MODULE_PATHNAME', 'dlog_deploy_map'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION dlog.deploy_map(text, text, text, int, boolean, text) IS
    'runs a query on every node of a flock; one row per node, its rows as jsonb';

CREATE FUNCTION dlog.deploy_map(flock text, query text, as_type anyelement,
                                timeout interval DEFAULT '30 s', retries int DEFAULT 0,
                                writes boolean DEFAULT false, on_error text DEFAULT NULL)
    RETURNS TABLE (node text, result anyelement, error text, sqlstate text, rows bigint,
                   elapsed interval, attempts int)
    AS 'MODULE_PATHNAME', 'dlog_deploy_map_as'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION dlog.deploy_map(text, text, anyelement, interval, int, boolean, text) IS
    'runs a query on every node of a flock; one row per row it returns there, of a type of your choice';

CREATE FUNCTION dlog.deploy_reduce(flock text, map text, reduce text, init anyelement,
                                   timeout interval DEFAULT '30 s', retries int DEFAULT 0,
                                   on_error text DEFAULT 'fail')
    RETURNS anyelement
    AS 'MODULE_PATHNAME', 'dlog_deploy_reduce'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_reduce(text, text, text, anyelement, interval, int, text) IS
    'runs a query on every node of a flock and merges the values by an operator, a function or an aggregate';

CREATE FUNCTION dlog.deploy_reduce(flock text, map text, reduce regprocedure, init anyelement,
                                   timeout interval DEFAULT '30 s', retries int DEFAULT 0,
                                   on_error text DEFAULT 'fail')
    RETURNS anyelement
    AS 'MODULE_PATHNAME', 'dlog_deploy_reduce_function'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dlog.deploy_reduce(text, text, regprocedure, anyelement, interval, int, text) IS
    'runs a query on every node of a flock and merges the values by a function';



-- ----------------------------------------------------------------- query

CREATE FUNCTION dlog.fdw_handler()
    RETURNS pg_catalog.fdw_handler
    AS 'MODULE_PATHNAME', 'dlog_fdw_handler'
    LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION dlog.fdw_handler() IS
    'handler of the foreign-data wrapper dlog';

CREATE FUNCTION dlog.fdw_validator(options text[], catalog oid)
    RETURNS void
    AS 'MODULE_PATHNAME', 'dlog_fdw_validator'
    LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION dlog.fdw_validator(text[], oid) IS
    'checks the options of servers, foreign tables and columns of the foreign-data wrapper dlog';

CREATE FOREIGN DATA WRAPPER dlog
    HANDLER dlog.fdw_handler
    VALIDATOR dlog.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER dlog IS
    'tables on other nodes; a server stands for a node';
