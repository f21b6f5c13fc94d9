/*
 * deployfuncs.c
 *		dlog.deploy_map(), dlog.deploy_reduce() and dlog.deploy_answer().
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/function.h"
#include "deploy/deploy.h"
#include "deploy/deploy_internal.h"
#include "flock/flock.h"
#include "transport/transport.h"

DLOG_FUNCTION(dlog_deploy_map);
DLOG_FUNCTION(dlog_deploy_map_as);
DLOG_FUNCTION(dlog_deploy_reduce);
DLOG_FUNCTION(dlog_deploy_reduce_function);
DLOG_FUNCTION(dlog_deploy_answer);

/* What becomes of a node's error. */
typedef enum OnError
{
	ON_ERROR_REPORT,
	ON_ERROR_FAIL,
	ON_ERROR_SKIP
} OnError;

void
deploy_init(void)
{
	scan_init();
}

/* --- arguments ----------------------------------------------------------- */

static void
argument_check(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" must not be null", name)));
}

static char *
argument_text(FunctionCallInfo fcinfo, int number, const char *name)
{
	argument_check(fcinfo, number, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/*
 * argument_timeout
 *		An interval as milliseconds; zero stands for none, as in the server's
 *		own timeouts.
 */
static int64
argument_timeout(FunctionCallInfo fcinfo, int number)
{
	Interval *interval;
	double ms;

	argument_check(fcinfo, number, "timeout");
	interval = PG_GETARG_INTERVAL_P(number);
	ms = interval->time / 1000.0 +
		 (interval->day + (double) interval->month * DAYS_PER_MONTH) *
			 SECS_PER_DAY * 1000.0;
	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"timeout\" must not be negative"),
				 errhint("Zero means to wait without end.")));
	if (ms > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"timeout\" must not be more than %d days",
						(int) (PG_INT32_MAX / (SECS_PER_DAY * INT64CONST(1000)))),
				 errhint("Zero means to wait without end.")));
	/* What is not zero must not become so. */
	return ms > 0 ? Max(1, (int64) ms) : 0;
}

static int
argument_retries(FunctionCallInfo fcinfo, int number)
{
	int retries;

	argument_check(fcinfo, number, "retries");
	retries = PG_GETARG_INT32(number);
	if (retries < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"retries\" must not be negative")));
	return retries;
}

/*
 * argument_on_error
 *		One of two words; null is the default.
 */
static OnError
argument_on_error(FunctionCallInfo fcinfo, int number, OnError lenient,
				  OnError by_default)
{
	static const char *const words[] = {
		[ON_ERROR_REPORT] = "report",
		[ON_ERROR_FAIL] = "fail",
		[ON_ERROR_SKIP] = "skip",
	};
	char *word;

	if (PG_ARGISNULL(number))
		return by_default;
	word = text_to_cstring(PG_GETARG_TEXT_PP(number));
	if (strcmp(word, words[lenient]) == 0)
		return lenient;
	if (strcmp(word, words[ON_ERROR_FAIL]) == 0)
		return ON_ERROR_FAIL;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"on_error\" cannot be \"%s\"", word),
			 errhint("Use \"%s\" or \"fail\".", words[lenient])));
}

/* --- deploy_map ---------------------------------------------------------- */

static Interval *
interval_from_us(uint64 us)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return interval;
}

/*
 * map_row
 *		The row for one value of a node's answer, or for its error or lack of
 *		values, which are number 0.
 */
void
map_row(const NodeAnswer *from, int number, Datum *values, bool *nulls)
{
	const Answer *answer = &from->answer;

	memset(nulls, 0, sizeof(bool) * MAP_COLUMNS);
	values[0] = CStringGetTextDatum(from->node);
	values[5] = IntervalPGetDatum(interval_from_us(from->elapsed_us));
	values[6] = Int32GetDatum(from->attempts);
	if (from->error)
	{
		values[2] = CStringGetTextDatum(error_text(from->error));
		values[3] = CStringGetTextDatum(unpack_sql_state(from->error->sqlerrcode));
		nulls[1] = nulls[4] = true;
		return;
	}
	nulls[2] = nulls[3] = true;
	values[4] = Int64GetDatum(answer->row_count);
	nulls[1] = answer->n_values == 0 || answer->nulls[number];
	values[1] = nulls[1] ? (Datum) 0 : answer->values[number];
}

static void
map_receive(void *state, const NodeAnswer *from)
{
	ReturnSetInfo *result = state;
	Datum values[MAP_COLUMNS];
	bool nulls[MAP_COLUMNS];

	for (int i = 0; i < Max(from->answer.n_values, 1); i++)
	{
		map_row(from, i, values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		if (from->error)
			break;
	}
}

/* The arguments of a query, as one row. */
static void
argument_args(FunctionCallInfo fcinfo, int number, Arguments *arguments)
{
	memset(arguments, 0, sizeof(Arguments));
	if (!PG_ARGISNULL(number))
		arguments_of_row(PG_GETARG_DATUM(number), arguments);
}

/*
 * Is everything that this session can see of this node there for others to
 * see as well?  Then a scheduler may make this node's part.
 */
static bool
own_can_be_apart(void)
{
	Oid temporary;
	Oid toast;

	GetTempNamespaceState(&temporary, &toast);
	return !IsTransactionBlock() && !IsolationUsesXactSnapshot() && !OidIsValid(temporary) &&
		   !TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/*
 * map_is_called_by
 *		Is this function one of the twins of dlog.deploy_map()?
 */
bool
map_is_called_by(Oid function)
{
	char *name = get_func_name(function);
	FmgrInfo info;

	if (name == NULL || strcmp(name, "deploy_map") != 0)
		return false;
	fmgr_info(function, &info);
	return info.fn_addr == dlog_deploy_map || info.fn_addr == dlog_deploy_map_as;
}

/* A bare string in third place: a timeout, or a mistake. */
static void
timeout_from_text(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"timeout\" must not be null"),
				 errhint("For results of type text, write \"as_type => NULL::text\".")));
	fcinfo->args[2].value =
		DirectFunctionCall3(interval_in,
							CStringGetDatum(text_to_cstring(PG_GETARG_TEXT_PP(2))),
							ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

/*
 * map_question
 *		What a call of dlog.deploy_map() asks, and whom.
 */
void
map_question(FunctionCallInfo fcinfo, Question *question, List **nodes)
{
	bool is_typed = fcinfo->flinfo->fn_addr == dlog_deploy_map_as;
	int rest = is_typed ? 3 : 2; /* the first after the type */
	char *flock = argument_text(fcinfo, 0, "flock");
	OnError on_error;

	runtime_require();
	if (!is_typed && get_fn_expr_argtype(fcinfo->flinfo, 2) == TEXTOID)
		timeout_from_text(fcinfo);
	memset(question, 0, sizeof(Question));
	argument_args(fcinfo, rest + 4, &question->arguments);
	question->query = question_text(argument_text(fcinfo, 1, "query"), &question->arguments);
	question->type = is_typed ? get_fn_expr_argtype(fcinfo->flinfo, 2) : JSONBOID;
	question->form = question->type == JSONBOID ? ANSWER_JSON : ANSWER_ROWS;
	question->timeout_ms = argument_timeout(fcinfo, rest);
	question->retries = argument_retries(fcinfo, rest + 1);
	argument_check(fcinfo, rest + 2, "writes");
	question->writes = PG_GETARG_BOOL(rest + 2);
	on_error = argument_on_error(fcinfo, rest + 3, ON_ERROR_REPORT,
								 question->writes ? ON_ERROR_FAIL : ON_ERROR_REPORT);
	question->fail = (on_error == ON_ERROR_FAIL);
	question->own_apart = !question->writes && own_can_be_apart();

	if (question->writes && !question->fail)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"on_error\" cannot be \"report\" for a query that writes"),
				 errdetail("It writes in one transaction on all nodes, which fails as a whole.")));
	if (question->writes && question->retries > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"retries\" must be zero for a query that writes"),
				 errdetail("A lost connection takes the transaction on that node with it.")));
	question_check(question->query);
	*nodes = flock_nodes(flock);
}

/*
 * dlog.deploy_map(flock, query, timeout, retries, writes, on_error, args)
 *		Where it is not a scan (scan.c): all rows at once.
 */
Datum
dlog_deploy_map(PG_FUNCTION_ARGS)
{
	Question question;
	List *nodes;

	map_question(fcinfo, &question, &nodes);
	InitMaterializedSRF(fcinfo, 0);
	question_ask(&question, nodes, map_receive, fcinfo->resultinfo);
	return (Datum) 0;
}

/*
 * dlog.deploy_map(flock, query, as_type, timeout, retries, writes, on_error, args)
 */
Datum
dlog_deploy_map_as(PG_FUNCTION_ARGS)
{
	return dlog_deploy_map(fcinfo);
}

/* --- deploy_reduce ------------------------------------------------------- */

/*
 * The answers are merged in the order of the flock, not in that of arrival,
 * so that a reducer for which the order matters gives the same each time.
 */
typedef struct ReduceState
{
	Oid type;
	int16 type_length;
	bool type_by_value;
	MemoryContext context;
	NodeAnswer *answers;
	int n_skipped;
	StringInfoData skipped;
} ReduceState;

static void
reduce_receive(void *state, const NodeAnswer *from)
{
	ReduceState *reduce = state;
	NodeAnswer *kept = &reduce->answers[from->place];
	MemoryContext context = MemoryContextSwitchTo(reduce->context);

	kept->node = from->node;
	if (from->error)
	{
		reduce->n_skipped++;
		appendStringInfo(&reduce->skipped, "%s%s: %s",
						 reduce->skipped.len ? "\n" : "", from->node,
						 from->error->message);
	}
	else if (from->answer.n_values > 0)
	{
		bool is_null = from->answer.nulls[0];

		answer_add(&kept->answer,
				   is_null ? (Datum) 0 : datumCopy(from->answer.values[0], reduce->type_by_value, reduce->type_length),
				   is_null);
	}
	MemoryContextSwitchTo(context);
}

static void
reduce_error_callback(void *arg)
{
	errcontext("merging the answer of node \"%s\"", *(const char **) arg);
}

static Datum
reduce(FunctionCallInfo fcinfo, bool by_function)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 3);
	ReduceState state = {0};
	Question question = {0};
	char *flock = argument_text(fcinfo, 0, "flock");
	Reducer *reducer;
	List *nodes;
	Datum result;
	bool is_null;
	const char *node = NULL;
	ErrorContextCallback callback;

	runtime_require();
	argument_args(fcinfo, 7, &question.arguments);
	question.query = question_text(argument_text(fcinfo, 1, "map"), &question.arguments);
	question.type = type;
	question.form = ANSWER_VALUE;
	argument_check(fcinfo, 2, "reduce");
	question.timeout_ms = argument_timeout(fcinfo, 4);
	question.retries = argument_retries(fcinfo, 5);
	question.fail = argument_on_error(fcinfo, 6, ON_ERROR_SKIP, ON_ERROR_FAIL) == ON_ERROR_FAIL;
	question_check(question.query);

	if (!OidIsValid(type))
		elog(ERROR, "could not determine the type of \"init\"");
	if (by_function)
		reducer = reducer_by_function(PG_GETARG_OID(2), type, PG_GET_COLLATION());
	else
		reducer = reducer_by_name(argument_text(fcinfo, 2, "reduce"), type,
								  PG_GET_COLLATION());

	nodes = flock_nodes(flock);
	state.type = type;
	state.type_length = reducer->type_length;
	state.type_by_value = reducer->type_by_value;
	state.context = CurrentMemoryContext;
	state.answers = palloc0(sizeof(NodeAnswer) * (list_length(nodes) + 1));
	initStringInfo(&state.skipped);
	question_ask(&question, nodes, reduce_receive, &state);

	is_null = PG_ARGISNULL(3);
	result = is_null ? (Datum) 0 : datumCopy(PG_GETARG_DATUM(3), state.type_by_value, state.type_length);
	callback.callback = reduce_error_callback;
	callback.arg = &node;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	for (int i = 0; i < list_length(nodes); i++)
	{
		const Answer *answer = &state.answers[i].answer;

		node = state.answers[i].node;
		if (answer->n_values > 0)
			reducer_merge(reducer, &result, &is_null, answer->values[0],
						  answer->nulls[0]);
	}
	error_context_stack = callback.previous;

	if (state.n_skipped > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("skipped %d of %d nodes", state.n_skipped,
						list_length(nodes)),
				 errdetail_internal("%s", state.skipped.data)));

	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/*
 * dlog.deploy_reduce(flock, map, reduce text, init, timeout, retries, on_error)
 */
Datum
dlog_deploy_reduce(PG_FUNCTION_ARGS)
{
	return reduce(fcinfo, false);
}

/*
 * dlog.deploy_reduce(flock, map, reduce regprocedure, init, ...)
 */
Datum
dlog_deploy_reduce_function(PG_FUNCTION_ARGS)
{
	return reduce(fcinfo, true);
}

/* --- deploy_answer ------------------------------------------------------- */

/*
 * dlog.deploy_answer(query, as_type, form, writes, ...)
 *		What a node answers to another one that deploys a query.
 *
 * What follows are the query's arguments.  There is always a row: without
 * results, one with a null and the number of rows that the query changed.
 */
Datum
dlog_deploy_answer(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Question question = {0};
	Answer answer;
	Datum values[2];
	bool nulls[2] = {false};

	question.query = argument_text(fcinfo, 0, "query");
	question.type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	question.form = answer_form_by_name(argument_text(fcinfo, 2, "form"));
	argument_check(fcinfo, 3, "writes");
	question.writes = PG_GETARG_BOOL(3);
	arguments_of_call(fcinfo, 4, &question.arguments);
	answer_query(&question, &answer);

	InitMaterializedSRF(fcinfo, 0);
	values[1] = Int64GetDatum(answer.row_count);
	for (int i = 0; i < Max(answer.n_values, 1); i++)
	{
		nulls[0] = answer.n_values == 0 || answer.nulls[i];
		values[0] = nulls[0] ? (Datum) 0 : answer.values[i];
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
