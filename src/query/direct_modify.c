/*
 * direct_modify.c
 *		UPDATE and DELETE of a foreign table in a single statement.
 *
 * When the node can evaluate all conditions and all new values, the scan of
 * the table becomes the statement: it changes the rows there, and returns
 * them if there is a RETURNING list.  The server asks for this only where no
 * trigger, check of a view or generated column needs the rows here.  Rows
 * that may leave their partition are not for it either, see modify.c.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/pg_compat.h"
#include "query/query_internal.h"

/* ForeignScan.fdw_private of a direct modification. */
enum DirectPrivate
{
	DIRECT_SQL,		/* String */
	DIRECT_RETURNS, /* Boolean: it returns the rows */
	DIRECT_COUNTS	/* Boolean: they count as processed */
};

typedef struct DirectModify
{
	Oid role;
	uint32 node;
	RemoteRequest request;
	RemoteStats stats;
	List *values; /* of ExprState: the parameters */
	bool returns_rows;
	bool counts;
	bool is_done;
	RemoteStream *stream;
	RowMap *map;
	TupleTableSlot *received;
	TupleTableSlot *row;
} DirectModify;

/* --- planning -------------------------------------------------------------- */

/* The scan that reads the rows to be modified, if it is one of this table. */
static ForeignScan *
find_scan(Plan *plan, Index rti)
{
	ListCell *cell;

	if (IsA(plan, Result) && outerPlan(plan) != NULL &&
		((Result *) plan)->resconstantqual == NULL)
		plan = outerPlan(plan);

	if (IsA(plan, Append))
	{
		foreach(cell, ((Append *) plan)->appendplans)
		{
			if (IsA(lfirst(cell), ForeignScan) &&
				((ForeignScan *) lfirst(cell))->scan.scanrelid == rti)
				return lfirst(cell);
		}
		return NULL;
	}

	if (IsA(plan, ForeignScan) && ((ForeignScan *) plan)->scan.scanrelid == rti)
		return (ForeignScan *) plan;
	return NULL;
}

/*
 * What the scan would have computed for the update is of no use now, and must
 * not be evaluated on the rows that come back; what identifies them stays.
 */
static void
forget_new_values(ForeignScan *scan)
{
	List *tlist = NIL;
	ListCell *cell;

	foreach(cell, scan->scan.plan.targetlist)
	{
		TargetEntry *entry = flatCopyTargetEntry(lfirst_node(TargetEntry, cell));

		if (!IsA(entry->expr, Var))
			entry->expr = (Expr *) makeNullConst(exprType((Node *) entry->expr),
												 exprTypmod((Node *) entry->expr),
												 exprCollation((Node *) entry->expr));
		tlist = lappend(tlist, entry);
	}
	scan->scan.plan.targetlist = tlist;
}

/* " SET a = ..., b = ..."; false if that cannot be said, or rows may move. */
static bool
append_set(PlannerInfo *root, Relation relation, Index rti, RelationText *text,
		   StringInfo sql)
{
	Relids relids = bms_make_singleton(rti);
	Bitmapset *updated = NULL;
	List *values;
	List *attnos;
	ListCell *value;
	ListCell *attno;

	get_translated_update_targetlist(root, rti, &values, &attnos);
	forboth(value, values, attno, attnos)
	{
		Expr *expression = lfirst_node(TargetEntry, value)->expr;

		if (!expression_is_shippable(root, relids, (Node *) expression, false, NULL))
			return false;
		updated = bms_add_member(updated,
								 lfirst_int(attno) - FirstLowInvalidHeapAttributeNumber);
	}
	if (update_may_move(relation, updated))
		return false;

	appendStringInfoString(sql, " SET ");
	forboth(value, values, attno, attnos)
	{
		if (value != list_head(values))
			appendStringInfoString(sql, ", ");
		appendStringInfo(sql, "%s = ",
						 quote_identifier(text->columns[lfirst_int(attno) - 1]));
		relation_text_expression(text, sql,
								 (Node *) lfirst_node(TargetEntry, value)->expr, rti);
	}
	return true;
}

static bool
plan_direct_modify(PlannerInfo *root, ModifyTable *plan, Index rti, int subplan_index)
{
	RangeTblEntry *rte = planner_rt_fetch(rti, root);
	ForeignScan *scan = find_scan(outerPlan(plan), rti);
	bool returns_rows = plan->returningLists != NIL;
	Relation relation;
	RelationText text;
	StringInfoData sql;
	bool is_possible = true;

	if (plan->operation != CMD_UPDATE && plan->operation != CMD_DELETE)
		return false;
	if (scan == NULL || scan->scan.plan.qual != NIL)
		return false;

	relation = table_open(rte->relid, NoLock);
	relation_text_init(&text, relation);
	initStringInfo(&sql);
	if (plan->operation == CMD_UPDATE)
	{
		appendStringInfo(&sql, "UPDATE %s", text.name);
		is_possible = append_set(root, relation, rti, &text, &sql);
	}
	else
		appendStringInfo(&sql, "DELETE FROM %s", text.name);

	if (is_possible)
	{
		List *columns = relation_columns(relation);

		/* These are all of the scan's conditions, see get_plan(). */
		relation_text_where(&text, &sql, scan->fdw_recheck_quals, rti);
		if (returns_rows)
		{
			appendStringInfoString(&sql, " RETURNING ");
			if (columns == NIL)
				appendStringInfoString(&sql, "true");
			else
				relation_text_columns(&text, &sql, columns);
		}

		scan->operation = plan->operation;
		scan->resultRelation = rti;
		scan->fdw_exprs = text.values;
		scan->fdw_private = list_make3(makeString(sql.data),
									   makeBoolean(returns_rows),
									   makeBoolean(plan->canSetTag));
		forget_new_values(scan);
	}
	table_close(relation, NoLock);
	return is_possible;
}

/* --- running --------------------------------------------------------------- */

static void
begin_direct_modify(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	EState *estate = node->ss.ps.state;
	Relation relation = node->resultRelInfo->ri_RelationDesc;
	DirectModify *modify = palloc0(sizeof(DirectModify));
	PartitionHome home;

	node->fdw_state = modify;
	home = foreign_table_home(relation);

	modify->node = home.node;
	modify->role = ExecGetResultRelCheckAsUser(node->resultRelInfo, estate);
	modify->returns_rows = boolVal(list_nth(plan->fdw_private, DIRECT_RETURNS));
	modify->counts = boolVal(list_nth(plan->fdw_private, DIRECT_COUNTS));
	modify->request.kind = REMOTE_QUERY;
	modify->request.writes = true;
	modify->request.estate = estate;
	modify->request.sql = strVal(list_nth(plan->fdw_private, DIRECT_SQL));
	modify->request.tables = request_tables(&home);
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	modify->values = ExecInitExprList(plan->fdw_exprs, &node->ss.ps);
	request_set_parameters(&modify->request, plan->fdw_exprs);
	modify->row = ExecInitExtraTupleSlot(estate, RelationGetDescr(relation),
										 &TTSOpsVirtual);
	if (modify->returns_rows)
	{
		List *columns = relation_columns(relation);

		modify->map = row_map(columns);
		modify->request.result_desc = request_result_desc(relation, columns);
		modify->received = ExecInitExtraTupleSlot(estate, modify->request.result_desc,
												  &TTSOpsMinimalTuple);
	}
}

static void
count_rows(ForeignScanState *node, uint64 rows)
{
	DirectModify *modify = node->fdw_state;

	if (modify->counts)
		node->ss.ps.state->es_processed += rows;
}

/* Wait for the end of the statement; what returns no rows is counted then. */
static void
finish(ForeignScanState *node)
{
	DirectModify *modify = node->fdw_state;

	while (remote_next(modify->stream, NULL) != REMOTE_DONE)
		remote_wait();
	remote_stats_add(modify->stream, &modify->stats);
	remote_close(modify->stream);
	modify->stream = NULL;
	modify->is_done = true;
	if (modify->returns_rows)
		return;
	count_rows(node, modify->stats.affected);
	if (node->ss.ps.instrument != NULL)
		node->ss.ps.instrument->tuplecount += modify->stats.affected;
}

static TupleTableSlot *
iterate_direct_modify(ForeignScanState *node)
{
	DirectModify *modify = node->fdw_state;

	if (modify->is_done)
		return ExecClearTuple(modify->row);

	if (modify->stream == NULL)
	{
		request_evaluate_parameters(&modify->request, modify->values,
									node->ss.ps.ps_ExprContext);
		modify->stream = request_open(node->ss.ps.state->es_query_cxt,
									  modify->node, &modify->request, modify->role);
	}

	if (!modify->returns_rows || !request_next(modify->stream, modify->received))
	{
		finish(node);
		return ExecClearTuple(modify->row);
	}

	/* The RETURNING list is computed from this row, see ExecProcessReturning. */
	row_map_store(modify->map, modify->received, modify->row);
	count_rows(node, 1);
	node->resultRelInfo->ri_projectReturning->pi_exprContext->ecxt_scantuple = modify->row;
	return modify->row;
}

static void
end_direct_modify(ForeignScanState *node)
{
	DirectModify *modify = node->fdw_state;

	if (modify == NULL || modify->stream == NULL)
		return;
	ExecClearTuple(modify->row);
	ExecClearTuple(modify->received);
	remote_close(modify->stream);
	modify->stream = NULL;
}

static void
explain_direct_modify(ForeignScanState *node, ExplainState *es)
{
	DirectModify *modify = node->fdw_state;

	request_explain(modify->node, modify->request.sql, &modify->stats, es);
}

void
direct_modify_set_routines(FdwRoutine *routine)
{
	routine->PlanDirectModify = plan_direct_modify;
	routine->BeginDirectModify = begin_direct_modify;
	routine->IterateDirectModify = iterate_direct_modify;
	routine->EndDirectModify = end_direct_modify;
	routine->ExplainDirectModify = explain_direct_modify;
}
