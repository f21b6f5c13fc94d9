/*
 * partial.c
 *		A plan whose aggregates are left unfinished.
 *
 * The asking node combines the transition states of several nodes and runs
 * the final functions.  The planner makes plans whose aggregates are whole,
 * or in a parallel plan partial ones below and a finalizing one on top.  The
 * topmost aggregation of such a plan is turned into one that stops short: the first kind returns its states, the second combines those below
 * and returns the states again.  States of type internal are serialized.
 *
 * A plan without aggregation is left alone: it is the planner's min() and
 * max() by index, whose results are their states.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"

#include "remote/remote_internal.h"

#define COMBINE_AND_PASS_ON \
	((AggSplit) (AGGSPLITOP_COMBINE | AGGSPLITOP_SKIPFINAL | \
				 AGGSPLITOP_SERIALIZE | AGGSPLITOP_DESERIALIZE))

static bool
mark_aggregates(Node *node, void *argument)
{
	AggSplit split = *(AggSplit *) argument;

	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		Aggref *aggregate = (Aggref *) node;

		/* It may stand in several places. */
		if (aggregate->aggsplit == split)
			return false;
		aggregate->aggsplit = AGGSPLIT_SIMPLE;
		mark_partial_aggref(aggregate, split);
		return false;
	}
	return expression_tree_walker(node, mark_aggregates, argument);
}

typedef struct Retype
{
	Index varno;
	List *below; /* target list of the plan below */
} Retype;

/* What comes from below has another type now. */
static bool
retype_vars(Node *node, void *argument)
{
	Retype *retype = argument;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;
		TargetEntry *entry;

		if (var->varno != retype->varno)
			return false;
		entry = get_tle_by_resno(retype->below, var->varattno);
		if (entry == NULL)
			return false;
		var->vartype = exprType((Node *) entry->expr);
		var->vartypmod = exprTypmod((Node *) entry->expr);
		var->varcollid = exprCollation((Node *) entry->expr);
		return false;
	}
	return expression_tree_walker(node, retype_vars, argument);
}

static void
retype_targets(Plan *plan, Index varno, Plan *below)
{
	Retype retype = {varno, below->targetlist};

	(void) retype_vars((Node *) plan->targetlist, &retype);
	(void) retype_vars((Node *) plan->qual, &retype);
}

/*
 * leave_unfinished
 *		Change the topmost aggregations of a plan, in place; true if any.
 */
static bool
leave_unfinished(Plan *plan)
{
	List *members = NIL;
	ListCell *cell;
	Plan *below;
	Index varno = OUTER_VAR;
	bool any = false;

	if (plan == NULL)
		return false;
	switch (nodeTag(plan))
	{
		case T_Agg:
		{
			Agg *agg = (Agg *) plan;
			AggSplit split;

			if (agg->aggsplit == AGGSPLIT_SIMPLE)
				split = AGGSPLIT_INITIAL_SERIAL;
			else if (agg->aggsplit == AGGSPLIT_FINAL_DESERIAL)
				split = COMBINE_AND_PASS_ON;
			else
				return false;
			agg->aggsplit = split;
			(void) mark_aggregates((Node *) plan->targetlist, &split);
			return true;
		}
		case T_Append:
			members = ((Append *) plan)->appendplans;
			break;
		case T_MergeAppend:
			members = ((MergeAppend *) plan)->mergeplans;
			break;
		case T_SubqueryScan:
			members = list_make1(((SubqueryScan *) plan)->subplan);
			varno = ((Scan *) plan)->scanrelid;
			break;
		case T_Gather:
		case T_GatherMerge:
		case T_Sort:
		case T_IncrementalSort:
		case T_Material:
		case T_Limit:
		case T_Unique:
		case T_Result:
		case T_ProjectSet:
			if (outerPlan(plan) != NULL)
				members = list_make1(outerPlan(plan));
			break;
		default:
			break;
	}
	if (members == NIL)
		return false;
	foreach(cell, members)
		any |= leave_unfinished(lfirst(cell));
	below = linitial(members);
	if (any)
		retype_targets(plan, varno, below);
	return any;
}

/*
 * remote_leave_unfinished
 *		Make a plan that was just made return transition states.
 */
void
remote_leave_unfinished(PlannedStmt *stmt)
{
	if (stmt->commandType != CMD_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("only a SELECT can be left unfinished")));
	(void) leave_unfinished(stmt->planTree);
}
