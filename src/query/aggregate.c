/*
 * aggregate.c
 *		Grouping, DISTINCT and ORDER BY over a fan-out.
 *
 * Where all rows of a group are on one node, the nodes group in full, HAVING
 * included: when there is only one node, or when GROUP BY has the partition
 * key at every level of partitioning that spreads over nodes.  Otherwise the
 * nodes return transition states, as parallel workers do, and an ordinary
 * Finalize Aggregate combines them with those of the local part.  That takes a
 * combine function, and for internal states serialization, of every aggregate,
 * and none may sort or compare its input; but count(DISTINCT ...) of what the
 * partition key is part of may, where counts are all that is asked for: no
 * value is counted by two nodes, so that their counts are added up.
 *
 * Where an aggregate can only be computed here, the nodes compute at least
 * what it is given: percentile_cont() of a numeric gets floats from them.  If
 * a percentile is all that is asked for, most values stay there, see
 * fanout_select.c.
 *
 * A FanoutBase's "not_pushed" tells EXPLAIN why neither was possible.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/planner.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "base/guc.h"
#include "base/pg_compat.h"
#include "query/fanout.h"

#define FLOAT8_GREATER 674 /* the operator has no name in pg_operator.h */

/* --- may it be done there? ------------------------------------------------ */

/* Why an aggregate cannot be split over nodes, or NULL if it can. */
static const char *
aggregate_not_partial(Aggref *aggregate)
{
	const char *name = get_func_name(aggregate->aggfnoid);
	HeapTuple tuple;
	Form_pg_aggregate form;
	const char *reason = NULL;

	if (aggregate->aggdistinct != NIL)
		return psprintf("aggregate %s has DISTINCT", name);
	if (aggregate->aggorder != NIL && aggregate->aggkind == AGGKIND_NORMAL)
		return psprintf("aggregate %s has ORDER BY", name);

	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate->aggfnoid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u",
			 aggregate->aggfnoid);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	if (!OidIsValid(form->aggcombinefn))
		reason = psprintf("aggregate %s has no combine function", name);
	else if (form->aggkind != AGGKIND_NORMAL)
		reason = psprintf("aggregate %s sorts its input", name);
	else if (aggregate->aggtranstype == INTERNALOID &&
			 (!OidIsValid(form->aggserialfn) ||
			  !OidIsValid(form->aggdeserialfn)))
		reason = psprintf("aggregate %s has no serialization function", name);
	ReleaseSysCache(tuple);
	return reason;
}

/* Where the leaves below a relation are, if not all on one other node. */
#define PLACE_HERE (-1)
#define PLACE_SEVERAL (-2)
#define PLACE_NONE (-3)

static int
place_of_leaf(FanoutBase *base, RelOptInfo *leaf)
{
	ListCell *lc;

	foreach(lc, base->remote_leaves)
	{
		RemoteLeaf *remote = lfirst(lc);

		if (remote->rel == leaf)
			return remote->home.node;
	}
	return PLACE_HERE;
}

/*
 * The node where all leaves below rel are, or one of the above; and could
 * groups by these expressions, given for the base, be torn apart?
 */
static int
place_of_groups(PlannerInfo *root, FanoutBase *base, RelOptInfo *rel,
				List *expressions, List *clauses, bool *torn)
{
	int place = PLACE_NONE;
	int i = -1;

	while ((i = bms_next_member(rel->live_parts, i)) >= 0)
	{
		RelOptInfo *child = rel->part_rels[i];
		int child_place;

		if (child == NULL || IS_DUMMY_REL(child))
			continue;
		if (child->part_scheme != NULL)
			child_place = place_of_groups(root, base, child, expressions,
										  clauses, torn);
		else
			child_place = place_of_leaf(base, child);

		if (child_place == PLACE_NONE)
			continue;
		if (place == PLACE_NONE)
			place = child_place;
		else if (place != child_place)
			place = PLACE_SEVERAL;
	}
	if (place == PLACE_SEVERAL)
	{
		if (rel != base->rel)
			expressions = (List *)
				adjust_appendrel_attrs_to_child(root, (Node *) expressions,
												rel, base->rel);
		if (!partitionwise_has_key(rel, expressions, clauses))
			*torn = true;
	}
	return place;
}

/*
 * fanout_groups_are_whole
 *		Are rows that are equal in these expressions all on the same node?
 */
bool
fanout_groups_are_whole(PlannerInfo *root, FanoutBase *base, List *expressions,
						List *clauses)
{
	ListCell *lc;

	if (base->is_full)
		return false;
	/* All tables of a join have their rows of one group in the same place. */
	foreach(lc, base->members)
	{
		FanoutBase *member = lfirst(lc);
		bool torn = false;

		/* Rows without a partner have no key of it. */
		if (member->is_replicated || fanout_attachment(base, member) != NULL)
			continue;
		place_of_groups(root, member, member->rel, expressions, clauses,
						&torn);
		if (!torn)
			return true;
	}
	return false;
}

/* What keeps the rows themselves from being complete over there. */
const char *
fanout_rows_not_there(FanoutBase *base)
{
	return base->local_quals != NIL || base->has_pseudoconstants ? base->not_pushed : NULL;
}

static bool
column_may_travel(PlannerInfo *root, FanoutBase *base, Node *expression,
				  const char **reason)
{
	/* A value that has no column in it is better put in here. */
	if (expression_is_constant_here(expression, base->rel->relids))
	{
		*reason = "it groups by a value that is the same for all rows";
		return false;
	}
	return expression_is_shippable(root, base->rel->relids, expression, true,
								   reason);
}

/* --- grouping --------------------------------------------------------------- */

typedef struct GroupedColumns
{
	List *keys; /* the expressions of GROUP BY */
	PathTarget *columns;
} GroupedColumns;

/* Add what an expression over groups is computed from, but for their keys. */
static bool
collect_grouped(Node *node, void *argument)
{
	GroupedColumns *collected = argument;

	if (node == NULL || list_member(collected->keys, node))
		return false;
	if (IsA(node, Var) || IsA(node, Aggref) || IsA(node, PlaceHolderVar))
	{
		add_new_column_to_pathtarget(collected->columns, (Expr *) node);
		return false;
	}
	return expression_tree_walker(node, collect_grouped, argument);
}

/*
 * The columns of grouped rows: the expressions of GROUP BY, and all
 * aggregates, and columns that depend on those, each by itself.  The order is
 * that of the grouping target.
 *
 * NULL if the target has columns that are neither.  The planner adds those of
 * which a key is computed, when it computes with the key later on; to it, the
 * value is that of any row.
 */
static PathTarget *
grouped_columns(PlannerInfo *root, PathTarget *target, List *having)
{
	PathTarget *columns = create_empty_pathtarget();
	List *keys = get_sortgrouplist_exprs(root->parse->groupClause, root->processed_tlist);
	GroupedColumns collected = {keys, columns};
	GroupedColumns needed = {keys, create_empty_pathtarget()};
	List *others = list_copy(having);
	ListCell *lc;

	foreach(lc, target->exprs)
	{
		Index reference = get_pathtarget_sortgroupref(target,
													  foreach_current_index(lc));

		if (reference != 0 && root->parse->groupClause != NIL &&
			get_sortgroupref_clause_noerr(reference,
										  root->parse->groupClause) != NULL)
			add_column_to_pathtarget(columns, lfirst(lc), reference);
		else
			others = lappend(others, lfirst(lc));
	}
	(void) collect_grouped((Node *) others, &collected);

	(void) collect_grouped((Node *) root->processed_tlist, &needed);
	(void) collect_grouped((Node *) having, &needed);
	(void) collect_grouped(root->parse->havingQual, &needed);
	foreach(lc, columns->exprs)
	{
		if (IsA(lfirst(lc), Var) && !list_member(keys, lfirst(lc)) &&
			!list_member(needed.columns->exprs, lfirst(lc)))
			return NULL;
	}
	return columns;
}

/* The same with the aggregates in the state that nodes send. */
static PathTarget *
partial_columns(PlannerInfo *root, PathTarget *columns)
{
	PathTarget *partial = copy_pathtarget(columns);
	ListCell *lc;

	foreach(lc, partial->exprs)
	{
		if (IsA(lfirst(lc), Aggref))
		{
			Aggref *aggregate = makeNode(Aggref);

			memcpy(aggregate, lfirst(lc), sizeof(Aggref));
			mark_partial_aggref(aggregate, AGGSPLIT_INITIAL_SERIAL);
			lfirst(lc) = aggregate;
		}
	}
	return set_pathtarget_cost_width(root, partial);
}

/*
 * The GROUP BY clause of the fragment.  A column that is not grouped by but
 * depends on what is, by a primary key, is added: it changes no group, and the
 * relations over there need not know of the key.
 */
static List *
fragment_group_clause(PlannerInfo *root, PathTarget *columns)
{
	List *clauses = list_copy(root->parse->groupClause);
	Index last_reference = 0;
	int i;
	ListCell *lc;

	if (clauses == NIL)
		return NIL;
	foreach(lc, root->parse->targetList)
		last_reference = Max(last_reference,
							 lfirst_node(TargetEntry, lc)->ressortgroupref);

	i = 0;
	foreach(lc, columns->exprs)
	{
		Node *expression = lfirst(lc);

		if (!IsA(expression, Aggref) &&
			get_pathtarget_sortgroupref(columns, i) == 0)
		{
			SortGroupClause *clause = makeNode(SortGroupClause);

			get_sort_group_operators(exprType(expression), false, true, false,
									 &clause->sortop, &clause->eqop, NULL,
									 &clause->hashable);
			clause->tleSortGroupRef = ++last_reference;
			columns->sortgrouprefs[i] = clause->tleSortGroupRef;
			clauses = lappend(clauses, clause);
		}
		i++;
	}
	return clauses;
}

/* An Agg over a path, hashed where it can be. */
static Path *
aggregate_path(PlannerInfo *root, RelOptInfo *rel, Path *input,
			   PathTarget *target, AggSplit split, List *having,
			   double groups)
{
	Query *parse = root->parse;
	AggClauseCosts costs;
	AggStrategy strategy = AGG_PLAIN;

	MemSet(&costs, 0, sizeof(costs));
	get_agg_clause_costs(root, split, &costs);
	if (parse->groupClause != NIL)
	{
		if (root->numOrderedAggs == 0 &&
			grouping_is_hashable(parse->groupClause) &&
			(enable_hashagg || !grouping_is_sortable(parse->groupClause)))
			strategy = AGG_HASHED;
		else
		{
			strategy = AGG_SORTED;
			if (!pathkeys_contained_in(root->group_pathkeys, input->pathkeys))
				input = (Path *) create_sort_path(root, rel, input,
												  root->group_pathkeys, -1.0);
		}
	}
	return (Path *) create_agg_path(root, rel, input, target, strategy, split,
									parse->groupClause, having, &costs, groups);
}

/* How many groups do "rows" of all input rows fall into? */
static double
groups_of_rows(PlannerInfo *root, RelOptInfo *input_rel, double rows)
{
	List *expressions;

	if (root->parse->groupClause == NIL)
		return 1;
	expressions = get_sortgrouplist_exprs(root->parse->groupClause,
										  root->parse->targetList);
	return estimate_num_groups(root, expressions, rows, NULL, NULL);
}

static double
work_per_row(PlannerInfo *root, AggSplit split)
{
	AggClauseCosts costs;

	MemSet(&costs, 0, sizeof(costs));
	get_agg_clause_costs(root, split, &costs);
	return costs.transCost.per_tuple +
		   cpu_operator_cost * list_length(root->parse->groupClause);
}

/* The nodes' groups are the query's groups. */
static void
add_whole_groups(PlannerInfo *root, FanoutBase *base, RelOptInfo *input_rel,
				 RelOptInfo *grouped_rel, PathTarget *columns,
				 List *having, bool having_travels)
{
	FanoutPath *path;
	Path *local = NULL;
	double rows = fanout_rows_there(base);

	if (base->local_leaves != NIL)
	{
		Path *append = fanout_local_rows(root, base, input_rel->reltarget,
										 NULL);

		if (append == NULL)
			return;
		local = aggregate_path(root, grouped_rel, append, columns,
							   AGGSPLIT_SIMPLE, having,
							   groups_of_rows(root, input_rel, append->rows));
	}
	path = fanout_path_create(root, base, grouped_rel, grouped_rel->reltarget,
							  columns, local);
	path->group_clause = fragment_group_clause(root, columns);
	path->is_grouped = true;
	path->always_ask = root->parse->groupClause == NIL;
	if (having_travels)
		path->having = having;
	else
		path->local_quals = having;
	fanout_path_cost(root, path, groups_of_rows(root, input_rel, rows),
					 work_per_row(root, AGGSPLIT_SIMPLE));
	base->grouped = path;
	/* Nothing is better, and estimates for tables elsewhere may be poor. */
	grouped_rel->pathlist = NIL;
	add_path(grouped_rel, &path->custom.path);
}

static bool
groups_by_expression(PlannerInfo *root)
{
	ListCell *lc;

	foreach(lc, root->parse->groupClause)
		if (!IsA(get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc),
										  root->parse->targetList),
				 Var))
			return true;
	return false;
}

/* The nodes' groups are combined here. */
static void
add_partial_groups(PlannerInfo *root, FanoutBase *base, RelOptInfo *input_rel,
				   RelOptInfo *grouped_rel, PathTarget *columns, List *having)
{
	FanoutPath *path;
	Path *local = NULL;
	double rows = fanout_rows_there(base);
	double per_node = rows / list_length(base->nodes);
	double groups_there;

	if (having != NIL || root->parse->limitCount != NULL)
		fanout_note(&base->not_pushed_groups, "a group has rows of several nodes");
	columns = partial_columns(root, columns);
	if (base->local_leaves != NIL)
	{
		Path *append = fanout_local_rows(root, base, input_rel->reltarget,
										 NULL);

		if (append == NULL)
			return;
		local = aggregate_path(root, grouped_rel, append, columns,
							   AGGSPLIT_INITIAL_SERIAL, NIL,
							   groups_of_rows(root, input_rel, append->rows));
	}
	path = fanout_path_create(root, base, grouped_rel, columns, columns, local);
	path->kind = REMOTE_PARTIAL;
	path->group_clause = fragment_group_clause(root, columns);
	path->is_grouped = true;
	groups_there = groups_of_rows(root, input_rel, clamp_row_est(per_node)) *
				   list_length(base->nodes);
	fanout_path_cost(root, path, groups_there,
					 work_per_row(root, AGGSPLIT_INITIAL_SERIAL));

	/*
	 * How many hours there are among the values of a timestamp is not known:
	 * without statistics of the expression the planner takes it for as many
	 * as there are values, and would pull them all.
	 */
	if (groups_by_expression(root))
		grouped_rel->pathlist = NIL;
	add_path(grouped_rel,
			 aggregate_path(root, grouped_rel, &path->custom.path,
							grouped_rel->reltarget, AGGSPLIT_FINAL_DESERIAL,
							having,
							groups_of_rows(root, input_rel,
										   input_rel->cheapest_total_path->rows)));
}

/* What grouping here needs to be given, computed as far as it can be. */
static PathTarget *
argument_columns(PlannerInfo *root, FanoutBase *base, PathTarget *columns)
{
	PathTarget *arguments = create_empty_pathtarget();
	List *others = NIL;
	ListCell *lc;

	foreach(lc, columns->exprs)
	{
		Aggref *aggregate = lfirst(lc);
		Index reference = get_pathtarget_sortgroupref(columns, foreach_current_index(lc));
		ListCell *inner;

		if (!IsA(aggregate, Aggref))
		{
			add_column_to_pathtarget(arguments, (Expr *) aggregate, reference);
			continue;
		}
		foreach(inner, aggregate->args)
		{
			Expr *argument = lfirst_node(TargetEntry, inner)->expr;

			if (!expression_is_constant_here((Node *) argument, base->rel->relids))
				add_new_column_to_pathtarget(arguments, argument);
		}
		others = lappend(others, aggregate->aggfilter);
		others = list_concat(others, aggregate->aggdirectargs);
	}
	add_new_columns_to_pathtarget(arguments,
								  pull_var_clause((Node *) others, PVC_RECURSE_PLACEHOLDERS));
	return set_pathtarget_cost_width(root, arguments);
}

/*
 * The order that the only aggregate of the query sorts its input by, or NIL.
 * It sorts in any case, but what comes in order it sorts in no time, and the
 * nodes sort at the same time.
 */
static List *
argument_pathkeys(PlannerInfo *root, PathTarget *columns)
{
	Aggref *aggregate = list_length(columns->exprs) == 1 ? linitial(columns->exprs) : NULL;

	if (aggregate == NULL || !IsA(aggregate, Aggref) || root->parse->groupClause != NIL ||
		aggregate->aggfilter != NULL)
		return NIL;
	return make_pathkeys_for_sortclauses(root, aggregate->aggorder, aggregate->args);
}

/* With fewer values, sorting them costs less than asking twice. */
#define SELECTION_LEAST_ROWS 10000

/*
 * The percentile of float8 values that is all that the query asks for, or
 * NULL.  Anything unusual is left to the server's function, errors included.
 */
static FanoutSelection *
percentile_of(PathTarget *columns)
{
	Aggref *aggregate = list_length(columns->exprs) == 1 ? linitial(columns->exprs) : NULL;
	FanoutSelection *selection;
	SortGroupClause *order;
	Const *fraction;

	if (aggregate == NULL || !IsA(aggregate, Aggref) || aggregate->aggfilter != NULL ||
		aggregate->aggdistinct != NIL || aggregate->aggtype != FLOAT8OID ||
		(aggregate->aggfnoid != F_PERCENTILE_CONT_FLOAT8_FLOAT8 &&
		 aggregate->aggfnoid != F_PERCENTILE_DISC_FLOAT8_ANYELEMENT) ||
		list_length(aggregate->aggorder) != 1)
		return NULL;
	order = linitial_node(SortGroupClause, aggregate->aggorder);
	fraction = linitial(aggregate->aggdirectargs);
	if ((order->sortop != Float8LessOperator && order->sortop != FLOAT8_GREATER) ||
		!IsA(fraction, Const) || fraction->constisnull ||
		!(DatumGetFloat8(fraction->constvalue) >= 0 && DatumGetFloat8(fraction->constvalue) <= 1))
		return NULL;
	selection = palloc0(sizeof(FanoutSelection));
	selection->fraction = DatumGetFloat8(fraction->constvalue);
	selection->is_continuous = aggregate->aggfnoid == F_PERCENTILE_CONT_FLOAT8_FLOAT8;
	selection->is_descending = order->sortop == FLOAT8_GREATER;
	return selection;
}

/* A percentile of many values: they are sampled, and what is around it fetched. */
static bool
add_selection(PlannerInfo *root, FanoutBase *base, RelOptInfo *input_rel,
			  RelOptInfo *grouped_rel, PathTarget *columns, List *having)
{
	FanoutSelection *selection = percentile_of(columns);
	double rows = fanout_rows_there(base);
	PathTarget *arguments;
	FanoutPath *path;
	Path *local = NULL;

	if (selection == NULL || having != NIL || root->parse->groupClause != NIL ||
		input_rel->cheapest_total_path->rows < SELECTION_LEAST_ROWS)
		return false;
	arguments = argument_columns(root, base, columns);
	if (list_length(arguments->exprs) != 1)
		return false;
	if (base->local_leaves != NIL)
	{
		local = fanout_local_rows(root, base, arguments, NULL);
		if (local == NULL)
			return false;
		selection->rows_here = local->rows;
	}
	selection->rows_there = rows;
	path = fanout_path_create(root, base, grouped_rel, grouped_rel->reltarget, arguments, local);
	path->answer = columns;
	path->selects = selection;
	fanout_path_cost(root, path, rows / 10, arguments->cost.per_tuple);
	path->custom.path.rows = 1;
	grouped_rel->pathlist = NIL;
	add_path(grouped_rel, &path->custom.path);
	return true;
}

static bool
has_computed_column(PathTarget *columns)
{
	ListCell *lc;

	foreach(lc, columns->exprs)
		if (!IsA(lfirst(lc), Var))
			return true;
	return false;
}

/* All is grouped here, but what is grouped is computed and sorted by the nodes. */
static void
add_groups_here(PlannerInfo *root, FanoutBase *base, RelOptInfo *input_rel,
				RelOptInfo *grouped_rel, PathTarget *columns, List *having)
{
	PathTarget *arguments = argument_columns(root, base, columns);
	List *pathkeys = argument_pathkeys(root, columns);
	double rows = fanout_rows_there(base);
	FanoutPath *path;

	path = fanout_path_create(root, base, grouped_rel, arguments, arguments, NULL);
	if (pathkeys != NIL && !fanout_path_sort(root, path, pathkeys))
		pathkeys = NIL;

	/* Columns alone are no more than the scan delivers anyway. */
	if (pathkeys == NIL && !has_computed_column(arguments))
		return;
	if (base->local_leaves != NIL)
	{
		Path *local = pathkeys != NIL ?
						  fanout_local_sorted(root, base, path->columns, pathkeys, -1.0) :
						  fanout_local_rows(root, base, arguments, NULL);

		if (local == NULL)
			return;
		path->custom.custom_paths = list_make1(local);
	}
	fanout_path_cost(root, path, rows, arguments->cost.per_tuple);
	grouped_rel->pathlist = NIL;
	add_path(grouped_rel,
			 aggregate_path(root, grouped_rel, &path->custom.path, grouped_rel->reltarget,
							AGGSPLIT_SIMPLE, having,
							groups_of_rows(root, input_rel,
										   input_rel->cheapest_total_path->rows)));
}

/* Is this a count, of values that are each found on one node only? */
static bool
count_adds_up(PlannerInfo *root, FanoutBase *base, Aggref *aggregate)
{
	List *expressions;

	if (!IsA(aggregate, Aggref) || (aggregate->aggfnoid != F_COUNT_ &&
									aggregate->aggfnoid != F_COUNT_ANY))
		return false;
	if (aggregate->aggdistinct == NIL)
		return true;
	expressions = get_sortgrouplist_exprs(aggregate->aggdistinct,
										  aggregate->args);
	return fanout_groups_are_whole(root, base, expressions, aggregate->aggdistinct);
}

/* The nodes' counts are added up here. */
static void
add_counts(PlannerInfo *root, FanoutBase *base, RelOptInfo *input_rel,
		   RelOptInfo *grouped_rel, PathTarget *columns)
{
	FanoutPath *path;
	Path *local = NULL;

	if (base->local_leaves != NIL)
	{
		Path *append;

		local = partitionwise_counts(root, base->rel, fanout_separate_leaves(base),
									 input_rel->reltarget, grouped_rel, columns);
		append = local ? NULL : fanout_local_rows(root, base, input_rel->reltarget, NULL);
		if (append)
			local = aggregate_path(root, grouped_rel, append, columns, AGGSPLIT_SIMPLE, NIL, 1);
		if (local == NULL)
			return;
	}
	path = fanout_path_create(root, base, grouped_rel, grouped_rel->reltarget,
							  columns, local);
	path->kind = REMOTE_COUNTS;
	path->is_grouped = true;
	path->adds_up = true;
	fanout_path_cost(root, path, list_length(base->nodes),
					 work_per_row(root, AGGSPLIT_SIMPLE));
	path->custom.path.rows = 1;
	grouped_rel->pathlist = NIL;
	add_path(grouped_rel, &path->custom.path);
}

/*
 * fanout_add_group_paths
 *		Consider both ways for a GROUP BY or aggregates over the base.
 */
void
fanout_add_group_paths(PlannerInfo *root, FanoutBase *base,
					   RelOptInfo *input_rel, RelOptInfo *grouped_rel,
					   GroupPathExtraData *extra)
{
	Query *parse = root->parse;
	List *having = (List *) extra->havingQual;
	PathTarget *columns;
	List *expressions;
	ListCell *lc;
	const char *reason = fanout_rows_not_there(base);
	bool whole;
	bool having_travels;

	if (parse->groupingSets != NIL)
		reason = "it has grouping sets";
	else if (parse->hasTargetSRFs)
		reason = "it has a set-returning function";
	else if (!grouping_is_sortable(parse->groupClause) &&
			 (root->numOrderedAggs > 0 || !grouping_is_hashable(parse->groupClause)))
		reason = "it groups by a type without an order";
	if (reason)
	{
		base->not_pushed = reason;
		return;
	}

	expressions = get_sortgrouplist_exprs(parse->groupClause,
										  parse->targetList);
	whole = fanout_groups_are_whole(root, base, expressions, parse->groupClause);
	having_travels = whole &&
					 expression_is_shippable(root, base->rel->relids, (Node *) having,
											 true, &base->not_pushed_groups);
	columns = grouped_columns(root, grouped_rel->reltarget,
							  having_travels ? NIL : having);
	if (columns == NULL)
	{
		base->not_pushed = "it computes with what it groups by, above the groups";
		return;
	}
	if (columns->sortgrouprefs == NULL)
		columns->sortgrouprefs = palloc0(sizeof(Index) *
										 Max(list_length(columns->exprs), 1));
	columns = set_pathtarget_cost_width(root, columns);
	foreach(lc, columns->exprs)
	{
		column_may_travel(root, base, lfirst(lc), &reason);
		if (reason)
		{
			base->not_pushed = reason;
			return;
		}
	}

	if (whole)
	{
		add_whole_groups(root, base, input_rel, grouped_rel, columns,
						 having, having_travels);
		return;
	}

	if (!dlog_enable_partial_aggregate)
	{
		base->not_pushed = "dlog.enable_partial_aggregate is off";
		return;
	}
	if (root->numOrderedAggs > 0 && parse->groupClause == NIL &&
		having == NIL && columns->exprs != NIL)
	{
		bool add_up = true;

		foreach(lc, columns->exprs)
			add_up = add_up && count_adds_up(root, base, lfirst(lc));
		if (add_up)
		{
			add_counts(root, base, input_rel, grouped_rel, columns);
			return;
		}
	}
	foreach(lc, columns->exprs)
	{
		if (IsA(lfirst(lc), Aggref))
			reason = aggregate_not_partial(lfirst(lc));
		if (reason)
		{
			base->not_pushed = reason;
			if (add_selection(root, base, input_rel, grouped_rel, columns, having))
				return;
			add_groups_here(root, base, input_rel, grouped_rel, columns, having);
			return;
		}
	}
	add_partial_groups(root, base, input_rel, grouped_rel, columns, having);
}

/* --- DISTINCT ------------------------------------------------------------------ */

/*
 * fanout_add_distinct_paths
 *		The nodes remove their duplicates; what is left is made distinct here.
 */
void
fanout_add_distinct_paths(PlannerInfo *root, FanoutBase *base,
						  RelOptInfo *input_rel, RelOptInfo *distinct_rel)
{
	Query *parse = root->parse;
	PathTarget *columns;
	FanoutPath *path;
	Path *local = NULL;
	List *expressions;
	double rows = fanout_rows_there(base);
	double groups;
	double groups_there;
	ListCell *lc;
	const char *reason = fanout_rows_not_there(base);

	if (parse->hasDistinctOn || parse->hasTargetSRFs ||
		parse->groupClause != NIL || parse->hasAggs || parse->hasWindowFuncs ||
		!grouping_is_hashable(parse->distinctClause) || !enable_hashagg)
		return;
	columns = copy_pathtarget(input_rel->reltarget);
	if (columns->sortgrouprefs == NULL)
		return;
	foreach(lc, columns->exprs)
	{
		Index reference = columns->sortgrouprefs[foreach_current_index(lc)];

		if (reference == 0 ||
			get_sortgroupref_clause_noerr(reference,
										  parse->distinctClause) == NULL)
			return;
		column_may_travel(root, base, lfirst(lc), &reason);
	}
	if (reason)
	{
		base->not_pushed = reason;
		return;
	}

	if (base->local_leaves != NIL)
	{
		local = fanout_local_rows(root, base, columns, NULL);
		if (local == NULL)
			return;
	}
	expressions = get_sortgrouplist_exprs(parse->distinctClause,
										  parse->targetList);
	groups = estimate_num_groups(root, expressions,
								 input_rel->cheapest_total_path->rows, NULL,
								 NULL);
	groups_there = estimate_num_groups(root, expressions,
									   clamp_row_est(rows / list_length(base->nodes)),
									   NULL, NULL) *
				   list_length(base->nodes);

	path = fanout_path_create(root, base, distinct_rel, columns, columns,
							  local);
	path->group_clause = parse->distinctClause;
	path->is_grouped = true;
	fanout_path_cost(root, path, groups_there,
					 cpu_operator_cost * list_length(parse->distinctClause));
	add_path(distinct_rel, (Path *)
							   create_agg_path(root, distinct_rel, &path->custom.path, columns,
											   AGG_HASHED, AGGSPLIT_SIMPLE,
											   parse->distinctClause, NIL, NULL, groups));
}

/* --- ORDER BY ... LIMIT over whole groups ------------------------------------- */

/*
 * fanout_add_ordered_paths
 *		The nodes sort their groups and send the first ones.
 */
void
fanout_add_ordered_paths(PlannerInfo *root, FanoutBase *base,
						 RelOptInfo *input_rel, RelOptInfo *ordered_rel)
{
	FanoutPath *grouped = base->grouped;
	FanoutPath *path;
	Path *generic;
	Path *local = NULL;
	Node *limit;
	double rows;
	double limit_tuples;

	if (grouped == NULL || grouped->custom.path.parent != input_rel ||
		grouped->local_quals != NIL || grouped->group_clause == NIL)
		return;
	limit = fanout_limit(root, base, true);
	if (limit == NULL)
		return;

	path = palloc(sizeof(FanoutPath));
	*path = *grouped;
	if (!fanout_path_sort(root, path, root->sort_pathkeys))
		return;
	path->limit = limit;

	/* The planner's own estimate of it is for what is not grouped. */
	limit_tuples = IsA(limit, Const) ? Max(DatumGetInt64(((Const *) limit)->constvalue), 1) : -1.0;

	if (grouped->custom.custom_paths != NIL)
	{
		Path *append = fanout_local_rows(root, base,
										 base->rel->reltarget, NULL);

		if (append == NULL)
			return;
		local = aggregate_path(root, input_rel, append, path->columns,
							   AGGSPLIT_SIMPLE, grouped->having,
							   ((Path *) linitial(grouped->custom.custom_paths))->rows);
		local = (Path *) create_sort_path(root, input_rel, local,
										  root->sort_pathkeys, limit_tuples);
		path->custom.custom_paths = list_make1(local);
	}

	rows = groups_of_rows(root, base->rel, fanout_rows_there(base));
	if (limit_tuples > 0)
		rows = Min(rows, limit_tuples * list_length(base->nodes));
	fanout_path_cost(root, path, rows, work_per_row(root, AGGSPLIT_SIMPLE));

	generic = &path->custom.path;
	if (!equal(generic->pathtarget->exprs,
			   root->upper_targets[UPPERREL_FINAL]->exprs))
		generic = apply_projection_to_path(root, ordered_rel, generic,
										   root->upper_targets[UPPERREL_FINAL]);
	add_path(ordered_rel, generic);
}
