/*
 * livefuncs.c
 *		Live deployments as SQL sees them.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/function.h"
#include "base/statement.h"
#include "deploy/deploy_internal.h"
#include "flock/flock.h"
#include "journal/journal.h"
#include "runtime/runtime.h"

DLOG_FUNCTION(dlog_deploy_live);
DLOG_FUNCTION(dlog_deploy_live_function);
DLOG_FUNCTION(dlog_drop_live);
DLOG_FUNCTION(dlog_suspend_live);
DLOG_FUNCTION(dlog_resume_live);

#define JOB_PREFIX "live "
#define LONGEST_NAME (NAMEDATALEN - 1 - (int) strlen(JOB_PREFIX))
#define SHORTEST_EVERY_MS 100

/* ------------------------------------------------------------------- the job */

static void
start_job(const char *name)
{
	static const char sql[] =
		"SELECT dlog.supervise($1, $2, restart => 'permanent', max_restarts => 8000, backoff => '100 ms', max_backoff => '10 s', history => 10)";
	Oid types[2] = {TEXTOID, TEXTOID};
	Datum values[2] = {CStringGetTextDatum(psprintf("CALL dlog.live_run(%s)", quote_literal_cstr(name))),
					   CStringGetTextDatum(psprintf(JOB_PREFIX "%s", name))};

	/* As who asks: the job is to be his. */
	SPI_connect();
	(void) SPI_execute_with_args(sql, 2, types, values, NULL, false, 0);
	SPI_finish();
}

/* In a scope.  Who has removed the job by its name has stopped it already. */
static void
stop_job(const char *name)
{
	statement_run("SELECT dlog.unsupervise(name) FROM dlog.job WHERE name = '" JOB_PREFIX "' || $1", 1, &name);
}

/* ---------------------------------------------------------------- deploy_live */

static char *
name_argument(FunctionCallInfo fcinfo)
{
	char *name = argument_text(fcinfo, 0, "name");

	if (name[0] == '\0' || strlen(name) > LONGEST_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be the name of a live deployment", name),
				 errdetail("It must have 1 to %d bytes.", LONGEST_NAME)));
	return name;
}

/* Values as an array of dlog.payload. */
static Datum
arguments_as_payloads(const Arguments *arguments, Oid payload_type)
{
	Datum *payloads = palloc(sizeof(Datum) * Max(arguments->count, 1));

	for (int i = 0; i < arguments->count; i++)
		payloads[i] = PointerGetDatum(payload_create(arguments->values[i], value_type(arguments->types[i]), arguments->nulls[i]));
	return PointerGetDatum(construct_array(payloads, arguments->count, payload_type, -1, false, TYPALIGN_DOUBLE));
}

/* A first check of "init", with itself for a value: nobody has been asked. */
static void
check_init(Reducer *reducer, Datum init, bool is_null, Oid collation)
{
	if (reducer->aggregate == NULL)
		reducer_check_neutral(reducer, init, is_null, init, is_null, collation);
}

static Datum
deploy_live(FunctionCallInfo fcinfo, bool by_function)
{
	static const char sql[] =
		"INSERT INTO dlog.live_deployment (name, flock, map, reduce, reduce_function, init, args, collation_used, every_ms,"
		" timeout_ms, check_init, search_path, owner)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING";
	char *name = (runtime_require(), name_argument(fcinfo));
	char *flock = argument_text(fcinfo, 1, "flock");
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 4);
	Oid collation = PG_GET_COLLATION();
	bool init_is_null = PG_ARGISNULL(4);
	int64 every_ms = argument_interval(fcinfo, 5, "every");
	int64 timeout_ms = argument_interval(fcinfo, 6, "timeout");
	Question question = {0};
	Reducer *reducer;
	StatementScope scope;
	Oid owner = GetUserId();
	char *search_path = pstrdup(namespace_search_path); /* that of a scope is another */
	Oid payload;
	uint64 n_rows;

	argument_check(fcinfo, 3, "reduce");
	argument_check(fcinfo, 8, "check_init");
	argument_args(fcinfo, 7, &question.arguments);
	question.query = question_text(argument_text(fcinfo, 2, "map"), &question.arguments);
	question_check(question.query);
	if (every_ms < SHORTEST_EVERY_MS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"every\" must be at least %d ms", SHORTEST_EVERY_MS),
				 errdetail("Each member is asked so often.")));
	if (!OidIsValid(type))
		elog(ERROR, "could not determine the type of \"init\"");
	reducer = by_function ? reducer_by_function(PG_GETARG_OID(3), type, collation) :
							reducer_by_name(argument_text(fcinfo, 3, "reduce"), type, collation);
	question_reduce_by(&question, reducer, init_is_null);
	if (PG_GETARG_BOOL(8))
		check_init(reducer, PG_GETARG_DATUM(4), init_is_null, collation);
	(void) flock_nodes(flock);

	statement_open(&scope);
	statement_run("SELECT 'dlog.payload'::regtype::oid, 'dlog.payload[]'::regtype::oid", 0, NULL);
	payload = (Oid) strtoul(statement_column(0, 1), NULL, 10);
	{
		Oid types[13] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, OIDOID, payload, (Oid) strtoul(statement_column(0, 2), NULL, 10),
						 OIDOID, INT8OID, INT8OID, BOOLOID, TEXTOID, OIDOID};
		Datum values[13] = {
			CStringGetTextDatum(name), CStringGetTextDatum(flock), CStringGetTextDatum(question.query),
			CStringGetTextDatum(by_function ? reducer->name : text_to_cstring(PG_GETARG_TEXT_PP(3))),
			by_function ? PG_GETARG_DATUM(3) : (Datum) 0,
			PointerGetDatum(payload_create(PG_GETARG_DATUM(4), value_type(type), init_is_null)),
			arguments_as_payloads(&question.arguments, payload), ObjectIdGetDatum(collation), Int64GetDatum(every_ms),
			Int64GetDatum(timeout_ms), PG_GETARG_DATUM(8), CStringGetTextDatum(search_path), ObjectIdGetDatum(owner)};
		char nulls[] = "             ";

		nulls[4] = by_function ? ' ' : 'n';
		n_rows = statement_run_typed(sql, lengthof(types), types, values, nulls);
	}
	statement_close(&scope);
	if (n_rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("live deployment \"%s\" already exists", name),
				 errhint("dlog.drop_live() removes it.")));
	start_job(name);
	PG_RETURN_VOID();
}

/*
 * dlog.deploy_live(name, flock, map, reduce text, init, every, timeout, args, check_init) -> void
 */
Datum
dlog_deploy_live(PG_FUNCTION_ARGS)
{
	return deploy_live(fcinfo, false);
}

/*
 * dlog.deploy_live(name, flock, map, reduce regprocedure, init, ...) -> void
 */
Datum
dlog_deploy_live_function(PG_FUNCTION_ARGS)
{
	return deploy_live(fcinfo, true);
}

/* ------------------------------------------------------- drop, suspend, resume */

/*
 * Locks the row of a deployment that the asking role may decide about, in a
 * scope; returns whether it is suspended.
 */
static bool
require_own(const char *name, Oid asker)
{
	Oid owner;

	if (statement_run("SELECT owner::oid, is_suspended::int FROM dlog.live_deployment WHERE name = $1 FOR UPDATE", 1, &name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("live deployment \"%s\" does not exist", name),
				 errhint("The view dlog.live_deployments lists those of your roles.")));
	owner = (Oid) strtoul(statement_column(0, 1), NULL, 10);
	if (!has_privs_of_role(asker, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for live deployment \"%s\"", name),
				 errdetail("It is another role's.")));
	return atoi(statement_column(0, 2)) != 0;
}

/*
 * dlog.drop_live(name) -> void
 */
Datum
dlog_drop_live(PG_FUNCTION_ARGS)
{
	const char *name = (runtime_require(), name_argument(fcinfo));
	StatementScope scope;

	statement_open(&scope);
	(void) require_own(name, scope.user);
	stop_job(name);
	statement_run("DELETE FROM dlog.live_deployment WHERE name = $1", 1, &name);
	statement_close(&scope);
	PG_RETURN_VOID();
}

/*
 * dlog.suspend_live(name) -> void
 *		Its value stays as it is, and nobody is asked.
 */
Datum
dlog_suspend_live(PG_FUNCTION_ARGS)
{
	const char *name = (runtime_require(), name_argument(fcinfo));
	StatementScope scope;

	statement_open(&scope);
	if (!require_own(name, scope.user))
		stop_job(name);
	statement_run("UPDATE dlog.live_deployment SET is_suspended = true WHERE name = $1", 1, &name);
	statement_close(&scope);
	PG_RETURN_VOID();
}

/*
 * dlog.resume_live(name) -> void
 *		As the asking role from now on; of one that runs nothing changes.
 */
Datum
dlog_resume_live(PG_FUNCTION_ARGS)
{
	const char *name = (runtime_require(), name_argument(fcinfo));
	StatementScope scope;
	bool is_stopped;

	statement_open(&scope);
	is_stopped = require_own(name, scope.user) ||
				 statement_run("SELECT FROM dlog.job WHERE name = '" JOB_PREFIX "' || $1", 1, &name) == 0;
	if (is_stopped)
		statement_run("UPDATE dlog.live_deployment SET is_suspended = false, owner = $2::oid WHERE name = $1",
					  2, (const char *[]){name, psprintf("%u", scope.user)});
	statement_close(&scope);
	if (is_stopped)
		start_job(name);
	PG_RETURN_VOID();
}
