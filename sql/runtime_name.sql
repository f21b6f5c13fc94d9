-- A name is one actor's in its database, and free again when that exits.
-- other tests may have left some
CREATE TABLE names_before AS SELECT value FROM dlog.stat_runtime WHERE name = 'names';
SELECT test.actor_spawn('first') AS a, test.actor_spawn('second') AS b \gset
SELECT test.actor_address(:a) AS address_a, test.actor_address(:b) AS address_b \gset
SELECT test.name_lookup('boss') IS NULL AS nobody;
SELECT test.name_register(:'address_a', 'boss'), test.name_register(:'address_a', 'chief');
SELECT test.name_lookup('boss') = :'address_a' AS boss, test.name_lookup('chief') = :'address_a' AS chief;
SELECT test.name_register(:'address_a', 'boss') AS again, test.name_register(:'address_b', 'boss') AS other;
SELECT s.value - b.value AS names FROM dlog.stat_runtime s, names_before b WHERE s.name = 'names';

-- taken back, given to another
SELECT test.name_unregister('boss'), test.name_unregister('boss');
SELECT test.name_register(:'address_b', 'boss'), test.name_lookup('boss') = :'address_b' AS found;

-- gone with its actor
SELECT test.actor_exit(:b);
SELECT test.name_lookup('boss') IS NULL AS nobody, test.name_lookup('chief') = :'address_a' AS chief;
SELECT test.name_register(:'address_b', 'boss'), test.name_register('0/4000000000/1', 'boss');

-- what is no name
SELECT test.name_register(:'address_a', '');
SELECT test.name_register(:'address_a', repeat('x', 64));
SELECT test.name_register(:'address_a', repeat('x', 63));

-- many, and all gone with their session
SELECT test.name_register(:'address_a', 'number ' || i), count(*) FROM generate_series(1, 2000) i GROUP BY 1;
SELECT test.name_lookup('number 1999') = :'address_a' AS found;
SELECT count(test.name_unregister('number ' || i)) FROM generate_series(1, 2000, 2) i;
SELECT test.name_lookup('number 1999') IS NULL AS nobody, test.name_lookup('number 2000') = :'address_a' AS found;
\c
SELECT test.wait_until($$(SELECT s.value = b.value FROM dlog.stat_runtime s, names_before b WHERE s.name = 'names')$$);

-- another database's names are others
SELECT test.actor_spawn('first') AS a \gset
SELECT test.actor_address(:a) AS address_a \gset
SELECT test.name_register(:'address_a', 'boss');
CREATE DATABASE runtime_name;
\c runtime_name
CREATE FUNCTION name_lookup(name text) RETURNS text
LANGUAGE c VOLATILE STRICT AS '$libdir/dlog', 'dlog_test_name_lookup';
SELECT name_lookup('boss') IS NULL AS nobody;
\c regression
DROP DATABASE runtime_name;
