-- Timers fire when they are due, in that order; they vanish with their actor.
SELECT test.actor_spawn('owner') AS a, test.actor_spawn('other') AS b \gset
SELECT test.actor_address(:a) AS address_a, test.actor_address(:b) AS address_b \gset
CREATE VIEW timers AS SELECT value FROM dlog.stat_runtime WHERE name = 'timers';

-- in the order of their times, and of their setting where these are the same
SELECT count(test.timer_set(:'address_a', :'address_a', ms || ' ms', ms))
FROM unnest(ARRAY[150, 50, 0, 100]) ms;
SELECT test.actor_receive(:a) FROM generate_series(1, 4);
SELECT * FROM timers;

-- not before it is due, and not much later
SELECT clock_timestamp() AS begun \gset
SELECT test.timer_set(:'address_a', :'address_b', 'to another', 100) > 0 AS set;
SELECT test.actor_receive(:b);
SELECT clock_timestamp() - :'begun' BETWEEN '100 ms' AND '1 s' AS in_time;

-- a later one is set first: the keeper is woken for the earlier
SELECT test.timer_set(:'address_a', :'address_a', 'in an hour', 3600000) AS hour \gset
SELECT test.timer_set(:'address_a', :'address_a', 'soon', 20) > 0 AS set;
SELECT test.actor_receive(:a);

-- cancelled; over
SELECT * FROM timers;
SELECT test.timer_cancel(:hour), test.timer_cancel(:hour), test.timer_cancel(0), test.timer_cancel(-1);
SELECT * FROM timers;
SELECT test.timer_set(:'address_a', :'address_a', 'at once', -5) AS over \gset
SELECT test.actor_receive(:a);
SELECT test.timer_cancel(:over);

-- its place is used again, its id is not
SELECT test.timer_set(:'address_a', :'address_a', 'fresh', 3600000) AS fresh \gset
SELECT :fresh & 4294967295 = :over & 4294967295 AS same_place, test.timer_cancel(:over) AS stale, test.timer_cancel(:fresh) AS fresh;

-- again and again, until cancelled
SELECT test.timer_set(:'address_a', :'address_a', 'tick', 10, true) AS ticker \gset
SELECT test.actor_receive(:a) FROM generate_series(1, 5);
SELECT test.timer_cancel(:ticker);
SELECT test.actor_receive(:a, 0) IS NOT NULL FROM generate_series(1, 100) OFFSET 100;

-- gone with its owner, whoever it would have gone to
SELECT count(test.timer_set(:'address_b', :'address_a', 'never', 3600000 + i)) FROM generate_series(1, 3000) i;
SELECT test.timer_set(:'address_a', :'address_b', 'of another owner', 3600000) AS stays \gset
SELECT * FROM timers;
SELECT test.actor_exit(:b);
SELECT * FROM timers;
SELECT test.timer_set(:'address_b', :'address_a', 'of nobody', 10) AS none;
SELECT test.timer_cancel(:stays);
SELECT used FROM dlog.memory WHERE class = 'blocks' AND block_size = 65536 AND used > 1;

-- a message to one that has gone is a dead letter
SELECT test.timer_set(:'address_a', :'address_b', 'too late', 10) > 0 AS set;
SELECT test.wait_until($$(SELECT value = 0 FROM dlog.stat_runtime WHERE name = 'timers')$$);
SELECT test.wait_until(format($$(SELECT receiver = %L FROM dlog.dead_letters() ORDER BY number DESC LIMIT 1)$$, :'address_b'));

-- the launcher is terminated: somebody else keeps time
SELECT pid AS launcher FROM pg_stat_activity WHERE backend_type = 'dlog launcher' \gset
SELECT test.timer_set(:'address_a', :'address_a', 'without the launcher', 200) > 0 AS set;
SELECT pg_terminate_backend(:launcher);
SELECT test.actor_receive(:a), NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dlog launcher') AS is_away;
SELECT test.wait_until($$EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dlog launcher')$$);
SELECT test.timer_set(:'address_a', :'address_a', 'with the next one', 20) > 0 AS set;
SELECT test.actor_receive(:a);

-- all of them end with their session
SELECT count(test.timer_set(:'address_a', :'address_a', 'never', 3600000)) FROM generate_series(1, 100);
\c
SELECT test.wait_until($$(SELECT value = 0 FROM timers)$$);
DROP VIEW timers;
