/*
 * stream.c
 *		The asking side of a stream: send the request, read what comes back.
 *
 * A stream lives in a memory context of its own under the one that was
 * current when it was opened, so that an error anywhere ends it: its actor
 * exits, and the executor, if it is known, is told to stop.  If it is not
 * known yet, its first word will come back to it, with the same effect.
 *
 * Chunks wait in a queue until their rows are read.  The executor may send as
 * many as it has credits; half of them are given back at a time.
 *
 * When the link's epoch ends, or the scheduler there is terminated, a request
 * that only reads and of which no row was delivered is sent again, by a new
 * actor: what may still come from the first attempt reaches nobody.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/stop_point.h"
#include "remote/remote_internal.h"

/* How often a request is sent before its loss is reported. */
#define MAX_ATTEMPTS 4

/* Ours is the message that a timeout should give; the other node's comes later. */
#define TIMEOUT_GRACE_MS 200

/* How long a wait lasts at most while another stream has unread news. */
#define RESTING_STREAM_MS 10

/* Rows to be put are gathered up to this size. */
#define COPY_RUN_SIZE (MESSAGE_MAX_PAYLOAD - 1024)

/* Text of the statement that an error's context shows. */
#define CONTEXT_TEXT_MAX 240

struct RemoteStream
{
	dlist_node link; /* of open_streams */
	MemoryContext context;
	MemoryContextCallback on_delete;
	uint32 node;
	const char *name; /* of the node */
	const char *text; /* shortened */
	RemoteKind kind;
	uint64 request_id;
	uint64 statement;		  /* see view.c */
	Participant *participant; /* NULL: the request runs alone */
	bool writes;
	int level;

	BoundActor *actor;
	MemoryContext actor_context;
	ActorAddress self;
	ActorAddress executor;
	uint32 epoch;
	Message *cancel; /* made in advance */

	StringInfoData body;
	uint32 statement_size;
	Size body_sent;
	uint32 input_credits;
	uint32 timeout_ms;
	TimestampTz deadline; /* 0: none */

	TupleDesc desc;
	char **column_types; /* names, if the request told no columns */
	const ColumnForm *forms;
	RowReader reader;
	bool has_reader;
	Message *chunks;
	Message **chunks_end;
	uint32 window;
	uint32 unacknowledged;

	/* REMOTE_COPY */
	RowFormat *copy_format;
	ColumnForm copy_form;
	MemoryContext copy_row_context;
	StringInfoData rows;

	bool is_open;	  /* in open_streams */
	bool awaits_link; /* the request has not been sent yet */
	LinkWait link_wait;
	bool is_started;
	bool is_ended;
	bool is_over_there; /* nothing is at work for us any more */
	bool has_moved;		/* since remote_next() returned REMOTE_PENDING */
	bool is_news_known; /* a wait has returned because it moved */
	bool is_delivered;	/* a row has been given away */
	ErrorData *error;
	char *tag;
	bool explains;
	StringInfoData plan; /* of the other node, if it was asked for */

	RemoteStats stats;
	uint64 opened_us;
	Activity *activity;
};

static dlist_head open_streams = DLIST_STATIC_INIT(open_streams);

static void stream_begin(RemoteStream *stream);
static bool stream_go_on(RemoteStream *stream);

/* --- the end of a stream ---------------------------------------------------- */

static void
stream_forget_chunks(RemoteStream *stream)
{
	while (stream->chunks != NULL)
	{
		Message *chunk = stream->chunks;

		stream->chunks = chunk->next;
		message_free(chunk);
	}
	stream->chunks_end = &stream->chunks;
	if (stream->has_reader)
		row_reader_end(&stream->reader);
}

/* The stream's memory goes away.  Nothing here can fail. */
static void
stream_deleted(void *argument)
{
	RemoteStream *stream = argument;

	if (!stream->is_open)
		return;
	stream->is_open = false;
	dlist_delete(&stream->link);
	link_unwatch();
	stream_forget_chunks(stream);
	if (stream->cancel != NULL)
	{
		if (stream->is_started && !stream->is_over_there)
		{
			stream->cancel->from = stream->self;
			(void) actor_send(stream->executor, stream->cancel);
		}
		else
			message_free(stream->cancel);
	}
	activity_end(stream->activity);
}

/*
 * remote_close
 *		End a stream.  What it has not sent yet is called off.
 */
void
remote_close(RemoteStream *stream)
{
	MemoryContextDelete(stream->context);
}

/*
 * This process exits.  Tell the other nodes while it still has its actors;
 * the end of its transaction comes too late for that.
 */
static void
asker_exit(int code, Datum argument)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &open_streams)
		stream_deleted(dlist_container(RemoteStream, link, iter.cur));
	participants_forget(true);
}

static void
asker_prepare(void)
{
	static bool is_prepared = false;

	runtime_require();
	process_attach();
	if (!is_prepared)
		before_shmem_exit(asker_exit, (Datum) 0);
	is_prepared = true;
}

/* --- errors ------------------------------------------------------------------- */

static void
stream_error_context(void *argument)
{
	RemoteStream *stream = argument;

	if (stream->kind == REMOTE_COPY)
		errcontext("rows for %s on node \"%s\"", stream->text, stream->name);
	else
		errcontext("remote statement on node \"%s\": %s", stream->name, stream->text);
}

static void
stream_throw(RemoteStream *stream, ErrorData *error)
{
	ErrorContextCallback callback = {error_context_stack, stream_error_context, stream};

	error_context_stack = &callback;
	ThrowErrorData(error);
	error_context_stack = callback.previous;
}

static void
stream_set_error(RemoteStream *stream, ErrorData *error)
{
	if (stream->error == NULL)
		stream->error = error;
	stream->is_ended = true;
	stream->has_moved = true;
}

/*
 * The node, or the way to it, was lost: try again, or remember the error.
 * Callers are in whatever memory context; the stream lives on in its own.
 */
static void
stream_lost(RemoteStream *stream, int sqlstate, const char *message, const char *detail)
{
	MemoryContext old;
	ErrorData *error;

	if (stream->is_ended)
		return;
	if (stream->participant == NULL && !stream->is_delivered &&
		stream->stats.attempts < MAX_ATTEMPTS)
	{
		old = MemoryContextSwitchTo(stream->context);
		stream_forget_chunks(stream);
		stream->has_moved = true;
		stream_begin(stream);
		MemoryContextSwitchTo(old);
		return;
	}
	stream->is_over_there = true;
	old = MemoryContextSwitchTo(stream->context);
	error = palloc0(sizeof(ErrorData));
	error->elevel = ERROR;
	error->sqlerrcode = sqlstate;
	error->message = psprintf(message, stream->name);
	error->detail = detail != NULL ? pstrdup(detail) : NULL;
	error->assoc_context = stream->context;
	MemoryContextSwitchTo(old);
	stream_set_error(stream, error);
}

/* --- messages ------------------------------------------------------------------ */

static void
stream_tell_credit(RemoteStream *stream)
{
	CreditMessage credit = {.messages = stream->unacknowledged};
	Message *message = remote_message(MESSAGE_CREDIT, credit_size(&credit));

	credit_write(message->payload, message->size, &credit);
	message->from = stream->self;
	stream->unacknowledged = 0;

	/* If it reaches nobody, the epoch tells. */
	(void) actor_send(stream->executor, message);
}

static void
handle_columns(RemoteStream *stream, const Message *message)
{
	ColumnsMessage columns;
	StringInfoData in;
	TupleDesc desc;
	char **types;

	if (!columns_read(message->payload, message->size, &columns))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed columns from node \"%s\"", stream->name)));
	in.data = (char *) columns.columns.data;
	in.len = in.maxlen = columns.columns.size;
	in.cursor = 0;
	desc = CreateTemplateTupleDesc(columns.count);
	types = palloc0(sizeof(char *) * Max(columns.count, 1));
	for (int i = 0; i < columns.count; i++)
	{
		int size = pq_getmsgint(&in, 4);
		char *name = pnstrdup(pq_getmsgbytes(&in, size), size);

		TupleDescInitEntry(desc, i + 1, name, TEXTOID, -1, 0);
		TupleDescInitEntryCollation(desc, i + 1, DEFAULT_COLLATION_OID);
		size = pq_getmsgint(&in, 4);
		types[i] = pnstrdup(pq_getmsgbytes(&in, size), size);
	}
	stream->desc = desc;
	stream->column_types = types;
}

static void
handle_end(RemoteStream *stream, const Message *message)
{
	EndMessage end;

	if (!end_read(message->payload, message->size, &end))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed end from node \"%s\"", stream->name)));
	stream->stats.affected = end.affected;
	stream->stats.ended = 1;
	stream->stats.queued_ms = end.queued_us / 1000.0;
	stream->stats.run_ms = end.run_us / 1000.0;
	stream->stats.stalled_ms = end.stalled_us / 1000.0;
	stream->stats.wire_ms = (end.arrived_us - stream->opened_us) / 1000.0 - end.there_us / 1000.0;
	stream->stats.wire_ms = Max(stream->stats.wire_ms, 0);
	stream->tag = wire_to_cstring(end.tag);
	stream->is_ended = true;
	stream->is_over_there = true;
}

static void
handle_plan(RemoteStream *stream, const Message *message)
{
	PlanMessage plan;

	if (!stream->explains || !plan_read(message->payload, message->size, &plan))
		return;
	if (stream->plan.data == NULL)
		initStringInfo(&stream->plan);
	appendBinaryStringInfo(&stream->plan, plan.text.data, plan.text.size);
}

static void
handle_failure(RemoteStream *stream, const Message *message)
{
	uint8 flags;
	ErrorData *error = failure_error(message, &flags);

	if (error->elevel < ERROR)
		stream_throw(stream, error);
	else if (flags & FAILURE_RETRYABLE)
		stream_lost(stream, ERRCODE_CONNECTION_FAILURE,
					"lost the statement on node \"%s\"", error->message);
	else
	{
		stream->is_over_there = true;
		stream_set_error(stream, error);
	}
}

/* No scheduler will ever take the request. */
static void
stream_set_no_database(RemoteStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(stream->context);
	ErrorData *error = palloc0(sizeof(ErrorData));

	error->elevel = ERROR;
	error->sqlerrcode = ERRCODE_CONNECTION_FAILURE;
	error->message = psprintf("node \"%s\" does not run dlog in database \"%s\"",
							  stream->name,
							  stream->node == THIS_NODE ?
								  get_database_name(MyDatabaseId) :
								  node_database(stream->node));
	error->assoc_context = stream->context;
	MemoryContextSwitchTo(old);
	stream->is_over_there = true;
	stream_set_error(stream, error);
}

static void
handle_undelivered(RemoteStream *stream, const Message *message)
{
	UndeliveredMessage undelivered;

	if (!undelivered_read(message->payload, message->size, &undelivered))
		return;
	if (undelivered.type == MESSAGE_REQUEST && undelivered.slot == 0 &&
		undelivered.reason == SEND_NO_ACTOR)
	{
		stream_set_no_database(stream);
		return;
	}

	/* A word to an executor that has just ended is none to worry about. */
	if (undelivered.type != MESSAGE_CREDIT)
		stream_lost(stream, ERRCODE_CONNECTION_FAILURE,
					"lost the statement on node \"%s\"",
					"The scheduler there has ended, or the link was down.");
}

/* Takes the message over. */
static void
stream_handle(RemoteStream *stream, Message *message)
{
	MemoryContext old = MemoryContextSwitchTo(stream->context);
	StartedMessage started;
	CreditMessage credit;

	stream->has_moved = true;
	switch (message->type)
	{
		case MESSAGE_STARTED:
			if (started_read(message->payload, message->size, &started))
			{
				stream->executor = message->from;
				stream->is_started = true;
				stream->input_credits += started.credits;
				activity_set(stream->activity, ACTIVITY_WAITS_FOR_ROWS, 0, 0);
			}
			break;
		case MESSAGE_CHUNK:
			if (stream->is_ended)
				break;
			*stream->chunks_end = message;
			message->next = NULL;
			stream->chunks_end = &message->next;
			stream->stats.chunks++;
			stream->stats.bytes += message->size;
			message = NULL;
			break;
		case MESSAGE_COLUMNS:
			handle_columns(stream, message);
			break;
		case MESSAGE_PLAN:
			handle_plan(stream, message);
			break;
		case MESSAGE_END:
			handle_end(stream, message);
			break;
		case MESSAGE_FAILURE:
			handle_failure(stream, message);
			break;
		case MESSAGE_CREDIT:
			if (credit_read(message->payload, message->size, &credit))
				stream->input_credits += credit.messages;
			break;
		case MESSAGE_UNDELIVERED:
			handle_undelivered(stream, message);
			break;
		case MESSAGE_DOWN:
			stream_lost(stream, ERRCODE_CONNECTION_FAILURE,
						"lost the statement on node \"%s\"",
						"The scheduler there could not answer; its node's log says why.");
			break;
		default:
			break;
	}
	if (message != NULL)
		message_free(message);
	MemoryContextSwitchTo(old);
}

/* Its time is over.  What is at work there is called off with the stream. */
static void
stream_set_overdue(RemoteStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(stream->context);
	ErrorData *error = palloc0(sizeof(ErrorData));

	error->elevel = ERROR;
	error->sqlerrcode = ERRCODE_QUERY_CANCELED;
	error->message = psprintf("node \"%s\" did not answer in time", stream->name);
	error->assoc_context = stream->context;
	MemoryContextSwitchTo(old);
	stream->error = error;
	stream->has_moved = true;
}

/* Take in what has come; true if there was anything. */
static bool
stream_pump(RemoteStream *stream)
{
	Message *message;
	bool moved = false;

	/* A retry replaces the actor. */
	while ((message = bound_actor_receive(stream->actor)) != NULL)
	{
		stream_handle(stream, message);
		moved = true;
	}
	if (stream->is_ended || stream->error != NULL)
		return moved;
	if (stream->deadline != 0 && GetCurrentTimestamp() >= stream->deadline)
	{
		stream_set_overdue(stream);
		return true;
	}
	if (stream->awaits_link)
		return stream_go_on(stream) || moved;
	if (stream->participant != NULL && !stream->is_started)
	{
		(void) participant_pump(stream->participant);
		if (participant_is_started(stream->participant))
		{
			stream->executor = participant_session(stream->participant);
			stream->is_started = true;
			stream->input_credits += INPUT_CREDITS;
			stream->has_moved = true;
			moved = true;
		}
		participant_check(stream->participant);
	}
	if (stream->node != THIS_NODE && link_epoch(stream->node) != stream->epoch)
	{
		stream_lost(stream, ERRCODE_CONNECTION_FAILURE,
					"lost the link to node \"%s\"", NULL);
		return true;
	}
	return stream_go_on(stream) || moved;
}

/* --- waiting ------------------------------------------------------------------- */

/*
 * remote_wait_until
 *		Wait until some stream has moved since it was last found pending, or
 *		until the deadline (0: none); false if that has passed.
 */
bool
remote_wait_until(TimestampTz deadline)
{
	uint64 since_us = clock_now_us();
	bool in_time = true;

	for (;;)
	{
		TimestampTz soonest = deadline;
		long timeout_ms = -1;
		bool moved = false;
		bool moved_before = false;
		ActivityWait waits = ACTIVITY_WAITS_FOR_ROWS;
		dlist_iter iter;

		CHECK_FOR_INTERRUPTS();
		dlist_foreach(iter, &open_streams)
		{
			RemoteStream *stream = dlist_container(RemoteStream, link, iter.cur);

			(void) stream_pump(stream);
			if (stream->has_moved)
			{
				if (stream->is_news_known)
					moved_before = true;
				else
					moved = stream->is_news_known = true;
			}
			if (stream->deadline != 0 && (soonest == 0 || stream->deadline < soonest))
				soonest = stream->deadline;
			if (stream->awaits_link)
				waits = ACTIVITY_WAITS_FOR_LINK;
			else if (!stream->is_started && !stream->is_ended)
				waits = ACTIVITY_WAITS_FOR_SCHEDULER;
			if (stream->awaits_link && (soonest == 0 || stream->link_wait.deadline < soonest))
				soonest = stream->link_wait.deadline;
		}
		if (moved)
			break;

		/*
		 * What has moved before and was not looked at since may belong to a
		 * portal that rests, while the caller waits for another stream.  It
		 * may be the caller's as well, so do not wait for long; but do not
		 * turn in circles.
		 */
		if (moved_before)
		{
			(void) runtime_wait(RESTING_STREAM_MS, activity_wait_event(waits));
			break;
		}
		if (soonest != 0)
		{
			TimestampTz now = GetCurrentTimestamp();

			if (deadline != 0 && now >= deadline)
			{
				in_time = false;
				break;
			}
			timeout_ms = TimestampDifferenceMilliseconds(now, soonest);
			timeout_ms = Max(timeout_ms, 1);
		}
		(void) runtime_wait_for_node(timeout_ms, activity_wait_event(waits));
	}

	since_us = clock_now_us() - since_us;
	if (!dlist_is_empty(&open_streams))
	{
		dlist_iter iter;

		dlist_foreach(iter, &open_streams)
		{
			RemoteStream *stream = dlist_container(RemoteStream, link, iter.cur);

			if (!stream->is_ended || stream->has_moved)
				stream->stats.waited_ms += since_us / 1000.0;
		}
	}
	return in_time;
}

void
remote_wait(void)
{
	(void) remote_wait_until(0);
}

/* --- opening ------------------------------------------------------------------- */

static uint64
next_request_id(void)
{
	static uint32 counter = 0;

	return ((uint64) MyProcPid << 32) | ++counter;
}

static RequestFlags
request_flags(RemoteStream *stream)
{
	int flags = stream->explains ? REQUEST_EXPLAIN : 0;

	if (execution_forwards())
		flags |= REQUEST_FORWARDED;
	if (stream->participant != NULL)
	{
		flags |= REQUEST_PINNED;
		if (stream->writes)
			flags |= REQUEST_WRITES;
		if (XactReadOnly)
			flags |= REQUEST_READ_ONLY;
		if (XactDeferrable)
			flags |= REQUEST_DEFERRABLE;
		if (XactIsoLevel == XACT_REPEATABLE_READ)
			flags |= REQUEST_REPEATABLE_READ;
		if (XactIsoLevel == XACT_SERIALIZABLE)
			flags |= REQUEST_SERIALIZABLE;
	}
	return flags;
}

static Message *
request_message(RemoteStream *stream)
{
	RequestMessage request = {0};
	Message *message;
	Size room;

	request.arrived_us = clock_now_us();
	request.request_id = stream->request_id;
	request.flags = request_flags(stream);
	request.level = stream->participant != NULL ? stream->level : 1;
	if (stream->participant != NULL)
	{
		ActorAddress transaction = participant_address(stream->participant);

		request.transaction_slot = transaction.slot;
		request.transaction_incarnation = transaction.incarnation;
	}
	request.credits = stream->window;
	request.timeout_ms = stream->timeout_ms;
	request.query_id = pgstat_get_my_query_id();
	request.statement = stream->statement;
	if (stream->participant != NULL)
		request.statements = view_statements();
	request.asker_pid = MyProcPid;
	request.statement_size = stream->statement_size;
	request.body_size = stream->body.len;
	request.asker.data = node_this_name();
	request.asker.size = strlen(request.asker.data);

	room = MESSAGE_MAX_PAYLOAD - request_size(&request);
	request.body.data = stream->body.data;
	request.body.size = Min(room, stream->body.len);
	stream->body_sent = request.body.size;

	message = remote_message(MESSAGE_REQUEST, request_size(&request));
	request_write(message->payload, message->size, &request);
	return message;
}

/*
 * Send more of a request that does not fit into one message, as far as the
 * credits go.  Returns whether anything was sent.
 */
static bool
send_more_of_body(RemoteStream *stream)
{
	bool moved = false;

	while (stream->body_sent < stream->body.len && stream->is_started &&
		   stream->input_credits > 0)
	{
		RequestMoreMessage more;
		Message *message;
		Size empty;

		STOP_POINT("stream-body");
		more.body.size = 0;
		empty = request_more_size(&more);
		more.body.data = stream->body.data + stream->body_sent;
		more.body.size = Min(MESSAGE_MAX_PAYLOAD - empty,
							 stream->body.len - stream->body_sent);
		message = remote_message(MESSAGE_REQUEST_MORE, request_more_size(&more));
		request_more_write(message->payload, message->size, &more);
		message->from = stream->self;
		stream->input_credits--;
		stream->body_sent += more.body.size;
		moved = true;

		/* If it reaches nobody, that is told, or the epoch tells. */
		(void) actor_send(stream->executor, message);
	}
	return moved;
}

/* The request's way to the other node: its session there, or any scheduler. */
static ActorAddress
stream_target(RemoteStream *stream)
{
	Participant *participant = stream->participant;

	if (participant != NULL && participant_is_begun(participant))
	{
		participant_prepare(participant);
		return participant_session(participant);
	}
	return database_address(stream->node,
							stream->node == THIS_NODE ?
								get_database_name(MyDatabaseId) :
								node_database(stream->node));
}

/* The link is up: send the request. */
static void
send_request(RemoteStream *stream)
{
	ActorAddress target = stream_target(stream);
	Message *message;
	SendResult result;

	stream->awaits_link = false;
	activity_set(stream->activity, ACTIVITY_WAITS_FOR_SCHEDULER, 0, 0);
	if (stream->node != THIS_NODE)
		stream->epoch = link_epoch(stream->node);
	message = request_message(stream);
	message->from = stream->self;
	result = actor_send(target, message);
	if (stream->participant != NULL)
		participant_sent(stream->participant, stream->writes, stream->level);
	if (result == SEND_NODE_DOWN)
		stream_lost(stream, ERRCODE_CONNECTION_FAILURE,
					"lost the link to node \"%s\"", NULL);
	else if (result != SEND_OK)
		stream_set_no_database(stream);
}

/*
 * Go on with sending the request, as far as it goes without waiting.  Returns
 * whether there was anything to do.
 */
static bool
stream_go_on(RemoteStream *stream)
{
	MemoryContext old;
	ErrorData *error;
	LinkPoll poll;

	if (!stream->awaits_link)
		return send_more_of_body(stream);

	old = MemoryContextSwitchTo(stream->context);
	poll = link_poll(&stream->link_wait, &error);
	MemoryContextSwitchTo(old);
	switch (poll)
	{
		case LINK_POLL_UP:
			send_request(stream);
			return true;
		case LINK_POLL_FAILED:
			stream->is_over_there = true;
			stream_set_error(stream, error);
			return true;
		case LINK_POLL_PENDING:
			break;
	}
	return false;
}

/* Begin an attempt: ask for the link, and send the request if it is up. */
static void
stream_begin(RemoteStream *stream)
{
	stream->is_started = false;
	stream->is_ended = false;
	stream->is_over_there = false;
	stream->input_credits = 0;
	stream->unacknowledged = 0;
	stream->body_sent = 0;
	stream->stats.attempts++;
	stream->stats.chunks = stream->stats.bytes = 0;
	if (stream->has_reader && stream->forms != NULL)
		row_reader_init(&stream->reader, stream->desc, stream->reader.format);
	else
	{
		stream->has_reader = false;
		if (stream->forms == NULL)
			stream->desc = NULL;
	}

	/* What comes from an earlier attempt reaches nobody. */
	if (stream->actor_context != NULL)
		MemoryContextDelete(stream->actor_context);
	stream->actor_context = AllocSetContextCreate(stream->context, "dlog stream actor",
												  ALLOCSET_SMALL_SIZES);
	stream->actor = bound_actor_spawn(stream->actor_context, "remote stream");
	stream->self = bound_actor_address(stream->actor);

	activity_set(stream->activity, ACTIVITY_WAITS_FOR_LINK, 0, 0);
	stream->awaits_link = true;
	link_await(&stream->link_wait, stream->node);
	(void) stream_go_on(stream);
}

static const char *
shortened(const char *text)
{
	int length = strlen(text);
	int clipped = pg_mbcliplen(text, length, CONTEXT_TEXT_MAX);

	return clipped == length ? pstrdup(text) : psprintf("%.*s...", clipped, text);
}

/* The time that is left, for the other node's backstop and for us. */
static void
stream_set_deadline(RemoteStream *stream, int timeout_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	stream->timeout_ms = 0;
	if (timeout_ms > 0)
	{
		stream->deadline = TimestampTzPlusMilliseconds(now, timeout_ms);
		stream->timeout_ms = timeout_ms + TIMEOUT_GRACE_MS;
	}
	if (get_timeout_active(STATEMENT_TIMEOUT))
	{
		long left_ms = TimestampDifferenceMilliseconds(now,
													   get_timeout_finish_time(STATEMENT_TIMEOUT));

		left_ms += TIMEOUT_GRACE_MS;
		if (stream->timeout_ms == 0 || left_ms < stream->timeout_ms)
			stream->timeout_ms = left_ms;
	}
}

/* COPY's format is binary unless one of the columns cannot be. */
static ColumnForm
copy_form(TupleDesc desc)
{
	if (desc == NULL)
		return COLUMN_TEXT;
	for (int i = 0; i < desc->natts; i++)
	{
		if (type_form(TupleDescAttr(desc, i)->atttypid) != COLUMN_BINARY)
			return COLUMN_TEXT;
	}
	return COLUMN_BINARY;
}

static void
stream_prepare_copy(RemoteStream *stream, TupleDesc desc)
{
	MemoryContext old = MemoryContextSwitchTo(stream->context);
	ColumnForm *forms = palloc(sizeof(ColumnForm) * Max(desc->natts, 1));

	for (int i = 0; i < desc->natts; i++)
		forms[i] = stream->copy_form;
	stream->copy_format = row_format_for_writing(desc, forms);
	stream->copy_row_context = AllocSetContextCreate(stream->context, "dlog row out",
													 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
}

static void
stream_prepare_rows(RemoteStream *stream, const RemoteRequest *request)
{
	ColumnForm *forms;

	if (request->result_desc == NULL)
		return;
	stream->desc = CreateTupleDescCopy(request->result_desc);
	forms = palloc(sizeof(ColumnForm) * Max(stream->desc->natts, 1));
	for (int i = 0; i < stream->desc->natts; i++)
		forms[i] = type_form(TupleDescAttr(stream->desc, i)->atttypid);
	stream->forms = forms;
	row_reader_init(&stream->reader, stream->desc,
					row_format_for_reading(stream->desc, forms));
	stream->has_reader = true;
}

/*
 * remote_open
 *		Start a statement on another node.
 *
 * Waits for nothing, not even for the link: what fails is found out when the
 * stream is read.  The stream ends with the current memory context, or by remote_close().
 */
RemoteStream *
remote_open(uint32 node, const RemoteRequest *request)
{
	MemoryContext context;
	MemoryContext old;
	RemoteStream *stream;
	CancelMessage cancel = {0};

	asker_prepare();
	context = AllocSetContextCreate(CurrentMemoryContext, "dlog stream",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	stream = palloc0(sizeof(RemoteStream));
	stream->context = context;
	stream->node = node;
	stream->name = pstrdup(node == THIS_NODE ? node_this_name() : node_name(node));
	stream->kind = request->kind;
	stream->text = request->kind == REMOTE_COPY ?
					   psprintf("%s.%s", request->copy_schema, request->copy_table) :
					   shortened(request->sql);
	stream->request_id = next_request_id();
	stream->explains = request->explains;
	stream->writes = request->writes || request->kind == REMOTE_COPY;
	stream->level = GetCurrentTransactionNestLevel();
	stream->window = dlog_stream_credits;
	stream->chunks_end = &stream->chunks;
	stream->opened_us = clock_now_us();
	if (participant_is_needed(node, request))
	{
		stream->participant = participant_get(node);
		stream->statement = view_number(request->estate);
	}
	stream_set_deadline(stream, request->timeout_ms);

	if (request->kind == REMOTE_COPY)
	{
		stream->copy_form = copy_form(request->result_desc);
		initStringInfo(&stream->rows);
	}
	else
		stream_prepare_rows(stream, request);
	initStringInfo(&stream->body);
	statement_write(&stream->body, request, stream->participant != NULL,
					stream->forms, stream->copy_form);
	stream->statement_size = stream->body.len;
	run_write(&stream->body, request);

	/* From here on there is something to give back. */
	link_watch();
	dlist_push_tail(&open_streams, &stream->link);
	stream->is_open = true;
	stream->on_delete.func = stream_deleted;
	stream->on_delete.arg = stream;
	MemoryContextRegisterResetCallback(context, &stream->on_delete);
	stream->cancel = remote_message(MESSAGE_CANCEL, cancel_size(&cancel));
	cancel_write(stream->cancel->payload, stream->cancel->size, &cancel);

	/* What runs alone is to stop; a transaction may want its other statements. */
	if (stream->participant == NULL)
		stream->cancel->flags |= MESSAGE_URGENT;
	stream->activity = activity_begin(ACTIVITY_ASKER, node, stream->name,
									  stream->request_id, stream->text);

	stream_begin(stream);
	MemoryContextSwitchTo(old);
	return stream;
}

/* --- reading ------------------------------------------------------------------- */

/* Let the reader have the next chunk; false if there is none. */
static bool
stream_feed(RemoteStream *stream)
{
	Message *chunk = stream->chunks;

	if (chunk == NULL)
		return false;
	if (!stream->has_reader)
	{
		MemoryContext old = MemoryContextSwitchTo(stream->context);
		ColumnForm *forms;

		if (stream->desc == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("rows without columns from node \"%s\"", stream->name)));
		forms = palloc(sizeof(ColumnForm) * Max(stream->desc->natts, 1));
		for (int i = 0; i < stream->desc->natts; i++)
			forms[i] = COLUMN_TEXT;
		row_reader_init(&stream->reader, stream->desc,
						row_format_for_reading(stream->desc, forms));
		stream->has_reader = true;
		MemoryContextSwitchTo(old);
	}

	stream->chunks = chunk->next;
	if (stream->chunks == NULL)
		stream->chunks_end = &stream->chunks;
	row_reader_feed(&stream->reader, chunk);
	stream->unacknowledged++;
	if (!stream->is_ended && stream->unacknowledged >= Max(stream->window / 2, 1))
		stream_tell_credit(stream);
	return true;
}

/* Rows' receive functions speak the client's encoding otherwise. */
static bool
stream_read_row(RemoteStream *stream, TupleTableSlot *slot)
{
	int previous;
	volatile bool has_row = false;

	if (!stream->has_reader)
		return false;
	if (stream->reader.raw ||
		pg_get_client_encoding() == GetDatabaseEncoding())
		return row_reader_next(&stream->reader, slot);
	previous = encoding_enter(GetDatabaseEncoding());
	PG_TRY();
	{
		has_row = row_reader_next(&stream->reader, slot);
	}
	PG_FINALLY();
	{
		encoding_leave(previous);
	}
	PG_END_TRY();
	return has_row;
}

/*
 * remote_next_or_error
 *		As remote_next(), but an error of the other node is returned.
 *
 * It is in the stream's memory, and the stream is at its end.
 */
RemoteStatus
remote_next_or_error(RemoteStream *stream, TupleTableSlot *slot, ErrorData **error)
{
	if (slot != NULL)
		ExecClearTuple(slot);
	for (;;)
	{
		if (stream->error != NULL)
		{
			*error = stream->error;
			return REMOTE_FAILED;
		}
		if (slot != NULL && stream_read_row(stream, slot))
		{
			stream->is_delivered = true;
			stream->stats.rows++;
			return REMOTE_ROW;
		}
		if (stream_feed(stream))
		{
			if (slot == NULL)
				stream->reader.left = 0; /* rows that nobody wants */
			continue;
		}
		if (stream->is_ended)
		{
			if (slot != NULL && stream->has_reader &&
				row_reader_in_midrow(&stream->reader))
				ereport(ERROR,
						(errcode(ERRCODE_PROTOCOL_VIOLATION),
						 errmsg("half a row from node \"%s\"", stream->name)));
			activity_set(stream->activity, ACTIVITY_RUNS, stream->stats.rows,
						 stream->stats.bytes);
			return REMOTE_DONE;
		}
		if (stream_pump(stream))
			continue;
		activity_set(stream->activity,
					 stream->is_started ? ACTIVITY_WAITS_FOR_ROWS :
										  ACTIVITY_WAITS_FOR_SCHEDULER,
					 stream->stats.rows, stream->stats.bytes);
		stream->has_moved = stream->is_news_known = false;
		return REMOTE_PENDING;
	}
}

/*
 * remote_next
 *		The next row of a stream, if it is here.
 *
 * The row stays valid until the next call for this stream.  An error of the
 * other node is raised.
 */
RemoteStatus
remote_next(RemoteStream *stream, TupleTableSlot *slot)
{
	ErrorData *error = NULL;
	RemoteStatus status = remote_next_or_error(stream, slot, &error);

	if (status == REMOTE_FAILED)
		stream_throw(stream, error);
	return status;
}

/*
 * remote_stats_add
 *		Add what a stream can tell to what others have told.
 *
 * The times are known once its end has come, read or not.
 */
void
remote_stats_add(RemoteStream *stream, RemoteStats *sum)
{
	const RemoteStats *stats = &stream->stats;

	if (!stream->is_ended && stream->error == NULL)
		(void) stream_pump(stream);
	sum->rows += stats->rows;
	sum->bytes += stats->bytes;
	sum->chunks += stats->chunks;
	sum->affected += stats->affected;
	sum->ended += stats->ended;
	sum->queued_ms += stats->queued_ms;
	sum->run_ms += stats->run_ms;
	sum->stalled_ms += stats->stalled_ms;
	sum->wire_ms += stats->wire_ms;
	sum->waited_ms += stats->waited_ms;
	sum->attempts += stats->attempts;
}

/*
 * remote_plan
 *		How the other node ran the statement, as lines of EXPLAIN ANALYZE; once
 *		the stream is done, and NULL if the request did not ask for it.
 */
const char *
remote_plan(RemoteStream *stream)
{
	return stream->plan.data;
}

/*
 * remote_columns
 *		The columns of a request that told none, all of type text, and (if
 *		types is not NULL) the names of their types over there.
 *
 * Waits until they are known.  NULL if the statement returns no rows.
 */
TupleDesc
remote_columns(RemoteStream *stream, char ***types)
{
	while (stream->desc == NULL && !stream->is_ended && stream->error == NULL)
	{
		if (stream_pump(stream))
			continue;
		stream->has_moved = stream->is_news_known = false;
		remote_wait();
	}
	if (stream->error != NULL)
		stream_throw(stream, stream->error);
	if (types != NULL)
		*types = stream->column_types;
	return stream->desc;
}

/* The command's completion, such as "CREATE TABLE", once the stream is done. */
const char *
remote_command_tag(RemoteStream *stream)
{
	return stream->tag != NULL ? stream->tag : "";
}

/* --- putting rows ---------------------------------------------------------------- */

/* Send "size" of the rows gathered, as one or more messages. */
static void
send_input(RemoteStream *stream, Size size, uint8 last_flags)
{
	const char *at = stream->rows.data;
	Size left = size;

	do
	{
		InputMessage input = {0};
		Size room = MESSAGE_MAX_PAYLOAD - input_size(&input);
		Message *message;

		while (!stream->is_started || stream->input_credits == 0 ||
			   stream->body_sent < stream->body.len)
		{
			if (stream->error != NULL)
				stream_throw(stream, stream->error);
			if (stream_pump(stream))
				continue;
			stream->has_moved = stream->is_news_known = false;
			remote_wait();
		}
		if (stream->error != NULL)
			stream_throw(stream, stream->error);

		input.bytes.data = at;
		input.bytes.size = Min(left, room);
		left -= input.bytes.size;
		at += input.bytes.size;
		input.flags = left == 0 ? last_flags : 0;
		message = remote_message(MESSAGE_INPUT, input_size(&input));
		input_write(message->payload, message->size, &input);
		message->from = stream->self;
		stream->input_credits--;
		stream->stats.bytes += input.bytes.size;
		stream->stats.chunks++;
		if (actor_send(stream->executor, message) != SEND_OK)
		{
			/* It has failed, and said so, or is gone. */
			(void) stream_pump(stream);
			if (stream->error == NULL)
				stream_lost(stream, ERRCODE_CONNECTION_FAILURE,
							"lost the link to node \"%s\"", NULL);
			stream_throw(stream, stream->error);
		}
	} while (left > 0);
}

/* COPY's text format: tab between columns, backslash before what would confuse. */
static void
append_copy_text(StringInfo out, RowFormat *format, TupleTableSlot *slot)
{
	int nest_level = format->has_fixed_rules ? text_rules_begin() : 0;

	slot_getallattrs(slot);
	for (int i = 0; i < format->n_columns; i++)
	{
		const char *at;

		if (i > 0)
			appendStringInfoCharMacro(out, '\t');
		if (slot->tts_isnull[i])
		{
			appendStringInfoString(out, "\\N");
			continue;
		}
		at = OutputFunctionCall(&format->functions[i], slot->tts_values[i]);
		for (; *at != '\0'; at++)
		{
			switch (*at)
			{
				case '\\':
					appendStringInfoString(out, "\\\\");
					break;
				case '\n':
					appendStringInfoString(out, "\\n");
					break;
				case '\r':
					appendStringInfoString(out, "\\r");
					break;
				case '\t':
					appendStringInfoString(out, "\\t");
					break;
				default:
					appendStringInfoCharMacro(out, *at);
					break;
			}
		}
	}
	appendStringInfoCharMacro(out, '\n');
	if (format->has_fixed_rules)
		text_rules_end(nest_level);
}

static void
append_copy_row(RemoteStream *stream, TupleTableSlot *slot)
{
	if (stream->copy_form == COLUMN_BINARY)
	{
		pq_sendint16(&stream->rows, stream->copy_format->n_columns);
		row_format_append(stream->copy_format, &stream->rows, slot);
	}
	else
		append_copy_text(&stream->rows, stream->copy_format, slot);
}

/*
 * remote_put
 *		Add a row to a REMOTE_COPY.  Waits when the other node is behind.
 */
void
remote_put(RemoteStream *stream, TupleTableSlot *slot)
{
	MemoryContext old;
	int previous;

	if (stream->copy_format == NULL)
		stream_prepare_copy(stream, slot->tts_tupleDescriptor);
	old = MemoryContextSwitchTo(stream->copy_row_context);
	previous = encoding_enter(GetDatabaseEncoding());
	PG_TRY();
	{
		append_copy_row(stream, slot);
	}
	PG_FINALLY();
	{
		encoding_leave(previous);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextReset(stream->copy_row_context);
	stream->stats.rows++;

	if (stream->rows.len >= COPY_RUN_SIZE)
	{
		send_input(stream, stream->rows.len, INPUT_LAST_OF_RUN);
		resetStringInfo(&stream->rows);
	}
}

/*
 * remote_finish
 *		All rows have been put: wait until they are in the table.
 */
uint64
remote_finish(RemoteStream *stream)
{
	ErrorData *error;

	send_input(stream, stream->rows.len, INPUT_LAST_OF_RUN | INPUT_LAST);
	for (;;)
	{
		switch (remote_next_or_error(stream, NULL, &error))
		{
			case REMOTE_FAILED:
				stream_throw(stream, error);
				break;
			case REMOTE_DONE:
				return stream->stats.affected;
			default:
				remote_wait();
				break;
		}
	}
}

/* --- all at once ----------------------------------------------------------------- */

/*
 * remote_run
 *		Run a statement to its end; rows it may return are thrown away.
 */
uint64
remote_run(uint32 node, const RemoteRequest *request)
{
	RemoteStream *stream = remote_open(node, request);
	uint64 affected;

	while (remote_next(stream, NULL) != REMOTE_DONE)
		remote_wait();
	affected = stream->stats.affected;
	remote_close(stream);
	return affected;
}

/*
 * remote_run_text
 *		Run a statement that returns one value of type text, or none (NULL).
 */
char *
remote_run_text(uint32 node, const RemoteRequest *request)
{
	RemoteStream *stream = remote_open(node, request);
	TupleDesc desc = remote_columns(stream, NULL);
	char *result = NULL;

	if (desc != NULL && desc->natts > 0)
	{
		MemoryContext context = CurrentMemoryContext;
		TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
		RemoteStatus status;

		while ((status = remote_next(stream, slot)) != REMOTE_DONE)
		{
			if (status == REMOTE_PENDING)
				remote_wait();
			else if (result == NULL)
			{
				bool is_null;
				Datum value = slot_getattr(slot, 1, &is_null);

				MemoryContextSwitchTo(context);
				if (!is_null)
					result = TextDatumGetCString(value);
			}
		}
		ExecDropSingleTupleTableSlot(slot);
	}
	else
	{
		while (remote_next(stream, NULL) != REMOTE_DONE)
			remote_wait();
	}
	remote_close(stream);
	return result;
}
