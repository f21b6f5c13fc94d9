-- What the benchmark runs.
CREATE EXTENSION dlog;
CREATE PROCEDURE wait_until(condition text, pause float8 DEFAULT 0.001) LANGUAGE plpgsql AS $$
DECLARE
    is_true boolean := false;
BEGIN
    FOR i IN 1..60000 LOOP
        EXECUTE 'SELECT ' || condition INTO is_true;
        EXIT WHEN is_true;
        COMMIT;
        PERFORM pg_sleep(pause);
    END LOOP;
    IF is_true IS NOT TRUE THEN
        RAISE EXCEPTION 'still not true: %', condition;
    END IF;
END $$;

-- The handler that everything is about.
CREATE TYPE counter_state AS (n int, total bigint);
CREATE TYPE add AS (amount int);
CREATE TYPE get AS ();
CREATE FUNCTION add(state counter_state, m add) RETURNS counter_state LANGUAGE plpgsql AS $$
BEGIN
    state.n := state.n + 1;
    state.total := state.total + m.amount;
    RETURN state;
END $$;
CREATE FUNCTION get(state counter_state, m get) RETURNS counter_state LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dlog.reply(state.n);
    RETURN state;
END $$;
-- what a session calls that asks nobody
CREATE FUNCTION get_of(state counter_state, m get) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN state.n; END';
CREATE FUNCTION counter_init() RETURNS counter_state LANGUAGE sql RETURN ROW(0, 0)::counter_state;

CREATE FUNCTION loop_of_calls(calls int) RETURNS counter_state LANGUAGE plpgsql AS $$
DECLARE
    state counter_state := ROW(0, 0);
    m add := ROW(1);
BEGIN
    FOR i IN 1..calls LOOP
        state := add(state, m);
    END LOOP;
    RETURN state;
END $$;

SELECT dlog.create_behavior('counter', 'counter_state', 'counter_init', '{add,get}');
CREATE FUNCTION count_of(actor dlog.actor_ref) RETURNS int LANGUAGE sql RETURN (dlog.state(actor, NULL::counter_state)).n;
CREATE TABLE counters (id int PRIMARY KEY, teller int, actor counter);
CREATE TABLE last_counters (actor counter); -- of each teller

-- A teller sends each counter of its thousand one message, and then tells itself to do so again.
CREATE TYPE tell AS (rounds int);
CREATE FUNCTION teller_init(teller int) RETURNS int LANGUAGE sql RETURN teller;
CREATE FUNCTION tell(state int, m tell) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM count(dlog.send(actor, ROW(1)::add)) FROM counters WHERE teller = state;
    IF m.rounds > 1 THEN
        PERFORM dlog.send(dlog.self(), ROW(m.rounds - 1)::tell);
    END IF;
    RETURN state;
END $$;
SELECT dlog.create_behavior('teller', 'int', 'teller_init', '{tell}');
CREATE TABLE tellers (teller int PRIMARY KEY, actor teller);

-- The CPU time of a process, and of all schedulers.
CREATE FUNCTION cpu_seconds(pid int) RETURNS float8 LANGUAGE sql AS
    $$SELECT split_part(pg_read_file('/proc/' || pid || '/schedstat'), ' ', 1)::float8 / 1e9$$;
CREATE FUNCTION schedulers_cpu() RETURNS float8 LANGUAGE sql AS
    'SELECT sum(cpu_seconds(pid)) FROM dlog.schedulers';

-- Each of these gives messages a second, and a second of CPU time.
CREATE PROCEDURE loop_rate(calls int, OUT per_second float8, OUT per_cpu_second float8) LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz := clock_timestamp();
    cpu float8 := cpu_seconds(pg_backend_pid());
BEGIN
    PERFORM loop_of_calls(calls);
    per_second := calls / extract(epoch FROM clock_timestamp() - began);
    per_cpu_second := calls / (cpu_seconds(pg_backend_pid()) - cpu);
END $$;

CREATE PROCEDURE fan_rate(rounds int, OUT per_second float8, OUT per_cpu_second float8) LANGUAGE plpgsql AS $$
DECLARE
    n_counters bigint := (SELECT count(*) FROM counters);
    before bigint := (SELECT sum(count_of(actor)) FROM counters);
    had int := (SELECT count_of(actor) FROM last_counters LIMIT 1);
    began timestamptz := clock_timestamp();
    cpu float8 := schedulers_cpu();
BEGIN
    PERFORM dlog.send(actor, ROW(rounds)::tell) FROM tellers;
    COMMIT;
    -- Seldom, and of few: who measures must not take the processors from what is measured.
    CALL wait_until(format('NOT EXISTS (SELECT FROM last_counters WHERE count_of(actor) < %s)', had + rounds), 0.005);
    per_second := n_counters * rounds / extract(epoch FROM clock_timestamp() - began);
    per_cpu_second := n_counters * rounds / (schedulers_cpu() - cpu);
    CALL wait_until(format('(SELECT sum(count_of(actor)) FROM counters) = %s', before + n_counters * rounds));
END $$;

-- A queue in a table, with what pgmq does: a message that is read is hidden for a while, and deleted when it is done.
-- It has no index by time, which would only slow it down here.
CREATE UNLOGGED TABLE queue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, reads int DEFAULT 0,
    enqueued_at timestamptz DEFAULT now(), hidden_until timestamptz DEFAULT clock_timestamp(), message add);
CREATE TABLE sender (cpu float8);
CREATE PROCEDURE queue_send(n int) LANGUAGE plpgsql AS $$
DECLARE
    cpu float8 := cpu_seconds(pg_backend_pid());
BEGIN
    DELETE FROM sender;
    FOR i IN 1..n LOOP
        INSERT INTO queue (message) VALUES (ROW(1)::add);
        COMMIT;
    END LOOP;
    INSERT INTO sender VALUES (cpu_seconds(pg_backend_pid()) - cpu);
END $$;
CREATE PROCEDURE queue_rate(n int, OUT per_second float8, OUT per_cpu_second float8) LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz;
    cpu float8 := cpu_seconds(pg_backend_pid());
    state counter_state := ROW(0, 0);
    got record;
BEGIN
    WHILE state.n < n LOOP
        WITH next AS (SELECT id FROM queue WHERE hidden_until <= clock_timestamp() ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
        UPDATE queue q SET hidden_until = clock_timestamp() + interval '30 s', reads = reads + 1
        FROM next WHERE q.id = next.id RETURNING q.id, q.message INTO got;
        COMMIT;
        CONTINUE WHEN got.id IS NULL;
        began := coalesce(began, clock_timestamp());
        state := add(state, got.message);
        DELETE FROM queue WHERE id = got.id;
        COMMIT;
    END LOOP;
    per_second := n / extract(epoch FROM clock_timestamp() - began);
    cpu := cpu_seconds(pg_backend_pid()) - cpu;
    CALL wait_until('EXISTS (SELECT FROM sender)');
    per_cpu_second := n / (cpu + (SELECT s.cpu FROM sender s));
END $$;

CREATE PROCEDURE one_by_one_rate(n int, OUT per_second float8, OUT per_cpu_second float8) LANGUAGE plpgsql AS $$
DECLARE
    counter counter := (SELECT actor FROM counters WHERE id = 1);
    before int := count_of(counter);
    began timestamptz := clock_timestamp();
    cpu float8 := cpu_seconds(pg_backend_pid()) + schedulers_cpu();
BEGIN
    FOR i IN 1..n LOOP
        PERFORM dlog.send(counter, ROW(1)::add);
        COMMIT;
    END LOOP;
    CALL wait_until(format('count_of(%L) = %s', counter, before + n));
    per_second := n / extract(epoch FROM clock_timestamp() - began);
    per_cpu_second := n / (cpu_seconds(pg_backend_pid()) + schedulers_cpu() - cpu);
END $$;

INSERT INTO counters SELECT i, (i - 1) / 1000, dlog.spawn('counter') FROM generate_series(1, :actors) i;
INSERT INTO tellers SELECT i, dlog.spawn('teller', ROW(i)) FROM generate_series(0, (:actors - 1) / 1000) i;
INSERT INTO last_counters SELECT DISTINCT ON (teller) actor FROM counters ORDER BY teller, id DESC;
CREATE INDEX ON counters (teller);
VACUUM ANALYZE;
CALL wait_until('NOT EXISTS (SELECT FROM counters WHERE count_of(actor) IS NULL)');
