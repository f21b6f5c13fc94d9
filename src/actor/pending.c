/*
 * pending.c
 *		What leaves when this transaction commits.
 *
 * Sends, spawns and the like of a transaction wait in one list, in order.  A
 * session's and a handler's are the same.  What belongs to a subtransaction
 * is the end of the list from some place on, which a *mark* remembers; so a
 * subtransaction that is rolled back cuts the list off there.  The mark also
 * remembers whether the handler had stashed its message, become of another
 * behavior or stopped by then.
 *
 * Whatever may fail is done when an entry is added: a message has its memory
 * and its room in the mailbox, an actor its slot, a name is taken.  A timer is
 * set then, too; if that has to be undone when it has gone off already, what
 * it sent, once or several times, is refused when it is looked at.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "actor/actor_internal.h"
#include "base/stop_point.h"

/* So many receivers ahead of the present one are on their way from memory. */
#define FETCH_AHEAD 6

typedef struct Mark
{
	int level;		   /* of the subtransaction */
	Message *before;   /* the last entry that is not its; NULL: none */
	TurnChoice choice; /* what the handler had said before it */
} Mark;

static Message *first;
static Message *last;
static Mark *marks;
static int n_added = 0; /* entries of this transaction, undone ones too */
static int n_marks = 0;
static int max_marks = 0;
static bool any_durable = false; /* may be true in vain */

static TurnChoice
choice_of_turn(void)
{
	TurnChoice choice = {0};
	DurableMail *durable = current_message == NULL ? NULL : mail_durable(current_message);

	if (current_turn == NULL)
		return choice;
	choice.behavior = current_turn->behavior;
	choice.unstashes = current_turn->unstashes;
	choice.exits = current_turn->exits;
	choice.exit_kind = current_turn->exit_kind;
	choice.exit_reason = current_turn->exit_reason;
	choice.is_stashed = current_is_stashed;
	if (durable != NULL)
		choice.becomes = durable->becomes;
	return choice;
}

/* The subtransaction of a handler that goes on is undone; else its whole turn is. */
static void
choose_again(const TurnChoice *choice)
{
	DurableMail *durable = current_message == NULL ? NULL : mail_durable(current_message);

	if (current_turn == NULL)
		return;
	current_turn->behavior = choice->behavior;
	current_turn->unstashes = choice->unstashes;
	current_turn->exits = choice->exits;
	current_turn->exit_kind = choice->exit_kind;
	current_turn->exit_reason = choice->exit_reason;
	current_is_stashed = choice->is_stashed;
	if (current_message != NULL && current_message->type == LOCAL_MAIL && !choice->is_stashed)
		message_mail(current_message)->flags &= ~MAIL_STASHED;
	if (durable != NULL)
		durable->becomes = choice->becomes;
}

static void
add_mark(int level)
{
	if (n_marks == max_marks)
	{
		int n = max_marks == 0 ? 16 : 2 * max_marks;
		Mark *more = marks == NULL ?
						 MemoryContextAlloc(TopMemoryContext, n * sizeof(Mark)) :
						 repalloc(marks, n * sizeof(Mark));

		marks = more;
		max_marks = n;
	}
	marks[n_marks].level = level;
	marks[n_marks].choice = choice_of_turn();
	marks[n_marks++].before = last;
}

/*
 * pending_mark
 *		Before a handler says something of its turn: a rollback of this
 *		subtransaction takes it back.
 */
void
pending_mark(void)
{
	int level = GetCurrentTransactionNestLevel();

	if (level > 1 && (n_marks == 0 || marks[n_marks - 1].level < level))
		add_mark(level);
}

/*
 * pending_add
 *		Takes the message.
 */
void
pending_add(ActorAddress to, Message *message)
{
	pending_mark();
	if (mail_durable(message) != NULL)
		any_durable = true;
	message->to = to;
	message->next = NULL;
	if (last != NULL)
		last->next = message;
	else
		first = message;
	last = message;
	n_added++;
}

/* It does not leave. */
static void
undo(Message *message)
{
	PendingAction *action = (PendingAction *) message->payload;
	ActorAddress to = message->to;
	uint32 n_fired;

	switch (message->type)
	{
		case LOCAL_SPAWN:
			sql_actor_unspawned(to);
			break;
		case LOCAL_TIMER_START:
			/* One that is over has sent its message, or is about to. */
			if (!timer_cancel_own(to, action->timer, &n_fired))
				n_fired = 1;
			if (n_fired > 0)
				sql_actor_revoke(to, action->token, n_fired);
			break;
		case LOCAL_NAME:
			/* Somebody may have taken it since. */
			(void) name_unregister_own(action->database, action->name, to);
			break;
		case LOCAL_MONITOR:
		case LOCAL_DEMONITOR:
		case LOCAL_TIMER_CANCEL:
			break;
		default:
			if (message->flags & MESSAGE_RESERVED)
				sql_actor_unreserve(sql_actor_at(to.slot), to);
	}
	message_free(message);
}

/*
 * Newest first, so that an actor is gone after what was meant for it.
 */
static void
undo_after(Message *before)
{
	Message *message = before == NULL ? first : before->next;
	Message *newest = NULL;

	while (message != NULL)
	{
		Message *next = message->next;

		message->next = newest;
		newest = message;
		message = next;
	}
	last = before;
	if (before == NULL)
		first = NULL;
	else
		before->next = NULL;
	while (newest != NULL)
	{
		Message *next = newest->next;

		undo(newest);
		newest = next;
	}
}

/* It leaves.  Nothing here may fail. */
static void
perform(Message *message)
{
	PendingAction *action = (PendingAction *) message->payload;
	ActorAddress to = message->to;
	ActorAddress other;
	uint32 n_fired;

	switch (message->type)
	{
		case LOCAL_SPAWN:
			message_free(message);
			sql_actor_spawned(to);
			break;
		case LOCAL_TIMER_START:
		case LOCAL_NAME:
			message_free(message);
			break;
		case LOCAL_TIMER_CANCEL:
			(void) timer_cancel_own(to, action->timer, &n_fired);
			message_free(message);
			break;
		case LOCAL_MONITOR:

			/* Its block is what the monitor will need. */
			other = action->other;
			message_free(message);
			monitor_request(to, other);
			break;
		case LOCAL_DEMONITOR:
			other = action->other;
			message_free(message);
			demonitor_request(to, other);
			break;
		default:
			mail_deliver(to, message);
	}
}

/*
 * pending_count
 *		How many entries are for this actor.
 */
int
pending_count(ActorAddress to)
{
	int n = 0;

	for (Message *message = first; message != NULL; message = message->next)
		if (actor_address_equal(message->to, to))
			n++;
	return n;
}

/* How many entries this transaction has added so far. */
int
pending_added(void)
{
	return n_added;
}

/* All that leaves are these; those of one actor are together. */
static void
leave_together(Message **messages, int n)
{
	first = messages[0];
	last = messages[n - 1];
	for (int i = 1; i < n; i++)
		messages[i - 1]->next = messages[i];
	last->next = NULL;
}

/*
 * What is for durable actors is kept by this transaction.
 *
 * Where nothing else leaves, messages of one actor leave together, which
 * spares their receiver to look at each.  Else all leave in their order.
 */
static void
keep_durable(void)
{
	Message **messages;
	int n = 0;
	bool any_other = false;

	if (!any_durable)
		return;
	messages = MemoryContextAllocHuge(CurTransactionContext, sizeof(Message *) * n_added);
	for (Message *message = first; message != NULL; message = message->next)
	{
		__builtin_prefetch(message->next);
		if (mail_durable(message) != NULL)
			messages[n++] = message;
		else
			any_other = true;
	}
	if (n == 0)
		return;
	actor_journal->send(messages, n);
	if (!any_other)
		leave_together(messages, n);
	STOP_POINT("journal-mailbox-written");
}

/*
 * How many messages from this one on are a run: for one durable actor, with
 * their places reserved.  They are performed as one, if it is there.
 */
static int
run_length(Message *message, Message **end)
{
	int n = 1;

	*end = message;
	if (mail_durable(message) == NULL || (message->flags & MESSAGE_RESERVED) == 0)
		return n;
	for (Message *next = message->next; next != NULL && mail_durable(next) != NULL &&
										(next->flags & MESSAGE_RESERVED) != 0 && actor_address_equal(next->to, message->to);
		 next = next->next)
	{
		*end = next;
		n++;
	}
	return n;
}

/* Messages from the first to the end leave. */
static void
perform_run(Message *message, Message *end, int n)
{
	Message *after = end->next;

	end->next = NULL;
	if (n > 1 && sql_actor_deliver(message->to, message, end, n))
		return;
	end->next = after;
	while (message != after)
	{
		Message *next = message->next;

		message->next = NULL;
		perform(message);
		message = next;
	}
}

/*
 * pending_commit, pending_abort
 *		The transaction is over.
 */
void
pending_commit(void)
{
	Message *message = first;

	Message *ahead = first;

	if (any_durable)
		STOP_POINT("journal-sent");
	any_durable = false;
	first = last = NULL;
	n_marks = n_added = 0;
	for (int i = 0; i < FETCH_AHEAD && ahead != NULL; i++)
		ahead = ahead->next;
	while (message != NULL)
	{
		Message *end;
		int n = run_length(message, &end);
		Message *next = end->next;

		for (int i = 0; i < n && ahead != NULL; i++)
			ahead = ahead->next;
		if (ahead != NULL)
			__builtin_prefetch(sql_actor_at(ahead->to.slot), 1);
		perform_run(message, end, n);
		message = next;
	}
}

void
pending_abort(void)
{
	n_marks = n_added = 0;
	any_durable = false;
	undo_after(NULL);
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId my_id, SubTransactionId parent_id, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	if (n_marks == 0 || marks[n_marks - 1].level < level)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		choose_again(&marks[--n_marks].choice);
		undo_after(marks[n_marks].before);
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		/* Its entries are its parent's. */
		if (level == 2 || (n_marks > 1 && marks[n_marks - 2].level == level - 1))
			n_marks--;
		else
			marks[n_marks - 1].level = level - 1;
	}
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	bool is_batch;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			keep_durable();
			break;
		case XACT_EVENT_COMMIT:
			pool_hold();
			is_batch = turn_commit_all();
			pending_commit();
			pool_let_go();
			if (is_batch)
				STOP_POINT("actor-batch-told");
			break;
		case XACT_EVENT_ABORT:
			pending_abort();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (first != NULL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot prepare a transaction that has sent messages to actors or spawned some"),
						 errdetail("Those leave when the transaction commits, and are kept in this session until then.")));
			break;
		default:
			break;
	}
}

void
pending_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}
