/*
 * ask.c
 *		One question to many nodes at once.
 *
 * All other nodes are asked first; then this node's own answer is made in the
 * asking session (own.c), which sees what its transaction has done; then the
 * others' answers are taken as they arrive.  Where there is nothing that only
 * the session could see, this node is asked like any other, so that its part
 * keeps nobody waiting.  An *attempt* is one request to one node.
 * One that fails because the connection does is repeated, when retries are
 * left, after a pause that doubles.  Its stream is closed and its rows are
 * forgotten before that, so that nothing of an answer is counted twice.
 *
 * The timeout is one deadline for all nodes, retries included.  It travels,
 * so that a node that cannot hear us any more stops by itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "deploy/deploy_internal.h"
#include "remote/remote.h"

#define FIRST_PAUSE_MS 50
#define LONGEST_PAUSE_MS 1000

typedef enum AskState
{
	ASK_PAUSED,	 /* before an attempt, the first one too; next: RUNNING */
	ASK_OWN,	 /* our own part, to be made by the session; next: READY */
	ASK_RUNNING, /* a stream is open; next: PAUSED, READY */
	ASK_READY,	 /* its answer waits to be taken; next: DONE */
	ASK_DONE	 /* its answer has been taken */
} AskState;

/* One of the nodes that are asked. */
typedef struct Asked
{
	AskState state;
	uint32 node;
	TimestampTz paused_until;
	int pause_ms;
	RemoteStream *stream;
	TupleTableSlot *slot;
	MemoryContext context; /* of the answer; reset before another attempt */
	uint64 asked_us;	   /* when the first attempt began */
	slist_node ready;	   /* of Asking.ready, if READY */
	NodeAnswer answer;
} Asked;

struct Asking
{
	const Question *question;
	MemoryContext context; /* of all this, streams included */
	RemoteRequest request;
	TimestampTz deadline; /* DT_NOEND: none */
	int n_open;			  /* not yet ready */
	Asked *own;			  /* if it is the session's to make, and not made */
	Asked *taken;		  /* the answer that was given out last */
	slist_head ready;	  /* newest first */
	bool has_failed;	  /* an answer was an error */
	bool answers_waited;  /* while our own part ran, so that when they came is
						   * not known */
	int n_asked;
	Asked asked[FLEXIBLE_ARRAY_MEMBER];
};

static void request_make(Asking *asking);
static void answers_take(Asking *asking);
static void attempt_begin(Asking *asking, Asked *asked);
static void attempt_continue(Asking *asking, Asked *asked);
static void attempt_failed(Asking *asking, Asked *asked, ErrorData *error);
static void attempt_end(Asked *asked);
static void asked_done(Asking *asking, Asked *asked, ErrorData *error);
static void error_add_hint(const Question *question, ErrorData *error);
static void wait_for_answers(Asking *asking);

/*
 * asking_begin
 *		Ask all these nodes: indexes into the node table, THIS_NODE for our own.
 *
 * Waits for nothing.  The streams end with the current memory context, or by
 * asking_end(); both call off what is still at work.
 */
Asking *
asking_begin(const Question *question, List *nodes)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dlog asking",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Asking *asking = palloc0(offsetof(Asking, asked) + sizeof(Asked) * list_length(nodes));

	asking->question = question;
	asking->context = context;
	asking->n_asked = asking->n_open = list_length(nodes);
	asking->deadline = question->timeout_ms == 0 ? DT_NOEND : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), question->timeout_ms);
	request_make(asking);

	for (int i = 0; i < asking->n_asked; i++)
	{
		Asked *asked = &asking->asked[i];

		asked->node = list_nth_int(nodes, i);
		asked->context = AllocSetContextCreate(context, "dlog answer",
											   ALLOCSET_SMALL_SIZES);
		asked->pause_ms = FIRST_PAUSE_MS;
		asked->asked_us = clock_now_us();
		asked->answer.place = i;
		asked->answer.node = asked->node == THIS_NODE ? node_this_name() : node_name(asked->node);
		if (asked->node == THIS_NODE && !question->own_apart)
		{
			asked->state = ASK_OWN;
			asking->own = asked;
		}
		else
			attempt_begin(asking, asked);
	}
	MemoryContextSwitchTo(old);
	return asking;
}

/* What was given out last is not needed any more. */
static void
taken_release(Asking *asking)
{
	Asked *asked = asking->taken;

	asking->taken = NULL;
	if (asked == NULL)
		return;
	asked->state = ASK_DONE;
	attempt_end(asked); /* an error was the stream's */
	MemoryContextReset(asked->context);
}

/*
 * asking_next
 *		The next answer, as they arrive; NULL when there are no more.
 *
 * It stays until the next call.
 */
const NodeAnswer *
asking_next(Asking *asking)
{
	MemoryContext old = MemoryContextSwitchTo(asking->context);

	taken_release(asking);
	for (;;)
	{
		answers_take(asking);
		if (!slist_is_empty(&asking->ready))
		{
			asking->taken = slist_container(Asked, ready, slist_pop_head_node(&asking->ready));
			break;
		}
		if (asking->n_open == 0)
			break;
		if (asking->own != NULL)
		{
			Asked *own = asking->own;

			asking->own = NULL;
			own->answer.attempts = 1;
			asked_done(asking, own,
					   own_answer(asking->question, asking->deadline, own->context, &own->answer.answer));
			asking->answers_waited = true;
			continue;
		}
		asking->answers_waited = false;
		wait_for_answers(asking);
	}
	MemoryContextSwitchTo(old);
	return asking->taken ? &asking->taken->answer : NULL;
}

/*
 * asking_end
 *		Nobody wants the rest: whoever is still at work stops.
 */
void
asking_end(Asking *asking)
{
	MemoryContextDelete(asking->context);
}

static void
ask_all(const Question *question, List *nodes, AnswerReceiver receiver,
		void *state, bool *has_failed)
{
	Asking *asking = asking_begin(question, nodes);
	const NodeAnswer *answer;

	while ((answer = asking_next(asking)) != NULL)
		receiver(state, answer);
	*has_failed = asking->has_failed;
	asking_end(asking);
}

/*
 * question_ask
 *		Ask all these nodes, and give each one's answer to the receiver.
 *
 * "nodes" holds indexes into the node table, THIS_NODE for our own.
 *
 * A transaction that has written on a node goes on there in this question.
 * An error would then end it there, though here it is but an answer; so a
 * question whose errors are answers has a subtransaction of its own, which is
 * rolled back on all nodes if there was an error.  It has only read.
 */
void
question_ask(const Question *question, List *nodes, AnswerReceiver receiver,
			 void *state)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool has_failed = false;

	if (question->fail)
	{
		ask_all(question, nodes, receiver, state, &has_failed);
		return;
	}

	Assert(!question->writes);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		ask_all(question, nodes, receiver, state, &has_failed);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		ReThrowError(error);
	}
	PG_END_TRY();

	if (has_failed)
		RollbackAndReleaseCurrentSubTransaction();
	else
		ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/*
 * answers_take
 *		Move each node on as far as it goes without waiting.
 */
static void
answers_take(Asking *asking)
{
	TimestampTz now = GetCurrentTimestamp();

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < asking->n_asked; i++)
	{
		Asked *asked = &asking->asked[i];

		if (asked->state >= ASK_READY || asked->state == ASK_OWN)
			continue;
		if (asked->state == ASK_PAUSED && asked->paused_until <= now)
			attempt_begin(asking, asked);
		if (asked->state == ASK_RUNNING)
			attempt_continue(asking, asked);
		if (asked->state < ASK_READY && asking->deadline <= now)
			asked_done(asking, asked,
					   timeout_error(asking->question, asked->answer.node));
	}
}

/*
 * error_text
 *		An error as one text: what happened, and what else was said about it.
 */
char *
error_text(const ErrorData *error)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, error->message ? error->message : "unknown error");
	if (error->detail)
		appendStringInfo(&text, "\nDETAIL:  %s", error->detail);
	if (error->hint)
		appendStringInfo(&text, "\nHINT:  %s", error->hint);
	return text.data;
}

/*
 * request_make
 *		What is sent to each node: a call of dlog.deploy_answer() there.
 *
 * The query stands in it as a literal, so that the activity views over there
 * show it; its arguments are bound.
 */
static void
request_make(Asking *asking)
{
	const Question *question = asking->question;
	RemoteRequest *request = &asking->request;
	TupleDesc desc = CreateTemplateTupleDesc(2);
	StringInfoData sql;

	TupleDescInitEntry(desc, 1, "result", question->type, -1, 0);
	TupleDescInitEntry(desc, 2, "rows", INT8OID, -1, 0);

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT result, rows FROM dlog.deploy_answer(%s, NULL::%s, %s, %s",
					 quote_literal_cstr(question->query),
					 format_type_extended(question->type, -1, FORMAT_TYPE_FORCE_QUALIFY),
					 quote_literal_cstr(answer_form_name(question->form)),
					 question->writes ? "true" : "false");
	for (int i = 0; i < question->arguments.count; i++)
		appendStringInfo(&sql, ", $%d", i + 1);
	appendStringInfoChar(&sql, ')');

	request->kind = REMOTE_QUERY;
	request->sql = sql.data;
	request->n_params = question->arguments.count;
	request->param_types = question->arguments.types;
	request->param_values = question->arguments.values;
	request->param_nulls = question->arguments.nulls;
	request->writes = question->writes;
	request->any_search_path = true;
	request->result_desc = desc;
}

/*
 * node_unreachable
 *		Why there is no use in asking a node: it is unknown, or has been found
 *		dead by the others and nobody has reached it since.  NULL if there is.
 */
ErrorData *
node_unreachable(uint32 node, const char *name)
{
	MemberView view;
	ErrorData *error;

	if (node == THIS_NODE)
		return NULL;
	if (node != NODE_NOT_FOUND &&
		((link_state(node) != LINK_DOWN && link_state(node) != LINK_REFUSED) ||
		 !transport_member(node, &view) || view.state != MEMBER_DEAD || view.incarnation == 0))
		return NULL;

	error = palloc0(sizeof(ErrorData));
	error->elevel = ERROR;
	error->sqlerrcode = ERRCODE_CONNECTION_FAILURE;
	error->assoc_context = CurrentMemoryContext;
	if (node == NODE_NOT_FOUND)
	{
		error->message = psprintf("node \"%s\" is not known to node \"%s\"", name, node_this_name());
		return error;
	}
	error->message = psprintf("node \"%s\" is dead", name);
	error->detail = psprintf("Since %s: %s.", timestamptz_to_str(view.since), view.why);
	return error;
}

static void
attempt_begin(Asking *asking, Asked *asked)
{
	ErrorData *error;

	if (asking->deadline != DT_NOEND)
		asking->request.timeout_ms =
			Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), asking->deadline));

	MemoryContextReset(asked->context);
	memset(&asked->answer.answer, 0, sizeof(Answer));
	asked->answer.attempts++;
	error = node_unreachable(asked->node, asked->answer.node);
	if (error != NULL)
	{
		attempt_failed(asking, asked, error);
		return;
	}
	asked->state = ASK_RUNNING;
	asked->slot = MakeSingleTupleTableSlot(asking->request.result_desc, &TTSOpsMinimalTuple);
	asked->stream = remote_open(asked->node, &asking->request);
}

/*
 * attempt_continue
 *		Take what has arrived.
 */
static void
attempt_continue(Asking *asking, Asked *asked)
{
	Answer *answer = &asked->answer.answer;
	ErrorData *error = NULL;
	int16 length;
	bool by_value;

	get_typlenbyval(asking->question->type, &length, &by_value);
	for (;;)
	{
		RemoteStatus status = remote_next_or_error(asked->stream, asked->slot, &error);
		bool is_null;
		Datum value;
		MemoryContext context;

		if (status == REMOTE_PENDING)
			return;
		if (status == REMOTE_FAILED)
		{
			attempt_failed(asking, asked, error);
			return;
		}
		if (status == REMOTE_DONE)
		{
			asked_done(asking, asked, NULL);
			return;
		}

		/* Rows come with their count; without any, there is one of nulls. */
		answer->row_count = DatumGetInt64(slot_getattr(asked->slot, 2, &is_null));
		if (answer->row_count == 0)
			continue;
		value = slot_getattr(asked->slot, 1, &is_null);
		context = MemoryContextSwitchTo(asked->context);
		answer_add(answer,
				   is_null ? (Datum) 0 : datumCopy(value, by_value, length), is_null);
		MemoryContextSwitchTo(context);
	}
}

/*
 * attempt_failed
 *		Plan another attempt, or let the failure be the node's answer.
 */
static void
attempt_failed(Asking *asking, Asked *asked, ErrorData *error)
{
	if (is_connection_failure(error) &&
		asked->answer.attempts <= asking->question->retries)
	{
		attempt_end(asked);
		asked->state = ASK_PAUSED;
		asked->paused_until =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), asked->pause_ms);
		asked->pause_ms = Min(asked->pause_ms * 2, LONGEST_PAUSE_MS);
		return;
	}

	/* It stopped by itself at the deadline that we gave it. */
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		asking->deadline <= GetCurrentTimestamp())
		error = timeout_error(asking->question, asked->answer.node);
	asked_done(asking, asked, error);
}

static void
attempt_end(Asked *asked)
{
	if (asked->stream == NULL)
		return;
	remote_close(asked->stream);
	asked->stream = NULL;
	ExecDropSingleTupleTableSlot(asked->slot);
	asked->slot = NULL;
}

/*
 * asked_done
 *		There is an answer or an error; nothing more is expected of this node.
 */
static void
asked_done(Asking *asking, Asked *asked, ErrorData *error)
{
	NodeAnswer *answer = &asked->answer;

	answer->elapsed_us = clock_now_us() - asked->asked_us;
	if (asked->stream && asking->answers_waited && error == NULL)
	{
		RemoteStats stats = {0};
		uint64 there_us;

		remote_stats_add(asked->stream, &stats);
		there_us = stats.run_ms * 1000;
		if (there_us > 0)
			answer->elapsed_us = Min(answer->elapsed_us, there_us);
	}

	if (error)
	{
		error_add_hint(asking->question, error);
		asking->has_failed = true;
	}
	if (error && asking->question->fail)
	{
		const char *where = psprintf("deployed query on node \"%s\"", answer->node);

		error->context = error->context ? psprintf("%s\n%s", error->context, where) : unconstify(char *, where);

		/* Ours knows where it comes from; the others' arise here. */
		if (asked->node == THIS_NODE && asked->stream == NULL)
			ReThrowError(error);
		ThrowErrorData(error);
	}

	answer->error = error;
	asked->state = ASK_READY;
	slist_push_head(&asking->ready, &asked->ready);
	asking->n_open--;
}

static void
error_add_hint(const Question *question, ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_READ_ONLY_SQL_TRANSACTION &&
		error->hint == NULL && question->form != ANSWER_VALUE &&
		!question->writes && !XactReadOnly)
		error->hint = pstrdup("Pass \"writes => true\" for a query that is to change something.");
}

/* Would the node have answered if the connection to it had held? */
bool
is_connection_failure(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_CONNECTION_EXCEPTION ||
		   error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		   error->sqlerrcode == ERRCODE_CRASH_SHUTDOWN ||
		   error->sqlerrcode == ERRCODE_CANNOT_CONNECT_NOW;
}

/* The error of a node that has not answered by the deadline. */
ErrorData *
timeout_error(const Question *question, const char *node)
{
	ErrorData *error = palloc0(sizeof(ErrorData));

	error->elevel = ERROR;
	error->output_to_server = error->output_to_client = true;
	error->sqlerrcode = ERRCODE_QUERY_CANCELED;
	error->message = psprintf("node \"%s\" did not answer within " INT64_FORMAT " ms",
							  node, question->timeout_ms);
	error->hint = pstrdup("Raise \"timeout\", or ask for less.");
	error->assoc_context = CurrentMemoryContext;
	return error;
}

/*
 * wait_for_answers
 *		Until something arrives, or a pause or our time is over.
 */
static void
wait_for_answers(Asking *asking)
{
	TimestampTz until = asking->deadline;

	for (int i = 0; i < asking->n_asked; i++)
	{
		Asked *asked = &asking->asked[i];

		if (asked->state == ASK_PAUSED)
			until = Min(until, asked->paused_until);
	}
	if (until == DT_NOEND)
		remote_wait();
	else
		(void) remote_wait_until(until);
}
