-- Rows of every type arrive as they were sent, whichever way they travel.
CREATE TYPE remote_mood AS ENUM ('sad', 'ok');
CREATE DOMAIN remote_small AS int CHECK (VALUE < 1000);
CREATE TYPE remote_pair AS (a int, b text);
CREATE TYPE remote_span AS RANGE (subtype = numeric);
CREATE TABLE remote_all (
    id int, c_bool bool, c_int2 int2, c_int8 int8, c_float4 float4, c_float8 float8, c_numeric numeric,
    c_text text, c_varchar varchar(20), c_char char(5), c_name name, c_char1 "char", c_bytea bytea,
    c_date date, c_time time, c_timetz timetz, c_ts timestamp, c_tstz timestamptz, c_interval interval,
    c_uuid uuid, c_json json, c_jsonb jsonb, c_inet inet, c_cidr cidr, c_mac macaddr, c_bit bit(3), c_varbit varbit,
    c_point point, c_box box, c_path path, c_money money, c_tsvector tsvector, c_tsquery tsquery,
    c_oid oid, c_class regclass, c_type regtype, c_lsn pg_lsn, c_range int4range, c_multi datemultirange, c_span remote_span,
    c_mood remote_mood, c_small remote_small, c_pair remote_pair,
    c_ints int[], c_texts text[], c_moods remote_mood[], c_pairs remote_pair[], c_numerics numeric[][], c_classes regclass[]);
INSERT INTO remote_all
SELECT i, i % 2 = 0, i, i * 10000000000, i / 3.0, i / 7.0, (i || '.' || repeat('9', i))::numeric,
    'text ' || i || ' é漢', 'v' || i, 'c' || i % 10, 'n' || i, chr(65 + i % 26)::"char", decode(repeat('0aff', i), 'hex'),
    '2024-02-28'::date + i, '12:00'::time + i * interval '1 s', '12:00+05'::timetz, '2024-01-01'::timestamp + i * interval '1 h',
    '2024-01-01 UTC'::timestamptz + i * interval '1 h', i * interval '1 mon 2 days 3 us',
    md5(i::text)::uuid, json_build_object('i', i), jsonb_build_object('i', i), '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03',
    B'101', B'11', point(i, 1), box(point(0, 0), point(i, i)), '((0,0),(1,1))', i::money, to_tsvector('simple', 'a b ' || i), 'a & b',
    i, 'pg_class', 'int4range', '0/16B3748', int4range(i, i + 3), datemultirange(daterange('2024-01-01', '2024-02-01')), remote_span(i, i + 1.5),
    'ok', i, ROW(i, 'x"y,' || i)::remote_pair,
    ARRAY[i, NULL, 3], ARRAY['a', NULL, 'q"'], '{sad,ok}', ARRAY[ROW(i, 'z')::remote_pair, NULL], ARRAY[[1.5, i], [2, 3]], '{pg_class,pg_type}'
FROM generate_series(1, 50) i;
INSERT INTO remote_all (id) VALUES (51);

CREATE PROCEDURE remote_compare(how text) LANGUAGE plpgsql AS $$
DECLARE
    columns text := (SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = 'remote_all'::regclass AND attnum > 0);
    differ int;
    n int;
BEGIN
    EXECUTE format('CREATE TEMP TABLE came AS SELECT * FROM dlog.execute(''here'', ''TABLE public.remote_all'') AS (%s)', columns);
    SELECT count(*) FILTER (WHERE r::text IS DISTINCT FROM c::text), count(*) INTO differ, n
    FROM remote_all r FULL JOIN came c USING (id);
    RAISE NOTICE '%: % rows, % differ', how, n, differ;
    DROP TABLE came;
END $$;
CALL remote_compare('as the types allow');
SET dlog.enable_raw_rows = off;
CALL remote_compare('column by column');
SET extra_float_digits = 0;
SET IntervalStyle = 'iso_8601';
SET bytea_output = 'escape';
CALL remote_compare('under other settings');
SET client_encoding = 'LATIN1';
CALL remote_compare('with a client in another encoding');
RESET ALL;
-- without the types that keep a row from being raw
ALTER TABLE remote_all DROP COLUMN c_mood, DROP COLUMN c_pair, DROP COLUMN c_moods, DROP COLUMN c_pairs, DROP COLUMN c_class,
    DROP COLUMN c_type, DROP COLUMN c_classes, DROP COLUMN c_span, DROP COLUMN c_small;
CREATE OR REPLACE PROCEDURE remote_compare(how text) LANGUAGE plpgsql AS $$
DECLARE
    columns text := (SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = 'remote_all'::regclass AND attnum > 0 AND NOT attisdropped);
    differ int;
    n int;
BEGIN
    EXECUTE format('CREATE TEMP TABLE came AS SELECT * FROM dlog.execute(''here'', ''TABLE public.remote_all'') AS (%s)', columns);
    SELECT count(*) FILTER (WHERE r::text IS DISTINCT FROM c::text), count(*) INTO differ, n
    FROM remote_all r FULL JOIN came c USING (id);
    RAISE NOTICE '%: % rows, % differ', how, n, differ;
    DROP TABLE came;
END $$;
CALL remote_compare('raw');
SET dlog.enable_raw_rows = off;
CALL remote_compare('not raw');
RESET dlog.enable_raw_rows;

-- rows without columns, huge rows, many rows
SELECT count(*) FROM dlog.execute('here', 'SELECT a FROM generate_series(1, 7) a') AS (a int);
CREATE TABLE remote_toast (id int, t text);
ALTER TABLE remote_toast ALTER COLUMN t SET STORAGE EXTERNAL;
INSERT INTO remote_toast SELECT i, repeat(md5(i::text), 300000) FROM generate_series(1, 3) i;
CREATE FUNCTION remote_toast_equal() RETURNS bool LANGUAGE sql
RETURN (SELECT bool_and(md5(a.t) = md5(b.t)) AND count(*) = 3
    FROM dlog.execute('here', 'TABLE public.remote_toast') AS a(id int, t text) JOIN remote_toast b USING (id));
SELECT remote_toast_equal();
SET dlog.enable_raw_rows = off;
SELECT remote_toast_equal();
BEGIN READ ONLY;
SELECT remote_toast_equal();
SET LOCAL dlog.stream_credits = 2;
SELECT remote_toast_equal();
SET LOCAL dlog.enable_raw_rows = on;
SELECT remote_toast_equal();
COMMIT;
RESET dlog.enable_raw_rows;
-- a text longer than a message
SELECT * FROM dlog.execute('here', 'SELECT length(''' || repeat('x', 300000) || ''')') AS (n int);
-- anonymous records cannot be read anywhere
SELECT * FROM dlog.execute('here', 'SELECT ROW(1, 2)') AS (r record);

DROP PROCEDURE remote_compare;
DROP FUNCTION remote_toast_equal;
DROP TABLE remote_all, remote_toast;
DROP TYPE remote_mood, remote_pair, remote_span;
DROP DOMAIN remote_small;
SELECT count(*) FROM dlog.queries;
