/*
 * fanout.h
 *		The custom scan "DLog Fanout": what its own files share.
 *
 * Words.  The *base* of a fan-out is a partitioned table of the query with at
 * least one live partition on another node, or a join of such tables whose
 * rows meet on one node only.  Its *members* are those tables, and replicated
 * tables that are joined with them, which have no leaves.  A *leaf* is a
 * partition of a member that planning did not prune: *remote* when it is a
 * foreign table of ours, else *local*.  A fan-out sends one *fragment* to each
 * node for all of its remote leaves, runs the *local part*, an ordinary plan
 * over the local leaves, by itself, and returns the rows of both.
 */
#ifndef DLOG_FANOUT_H
#define DLOG_FANOUT_H

#include "nodes/extensible.h"
#include "nodes/pathnodes.h"
#include "partitioning/partdefs.h"

#include "query/query_internal.h"

/*
 * One round trip and the work of a request; sending one row.  Measured against
 * a row of a sequential scan, which costs 0.01.
 */
#define FANOUT_REQUEST_COST 100.0
#define FANOUT_ROW_COST 0.1

typedef struct RemoteLeaf
{
	struct FanoutBase *member;
	RelOptInfo *rel;
	Oid relid;
	PartitionHome home;
} RemoteLeaf;

/*
 * A member that is not simply joined: it may be missing (JOIN_LEFT), as the
 * other one may (JOIN_FULL), or its rows are only asked whether there is one
 * (JOIN_SEMI, JOIN_ANTI).
 */
typedef struct FanoutAttachment
{
	struct FanoutBase *member;
	JoinType type;
	List *quals; /* expressions: what its rows must meet */
} FanoutAttachment;

typedef struct FanoutBase
{
	uint32 tag; /* FANOUT_BASE_TAG: rel->fdw_private might be another's */
	RelOptInfo *rel;
	List *members;		 /* of FanoutBase: a table is its own only one */
	List *attachments;	 /* of a join: of FanoutAttachment, in order */
	Path *local_join;	 /* of a join, or NULL if there is no local part */
	List *remote_leaves; /* of RemoteLeaf */
	List *local_leaves;	 /* of RelOptInfo */
	bool is_replicated;	 /* a member that is whole on all nodes asked */
	bool is_full;		 /* a full join: rows may lack either member */
	List *nodes;		 /* the remote leaves' nodes, integers, distinct */
	bool is_distributed; /* fragments name the table itself, else a stand-in
						  * for the relations behind the foreign tables */
	List *remote_quals;	 /* RestrictInfos that travel */
	List *local_quals;	 /* the others, but for pseudoconstant ones */
	bool has_pseudoconstants;

	/* Why what is above is not done there, for EXPLAIN: above its rows, or its groups. */
	const char *not_pushed;
	const char *not_pushed_groups;

	/* Kept from the planner until its last step, see fanout_path.c. */
	PartitionBoundInfo boundinfo;

	struct FanoutPath *grouped; /* the groups are whole on their nodes */
} FanoutBase;

#define FANOUT_BASE_TAG 0x464f5554

/* The first reason counts; later ones may be about what nobody chooses. */
static inline void
fanout_note(const char **not_pushed, const char *reason)
{
	if (*not_pushed == NULL)
		*not_pushed = reason;
}

/* A percentile of float8 values, see fanout_select.c. */
typedef struct FanoutSelection
{
	double fraction;
	bool is_continuous; /* percentile_cont(), else percentile_disc() */
	bool is_descending;
	double rows_there; /* estimates */
	double rows_here;
} FanoutSelection;

typedef struct FanoutPath
{
	CustomPath custom;
	FanoutBase *base;
	RemoteKind kind;
	PathTarget *columns; /* of the rows that remote and local part return */
	List *quals;		 /* expressions that travel */
	List *local_quals;	 /* expressions, for the remote rows only */
	List *group_clause;	 /* SortGroupClauses over the columns' sortgrouprefs */
	List *having;
	bool is_grouped;
	bool always_ask;	/* it returns a row even if no partition matches */
	bool adds_up;		/* its columns are counts, to be summed into one row */
	PathTarget *answer; /* what is computed here of the columns, or NULL */
	FanoutSelection *selects;
	List *sort_clause;		 /* SortGroupClauses, and what merging needs besides: */
	List *sort_columns;		 /* integers, from 1 */
	List *sort_collations;	 /* oids */
	Node *limit;			 /* int8: no node needs to send more rows */
	List *windows;			 /* WindowClauses of the columns' window functions */
	List *window_conditions; /* expressions over those that rows must meet */
} FanoutPath;

/* The members of a plan's custom_private. */
typedef enum FanoutPrivate
{
	FANOUT_KIND,			 /* Integer, RemoteKind */
	FANOUT_SQL,				 /* String */
	FANOUT_STAND_IN,		 /* String, or NULL: the table's own name is used */
	FANOUT_TABLES,			 /* per member a list of two Strings, schema and name */
	FANOUT_LEAF_TABLES,		 /* integers: which member each remote leaf is of */
	FANOUT_NODES,			 /* Strings: their numbers may change */
	FANOUT_LEAF_NODES,		 /* integers: where in FANOUT_NODES */
	FANOUT_LEAF_NAMES,		 /* Strings: names, or branches of the stand-in */
	FANOUT_PRUNE_INFO,		 /* PartitionPruneInfo or NULL */
	FANOUT_RELATION,		 /* Integer: a table's index before flattening */
	FANOUT_USER,			 /* oid list: whom to ask as, or InvalidOid */
	FANOUT_SORT_COLUMNS,	 /* integers, from 1 */
	FANOUT_SORT_OPERATORS,	 /* oids */
	FANOUT_SORT_COLLATIONS,	 /* oids */
	FANOUT_SORT_NULLS_FIRST, /* integers */
	FANOUT_LOCAL_COUNT,		 /* Integer: local partitions */
	FANOUT_ADDS_UP,			 /* Integer, 0 or 1 */
	FANOUT_NOT_PUSHED,		 /* String or NULL */
	FANOUT_SELECTION,		 /* list of Floats, a FanoutSelection, or NIL */
	FANOUT_N_PRIVATE
} FanoutPrivate;

/* The members of a plan's custom_exprs. */
typedef enum FanoutExpressions
{
	FANOUT_PARAMETERS,	/* list */
	FANOUT_LOCAL_QUALS, /* list */
	FANOUT_LIMIT,		/* list of none or one */
	FANOUT_N_EXPRESSIONS
} FanoutExpressions;

/* fanout_path.c */
extern void fanout_path_init(void);
extern FanoutBase *fanout_base(RelOptInfo *rel);
extern FanoutBase *fanout_only_base(PlannerInfo *root);
extern void fanout_classify_quals(PlannerInfo *root, FanoutBase *base);
extern double fanout_rows_there(FanoutBase *base);
extern PathTarget *fanout_scan_columns(PlannerInfo *root, FanoutBase *base,
									   List *more);
extern PathTarget *fanout_leaf_target(PlannerInfo *root, RelOptInfo *table,
									  RelOptInfo *leaf, PathTarget *target);
extern Path *fanout_leaf_rows(PlannerInfo *root, RelOptInfo *table,
							  RelOptInfo *leaf, PathTarget *target);
extern List *fanout_separate_leaves(FanoutBase *base);
extern Path *fanout_local_rows(PlannerInfo *root, FanoutBase *base,
							   PathTarget *target, Relids required_outer);
extern Path *fanout_local_sorted(PlannerInfo *root, FanoutBase *base,
								 PathTarget *target, List *pathkeys,
								 double limit_tuples);
extern FanoutPath *fanout_path_create(PlannerInfo *root, FanoutBase *base,
									  RelOptInfo *parent, PathTarget *target,
									  PathTarget *columns, Path *local);
extern void fanout_path_cost(PlannerInfo *root, FanoutPath *path,
							 double rows_there, double work_per_row);
extern bool fanout_path_sort(PlannerInfo *root, FanoutPath *path,
							 List *pathkeys);
extern void fanout_add_ordered_path(PlannerInfo *root, FanoutBase *base);
extern Node *fanout_limit(PlannerInfo *root, FanoutBase *base, bool grouped);
extern double fanout_limited_rows(PlannerInfo *root, FanoutBase *base,
								  double rows);

/* fanout_join.c */
extern void fanout_join_init(void);
extern FanoutAttachment *fanout_attachment(FanoutBase *base, FanoutBase *member);

/* aggregate.c */
extern void fanout_add_group_paths(PlannerInfo *root, FanoutBase *base,
								   RelOptInfo *input_rel,
								   RelOptInfo *grouped_rel,
								   GroupPathExtraData *extra);
extern void fanout_add_distinct_paths(PlannerInfo *root, FanoutBase *base,
									  RelOptInfo *input_rel,
									  RelOptInfo *distinct_rel);
extern void fanout_add_ordered_paths(PlannerInfo *root, FanoutBase *base,
									 RelOptInfo *input_rel,
									 RelOptInfo *ordered_rel);

extern bool fanout_groups_are_whole(PlannerInfo *root, FanoutBase *base,
									List *expressions, List *clauses);
extern const char *fanout_rows_not_there(FanoutBase *base);

/* window.c */
extern void fanout_add_window_path(PlannerInfo *root, FanoutBase *base,
								   RelOptInfo *input_rel, RelOptInfo *window_rel);
extern void fanout_add_window_path_over_groups(PlannerInfo *root, FanoutBase *base,
											   RelOptInfo *input_rel, RelOptInfo *window_rel);
extern void fanout_add_partitionwise_windows(PlannerInfo *root, RelOptInfo *input_rel,
											 RelOptInfo *window_rel);

/* partitionwise.c */
extern bool partitionwise_has_key(RelOptInfo *rel, List *expressions, List *clauses);
extern bool partitionwise_is_whole(PlannerInfo *root, RelOptInfo *table, RelOptInfo *rel,
								   List *expressions, List *clauses);
extern List *partitionwise_leaves(PlannerInfo *root, RelOptInfo *rel);
extern Path *partitionwise_append(PlannerInfo *root, RelOptInfo *rel, List *paths,
								  PathTarget *target);
extern Path *partitionwise_counts(PlannerInfo *root, RelOptInfo *table, List *leaves,
								  PathTarget *input, RelOptInfo *grouped_rel,
								  PathTarget *counts);
extern void partitionwise_add_counts(PlannerInfo *root, RelOptInfo *input_rel,
									 RelOptInfo *grouped_rel);

/* kept_plan.c */
extern void kept_plan_init(void);

/* lookup_plan.c */
extern bool lookup_is_planned(const PlannerInfo *root);

/* fanout_select.c */
extern List *selection_to_list(const FanoutSelection *selection);

/* fanout_plan.c */
extern const CustomPathMethods fanout_path_methods;

/* fanout_scan.c */
extern const CustomScanMethods fanout_scan_methods;

/* explain.c */
struct FanoutScanState;
struct ExplainState;
extern void fanout_explain(CustomScanState *node, List *ancestors,
						   struct ExplainState *es);

#endif
