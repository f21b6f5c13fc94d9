-- A flood to one actor does not delay others by more than a turn, 64 messages,
-- and what is left of the one that it is in: who is sent something after it
-- gets that when the flooded one has handled 128 messages at most.  They share
-- a shard, so nobody else could run it in the meantime.
SELECT test.actor_spawn('teller') AS me \gset

-- Fresh ones of one shard.
CREATE FUNCTION pg_temp.of_one_shard() RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    actors text[];
    these text[];
BEGIN
    FOR i IN 1..112 LOOP
        actors := actors || test.flooder_spawn();
    END LOOP;
    SELECT array_agg(actor) INTO these FROM unnest(actors) actor
    GROUP BY test.actor_shard(actor) ORDER BY count(*) DESC LIMIT 1;
    PERFORM test.actor_send(0, actor, 'exit') FROM unnest(actors) actor WHERE actor <> ALL (these[:5]);
    PERFORM test.wait_until(format('NOT EXISTS (SELECT FROM dlog.actors() WHERE actor = ANY (%L) AND actor <> ALL (%L))', actors, these[:5]));
    RETURN these[:5];
END $$;
CREATE FUNCTION pg_temp.dead() RETURNS bigint LANGUAGE sql AS
    $$ SELECT sum(value) FROM dlog.stat_runtime WHERE name IN ('dead letters: mailbox full', 'dead letters: no such actor') $$;
CREATE FUNCTION pg_temp.told(me int, actor text) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM test.actor_send(me, actor, 'tell');
    RETURN string_to_array(test.actor_receive(me, 60000), ' ')::bigint[];
END $$;

-- An actor floods: n messages to one actor, or two by turns, and then one to the witness.
-- The sender shares their shard, or is run by another scheduler while theirs is held.
CREATE FUNCTION pg_temp.flood(me int, n int, is_far boolean, of_two boolean, us int DEFAULT 0,
    OUT handled bigint, OUT dead bigint, OUT got bigint, OUT out_of_order bigint) LANGUAGE plpgsql AS $$
DECLARE
    one text[] := pg_temp.of_one_shard();
    sender text := one[4];
    other text := CASE WHEN of_two THEN one[2] ELSE one[1] END;
    dead_before bigint;
BEGIN
    IF is_far THEN
        LOOP
            sender := test.flooder_spawn();
            EXIT WHEN test.actor_shard(sender) <> test.actor_shard(one[1]);
        END LOOP;
        -- nobody holds its shard when theirs is held
        PERFORM test.wait_until($w$(SELECT count(*) >= 2 AND bool_and(state = 'idle') FROM dlog.schedulers)
            AND NOT EXISTS (SELECT FROM dlog.actors() WHERE behavior = 'test flood' AND pid IS NOT NULL)$w$);
        PERFORM dlog.stop_point_arm('flood-holds', 'wait');
        PERFORM test.actor_send(me, one[5], 'hold');
        PERFORM test.wait_until($w$dlog.stop_point_waiting('flood-holds') = 1$w$);
    END IF;
    dead_before := pg_temp.dead();
    PERFORM test.actor_send(me, sender, format('flood %s %s %s %s %s', n, us, one[1], other, one[3]));
    IF test.actor_receive(me, 60000) <> 'flooded' THEN
        RAISE 'it does not flood';
    END IF;
    IF is_far THEN
        -- its scheduler has sent all that it had for others
        PERFORM test.wait_until(format('(SELECT pid IS NULL FROM dlog.actors() WHERE actor = %L)', sender));
        PERFORM dlog.stop_point_release('flood-holds');
    END IF;
    PERFORM test.wait_until(format('(pg_temp.told(%s, %L))[5] = 1', me, one[3]));
    PERFORM test.wait_until(format($w$(SELECT sum(mailbox) = 0 FROM dlog.actors() WHERE behavior = 'test flood')$w$));
    SELECT t[1], t[2] - dead_before INTO handled, dead FROM pg_temp.told(me, one[3]) t;
    SELECT sum(t[3]), sum(t[4]) INTO got, out_of_order
    FROM (SELECT DISTINCT actor FROM unnest(ARRAY[one[1], other]) actor) a, pg_temp.told(me, actor) t;
    PERFORM test.actor_send(0, actor, 'exit') FROM unnest(one || sender) actor;
END $$;

SELECT handled <= 128 AS fair, dead, got, out_of_order FROM pg_temp.flood(:me, 50000, is_far => false, of_two => false);
SELECT handled <= 128 AS fair, dead, got, out_of_order FROM pg_temp.flood(:me, 50000, is_far => false, of_two => true);
SELECT handled <= 128 AS fair, dead, got, out_of_order FROM pg_temp.flood(:me, 50000, is_far => true, of_two => false);
SELECT handled <= 128 AS fair, dead, got, out_of_order FROM pg_temp.flood(:me, 50000, is_far => true, of_two => true);

-- Where a message takes longer than a turn, one makes a turn; it takes 16 to find out.
SELECT handled <= 34 AS fair, dead, got, out_of_order FROM pg_temp.flood(:me, 200, is_far => false, of_two => false, us => 300);
SELECT handled <= 34 AS fair, dead, got, out_of_order FROM pg_temp.flood(:me, 200, is_far => true, of_two => true, us => 300);

-- A session floods, while their scheduler is held.
SELECT pg_temp.of_one_shard() AS one \gset
SELECT dlog.stop_point_arm('flood-holds', 'wait');
SELECT test.actor_send(:me, (:'one'::text[])[5], 'hold');
SELECT test.wait_until($$dlog.stop_point_waiting('flood-holds') = 1$$);
SELECT test.actor_send(:me, (:'one'::text[])[1], 'look ' || (:'one'::text[])[2]), count(*) FROM generate_series(1, 5000) GROUP BY 1;
SELECT test.actor_send(:me, (:'one'::text[])[3], 'look ' || (:'one'::text[])[1]);
SELECT dlog.stop_point_release('flood-holds');
SELECT (pg_temp.told(:me, (:'one'::text[])[3]))[1] <= 128 AS fair;
SELECT test.wait_until(format('(SELECT received = 5000 FROM dlog.actors() WHERE actor = %L)', (:'one'::text[])[1]));

-- What nobody gets is answered after others have got what they were sent: the receiver has exited ...
SELECT test.actor_send(:me, (:'one'::text[])[1], 'exit');
SELECT test.wait_until(format('NOT EXISTS (SELECT FROM dlog.actors() WHERE actor = %L)', (:'one'::text[])[1]));
SELECT pg_temp.dead() AS dead \gset
SELECT test.actor_send(:me, (:'one'::text[])[4], format('flood 5000 0 %s %s %s', (:'one'::text[])[1], (:'one'::text[])[1], (:'one'::text[])[3]));
SELECT test.actor_receive(:me);
SELECT (pg_temp.told(:me, (:'one'::text[])[3]))[2] = :dead AS others_first;
SELECT test.wait_until(format('pg_temp.dead() = %s + 5000', :dead));

-- ... or exits with mail ...
SELECT pg_temp.dead() AS dead \gset
SELECT dlog.stop_point_arm('flood-holds', 'wait');
SELECT test.actor_send(:me, (:'one'::text[])[5], 'hold');
SELECT test.wait_until($$dlog.stop_point_waiting('flood-holds') = 1$$);
SELECT test.actor_send(0, (:'one'::text[])[2], 'look ' || (:'one'::text[])[2]), count(*) FROM generate_series(1, 200) GROUP BY 1;
SELECT test.actor_send(:me, (:'one'::text[])[2], 'exit');
SELECT test.actor_send(0, (:'one'::text[])[2], 'look ' || (:'one'::text[])[2]), count(*) FROM generate_series(1, 5000) GROUP BY 1;
SELECT dlog.stop_point_release('flood-holds');
SELECT test.wait_until(format('pg_temp.dead() = %s + 5000', :dead));
SELECT test.actor_send(0, actor, 'exit') FROM unnest((:'one'::text[])[3:5]) actor;

-- ... or has no room
ALTER SYSTEM SET dlog.mailbox_limit = 1000;
SELECT pg_reload_conf();
SELECT count(pg_terminate_backend(pid, 10000)) > 0 FROM dlog.schedulers; -- new ones have read it
SELECT handled <= 128 AS fair, dead, got BETWEEN 1000 AND 1200 AS few, out_of_order
FROM pg_temp.flood(:me, 50000, is_far => false, of_two => false);
SELECT handled <= 128 AS fair, dead, got BETWEEN 2000 AND 2400 AS few, out_of_order
FROM pg_temp.flood(:me, 50000, is_far => false, of_two => true);
ALTER SYSTEM RESET dlog.mailbox_limit;
SELECT pg_reload_conf();
SELECT count(pg_terminate_backend(pid, 10000)) > 0 FROM dlog.schedulers;

-- nothing is left of all that
SELECT count(test.actor_send(0, actor, 'exit')) >= 0 FROM dlog.actors() WHERE behavior = 'test flood';
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.actors WHERE behavior = 'test flood')$$);
