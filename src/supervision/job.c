/*
 * job.c
 *		Any SQL as a child of a supervisor.
 *
 * A *job* is a command in dlog.job and an actor of the system behavior "job".
 * The actor runs no SQL: for each *run* it starts a background worker, which
 * is connected as the job's owner (jobworker.c), and hears from it when that
 * has started and when it is over.
 *
 * Without a schedule the command runs when the actor starts, and the actor
 * exits when the run is over, normally or with an error; what then happens is
 * for the supervisor to say.  With one, the actor stays and starts a run when
 * it is due; a run that failed is repeated after a growing delay if the job
 * says so, and else waits for the next time.
 *
 * What becomes due while a run is at work follows the policy: "skip" lets it
 * pass, "queue" starts it when the present one is over, "allow" at once.
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/errcodes.h"
#include "base/guc.h"
#include "supervision/supervision_internal.h"

/* Numbers of an actor's timers. */
#define TIMER_DUE 1
#define TIMER_RETRY 2 /* of a run that failed, or of a worker that did not start */
#define TIMER_BIRTH 3 /* a worker should have been heard of by now */

#define WORKER_RETRY_MS 1000
#define WORKER_BIRTH_MS 60000

/* Longer sleeps are taken in pieces, since clocks are set. */
#define LONGEST_SLEEP_MS INT64CONST(60000)

typedef struct JobState
{
	JobBirth birth; /* first */
	ActorAddress self;
	TimestampTz next_due; /* 0: nothing is */
	int n_runs;			  /* at work */
	uint32 last_run;	  /* number of the latest */
	uint32 attempts;	  /* of the present due time that have failed */
	bool is_waiting;	  /* a run is to start when the present one is over */
	bool is_stopping;
	bool is_unheard; /* the last worker has not said that it has started */
	pid_t pids[JOB_MAX_RUNS];
	uint32 runs[JOB_MAX_RUNS]; /* numbers; 0: free */
} JobState;

/* -------------------------------------------------------------- workers */

static int
slot_of_run(JobState *job, uint32 run)
{
	int i;

	for (i = 0; i < JOB_MAX_RUNS; i++)
		if (job->runs[i] == run)
			return i;
	return -1;
}

/* Signal what runs; a worker that has not started yet will see that we are gone. */
static void
signal_runs(JobState *job, int signal)
{
	int i;

	for (i = 0; i < JOB_MAX_RUNS; i++)
		if (job->runs[i] != 0 && job->pids[i] != 0 && BackendPidGetProc(job->pids[i]) != NULL)
			kill(job->pids[i], signal);
}

static void
start_run(JobState *job)
{
	int slot = slot_of_run(job, 0);
	JobOrder order = {
		.job = job->birth.id,
		.actor = job->self,
		.database = MyDatabaseId,
		.owner = job->birth.owner,
		.run = job->last_run + 1,
	};
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
	};

	StaticAssertStmt(sizeof(order) <= BGW_EXTRALEN, "an order fits into a worker's slot");
	if (slot < 0)
		return;
	strlcpy(worker.bgw_library_name, "dlog", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "dlog_job_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "dlog job %s", NameStr(job->birth.name));
	strlcpy(worker.bgw_type, "dlog job", BGW_MAXLEN);
	memcpy(worker.bgw_extra, &order, sizeof(order));
	if (!RegisterDynamicBackgroundWorker(&worker, NULL))
	{
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("job \"%s\" waits for a free worker", NameStr(job->birth.name)),
				 errhint("Raise max_worker_processes.")));
		actor_timer_set(job->self, TIMER_RETRY, WORKER_RETRY_MS);
		return;
	}
	job->last_run++;
	job->runs[slot] = job->last_run;
	job->pids[slot] = 0;
	job->n_runs++;
	job->is_unheard = true;
	actor_timer_set(job->self, TIMER_BIRTH, WORKER_BIRTH_MS);
}

/* ------------------------------------------------------------- schedules */

static bool
has_schedule(const JobState *job)
{
	return job->birth.has_schedule;
}

static void
sleep_until_due(JobState *job)
{
	int64 delay;

	if (job->next_due == 0 || job->next_due == DT_NOEND)
		return;
	delay = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), job->next_due);
	actor_timer_set(job->self, TIMER_DUE, Min(delay, LONGEST_SLEEP_MS));
}

static void
set_next_due(JobState *job)
{
	pg_tz *zone = pg_tzset(job->birth.zone);

	job->next_due = schedule_next(&job->birth.schedule, zone != NULL ? zone : pg_tzset("GMT"),
								  job->birth.anchor, GetCurrentTimestamp());
	sleep_until_due(job);
}

/* Start one, or do with it what the policy says. */
static void
want_run(JobState *job)
{
	if (job->n_runs == 0 || (job->birth.overlap == OVERLAP_ALLOW && job->n_runs < JOB_MAX_RUNS))
		start_run(job);
	else if (job->birth.overlap != OVERLAP_SKIP)
		job->is_waiting = true;
}

static void
due(JobState *job)
{
	if (job->next_due == 0 || job->next_due == DT_NOEND)
		return;
	if (GetCurrentTimestamp() < job->next_due)
	{
		sleep_until_due(job);
		return;
	}
	job->attempts = 0;
	actor_timer_cancel(job->self, TIMER_RETRY);
	if (!job->birth.is_paused)
		want_run(job);
	set_next_due(job);
}

/* ----------------------------------------------------- the system behavior */

static void
job_start(void *state, ActorAddress self)
{
	JobState *job = state;

	job->self = self;
	if (has_schedule(job))
		set_next_due(job);
	else if (!job->birth.is_paused)
		start_run(job);
}

static int64
retry_delay(const JobState *job)
{
	int64 delay = Max(job->birth.backoff_ms, 1);
	uint32 i;

	for (i = 1; i < job->attempts && delay < job->birth.max_backoff_ms; i++)
		delay *= 2;
	return Min(delay, Max(job->birth.max_backoff_ms, 1));
}

static void
run_is_over(JobState *job, const JobReport *report)
{
	int slot = slot_of_run(job, report->run);

	if (report->run == 0 || slot < 0)
		return;
	job->runs[slot] = 0;
	job->n_runs--;
	if (job->is_stopping)
	{
		if (job->n_runs == 0)
			system_actor_exit(job->self, EXIT_SHUTDOWN, "shutdown");
		return;
	}
	if (!has_schedule(job))
	{
		system_actor_exit(job->self, report->is_ok ? EXIT_NORMAL : EXIT_ERROR, report->reason);
		return;
	}
	if (job->is_waiting)
	{
		job->is_waiting = false;
		job->attempts = 0;
		start_run(job);
	}
	else if (report->is_ok)
		job->attempts = 0;
	else if (job->attempts < job->birth.retries)
	{
		job->attempts++;
		actor_timer_set(job->self, TIMER_RETRY, retry_delay(job));
	}
}

static void
job_message(void *state, ActorAddress self, const Message *message)
{
	JobState *job = state;
	const JobReport *report = (const JobReport *) message->payload;
	int slot;

	switch (message->type)
	{
		case JOB_STARTED:
			job->is_unheard = false;
			actor_timer_cancel(self, TIMER_BIRTH);
			slot = slot_of_run(job, report->run);
			if (slot >= 0)
				job->pids[slot] = report->pid;
			if (job->is_stopping)
				signal_runs(job, SIGINT);
			break;
		case JOB_OVER:
			run_is_over(job, report);
			break;
		case JOB_RUN_NOW:
			if (!job->is_stopping)
				want_run(job);
			break;
		case JOB_PAUSE:
			job->birth.is_paused = true;
			job->is_waiting = false;
			actor_timer_cancel(self, TIMER_RETRY);
			break;
		case JOB_RESUME:
			job->birth.is_paused = false;
			if (!has_schedule(job) && job->n_runs == 0)
				start_run(job);
			break;
		default:
			break;
	}
}

static void
job_timer(void *state, ActorAddress self, uint64 number)
{
	JobState *job = state;

	if (job->is_stopping)
		return;
	if (number == TIMER_DUE)
		due(job);
	else if (number == TIMER_RETRY)
		want_run(job);
	else if (job->is_unheard)
	{
		/* The server could not start it. */
		JobReport report = {.run = job->last_run, .reason = "its worker did not start"};

		job->is_unheard = false;
		run_is_over(job, &report);
	}
}

static void
job_stopping(void *state, ActorAddress self, const char *reason)
{
	JobState *job = state;

	job->is_stopping = true;
	if (job->n_runs == 0)
		system_actor_exit(self, EXIT_SHUTDOWN, "shutdown");
	else
		signal_runs(job, SIGINT);
}

/* However it ends, nothing goes on without it. */
static void
job_stop(void *state, ActorAddress self)
{
	signal_runs(state, SIGTERM);
}

static const SystemBehavior job_behavior = {
	.name = JOB_BEHAVIOR,
	.state_size = sizeof(JobState),
	.start = job_start,
	.message = job_message,
	.timer = job_timer,
	.stopping = job_stopping,
	.stop = job_stop,
};

/* ------------------------------------------------------------- the table */

#define JOB_COLUMNS \
	"SELECT id, name, command, schedule, time_zone, anchor, overlap, timeout_ms, retries::pg_catalog.int8," \
	" backoff_ms, max_backoff_ms, is_paused, owner, has_own_supervisor, history::pg_catalog.int8 FROM dlog.job"

static const char *const overlap_names[] = {"skip", "queue", "allow"};

JobOverlap
overlap_of(const char *text)
{
	int i;

	for (i = 0; i < lengthof(overlap_names); i++)
		if (strcmp(text, overlap_names[i]) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no policy for runs that overlap", text),
			 errhint("It is one of skip, queue or allow.")));
}

static JobRow *
copy_job(MemoryContext context, uint64 i)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	HeapTuple tuple = SPI_tuptable->vals[i];
	TupleDesc descriptor = SPI_tuptable->tupdesc;
	JobRow *row = palloc0(sizeof(JobRow));
	bool is_null;

	row->birth.id = DatumGetInt64(SPI_getbinval(tuple, descriptor, 1, &is_null));
	namestrcpy(&row->birth.name, SPI_getvalue(tuple, descriptor, 2));
	row->command = SPI_getvalue(tuple, descriptor, 3);
	row->schedule = SPI_getvalue(tuple, descriptor, 4);
	strlcpy(row->birth.zone, SPI_getvalue(tuple, descriptor, 5), sizeof(row->birth.zone));
	row->birth.anchor = DatumGetTimestampTz(SPI_getbinval(tuple, descriptor, 6, &is_null));
	row->birth.overlap = overlap_of(SPI_getvalue(tuple, descriptor, 7));
	row->timeout_ms = DatumGetInt64(SPI_getbinval(tuple, descriptor, 8, &is_null));
	row->birth.retries = DatumGetInt64(SPI_getbinval(tuple, descriptor, 9, &is_null));
	row->birth.backoff_ms = DatumGetInt64(SPI_getbinval(tuple, descriptor, 10, &is_null));
	row->birth.max_backoff_ms = DatumGetInt64(SPI_getbinval(tuple, descriptor, 11, &is_null));
	row->birth.is_paused = DatumGetBool(SPI_getbinval(tuple, descriptor, 12, &is_null));
	row->birth.owner = DatumGetObjectId(SPI_getbinval(tuple, descriptor, 13, &is_null));
	row->has_own_supervisor = DatumGetBool(SPI_getbinval(tuple, descriptor, 14, &is_null));
	row->history = DatumGetInt64(SPI_getbinval(tuple, descriptor, 15, &is_null));
	row->birth.has_schedule = row->schedule != NULL;
	if (row->schedule != NULL)
		schedule_parse(row->schedule, &row->birth.schedule);
	MemoryContextSwitchTo(old);
	return row;
}

static JobRow *
find_job(const char *sql, Oid type, Datum value)
{
	MemoryContext context = CurrentMemoryContext;
	JobRow *row = NULL;
	StoreScope scope;

	store_open(&scope);
	if (store_run(sql, 1, &type, &value, NULL) > 0)
		row = copy_job(context, 0);
	store_close(&scope);
	return row;
}

/* NULL: there is none. */
JobRow *
job_read(int64 id)
{
	static const char sql[] = JOB_COLUMNS " WHERE id OPERATOR(pg_catalog.=) $1";

	return find_job(sql, INT8OID, Int64GetDatum(id));
}

/* By name; ERROR if there is none, or the present role may not control it. */
JobRow *
job_require(const char *name)
{
	static const char sql[] = JOB_COLUMNS " WHERE name OPERATOR(pg_catalog.=) $1";
	JobRow *row = find_job(sql, TEXTOID, CStringGetTextDatum(name));

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", name)));
	if (!has_privs_of_role(GetUserId(), row->birth.owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of job \"%s\"", name)));
	return row;
}

/* All of them, by name. */
List *
job_list(void)
{
	static const char sql[] = JOB_COLUMNS " ORDER BY name";
	MemoryContext context = CurrentMemoryContext;
	List *rows = NIL;
	StoreScope scope;
	uint64 n;
	uint64 i;

	store_open(&scope);
	n = store_run(sql, 0, NULL, NULL, NULL);
	for (i = 0; i < n; i++)
	{
		JobRow *row = copy_job(context, i);
		MemoryContext old = MemoryContextSwitchTo(context);

		rows = lappend(rows, row);
		MemoryContextSwitchTo(old);
	}
	store_close(&scope);
	return rows;
}

/* Add one, and return its number; ERROR 42710 if there is one of this name. */
int64
job_insert(const JobRow *row)
{
	static const char sql[] =
		"INSERT INTO dlog.job (name, command, schedule, time_zone, anchor, overlap, timeout_ms, retries,"
		" backoff_ms, max_backoff_ms, is_paused, owner, has_own_supervisor, history)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
		" ON CONFLICT (name) DO NOTHING RETURNING id";
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, INT8OID, INT4OID,
								INT8OID, INT8OID, BOOLOID, REGROLEOID, BOOLOID, INT4OID};
	Datum values[] = {
		CStringGetTextDatum(NameStr(row->birth.name)),
		CStringGetTextDatum(row->command),
		row->schedule ? CStringGetTextDatum(row->schedule) : (Datum) 0,
		CStringGetTextDatum(row->birth.zone),
		TimestampTzGetDatum(row->birth.anchor),
		CStringGetTextDatum(overlap_names[row->birth.overlap]),
		Int64GetDatum(row->timeout_ms),
		Int32GetDatum(row->birth.retries),
		Int64GetDatum(row->birth.backoff_ms),
		Int64GetDatum(row->birth.max_backoff_ms),
		BoolGetDatum(row->birth.is_paused),
		ObjectIdGetDatum(row->birth.owner),
		BoolGetDatum(row->has_own_supervisor),
		Int32GetDatum(row->history),
	};
	char nulls[] = "              ";
	StoreScope scope;
	int64 id = 0;
	bool is_null;

	nulls[2] = row->schedule ? ' ' : 'n';
	store_open(&scope);
	if (store_run(sql, 14, types, values, nulls) > 0)
		id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	store_close(&scope);
	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("job \"%s\" already exists", NameStr(row->birth.name))));
	return id;
}

void
job_set_paused(int64 id, bool is_paused)
{
	static const char sql[] = "UPDATE dlog.job SET is_paused = $2 WHERE id OPERATOR(pg_catalog.=) $1";
	static const Oid types[] = {INT8OID, BOOLOID};
	Datum values[] = {Int64GetDatum(id), BoolGetDatum(is_paused)};
	StoreScope scope;

	store_open(&scope);
	store_run(sql, 2, types, values, NULL);
	store_close(&scope);
}

/* The child spec that a job is; NULL: it has gone. */
ChildRow *
job_child(int64 id)
{
	static const char sql[] = "SELECT id FROM dlog.child WHERE job OPERATOR(pg_catalog.=) $1";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};
	StoreScope scope;
	int64 child = 0;
	bool is_null;

	store_open(&scope);
	if (store_run(sql, 1, types, values, NULL) > 0)
		child = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	store_close(&scope);
	return child != 0 ? store_read_child(child) : NULL;
}

/*
 * job_spawn
 *		Spawn, held, the actor of the job that a spec names.
 */
ActorAddress
job_spawn(const ChildRow *row, uint64 child, ActorAddress supervisor)
{
	JobRow *job = job_read(row->job);
	ActorSpawn spawn = {
		.system_behavior = JOB_BEHAVIOR,
		.system_state_size = sizeof(JobBirth),
		.owner = row->owner,
		.supervisor = supervisor,
		.child = child,
		.is_held = true,
	};

	if (job == NULL)
		elog(ERROR, "job " INT64_FORMAT " does not exist", row->job);
	spawn.system_state = &job->birth;
	return actor_spawn(&spawn);
}

void
job_init(void)
{
	actor_register_system_behavior(&job_behavior);
}
