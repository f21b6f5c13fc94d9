/*
 * durable.c
 *		What a behavior must be so that its actors can be durable.
 *
 * The state of a durable actor is made of its journal again: each message is
 * given to its handler once more, or to the apply function that stands in for
 * it.  So what is called must give the same each time and write nothing, which
 * is what IMMUTABLE and STABLE promise, and the server sees to for the latter.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/timestamp.h"

#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"

/*
 * upcasts_find
 *		The functions of one argument that a list of strings stands for.
 */
List *
upcasts_find(List *specifications)
{
	List *functions = NIL;
	ListCell *cell;

	foreach(cell, specifications)
	{
		const char *specification = lfirst(cell);
		FuncCandidateList found = NULL;
		Oid function;

		if (strchr(specification, '(') == NULL)
			found = FuncnameGetCandidates(string_to_qualified_names(specification), 1, NIL,
										  false, false, false, true);
		for (; found != NULL; found = found->next)
			functions = list_append_unique_oid(functions, found->oid);
		if (strchr(specification, '(') == NULL && functions != NIL)
			continue;
		function = DatumGetObjectId(DirectFunctionCall1(strchr(specification, '(') ? regprocedurein : regprocin,
														CStringGetDatum(specification)));
		if (get_func_nargs(function) != 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
					 errmsg("function %s cannot be an upcast", format_procedure(function)),
					 errdetail("Expected a function of one argument, the old value, that returns the new one.")));
		functions = list_append_unique_oid(functions, function);
	}
	return functions;
}

/* The apply function for a type of message; or invalid. */
static Oid
apply_of(const BehaviorSpec *spec, Oid message_type)
{
	ListCell *cell;

	foreach(cell, spec->replay)
		if (get_func_nargs(lfirst_oid(cell)) == 2 && handler_message_type(lfirst_oid(cell)) == message_type)
			return lfirst_oid(cell);
	return InvalidOid;
}

static void
check_replay_function(const BehaviorSpec *spec, Oid function)
{
	const char *what = get_func_nargs(function) == 2 ? "apply function" : "upcast";

	if (func_volatile(function) == PROVOLATILE_VOLATILE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("%s %s of behavior \"%s\" is VOLATILE", what, format_procedure(function), spec->name),
				 errdetail("It is called again whenever a state is made of the journal."),
				 errhint("If it writes nothing and gives the same each time: ALTER FUNCTION %s IMMUTABLE.",
						 format_procedure(function))));
	if (func_strict(function))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("%s %s of behavior \"%s\" is STRICT", what, format_procedure(function), spec->name),
				 errhint("ALTER FUNCTION %s CALLED ON NULL INPUT.", format_procedure(function))));
	if (get_func_nargs(function) == 2 && !function_has_shape_of_handler(function, spec->state))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s has the wrong arguments for an apply function of behavior \"%s\"",
						format_procedure(function), spec->name),
				 errdetail("Expected a function %s(%s, message) RETURNS %s, message being a composite type.",
						   get_func_name(function), format_type_be(spec->state), format_type_be(spec->state))));
	if (get_func_nargs(function) == 2 && get_func_rettype(function) != spec->state)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("apply function %s returns %s and not %s", format_procedure(function),
						format_type_be(get_func_rettype(function)), format_type_be(spec->state))));
}

/* Each message can be replayed. */
static void
check_handlers(const BehaviorSpec *spec)
{
	ListCell *cell;

	foreach(cell, spec->handlers)
	{
		Oid handler = lfirst_oid(cell);
		Oid type = handler_message_type(handler);

		if (func_volatile(handler) != PROVOLATILE_VOLATILE || OidIsValid(apply_of(spec, type)))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("handler %s of durable behavior \"%s\" is VOLATILE", format_procedure(handler), spec->name),
				 errdetail("Messages are replayed when an actor is recovered, and that must not write or send anything again."),
				 errhint("If the handler writes no tables: ALTER FUNCTION %s STABLE.  Else give in apply a function (%s, %s) RETURNS %s that makes the state alone.",
						 format_procedure(handler), format_type_be(spec->state), format_type_be(type),
						 format_type_be(spec->state))));
	}
}

static void
check_retention(const BehaviorSpec *spec)
{
	Interval *interval;

	if (strcmp(spec->retention, "forever") == 0 || strcmp(spec->retention, "snapshot") == 0)
		return;
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(spec->retention),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (interval->time < 0 || interval->day < 0 || interval->month < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retention must not be negative"),
				 errhint("It is forever, snapshot, or how long what was handled is kept.")));
}

/*
 * behavior_spec_check_durable
 *		ERROR unless actors of this spec can be durable, if they shall.
 */
void
behavior_spec_check_durable(const BehaviorSpec *spec)
{
	ListCell *cell;

	if (!OidIsValid(spec->journal))
		return;
	foreach(cell, spec->replay)
		check_replay_function(spec, lfirst_oid(cell));
	check_handlers(spec);
	check_retention(spec);
	if (spec->snapshot_every < 0 || spec->snapshot_bytes < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("snapshot_every and snapshot_bytes must not be negative"),
				 errhint("0 stands for never.")));
	if (spec->max_failures < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_failures must be at least 1")));
}
