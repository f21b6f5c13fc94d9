/* dlog--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION dlog" to load this file. \quit

-- ------------------------------------------------------------------ base


-- ------------------------------------------------------------------ wire


-- --------------------------------------------------------------- runtime


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
