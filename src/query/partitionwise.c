/*
 * partitionwise.c
 *		Counts of distinct values and windows, one partition after the other.
 *
 * Where rows that belong together are all in one partition, each partition is
 * counted or windowed by itself.  What is sorted at once is then a partition's
 * rows instead of a node's: it fits into work_mem, and into the processor's
 * caches.  The server's planner does that for groups only
 * (enable_partitionwise_aggregate), not for windows and not for DISTINCT
 * within an aggregate.
 *
 * The asking session does it with its own partitions, and each node with
 * those that a request is about.  For windows see window.c.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/prep.h"
#include "optimizer/tlist.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/pg_compat.h"
#include "query/fanout.h"

/* With fewer rows, several aggregations cost more than a larger one. */
#define LEAST_ROWS 10000

static bool
same_expression(Node *a, Node *b)
{
	while (a && IsA(a, RelabelType))
		a = (Node *) ((RelabelType *) a)->arg;
	while (b && IsA(b, RelabelType))
		b = (Node *) ((RelabelType *) b)->arg;
	return equal(a, b);
}

/*
 * partitionwise_has_key
 *		Is a partition key of this level among what is grouped by?
 */
bool
partitionwise_has_key(RelOptInfo *rel, List *expressions, List *clauses)
{
	PartitionScheme scheme = rel->part_scheme;

	if (scheme == NULL || rel->partexprs == NULL)
		return false;
	for (int i = 0; i < scheme->partnatts; i++)
	{
		bool found = false;
		ListCell *expression;
		ListCell *clause;

		forboth(expression, expressions, clause, clauses)
		{
			SortGroupClause *group = lfirst_node(SortGroupClause, clause);
			ListCell *key;

			if (exprCollation(lfirst(expression)) != scheme->partcollation[i])
				continue;
			/* Equality must mean the same to grouping and to partitioning. */
			if (get_op_opfamily_strategy(group->eqop,
										 scheme->partopfamily[i]) == 0)
				continue;
			foreach(key, rel->partexprs[i])
			{
				if (same_expression(lfirst(expression), lfirst(key)))
					found = true;
			}
		}
		if (!found)
			return false;
	}
	return true;
}

/*
 * partitionwise_is_whole
 *		Are rows that are equal in these expressions, which are given for
 *		"table", all in one leaf below "rel", which is that table or below it?
 */
bool
partitionwise_is_whole(PlannerInfo *root, RelOptInfo *table, RelOptInfo *rel,
					   List *expressions, List *clauses)
{
	List *translated = expressions;
	int i = -1;

	if (rel != table)
		translated = (List *) adjust_appendrel_attrs_to_child(root, (Node *) expressions,
															  rel, table);
	if (!partitionwise_has_key(rel, translated, clauses))
		return false;
	while ((i = bms_next_member(rel->live_parts, i)) >= 0)
	{
		RelOptInfo *child = rel->part_rels[i];

		if (child != NULL && !IS_DUMMY_REL(child) && child->part_scheme != NULL &&
			!partitionwise_is_whole(root, table, child, expressions, clauses))
			return false;
	}
	return true;
}

static void
collect_leaves(RelOptInfo *rel, List **leaves)
{
	int i = -1;

	while ((i = bms_next_member(rel->live_parts, i)) >= 0)
	{
		RelOptInfo *child = rel->part_rels[i];

		if (child == NULL || IS_DUMMY_REL(child))
			continue;
		if (child->part_scheme != NULL)
			collect_leaves(child, leaves);
		else
			*leaves = lappend(*leaves, child);
	}
}

/*
 * partitionwise_leaves
 *		The live leaves of the only table that this query level reads, which a
 *		request of another node is about; NIL if it is not that simple.
 */
List *
partitionwise_leaves(PlannerInfo *root, RelOptInfo *rel)
{
	List *leaves = NIL;

	if (remote_is_executing() && rel->reloptkind == RELOPT_BASEREL && rel->part_scheme != NULL &&
		!IS_DUMMY_REL(rel) && bms_is_empty(rel->lateral_relids))
		collect_leaves(rel, &leaves);
	return leaves;
}

/*
 * partitionwise_append
 *		What paths for leaves deliver as one path for "target".
 */
Path *
partitionwise_append(PlannerInfo *root, RelOptInfo *rel, List *paths, PathTarget *target)
{
	AppendPath *append = create_append_path(root, rel, paths, NIL, NIL, NULL, 0, false, -1);

	append->path.pathtarget = target;
	return &append->path;
}

/* Is this a count that is the sum of the leaves' counts? */
static bool
is_sum_of_counts(PlannerInfo *root, RelOptInfo *table, Node *expression)
{
	Aggref *aggregate = (Aggref *) expression;

	if (!IsA(aggregate, Aggref) ||
		(aggregate->aggfnoid != F_COUNT_ && aggregate->aggfnoid != F_COUNT_ANY))
		return false;
	return aggregate->aggdistinct == NIL ||
		   partitionwise_is_whole(root, table, table,
								  get_sortgrouplist_exprs(aggregate->aggdistinct, aggregate->args),
								  aggregate->aggdistinct);
}

/*
 * partitionwise_counts
 *		A path that returns a row of counts for each of these leaves, given its
 *		rows as "input"; NULL if a count is not the sum of theirs, or there is
 *		too little to count.
 */
Path *
partitionwise_counts(PlannerInfo *root, RelOptInfo *table, List *leaves, PathTarget *input,
					 RelOptInfo *grouped_rel, PathTarget *counts)
{
	AggClauseCosts costs;
	List *paths = NIL;
	ListCell *lc;

	if (list_length(leaves) < 2 || table->rows < LEAST_ROWS)
		return NULL;
	foreach(lc, counts->exprs)
	{
		if (!is_sum_of_counts(root, table, lfirst(lc)))
			return NULL;
	}

	MemSet(&costs, 0, sizeof(costs));
	get_agg_clause_costs(root, AGGSPLIT_SIMPLE, &costs);
	foreach(lc, leaves)
	{
		RelOptInfo *leaf = lfirst(lc);
		Path *rows = fanout_leaf_rows(root, table, leaf, input);

		if (rows == NULL)
			return NULL;
		paths = lappend(paths,
						create_agg_path(root, leaf, rows,
										fanout_leaf_target(root, table, leaf, counts),
										AGG_PLAIN, AGGSPLIT_SIMPLE, NIL, NIL, &costs, 1));
	}
	return partitionwise_append(root, grouped_rel, paths, counts);
}

/*
 * partitionwise_add_counts
 *		On a node that is asked for counts which the asker adds up.
 */
void
partitionwise_add_counts(PlannerInfo *root, RelOptInfo *input_rel, RelOptInfo *grouped_rel)
{
	Path *path;

	if (!remote_counts_add_up(root->parse))
		return;
	path = partitionwise_counts(root, input_rel, partitionwise_leaves(root, input_rel),
								input_rel->reltarget, grouped_rel, grouped_rel->reltarget);
	if (path == NULL)
		return;
	grouped_rel->pathlist = NIL;
	add_path(grouped_rel, path);
}
