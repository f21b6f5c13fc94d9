/*
 * plan_places.c
 *		Plans in which a value can be put: constants in place of a parameter.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

#include "query/fanout.h"
#include "query/kept_plan.h"

typedef struct Placing
{
	int parameter;
	int forbidden;
	List *places;
	bool has_failed;
} Placing;

/* The parameter becomes a constant.  Nodes are copied into the current context. */
static Node *
place_mutator(Node *node, void *argument)
{
	Placing *placing = argument;

	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN &&
		((Param *) node)->paramid == placing->parameter)
	{
		Param *param = (Param *) node;
		int16 length;
		bool by_value;
		Const *place;

		get_typlenbyval(param->paramtype, &length, &by_value);
		place = makeConst(param->paramtype, param->paramtypmod, param->paramcollid,
						  length, (Datum) 0, true, by_value);
		placing->places = lappend(placing->places, place);
		return (Node *) place;
	}

	if (IsA(node, ScalarArrayOpExpr) &&
		((ScalarArrayOpExpr *) node)->location == placing->forbidden)
		placing->has_failed = true;
	return expression_tree_mutator(node, place_mutator, argument);
}

#define PLACE(field) ((field) = (void *) place_mutator((Node *) (field), placing))

static void place_in_plan(Plan *plan, Placing *placing);

static void
place_in_plans(List *plans, Placing *placing)
{
	ListCell *cell;

	foreach(cell, plans)
		place_in_plan(lfirst(cell), placing);
}

static void
place_in_fanout(CustomScan *scan, Placing *placing)
{
	if (scan->methods != &fanout_scan_methods ||
		list_nth(scan->custom_private, FANOUT_PRUNE_INFO) != NULL)
	{
		placing->has_failed = true;
		return;
	}
	PLACE(scan->custom_exprs);
	PLACE(scan->custom_scan_tlist);
	place_in_plans(scan->custom_plans, placing);
}

/* Kinds of plans that are not listed are not kept. */
static void
place_in_plan(Plan *plan, Placing *placing)
{
	if (plan == NULL || placing->has_failed)
		return;
	check_stack_depth();
	PLACE(plan->targetlist);
	PLACE(plan->qual);
	if (plan->initPlan != NIL)
		placing->has_failed = true;
	switch (nodeTag(plan))
	{
		case T_SeqScan:
		case T_Agg:
		case T_Group:
		case T_Unique:
		case T_Sort:
		case T_IncrementalSort:
		case T_Material:
		case T_ProjectSet:
			break;
		case T_Result:
			PLACE(((Result *) plan)->resconstantqual);
			break;
		case T_Limit:
			PLACE(((Limit *) plan)->limitOffset);
			PLACE(((Limit *) plan)->limitCount);
			break;
		case T_WindowAgg:
			PLACE(((WindowAgg *) plan)->startOffset);
			PLACE(((WindowAgg *) plan)->endOffset);
			PLACE(((WindowAgg *) plan)->runCondition);
			PLACE(((WindowAgg *) plan)->runConditionOrig);
			break;
		case T_SubqueryScan:
			place_in_plan(((SubqueryScan *) plan)->subplan, placing);
			break;
		case T_IndexScan:
			PLACE(((IndexScan *) plan)->indexqual);
			PLACE(((IndexScan *) plan)->indexqualorig);
			PLACE(((IndexScan *) plan)->indexorderby);
			PLACE(((IndexScan *) plan)->indexorderbyorig);
			break;
		case T_IndexOnlyScan:
			PLACE(((IndexOnlyScan *) plan)->indexqual);
			PLACE(((IndexOnlyScan *) plan)->recheckqual);
			PLACE(((IndexOnlyScan *) plan)->indexorderby);
			PLACE(((IndexOnlyScan *) plan)->indextlist);
			break;
		case T_BitmapIndexScan:
			PLACE(((BitmapIndexScan *) plan)->indexqual);
			PLACE(((BitmapIndexScan *) plan)->indexqualorig);
			break;
		case T_BitmapHeapScan:
			PLACE(((BitmapHeapScan *) plan)->bitmapqualorig);
			break;
		case T_BitmapAnd:
			place_in_plans(((BitmapAnd *) plan)->bitmapplans, placing);
			break;
		case T_BitmapOr:
			place_in_plans(((BitmapOr *) plan)->bitmapplans, placing);
			break;
		case T_CustomScan:
			place_in_fanout((CustomScan *) plan, placing);
			break;
		default:
			placing->has_failed = true;
			break;
	}
	place_in_plan(plan->lefttree, placing);
	place_in_plan(plan->righttree, placing);
}

/*
 * plan_make_places
 *		Replace a parameter by constants, null for now, all over a plan that
 *		was just made or copied in the current memory context.
 *
 * Returns false if there are kinds of plans in it of which that is not known,
 * or a ScalarArrayOpExpr of the forbidden location.
 */
bool
plan_make_places(PlannedStmt *plan, int parameter, int forbidden, List **places)
{
	Placing placing = {.parameter = parameter, .forbidden = forbidden};

	if (plan->subplans != NIL)
		return false;
	place_in_plan(plan->planTree, &placing);
	*places = placing.places;
	return !placing.has_failed;
}
