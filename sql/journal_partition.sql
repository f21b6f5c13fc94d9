-- The partitions of a journal: made when they are needed, whatever is there.
CREATE SCHEMA journal_partition;
SET search_path = journal_partition;
CREATE TYPE add AS (n int);
CREATE FUNCTION add(state int, message add) RETURNS int IMMUTABLE LANGUAGE sql RETURN coalesce(state, 0) + message.n;
SELECT dlog.create_behavior('sum', 'int', handlers => '{add}', durable => true);

-- one of another width, as after a change of dlog.journal_partition, ends in the middle of the day
CREATE TABLE until_now (LIKE dlog.journal_entry INCLUDING STORAGE);
DO $$BEGIN
    EXECUTE format('ALTER TABLE dlog.journal_sum ATTACH PARTITION until_now FOR VALUES FROM (%L) TO (%L)',
                   now() - interval '2 days', now() - interval '1 millisecond');
END$$;
SELECT dlog.spawn('sum', name => 'sum') AS s \gset
SELECT dlog.send(:'s', ROW(40)::add);
SELECT dlog.send(:'s', ROW(2)::add);
SELECT test.wait_until(format('dlog.state(%L) = ''42''', :'s'));
SELECT seq, payload FROM dlog.journal WHERE name = 'sum' ORDER BY seq;
SELECT count(*) AS partitions FROM pg_inherits WHERE inhparent = 'dlog.journal_sum'::regclass;
SET client_min_messages = warning;
SELECT dlog.drop_behavior('sum', cascade => true);
DROP SCHEMA journal_partition CASCADE;
