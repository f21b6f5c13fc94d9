-- Work sent to a database runs on a scheduler; one that fails or blocks stops
-- no other, and one whose scheduler is terminated is reported at once.
SELECT test.actor_spawn('asker') AS a \gset
SELECT test.actor_address(:a) AS address_a \gset
SELECT test.actor_send(:a, 'regression', 'sql SELECT current_database()');
SELECT test.actor_receive(:a);

-- an error ends the work, not the scheduler
SELECT sum(failed) AS failed_before FROM dlog.schedulers \gset
SELECT test.actor_send(:a, 'regression', 'error');
SELECT test.wait_until(format('(SELECT sum(failed) > %s FROM dlog.schedulers)', :'failed_before'));
SELECT test.actor_receive(:a);
SELECT test.actor_send(:a, 'regression', 'sql SELECT 1');
SELECT test.actor_receive(:a);

-- eight block; the ninth does not wait for them
SELECT count(test.actor_send(:a, 'regression', 'actor')) FROM generate_series(1, 8);
SELECT test.actor_receive(:a) AS worker_1 \gset
SELECT test.actor_receive(:a) AS worker_2 \gset
SELECT count(test.actor_receive(:a)) FROM generate_series(1, 6);
SELECT count(*) FROM dlog.schedulers WHERE state = 'busy' AND activity = 'actor';
SELECT test.actor_send(:a, 'regression', 'sql SELECT 9');
SELECT test.actor_receive(:a);
SELECT test.wait_until('(SELECT count(*) >= 2 FROM dlog.schedulers WHERE state = ''idle'')');

-- one of them gets what it waits for
SELECT test.actor_send(:a, :'worker_1', 'go on');
SELECT test.actor_receive(:a);

-- one is terminated: its monitor is told, and so is who sends to it
SELECT test.actor_monitor(:a, :'worker_2');
SELECT pg_terminate_backend(pid) FROM dlog.actors() WHERE actor = :'worker_2';
SELECT test.actor_receive(:a) UNION ALL SELECT test.actor_receive(:a);
SELECT test.actor_send(:a, :'worker_2', 'too late');

-- all are terminated; the six that still worked are reported, and the
-- database works on
SELECT max(started_at) AS terminated_before FROM dlog.schedulers \gset
SELECT count(pg_terminate_backend(pid)) > 0 AS terminated FROM dlog.schedulers WHERE database = 'regression';
SELECT test.actor_receive(:a), count(*) FROM generate_series(1, 6) GROUP BY 1;
SELECT test.wait_until(format('NOT EXISTS (SELECT FROM dlog.schedulers WHERE started_at <= %L)', :'terminated_before'));
SELECT test.actor_send(:a, 'regression', 'sql SELECT 2');
SELECT test.actor_receive(:a);

-- so does it without the launcher, which comes back
SELECT pid AS launcher FROM pg_stat_activity WHERE backend_type = 'dlog launcher' \gset
SELECT pg_terminate_backend(:launcher);
SELECT test.actor_send(:a, 'regression', 'sql SELECT 3');
SELECT test.actor_receive(:a);
SELECT test.wait_until(format('EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = ''dlog launcher'' AND pid <> %s)', :launcher));
SELECT test.wait_until('(SELECT count(*) >= current_setting(''dlog.min_schedulers'')::int FROM dlog.schedulers WHERE state = ''idle'' AND database = ''regression'')');

-- those that are too many retire
SELECT count(test.actor_send(:a, 'regression', 'sql SELECT pg_sleep(0.1)')) FROM generate_series(1, 6);
SELECT count(test.actor_receive(:a)) FROM generate_series(1, 6);
ALTER SYSTEM SET dlog.scheduler_idle_timeout = '100ms';
SELECT pg_reload_conf();
SELECT test.actor_send(:a, 'regression', 'sql SELECT 1') FROM generate_series(1, 6);
SELECT count(test.actor_receive(:a)) FROM generate_series(1, 6);
SELECT test.wait_until('(SELECT count(*) = 2 FROM dlog.schedulers WHERE database = ''regression'')');
ALTER SYSTEM RESET dlog.scheduler_idle_timeout;
SELECT pg_reload_conf();
