/*
 * cron.c
 *		When something is due: cron expressions and intervals.
 *
 * Five fields: minute, hour, day of the month, month, day of the week; each a
 * list of *, numbers, ranges and steps, the last two with names as well.  Or
 * @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually.  When both
 * days are restricted, a date matches if either does, as everywhere in cron.
 *
 * The fields are the wall clock's of a time zone.  Where that clock is set
 * forward, what was due in the hour that is left out is due when it is over,
 * once.  Where it is set back, what is due in the hour that is repeated is due
 * the first time.  What runs every hour just goes on, as time does.
 *
 * The search goes from one change of the zone's offset to the next: between
 * two of them the wall clock is time plus a constant.
 *
 * Pure, but for the server's time zones: the present comes in as an argument.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "base/pg_compat.h"
#include "supervision/supervision_internal.h"

/* February 29 may be eight years away. */
#define SEARCH_DAYS (9 * 366)

#define MINUTES_PER_DAY 1440
#define SECS_TO_UNIX_EPOCH ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * INT64CONST(86400))

typedef struct CronField
{
	const char *what;
	int lowest;
	int highest;
	const char *const *names; /* of lowest and those after it, or NULL */
} CronField;

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
										  "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const CronField fields[] = {
	{"minute", 0, 59, NULL},
	{"hour", 0, 23, NULL},
	{"day of the month", 1, 31, NULL},
	{"month", 1, 12, month_names},
	{"day of the week", 0, 7, weekday_names},
};

#define N_FIELDS lengthof(fields)

static const struct
{
	const char *name;
	const char *expression;
} nicknames[] = {
	{"@hourly", "0 * * * *"},
	{"@daily", "0 0 * * *"},
	{"@midnight", "0 0 * * *"},
	{"@weekly", "0 0 * * 0"},
	{"@monthly", "0 0 1 * *"},
	{"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
};

/* --------------------------------------------------------------- parsing */

static pg_noreturn void refuse(const char *expression, const char *detail);

static void
refuse(const char *expression, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no schedule", expression),
			 errdetail("%s", detail),
			 errhint("It is an interval such as 5 min, or five fields: minute, hour, day of the month, month, day of the week.")));
}

static void
refuse_field(const char *expression, const CronField *field, const char *text)
{
	refuse(expression, psprintf("The %s cannot be \"%s\".", field->what, text));
}

/* A number or a name at *p; -1: neither. */
static int
read_value(const CronField *field, const char **p)
{
	int value = 0;
	int i;

	if (isdigit((unsigned char) **p))
	{
		while (isdigit((unsigned char) **p) && value < 1000)
			value = value * 10 + *(*p)++ - '0';
		return value;
	}
	for (i = 0; field->names != NULL && field->names[i] != NULL; i++)
		if (pg_strncasecmp(*p, field->names[i], 3) == 0)
		{
			*p += 3;
			return field->lowest + i;
		}
	return -1;
}

/* One of the list: *, n, n-m, each with a step or not. */
static bool
read_range(const CronField *field, const char **p, uint64 *bits)
{
	int first;
	int last;
	int step = 1;

	if (**p == '*')
	{
		(*p)++;
		first = field->lowest;
		last = field->highest;
	}
	else
	{
		first = last = read_value(field, p);
		if (**p == '-')
		{
			(*p)++;
			last = read_value(field, p);
		}
		else if (**p == '/')
			last = field->highest;
	}
	if (**p == '/')
	{
		(*p)++;
		step = isdigit((unsigned char) **p) ? read_value(field, p) : 0;
	}
	if (first < field->lowest || last > field->highest || first > last || step < 1)
		return false;
	for (; first <= last; first += step)
		*bits |= UINT64CONST(1) << first;
	return true;
}

static uint64
read_field(const char *expression, const CronField *field, const char *text)
{
	const char *p = text;
	uint64 bits = 0;

	for (;;)
	{
		if (!read_range(field, &p, &bits))
			refuse_field(expression, field, text);
		if (*p == '\0')
			return bits;
		if (*p++ != ',')
			refuse_field(expression, field, text);
	}
}

/* Five fields, of which the first two have nothing but what these have? */
static bool
looks_like_cron(char **words, int n_words)
{
	return n_words == N_FIELDS && strspn(words[0], "0123456789*,-/") == strlen(words[0]) &&
		   strspn(words[1], "0123456789*,-/") == strlen(words[1]);
}

static void
read_interval(const char *text, Schedule *schedule)
{
	Interval *interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
															   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));

	if (interval->month != 0)
		refuse(text, "Months differ in length; use a cron expression.");
	schedule->every_us = interval->time + interval->day * USECS_PER_DAY;
	if (schedule->every_us < USECS_PER_SEC)
		refuse(text, "It must be at least one second.");
}

/*
 * schedule_parse
 *		ERROR 22023 if it is none; 22007 if it is no interval either.
 */
void
schedule_parse(const char *expression, Schedule *schedule)
{
	char *words[N_FIELDS + 1];
	char *copy = pstrdup(expression);
	char *rest = copy;
	char *word;
	int n_words = 0;
	int i;

	memset(schedule, 0, sizeof(*schedule));
	if (expression[0] == '@')
	{
		for (i = 0; i < lengthof(nicknames); i++)
			if (pg_strcasecmp(expression, nicknames[i].name) == 0)
			{
				schedule_parse(nicknames[i].expression, schedule);
				return;
			}
		refuse(expression, "Of these there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually.");
	}
	while ((word = strsep(&rest, " \t\n")) != NULL && n_words <= N_FIELDS)
		if (*word != '\0')
			words[n_words++] = word;
	if (!looks_like_cron(words, n_words))
	{
		read_interval(expression, schedule);
		return;
	}
	schedule->minutes = read_field(expression, &fields[0], words[0]);
	schedule->hours = read_field(expression, &fields[1], words[1]);
	schedule->days = read_field(expression, &fields[2], words[2]);
	schedule->months = read_field(expression, &fields[3], words[3]);
	schedule->weekdays = read_field(expression, &fields[4], words[4]);
	if (schedule->weekdays & (1 << 7))
		schedule->weekdays |= 1;
	schedule->any_day = words[2][0] == '*';
	schedule->any_weekday = words[4][0] == '*';
}

/* ------------------------------------------------------------- searching */

static bool
date_matches(const Schedule *schedule, int64 day)
{
	int year;
	int month;
	int day_of_month;
	bool matches_day;
	bool matches_weekday;

	j2date(day + UNIX_EPOCH_JDATE, &year, &month, &day_of_month);
	if (!(schedule->months & (UINT64CONST(1) << month)))
		return false;
	matches_day = (schedule->days & (UINT64CONST(1) << day_of_month)) != 0;
	matches_weekday = (schedule->weekdays & (1 << j2day(day + UNIX_EPOCH_JDATE))) != 0;
	if (schedule->any_day || schedule->any_weekday)
		return matches_day && matches_weekday;
	return matches_day || matches_weekday;
}

/* The first minute of the wall clock in [from, to) that matches; "to": none. */
static int64
first_match(const Schedule *schedule, int64 from, int64 to)
{
	int64 minute = from;

	while (minute < to)
	{
		int64 day = minute / MINUTES_PER_DAY;
		int hour = minute % MINUTES_PER_DAY / 60;

		if (!date_matches(schedule, day))
			minute = (day + 1) * MINUTES_PER_DAY;
		else if (!(schedule->hours & (1 << hour)))
			minute = (minute / 60 + 1) * 60;
		else if (!(schedule->minutes & (UINT64CONST(1) << (minute % 60))))
			minute++;
		else
			return minute;
	}
	return to;
}

#define ALL_HOURS ((UINT64CONST(1) << 24) - 1)

/* The same in time, in seconds of Unix; -1: never. */
static int64
next_second(const Schedule *schedule, pg_tz *zone, int64 after)
{
	bool is_hourly = schedule->hours == ALL_HOURS;
	int64 end = after + SEARCH_DAYS * INT64CONST(86400);
	int64 skips_until = 0;		/* of the wall clock: repeated minutes */
	int64 from = after - 86400; /* a repeated hour may have begun before */

	while (from < end)
	{
		pg_time_t time = from;
		pg_time_t boundary;
		long offset;
		long next_offset;
		int is_dst;
		int64 to = end;
		int64 wall;
		int64 wall_end;
		int changes = pg_next_dst_boundary(&time, &offset, &is_dst, &boundary, &next_offset, &is_dst, zone);

		if (changes > 0 && boundary < end)
			to = boundary;
		wall = (Max(from, after + 1) + offset + 59) / 60;
		wall = Max(wall, skips_until);
		wall_end = (to + offset) / 60;
		if (wall < wall_end)
		{
			int64 found = first_match(schedule, wall, wall_end);

			if (found < wall_end)
				return found * 60 - offset;
		}
		skips_until = 0;
		if (to == end)
			return -1;
		if (!is_hourly && next_offset > offset && boundary > after)
		{
			int64 gap_end = (boundary + next_offset) / 60;

			if (first_match(schedule, wall_end, gap_end) < gap_end)
				return boundary;
		}
		if (!is_hourly && next_offset < offset)
			skips_until = wall_end;
		from = boundary;
	}
	return -1;
}

/*
 * schedule_next
 *		The first time after this one.  Of an interval: as many of them after
 *		"anchor".  DT_NOEND: never.
 */
TimestampTz
schedule_next(const Schedule *schedule, pg_tz *zone, TimestampTz anchor, TimestampTz after)
{
	int64 second;

	if (schedule->every_us > 0)
	{
		if (after < anchor)
			return anchor + schedule->every_us;
		return anchor + ((after - anchor) / schedule->every_us + 1) * schedule->every_us;
	}
	/* whole seconds, rounded down */
	second = (after >= 0 ? after : after - (USECS_PER_SEC - 1)) / USECS_PER_SEC + SECS_TO_UNIX_EPOCH;
	second = next_second(schedule, zone, second);
	if (second < 0)
		return DT_NOEND;
	return (second - SECS_TO_UNIX_EPOCH) * USECS_PER_SEC;
}
