/*
 * deparse.c
 *		Fragments as text.
 *
 * A fragment is put together as the parse tree of a SELECT and printed by the
 * server's own pg_get_querydef(), which knows how every expression is
 * written.  Printing happens under search_path = pg_catalog and fixed formats,
 * as parsing does over there, so that all names are qualified and all literals
 * mean the same.
 *
 * A maximal part of an expression that has no column of the fragment in it
 * becomes a parameter, unless it is a literal.  A literal that a condition
 * compares for equality does too: who looks up one key after the other sends
 * the same text each time, which the other node need not parse and plan anew.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "query/query_internal.h"

typedef struct DeparseContext
{
	const Fragment *fragment;
	Relids relids;
	List *parameters;
} DeparseContext;

/*
 * deparse_formats_begin
 *		From here to deparse_formats_end() names and literals are printed as
 *		the other node reads them.
 */
int
deparse_formats_begin(void)
{
	int nest_level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (DateStyle != USE_ISO_DATES)
		(void) set_config_option("datestyle", "ISO", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (IntervalStyle != INTSTYLE_POSTGRES)
		(void) set_config_option("intervalstyle", "postgres", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (extra_float_digits < 3)
		(void) set_config_option("extra_float_digits", "3", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (quote_all_identifiers)
		(void) set_config_option("quote_all_identifiers", "off", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

void
deparse_formats_end(int nest_level)
{
	AtEOXact_GUC(true, nest_level);
}

/* The range table index that a relation has in the fragment's own query. */
static int
fragment_table_position(const Fragment *fragment, Index rti)
{
	int position = 1;
	ListCell *lc;

	foreach(lc, fragment->tables)
	{
		if (((FragmentTable *) lfirst(lc))->rti == rti)
			return position;
		position++;
	}
	elog(ERROR, "relation %u is not in the fragment", rti);
	return 0;
}

static AttrNumber
attribute_over_there(const FragmentTable *table, PlannerInfo *root,
					 AttrNumber attribute)
{
	RangeTblEntry *rte = planner_rt_fetch(table->rti, root);
	char *name;
	AttrNumber result;

	if (!OidIsValid(table->over) || table->over == rte->relid)
		return attribute;
	name = get_attname(rte->relid, attribute, false);
	result = get_attnum(table->over, name);
	if (result == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\"",
						get_rel_name(table->over), name)));
	return result;
}

/* How many columns a stand-in has for those of the table itself. */
static int
stand_in_width(PlannerInfo *root, const FragmentTable *table)
{
	return list_length(planner_rt_fetch(table->rti, root)->eref->colnames);
}

static void
stand_in_add_column(RangeTblEntry *rte, char *name, Oid type)
{
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(name));
	rte->coltypes = lappend_oid(rte->coltypes, type);
	rte->coltypmods = lappend_int(rte->coltypmods, -1);
	rte->colcollations = lappend_oid(rte->colcollations, InvalidOid);
}

static Node *
make_parameter(DeparseContext *context, Node *node)
{
	Param *parameter = makeNode(Param);
	int number = 1;
	ListCell *lc;

	foreach(lc, context->parameters)
	{
		if (equal(lfirst(lc), node))
			break;
		number++;
	}
	if (lc == NULL)
		context->parameters = lappend(context->parameters, copyObject(node));

	parameter->paramkind = PARAM_EXTERN;
	parameter->paramid = number;
	parameter->paramtype = exprType(node);
	parameter->paramtypmod = exprTypmod(node);
	parameter->paramcollid = exprCollation(node);
	parameter->location = -1;
	return (Node *) parameter;
}

static bool
is_plain_literal(Node *node)
{
	return IsA(node, Const) && ((Const *) node)->consttype != MONEYOID;
}

/*
 * The oid that this node knows a row's partition by: found through the
 * partition's name, since the oids there are others.
 */
static Node *
table_oid_expression(const FragmentTable *table, Var *var)
{
	SubscriptingRef *element = makeNode(SubscriptingRef);
	CoerceViaIO *name = makeNode(CoerceViaIO);
	int n_leaves = list_length(table->leaf_oids);
	Datum *oids = palloc(sizeof(Datum) * (n_leaves + 1));
	Datum *names = palloc(sizeof(Datum) * (n_leaves + 1));
	Const *oid_array;
	Const *name_array;

	for (int i = 0; i < n_leaves; i++)
	{
		oids[i] = ObjectIdGetDatum(list_nth_oid(table->leaf_oids, i));
		names[i] = CStringGetTextDatum(list_nth(table->leaf_names, i));
	}
	oid_array = makeConst(OIDARRAYOID, -1, InvalidOid, -1,
						  PointerGetDatum(construct_array(oids, n_leaves, OIDOID,
														  sizeof(Oid), true,
														  TYPALIGN_INT)),
						  false, false);
	name_array = makeConst(TEXTARRAYOID, -1, DEFAULT_COLLATION_OID, -1,
						   PointerGetDatum(construct_array(names, n_leaves,
														   TEXTOID, -1, false,
														   TYPALIGN_INT)),
						   false, false);

	name->arg = (Expr *) makeRelabelType((Expr *) var, REGCLASSOID, -1,
										 InvalidOid, COERCE_EXPLICIT_CAST);
	name->resulttype = TEXTOID;
	name->resultcollid = DEFAULT_COLLATION_OID;
	name->coerceformat = COERCE_EXPLICIT_CAST;
	name->location = -1;

	element->refcontainertype = OIDARRAYOID;
	element->refelemtype = OIDOID;
	element->refrestype = OIDOID;
	element->reftypmod = -1;
	element->refexpr = (Expr *) oid_array;
	element->refupperindexpr =
		list_make1(makeFuncExpr(F_ARRAY_POSITION_ANYCOMPATIBLEARRAY_ANYCOMPATIBLE,
								INT4OID, list_make2(name_array, name),
								InvalidOid, DEFAULT_COLLATION_OID,
								COERCE_EXPLICIT_CALL));
	return (Node *) element;
}

/* Columns are renumbered, and what is constant here becomes a parameter. */
static Node *
fragment_mutator(Node *node, void *argument)
{
	DeparseContext *context = argument;

	if (node == NULL)
		return NULL;
	if (IsA(node, RestrictInfo))
		return fragment_mutator((Node *) ((RestrictInfo *) node)->clause,
								context);
	if (!IsA(node, List) && !IsA(node, TargetEntry) && !IsA(node, CaseWhen) &&
		!IsA(node, SortGroupClause) &&
		expression_is_constant_here(node, context->relids))
	{
		if (is_plain_literal(node))
			return copyObject(node);
		return make_parameter(context, node);
	}
	if (IsA(node, Var))
	{
		Var *var = (Var *) copyObject(node);
		int position = fragment_table_position(context->fragment, var->varno);
		FragmentTable *table = list_nth(context->fragment->tables,
										position - 1);

		if (var->varattno > 0)
			var->varattno = attribute_over_there(table,
												 context->fragment->root,
												 var->varattno);
		var->varno = position;
		var->varnosyn = 0;
		var->varattnosyn = 0;
		if (var->varattno != TableOidAttributeNumber)
			return (Node *) var;
		if (OidIsValid(table->over))
			return table_oid_expression(table, var);
		/* The stand-in has it as a column, after all others. */
		var->varattno = stand_in_width(context->fragment->root, table) + 1;
		return (Node *) var;
	}
	if (IsA(node, Aggref))
	{
		/* Here it may be marked as partial already; there it never is. */
		Aggref *aggregate = (Aggref *) expression_tree_mutator(node,
															   fragment_mutator,
															   argument);

		aggregate->aggsplit = AGGSPLIT_SIMPLE;
		aggregate->aggtype = get_func_rettype(aggregate->aggfnoid);
		return (Node *) aggregate;
	}
	return expression_tree_mutator(node, fragment_mutator, argument);
}

/* column = literal, in which the literal becomes a parameter. */
static Node *
equality_with_parameter(DeparseContext *context, Node *node)
{
	OpExpr *operation = (OpExpr *) node;
	OpExpr *result;
	ListCell *lc;

	if (!is_opclause(node) || list_length(operation->args) != 2 ||
		get_oprrest(operation->opno) != F_EQSEL)
		return NULL;
	result = copyObject(operation);
	result->args = NIL;
	foreach(lc, operation->args)
	{
		Node *argument = lfirst(lc);

		/* The literal's type must be told by more than its text. */
		if (IsA(argument, Const) && !((Const *) argument)->constisnull)
			argument = make_parameter(context, argument);
		else
			argument = fragment_mutator(argument, context);
		result->args = lappend(result->args, argument);
	}
	return (Node *) result;
}

/* The same for the conditions of an AND. */
static List *
fragment_conditions(DeparseContext *context, List *conditions)
{
	List *result = NIL;
	ListCell *lc;

	foreach(lc, conditions)
	{
		Node *condition = lfirst(lc);
		Node *equality;

		if (IsA(condition, RestrictInfo))
			condition = (Node *) ((RestrictInfo *) condition)->clause;
		equality = equality_with_parameter(context, condition);
		result = lappend(result, equality ? equality :
											fragment_mutator(condition, context));
	}
	return result;
}

static Node *
fragment_expression(DeparseContext *context, Node *node)
{
	return fragment_mutator(node, context);
}

static Node *
and_expression(DeparseContext *context, List *expressions)
{
	if (expressions == NIL)
		return NULL;
	return (Node *) make_ands_explicit(castNode(List,
												fragment_expression(context, (Node *) expressions)));
}

static RangeTblEntry *
table_entry(PlannerInfo *root, FragmentTable *table)
{
	RangeTblEntry *original = planner_rt_fetch(table->rti, root);
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	if (OidIsValid(table->over))
	{
		rte->rtekind = RTE_RELATION;
		rte->relid = table->over;
		rte->relkind = get_rel_relkind(table->over);
		rte->rellockmode = AccessShareLock;
		rte->eref = makeAlias(get_rel_name(table->over), NIL);
	}
	else
	{
		int n_attributes = stand_in_width(root, table);

		rte->rtekind = RTE_CTE;
		rte->ctename = pstrdup(table->stand_in);
		rte->ctelevelsup = 0;
		rte->self_reference = false;
		rte->eref = makeAlias(table->stand_in, NIL);
		for (AttrNumber attribute = 1; attribute <= n_attributes; attribute++)
		{
			char *name = get_attname(original->relid, attribute, true);

			/* Dropped columns have no name and are never referred to. */
			stand_in_add_column(rte, name ? name : pstrdup(""),
								get_atttype(original->relid, attribute));
		}
		stand_in_add_column(rte, "tableoid", OIDOID);
	}
	rte->inh = true;
	rte->inFromCl = true;
	return rte;
}

/*
 * The server breaks lines; a fragment is one.  Quotes are always doubled inside
 * of quotes, so what is between them is left alone by counting them.
 */
static char *
join_lines(char *text)
{
	char *from = text;
	char *to = text;
	char quote = '\0';

	while (isspace((unsigned char) *from))
		from++;
	while (*from)
	{
		if (quote)
			quote = *from == quote ? '\0' : quote;
		else if (*from == '\'' || *from == '"')
			quote = *from;
		else if (*from == '\n')
		{
			while (isspace((unsigned char) *from))
				from++;
			if (to > text && to[-1] != ' ')
				*to++ = ' ';
			continue;
		}
		*to++ = *from++;
	}
	*to = '\0';
	return text;
}

/*
 * ORDER BY takes a name for that of an output column first, and (id)::text is
 * called "id" if nobody says otherwise.
 */
static void
name_computed_columns(Query *query)
{
	bool sorts_by_column = false;
	ListCell *lc;

	foreach(lc, query->sortClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);

		if (IsA(get_sortgroupclause_expr(clause, query->targetList), Var))
			sorts_by_column = true;
	}
	if (!sorts_by_column)
		return;
	foreach(lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (!IsA(entry->expr, Var))
			entry->resname = psprintf("dlog column %d", entry->resno);
	}
}

/*
 * fragment_deparse
 *		The text of a fragment; see query_internal.h.
 */
char *
fragment_deparse(const Fragment *fragment, List **parameters)
{
	DeparseContext context = {fragment, NULL, NIL};
	Query *query = makeNode(Query);
	FromExpr *from = makeNode(FromExpr);
	ListCell *lc;
	char *text;
	int nest_level;
	int i = 0;

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	foreach(lc, fragment->tables)
	{
		FragmentTable *table = lfirst(lc);
		RangeTblRef *reference = makeNode(RangeTblRef);

		context.relids = bms_add_member(context.relids, table->rti);
		query->rtable = lappend(query->rtable,
								table_entry(fragment->root, table));
		reference->rtindex = list_length(query->rtable);
		from->fromlist = lappend(from->fromlist, reference);
	}

	foreach(lc, fragment->columns)
	{
		TargetEntry *entry;

		entry = makeTargetEntry((Expr *) fragment_expression(&context, lfirst(lc)),
								i + 1, NULL, false);
		if (fragment->sortgrouprefs)
			entry->ressortgroupref = fragment->sortgrouprefs[i];
		query->targetList = lappend(query->targetList, entry);
		i++;
	}
	if (fragment->quals != NIL)
		from->quals = (Node *)
			make_ands_explicit(fragment_conditions(&context, fragment->quals));
	query->jointree = from;
	query->groupClause = fragment->group_clause;
	query->hasAggs = fragment->is_grouped;
	query->havingQual = and_expression(&context, fragment->having);
	query->sortClause = fragment->sort_clause;
	if (fragment->limit)
	{
		query->limitCount = fragment_expression(&context, fragment->limit);
		query->limitOption = LIMIT_OPTION_COUNT;
	}

	name_computed_columns(query);

	nest_level = deparse_formats_begin();
	text = join_lines(pg_get_querydef(query, false));
	deparse_formats_end(nest_level);

	*parameters = context.parameters;
	return text;
}

/*
 * fragment_branch
 *		See query_internal.h.
 */
char *
fragment_branch(Oid foreign_table, const PartitionHome *home, Oid names,
				List *columns)
{
	Relation relation = table_open(foreign_table, AccessShareLock);
	StringInfoData text;
	ListCell *lc;

	initStringInfo(&text);
	appendStringInfoString(&text, "SELECT ");
	foreach(lc, columns)
	{
		char *name;
		AttrNumber attribute;
		const char *there;

		if (foreach_current_index(lc) > 0)
			appendStringInfoString(&text, ", ");
		if (lfirst_int(lc) == TableOidAttributeNumber)
		{
			appendStringInfo(&text, "'%u'::oid AS tableoid", foreign_table);
			continue;
		}
		name = get_attname(names, lfirst_int(lc), false);
		attribute = get_attnum(foreign_table, name);
		there = foreign_column_name(relation, attribute);
		appendStringInfoString(&text, quote_identifier(there));
		if (strcmp(there, name) != 0)
			appendStringInfo(&text, " AS %s", quote_identifier(name));
	}
	appendStringInfo(&text, columns == NIL ? "FROM %s" : " FROM %s",
					 quote_qualified_identifier(home->schema, home->name));
	table_close(relation, NoLock);
	return text.data;
}

typedef struct AttributesContext
{
	Index rti;
	Bitmapset *attributes;
} AttributesContext;

static bool
attributes_walker(Node *node, void *argument)
{
	AttributesContext *context = argument;

	if (node == NULL)
		return false;
	if (IsA(node, RestrictInfo))
		return attributes_walker((Node *) ((RestrictInfo *) node)->clause,
								 argument);
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		if (var->varno == context->rti && var->varlevelsup == 0 &&
			var->varattno > FirstLowInvalidHeapAttributeNumber)
			context->attributes =
				bms_add_member(context->attributes,
							   var->varattno - FirstLowInvalidHeapAttributeNumber);
		return false;
	}
	return expression_tree_walker(node, attributes_walker, argument);
}

/*
 * fragment_attributes
 *		See query_internal.h.
 */
List *
fragment_attributes(const Fragment *fragment, Index rti)
{
	AttributesContext context = {rti, NULL};
	List *result = NIL;
	int attribute = -1;

	attributes_walker((Node *) fragment->columns, &context);
	attributes_walker((Node *) fragment->quals, &context);
	attributes_walker((Node *) fragment->having, &context);
	while ((attribute = bms_next_member(context.attributes, attribute)) >= 0)
		result = lappend_int(result,
							 attribute + FirstLowInvalidHeapAttributeNumber);
	return result;
}
