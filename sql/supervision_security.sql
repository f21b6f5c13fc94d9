-- What a child's owner defined runs as that owner, also where a scheduler
-- spawns the child again: a domain's check, which the arguments of init pass.
SET client_min_messages = warning;
CREATE ROLE sup_mallory;
CREATE SCHEMA sup AUTHORIZATION sup_mallory;
GRANT USAGE ON SCHEMA test TO sup_mallory;
RESET client_min_messages;
SET ROLE sup_mallory;
SET search_path = sup;
CREATE TABLE witness (what text);
CREATE FUNCTION is_good(value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sup.witness VALUES (format('%s in %s', current_user, current_setting('search_path')));
    -- a scheduler's own role could
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        ALTER ROLE sup_mallory SUPERUSER;
    END IF;
    RETURN true;
END $$;
CREATE DOMAIN goods AS text CHECK (is_good(VALUE));
CREATE TYPE go AS ();
CREATE FUNCTION init(g goods) RETURNS text LANGUAGE sql AS 'SELECT g::text';
CREATE FUNCTION go(state text, m go) RETURNS text LANGUAGE sql AS 'SELECT state';
SELECT dlog.create_behavior('porter', 'text', 'init', '{go}');
SELECT dlog.create_supervisor('sup') AS supervisor \gset
SELECT 1 FROM dlog.start_child('sup', 'c', 'porter', ROW('x'::goods));
CREATE FUNCTION is_running() RETURNS boolean LANGUAGE sql AS
    $$SELECT state = 'running' FROM dlog.which_children('sup')$$;
SELECT test.wait_until('is_running()');

-- one that had been let go is spawned by a scheduler
SELECT dlog.terminate_child('sup', 'c');
TRUNCATE witness;
SELECT dlog.restart_child('sup', 'c');
SELECT test.wait_until('is_running()');
SELECT DISTINCT what FROM witness ORDER BY 1;

-- and so are all when the supervisor starts again
SELECT dlog.stop(:'supervisor'::dlog.actor_ref);
RESET ROLE;
SELECT test.wait_until('NOT EXISTS (SELECT FROM dlog.actors WHERE behavior = ''supervisor'')');
SET ROLE sup_mallory;
TRUNCATE witness;
SELECT dlog.start_supervisor('sup');
SELECT test.wait_until('is_running()');
SELECT DISTINCT what FROM witness ORDER BY 1;
RESET ROLE;
SELECT rolsuper FROM pg_roles WHERE rolname = 'sup_mallory';

SELECT dlog.drop_supervisor('sup', cascade => true);
SET client_min_messages = warning;
DROP SCHEMA sup CASCADE;
DROP OWNED BY sup_mallory;
DROP ROLE sup_mallory;
