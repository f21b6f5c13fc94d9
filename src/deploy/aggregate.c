/*
 * aggregate.c
 *		Aggregates whose states are merged over nodes.
 *
 * Each node aggregates the rows of its map, but stops short of the final
 * function: what travels is the server's own transition state, serialized if
 * it is of type internal.  States are merged with the aggregate's combine
 * function, and whoever asked runs the final one, so that the result is what
 * the aggregate would give over the rows of all nodes.
 *
 * Such functions may be called in an aggregate only, whose memory they use.
 * They get one: an AggState that has nothing but that.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/pg_compat.h"
#include "deploy/deploy_internal.h"
#include "remote/remote.h"

struct Aggregate
{
	Oid function;
	int n_arguments;
	Oid *argument_types;
	Oid collation;
	bool is_internal; /* its state is */
	FmgrInfo combine;
	FmgrInfo serialize; /* if internal */
	FmgrInfo deserialize;
	FmgrInfo final; /* fn_oid is InvalidOid if there is none */
	int final_arguments;
	AggState *home;
	MemoryContext context; /* of states */
};

static void
check_may_execute(Oid function)
{
	AclResult result = object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
}

static AggState *
make_home(MemoryContext context)
{
	AggState *home = makeNode(AggState);

	home->curaggcontext = makeNode(ExprContext);
	home->curaggcontext->ecxt_per_tuple_memory = context;
	home->tmpcontext = home->curaggcontext;
	return home;
}

/*
 * aggregate_find
 *		How to merge the states of an aggregate; NULL if they cannot be, and
 *		then "why" tells.
 */
Aggregate *
aggregate_find(Oid function, Oid collation, Oid *wire_type, Oid *result_type, const char **why)
{
	HeapTuple tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(function));
	Form_pg_aggregate form;
	Aggregate *aggregate = palloc0(sizeof(Aggregate));
	Oid state_type;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", function);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	state_type = form->aggtranstype;
	*why = NULL;
	if (form->aggkind != AGGKIND_NORMAL)
		*why = "It is an ordered-set aggregate, which needs all rows in one place.";
	else if (!OidIsValid(form->aggcombinefn))
		*why = "It is an aggregate whose states cannot be merged.";
	else if (state_type == INTERNALOID && (!OidIsValid(form->aggserialfn) || !OidIsValid(form->aggdeserialfn)))
		*why = "It is an aggregate whose states cannot travel.";
	else if (IsPolymorphicType(state_type))
		*why = "It is an aggregate whose state can be of any type.";
	else
	{
		check_may_execute(function);
		aggregate->function = function;
		aggregate->collation = collation;
		aggregate->is_internal = state_type == INTERNALOID;
		aggregate->context = AllocSetContextCreate(CurrentMemoryContext, "dlog merged states",
												   ALLOCSET_DEFAULT_SIZES);
		aggregate->home = make_home(aggregate->context);
		fmgr_info(form->aggcombinefn, &aggregate->combine);
		if (aggregate->is_internal)
		{
			fmgr_info(form->aggserialfn, &aggregate->serialize);
			fmgr_info(form->aggdeserialfn, &aggregate->deserialize);
		}
		if (OidIsValid(form->aggfinalfn))
			fmgr_info(form->aggfinalfn, &aggregate->final);
		*result_type = get_func_signature(function, &aggregate->argument_types, &aggregate->n_arguments);
		aggregate->final_arguments = form->aggfinalextra ? aggregate->n_arguments + 1 : 1;
		*wire_type = aggregate->is_internal ? BYTEAOID : state_type;
		if (IsPolymorphicType(*result_type))
			*why = "It is an aggregate whose result can be of any type.";
	}
	ReleaseSysCache(tuple);
	return *why == NULL ? aggregate : NULL;
}

/* Call a function of the aggregate, in its memory. */
static Datum
call(Aggregate *aggregate, FmgrInfo *function, int n_arguments, const Datum *values,
	 const bool *nulls, bool *is_null)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	MemoryContext old = MemoryContextSwitchTo(aggregate->context);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, function, n_arguments, aggregate->collation,
							 (Node *) aggregate->home, NULL);
	for (int i = 0; i < n_arguments; i++)
	{
		fcinfo->args[i].value = values[i];
		fcinfo->args[i].isnull = nulls[i];
	}
	result = FunctionCallInvoke(fcinfo);
	*is_null = fcinfo->isnull;
	MemoryContextSwitchTo(old);
	return result;
}

/* A state as it travelled becomes one in the aggregate's memory. */
static Datum
state_arrive(Aggregate *aggregate, Oid wire_type, Datum value)
{
	MemoryContext old;
	int16 length;
	bool by_value;

	if (aggregate->is_internal)
	{
		Datum values[2] = {value, (Datum) 0};
		bool nulls[2] = {false, false};
		bool is_null;

		return call(aggregate, &aggregate->deserialize, 2, values, nulls, &is_null);
	}
	get_typlenbyval(wire_type, &length, &by_value);
	old = MemoryContextSwitchTo(aggregate->context);
	value = datumCopy(value, by_value, length);
	MemoryContextSwitchTo(old);
	return value;
}

/*
 * aggregate_merge
 *		Merge these states, as they travelled, into one that is ready to travel.
 */
Datum
aggregate_merge(Aggregate *aggregate, Oid wire_type, int n, const Datum *values,
				const bool *nulls, bool *is_null)
{
	Datum state = (Datum) 0;
	bool state_is_null = true;

	for (int i = 0; i < n; i++)
	{
		Datum pair[2] = {state, (Datum) 0};
		bool pair_nulls[2] = {state_is_null, nulls[i]};

		CHECK_FOR_INTERRUPTS();
		if (!nulls[i])
			pair[1] = state_arrive(aggregate, wire_type, values[i]);
		if (aggregate->combine.fn_strict && nulls[i])
			continue;
		if (aggregate->combine.fn_strict && state_is_null)
		{
			state = pair[1];
			state_is_null = false;
		}
		else
			state = call(aggregate, &aggregate->combine, 2, pair, pair_nulls, &state_is_null);
	}
	*is_null = state_is_null;
	if (state_is_null || !aggregate->is_internal)
		return state;
	return call(aggregate, &aggregate->serialize, 1, &state, &state_is_null, is_null);
}

/*
 * aggregate_finish
 *		The aggregate's result, from a state as it travelled.
 */
Datum
aggregate_finish(Aggregate *aggregate, Oid wire_type, Datum value, bool *is_null)
{
	Datum values[FUNC_MAX_ARGS] = {(Datum) 0};
	bool nulls[FUNC_MAX_ARGS];

	if (!*is_null)
		value = state_arrive(aggregate, wire_type, value);
	if (!OidIsValid(aggregate->final.fn_oid))
		return value;
	memset(nulls, true, sizeof(nulls));
	values[0] = value;
	nulls[0] = *is_null;
	if (aggregate->final.fn_strict && (*is_null || aggregate->final_arguments > 1))
	{
		*is_null = true;
		return (Datum) 0;
	}
	return call(aggregate, &aggregate->final, aggregate->final_arguments, values, nulls, is_null);
}

/* --- a node's own part ------------------------------------------------------------ */

/* "SELECT avg(a1::numeric) FROM (the map) AS map (a1)" */
static char *
aggregate_text(const Aggregate *aggregate, const char *query)
{
	List *statements = raw_parser(query, RAW_PARSE_DEFAULT);
	RawStmt *statement = list_length(statements) == 1 ? linitial_node(RawStmt, statements) : NULL;
	StringInfoData text;
	StringInfoData names;

	if (statement == NULL || !IsA(statement->stmt, SelectStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the map of an aggregate must be one query"),
				 errdetail("Its rows are what is aggregated.")));

	initStringInfo(&text);
	initStringInfo(&names);
	appendStringInfo(&text, "SELECT %s(",
					 quote_qualified_identifier(get_namespace_name(get_func_namespace(aggregate->function)),
												get_func_name(aggregate->function)));
	for (int i = 0; i < aggregate->n_arguments; i++)
	{
		appendStringInfo(&text, "%sa%d::%s", i > 0 ? ", " : "", i + 1,
						 format_type_extended(aggregate->argument_types[i], -1, FORMAT_TYPE_FORCE_QUALIFY));
		appendStringInfo(&names, "%sa%d", i > 0 ? ", " : " (", i + 1);
	}
	appendStringInfo(&text, "%s) FROM (", aggregate->n_arguments == 0 ? "*" : "");
	query += Max(statement->stmt_location, 0);
	appendBinaryStringInfo(&text, query, statement->stmt_len > 0 ? statement->stmt_len : (int) strlen(query));
	appendStringInfo(&text, "\n) AS map%s%s", names.data, aggregate->n_arguments > 0 ? ")" : "");
	return text.data;
}

/* The map's columns are the arguments, no more. */
static void
check_columns(const Query *query, const Aggregate *aggregate)
{
	RangeTblEntry *map = linitial_node(RangeTblEntry, query->rtable);
	int n_columns = list_length(map->eref->colnames);

	if (aggregate->n_arguments > 0 && n_columns != aggregate->n_arguments)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the map returns %d columns, and aggregate %s takes %d arguments",
						n_columns, format_procedure(aggregate->function), aggregate->n_arguments)));
}

/*
 * aggregate_own_state
 *		Run the query and aggregate its rows, but for the last step.
 */
Datum
aggregate_own_state(const Aggregate *aggregate, const Question *question, Oid wire_type, bool *is_null)
{
	const Arguments *arguments = &question->arguments;
	MemoryContext context = CurrentMemoryContext;
	char *text = aggregate_text(aggregate, question->query);
	RawStmt *raw = linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT));
	ParamListInfo params = arguments->count > 0 ? makeParamList(arguments->count) : NULL;
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	List *queries;
	PlannedStmt *plan;
	QueryDesc *desc;
	TupleTableSlot *slot;
	Datum value;
	int16 length;
	bool by_value;

	for (int i = 0; i < arguments->count; i++)
	{
		params->params[i].ptype = arguments->types[i];
		params->params[i].value = arguments->values[i];
		params->params[i].isnull = arguments->nulls[i];
		params->params[i].pflags = PARAM_FLAG_CONST;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	queries = pg_analyze_and_rewrite_fixedparams(raw, text, arguments->types, arguments->count, NULL);
	check_columns(linitial_node(Query, queries), aggregate);
	plan = pg_plan_query(linitial_node(Query, queries), text, CURSOR_OPT_PARALLEL_OK, params);
	remote_leave_unfinished(plan);
	SetTuplestoreDestReceiverParams(receiver, store, context, false, NULL, NULL);
	desc = CreateQueryDesc(plan, text, GetActiveSnapshot(), InvalidSnapshot, receiver, params, NULL, 0);
	ExecutorStart(desc, 0);
	executor_run(desc);
	slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(desc->tupDesc), &TTSOpsMinimalTuple);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	PopActiveSnapshot();

	if (!tuplestore_gettupleslot(store, true, false, slot))
		elog(ERROR, "an aggregate gave no row");
	if (TupleDescAttr(slot->tts_tupleDescriptor, 0)->atttypid != wire_type)
		elog(ERROR, "the state of an aggregate is not of type %s", format_type_be(wire_type));
	get_typlenbyval(wire_type, &length, &by_value);
	value = slot_getattr(slot, 1, is_null);
	value = *is_null ? (Datum) 0 : datumCopy(value, by_value, length);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(store);
	return value;
}
