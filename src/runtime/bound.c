/*
 * bound.c
 *		Actors bound to a process: a session, a statement that a scheduler
 *		runs for another node.
 *
 * Their messages come through the process's inbox and are sorted here into a
 * private list per actor, when one of them looks for mail or the process
 * waits.  All of this is local to the process; the actor's slot alone is
 * shared.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/linger.h"
#include "base/pg_compat.h"
#include "runtime/runtime_internal.h"

struct BoundActor
{
	dlist_node node; /* in living */
	ActorAddress address;
	ActorSlot *slot;
	ActorCold *cold;
	Message *first; /* received, oldest first */
	Message *last;
	bool has_exited;
	MemoryContextCallback at_reset;
};

static dlist_head living = DLIST_STATIC_INIT(living);

/*
 * A small question takes half of this when processors have to be woken for
 * each of its steps, and a quarter when one is awake.
 */
#define NODE_LINGER_US 600

/* Mail was sorted since runtime_wait() last returned. */
static bool has_news = false;

static void
exit_with_reason(BoundActor *actor, const char *reason)
{
	Message *message;

	if (actor->has_exited)
		return;
	actor->has_exited = true;
	dlist_delete(&actor->node);
	actor_exit(actor->address, reason);
	while ((message = actor->first) != NULL)
	{
		actor->first = message->next;
		pg_atomic_fetch_sub_u32(&my_process->queued, 1);
		actor_send_undelivered(message, SEND_NO_ACTOR);
	}
	actor->last = NULL;

	/*
	 * What has come for it and was not looked at is answered now: this
	 * process may not look for long, and an executor that hears nothing goes
	 * on with what nobody wants.
	 */
	if (process_has_mail())
		bound_sort_mail();
}

static void
exit_at_reset(void *arg)
{
	exit_with_reason((BoundActor *) arg, "abandoned");
}

/*
 * bound_actor_spawn
 *		A new actor whose mailbox is this process.
 *
 * It exits when the memory context is reset or deleted, at the latest.
 */
BoundActor *
bound_actor_spawn(MemoryContext context, const char *behavior)
{
	BoundActor *actor;

	process_attach();
	actor = MemoryContextAllocZero(context, sizeof(BoundActor));
	actor->address = actor_claim_bound(behavior, actor);
	actor->slot = actor_slot(actor->address.slot);
	actor->cold = actor_cold(actor->address.slot);
	dlist_push_tail(&living, &actor->node);
	actor->at_reset.func = exit_at_reset;
	actor->at_reset.arg = actor;
	MemoryContextRegisterResetCallback(context, &actor->at_reset);
	return actor;
}

/*
 * bound_actor_exit
 *		End it now, for the reason "normal".
 *
 * Messages that it has not received are answered with UNDELIVERED.
 */
void
bound_actor_exit(BoundActor *actor)
{
	exit_with_reason(actor, "normal");
}

ActorAddress
bound_actor_address(BoundActor *actor)
{
	return actor->address;
}

/*
 * bound_actor_is_interrupted
 *		Has an urgent message for this actor come, received or not?
 *
 * A signal handler may call it.
 */
bool
bound_actor_is_interrupted(BoundActor *actor)
{
	return pg_atomic_read_u32(&actor->cold->interrupted) == actor->address.incarnation;
}

/*
 * bound_sort_mail
 *		Move what came into this process's inbox to its actors.
 *
 * Returns whether there was anything.
 */
bool
bound_sort_mail(void)
{
	Message *message = process_take();
	bool any = message != NULL;

	while (message != NULL)
	{
		Message *next = message->next;
		ActorSlot *slot = actor_slot(message->to.slot);
		BoundActor *actor = NULL;

		/*
		 * Only this process changes the slots of its own actors, so what it
		 * reads there is certain.
		 */
		if (slot != NULL && slot->process == my_process_slot && actor_exists(message->to))
			actor = slot->u.bound;
		message->next = NULL;
		if (actor == NULL)
		{
			pg_atomic_fetch_sub_u32(&my_process->queued, 1);
			actor_send_undelivered(message, SEND_NO_ACTOR);
		}
		else
		{
			if (actor->last != NULL)
				actor->last->next = message;
			else
				actor->first = message;
			actor->last = message;
			actor->cold->depth++;
			actor->slot->high_water = Max(actor->slot->high_water, actor->cold->depth);
		}
		message = next;
	}
	if (any)
		has_news = true;
	return any;
}

/*
 * bound_actor_receive
 *		The oldest message of this actor, the caller's from now on; or NULL.
 */
Message *
bound_actor_receive(BoundActor *actor)
{
	Message *message;

	Assert(!actor->has_exited);
	if (actor->first == NULL && process_has_mail())
		bound_sort_mail();
	message = actor->first;
	if (message == NULL)
		return NULL;
	actor->first = message->next;
	if (actor->first == NULL)
		actor->last = NULL;
	message->next = NULL;
	actor->cold->depth--;
	actor->slot->received++;
	pg_atomic_fetch_sub_u32(&my_process->queued, 1);
	process_count_received(1);
	return message;
}

static bool
wait_for_mail(Linger *linger, long timeout_ms, uint32 wait_event_info)
{
	int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	int happened;

	process_attach();
	process_release_wakeups();
	CHECK_FOR_INTERRUPTS();
	if (process_has_mail())
		bound_sort_mail();
	if (!has_news)
	{
		if (timeout_ms >= 0)
			events |= WL_TIMEOUT;

		process_awaits_mail();
		if (!process_has_mail())
		{
			happened = linger != NULL ? linger_wait(linger, events, timeout_ms, wait_event_info) :
										WaitLatch(MyLatch, events, timeout_ms, wait_event_info);
			if ((happened & WL_LATCH_SET) == 0)
				return false;
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		bound_sort_mail();
	}
	has_news = false;
	return true;
}

/*
 * runtime_wait
 *		Sleep until mail has come for an actor of this process or its latch
 *		was set for another reason; false when the timeout passed first.
 *
 * Interrupts are served.  May return for nothing.
 */
bool
runtime_wait(long timeout_ms, uint32 wait_event_info)
{
	return wait_for_mail(NULL, timeout_ms, wait_event_info);
}

/*
 * runtime_wait_for_answer
 *		The same, for what an actor of this node may say within microseconds.
 */
bool
runtime_wait_for_answer(long timeout_ms, uint32 wait_event_info)
{
	static Linger linger;

	return wait_for_mail(&linger, timeout_ms, wait_event_info);
}

/*
 * runtime_wait_for_node
 *		The same, for what another node may say before a millisecond is over.
 *
 * If fewer processes of this server wait so than it has processors.
 */
bool
runtime_wait_for_node(long timeout_ms, uint32 wait_event_info)
{
	static Linger linger = {.most_us = NODE_LINGER_US};

	linger.waiting = &scheduler_pool->waiting_for_node;
	linger.most_waiting = scheduler_pool->n_processors - 1;
	return wait_for_mail(&linger, timeout_ms, wait_event_info);
}

/* ------------------------------------------------------ the session's own */

static BoundActor *session;
static MemoryContext session_context;

static BoundActor *
session_actor(void)
{
	if (session == NULL)
	{
		if (session_context == NULL)
			session_context = AllocSetContextCreate(TopMemoryContext, "dlog session actor", ALLOCSET_SMALL_SIZES);
		session = bound_actor_spawn(session_context, "session");
	}
	return session;
}

/* Leave the address to what may still come for it. */
static void
session_actor_forget(void)
{
	bound_actor_exit(session);
	session = NULL;
	MemoryContextReset(session_context);
}

ActorAddress
session_address(void)
{
	return session_actor()->address;
}

/*
 * session_send
 *		Send in the name of this session.
 */
SendResult
session_send(ActorAddress to, uint16 type, const void *payload, Size size)
{
	return actor_post(session_actor()->address, to, type, payload, size);
}

/*
 * session_ask
 *		Send in the name of this session, and wait for the answer.
 *
 * The session's actor takes part in one ask at a time, so the first message
 * from the other one is the answer; for that an ask that failed gives up the
 * address.
 */
Message *
session_ask(ActorAddress to, uint16 type, const void *payload, Size size,
			long timeout_ms, SendResult *result)
{
	BoundActor *actor = session_actor();
	TimestampTz deadline = 0;
	Message *answer = NULL;
	uint64 begun_us = clock_now_us();

	if (timeout_ms >= 0)
		deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	*result = SEND_NO_ACTOR;
	if (to.node == THIS_NODE)
		actor_monitor(actor->address, to);
	PG_TRY();
	{
		*result = actor_post(actor->address, to, type, payload, size);
		while (*result == SEND_OK && answer == NULL)
		{
			Message *message = bound_actor_receive(actor);
			long left_ms = -1;

			if (message == NULL)
			{
				if (timeout_ms >= 0)
					left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
				if (left_ms == 0)
					break;
				(void) runtime_wait_for_answer(left_ms, WaitEventExtensionNew("DlogAsk"));
				continue;
			}
			if (!actor_address_equal(message->from, to))
			{
				/* of an earlier conversation that has ended */
				message_free(message);
				continue;
			}
			if (message->type == MESSAGE_UNDELIVERED || message->type == MESSAGE_DOWN)
			{
				UndeliveredMessage undelivered;

				*result = SEND_NO_ACTOR;
				if (message->type == MESSAGE_UNDELIVERED &&
					undelivered_read(message->payload, message->size, &undelivered))
					*result = (SendResult) undelivered.reason;
				message_free(message);
				break;
			}
			answer = message;
		}
	}
	PG_CATCH();
	{
		if (to.node == THIS_NODE)
			actor_demonitor(actor->address, to);
		session_actor_forget();
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (to.node == THIS_NODE)
		actor_demonitor(actor->address, to);
	if (answer == NULL)
		session_actor_forget();
	else
		statistics_asked((clock_now_us() - begun_us) * 1000);
	return answer;
}

/* ---------------------------------------------------------------- leaving */

/* This process leaves: all of its actors exit. */
void
bound_exit_all(const char *reason)
{
	while (!dlist_is_empty(&living))
		exit_with_reason(dlist_head_element(BoundActor, node, &living), reason);
}

/* This process was forked: the actors are its parent's. */
void
bound_forget_all(void)
{
	dlist_init(&living);
	session = NULL;
	has_news = false;
}
