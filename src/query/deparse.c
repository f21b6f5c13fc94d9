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
	Index asked; /* inside of EXISTS: the table that is asked, else 0 */
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

/* Is the table's only use to be asked whether it has a row? */
static bool
is_only_asked(const FragmentTable *table)
{
	return table->join == JOIN_SEMI || table->join == JOIN_ANTI;
}

/*
 * A relation of the fragment, and its range table index in the fragment's own
 * query, or in the one inside of EXISTS that is about it.
 */
static FragmentTable *
fragment_table(const DeparseContext *context, Index rti, int *position)
{
	ListCell *lc;

	*position = 1;
	foreach(lc, context->fragment->tables)
	{
		FragmentTable *table = lfirst(lc);

		if (table->rti == rti)
			return table;
		if (!is_only_asked(table))
			(*position)++;
	}
	elog(ERROR, "relation %u is not in the fragment", rti);
	return NULL;
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
		int position;
		FragmentTable *table = fragment_table(context, var->varno, &position);
		bool is_asked = table->rti == context->asked;

		if (var->varattno > 0)
			var->varattno = attribute_over_there(table,
												 context->fragment->root,
												 var->varattno);
		var->varno = is_asked ? 1 : position;
		var->varlevelsup = context->asked != 0 && !is_asked ? 1 : 0;
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

/* Of all columns; those that are dropped have an empty name. */
static List *
column_names(Oid relid)
{
	Relation relation = table_open(relid, AccessShareLock);
	List *names = NIL;

	for (int i = 0; i < RelationGetNumberOfAttributes(relation); i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(relation), i);

		names = lappend(names, makeString(pstrdup(column->attisdropped ? "" : NameStr(column->attname))));
	}
	table_close(relation, NoLock);
	return names;
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
		rte->eref = makeAlias(get_rel_name(table->over), column_names(table->over));
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

/* --- joins --------------------------------------------------------------------- */

/* The columns of a range table entry, as a join over it needs to list them. */
static List *
entry_columns(RangeTblEntry *rte, List **names)
{
	List *result = NIL;
	int n = list_length(rte->eref->colnames);

	*names = list_concat_copy(*names, rte->eref->colnames);
	for (int i = 1; i <= n; i++)
		result = lappend_int(result, i);
	return result;
}

static List *
columns_as_vars(int rti, List *columns)
{
	List *result = NIL;
	ListCell *lc;

	/* Printing looks at nothing but where they are from. */
	foreach(lc, columns)
		result = lappend(result, makeVar(rti, lfirst_int(lc), INT4OID, -1, InvalidOid, 0));
	return result;
}

static int
from_item_index(Node *item)
{
	return IsA(item, JoinExpr) ? ((JoinExpr *) item)->rtindex : ((RangeTblRef *) item)->rtindex;
}

/* "left JOIN right ON quals", with an entry of its own in the query's range table. */
static Node *
join_items(Query *query, Node *left, Node *right, JoinType type, Node *quals)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	JoinExpr *join = makeNode(JoinExpr);
	int left_index = from_item_index(left);
	int right_index = from_item_index(right);
	List *names = NIL;

	rte->rtekind = RTE_JOIN;
	rte->jointype = type;
	rte->joinleftcols = entry_columns(rt_fetch(left_index, query->rtable), &names);
	rte->joinrightcols = entry_columns(rt_fetch(right_index, query->rtable), &names);
	rte->joinaliasvars = list_concat(columns_as_vars(left_index, rte->joinleftcols),
									 columns_as_vars(right_index, rte->joinrightcols));
	rte->eref = makeAlias("unnamed_join", names);
	rte->inFromCl = true;
	query->rtable = lappend(query->rtable, rte);

	join->jointype = type;
	join->larg = left;
	join->rarg = right;
	join->quals = quals;
	join->rtindex = list_length(query->rtable);
	return (Node *) join;
}

static Node *
join_condition(DeparseContext *context, List *quals)
{
	return (Node *) make_ands_explicit(fragment_conditions(context, quals));
}

/* A list of tables; where some may be missing, one join of all of them. */
static List *
from_clause(DeparseContext *context, Query *query)
{
	List *items = NIL;
	bool has_outer_join = false;
	Node *joined = NULL;
	ListCell *lc;

	foreach(lc, context->fragment->tables)
	{
		FragmentTable *table = lfirst(lc);
		RangeTblRef *reference = makeNode(RangeTblRef);

		if (is_only_asked(table))
			continue;
		(void) fragment_table(context, table->rti, &reference->rtindex);
		items = lappend(items, reference);
		has_outer_join = has_outer_join || table->join != JOIN_INNER;
	}
	if (!has_outer_join)
		return items;

	/* Those that are there in any case come first. */
	for (JoinType type = JOIN_INNER; type <= JOIN_FULL; type++)
	{
		foreach(lc, context->fragment->tables)
		{
			FragmentTable *table = lfirst(lc);
			RangeTblRef *reference = makeNode(RangeTblRef);

			if (table->join != type)
				continue;
			(void) fragment_table(context, table->rti, &reference->rtindex);
			if (joined == NULL)
				joined = (Node *) reference;
			else
				joined = join_items(query, joined, (Node *) reference, type,
									type != JOIN_INNER ? join_condition(context, table->join_quals) : NULL);
		}
	}
	return list_make1(joined);
}

/* [NOT] EXISTS (SELECT FROM table WHERE its conditions) */
static Node *
exists_condition(DeparseContext *context, FragmentTable *table)
{
	SubLink *exists = makeNode(SubLink);
	Query *query = makeNode(Query);
	RangeTblRef *reference = makeNode(RangeTblRef);

	reference->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->rtable = list_make1(table_entry(context->fragment->root, table));
	context->asked = table->rti;
	query->jointree = makeFromExpr(list_make1(reference),
								   join_condition(context, table->join_quals));
	context->asked = 0;
	exists->subLinkType = EXISTS_SUBLINK;
	exists->subselect = (Node *) query;
	exists->location = -1;
	return table->join == JOIN_SEMI ? (Node *) exists :
									  (Node *) makeBoolExpr(NOT_EXPR, list_make1(exists), -1);
}

static Node *
where_clause(DeparseContext *context, Query *query)
{
	List *conditions = fragment_conditions(context, context->fragment->quals);
	ListCell *lc;

	foreach(lc, context->fragment->tables)
	{
		FragmentTable *table = lfirst(lc);

		if (!is_only_asked(table))
			continue;
		conditions = lappend(conditions, exists_condition(context, table));
		query->hasSubLinks = true;
	}
	return conditions == NIL ? NULL : (Node *) make_ands_explicit(conditions);
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

static bool
has_entry_for(Query *query, Index reference)
{
	ListCell *lc;

	foreach(lc, query->targetList)
	{
		if (lfirst_node(TargetEntry, lc)->ressortgroupref == reference)
			return true;
	}
	return false;
}

/* The expressions that windows refer to become columns that are not shown. */
static void
add_window_keys(DeparseContext *context, Query *query, List *clauses)
{
	ListCell *lc;

	foreach(lc, clauses)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Node *expression = get_sortgroupclause_expr(clause, context->fragment->root->processed_tlist);
		TargetEntry *entry;

		if (has_entry_for(query, clause->tleSortGroupRef))
			continue;
		entry = makeTargetEntry((Expr *) fragment_expression(context, expression),
								list_length(query->targetList) + 1, NULL, true);
		entry->ressortgroupref = clause->tleSortGroupRef;
		query->targetList = lappend(query->targetList, entry);
	}
}

/* Each window is written out where it is used. */
static void
add_windows(DeparseContext *context, Query *query)
{
	ListCell *lc;

	query->hasWindowFuncs = context->fragment->windows != NIL;
	foreach(lc, context->fragment->windows)
	{
		WindowClause *window = copyObject(lfirst_node(WindowClause, lc));

		window->name = window->refname = NULL;
		window->copiedOrder = false;
		window->startOffset = fragment_expression(context, window->startOffset);
		window->endOffset = fragment_expression(context, window->endOffset);
		add_window_keys(context, query, window->partitionClause);
		add_window_keys(context, query, window->orderClause);
		query->windowClause = lappend(query->windowClause, window);
	}
}

/* A comparison with a column of the fragment, of which others are columns 1 to n. */
static Node *
condition_over_rows(DeparseContext *context, OpExpr *condition)
{
	OpExpr *result = copyObject(condition);
	ListCell *lc;

	foreach(lc, result->args)
	{
		Node *argument = lfirst(lc);
		ListCell *column;

		if (!IsA(argument, WindowFunc))
		{
			lfirst(lc) = fragment_expression(context, argument);
			continue;
		}
		foreach(column, context->fragment->columns)
		{
			if (equal(lfirst(column), argument))
				break;
		}
		if (column == NULL)
			elog(ERROR, "a window function is none of the columns");
		lfirst(lc) = makeVar(1, list_cell_number(context->fragment->columns, column) + 1,
							 exprType(argument), -1, exprCollation(argument), 0);
	}
	return (Node *) result;
}

/* SELECT those of the query's rows that meet the windows' conditions. */
static Query *
select_from_windows(DeparseContext *context, Query *query)
{
	Query *outer = makeNode(Query);
	RangeTblEntry *rows = makeNode(RangeTblEntry);
	RangeTblRef *reference = makeNode(RangeTblRef);
	List *conditions = NIL;
	ListCell *lc;

	rows->rtekind = RTE_SUBQUERY;
	rows->subquery = query;
	rows->eref = makeAlias("rows", NIL);
	rows->inFromCl = true;
	foreach(lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		Node *node = (Node *) entry->expr;

		if (entry->resjunk)
			continue;
		entry->resname = psprintf("c%d", entry->resno);
		rows->eref->colnames = lappend(rows->eref->colnames, makeString(entry->resname));
		outer->targetList =
			lappend(outer->targetList,
					makeTargetEntry((Expr *) makeVar(1, entry->resno, exprType(node),
													 exprTypmod(node), exprCollation(node), 0),
									entry->resno, entry->resname, false));
	}
	rows->alias = makeAlias("rows", NIL);
	foreach(lc, context->fragment->window_conditions)
		conditions = lappend(conditions,
							 condition_over_rows(context, lfirst_node(OpExpr, lc)));

	reference->rtindex = 1;
	outer->commandType = CMD_SELECT;
	outer->canSetTag = true;
	outer->rtable = list_make1(rows);
	outer->jointree = makeFromExpr(list_make1(reference),
								   (Node *) make_ands_explicit(conditions));
	return outer;
}

/*
 * fragment_deparse
 *		The text of a fragment; see query_internal.h.
 */
char *
fragment_deparse(const Fragment *fragment, List **parameters)
{
	DeparseContext context = {fragment, NULL, NIL, 0};
	Query *query = makeNode(Query);
	FromExpr *from;
	ListCell *lc;
	char *text;
	int nest_level;
	int i = 0;

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	foreach(lc, fragment->tables)
	{
		FragmentTable *table = lfirst(lc);

		context.relids = bms_add_member(context.relids, table->rti);
		if (!is_only_asked(table))
			query->rtable = lappend(query->rtable,
									table_entry(fragment->root, table));
	}
	from = makeFromExpr(from_clause(&context, query), NULL);

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
	from->quals = where_clause(&context, query);
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
	add_windows(&context, query);
	if (fragment->window_conditions != NIL)
		query = select_from_windows(&context, query);

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
