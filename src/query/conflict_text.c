/*
 * conflict_text.c
 *		The ON CONFLICT clause of an insertion, as text for another node.
 *
 * It is made of the finished plan, in which columns are those of the table
 * that the insertion names; the text has the names over there.  What in it is
 * computed here travels as parameters.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "catalog/pg_type.h"
#include "nodes/execnodes.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/pg_compat.h"
#include "query/query_internal.h"

/* What columns are of: the row that is in the way, and the one proposed. */
#define CONFLICT_ROW 1
#define CONFLICT_EXCLUDED 2

typedef struct Naming
{
	RelationText *text;
	Index root;			/* the plan's number for the named table */
	const AttrMap *map; /* to the foreign table's columns; NULL: the same */
	Oid row_type;		/* of the foreign table */
} Naming;

static Node *
number_relations(Node *node, void *argument)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var *var = (Var *) copyObject(node);

		Assert(var->varno == INNER_VAR || var->varno == ((Naming *) argument)->root);
		var->varno = var->varno == INNER_VAR ? CONFLICT_EXCLUDED : CONFLICT_ROW;
		return (Node *) var;
	}
	return expression_tree_mutator(node, number_relations, argument);
}

static Node *
over_foreign_columns(Naming *naming, Node *node)
{
	bool found_whole_row;

	if (naming->map == NULL)
		return node;
	node = map_variable_attnos(node, CONFLICT_ROW, 0, naming->map, naming->row_type,
							   &found_whole_row);
	return map_variable_attnos(node, CONFLICT_EXCLUDED, 0, naming->map, naming->row_type,
							   &found_whole_row);
}

/* " (a, lower(b)) WHERE c" */
static void
append_target(Naming *naming, StringInfo sql, List *target, List *predicate)
{
	ListCell *cell;

	appendStringInfoString(sql, " (");
	foreach(cell, target)
	{
		if (foreach_current_index(cell) > 0)
			appendStringInfoString(sql, ", ");
		relation_text_literally(naming->text, sql,
								over_foreign_columns(naming, lfirst(cell)));
	}
	appendStringInfoChar(sql, ')');
	if (predicate == NIL)
		return;
	appendStringInfoString(sql, " WHERE ");
	relation_text_literally(naming->text, sql,
							over_foreign_columns(naming, (Node *) make_ands_explicit(predicate)));
}

static void
append_with_excluded(Naming *naming, StringInfo sql, Node *expression)
{
	expression = number_relations(expression, naming);
	relation_text_pair(naming->text, sql, over_foreign_columns(naming, expression));
}

/*
 * " DO UPDATE SET a = excluded.a, b = r.b + 1 WHERE ...".  The first condition
 * is the one of which conflict.c knows.
 */
static void
append_update(Naming *naming, StringInfo sql, ModifyTable *plan)
{
	ListCell *value;
	ListCell *column;

	appendStringInfoString(sql, " DO UPDATE SET ");
	forboth(value, plan->onConflictSet, column, plan->onConflictCols)
	{
		AttrNumber attno = lfirst_int(column);

		if (naming->map != NULL)
			attno = naming->map->attnums[attno - 1];
		appendStringInfo(sql, "%s%s = ", value != list_head(plan->onConflictSet) ? ", " : "",
						 quote_identifier(naming->text->columns[attno - 1]));
		append_with_excluded(naming, sql, (Node *) lfirst_node(TargetEntry, value)->expr);
	}
	appendStringInfoString(sql, " WHERE " CONFLICT_GUARD);
	if (plan->onConflictWhere != NULL)
	{
		Node *condition = (Node *) make_ands_explicit((List *) plan->onConflictWhere);

		appendStringInfoString(sql, " AND ");
		append_with_excluded(naming, sql, condition);
	}
}

/*
 * conflict_clause
 *		The clause for one foreign table, " ON CONFLICT ...", or NULL if the
 *		insertion has none.  The table is called r in it.
 *
 * What is computed here joins text->values; the first of them is what
 * CONFLICT_GUARD needs, if the clause updates.
 */
char *
conflict_clause(ModifyTableState *insertion, ResultRelInfo *rinfo, RelationText *text)
{
	ModifyTable *plan = (ModifyTable *) insertion->ps.plan;
	Relation relation = rinfo->ri_RelationDesc;
	ResultRelInfo *root = insertion->rootResultRelInfo;
	Naming naming = {.text = text, .root = root->ri_RangeTableIndex};
	List *target = NIL;
	List *predicate = NIL;
	int64 command = 0;
	StringInfoData sql;

	/* COPY has no plan; an update moves rows as if it had said nothing. */
	if (plan == NULL || plan->onConflictAction == ONCONFLICT_NONE)
		return NULL;

	naming.map = attribute_map(RelationGetDescr(relation),
							   RelationGetDescr(root->ri_RelationDesc));
	naming.row_type = RelationGetForm(relation)->reltype;
	initStringInfo(&sql);
	appendStringInfoString(&sql, " ON CONFLICT");
	if (conflict_target(insertion, &target, &predicate, &command))
		append_target(&naming, &sql, target, predicate);
	if (plan->onConflictAction == ONCONFLICT_NOTHING)
	{
		appendStringInfoString(&sql, " DO NOTHING");
		return sql.data;
	}
	text->values = list_make1(makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
										Int64GetDatum(command), false, FLOAT8PASSBYVAL));
	append_update(&naming, &sql, plan);
	return sql.data;
}
