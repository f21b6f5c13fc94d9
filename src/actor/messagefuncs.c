/*
 * messagefuncs.c
 *		dlog.send(), ask() and reply().
 *
 * A message is checked where it is sent: that the actor lives, that its
 * behavior has a handler for it, that the role may send it, and that there is
 * room.  It leaves when the transaction commits.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "actor/actor_internal.h"
#include "base/function.h"
#include "base/guc.h"
#include "remote/remote.h"

DLOG_FUNCTION(dlog_send);
DLOG_FUNCTION(dlog_ask);
DLOG_FUNCTION(dlog_ask_text);
DLOG_FUNCTION(dlog_reply);

/* ---------------------------------------------- for an actor of this node */

/* Room in its mailbox; senders of durable messages may wait for it. */
static bool
reserve_room(SqlActor *actor, ActorAddress to, Message *message)
{
	bool has_room = false;

	if (mail_durable(message) == NULL || current_turn != NULL || dlog_full_mailbox == FULL_MAILBOX_ERROR)
		return sql_actor_reserve(actor, to);
	PG_TRY();
	{
		has_room = sql_actor_wait_for_room(actor, to);
	}
	PG_CATCH();
	{
		message_free(message);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return has_room;
}

/* Who sends what, for the journal. */
static void
sign_mail(DurableMail *durable, int64 actor, int flags, Oid role)
{
	durable->actor = actor;
	durable->role = role;
	durable->sent_at = GetCurrentTimestamp();
	if (current_turn != NULL && (flags & MAIL_TIMER) == 0)
		durable->sender = actor_ref_of(current_turn->self);
}

/*
 * ERROR unless the role may send a message of this type.  False: the actor is
 * of another behavior by now; look again.
 *
 * A durable actor that is being loaded is of the behavior that it was spawned
 * with until its journal says what it has become.  What it then does not take
 * goes into quarantine.
 */
static bool
may_send(ActorAddress to, int64 durable, Oid type, Oid role)
{
	SqlActor *actor = sql_actor_at(to.slot);
	Behavior *behavior = behavior_acquire(actor->behavior);
	volatile bool is_sure = true;

	PG_TRY();
	{
		if (!behavior_may_send_to_all(behavior, role))
			behavior_check_send(behavior, hosted_actor_role(to), role);
		if (behavior_handler(behavior, type) == NULL &&
			!(durable != 0 && *(volatile uint8 *) &actor->phase == PHASE_NEW))
		{
			pg_read_barrier();
			is_sure = *(volatile Oid *) &actor->behavior == behavior->id || durable == 0;
			if (is_sure)
				behavior_refuse_message(behavior, type);
		}
	}
	PG_FINALLY();
	{
		behavior_release(behavior);
	}
	PG_END_TRY();
	return is_sure;
}

/* A message for an actor of this node, checked, with its place reserved. */
static Message *
message_for(ActorAddress to, Datum datum, Oid type, bool is_null, int flags, Oid role)
{
	SqlActor *actor = sql_actor_at(to.slot);
	int64 durable = sql_actor_durable(to);
	Message *message;

	if (!OidIsValid(actor->behavior))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("actor %u takes no messages from SQL", to.slot),
				 errdetail("It is a supervisor.")));
	while (!may_send(to, durable, type, role))
		;

	message = mail_create(datum, ROW_TYPE(type), is_null, flags | (durable != 0 ? MAIL_DURABLE : 0));
	if (!reserve_room(actor, to, message))
	{
		message_free(message);
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the mailbox of actor %u is full", to.slot),
				 errdetail("%u messages wait in it.", actor->limit),
				 errhint("Raise mailbox_limit of its behavior, or dlog.mailbox_limit.")));
	}
	message->flags |= MESSAGE_RESERVED;
	if (current_turn != NULL)
		message->from = current_turn->self;
	if (durable != 0)
		sign_mail(mail_durable(message), durable, flags, role);
	return message;
}

/* An argument, by the present role. */
Message *
message_argument(FunctionCallInfo fcinfo, int n, ActorAddress to, int flags)
{
	return message_for(to, PG_ARGISNULL(n) ? (Datum) 0 : PG_GETARG_DATUM(n),
					   get_fn_expr_argtype(fcinfo->flinfo, n), PG_ARGISNULL(n), flags, GetUserId());
}

Message *
actor_durable_message(ActorAddress to, Datum datum, Oid type, bool is_null, Oid role, const ActorRef *sender)
{
	Message *message = message_for(to, datum, type, is_null, 0, role);

	mail_durable(message)->sender = *sender;
	return message;
}

/* ------------------------------------------------------------------- send */

/* Call a function of two arguments, reference and message, on another node. */
static char *
run_elsewhere(FunctionCallInfo fcinfo, uint32 node, const char *format)
{
	Oid types[2] = {get_fn_expr_argtype(fcinfo->flinfo, 0), get_fn_expr_argtype(fcinfo->flinfo, 1)};
	Datum values[2] = {PG_GETARG_DATUM(0), PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1)};
	bool nulls[2] = {false, PG_ARGISNULL(1)};
	RemoteRequest request = {
		.kind = REMOTE_QUERY,
		.sql = psprintf(format, format_type_be_qualified(types[1])),
		.n_params = 2,
		.param_types = types,
		.param_values = values,
		.param_nulls = nulls,
		.writes = true,
	};

	types[0] = getBaseType(types[0]);
	return remote_run_text(node, &request);
}

/*
 * dlog.send(actor, message) -> void
 */
Datum
dlog_send(PG_FUNCTION_ARGS)
{
	ActorRef *ref = actor_argument(fcinfo, 0);
	ActorAddress to;

	runtime_require();
	if (actor_replay.is_on)
		PG_RETURN_VOID();
	if (!actor_address_of(ref, &to))
		refuse_unknown_node(ref);
	if (is_durable_elsewhere(ref))
		actor_journal->send_elsewhere(ref, message_type(fcinfo, 1), PG_GETARG_DATUM(1), PG_ARGISNULL(1));
	else if (to.node != THIS_NODE)
		(void) run_elsewhere(fcinfo, to.node, "SELECT dlog.send($1, $2::%s)::pg_catalog.text");
	else if (!actor_of_ref(ref, &to))
		refuse_gone(ref);
	else
		pending_add(to, message_argument(fcinfo, 1, to, 0));
	PG_RETURN_VOID();
}

/* -------------------------------------------------------------------- ask */

static Message *
ask(FunctionCallInfo fcinfo, int timeout_argument)
{
	int64 timeout_ms = interval_argument(fcinfo, timeout_argument, "timeout");
	ActorRef *ref = actor_argument(fcinfo, 0);
	ActorAddress to;

	runtime_require();
	if (current_turn != NULL || actor_replay.is_on)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a handler cannot wait for an answer"),
				 errhint("Send the question; the answer comes as a message.")));
	if (is_durable_elsewhere(ref))
		return actor_journal->ask_elsewhere(ref, message_type(fcinfo, 1), PG_GETARG_DATUM(1), PG_ARGISNULL(1),
											timeout_ms);
	to = local_actor(ref);
	if (!hosted_actor_exists(to))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the actor lives when the transaction that spawned it has committed"),
				 errhint("Commit before you ask it.")));
	return actor_ask(to, message_argument(fcinfo, 1, to, MAIL_ASK), timeout_ms);
}

/*
 * dlog.ask(actor, message, as_type, timeout) -> as_type
 */
Datum
dlog_ask(PG_FUNCTION_ARGS)
{
	Oid wanted = get_fn_expr_rettype(fcinfo->flinfo);
	Message *answer = ask(fcinfo, 3);
	Oid type = message_mail(answer)->type;
	bool is_null;
	Datum datum = (Datum) 0;

	PG_TRY();
	{
		if (type != wanted)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("the actor answered with %s, not %s", format_type_be(type), format_type_be(wanted)),
					 errhint("Ask for NULL::%s.", format_type_be(type))));
		datum = mail_datum(answer, &is_null);
		if (!is_null)
			datum = datumCopy(datum, message_mail(answer)->is_by_value, message_mail(answer)->type_length);
	}
	PG_FINALLY();
	{
		message_free(answer);
	}
	PG_END_TRY();
	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(datum);
}

/*
 * dlog.ask(actor, message, timeout) -> text
 */
Datum
dlog_ask_text(PG_FUNCTION_ARGS)
{
	Message *answer = ask(fcinfo, 2);
	char *volatile string = NULL;

	PG_TRY();
	{
		string = mail_text(answer);
	}
	PG_FINALLY();
	{
		message_free(answer);
	}
	PG_END_TRY();
	if (string == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(string));
}

/* ------------------------------------------------------------------ reply */

/* To a sender on another node: a durable actor, or who waits for the answer. */
static void
reply_elsewhere(FunctionCallInfo fcinfo, const ActorRef *sender)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Datum datum = PG_GETARG_DATUM(0);
	bool is_null = PG_ARGISNULL(0);

	if (is_durable_elsewhere(sender))
		actor_journal->send_elsewhere(sender, message_type(fcinfo, 0), datum, is_null);
	else if (type == UNKNOWNOID)
		actor_journal->reply_elsewhere(sender, TEXTOID,
									   is_null ? (Datum) 0 : CStringGetTextDatum(DatumGetCString(datum)), is_null);
	else
		actor_journal->reply_elsewhere(sender, type, datum, is_null);
}

/* To a durable actor, or an actor that sent to one; false: neither. */
static bool
reply_to_durable(FunctionCallInfo fcinfo)
{
	DurableMail *durable = mail_durable(current_message);
	ActorAddress to;

	if (durable == NULL || actor_ref_is_none(&durable->sender) ||
		(message_mail(current_message)->flags & MAIL_ASK))
		return false;
	if (actor_address_of(&durable->sender, &to) && to.node != THIS_NODE)
		reply_elsewhere(fcinfo, &durable->sender);
	else if (actor_of_ref(&durable->sender, &to))
		pending_add(to, message_argument(fcinfo, 0, to, 0));
	return true;
}

/*
 * dlog.reply(message) -> void
 *		To who asked, or to the actor that sent the message.
 */
Datum
dlog_reply(PG_FUNCTION_ARGS)
{
	Turn *turn;
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	ActorAddress to;
	Message *message;

	if (actor_replay.is_on)
		PG_RETURN_VOID();
	turn = turn_require("dlog.reply()");
	if (current_message == NULL || current_message->type != LOCAL_MAIL)
		PG_RETURN_VOID();
	if (reply_to_durable(fcinfo) || current_message->from.slot == 0)
		PG_RETURN_VOID();
	to = current_message->from;
	if ((message_mail(current_message)->flags & MAIL_ASK) == 0)
	{
		if (to.node == THIS_NODE && (hosted_actor_exists(to) || hosted_actor_is_starting(to)))
			pending_add(to, message_argument(fcinfo, 0, to, 0));
		PG_RETURN_VOID();
	}
	if (type == UNKNOWNOID)
	{
		/* a literal */
		message = mail_create(PG_ARGISNULL(0) ? (Datum) 0 :
												CStringGetTextDatum(DatumGetCString(PG_GETARG_DATUM(0))),
							  value_type(TEXTOID), PG_ARGISNULL(0), 0);
	}
	else
		message = mail_create(PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0), value_type(type), PG_ARGISNULL(0), 0);
	message->from = turn->self;
	message->flags |= MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	pending_add(to, message);
	PG_RETURN_VOID();
}
