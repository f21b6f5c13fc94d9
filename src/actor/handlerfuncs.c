/*
 * handlerfuncs.c
 *		What a handler can do for its actor: self(), sender(), become(), stash(),
 *		timers and monitors.
 *
 * It takes effect when the batch commits, and is taken back with it.  While a
 * journal is replayed, what has an effect does nothing, and what returns
 * something returns what it did then.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "actor/actor_internal.h"
#include "base/function.h"

DLOG_FUNCTION(dlog_self);
DLOG_FUNCTION(dlog_sender);
DLOG_FUNCTION(dlog_become);
DLOG_FUNCTION(dlog_stash);
DLOG_FUNCTION(dlog_unstash);
DLOG_FUNCTION(dlog_send_after);
DLOG_FUNCTION(dlog_send_every);
DLOG_FUNCTION(dlog_cancel_timer);
DLOG_FUNCTION(dlog_monitor);
DLOG_FUNCTION(dlog_demonitor);

static Datum
reference(ActorAddress address)
{
	ActorRef ref = actor_ref_of(address);

	return actor_ref_datum(&ref);
}

Datum
dlog_self(PG_FUNCTION_ARGS)
{
	if (actor_replay.is_on)
		return actor_ref_datum(&actor_replay.self);
	return reference(turn_require("dlog.self()")->self);
}

/*
 * dlog.sender() -> actor_ref
 *		Null: a session has sent it, or a timer.
 */
Datum
dlog_sender(PG_FUNCTION_ARGS)
{
	DurableMail *durable;

	if (actor_replay.is_on)
	{
		if (actor_ref_is_none(&actor_replay.sender))
			PG_RETURN_NULL();
		return actor_ref_datum(&actor_replay.sender);
	}
	(void) turn_require("dlog.sender()");
	durable = current_message == NULL ? NULL : mail_durable(current_message);
	if (durable != NULL)
	{
		if (actor_ref_is_none(&durable->sender))
			PG_RETURN_NULL();
		return actor_ref_datum(&durable->sender);
	}
	if (current_message == NULL || current_message->from.slot == 0 ||
		(current_message->type == LOCAL_MAIL && (message_mail(current_message)->flags & MAIL_ASK)))
		PG_RETURN_NULL();
	return reference(current_message->from);
}

/*
 * dlog.become(behavior) -> void
 *		From the next message on, with the same state.
 */
Datum
dlog_become(PG_FUNCTION_ARGS)
{
	Turn *turn;
	Behavior *present;
	Behavior *volatile next = NULL;

	if (actor_replay.is_on)
		PG_RETURN_VOID();
	turn = turn_require("dlog.become()");
	present = behavior_acquire(OidIsValid(turn->behavior) ? turn->behavior : turn->actor->behavior);
	PG_TRY();
	{
		require_argument(fcinfo, 0, "behavior");
		next = behavior_acquire_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));
		behavior_check_spawn(next, hosted_actor_role(turn->self));
		if (next->state_type != present->state_type)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("an actor of behavior \"%s\" cannot become \"%s\"", NameStr(present->name),
							NameStr(next->name)),
					 errdetail("Their states are of types %s and %s.", format_type_be(present->state_type),
							   format_type_be(next->state_type))));
		if (OidIsValid(present->journal) != OidIsValid(next->journal))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("an actor of behavior \"%s\" cannot become \"%s\"", NameStr(present->name),
							NameStr(next->name)),
					 errdetail("One of them is durable.")));
		pending_mark();
		turn->behavior = next->id;
		if (current_message != NULL && mail_durable(current_message) != NULL)
			mail_durable(current_message)->becomes = next->id;
	}
	PG_FINALLY();
	{
		behavior_release(present);
		if (next != NULL)
			behavior_release(next);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}

/*
 * dlog.stash() -> void
 *		The message waits until dlog.unstash().
 */
Datum
dlog_stash(PG_FUNCTION_ARGS)
{
	if (actor_replay.is_on)
		PG_RETURN_VOID();
	if (turn_require("dlog.stash()")->n_timers > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a durable actor cannot stash a message that has set timers"),
				 errhint("Set them when it is handled after all.")));
	if (current_message == NULL || current_message->type != LOCAL_MAIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no message to stash")));
	pending_mark();
	message_mail(current_message)->flags |= MAIL_STASHED;
	current_is_stashed = true;
	PG_RETURN_VOID();
}

Datum
dlog_unstash(PG_FUNCTION_ARGS)
{
	Turn *turn;

	if (actor_replay.is_on)
		PG_RETURN_VOID();
	turn = turn_require("dlog.unstash()");
	pending_mark();
	turn->unstashes = true;
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------- timers */

/* A row of a table, which this transaction writes. */
static Datum
set_durable_timer(FunctionCallInfo fcinfo, Turn *turn, int64 ms, bool repeats)
{
	JournalTimer timer = {
		.actor = turn->actor->body->durable->id,
		.delay_ms = ms,
		.repeats = repeats,
		.type = message_type(fcinfo, 1),
		.message = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1),
		.is_null = PG_ARGISNULL(1),
	};
	Behavior *behavior = behavior_acquire(OidIsValid(turn->behavior) ? turn->behavior : turn->actor->behavior);

	PG_TRY();
	{
		if (behavior_handler(behavior, timer.type) == NULL)
			behavior_refuse_message(behavior, timer.type);
	}
	PG_FINALLY();
	{
		behavior_release(behavior);
	}
	PG_END_TRY();
	timer.id = durable_next_timer(turn);
	actor_journal->set_timer(&timer);
	PG_RETURN_INT64(timer.id);
}

static Datum
set_timer(FunctionCallInfo fcinfo, const char *name, bool repeats)
{
	static uint64 last_token = 0;
	Turn *turn;
	int64 ms = interval_argument(fcinfo, 0, repeats ? "period" : "delay");
	Message *pending;
	PendingAction *action;
	Message *message;

	if (actor_replay.is_on)
		PG_RETURN_INT64(actor_timer_number(actor_replay.seq, ++actor_replay.n_timers));
	turn = turn_require(name);
	if (repeats && ms == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("period must be at least a millisecond")));
	if (turn->actor->body->durable != NULL)
		return set_durable_timer(fcinfo, turn, ms, repeats);
	pending = message_create(LOCAL_TIMER_START, offsetof(PendingAction, name));
	action = (PendingAction *) pending->payload;
	memset(action, 0, offsetof(PendingAction, name));
	PG_TRY();
	{
		message = message_argument(fcinfo, 1, turn->self, MAIL_TIMER);
		sql_actor_unreserve(turn->actor, turn->self);
		message->flags &= ~MESSAGE_RESERVED;
		message->from = (ActorAddress){0};
		message_mail(message)->token = action->token = (uint64) process_slot() << 48 | ++last_token;
		action->timer = repeats ? timer_send_every(turn->self, turn->self, message, ms) :
								  timer_send_after(turn->self, turn->self, message, ms);
	}
	PG_CATCH();
	{
		message_free(pending);
		PG_RE_THROW();
	}
	PG_END_TRY();
	pending_add(turn->self, pending);
	PG_RETURN_INT64((int64) action->timer);
}

/*
 * dlog.send_after(delay, message) -> bigint
 */
Datum
dlog_send_after(PG_FUNCTION_ARGS)
{
	return set_timer(fcinfo, "dlog.send_after()", false);
}

Datum
dlog_send_every(PG_FUNCTION_ARGS)
{
	return set_timer(fcinfo, "dlog.send_every()", true);
}

/*
 * dlog.cancel_timer(timer) -> void
 */
Datum
dlog_cancel_timer(PG_FUNCTION_ARGS)
{
	Turn *turn;
	Message *pending;
	PendingAction *action;

	if (actor_replay.is_on)
		PG_RETURN_VOID();
	turn = turn_require("dlog.cancel_timer()");
	if (turn->actor->body->durable != NULL)
	{
		actor_journal->cancel_timer(turn->actor->body->durable->id, PG_GETARG_INT64(0));
		PG_RETURN_VOID();
	}
	pending = message_create(LOCAL_TIMER_CANCEL, offsetof(PendingAction, name));
	action = (PendingAction *) pending->payload;
	memset(action, 0, offsetof(PendingAction, name));
	action->timer = (TimerId) PG_GETARG_INT64(0);
	pending_add(turn->self, pending);
	PG_RETURN_VOID();
}

/* --------------------------------------------------------------- monitors */

/* Who is watched may go with the server, and then nobody is there to tell. */
static void
refuse_durable(Turn *turn, const char *function)
{
	if (turn->actor->body->durable != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot be called by a durable actor", function),
				 errdetail("When the server stops, actors go and nobody is told, so a message could be missing."),
				 errhint("An actor that is not durable can watch another one, and send to it.")));
}

static void
monitor(FunctionCallInfo fcinfo, const char *name, uint16 type)
{
	Turn *turn;
	ActorRef *ref = actor_argument(fcinfo, 0);
	Message *pending;
	PendingAction *action;
	ActorAddress other;

	if (actor_replay.is_on)
		return;
	turn = turn_require(name);
	refuse_durable(turn, name);
	if (!actor_address_of(ref, &other))
		refuse_unknown_node(ref);
	if (other.node != THIS_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot monitor an actor of another node")));
	pending = message_create(type, offsetof(PendingAction, name));
	action = (PendingAction *) pending->payload;
	memset(action, 0, offsetof(PendingAction, name));
	action->other = other;
	pending_add(turn->self, pending);
}

/*
 * dlog.monitor(actor) -> void
 *		A message of type dlog.down comes when it exits.
 */
Datum
dlog_monitor(PG_FUNCTION_ARGS)
{
	monitor(fcinfo, "dlog.monitor()", LOCAL_MONITOR);
	PG_RETURN_VOID();
}

Datum
dlog_demonitor(PG_FUNCTION_ARGS)
{
	monitor(fcinfo, "dlog.demonitor()", LOCAL_DEMONITOR);
	PG_RETURN_VOID();
}
