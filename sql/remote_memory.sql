-- When the shared memory is full an error is told still, and a commit is what it was.
\set VERBOSITY default
CREATE TABLE remote_full (x int);
CREATE FUNCTION remote_fill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM test.arena_take();
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER fill AFTER INSERT ON remote_full DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION remote_fill();
-- what was taken is given back when its process ends
CREATE FUNCTION remote_empty() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_terminate_backend(pid, 60000) FROM pg_stat_activity
    WHERE backend_type = 'dlog scheduler' AND datname = current_database();
    PERFORM test.wait_until('(SELECT sum(used * block_size) FROM dlog.memory) < 20000000');
END $$;

-- a statement that runs alone
BEGIN READ ONLY;
SELECT dlog.execute_command('here', 'SELECT test.arena_take(); SELECT 1 / 0');
ROLLBACK;
SELECT remote_empty();

-- one in a transaction, and the savepoint that saves the rest of it
BEGIN;
SELECT dlog.execute_command('here', 'SELECT 1');
SAVEPOINT s;
SELECT dlog.execute_command('here', 'SELECT test.arena_take(); SELECT 1 / 0');
ROLLBACK;
SELECT remote_empty();

-- a commit
BEGIN;
SELECT dlog.execute_command('here', 'INSERT INTO remote_full VALUES (1)');
COMMIT;
SELECT remote_empty();
TABLE remote_full;
DROP FUNCTION remote_fill, remote_empty CASCADE;
DROP TABLE remote_full;
