/*
 * query_internal.h
 *		What the files of this folder share.
 *
 * Words.  A *fragment* is the part of a query that another node runs: one
 * SELECT over the partitions that it has.  An expression is *shippable* when
 * the other node computes what this one would.
 */
#ifndef DLOG_QUERY_INTERNAL_H
#define DLOG_QUERY_INTERNAL_H

#include "foreign/fdwapi.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "utils/rel.h"

#include "partition/partition.h"
#include "query/query.h"
#include "remote/remote.h"

/* --- the foreign-data wrapper: one foreign table -------------------------- */

/* options.c */
extern char *foreign_column_name(Relation relation, AttrNumber attno);

/*
 * relation_text.c: statements about the relation that a foreign table stands
 * for, as text for its node.
 */
typedef struct RelationText
{
	PartitionHome home;
	char *name;		/* of the relation in the text, qualified */
	char **columns; /* names over there by attno - 1; NULL: dropped */
	int n_columns;
	List *context; /* for ruleutils */
	List *values;  /* expressions, of which $1 to $n are the values */
} RelationText;

extern void relation_text_init(RelationText *text, Relation relation);
extern void relation_text_expression(RelationText *text, StringInfo buffer,
									 Node *expression, Index varno);
extern void relation_text_pair(RelationText *text, StringInfo buffer,
							   Node *expression);
extern void relation_text_literally(RelationText *text, StringInfo buffer,
									Node *expression);
extern void relation_text_where(RelationText *text, StringInfo buffer,
								List *clauses, Index varno);
extern void relation_text_columns(RelationText *text, StringInfo buffer,
								  List *attnos);

/* request.c: requests, and the rows that they bring */
extern PartitionHome foreign_table_home(Relation relation);
extern List *relation_columns(Relation relation);
extern List *request_tables(const PartitionHome *home);
extern TupleDesc request_result_desc(Relation relation, List *attnos);
extern void request_set_parameters(RemoteRequest *request, List *expressions);
extern void request_evaluate_parameters(RemoteRequest *request, List *states,
										ExprContext *econtext);
extern RemoteStream *request_open(MemoryContext context, uint32 node,
								  const RemoteRequest *request, Oid role);
extern uint64 request_run(uint32 node, const RemoteRequest *request, Oid role);
extern bool request_next(RemoteStream *stream, TupleTableSlot *slot);
extern const char *node_display_name(uint32 node);
extern void request_explain_stats(StringInfo line, const RemoteStats *stats,
								  struct ExplainState *es);
extern void request_explain(uint32 node, const char *sql,
							const RemoteStats *stats, struct ExplainState *es);
extern char *request_keep_plan(char *plan, RemoteStream *stream, MemoryContext context);
extern void request_explain_plan(const char *plan, struct ExplainState *es);

/* What is received is stored as a row of the foreign table. */
typedef struct RowMap
{
	int n_attnos;
	AttrNumber *attnos; /* of the columns received; ctid's among them */
} RowMap;

extern RowMap *row_map(List *attnos);
extern void row_map_store(const RowMap *map, TupleTableSlot *received,
						  TupleTableSlot *row);

/*
 * conflict_text.c, conflict.c: ON CONFLICT.  A statement that updates says
 * CONFLICT_GUARD before its first row, and of each row that is in the way;
 * $1 tells the commands of the asking session apart.
 */
#define CONFLICT_GUARD "dlog.upsert_once($1, NULL, NULL)"

struct ModifyTableState;
struct ResultRelInfo;
extern char *conflict_clause(struct ModifyTableState *insertion,
							 struct ResultRelInfo *rinfo, RelationText *text);
extern bool conflict_target(struct ModifyTableState *insertion, List **target,
							List **predicate, int64 *command);
extern void conflict_init(void);

/* modify.c, direct_modify.c, import.c, analyze.c fill in their part. */
extern bool update_may_move(Relation relation, const Bitmapset *updated);
extern void modify_set_routines(FdwRoutine *routine);
extern void direct_modify_set_routines(FdwRoutine *routine);
extern void import_set_routines(FdwRoutine *routine);
extern void analyze_set_routines(FdwRoutine *routine);

/* --- shippable.c: may an expression travel? ------------------------------ */

/*
 * The relations of the fragment are "relids"; Vars of others and Params are
 * values that travel along.  Aggregates are shippable only where
 * allow_aggregates says that the fragment computes them.  If the answer is no
 * and reason is not NULL, *reason tells a reader of EXPLAIN why.
 */
extern bool expression_is_shippable(PlannerInfo *root, Relids relids,
									Node *expression, bool allow_aggregates,
									const char **reason);
extern bool qual_is_shippable(PlannerInfo *root, RelOptInfo *rel,
							  RestrictInfo *qual, const char **reason);
extern bool sorts_alike_everywhere(Node *expression, const char **reason);
extern bool sample_is_shippable(TableSampleClause *sample);
extern bool expression_is_constant_here(Node *expression, Relids relids);
extern bool type_is_portable(Oid type);
extern bool type_is_shippable(PlannerInfo *root, Relids relids, Oid type);

/* --- deparse.c: fragments as text ---------------------------------------- */

/*
 * A relation of a fragment, and what it is called over there: "over" is the
 * local relation whose name (and column names) the text shows, which exists
 * there under the same name; the text names columns, so its column numbers
 * may differ from those of the range table entry.  If it is InvalidOid the
 * text is over "stand_in", a name that the sender of the request defines in a
 * WITH clause made of fragment_branch()es.
 */
typedef struct FragmentTable
{
	Index rti;
	Oid over;
	const char *stand_in;
	JoinType join;	  /* INNER, or how it is joined to those before it: */
	List *join_quals; /* expressions, implicitly ANDed; for LEFT, FULL, SEMI, ANTI */
	List *leaf_oids;  /* what tableoid is here, for each leaf of "over", */
	List *leaf_names; /* and the leaf's qualified name over there */
} FragmentTable;

typedef struct Fragment
{
	PlannerInfo *root;
	List *tables;			 /* of FragmentTable */
	List *columns;			 /* expressions, the rows' columns */
	List *quals;			 /* expressions, implicitly ANDed */
	List *group_clause;		 /* SortGroupClause, refer to sortgrouprefs */
	List *having;			 /* expressions, implicitly ANDed */
	List *sort_clause;		 /* SortGroupClause, refer to sortgrouprefs */
	Index *sortgrouprefs;	 /* one per column, or NULL */
	bool is_grouped;		 /* aggregates, or a GROUP BY */
	Node *limit;			 /* an int8 expression, or NULL */
	List *windows;			 /* WindowClauses of window functions in the columns */
	List *window_conditions; /* comparisons of those, implicitly ANDed */
} Fragment;

/*
 * The text of a fragment, under search_path = pg_catalog and fixed formats.
 * Sets *parameters to the expressions whose values are $1 to $n; they are
 * copies in which Vars of other relations remain for the caller to replace.
 */
extern char *fragment_deparse(const Fragment *fragment, List **parameters);

/*
 * "SELECT columns FROM schema.name" over one foreign table's own relation, the
 * columns being those of attributes "columns" (an integer list) of relation
 * "names" under the names they have in that one.  A column tableoid is the
 * foreign table's own.
 */
extern char *fragment_branch(Oid foreign_table, const PartitionHome *home,
							 Oid names, List *columns);

/* The attributes of a table that a fragment's expressions need. */
extern List *fragment_attributes(const Fragment *fragment, Index rti);

extern int deparse_formats_begin(void);
extern void deparse_formats_end(int nest_level);

#endif
