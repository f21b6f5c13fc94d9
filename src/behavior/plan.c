/*
 * plan.c
 *		Refuses wrong messages when a statement is planned.
 *
 * The planner asks a function's support function whether a call of it can be
 * simplified.  Ours never simplifies, but looks at the types: where the first
 * argument tells which behavior the actor has, the second has to be one of
 * its messages.  It tells if
 *
 *		its type is a behavior, as that of a column or a variable can be,
 *		it is a call of dlog.spawn() of a behavior that is written there, or
 *		it is a constant, and an actor of this node.
 *
 * What is not known now is found out before the message is enqueued.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/function.h"
#include "base/pg_compat.h"
#include "behavior/behavior_internal.h"

DLOG_FUNCTION(dlog_message_support);

Oid (*behavior_of_actor)(const ActorRef *ref, bool waits);

/* The behavior among a type and what it is a domain over. */
static Oid
behavior_of_type(Oid type)
{
	while (get_typtype(type) == TYPTYPE_DOMAIN)
	{
		HeapTuple tuple;

		if (behavior_is(type))
			return type;
		tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
		if (!HeapTupleIsValid(tuple))
			break;
		type = ((Form_pg_type) GETSTRUCT(tuple))->typbasetype;
		ReleaseSysCache(tuple);
	}
	return InvalidOid;
}

static bool
is_spawn(Oid function)
{
	char *name = get_func_name(function);

	return name != NULL && strcmp(name, "spawn") == 0 &&
		   get_func_namespace(function) == get_namespace_oid("dlog", true);
}

/* The behavior that a call of dlog.spawn() names, if that is known. */
static Oid
behavior_of_spawn(FuncExpr *call)
{
	Const *name = list_length(call->args) > 0 ? linitial(call->args) : NULL;

	if (!is_spawn(call->funcid) || name == NULL || !IsA(name, Const) || name->constisnull)
		return InvalidOid;
	if (name->consttype == TEXTOID)
		return behavior_find(TextDatumGetCString(name->constvalue), true);
	return InvalidOid;
}

/* The behavior of the actor that an expression stands for; or invalid. */
static Oid
behavior_of_expression(Node *node)
{
	for (;;)
	{
		Oid behavior = behavior_of_type(exprType(node));

		if (OidIsValid(behavior))
			return behavior;
		if (IsA(node, RelabelType))
			node = (Node *) ((RelabelType *) node)->arg;
		else if (IsA(node, CoerceToDomain))
			node = (Node *) ((CoerceToDomain *) node)->arg;
		else
			break;
	}
	if (IsA(node, FuncExpr))
		return behavior_of_spawn((FuncExpr *) node);
	if (IsA(node, Const) && !((Const *) node)->constisnull && behavior_of_actor != NULL)
		return behavior_of_actor(DatumGetActorRefP(((Const *) node)->constvalue), false);
	return InvalidOid;
}

static void
check_call(FuncExpr *call)
{
	Oid id = behavior_of_expression(linitial(call->args));
	Oid message_type = exprType(lsecond(call->args));
	Behavior *behavior;

	if (!OidIsValid(id))
		return;

	behavior = behavior_acquire(id);
	if (behavior_handler(behavior, message_type) == NULL)
	{
		PG_TRY();
		{
			behavior_refuse_message(behavior, message_type);
		}
		PG_FINALLY();
		{
			behavior_release(behavior);
		}
		PG_END_TRY();
	}
	behavior_release(behavior);
}

Datum
dlog_message_support(PG_FUNCTION_ARGS)
{
	Node *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify))
	{
		FuncExpr *call = ((SupportRequestSimplify *) request)->fcall;

		if (list_length(call->args) >= 2)
			check_call(call);
	}
	PG_RETURN_POINTER(NULL);
}
