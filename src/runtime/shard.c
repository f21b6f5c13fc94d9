/*
 * shard.c
 *		Who holds which shard of native actors.
 *
 * Who holds a shard is one word: nobody, a scheduler, or a scheduler with
 * IN_TRANSIT: it was given the shard and has not taken it yet.  Whoever
 * pushes onto an empty stack of arrived blocks sees to it that somebody
 * looks: it *notifies* the holder by a bit in the holder's word and its
 * latch, or gives a shard that nobody holds to an idle scheduler.  If there
 * is none the shard is an *orphan* until a scheduler becomes idle.
 *
 * A scheduler *accepts* shards until it runs SQL work or exits.  It then
 * hands over all that it holds.  Giver and leaver each write first and look
 * at the other's word afterwards, so no shard gets stuck in between.
 *
 * Order per pair of actors is kept while shards move: outboxes are flushed
 * before a shard is given away or released; and whoever takes a shard first
 * drains what has arrived in all shards that it holds, since actors in the
 * new one may have sent there before they came here.
 *
 * No locks.  The network process sends like any outsider; should it die
 * before it notifies, shards_wake_waiting() does that.
 */
#include "postgres.h"

#include <unistd.h>

#include "port/pg_bitutils.h"
#include "storage/shmem.h"

#include "base/stop_point.h"
#include "runtime/shard_internal.h"

#define NOBODY 0
#define IN_TRANSIT ((uint32) 1 << 31)
#define HOLDER(scheduler) ((uint32) (scheduler) + 1)
#define SCHEDULER_OF(holder) ((int) ((holder) & ~IN_TRANSIT) - 1)

/* Waiting work, in time, that is worth waking another scheduler for. */
#define GIVE_US 100

Shards *shards;
uint64 shards_per_slot;
Running my = {.number = -1};

/* Was something pushed that its holder has not looked at? */
bool
shard_has_arrivals(const Shard *shard)
{
	return pg_atomic_read_u64((pg_atomic_uint64 *) &shard->arrived) != 0 ||
		   pg_atomic_read_u64((pg_atomic_uint64 *) &shard->control) != 0;
}

/* Is there nothing to do in a shard that we hold, but for what others may push? */
bool
shard_is_at_rest(const Shard *shard)
{
	return queue_is_empty(shard) && shard->first_deferred == 0 &&
		   shard->first_control == NULL && shard->refused.first == NULL;
}

/* ----------------------------------------------------------------- taking */

/*
 * A shard has become ours.  Before anything is appended to any of ours
 * directly, what was sent there before has to be in the queues.
 */
static void
taken(int number)
{
	MailBlock *outbox = NULL;
	uint64 left;

	STOP_POINT("shard-taken");
	my.runner->statistics.taken++;
	if (my.outboxes & BIT(number))
		outbox = my.open[number];
	my.outboxes &= ~BIT(number);
	my.held |= BIT(number);
	my.open[number] = &no_room;
	for (left = my.held; left != 0; left &= left - 1)
		queue_drain(pg_rightmost_one_pos64(left));
	if (outbox != NULL)
		queue_append(number, outbox);
	if (!shard_is_at_rest(&shards->shard[number]) || shard_has_arrivals(&shards->shard[number]))
		my.runnable |= BIT(number);
}

/* Take a shard if nobody holds it. */
bool
shard_acquire(int number)
{
	uint32 expected = NOBODY;

	if (pg_atomic_read_u32(&shards->shard[number].holder) != NOBODY ||
		!pg_atomic_compare_exchange_u32(&shards->shard[number].holder, &expected, HOLDER(my.number)))
		return false;
	taken(number);
	return true;
}

/* ---------------------------------------------------------------- telling */

static void
notify(int scheduler, int number)
{
	pg_atomic_fetch_or_u64(&shards->runner[scheduler].notified, BIT(number));
	process_wake(scheduler_pool->slot[scheduler].process);
}

static bool
accepts(int scheduler)
{
	return pg_atomic_read_u32(&shards->runner[scheduler].accepts) != 0;
}

/*
 * A scheduler to give a shard to: an idle one while there are fewer running
 * than processors, or else one that runs.  -1: there is none.
 */
static int
somebody(void)
{
	int scheduler = -1;
	int i;

	if (pg_atomic_read_u32(&shards->n_running) < shards->most_running)
		scheduler = database_any_idle();
	for (i = 0; scheduler < 0 && i < scheduler_pool->n_slots; i++)
		if (pg_atomic_read_u32(&shards->runner[i].is_running) && accepts(i))
			scheduler = i;
	return scheduler < 0 ? database_any_idle() : scheduler;
}

/*
 * shard_route
 *		See to it that somebody looks at a shard into which something was
 *		pushed.  Any process.
 */
void
shard_route(int number)
{
	Shard *shard = &shards->shard[number];

	for (;;)
	{
		uint32 holder;
		int scheduler;

		pg_memory_barrier();
		holder = pg_atomic_read_u32(&shard->holder);
		if (holder == NOBODY && my.is_running)
		{
			if (shard_acquire(number))
				return;
			continue;
		}
		if (holder == NOBODY)
		{
			scheduler = somebody();
			if (scheduler < 0)
			{
				/* Who becomes idle marks itself first and looks for orphans then. */
				pg_atomic_fetch_or_u64(&shards->orphans, BIT(number));
				if (somebody() < 0)
				{
					launcher_wake();
					return;
				}
				continue;
			}
			if (!pg_atomic_compare_exchange_u32(&shard->holder, &holder, HOLDER(scheduler) | IN_TRANSIT))
				continue;
			holder = HOLDER(scheduler) | IN_TRANSIT;
		}
		scheduler = SCHEDULER_OF(holder);
		notify(scheduler, number);
		pg_memory_barrier();
		if (accepts(scheduler) || (holder & IN_TRANSIT) == 0)
			return;

		/* It is leaving.  If it has not seen this shard, it is nobody's. */
		if (!pg_atomic_compare_exchange_u32(&shard->holder, &holder, NOBODY))
			return;
	}
}

/* Push a block to a shard that another process holds, or nobody. */
void
shard_push(int number, MailBlock *block)
{
	pg_atomic_uint64 *arrived = &shards->shard[number].arrived;
	uint64 newest = pg_atomic_read_u64(arrived);

	do
	{
		block->next = (MailBlock *) newest;

		/* If that one has just been taken the number is garbage, and unused. */
		block->stacked = block->count + (newest != 0 ? block->next->stacked : 0);
	} while (!pg_atomic_compare_exchange_u64(arrived, &newest, (uint64) block));

	/* Otherwise the one who pushed first sees to it. */
	STOP_POINT("shard-pushed");
	if (newest == 0)
		shard_route(number);
}

/* Let a shard have what is in the outbox for it. */
void
shard_flush(int number)
{
	MailBlock *block;

	if (my.is_running && shard_acquire(number))
		return;
	block = my.open[number];
	my.open[number] = &no_room;
	my.outboxes &= ~BIT(number);
	STOP_POINT("shard-flush");
	shard_push(number, block);
}

void
shards_flush(void)
{
	while (my.outboxes != 0)
		shard_flush(pg_rightmost_one_pos64(my.outboxes));
}

/* --------------------------------------------------------- being told */

/* Look at the shards that others told us of. */
void
shards_serve_notified(void)
{
	uint64 notified;

	if (pg_atomic_read_u64(&my.runner->notified) == 0)
		return;
	notified = pg_atomic_exchange_u64(&my.runner->notified, 0);
	for (; notified != 0; notified &= notified - 1)
	{
		int number = pg_rightmost_one_pos64(notified);
		Shard *shard = &shards->shard[number];
		uint32 given = HOLDER(my.number) | IN_TRANSIT;

		STOP_POINT("shard-notified");
		if (my.held & BIT(number))
			queue_drain(number);
		else if (pg_atomic_compare_exchange_u32(&shard->holder, &given, HOLDER(my.number)))
			taken(number);
		else if (shard_has_arrivals(shard))
			shard_route(number);
	}
}

void
shards_take_orphans(void)
{
	uint64 orphans;

	if (pg_atomic_read_u64(&shards->orphans) == 0)
		return;
	orphans = pg_atomic_exchange_u64(&shards->orphans, 0);
	for (; orphans != 0; orphans &= orphans - 1)
		shard_acquire(pg_rightmost_one_pos64(orphans));
}

/*
 * shards_have_work
 *		Is there something for shards_run() to do?
 */
bool
shards_have_work(void)
{
	return my.runnable != 0 || pg_atomic_read_u64(&my.runner->notified) != 0 ||
		   pg_atomic_read_u64(&shards->orphans) != 0;
}

/* ----------------------------------------------------------- letting go */

static void
forget(int number)
{
	my.held &= ~BIT(number);
	queue_rest(number);
}

/* Let go of a shard of ours.  Outboxes have been flushed. */
static void
release(int number)
{
	Shard *shard = &shards->shard[number];
	bool is_wanted;

	forget(number);
	if (shard->first != NULL && queue_is_empty(shard))
		arena_free(queue_shift(shard));
	is_wanted = !shard_is_at_rest(shard);
	pg_atomic_exchange_u32(&shard->holder, NOBODY);
	STOP_POINT("shard-released");
	if (is_wanted || shard_has_arrivals(shard))
		shard_route(number);
}

/* All that we hold. */
void
shards_release(void)
{
	uint64 left;

	for (left = my.held; left != 0; left &= left - 1)
		release(pg_rightmost_one_pos64(left));
}

/* Messages that wait in our shards. */
static uint64
count_waiting(void)
{
	uint64 waiting = 0;
	uint64 left;

	for (left = my.runnable; left != 0; left &= left - 1)
	{
		Shard *shard = &shards->shard[pg_rightmost_one_pos64(left)];

		waiting += queue_length(shard);
		if (shard->first_deferred != 0)
			waiting += actor_cold(shard->first_deferred)->depth;
	}
	return waiting;
}

/*
 * shards_give
 *		Give half of the shards with work to an idle scheduler, if the work
 *		that waits here is worth waking it: so many messages took us so long.
 */
void
shards_give(uint64 elapsed_us, uint64 messages)
{
	uint64 waiting;
	int scheduler;
	int n;

	if (pg_atomic_read_u32(&shards->n_running) >= shards->most_running)
		return;
	my.runner->statistics.waiting = waiting = count_waiting();
	if (waiting * elapsed_us < GIVE_US * messages)
		return;
	scheduler = database_any_idle();
	if (scheduler < 0 || scheduler == my.number)
		return;
	shards_flush();
	for (n = pg_popcount64(my.runnable) / 2; n > 0; n--)
	{
		int number = pg_rightmost_one_pos64(my.runnable);
		uint32 given = HOLDER(scheduler) | IN_TRANSIT;

		forget(number);
		pg_atomic_exchange_u32(&shards->shard[number].holder, given);
		STOP_POINT("shard-given");
		my.runner->statistics.given++;
		notify(scheduler, number);
		pg_memory_barrier();
		if (!accepts(scheduler))
		{
			if (pg_atomic_compare_exchange_u32(&shards->shard[number].holder, &given, HOLDER(my.number)))
				taken(number);
			return;
		}
	}
}

/*
 * shards_leave
 *		Hand over all shards: this scheduler is about to do something else,
 *		or to exit.
 *
 * If it exits out of a handler, that handler's actor is lost.
 */
void
shards_leave(void)
{
	int number;

	if (my.number < 0)
		return;
	shards_stop_running();
	pg_atomic_exchange_u32(&my.runner->accepts, 0);
	shards_flush();
	spare_blocks_free();
	for (number = 0; number < SHARDS; number++)
	{
		uint32 given = HOLDER(my.number) | IN_TRANSIT;

		if (pg_atomic_read_u32(&shards->shard[number].holder) == given &&
			pg_atomic_compare_exchange_u32(&shards->shard[number].holder, &given, HOLDER(my.number)))
			my.held |= BIT(number);
	}
	shards_release();
}

/*
 * shards_accept
 *		This scheduler, by its number, is there for native actors.
 */
void
shards_accept(int scheduler)
{
	int number;

	my.number = scheduler;
	my.runner = &shards->runner[scheduler];
	my.slots = actor_slot(0);
	my.wide = actor_wide(0);
	my.n_slots = actor_slots_limit();
	for (number = 0; number < SHARDS; number++)
		my.open[number] = &no_room;
	pg_atomic_exchange_u32(&my.runner->accepts, 1);
}

/* ------------------------------------------------------------- for others */

/*
 * shard_statistics
 *		What this scheduler did; read without stopping it.
 */
void
shard_statistics(int scheduler, ShardStatistics *statistics)
{
	memcpy(statistics, &shards->runner[scheduler].statistics, sizeof(ShardStatistics));
}

/* The network process died, perhaps before it notified somebody. */
void
shards_wake_waiting(void)
{
	int number;

	for (number = 0; number < SHARDS; number++)
		if (shard_has_arrivals(&shards->shard[number]))
			shard_route(number);
}

/* The scheduler that holds the actor's shard, or -1. */
int
shard_holder(uint32 slot)
{
	return SCHEDULER_OF(pg_atomic_read_u32(&shards->shard[SHARD_OF(slot)].holder));
}

/* --------------------------------------------------------- shared memory */

Size
shards_shmem_size(void)
{
	return sizeof(Shards) + PG_CACHE_LINE_SIZE;
}

void
shards_shmem_init(void)
{
	bool found;
	int i;

	shards = (Shards *) CACHELINEALIGN(ShmemInitStruct("dlog shards", shards_shmem_size(), &found));
	shards_per_slot = (UINT64CONST(1) << SHARD_SHIFT) / actor_slots_per_shard() + 1;
	if (found)
		return;
	memset(shards, 0, sizeof(Shards));
	pg_atomic_init_u64(&shards->orphans, 0);
	pg_atomic_init_u32(&shards->n_running, 0);
	shards->most_running = Max(sysconf(_SC_NPROCESSORS_ONLN), 1);
	for (i = 0; i < SHARDS; i++)
	{
		pg_atomic_init_u64(&shards->shard[i].arrived, 0);
		pg_atomic_init_u64(&shards->shard[i].control, 0);
		pg_atomic_init_u32(&shards->shard[i].holder, NOBODY);
	}
	for (i = 0; i < MAX_SCHEDULERS; i++)
	{
		pg_atomic_init_u64(&shards->runner[i].notified, 0);
		pg_atomic_init_u32(&shards->runner[i].accepts, 0);
		pg_atomic_init_u32(&shards->runner[i].is_running, 0);
	}
}
