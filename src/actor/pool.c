/*
 * pool.c
 *		The run queues of each database: actors that have something to do.
 *
 * An actor is in one of them at most, which its RunState sees to.  Anybody but
 * the network process pushes an actor onto the stack of those that arrived;
 * schedulers put them into the common queue.  What a scheduler's own commits
 * push goes into a queue of its own: its messages, and what they are for, are
 * in that processor's cache.  Who has nothing else to do takes from the own
 * queue of another that has much, or that does not look after it.
 *
 * A scheduler takes some actors to run one after the other, and gives back
 * what it has not run when it is kept from that.  The network process may die
 * at any instruction, so it only leaves messages in the inbox, and a scheduler
 * delivers them.
 *
 * One active scheduler is enough until there is more than it can soon do.  Who
 * pushes wakes one only if none is active; one that stops being active looks
 * into the queues afterwards, so nothing is left lying.  One that naps will
 * look in a millisecond: who has nothing urgent lets it sleep, so that many
 * senders cost few wake-ups.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/shmem.h"

#include "actor/actor_internal.h"
#include "base/guc.h"

/* With so many more in a queue a second scheduler is worth waking. */
#define WORTH_HELP 64

/* So many schedulers, of all databases, have queues of their own. */
#define MAX_OWN_QUEUES 64

/* A scheduler takes so many at most, and runs them one after the other. */
#define TAKEN 32
#define TAKEN_COMMON 8
/* What it needs of so many of them is fetched ahead. */
#define PREFETCH_TURNS 3

static ActorPool *pools;
static OwnQueue *queues; /* own_count() of them */
static int *pool_tranche;

/* Of this process: its queue, if it is a scheduler that has one. */
static OwnQueue *my_queue;

/* Of this process: actors that it has taken, and not run yet. */
static SqlActor *taken[TAKEN];
static int next_taken = 0;
static int n_taken = 0;

static bool is_napping = false;

/* Of this process: actors that are held back, linked from the newest. */
static bool is_holding = false;
static uint32 held_first = 0;
static uint32 n_held = 0;
static SqlActor *held_last;

/* ----------------------------------------------------- the common queue */

/* Actors that are linked from the newest go to its end, in their order.  Under its lock. */
static void
common_append(ActorPool *pool, uint32 newest)
{
	uint32 oldest = 0;
	uint32 last = newest;

	while (newest != 0)
	{
		SqlActor *actor = sql_actor_at(newest);
		uint32 next = actor->next_run;

		pool->waiting++;
		actor->next_run = oldest;
		oldest = newest;
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

/* The first of it.  Under its lock. */
static SqlActor *
common_pop(ActorPool *pool)
{
	SqlActor *actor = sql_actor_at(pool->first);

	pool->first = actor->next_run;
	if (pool->first == 0)
		pool->last = 0;
	pool->waiting--;
	return actor;
}

static bool
common_has_work(const ActorPool *pool)
{
	return pg_atomic_read_u64((pg_atomic_uint64 *) &pool->arrived) != 0 ||
		   *(const volatile uint32 *) &pool->first != 0;
}

/* ------------------------------------------------------- queues of schedulers */

/* One for each process that could be a scheduler. */
static uint32
own_count(void)
{
	return Min(max_worker_processes, MAX_OWN_QUEUES);
}

static uint32
own_waiting(const OwnQueue *queue)
{
	return *(const volatile uint32 *) &queue->tail - *(const volatile uint32 *) &queue->head;
}

/* May this process take from it? */
static bool
own_is_open(const OwnQueue *queue, int database)
{
	uint32 waiting = own_waiting(queue);

	if (waiting == 0 || queue->database != database)
		return false;
	return queue == my_queue || !*(const volatile bool *) &queue->is_active || waiting > WORTH_HELP;
}

/* Is this an active scheduler, which will look into its queue? */
static bool
has_own(void)
{
	return my_queue != NULL && my_queue->is_active;
}

/*
 * Put actors, linked from the newest, into this scheduler's queue in their
 * order.  False: there is no room for all of them.
 */
static bool
push_own(uint32 newest, uint32 n)
{
	bool has_room;

	LWLockAcquire(&my_queue->lock, LW_EXCLUSIVE);
	has_room = own_waiting(my_queue) + n <= OWN_SLOTS;
	if (has_room)
	{
		uint32 at = my_queue->tail += n;

		for (; newest != 0; newest = sql_actor_at(newest)->next_run)
			my_queue->slot[--at % OWN_SLOTS] = newest;
	}
	LWLockRelease(&my_queue->lock);
	return has_room;
}

/* ---------------------------------------------------------------- pushing */

static void
wake(int database)
{
	if (!runtime_wake_scheduler(database))
		runtime_call_for_schedulers();
}

/*
 * pool_wake
 *		Have a scheduler look, unless one will anyway.
 */
void
pool_wake(int database)
{
	if (pg_atomic_read_u32(&pools[database].active) == 0)
		wake(database);
}

/*
 * pool_hurry
 *		What somebody else has pushed has become urgent.
 */
void
pool_hurry(int database)
{
	if (pg_atomic_read_u32(&pools[database].napping) != 0)
		pool_wake(database);
}

/* Put actors, linked from the newest to the oldest, among those that arrived. */
static void
push_chain(int database, uint32 first, SqlActor *last, bool is_urgent)
{
	ActorPool *pool = &pools[database];
	uint64 newest = pg_atomic_read_u64(&pool->arrived);

	do
		last->next_run = (uint32) newest;
	while (!pg_atomic_compare_exchange_u64(&pool->arrived, &newest, first));
	if (is_urgent || pg_atomic_read_u32(&pool->napping) == 0)
		pool_wake(database);
}

/*
 * pool_push
 *		Put an actor into a queue.  It must be QUEUED by the caller.
 */
void
pool_push(SqlActor *actor, uint32 slot, bool is_urgent)
{
	bool is_system = actor->kind == ACTOR_OF_SYSTEM;

	if (is_system)
		pg_atomic_fetch_add_u32(&pools[actor->database].system_waiting, 1);
	if (is_system || (is_urgent && !has_own()))
		push_chain(actor->database, slot, actor, true);
	else if (is_holding && (held_first == 0 || held_last->database == actor->database))
	{
		actor->next_run = held_first;
		if (held_first == 0)
			held_last = actor;
		held_first = slot;
		n_held++;
	}
	else
		push_chain(actor->database, slot, actor, false);
}

/*
 * pool_hold, pool_let_go
 *		What this process pushes between the two goes into a queue at once at
 *		the end.  Nothing may fail meanwhile.
 */
void
pool_hold(void)
{
	is_holding = true;
}

void
pool_let_go(void)
{
	uint32 first = held_first;
	uint32 n = n_held;

	is_holding = false;
	held_first = n_held = 0;
	if (first != 0 && (!has_own() || !push_own(first, n)))
		push_chain(held_last->database, first, held_last, false);
}

/*
 * pool_push_inbox
 *		Leave a message for an actor.  The network process.
 */
void
pool_push_inbox(int database, Message *message)
{
	ActorPool *pool = &pools[database];
	uint64 newest = pg_atomic_read_u64(&pool->inbox);

	do
		message->next = (Message *) newest;
	while (!pg_atomic_compare_exchange_u64(&pool->inbox, &newest, (uint64) message));
	pool_wake(database);
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

/* ----------------------------------------------------------------- taking */

/*
 * Those that arrived go to the end of the common queue, system actors to its
 * beginning.  Under its lock.
 */
static void
order_arrived(ActorPool *pool)
{
	uint32 newest;
	uint32 *link = &newest;

	if (pg_atomic_read_u64(&pool->arrived) == 0)
		return;
	newest = (uint32) pg_atomic_exchange_u64(&pool->arrived, 0);
	while (*link != 0 && pg_atomic_read_u32(&pool->system_waiting) > 0)
	{
		uint32 slot = *link;
		SqlActor *actor = sql_actor_at(slot);

		if (actor->kind != ACTOR_OF_SYSTEM)
		{
			link = &actor->next_run;
			continue;
		}
		*link = actor->next_run;
		actor->next_run = pool->first;
		pool->first = slot;
		if (pool->last == 0)
			pool->last = slot;
		pool->waiting++;
	}
	common_append(pool, newest);
}

/*
 * Have the processor fetch what a turn will look at: with many actors nothing
 * of theirs is in its cache.
 */
static void
prefetch(SqlActor *actor)
{
	char *mail = (char *) pg_atomic_read_u64(&actor->mail);

	__builtin_prefetch(actor->body, 1);
	__builtin_prefetch(actor->state);
	__builtin_prefetch(mail, 1);
	__builtin_prefetch(mail + PREFETCH_LINE);
}

/* A system actor, which goes before all others; NULL: none waits. */
static SqlActor *
take_system(ActorPool *pool)
{
	SqlActor *actor = NULL;

	if (pg_atomic_read_u32(&pool->system_waiting) == 0)
		return NULL;
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	order_arrived(pool);
	if (pool->first != 0 && sql_actor_at(pool->first)->kind == ACTOR_OF_SYSTEM)
	{
		actor = common_pop(pool);
		pg_atomic_fetch_sub_u32(&pool->system_waiting, 1);
	}
	LWLockRelease(&pool->lock);
	return actor;
}

/*
 * Take some of those that have waited longest in the common queue: one, and a
 * share of the rest.
 */
static bool
take_common(ActorPool *pool)
{
	uint32 sharers = 2 * Max(1, pg_atomic_read_u32(&pool->active));
	uint32 n;
	bool are_many;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	order_arrived(pool);
	n = Min(TAKEN_COMMON, 1 + pool->waiting / sharers);
	while (n_taken < n && pool->first != 0 && sql_actor_at(pool->first)->kind != ACTOR_OF_SYSTEM)
		taken[n_taken++] = common_pop(pool);
	are_many = pool->waiting > WORTH_HELP;
	LWLockRelease(&pool->lock);
	return are_many;
}

/* The same from the queue of a scheduler; and have the next ones fetched. */
static bool
take_own(OwnQueue *queue)
{
	uint32 waiting;
	uint32 n;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	waiting = own_waiting(queue);
	n = Min(TAKEN, queue == my_queue ? waiting : (waiting + 1) / 2);
	while (n_taken < n)
		taken[n_taken++] = sql_actor_at(queue->slot[queue->head++ % OWN_SLOTS]);
	for (uint32 i = 0; i < Min(TAKEN, waiting - n); i++)
		__builtin_prefetch(sql_actor_at(queue->slot[(queue->head + i) % OWN_SLOTS]), 1);
	LWLockRelease(&queue->lock);
	return waiting - n > WORTH_HELP;
}

/*
 * The common queue and this scheduler's own take turns.  After some from the
 * common one, all that waits in its own has its turn, what those have sent to
 * included: soon enough to be in the processor's cache.  Then come the queues
 * of others.  True: there is work for one more.
 */
static bool
take_some(ActorPool *pool, int database)
{
	static bool was_common = false;
	static uint32 left = 0; /* in its own, that has its turn */
	uint32 waiting = my_queue == NULL ? 0 : own_waiting(my_queue);
	bool are_many = false;

	next_taken = n_taken = 0;
	left = was_common ? waiting : Min(left, waiting);
	was_common = left == 0 && common_has_work(pool);
	if (was_common)
		are_many = take_common(pool);
	if (n_taken == 0 && waiting > 0)
	{
		are_many = take_own(my_queue);
		left -= Min(left, n_taken);
	}
	for (uint32 i = 0; i < own_count() && n_taken == 0; i++)
		if (own_is_open(&queues[i], database))
			are_many = take_own(&queues[i]);
	for (int i = 0; i < Min(n_taken, PREFETCH_TURNS); i++)
		prefetch(taken[i]);
	return are_many;
}

/*
 * pool_pop
 *		An actor that has waited for long, the caller's to run; or NULL.
 *
 * The caller is active.  It may have taken more than this one; those it runs
 * next, or gives back.
 */
SqlActor *
pool_pop(int database, bool *wants_help)
{
	ActorPool *pool = &pools[database];
	SqlActor *actor;

	*wants_help = false;
	deliver_inbox(pool);
	actor = take_system(pool);
	if (actor == NULL)
	{
		if (next_taken == n_taken)
			*wants_help = take_some(pool, database);
		if (next_taken == n_taken)
			return NULL;
		actor = taken[next_taken++];
		if (next_taken + PREFETCH_TURNS - 1 < n_taken)
			prefetch(taken[next_taken + PREFETCH_TURNS - 1]);
	}
	Assert(pg_atomic_read_u32(&actor->run) == RUN_QUEUED);
	pg_atomic_write_u32(&actor->run, RUN_RUNNING);
	return actor;
}

/*
 * pool_give_back
 *		What this scheduler has taken and not run yet is for others, too.
 *
 * Also in a signal handler while an actor runs.
 */
void
pool_give_back(int database)
{
	SqlActor *oldest = taken[next_taken];
	uint32 newest = 0;

	if (next_taken == n_taken)
		return;
	while (next_taken < n_taken)
	{
		SqlActor *actor = taken[next_taken++];

		actor->next_run = newest;
		newest = actor->body->self.slot;
	}
	push_chain(database, newest, oldest, true);
}

/*
 * pool_has_work
 *		Is there something that this process, if it is a scheduler, should run?
 */
bool
pool_has_work(int database)
{
	ActorPool *pool = &pools[database];

	if (pg_atomic_read_u64(&pool->inbox) != 0 || common_has_work(pool))
		return true;
	for (uint32 i = 0; i < own_count(); i++)
		if (own_is_open(&queues[i], database))
			return true;
	return false;
}

/*
 * pool_waiting
 *		How many actors wait that this scheduler would run, roughly.
 */
uint32
pool_waiting(int database)
{
	return *(volatile uint32 *) &pools[database].waiting + (my_queue == NULL ? 0 : own_waiting(my_queue)) +
		   (n_taken - next_taken);
}

bool
pool_has_system_waiting(int database)
{
	return pg_atomic_read_u32(&pools[database].system_waiting) > 0;
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
	for (uint32 i = 0; i < own_count(); i++)
	{
		LWLockAcquire(&queues[i].lock, LW_EXCLUSIVE);
		if (queues[i].database == database)
			queues[i].head = queues[i].tail;
		LWLockRelease(&queues[i].lock);
	}
}

/* ------------------------------------------------------------- schedulers */

/*
 * A queue of its own for this process: an empty one, or one of this database.
 * There may be none.
 */
static void
claim_queue(int database)
{
	for (uint32 i = 0; i < own_count() && my_queue == NULL; i++)
	{
		OwnQueue *queue = &queues[i];
		uint32 nobody = 0;

		if (!pg_atomic_compare_exchange_u32(&queue->owner, &nobody, process_slot()))
			continue;
		LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
		if (own_waiting(queue) == 0 || queue->database == database)
		{
			queue->database = database;
			my_queue = queue;
		}
		LWLockRelease(&queue->lock);
		if (my_queue == NULL)
			pg_atomic_write_u32(&queue->owner, 0);
	}
}

/*
 * pool_enter, pool_leave
 *		This scheduler begins to look regularly, and stops doing so; also in a
 *		signal handler while an actor runs.
 *
 * Full barriers; who has left, or somebody it wakes, looks again.
 */
void
pool_enter(int database)
{
	if (my_queue == NULL)
		claim_queue(database);
	if (my_queue != NULL)
		my_queue->is_active = true;
	pg_atomic_fetch_add_u32(&pools[database].active, 1);
}

void
pool_leave(int database)
{
	if (my_queue != NULL)
		my_queue->is_active = false;
	pg_atomic_fetch_sub_u32(&pools[database].active, 1);
}

/*
 * pool_exit
 *		This scheduler exits, and has left.  What is in its queue is for others.
 */
void
pool_exit(int database)
{
	pool_nap(database, false);
	pool_let_go();
	pool_give_back(database);
	if (my_queue != NULL)
		pg_atomic_write_u32(&my_queue->owner, 0);
	my_queue = NULL;
}

/*
 * pool_nap
 *		This scheduler begins, or ends, a nap: it looks after a millisecond.
 *
 * A full barrier, as above.
 */
void
pool_nap(int database, bool naps)
{
	if (naps == is_napping)
		return;
	is_napping = naps;
	if (naps)
		pg_atomic_fetch_add_u32(&pools[database].napping, 1);
	else
		pg_atomic_fetch_sub_u32(&pools[database].napping, 1);
}

/* --------------------------------------------------------- shared memory */

static Size
queues_size(void)
{
	return mul_size(own_count(), sizeof(OwnQueue));
}

Size
pool_shmem_size(void)
{
	return add_size(add_size(sizeof(int), queues_size()), mul_size(RUNTIME_MAX_DATABASES, sizeof(ActorPool)));
}

void
pool_shmem_init(void)
{
	bool found;

	pool_tranche = ShmemInitStruct("dlog actor tranche", sizeof(int), &found);
	if (!found)
		*pool_tranche = LWLockNewTrancheId();
	LWLockRegisterTranche(*pool_tranche, "DlogActors");

	/* Zero, as all shared memory is at first: its slots cost none until they are used. */
	queues = ShmemInitStruct("dlog own queues", queues_size(), &found);
	for (uint32 i = 0; i < own_count() && !found; i++)
	{
		LWLockInitialize(&queues[i].lock, *pool_tranche);
		pg_atomic_init_u32(&queues[i].owner, 0);
	}
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
		pg_atomic_init_u32(&pools[i].napping, 0);
		pg_atomic_init_u32(&pools[i].system_waiting, 0);
	}
}
