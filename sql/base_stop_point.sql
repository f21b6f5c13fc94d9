-- A stop point holds a process until it is released, or makes it fail.
SELECT test.actor_spawn('asker') AS a \gset
SELECT dlog.stop_point_arm('scheduler-work', 'wait');
SELECT test.actor_send(:a, 'regression', 'sql SELECT 1');
SELECT test.wait_until($$dlog.stop_point_waiting('scheduler-work') = 1$$);
SELECT test.actor_receive(:a, 0) IS NULL AS still_held;
SELECT dlog.stop_point_release('scheduler-work');
SELECT test.actor_receive(:a);

SELECT dlog.stop_point_arm('scheduler-work', 'error');
SELECT test.actor_send(:a, 'regression', 'sql SELECT 1');
SELECT test.actor_receive(:a);
SELECT dlog.stop_point_release('scheduler-work');
SELECT test.actor_send(:a, 'regression', 'sql SELECT 2');
SELECT test.actor_receive(:a);

-- a process that is held can be terminated
SELECT dlog.stop_point_arm('scheduler-work', 'wait');
SELECT test.actor_send(:a, 'regression', 'sql SELECT 1');
SELECT test.wait_until($$dlog.stop_point_waiting('scheduler-work') = 1$$);
SELECT count(pg_terminate_backend(pid)) FROM dlog.schedulers WHERE state = 'busy' AND database = 'regression';
SELECT test.actor_receive(:a);
SELECT test.wait_until($$dlog.stop_point_waiting('scheduler-work') = 0$$);
SELECT dlog.stop_point_release('scheduler-work');

SELECT dlog.stop_point_arm('scheduler-work', 'dance');
SELECT dlog.stop_point_release('never armed');
