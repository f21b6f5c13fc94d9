-- Cron expressions and intervals are due when they say, also where clocks change; on a fake clock.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';

-- the next n times
CREATE FUNCTION pg_temp.due(expression text, zone text, after timestamptz, n int) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('TimeZone', zone, true);
    FOR i IN 1..n LOOP
        after := test.schedule(expression, zone, after);
        RETURN NEXT to_char(after, 'Dy YYYY-MM-DD HH24:MI:SS OF');
    END LOOP;
END
$$;

-- every field: numbers, lists, ranges, steps
SELECT * FROM pg_temp.due('* * * * *', 'UTC', '2026-01-31 23:58:30', 2);
SELECT * FROM pg_temp.due('*/20 * * * *', 'UTC', '2026-01-01 00:00', 4);
SELECT * FROM pg_temp.due('5-20/5,50 8 * * *', 'UTC', '2026-01-01 08:07', 5);
SELECT * FROM pg_temp.due('30 9-17/4 * * *', 'UTC', '2026-01-01 10:00', 4);
SELECT * FROM pg_temp.due('10/25 0 * * *', 'UTC', '2026-01-01 00:00', 3);
SELECT * FROM pg_temp.due('0 0 1,15 * *', 'UTC', '2026-01-01 00:00', 3);
SELECT * FROM pg_temp.due('0 0 31 * *', 'UTC', '2026-01-31 00:00', 3);
-- names, in any case; Sunday is 0 and 7
SELECT * FROM pg_temp.due('0 12 * Mar-may,DEC mon', 'UTC', '2026-05-20 00:00', 3);
SELECT * FROM pg_temp.due('0 12 * * 0', 'UTC', '2026-01-01 00:00', 2);
SELECT * FROM pg_temp.due('0 12 * * 5-7', 'UTC', '2026-01-01 00:00', 4);
-- both days restricted: either
SELECT * FROM pg_temp.due('0 0 13 * fri', 'UTC', '2026-02-01 00:00', 4);
-- a time that is due is not due again; the next is after it
SELECT * FROM pg_temp.due('0 6 * * *', 'UTC', '2026-01-01 06:00', 1);
SELECT * FROM pg_temp.due('0 6 * * *', 'UTC', '2026-01-01 05:59:59.999999', 1);
-- leap days
SELECT * FROM pg_temp.due('0 0 29 2 *', 'UTC', '2026-01-01 00:00', 2);
SELECT * FROM pg_temp.due('0 0 29 2 *', 'UTC', '2096-03-01 00:00', 1);
-- nicknames
SELECT e, test.schedule(e, 'UTC', '2026-07-15 10:30') FROM unnest(ARRAY['@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@ANNUALLY']) e;
-- what never comes
SELECT test.schedule('0 0 30 2 *', 'UTC', '2026-01-01');

-- Berlin sets its clocks forward on 2026-03-29, from 2:00 to 3:00: what was due in between is due at 3:00, once.
SELECT * FROM pg_temp.due('30 2 * * *', 'Europe/Berlin', '2026-03-28 00:00', 3);
SELECT * FROM pg_temp.due('*/15 2 * * *', 'Europe/Berlin', '2026-03-28 02:40', 3);
SELECT * FROM pg_temp.due('0 3 * * *', 'Europe/Berlin', '2026-03-28 12:00', 2);
SELECT * FROM pg_temp.due('30 2,3 * * *', 'Europe/Berlin', '2026-03-28 12:00', 3);
-- ... and what runs every hour goes on.
SELECT * FROM pg_temp.due('30 * * * *', 'Europe/Berlin', '2026-03-29 00:00 Europe/Berlin', 4);

-- It sets them back on 2026-10-25, from 3:00 to 2:00: what is due in that hour is due the first time.
SELECT * FROM pg_temp.due('30 2 * * *', 'Europe/Berlin', '2026-10-24 12:00', 2);
SELECT * FROM pg_temp.due('0,30 2 * * *', 'Europe/Berlin', '2026-10-24 12:00', 3);
SELECT * FROM pg_temp.due('30 2 * * *', 'Europe/Berlin', '2026-10-25 00:45 UTC', 1);
SELECT * FROM pg_temp.due('30 2 * * *', 'Europe/Berlin', '2026-10-25 01:15 UTC', 1);
SELECT * FROM pg_temp.due('0 3 * * *', 'Europe/Berlin', '2026-10-24 12:00', 2);
-- ... and what runs every hour runs in both.
SELECT * FROM pg_temp.due('30 * * * *', 'Europe/Berlin', '2026-10-25 01:00 Europe/Berlin', 4);
-- Lord Howe moves by half an hour; Kolkata never does.
SELECT * FROM pg_temp.due('15 2 * * *', 'Australia/Lord_Howe', '2026-10-03 00:00', 2);
SELECT * FROM pg_temp.due('45 1 * * *', 'Australia/Lord_Howe', '2026-04-04 00:00', 2);
SELECT * FROM pg_temp.due('0 9 * * *', 'Asia/Kolkata', '2026-03-28 12:00', 2);

-- intervals: counted from an anchor, whatever was missed
SELECT * FROM pg_temp.due('5 min', 'UTC', '2026-01-01 00:02', 2);
SELECT * FROM pg_temp.due('1 day 6 hours', 'UTC', '2000-01-01 00:00', 2);
SELECT * FROM pg_temp.due('90 s', 'UTC', '1999-06-01 00:00', 1);

-- what is none
SELECT test.schedule('60 * * * *', 'UTC', now());
SELECT test.schedule('* 24 * * *', 'UTC', now());
SELECT test.schedule('* * 0 * *', 'UTC', now());
SELECT test.schedule('* * * 13 *', 'UTC', now());
SELECT test.schedule('* * * * 8', 'UTC', now());
SELECT test.schedule('* * * * fri-mon', 'UTC', now());
SELECT test.schedule('*/0 * * * *', 'UTC', now());
SELECT test.schedule('1,,2 * * * *', 'UTC', now());
SELECT test.schedule('1- * * * *', 'UTC', now());
SELECT test.schedule('20-10 * * * *', 'UTC', now());
SELECT test.schedule('* * * january *', 'UTC', now());
SELECT test.schedule('* * * *', 'UTC', now());
SELECT test.schedule('* * * * * *', 'UTC', now());
SELECT test.schedule('@reboot', 'UTC', now());
SELECT test.schedule('', 'UTC', now());
SELECT test.schedule('1 month', 'UTC', now());
SELECT test.schedule('0.5 s', 'UTC', now());
SELECT test.schedule('-5 min', 'UTC', now());
