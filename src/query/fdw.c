/*
 * fdw.c
 *		The foreign-data wrapper dlog: scans of one foreign table.
 *
 * A scan is one request to the table's node.  The conditions that the node
 * can evaluate (shippable.c) and the columns that are needed stand in its
 * text; the rest is done here.  Many partitions on one node are better
 * served by the custom scan, which asks each node once; this one scans what
 * stands alone, what is to be updated or locked, and what the custom scan
 * leaves.
 *
 * Words.  A row is *received* with the columns that were asked for, and then
 * stored as a *row* of the foreign table, in which the others are null.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/planmain.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "query/query_internal.h"

/*
 * What a request costs, in the planner's unit, a page read in sequence: its
 * round trip, and a row that it returns.
 */
#define REQUEST_COST 25.0
#define ROW_COST 0.02

/* Pages of a table of which we have no statistics. */
#define UNKNOWN_PAGES 10

/* What the planning functions tell each other, in RelOptInfo.fdw_private. */
typedef struct ScanPlanning
{
	List *remote_clauses; /* RestrictInfos that the node evaluates */
	List *local_clauses;
} ScanPlanning;

/* ForeignScan.fdw_private of a scan; fdw_exprs are the parameters' values. */
enum ScanPrivate
{
	SCAN_SQL,	 /* String */
	SCAN_ATTNOS, /* integer list: the columns it returns */
	SCAN_LOCKS	 /* Boolean: it locks rows */
};

typedef struct TableScan
{
	Oid role;
	uint32 node;
	RemoteRequest request;
	RemoteStatement statement;
	List *values; /* of ExprState: the parameters */
	RowMap *map;
	TupleTableSlot *received;
	TupleTableSlot *row;
	RemoteStream *stream; /* NULL: not asked yet, or read to the end */
	bool is_done;
	RemoteStats stats;	   /* of the streams that were closed */
	char *plan;			   /* how the node ran the last of them, if it told */
	MemoryContext context; /* the scan's */
} TableScan;

/* --- planning -------------------------------------------------------------- */

static bool
clause_is_shippable(PlannerInfo *root, RelOptInfo *rel, RestrictInfo *clause)
{
	return !clause->pseudoconstant && qual_is_shippable(root, rel, clause, NULL);
}

static void
get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
	ScanPlanning *planning = palloc0(sizeof(ScanPlanning));
	ListCell *cell;

	rel->fdw_private = planning;
	foreach(cell, rel->baserestrictinfo)
	{
		RestrictInfo *clause = lfirst_node(RestrictInfo, cell);

		if (clause_is_shippable(root, rel, clause))
			planning->remote_clauses = lappend(planning->remote_clauses, clause);
		else
			planning->local_clauses = lappend(planning->local_clauses, clause);
	}

	/* Never analyzed: take it for as large as an ordinary new table. */
	if (rel->tuples < 0)
	{
		int width = get_relation_data_width(table, rel->attr_widths - rel->min_attr);

		rel->pages = UNKNOWN_PAGES;
		rel->tuples = (UNKNOWN_PAGES * BLCKSZ) /
					  (width + MAXALIGN(SizeofHeapTupleHeader));
	}
	set_baserel_size_estimates(root, rel);
}

/*
 * What a scan costs that returns this many rows.  Conditions that leave few
 * rows are taken to be served by an index over there.
 */
static Cost
scan_cost(RelOptInfo *rel, double rows)
{
	Cost sequential = seq_page_cost * rel->pages + cpu_tuple_cost * rel->tuples;
	Cost by_index = (random_page_cost + cpu_tuple_cost) * rows;

	return Min(sequential, by_index) + ROW_COST * rows;
}

static void
add_scan_path(PlannerInfo *root, RelOptInfo *rel, ParamPathInfo *param_info)
{
	Relids required_outer = param_info ? param_info->ppi_req_outer : rel->lateral_relids;
	double rows = param_info ? param_info->ppi_rows : rel->rows;

	add_path(rel, (Path *) foreign_scan_path(root, rel, rows, REQUEST_COST,
											 REQUEST_COST + scan_cost(rel, rows),
											 required_outer));
}

/* Members of equivalence classes that can be looked up, one after the other. */
typedef struct Lookup
{
	Expr *current;
	List *done;
} Lookup;

static bool
is_lookup_member(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *class,
				 EquivalenceMember *member, void *argument)
{
	Lookup *lookup = argument;

	if (lookup->current != NULL)
		return equal(member->em_expr, lookup->current);
	if (list_member(lookup->done, member->em_expr) ||
		!expression_is_shippable(root, rel->relids, (Node *) member->em_expr,
								 false, NULL))
		return false;
	lookup->current = member->em_expr;
	return true;
}

/*
 * The sets of other relations whose rows, one at a time, could be looked up
 * in this table: a list of ParamPathInfo.
 */
static List *
find_lookups(PlannerInfo *root, RelOptInfo *rel)
{
	List *clauses = NIL;
	List *infos = NIL;
	Lookup lookup = {NULL, NIL};
	ListCell *cell;

	foreach(cell, rel->joininfo)
	{
		RestrictInfo *clause = lfirst_node(RestrictInfo, cell);

		if (join_clause_is_movable_to(clause, rel))
			clauses = lappend(clauses, clause);
	}
	while (rel->has_eclass_joins)
	{
		lookup.current = NULL;
		clauses = list_concat(clauses,
							  generate_implied_equalities_for_column(root, rel,
																	 is_lookup_member, &lookup,
																	 rel->lateral_referencers));
		if (lookup.current == NULL)
			break;
		lookup.done = lappend(lookup.done, lookup.current);
	}

	foreach(cell, clauses)
	{
		RestrictInfo *clause = lfirst_node(RestrictInfo, cell);
		Relids required_outer;

		if (!join_clause_is_movable_to(clause, rel) ||
			!clause_is_shippable(root, rel, clause))
			continue;
		required_outer = bms_union(clause->clause_relids, rel->lateral_relids);
		required_outer = bms_del_member(required_outer, rel->relid);
		if (!bms_is_empty(required_outer))
			infos = list_append_unique_ptr(infos,
										   get_baserel_parampathinfo(root, rel,
																	 required_outer));
	}
	return infos;
}

static void
get_paths(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
	ListCell *cell;

	add_scan_path(root, rel, NULL);
	foreach(cell, find_lookups(root, rel))
		add_scan_path(root, rel, lfirst(cell));
}

/*
 * Columns to ask for, in order, with that of ctid at the end.  At least one
 * column: rows are counted by their arrival.
 */
static List *
needed_attnos(RelOptInfo *rel, List *local_clauses, Relation relation)
{
	TupleDesc desc = RelationGetDescr(relation);
	Bitmapset *used = NULL;
	List *attnos = NIL;
	bool whole_row;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &used);
	pull_varattnos((Node *) local_clauses, rel->relid, &used);

	whole_row = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, used);
	for (AttrNumber attno = 1; attno <= desc->natts; attno++)
	{
		if (!TupleDescAttr(desc, attno - 1)->attisdropped &&
			(whole_row ||
			 bms_is_member(attno - FirstLowInvalidHeapAttributeNumber, used)))
			attnos = lappend_int(attnos, attno);
	}
	if (bms_is_member(SelfItemPointerAttributeNumber -
						  FirstLowInvalidHeapAttributeNumber,
					  used))
		attnos = lappend_int(attnos, SelfItemPointerAttributeNumber);
	return attnos;
}

/* " FOR UPDATE" and its like, or "". */
static const char *
locking_clause(PlannerInfo *root, RelOptInfo *rel)
{
	PlanRowMark *mark;
	const char *strength = NULL;

	/* What is going to be updated or deleted is locked when it is read. */
	if (bms_is_member(rel->relid, root->all_result_relids))
		return " FOR UPDATE";

	mark = get_plan_rowmark(root->rowMarks, rel->relid);
	if (mark == NULL)
		return "";
	switch (mark->strength)
	{
		case LCS_NONE:
			return "";
		case LCS_FORKEYSHARE:
			strength = " FOR KEY SHARE";
			break;
		case LCS_FORSHARE:
			strength = " FOR SHARE";
			break;
		case LCS_FORNOKEYUPDATE:
			strength = " FOR NO KEY UPDATE";
			break;
		case LCS_FORUPDATE:
			strength = " FOR UPDATE";
			break;
	}
	switch (mark->waitPolicy)
	{
		case LockWaitBlock:
			break;
		case LockWaitSkip:
			return psprintf("%s SKIP LOCKED", strength);
		case LockWaitError:
			return psprintf("%s NOWAIT", strength);
	}
	return strength;
}

/* " TABLESAMPLE ..." of the partitioned table that this one is a part of, or nothing. */
static void
append_sample(PlannerInfo *root, RelOptInfo *rel, RelationText *text,
			  StringInfo sql)
{
	TableSampleClause *sample = planner_rt_fetch(rel->relid, root)->tablesample;
	ListCell *cell;

	if (sample == NULL)
		return;
	if (!sample_is_shippable(sample))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tablesample method %s may differ on other nodes",
						get_func_name(sample->tsmhandler)),
				 errhint("If it does not, add its extension to dlog.shippable_extensions.")));
	appendStringInfo(sql, " TABLESAMPLE %s (",
					 quote_qualified_identifier(get_namespace_name(get_func_namespace(sample->tsmhandler)),
												get_func_name(sample->tsmhandler)));
	foreach(cell, sample->args)
	{
		if (cell != list_head(sample->args))
			appendStringInfoString(sql, ", ");
		relation_text_expression(text, sql, lfirst(cell), rel->relid);
	}
	appendStringInfoChar(sql, ')');
	if (sample->repeatable != NULL)
	{
		appendStringInfoString(sql, " REPEATABLE (");
		relation_text_expression(text, sql, (Node *) sample->repeatable, rel->relid);
		appendStringInfoChar(sql, ')');
	}
}

static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *rel, Oid table, ForeignPath *path,
		 List *tlist, List *scan_clauses, Plan *outer_plan)
{
	ScanPlanning *planning = rel->fdw_private;
	List *remote_clauses = NIL;
	List *local_clauses = NIL;
	List *attnos;
	const char *locking;
	RelationText text;
	StringInfoData sql;
	Relation relation;
	ListCell *cell;

	/* The clauses of the table were judged before; those of a join are new. */
	foreach(cell, scan_clauses)
	{
		RestrictInfo *clause = lfirst_node(RestrictInfo, cell);

		if (clause->pseudoconstant)
			continue;
		if (list_member_ptr(planning->remote_clauses, clause) ||
			(!list_member_ptr(planning->local_clauses, clause) &&
			 clause_is_shippable(root, rel, clause)))
			remote_clauses = lappend(remote_clauses, clause->clause);
		else
			local_clauses = lappend(local_clauses, clause->clause);
	}

	relation = table_open(table, NoLock);
	relation_text_init(&text, relation);
	attnos = needed_attnos(rel, local_clauses, relation);
	table_close(relation, NoLock);

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	if (attnos != NIL)
		relation_text_columns(&text, &sql, attnos);
	else
		appendStringInfoString(&sql, "true");
	appendStringInfo(&sql, " FROM %s", text.name);
	append_sample(root, rel, &text, &sql);
	relation_text_where(&text, &sql, remote_clauses, rel->relid);
	locking = locking_clause(root, rel);
	appendStringInfoString(&sql, locking);

	return make_foreignscan(tlist, local_clauses, rel->relid, text.values,
							list_make3(makeString(sql.data), attnos,
									   makeBoolean(locking[0] != '\0')),
							NIL, remote_clauses, outer_plan);
}

/* --- running --------------------------------------------------------------- */

static void
begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	EState *estate = node->ss.ps.state;
	Oid role = ForeignScanCheckAsUser(plan, estate);
	Relation relation = node->ss.ss_currentRelation;
	List *attnos = list_nth(plan->fdw_private, SCAN_ATTNOS);
	TableScan *scan = palloc0(sizeof(TableScan));
	PartitionHome home;

	node->fdw_state = scan;
	home = foreign_table_home(relation);

	scan->node = home.node;
	scan->role = OidIsValid(role) ? role : GetUserId();
	scan->request.kind = REMOTE_QUERY;
	scan->request.sql = strVal(list_nth(plan->fdw_private, SCAN_SQL));
	scan->request.writes = boolVal(list_nth(plan->fdw_private, SCAN_LOCKS));
	scan->request.tables = request_tables(&home);
	scan->request.explains = estate->es_instrument != 0;
	scan->request.estate = estate;
	scan->context = estate->es_query_cxt;
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	remote_statement_begin(&scan->statement, estate);
	scan->values = ExecInitExprList(plan->fdw_exprs, &node->ss.ps);
	request_set_parameters(&scan->request, plan->fdw_exprs);
	scan->request.result_desc = request_result_desc(relation, attnos);
	scan->map = row_map(attnos);
	scan->received = ExecInitExtraTupleSlot(estate, scan->request.result_desc,
											&TTSOpsMinimalTuple);
	scan->row = ExecInitExtraTupleSlot(estate, RelationGetDescr(relation),
									   &TTSOpsVirtual);
}

static void
scan_close(TableScan *scan)
{
	if (scan->stream == NULL)
		return;
	remote_stats_add(scan->stream, &scan->stats);
	scan->plan = request_keep_plan(scan->plan, scan->stream, scan->context);
	remote_close(scan->stream);
	scan->stream = NULL;
}

/* Ask the node, with the parameters as they are now. */
static void
scan_open(ForeignScanState *node)
{
	TableScan *scan = node->fdw_state;

	request_evaluate_parameters(&scan->request, scan->values,
								node->ss.ps.ps_ExprContext);
	scan->stream = request_open(node->ss.ps.state->es_query_cxt, scan->node,
								&scan->request, scan->role);
}

/*
 * Returns REMOTE_ROW with scan->row set, REMOTE_PENDING or REMOTE_DONE.
 */
static RemoteStatus
scan_next(ForeignScanState *node)
{
	TableScan *scan = node->fdw_state;
	RemoteStatus status;

	if (scan->is_done)
		return REMOTE_DONE;
	if (scan->stream == NULL)
		scan_open(node);

	status = remote_next(scan->stream, scan->received);
	if (status == REMOTE_ROW)
		row_map_store(scan->map, scan->received, scan->row);
	else if (status == REMOTE_DONE)
	{
		scan_close(scan);
		scan->is_done = true;
	}
	return status;
}

static TupleTableSlot *
iterate_scan(ForeignScanState *node)
{
	TableScan *scan = node->fdw_state;
	RemoteStatus status;

	while ((status = scan_next(node)) == REMOTE_PENDING)
		remote_wait();
	return status == REMOTE_ROW ? scan->row : ExecClearTuple(scan->row);
}

static void
rescan(ForeignScanState *node)
{
	TableScan *scan = node->fdw_state;

	ExecClearTuple(scan->row);
	ExecClearTuple(scan->received);
	scan_close(scan);
	scan->is_done = false;
}

static void
end_scan(ForeignScanState *node)
{
	TableScan *scan = node->fdw_state;

	if (scan == NULL || scan->received == NULL)
		return;
	ExecClearTuple(scan->row);
	ExecClearTuple(scan->received);
	scan_close(scan);
}

static void
explain_scan(ForeignScanState *node, ExplainState *es)
{
	TableScan *scan = node->fdw_state;
	RemoteStats stats = scan->stats;

	if (scan->stream != NULL)
		remote_stats_add(scan->stream, &stats);
	request_explain(scan->node, scan->request.sql, &stats, es);
	request_explain_plan(scan->plan, es);
}

DLOG_FUNCTION(dlog_fdw_handler);

Datum
dlog_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = get_rel_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;
	routine->BeginForeignScan = begin_scan;
	routine->IterateForeignScan = iterate_scan;
	routine->ReScanForeignScan = rescan;
	routine->EndForeignScan = end_scan;
	routine->ExplainForeignScan = explain_scan;

	modify_set_routines(routine);
	direct_modify_set_routines(routine);
	import_set_routines(routine);
	analyze_set_routines(routine);

	PG_RETURN_POINTER(routine);
}
