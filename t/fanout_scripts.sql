-- Scripts for 054_fanout_scripts.pl.  Each begins with a line "-- @name" and runs in
-- a session of its own, with T for a distributed table, and for one with
-- partitions made by hand, and for an ordinary one that has the same rows; p is an
-- ordinary table.  What they print must be the same.

-- @prepared
PREPARE q(int, text) AS SELECT id, s FROM T WHERE k = $1 AND s > $2 ORDER BY id;
EXECUTE q(3,'x1');
EXECUTE q(4,'x1');
EXECUTE q(3,'x3');
EXECUTE q(3,'x');
EXECUTE q(3,'x1');
EXECUTE q(7,'x1');
EXECUTE q(NULL,'x1');
EXECUTE q(8, NULL);
SET plan_cache_mode = force_generic_plan;
EXECUTE q(3,'x1');
PREPARE one(int) AS SELECT s, v FROM T WHERE id = $1;
EXECUTE one(1);
EXECUTE one(2);
EXECUTE one(3);
EXECUTE one(1500);
EXECUTE one(NULL);
PREPARE lim(int,int) AS SELECT id FROM T ORDER BY id LIMIT $1 OFFSET $2;
EXECUTE lim(3, 2);
EXECUTE lim(NULL, 1495);
EXECUTE lim(0,0);
PREPARE agg(int) AS SELECT count(*), sum(v), max(s) FROM T WHERE id > $1 AND id < $1 + 100;
EXECUTE agg(5);
EXECUTE agg(500);
EXECUTE agg(5000);
PREPARE anys(int[]) AS SELECT count(*) FROM T WHERE id = ANY($1);
EXECUTE anys('{1,2,3,4,5,6}');
EXECUTE anys('{}');
EXECUTE anys(NULL);
SET plan_cache_mode = force_custom_plan;
EXECUTE lim(3, 2);
EXECUTE agg(6);
EXECUTE one(4);
EXECUTE anys('{7,8,9}');
-- @plpgsql
DO $$
DECLARE row record; n bigint := 0; m numeric; c CURSOR (x int) FOR SELECT id, v FROM T WHERE k = x ORDER BY id; arr int[];
BEGIN
 FOR row IN SELECT id, s FROM T WHERE b ORDER BY id LOOP n := n + row.id; END LOOP;
 RAISE INFO 'loop %', n;
 FOR i IN 1..12 LOOP SELECT sum(v) INTO m FROM T WHERE k = i; RAISE INFO '% %', i, m; END LOOP;
 FOR i IN 1..12 LOOP SELECT s INTO row FROM T WHERE id = i; RAISE INFO '% % %', i, row.s, FOUND; END LOOP;
 OPEN c(5); FETCH c INTO row; RAISE INFO '%', row; MOVE FORWARD 3 FROM c; FETCH c INTO row; RAISE INFO '%', row; CLOSE c;
 FOR row IN c(6) LOOP n := n + row.id; END LOOP; RAISE INFO 'cursor %', n;
 SELECT array_agg(id ORDER BY id) INTO arr FROM T WHERE id < 20; RAISE INFO '%', arr;
 IF EXISTS (SELECT 1 FROM T WHERE id = 77) THEN RAISE INFO 'there'; END IF;
 PERFORM count(*) FROM T; RAISE INFO 'found %', FOUND;
 BEGIN
  PERFORM 1 / (id - 700) FROM T WHERE id BETWEEN 690 AND 710;
 EXCEPTION WHEN division_by_zero THEN RAISE INFO 'caught';
 END;
 SELECT count(*) INTO n FROM T; RAISE INFO 'after %', n;
 FOR row IN SELECT id FROM T ORDER BY id LOOP EXIT WHEN row.id > 5; BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN RAISE INFO 'in loop %', row.id; END; END LOOP;
 EXECUTE 'SELECT count(*) FROM T WHERE id < $1' INTO n USING 300; RAISE INFO '%', n;
END $$;
CREATE FUNCTION pg_temp.f(x int) RETURNS TABLE (a int, b text) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT id, s FROM T WHERE k = x ORDER BY id LIMIT 3; RETURN QUERY EXECUTE 'SELECT 0, ''end'''; END $$;
SELECT n, f.* FROM generate_series(1, 8) n, pg_temp.f(n) f;
CREATE FUNCTION pg_temp.g(x int) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM T WHERE k = x $$;
SELECT id, pg_temp.g(id) FROM p WHERE id < 20 ORDER BY id;
CREATE FUNCTION pg_temp.h(x int) RETURNS SETOF int LANGUAGE sql AS $$ SELECT id FROM T WHERE k = x ORDER BY id $$;
SELECT p.id, h FROM p, LATERAL pg_temp.h(p.id) h WHERE p.id < 5 ORDER BY 1, 2;
-- @cursor_scroll
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id, s FROM T WHERE v > 50 ORDER BY id;
FETCH 3 FROM c;
FETCH BACKWARD 2 FROM c;
FETCH ABSOLUTE 100 FROM c;
FETCH RELATIVE -5 FROM c;
FETCH LAST FROM c;
FETCH NEXT FROM c;
FETCH PRIOR FROM c;
FETCH FIRST FROM c;
FETCH PRIOR FROM c;
MOVE 10 FROM c;
FETCH c;
MOVE ALL FROM c;
FETCH c;
MOVE BACKWARD ALL FROM c;
FETCH c;
FETCH ABSOLUTE -3 FROM c;
FETCH ABSOLUTE 0 FROM c;
FETCH ALL FROM c;
FETCH BACKWARD 4 FROM c;
DECLARE e SCROLL CURSOR FOR SELECT k, count(*) FROM T GROUP BY k ORDER BY k NULLS FIRST;
FETCH 4 FROM e;
FETCH BACKWARD 2 FROM e;
FETCH LAST FROM e;
CLOSE c;
FETCH FIRST FROM e;
COMMIT;
-- @cursor_hold
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM T ORDER BY id;
FETCH 3 FROM c;
DECLARE e SCROLL CURSOR WITH HOLD FOR SELECT count(*), k FROM T GROUP BY k ORDER BY k;
FETCH 2 FROM e;
COMMIT;
FETCH 3 FROM c;
MOVE 100 FROM c;
FETCH c;
FETCH BACKWARD 1 FROM e;
FETCH LAST FROM e;
CLOSE c;
CLOSE e;
BEGIN;
DECLARE z CURSOR WITH HOLD FOR SELECT id FROM T;
ROLLBACK;
-- @cursor_several
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM T ORDER BY id;
DECLARE b CURSOR FOR SELECT id FROM T ORDER BY id DESC;
FETCH 2 FROM a;
FETCH 2 FROM b;
SAVEPOINT x;
FETCH 2 FROM a;
DECLARE c CURSOR FOR SELECT s FROM T ORDER BY id;
FETCH 2 FROM c;
SELECT count(*) FROM T;
ROLLBACK TO x;
FETCH 2 FROM a;
FETCH 2 FROM b;
SAVEPOINT y;
FETCH 1 FROM a;
RELEASE y;
FETCH 1 FROM a;
COMMIT;
-- @cursor_and_writes
BEGIN;
DECLARE a CURSOR FOR SELECT id, k FROM T ORDER BY id;
FETCH 2 FROM a;
UPDATE T SET k = 1000 WHERE id <= 10;
FETCH 3 FROM a;
DELETE FROM T WHERE id BETWEEN 7 AND 9;
FETCH 6 FROM a;
SELECT id, k FROM T WHERE id <= 12 ORDER BY id;
ROLLBACK;
SELECT count(*), sum(k) FROM T;
-- @own_writes
BEGIN;
INSERT INTO T (id, k, v, s) SELECT i, 1, i, 'new' FROM generate_series(2001, 2030) i;
SELECT count(*), sum(id), sum(g) FROM T WHERE id > 2000;
UPDATE T SET v = v + 1 WHERE id > 2020 RETURNING NULL;
SELECT id, v, g FROM T WHERE id > 2020 ORDER BY id;
SAVEPOINT a;
DELETE FROM T WHERE s = 'new';
SELECT count(*) FROM T;
ROLLBACK TO a;
SELECT count(*) FROM T;
SELECT s, count(*) FROM T GROUP BY s ORDER BY s;
ROLLBACK;
SELECT count(*) FROM T;
-- @changes
BEGIN;
WITH x AS (DELETE FROM T WHERE id % 100 = 7 RETURNING *) SELECT count(*), sum(id) FROM x;
WITH x AS (INSERT INTO T (id, k) VALUES (3001, 1), (3002, 2) RETURNING id, g) SELECT * FROM x ORDER BY id;
WITH x AS (UPDATE T SET k = k + 1 WHERE id < 30 RETURNING id, k) SELECT sum(k) FROM x;
UPDATE T SET v = (SELECT max(v) FROM p WHERE p.k = T.k) WHERE id < 10;
SELECT id, v FROM T WHERE id < 10 ORDER BY id;
UPDATE T SET v = -1 FROM p WHERE p.id = T.id AND p.k < 3;
SELECT count(*), sum(v) FROM T;
DELETE FROM T USING p WHERE p.id = T.id AND p.k = 9;
DELETE FROM T WHERE id IN (SELECT id FROM T WHERE k = 5);
UPDATE p SET n = (SELECT count(*) FROM T WHERE T.k = p.k) WHERE id < 20;
UPDATE p SET v = T.v FROM T WHERE T.id = p.id;
SELECT sum(n), sum(v) FROM p;
INSERT INTO p SELECT id + 100000, k, v, s, 0 FROM T WHERE id % 7 = 0;
SELECT count(*) FROM p;
CREATE TEMP TABLE x AS SELECT s, count(*) c FROM T GROUP BY s;
SELECT * FROM x ORDER BY s;
SELECT id, s INTO TEMP y FROM T WHERE id < 100;
SELECT count(*) FROM y JOIN T USING (id);
ROLLBACK;
-- @views
CREATE TEMP VIEW v1 AS SELECT id, s, v FROM T WHERE b;
CREATE TEMP VIEW v2 WITH (security_barrier) AS SELECT id, k, v FROM T WHERE k < 20;
CREATE TEMP VIEW v3 AS SELECT s, count(*) c, sum(v) v FROM T GROUP BY s;
SELECT count(*), sum(v) FROM v1;
SELECT * FROM v1 WHERE id < 20 ORDER BY id;
SELECT count(*), sum(v) FROM v2 WHERE id % 7 = 1 AND v::text LIKE '1%';
SELECT * FROM v3 WHERE c > 80 ORDER BY s;
SELECT a.id FROM v1 a JOIN v2 b USING (id) WHERE a.s = 'x3' ORDER BY 1;
SELECT k, max(v) FROM v2 GROUP BY k ORDER BY k LIMIT 3;
CREATE MATERIALIZED VIEW mv AS SELECT k, count(*) c FROM T GROUP BY k;
SELECT sum(c), count(*) FROM mv;
REFRESH MATERIALIZED VIEW mv;
SELECT sum(c), count(*) FROM mv;
DROP MATERIALIZED VIEW mv;
-- @recursive
WITH RECURSIVE w(id, depth) AS (SELECT id, 0 FROM T WHERE id = 1 UNION ALL SELECT t.id, depth + 1 FROM w JOIN T t ON t.id = w.id * 2 WHERE depth < 12) SELECT * FROM w ORDER BY 1;
WITH RECURSIVE w(id) AS (VALUES (3) UNION SELECT t.k FROM w, T t WHERE t.id = w.id + 40 AND t.k IS NOT NULL) SELECT * FROM w ORDER BY 1;
WITH RECURSIVE w(n, c) AS (SELECT 1, 0::bigint UNION ALL SELECT n + 1, (SELECT count(*) FROM T WHERE k = n) FROM w WHERE n < 9) SELECT * FROM w;
WITH RECURSIVE w(id, p) AS (SELECT id, k FROM T WHERE k IS NULL UNION ALL SELECT T.id, T.k FROM T, w WHERE T.k = w.id AND T.id > 1400) SELECT count(*), sum(id) FROM w;
-- @sample
SELECT count(*) FROM T TABLESAMPLE SYSTEM (100);
SELECT count(*) FROM T TABLESAMPLE BERNOULLI (0);
SELECT count(*) > 300 AND count(*) < 1200 FROM T TABLESAMPLE BERNOULLI (50) REPEATABLE (3);
SELECT count(*) FROM T TABLESAMPLE BERNOULLI (100) WHERE k = 5;
-- @locking
BEGIN;
SELECT id FROM T WHERE id < 10 ORDER BY id FOR UPDATE;
SELECT id FROM T WHERE k = 3 ORDER BY id FOR SHARE SKIP LOCKED;
SELECT T.id FROM T JOIN p USING (id) WHERE p.k = 4 ORDER BY 1 FOR UPDATE OF T NOWAIT;
SELECT T.id FROM T JOIN p USING (id) WHERE p.k = 4 ORDER BY 1 FOR UPDATE OF p;
SELECT id FROM T ORDER BY id LIMIT 3 FOR NO KEY UPDATE;
ROLLBACK;
-- @parallel
SET force_parallel_mode = on;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*), sum(v) FROM T;
SELECT s, count(*) FROM T GROUP BY s ORDER BY s;
SELECT count(*) FROM T JOIN p USING (id);
SELECT id FROM T ORDER BY v, id LIMIT 4;
SELECT p.id, (SELECT count(*) FROM T WHERE T.k = p.k) FROM p WHERE id < 8 ORDER BY 1;
-- @jit
SET jit_above_cost = 0;
SET jit_inline_above_cost = 0;
SET jit_optimize_above_cost = 0;
SELECT count(*), sum(v), avg(v) FROM T WHERE id % 3 = 1;
SELECT s, count(*), max(v) FROM T GROUP BY s ORDER BY s;
-- @rescan
SET enable_material = off;
SET enable_memoize = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT p.id, t.id FROM p, LATERAL (SELECT id FROM T WHERE T.k = p.k AND T.id > p.id ORDER BY id LIMIT 2) t WHERE p.id < 30 ORDER BY 1, 2;
SELECT p.id, t.c FROM p, LATERAL (SELECT count(*) c FROM T WHERE T.k = p.k AND T.v > p.v) t WHERE p.id < 30 ORDER BY 1, 2;
SELECT a.x, count(*) FROM generate_series(1, 4) a(x), T WHERE T.id % a.x = 0 GROUP BY 1 ORDER BY 1;
SELECT a.x, b.id FROM generate_series(1, 5) a(x) LEFT JOIN T b ON b.id = a.x * 300 ORDER BY 1;
SELECT a.x, (SELECT s FROM T WHERE id = a.x) FROM generate_series(0, 8) a(x);
SELECT a.x, EXISTS (SELECT FROM T WHERE k = a.x AND id > 1400), ARRAY(SELECT id FROM T WHERE k = a.x ORDER BY id LIMIT 3) FROM generate_series(45, 52) a(x);
SELECT count(*) FROM p WHERE k NOT IN (SELECT T.k FROM T WHERE T.id < p.id AND T.k IS NOT NULL AND p.id < 10);
-- @huge
SELECT length(max(repeat(s, 1000000))) FROM T WHERE id < 4;
SELECT length(max(repeat(s, 700000000))) FROM T WHERE id < 4;
SELECT count(*) FROM T;
SELECT length(repeat(s, 1000000)), id FROM T WHERE id < 4 ORDER BY id;
SELECT sum(length(repeat(s, 100000))) FROM T WHERE id < 50;
-- @set_ops
SELECT s FROM T WHERE id < 30 INTERSECT SELECT s FROM p WHERE id < 10 ORDER BY 1;
SELECT k FROM T EXCEPT ALL SELECT k FROM p ORDER BY 1 NULLS FIRST LIMIT 10;
(SELECT id FROM T ORDER BY id LIMIT 2) UNION ALL (SELECT id FROM T ORDER BY id DESC LIMIT 2) ORDER BY 1;
VALUES (1) UNION SELECT id FROM T WHERE id < 3 ORDER BY 1;
SELECT count(*) FROM (SELECT id FROM T UNION ALL SELECT id FROM p) x WHERE id = 17;
SELECT id, sum(v) FROM (SELECT id, v FROM T UNION ALL SELECT id, v FROM p) x WHERE id < 5 GROUP BY id ORDER BY id;
SELECT * FROM (SELECT id, v FROM T UNION ALL SELECT id, v FROM p) x ORDER BY v DESC, id LIMIT 5;
-- @window
SELECT id, s, row_number() OVER (PARTITION BY id ORDER BY v), sum(v) OVER (PARTITION BY id) FROM T ORDER BY id LIMIT 5;
SELECT k, id, lag(id) OVER w, first_value(v) OVER w, count(*) OVER (PARTITION BY id, k), ntile(3) OVER (PARTITION BY k ORDER BY id) FROM T WHERE id < 60 WINDOW w AS (PARTITION BY k ORDER BY id) ORDER BY id;
SELECT count(*), max(x) FROM (SELECT row_number() OVER (PARTITION BY id ORDER BY v) x FROM T) y WHERE x <= 1;
SELECT id, sum(v) OVER (PARTITION BY id, s ORDER BY k ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) z, dense_rank() OVER (PARTITION BY id ORDER BY k) FROM T ORDER BY z DESC, id LIMIT 7;
SELECT id, g, percent_rank() OVER (PARTITION BY g ORDER BY id) > 0.5 FROM T WHERE id < 40 ORDER BY id;
-- @tableoid
SELECT count(DISTINCT tableoid) BETWEEN 1 AND 7, bool_and(tableoid <> 'p'::regclass) FROM T;
SELECT count(*) FROM (SELECT tableoid, count(*) FROM T GROUP BY tableoid) x WHERE count < 0;
-- @subxacterror
BEGIN;
SAVEPOINT a;
SELECT 1/(id-id) FROM T;
ROLLBACK TO a;
SELECT count(*) FROM T;
SAVEPOINT b;
INSERT INTO T(id, k) VALUES (5000, 'x');
ROLLBACK TO b;
INSERT INTO T(id, k) VALUES (5001, 9);
SELECT k FROM T WHERE id = 5001;
ROLLBACK;
-- @copyout
COPY (SELECT id, s, v FROM T WHERE id < 30 ORDER BY id) TO STDOUT;
COPY (SELECT k, count(*) FROM T GROUP BY k ORDER BY k) TO STDOUT CSV;
-- @isolation
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM T;
SELECT sum(id) FROM T WHERE b;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT count(*) FROM T;
SELECT s, count(*) FROM T GROUP BY s ORDER BY s;
COMMIT;
BEGIN READ ONLY;
SELECT count(*) FROM T;
UPDATE T SET k = 1 WHERE id = 1;
ROLLBACK;
