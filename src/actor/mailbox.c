/*
 * mailbox.c
 *		What a SQL or system actor is given, and who has it run.
 *
 * Anybody pushes onto two stacks, mail and control.  RunState says who is
 * responsible: an IDLE actor is queued by who gives it something, one that is
 * QUEUED or RUNNING will be looked at by its holder before that lets go.  A
 * PARKED one (suspended, held, down) is queued for control alone.
 *
 * Room in a mailbox is reserved when a message is sent, even where it leaves
 * only at commit, so that what was accepted is not refused later.
 *
 * Locks: none.  A stack is one word, changed by compare and exchange; what its
 * holder has taken off it is a list in the body, which is the holder's.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"

#include "actor/actor_internal.h"
#include "base/clock.h"
#include "base/pg_compat.h"

/* Who waits for room looks again this often. */
#define ROOM_WAIT_MS 5

/* Of those that wait for each other one gives way so much earlier than the next. */
#define GIVE_WAY_MS 20

/* ----------------------------------------------------------------- stacks */

/* False: the stack is closed, and the message still the caller's. */
static bool
stack_push(pg_atomic_uint64 *stack, Message *message)
{
	uint64 newest = pg_atomic_read_u64(stack);

	do
	{
		if (newest == MAIL_CLOSED)
			return false;
		message->next = (Message *) newest;
	} while (!pg_atomic_compare_exchange_u64(stack, &newest, (uint64) message));
	return true;
}

static Message *
reverse(Message *newest)
{
	Message *oldest = NULL;

	while (newest != NULL)
	{
		Message *next = newest->next;

		__builtin_prefetch(newest->payload + PREFETCH_LINE);
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

/*
 * The same for mail: those that one transaction has sent to an actor are a
 * run, in order already, of which only the newest is on the stack.
 */
static Message *
reverse_runs(Message *newest)
{
	Message *oldest = NULL;

	while (newest != NULL)
	{
		Message *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		if (newest->flags & MESSAGE_RUN)
		{
			newest->flags &= ~MESSAGE_RUN;
			oldest = mail_durable(newest)->run;
		}
		else
			__builtin_prefetch(newest->payload + PREFETCH_LINE);
		newest = next;
	}
	return oldest;
}

/* All of it, newest first. */
static Message *
stack_take_newest(pg_atomic_uint64 *stack, uint64 leave)
{
	return (Message *) pg_atomic_exchange_u64(stack, leave);
}

/* All of it, oldest first. */
static Message *
stack_take(pg_atomic_uint64 *stack, uint64 leave)
{
	return reverse(stack_take_newest(stack, leave));
}

/* ------------------------------------------------------------------- room */

/*
 * sql_actor_reserve
 *		Room for one more message; false when the mailbox is full.
 */
bool
sql_actor_reserve(SqlActor *actor, ActorAddress address)
{
	uint64 room = pg_atomic_add_fetch_u64(&actor->room, 1);

	if ((room & ~(uint64) PG_UINT32_MAX) == EMPTY_ROOM(address.incarnation) && (uint32) room <= actor->limit)
		return true;

	/* Full; or it has become another actor between two looks. */
	pg_atomic_sub_fetch_u64(&actor->room, 1);
	return false;
}

/* All places in it are of transactions that have not committed yet. */
static bool
is_full_of_pending(SqlActor *actor)
{
	return pg_atomic_read_u32(&actor->run) == RUN_IDLE && pg_atomic_read_u64(&actor->mail) == 0;
}

/*
 * Transactions may wait for each other's places: who has waited so for
 * deadlock_timeout, and a little longer, by its pid, gives way.
 */
static void
check_deadlock(SqlActor *actor, ActorAddress address, uint64 *since_us)
{
	uint64 limit_ms = DeadlockTimeout + MyProcPid % 16 * GIVE_WAY_MS;

	if (pending_added() == 0 || !is_full_of_pending(actor))
		*since_us = clock_now_us();
	else if (clock_now_us() - *since_us > limit_ms * 1000)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the mailbox of actor %u is full", address.slot),
				 errdetail("Transactions that have not committed have all its %u places, and may wait for messages that this one has sent.",
						   actor->limit),
				 errhint("Run the transaction again, send less in one, or raise mailbox_limit of its behavior.")));
}

/*
 * sql_actor_wait_for_room
 *		The same, once there is room; false: there will be none, for this
 *		transaction itself has filled the mailbox.  In a session.
 *
 * ERROR 53400 when it and others seem to wait for each other.
 */
bool
sql_actor_wait_for_room(SqlActor *actor, ActorAddress address)
{
	bool has_counted = false;
	uint64 since_us = 0;

	while (!sql_actor_reserve(actor, address))
	{
		/* While it waits it sends nothing. */
		if (!has_counted && pending_count(address) >= (int) actor->limit)
			return false;
		if (!has_counted)
			since_us = clock_now_us();
		has_counted = true;
		if (!hosted_actor_exists(address))
			return false;
		check_deadlock(actor, address, &since_us);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ROOM_WAIT_MS,
						 WaitEventExtensionNew("DlogMailboxRoom"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/* Give it back, if the actor is still that one. */
void
sql_actor_unreserve(SqlActor *actor, ActorAddress address)
{
	uint64 room = pg_atomic_sub_fetch_u64(&actor->room, 1);

	if ((room & ~(uint64) PG_UINT32_MAX) != EMPTY_ROOM(address.incarnation))
		pg_atomic_add_fetch_u64(&actor->room, 1);
}

void
sql_actor_count_out(SqlActor *actor, Message *message)
{
	if (message->flags & MESSAGE_RESERVED)
	{
		pg_atomic_sub_fetch_u64(&actor->room, 1);
		message->flags &= ~MESSAGE_RESERVED;
	}
}

/* ---------------------------------------------------------------- sending */

/*
 * sql_actor_try_queue
 *		Have it run, if it is in this state.  What is not urgent may wait until
 *		the end of a scheduler's nap.  Any process.
 */
bool
sql_actor_try_queue(SqlActor *actor, uint32 slot, RunState from, bool is_urgent)
{
	uint32 expected = from;

	if (pg_atomic_read_u32(&actor->run) != from ||
		!pg_atomic_compare_exchange_u32(&actor->run, &expected, RUN_QUEUED))
		return false;
	pool_push(actor, slot, is_urgent);
	return true;
}

/*
 * sql_actor_send
 *		Host's send: any process, the network process too.
 */
SendResult
sql_actor_send(ActorAddress to, Message *message)
{
	SqlActor *actor = sql_actor_at(to.slot);
	bool is_control = message->type > LOCAL_TIMER_CANCEL && message->type < LOCAL_END;

	if (message->from.node != THIS_NODE && message_is_local(message))
		return SEND_NO_ACTOR;
	if (message->type == MESSAGE_UNDELIVERED)
	{
		/* Its letter is among the dead ones; it has nobody to tell. */
		message_free(message);
		return SEND_OK;
	}
	if (process_slot() == ARENA_NETWORK_OWNER)
	{
		arena_set_owner(message, ARENA_NO_OWNER);
		pool_push_inbox(actor->database, message);
		return SEND_OK;
	}
	if (is_control)
	{
		if (!stack_push(&actor->control, message))
			return SEND_NO_ACTOR;
		if (!sql_actor_try_queue(actor, to.slot, RUN_IDLE, true) && !sql_actor_try_queue(actor, to.slot, RUN_PARKED, true))
			pool_hurry(actor->database);
		return SEND_OK;
	}
	if ((message->flags & (MESSAGE_CONTROL | MESSAGE_RESERVED)) == 0)
	{
		if (!sql_actor_reserve(actor, to))
			return SEND_MAILBOX_FULL;
		message->flags |= MESSAGE_RESERVED;
	}
	if (!stack_push(&actor->mail, message))
		return SEND_NO_ACTOR;
	if (!sql_actor_try_queue(actor, to.slot, RUN_IDLE, true))
		pool_hurry(actor->database);
	return SEND_OK;
}

/*
 * sql_actor_deliver
 *		Put mail, whose places are reserved, into the mailbox of an actor of this
 *		node: so many messages, linked in order, from the first to the last.
 *		Takes them, if it does; else the actor is gone.  More than one have a
 *		DurableMail.
 *
 * Nobody waits for it, so it is urgent only when the mailbox gets full.
 */
bool
sql_actor_deliver(ActorAddress to, Message *first, Message *last, int n)
{
	SqlActor *actor = sql_actor_at(to.slot);
	bool is_urgent;

	if (n > 1)
	{
		last->flags |= MESSAGE_RUN;
		mail_durable(last)->run = first;
	}
	if (!sql_actor_is_meant(to) || !stack_push(&actor->mail, last))
	{
		last->flags &= ~MESSAGE_RUN;
		last->next = NULL;
		return false;
	}
	process_count_sent_many(n);
	is_urgent = (uint32) pg_atomic_read_u64(&actor->room) > actor->limit / 2;
	if (!sql_actor_try_queue(actor, to.slot, RUN_IDLE, is_urgent) && is_urgent)
		pool_hurry(actor->database);
	return true;
}

/*
 * control_send
 *		Any process.  Takes the message; false: the actor is not there.
 */
bool
control_send(ActorAddress to, Message *message)
{
	message->flags |= MESSAGE_CONTROL | MESSAGE_EPHEMERAL;
	return actor_send(to, message) == SEND_OK;
}

/* ----------------------------------------------------------- the holder's */

/* All that has come, newest first, goes behind what waits. */
static void
append(SqlActor *actor, Message *newest)
{
	ActorBody *body = actor->body;
	Message *first = reverse_runs(newest);

	if (body->first != NULL)
		body->last->next = first;
	else
		body->first = first;
	body->last = newest;
	if ((uint32) pg_atomic_read_u64(&actor->room) > body->high_water)
		body->high_water = (uint32) pg_atomic_read_u64(&actor->room);
}

/*
 * sql_actor_peek
 *		The oldest message, which stays where it is; NULL: none.
 *
 * What was for an earlier actor of this slot is answered here.
 */
Message *
sql_actor_peek(SqlActor *actor)
{
	for (;;)
	{
		Message *message = actor->body->first;

		if (message == NULL)
		{
			if (pg_atomic_read_u64(&actor->mail) == 0)
				return NULL;
			message = stack_take_newest(&actor->mail, 0);
			if (message == NULL)
				return NULL;
			append(actor, message);
			message = actor->body->first;
		}
		if (message->to.incarnation == actor->body->self.incarnation)
		{
			/* With many that wait the next one is in no cache. */
			__builtin_prefetch(message->next);
			__builtin_prefetch((char *) message->next + offsetof(Message, payload) + MAIL_HEADER);
			return message;
		}
		message = sql_actor_take_first(actor);
		message->flags &= ~MESSAGE_RESERVED;
		actor_send_undelivered(message, SEND_NO_ACTOR);
	}
}

Message *
sql_actor_take_first(SqlActor *actor)
{
	ActorBody *body = actor->body;
	Message *message = body->first;

	body->first = message->next;
	if (body->first == NULL)
		body->last = NULL;
	message->next = NULL;
	return message;
}

/* A list in order, in front of what waits. */
void
sql_actor_put_back(SqlActor *actor, Message *first, Message *last)
{
	ActorBody *body = actor->body;

	if (first == NULL)
		return;
	last->next = body->first;
	body->first = first;
	if (body->last == NULL)
		body->last = last;
}

/* All control that waits, for who obeys it in another way. */
Message *
sql_actor_take_control(SqlActor *actor)
{
	if (pg_atomic_read_u64(&actor->control) == 0)
		return NULL;
	return stack_take(&actor->control, 0);
}

/*
 * sql_actor_close
 *		Nobody gives it anything any more.  What mail has come is behind what
 *		waits; the control is the caller's.
 */
Message *
sql_actor_close(SqlActor *actor)
{
	Message *mail = stack_take_newest(&actor->mail, MAIL_CLOSED);

	if (mail != NULL)
		append(actor, mail);
	return stack_take(&actor->control, MAIL_CLOSED);
}

/* Any process: the body may be freed at any time, but is memory of the arena then, too. */
static bool
is_orphan(ActorAddress address)
{
	SqlActor *actor = sql_actor_find(address);
	ActorBody *body = actor == NULL ? NULL : *(ActorBody *volatile *) &actor->body;

	return body != NULL && *(volatile bool *) &body->is_orphan;
}

/*
 * sql_actor_release
 *		The holder lets go of it.
 */
void
sql_actor_release(SqlActor *actor)
{
	uint32 slot = actor->body->self.slot;
	bool takes_mail = (actor->phase == PHASE_READY || actor->phase == PHASE_NEW) && !actor->is_suspended;
	bool has_work = actor->body->first != NULL || actor->phase == PHASE_NEW;
	ActorAddress self = actor->body->self;
	bool is_supervised = actor->body->supervisor.slot != 0;
	uint64 control;

	/* Once it is let go, it may be gone, and its body. */
	actor->body->holder = 0;
	pg_atomic_write_u32(&actor->run, takes_mail ? RUN_IDLE : RUN_PARKED);
	pg_memory_barrier();
	control = pg_atomic_read_u64(&actor->control);
	if ((control != 0 && control != MAIL_CLOSED) || (is_supervised && is_orphan(self)))
		(void) sql_actor_try_queue(actor, slot, takes_mail ? RUN_IDLE : RUN_PARKED, true);
	else if (takes_mail && (has_work || pg_atomic_read_u64(&actor->mail) != 0))
		(void) sql_actor_try_queue(actor, slot, RUN_IDLE, true);
}

/* The holder's: may and should it handle something now? */
bool
sql_actor_has_turn(SqlActor *actor)
{
	if (actor->is_suspended)
		return false;
	if (actor->phase == PHASE_NEW)
		return true;
	return actor->phase == PHASE_READY && sql_actor_peek(actor) != NULL;
}

/*
 * sql_actor_is_killed
 *		Has somebody told it to stop at once?  The holder's, also in a signal
 *		handler while a handler of the actor runs.
 */
bool
sql_actor_is_killed(SqlActor *actor)
{
	uint64 newest = pg_atomic_read_u64(&actor->control);

	if (newest == MAIL_CLOSED)
		return false;
	if (actor->body->is_orphan)
		return true;
	for (Message *message = (Message *) newest; message != NULL; message = message->next)
		if (message->type == LOCAL_STOP && ((StopControl *) message->payload)->kind == EXIT_KILLED)
			return true;
	return false;
}

/* ------------------------------- a timer's messages that are not to count */

/*
 * sql_actor_revoke
 *		So many messages that a timer of this actor has sent, or is about to,
 *		shall not count.  The holder's.
 */
void
sql_actor_revoke(ActorAddress address, uint64 token, uint32 n_messages)
{
	SqlActor *actor = sql_actor_find(address);
	Revoked *revoked = actor == NULL ? NULL : arena_try_alloc(sizeof(Revoked));

	/* Out of memory they come once too often. */
	if (revoked == NULL)
		return;
	revoked->token = token;
	revoked->n_messages = n_messages;
	revoked->next = actor->body->revoked;
	actor->body->revoked = revoked;
}

/* Whether this is such a one; it is forgotten with the last of them. */
bool
sql_actor_is_revoked(SqlActor *actor, uint64 token)
{
	for (Revoked **link = &actor->body->revoked; *link != NULL; link = &(*link)->next)
	{
		Revoked *revoked = *link;

		if (revoked->token != token)
			continue;
		if (--revoked->n_messages == 0)
		{
			*link = revoked->next;
			arena_free(revoked);
		}
		return true;
	}
	return false;
}
