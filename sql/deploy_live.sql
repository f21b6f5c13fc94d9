-- A live deployment keeps the value of a reduce; what cannot be reduced is refused
-- before anything is kept.
CREATE SCHEMA live;
SET search_path = live;
CREATE TABLE t (n bigint);
INSERT INTO t VALUES (1), (2);

-- what is refused
SELECT dlog.deploy_live('', 'all', 'SELECT 1', 'sum', 0::bigint);
SELECT dlog.deploy_live(repeat('x', 59), 'all', 'SELECT 1', 'sum', 0::bigint);
SELECT dlog.deploy_live(NULL, 'all', 'SELECT 1', 'sum', 0::bigint);
SELECT dlog.deploy_live('v', 'nobody', 'SELECT 1', 'sum', 0::bigint);
SELECT dlog.deploy_live('v', 'all', 'SELEC 1', 'sum', 0::bigint);
SELECT dlog.deploy_live('v', 'all', NULL, 'sum', 0::bigint);
SELECT dlog.deploy_live('v', 'all', 'SELECT 1', 'avg', 0::numeric);
SELECT dlog.deploy_live('v', 'all', 'SELECT 1', 'int4pl(int, int)'::regprocedure, 0::bigint);
SELECT dlog.deploy_live('v', 'all', 'SELECT count(DISTINCT n) FROM t', 'sum', 0::bigint);
SELECT dlog.deploy_live('v', 'all', 'SELECT 1', 'sum', 0::bigint, every => '1 ms');
SELECT dlog.deploy_live('v', 'all', 'SELECT 1', 'sum', 0::bigint, every => '-1 s');
SELECT dlog.deploy_live('v', 'all', 'SELECT 1', 'sum', 0::bigint, timeout => '-1 s');
SELECT dlog.deploy_live('v', 'all', 'SELECT 1', 'sum', 7::bigint, check_init => true);
SELECT dlog.deploy_live('v', 'all', 'SELECT n FROM t', 'avg(bigint)', 0::numeric);
SELECT count(*) FROM dlog.live_deployments;
SELECT dlog.drop_live('v');
SELECT dlog.suspend_live('v');
SELECT dlog.resume_live('v');

-- the value follows
SELECT dlog.deploy_live('v', 'all', 'SELECT sum(n)::bigint FROM t WHERE n < $1', 'sum', 0::bigint, every => '100 ms', args => ROW(1000));
SELECT dlog.deploy_live('v', 'all', 'SELECT 1', 'sum', 0::bigint);
SELECT test.wait_until($$(SELECT value FROM dlog.live_deployments WHERE name = 'v') = '3'$$);
SELECT name, flock, map, reduce, every, members, answered, state, error, owner = current_user::regrole AS is_mine FROM dlog.live_deployments;
SELECT dlog.live_value('v', NULL::bigint) + 1 AS typed;
SELECT dlog.live_value('v', NULL::text);
SELECT dlog.live_value('nobody', NULL::text) IS NULL AS is_null;
SELECT deployment, node, value, error FROM dlog.live_members;
INSERT INTO t VALUES (10), (5000);
SELECT test.wait_until($$(SELECT value FROM dlog.live_deployments WHERE name = 'v') = '13'$$);

-- a member that fails counts for nothing, and says why
ALTER TABLE t RENAME TO gone;
SELECT test.wait_until($$(SELECT answered FROM dlog.live_deployments WHERE name = 'v') = 0$$);
SELECT value, members, answered FROM dlog.live_deployments;
SELECT node, value, sqlstate, error FROM dlog.live_members;
ALTER TABLE gone RENAME TO t;
SELECT test.wait_until($$(SELECT value FROM dlog.live_deployments WHERE name = 'v') = '13'$$);

-- suspended, it stays as it is
SELECT dlog.suspend_live('v');
INSERT INTO t VALUES (100);
SELECT state, value FROM dlog.live_deployments;
SELECT count(*) FROM dlog.jobs WHERE name = 'live v';
SELECT dlog.resume_live('v');
SELECT test.wait_until($$(SELECT value FROM dlog.live_deployments WHERE name = 'v') = '113'$$);

-- who removes its job has stopped it
SELECT dlog.unsupervise('live v');
SELECT state FROM dlog.live_deployments;
SELECT dlog.resume_live('v');
SELECT state FROM dlog.live_deployments;

-- a reduce that fails: the value stays, and it is said why
CREATE FUNCTION picky(bigint, bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN IF $2 > 200 THEN RAISE 'too much: %', $2; END IF; RETURN $1 + $2; END $$;
SELECT dlog.deploy_live('p', 'all', 'SELECT sum(n)::bigint FROM live.t WHERE n < 1000', 'live.picky(bigint, bigint)'::regprocedure, 0::bigint, every => '100 ms');
SELECT test.wait_until($$(SELECT value FROM dlog.live_deployments WHERE name = 'p') = '113'$$);
INSERT INTO t VALUES (200);
SELECT test.wait_until($$(SELECT error IS NOT NULL FROM dlog.live_deployments WHERE name = 'p')$$);
SELECT value, sqlstate, error FROM dlog.live_deployments WHERE name = 'p';
DELETE FROM t WHERE n = 200;
SELECT test.wait_until($$(SELECT error IS NULL FROM dlog.live_deployments WHERE name = 'p')$$);

-- an aggregate stands for itself
SELECT dlog.deploy_live('a', 'all', 'SELECT n FROM t WHERE n < 1000', 'avg(bigint)', NULL::numeric, every => '100 ms');
SELECT test.wait_until($$(SELECT dlog.live_value('a', NULL::numeric)) = (SELECT avg(n) FROM live.t WHERE n < 1000)$$);

SELECT value::numeric = (SELECT avg(n) FROM t WHERE n < 1000) AS is_its_own FROM dlog.live_members WHERE deployment = 'a';

-- a flock that is dropped
SELECT dlog.create_flock('fleeting');
SELECT dlog.deploy_live('f', 'fleeting', 'SELECT 5::bigint', 'max', NULL::bigint, every => '100 ms');
SELECT test.wait_until($$(SELECT value FROM dlog.live_deployments WHERE name = 'f') = '5'$$);
SELECT dlog.drop_flock('fleeting');
SELECT test.wait_until($$(SELECT error IS NOT NULL FROM dlog.live_deployments WHERE name = 'f')$$);
SELECT value, sqlstate, error FROM dlog.live_deployments WHERE name = 'f';

-- others neither see it nor touch it
CREATE ROLE live_other;
SET ROLE live_other;
SELECT count(*) FROM dlog.live_deployments;
SELECT count(*) FROM dlog.live_members;
SELECT dlog.deploy_live('o', 'all', 'SELECT 1', 'sum', 0::bigint);
SELECT dlog.drop_live('v');
CALL dlog.live_run('v');
RESET ROLE;
GRANT dlog_deployer TO live_other;
SET ROLE live_other;
SELECT dlog.drop_live('v');
SELECT dlog.suspend_live('v');
RESET ROLE;
BEGIN;
CALL dlog.live_run('v');
ROLLBACK;

SELECT dlog.drop_live(name) FROM dlog.live_deployments;
SELECT count(*) FROM dlog.live_deployments;
SELECT count(*) FROM dlog.jobs WHERE name LIKE 'live %';
DROP ROLE live_other;

-- What one member costs grows with the logarithm of their number: of n members about
-- 2 ln n sums of at most two merges each are made anew.
SELECT n, (p).is_right, (p).per_change < 4 * ln(n) AS change, (p).per_join < 4 * ln(n) AS join, (p).per_leave < 4 * ln(n) AS leave
FROM (SELECT n, test.partials(n) AS p FROM (VALUES (2), (10), (100), (1000), (4000)) AS v (n)) AS s;
DROP SCHEMA live CASCADE;
