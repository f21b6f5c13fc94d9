/* bank--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION bank" to load this file. \quit

CREATE FUNCTION bank.open(account text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bank_open';
COMMENT ON FUNCTION bank.open(text) IS 'opens an account';

CREATE FUNCTION bank.deposit(account text, amount bigint) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bank_deposit';
COMMENT ON FUNCTION bank.deposit(text, bigint) IS 'puts money into an account';

CREATE FUNCTION bank.withdraw(account text, amount bigint) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bank_withdraw';
COMMENT ON FUNCTION bank.withdraw(text, bigint) IS 'takes money out of an account if there is as much';

CREATE FUNCTION bank.freeze(account text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bank_freeze';
COMMENT ON FUNCTION bank.freeze(text) IS 'lets what comes for an account wait';

CREATE FUNCTION bank.thaw(account text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bank_thaw';
COMMENT ON FUNCTION bank.thaw(text) IS 'lets an account do what has waited';

CREATE FUNCTION bank.balance(account text) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bank_balance';
COMMENT ON FUNCTION bank.balance(text) IS 'what is in an account';
