/*
 * testfuncs.c
 *		For tests: a supervisor in a world of its own, with a fake clock.
 *
 * A script says what happens, a line each; the answer tells what the
 * supervisor did about it.  In this world a child starts at once unless it is
 * "slow", "broken" or "idle", and stops at once unless it is "stubborn".
 * tools/test_schema.sql tells the words.
 */
#include "postgres.h"

#ifdef DLOG_STOP_POINTS

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "supervision/supervision_internal.h"

DLOG_FUNCTION(dlog_test_supervisor);
DLOG_FUNCTION(dlog_test_schedule);

#define MAX_TEST_CHILDREN 64

typedef struct TestChild
{
	Child child; /* first */
	char name[NAMEDATALEN];
	uint64 alarm_us; /* 0: none */
} TestChild;

/* How the actor behind a name behaves, whichever Child there is for it. */
typedef struct TestActor
{
	char name[NAMEDATALEN];
	bool is_slow;	  /* starts when it is told "up" */
	bool is_broken;	  /* fails to start */
	bool is_idle;	  /* its init ends normally */
	bool is_stubborn; /* does not stop when told to */
} TestActor;

/* What a child is about to answer. */
typedef struct TestReaction
{
	Child *child;
	bool is_start;
	ExitKind kind;
} TestReaction;

typedef struct TestWorld
{
	Supervisor supervisor; /* first */
	uint64 now_us;
	double random;
	TestActor actors[MAX_TEST_CHILDREN];
	int n_actors;
	List *alarms; /* TestChild with alarm_us */
	List *reactions;
	StringInfoData did;
} TestWorld;

static TestWorld *
world_of(Supervisor *supervisor)
{
	return (TestWorld *) supervisor;
}

static const char *
name_of(Child *child)
{
	return ((TestChild *) child)->name;
}

static void
did(TestWorld *world, const char *format, ...) pg_attribute_printf(2, 3);

static void
did(TestWorld *world, const char *format, ...)
{
	va_list args;
	char text[256];

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	appendStringInfo(&world->did, "%s%s", world->did.len > 0 ? ", " : "", text);
}

/* An actor's number is its spec's id. */
static int64
actor_id(TestWorld *world, const char *name)
{
	int i;

	for (i = 0; i < world->n_actors; i++)
		if (strcmp(world->actors[i].name, name) == 0)
			return i + 1;
	if (world->n_actors == MAX_TEST_CHILDREN)
		elog(ERROR, "too many children");
	strlcpy(world->actors[world->n_actors].name, name, NAMEDATALEN);
	return ++world->n_actors;
}

static TestActor *
actor_of(TestWorld *world, const char *name)
{
	return &world->actors[actor_id(world, name) - 1];
}

static void
react(TestWorld *world, Child *child, bool is_start, ExitKind kind)
{
	TestReaction *reaction = palloc(sizeof(TestReaction));

	reaction->child = child;
	reaction->is_start = is_start;
	reaction->kind = kind;
	world->reactions = lappend(world->reactions, reaction);
}

/* -------------------------------------------------------------- effects */

static uint64
test_now_us(Supervisor *supervisor)
{
	return world_of(supervisor)->now_us;
}

static double
test_random(Supervisor *supervisor)
{
	return world_of(supervisor)->random;
}

static void *
test_alloc(Supervisor *supervisor, Size size)
{
	return palloc(size);
}

static void
test_free(Supervisor *supervisor, void *pointer)
{
	pfree(pointer);
}

static void
test_start(Supervisor *supervisor, Child *child)
{
	TestActor *actor = actor_of(world_of(supervisor), name_of(child));

	did(world_of(supervisor), "%s %s", child->is_kept ? "restart" : "start", name_of(child));
	if (actor->is_broken)
		react(world_of(supervisor), child, false, EXIT_ERROR);
	else if (actor->is_idle)
		react(world_of(supervisor), child, false, EXIT_NORMAL);
	else if (!actor->is_slow)
		react(world_of(supervisor), child, true, EXIT_NORMAL);
}

static void
test_stop(Supervisor *supervisor, Child *child)
{
	did(world_of(supervisor), "stop %s", name_of(child));
	if (!actor_of(world_of(supervisor), name_of(child))->is_stubborn)
		react(world_of(supervisor), child, false, EXIT_SHUTDOWN);
}

static void
test_kill(Supervisor *supervisor, Child *child)
{
	did(world_of(supervisor), "kill %s", name_of(child));
	react(world_of(supervisor), child, false, EXIT_KILLED);
}

static void
test_release(Supervisor *supervisor, Child *child)
{
	did(world_of(supervisor), "release %s", name_of(child));
}

static void
test_forget(Supervisor *supervisor, Child *child, bool for_good)
{
	TestWorld *world = world_of(supervisor);

	if (for_good)
		did(world, "forget %s", name_of(child));
	world->alarms = list_delete_ptr(world->alarms, child);
	pfree(child);
}

static void
test_timer_set(Supervisor *supervisor, Child *child, int64 delay_ms)
{
	TestWorld *world = world_of(supervisor);

	if (child->state == CHILD_RESTARTING)
		did(world, "wait " INT64_FORMAT " ms", delay_ms);
	((TestChild *) child)->alarm_us = world->now_us + delay_ms * 1000;
	world->alarms = list_append_unique_ptr(world->alarms, child);
}

static void
test_timer_cancel(Supervisor *supervisor, Child *child)
{
	world_of(supervisor)->alarms = list_delete_ptr(world_of(supervisor)->alarms, child);
}

static void
test_started(Supervisor *supervisor)
{
	did(world_of(supervisor), "started");
}

static void
test_exit(Supervisor *supervisor, ExitKind kind, const char *reason)
{
	did(world_of(supervisor), "exit %s (%s)", kind == EXIT_SHUTDOWN ? "shutdown" : "?", reason);
}

static void
test_answer(Supervisor *supervisor, uint64 request, SupervisorAnswer answer, Child *child)
{
	static const char *const names[] = {
		[ANSWER_OK] = "ok",
		[ANSWER_ALREADY_PRESENT] = "already_present",
		[ANSWER_ALREADY_STARTED] = "already_started",
		[ANSWER_NOT_FOUND] = "not_found",
		[ANSWER_RUNNING] = "running",
		[ANSWER_RESTARTING] = "restarting",
		[ANSWER_SIMPLE_ONE_FOR_ONE] = "simple_one_for_one",
		[ANSWER_START_FAILED] = "start failed",
		[ANSWER_SHUTDOWN] = "shutdown",
	};

	did(world_of(supervisor), "answer %s", names[answer]);
}

static void
test_report(Supervisor *supervisor, SupervisorReport report, Child *child)
{
	static const char *const names[] = {
		[REPORT_CHILD_TERMINATED] = "terminated",
		[REPORT_START_FAILED] = "did not start",
		[REPORT_SHUTDOWN_FAILED] = "did not shut down",
		[REPORT_GAVE_UP] = "was one restart too many",
	};

	did(world_of(supervisor), "\"%s %s\"", name_of(child), names[report]);
}

static const SupervisorEffects test_effects = {
	.now_us = test_now_us,
	.random = test_random,
	.alloc = test_alloc,
	.free = test_free,
	.start = test_start,
	.stop = test_stop,
	.kill = test_kill,
	.release = test_release,
	.forget = test_forget,
	.timer_set = test_timer_set,
	.timer_cancel = test_timer_cancel,
	.started = test_started,
	.exit = test_exit,
	.answer = test_answer,
	.report = test_report,
};

/* --------------------------------------------------------------- scripts */

static bool
take_number(const char *word, const char *name, double *number)
{
	size_t length = strlen(name);

	if (strncmp(word, name, length) != 0 || word[length] != '=')
		return false;
	*number = atof(word + length + 1);
	return true;
}

static void
parse_flags(char **words, SupervisorFlags *flags)
{
	static const char *const strategies[] = {"one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"};

	memset(flags, 0, sizeof(*flags));
	flags->max_restarts = 5;
	flags->within_ms = 10000;
	flags->backoff_max_ms = 60000;
	for (; *words != NULL; words++)
	{
		double number;
		int i;

		for (i = 0; i < lengthof(strategies); i++)
			if (strcmp(*words, strategies[i]) == 0)
				break;
		if (i < lengthof(strategies))
			flags->strategy = i;
		else if (take_number(*words, "max_restarts", &number))
			flags->max_restarts = number;
		else if (take_number(*words, "within", &number))
			flags->within_ms = number;
		else if (take_number(*words, "backoff", &number))
			flags->backoff_ms = number;
		else if (take_number(*words, "backoff_max", &number))
			flags->backoff_max_ms = number;
		else if (take_number(*words, "jitter", &number))
			flags->jitter = number;
		else if (strcmp(*words, "any_significant") == 0)
			flags->auto_shutdown = AUTO_SHUTDOWN_ANY_SIGNIFICANT;
		else if (strcmp(*words, "all_significant") == 0)
			flags->auto_shutdown = AUTO_SHUTDOWN_ALL_SIGNIFICANT;
		else
			elog(ERROR, "what is \"%s\"?", *words);
	}
}

/* NULL, having said so, when the spec is refused. */
static Child *
parse_child(TestWorld *world, char **words)
{
	TestChild *child = palloc0(sizeof(TestChild));
	ChildSpec spec = {.shutdown_ms = 5000};
	const char *refusal;

	strlcpy(child->name, *words, NAMEDATALEN);
	spec.id = actor_id(world, *words);
	for (words++; *words != NULL; words++)
	{
		double number;

		if (strcmp(*words, "permanent") == 0)
			spec.restart = RESTART_PERMANENT;
		else if (strcmp(*words, "transient") == 0)
			spec.restart = RESTART_TRANSIENT;
		else if (strcmp(*words, "temporary") == 0)
			spec.restart = RESTART_TEMPORARY;
		else if (strcmp(*words, "significant") == 0)
			spec.is_significant = true;
		else if (strcmp(*words, "brutal_kill") == 0)
			spec.shutdown_ms = SHUTDOWN_BRUTAL_KILL;
		else if (strcmp(*words, "infinity") == 0)
			spec.shutdown_ms = SHUTDOWN_INFINITY;
		else if (strcmp(*words, "supervisor") == 0)
		{
			spec.is_supervisor = true;
			spec.shutdown_ms = SHUTDOWN_INFINITY;
		}
		else if (take_number(*words, "shutdown", &number))
			spec.shutdown_ms = number;
		else
			elog(ERROR, "what is \"%s\"?", *words);
	}
	refusal = supervisor_refuse_spec(&world->supervisor.flags, &spec);
	if (refusal != NULL)
	{
		did(world, "refused: %s", refusal);
		return NULL;
	}
	child_initialize(&child->child, &spec);
	return &child->child;
}

static Child *
find_child(TestWorld *world, const char *name)
{
	Child *child = supervisor_find(&world->supervisor, actor_id(world, name));

	if (child == NULL)
		elog(ERROR, "there is no child \"%s\"", name);
	return child;
}

static void
run_reactions(TestWorld *world)
{
	while (world->reactions != NIL)
	{
		TestReaction *reaction = linitial(world->reactions);

		world->reactions = list_delete_first(world->reactions);
		if (reaction->is_start)
			supervisor_child_started(&world->supervisor, reaction->child);
		else
			supervisor_child_exited(&world->supervisor, reaction->child, reaction->kind);
	}
}

/* Let time pass; alarms ring in their order. */
static void
pass(TestWorld *world, int64 ms)
{
	uint64 end = world->now_us + ms * 1000;

	for (;;)
	{
		TestChild *next = NULL;
		ListCell *cell;

		foreach(cell, world->alarms)
		{
			TestChild *child = lfirst(cell);

			if (child->alarm_us <= end && (next == NULL || child->alarm_us < next->alarm_us))
				next = child;
		}
		if (next == NULL)
			break;
		world->alarms = list_delete_ptr(world->alarms, next);
		world->now_us = Max(world->now_us, next->alarm_us);
		supervisor_timer(&world->supervisor, &next->child);
		run_reactions(world);
	}
	world->now_us = end;
}

static void
show_children(TestWorld *world)
{
	static const char *const states[] = {"undefined", "starting", "running", "stopping", "restarting"};
	ChildCounts counts = supervisor_count_children(&world->supervisor);
	dlist_iter iter;

	dlist_foreach(iter, &world->supervisor.children)
	{
		Child *child = dlist_container(Child, node, iter.cur);

		did(world, "%s %s", name_of(child), states[child->state]);
	}
	did(world, "specs " INT64_FORMAT " active " INT64_FORMAT " supervisors " INT64_FORMAT " workers " INT64_FORMAT,
		counts.specs, counts.active, counts.supervisors, counts.workers);
}

/* What befalls a child, or what it is like from now on.  False: no such word. */
static bool
run_fate(TestWorld *world, const char *word, const char *name)
{
	Supervisor *supervisor = &world->supervisor;
	TestActor *actor = actor_of(world, name);

	if (strcmp(word, "fail") == 0)
		supervisor_child_exited(supervisor, find_child(world, name), EXIT_ERROR);
	else if (strcmp(word, "finish") == 0)
		supervisor_child_exited(supervisor, find_child(world, name), EXIT_NORMAL);
	else if (strcmp(word, "leave") == 0)
		supervisor_child_exited(supervisor, find_child(world, name), EXIT_SHUTDOWN);
	else if (strcmp(word, "die") == 0)
		supervisor_child_exited(supervisor, find_child(world, name), EXIT_KILLED);
	else if (strcmp(word, "up") == 0)
		supervisor_child_started(supervisor, find_child(world, name));
	else if (strcmp(word, "slow") == 0)
		actor->is_slow = true;
	else if (strcmp(word, "broken") == 0)
		actor->is_broken = true;
	else if (strcmp(word, "idle") == 0)
		actor->is_idle = true;
	else if (strcmp(word, "stubborn") == 0)
		actor->is_stubborn = true;
	else if (strcmp(word, "normal") == 0)
		actor->is_slow = actor->is_broken = actor->is_idle = actor->is_stubborn = false;
	else
		return false;
	return true;
}

static void
run_line(TestWorld *world, char **words, int n_words)
{
	Supervisor *supervisor = &world->supervisor;
	const char *word = words[0];
	SupervisorFlags flags;
	Child *child;

	if (strcmp(word, "supervisor") == 0)
	{
		const char *refusal;

		parse_flags(words + 1, &flags);
		refusal = supervisor_refuse_flags(&flags);
		if (refusal != NULL)
			did(world, "refused: %s", refusal);
		if (supervisor->effects == NULL)
			supervisor_initialize(supervisor, &test_effects, &flags);
		else
			supervisor_set_flags(supervisor, &flags);
	}
	else if (strcmp(word, "begin") == 0)
		supervisor_start(supervisor);
	else if (strcmp(word, "stop") == 0)
		supervisor_shut_down(supervisor, EXIT_SHUTDOWN, "asked to");
	else if (strcmp(word, "show") == 0)
		show_children(world);
	else if (n_words < 2)
		elog(ERROR, "what is \"%s\"?", word);
	else if (strcmp(word, "child") == 0)
	{
		child = parse_child(world, words + 1);
		if (child != NULL)
			supervisor_add_child(supervisor, child);
	}
	else if (strcmp(word, "start_child") == 0)
	{
		child = parse_child(world, words + 1);
		if (child != NULL)
			supervisor_start_child(supervisor, child, 1);
	}
	else if (strcmp(word, "terminate_child") == 0)
		supervisor_terminate_child(supervisor, actor_id(world, words[1]), NULL, 1);
	else if (strcmp(word, "terminate_instance") == 0)
		supervisor_terminate_child(supervisor, 0, find_child(world, words[1]), 1);
	else if (strcmp(word, "restart_child") == 0)
		supervisor_restart_child(supervisor, actor_id(world, words[1]), 1);
	else if (strcmp(word, "delete_child") == 0)
		supervisor_delete_child(supervisor, actor_id(world, words[1]), 1);
	else if (strcmp(word, "after") == 0)
		pass(world, atoi(words[1]));
	else if (strcmp(word, "random") == 0)
		world->random = atof(words[1]);
	else if (!run_fate(world, word, words[1]))
		elog(ERROR, "what is \"%s\"?", word);
}

#define MAX_WORDS 16

/* supervisor(script): the script with what was done, line by line */
Datum
dlog_test_supervisor(PG_FUNCTION_ARGS)
{
	char *script = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TestWorld *world = palloc0(sizeof(TestWorld));
	StringInfoData answer;
	char *line;
	char *rest = script;

	initStringInfo(&answer);
	initStringInfo(&world->did);
	world->now_us = 1000000;
	while ((line = strsep(&rest, "\n")) != NULL)
	{
		char *words[MAX_WORDS + 1] = {NULL};
		int n_words = 0;
		char *word;
		char *said;

		line += strspn(line, " \t");
		said = pstrdup(line);
		while ((word = strsep(&line, " ")) != NULL && n_words < MAX_WORDS)
			if (*word != '\0')
				words[n_words++] = word;
		if (n_words == 0)
			continue;
		resetStringInfo(&world->did);
		run_line(world, words, n_words);
		run_reactions(world);
		appendStringInfo(&answer, "%s%s%s%s", answer.len > 0 ? "\n" : "", said,
						 world->did.len > 0 ? ": " : "", world->did.data);
	}
	supervisor_free(&world->supervisor);
	PG_RETURN_TEXT_P(cstring_to_text(answer.data));
}

/* schedule(expression, zone, after): the next time; the anchor is 2000-01-01 */
Datum
dlog_test_schedule(PG_FUNCTION_ARGS)
{
	pg_tz *zone = pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Schedule schedule;
	TimestampTz next;

	schedule_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &schedule);
	next = schedule_next(&schedule, zone, 0, PG_GETARG_TIMESTAMPTZ(2));
	PG_RETURN_TIMESTAMPTZ(next);
}

#endif
