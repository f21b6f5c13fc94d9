-- A durable actor: what is sent is kept, handled once, and found in its journal.
CREATE SCHEMA journal_first;
SET search_path = journal_first;
SET timezone = 'UTC';
CREATE TYPE account AS (balance int, entries int);
CREATE TYPE deposit AS (amount int, note text);
CREATE TYPE withdraw AS (amount int);
CREATE TYPE get_balance AS ();
CREATE TABLE ledger (actor dlog.actor_ref, amount int, note text);
CREATE FUNCTION account_init(balance int) RETURNS account IMMUTABLE LANGUAGE sql
RETURN ROW(balance, 0)::account;
CREATE FUNCTION deposit(state account, message deposit) RETURNS account LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO journal_first.ledger VALUES (dlog.self(), message.amount, message.note);
    RETURN ROW(state.balance + message.amount, state.entries + 1);
END $$;
CREATE FUNCTION apply_deposit(state account, message deposit) RETURNS account IMMUTABLE LANGUAGE sql
RETURN ROW(state.balance + message.amount, state.entries + 1)::account;
CREATE FUNCTION withdraw(state account, message withdraw) RETURNS account IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    IF message.amount > state.balance THEN
        RAISE EXCEPTION 'not so much' USING ERRCODE = 'P0042', DETAIL = 'There is ' || state.balance;
    END IF;
    RETURN ROW(state.balance - message.amount, state.entries + 1);
END $$;
CREATE FUNCTION get_balance(state account, message get_balance) RETURNS account STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply(state.balance);
    RETURN state;
END $$;

-- what writes cannot be replayed
SELECT dlog.create_behavior('account_actor', 'account', 'account_init', '{deposit,withdraw,get_balance}', durable => true);
SELECT dlog.create_behavior('account_actor', 'account', 'account_init', '{deposit,withdraw,get_balance}', durable => true,
    apply => '{apply_deposit}');
SELECT behavior, journal, snapshot_every, retention, audit, max_failures FROM dlog.behaviors WHERE journal IS NOT NULL;

SELECT dlog.spawn('account_actor', ROW(100), name => 'anna') AS a \gset
SELECT dlog.send(:'a', ROW(5, 'x')::deposit);
SELECT dlog.ask(:'a', ROW()::get_balance);
BEGIN;
SELECT dlog.send(:'a', ROW(7, 'never')::deposit);
ROLLBACK;
BEGIN;
SELECT dlog.send(:'a', ROW(10, 'y')::deposit);
SAVEPOINT s;
SELECT dlog.send(:'a', ROW(1000, 'never')::deposit);
ROLLBACK TO s;
SELECT dlog.send(:'a', ROW(3)::withdraw);
COMMIT;
SELECT dlog.ask(:'a', ROW()::get_balance, NULL::int);
SELECT dlog.state(:'a');
SELECT name, seq, sender, role = current_user AS mine, message, payload FROM dlog.journal WHERE name = 'anna' ORDER BY seq;
SELECT count(*) FROM dlog.mailbox;
SELECT amount, note FROM ledger ORDER BY amount;

-- the past
SELECT seq, message, payload, state FROM dlog.history(:'a');
SELECT seq, state FROM dlog.history(:'a', 3, 4);
SELECT dlog.state_at(:'a', 0), dlog.state_at(:'a', 1), (dlog.state_at(:'a', NULL::account, 4)).balance,
    dlog.state_at(:'a', 'infinity'::timestamptz), dlog.state_at(:'a', '-infinity'::timestamptz);
SELECT dlog.snapshot(:'a');
SELECT seq, state FROM dlog.journal_snapshot WHERE dlog.durable_ref(actor) = :'a' ORDER BY seq;
SELECT dlog.state_at(:'a', 2), dlog.state_at(:'a', 5), dlog.state_at(:'a', 100);

-- one that cannot be handled is put aside, and the actor goes on
SELECT dlog.send(:'a', ROW(10000)::withdraw);
SELECT dlog.send(:'a', ROW(1, 'z')::deposit);
SELECT dlog.ask(:'a', ROW()::get_balance);
SELECT name, message, payload, failures, sqlstate, error, detail FROM dlog.quarantined;
SELECT dlog.ask(:'a', ROW(10000)::withdraw);
SELECT dlog.send(:'a', ROW(10000, 'much')::deposit);
SELECT dlog.redeliver(min(id)) FROM dlog.quarantined;
SELECT dlog.ask(:'a', ROW()::get_balance);
SELECT count(*) FROM dlog.quarantined;
SELECT dlog.redeliver(0);

-- nothing is changed
UPDATE dlog.journal_account_actor SET seq = 7;
DELETE FROM dlog.journal_entry;
TRUNCATE dlog.journal_entry;
TRUNCATE dlog.journal_account_actor;

-- the end
SELECT dlog.stop(:'a', 'closed');
SELECT test.wait_until($$dlog.whereis('anna') IS NULL$$);
\set VERBOSITY sqlstate
SELECT dlog.send(:'a', ROW(1, 'z')::deposit);
\set VERBOSITY default
SELECT name, stop_reason FROM dlog.durable_actors;
SELECT dlog.spawn('account_actor', ROW(1), name => 'anna') IS NOT NULL AS spawned;
SELECT dlog.drop_behavior('account_actor');
SELECT dlog.drop_behavior('account_actor', cascade => true);
SELECT count(*) FROM dlog.durable_actors;
SET client_min_messages = warning;
DROP SCHEMA journal_first CASCADE;
