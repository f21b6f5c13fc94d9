/*
 * window.c
 *		Window functions over a fan-out.
 *
 * Where each window's PARTITION BY has the partition key, or all rows are on
 * one node, no window has rows of two nodes: the nodes compute their windows,
 * we compute ours.  So it is with windows over groups, if these are whole on their
 * nodes.  What the planner has found to be asked of a window
 * function's value above (its "run conditions", such as row_number() <= 3)
 * travels along, so that only those rows come that are wanted.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/tlist.h"
#include "utils/lsyscache.h"

#include "base/pg_compat.h"
#include "query/fanout.h"

/* The window clauses that have functions. */
static List *
active_windows(PlannerInfo *root, WindowFuncLists *functions)
{
	List *result = NIL;
	ListCell *lc;

	foreach(lc, root->parse->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (functions->windowFuncs[window->winref] != NIL)
			result = lappend(result, window);
	}
	return result;
}

/* Do the nodes order by these expressions as this one does, and see them alike? */
static bool
sorts_alike(PlannerInfo *root, FanoutBase *base, List *clauses, bool are_over_groups,
			const char **reason)
{
	ListCell *lc;

	foreach(lc, clauses)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Node *expression = get_sortgroupclause_expr(clause, root->processed_tlist);

		if (!expression_is_shippable(root, base->rel->relids, expression, are_over_groups, reason))
			return false;
		if (clause->sortop >= FirstGenbkiObjectId || !type_is_portable(exprType(expression)))
		{
			*reason = "a window is ordered by a type that may differ on other nodes";
			return false;
		}
		if (!sorts_alike_everywhere(expression, reason))
			return false;
	}
	return true;
}

static bool
window_may_travel(PlannerInfo *root, FanoutBase *base, WindowClause *window,
				  bool is_over_groups, const char **reason)
{
	List *keys = get_sortgrouplist_exprs(window->partitionClause, root->processed_tlist);

	if (!fanout_groups_are_whole(root, base, keys, window->partitionClause))
	{
		*reason = "a window has rows of several nodes";
		return false;
	}
	return sorts_alike(root, base, window->partitionClause, is_over_groups, reason) &&
		   sorts_alike(root, base, window->orderClause, is_over_groups, reason) &&
		   expression_is_shippable(root, base->rel->relids, window->startOffset, false, reason) &&
		   expression_is_shippable(root, base->rel->relids, window->endOffset, false, reason);
}

/* Why the nodes cannot compute these windows, or NULL if they can. */
static const char *
windows_not_there(PlannerInfo *root, FanoutBase *base, List *windows, PathTarget *columns,
				  bool are_over_groups)
{
	const char *reason = fanout_rows_not_there(base);
	ListCell *lc;

	if (reason)
		return reason;
	if (root->parse->hasTargetSRFs)
		return "it has a set-returning function";
	foreach(lc, windows)
	{
		if (!window_may_travel(root, base, lfirst_node(WindowClause, lc), are_over_groups, &reason))
			return reason;
	}
	foreach(lc, columns->exprs)
	{
		if (!expression_is_shippable(root, base->rel->relids, lfirst(lc), true, &reason))
			return reason;
	}
	return NULL;
}

/* One WindowAgg for each window, as the planner stacks them. */
static Path *
stack_windows(PlannerInfo *root, RelOptInfo *rel, Path *path, PathTarget *columns,
			  List *windows, WindowFuncLists *functions)
{
	PathTarget *target = path->pathtarget;
	List *conditions = NIL;
	ListCell *lc;

	foreach(lc, windows)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);
		List *here = functions->windowFuncs[window->winref];
		List *clauses = list_concat_copy(window->partitionClause, window->orderClause);
		List *pathkeys = make_pathkeys_for_sortclauses(root, clauses, root->processed_tlist);
		bool is_top = lnext(windows, lc) == NULL;
		ListCell *function;

		if (!pathkeys_contained_in(pathkeys, path->pathkeys))
			path = (Path *) create_sort_path(root, rel, path, pathkeys, -1.0);
		if (is_top)
			target = columns;
		else
		{
			target = copy_pathtarget(target);
			foreach(function, here)
				add_column_to_pathtarget(target, lfirst(function), 0);
			conditions = list_concat(conditions, window_run_conditions(window));
		}
		path = windowagg_path(root, rel, path, target, here, window,
							  is_top ? conditions : NIL, is_top);
	}
	return path;
}

/* Can the leaf's rows be sorted so?  Its columns must be known for these keys. */
static bool
leaf_has_keys(RelOptInfo *leaf, List *pathkeys)
{
	ListCell *lc;
	ListCell *inner;

	foreach(lc, pathkeys)
	{
		bool found = false;

		foreach(inner, lfirst_node(PathKey, lc)->pk_eclass->ec_members)
		{
			EquivalenceMember *member = lfirst(inner);

			found |= member->em_is_child && bms_equal(member->em_relids, leaf->relids);
		}
		if (!found)
			return false;
	}
	return true;
}

/* The windows over one leaf's rows. */
static Path *
leaf_windows(PlannerInfo *root, RelOptInfo *table, RelOptInfo *leaf, PathTarget *input,
			 PathTarget *columns, List *windows, WindowFuncLists *functions)
{
	Path *path = fanout_leaf_rows(root, table, leaf, input);
	WindowFuncLists there = *functions;
	List *translated = NIL;
	ListCell *lc;

	if (path == NULL)
		return NULL;
	there.windowFuncs = palloc0(sizeof(List *) * (functions->maxWinRef + 1));
	foreach(lc, windows)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);
		List *clauses = list_concat_copy(window->partitionClause, window->orderClause);

		if (!leaf_has_keys(leaf, make_pathkeys_for_sortclauses(root, clauses, root->processed_tlist)))
			return NULL;
		there.windowFuncs[window->winref] = (List *)
			adjust_appendrel_attrs_to_child(root, (Node *) functions->windowFuncs[window->winref],
											leaf, table);
		translated = lappend(translated,
							 adjust_appendrel_attrs_to_child(root, (Node *) window, leaf, table));
	}
	return stack_windows(root, leaf, path, fanout_leaf_target(root, table, leaf, columns),
						 translated, &there);
}

/*
 * The windows over each leaf's rows by themselves; NULL where a window may have
 * rows of two leaves.
 */
static Path *
partitionwise_windows(PlannerInfo *root, RelOptInfo *table, List *leaves, PathTarget *input,
					  RelOptInfo *window_rel, PathTarget *columns, List *windows,
					  WindowFuncLists *functions)
{
	List *paths = NIL;
	ListCell *lc;

	if (list_length(leaves) < 2)
		return NULL;
	foreach(lc, windows)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (!partitionwise_is_whole(root, table, table,
									get_sortgrouplist_exprs(window->partitionClause,
															root->processed_tlist),
									window->partitionClause))
			return NULL;
	}
	foreach(lc, leaves)
	{
		Path *path = leaf_windows(root, table, lfirst(lc), input, columns, windows, functions);

		if (path == NULL)
			return NULL;
		paths = lappend(paths, path);
	}
	return partitionwise_append(root, window_rel, paths, columns);
}

/*
 * fanout_add_partitionwise_windows
 *		Let a node that is asked for windows compute those of each partition by
 *		itself, where that may be and is cheaper.
 */
void
fanout_add_partitionwise_windows(PlannerInfo *root, RelOptInfo *input_rel,
								 RelOptInfo *window_rel)
{
	PathTarget *target = root->upper_targets[UPPERREL_WINDOW];
	List *leaves = partitionwise_leaves(root, input_rel);
	WindowFuncLists *functions;
	Path *path;

	if (leaves == NIL || root->parse->hasTargetSRFs || root->parse->hasAggs ||
		root->parse->groupClause != NIL || root->parse->groupingSets != NIL || root->hasHavingQual)
		return;
	functions = find_window_functions((Node *) target->exprs,
									  list_length(root->parse->windowClause));
	path = partitionwise_windows(root, input_rel, leaves, input_rel->reltarget, window_rel, target,
								 active_windows(root, functions), functions);
	if (path)
		add_path(window_rel, path);
}

/*
 * What the windows are computed from, and what is above them: the window
 * functions, the columns, and the expressions that windows are ordered by,
 * which the rows below have in place of the columns in them.
 */
static PathTarget *
window_columns(PlannerInfo *root, PathTarget *target, PathTarget *below)
{
	PathTarget *columns = create_empty_pathtarget();
	ListCell *lc;

	foreach(lc, target->exprs)
	{
		Node *expression = lfirst(lc);

		if (list_member(below->exprs, expression))
			add_new_column_to_pathtarget(columns, (Expr *) expression);
		else
			add_new_columns_to_pathtarget(columns,
										  pull_var_clause(expression,
														  PVC_INCLUDE_WINDOWFUNCS |
															  PVC_RECURSE_PLACEHOLDERS));
	}
	return set_pathtarget_cost_width(root, columns);
}

/* Nothing is better than this path: each row has to come in any case. */
static void
add_windows_there(PlannerInfo *root, FanoutPath *path, List *windows, double rows)
{
	RelOptInfo *window_rel = path->custom.path.parent;
	ListCell *lc;

	path->windows = windows;
	foreach(lc, windows)
	{
		WindowClause *window pg_attribute_unused() = lfirst_node(WindowClause, lc);

		path->window_conditions =
			list_concat(path->window_conditions,
						window_run_conditions(window));
	}
	fanout_path_cost(root, path, rows,
					 cpu_operator_cost * (list_length(path->columns->exprs) + 10));
	window_rel->pathlist = NIL;
	add_path(window_rel, &path->custom.path);
}

/*
 * fanout_add_window_path
 *		Let the nodes compute their windows, if these are whole.
 */
void
fanout_add_window_path(PlannerInfo *root, FanoutBase *base, RelOptInfo *input_rel,
					   RelOptInfo *window_rel)
{
	PathTarget *target = root->upper_targets[UPPERREL_WINDOW];
	WindowFuncLists *functions;
	List *windows;
	PathTarget *columns;
	FanoutPath *path;
	Path *local = NULL;
	Path *separate;

	functions = find_window_functions((Node *) target->exprs,
									  list_length(root->parse->windowClause));
	windows = active_windows(root, functions);
	columns = window_columns(root, target, input_rel->reltarget);
	base->not_pushed = windows_not_there(root, base, windows, columns, false);
	if (base->not_pushed)
		return;

	if (base->local_leaves != NIL)
	{
		local = fanout_local_rows(root, base, input_rel->reltarget, NULL);
		if (local == NULL)
			return;
		local = stack_windows(root, window_rel, local, columns, windows, functions);
		separate = partitionwise_windows(root, base->rel, fanout_separate_leaves(base),
										 input_rel->reltarget, window_rel, columns, windows,
										 functions);
		if (separate && separate->total_cost < local->total_cost)
			local = separate;
	}
	path = fanout_path_create(root, base, window_rel, target, columns, local);
	add_windows_there(root, path, windows, fanout_rows_there(base));
}

/*
 * The groups' columns, and the expressions that windows are ordered by, which
 * plans know by their numbers.
 */
static PathTarget *
columns_with_keys(PlannerInfo *root, PathTarget *grouped, PathTarget *keys)
{
	PathTarget *columns = copy_pathtarget(grouped);
	ListCell *key;

	foreach(key, keys->exprs)
	{
		Index number = get_pathtarget_sortgroupref(keys, foreach_current_index(key));
		ListCell *column;

		foreach(column, columns->exprs)
		{
			if (equal(lfirst(column), lfirst(key)))
				break;
		}
		if (column == NULL)
			add_column_to_pathtarget(columns, lfirst(key), number);
		else if (columns->sortgrouprefs[list_cell_number(columns->exprs, column)] == 0)
			columns->sortgrouprefs[list_cell_number(columns->exprs, column)] = number;
	}
	return set_pathtarget_cost_width(root, columns);
}

/*
 * fanout_add_window_path_over_groups
 *		The same for windows over groups, which are "input_rel".
 */
void
fanout_add_window_path_over_groups(PlannerInfo *root, FanoutBase *base, RelOptInfo *input_rel,
								   RelOptInfo *window_rel)
{
	PathTarget *target = root->upper_targets[UPPERREL_WINDOW];
	FanoutPath *grouped = base->grouped;
	WindowFuncLists *functions;
	List *windows;
	PathTarget *input;
	PathTarget *columns;
	FanoutPath *path;
	Path *local = NULL;
	const char *reason;
	ListCell *lc;

	if (grouped == NULL || grouped->custom.path.parent != input_rel)
	{
		fanout_note(&base->not_pushed_groups, "a group has rows of several nodes");
		return;
	}
	if (grouped->local_quals != NIL)
		return; /* which has been noted */

	input = columns_with_keys(root, grouped->columns, input_rel->reltarget);

	functions = find_window_functions((Node *) target->exprs,
									  list_length(root->parse->windowClause));
	windows = active_windows(root, functions);
	columns = copy_pathtarget(input);
	foreach(lc, windows)
	{
		ListCell *function;

		foreach(function, functions->windowFuncs[lfirst_node(WindowClause, lc)->winref])
			add_new_column_to_pathtarget(columns, lfirst(function));
	}
	columns = set_pathtarget_cost_width(root, columns);
	reason = windows_not_there(root, base, windows, columns, true);
	if (reason)
	{
		fanout_note(&base->not_pushed_groups, reason);
		return;
	}

	if (grouped->custom.custom_paths != NIL)
	{
		local = (Path *) create_projection_path(root, window_rel,
												linitial(grouped->custom.custom_paths), input);
		local = stack_windows(root, window_rel, local, columns, windows, functions);
	}
	path = fanout_path_create(root, base, window_rel, target, columns, local);
	path->group_clause = grouped->group_clause;
	path->is_grouped = true;
	path->always_ask = grouped->always_ask;
	path->having = grouped->having;
	add_windows_there(root, path, windows, grouped->custom.path.rows);
}
