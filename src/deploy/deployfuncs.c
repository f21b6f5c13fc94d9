/*
 * deployfuncs.c
 *		dlog.deploy_map(), dlog.deploy_reduce() and dlog.deploy_answer().
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/function.h"
#include "base/guc.h"
#include "base/pg_compat.h"
#include "base/statement.h"
#include "deploy/deploy.h"
#include "deploy/deploy_internal.h"
#include "flock/flock.h"
#include "remote/remote.h"
#include "transport/transport.h"

/* So many nodes are asked directly; measured by bench/deploy. */
#define DIRECT_MAX 128

DLOG_FUNCTION(dlog_deploy_map);
DLOG_FUNCTION(dlog_deploy_map_as);
DLOG_FUNCTION(dlog_deploy_reduce);
DLOG_FUNCTION(dlog_deploy_reduce_function);
DLOG_FUNCTION(dlog_deploy_answer);
DLOG_FUNCTION(dlog_deploy_merge);

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

void
argument_check(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" must not be null", name)));
}

char *
argument_text(FunctionCallInfo fcinfo, int number, const char *name)
{
	argument_check(fcinfo, number, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/*
 * argument_interval
 *		An interval as milliseconds, not negative; what is not zero does not
 *		become so.
 */
int64
argument_interval(FunctionCallInfo fcinfo, int number, const char *name)
{
	Interval *interval;
	double ms;

	argument_check(fcinfo, number, name);
	interval = PG_GETARG_INTERVAL_P(number);
	ms = interval->time / 1000.0 +
		 (interval->day + (double) interval->month * DAYS_PER_MONTH) *
			 SECS_PER_DAY * 1000.0;
	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must not be negative", name),
				 strcmp(name, "timeout") == 0 ? errhint("Zero means to wait without end.") : 0));
	if (ms > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must not be more than %d days", name,
						(int) (PG_INT32_MAX / (SECS_PER_DAY * INT64CONST(1000)))),
				 strcmp(name, "timeout") == 0 ? errhint("Zero means to wait without end.") : 0));
	return ms > 0 ? Max(1, (int64) ms) : 0;
}

/* Zero stands for none, as in the server's own timeouts. */
static int64
argument_timeout(FunctionCallInfo fcinfo, int number)
{
	return argument_interval(fcinfo, number, "timeout");
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
void
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

static void
merge_error_callback(void *arg)
{
	errcontext("merging the answer of node \"%s\"", *(const char **) arg);
}

/* Raise the failure of a node, or of the merging. */
static pg_noreturn void
failure_raise(const ReductionFailure *failure)
{
	ErrorData error = {0};
	const char *where = failure->node ? psprintf("deployed query on node \"%s\"", failure->node) : NULL;

	error.elevel = ERROR;
	error.sqlerrcode = failure->sqlerrcode;
	error.message = unconstify(char *, failure->message);
	error.detail = unconstify(char *, failure->detail);
	error.hint = unconstify(char *, failure->hint);
	error.context = unconstify(char *, failure->context);
	if (where != NULL)
		error.context = error.context ? psprintf("%s\n%s", error.context, where) : unconstify(char *, where);
	error.assoc_context = CurrentMemoryContext;
	ThrowErrorData(&error);
	pg_unreachable();
}

/* Raise what must be raised, and warn of the nodes that were left out. */
static void
failures_tell(const ReductionResult *result, bool fail, int n_nodes)
{
	StringInfoData skipped;
	ListCell *cell;

	initStringInfo(&skipped);
	foreach(cell, result->failures)
	{
		ReductionFailure *failure = lfirst(cell);

		if (fail || failure->node == NULL)
			failure_raise(failure);
		appendStringInfo(&skipped, "%s%s: %s", skipped.len ? "\n" : "", failure->node, failure->message);
	}
	if (result->failures != NIL)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("skipped %d of %d nodes", list_length(result->failures), n_nodes),
				 errdetail_internal("%s", skipped.data)));
}

/*
 * result_with_init
 *		Merge values into "init", one after the other; for states of an aggregate:
 *		merge them, and finish.  Errors name the node that the value is of.
 */
Datum
result_with_init(Reducer *reducer, Datum init, bool init_is_null, int n, const Datum *values,
				 const bool *nulls, const char *const *sources, bool *is_null)
{
	const char *node = NULL;
	ErrorContextCallback callback = {error_context_stack, merge_error_callback, &node};
	Datum state = (Datum) 0;

	if (reducer->aggregate != NULL)
	{
		*is_null = true;
		if (n > 0)
			state = reducer_fold(reducer, n, values, nulls, is_null);
		return aggregate_finish(reducer->aggregate, reducer->type, state, is_null);
	}
	*is_null = init_is_null;
	if (!init_is_null)
		state = datumCopy(init, reducer->type_by_value, reducer->type_length);
	error_context_stack = &callback;
	for (int i = 0; i < n; i++)
	{
		node = sources == NULL ? "(several)" : sources[i];
		reducer_merge(reducer, &state, is_null, values[i], nulls[i]);
	}
	error_context_stack = callback.previous;
	return state;
}

/*
 * question_reduce_by
 *		What is asked is to be reduced so; ERROR if that cannot be right.
 */
void
question_reduce_by(Question *question, const Reducer *reducer, bool init_is_null)
{
	if (reducer->is_sum)
		question_check_sum(question->query, reducer->name);
	if (reducer->aggregate != NULL && !init_is_null)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"init\" must be null for aggregate %s", reducer->name),
				 errdetail("It merges states of its own, which \"init\" is none of.")));
	question->form = reducer->aggregate != NULL ? ANSWER_PARTIAL : ANSWER_VALUE;
	question->aggregate = reducer->aggregate;
	question->type = reducer->type;
}

/* The names of these nodes but this one; whether that is among them. */
static char **
names_of(List *nodes, int *n_names, bool *with_own)
{
	char **names = palloc(sizeof(char *) * (list_length(nodes) + 1));
	ListCell *cell;

	*n_names = 0;
	*with_own = false;
	foreach(cell, nodes)
	{
		if (lfirst_int(cell) == THIS_NODE)
			*with_own = true;
		else
			names[(*n_names)++] = pstrdup(node_name(lfirst_int(cell)));
	}
	return names;
}

/*
 * How many of so many nodes are asked directly.  Few are asked sooner than
 * through others; where there are many, what the asker does for each takes
 * longer than one step more, which then has two levels of the same breadth.
 */
static int
fanin_for(int n_names)
{
	/* In a transaction that is open on nodes, only they can see what it did. */
	if (remote_is_in_transaction())
		return Max(n_names, 1);
	if (dlog_deploy_fanin > 0)
		return dlog_deploy_fanin;
	return n_names <= DIRECT_MAX ? Max(n_names, 2) : (int) ceil(sqrt(n_names));
}

static Datum
reduce(FunctionCallInfo fcinfo, bool by_function)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 3);
	Oid collation = PG_GET_COLLATION();
	Reduction reduction = {0};
	Question *question = &reduction.question;
	ReductionResult merged;
	Reducer *reducer;
	char **names;
	int n_names;
	bool with_own;
	bool is_null = PG_ARGISNULL(3);
	Datum result;

	runtime_require();
	argument_check(fcinfo, 0, "flock");
	argument_args(fcinfo, 7, &question->arguments);
	question->query = question_text(argument_text(fcinfo, 1, "map"), &question->arguments);
	argument_check(fcinfo, 2, "reduce");
	question->timeout_ms = argument_timeout(fcinfo, 4);
	question->retries = argument_retries(fcinfo, 5);
	question->fail = argument_on_error(fcinfo, 6, ON_ERROR_SKIP, ON_ERROR_FAIL) == ON_ERROR_FAIL;
	argument_check(fcinfo, 8, "check_init");
	question_check(question->query);

	if (!OidIsValid(type))
		elog(ERROR, "could not determine the type of \"init\"");
	reducer = by_function ? reducer_by_function(PG_GETARG_OID(2), type, collation) :
							reducer_by_name(argument_text(fcinfo, 2, "reduce"), type, collation);
	question_reduce_by(question, reducer, is_null);
	reduction.reduce = reducer->name;
	if (OidIsValid(collation) && collation != get_typcollation(reducer->type) &&
		type_is_collatable(reducer->type))
		reduction.collation = generate_collation_name(collation);

	names = names_of(flock_nodes(text_to_cstring(PG_GETARG_TEXT_PP(0))), &n_names, &with_own);
	reduction.fanin = fanin_for(n_names);
	reduction_run(&reduction, names, n_names, with_own,
				  question->timeout_ms == 0 ? DT_NOEND : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), question->timeout_ms),
				  &merged);
	failures_tell(&merged, question->fail, n_names + with_own);
	for (int i = 0; i < merged.n_values && PG_GETARG_BOOL(8) && reducer->aggregate == NULL; i++)
		reducer_check_neutral(reducer, PG_GETARG_DATUM(3), is_null, merged.values[i], merged.nulls[i], collation);
	result = result_with_init(reducer, PG_GETARG_DATUM(3), is_null, merged.n_values, merged.values, merged.nulls,
							  merged.sources, &is_null);
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

/* --- deploy_merge -------------------------------------------------------- */

typedef struct Merging
{
	Reducer *reducer;
	ReductionResult *result;
	Datum *value;
	bool *is_null;
} Merging;

static void
merge(void *argument)
{
	Merging *merging = argument;
	ReductionResult *result = merging->result;

	*merging->value = reducer_fold(merging->reducer, result->n_values, result->values, result->nulls, merging->is_null);
}

/*
 * Merge in a subtransaction: what goes wrong is told like other failures, and
 * undoes nothing of the asking transaction, if this runs in one.
 */
static bool
merge_or_failure(Reducer *reducer, ReductionResult *result, Datum *value, bool *is_null)
{
	Merging merging = {reducer, result, value, is_null};
	ErrorData *error = statement_try(merge, &merging);

	if (error != NULL)
	{
		ReductionFailure *failure = palloc0(sizeof(ReductionFailure));
		const char *where = psprintf("merging answers on node \"%s\"", node_this_name());

		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		failure->sqlerrcode = error->sqlerrcode;
		failure->message = error->message;
		failure->detail = error->detail;
		failure->hint = error->hint;
		failure->context = error->context ? psprintf("%s\n%s", error->context, where) : where;
		result->failures = list_make1(failure);
	}
	return error == NULL;
}

static void
put_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = text == NULL;
	values[column] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static void
put_failures(ReturnSetInfo *result, List *failures)
{
	ListCell *cell;

	foreach(cell, failures)
	{
		ReductionFailure *failure = lfirst(cell);
		Datum values[MERGE_COLUMNS] = {(Datum) 0};
		bool nulls[MERGE_COLUMNS] = {false};

		nulls[0] = true;
		values[1] = BoolGetDatum(false);
		put_text(values, nulls, 2, failure->node);
		values[3] = Int32GetDatum(failure->sqlerrcode);
		put_text(values, nulls, 4, failure->message);
		put_text(values, nulls, 5, failure->detail);
		put_text(values, nulls, 6, failure->hint);
		put_text(values, nulls, 7, failure->context);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* The names in an array of text. */
static char **
names_of_array(ArrayType *array, int *n_names)
{
	Datum *elements;
	char **names;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, n_names);
	names = palloc(sizeof(char *) * Max(*n_names, 1));
	for (int i = 0; i < *n_names; i++)
		names[i] = TextDatumGetCString(elements[i]);
	return names;
}

/*
 * dlog.deploy_merge(query, as_type, reduce, is_partial, behind, budget, fanin, timeout, retries, fail, ...)
 *		What the head of a branch answers (tree.c): its own answer, merged with
 *		those of the nodes behind it; before that, a row for each failure.
 */
Datum
dlog_deploy_merge(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Reduction reduction = {0};
	Question *question = &reduction.question;
	ReductionResult merged;
	Reducer *reducer = NULL;
	char **names;
	int n_names;
	int budget_ms = PG_GETARG_INT32(5);
	Datum values[MERGE_COLUMNS] = {(Datum) 0};
	bool nulls[MERGE_COLUMNS] = {false, false, true, true, true, true, true, true};

	runtime_require();
	for (int i = 0; i < 10; i++)
	{
		if (i != 1)
			argument_check(fcinfo, i, "every argument but as_type");
	}
	question->query = argument_text(fcinfo, 0, "query");
	question->type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	reduction.reduce = argument_text(fcinfo, 2, "reduce");
	question->form = PG_GETARG_BOOL(3) ? ANSWER_PARTIAL : ANSWER_VALUE;
	names = names_of_array(PG_GETARG_ARRAYTYPE_P(4), &n_names);
	reduction.fanin = Max(PG_GETARG_INT32(6), 1);
	question->timeout_ms = PG_GETARG_INT64(7);
	question->retries = PG_GETARG_INT32(8);
	question->fail = PG_GETARG_BOOL(9);
	arguments_of_call(fcinfo, 10, &question->arguments);
	if (PG_GET_COLLATION() != get_typcollation(question->type) && type_is_collatable(question->type))
		reduction.collation = generate_collation_name(PG_GET_COLLATION());

	if (question->form == ANSWER_PARTIAL)
		reducer = reducer_of_aggregate(reduction.reduce, PG_GET_COLLATION());
	else if (n_names > 0)
		reducer = reducer_by_name(reduction.reduce, question->type, PG_GET_COLLATION());
	question->aggregate = reducer ? reducer->aggregate : NULL;
	reduction_run(&reduction, names, n_names, true,
				  budget_ms <= 0 ? DT_NOEND : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), budget_ms),
				  &merged);

	InitMaterializedSRF(fcinfo, 0);
	if (merged.n_values > 1 && !merge_or_failure(reducer, &merged, &values[0], &nulls[0]))
		merged.n_values = 0;
	put_failures(result, merged.failures);
	values[1] = BoolGetDatum(merged.n_values > 0);
	if (merged.n_values == 1)
	{
		values[0] = merged.values[0];
		nulls[0] = merged.nulls[0];
	}
	else if (merged.n_values == 0)
		nulls[0] = true;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}
