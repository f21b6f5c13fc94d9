/*
 * broadcast.c
 *		A message to the actors of one name on all members of a flock, and
 *		their replies.
 *
 * A session sends a BROADCAST to the database of each member, this node's own
 * among them, and has an actor for the replies, which lives as long as the
 * session.  Over there a scheduler asks the actor as the role that has sent it,
 * and sends back what it replied.  Like an ask it leaves at once, whatever
 * becomes of the transaction.
 *
 * What was sent is kept until its replies are collected, the last
 * BROADCASTS_KEPT of a session at most.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/ilist.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/clock.h"
#include "base/function.h"
#include "base/role.h"
#include "flock/flock_internal.h"

DLOG_FUNCTION(dlog_broadcast);
DLOG_FUNCTION(dlog_collect_replies);

#define BROADCASTS_KEPT 100

/* Of message and reply, as text; the rest of a message of the wire is for names. */
#define LONGEST_TEXT (60 * 1024)

/* A request's number is the broadcast's and, in the lower bits, the member's. */
#define MEMBER_BITS 20

typedef struct Reply
{
	uint32 node;
	char *name;
	uint32 epoch; /* of the link when it was sent */
	bool is_settled;
	bool is_collected;
	uint64 elapsed_us;
	char sqlstate[6]; /* "": it has replied */
	char *error;
	char *text; /* NULL: null */
} Reply;

typedef struct Broadcast
{
	dlist_node node;
	int64 id;
	uint64 sent_us;
	MemoryContext context; /* holds this too */
	int n_replies;
	Reply replies[FLEXIBLE_ARRAY_MEMBER];
} Broadcast;

/* This session's. */
static BoundActor *receiver;
static dlist_head broadcasts = DLIST_STATIC_INIT(broadcasts);
static int n_broadcasts = 0;
static int64 last_id = 0;

/* ---------------------------------------------------------------- settling */

static void
settle(Broadcast *broadcast, Reply *reply, const char *sqlstate, const char *error)
{
	reply->is_settled = true;
	reply->elapsed_us = clock_now_us() - broadcast->sent_us;
	strlcpy(reply->sqlstate, sqlstate, sizeof(reply->sqlstate));
	reply->error = MemoryContextStrdup(broadcast->context, error);
}

static char *
keep_text(MemoryContext context, WireBytes text)
{
	char *kept = MemoryContextAlloc(context, text.size + 1);

	memcpy(kept, text.data, text.size);
	kept[text.size] = '\0';
	return kept;
}

static void
take_reply(const Message *message)
{
	BroadcastReplyMessage reply;
	dlist_iter iter;

	if (!broadcast_reply_read(message->payload, message->size, &reply))
		return;
	dlist_foreach(iter, &broadcasts)
	{
		Broadcast *broadcast = dlist_container(Broadcast, node, iter.cur);
		uint64 member = reply.request & ((UINT64CONST(1) << MEMBER_BITS) - 1);
		Reply *from;

		if ((uint64) broadcast->id != reply.request >> MEMBER_BITS || member >= (uint64) broadcast->n_replies)
			continue;
		from = &broadcast->replies[member];
		if (from->is_settled || from->node != message->from.node)
			continue;
		if (reply.sqlstate.size == 5)
			settle(broadcast, from, keep_text(broadcast->context, reply.sqlstate),
				   keep_text(broadcast->context, reply.error));
		else
		{
			settle(broadcast, from, "", "");
			from->text = reply.is_null ? NULL : keep_text(broadcast->context, reply.reply);
		}
	}
}

/* What was sent to a node first, of all that has no reply, will have none. */
static void
fail_oldest(uint32 node, const char *sqlstate, const char *error)
{
	dlist_iter iter;

	dlist_foreach(iter, &broadcasts)
	{
		Broadcast *broadcast = dlist_container(Broadcast, node, iter.cur);

		for (int i = 0; i < broadcast->n_replies; i++)
		{
			if (broadcast->replies[i].node == node && !broadcast->replies[i].is_settled)
			{
				settle(broadcast, &broadcast->replies[i], sqlstate, error);
				return;
			}
		}
	}
}

static void
take_messages(void)
{
	Message *message;

	while ((message = bound_actor_receive(receiver)) != NULL)
	{
		switch (message->type)
		{
			case MESSAGE_BROADCAST_REPLY:
				take_reply(message);
				break;
			case MESSAGE_UNDELIVERED:
				fail_oldest(message->from.node, "08006",
							"it was not delivered: the link was lost, or its database does not run dlog");
				break;
			case MESSAGE_DOWN:
				fail_oldest(message->from.node, "57P01", "the scheduler that had it was ended");
				break;
			default:
				break;
		}
		message_free(message);
	}
}

/* Whose link has been lost since will not reply; false: some may still. */
static bool
all_settled(Broadcast *broadcast)
{
	bool all = true;

	for (int i = 0; i < broadcast->n_replies; i++)
	{
		Reply *reply = &broadcast->replies[i];

		if (!reply->is_settled && reply->node != THIS_NODE && link_epoch(reply->node) != reply->epoch)
		{
			take_messages(); /* what came before that counts */
			if (!reply->is_settled)
				settle(broadcast, reply, "08006", "the link to it was lost");
		}
		all &= reply->is_settled;
	}
	return all;
}

/* ----------------------------------------------------------------- sending */

static void
forget(Broadcast *broadcast)
{
	dlist_delete(&broadcast->node);
	n_broadcasts--;
	MemoryContextDelete(broadcast->context);
}

static Broadcast *
remember(List *nodes)
{
	MemoryContext context;
	Broadcast *broadcast;

	if (receiver == NULL)
		receiver = bound_actor_spawn(AllocSetContextCreate(TopMemoryContext, "dlog replies", ALLOCSET_SMALL_SIZES),
									 "broadcast");
	take_messages();
	if (n_broadcasts == BROADCASTS_KEPT)
		forget(dlist_container(Broadcast, node, dlist_head_node(&broadcasts)));

	context = AllocSetContextCreate(TopMemoryContext, "dlog broadcast", ALLOCSET_SMALL_SIZES);
	broadcast = MemoryContextAllocZero(context, offsetof(Broadcast, replies) + sizeof(Reply) * list_length(nodes));
	broadcast->context = context;
	broadcast->id = ++last_id;
	broadcast->sent_us = clock_now_us();
	broadcast->n_replies = list_length(nodes);
	for (int i = 0; i < broadcast->n_replies; i++)
	{
		broadcast->replies[i].node = (uint32) list_nth_int(nodes, i);
		broadcast->replies[i].name = MemoryContextStrdup(context, node_name(broadcast->replies[i].node));
	}
	dlist_push_tail(&broadcasts, &broadcast->node);
	n_broadcasts++;
	return broadcast;
}

static void
send_to(Broadcast *broadcast, int member, BroadcastMessage *content)
{
	Reply *reply = &broadcast->replies[member];
	Message *message;

	if (reply->node != THIS_NODE && link_state(reply->node) != LINK_UP)
	{
		settle(broadcast, reply, "08006", "the link to it is not up");
		return;
	}
	content->request = (uint64) broadcast->id << MEMBER_BITS | member;
	message = message_create(MESSAGE_BROADCAST, broadcast_size(content));
	broadcast_write(message->payload, message->size, content);
	message->from = bound_actor_address(receiver);
	reply->epoch = reply->node == THIS_NODE ? 0 : link_epoch(reply->node);
	if (actor_send(database_address(reply->node, node_database(reply->node)), message) != SEND_OK && !reply->is_settled)
		settle(broadcast, reply, "08006", "it could not be sent");
}

static WireBytes
text_of(const char *text)
{
	return (WireBytes){.size = (uint32) strlen(text), .data = text};
}

static int64
timeout_argument(FunctionCallInfo fcinfo, int n)
{
	Interval *interval;
	double ms;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("timeout must not be null")));
	interval = PG_GETARG_INTERVAL_P(n);
	ms = interval->time / 1000.0 + (interval->day + 30.0 * interval->month) * SECS_PER_DAY * 1000.0;
	if (ms < 0 || ms > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must be an interval of 0 to 24 days")));
	return (int64) ms;
}

/* The message as text, and its type's name; refuses what cannot be sent. */
static char *
message_argument(FunctionCallInfo fcinfo, int n, char **type_name)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, n);
	Oid output;
	bool is_varlena;
	char *text;

	if (get_typtype(type) != TYPTYPE_COMPOSITE || type == RECORDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a message must be of a composite type, not %s", format_type_be(type)),
				 errhint("For example: ROW(1)::increment.")));
	*type_name = format_type_be_qualified(type);
	if (PG_ARGISNULL(n))
		return NULL;
	getTypeOutputInfo(type, &output, &is_varlena);
	text = OidOutputFunctionCall(output, PG_GETARG_DATUM(n));
	if (strlen(text) > LONGEST_TEXT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a broadcast message must not be longer than %d bytes", LONGEST_TEXT),
				 errdetail("This one is %d bytes long, as text.", (int) strlen(text)),
				 errhint("Put it into a table, and broadcast where it is.")));
	return text;
}

/*
 * dlog.broadcast(flock, actor, message, timeout) -> bigint
 *		Sends to the actor of that name on every member; for the replies,
 *		dlog.collect_replies().
 */
Datum
dlog_broadcast(PG_FUNCTION_ARGS)
{
	BroadcastMessage content = {0};
	Broadcast *broadcast;
	List *nodes;
	char *type;
	char *as_text;

	runtime_require();
	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("flock and actor must not be null")));
	as_text = message_argument(fcinfo, 2, &type);
	content.timeout_ms = (uint32) timeout_argument(fcinfo, 3);
	content.role = text_of(GetUserNameFromId(GetUserId(), false));
	content.actor = text_of(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	content.type = text_of(type);
	content.is_null = as_text == NULL;
	content.message = text_of(as_text == NULL ? "" : as_text);
	if (content.actor.size >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be the name of an actor", content.actor.data),
				 errdetail("It must have 1 to %d bytes.", NAMEDATALEN - 1)));

	nodes = flock_nodes(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	broadcast = remember(nodes);
	for (int i = 0; i < broadcast->n_replies; i++)
		send_to(broadcast, i, &content);
	PG_RETURN_INT64(broadcast->id);
}

/* -------------------------------------------------------------- collecting */

static void
put_reply(ReturnSetInfo *result, Broadcast *broadcast, Reply *reply)
{
	Datum values[5];
	bool nulls[5] = {false};
	Interval *elapsed = palloc0(sizeof(Interval));
	bool is_late = !reply->is_settled;
	bool has_failed = is_late || reply->sqlstate[0] != '\0';

	elapsed->time = (TimeOffset) (is_late ? clock_now_us() - broadcast->sent_us : reply->elapsed_us);
	nulls[1] = has_failed || reply->text == NULL;
	nulls[2] = nulls[3] = !has_failed;
	values[0] = CStringGetTextDatum(reply->name);
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(reply->text);
	values[2] = !has_failed ? (Datum) 0 : CStringGetTextDatum(is_late ? "it has not replied in time" : reply->error);
	values[3] = !has_failed ? (Datum) 0 : CStringGetTextDatum(is_late ? "57014" : reply->sqlstate);
	values[4] = IntervalPGetDatum(elapsed);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	reply->is_collected = !is_late;
}

static Broadcast *
find(int64 id)
{
	dlist_iter iter;

	dlist_foreach(iter, &broadcasts)
	{
		Broadcast *broadcast = dlist_container(Broadcast, node, iter.cur);

		if (broadcast->id == id)
			return broadcast;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("broadcast " INT64_FORMAT " does not exist", id),
			 errdetail("A session keeps its last %d broadcasts until all replies are collected.", BROADCASTS_KEPT)));
}

static void
wait_for_replies(Broadcast *broadcast, int64 timeout_ms)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	link_watch();
	PG_TRY();
	{
		for (;;)
		{
			long left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

			take_messages();
			if (all_settled(broadcast) || left_ms <= 0)
				break;
			(void) runtime_wait(left_ms, PG_WAIT_EXTENSION);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_FINALLY();
	{
		link_unwatch();
	}
	PG_END_TRY();
}

/*
 * dlog.collect_replies(broadcast, timeout) -> node, reply, error, sqlstate, elapsed
 *		Waits until all members have replied or failed, or that time is over.
 *		What is late can be collected by another call.
 */
Datum
dlog_collect_replies(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Broadcast *broadcast;
	bool is_complete = true;

	runtime_require();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("broadcast must not be null")));
	broadcast = find(PG_GETARG_INT64(0));
	InitMaterializedSRF(fcinfo, 0);
	wait_for_replies(broadcast, timeout_argument(fcinfo, 1));
	for (int i = 0; i < broadcast->n_replies; i++)
	{
		if (!broadcast->replies[i].is_collected)
			put_reply(result, broadcast, &broadcast->replies[i]);
		is_complete &= broadcast->replies[i].is_collected;
	}
	if (is_complete)
		forget(broadcast);
	return (Datum) 0;
}

/* ------------------------------------------------------ on a member's side */

static char *
string_of(WireBytes text)
{
	char *string = pnstrdup(text.data, text.size);

	pg_verifymbstr(string, (int) strlen(string), false);
	return string;
}

/* Asks the actor, as the role; returns its reply in the caller's context. */
static char *
ask_actor(const BroadcastMessage *broadcast, MemoryContext context)
{
	char *role_name = string_of(broadcast->role);
	char *actor = string_of(broadcast->actor);
	Oid role = get_role_oid(role_name, false);
	Oid types[3] = {TEXTOID, TEXTOID, INT8OID};
	Datum values[3] = {CStringGetTextDatum(actor), CStringGetTextDatum(string_of(broadcast->message)),
					   Int64GetDatum(broadcast->timeout_ms)};
	char nulls[4] = {' ', broadcast->is_null ? 'n' : ' ', ' ', '\0'};
	char *reply = NULL;
	char *type;

	role_enter(role, role, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	type = format_type_be_qualified(DatumGetObjectId(DirectFunctionCall1(regtypein, CStringGetDatum(string_of(broadcast->type)))));
	SPI_connect();
	if (SPI_execute_with_args(psprintf("SELECT dlog.ask(a, $2::%s, $3 * '1 ms'::interval) FROM dlog.whereis($1) AS a"
									   " WHERE a IS NOT NULL",
									   type),
							  3, types, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not ask actor \"%s\"", actor);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no actor named \"%s\" on this node", actor)));
	if (statement_column(0, 1) != NULL)
		reply = MemoryContextStrdup(context, statement_column(0, 1));
	SPI_finish();
	return reply;
}

static void
send_reply(const Message *question, uint64 request, const char *text, const ErrorData *error)
{
	bool is_too_long = text != NULL && strlen(text) > LONGEST_TEXT;
	BroadcastReplyMessage reply = {
		.request = request,
		.sqlstate = text_of(""),
		.error = text_of(""),
		.is_null = text == NULL,
		.reply = text_of(text == NULL || is_too_long ? "" : text),
	};
	Message *message;

	if (error != NULL)
	{
		reply.sqlstate = text_of(unpack_sql_state(error->sqlerrcode));
		reply.error = text_of(error->message == NULL ? "" : error->message);
		reply.error.size = (uint32) pg_mbcliplen(reply.error.data, (int) reply.error.size, LONGEST_TEXT);
	}
	else if (is_too_long)
	{
		reply.sqlstate = text_of("54000");
		reply.error = text_of(psprintf("the reply is longer than %d bytes", LONGEST_TEXT));
	}
	message = message_create(MESSAGE_BROADCAST_REPLY, broadcast_reply_size(&reply));
	broadcast_reply_write(message->payload, message->size, &reply);
	message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	(void) actor_send(question->from, message);
}

/*
 * Work handler: asks the actor, and sends back what it replies.
 */
static void
handle_broadcast(Message *message)
{
	MemoryContext context = CurrentMemoryContext;
	BroadcastMessage broadcast;
	ErrorData *volatile error = NULL;
	char *volatile reply = NULL;

	if (!broadcast_read(message->payload, message->size, &broadcast))
		return;
	PG_TRY();
	{
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		reply = ask_actor(&broadcast, context);
		role_leave();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		role_leave();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	send_reply(message, broadcast.request, reply, error);
}

/*
 * broadcast_init
 *		Called once, in the postmaster.
 */
void
broadcast_init(void)
{
	runtime_register_work(MESSAGE_BROADCAST, handle_broadcast);
}
