/*
 * fanout_path.c
 *		Where the planner learns that a partitioned table can be asked node by
 *		node instead of partition by partition.
 *
 * When the planner has made its paths for a partitioned table that has live
 * partitions on other nodes, set_rel_pathlist_hook adds ours: unordered, and
 * in the query's order.  Grouping, DISTINCT and ORDER BY above are added by
 * create_upper_paths_hook, see aggregate.c.
 *
 * Once the scan/join target is known, the planner drops all paths of a
 * partitioned relation and builds new ones from its partitions, without
 * asking anybody.  To keep ours we hide the relation's boundinfo, so that it
 * no longer counts as partitioned, and give it back at the planner's last
 * step, before plans are made, since run-time pruning needs it.  What that
 * loses is partitionwise joins and aggregation in this process, which would
 * take the table apart into one foreign scan per partition.
 */
#include "postgres.h"

#include <math.h>

#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/planner.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/guc.h"
#include "base/pg_compat.h"
#include "query/fanout.h"

static set_rel_pathlist_hook_type previous_set_rel_pathlist;
static create_upper_paths_hook_type previous_create_upper_paths;

/*
 * fanout_base
 *		What we know of a relation, or NULL if it is none of ours.
 */
FanoutBase *
fanout_base(RelOptInfo *rel)
{
	FanoutBase *base = rel->fdw_private;

	if (!(IS_SIMPLE_REL(rel) && rel->rtekind == RTE_RELATION) &&
		rel->reloptkind != RELOPT_JOINREL)
		return NULL;
	if (rel->fdwroutine != NULL || base == NULL ||
		base->tag != FANOUT_BASE_TAG)
		return NULL;
	return base;
}

/* Is or does this relation join all that this query level reads from? */
static bool
fanout_is_all(PlannerInfo *root, RelOptInfo *rel)
{
	return bms_is_subset(root->all_baserels, rel->relids);
}

/*
 * fanout_only_base
 *		The base that is all that this query level reads from, or NULL.
 */
FanoutBase *
fanout_only_base(PlannerInfo *root)
{
	ListCell *lc;
	int rti;

	if (bms_get_singleton_member(root->all_baserels, &rti))
		return root->simple_rel_array[rti] ? fanout_base(root->simple_rel_array[rti]) : NULL;
	foreach(lc, root->join_rel_list)
	{
		if (fanout_is_all(root, lfirst_node(RelOptInfo, lc)))
			return fanout_base(lfirst_node(RelOptInfo, lc));
	}
	return NULL;
}

/* Sort the leaves below a partitioned relation into remote and local ones. */
static void
collect_leaves(PlannerInfo *root, RelOptInfo *rel, FanoutBase *base)
{
	int i = -1;

	while ((i = bms_next_member(rel->live_parts, i)) >= 0)
	{
		RelOptInfo *child = rel->part_rels[i];
		RangeTblEntry *rte;
		RemoteLeaf *leaf;

		if (child == NULL || IS_DUMMY_REL(child))
			continue;
		rte = planner_rt_fetch(child->relid, root);
		if (rte->relkind == RELKIND_PARTITIONED_TABLE)
		{
			collect_leaves(root, child, base);
			continue;
		}
		leaf = palloc0(sizeof(RemoteLeaf));
		if (rte->relkind != RELKIND_FOREIGN_TABLE ||
			!partition_home(rte->relid, &leaf->home))
		{
			base->local_leaves = lappend(base->local_leaves, child);
			continue;
		}
		leaf->member = base;
		leaf->rel = child;
		leaf->relid = rte->relid;
		base->remote_leaves = lappend(base->remote_leaves, leaf);
		base->nodes = list_append_unique_int(base->nodes, leaf->home.node);
		if (leaf->home.parent_name == NULL)
			base->is_distributed = false;
	}
}

/* Which of the relation's restrictions travel. */
void
fanout_classify_quals(PlannerInfo *root, FanoutBase *base)
{
	ListCell *lc;

	foreach(lc, base->rel->baserestrictinfo)
	{
		RestrictInfo *qual = lfirst_node(RestrictInfo, lc);
		const char *reason = NULL;

		/* Gated above the scan, and once more below it for the local part. */
		if (qual->pseudoconstant)
		{
			base->has_pseudoconstants = true;
			fanout_note(&base->not_pushed, "a condition is checked once for all rows");
		}
		else if (qual_is_shippable(root, base->rel, qual, &reason))
			base->remote_quals = lappend(base->remote_quals, qual);
		else
		{
			base->local_quals = lappend(base->local_quals, qual);
			fanout_note(&base->not_pushed, psprintf("a condition is checked here: %s", reason));
		}
	}
}

/*
 * fanout_scan_columns
 *		The columns that the base must deliver: those of the relation's target
 *		and those that quals for here look at.  NULL if one does not travel.
 */
PathTarget *
fanout_scan_columns(PlannerInfo *root, FanoutBase *base, List *more)
{
	PathTarget *columns = create_empty_pathtarget();
	List *expressions;
	ListCell *lc;

	expressions = list_concat_copy(base->rel->reltarget->exprs,
								   extract_actual_clauses(base->local_quals, false));
	expressions = list_concat(expressions, more);
	foreach(lc, pull_var_clause((Node *) expressions,
								PVC_RECURSE_PLACEHOLDERS))
	{
		Var *var = lfirst_node(Var, lc);

		if (!bms_is_member(var->varno, base->rel->relids))
			continue; /* a lateral reference */
		if (var->varattno <= 0 && var->varattno != TableOidAttributeNumber)
			return NULL;
		add_new_column_to_pathtarget(columns, (Expr *) var);
	}
	return set_pathtarget_cost_width(root, columns);
}

/* The cheapest path of a local leaf with just this parameterization. */
static Path *
leaf_path(PlannerInfo *root, RelOptInfo *leaf, List *pathkeys,
		  Relids required_outer)
{
	Path *path = get_cheapest_path_for_pathkeys(leaf->pathlist, pathkeys,
												required_outer, TOTAL_COST,
												false);

	if (path == NULL || bms_equal(PATH_REQ_OUTER(path), required_outer))
		return path;
	return reparameterize_path(root, path, required_outer, 1.0);
}

/*
 * fanout_leaf_target
 *		The columns of a table as those of one of its leaves.
 */
PathTarget *
fanout_leaf_target(PlannerInfo *root, RelOptInfo *table, RelOptInfo *leaf,
				   PathTarget *target)
{
	PathTarget *result = copy_pathtarget(target);

	result->exprs = (List *)
		adjust_appendrel_attrs_to_child(root, (Node *) target->exprs, leaf,
										table);
	return result;
}

static Path *
leaf_projected(PlannerInfo *root, RelOptInfo *table, RelOptInfo *leaf,
			   Path *path, PathTarget *target)
{
	PathTarget *wanted = fanout_leaf_target(root, table, leaf, target);
	Path *projection;

	if (equal(wanted->exprs, path->pathtarget->exprs) &&
		wanted->sortgrouprefs == NULL)
		return path;
	/* It assumes that nothing below is parameterized. */
	projection = (Path *) create_projection_path(root, leaf, path, wanted);
	projection->param_info = path->param_info;
	return projection;
}

/*
 * fanout_leaf_rows
 *		One leaf's rows, as columns "target" of the table; NULL if they can only
 *		be had with parameters.
 */
Path *
fanout_leaf_rows(PlannerInfo *root, RelOptInfo *table, RelOptInfo *leaf, PathTarget *target)
{
	Path *path = leaf_path(root, leaf, NIL, NULL);

	return path ? leaf_projected(root, table, leaf, path, target) : NULL;
}

/*
 * fanout_separate_leaves
 *		The local leaves of a base that is one table, each by itself.
 */
List *
fanout_separate_leaves(FanoutBase *base)
{
	return base->local_join || base->is_replicated ? NIL : base->local_leaves;
}

/*
 * fanout_local_rows
 *		The local leaves' rows, as columns "target".  There must be some.
 *		NULL if the parameterization cannot be had.
 */
Path *
fanout_local_rows(PlannerInfo *root, FanoutBase *base, PathTarget *target,
				  Relids required_outer)
{
	List *paths = NIL;
	AppendPath *append;
	ListCell *lc;

	if (base->local_join)
		return (Path *) create_projection_path(root, base->rel,
											   base->local_join, target);
	if (base->is_replicated)
	{
		Path *path = base->rel->cheapest_total_path;

		if (!bms_is_empty(PATH_REQ_OUTER(path)))
			return NULL;
		return (Path *) create_projection_path(root, base->rel, path, target);
	}

	foreach(lc, base->local_leaves)
	{
		RelOptInfo *leaf = lfirst(lc);
		Path *path = leaf_path(root, leaf, NIL, required_outer);

		if (path == NULL)
			return NULL;
		paths = lappend(paths,
						leaf_projected(root, base->rel, leaf, path, target));
	}
	append = create_append_path(root, base->rel, paths, NIL, NIL,
								required_outer, 0, false, -1);
	append->path.pathtarget = target;
	append->path.param_info = get_baserel_parampathinfo(root, base->rel,
														required_outer);
	return &append->path;
}

/*
 * The local leaves merged in the order of the first "n" pathkeys, which all
 * of them have by an index, and sorted by the others; NULL if one has not.
 */
static Path *
local_merged(PlannerInfo *root, FanoutBase *base, PathTarget *target,
			 List *pathkeys, int n, double limit_tuples)
{
	List *prefix = list_copy_head(pathkeys, n);
	List *paths = NIL;
	Path *merged;
	ListCell *lc;

	foreach(lc, base->local_leaves)
	{
		RelOptInfo *leaf = lfirst(lc);
		Path *path = leaf_path(root, leaf, prefix, NULL);

		if (path == NULL)
			return NULL;
		paths = lappend(paths,
						leaf_projected(root, base->rel, leaf, path, target));
	}
	merged = (Path *) create_merge_append_path(root, base->rel, paths,
											   prefix, NULL);
	merged->pathtarget = target;
	if (n < list_length(pathkeys))
		merged = (Path *)
			create_incremental_sort_path(root, base->rel, merged, pathkeys, n,
										 limit_tuples);
	return merged;
}

/* What a path costs that is left when it has delivered some rows. */
static Cost
cost_until(Path *path, double limit_tuples)
{
	if (limit_tuples <= 0 || path->rows <= limit_tuples)
		return path->total_cost;
	return path->startup_cost +
		   (path->total_cost - path->startup_cost) * limit_tuples / path->rows;
}

/*
 * fanout_local_sorted
 *		The same in the order of pathkeys: by the leaves' own ordered paths as
 *		far as all have some, else sorted; whichever is cheaper.
 */
Path *
fanout_local_sorted(PlannerInfo *root, FanoutBase *base, PathTarget *target,
					List *pathkeys, double limit_tuples)
{
	Path *sorted;
	Path *merged = NULL;

	sorted = (Path *)
		create_sort_path(root, base->rel,
						 fanout_local_rows(root, base, target, NULL),
						 pathkeys, limit_tuples);
	if (base->local_join)
		return sorted;
	for (int n = list_length(pathkeys); n > 0 && merged == NULL; n--)
	{
		if (n < list_length(pathkeys) && !enable_incremental_sort)
			break;
		merged = local_merged(root, base, target, pathkeys, n, limit_tuples);
	}
	if (merged == NULL)
		return sorted;
	return cost_until(merged, limit_tuples) < cost_until(sorted, limit_tuples) ? merged : sorted;
}

/*
 * fanout_path_create
 *		A path for "target", computed from rows of "columns", which is also
 *		what "local", the path of the local part or NULL, delivers.
 */
FanoutPath *
fanout_path_create(PlannerInfo *root, FanoutBase *base, RelOptInfo *parent,
				   PathTarget *target, PathTarget *columns, Path *local)
{
	FanoutPath *path = palloc0(sizeof(FanoutPath));
	Path *generic = &path->custom.path;

	generic->type = T_CustomPath;
	generic->pathtype = T_CustomScan;
	generic->parent = parent;
	generic->pathtarget = target;
	generic->parallel_safe = false;
	path->custom.flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom.methods = &fanout_path_methods;
	if (local)
		path->custom.custom_paths = list_make1(local);

	path->base = base;
	path->kind = REMOTE_QUERY;
	path->columns = columns;
	path->quals = extract_actual_clauses(base->remote_quals, false);
	return path;
}

/*
 * fanout_path_cost
 *		Fill in the estimates.  The nodes return rows_there rows in all and do
 *		work_per_row for each row that passes their quals, besides finding it.
 */
void
fanout_path_cost(PlannerInfo *root, FanoutPath *path, double rows_there,
				 double work_per_row)
{
	Path *generic = &path->custom.path;
	FanoutBase *base = path->base;
	Cost there = 0;
	Cost here_startup = 0;
	Cost here_total = 0;
	double found = 0;
	double here_rows = 0;
	ListCell *lc;

	foreach(lc, base->remote_leaves)
	{
		RelOptInfo *leaf = ((RemoteLeaf *) lfirst(lc))->rel;
		double tuples = Max(leaf->tuples, leaf->rows);
		Cost whole = leaf->pages * seq_page_cost + tuples * cpu_tuple_cost;
		Cost by_index = leaf->rows * random_page_cost;

		there += Min(whole, by_index);
		found += leaf->rows;
	}
	there += found * work_per_row;
	there /= list_length(base->nodes);

	foreach(lc, path->custom.custom_paths)
	{
		Path *local = lfirst(lc);

		here_startup += local->startup_cost;
		here_total += local->total_cost;
		here_rows += local->rows;
	}

	generic->rows = clamp_row_est(rows_there + here_rows);
	/* The nodes and this process work at the same time. */
	generic->startup_cost = FANOUT_REQUEST_COST;
	generic->total_cost = FANOUT_REQUEST_COST + Max(there, here_total) +
						  rows_there * FANOUT_ROW_COST +
						  generic->rows * generic->pathtarget->cost.per_tuple;
	if (path->is_grouped || path->sort_clause != NIL)
		generic->startup_cost += Max(there, here_startup);
}

/* Why the nodes cannot sort by this key as this one would. */
static const char *
key_not_there(PlannerInfo *root, FanoutPath *path, PathKey *key)
{
	Relids relids = path->base->rel->relids;
	const char *reason = NULL;
	ListCell *lc;

	if (key->pk_eclass->ec_has_volatile)
		return "it is ordered by a volatile function";
	foreach(lc, key->pk_eclass->ec_members)
	{
		EquivalenceMember *member = lfirst(lc);
		Node *expression = (Node *) member->em_expr;

		if (member->em_is_const || member->em_is_child || !bms_is_subset(member->em_relids, relids))
			continue;
		if (!expression_is_shippable(root, relids, expression, path->is_grouped, &reason) ||
			!sorts_alike_everywhere(expression, &reason))
			return reason;
		if (!type_is_portable(exprType(expression)))
			return psprintf("type %s may be ordered in another way on other nodes",
							format_type_be(exprType(expression)));
	}
	return "it is ordered by what the nodes do not have";
}

/*
 * fanout_path_sort
 *		Have the nodes sort; the local part must deliver that order already.
 *
 * May add columns to sort by, which the local part must then deliver too.
 * False if the nodes cannot sort by one of the keys as this one would.
 */
bool
fanout_path_sort(PlannerInfo *root, FanoutPath *path, List *pathkeys)
{
	const char **not_pushed = path->is_grouped ? &path->base->not_pushed_groups :
												 &path->base->not_pushed;
	PathTarget *columns = copy_pathtarget(path->columns);
	Relids relids = path->base->rel->relids;
	Index last_reference = 0;
	ListCell *lc;
	int i;

	if (columns->sortgrouprefs == NULL)
		columns->sortgrouprefs = palloc0(sizeof(Index) *
										 Max(list_length(columns->exprs), 1));
	for (i = 0; i < list_length(columns->exprs); i++)
		last_reference = Max(last_reference, columns->sortgrouprefs[i]);

	foreach(lc, pathkeys)
	{
		PathKey *key = lfirst_node(PathKey, lc);
		SortGroupClause *clause = makeNode(SortGroupClause);
		EquivalenceClass *class = key->pk_eclass;
		EquivalenceMember *member = NULL;
		int column = -1;
		ListCell *member_cell;
		Oid operator;
		Oid equality;
		bool can_hash;

		if (class->ec_has_volatile)
		{
			fanout_note(not_pushed, key_not_there(root, path, key));
			return false;
		}
		foreach(member_cell, class->ec_members)
		{
			EquivalenceMember *candidate = lfirst(member_cell);
			Node *expression = (Node *) candidate->em_expr;
			ListCell *column_cell;

			if (candidate->em_is_const || candidate->em_is_child ||
				!bms_is_subset(candidate->em_relids, relids) ||
				expression_is_constant_here(expression, relids) ||
				!type_is_portable(exprType(expression)) ||
				!expression_is_shippable(root, relids, expression,
										 path->is_grouped, NULL) ||
				!sorts_alike_everywhere(expression, NULL))
				continue;
			foreach(column_cell, columns->exprs)
			{
				if (equal(lfirst(column_cell), expression))
					column = foreach_current_index(column_cell);
			}
			if (column >= 0 || member == NULL)
				member = candidate;
			if (column >= 0)
				break;
		}
		if (member == NULL)
		{
			fanout_note(not_pushed, key_not_there(root, path, key));
			return false;
		}
		if (column < 0)
		{
			column = list_length(columns->exprs);
			add_column_to_pathtarget(columns, member->em_expr, 0);
			columns->sortgrouprefs[column] = 0;
		}

		operator= pathkey_operator(key, member->em_datatype);
		if (!OidIsValid(operator) || operator>= FirstGenbkiObjectId)
		{
			fanout_note(not_pushed, psprintf("type %s may be ordered in another way on other nodes",
											 format_type_be(member->em_datatype)));
			return false;
		}
		equality = get_equality_op_for_ordering_op(operator, NULL);
		if (!OidIsValid(equality))
			return false;
		can_hash = op_hashjoinable(equality, member->em_datatype);

		if (columns->sortgrouprefs[column] == 0)
			columns->sortgrouprefs[column] = ++last_reference;
		clause->tleSortGroupRef = columns->sortgrouprefs[column];
		clause->eqop = equality;
		clause->sortop = operator;
		clause->nulls_first = key->pk_nulls_first;
		clause->hashable = can_hash;
		path->sort_clause = lappend(path->sort_clause, clause);
		path->sort_columns = lappend_int(path->sort_columns, column + 1);
		path->sort_collations = lappend_oid(path->sort_collations,
											class->ec_collation);
	}
	path->columns = set_pathtarget_cost_width(root, columns);
	path->custom.path.pathkeys = pathkeys;
	return true;
}

static Node *
at_most(Node *expression)
{
	MinMaxExpr *least = makeNode(MinMaxExpr);

	least->minmaxtype = INT8OID;
	least->op = IS_LEAST;
	least->args = list_make2(expression,
							 makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
									   Int64GetDatum(PG_INT64_MAX / 2), false,
									   FLOAT8PASSBYVAL));
	least->location = -1;
	return (Node *) least;
}

/*
 * fanout_limit
 *		How many rows this query level needs of its input at most, or NULL if
 *		all.  "grouped": the input is grouped already.
 *
 * LEAST() ignores nulls, as LIMIT and OFFSET mean none by it, and keeps the
 * sum from overflowing.
 */
Node *
fanout_limit(PlannerInfo *root, FanoutBase *base, bool grouped)
{
	Query *parse = root->parse;
	const char **not_pushed = grouped ? &base->not_pushed_groups : &base->not_pushed;
	Node *limit;

	if (parse->limitCount == NULL ||
		parse->commandType != CMD_SELECT || parse->rowMarks != NIL ||
		parse->setOperations != NULL || parse->distinctClause != NIL ||
		parse->hasWindowFuncs || parse->hasTargetSRFs ||
		!fanout_is_all(root, base->rel))
		return NULL;
	if (!grouped &&
		(parse->groupClause != NIL || parse->groupingSets != NIL ||
		 parse->hasAggs || root->hasHavingQual))
		return NULL;
	if (parse->limitOption != LIMIT_OPTION_COUNT)
	{
		fanout_note(not_pushed, "LIMIT has WITH TIES");
		return NULL;
	}
	if (contain_volatile_functions(parse->limitCount) ||
		contain_subplans(parse->limitCount) ||
		contain_volatile_functions(parse->limitOffset) ||
		contain_subplans(parse->limitOffset))
	{
		fanout_note(not_pushed, "LIMIT has a volatile function or a subquery");
		return NULL;
	}

	limit = at_most(copyObject(parse->limitCount));
	if (parse->limitOffset)
		limit = (Node *)
			makeFuncExpr(F_INT8PL, INT8OID,
						 list_make2(limit, at_most(copyObject(parse->limitOffset))),
						 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	limit = eval_const_expressions(root, limit);
	/* LIMIT NULL and LIMIT ALL need everything. */
	if (IsA(limit, Const) &&
		DatumGetInt64(((Const *) limit)->constvalue) >= PG_INT64_MAX / 2)
		return NULL;
	return limit;
}

/* The rows that the nodes send when each stops at the query's limit. */
double
fanout_limited_rows(PlannerInfo *root, FanoutBase *base, double rows)
{
	if (root->limit_tuples > 0)
		return Min(rows, root->limit_tuples * list_length(base->nodes));
	return rows;
}

/* The rows of the base that are on other nodes. */
double
fanout_rows_there(FanoutBase *base)
{
	double rows = 0;
	ListCell *lc;

	/* A join's rows are shared as those of any of its members are. */
	if (list_length(base->members) > 1)
	{
		FanoutBase *member = linitial(base->members);

		return clamp_row_est(base->rel->rows *
							 Min(fanout_rows_there(member) /
									 Max(member->rel->rows, 1.0),
								 1.0));
	}
	foreach(lc, base->remote_leaves)
		rows += ((RemoteLeaf *) lfirst(lc))->rel->rows;
	return clamp_row_est(rows);
}

/*
 * The planner's own paths for this parameterization ask for each partition by
 * itself, which is never better.  Costs alone do not tell: two paths within
 * one percent count as equal, and a large local part levels everything else.
 */
static void
drop_partition_paths(RelOptInfo *rel, Relids required_outer)
{
	ListCell *lc;

	foreach(lc, rel->pathlist)
	{
		Path *path = lfirst(lc);

		if ((path->pathtype == T_Append || path->pathtype == T_MergeAppend) &&
			bms_equal(PATH_REQ_OUTER(path), required_outer))
			rel->pathlist = foreach_delete_current(rel->pathlist, lc);
	}
}

/* The scan as a relation of its own, without order. */
static void
add_unordered_path(PlannerInfo *root, FanoutBase *base, Relids required_outer)
{
	RelOptInfo *rel = base->rel;
	ParamPathInfo *param_info;
	FanoutPath *path;
	PathTarget *columns;
	Path *local = NULL;
	List *quals = NIL;
	List *local_quals = NIL;
	double rows = fanout_rows_there(base);
	ListCell *lc;

	param_info = get_baserel_parampathinfo(root, rel, required_outer);
	if (param_info)
	{
		foreach(lc, param_info->ppi_clauses)
		{
			RestrictInfo *clause = lfirst_node(RestrictInfo, lc);

			if (clause->pseudoconstant)
				continue;
			if (qual_is_shippable(root, rel, clause, NULL))
				quals = lappend(quals, clause->clause);
			else
				local_quals = lappend(local_quals, clause->clause);
		}
		if (rel->rows > 0)
			rows = clamp_row_est(rows * Min(param_info->ppi_rows / rel->rows, 1.0));
	}

	columns = fanout_scan_columns(root, base, local_quals);
	if (columns == NULL)
		return;
	if (base->local_leaves != NIL)
	{
		local = fanout_local_rows(root, base, columns, required_outer);
		if (local == NULL)
			return;
	}
	path = fanout_path_create(root, base, rel, rel->reltarget, columns, local);
	path->custom.path.param_info = param_info;
	path->quals = list_concat(path->quals, quals);
	path->local_quals = list_concat(extract_actual_clauses(base->local_quals,
														   false),
									local_quals);
	if (path->local_quals == NIL && root->query_pathkeys == NIL &&
		required_outer == NULL && rel->reloptkind == RELOPT_BASEREL)
		path->limit = fanout_limit(root, base, false);
	fanout_path_cost(root, path,
					 path->limit ? fanout_limited_rows(root, base, rows) : rows,
					 0);
	if (param_info)
	{
		/* Nodes find the rows of one key by an index, it is to be hoped. */
		path->custom.path.rows = param_info->ppi_rows;
		path->custom.path.total_cost = Min(path->custom.path.total_cost,
										   FANOUT_REQUEST_COST +
											   (local ? local->total_cost : 0) +
											   rows * (random_page_cost + FANOUT_ROW_COST));
	}
	drop_partition_paths(rel, required_outer);
	add_path(rel, &path->custom.path);
}

/*
 * fanout_add_ordered_path
 *		The base's rows in the query's order, the nodes sorting their part.
 */
void
fanout_add_ordered_path(PlannerInfo *root, FanoutBase *base)
{
	RelOptInfo *rel = base->rel;
	FanoutPath *path;
	PathTarget *columns = fanout_scan_columns(root, base, NIL);
	Node *limit = NULL;
	double rows = fanout_rows_there(base);
	double limit_tuples = -1;
	double sorted;

	if (columns == NULL || root->query_pathkeys == NIL)
		return;
	if (base->local_quals == NIL &&
		pathkeys_contained_in(root->sort_pathkeys, root->query_pathkeys))
		limit = fanout_limit(root, base, false);
	path = fanout_path_create(root, base, rel, rel->reltarget, columns, NULL);
	if (!fanout_path_sort(root, path, root->query_pathkeys))
		return;
	path->local_quals = extract_actual_clauses(base->local_quals, false);
	path->limit = limit;
	if (limit)
		limit_tuples = root->limit_tuples;
	if (base->local_leaves != NIL)
		path->custom.custom_paths =
			list_make1(fanout_local_sorted(root, base, path->columns,
										   root->query_pathkeys, limit_tuples));

	/* Comparisons of a sort of each node's share, bounded by the limit. */
	sorted = limit_tuples > 0 ? 2 * limit_tuples : rows / list_length(base->nodes);
	fanout_path_cost(root, path,
					 limit ? fanout_limited_rows(root, base, rows) : rows,
					 2.0 * cpu_operator_cost * log2(Max(sorted, 2.0)));
	add_path(rel, &path->custom.path);
}

/*
 * Clauses that compare with other relations' columns make the scan the inner
 * side of a nested loop that asks for each outer row.
 */
static bool
any_member(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *class,
		   EquivalenceMember *member, void *argument)
{
	return IsA(member->em_expr, Var) ||
		   (IsA(member->em_expr, RelabelType) &&
			IsA(((RelabelType *) member->em_expr)->arg, Var));
}

static void
add_parameterized_paths(PlannerInfo *root, FanoutBase *base)
{
	RelOptInfo *rel = base->rel;
	List *clauses = NIL;
	List *outers = NIL;
	ListCell *lc;

	foreach(lc, rel->joininfo)
	{
		RestrictInfo *clause = lfirst_node(RestrictInfo, lc);

		if (join_clause_is_movable_to(clause, rel))
			clauses = lappend(clauses, clause);
	}
	if (rel->has_eclass_joins)
		clauses = list_concat(clauses,
							  generate_implied_equalities_for_column(root, rel,
																	 any_member, NULL,
																	 rel->lateral_referencers));

	foreach(lc, clauses)
	{
		RestrictInfo *clause = lfirst_node(RestrictInfo, lc);
		Relids outer;
		ListCell *seen;

		if (!qual_is_shippable(root, rel, clause, NULL))
			continue;
		outer = bms_union(clause->clause_relids, rel->lateral_relids);
		outer = bms_del_member(outer, rel->relid);
		if (bms_is_empty(outer))
			continue;
		foreach(seen, outers)
		{
			if (bms_equal(lfirst(seen), outer))
				break;
		}
		if (seen != NULL)
			continue;
		outers = lappend(outers, outer);
		add_unordered_path(root, base, outer);
	}
}

/*
 * Is this table read by this query level, and not as a part of another one?
 * It may be a member of a UNION ALL that was pulled up.  Rows that are locked
 * or changed are fetched from their own partitions.
 */
static bool
is_read_as_a_whole(PlannerInfo *root, RelOptInfo *rel)
{
	Index rti = rel->relid;

	for (;;)
	{
		AppendRelInfo *member = NULL;

		if (bms_is_member(rti, root->all_result_relids) ||
			get_plan_rowmark(root->rowMarks, rti) != NULL)
			return false;
		if (root->append_rel_array)
			member = root->append_rel_array[rti];
		if (member == NULL)
			return rel->reloptkind == RELOPT_BASEREL ||
				   bms_is_empty(rel->lateral_relids);
		rti = member->parent_relid;
		if (planner_rt_fetch(rti, root)->rtekind != RTE_SUBQUERY)
			return false;
	}
}

static void
fanout_set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti,
						RangeTblEntry *rte)
{
	FanoutBase *base;

	if (previous_set_rel_pathlist)
		previous_set_rel_pathlist(root, rel, rti, rte);

	if (rte->rtekind != RTE_RELATION ||
		rte->relkind != RELKIND_PARTITIONED_TABLE || !rte->inh ||
		rte->tablesample != NULL || IS_DUMMY_REL(rel) ||
		rel->fdw_private != NULL)
		return;
	if (!dlog_enable_fanout_scan || remote_is_executing() ||
		!is_read_as_a_whole(root, rel))
		return;

	base = palloc0(sizeof(FanoutBase));
	base->tag = FANOUT_BASE_TAG;
	base->rel = rel;
	base->members = list_make1(base);
	base->is_distributed = true;
	collect_leaves(root, rel, base);
	if (base->remote_leaves == NIL)
		return;
	fanout_classify_quals(root, base);

	rel->fdw_private = base;
	base->boundinfo = rel->boundinfo;
	rel->boundinfo = NULL;

	add_unordered_path(root, base, rel->lateral_relids);
	if (rel->reloptkind != RELOPT_BASEREL)
		return;
	if (bms_is_empty(rel->lateral_relids))
		fanout_add_ordered_path(root, base);
	add_parameterized_paths(root, base);
}

static void
give_back_bounds(PlannerInfo *root)
{
	for (int i = 1; i < root->simple_rel_array_size; i++)
	{
		RelOptInfo *rel = root->simple_rel_array[i];
		FanoutBase *base = rel ? fanout_base(rel) : NULL;

		if (base)
			rel->boundinfo = base->boundinfo;
	}
}

static void
fanout_create_upper_paths(PlannerInfo *root, UpperRelationKind stage,
						  RelOptInfo *input_rel, RelOptInfo *output_rel,
						  void *extra)
{
	FanoutBase *base;

	if (previous_create_upper_paths)
		previous_create_upper_paths(root, stage, input_rel, output_rel, extra);

	if (root->simple_rel_array == NULL)
		return;
	if (stage == UPPERREL_FINAL)
	{
		give_back_bounds(root);
		return;
	}
	if (stage == UPPERREL_GROUP_AGG && remote_is_executing())
		partitionwise_add_counts(root, input_rel, output_rel);
	if (stage == UPPERREL_WINDOW && remote_is_executing())
		fanout_add_partitionwise_windows(root, input_rel, output_rel);
	base = fanout_only_base(root);
	if (base == NULL || !bms_is_empty(base->rel->lateral_relids))
		return;
	switch (stage)
	{
		case UPPERREL_GROUP_AGG:
			if (input_rel == base->rel)
				fanout_add_group_paths(root, base, input_rel, output_rel,
									   extra);
			break;
		case UPPERREL_WINDOW:
			if (input_rel == base->rel)
				fanout_add_window_path(root, base, input_rel, output_rel);
			else
				fanout_add_window_path_over_groups(root, base, input_rel, output_rel);
			break;
		case UPPERREL_DISTINCT:
			if (input_rel == base->rel)
				fanout_add_distinct_paths(root, base, input_rel, output_rel);
			break;
		case UPPERREL_ORDERED:
			fanout_add_ordered_paths(root, base, input_rel, output_rel);
			break;
		default:
			break;
	}
}

void
fanout_path_init(void)
{
	previous_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = fanout_set_rel_pathlist;
	previous_create_upper_paths = create_upper_paths_hook;
	create_upper_paths_hook = fanout_create_upper_paths;
}
