/*
 * ask.c
 *		Questions from a session to schedulers of other nodes.
 *
 * A question is a message to a database's dispatcher whose first field is
 * the question's number; so is the first field of its answer.  The session
 * is an actor for as long as it waits.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/guc.h"
#include "transport/transport_internal.h"

/* Questions, and what has to be given back when their memory goes. */
typedef struct QuestionList
{
	MemoryContextCallback callback;
	int n_questions;
	Question questions[FLEXIBLE_ARRAY_MEMBER];
} QuestionList;

static void
questions_deleted(void *argument)
{
	QuestionList *list = argument;

	for (int i = 0; i < list->n_questions; i++)
	{
		if (list->questions[i].message != NULL)
			message_free(list->questions[i].message);
		if (list->questions[i].answer != NULL)
			message_free(list->questions[i].answer);
	}
}

/*
 * questions_create
 *		Room for questions in the current memory context.
 *
 * Messages that were not sent, and answers, go with it: they are in shared
 * memory, which an error would not give back.
 */
Question *
questions_create(int n_questions)
{
	QuestionList *list = palloc0(offsetof(QuestionList, questions) + sizeof(Question) * n_questions);

	list->n_questions = n_questions;
	list->callback.func = questions_deleted;
	list->callback.arg = list;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &list->callback);
	return list->questions;
}

static bool
is_settled(const Question *question)
{
	return question->answer != NULL || question->failure != NULL;
}

static const char *
describe_refusal(SendResult reason)
{
	switch (reason)
	{
		case SEND_NODE_DOWN:
			return "the link to it was lost";
		case SEND_MAILBOX_FULL:
			return "it has too many messages waiting";
		case SEND_NO_MEMORY:
			return "its shared memory for messages is full";
		default:
			return "it has no such database with dlog, or that does not list this node";
	}
}

/*
 * Settles the question that a message is about.  True if the message is its
 * answer, which the question keeps.
 */
static bool
settle(Question *questions, int n_questions, Message *message)
{
	UndeliveredMessage undelivered;
	uint64 number;

	if (message->type == MESSAGE_UNDELIVERED)
	{
		if (!undelivered_read(message->payload, message->size, &undelivered))
			return false;
		for (int i = 0; i < n_questions; i++)
		{
			Question *question = &questions[i];

			if (!is_settled(question) && question->to.node == message->from.node &&
				question->to.incarnation == undelivered.incarnation)
				question->failure = describe_refusal((SendResult) undelivered.reason);
		}
		return false;
	}

	if (message->size < sizeof(number))
		return false;
	memcpy(&number, message->payload, sizeof(number));
	number = pg_ntoh64(number);
	if (number >= (uint64) n_questions || is_settled(&questions[number]) ||
		questions[number].to.node != message->from.node)
		return false;
	questions[number].answer = message;
	return true;
}

/* Notes the questions over links whose epoch has ended. */
static void
note_lost(Question *questions, int n_questions)
{
	for (int i = 0; i < n_questions; i++)
		questions[i].is_lost = link_epoch(questions[i].to.node) != questions[i].epoch;
	pg_read_barrier();
}

/* Whether none is open any longer; lost ones are settled by that. */
static bool
all_settled(Question *questions, int n_questions)
{
	bool all = true;

	for (int i = 0; i < n_questions; i++)
	{
		Question *question = &questions[i];

		if (!is_settled(question) && question->is_lost)
			question->failure = "the link to it was lost";
		if (!is_settled(question))
			all = false;
	}
	return all;
}

static void
wait_for_answers(BoundActor *actor, Question *questions, int n_questions, int timeout_ms)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	for (;;)
	{
		Message *message;
		long left_ms;

		/* An answer that came before its link was lost counts. */
		note_lost(questions, n_questions);
		while ((message = bound_actor_receive(actor)) != NULL)
		{
			if (!settle(questions, n_questions, message))
				message_free(message);
		}
		if (all_settled(questions, n_questions))
			return;
		left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (left_ms <= 0)
			break;
		(void) runtime_wait(left_ms, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
	for (int i = 0; i < n_questions; i++)
	{
		if (!is_settled(&questions[i]))
			questions[i].failure = "it has not answered in time";
	}
}

/*
 * ask_all
 *		Send all questions (questions_create()) at once and wait until each has
 *		its answer or has failed.
 *
 * Links that are not up are made; ERROR if that cannot be done.
 */
void
ask_all(Question *questions, int n_questions, int timeout_ms)
{
	BoundActor *actor;

	for (int i = 0; i < n_questions; i++)
		link_require(questions[i].to.node);

	actor = bound_actor_spawn(CurrentMemoryContext, "asker");
	link_watch();
	PG_TRY();
	{
		for (int i = 0; i < n_questions; i++)
		{
			Question *question = &questions[i];
			SendResult result;

			question->answer = NULL;
			question->failure = NULL;
			question->epoch = link_epoch(question->to.node);
			question->message->from = bound_actor_address(actor);
			result = actor_send(question->to, question->message);
			question->message = NULL;
			if (result != SEND_OK)
				question->failure = describe_refusal(result);
		}
		wait_for_answers(actor, questions, n_questions, timeout_ms);
	}
	PG_FINALLY();
	{
		link_unwatch();
		bound_actor_exit(actor);
	}
	PG_END_TRY();
}

/*
 * ask_echo
 *		Wait for a sign of life from a scheduler of a node.
 */
void
ask_echo(uint32 node)
{
	EchoMessage echo = {.request = 0};
	Question *question = questions_create(1);

	question->to = database_address(node, node_database(node));
	question->message = message_create(MESSAGE_ECHO, echo_size(&echo));
	echo_write(question->message->payload, question->message->size, &echo);
	ask_all(question, 1, dlog_connect_timeout);
	if (question->answer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("node \"%s\" did not answer", node_name(node)),
				 errdetail("The reason: %s.", question->failure)));
}

/* Work handler: answers an ECHO. */
static void
handle_echo(Message *message)
{
	EchoMessage echo;
	EchoedMessage echoed;
	Message *answer;

	if (!echo_read(message->payload, message->size, &echo))
		return;
	StartTransactionCommand();
	echoed = (EchoedMessage){.request = echo.request, .collation = collation_this()};
	CommitTransactionCommand();
	answer = message_create(MESSAGE_ECHOED, echoed_size(&echoed));
	echoed_write(answer->payload, answer->size, &echoed);
	(void) actor_send(message->from, answer);
}

/*
 * ask_init
 *		Called once, in the postmaster.
 */
void
ask_init(void)
{
	runtime_register_work(MESSAGE_ECHO, handle_echo);
}
