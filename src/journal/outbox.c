/*
 * outbox.c
 *		Sending to durable actors of other nodes: rows, in the sender's
 *		transaction.
 *
 * When the transaction has committed, the database's outbox actor hears of it
 * (outbox_drain.c).  Types and roles go over the link by their names.
 *
 * A question is not part of the asker's transaction: a scheduler stores it in
 * one of its own.  From then on it is a message like others, whatever becomes
 * of the asker, and so is the answer.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/errcodes.h"
#include "base/extension.h"
#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "journal/journal_internal.h"
#include "journal/outbox.h"
#include "transport/transport.h"

/* Nodes that this transaction has sent something to, with what tells so. */
typedef struct Kick
{
	struct Kick *next;
	uint32 node;
	Message *message;
} Kick;

static Kick *kicks; /* in TopTransactionContext */

/* What OUTBOX_LOCAL_STORE carries, before the message's payload. */
typedef struct StoreQuestion
{
	ActorRef to;
	ActorRef asker;
	Oid role;
} StoreQuestion;

/* ------------------------------------------------------------------ putting */

static void
kick_at_commit(uint32 node)
{
	Kick *kick;

	for (kick = kicks; kick != NULL; kick = kick->next)
		if (kick->node == node)
			return;
	kick = MemoryContextAlloc(TopTransactionContext, sizeof(Kick));
	kick->node = node;
	kick->message = outbox_kick_message(node);
	kick->next = kicks;
	kicks = kick;
}

/* The statement, kept for as long as the type of payloads is the same. */
static SPIPlanPtr
put_plan(void)
{
	static SPIPlanPtr plan = NULL;
	static Oid payload = InvalidOid;
	Oid types[6] = {INT8OID, CHAROID, TEXTOID, TEXTOID, OIDOID, journal_type("payload")};

	if (plan != NULL && payload == types[5])
		return plan;
	plan = SPI_prepare("INSERT INTO dlog.outbox (node_id, id, kind, receiver, sender, role, payload)"
					   " VALUES ($1, pg_catalog.nextval('dlog.outbox_id'), $2, $3::dlog.actor_ref, $4::dlog.actor_ref, $5, $6)",
					   6, types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare the statement that puts a message into dlog.outbox");
	payload = types[5];
	return plan;
}

/*
 * outbox_put
 *		Have a message go to another node when this transaction commits.
 *
 * ERROR 42704: the node is not known.
 */
void
outbox_put(OutboxKind kind, const ActorRef *to, const ActorRef *sender, Oid role, struct varlena *payload)
{
	ActorAddress address;
	StatementScope scope;
	Datum values[6];
	char nulls[7] = "      ";

	if (!actor_address_of(to, &address))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the node of actor %s is not known here", actor_ref_text(to))));
	values[0] = Int64GetDatum(to->node_id);
	values[1] = CharGetDatum((char) kind);
	values[2] = CStringGetTextDatum(actor_ref_text(to));
	values[3] = sender == NULL ? (Datum) 0 : CStringGetTextDatum(actor_ref_text(sender));
	values[4] = ObjectIdGetDatum(role);
	values[5] = PointerGetDatum(payload);
	nulls[3] = sender == NULL ? 'n' : ' ';

	home_claim();
	kick_at_commit(address.node);
	statement_open(&scope);
	if (SPI_execute_plan(put_plan(), values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not put a message into dlog.outbox");
	statement_close(&scope);
	STOP_POINT("outbox-put");
}

/* A message from the present role, and the actor whose handler runs. */
void
outbox_send(const ActorRef *to, Oid type, Datum message, bool is_null)
{
	ActorRef self;

	outbox_put(OUTBOX_SEND, to, actor_self(&self) ? &self : NULL, GetUserId(), payload_create(message, value_type(type), is_null));
}

/* In a handler: an answer to a sender on another node. */
void
outbox_reply(const ActorRef *asker, Oid type, Datum message, bool is_null)
{
	ActorRef self;

	outbox_put(OUTBOX_REPLY, asker, actor_self(&self) ? &self : NULL, GetUserId(), payload_create(message, value_type(type), is_null));
}

/*
 * outbox_refuse
 *		A message is given up with this transaction: tell its sender, if that
 *		is on another node and waits for an answer.
 */
void
outbox_refuse(const ActorRef *sender, int sqlerrcode, const char *text)
{
	ActorAddress address;
	char *both;

	if (sender->slot == 0 || !actor_address_of(sender, &address) || address.node == THIS_NODE)
		return;
	both = psprintf("%s %s", unpack_sql_state(sqlerrcode), text);
	outbox_put(OUTBOX_FAILURE, sender, NULL, GetUserId(), payload_create(CStringGetTextDatum(both), value_type(TEXTOID), false));
}

static void
at_transaction_end(XactEvent event, void *argument)
{
	Kick *kick = kicks;

	if (kicks == NULL)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot prepare a transaction that has sent messages to durable actors of other nodes")));
			break;
		case XACT_EVENT_COMMIT:
			kicks = NULL;
			for (; kick != NULL; kick = kick->next)
				outbox_kick(kick->node, kick->message);
			break;
		case XACT_EVENT_ABORT:
			kicks = NULL;
			for (; kick != NULL; kick = kick->next)
				message_free(kick->message);
			break;
		default:
			break;
	}
}

/* ------------------------------------------------------------------- asking */

/*
 * Work handler: stores a question, and tells the asker so.
 */
static void
store_question(Message *message)
{
	bool is_null;
	struct varlena *bytes;
	StoreQuestion question;
	struct varlena *payload;
	Message *stored;

	if (message->from.node != THIS_NODE)
		return;
	bytes = DatumGetByteaPP(mail_datum(message, &is_null));
	memcpy(&question, VARDATA_ANY(bytes), sizeof(question));
	payload = palloc(VARSIZE_ANY_EXHDR(bytes) - sizeof(question));
	memcpy(payload, VARDATA_ANY(bytes) + sizeof(question), VARSIZE_ANY_EXHDR(bytes) - sizeof(question));
	extension_begin();
	outbox_use_own_settings();
	PushActiveSnapshot(GetTransactionSnapshot());
	outbox_flush_at_commit();
	outbox_put(OUTBOX_SEND, &question.to, &question.asker, question.role, payload);
	PopActiveSnapshot();
	CommitTransactionCommand();
	STOP_POINT("outbox-question-stored");
	stored = message_try_create(OUTBOX_LOCAL_STORED, 0);
	if (stored == NULL)
		return;
	stored->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	(void) actor_send(message->from, stored);
}

/* What has a scheduler store the question. */
static Message *
question_message(const ActorRef *to, const ActorRef *asker, struct varlena *payload)
{
	StoreQuestion question = {.to = *to, .asker = *asker, .role = GetUserId()};
	StringInfoData bytes;
	Message *message;

	initStringInfo(&bytes);
	appendBinaryStringInfo(&bytes, (char *) &question, sizeof(question));
	appendBinaryStringInfo(&bytes, (char *) payload, VARSIZE_ANY(payload));
	message = mail_create(PointerGetDatum(cstring_to_text_with_len(bytes.data, bytes.len)), value_type(BYTEAOID), false, 0);
	message->type = OUTBOX_LOCAL_STORE;
	message->flags |= MESSAGE_CONTROL;
	return message;
}

/* The question is nowhere; or it may be there, for we cannot know. */
static void
raise_not_stored(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not store the question"),
			 errdetail("The scheduler that was to store it has failed or ended; the server's log tells why."),
			 errhint("Whether it was stored can be seen in dlog.outgoing.")));
}

/* Nobody has answered in time; the node may be why. */
static void
raise_late(uint32 node, long timeout_ms, bool is_stored)
{
	bool is_down = link_state(node) != LINK_UP;

	ereport(ERROR,
			(errcode(is_down ? ERRCODE_CONNECTION_FAILURE : ERRCODE_QUERY_CANCELED),
			 is_down ? errmsg("the actor did not answer within %ld ms, and node \"%s\" cannot be reached", timeout_ms, node_name(node)) :
					   errmsg("the actor did not answer within %ld ms", timeout_ms),
			 is_stored ? errdetail("The question is stored, and will be handled once.") :
						 errdetail("The question waits for a scheduler that stores it."),
			 errhint("Ask with a longer timeout, if its handler for this message calls dlog.reply() at all.")));
}

/* True: it is the answer.  ERROR: there will be none. */
static bool
take_answer(Message *message, bool *is_stored)
{
	switch (message->type)
	{
		case OUTBOX_LOCAL_STORED:
			*is_stored = true;
			break;
		case MESSAGE_DOWN:
		case MESSAGE_UNDELIVERED:
			message_free(message);
			raise_not_stored();
			break;
		default:
			return ask_is_answer(message);
	}
	return false;
}

/*
 * outbox_ask
 *		Ask a durable actor of another node, and wait for its answer, which is
 *		the caller's.
 */
Message *
outbox_ask(const ActorRef *to, Oid type, Datum datum, bool is_null, long timeout_ms)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dlog ask", ALLOCSET_SMALL_SIZES);
	BoundActor *self = bound_actor_spawn(context, "ask");
	ActorRef asker = actor_ref_of(bound_actor_address(self));
	TimestampTz deadline = timeout_ms < 0 ? DT_NOEND : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	bool is_stored = false;
	ActorAddress address;
	Message *message;

	if (!actor_address_of(to, &address))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the node of actor %s is not known here", actor_ref_text(to))));
	message = question_message(to, &asker, payload_create(datum, value_type(type), is_null));
	message->from = bound_actor_address(self);
	if (actor_send(database_address(THIS_NODE, get_database_name(MyDatabaseId)), message) != SEND_OK)
		raise_not_stored();
	for (;;)
	{
		long left_ms = -1;

		message = bound_actor_receive(self);
		if (message != NULL)
		{
			if (take_answer(message, &is_stored))
				break;
			message_free(message);
			continue;
		}
		if (timeout_ms >= 0)
		{
			left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
			if (left_ms <= 0)
				raise_late(address.node, timeout_ms, is_stored);
		}
		(void) runtime_wait(left_ms, WaitEventExtensionNew("DlogAsk"));
		CHECK_FOR_INTERRUPTS();
	}
	bound_actor_exit(self);
	MemoryContextDelete(context);
	return message;
}

/*
 * outbox_init
 *		Called once, in the postmaster.
 */
void
outbox_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	runtime_register_work(OUTBOX_LOCAL_STORE, store_question);
	outbox_drain_init();
}
