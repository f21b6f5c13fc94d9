-- dlog.actor_ref is a type like others: it is read and written, compared,
-- hashed and sorted; columns, keys and partitions can be of it.
SELECT 'dlog://7/16384/12.3.1'::dlog.actor_ref;

-- what is written is read again, to the last value
SELECT x::dlog.actor_ref::text = x AS round_trip
FROM (VALUES ('dlog://0/0/0.0.0'),
             ('dlog://9223372036854775807/4294967295/4294967295.4294967295.4294967295')) v(x);
CREATE FUNCTION pg_temp.try(text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN $1::dlog.actor_ref::text;
EXCEPTION WHEN OTHERS THEN
    DECLARE
        detail text;
    BEGIN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        RETURN concat_ws(' ', SQLSTATE, detail);
    END;
END $$;
SELECT x, pg_temp.try(x) FROM (VALUES
    (''), ('dlog:'), ('dlog://'), ('dlog:///'), ('http://1/2/3.4.5'), ('dlog://1/2'), ('dlog://1/2/'),
    ('dlog://1/2/3/4'), (' dlog://1/2/3.4.5'), ('DLOG://1/2/3.4.5'),
    ('dlog://1/2/3.4.5 '), ('dlog://1/2/3.4'), ('dlog://1/2/3.4.5.6'), ('dlog://-1/2/3.4.5'),
    ('dlog://01/2/3.4.5'), ('dlog://1/2/4294967296.4.5'), ('dlog://9223372036854775808/2/3.4.5'),
    ('dlog://n1/shop/cart'), ('dlog://n%31/sh%C3%B6p/a%20b%2F'),
    ('dlog://n1/shop/%'), ('dlog://n1/shop/%4'), ('dlog://n1/shop/%4x'), ('dlog://n1/shop/%00'),
    ('dlog://n1/shop/%FF')) v(x);

-- order: by where it lives, then by age
CREATE TABLE refs (a dlog.actor_ref PRIMARY KEY, n int);
INSERT INTO refs SELECT ('dlog://' || i % 3 || '/16384/' || i || '.1.' || i % 7)::dlog.actor_ref, i
FROM generate_series(1, 1000) i;
SELECT * FROM refs ORDER BY a LIMIT 3;
SELECT * FROM refs ORDER BY a DESC LIMIT 2;
WITH v(a, b) AS (VALUES ('dlog://1/1/1.1.2'::dlog.actor_ref, 'dlog://1/1/1.2.1'::dlog.actor_ref),
                        ('dlog://1/1/1.1.1', 'dlog://1/1/1.1.1'), ('dlog://2/1/1.1.1', 'dlog://1/9/9.9.9'))
SELECT a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge, a > b AS gt FROM v;

-- keys, indexes and joins find it
ANALYZE refs;
EXPLAIN (COSTS OFF) SELECT n FROM refs WHERE a = 'dlog://2/16384/17.1.3';
SELECT n FROM refs WHERE a = 'dlog://2/16384/17.1.3';
SELECT n FROM refs WHERE a IN ('dlog://2/16384/17.1.3', 'dlog://0/16384/18.1.4') ORDER BY a;
INSERT INTO refs VALUES ('dlog://2/16384/17.1.3');
CREATE INDEX ON refs USING hash (a);
SET enable_mergejoin = off;
SET enable_nestloop = off;
SELECT count(*) FROM refs a JOIN refs b USING (a);
SET enable_hashjoin = off;
SET enable_mergejoin = on;
SELECT count(*) FROM refs a JOIN refs b USING (a);
RESET ALL;
SELECT count(DISTINCT a), count(*) FILTER (WHERE a > 'dlog://1/0/0.0.0') FROM refs;
SELECT count(*) FROM (SELECT a FROM refs GROUP BY a) g;

-- binary: in a file, and as rows of other nodes in either of their formats
CREATE TABLE refs_read (LIKE refs);
SELECT current_setting('data_directory') || '/refs.bin' AS file \gset
COPY refs TO :'file' (FORMAT binary);
COPY refs_read FROM :'file' (FORMAT binary);
SELECT count(*) FROM (TABLE refs EXCEPT TABLE refs_read) d;
SELECT count(*) FROM refs JOIN dlog.execute('here', 'TABLE public.refs') AS r(a dlog.actor_ref, n int) USING (a, n);
SET dlog.enable_raw_rows = off;
SELECT count(*) FROM refs JOIN dlog.execute('here', 'TABLE public.refs') AS r(a dlog.actor_ref, n int) USING (a, n);
RESET dlog.enable_raw_rows;
SELECT encode(dlog.actor_ref_send('dlog://1/2/3.4.5'), 'hex');

-- it is a key to distribute by
SELECT dlog.distribute_table('refs', by => 'a', partitions => 4);
SELECT count(*), count(DISTINCT tableoid) FROM refs;
EXPLAIN (COSTS OFF) SELECT n FROM refs WHERE a = 'dlog://2/16384/17.1.3';
SELECT n FROM refs WHERE a = 'dlog://2/16384/17.1.3';
DROP TABLE refs, refs_read;
