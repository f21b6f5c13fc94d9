-- Native actors run on whichever schedulers are free; messages of each pair
-- stay in order and none is lost, while shards move between schedulers that
-- are terminated or taken for other work.
SELECT test.actor_spawn('master') AS m \gset
SELECT test.ring_create(:m, 50) AS ring \gset
SELECT count(*), bool_and(mailbox = 0) FROM dlog.actors WHERE behavior = 'test ring';

-- one token, a few rounds; a payload that does not lie inline
SELECT test.ring_start((:'ring'::text[])[1], 200, 0);
SELECT test.actor_receive(:m);
SELECT test.ring_start((:'ring'::text[])[2], 200, 300);
SELECT test.actor_receive(:m);

-- many tokens
SELECT bool_and(test.ring_start(actor, 5000, 0)) FROM unnest(:'ring'::text[]) actor, generate_series(1, 4);
SELECT test.actor_receive(:m, 60000), count(*) FROM generate_series(1, 200) GROUP BY 1;

-- while schedulers are terminated and others taken for other work
SELECT bool_and(test.ring_start(actor, 10000, i % 2 * 100)) FROM unnest(:'ring'::text[]) actor, generate_series(1, 4) i;
SELECT test.actor_spawn('asker') AS a \gset
SELECT count(pg_terminate_backend(pid)) >= 0 FROM dlog.schedulers WHERE state = 'busy';
SELECT count(test.actor_send(:a, 'regression', 'sql SELECT pg_sleep(0.01)')) FROM generate_series(1, 20);
SELECT count(test.actor_receive(:a)) FROM generate_series(1, 20);
SELECT count(pg_terminate_backend(pid)) >= 0 FROM dlog.schedulers WHERE state = 'busy';
SELECT count(test.actor_send(:a, 'regression', 'sql SELECT pg_sleep(0.01)')) FROM generate_series(1, 20);
SELECT count(test.actor_receive(:a)) FROM generate_series(1, 20);
SELECT test.actor_receive(:m, 60000), count(*) FROM generate_series(1, 200) GROUP BY 1;

-- an error ends its actor alone, and who watches it is told
SELECT test.actor_monitor(:m, (:'ring'::text[])[1]);
SELECT test.ring_send((:'ring'::text[])[1], 'fail');
SELECT test.actor_receive(:m);
SELECT count(*) FROM dlog.actors WHERE behavior = 'test ring';
SELECT test.ring_send((:'ring'::text[])[1], 'stop');

-- none of them saw a message out of order
SELECT bool_and(test.ring_send(actor, 'stop')) FROM unnest((:'ring'::text[])[2:]) actor;
SELECT test.actor_receive(:m), count(*) FROM generate_series(1, 49) GROUP BY 1;
SELECT test.wait_until($$(SELECT count(*) = 0 FROM dlog.actors WHERE behavior = 'test ring')$$);
