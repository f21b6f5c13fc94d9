/*
 * fanout_join.c
 *		Joins that each node can do by itself.
 *
 * Two distributed tables that are co-located have the rows of one key on the
 * same node.  An inner join that compares their partition keys column by
 * column therefore never matches rows of different nodes: the nodes join
 * their parts, we join ours, and that is the whole join.  So do tables, any
 * tables, all of whose rows are on one node, and replicated tables, of which
 * each node has all rows.  More tables join in the same way.  What comes of it
 * is a base like any table, so that grouping, ordering and limits above travel
 * too.
 *
 * A single table may also be on the nullable side of an outer join, or of a
 * semi- or antijoin, under the same condition: all that could match a row is on
 * the row's node.  It is then *attached* to the others.  In a full join of two
 * tables, which nothing is joined with, both sides are nullable.
 *
 * The local part is a hash join of the members' local leaves, since there is
 * an equality on the keys at least.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "base/guc.h"
#include "base/pg_compat.h"
#include "query/fanout.h"

static set_join_pathlist_hook_type previous_set_join_pathlist;

static Oid
member_relid(PlannerInfo *root, FanoutBase *member)
{
	return planner_rt_fetch(member->rel->relid, root)->relid;
}

static Node *
without_relabel(Node *node)
{
	while (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

/* How a member is attached to a base, or NULL if it is joined simply. */
FanoutAttachment *
fanout_attachment(FanoutBase *base, FanoutBase *member)
{
	ListCell *lc;

	foreach(lc, base->attachments)
	{
		FanoutAttachment *attachment = lfirst(lc);

		if (attachment->member == member)
			return attachment;
	}
	return NULL;
}

/* The clauses that decide which rows match, without those that filter the result. */
static List *
matching_clauses(RelOptInfo *joinrel, JoinType type, List *clauses)
{
	List *result = NIL;
	ListCell *lc;

	/* A semijoin's result has no columns that others could be about. */
	if (type == JOIN_INNER || type == JOIN_SEMI)
		return clauses;
	foreach(lc, clauses)
	{
		if (!RINFO_IS_PUSHED_DOWN(lfirst_node(RestrictInfo, lc), joinrel->relids))
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static bool
is_key_column(RelOptInfo *rel, int column, Node *node)
{
	ListCell *lc;

	foreach(lc, rel->partexprs[column])
	{
		if (equal(without_relabel(lfirst(lc)), without_relabel(node)))
			return true;
	}
	return false;
}

/* Do these clauses equate the two tables' partition keys? */
static bool
keys_are_equated(FanoutBase *one, FanoutBase *two, List *clauses)
{
	PartitionScheme scheme = one->rel->part_scheme;

	if (scheme == NULL || scheme != two->rel->part_scheme ||
		one->rel->partexprs == NULL || two->rel->partexprs == NULL)
		return false;
	for (int i = 0; i < scheme->partnatts; i++)
	{
		bool found = false;
		ListCell *lc;

		foreach(lc, clauses)
		{
			RestrictInfo *clause = lfirst_node(RestrictInfo, lc);
			OpExpr *operation = (OpExpr *) clause->clause;
			Node *left;
			Node *right;

			if (!clause->can_join || !is_opclause(operation) ||
				get_op_opfamily_strategy(operation->opno,
										 scheme->partopfamily[i]) == 0 ||
				operation->inputcollid != scheme->partcollation[i])
				continue;
			left = linitial(operation->args);
			right = lsecond(operation->args);
			if ((is_key_column(one->rel, i, left) &&
				 is_key_column(two->rel, i, right)) ||
				(is_key_column(one->rel, i, right) &&
				 is_key_column(two->rel, i, left)))
				found = true;
		}
		if (!found)
			return false;
	}
	return true;
}

/* Which node has the partition's rows?  "remote" are leaves that are still to come. */
static uint32
home_of_next(ListCell **remote, List *leaves, RelOptInfo *partition)
{
	RemoteLeaf *leaf = *remote != NULL ? lfirst(*remote) : NULL;

	if (leaf == NULL || leaf->rel != partition)
		return THIS_NODE;
	*remote = lnext(leaves, *remote);
	return leaf->home.node;
}

/*
 * Are the partitions of two co-located tables that are needed of both on the
 * same nodes?  They are, but for a moment: when partitions have another home,
 * the map may change while we look at one table after the other.
 */
static bool
homes_agree(FanoutBase *one, FanoutBase *two)
{
	ListCell *next_of_one = list_head(one->remote_leaves);
	ListCell *next_of_two = list_head(two->remote_leaves);

	if (one->rel->nparts != two->rel->nparts)
		return false;
	for (int i = 0; i < one->rel->nparts; i++)
	{
		RelOptInfo *left = one->rel->part_rels[i];
		RelOptInfo *right = two->rel->part_rels[i];
		uint32 home_of_left = home_of_next(&next_of_one, one->remote_leaves, left);
		uint32 home_of_right = home_of_next(&next_of_two, two->remote_leaves, right);

		if (left != NULL && right != NULL && !IS_DUMMY_REL(left) && !IS_DUMMY_REL(right) &&
			home_of_left != home_of_right)
			return false;
	}
	return true;
}

/* Why rows that match may be on different nodes, or NULL if they cannot be. */
static const char *
not_on_one_node(PlannerInfo *root, FanoutBase *one, FanoutBase *two,
				List *clauses)
{
	ListCell *one_cell;
	ListCell *two_cell;
	bool are_colocated = false;

	if (one->is_replicated || two->is_replicated)
		return NULL;

	/* Nothing to compare if all rows of both are on the same node. */
	if (one->local_leaves == NIL && two->local_leaves == NIL &&
		list_length(one->nodes) == 1 && equal(one->nodes, two->nodes))
		return NULL;

	foreach(one_cell, one->members)
	{
		foreach(two_cell, two->members)
		{
			FanoutBase *left = lfirst(one_cell);
			FanoutBase *right = lfirst(two_cell);

			if (!partition_is_colocated(member_relid(root, left),
										member_relid(root, right)))
				continue;
			are_colocated = true;
			if (keys_are_equated(left, right, clauses) && homes_agree(left, right))
				return NULL;
		}
	}
	return are_colocated ? "a join is not by what its tables are distributed by" :
						   "a join is of tables that are not co-located";
}

/* The role that a base's tables are read as must be the same for all. */
static Oid
base_user(PlannerInfo *root, FanoutBase *base)
{
	FanoutBase *member = linitial(base->members);

	return rte_check_as_user(root->parse,
							 planner_rt_fetch(member->rel->relid, root));
}

/* Why the nodes cannot deliver these columns of the join, or NULL if they can. */
static const char *
columns_not_there(PlannerInfo *root, RelOptInfo *joinrel, FanoutBase *inner, JoinType type)
{
	ListCell *lc;

	foreach(lc, joinrel->reltarget->exprs)
	{
		Var *var = lfirst(lc);

		if (!IsA(var, Var))
			return "it has an expression that is computed below a join";
		/* System columns of a replicated table differ from node to node. */
		if (var->varattno <= 0 && planner_rt_fetch(var->varno, root)->relkind == RELKIND_RELATION)
			return "it uses a system column of a replicated table";
		if ((type == JOIN_SEMI || type == JOIN_ANTI) &&
			bms_is_member(var->varno, inner->rel->relids))
			return "a semijoin has columns of the table that it looks into";
	}
	return NULL;
}

/*
 * What is special in a full join: a condition on one table's rows would have to be
 * checked before the join, and a side without rows here or there is no join.
 */
static const char *
full_join_not_there(FanoutBase *outer, FanoutBase *inner)
{
	if (!IS_SIMPLE_REL(outer->rel))
		return "a full join is with a join";
	if (inner->is_replicated)
		return "an outer join or semijoin keeps rows of a replicated table";
	if (outer->remote_quals != NIL || inner->remote_quals != NIL)
		return "a table of a full join has a condition of its own";
	if ((outer->local_leaves == NIL) != (inner->local_leaves == NIL) ||
		list_difference_int(outer->nodes, inner->nodes) != NIL ||
		list_difference_int(inner->nodes, outer->nodes) != NIL)
		return "a full join is of partitions that are not on the same nodes";
	return NULL;
}

/* Why the nodes cannot do the join, or NULL if they can. */
static const char *
join_not_there(PlannerInfo *root, RelOptInfo *joinrel, FanoutBase *outer,
			   FanoutBase *inner, JoinType type, JoinPathExtraData *extra)
{
	List *matching = matching_clauses(joinrel, type, extra->restrictlist);
	const char *reason;
	ListCell *lc;

	if (outer->is_full || inner->is_full)
		return "a full join is joined with another table";
	if (type != JOIN_INNER && outer->is_replicated)
		return "an outer join or semijoin keeps rows of a replicated table";
	if (type != JOIN_INNER && !IS_SIMPLE_REL(inner->rel))
		return "an outer join or semijoin is with a join";
	if (type == JOIN_FULL && (reason = full_join_not_there(outer, inner)) != NULL)
		return reason;
	if (type != JOIN_INNER && type != JOIN_LEFT && type != JOIN_FULL &&
		list_length(matching) != list_length(extra->restrictlist))
		return "an antijoin has another condition";

	if (!outer->is_distributed || !inner->is_distributed)
		return "a join is of a table that was not made by distribute_table()";
	if ((reason = fanout_rows_not_there(outer)) != NULL ||
		(reason = fanout_rows_not_there(inner)) != NULL)
		return reason;
	if (root->qual_security_level > 0)
		return "row-level security or a view hides rows";
	if (base_user(root, outer) != base_user(root, inner))
		return "tables are read as different roles";
	foreach(lc, extra->restrictlist)
	{
		RestrictInfo *clause = lfirst_node(RestrictInfo, lc);

		if (clause->pseudoconstant)
			return "a condition is checked once for all rows";
		if (!expression_is_shippable(root, joinrel->relids,
									 (Node *) clause->clause, false, &reason))
			return psprintf("a condition of a join is checked here: %s", reason);
	}
	reason = columns_not_there(root, joinrel, inner, type);
	return reason != NULL ? reason : not_on_one_node(root, outer, inner, matching);
}

/* What else a base is joined with, which nodes cannot do. */
static const char *
partner_not_there(PlannerInfo *root, RelOptInfo *partner)
{
	RangeTblEntry *rte;

	if (!IS_SIMPLE_REL(partner))
		return "it is joined with a join that is done here";
	rte = planner_rt_fetch(partner->relid, root);
	if (rte->rtekind != RTE_RELATION)
		return "it is joined with rows that are made here";
	return psprintf("it is joined with \"%s\", which is not on all nodes asked",
					get_rel_name(rte->relid));
}

/* Where only one side has rows, an inner join has none. */
static List *
leaves_on_nodes(List *leaves, List *nodes)
{
	List *result = NIL;
	ListCell *lc;

	foreach(lc, leaves)
	{
		if (list_member_int(nodes, ((RemoteLeaf *) lfirst(lc))->home.node))
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static Path *
join_local_parts(PlannerInfo *root, RelOptInfo *joinrel, FanoutBase *outer,
				 FanoutBase *inner, JoinType type, JoinPathExtraData *extra)
{
	PathTarget *outer_columns = fanout_scan_columns(root, outer, NIL);
	PathTarget *inner_columns = fanout_scan_columns(root, inner, NIL);
	JoinCostWorkspace workspace;
	List *hash_clauses = NIL;
	Path *outer_path;
	Path *inner_path;
	ListCell *lc;

	if (outer_columns == NULL || inner_columns == NULL)
		return NULL;
	outer_path = fanout_local_rows(root, outer, outer_columns, NULL);
	inner_path = fanout_local_rows(root, inner, inner_columns, NULL);
	if (outer_path == NULL || inner_path == NULL)
		return NULL;
	foreach(lc, matching_clauses(joinrel, type, extra->restrictlist))
	{
		RestrictInfo *clause = lfirst_node(RestrictInfo, lc);

		if (!clause->can_join || !OidIsValid(clause->hashjoinoperator))
			continue;
		if ((bms_is_subset(clause->left_relids, outer->rel->relids) &&
			 bms_is_subset(clause->right_relids, inner->rel->relids)) ||
			(bms_is_subset(clause->left_relids, inner->rel->relids) &&
			 bms_is_subset(clause->right_relids, outer->rel->relids)))
			hash_clauses = lappend(hash_clauses, clause);
	}
	if (hash_clauses == NIL)
		return NULL;
	initial_cost_hashjoin(root, &workspace, type, hash_clauses,
						  outer_path, inner_path, extra, false);
	return (Path *) create_hashjoin_path(root, joinrel, type,
										 &workspace, extra, outer_path,
										 inner_path, false,
										 extra->restrictlist, NULL,
										 hash_clauses);
}

/*
 * A base for a replicated table, as the other side of a join with "base"; or
 * NULL if it is none.  It has no leaves: every node has all of its rows.
 */
static FanoutBase *
replicated_base(PlannerInfo *root, RelOptInfo *rel, FanoutBase *base)
{
	FanoutBase *result;
	RangeTblEntry *rte;

	if (rel->reloptkind != RELOPT_BASEREL || rel->rtekind != RTE_RELATION ||
		rel->fdwroutine != NULL || IS_DUMMY_REL(rel) || base->is_replicated)
		return NULL;
	rte = planner_rt_fetch(rel->relid, root);
	if (rte->relkind != RELKIND_RELATION || rte->tablesample != NULL ||
		!partition_has_copy(rte->relid, base->nodes))
		return NULL;

	result = palloc0(sizeof(FanoutBase));
	result->tag = FANOUT_BASE_TAG;
	result->rel = rel;
	result->members = list_make1(result);
	result->is_replicated = true;
	result->is_distributed = true;
	fanout_classify_quals(root, result);
	return result;
}

/* The one member of "inner" joins those of "base" in its own way. */
static void
attach_member(RelOptInfo *joinrel, FanoutBase *base, FanoutBase *inner, JoinType type,
			  List *clauses)
{
	FanoutAttachment *attachment = palloc0(sizeof(FanoutAttachment));
	List *matching = matching_clauses(joinrel, type, clauses);
	List *filters = NIL;
	ListCell *lc;

	attachment->member = inner;
	attachment->type = type;
	attachment->quals = list_concat(extract_actual_clauses(matching, false),
									extract_actual_clauses(inner->remote_quals, false));
	base->attachments = lappend(base->attachments, attachment);
	foreach(lc, clauses)
	{
		if (!list_member_ptr(matching, lfirst(lc)))
			filters = lappend(filters, lfirst(lc));
	}
	base->remote_quals = list_concat(base->remote_quals, filters);
}

static FanoutBase *
make_join_base(PlannerInfo *root, RelOptInfo *joinrel, FanoutBase *outer,
			   FanoutBase *inner, JoinType type, JoinPathExtraData *extra)
{
	FanoutBase *base = palloc0(sizeof(FanoutBase));

	base->tag = FANOUT_BASE_TAG;
	base->rel = joinrel;
	/* What is said of the rows is read from the first, see fanout_rows_there(). */
	base->members = outer->is_replicated ? list_concat_copy(inner->members, outer->members) :
										   list_concat_copy(outer->members, inner->members);
	base->is_distributed = true;
	base->is_full = type == JOIN_FULL;
	base->attachments = list_concat_copy(outer->attachments, inner->attachments);
	if (outer->is_replicated)
		base->nodes = inner->nodes;
	else if (inner->is_replicated || type != JOIN_INNER)
		base->nodes = outer->nodes;
	else
		base->nodes = list_intersection_int(outer->nodes, inner->nodes);
	base->remote_leaves =
		list_concat(leaves_on_nodes(outer->remote_leaves, base->nodes),
					leaves_on_nodes(inner->remote_leaves, base->nodes));
	base->remote_quals = list_copy(outer->remote_quals);
	if (type == JOIN_INNER)
	{
		base->remote_quals = list_concat(base->remote_quals, inner->remote_quals);
		base->remote_quals = list_concat(base->remote_quals, extra->restrictlist);
	}
	else
		attach_member(joinrel, base, inner, type, extra->restrictlist);
	if (base->nodes == NIL)
		return NULL;
	/* Pruning has left none here that rows here could match. */
	if (type != JOIN_INNER && outer->local_leaves != NIL &&
		inner->local_leaves == NIL && !inner->is_replicated)
		return NULL;
	if ((outer->local_leaves != NIL || outer->is_replicated) &&
		(inner->local_leaves != NIL || inner->is_replicated))
	{
		base->local_leaves = list_concat_copy(outer->local_leaves,
											  inner->local_leaves);
		base->local_join = join_local_parts(root, joinrel, outer, inner, type,
											extra);
		if (base->local_join == NULL)
			return NULL;
		/* It was estimated as if it were all of the join. */
		base->local_join->rows =
			clamp_row_est(joinrel->rows - fanout_rows_there(base));
	}
	return base;
}

static void
add_join_path(PlannerInfo *root, FanoutBase *base)
{
	PathTarget *columns = fanout_scan_columns(root, base, NIL);
	double rows = fanout_rows_there(base);
	FanoutPath *path;
	Path *local = NULL;

	if (columns == NULL)
		return;
	if (base->local_join)
		local = fanout_local_rows(root, base, columns, NULL);
	path = fanout_path_create(root, base, base->rel, base->rel->reltarget,
							  columns, local);
	if (root->query_pathkeys == NIL)
		path->limit = fanout_limit(root, base, false);
	fanout_path_cost(root, path,
					 path->limit ? fanout_limited_rows(root, base, rows) : rows,
					 2 * cpu_operator_cost);
	add_path(base->rel, &path->custom.path);
	fanout_add_ordered_path(root, base);
}

static void
fanout_set_join_pathlist(PlannerInfo *root, RelOptInfo *joinrel,
						 RelOptInfo *outerrel, RelOptInfo *innerrel,
						 JoinType jointype, JoinPathExtraData *extra)
{
	FanoutBase *outer;
	FanoutBase *inner;
	FanoutBase *base = NULL;
	const char *reason = NULL;

	if (previous_set_join_pathlist)
		previous_set_join_pathlist(root, joinrel, outerrel, innerrel,
								   jointype, extra);

	if ((jointype != JOIN_INNER && jointype != JOIN_LEFT && jointype != JOIN_FULL &&
		 jointype != JOIN_SEMI && jointype != JOIN_ANTI) ||
		joinrel->reloptkind != RELOPT_JOINREL ||
		joinrel->fdw_private != NULL || joinrel->fdwroutine != NULL ||
		!dlog_enable_fanout_scan || remote_is_executing())
		return;
	outer = fanout_base(outerrel);
	inner = fanout_base(innerrel);
	if (outer == NULL && inner == NULL)
		return;
	if (!bms_is_empty(joinrel->lateral_relids))
		reason = "it is joined laterally";
	else
	{
		FanoutBase *one = outer ? outer : replicated_base(root, outerrel, inner);
		FanoutBase *two = inner ? inner : replicated_base(root, innerrel, outer);

		if (one == NULL || two == NULL)
			reason = partner_not_there(root, one ? innerrel : outerrel);
		else
			reason = join_not_there(root, joinrel, one, two, jointype, extra);
		if (reason == NULL)
			base = make_join_base(root, joinrel, one, two, jointype, extra);
	}
	if (reason != NULL)
	{
		if (outer)
			fanout_note(&outer->not_pushed, reason);
		if (inner)
			fanout_note(&inner->not_pushed, reason);
	}
	if (base == NULL)
		return;
	joinrel->fdw_private = base;
	add_join_path(root, base);
}

void
fanout_join_init(void)
{
	previous_set_join_pathlist = set_join_pathlist_hook;
	set_join_pathlist_hook = fanout_set_join_pathlist;
}
