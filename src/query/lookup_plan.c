/*
 * lookup_plan.c
 *		Plans of lookups: one distributed table, and one value of its key.
 *
 * Planning a lookup takes longer than running it, and its text differs each
 * time, by the value.  So the second time that a session asks for values of
 * one partition, the plan is kept, with places for the value.  A query's
 * *shape* is the query without it; a shape has one plan for each partition.
 * Which of them is meant the server's own pruning tells, from the value.
 *
 * A plan is made with a parameter instead of the value, so that nothing in it
 * is true of this value only; afterwards constants take the parameter's place,
 * and are set each time.  It is a plan for one partition all the same: while
 * planning, a second condition on the key, the *marker*, has the value, is
 * seen by the planner's pruning, and removed before anything else looks at it.
 *
 * Where the value comes as a parameter itself, of a prepared statement or of
 * PL/pgSQL, it stays one.
 *
 * A plan is *lent* until the memory context is reset that was current when it
 * was asked for, which is where the planner's plan would be; one with places to
 * one borrower at a time.  A plan that was dropped goes when the last borrower
 * has returned it.  What makes plans stale is told in kept_plan.c.
 */
#include "postgres.h"

#include "access/hash.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/plancat.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "partitioning/partprune.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "base/clock.h"
#include "base/pg_compat.h"
#include "query/fanout.h"
#include "query/kept_plan.h"

#define MAX_SHAPES 32
#define MAX_PLANS 512 /* of all shapes together */

/* The parameter that stands for the value; no statement's has this number. */
#define VALUE_PARAM 1000000

/* Where in the text a marker says that it stands. */
#define MARKER_LOCATION (-7702)

/* A condition "key = value" of a query. */
typedef struct Lookup
{
	Oid table;
	OpExpr *clause;
	Node *column;	 /* the key's side of it */
	ListCell *place; /* the value's */
	Oid equality;	 /* the operator, with the column on the left */
	Oid type;		 /* of the value */
	Oid taken_type;	 /* what the operator takes it for, such as anyarray */
	Datum value;
	Const *constant; /* NULL: it comes as a parameter */
} Lookup;

typedef struct LookupPlan
{
	MemoryContext context;
	PlannedStmt *plan;
	List *places; /* of Const */
	uint64 made_us;
	int n_borrowers;
	bool is_dropped;
} LookupPlan;

typedef struct ShapeLeaf
{
	Oid leaf;
	uint64 asked_us;  /* 0: nobody has asked for it */
	bool is_refused;  /* its plan cannot be kept */
	LookupPlan *plan; /* or NULL */
} ShapeLeaf;

typedef struct Shape
{
	uint64 used; /* 0: free; else grows with each use */
	uint32 hash;

	/* From the second time on: */
	MemoryContext context; /* NULL: it was seen once */
	Query *query;		   /* with the parameter */
	PlannerState state;
	Oid table;
	Const *value; /* what is pruned by, in: */
	List *steps;
	FmgrInfo *support;
	int n_leaves;
	ShapeLeaf *leaves; /* by the number of the partition */
} Shape;

static Shape shapes[MAX_SHAPES];
static uint64 n_uses;
static int n_plans;
static get_relation_info_hook_type previous_get_relation_info;

/* A lookup that is being planned, and what was found about it. */
typedef struct Planning
{
	const Query *query;
	AttrNumber key;
	int n_markers; /* that were removed */
	bool has_partial_index;
} Planning;

static Planning *planning; /* the innermost, or NULL */

/* --- is it a lookup? ------------------------------------------------------------ */

/* One table in FROM and nothing below it. */
static bool
reads_one_table(const Query *parse)
{
	RangeTblEntry *rte;

	if (list_length(parse->rtable) != 1 || parse->hasSubLinks || parse->cteList != NIL ||
		parse->setOperations != NULL || parse->groupingSets != NIL ||
		list_length(parse->jointree->fromlist) != 1 || parse->jointree->quals == NULL)
		return false;
	rte = linitial_node(RangeTblEntry, parse->rtable);
	return rte->rtekind == RTE_RELATION && rte->inh && rte->tablesample == NULL &&
		   IsA(linitial(parse->jointree->fromlist), RangeTblRef) &&
		   partition_is_distributed(rte->relid);
}

/* The number of the table's column that this is, or 0. */
static AttrNumber
column_number(Node *node)
{
	if (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return IsA(node, Var) && ((Var *) node)->varlevelsup == 0 ? ((Var *) node)->varattno : 0;
}

/* The value is known now, and none that is null: nothing is equal to that. */
static bool
has_value(Node *node, ParamListInfo params, Lookup *lookup)
{
	lookup->constant = NULL;
	if (IsA(node, Const))
	{
		lookup->constant = (Const *) node;
		lookup->type = lookup->constant->consttype;
		lookup->value = lookup->constant->constvalue;
		return !lookup->constant->constisnull;
	}
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN && params != NULL)
	{
		int number = ((Param *) node)->paramid;
		ParamExternData workspace;
		ParamExternData *param;

		if (number <= 0 || number > params->numParams)
			return false;
		param = params->paramFetch != NULL ?
					params->paramFetch(params, number, true, &workspace) :
					&params->params[number - 1];
		lookup->type = ((Param *) node)->paramtype;
		lookup->value = param->value;
		return !param->isnull && (param->pflags & PARAM_FLAG_CONST) != 0 &&
			   param->ptype == lookup->type;
	}
	return false;
}

/* Equality as the partitions have it? */
static bool
is_equality(PartitionKey key, Lookup *lookup)
{
	int strategy;
	Oid left_type;

	if (!op_in_opfamily(lookup->equality, key->partopfamily[0]) || !op_strict(lookup->equality) ||
		(OidIsValid(key->partcollation[0]) && lookup->clause->inputcollid != key->partcollation[0]))
		return false;
	get_op_opfamily_properties(lookup->equality, key->partopfamily[0], false,
							   &strategy, &left_type, &lookup->taken_type);
	return strategy == HTEqualStrategyNumber;
}

static bool
is_lookup_clause(Node *node, PartitionKey key, ParamListInfo params, Lookup *lookup)
{
	OpExpr *clause = (OpExpr *) node;

	if (!IsA(node, OpExpr) || list_length(clause->args) != 2)
		return false;
	lookup->clause = clause;
	lookup->equality = clause->opno;
	lookup->column = linitial(clause->args);
	lookup->place = list_second_cell(clause->args);
	if (column_number(lookup->column) != key->partattrs[0])
	{
		lookup->equality = get_commutator(clause->opno);
		lookup->column = lsecond(clause->args);
		lookup->place = list_head(clause->args);
		if (!OidIsValid(lookup->equality) || column_number(lookup->column) != key->partattrs[0])
			return false;
	}
	return has_value(lfirst(lookup->place), params, lookup) &&
		   is_equality(key, lookup) &&
		   OidIsValid(get_array_type(lookup->type));
}

static bool
has_other_param_walker(Node *node, void *argument)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && node != argument)
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_other_param_walker, argument, 0);
	return expression_tree_walker(node, has_other_param_walker, argument);
}

/*
 * The condition on the key, if the query is a lookup.  Other parameters' values
 * may decide how it is best run: it is planned for them each time.
 */
static bool
lookup_find(Query *parse, Relation table, ParamListInfo params, Lookup *lookup)
{
	PartitionKey key = RelationGetPartitionKey(table);
	List *quals = (List *) parse->jointree->quals;
	ListCell *cell;

	if (key->strategy != PARTITION_STRATEGY_HASH || key->partnatts != 1 || key->partattrs[0] == 0)
		return false;
	lookup->table = RelationGetRelid(table);
	if (is_andclause(quals))
		quals = ((BoolExpr *) quals)->args;
	else if (!IsA(quals, List))
		quals = list_make1(quals);
	foreach(cell, quals)
	{
		if (is_lookup_clause(lfirst(cell), key, params, lookup))
			return params == NULL ||
				   !has_other_param_walker((Node *) parse, lookup->constant ? NULL : lfirst(lookup->place));
	}
	return false;
}

/* The parameter takes the place of the constant, or the constant its own. */
static void
lookup_hide_value(Lookup *lookup)
{
	Const *constant = lookup->constant;
	Param *param;

	if (constant == NULL)
		return;
	param = makeNode(Param);
	param->paramkind = PARAM_EXTERN;
	param->paramid = VALUE_PARAM;
	param->paramtype = constant->consttype;
	param->paramtypmod = constant->consttypmod;
	param->paramcollid = constant->constcollid;
	param->location = -1;
	lfirst(lookup->place) = param;
}

static void
lookup_show_value(Lookup *lookup)
{
	if (lookup->constant != NULL)
		lfirst(lookup->place) = lookup->constant;
}

/* --- shapes ----------------------------------------------------------------------- */

/* The end of the literal that begins here, more or less. */
static const char *
skip_literal(const char *at, const char *end)
{
	while (at < end && (*at == '-' || *at == '+' || *at == ' '))
		at++;
	while (at < end && (isalnum((unsigned char) *at) || *at == '.' || *at == '_'))
		at++;
	if (at < end && *at == '\'')
	{
		at++;
		while (at < end && (*at != '\'' || (at + 1 < end && at[1] == '\'')))
			at += *at == '\'' ? 2 : 1;
		at = Min(at + 1, end);
	}
	return at;
}

/* Of the statement's text without the value, and of what else it is planned by. */
static uint32
shape_hash(const Query *parse, const char *text, const Lookup *lookup, const PlannerState *state)
{
	int length = strlen(text);
	const char *from = text + Min(Max(parse->stmt_location, 0), length);
	const char *end = text + length;
	const char *at;
	const char *rest;

	if (parse->stmt_len > 0 && parse->stmt_len < end - from)
		end = from + parse->stmt_len;
	at = rest = end;
	if (lookup->constant != NULL && lookup->constant->location >= from - text &&
		lookup->constant->location < end - text)
	{
		at = text + lookup->constant->location;
		rest = skip_literal(at, end);
	}
	return hash_combine(hash_combine(hash_bytes((const unsigned char *) from, at - from),
									 hash_bytes((const unsigned char *) rest, end - rest)),
						hash_combine(planner_state_hash(state), lookup->type));
}

static void
lookup_plan_drop(ShapeLeaf *leaf)
{
	LookupPlan *plan = leaf->plan;

	if (plan == NULL)
		return;
	leaf->plan = NULL;
	n_plans--;
	plan->is_dropped = true;
	if (plan->n_borrowers == 0)
		MemoryContextDelete(plan->context);
}

/* Its text has been seen all the same. */
static void
shape_drop(Shape *shape)
{
	if (shape->context == NULL)
		return;
	for (int i = 0; i < shape->n_leaves; i++)
		lookup_plan_drop(&shape->leaves[i]);
	kept_plan_memory_drop(shape->context);
	shape->context = NULL;
}

/*
 * lookup_relation_changed
 *		For kept_plan.c: drop what depends on a relation, or on anything.
 */
void
lookup_relation_changed(Oid relation)
{
	for (int i = 0; i < MAX_SHAPES; i++)
	{
		Shape *shape = &shapes[i];

		if (shape->context == NULL)
			continue;
		if (!OidIsValid(relation) || relation == shape->table)
		{
			shape_drop(shape);
			continue;
		}
		for (int j = 0; j < shape->n_leaves; j++)
		{
			if (shape->leaves[j].leaf == relation)
			{
				lookup_plan_drop(&shape->leaves[j]);
				shape->leaves[j].is_refused = false;
			}
		}
	}
}

/* The shape of this text; else a new one in a free place, or that of the longest unused. */
static Shape *
shape_find(uint32 hash, bool *is_new)
{
	Shape *oldest = &shapes[0];

	*is_new = false;
	for (int i = 0; i < MAX_SHAPES; i++)
	{
		if (shapes[i].used != 0 && shapes[i].hash == hash)
			return &shapes[i];
		if (shapes[i].used < oldest->used)
			oldest = &shapes[i];
	}
	shape_drop(oldest);
	oldest->hash = hash;
	*is_new = true;
	return oldest;
}

/* The step that tells the partition by the value, as the server would make it. */
static bool
shape_set_steps(Shape *shape, PartitionKey key, const Lookup *lookup)
{
	PartitionPruneStepOp *step = makeNode(PartitionPruneStepOp);
	Oid support = key->partsupfunc[0].fn_oid;
	int16 length;
	bool by_value;

	if (lookup->taken_type != key->partopcintype[0])
		support = get_opfamily_proc(key->partopfamily[0], lookup->taken_type,
									lookup->taken_type, HASHEXTENDED_PROC);
	if (!OidIsValid(support))
		return false;
	get_typlenbyval(lookup->type, &length, &by_value);
	shape->value = makeConst(lookup->type, -1, InvalidOid, length, (Datum) 0, true, by_value);
	step->opstrategy = HTEqualStrategyNumber;
	step->exprs = list_make1(shape->value);
	step->cmpfns = list_make1_oid(support);
	shape->steps = list_make1(step);
	shape->support = palloc0(sizeof(FmgrInfo));
	return true;
}

/* A shape that was seen before gets room for its plans; "parse" hides the value. */
static void
shape_make(Shape *shape, Query *parse, Relation table, const Lookup *lookup,
		   const PlannerState *state)
{
	MemoryContext context;
	MemoryContext old;
	PartitionDesc partitions = RelationGetPartitionDesc(table, true);

	shape_drop(shape);
	context = AllocSetContextCreate(CurrentMemoryContext, "dlog lookups",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	shape->query = copyObject(parse);
	shape->state = *state;
	shape->table = lookup->table;
	shape->n_leaves = partitions->nparts;
	shape->leaves = palloc0(sizeof(ShapeLeaf) * Max(partitions->nparts, 1));
	for (int i = 0; i < partitions->nparts; i++)
		shape->leaves[i].leaf = partitions->oids[i];
	if (!shape_set_steps(shape, RelationGetPartitionKey(table), lookup))
		shape->n_leaves = 0;
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, TopMemoryContext);
	shape->context = context;
}

/* Where in a shape the value's partition is; NULL if not in one that is a leaf. */
static ShapeLeaf *
shape_leaf(Shape *shape, Relation table, const Lookup *lookup)
{
	PartitionKey key = RelationGetPartitionKey(table);
	PartitionDesc partitions = RelationGetPartitionDesc(table, true);
	PartitionPruneContext context = {
		.strategy = key->strategy,
		.partnatts = key->partnatts,
		.nparts = partitions->nparts,
		.boundinfo = partitions->boundinfo,
		.partcollation = key->partcollation,
		.partsupfunc = key->partsupfunc,
		.stepcmpfuncs = shape->support,
		.ppccontext = shape->context,
	};
	ShapeLeaf *leaves = shape->leaves;
	int number;

	/* Looking at the table may have shown that it has changed. */
	if (shape->context == NULL || shape->n_leaves != partitions->nparts || shape->n_leaves == 0)
		return NULL;
	shape->value->constvalue = lookup->value;
	shape->value->constisnull = false;
	if (!bms_get_singleton_member(get_matching_partitions(&context, shape->steps), &number) ||
		!partitions->is_leaf[number] || shape->context != context.ppccontext ||
		leaves[number].leaf != partitions->oids[number])
		return NULL;
	return &leaves[number];
}

/* --- planning for one partition -------------------------------------------------------- */

/* "key = ANY (ARRAY[value])", for the planner's pruning only. */
static Node *
marker(const Lookup *lookup)
{
	ScalarArrayOpExpr *marker = makeNode(ScalarArrayOpExpr);
	Datum value = lookup->value;
	int16 length;
	bool by_value;
	char align;
	ArrayType *array;

	get_typlenbyvalalign(lookup->type, &length, &by_value, &align);
	array = construct_array(&value, 1, lookup->type, length, by_value, align);
	marker->opno = lookup->equality;
	marker->opfuncid = get_opcode(lookup->equality);
	marker->useOr = true;
	marker->inputcollid = lookup->clause->inputcollid;
	marker->args = list_make2(copyObject(lookup->column),
							  makeConst(get_array_type(lookup->type), -1,
										exprCollation(lfirst(lookup->place)), -1,
										PointerGetDatum(array), false, false));
	marker->location = MARKER_LOCATION;
	return (Node *) marker;
}

/* How many there were. */
static int
remove_marker(RelOptInfo *parent)
{
	int n = 0;
	ListCell *cell;

	foreach(cell, parent->baserestrictinfo)
	{
		ScalarArrayOpExpr *clause = (ScalarArrayOpExpr *) lfirst_node(RestrictInfo, cell)->clause;

		if (IsA(clause, ScalarArrayOpExpr) && clause->location == MARKER_LOCATION)
		{
			parent->baserestrictinfo = foreach_delete_current(parent->baserestrictinfo, cell);
			n++;
		}
	}
	return n;
}

/* An index for some values of the key only can be used with these only. */
static bool
has_partial_index(RelOptInfo *rel, AppendRelInfo *child)
{
	Var *key = list_nth(child->translated_vars, planning->key - 1);
	ListCell *cell;

	foreach(cell, rel->indexlist)
	{
		Bitmapset *used = NULL;

		pull_varattnos((Node *) lfirst_node(IndexOptInfo, cell)->indpred, rel->relid, &used);
		if (bms_is_member(key->varattno - FirstLowInvalidHeapAttributeNumber, used))
			return true;
	}
	return false;
}

/*
 * lookup_is_planned
 *		Is this a plan for the one partition that has a value?  Then there is
 *		nothing to be pruned when it runs.
 */
bool
lookup_is_planned(const PlannerInfo *root)
{
	return planning != NULL && root->parse == planning->query;
}

/*
 * The planner has pruned, and looks at the first partition that is left: the
 * parent's conditions are about to be copied.
 */
static void
lookup_get_relation_info(PlannerInfo *root, Oid relation, bool inhparent, RelOptInfo *rel)
{
	AppendRelInfo *child;

	if (previous_get_relation_info)
		previous_get_relation_info(root, relation, inhparent, rel);
	if (!lookup_is_planned(root) || root->append_rel_array == NULL)
		return;
	child = root->append_rel_array[rel->relid];
	if (child == NULL)
		return;
	planning->n_markers += remove_marker(root->simple_rel_array[child->parent_relid]);
	if (child->parent_relid == 1 && has_partial_index(rel, child))
		planning->has_partial_index = true;
}

/* One marker was there, or the planner has seen more than the partition. */
static bool
plan_can_be_kept(const PlannedStmt *plan, const Planning *found, Oid table, Oid leaf)
{
	return plan->commandType == CMD_SELECT && plan->rowMarks == NIL &&
		   !plan->transientPlan && !plan->parallelModeNeeded &&
		   list_length(plan->relationOids) == 2 &&
		   found->n_markers == 1 && !found->has_partial_index &&
		   list_member_oid(plan->relationOids, table) &&
		   list_member_oid(plan->relationOids, leaf);
}

/* Have the planner see one partition.  "parse" is used up. */
static PlannedStmt *
plan_one_partition(Query *parse, const char *text, int cursor_options, const Lookup *lookup,
				   Planning *found)
{
	Planning *outer = planning;
	PlannedStmt *volatile plan = NULL;
	bool asks_nodes;

	parse->jointree->quals = make_and_qual(parse->jointree->quals, marker(lookup));
	*found = (Planning){.query = parse, .key = column_number(lookup->column)};
	PG_TRY();
	{
		planning = found;
		plan = plan_anew(parse, text, cursor_options, NULL, &asks_nodes);
	}
	PG_FINALLY();
	{
		planning = outer;
	}
	PG_END_TRY();
	return plan;
}

/* Plan for any value of the leaf; NULL if that cannot be.  "parse" is used up. */
static LookupPlan *
plan_for_leaf(Query *parse, const char *text, int cursor_options, const Lookup *lookup,
			  const ShapeLeaf *leaf)
{
	MemoryContext context;
	MemoryContext old;
	Planning found;
	PlannedStmt *plan = plan_one_partition(parse, text, cursor_options, lookup, &found);
	LookupPlan *kept;
	bool has_places;

	if (!plan_can_be_kept(plan, &found, lookup->table, leaf->leaf))
		return NULL;

	context = AllocSetContextCreate(CurrentMemoryContext, "dlog lookup plan",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	kept = palloc0(sizeof(LookupPlan));
	kept->context = context;
	kept->plan = copyObject(plan);

	/* If the marker is still there, the planner has found no partition. */
	has_places = plan_make_places(kept->plan, VALUE_PARAM, MARKER_LOCATION, &kept->places);
	kept->made_us = clock_now_us();
	MemoryContextSwitchTo(old);
	if (has_places)
		return kept;
	MemoryContextDelete(context);
	return NULL;
}

/* --- lending --------------------------------------------------------------------------- */

typedef struct Borrower
{
	MemoryContextCallback at_end;
	LookupPlan *plan;
} Borrower;

static void
lookup_plan_returned(void *argument)
{
	LookupPlan *plan = ((Borrower *) argument)->plan;

	plan->n_borrowers--;
	if (plan->is_dropped && plan->n_borrowers == 0)
		MemoryContextDelete(plan->context);
}

/* The plan stays for as long as the current memory context lasts, even if it is dropped. */
static void
lookup_plan_borrow(LookupPlan *kept)
{
	Borrower *borrower = palloc(sizeof(Borrower));

	borrower->plan = kept;
	borrower->at_end.func = lookup_plan_returned;
	borrower->at_end.arg = borrower;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &borrower->at_end);
	kept->n_borrowers++;
}

/* Put the value into a plan that is borrowed. */
static PlannedStmt *
lookup_plan_lend(LookupPlan *kept, const Query *parse, const Lookup *lookup)
{
	ListCell *cell;

	if (kept->places != NIL)
	{
		const Const *constant = lookup->constant;
		Datum value = datumCopy(constant->constvalue, constant->constbyval, constant->constlen);

		foreach(cell, kept->places)
		{
			lfirst_node(Const, cell)->constvalue = value;
			lfirst_node(Const, cell)->constisnull = false;
		}
	}
	return kept_plan_lend(kept->plan, parse);
}

static void
shape_drop_old_plans(Shape *shape)
{
	for (int i = 0; i < shape->n_leaves; i++)
	{
		if (shape->leaves[i].plan != NULL && !kept_plan_is_young(shape->leaves[i].plan->made_us))
			lookup_plan_drop(&shape->leaves[i]);
	}
}

/* Make room for one more plan; false if only this shape has any, all of them young. */
static bool
make_room(Shape *shape)
{
	if (n_plans >= MAX_PLANS)
		shape_drop_old_plans(shape);
	while (n_plans >= MAX_PLANS)
	{
		Shape *oldest = NULL;

		for (int i = 0; i < MAX_SHAPES; i++)
		{
			if (&shapes[i] != shape && shapes[i].context != NULL &&
				(oldest == NULL || shapes[i].used < oldest->used))
				oldest = &shapes[i];
		}
		if (oldest == NULL)
			return false;
		shape_drop(oldest);
	}
	return true;
}

/*
 * The second time in a while: plan it for other values, too.  NULL if that is in
 * vain.  Functions that run while it is planned may look up others, for which
 * the shape gave way, or this one.
 */
static PlannedStmt *
plan_and_keep(Shape *shape, ShapeLeaf *leaf, Query *parse, const char *text,
			  int cursor_options, const Lookup *lookup)
{
	uint64 changes = kept_plan_changes();
	MemoryContext context = shape->context;
	LookupPlan *kept;

	if (!make_room(shape))
		return NULL;
	kept = plan_for_leaf(copyObject(parse), text, cursor_options, lookup, leaf);
	if (kept_plan_changes() != changes || shape->context != context || leaf->plan != NULL)
		return NULL;
	if (kept == NULL)
	{
		leaf->is_refused = true;
		return NULL;
	}
	MemoryContextSetParent(kept->context, TopMemoryContext);
	leaf->plan = kept;
	n_plans++;
	lookup_plan_borrow(kept);
	return lookup_plan_lend(kept, parse, lookup);
}

/* The text of one may be longer, by its value. */
static bool
queries_are_equal(const Query *one, Query *other)
{
	int length = other->stmt_len;
	bool result;

	other->stmt_len = one->stmt_len;
	result = equal(one, other);
	other->stmt_len = length;
	return result;
}

/* The plan of the value's partition, if it is to be kept.  "parse" hides the value. */
static PlannedStmt *
lookup_plan_of_shape(Shape *shape, Relation table, Query *parse, const char *text,
					 int cursor_options, const Lookup *lookup, const PlannerState *state)
{
	ShapeLeaf *leaf;
	LookupPlan *kept;
	bool is_asked_again;

	if (shape->context == NULL || memcmp(&shape->state, state, sizeof(*state)) != 0 ||
		!queries_are_equal(shape->query, parse))
		shape_make(shape, parse, table, lookup, state);
	leaf = shape_leaf(shape, table, lookup);
	if (leaf == NULL || leaf->is_refused)
		return NULL;

	kept = leaf->plan;
	if (kept != NULL && kept->places != NIL && kept->n_borrowers > 0)
		return NULL;
	if (kept != NULL && kept_plan_is_young(kept->made_us))
	{
		leaf->asked_us = clock_now_us();
		lookup_plan_borrow(kept);
		kept_plan_lock(kept->plan);
		return kept->is_dropped ? NULL : lookup_plan_lend(kept, parse, lookup);
	}
	lookup_plan_drop(leaf);
	is_asked_again = leaf->asked_us != 0 && kept_plan_is_young(leaf->asked_us);
	leaf->asked_us = clock_now_us();
	return is_asked_again ? plan_and_keep(shape, leaf, parse, text, cursor_options, lookup) : NULL;
}

/*
 * lookup_plan
 *		The plan of a lookup, or NULL if it is to be planned as any query.
 *
 * *is_lookup tells whether it is one.
 */
PlannedStmt *
lookup_plan(Query *parse, const char *text, int cursor_options, ParamListInfo params,
			const PlannerState *state, bool *is_lookup)
{
	Lookup lookup;
	Relation table;
	Shape *shape;
	bool is_new;
	PlannedStmt *plan = NULL;

	*is_lookup = false;
	if (!reads_one_table(parse))
		return NULL;
	table = table_open(linitial_node(RangeTblEntry, parse->rtable)->relid, NoLock);
	*is_lookup = lookup_find(parse, table, params, &lookup);
	if (*is_lookup)
	{
		shape = shape_find(shape_hash(parse, text, &lookup, state), &is_new);
		shape->used = ++n_uses;
		if (!is_new)
		{
			lookup_hide_value(&lookup);
			plan = lookup_plan_of_shape(shape, table, parse, text, cursor_options, &lookup, state);
			lookup_show_value(&lookup);
		}
	}
	table_close(table, NoLock);
	return plan;
}

void
lookup_plan_init(void)
{
	previous_get_relation_info = get_relation_info_hook;
	get_relation_info_hook = lookup_get_relation_info;
}
