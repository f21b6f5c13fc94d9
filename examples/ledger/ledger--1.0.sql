/* ledger--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION ledger" to load this file. \quit

CREATE TABLE ledger.payment (id bigint GENERATED ALWAYS AS IDENTITY, amount bigint, why text);

CREATE TYPE ledger.deposit AS (amount bigint);
CREATE TYPE ledger.pay AS (receiver dlog.actor_ref, amount bigint, why text);
CREATE TYPE ledger.get_balance AS ();
CREATE TYPE ledger.balance AS (amount bigint, payments integer);

CREATE FUNCTION ledger.deposit(state bytea, message ledger.deposit) RETURNS bytea
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'Account_Deposit';
CREATE FUNCTION ledger.pay(state bytea, message ledger.pay) RETURNS bytea
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'Account_Pay';
CREATE FUNCTION ledger.pay_apply(state bytea, message ledger.pay) RETURNS bytea
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'Account_Pay_apply';
CREATE FUNCTION ledger.get_balance(state bytea, message ledger.get_balance) RETURNS bytea
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'Account_GetBalance';
CREATE FUNCTION ledger.get_balance_apply(state bytea, message ledger.get_balance) RETURNS bytea
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'Account_GetBalance_apply';

SELECT dlog.create_behavior('ledger.account', 'bytea', durable => true,
    handlers => '{ledger.deposit, ledger.pay, ledger.get_balance}',
    apply => '{ledger.pay_apply, ledger.get_balance_apply}');
