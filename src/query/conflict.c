/*
 * conflict.c
 *		INSERT ... ON CONFLICT with a target, into tables of several nodes.
 *
 * The server looks for the unique indexes that a target means, its *arbiters*,
 * on the table that the statement names.  A partitioned table with foreign
 * partitions has none, nor has a foreign table: they are on the partitions, at
 * their homes.  So the target is taken from the statement when all but the
 * plan has been made, and given to a node of its own, "DLog Conflict", which
 * hands on the rows to be inserted.  It routes each row as the insertion is
 * about to do, and tells the partition, if that is here, which of its own
 * indexes are the arbiters.  A foreign partition sends the clause as text, see
 * conflict_text.c, and the arbiters are found in the same way where it goes.
 *
 * A command must not change one row twice (21000).  What is one command here
 * may be several statements there.  So their text calls dlog.upsert_once(),
 * once for the command's beginning and again for each row that is in the way,
 * and this file gives it that row's xmin and cmin, which the text itself
 * cannot name: not everybody may read them.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "partitioning/partdesc.h"
#include "rewrite/rewriteManip.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "query/query_internal.h"

typedef struct ConflictState
{
	CustomScanState custom;
	List *target;	 /* of InferenceElem; the table's columns are those of 1 */
	List *predicate; /* expressions, implicitly ANDed */
	int64 command;	 /* tells the commands of this session apart */
	ModifyTableState *insertion;
} ConflictState;

/* CustomScan.custom_private */
enum ConflictPrivate
{
	CONFLICT_TARGET,	/* list of InferenceElem */
	CONFLICT_PREDICATE, /* list of expressions */
	CONFLICT_REASON		/* String: why it cannot go to another node; or NULL */
};

static create_upper_paths_hook_type previous_create_upper_paths;
static ExecutorStart_hook_type previous_executor_start;
static const CustomPathMethods conflict_path_methods;
static const CustomScanMethods conflict_scan_methods;
static const CustomExecMethods conflict_exec_methods;

/* --- the indexes of one partition ------------------------------------------ */

/* The server's own search, for a target over another table than a query's. */
static List *
arbiters_of(Oid table, List *target, List *predicate)
{
	PlannerInfo *root = makeNode(PlannerInfo);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	OnConflictExpr *conflict = makeNode(OnConflictExpr);

	rte->rtekind = RTE_RELATION;
	rte->relid = table;
	rte->relkind = RELKIND_RELATION;
	rte->rellockmode = RowExclusiveLock;
	conflict->arbiterElems = target;
	conflict->arbiterWhere = (Node *) predicate;
	root->parse = makeNode(Query);
	root->parse->commandType = CMD_INSERT;
	root->parse->rtable = list_make1(rte);
	root->parse->resultRelation = 1;
	root->parse->onConflict = conflict;
	return infer_arbiter_indexes(root);
}

/* Expressions over columns of "from", now over those of "to". */
static List *
map_columns(List *expressions, Relation from, Relation to)
{
	AttrMap *map = attribute_map(RelationGetDescr(to), RelationGetDescr(from));
	bool found_whole_row;

	if (map == NULL)
		return expressions;
	return (List *) map_variable_attnos((Node *) expressions, 1, 0, map,
										RelationGetForm(to)->reltype, &found_whole_row);
}

/* --- planning -------------------------------------------------------------- */

/* What there is below a partitioned table. */
typedef struct Leaves
{
	bool any_foreign; /* of this wrapper */
	Oid local;		  /* a partition that is here, or InvalidOid */
} Leaves;

static void
find_leaves(Relation table, Leaves *leaves)
{
	PartitionDesc parts;

	if (table->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
	{
		PartitionHome home;

		leaves->any_foreign |= partition_home(RelationGetRelid(table), &home);
		return;
	}
	if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		leaves->local = RelationGetRelid(table);
		return;
	}
	parts = RelationGetPartitionDesc(table, true);
	for (int i = 0; i < parts->nparts; i++)
	{
		Relation part = table_open(parts->oids[i], AccessShareLock);

		find_leaves(part, leaves);
		table_close(part, AccessShareLock);
		if (leaves->any_foreign && OidIsValid(leaves->local))
			break;
	}
}

/* An error now, if a partition that is here has no index of that kind. */
static void
check_target(Relation table, Oid leaf, List *target, List *predicate)
{
	Relation part = table_open(leaf, RowExclusiveLock);

	(void) arbiters_of(leaf, map_columns(target, table, part),
					   map_columns(predicate, table, part));
	table_close(part, NoLock);
}

/* Why another node cannot compute what is to be set, or NULL. */
static const char *
reason_to_stay(PlannerInfo *root, OnConflictExpr *conflict)
{
	Relids relids = bms_make_singleton(root->parse->resultRelation);
	const char *reason = NULL;
	ListCell *cell;

	if (conflict->action != ONCONFLICT_UPDATE)
		return NULL;
	relids = bms_add_member(relids, conflict->exclRelIndex);
	foreach(cell, conflict->onConflictSet)
	{
		Expr *value = lfirst_node(TargetEntry, cell)->expr;

		if (!expression_is_shippable(root, relids, (Node *) value, false, &reason))
			return reason;
	}
	if (!expression_is_shippable(root, relids, conflict->onConflictWhere, false, &reason))
		return reason;
	return NULL;
}

/* The call of dlog.upsert_once() by which a statement of another node begins. */
static FuncExpr *
find_guard(OnConflictExpr *conflict)
{
	List *conditions = (List *) conflict->onConflictWhere;
	FuncExpr *call;

	if (conflict->action != ONCONFLICT_UPDATE || conditions == NIL ||
		!IsA(conditions, List) || !IsA(linitial(conditions), FuncExpr))
		return NULL;
	call = linitial(conditions);
	if (list_length(call->args) != 3 ||
		strcmp(get_func_name(call->funcid), "upsert_once") != 0 ||
		get_func_namespace(call->funcid) != get_namespace_oid("dlog", true))
		return NULL;
	return call;
}

static CustomPath *
conflict_path(PlannerInfo *root, RelOptInfo *rel, Path *rows, List *private)
{
	CustomPath *path = makeNode(CustomPath);

	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rows->pathtarget;
	path->path.rows = rows->rows;
	path->path.startup_cost = rows->startup_cost;
	path->path.total_cost = rows->total_cost;
	path->custom_paths = list_make1(rows);
	path->custom_private = private;
	path->methods = &conflict_path_methods;
	return path;
}

/* Give the target to a node below the insertion of all paths. */
static void
take_target(PlannerInfo *root, RelOptInfo *rel, Relation table, Oid leaf, bool is_sent)
{
	OnConflictExpr *conflict = root->parse->onConflict;
	List *target = copyObject(conflict->arbiterElems);
	List *predicate = (List *) copyObject(conflict->arbiterWhere);
	const char *reason = reason_to_stay(root, conflict);
	ListCell *cell;

	if (reason != NULL && !is_sent)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot leave this ON CONFLICT DO UPDATE to the nodes of table \"%s\"",
						RelationGetRelationName(table)),
				 errdetail("In a value that it sets, or in its condition: %s.", reason),
				 errhint("Compute it in the rows to be inserted, and refer to them by EXCLUDED.")));

	ChangeVarNodes((Node *) target, root->parse->resultRelation, 1, 0);
	ChangeVarNodes((Node *) predicate, root->parse->resultRelation, 1, 0);
	if (OidIsValid(leaf))
		check_target(table, leaf, target, predicate);

	foreach(cell, rel->pathlist)
	{
		ModifyTablePath *insertion = lfirst_node(ModifyTablePath, cell);

		insertion->subpath = (Path *)
			conflict_path(root, rel, insertion->subpath,
						  list_make3(target, predicate,
									 reason ? makeString(pstrdup(reason)) : NULL));
	}
	conflict->arbiterElems = NIL;
	conflict->arbiterWhere = NULL;
}

static void
conflict_create_upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input_rel,
							RelOptInfo *output_rel, void *extra)
{
	Query *parse = root->parse;
	OnConflictExpr *conflict = parse->onConflict;
	Leaves leaves = {false, InvalidOid};
	FuncExpr *guard;
	Relation table;

	if (previous_create_upper_paths)
		previous_create_upper_paths(root, stage, input_rel, output_rel, extra);
	if (stage != UPPERREL_FINAL || parse->commandType != CMD_INSERT || conflict == NULL)
		return;

	guard = find_guard(conflict);
	if (guard != NULL)
	{
		lsecond(guard->args) = makeVar(parse->resultRelation, MinTransactionIdAttributeNumber,
									   XIDOID, -1, InvalidOid, 0);
		lthird(guard->args) = makeVar(parse->resultRelation, MinCommandIdAttributeNumber,
									  CIDOID, -1, InvalidOid, 0);
	}

	if (conflict->arbiterElems == NIL)
		return;
	table = table_open(rt_fetch(parse->resultRelation, parse->rtable)->relid, NoLock);
	if (table->rd_rel->relkind != RELKIND_RELATION)
		find_leaves(table, &leaves);
	if (leaves.any_foreign)
		take_target(root, output_rel, table, leaves.local, guard != NULL);
	table_close(table, NoLock);
}

static Plan *
conflict_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
			  List *clauses, List *custom_plans)
{
	CustomScan *scan = makeNode(CustomScan);

	scan->scan.plan.targetlist = tlist;
	scan->custom_scan_tlist = copyObject(tlist);
	scan->custom_plans = custom_plans;
	scan->custom_private = path->custom_private;
	scan->methods = &conflict_scan_methods;
	return &scan->scan.plan;
}

/* --- running --------------------------------------------------------------- */

static Node *
conflict_create_state(CustomScan *scan)
{
	ConflictState *state = palloc0(sizeof(ConflictState));

	NodeSetTag(state, T_CustomScanState);
	state->custom.methods = &conflict_exec_methods;
	return (Node *) state;
}

static void
conflict_begin(CustomScanState *node, EState *estate, int eflags)
{
	static int64 commands = 0;
	ConflictState *state = (ConflictState *) node;
	CustomScan *scan = (CustomScan *) node->ss.ps.plan;

	state->target = list_nth(scan->custom_private, CONFLICT_TARGET);
	state->predicate = list_nth(scan->custom_private, CONFLICT_PREDICATE);
	state->command = ++commands;
	node->custom_ps = list_make1(ExecInitNode(linitial(scan->custom_plans), estate, eflags));
}

/* Tell the node below an insertion which that is. */
static void
meet_insertion(PlanState *plan)
{
	PlanState *rows = outerPlanState(plan);

	if (IsA(plan, ModifyTableState) && rows != NULL && IsA(rows, CustomScanState) &&
		((CustomScanState *) rows)->methods == &conflict_exec_methods)
		((ConflictState *) rows)->insertion = (ModifyTableState *) plan;
}

/* A node does not know what is above it; the executor of the whole does. */
static void
conflict_start_executor(QueryDesc *query, int eflags)
{
	ListCell *cell;

	if (previous_executor_start)
		previous_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	meet_insertion(query->planstate);
	foreach(cell, query->estate->es_auxmodifytables)
		meet_insertion(lfirst(cell));
}

/* See to it that the partition of a row knows its arbiters, if it is here. */
static void
prepare_partition(ConflictState *state, TupleTableSlot *row)
{
	ModifyTableState *insertion = state->insertion;
	EState *estate = insertion->ps.state;
	ResultRelInfo *root = insertion->rootResultRelInfo;
	ResultRelInfo *partition;
	MemoryContext previous;

	if (insertion->mt_partition_tuple_routing == NULL)
		return; /* a foreign table by itself */
	partition = ExecFindPartition(insertion, root, insertion->mt_partition_tuple_routing, row,
								  estate);
	if (partition->ri_FdwRoutine != NULL || partition->ri_onConflictArbiterIndexes != NIL)
		return;

	previous = MemoryContextSwitchTo(estate->es_query_cxt);
	partition->ri_onConflictArbiterIndexes =
		arbiters_of(RelationGetRelid(partition->ri_RelationDesc),
					map_columns(state->target, root->ri_RelationDesc, partition->ri_RelationDesc),
					map_columns(state->predicate, root->ri_RelationDesc, partition->ri_RelationDesc));
	MemoryContextSwitchTo(previous);
}

static TupleTableSlot *
conflict_exec(CustomScanState *node)
{
	ConflictState *state = (ConflictState *) node;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	TupleTableSlot *row = ExecProcNode(linitial(node->custom_ps));

	ExecClearTuple(slot);
	if (TupIsNull(row))
		return slot;
	slot_getallattrs(row);
	memcpy(slot->tts_values, row->tts_values, sizeof(Datum) * slot->tts_tupleDescriptor->natts);
	memcpy(slot->tts_isnull, row->tts_isnull, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	ExecStoreVirtualTuple(slot);
	if (node->ss.ps.ps_ProjInfo != NULL)
	{
		node->ss.ps.ps_ExprContext->ecxt_scantuple = slot;
		ResetExprContext(node->ss.ps.ps_ExprContext);
		slot = ExecProject(node->ss.ps.ps_ProjInfo);
	}
	prepare_partition(state, slot);
	return slot;
}

static void
conflict_end(CustomScanState *node)
{
	ExecEndNode(linitial(node->custom_ps));
}

static void
conflict_rescan(CustomScanState *node)
{
	ExecReScan(linitial(node->custom_ps));
}

/* As the statement had it, by the names of the table's columns. */
static void
conflict_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	ConflictState *state = (ConflictState *) node;
	Relation table = state->insertion->rootResultRelInfo->ri_RelationDesc;
	List *context = deparse_context_for(RelationGetRelationName(table), RelationGetRelid(table));
	List *names = NIL;
	ListCell *cell;

	foreach(cell, state->target)
		names = lappend(names, deparse_expression(lfirst(cell), context, false, false));
	ExplainPropertyList("Conflict Target", names, es);
	if (state->predicate != NIL)
		ExplainPropertyText("Conflict Target Filter",
							deparse_expression((Node *) make_ands_explicit(state->predicate),
											   context, false, false),
							es);
}

/*
 * conflict_target
 *		The target of an insertion into tables of several nodes, over columns
 *		of the table that it names, which is number 1.  False: it has none.
 *		"*command" tells this insertion from others of the session.
 */
bool
conflict_target(ModifyTableState *insertion, List **target, List **predicate, int64 *command)
{
	PlanState *rows = outerPlanState(insertion);
	CustomScan *scan;
	Node *reason;

	if (rows == NULL || !IsA(rows, CustomScanState) ||
		((CustomScanState *) rows)->methods != &conflict_exec_methods)
		return false;
	scan = (CustomScan *) rows->plan;
	reason = list_nth(scan->custom_private, CONFLICT_REASON);
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot leave this ON CONFLICT DO UPDATE to the node of the row"),
				 errdetail("In a value that it sets, or in its condition: %s.", strVal(reason))));
	*target = ((ConflictState *) rows)->target;
	*predicate = ((ConflictState *) rows)->predicate;
	*command = ((ConflictState *) rows)->command;
	return true;
}

/* --- one command in several statements -------------------------------------- */

/* A command of the asking session, and our first command that is part of it. */
typedef struct Command
{
	int64 number;
	CommandId first;
} Command;

/* In TopTransactionContext: those of this transaction. */
static List *commands = NIL;

static void
forget_commands(void *argument)
{
	commands = NIL;
}

static Command *
command_find(int64 number)
{
	ListCell *cell;

	foreach(cell, commands)
	{
		if (((Command *) lfirst(cell))->number == number)
			return lfirst(cell);
	}
	return NULL;
}

static void
command_begin(int64 number)
{
	MemoryContext previous;
	Command *command;

	if (command_find(number) != NULL)
		return;
	previous = MemoryContextSwitchTo(TopTransactionContext);
	if (commands == NIL)
	{
		MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

		callback->func = forget_commands;
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
	}
	command = palloc(sizeof(Command));
	command->number = number;
	command->first = GetCurrentCommandId(false);
	commands = lcons(command, commands);
	MemoryContextSwitchTo(previous);
}

DLOG_FUNCTION(dlog_upsert_once);

/*
 * Without a row: the command begins, if it has not yet.  With the xmin and cmin
 * of a row that is in the way: an error if the command has made this row.
 */
Datum
dlog_upsert_once(PG_FUNCTION_ARGS)
{
	Command *command;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(true);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		command_begin(PG_GETARG_INT64(0));
		PG_RETURN_BOOL(true);
	}
	command = command_find(PG_GETARG_INT64(0));
	if (command != NULL && DatumGetCommandId(PG_GETARG_DATUM(2)) >= command->first &&
		TransactionIdIsCurrentTransactionId(DatumGetTransactionId(PG_GETARG_DATUM(1))))
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("ON CONFLICT DO UPDATE command cannot affect row a second time"),
				 errhint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values.")));
	PG_RETURN_BOOL(true);
}

static const CustomPathMethods conflict_path_methods = {
	.CustomName = "DLog Conflict",
	.PlanCustomPath = conflict_plan,
};

static const CustomScanMethods conflict_scan_methods = {
	.CustomName = "DLog Conflict",
	.CreateCustomScanState = conflict_create_state,
};

static const CustomExecMethods conflict_exec_methods = {
	.CustomName = "DLog Conflict",
	.BeginCustomScan = conflict_begin,
	.ExecCustomScan = conflict_exec,
	.EndCustomScan = conflict_end,
	.ReScanCustomScan = conflict_rescan,
	.ExplainCustomScan = conflict_explain,
};

void
conflict_init(void)
{
	RegisterCustomScanMethods(&conflict_scan_methods);
	previous_create_upper_paths = create_upper_paths_hook;
	create_upper_paths_hook = conflict_create_upper_paths;
	previous_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = conflict_start_executor;
}
