/*
 * find.c
 *		Finds behaviors and functions by what people write.
 *
 * A handler is written as the name of a function, increment, which stands
 * for all functions of that name that take the state and a message; or with
 * its arguments, increment(counter_state, increment), as regprocedure does.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"

/* ----------------------------------------------------------------- behaviors */

/*
 * behavior_find
 *		The behavior of a name, which may be qualified.
 */
Oid
behavior_find(const char *name, bool missing_ok)
{
	List *names = string_to_qualified_names(name);
	Oid type = LookupTypeNameOid(NULL, makeTypeNameFromNameList(names), true);

	if (OidIsValid(type) && behavior_is(type))
		return type;
	if (missing_ok)
		return InvalidOid;
	if (OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("type \"%s\" is not a behavior", name),
				 errhint("dlog.create_behavior() makes behaviors, and dlog.behaviors lists them.")));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("behavior \"%s\" does not exist", name),
			 errhint("The view dlog.behaviors lists those of this database; each node has its own.")));
}

/* ----------------------------------------------------------------- functions */

/* The functions of a name that the search path finds. */
static FuncCandidateList
candidates(const char *name, int n_args)
{
	return FuncnameGetCandidates(string_to_qualified_names(name), n_args, NIL, false, false, false, true);
}

/* "There is a(integer)"; or NULL. */
static char *
candidates_text(FuncCandidateList found)
{
	StringInfoData text;

	if (found == NULL)
		return NULL;
	initStringInfo(&text);
	appendStringInfoString(&text, found->next ? "There are " : "There is ");
	for (; found != NULL; found = found->next)
		appendStringInfo(&text, "%s%s", format_procedure(found->oid), found->next ? ", " : "");
	return text.data;
}

static Oid
find_by_signature(const char *specification)
{
	return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(specification)));
}

static List *
find_handlers(const char *name, Oid state)
{
	FuncCandidateList found;
	List *functions = NIL;
	char *others;

	for (found = candidates(name, 2); found != NULL; found = found->next)
		if (found->args[0] == state)
			functions = lappend_oid(functions, found->oid);
	if (functions != NIL)
		return functions;

	others = candidates_text(candidates(name, -1));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("handler function %s(%s, message) does not exist", name, format_type_be(state)),
			 others ? errdetail("%s.", others) : 0,
			 errhint("A handler is a function %s(%s, message) RETURNS %s, message being a composite type.",
					 name, format_type_be(state), format_type_be(state))));
}

/*
 * handlers_find
 *		The functions that a list of strings stands for.
 */
List *
handlers_find(List *specifications, Oid state)
{
	List *functions = NIL;
	ListCell *cell;

	foreach(cell, specifications)
	{
		const char *specification = lfirst(cell);

		if (strchr(specification, '(') != NULL)
			functions = list_append_unique_oid(functions, find_by_signature(specification));
		else
			functions = list_concat_unique_oid(functions, find_handlers(specification, state));
	}
	return functions;
}

/*
 * init_find
 *		The function that a string stands for: of its name there is to be one
 *		only that makes a state.
 */
Oid
init_find(const char *specification, Oid state)
{
	FuncCandidateList all;
	FuncCandidateList found;
	List *functions = NIL;

	if (strchr(specification, '(') != NULL)
		return find_by_signature(specification);

	all = candidates(specification, -1);
	for (found = all; found != NULL; found = found->next)
		if (get_func_rettype(found->oid) == state &&
			!function_has_shape_of_handler(found->oid, state))
			functions = lappend_oid(functions, found->oid);
	if (list_length(functions) == 1)
		return linitial_oid(functions);
	if (list_length(functions) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				 errmsg("several functions %s return %s", specification, format_type_be(state)),
				 errdetail("%s.", candidates_text(all)),
				 errhint("Write the argument types too: %s.", format_procedure(linitial_oid(functions)))));

	/* Let the checks say what is wrong with the only one. */
	if (all != NULL && all->next == NULL)
		return all->oid;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("init function %s(...) does not exist", specification),
			 all ? errdetail("%s.", candidates_text(all)) : 0,
			 errhint("Init is a function %s(...) RETURNS %s, its arguments being those of dlog.spawn().",
					 specification, format_type_be(state))));
}
