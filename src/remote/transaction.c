/*
 * transaction.c
 *		The other nodes' part in this session's transaction.
 *
 * A *participant* is a node on which this transaction has a pinned session.
 * It begins with the first request that needs one and ends with the
 * transaction: a commit here waits until it has committed, a rollback tells
 * it so and does not wait.  Its nesting of subtransactions follows ours: a
 * request carries our level, and the end of a subtransaction is passed on.
 *
 * A participant's actor lives in TopTransactionContext.  Once it is gone,
 * whatever its session sends comes back, and that ends the session; so a
 * rollback is never lost, even when its message cannot be sent.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"

#include "base/pg_compat.h"
#include "base/stop_point.h"
#include "remote/remote_internal.h"

struct Participant
{
	dlist_node link;
	uint32 node;
	char *name;
	BoundActor *actor;
	ActorAddress self;
	bool is_begun;	 /* a request has been sent */
	bool is_started; /* the session has told its address */
	ActorAddress session;
	uint32 epoch;
	bool writes;
	bool is_done;	   /* it has committed */
	bool is_lost;	   /* it rolls back, or has, or will never be heard of */
	int level;		   /* deepest nesting that it has heard of */
	int owed_rollback; /* level of a rollback that could not be passed on */
	Message *farewell; /* the ROLLBACK of the whole, made in advance */
	Message *commit;   /* the COMMIT of the whole, until it is sent */
	ErrorData *error;
};

static dlist_head participants = DLIST_STATIC_INIT(participants);

static void
tell(Participant *participant, Message *message)
{
	message->from = participant->self;
	if (actor_send(participant->session, message) != SEND_OK)
		participant->is_lost = true;
}

static Message *
rollback_message(int level)
{
	RollbackMessage rollback = {.level = level};
	Message *message = message_try_create(MESSAGE_ROLLBACK, rollback_size(&rollback));

	if (message != NULL)
	{
		message->flags = MESSAGE_CONTROL | MESSAGE_EPHEMERAL |
						 (level == 1 ? MESSAGE_URGENT : 0);
		rollback_write(message->payload, message->size, &rollback);
	}
	return message;
}

/* "role": who commits the whole; NULL for a subtransaction. */
static Message *
commit_message(int level, const char *role)
{
	CommitMessage commit = {.level = level};
	Message *message;

	if (role != NULL)
		commit.role = (WireBytes){strlen(role), role};
	message = remote_message(MESSAGE_COMMIT, commit_size(&commit));
	commit_write(message->payload, message->size, &commit);
	return message;
}

static Participant *
participant_find(uint32 node)
{
	dlist_iter iter;

	dlist_foreach(iter, &participants)
	{
		Participant *participant = dlist_container(Participant, link, iter.cur);

		if (participant->node == node)
			return participant;
	}
	return NULL;
}

/*
 * participant_is_needed
 *		Must this request run in the transaction's session on that node?
 */
bool
participant_is_needed(uint32 node, const RemoteRequest *request)
{
	return request->writes || request->kind == REMOTE_COPY ||
		   IsolationUsesXactSnapshot() || participant_find(node) != NULL;
}

/*
 * remote_is_in_transaction
 *		Would a request that only reads run, on any node, in the remote
 *		transaction of this transaction?
 */
bool
remote_is_in_transaction(void)
{
	return IsolationUsesXactSnapshot() || !dlist_is_empty(&participants);
}

/* This transaction's participant on that node; made if there is none. */
Participant *
participant_get(uint32 node)
{
	Participant *participant = participant_find(node);
	MemoryContext old;

	if (participant != NULL)
		return participant;
	old = MemoryContextSwitchTo(TopTransactionContext);
	participant = palloc0(sizeof(Participant));
	participant->node = node;
	participant->name = pstrdup(node == THIS_NODE ? node_this_name() : node_name(node));
	participant->actor = bound_actor_spawn(TopTransactionContext, "remote transaction");
	participant->self = bound_actor_address(participant->actor);
	participant->farewell = rollback_message(1);
	if (participant->farewell == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("out of memory for messages"),
				 errhint("Increase dlog.shared_memory_size.")));
	MemoryContextSwitchTo(old);

	/* Whoever waits for a participant has to hear of the end of its link. */
	if (dlist_is_empty(&participants))
		link_watch();
	dlist_push_tail(&participants, &participant->link);
	return participant;
}

bool
participant_is_begun(Participant *participant)
{
	return participant->is_begun;
}

bool
participant_is_started(Participant *participant)
{
	return participant->is_started;
}

ActorAddress
participant_address(Participant *participant)
{
	return participant->self;
}

ActorAddress
participant_session(Participant *participant)
{
	return participant->session;
}

/* A request has gone out to this participant. */
void
participant_sent(Participant *participant, bool writes, int level)
{
	if (!participant->is_begun && participant->node != THIS_NODE)
		participant->epoch = link_epoch(participant->node);
	participant->is_begun = true;
	participant->writes |= writes;
	participant->level = Max(participant->level, level);
}

static void
participant_handle(Participant *participant, Message *message)
{
	StartedMessage started;

	switch (message->type)
	{
		case MESSAGE_STARTED:
			if (started_read(message->payload, message->size, &started))
			{
				participant->session = message->from;
				participant->is_started = true;
			}
			break;
		case MESSAGE_DONE:
			participant->is_done = true;
			break;
		case MESSAGE_FAILURE:
			if (participant->error == NULL)
			{
				MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

				participant->error = failure_error(message, NULL);
				MemoryContextSwitchTo(old);
			}
			break;
		case MESSAGE_UNDELIVERED:
		case MESSAGE_DOWN:
			participant->is_lost = true;
			break;
		default:
			break;
	}
}

/* Take in what the session has sent; true if there was something. */
bool
participant_pump(Participant *participant)
{
	Message *message;
	bool moved = false;

	while ((message = bound_actor_receive(participant->actor)) != NULL)
	{
		participant_handle(participant, message);
		message_free(message);
		moved = true;
	}
	if (participant->is_begun && participant->node != THIS_NODE &&
		link_epoch(participant->node) != participant->epoch)
		participant->is_lost = true;
	return moved;
}

static void
commit_error_context(void *argument)
{
	errcontext("remote transaction on node \"%s\"", ((Participant *) argument)->name);
}

/* Raise what has happened to it. */
void
participant_check(Participant *participant)
{
	if (participant->error != NULL && !participant->is_done)
	{
		ErrorContextCallback callback = {error_context_stack, commit_error_context,
										 participant};

		error_context_stack = &callback;
		ThrowErrorData(participant->error);
		error_context_stack = callback.previous;
	}
	if (participant->is_lost)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("lost the transaction on node \"%s\"", participant->name),
				 errdetail("The link to the node or the scheduler there has ended.")));
}

/*
 * participant_prepare
 *		Wait until the session is known, and pass on what it is owed.
 */
void
participant_prepare(Participant *participant)
{
	if (!participant->is_begun)
		return;
	for (;;)
	{
		(void) participant_pump(participant);
		participant_check(participant);
		if (participant->is_started)
			break;
		(void) runtime_wait_for_node(-1, activity_wait_event(ACTIVITY_WAITS_FOR_SCHEDULER));
		CHECK_FOR_INTERRUPTS();
	}
	if (participant->owed_rollback > 0)
	{
		Message *message = rollback_message(participant->owed_rollback);

		if (message == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("out of memory for messages"),
					 errhint("Increase dlog.shared_memory_size.")));
		tell(participant, message);
		participant->owed_rollback = 0;
	}
}

/* Is this one's answer still open?  Who has only read cannot fail. */
static bool
is_committing(Participant *participant)
{
	return participant->is_begun && participant->writes && !participant->is_done &&
		   !participant->is_lost && participant->error == NULL;
}

/* Wait for its answer, for its loss, or until the user gives up. */
static void
await_commit(Participant *participant)
{
	while (is_committing(participant) && !QueryCancelPending && !ProcDiePending)
	{
		if (!participant_pump(participant) && is_committing(participant))
			(void) runtime_wait_for_node(-1, WaitEventExtensionNew("DlogCommit"));
	}
}

static void
check_commit(Participant *participant)
{
	bool is_open = is_committing(participant);

	if (!participant->is_begun || !participant->writes || participant->is_done)
		return;
	if (participant->error != NULL)
		participant_check(participant);
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 is_open ? errmsg("canceled while node \"%s\" was committing", participant->name) :
					   errmsg("lost node \"%s\" while it was committing", participant->name),
			 errdetail("It is not known whether its part of the transaction has been committed.")));
}

/*
 * participants_commit
 *		Commit on the other nodes, just before we commit here.
 *
 * One phase: each commits by itself.  With one participant that has written
 * and nothing written here that is atomic but for a crash between its commit
 * and ours.  Two-phase commit belongs here: with more than one writer, first
 * let each prepare under a name that tells this transaction, write the
 * commit record with our own commit, and send the second phase after it.
 *
 * All that can be known to fail is found out before the first is told.  What
 * comes after that, a cancel as well, leaves it open what those have done
 * that have not answered, and is reported so.
 */
static void
participants_commit(void)
{
	const char *role = GetUserNameFromId(GetUserId(), false);
	dlist_iter iter;

	dlist_foreach(iter, &participants)
	{
		Participant *participant = dlist_container(Participant, link, iter.cur);

		participant_prepare(participant);
		if (participant->is_begun)
			participant->commit = commit_message(1, role);
	}

	/* Those prepared first may have been lost while the last was waited for. */
	dlist_foreach(iter, &participants)
	{
		Participant *participant = dlist_container(Participant, link, iter.cur);

		(void) participant_pump(participant);
		participant_check(participant);
	}

	HOLD_INTERRUPTS();
	dlist_foreach(iter, &participants)
	{
		Participant *participant = dlist_container(Participant, link, iter.cur);

		if (participant->commit != NULL)
			tell(participant, participant->commit);
		participant->commit = NULL;
	}
	dlist_foreach(iter, &participants)
		await_commit(dlist_container(Participant, link, iter.cur));
	RESUME_INTERRUPTS();
	dlist_foreach(iter, &participants)
		check_commit(dlist_container(Participant, link, iter.cur));
	STOP_POINT("remote-committed");
}

/* Everything ends.  Nothing here can fail. */
void
participants_forget(bool is_abort)
{
	dlist_iter iter;

	if (dlist_is_empty(&participants))
		return;
	link_unwatch();
	dlist_foreach(iter, &participants)
	{
		Participant *participant = dlist_container(Participant, link, iter.cur);

		(void) participant_pump(participant);
		if (is_abort && participant->is_started && !participant->is_done)
			tell(participant, participant->farewell);
		else
			message_free(participant->farewell);
		participant->farewell = NULL;
		if (participant->commit != NULL)
			message_free(participant->commit);
		participant->commit = NULL;
	}

	/* They are in TopTransactionContext. */
	dlist_init(&participants);
}

static void
transaction_event(XactEvent event, void *argument)
{
	if (dlist_is_empty(&participants))
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			participants_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot prepare a transaction that has work on other nodes")));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PREPARE:
			participants_forget(false);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			participants_forget(true);
			break;
	}
}

static void
subtransaction_event(SubXactEvent event, SubTransactionId sub,
					 SubTransactionId parent, void *argument)
{
	int level = GetCurrentTransactionNestLevel();
	dlist_iter iter;

	if (event != SUBXACT_EVENT_PRE_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	dlist_foreach(iter, &participants)
	{
		Participant *participant = dlist_container(Participant, link, iter.cur);

		if (participant->level < level)
			continue;
		if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		{
			participant_prepare(participant);
			tell(participant, commit_message(level, NULL));
		}
		else
		{
			Message *message = NULL;

			(void) participant_pump(participant);
			if (participant->is_started && participant->owed_rollback == 0)
				message = rollback_message(level);
			if (message != NULL)
				tell(participant, message);
			else
				participant->owed_rollback = level;
		}
		participant->level = level - 1;
	}
}

void
transaction_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}
