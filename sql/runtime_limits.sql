-- Each limit has its answer, for who sends from a session and for an actor,
-- and is counted: a receiver that is gone, a full mailbox, no memory.
SELECT test.actor_spawn('teller') AS me \gset
CREATE TEMP TABLE before AS SELECT * FROM dlog.stat_runtime;
CREATE FUNCTION pg_temp.counted() RETURNS TABLE (what text, n bigint) LANGUAGE sql AS $$
    SELECT name, s.value - b.value FROM dlog.stat_runtime s JOIN before b USING (name)
    WHERE name LIKE 'dead letters: %' AND s.value <> b.value ORDER BY name $$;
CREATE FUNCTION pg_temp.told(me int, actor text, what text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM test.actor_send(me, actor, 'tell');
    RETURN substring(test.actor_receive(me) FROM what || ' (\d+)');
END $$;
SELECT sum(used) AS used FROM dlog.memory \gset

-- a receiver that is gone: the session learns it at once, an actor by a message
SELECT test.victim_spawn() AS a, test.victim_spawn() AS gone \gset
SELECT test.actor_monitor(:me, :'gone');
SELECT test.actor_send(:me, :'gone', 'exit');
SELECT test.actor_receive(:me);
SELECT test.actor_send(:me, :'gone', 'hello');
SELECT test.actor_send(:me, :'a', 'flood 3 ' || :'gone');
SELECT test.wait_until(format('pg_temp.told(%s, %L, ''no actor'') = 3', :me, :'a'));
SELECT * FROM pg_temp.counted();
SELECT type, reason, receiver = :'gone' AS the_receiver, sender = :'a' AS the_sender, count(*)
FROM dlog.dead_letters() WHERE receiver = :'gone' GROUP BY 1, 2, 3, 4 ORDER BY 5;

-- a stale incarnation: the same, though another lives in its slot, who hears nothing of it
SELECT test.victim_spawn() AS b \gset
SELECT split_part(:'gone', '/', 2) = split_part(:'b', '/', 2) AS same_slot, :'gone' <> :'b' AS another;
SELECT test.actor_send(:me, :'gone', 'hello');
SELECT test.actor_send(:me, :'a', 'flood 2 ' || :'gone');
SELECT test.wait_until(format('pg_temp.told(%s, %L, ''no actor'') = 5', :me, :'a'));
SELECT pg_temp.told(:me, :'b', 'counted') AS heard_by_the_other;
SELECT * FROM pg_temp.counted();

-- a full mailbox, of an actor that is at something: the session is refused
SET dlog.mailbox_limit = 16;
SELECT dlog.stop_point_arm('victim-begins', 'wait');
SELECT test.actor_send(:me, :'b', 'work');
SELECT test.wait_until($$dlog.stop_point_waiting('victim-begins') = 1$$);
SELECT test.actor_send(:me, :'b', 'mail'), count(*) FROM generate_series(1, 20) GROUP BY 1 ORDER BY 1 DESC;
SELECT dlog.stop_point_release('victim-begins');
SELECT test.actor_receive(:me);
SELECT test.actor_send(:me, :'b', 'tell');
SELECT test.actor_receive(:me);
RESET dlog.mailbox_limit;
SELECT * FROM pg_temp.counted();

-- an actor that floods another is told how many did not fit; none is lost
ALTER SYSTEM SET dlog.mailbox_limit = 100;
SELECT pg_reload_conf();
SELECT count(pg_terminate_backend(pid, 10000)) > 0 FROM dlog.schedulers; -- new ones have read it
SELECT test.actor_send(:me, :'a', 'flood 1000 ' || :'b');
SELECT test.wait_until(format('pg_temp.told(%1$s, %2$L, ''mailbox full'') + pg_temp.told(%1$s, %3$L, ''counted'') = 1016', :me, :'a', :'b'));
SELECT pg_temp.told(:me, :'a', 'mailbox full') AS refused \gset
SELECT :refused BETWEEN 1 AND 900 AS some_were_refused;
SELECT n - 4 >= :refused AS counted FROM pg_temp.counted() WHERE what = 'dead letters: mailbox full'; -- and what asked the full one
ALTER SYSTEM RESET dlog.mailbox_limit;
SELECT pg_reload_conf();
SELECT count(pg_terminate_backend(pid, 10000)) > 0 FROM dlog.schedulers;

-- no memory: a handler is told so, and all is well afterwards
SELECT test.victim_spawn() AS c \gset
SELECT dlog.stop_point_arm('victim-is-full', 'wait');
SELECT test.actor_send(:me, :'c', 'fill');
SELECT test.wait_until($$dlog.stop_point_waiting('victim-is-full') = 1$$);
SELECT test.victim_spawn() IS NOT NULL AS spawning_takes_none;
SELECT value < 100000 AS all_is_taken FROM dlog.stat_runtime WHERE name = 'bytes free';
SELECT dlog.stop_point_release('victim-is-full');
SELECT test.actor_receive(:me);
SELECT n >= 2 AS counted FROM pg_temp.counted() WHERE what = 'dead letters: out of memory';
SELECT pg_temp.told(:me, :'c', 'out of memory') AS not_told_twice;

-- nothing is left of all that
SELECT count(test.actor_send(0, actor, 'exit')) > 0 FROM dlog.actors() WHERE behavior = 'test victim';
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.actors WHERE behavior = 'test victim')$$);
SELECT test.wait_until(format('(SELECT sum(used) FROM dlog.memory) <= %s', :used));
