/*
 * jobfuncs.c
 *		Jobs as SQL sees them.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "supervision/supervision_internal.h"

DLOG_FUNCTION(dlog_supervise);
DLOG_FUNCTION(dlog_unsupervise);
DLOG_FUNCTION(dlog_run_job);
DLOG_FUNCTION(dlog_pause_job);
DLOG_FUNCTION(dlog_resume_job);
DLOG_FUNCTION(dlog_jobs);

/* ------------------------------------------------------------- supervise */

/* The command must at least be SQL; what its names mean is found out when it runs. */
static void
check_command(const char *command)
{
	if (raw_parser(command, RAW_PARSE_DEFAULT) == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no statement in the command")));
}

static void
set_zone(JobRow *job, const char *zone)
{
	pg_tz *found = pg_tzset(zone);

	if (found == NULL || strlen(zone) >= sizeof(job->birth.zone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", zone)));
	strlcpy(job->birth.zone, zone, sizeof(job->birth.zone));
}

static void
set_schedule(JobRow *job, char *schedule)
{
	job->schedule = schedule;
	job->birth.has_schedule = true;
	job->birth.anchor = GetCurrentTransactionStartTimestamp();
	schedule_parse(schedule, &job->birth.schedule);
	if (schedule_next(&job->birth.schedule, pg_tzset(job->birth.zone), job->birth.anchor,
					  job->birth.anchor) == DT_NOEND)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" never comes", schedule)));
}

/* A name for a job that was given none. */
static void
make_name(JobRow *job)
{
	static const char sql[] =
		"SELECT pg_catalog.nextval('dlog.job_id_seq')::pg_catalog.text";
	StoreScope scope;

	store_open(&scope);
	store_run(sql, 0, NULL, NULL, NULL);
	snprintf(NameStr(job->birth.name), NAMEDATALEN, "job %s",
			 SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	store_close(&scope);
}

/* The supervisor that a job gets for itself. */
static void
make_supervisor(FunctionCallInfo fcinfo, JobRow *job, SupervisorRow *row)
{
	ActorAddress nobody = {0};
	const char *refusal;

	memset(row, 0, sizeof(*row));
	row->name = job->birth.name;
	row->owner = job->birth.owner;
	row->flags.max_restarts = PG_GETARG_INT32(5);
	row->flags.within_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(6), "within");
	row->flags.backoff_ms = job->birth.backoff_ms;
	row->flags.backoff_max_ms = job->birth.max_backoff_ms;
	row->flags.jitter = 0.2;
	refusal = supervisor_refuse_flags(&row->flags);
	if (refusal != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("these settings do not make a supervisor"),
				 errdetail("%s", refusal)));
	row->id = store_insert_supervisor(row);
	(void) supervisor_spawn(row, nobody, NULL, true);
}

static void
require_arguments(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {
		"command", NULL, NULL, NULL, "restart", "max_restarts", "within", "backoff", "max_backoff", "retries",
		"shutdown", "overlap", NULL, NULL, "history"};
	int i;

	for (i = 0; i < lengthof(names); i++)
		if (names[i] != NULL && PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));
}

Datum
dlog_supervise(PG_FUNCTION_ARGS)
{
	JobRow job = {.birth = {.owner = GetUserId()}};
	ChildRow child = {.owner = GetUserId(), .on_failure = FAILED_MESSAGE_DROP};
	SupervisorRow supervisor;

	runtime_require();
	require_arguments(fcinfo);
	job.command = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_command(job.command);
	if (PG_ARGISNULL(1))
		make_name(&job);
	else
		namestrcpy(&job.birth.name, supervision_name(PG_GETARG_TEXT_PP(1), "job"));
	child.spec.restart = restart_of(text_to_cstring(PG_GETARG_TEXT_PP(4)));
	job.birth.backoff_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(7), "backoff");
	job.birth.max_backoff_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(8), "max_backoff");
	job.birth.retries = PG_GETARG_INT32(9);
	child.spec.shutdown_ms = shutdown_of(text_to_cstring(PG_GETARG_TEXT_PP(10)));
	job.birth.overlap = overlap_of(text_to_cstring(PG_GETARG_TEXT_PP(11)));
	if (!PG_ARGISNULL(12))
		job.timeout_ms = interval_milliseconds(PG_GETARG_INTERVAL_P(12), "timeout");
	set_zone(&job, PG_ARGISNULL(13) ? pg_get_timezone_name(session_timezone) : text_to_cstring(PG_GETARG_TEXT_PP(13)));
	job.history = PG_GETARG_INT32(14);
	if (PG_GETARG_INT32(9) < 0 || job.history < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retries must not be negative, and history at least 1")));
	if (!PG_ARGISNULL(2))
		set_schedule(&job, text_to_cstring(PG_GETARG_TEXT_PP(2)));

	job.has_own_supervisor = PG_ARGISNULL(3);
	child.job = job_insert(&job);
	if (job.has_own_supervisor)
		make_supervisor(fcinfo, &job, &supervisor);
	else
		store_require_supervisor(text_to_cstring(PG_GETARG_TEXT_PP(3)), &supervisor);
	child.supervisor = supervisor.id;
	child.name = NameStr(job.birth.name);
	if (supervisor.flags.strategy == SIMPLE_ONE_FOR_ONE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("supervisor \"%s\" is simple_one_for_one", NameStr(supervisor.name)),
				 errdetail("Its children are instances of one spec and have no names.")));
	child.spec.id = store_insert_child(&child);
	(void) child_spawn(&child, child_record_create(&child), supervisor_address(&supervisor));
	PG_RETURN_TEXT_P(cstring_to_text(NameStr(job.birth.name)));
}

/* --------------------------------------------------------------- control */

static JobRow *
job_argument(FunctionCallInfo fcinfo)
{
	runtime_require();
	return job_require(text_to_cstring(PG_GETARG_TEXT_PP(0)));
}

/*
 * The supervisor that a job is a child of, and its spec there.  NULL: the job
 * has ended for good since we read its row.
 */
static ChildRow *
find_supervisor_of_job(const JobRow *job, SupervisorRow *supervisor)
{
	ChildRow *child = job_child(job->birth.id);

	return child != NULL && store_read_supervisor(child->supervisor, supervisor) ? child : NULL;
}

static ChildRow *
supervisor_of_job(const JobRow *job, SupervisorRow *supervisor)
{
	ChildRow *child = find_supervisor_of_job(job, supervisor);

	if (child == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", NameStr(job->birth.name)),
				 errdetail("It has just ended.")));
	return child;
}

Datum
dlog_unsupervise(PG_FUNCTION_ARGS)
{
	JobRow *job = job_argument(fcinfo);
	SupervisorRow supervisor;
	ChildRow *child = supervisor_of_job(job, &supervisor);
	Call call = {.kind = CALL_REMOVE_CHILD, .id = child->spec.id};

	store_lock_supervisor(supervisor.id);
	if (job->has_own_supervisor)
	{
		store_delete_supervisor(supervisor.id);
		supervisor_tell(&supervisor, SUPERVISION_SHUT_DOWN, "", 0);
	}
	else
	{
		store_delete_child(child->spec.id);
		supervisor_tell(&supervisor, SUPERVISION_CALL, &call, sizeof(call));
	}
	PG_RETURN_VOID();
}

/* What a supervisor knows of the job; NULL: it does not run. */
static ChildStatus *
job_status(const JobRow *job)
{
	SupervisorRow supervisor;
	ChildRow *child = find_supervisor_of_job(job, &supervisor);
	Call call = {.kind = CALL_STATUS};
	ActorAddress address;
	List *rows;

	if (child == NULL)
		return NULL;
	call.id = child->spec.id;
	if (registry_look(MyDatabaseId, supervisor.id, &address) != REGISTRY_RUNNING)
		return NULL;
	rows = supervisor_rows(&supervisor, &call);
	return rows == NIL ? NULL : linitial(rows);
}

/* Tell the job's actor, if there is one, when this transaction commits. */
static bool
tell_job(const JobRow *job, uint16 type)
{
	ChildStatus *status = job_status(job);
	Message *message;

	if (status == NULL || !status->has_actor)
		return false;
	message = message_create(type, 0);
	message->flags = MESSAGE_CONTROL;
	actor_send_at_commit(status->actor, message);
	return true;
}

Datum
dlog_run_job(PG_FUNCTION_ARGS)
{
	JobRow *job = job_argument(fcinfo);

	if (!tell_job(job, JOB_RUN_NOW))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" is not running", NameStr(job->birth.name)),
				 errhint("Start it with dlog.restart_child() or dlog.start_supervisor().")));
	PG_RETURN_VOID();
}

Datum
dlog_pause_job(PG_FUNCTION_ARGS)
{
	JobRow *job = job_argument(fcinfo);

	job_set_paused(job->birth.id, true);
	(void) tell_job(job, JOB_PAUSE);
	PG_RETURN_VOID();
}

Datum
dlog_resume_job(PG_FUNCTION_ARGS)
{
	JobRow *job = job_argument(fcinfo);

	job_set_paused(job->birth.id, false);
	(void) tell_job(job, JOB_RESUME);
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------ view */

static const char *
job_state(const JobRow *job, const ChildStatus *status)
{
	SupervisorRow supervisor;
	ActorAddress address;

	(void) supervisor_of_job(job, &supervisor);
	if (registry_look(MyDatabaseId, supervisor.id, &address) == REGISTRY_GAVE_UP)
		return "gave up";
	if (status == NULL)
		return "stopped";
	if (status->state == CHILD_RUNNING && job->birth.is_paused)
		return "paused";
	if (status->state == CHILD_RUNNING && job->birth.has_schedule)
		return "scheduled";
	return child_state_name(status->state);
}

Datum
dlog_jobs(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool sees_all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	ListCell *cell;

	runtime_require();
	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, job_list())
	{
		JobRow *job = lfirst(cell);
		ChildStatus *status;
		Datum values[9];
		bool nulls[9] = {false};
		const char *state;

		if (!sees_all && !has_privs_of_role(GetUserId(), job->birth.owner))
			continue;
		status = job_status(job);
		state = job_state(job, status);
		values[0] = CStringGetTextDatum(NameStr(job->birth.name));
		values[1] = CStringGetTextDatum(job->command);
		nulls[2] = job->schedule == NULL;
		if (!nulls[2])
			values[2] = CStringGetTextDatum(job->schedule);
		values[3] = CStringGetTextDatum(job->birth.zone);
		values[4] = ObjectIdGetDatum(job->birth.owner);
		values[5] = CStringGetTextDatum(state);
		nulls[6] = strcmp(state, "scheduled") != 0;
		if (!nulls[6])
			values[6] = TimestampTzGetDatum(schedule_next(&job->birth.schedule, pg_tzset(job->birth.zone),
														  job->birth.anchor, GetCurrentTimestamp()));
		values[7] = Int64GetDatum(status ? status->restarts : 0);
		values[8] = BoolGetDatum(job->birth.is_paused);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
