/* dlog--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION dlog" to load this file. \quit

-- ------------------------------------------------------------------ base


-- ------------------------------------------------------------------ wire


-- --------------------------------------------------------------- runtime


-- ------------------------------------------------------------- transport


-- ---------------------------------------------------------------- remote


-- ------------------------------------------------------------- partition


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
