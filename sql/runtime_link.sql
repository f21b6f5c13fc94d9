-- Actors that are linked exit together; signals tell why.
SELECT test.actor_spawn('watcher') AS w \gset
SELECT test.actor_address(:w) AS watcher \gset
SELECT test.ring_create(:w, 6) AS ring \gset
SELECT (:'ring'::text[])[1] AS r1, (:'ring'::text[])[2] AS r2, (:'ring'::text[])[3] AS r3,
       (:'ring'::text[])[4] AS r4, (:'ring'::text[])[5] AS r5, (:'ring'::text[])[6] AS r6 \gset
CREATE VIEW links AS SELECT value FROM dlog.stat_runtime WHERE name = 'links';
CREATE FUNCTION alive(VARIADIC actors text[]) RETURNS integer LANGUAGE sql AS
$$SELECT count(*)::int FROM dlog.actors() WHERE actor = ANY ($1)$$;

-- a chain of links, twice the same; an error ends all of it
SELECT test.link(:'r1', :'r2'), test.link(:'r2', :'r3'), test.link(:'r3', :'r2'), test.link(:'r3', :'r3');
SELECT test.link(:'watcher', :'r3'), test.link(:'r4', :'watcher');
SELECT * FROM links;
SELECT test.actor_monitor(:w, :'r1'), test.actor_monitor(:w, :'r4');
SELECT test.ring_send(:'r1', 'fail');
SELECT test.actor_receive(:w) FROM generate_series(1, 2) ORDER BY 1;
SELECT alive(:'r1', :'r2', :'r3', :'r4', :'watcher');
SELECT * FROM links;

-- "normal" ends nobody else, but is told
SELECT test.link(:'r4', :'r5');
SELECT test.ring_send(:'r4', 'stop');
SELECT test.actor_receive(:w) FROM generate_series(1, 3) ORDER BY 1;
SELECT alive(:'r4', :'r5');
SELECT * FROM links;

-- no longer linked
SELECT test.link(:'r5', :'r6');
SELECT test.unlink(:'r6', :'r5'), test.unlink(:'r6', :'r5');
SELECT test.actor_monitor(:w, :'r5');
SELECT test.send_exit(:'watcher', :'r5', 'normal');
SELECT test.send_exit(:'watcher', :'r5', 'no more work');
SELECT test.actor_receive(:w);
SELECT alive(:'r5', :'r6');

-- killed; those who hear of that can be told from those that are
SELECT test.link(:'watcher', :'r6');
SELECT test.send_exit(:'watcher', :'r6', 'kill');
SELECT test.actor_receive(:w);

-- linked with one that is gone
SELECT test.link(:'watcher', :'r6'), test.link(:'r6', :'watcher');
SELECT test.actor_receive(:w);
SELECT test.actor_receive(:w, 0) IS NULL AS nothing_more;
SELECT * FROM links;

-- one with many links
CREATE TABLE ring AS SELECT row_number() OVER () AS number, actor FROM unnest(test.ring_create(:w, 3000)) actor;
SELECT bool_and(test.link(:'watcher', actor)) FROM ring;
SELECT * FROM links;
SELECT count(test.unlink(:'watcher', actor)) FROM ring WHERE number <= 1000;
SELECT * FROM links;
SELECT count(test.send_exit(:'watcher', actor, 'enough')) FROM ring WHERE number <= 1500;
SELECT test.actor_receive(:w), count(*) FROM generate_series(1, 500) GROUP BY 1;
SELECT * FROM links;
SELECT test.wait_until('(SELECT count(*) = 1500 FROM ring JOIN dlog.actors() USING (actor))');
-- ... which exits; "normal" ends nobody
SELECT test.actor_exit(:w);
SELECT * FROM links;
SELECT number > 1500 AS was_linked, count(*) FROM ring JOIN dlog.actors() USING (actor) GROUP BY 1;
SELECT count(test.send_exit('0/0/0', actor, 'kill')) FROM ring;
SELECT test.wait_until($$NOT EXISTS (SELECT FROM ring JOIN dlog.actors() USING (actor))$$);

-- a session that is gone takes those with it that it is linked with
SELECT test.actor_spawn('watcher') AS w \gset
SELECT test.actor_address(:w) AS watcher \gset
SELECT (test.ring_create(:w, 1))[1] AS linked \gset
SELECT test.link(:'watcher', :'linked');
\c
SELECT test.wait_until(format('NOT EXISTS (SELECT FROM dlog.actors() WHERE actor = %L)', :'linked'));
DROP TABLE ring;
DROP VIEW links;
DROP FUNCTION alive;
