/*
 * pool.c
 *		The run queue of each database: actors that have something to do.
 *
 * An actor is in it at most once, which its RunState sees to.  Anybody but
 * the network process pushes an actor onto the stack of those that arrived;
 * schedulers put them into order and take them one by one.  The network
 * process may die at any instruction, so it only leaves messages in the inbox,
 * and a scheduler delivers them.
 *
 * One active scheduler is enough until there is more than it can soon do.  Who
 * pushes wakes one only if none is active; one that stops being active looks
 * into the queue afterwards, so nothing is left lying.
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "actor/actor_internal.h"
#include "base/guc.h"

/* With so many more in the queue a second scheduler is worth waking. */
#define WORTH_HELP 64

static ActorPool *pools;
static int *pool_tranche;

ActorPool *
pool_at(int database)
{
	return &pools[database];
}

/* Have a scheduler look, unless one will anyway. */
void
pool_wake(int database)
{
	if (pg_atomic_read_u32(&pools[database].active) != 0)
		return;
	if (!runtime_wake_scheduler(database))
		runtime_call_for_schedulers();
}

/*
 * pool_push_chain
 *		Put actors, linked from "first" to "last", into the queue.  They must
 *		be QUEUED by the caller.
 */
void
pool_push_chain(int database, uint32 first, SqlActor *last)
{
	ActorPool *pool = &pools[database];
	uint64 newest = pg_atomic_read_u64(&pool->arrived);

	do
		last->next_run = (uint32) newest;
	while (!pg_atomic_compare_exchange_u64(&pool->arrived, &newest, first));
	pool_wake(database);
}

void
pool_push(SqlActor *actor, uint32 slot)
{
	if (actor->is_system)
		pg_atomic_fetch_add_u32(&pools[actor->database].system_waiting, 1);
	pool_push_chain(actor->database, slot, actor);
}

/*
 * Those that arrived go to the end of the queue, system actors to its
 * beginning.  Under the lock.
 */
static void
order_arrived(ActorPool *pool)
{
	uint32 newest;
	uint32 oldest = 0;
	uint32 last = 0;

	if (pg_atomic_read_u64(&pool->arrived) == 0)
		return;
	newest = (uint32) pg_atomic_exchange_u64(&pool->arrived, 0);
	while (newest != 0)
	{
		SqlActor *actor = sql_actor_at(newest);
		uint32 next = actor->next_run;

		pool->waiting++;
		if (actor->is_system)
		{
			actor->next_run = pool->first;
			pool->first = newest;
			if (pool->last == 0)
				pool->last = newest;
		}
		else
		{
			actor->next_run = oldest;
			oldest = newest;
			if (last == 0)
				last = newest;
		}
		newest = next;
	}
	if (oldest == 0)
		return;
	if (pool->first == 0)
		pool->first = oldest;
	else
		sql_actor_at(pool->last)->next_run = oldest;
	pool->last = last;
}

/* What the network process left is delivered in its name. */
static void
deliver_inbox(ActorPool *pool)
{
	Message *newest;
	Message *oldest = NULL;

	if (pg_atomic_read_u64(&pool->inbox) == 0)
		return;
	newest = (Message *) pg_atomic_exchange_u64(&pool->inbox, 0);
	while (newest != NULL)
	{
		Message *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest != NULL)
	{
		Message *message = oldest;
		ActorAddress to = message->to;
		SqlActor *actor = sql_actor_find(to);

		oldest = message->next;
		if (actor == NULL)
			actor_send_undelivered(message, SEND_NO_ACTOR);
		else if ((message->flags & MESSAGE_CONTROL) == 0 && !sql_actor_reserve(actor, to))
			actor_send_undelivered(message, SEND_MAILBOX_FULL);
		else
		{
			if ((message->flags & MESSAGE_CONTROL) == 0)
				message->flags |= MESSAGE_RESERVED;
			(void) actor_send(to, message);
		}
	}
}

/*
 * Have the processor fetch what the next turns will look at: with many actors
 * nothing of theirs is in its cache.  Of the first what it refers to, and the
 * one after it; each is looked at here when it has come already.
 */
static void
prefetch(const ActorPool *pool)
{
	SqlActor *next = sql_actor_at(pool->first);
	SqlActor *second = sql_actor_at(next->next_run);

	__builtin_prefetch(next->body);
	__builtin_prefetch(next->state);
	__builtin_prefetch((void *) pg_atomic_read_u64(&next->mail));
	__builtin_prefetch(second);
}

/*
 * pool_pop
 *		The actor that has waited longest, the caller's to run; or NULL.
 */
SqlActor *
pool_pop(int database, bool *wants_help)
{
	ActorPool *pool = &pools[database];
	SqlActor *actor = NULL;

	deliver_inbox(pool);
	if (!pool_has_work(database))
		return NULL;
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	order_arrived(pool);
	if (pool->first != 0)
	{
		actor = sql_actor_at(pool->first);
		pool->first = actor->next_run;
		if (pool->first == 0)
			pool->last = 0;
		else
			prefetch(pool);
		pool->waiting--;
		*wants_help = pool->waiting > WORTH_HELP;
	}
	LWLockRelease(&pool->lock);
	if (actor == NULL)
		return NULL;
	if (actor->is_system)
		pg_atomic_fetch_sub_u32(&pool->system_waiting, 1);
	Assert(pg_atomic_read_u32(&actor->run) == RUN_QUEUED);
	pg_atomic_write_u32(&actor->run, RUN_RUNNING);
	return actor;
}

bool
pool_has_work(int database)
{
	ActorPool *pool = &pools[database];

	return pg_atomic_read_u64(&pool->arrived) != 0 || pg_atomic_read_u64(&pool->inbox) != 0 ||
		   *(volatile uint32 *) &pool->first != 0;
}

/* Its actors are gone, and its schedulers. */
void
pool_clear(int database)
{
	ActorPool *pool = &pools[database];

	deliver_inbox(pool);
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	pg_atomic_write_u64(&pool->arrived, 0);
	pool->first = pool->last = pool->waiting = 0;
	pg_atomic_write_u32(&pool->system_waiting, 0);
	LWLockRelease(&pool->lock);
}

/* This scheduler begins to look regularly, and stops doing so. */
void
pool_enter(int database)
{
	pg_atomic_fetch_add_u32(&pools[database].active, 1);
}

/* A full barrier; the caller, or somebody it wakes, looks again. */
void
pool_leave(int database)
{
	pg_atomic_fetch_sub_u32(&pools[database].active, 1);
}

/* --------------------------------------------------------- shared memory */

Size
pool_shmem_size(void)
{
	return add_size(sizeof(int), mul_size(RUNTIME_MAX_DATABASES, sizeof(ActorPool)));
}

void
pool_shmem_init(void)
{
	bool found;

	pool_tranche = ShmemInitStruct("dlog actor tranche", sizeof(int), &found);
	if (!found)
		*pool_tranche = LWLockNewTrancheId();
	LWLockRegisterTranche(*pool_tranche, "DlogActors");
	pools = ShmemInitStruct("dlog actor pools", mul_size(RUNTIME_MAX_DATABASES, sizeof(ActorPool)), &found);
	if (found)
		return;
	memset(pools, 0, mul_size(RUNTIME_MAX_DATABASES, sizeof(ActorPool)));
	for (int i = 0; i < RUNTIME_MAX_DATABASES; i++)
	{
		LWLockInitialize(&pools[i].lock, *pool_tranche);
		pg_atomic_init_u64(&pools[i].arrived, 0);
		pg_atomic_init_u64(&pools[i].inbox, 0);
		pg_atomic_init_u32(&pools[i].active, 0);
		pg_atomic_init_u32(&pools[i].system_waiting, 0);
	}
}
