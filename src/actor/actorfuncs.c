/*
 * actorfuncs.c
 *		What SQL can do with an actor that lives: stop it, kill it, suspend and
 *		resume it, look at its state.
 *
 * That takes effect at once, except that a durable actor stops when the
 * transaction commits.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "actor/actor_internal.h"
#include "base/function.h"
#include "base/pg_compat.h"

DLOG_FUNCTION(dlog_stop_actor);
DLOG_FUNCTION(dlog_stop);
DLOG_FUNCTION(dlog_kill);
DLOG_FUNCTION(dlog_suspend);
DLOG_FUNCTION(dlog_resume);
DLOG_FUNCTION(dlog_state);
DLOG_FUNCTION(dlog_state_text);

/* Who waits for an actor to be loaded looks again this often. */
#define LOAD_WAIT_MS 2

/* ---------------------------------------------------------------- control */

/*
 * actor_end_at_commit
 *		See actor.h.
 */
void
actor_end_at_commit(ActorAddress address, const char *reason)
{
	Size size = strlen(reason) + 1;
	Message *message = message_create(LOCAL_STOP, offsetof(StopControl, reason) + size);
	StopControl *stop = (StopControl *) message->payload;

	stop->kind = EXIT_SHUTDOWN;
	stop->is_final = true;
	memcpy(stop->reason, reason, size);
	message->flags |= MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	pending_add(address, message);
}

/* A durable actor stops with this transaction, and for good. */
static void
stop_actor(ActorAddress address, const char *reason)
{
	int64 durable = sql_actor_durable(address);

	if (actor_replay.is_on)
		return;
	if (durable == 0)
	{
		actor_stop(address, EXIT_SHUTDOWN, reason);
		return;
	}
	actor_journal->stop(durable, reason);
	actor_end_at_commit(address, reason);
}

/*
 * dlog.stop(actor, reason) -> void
 */
Datum
dlog_stop_actor(PG_FUNCTION_ARGS)
{
	ActorAddress address = controlled_actor(actor_argument(fcinfo, 0));

	require_argument(fcinfo, 1, "reason");
	stop_actor(address, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

/*
 * dlog.stop(reason) -> void
 *		The actor exits when its handler has returned.
 *
 * A bare literal is a text too, so this may be a reference after all.
 */
Datum
dlog_stop(PG_FUNCTION_ARGS)
{
	ActorRefText parsed;

	require_argument(fcinfo, 0, "reason");
	if (actor_ref_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &parsed) && !parsed.is_name)
	{
		stop_actor(controlled_actor(&parsed.ref), REASON_SHUTDOWN);
		PG_RETURN_VOID();
	}
	if (actor_replay.is_on)
		PG_RETURN_VOID();
	if (current_turn == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dlog.stop() without an actor can only be called while an actor handles a message"),
				 errhint("To stop another one, name it: dlog.stop(dlog.whereis('name')).")));
	pending_mark();
	turn_exit(turn_require("dlog.stop()"), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

Datum
dlog_kill(PG_FUNCTION_ARGS)
{
	if (!actor_replay.is_on)
		actor_stop(controlled_actor(actor_argument(fcinfo, 0)), EXIT_KILLED, "killed");
	PG_RETURN_VOID();
}

Datum
dlog_suspend(PG_FUNCTION_ARGS)
{
	if (!actor_replay.is_on)
		actor_suspend(controlled_actor(actor_argument(fcinfo, 0)));
	PG_RETURN_VOID();
}

Datum
dlog_resume(PG_FUNCTION_ARGS)
{
	if (!actor_replay.is_on)
		actor_resume(controlled_actor(actor_argument(fcinfo, 0)));
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------ state */

/*
 * wait_until_loaded
 *		A durable actor that is being loaded will have its state in a moment,
 *		unless it cannot be.
 */
void
wait_until_loaded(ActorAddress address)
{
	while (current_turn == NULL && hosted_actor_exists(address) &&
		   sql_actor_at(address.slot)->phase == PHASE_NEW && !sql_actor_at(address.slot)->is_suspended)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOAD_WAIT_MS,
						 WaitEventExtensionNew("DlogDurableLoad"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* The committed state of an actor, and its type. */
static Datum
state_of(FunctionCallInfo fcinfo, Oid *type, bool *is_null)
{
	ActorAddress address = controlled_actor(actor_argument(fcinfo, 0));
	SqlActor *actor = sql_actor_at(address.slot);
	int64 durable = sql_actor_durable(address);
	Oid id = InvalidOid;
	bool is_alive;
	Datum state;
	Behavior *behavior;

	if (durable != 0)
		wait_until_loaded(address);
	if (durable != 0 && actor->phase != PHASE_READY)
		return actor_journal->state(durable, type, is_null);
	state = sql_actor_read_state(address, is_null, &id, &is_alive);
	*type = InvalidOid;
	if (!OidIsValid(id))
	{
		*is_null = true;
		return (Datum) 0;
	}
	behavior = behavior_acquire(id);
	*type = behavior->state_type;
	behavior_release(behavior);
	return state;
}

/*
 * dlog.state(actor) -> text
 */
Datum
dlog_state_text(PG_FUNCTION_ARGS)
{
	Oid type;
	bool is_null;
	Datum state = state_of(fcinfo, &type, &is_null);
	Oid output;
	bool is_varlena;

	if (is_null)
		PG_RETURN_NULL();
	getTypeOutputInfo(type, &output, &is_varlena);
	PG_RETURN_TEXT_P(cstring_to_text(OidOutputFunctionCall(output, state)));
}

/*
 * dlog.state(actor, as_type) -> as_type
 */
Datum
dlog_state(PG_FUNCTION_ARGS)
{
	Oid wanted = get_fn_expr_rettype(fcinfo->flinfo);
	Oid type;
	bool is_null;
	Datum state = state_of(fcinfo, &type, &is_null);

	if (OidIsValid(type) && type != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the state of the actor is of type %s, not %s", format_type_be(type), format_type_be(wanted))));
	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(state);
}
