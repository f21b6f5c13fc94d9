/*
 * test_schema.sql
 *		What tests on a throw-away server can use.
 */
SET client_min_messages = warning;
CREATE EXTENSION dlog;
\ir t/stop_points.sql
CREATE SCHEMA test;

/*
 * Wait until a condition, given as an SQL expression, is true.  It fails
 * rather than waits for ever, and says what it waited for.
 */
CREATE FUNCTION test.wait_until(condition text, seconds int DEFAULT 30) RETURNS void
LANGUAGE plpgsql VOLATILE AS
$$
DECLARE
    deadline timestamptz := clock_timestamp() + make_interval(secs => seconds);
    is_true boolean;
BEGIN
    LOOP
        PERFORM pg_stat_clear_snapshot();
        EXECUTE 'SELECT ' || condition INTO is_true;
        EXIT WHEN is_true;
        IF clock_timestamp() > deadline THEN
            RAISE EXCEPTION 'still not true after % s: %', seconds, condition;
        END IF;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;
