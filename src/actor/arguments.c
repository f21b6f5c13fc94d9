/*
 * arguments.c
 *		What the functions of SQL take, checked: actors, intervals, messages.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "actor/actor_internal.h"
#include "transport/transport.h"

/* For functions that are not STRICT, so that who forgets it is told. */
void
require_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

ActorRef *
actor_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("actor must not be null"),
				 errhint("dlog.whereis() is null where no actor has the name.")));
	return PG_GETARG_ACTOR_REF_P(n);
}

/* What it returns is new each time, so the state would be another one. */
void
refuse_in_replay(const char *function)
{
	if (actor_replay.is_on)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot call %s again to make a state of a journal", function),
				 errhint("Declare the handler VOLATILE and give the behavior an apply function for its messages.")));
}

/* As an interval, or as its text, which a bare literal is. */
int64
interval_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	Interval *interval;
	double ms;

	require_argument(fcinfo, n, name);
	if (get_fn_expr_argtype(fcinfo->flinfo, n) == TEXTOID)
		interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
														 CStringGetDatum(text_to_cstring(PG_GETARG_TEXT_PP(n))),
														 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	else
		interval = PG_GETARG_INTERVAL_P(n);
	ms = interval->time / 1000.0 + ((double) interval->day + 30.0 * interval->month) * (USECS_PER_DAY / 1000);
	if (ms < 0 || ms > 1e14)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range", name),
				 errhint("It is an interval such as 5 seconds, and not negative.")));
	return (int64) ms;
}

void
refuse_gone(const ActorRef *ref)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("actor %s does not exist", actor_ref_text(ref)),
			 errdetail("It has exited.")));
}

void
refuse_unknown_node(const ActorRef *ref)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the node of actor %s is not known here", actor_ref_text(ref))));
}

/* The actor of a reference, which is to be of this node. */
ActorAddress
local_actor(const ActorRef *ref)
{
	ActorAddress address;

	runtime_require();
	if (!actor_address_of(ref, &address))
		refuse_unknown_node(ref);
	if (address.node != THIS_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("actor %s lives on node \"%s\"", actor_ref_text(ref), node_name(address.node)),
				 errhint("dlog.execute() calls the function there.")));
	if (!actor_of_ref(ref, &address))
		refuse_gone(ref);
	return address;
}

/* The same, and the role has what it takes to control it. */
ActorAddress
controlled_actor(const ActorRef *ref)
{
	ActorAddress address = local_actor(ref);

	if (!has_privs_of_role(GetUserId(), hosted_actor_role(address)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for actor %s", actor_ref_text(ref)),
				 errdetail("It is another role's.")));
	return address;
}

/* A durable actor of another node: what is for it waits here until it has it. */
bool
is_durable_elsewhere(const ActorRef *ref)
{
	ActorAddress address;

	return ref->slot == 0 && actor_address_of(ref, &address) && address.node != THIS_NODE;
}

/* The type of a message that is not checked here. */
Oid
message_type(FunctionCallInfo fcinfo, int n)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, n);

	if (!type_is_rowtype(type) || type == RECORDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a message is of a composite type, not %s", format_type_be(type))));
	return type;
}
