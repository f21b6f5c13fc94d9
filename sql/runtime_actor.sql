-- An actor gets its messages in order, learns when another one exits, and
-- whoever sends to one that is gone is told.
SELECT test.actor_spawn('first') AS a, test.actor_spawn('second') AS b \gset
SELECT test.actor_address(:a) AS address_a, test.actor_address(:b) AS address_b \gset
SELECT behavior, database, role, mailbox, received FROM dlog.actors()
WHERE actor IN (:'address_a', :'address_b') ORDER BY behavior;

-- order
SELECT count(test.actor_send(:a, :'address_b', i::text)) FROM generate_series(1, 5) i;
SELECT test.actor_receive(:b) FROM generate_series(1, 3);
SELECT mailbox, mailbox_high_water, received FROM dlog.actors() WHERE actor = :'address_b';
SELECT test.actor_receive(:b) FROM generate_series(1, 2);
SELECT test.actor_receive(:b, 0) IS NULL AS nothing_more;

-- monitors: a DOWN each, except for whom took it back
SELECT test.actor_spawn('third') AS c \gset
SELECT test.actor_monitor(:a, :'address_b');
SELECT test.actor_monitor(:c, :'address_b');
SELECT test.actor_demonitor(:c, :'address_b');

-- what it has not received is answered when it exits, what comes later at once
SELECT test.actor_send(:c, :'address_b', 'unread');
SELECT test.actor_exit(:b);
SELECT test.actor_receive(:a);
SELECT test.actor_receive(:c);
SELECT test.actor_receive(:a, 0) IS NULL AS a_has_no_more, test.actor_receive(:c, 0) IS NULL AS c_has_no_more;
SELECT test.actor_send(:c, :'address_b', 'late');
SELECT type, reason, receiver = :'address_b' AS to_b FROM dlog.dead_letters() ORDER BY number DESC LIMIT 2;

-- a monitor of one that is gone is answered at once
SELECT test.actor_monitor(:a, :'address_b');
SELECT test.actor_receive(:a);
SELECT test.actor_monitor(:a, '0/4000000000/1');
SELECT test.actor_receive(:a);

-- the slot is used again, the address is not
SELECT test.actor_spawn('fourth') AS d \gset
SELECT split_part(test.actor_address(:d), '/', 2) = split_part(:'address_b', '/', 2) AS same_slot,
       test.actor_address(:d) = :'address_b' AS same_address;
SELECT test.actor_send(:c, :'address_b', 'to the former owner of the slot');

-- nobody and nowhere
SELECT test.actor_send(:a, '0/4000000000/1', 'x'), test.actor_send(:a, 'no such database', 'x');

-- a session that ends takes its actors with it
\c
SELECT test.wait_until($$NOT EXISTS (SELECT FROM dlog.actors WHERE behavior IN ('first', 'second', 'third', 'fourth'))$$);

-- a full mailbox refuses; what waits is still there
SELECT coalesce(max(number), 0) AS letters_before FROM dlog.dead_letters() \gset
SET dlog.mailbox_limit = 16;
SELECT test.actor_spawn('full') AS a \gset
SELECT test.actor_address(:a) AS address_a \gset
SELECT test.actor_send(0, :'address_a', 'x'), count(*) FROM generate_series(1, 20) GROUP BY 1 ORDER BY 1 DESC;
SELECT count(test.actor_receive(:a, 0)) FROM generate_series(1, 20);
RESET dlog.mailbox_limit;

SELECT count(*) FROM dlog.dead_letters() WHERE reason = 'mailbox full' AND number > :letters_before;
SELECT name FROM dlog.messages WHERE number IN (8, 9) ORDER BY number;
