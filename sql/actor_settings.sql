-- What is set for the sessions of a database is not for its schedulers.
SET client_min_messages = warning;
CREATE SCHEMA st;
RESET client_min_messages;
SET search_path = st;
CREATE TABLE written (n int);
CREATE TYPE show AS ();
CREATE TYPE write AS ();
CREATE FUNCTION show(state text, m show) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply(format('%s, %s, %s', current_setting('transaction_isolation'),
        current_setting('transaction_read_only'), current_setting('search_path')));
    RETURN state;
END $$;
CREATE FUNCTION write(state text, m write) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO st.written VALUES (1);
    PERFORM dlog.reply('written');
    RETURN state;
END $$;
SELECT dlog.create_behavior('shows', 'text', handlers => '{show,write}');
CREATE FUNCTION set_all() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''', current_database());
    EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
    EXECUTE format('ALTER DATABASE %I SET search_path = st, pg_catalog', current_database());
END $$;
SELECT set_all();
-- for those that start from now on
CREATE TABLE old AS SELECT pid FROM pg_stat_activity WHERE backend_type = 'dlog scheduler' AND datname = current_database();
SELECT count(pg_terminate_backend(pid)) > 0 AS any FROM old;
SELECT test.wait_until('NOT EXISTS (SELECT FROM pg_stat_activity JOIN st.old USING (pid))');
SELECT dlog.spawn('shows') AS a \gset
SELECT dlog.ask(:'a', ROW()::show, '20 s');
SELECT dlog.ask(:'a', ROW()::write, '20 s');
TABLE written;
CREATE FUNCTION reset_all() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
END $$;
SELECT reset_all();
SET client_min_messages = warning;
DROP SCHEMA st CASCADE;
