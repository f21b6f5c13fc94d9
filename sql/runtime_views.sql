-- What the views tell of native actors: counted as they work, and sampled.
SELECT test.actor_spawn('master') AS m \gset
SELECT actors AS actors_before, spawned AS spawned_before, exited AS exited_before, failed AS failed_before, messages AS messages_before
FROM dlog.stat_behaviors WHERE behavior = 'test ring' \gset
CREATE TABLE ring AS SELECT row_number() OVER () AS number, actor FROM unnest(test.ring_create(:m, 4)) actor;
SELECT test.ring_start(actor, 19999, 0) FROM ring WHERE number = 1;
SELECT test.actor_receive(:m, 60000);

-- each has handled a quarter of the hops, and what it was told before
SELECT behavior, state, mailbox, restarts IS NULL AS no_restarts, received, name, role, database
FROM dlog.actors() JOIN ring USING (actor) ORDER BY number;
SELECT test.name_register(actor, 'first of the ring') FROM ring WHERE number = 1;
SELECT number FROM dlog.actors() JOIN ring USING (actor) WHERE name = 'first of the ring';

SELECT actors - :actors_before AS actors, spawned - :spawned_before AS spawned,
       messages - :messages_before AS messages, run_ms > 0 AS has_run
FROM dlog.stat_behaviors WHERE behavior = 'test ring';
SELECT sum(count) > 5000 AS sampled, bool_and(below_us > 0) AS bounded FROM dlog.latencies WHERE behavior = 'test ring';

-- what has exited is still counted
SELECT test.ring_send(actor, CASE number WHEN 1 THEN 'fail' ELSE 'stop' END) FROM ring ORDER BY number;
SELECT test.wait_until('NOT EXISTS (SELECT FROM dlog.actors() JOIN ring USING (actor))');
SELECT actors - :actors_before AS actors, exited - :exited_before AS exited, failed - :failed_before AS failed,
       messages - :messages_before AS messages
FROM dlog.stat_behaviors WHERE behavior = 'test ring';

-- schedulers woke up for it
SELECT sum(wakeups) > 0 AS woken, bool_and(stolen >= 0 AND given >= 0 AND queue >= 0 AND busy BETWEEN 0 AND 1) AS sane FROM dlog.schedulers;
SELECT class, used FROM dlog.memory WHERE class = 'large objects';
DROP TABLE ring;

-- administrators look, others do not
CREATE ROLE runtime_views;
SET ROLE runtime_views;
SELECT count(*) FROM dlog.stat_behaviors;
SELECT count(*) FROM dlog.latencies;
RESET ROLE;
DROP ROLE runtime_views;
