-- The questions that bench/query/run asks of every system.  A line that begins
-- with "-- @" names the question that follows it.

-- @count
SELECT count(*) FROM events;

-- @top_users
SELECT user_id, sum(amount) AS total FROM events
WHERE at >= timestamp '2026-01-30' GROUP BY user_id ORDER BY total DESC, user_id LIMIT 10;

-- @distinct_key
SELECT count(DISTINCT user_id) FROM events;

-- @by_type
SELECT type, count(*), sum(amount), avg(amount) FROM events GROUP BY type ORDER BY type;

-- @by_type_stddev
SELECT type, count(*), sum(amount), avg(amount), round(stddev(amount), 6) FROM events GROUP BY type ORDER BY type;

-- @by_hour
SELECT date_trunc('hour', at) AS hour, count(*), sum(amount) FROM events GROUP BY 1 ORDER BY 1;

-- @latest
SELECT id, user_id, at FROM events ORDER BY at DESC, id LIMIT 100;

-- @pull
SELECT id, user_id, type, at, amount FROM events WHERE id % 3 = 0;

-- @join_key
SELECT u.country, count(*), sum(e.amount) FROM events e JOIN users u USING (user_id)
GROUP BY u.country ORDER BY u.country;

-- @join_small
SELECT t.label, count(*), sum(e.amount) FROM events e JOIN types t ON t.type = e.type
GROUP BY t.label ORDER BY t.label;

-- @median
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) FROM events;

-- @one_user
SELECT count(*), sum(amount) FROM events WHERE user_id = 4711;

-- @above_average
WITH sums AS (SELECT user_id, sum(amount) AS total FROM events GROUP BY user_id)
SELECT count(*) FROM sums WHERE total > (SELECT avg(total) FROM sums);

-- @top3_per_user
SELECT count(*) FROM (SELECT row_number() OVER (PARTITION BY user_id ORDER BY amount DESC) AS place FROM events) ranked
WHERE place <= 3;
