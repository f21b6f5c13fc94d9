/*
 * fanout_plan.c
 *		The chosen fan-out path becomes a plan.
 *
 * A plan must survive being copied and cached, so all that the executor needs
 * stands in custom_private and custom_exprs, by the enums of fanout.h.  The
 * text is one for all nodes; what differs is which leaves a node is asked
 * about, and that is put together by the executor, after run-time pruning.
 *
 * Pruning uses the server's own steps.  The planner numbers range table
 * entries anew when it flattens subqueries and knows nothing of ours inside
 * custom_private, so the executor shifts them by the difference between the
 * base's index then (kept here) and after (scanrelid).
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/paramassign.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "partitioning/partprune.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/pg_compat.h"
#include "query/fanout.h"
#include "transport/transport.h"

/* What the text calls the union of foreign tables' relations. */
#define STAND_IN "fanout"

/* The remote leaves come first, then the local ones. */
static List *
leaf_paths(FanoutBase *base)
{
	List *paths = NIL;
	ListCell *lc;

	/* Pruning looks at the paths' relations only. */
	foreach(lc, base->remote_leaves)
		paths = lappend(paths,
						linitial(((RemoteLeaf *) lfirst(lc))->rel->pathlist));
	foreach(lc, base->local_leaves)
		paths = lappend(paths,
						linitial(((RelOptInfo *) lfirst(lc))->pathlist));
	return paths;
}

/* Columns of the outer side of a nested loop become its parameters. */
static Node *
outer_vars_mutator(Node *node, void *argument)
{
	PlannerInfo *root = argument;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		if (bms_is_member(var->varno, root->curOuterRels))
			return (Node *) replace_nestloop_param_var(root, var);
		return node;
	}
	return expression_tree_mutator(node, outer_vars_mutator, argument);
}

static bool
has_placeholder_walker(Node *node, void *argument)
{
	if (node == NULL)
		return false;
	if (IsA(node, PlaceHolderVar))
		return true;
	return expression_tree_walker(node, has_placeholder_walker, argument);
}

static PartitionPruneInfo *
prune_info(PlannerInfo *root, FanoutPath *path)
{
	FanoutBase *base = path->base;
	List *quals;

	if (!enable_partition_pruning || path->always_ask ||
		!IS_SIMPLE_REL(base->rel) || lookup_is_planned(root))
		return NULL;
	quals = extract_actual_clauses(base->rel->baserestrictinfo, false);
	if (path->custom.path.param_info)
	{
		List *clauses = path->custom.path.param_info->ppi_clauses;
		ListCell *lc;

		foreach(lc, extract_actual_clauses(clauses, false))
		{
			if (!has_placeholder_walker(lfirst(lc), NULL))
				quals = lappend(quals, outer_vars_mutator(lfirst(lc), root));
		}
	}
	if (quals == NIL)
		return NULL;
	return partition_prune_info(root, base->rel, leaf_paths(base), quals);
}

static List *
sort_operators(FanoutPath *path)
{
	List *operators = NIL;
	ListCell *lc;

	foreach(lc, path->sort_clause)
		operators = lappend_oid(operators,
								lfirst_node(SortGroupClause, lc)->sortop);
	return operators;
}

static List *
sort_nulls_first(FanoutPath *path)
{
	List *flags = NIL;
	ListCell *lc;

	foreach(lc, path->sort_clause)
		flags = lappend_int(flags,
							lfirst_node(SortGroupClause, lc)->nulls_first);
	return flags;
}

/* What the text calls a member, and what it must know of it. */
static FragmentTable *
fragment_table(PlannerInfo *root, FanoutBase *member)
{
	FragmentTable *table = palloc0(sizeof(FragmentTable));
	ListCell *lc;

	table->rti = member->rel->relid;
	if (!member->is_distributed)
	{
		table->stand_in = STAND_IN;
		return table;
	}
	table->over = planner_rt_fetch(member->rel->relid, root)->relid;
	foreach(lc, member->remote_leaves)
	{
		RemoteLeaf *leaf = lfirst(lc);

		table->leaf_oids = lappend_oid(table->leaf_oids, leaf->relid);
		table->leaf_names =
			lappend(table->leaf_names,
					quote_qualified_identifier(leaf->home.schema,
											   leaf->home.name));
	}
	return table;
}

static char *
fragment_of_path(PlannerInfo *root, FanoutPath *path, Fragment *fragment,
				 List **parameters)
{
	ListCell *lc;

	fragment->root = root;
	foreach(lc, path->base->members)
	{
		FragmentTable *table = fragment_table(root, lfirst(lc));
		FanoutAttachment *attachment = fanout_attachment(path->base, lfirst(lc));

		table->join = attachment ? attachment->type : JOIN_INNER;
		table->join_quals = attachment ? attachment->quals : NIL;
		fragment->tables = lappend(fragment->tables, table);
	}
	fragment->columns = path->columns->exprs;
	fragment->sortgrouprefs = path->columns->sortgrouprefs;
	fragment->quals = path->quals;
	fragment->group_clause = path->group_clause;
	fragment->having = path->having;
	fragment->sort_clause = path->sort_clause;
	fragment->is_grouped = path->is_grouped;
	fragment->limit = path->limit;
	fragment->windows = path->windows;
	fragment->window_conditions = path->window_conditions;
	return fragment_deparse(fragment, parameters);
}

static Node *
leaf_name(PlannerInfo *root, RemoteLeaf *leaf, const Fragment *fragment)
{
	RangeTblEntry *rte;

	if (leaf->member->is_distributed)
		return (Node *) makeString(pstrdup(leaf->home.name));
	rte = planner_rt_fetch(leaf->member->rel->relid, root);
	return (Node *)
		makeString(fragment_branch(leaf->relid, &leaf->home, rte->relid,
								   fragment_attributes(fragment,
													   leaf->member->rel->relid)));
}

static void
set_leaves(PlannerInfo *root, FanoutBase *base, const Fragment *fragment,
		   List **private)
{
	ListCell *lc;

	foreach(lc, base->members)
	{
		FanoutBase *member = lfirst(lc);
		Oid relid = planner_rt_fetch(member->rel->relid, root)->relid;
		char *schema = get_namespace_name(get_rel_namespace(relid));

		private[FANOUT_TABLES] =
			lappend(private[FANOUT_TABLES],
					list_make2(makeString(schema),
							   makeString(get_rel_name(relid))));
	}
	foreach(lc, base->nodes)
	private[FANOUT_NODES] =
		lappend(private[FANOUT_NODES],
				makeString(pstrdup(node_name(lfirst_int(lc)))));
	foreach(lc, base->remote_leaves)
	{
		RemoteLeaf *leaf = lfirst(lc);
		int table = 0;
		int node = 0;

		while (list_nth(base->members, table) != leaf->member)
			table++;
		while (list_nth_int(base->nodes, node) != leaf->home.node)
			node++;
		private[FANOUT_LEAF_TABLES] = lappend_int(private[FANOUT_LEAF_TABLES],
												  table);
		private[FANOUT_LEAF_NODES] = lappend_int(private[FANOUT_LEAF_NODES],
												 node);
		private[FANOUT_LEAF_NAMES] = lappend(private[FANOUT_LEAF_NAMES],
											 leaf_name(root, leaf, fragment));
	}
}

static Plan *
fanout_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *best_path,
			List *tlist, List *clauses, List *custom_plans)
{
	FanoutPath *path = (FanoutPath *) best_path;
	FanoutBase *base = path->base;
	FanoutBase *member = linitial(base->members);
	RangeTblEntry *rte = planner_rt_fetch(member->rel->relid, root);
	CustomScan *scan = makeNode(CustomScan);
	Fragment fragment = {0};
	List *private[FANOUT_N_PRIVATE] = {NULL};
	List *parameters;
	const char *not_pushed = NULL;

	if (path->windows == NIL)
		not_pushed = path->is_grouped ? base->not_pushed_groups : base->not_pushed;

	/* Pruning needs them, and a MIN/MAX subquery has no last step. */
	if (IS_SIMPLE_REL(base->rel))
		base->rel->boundinfo = base->boundinfo;

	private[FANOUT_SQL] = (List *)
		makeString(fragment_of_path(root, path, &fragment, &parameters));
	private[FANOUT_KIND] = (List *) makeInteger(path->kind);
	private[FANOUT_STAND_IN] = base->is_distributed ?
								   NULL :
								   (List *) makeString(pstrdup(STAND_IN));
	set_leaves(root, base, &fragment, private);
	private[FANOUT_PRUNE_INFO] = (List *) prune_info(root, path);
	private[FANOUT_RELATION] = (List *) makeInteger(base->rel->relid);
	private[FANOUT_USER] = list_make1_oid(rte_check_as_user(root->parse, rte));
	private[FANOUT_SORT_COLUMNS] = path->sort_columns;
	private[FANOUT_SORT_OPERATORS] = sort_operators(path);
	private[FANOUT_SORT_COLLATIONS] = path->sort_collations;
	private[FANOUT_SORT_NULLS_FIRST] = sort_nulls_first(path);
	private[FANOUT_LOCAL_COUNT] =
		(List *) makeInteger(list_length(base->local_leaves));
	private[FANOUT_ADDS_UP] = (List *) makeInteger(path->adds_up);
	private[FANOUT_NOT_PUSHED] = not_pushed ? (List *) makeString(pstrdup(not_pushed)) : NULL;
	private[FANOUT_SELECTION] = path->selects ? selection_to_list(path->selects) : NIL;
	for (int i = 0; i < FANOUT_N_PRIVATE; i++)
		scan->custom_private = lappend(scan->custom_private, private[i]);

	scan->custom_exprs = list_make3(parameters, path->local_quals,
									path->limit ? list_make1(path->limit) : NIL);

	/* The relation of a join is none of the range table: 0. */
	scan->scan.scanrelid = base->rel->relid;
	scan->scan.plan.targetlist = tlist;
	scan->custom_scan_tlist = make_tlist_from_pathtarget(path->answer ? path->answer : path->columns);
	scan->custom_plans = custom_plans;
	scan->flags = best_path->flags;
	scan->methods = &fanout_scan_methods;
	return &scan->scan.plan;
}

const CustomPathMethods fanout_path_methods = {
	.CustomName = "DLog Fanout",
	.PlanCustomPath = fanout_plan,
};
