/*
 * relation_text.c
 *		Statements about the relation that a foreign table stands for.
 *
 * The skeleton of a statement is written by its caller; this file writes the
 * relation's name, columns and expressions as they are called on the other
 * node.  Expressions are printed by the server's own ruleutils, which is
 * told the names over there by way of a made-up range table entry.
 *
 * The relation of a partition of a distributed table is its parent, so that
 * the parent's privileges and row-level security count; the request names the
 * partition that it is about (RemoteRequest.tables).
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "query/query_internal.h"

/*
 * relation_text_init
 *		Learn what a foreign table's relation and columns are called.
 */
void
relation_text_init(RelationText *text, Relation relation)
{
	TupleDesc desc = RelationGetDescr(relation);

	memset(text, 0, sizeof(*text));
	text->home = foreign_table_home(relation);

	/* It would ask itself for its rows, which would ask itself for its rows. */
	if (text->home.node == THIS_NODE &&
		strcmp(text->home.name, RelationGetRelationName(relation)) == 0 &&
		strcmp(text->home.schema,
			   get_namespace_name(RelationGetNamespace(relation))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
				 errmsg("foreign table \"%s\" stands for itself",
						RelationGetRelationName(relation)),
				 errhint("Name another node, or another relation in schema_name and table_name.")));

	if (text->home.parent_name != NULL)
		text->name = quote_qualified_identifier(text->home.parent_schema,
												text->home.parent_name);
	else
		text->name = quote_qualified_identifier(text->home.schema, text->home.name);

	text->n_columns = desc->natts;
	text->columns = palloc(sizeof(char *) * Max(desc->natts, 1));
	for (AttrNumber attno = 1; attno <= desc->natts; attno++)
		text->columns[attno - 1] = foreign_column_name(relation, attno);
}

/*
 * Ruleutils prints a column by its name in a range table entry.  Ours is said
 * to be that of a common table expression, since it takes names from there
 * and not from the catalogs.  There are two: the relation, and the rows that
 * an insertion proposes for it.
 */
static List *
deparse_context(RelationText *text)
{
	if (text->context == NIL)
	{
		PlannedStmt *statement = makeNode(PlannedStmt);
		RangeTblEntry *entry = makeNode(RangeTblEntry);
		RangeTblEntry *excluded;
		List *names = NIL;

		for (int i = 0; i < text->n_columns; i++)
		{
			/* A dropped column has no name, and nothing refers to it. */
			char *name = text->columns[i];

			names = lappend(names, makeString(name != NULL ? name : pstrdup("")));
		}
		entry->rtekind = RTE_CTE;
		entry->ctename = text->name;
		entry->eref = makeAlias("r", names);
		entry->inFromCl = true;
		excluded = copyObject(entry);
		excluded->eref->aliasname = "excluded";
		statement->rtable = list_make2(entry, excluded);
		text->context = deparse_context_for_plan_tree(statement,
													  list_make2("r", "excluded"));
	}
	return text->context;
}

typedef struct MutatorContext
{
	RelationText *text;
	Relids relids;
	bool is_pair; /* the relids are those of deparse_context() */
} MutatorContext;

static Node *
make_parameter(RelationText *text, Node *node)
{
	Param *param = makeNode(Param);

	if (!list_member(text->values, node))
		text->values = lappend(text->values, copyObject(node));
	param->paramkind = PARAM_EXTERN;
	for (param->paramid = 1;; param->paramid++)
	{
		if (equal(list_nth(text->values, param->paramid - 1), node))
			break;
	}
	param->paramtype = exprType(node);
	param->paramtypmod = -1;
	param->paramcollid = exprCollation(node);
	param->location = -1;
	return (Node *) param;
}

/*
 * Columns become those of the first entry of deparse_context(), unless they
 * are said to be of the second, and what is constant here becomes a parameter.
 */
static Node *
text_mutator(Node *node, MutatorContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && bms_is_member(((Var *) node)->varno, context->relids))
	{
		Var *var = (Var *) copyObject(node);

		Assert(var->varattno > 0);
		if (!context->is_pair)
			var->varno = 1;
		var->varnosyn = 0;
		var->varattnosyn = 0;
		return (Node *) var;
	}
	if (!IsA(node, Const) && !IsA(node, List) && !IsA(node, CaseWhen) &&
		expression_is_constant_here(node, context->relids))
		return make_parameter(context->text, node);
	return expression_tree_mutator(node, text_mutator, context);
}

static void
append_expression(RelationText *text, StringInfo buffer, Node *expression, bool with_prefix)
{
	int nest_level = deparse_formats_begin();

	appendStringInfoString(buffer, deparse_expression(expression, deparse_context(text),
													  with_prefix, false));
	deparse_formats_end(nest_level);
}

/*
 * relation_text_expression
 *		Append a shippable expression over the relation's rows, which are
 *		varno's here.  What of it is evaluated here joins text->values.
 */
void
relation_text_expression(RelationText *text, StringInfo buffer,
						 Node *expression, Index varno)
{
	MutatorContext context = {text, bms_make_singleton(varno), false};

	append_expression(text, buffer, text_mutator(expression, &context), false);
}

/*
 * relation_text_pair
 *		The same for an expression over the row that is there, 1, which the
 *		text calls r, and the one that is proposed, 2, called excluded.
 */
void
relation_text_pair(RelationText *text, StringInfo buffer, Node *expression)
{
	MutatorContext context = {text, bms_make_singleton(1), true};

	context.relids = bms_add_member(context.relids, 2);
	append_expression(text, buffer, text_mutator(expression, &context), true);
}

/*
 * relation_text_literally
 *		The same for an expression over the relation as number 1 in which
 *		nothing becomes a parameter.
 */
void
relation_text_literally(RelationText *text, StringInfo buffer, Node *expression)
{
	append_expression(text, buffer, expression, false);
}

/*
 * relation_text_where
 *		Append " WHERE ..." for shippable clauses, if there are any.
 */
void
relation_text_where(RelationText *text, StringInfo buffer, List *clauses,
					Index varno)
{
	if (clauses == NIL)
		return;
	appendStringInfoString(buffer, " WHERE ");
	relation_text_expression(text, buffer,
							 (Node *) make_ands_explicit(clauses), varno);
}

/* A comma-separated list of columns; attnos may include that of ctid. */
void
relation_text_columns(RelationText *text, StringInfo buffer, List *attnos)
{
	ListCell *cell;

	foreach(cell, attnos)
	{
		AttrNumber attno = lfirst_int(cell);
		const char *name = "ctid";

		if (attno != SelfItemPointerAttributeNumber)
			name = quote_identifier(text->columns[attno - 1]);
		appendStringInfo(buffer, "%s%s", cell != list_head(attnos) ? ", " : "", name);
	}
}
