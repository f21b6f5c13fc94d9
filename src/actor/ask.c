/*
 * ask.c
 *		Questions and answers, and what else is said of messages.
 *
 * Who asks is a bound actor of its own for as long as it waits, so nothing
 * that comes too late is taken for the answer to another question.  It
 * monitors whom it asks, and learns at once when that exits.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "actor/actor_internal.h"
#include "base/errcodes.h"
#include "base/pg_compat.h"

/* ------------------------------------------------------------- what is said */

/* NULL: out of memory. */
static Message *
failure_answer(int sqlerrcode, const char *text, const HandlerFailure *of_handler)
{
	Size size = strlen(text) + 1;
	Size more = of_handler ? strlen(of_handler->message) + 1 : 0;
	Message *message = message_try_create(LOCAL_FAILURE, offsetof(FailureAnswer, message) + size + more);
	FailureAnswer *failure;

	if (message == NULL)
		return NULL;
	failure = (FailureAnswer *) message->payload;
	failure->sqlerrcode = sqlerrcode;
	failure->handler_sqlerrcode = of_handler ? of_handler->sqlerrcode : 0;
	memcpy(failure->message, text, size);
	if (of_handler != NULL)
		memcpy(failure->message + size, of_handler->message, more);
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	return message;
}

/* A message that says why there will be no answer; NULL: out of memory. */
Message *
ask_failure(int sqlerrcode, const char *text)
{
	return failure_answer(sqlerrcode, text, NULL);
}

/*
 * answer_failure
 *		Tell whoever asked that there will be no answer, and of the error in
 *		the handler of the question if that is why.  Never fails.
 *
 * Who asks has been found to have the right to send to the actor.
 */
void
answer_failure(ActorAddress asker, ActorAddress from, int sqlerrcode, const char *text,
			   const HandlerFailure *of_handler)
{
	Message *message = failure_answer(sqlerrcode, text, of_handler);

	/* Out of memory it learns from its timeout. */
	if (message == NULL)
		return;
	message->from = from;
	(void) actor_send(asker, message);
}

/*
 * refuse_message
 *		There is no handler for it.  Takes the message.
 */
void
refuse_message(Message *message)
{
	if (message->type == LOCAL_MAIL && (message_mail(message)->flags & MAIL_ASK))
	{
		answer_failure(message->from, message->to, ERRCODE_DATATYPE_MISMATCH,
					   "the actor takes no messages of this type any more", NULL);
		message->flags |= MESSAGE_EPHEMERAL;
		message->from.slot = 0;
	}
	actor_send_undelivered(message, SEND_NO_ACTOR);
}

/*
 * mail_deliver
 *		Send what a transaction has sent, now that it commits.
 */
void
mail_deliver(ActorAddress to, Message *message)
{
	bool is_durable = mail_durable(message) != NULL;
	uint16 database = is_durable ? sql_actor_at(to.slot)->database : 0;

	if ((message->flags & MESSAGE_RESERVED) && sql_actor_deliver(to, message, message, 1))
		return;

	/* It is in a table, and goes to where what cannot be handled goes. */
	if (actor_send(to, message) != SEND_OK && is_durable)
		actor_journal->sweep(database);
}

void
monitor_request(ActorAddress watcher, ActorAddress other)
{
	if (other.node == THIS_NODE)
		actor_monitor(watcher, other);
}

void
demonitor_request(ActorAddress watcher, ActorAddress other)
{
	if (other.node == THIS_NODE)
		actor_demonitor(watcher, other);
}

/* dlog.down */
static Datum
down_datum(const Message *message, Oid *type)
{
	Oid schema = get_namespace_oid("dlog", false);
	DownMessage down = {0};
	bool is_read = down_read(message->payload, message->size, &down);
	ActorRef ref = actor_ref_of((ActorAddress){message->from.node, down.slot, down.incarnation});
	TupleDesc descriptor;
	Datum values[2];
	bool nulls[2] = {false};
	HeapTuple tuple;

	*type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("down"), ObjectIdGetDatum(schema));
	descriptor = lookup_rowtype_tupdesc(*type, -1);
	values[0] = actor_ref_datum(&ref);
	nulls[1] = !is_read;
	values[1] = nulls[1] ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(down.reason.data, down.reason.size));
	tuple = heap_form_tuple(descriptor, values, nulls);
	ReleaseTupleDesc(descriptor);
	return HeapTupleGetDatum(tuple);
}

/*
 * message_read
 *		What a handler gets for a message, and its type; invalid: nothing.
 */
Datum
message_read(const Message *message, Oid *type, bool *is_null)
{
	*type = InvalidOid;
	*is_null = true;
	if (message->type == LOCAL_MAIL)
	{
		*type = message_mail(message)->type;
		return mail_datum(message, is_null);
	}
	if (message->type == MESSAGE_DOWN)
	{
		*is_null = false;
		return down_datum(message, type);
	}
	return (Datum) 0;
}

/*
 * mail_text
 *		Its datum as text; NULL: it has none.  In a transaction.
 */
char *
mail_text(const Message *message)
{
	bool is_null;
	Datum datum = mail_datum(message, &is_null);
	Oid output;
	bool is_varlena;

	if (is_null)
		return NULL;
	getTypeOutputInfo(message_mail(message)->type, &output, &is_varlena);
	return OidOutputFunctionCall(output, datum);
}

/* --------------------------------------------------------------------- ask */

static void
raise_failure(Message *message)
{
	const FailureAnswer *failure = (const FailureAnswer *) message->payload;
	int sqlerrcode = failure->sqlerrcode;
	int handler_sqlerrcode = failure->handler_sqlerrcode;
	char *text = pstrdup(failure->message);
	char *of_handler = handler_sqlerrcode ? pstrdup(failure->message + strlen(text) + 1) : NULL;

	message_free(message);
	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("the actor did not answer: %s", text),
			 of_handler ? errdetail("Its handler failed with SQLSTATE %s: %s",
									unpack_sql_state(handler_sqlerrcode), of_handler) :
						  0));
}

static void
raise_exit(Message *message)
{
	DownMessage down;
	char *reason = NULL;

	if (message != NULL && message->type == MESSAGE_DOWN && down_read(message->payload, message->size, &down))
		reason = pnstrdup(down.reason.data, down.reason.size);
	if (message != NULL)
		message_free(message);
	ereport(ERROR,
			(errcode(ERRCODE_DLOG_ACTOR_EXITED),
			 errmsg("the actor exited before it answered"),
			 reason ? errdetail("Its reason: %s.", reason) : 0));
}

/*
 * ask_is_answer
 *		Is this the answer?  ERROR: there will be none; the message is freed.
 */
bool
ask_is_answer(Message *message)
{
	switch (message->type)
	{
		case LOCAL_MAIL:
			return true;
		case LOCAL_FAILURE:
			raise_failure(message);
			break;
		case MESSAGE_DOWN:
		case MESSAGE_UNDELIVERED:
			raise_exit(message);
			break;
		default:
			break;
	}
	return false;
}

/*
 * actor_ask
 *		Send a message to an actor of this node and wait for its answer, which
 *		is the caller's.  Takes the message.
 */
Message *
actor_ask(ActorAddress to, Message *message, long timeout_ms)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dlog ask", ALLOCSET_SMALL_SIZES);
	BoundActor *self = bound_actor_spawn(context, "ask");
	TimestampTz deadline = timeout_ms < 0 ? DT_NOEND : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	Message *answer = NULL;

	actor_monitor(bound_actor_address(self), to);
	message->from = bound_actor_address(self);
	if (actor_send(to, message) != SEND_OK)
		raise_exit(NULL);
	for (;;)
	{
		long left_ms = -1;

		answer = bound_actor_receive(self);
		if (answer != NULL)
		{
			if (ask_is_answer(answer))
				break;
			message_free(answer);
			continue;
		}
		if (timeout_ms >= 0)
		{
			left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
			if (left_ms <= 0)
				ereport(ERROR,
						(errcode(ERRCODE_QUERY_CANCELED),
						 errmsg("the actor did not answer within %ld ms", timeout_ms),
						 errhint("Ask with a longer timeout, if its handler for this message calls dlog.reply() at all.")));
		}
		(void) runtime_wait_for_answer(left_ms, WaitEventExtensionNew("DlogAsk"));
	}
	actor_demonitor(bound_actor_address(self), to);
	bound_actor_exit(self);
	MemoryContextDelete(context);
	return answer;
}
