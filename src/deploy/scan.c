/*
 * scan.c
 *		deploy_map in FROM: a scan whose rows come as the nodes answer.
 *
 * The server collects all rows of a function in FROM before it gives the
 * first.  So the planner replaces the scan of a call of deploy_map by a
 * custom scan, "DLog Deploy", which asks when its first row is wanted and
 * gives each row as it arrives.  When it ends early, or is cancelled, what is
 * still at work on the nodes stops.
 *
 * In a transaction that is open on other nodes an error there must be undone
 * by a subtransaction, which cannot be left open between two rows; then all
 * answers are awaited.
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "base/pg_compat.h"
#include "deploy/deploy_internal.h"
#include "remote/remote.h"

typedef struct DeployScanState
{
	CustomScanState custom;
	FuncExpr *call;
	List *arguments; /* of ExprState */
	FmgrInfo function;
	MemoryContext context; /* of one run */
	bool is_running;
	Question question;
	Asking *asking;			  /* answers as they arrive; or */
	Tuplestorestate *results; /* all rows */
	const NodeAnswer *answer; /* whose rows are being given */
	int next_value;
} DeployScanState;

static set_rel_pathlist_hook_type previous_set_rel_pathlist;

static Plan *deploy_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path,
						 List *target_list, List *clauses, List *plans);
static Node *deploy_create_state(CustomScan *scan);
static void deploy_begin(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *deploy_exec(CustomScanState *node);
static void deploy_end(CustomScanState *node);
static void deploy_rescan(CustomScanState *node);

static const CustomPathMethods path_methods = {
	.CustomName = "DLog Deploy",
	.PlanCustomPath = deploy_plan,
};

static const CustomScanMethods scan_methods = {
	.CustomName = "DLog Deploy",
	.CreateCustomScanState = deploy_create_state,
};

static const CustomExecMethods exec_methods = {
	.CustomName = "DLog Deploy",
	.BeginCustomScan = deploy_begin,
	.ExecCustomScan = deploy_exec,
	.EndCustomScan = deploy_end,
	.ReScanCustomScan = deploy_rescan,
};

/* --- planning ---------------------------------------------------------------- */

/* The call of deploy_map that this relation is, or NULL. */
static FuncExpr *
deploy_call(RelOptInfo *rel, RangeTblEntry *rte)
{
	RangeTblFunction *function;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality || list_length(rte->functions) != 1)
		return NULL;
	function = linitial(rte->functions);
	if (!IsA(function->funcexpr, FuncExpr) ||
		!map_is_called_by(((FuncExpr *) function->funcexpr)->funcid))
		return NULL;

	/* The row as a whole has no place in the scan's columns. */
	if (!bms_is_empty(rel->attr_needed[-rel->min_attr]))
		return NULL;
	return (FuncExpr *) function->funcexpr;
}

static bool
uses_whole_row(RelOptInfo *rel)
{
	ListCell *cell;
	Bitmapset *columns = NULL;

	foreach(cell, rel->baserestrictinfo)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, cell)->clause, rel->relid, &columns);
	return bms_is_member(-FirstLowInvalidHeapAttributeNumber, columns);
}

static void
deploy_set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	FuncExpr *call;
	CustomPath *path;
	Path *scan;

	if (previous_set_rel_pathlist)
		previous_set_rel_pathlist(root, rel, rti, rte);
	call = deploy_call(rel, rte);
	if (call == NULL || uses_whole_row(rel) || rel->pathlist == NIL)
		return;

	scan = linitial(rel->pathlist);
	path = makeNode(CustomPath);
	path->path = *scan;
	NodeSetTag(path, T_CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parallel_safe = false;
	path->custom_private = list_make1(call);
	path->methods = &path_methods;
	rel->pathlist = list_make1(path);
	rel->partial_pathlist = NIL;
}

static Plan *
deploy_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *target_list,
			List *clauses, List *plans)
{
	CustomScan *scan = makeNode(CustomScan);
	FuncExpr *call = linitial(path->custom_private);
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	List *names;
	List *columns;
	ListCell *name;
	ListCell *column;

	scan->scan.plan.targetlist = target_list;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->flags = path->flags;
	scan->custom_exprs = list_make1(copyObject(call));
	scan->methods = &scan_methods;
	range_table_columns(rte, rel->relid, &names, &columns);
	forboth(name, names, column, columns)
		scan->custom_scan_tlist = lappend(scan->custom_scan_tlist,
										  makeTargetEntry(lfirst(column),
														  list_length(scan->custom_scan_tlist) + 1,
														  strVal(lfirst(name)), false));
	return &scan->scan.plan;
}

/* --- running ------------------------------------------------------------------ */

static Node *
deploy_create_state(CustomScan *scan)
{
	DeployScanState *state = palloc0(sizeof(DeployScanState));

	NodeSetTag(state, T_CustomScanState);
	state->custom.methods = &exec_methods;
	return (Node *) state;
}

static void
deploy_begin(CustomScanState *node, EState *estate, int eflags)
{
	DeployScanState *state = (DeployScanState *) node;
	CustomScan *scan = (CustomScan *) node->ss.ps.plan;
	AclResult result;

	state->call = linitial(scan->custom_exprs);
	result = object_aclcheck(ProcedureRelationId, state->call->funcid, GetUserId(), ACL_EXECUTE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(state->call->funcid));
	InvokeFunctionExecuteHook(state->call->funcid);
	state->arguments = ExecInitExprList(state->call->args, &node->ss.ps);
	fmgr_info_cxt(state->call->funcid, &state->function, estate->es_query_cxt);
	fmgr_info_set_expr((Node *) state->call, &state->function);
	state->context = AllocSetContextCreate(estate->es_query_cxt, "dlog deploy scan",
										   ALLOCSET_DEFAULT_SIZES);
}

static void
keep_answer(void *argument, const NodeAnswer *answer)
{
	DeployScanState *state = argument;
	TupleDesc desc = state->custom.ss.ss_ScanTupleSlot->tts_tupleDescriptor;
	Datum values[MAP_COLUMNS];
	bool nulls[MAP_COLUMNS];

	for (int i = 0; i < Max(answer->answer.n_values, 1); i++)
	{
		map_row(answer, i, values, nulls);
		tuplestore_putvalues(state->results, desc, values, nulls);
	}
}

/* The first row is wanted: ask. */
static void
start(DeployScanState *state)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	ExprContext *econtext = state->custom.ss.ps.ps_ExprContext;
	MemoryContext old = MemoryContextSwitchTo(state->context);
	List *nodes;
	ListCell *cell;
	int number = 0;

	InitFunctionCallInfoData(*fcinfo, &state->function, list_length(state->arguments),
							 state->call->inputcollid, NULL, NULL);
	foreach(cell, state->arguments)
	{
		fcinfo->args[number].value = ExecEvalExpr(lfirst(cell), econtext,
												  &fcinfo->args[number].isnull);
		number++;
	}
	map_question(fcinfo, &state->question, &nodes);
	state->is_running = true;
	if (state->question.fail ? state->question.writes : remote_is_in_transaction())
	{
		state->results = tuplestore_begin_heap(false, false, work_mem);
		question_ask(&state->question, nodes, keep_answer, state);
	}
	else
		state->asking = asking_begin(&state->question, nodes);
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *
next_row(ScanState *node)
{
	DeployScanState *state = (DeployScanState *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	MemoryContext old;

	if (!state->is_running)
		start(state);
	if (state->results != NULL)
	{
		TupleTableSlot *row = MakeSingleTupleTableSlot(slot->tts_tupleDescriptor, &TTSOpsMinimalTuple);

		ExecClearTuple(slot);
		if (tuplestore_gettupleslot(state->results, true, false, row))
			ExecCopySlot(slot, row);
		ExecDropSingleTupleTableSlot(row);
		return slot;
	}

	ExecClearTuple(slot);
	if (state->answer == NULL || state->next_value >= state->answer->answer.n_values)
	{
		old = MemoryContextSwitchTo(state->context);
		state->answer = asking_next(state->asking);
		MemoryContextSwitchTo(old);
		state->next_value = 0;
		if (state->answer == NULL)
			return slot;
	}
	old = MemoryContextSwitchTo(node->ps.ps_ExprContext->ecxt_per_tuple_memory);
	map_row(state->answer, state->next_value++, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
	return ExecStoreVirtualTuple(slot);
}

static bool
recheck(ScanState *node, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
deploy_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck);
}

/* Nobody wants the rest. */
static void
stop(DeployScanState *state)
{
	if (state->results != NULL)
		tuplestore_end(state->results);
	state->results = NULL;
	state->asking = NULL;
	state->answer = NULL;
	state->next_value = 0;
	state->is_running = false;
	MemoryContextReset(state->context);
}

static void
deploy_rescan(CustomScanState *node)
{
	ExecScanReScan(&node->ss);
	stop((DeployScanState *) node);
}

static void
deploy_end(CustomScanState *node)
{
	stop((DeployScanState *) node);
}

/*
 * scan_init
 *		Called once, in the postmaster.
 */
void
scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	previous_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = deploy_set_rel_pathlist;
}
