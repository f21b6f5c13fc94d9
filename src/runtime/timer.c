/*
 * timer.c
 *		Messages that are sent later, once or again and again.
 *
 * Words.  A *timer* holds a message, when it is *due* and where it goes.  It
 * belongs to an actor of this node, its *owner*, and vanishes with it.  One
 * process at a time is the *keeper*: it sleeps until the earliest timer is
 * due and sends what is due then.  That is the launcher, and while there is
 * none an idle scheduler, so timers are nobody's whose end could take them
 * along.  Who sets a timer that is due before the keeper wakes up by itself
 * wakes it; nobody polls.
 *
 * The timers lie in a pairing heap, ordered by when they are due and then by
 * when they were set.  A timer comes out of a *chunk*, a block of 64 kB from
 * the arena that goes back there when all of its timers are free.  TimerId
 * names a place in a chunk and how often it was used, so that one that is
 * over is never taken for another.
 *
 * One lock guards all of this.  Under it nothing is sent and nothing is
 * allocated that could raise an error.
 */
#include "postgres.h"

#include "lib/pairingheap.h"
#include "storage/shmem.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/stop_point.h"
#include "runtime/runtime_internal.h"

#define NO_TIMER 0

/* Timers that are taken out of the heap before their messages are sent. */
#define FIRED_AT_A_TIME 64

/* A hundred years, and a day. */
#define LONGEST_MS (INT64CONST(36525) * LONGEST_SLEEP_MS)
#define LONGEST_SLEEP_MS 86400000

typedef struct Timer
{
	pairingheap_node node;
	uint64 due_us;
	uint64 every_us; /* 0: once */
	uint64 number;	 /* grows with each timer that is set */
	Message *message;
	ActorAddress owner;
	ActorAddress to;
	uint32 n_fired;
	uint32 uses;	 /* odd: it is set */
	uint32 next;	 /* of the owner's timers, or of the chunk's free ones */
	uint32 previous; /* of the owner's */
} Timer;

#define TIMERS_PER_CHUNK ((uint32) (ARENA_MAX_SIZE / sizeof(Timer)))

/* Timers are numbered from 1, chunk by chunk. */
#define CHUNK_OF(number) (((number) -1) / TIMERS_PER_CHUNK)
#define PLACE_OF(number) (((number) -1) % TIMERS_PER_CHUNK)

typedef struct TimerChunk
{
	Timer *timers;	   /* NULL: none now */
	uint32 used;	   /* timers that are set */
	uint32 first_free; /* number, or NO_TIMER */
	uint32 uses;	   /* of all timers when the chunk was made; even */
	int next_with_room;
	bool is_listed; /* among those with room */
} TimerChunk;

typedef struct Timers
{
	LWLock lock;
	pg_atomic_uint32 keeper;  /* a process slot, or PROCESS_NONE */
	uint64 wakes_at_us;		  /* when the keeper does; guarded by the lock */
	uint64 last_number;		  /* same */
	pairingheap heap;		  /* same */
	int first_with_room;	  /* same; -1: none */
	pg_atomic_uint32 n_set;	  /* written under the lock */
	pg_atomic_uint64 n_fired; /* no lock */
	int n_chunks;			  /* never changes after start */
	TimerChunk chunk[FLEXIBLE_ARRAY_MEMBER];
} Timers;

static Timers *timers;

static int
compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const Timer *one = pairingheap_const_container(Timer, node, a);
	const Timer *other = pairingheap_const_container(Timer, node, b);

	if (one->due_us != other->due_us)
		return one->due_us < other->due_us ? 1 : -1;
	return one->number < other->number ? 1 : -1;
}

/* ----------------------------------------------------------------- chunks */

static Timer *
timer_at(uint32 number)
{
	return &timers->chunk[CHUNK_OF(number)].timers[PLACE_OF(number)];
}

/* Make a chunk of this block, which is ours then.  False: there is no place. */
static bool
chunk_add(Timer *block)
{
	int number;
	TimerChunk *chunk;
	uint32 i;

	for (number = 0; number < timers->n_chunks; number++)
		if (timers->chunk[number].timers == NULL)
			break;
	if (number == timers->n_chunks)
		return false;
	chunk = &timers->chunk[number];
	chunk->timers = block;
	chunk->used = 0;
	chunk->first_free = number * TIMERS_PER_CHUNK + 1;
	for (i = 0; i < TIMERS_PER_CHUNK; i++)
	{
		block[i].uses = chunk->uses;
		block[i].next = i + 1 < TIMERS_PER_CHUNK ? chunk->first_free + i + 1 : NO_TIMER;
	}
	chunk->next_with_room = timers->first_with_room;
	chunk->is_listed = true;
	timers->first_with_room = number;
	return true;
}

/* The chunk is empty: its block, for who will free it. */
static Timer *
chunk_remove(int number)
{
	TimerChunk *chunk = &timers->chunk[number];
	Timer *block = chunk->timers;
	int *link = &timers->first_with_room;
	uint32 i;

	while (*link != number)
		link = &timers->chunk[*link].next_with_room;
	*link = chunk->next_with_room;
	for (i = 0; i < TIMERS_PER_CHUNK; i++)
		chunk->uses = Max(chunk->uses, block[i].uses);
	chunk->is_listed = false;
	chunk->timers = NULL;
	return block;
}

/* A timer to be filled in; NO_TIMER: a chunk has to be added first. */
static uint32
timer_claim(void)
{
	TimerChunk *chunk;
	uint32 number;

	if (timers->first_with_room < 0)
		return NO_TIMER;
	chunk = &timers->chunk[timers->first_with_room];
	number = chunk->first_free;
	chunk->first_free = timer_at(number)->next;
	chunk->used++;
	if (chunk->first_free == NO_TIMER)
	{
		timers->first_with_room = chunk->next_with_room;
		chunk->is_listed = false;
	}
	timer_at(number)->uses++;
	pg_atomic_write_u32(&timers->n_set, pg_atomic_read_u32(&timers->n_set) + 1);
	return number;
}

/*
 * Give back a timer that is in no heap and no list.  Returns the block of
 * its chunk if that is to be freed.  One empty chunk is kept.
 */
static Timer *
timer_release(uint32 number)
{
	int chunk_number = CHUNK_OF(number);
	TimerChunk *chunk = &timers->chunk[chunk_number];
	Timer *timer = timer_at(number);

	timer->uses++;
	timer->next = chunk->first_free;
	chunk->first_free = number;
	chunk->used--;
	pg_atomic_write_u32(&timers->n_set, pg_atomic_read_u32(&timers->n_set) - 1);
	if (!chunk->is_listed)
	{
		chunk->next_with_room = timers->first_with_room;
		chunk->is_listed = true;
		timers->first_with_room = chunk_number;
	}
	if (chunk->used == 0 &&
		(timers->first_with_room != chunk_number || chunk->next_with_room >= 0))
		return chunk_remove(chunk_number);
	return NULL;
}

/* -------------------------------------------------------- setting, ending */

/* In and out of its owner's list. */
static void
owner_add(uint32 number)
{
	Timer *timer = timer_at(number);
	ActorCold *slot = actor_cold(timer->owner.slot);

	timer->previous = NO_TIMER;
	timer->next = slot->timers;
	if (timer->next != NO_TIMER)
		timer_at(timer->next)->previous = number;
	slot->timers = number;
}

static void
owner_remove(uint32 number)
{
	Timer *timer = timer_at(number);

	if (timer->next != NO_TIMER)
		timer_at(timer->next)->previous = timer->previous;
	if (timer->previous != NO_TIMER)
		timer_at(timer->previous)->next = timer->next;
	else
		actor_cold(timer->owner.slot)->timers = timer->next;
}

/* Wake the keeper if it would be late for this. */
static void
wake_keeper(void)
{
	uint32 keeper = pg_atomic_read_u32(&timers->keeper);

	if (keeper != PROCESS_NONE)
		process_wake(keeper);
	else
	{
		int scheduler = database_any_idle();

		if (scheduler >= 0)
			process_wake(scheduler_pool->slot[scheduler].process);
	}
}

/*
 * Fill a timer in, under the lock.  NO_TIMER: its owner is gone.
 *
 * An actor that exits is marked first and its timers are looked for then;
 * here the timer is listed first and the mark is looked at then.
 */
static uint32
timer_set(ActorAddress owner, ActorAddress to, Message *message, uint64 due_us, uint64 every_us)
{
	uint32 number = timer_claim();
	Timer *timer = timer_at(number);

	timer->due_us = due_us;
	timer->every_us = every_us;
	timer->number = ++timers->last_number;
	timer->message = message;
	timer->owner = owner;
	timer->to = to;
	timer->n_fired = 0;
	owner_add(number);
	pg_memory_barrier();
	if (!actor_exists(owner))
	{
		owner_remove(number);
		(void) timer_release(number);
		return NO_TIMER;
	}
	pairingheap_add(&timers->heap, &timer->node);
	return number;
}

static TimerId
timer_start(ActorAddress owner, ActorAddress to, Message *message, int64 delay_ms, bool repeats)
{
	uint64 delay_us = (uint64) Max(Min(delay_ms, LONGEST_MS), repeats ? 1 : 0) * 1000;
	uint64 due_us = clock_now_us() + delay_us;
	uint32 number = NO_TIMER;
	TimerId id = 0;
	bool is_urgent = false;
	bool has_room = true;

	if (!actor_exists(owner))
	{
		message_free(message);
		return 0;
	}
	process_attach();
	LWLockAcquire(&timers->lock, LW_EXCLUSIVE);
	if (timers->first_with_room < 0)
	{
		Timer *block = arena_try_alloc(TIMERS_PER_CHUNK * sizeof(Timer));

		has_room = block != NULL && chunk_add(block);
		if (block != NULL && !has_room)
			arena_free(block);
	}
	if (has_room)
		number = timer_set(owner, to, message, due_us, repeats ? delay_us : 0);
	if (number != NO_TIMER)
	{
		id = (uint64) timer_at(number)->uses << 32 | number;
		is_urgent = due_us < timers->wakes_at_us;
	}
	LWLockRelease(&timers->lock);
	if (is_urgent)
		wake_keeper();
	if (number == NO_TIMER)
		message_free(message);
	if (!has_room)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("out of dlog's shared memory"),
				 errdetail("There is no room for another timer."),
				 errhint("Raise dlog.shared_memory_size; the view dlog.memory tells what is used.")));
	return id;
}

/*
 * timer_send_after, timer_send_every
 *		Send a message when so many milliseconds have passed, once, or each
 *		time that they have.
 *
 * Any process but the network process.  The timer belongs to "owner", an
 * actor of this node, and takes the message.  0 is returned when there is no
 * such actor.  A repeated one that is late skips what it has missed.  ERROR
 * 53400 when the arena is full.
 */
TimerId
timer_send_after(ActorAddress owner, ActorAddress to, Message *message, int64 delay_ms)
{
	return timer_start(owner, to, message, delay_ms, false);
}

TimerId
timer_send_every(ActorAddress owner, ActorAddress to, Message *message, int64 period_ms)
{
	return timer_start(owner, to, message, period_ms, true);
}

static bool
cancel(TimerId id, const ActorAddress *owner, uint32 *n_fired)
{
	uint32 number = (uint32) id;
	Message *message = NULL;
	Timer *block = NULL;

	if (number == NO_TIMER || CHUNK_OF(number) >= timers->n_chunks)
		return false;
	LWLockAcquire(&timers->lock, LW_EXCLUSIVE);
	if (timers->chunk[CHUNK_OF(number)].timers != NULL)
	{
		Timer *timer = timer_at(number);

		if (timer->uses == (uint32) (id >> 32) && timer->uses % 2 == 1 &&
			(owner == NULL || actor_address_equal(timer->owner, *owner)))
		{
			pairingheap_remove(&timers->heap, &timer->node);
			owner_remove(number);
			message = timer->message;
			*n_fired = timer->n_fired;
			block = timer_release(number);
		}
	}
	LWLockRelease(&timers->lock);
	if (message != NULL)
		message_free(message);
	if (block != NULL)
		arena_free(block);
	return message != NULL;
}

/*
 * timer_cancel
 *		The message will not be sent (again).  False if the timer is over;
 *		then the message may be under way.
 */
bool
timer_cancel(TimerId id)
{
	uint32 n_fired;

	return cancel(id, NULL, &n_fired);
}

/*
 * timer_cancel_own
 *		The same for a timer of this owner; numbers can be guessed.  False too
 *		if it is another's.  If it is true, so many messages have been sent.
 */
bool
timer_cancel_own(ActorAddress owner, TimerId id, uint32 *n_fired)
{
	return cancel(id, &owner, n_fired);
}

/*
 * timer_actor_exited
 *		An actor has been marked as exiting: its timers vanish.
 */
void
timer_actor_exited(ActorCold *slot)
{
	while (*(volatile uint32 *) &slot->timers != NO_TIMER)
	{
		Message *message = NULL;
		Timer *block = NULL;

		LWLockAcquire(&timers->lock, LW_EXCLUSIVE);
		if (slot->timers != NO_TIMER)
		{
			uint32 number = slot->timers;
			Timer *timer = timer_at(number);

			pairingheap_remove(&timers->heap, &timer->node);
			owner_remove(number);
			message = timer->message;
			block = timer_release(number);
		}
		LWLockRelease(&timers->lock);
		if (message != NULL)
			message_free(message);
		if (block != NULL)
			arena_free(block);
	}
}

/* ----------------------------------------------------------------- firing */

typedef struct Fired
{
	ActorAddress to;
	ActorAddress from;
	uint16 type;
	Message *message; /* NULL: there is no memory for it */
} Fired;

/* Take a due timer out.  One that repeats stays, and what is sent is a copy. */
static Fired
timer_fire(Timer *timer, uint32 number, uint64 now_us, Timer **block)
{
	Fired fired = {timer->to, timer->message->from, timer->message->type, timer->message};

	*block = NULL;
	(void) pairingheap_remove_first(&timers->heap);
	if (timer->every_us == 0)
	{
		owner_remove(number);
		*block = timer_release(number);
		return fired;
	}
	fired.message = message_try_create(timer->message->type, timer->message->size);
	if (fired.message != NULL)
	{
		memcpy(fired.message->payload, timer->message->payload, timer->message->size);
		fired.message->flags = timer->message->flags;
		fired.message->from = timer->message->from;
		timer->n_fired++;
	}
	timer->due_us += timer->every_us;
	if (timer->due_us <= now_us)
		timer->due_us += (now_us - timer->due_us) / timer->every_us * timer->every_us + timer->every_us;
	timer->number = ++timers->last_number;
	pairingheap_add(&timers->heap, &timer->node);
	return fired;
}

static uint32
number_of(const Timer *timer)
{
	/* the owner's list says which it is, without a search */
	if (timer->previous != NO_TIMER)
		return timer_at(timer->previous)->next;
	return actor_cold(timer->owner.slot)->timers;
}

/*
 * timers_serve
 *		Send what is due.  Returns the milliseconds until the next timer is,
 *		or -1.  For the keeper, right before it sleeps.
 */
long
timers_serve(void)
{
	Fired fired[FIRED_AT_A_TIME];
	Timer *blocks[FIRED_AT_A_TIME];
	long left_ms;
	int n;
	int i;

	do
	{
		uint64 now_us = clock_now_us();

		n = 0;
		left_ms = -1;
		LWLockAcquire(&timers->lock, LW_EXCLUSIVE);
		timers->wakes_at_us = PG_UINT64_MAX;
		while (n < FIRED_AT_A_TIME && !pairingheap_is_empty(&timers->heap))
		{
			Timer *timer = pairingheap_container(Timer, node, pairingheap_first(&timers->heap));

			if (timer->due_us > now_us)
			{
				timers->wakes_at_us = timer->due_us;
				left_ms = Min((timer->due_us - now_us + 999) / 1000, LONGEST_SLEEP_MS);
				break;
			}
			fired[n] = timer_fire(timer, number_of(timer), now_us, &blocks[n]);
			n++;
		}
		LWLockRelease(&timers->lock);
		for (i = 0; i < n; i++)
		{
			pg_atomic_fetch_add_u64(&timers->n_fired, 1);
			if (blocks[i] != NULL)
				arena_free(blocks[i]);
			STOP_POINT("timer-fired");
			if (fired[i].message != NULL)
				(void) actor_send(fired[i].to, fired[i].message);
			else
				(void) send_no_memory(fired[i].from, fired[i].to, fired[i].type);
		}
	} while (n > 0);
	return left_ms;
}

/*
 * timers_keep, timers_leave
 *		Become the keeper, if there is none, or in any case; and stop to be.
 */
bool
timers_keep(bool in_any_case)
{
	uint32 expected = PROCESS_NONE;

	if (pg_atomic_compare_exchange_u32(&timers->keeper, &expected, my_process_slot))
		return true;
	if (in_any_case)
		pg_atomic_exchange_u32(&timers->keeper, my_process_slot);
	return in_any_case || expected == my_process_slot;
}

void
timers_leave(void)
{
	uint32 expected = my_process_slot;

	/* Somebody else shall sleep for those that are left. */
	if (pg_atomic_compare_exchange_u32(&timers->keeper, &expected, PROCESS_NONE) &&
		pg_atomic_read_u32(&timers->n_set) > 0)
		wake_keeper();
}

uint32
timer_count(void)
{
	return pg_atomic_read_u32(&timers->n_set);
}

uint64
timers_fired(void)
{
	return pg_atomic_read_u64(&timers->n_fired);
}

/* ---------------------------------------------------------- shared memory */

/* There cannot be more chunks than pages in the arena. */
static int
chunk_count(void)
{
	return (int) Min((Size) dlog_shared_memory_size * 1024 * 1024 / (ARENA_MAX_SIZE + 8),
					 PG_UINT32_MAX / TIMERS_PER_CHUNK - 1);
}

Size
timer_shmem_size(void)
{
	return add_size(offsetof(Timers, chunk), mul_size(chunk_count(), sizeof(TimerChunk)));
}

void
timer_shmem_init(void)
{
	bool found;

	timers = ShmemInitStruct("dlog timers", timer_shmem_size(), &found);
	if (found)
		return;
	memset(timers, 0, timer_shmem_size());
	LWLockInitialize(&timers->lock, runtime_tranche);
	pg_atomic_init_u32(&timers->keeper, PROCESS_NONE);
	pg_atomic_init_u32(&timers->n_set, 0);
	pg_atomic_init_u64(&timers->n_fired, 0);
	timers->wakes_at_us = PG_UINT64_MAX;
	timers->heap.ph_compare = compare_due;
	timers->first_with_room = -1;
	timers->n_chunks = chunk_count();
}
