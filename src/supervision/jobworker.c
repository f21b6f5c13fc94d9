/*
 * jobworker.c
 *		One run of a job: a background worker connected as the job's owner.
 *
 * It runs the command as a session would that sends it statement by
 * statement: each in a transaction of its own, so a procedure may commit.
 * Before and after it writes into dlog.job_run, as who owns that table, in
 * transactions of their own; the job's actor is told by message, also when
 * this process is terminated.  What a terminated one could not write, the
 * next run writes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "supervision/supervision_internal.h"

extern DLOG_EXPORT void dlog_job_main(Datum argument);

static JobOrder order;
static bool has_reported = false;

static void
report(uint16 type, bool is_ok, const char *reason)
{
	Message *message = message_try_create(type, sizeof(JobReport));
	JobReport *content;

	if (message == NULL)
		return;
	content = (JobReport *) message->payload;
	memset(content, 0, sizeof(*content));
	content->run = order.run;
	content->pid = MyProcPid;
	content->is_ok = is_ok;
	strlcpy(content->reason, reason, sizeof(content->reason));
	message->flags = MESSAGE_CONTROL;
	(void) actor_send(order.actor, message);
}

static void
report_exit(int code, Datum argument)
{
	if (!has_reported)
		report(JOB_OVER, false, "its worker was terminated");
}

/* ---------------------------------------------------------- dlog.job_run */

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* What earlier runs could not write, and that this one has begun. */
static int64
write_start(const JobRow *job)
{
	static const char lost[] =
		"UPDATE dlog.job_run SET ended_at = pg_catalog.clock_timestamp(), status = 'terminated'"
		" WHERE job OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'running'"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid OPERATOR(pg_catalog.=) job_run.pid"
		" AND a.backend_start OPERATOR(pg_catalog.<=) job_run.started_at)";
	static const char started[] =
		"INSERT INTO dlog.job_run (job, role, pid, started_at, status)"
		" VALUES ($1, $2, pg_catalog.pg_backend_pid(), pg_catalog.clock_timestamp(), 'running') RETURNING id";
	static const Oid types[] = {TEXTOID, REGROLEOID};
	Datum values[] = {CStringGetTextDatum(NameStr(job->birth.name)), ObjectIdGetDatum(job->birth.owner)};
	StoreScope scope;
	int64 id;
	bool is_null;

	store_open(&scope);
	store_run(lost, 1, types, values, NULL);
	store_run(started, 2, types, values, NULL);
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	store_close(&scope);
	return id;
}

/* How it ended; and old runs go. */
static void
write_end(const JobRow *job, int64 run, const char *tag, uint64 rows, const ErrorData *error)
{
	static const char ended[] =
		"UPDATE dlog.job_run SET ended_at = pg_catalog.clock_timestamp(), status = $2, command_tag = $3,"
		" rows = $4, sqlstate = $5, error = $6 WHERE id OPERATOR(pg_catalog.=) $1";
	static const char prune[] =
		"DELETE FROM dlog.job_run WHERE job OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.<>) 'running'"
		" AND id OPERATOR(pg_catalog.<) (SELECT pg_catalog.min(id) FROM (SELECT id FROM dlog.job_run"
		" WHERE job OPERATOR(pg_catalog.=) $1 ORDER BY id DESC LIMIT $2) kept)";
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID};
	static const Oid prune_types[] = {TEXTOID, INT8OID};
	Datum values[] = {
		Int64GetDatum(run),
		CStringGetTextDatum(error ? "failed" : "succeeded"),
		tag ? CStringGetTextDatum(tag) : (Datum) 0,
		Int64GetDatum(rows),
		error ? CStringGetTextDatum(unpack_sql_state(error->sqlerrcode)) : (Datum) 0,
		error ? CStringGetTextDatum(error->message) : (Datum) 0,
	};
	Datum prune_values[] = {
		CStringGetTextDatum(NameStr(job->birth.name)),
		Int64GetDatum(Max(job->history, 1)),
	};
	char nulls[] = "      ";
	StoreScope scope;

	nulls[2] = tag ? ' ' : 'n';
	nulls[4] = nulls[5] = error ? ' ' : 'n';
	store_open(&scope);
	store_run(ended, 6, types, values, nulls);
	store_run(prune, 2, prune_types, prune_values, NULL);
	store_close(&scope);
}

/* ------------------------------------------------------------ the command */

/* Run one statement in the present transaction, as a session's top level. */
static void
run_statement(RawStmt *raw, const char *command, const char **tag, uint64 *rows)
{
	CommandTag command_tag = CreateCommandTag(raw->stmt);
	QueryCompletion completion;
	List *plans;
	Portal portal;
	bool needs_snapshot = analyze_requires_snapshot(raw);

	if (needs_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	plans = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(raw, command, NULL, 0, NULL),
							command, CURSOR_OPT_PARALLEL_OK, NULL);
	if (needs_snapshot)
		PopActiveSnapshot();

	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, command, command_tag, plans, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	InitializeQueryCompletion(&completion);
	(void) portal_run(portal, FETCH_ALL, true, None_Receiver, &completion);
	PortalDrop(portal, false);
	*tag = GetCommandTagName(completion.commandTag != CMDTAG_UNKNOWN ? completion.commandTag : command_tag);
	*rows = completion.nprocessed;
}

static void
run_command(const JobRow *job, MemoryContext context, const char **tag, uint64 *rows)
{
	List *statements;
	ListCell *cell;

	debug_query_string = job->command;
	pgstat_report_activity(STATE_RUNNING, job->command);
	if (job->timeout_ms > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, job->timeout_ms);
	MemoryContextSwitchTo(context);
	statements = pg_parse_query(job->command);
	foreach(cell, statements)
	{
		/* Its plan must outlive the transactions that a procedure ends. */
		MemoryContext statement = AllocSetContextCreate(context, "dlog job statement",
														ALLOCSET_DEFAULT_SIZES);

		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		MemoryContextSwitchTo(statement);
		run_statement(copyObject(lfirst_node(RawStmt, cell)), job->command, tag, rows);
		CommitTransactionCommand();
		MemoryContextSwitchTo(context);
		MemoryContextDelete(statement);
	}
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (IsTransactionOrTransactionBlock())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the command left a transaction open")));
}

/* Catch what goes wrong with the command.  NULL: nothing did. */
static ErrorData *
try_command(const JobRow *job, MemoryContext context, const char **tag, uint64 *rows)
{
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		STOP_POINT("job-command");
		run_command(job, context, tag, rows);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		disable_all_timeouts(false);
		QueryCancelPending = false;
		error = CopyErrorData();
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	debug_query_string = NULL;
	return error;
}

static void
record_failure(const JobRow *job, const ErrorData *error)
{
	Failure failure = {
		.database = MyDatabaseId,
		.owner = order.owner,
		.actor = order.actor,
		.sqlerrcode = error->sqlerrcode,
	};

	strlcpy(failure.name, NameStr(job->birth.name), NAMEDATALEN);
	failure_set_texts(&failure, error->message, error->context, job->command);
	failure_record(&failure);
}

void
dlog_job_main(Datum argument)
{
	MemoryContext context;
	JobRow *job;
	ErrorData *error;
	const char *tag = NULL;
	uint64 rows = 0;
	int64 run;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	process_attach();
	before_shmem_exit(report_exit, (Datum) 0);
	if (!actor_exists(order.actor))
		proc_exit(0);
	report(JOB_STARTED, true, "");
	BackgroundWorkerInitializeConnectionByOid(order.database, order.owner, 0);

	context = AllocSetContextCreate(TopMemoryContext, "dlog job", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	begin();
	MemoryContextSwitchTo(context);
	job = job_read(order.job);
	if (job == NULL)
		proc_exit(0);
	run = write_start(job);
	commit();
	MemoryContextSwitchTo(context);
	SetConfigOption("application_name", psprintf("dlog job %s", NameStr(job->birth.name)),
					PGC_USERSET, PGC_S_SESSION);

	error = try_command(job, context, &tag, &rows);
	if (error != NULL)
		record_failure(job, error);
	begin();
	write_end(job, run, error ? NULL : tag, rows, error);
	commit();
	has_reported = true;
	report(JOB_OVER, error == NULL, error ? error->message : "");
	pgstat_report_stat(true);
	proc_exit(0);
}
