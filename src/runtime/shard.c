/*
 * shard.c
 *		Native actors: C handlers that run without a transaction, in shards.
 *
 * Words.  A native actor belongs to a *shard* by its slot's number: each
 * shard has a part of the table of actors for itself, so that what is touched
 * in a turn lies together and few pages of it have to be found.  A shard is
 * *held* by one scheduler at a time, which alone runs its actors and appends
 * to its *queue*, blocks of messages that lie inline; others push
 * blocks onto what has *arrived*.  A scheduler gathers what its actors send
 * to shards that it does not hold in an *outbox* block per shard.
 *
 * Fairness.  A shard is run for a *turn* of messages at a time.  An actor
 * that has had its *budget* in a turn is *deferred*: what the queue holds for
 * it moves to a mailbox of its own, whole blocks where it can, and it gets
 * another budget at the end of each turn until that is empty.  So a flood to
 * one actor delays others by a turn at most, and the length of that mailbox is
 * what dlog.mailbox_limit bounds: a message that finds it full is answered
 * with UNDELIVERED.  A session is refused at once by a mailbox that is full,
 * and by a shard where as many messages have arrived and nobody has looked.
 * Control messages have a list of their own, which is served first.
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

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/stop_point.h"
#include "runtime/runtime_internal.h"

#define SHARD_OF(slot) ((int) ((uint64) (slot) *shards_per_slot >> SHARD_SHIFT))
#define BIT(shard) (UINT64CONST(1) << (shard))

#define NOBODY 0
#define IN_TRANSIT ((uint32) 1 << 31)
#define HOLDER(scheduler) ((uint32) (scheduler) + 1)
#define SCHEDULER_OF(holder) ((int) ((holder) & ~IN_TRANSIT) - 1)

/* Messages that a shard may run before it is another's turn. */
#define TURN 256
/* Of them, messages that one actor may have before it is deferred. */
#define BUDGET 128
/* Messages in the first block that an actor stashes into: 1 kB. */
#define SMALL_CAPACITY 15
/* Blocks that may move to the mailboxes of deferred actors in a turn. */
#define MOVES_PER_TURN 64
/* Messages, or time, between two looks at the outboxes. */
#define FLUSH_EVERY 4096
#define FLUSH_US 100
/* Messages, or time, between two looks at the clock. */
#define CLOCK_EVERY 256
#define CLOCK_US 100
/* Waiting work, in time, that is worth waking another scheduler for. */
#define GIVE_US 100
/* How many actors ahead are fetched into the cache. */
#define PREFETCH 16

#define NOT_INLINE PG_UINT16_MAX

/* A message in a block: 64 bytes. */
typedef struct Mail
{
	uint32 slot;
	uint32 incarnation;
	ActorAddress from;
	uint16 type;
	uint16 size; /* NOT_INLINE: a message of its own */
	union
	{
		char payload[NATIVE_INLINE_PAYLOAD];
		Message *message;
	} u;
} Mail;

StaticAssertDecl(sizeof(Mail) == 64, "a Mail is a cache line");

/* With the arena's header, the head is a cache line, too. */
typedef struct MailBlock
{
	struct MailBlock *next;
	uint32 read;	 /* that many have been run */
	uint32 count;	 /* of that many in it */
	uint32 capacity; /* never changes */
	uint32 stacked;	 /* messages in it and below, when it was pushed */
	char padding[56 - 8 - 4 * sizeof(uint32)];
	Mail mail[FLEXIBLE_ARRAY_MEMBER];
} MailBlock;

StaticAssertDecl(offsetof(MailBlock, mail) == 56, "mail starts a cache line");

#define BLOCK_CAPACITY 63 /* together 4 kB */

typedef struct Shard
{
	pg_attribute_aligned(64) pg_atomic_uint64 arrived; /* newest MailBlock */
	pg_atomic_uint64 control;						   /* newest control Message */
	pg_attribute_aligned(64) pg_atomic_uint32 holder;
	/* the rest is the holder's alone; the queue may be one empty block */
	pg_attribute_aligned(64) MailBlock *first;
	MailBlock *last;
	Message *first_control; /* taken from "control", oldest first */
	uint32 n_blocks;		/* in the queue */
	uint32 turn;
	uint32 first_deferred; /* a slot, or 0 */
	uint32 last_deferred;
} Shard;

/*
 * The mailbox of an actor that is deferred or has stashed messages;
 * ActorCold.extra.  Both kinds count as waiting.
 */
typedef struct Mailbox
{
	MailBlock *first; /* oldest; not empty but for a while; NULL: not deferred */
	MailBlock *last;
	uint32 next_deferred; /* slots of its shard's list, or 0 */
	uint32 previous_deferred;
	MailBlock *first_stashed;
	MailBlock *last_stashed;
	uint32 n_stashed;
} Mailbox;

/* A scheduler as others see it. */
typedef struct Runner
{
	pg_attribute_aligned(64) pg_atomic_uint64 notified; /* shards to look at */
	pg_atomic_uint32 accepts;
	pg_atomic_uint32 is_running; /* in shards_run() */
	/* written by the scheduler alone, ever growing */
	pg_attribute_aligned(64) ShardStatistics statistics;
} Runner;

typedef struct Shards
{
	pg_atomic_uint64 orphans;
	pg_atomic_uint32 n_running;
	uint32 most_running; /* processors; never changes after start */
	Shard shard[SHARDS];
	Runner runner[MAX_SCHEDULERS];
} Shards;

static Shards *shards;

/*
 * What divides a slot's number by the slots of a shard: it is multiplied by
 * this fraction.  Right for all numbers below 2^24, of which more there are not.
 */
#define SHARD_SHIFT 48
static uint64 shards_per_slot;

/* Behaviors, registered in the postmaster. */
static struct
{
	const char *name;
	NativeHandler handler;
	uint32 mailbox_limit; /* 0: dlog.mailbox_limit */
	int family;			  /* the behavior that it is a table of */
	const char *const *message_names;
	uint32 n_messages;
} behaviors[MAX_BEHAVIORS + 1];
static int n_behaviors = 0;

/* Of this process, if it is a scheduler. */
static int me = -1;
static bool is_running = false; /* in shards_run() */
static uint64 held = 0;
static uint64 runnable = 0; /* held, with messages in the queue */
static uint64 outboxes = 0; /* with messages in them */
static MailBlock *outbox[SHARDS];
static uint64 done = 0; /* messages run */
static uint64 counted_done = 0;
static uint64 sampled_next = SAMPLE_EVERY; /* the message whose time is measured */
static uint64 sent = 0;
static uint64 counted_sent = 0;
static ActorSlot *slots; /* for speed */
static uint32 n_slots;
static MemoryContext native_context;

struct NativeActor
{
	ActorAddress address;
	ActorSlot *slot;
	bool exits;
	const NativeMessage *message; /* that it handles; NULL: has been stashed */
	char reason[EXIT_REASON_LENGTH];
};

static NativeActor current;		 /* whose handler runs; slot NULL: nobody's */
static Message *current_message; /* that it is at, if not inline */
static Mail *current_mail;		 /* or this, if inline and there are objects in it */
static Runner *my_runner;

static void route(int number);

/* -------------------------------------------------------------- behaviors */

/*
 * runtime_register_behavior
 *		Name the handler of a kind of native actors.  In the postmaster, when
 *		libraries are loaded or shared memory is set up.  Returns its number.
 */
int
runtime_register_behavior(const char *name, NativeHandler handler)
{
	if (n_behaviors == MAX_BEHAVIORS)
		elog(ERROR, "too many behaviors");
	behaviors[++n_behaviors].name = name;
	behaviors[n_behaviors].handler = handler;
	behaviors[n_behaviors].family = n_behaviors;
	return n_behaviors;
}

/* The number of a behavior, or 0. */
int
runtime_behavior(const char *name)
{
	int i;

	for (i = n_behaviors; i > 0; i--)
		if (strcmp(behaviors[i].name, name) == 0)
			break;
	return i;
}

/*
 * runtime_behavior_describe
 *		It is a table of this behavior, and these are the names of the local
 *		messages that it takes, by their numbers.
 */
void
runtime_behavior_describe(int number, int family, const char *const *message_names, uint32 n_messages)
{
	behaviors[number].family = family;
	behaviors[number].message_names = message_names;
	behaviors[number].n_messages = n_messages;
}

/* Is it that behavior, or one of its tables? */
bool
shard_behavior_is(int number, int family)
{
	return number > 0 && number <= n_behaviors && behaviors[number].family == family;
}

/* What a behavior calls a local message; NULL: it has no name for it. */
const char *
shard_message_name(int behavior, uint16 type)
{
	uint32 number = type & 0x7FF;

	if (!MESSAGE_IS_LOCAL(type) || behavior <= 0 || behavior > n_behaviors ||
		number >= behaviors[behavior].n_messages)
		return NULL;
	return behaviors[behavior].message_names[number];
}

/*
 * runtime_limit_mailbox
 *		Messages that may wait for one actor of this behavior.  From _PG_init.
 */
void
runtime_limit_mailbox(const char *behavior, uint32 limit)
{
	int i;

	for (i = 1; i <= n_behaviors; i++)
		if (strcmp(behaviors[i].name, behavior) == 0)
			behaviors[i].mailbox_limit = limit;
}

/*
 * native_actor_spawn
 *		A new native actor, with a copy of this as its state.
 *
 * Any process but the network process.
 */
ActorAddress
native_actor_spawn(const char *behavior, const void *state, Size size)
{
	int number = runtime_behavior(behavior);

	if (number > 0)
		return native_actor_spawn_as(number, state, size);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("behavior \"%s\" does not exist", behavior)));
	return (ActorAddress){0};
}

/* The same for a behavior by its number. */
ActorAddress
native_actor_spawn_as(int behavior, const void *state, Size size)
{
	if (size > NATIVE_STATE_SIZE)
		elog(ERROR, "state of %zu bytes is too long", size);
	Assert(behavior > 0 && behavior <= n_behaviors);
	process_attach();
	return actor_claim_native(behavior, state, size);
}

/* The same for an actor of another database and role than this process's. */
ActorAddress
native_actor_spawn_for(Oid database, Oid role, int behavior, const void *state, Size size)
{
	ActorAddress address = native_actor_spawn_as(behavior, state, size);
	ActorCold *cold = actor_cold(address.slot);

	/* nobody else knows it yet */
	cold->database = database;
	cold->role = role;
	return address;
}

int
shard_behaviors(void)
{
	return n_behaviors;
}

const char *
shard_behavior_name(int number)
{
	return number <= n_behaviors ? behaviors[number].name : "?";
}

/*
 * native_actor_exit
 *		Called in its handler: this is the actor's last message.
 */
void
native_actor_exit(NativeActor *self)
{
	native_actor_stop(self, REASON_NORMAL);
}

/* The same, for a reason that its links and monitors are told. */
void
native_actor_stop(NativeActor *self, const char *reason)
{
	self->exits = true;
	strlcpy(self->reason, reason, EXIT_REASON_LENGTH);
}

/*
 * native_actor_trap_exits
 *		Called in its handler: exit signals come as messages from now on.
 */
void
native_actor_trap_exits(NativeActor *self, bool traps)
{
	if (traps)
		self->slot->flags |= ACTOR_TRAPS_EXITS;
	else
		self->slot->flags &= ~ACTOR_TRAPS_EXITS;
}

/*
 * native_actor_become
 *		Called in its handler: from the next message on this behavior, by its
 *		number, handles what comes.
 */
void
native_actor_become(NativeActor *self, int behavior)
{
	Assert(behavior > 0 && behavior <= n_behaviors);
	self->slot->behavior_number = behavior;
}

ActorAddress
native_actor_sender(NativeActor *self)
{
	return self->message != NULL ? self->message->from : (ActorAddress){0};
}

ActorAddress
native_actor_address(NativeActor *self)
{
	return self->address;
}

/* ----------------------------------------------------------------- blocks */

/*
 * Large blocks that this scheduler has run, the last one first, to be filled
 * again while they are in its cache.
 */
#define SPARE_BLOCKS 64
static MailBlock *spare[SPARE_BLOCKS];
static int n_spare = 0;

static MailBlock *
block_create(uint32 capacity)
{
	MailBlock *block;

	if (capacity == BLOCK_CAPACITY && n_spare > 0)
		block = spare[--n_spare];
	else
		block = arena_try_alloc(offsetof(MailBlock, mail) + capacity * sizeof(Mail));
	if (block != NULL)
	{
		block->next = NULL;
		block->read = block->count = 0;
		block->capacity = capacity;
	}
	return block;
}

static void
block_free(MailBlock *block)
{
	if (block->capacity == BLOCK_CAPACITY && n_spare < SPARE_BLOCKS && is_running)
		spare[n_spare++] = block;
	else
		arena_free(block);
}

/* Others may need them. */
static void
spare_blocks_free(void)
{
	while (n_spare > 0)
		arena_free(spare[--n_spare]);
}

static inline bool
block_is_full(const MailBlock *block)
{
	return block->count == block->capacity;
}

static void
queue_append(int number, MailBlock *block)
{
	Shard *shard = &shards->shard[number];

	block->next = NULL;
	if (shard->last != NULL)
		shard->last->next = block;
	else
		shard->first = block;
	shard->last = block;
	shard->n_blocks++;
	runnable |= BIT(number);
}

/* Take the first block out of the queue. */
static MailBlock *
queue_shift(Shard *shard)
{
	MailBlock *block = shard->first;

	shard->first = block->next;
	if (shard->first == NULL)
		shard->last = NULL;
	shard->n_blocks--;
	return block;
}

static bool
queue_is_empty(const Shard *shard)
{
	return shard->first == NULL ||
		   (shard->first->next == NULL && shard->first->read == shard->first->count);
}

/*
 * A block that arrived.  The small ones of sessions are copied, since the
 * queue is made to run large ones.
 */
static void
queue_append_arrived(int number, MailBlock *block)
{
	Shard *shard = &shards->shard[number];

	if (block->capacity == 1)
	{
		if (shard->last == NULL || block_is_full(shard->last))
		{
			MailBlock *large = block_create(BLOCK_CAPACITY);

			if (large != NULL)
				queue_append(number, large);
		}
		if (shard->last != NULL && !block_is_full(shard->last))
		{
			shard->last->mail[shard->last->count++] = block->mail[0];
			runnable |= BIT(number);
			arena_free(block);
			return;
		}
	}
	queue_append(number, block);
}

/* Arrived blocks of a shard that we hold, oldest first, into its queue. */
static void
drain(int number)
{
	MailBlock *newest;
	MailBlock *oldest = NULL;

	if (pg_atomic_read_u64(&shards->shard[number].control) != 0)
		runnable |= BIT(number);
	if (pg_atomic_read_u64(&shards->shard[number].arrived) == 0)
		return;
	newest = (MailBlock *) pg_atomic_exchange_u64(&shards->shard[number].arrived, 0);
	while (newest != NULL)
	{
		MailBlock *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest != NULL)
	{
		MailBlock *next = oldest->next;

		queue_append_arrived(number, oldest);
		oldest = next;
	}
}

/* Was something pushed that its holder has not looked at? */
static bool
has_arrivals(const Shard *shard)
{
	return pg_atomic_read_u64((pg_atomic_uint64 *) &shard->arrived) != 0 ||
		   pg_atomic_read_u64((pg_atomic_uint64 *) &shard->control) != 0;
}

/* Is there something to run in a shard that we hold? */
static bool
has_work(const Shard *shard)
{
	return !queue_is_empty(shard) || shard->first_deferred != 0 ||
		   shard->first_control != NULL || has_arrivals(shard);
}

/* ---------------------------------------------------------------- holding */

/*
 * A shard has become ours.  Before anything is appended to any of ours
 * directly, what was sent there before has to be in the queues.
 */
static void
shard_taken(int number)
{
	uint64 left;

	STOP_POINT("shard-taken");
	my_runner->statistics.taken++;
	held |= BIT(number);
	for (left = held; left != 0; left &= left - 1)
		drain(pg_rightmost_one_pos64(left));
	if (outboxes & BIT(number))
	{
		queue_append(number, outbox[number]);
		outbox[number] = NULL;
		outboxes &= ~BIT(number);
	}
	if (has_work(&shards->shard[number]))
		runnable |= BIT(number);
}

/* Take a shard if nobody holds it. */
static bool
acquire(int number)
{
	uint32 expected = NOBODY;

	if (!pg_atomic_compare_exchange_u32(&shards->shard[number].holder, &expected, HOLDER(me)))
		return false;
	shard_taken(number);
	return true;
}

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
 * See to it that somebody looks at a shard into which something was pushed.
 * Any process.
 */
static void
route(int number)
{
	Shard *shard = &shards->shard[number];

	for (;;)
	{
		uint32 holder;
		int scheduler;

		pg_memory_barrier();
		holder = pg_atomic_read_u32(&shard->holder);
		if (holder == NOBODY && is_running)
		{
			if (acquire(number))
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
static void
push(int number, MailBlock *block)
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
		route(number);
}

/* Push a control message, which takes no memory. */
static void
push_control(int number, Message *message)
{
	pg_atomic_uint64 *control = &shards->shard[number].control;
	uint64 newest = pg_atomic_read_u64(control);

	do
		message->next = (Message *) newest;
	while (!pg_atomic_compare_exchange_u64(control, &newest, (uint64) message));
	if (newest != 0)
		return;
	if (is_running && (held & BIT(number)))
		runnable |= BIT(number);
	else
		route(number);
}

static void
flush_one(int number)
{
	MailBlock *block;

	if (is_running &&
		pg_atomic_read_u32(&shards->shard[number].holder) == NOBODY && acquire(number))
		return;
	block = outbox[number];
	outbox[number] = NULL;
	outboxes &= ~BIT(number);
	STOP_POINT("shard-flush");
	push(number, block);
}

static void
flush(void)
{
	while (outboxes != 0)
		flush_one(pg_rightmost_one_pos64(outboxes));
}

/* Let go of a shard of ours.  Outboxes have been flushed. */
static void
release(int number)
{
	Shard *shard = &shards->shard[number];
	bool is_wanted;

	held &= ~BIT(number);
	runnable &= ~BIT(number);
	if (shard->first != NULL && queue_is_empty(shard))
		arena_free(queue_shift(shard));
	is_wanted = shard->first != NULL || shard->first_deferred != 0 || shard->first_control != NULL;
	pg_atomic_exchange_u32(&shard->holder, NOBODY);
	STOP_POINT("shard-released");
	if (is_wanted || has_arrivals(shard))
		route(number);
}

/* ---------------------------------------------------------------- sending */

/* The same, when there is no block with room. */
static Mail *
mail_place_in_new_block(int number)
{
	MailBlock *block;

	if ((held & BIT(number)) == 0 && outbox[number] != NULL)
		flush_one(number);
	if ((held & BIT(number)) == 0 &&
		pg_atomic_read_u32(&shards->shard[number].holder) == NOBODY)
		acquire(number);
	if (held & BIT(number))
	{
		block = shards->shard[number].last;
		if (block == NULL || block_is_full(block))
		{
			block = block_create(BLOCK_CAPACITY);
			if (block == NULL)
				return NULL;
			queue_append(number, block);
		}
		runnable |= BIT(number);
	}
	else
	{
		block = block_create(BLOCK_CAPACITY);
		if (block == NULL)
			return NULL;
		outbox[number] = block;
		outboxes |= BIT(number);
	}
	return &block->mail[block->count++];
}

/* Where the next message to a shard goes, or NULL when the arena is full. */
static inline Mail *
mail_place(int number)
{
	MailBlock *block;

	if (held & BIT(number))
	{
		block = shards->shard[number].last;
		runnable |= BIT(number);
	}
	else
		block = outbox[number];
	if (likely(block != NULL && !block_is_full(block)))
		return &block->mail[block->count++];
	return mail_place_in_new_block(number);
}

static void
mail_fill(Mail *mail, ActorAddress to, ActorAddress from, uint16 type)
{
	mail->slot = to.slot;
	mail->incarnation = to.incarnation;
	mail->from = from;
	mail->type = type;
}

static uint32
mailbox_limit(const ActorSlot *slot)
{
	/* The slot may be another actor's by now, and one that is no native's. */
	uint16 number = slot->behavior_number;
	uint32 limit = number <= MAX_BEHAVIORS ? behaviors[number].mailbox_limit : 0;

	return limit != 0 ? limit : (uint32) dlog_mailbox_limit;
}

/* Whether somebody who is no scheduler may send to this living actor. */
static bool
has_room(ActorAddress to)
{
	const ActorSlot *slot = actor_slot(to.slot);
	MailBlock *newest = (MailBlock *) pg_atomic_read_u64(&shards->shard[SHARD_OF(to.slot)].arrived);
	uint32 limit = mailbox_limit(slot);

	/* The block may have been freed; then it is not the newest any more. */
	if (newest != NULL && newest->stacked >= limit &&
		pg_atomic_read_u64(&shards->shard[SHARD_OF(to.slot)].arrived) == (uint64) newest)
		return false;
	return (slot->flags & ACTOR_IS_DEFERRED) == 0 || actor_cold(to.slot)->depth < limit;
}

/* Push a message that lies in a block of its own. */
static void
push_single(int number, MailBlock *block)
{
	if (my_process_slot == PROCESS_NETWORK)
	{
		if (block->mail[0].size == NOT_INLINE)
			arena_set_owner(block->mail[0].u.message, ARENA_NO_OWNER);
		arena_set_owner(block, ARENA_NO_OWNER);
	}
	push(number, block);
}

/*
 * shard_send
 *		Give a message to a native actor of this node that was alive a moment
 *		ago.  Any process.
 *
 * On failure the message is still the caller's.
 */
SendResult
shard_send(ActorAddress to, Message *message)
{
	int number = SHARD_OF(to.slot);
	MailBlock *block = NULL;
	Mail *mail;

	if ((message->flags & MESSAGE_CONTROL) != 0)
	{
		if (my_process_slot == PROCESS_NETWORK)
			arena_set_owner(message, ARENA_NO_OWNER);
		push_control(number, message);
		return SEND_OK;
	}
	if (is_running)
		mail = mail_place(number);
	else
	{
		if (!has_room(to))
			return SEND_MAILBOX_FULL;
		block = block_create(1);
		mail = block ? &block->mail[block->count++] : NULL;
	}
	if (mail == NULL)
		return SEND_NO_MEMORY;
	mail_fill(mail, to, message->from, message->type);
	if (message->size <= NATIVE_INLINE_PAYLOAD)
	{
		mail->size = message->size;
		memcpy(mail->u.payload, message->payload, message->size);
		arena_free(message); /* its objects have moved on */
	}
	else
	{
		mail->size = NOT_INLINE;
		mail->u.message = message;
	}
	if (block != NULL)
		push_single(number, block);
	return SEND_OK;
}

/*
 * shard_post
 *		The same for a payload that fits, without making it a message first.
 */
SendResult
shard_post(ActorAddress from, ActorAddress to, uint16 type, const void *payload, Size size)
{
	MailBlock *block = NULL;
	Mail *mail;

	Assert(size <= NATIVE_INLINE_PAYLOAD);
	if (is_running)
		mail = mail_place(SHARD_OF(to.slot));
	else
	{
		if (!has_room(to))
			return SEND_MAILBOX_FULL;
		block = block_create(1);
		mail = block ? &block->mail[block->count++] : NULL;
	}
	if (mail == NULL)
		return SEND_NO_MEMORY;
	mail_fill(mail, to, from, type);
	mail->size = size;
	memcpy(mail->u.payload, payload, size);
	if (block != NULL)
		push_single(SHARD_OF(to.slot), block);
	return SEND_OK;
}

/*
 * native_send_place
 *		Where to write the payload of the next message to a native actor of
 *		this node, sent in the name of the one whose handler runs.
 *
 * NULL when it is no such actor or the arena is full.
 */
void *
native_send_place(NativeActor *self, ActorAddress to, uint16 type, Size size)
{
	Mail *mail;

	if (unlikely(to.node != THIS_NODE || !INCARNATION_IS_NATIVE(to.incarnation) ||
				 to.slot >= n_slots))
		return NULL;
	mail = mail_place(SHARD_OF(to.slot));
	if (unlikely(mail == NULL))
		return NULL;
	mail_fill(mail, to, self->address, type);
	mail->size = size;
	sent++;
	return mail->u.payload;
}

/*
 * native_send_any
 *		Send any message in the name of the actor whose handler runs.
 */
SendResult
native_send_any(NativeActor *self, ActorAddress to, uint16 type, const void *payload, Size size)
{
	Message *message = message_try_create(type, size);

	if (message == NULL)
		return send_no_memory(self->address, to, type);
	memcpy(message->payload, payload, size);
	message->from = self->address;
	return actor_send(to, message);
}

/* ---------------------------------------------------------------- running */

/* Nobody gets it: answer as for any other message. */
static void
mail_undelivered(Mail *mail, SendResult reason)
{
	ActorAddress to = {THIS_NODE, mail->slot, mail->incarnation};
	Message *message = mail->u.message;
	Message head = {0};

	if (mail->size != NOT_INLINE)
	{
		message = message_try_create(mail->type, mail->size);
		if (message == NULL)
		{
			/* It can be counted, but there is no memory for an answer. */
			head.type = mail->type;
			head.to = to;
			head.from = mail->from;
			dead_letter_record(&head, dead_letter_reason(reason));
			if (MESSAGE_OBJECTS(mail->type) > 0)
				objects_release(mail->type, mail->u.payload, mail->size);
			return;
		}
		memcpy(message->payload, mail->u.payload, mail->size);
	}
	message->to = to;
	message->from = mail->from;
	actor_send_undelivered(message, reason);
}

/* ------------------------------------------------------- deferred actors */

static inline Mailbox *
mailbox_of(uint32 slot)
{
	return (Mailbox *) actor_cold(slot)->extra;
}

/* Let an actor's mailbox be run after what is in the queue now. */
static void
deferred_link(Shard *shard, uint32 number)
{
	Mailbox *mailbox = mailbox_of(number);

	mailbox->next_deferred = 0;
	mailbox->previous_deferred = shard->last_deferred;
	if (shard->last_deferred != 0)
		mailbox_of(shard->last_deferred)->next_deferred = number;
	else
		shard->first_deferred = number;
	shard->last_deferred = number;
	slots[number].flags |= ACTOR_IS_DEFERRED;
}

/* The mailbox of an actor; NULL: it has none, and there is no memory for it. */
static Mailbox *
mailbox_create(uint32 number)
{
	Mailbox *mailbox = mailbox_of(number);

	if (mailbox != NULL)
		return mailbox;
	mailbox = arena_try_alloc(sizeof(Mailbox));
	if (mailbox != NULL)
	{
		memset(mailbox, 0, sizeof(Mailbox));
		actor_cold(number)->extra = mailbox;
		actor_cold(number)->depth = 0;
	}
	return mailbox;
}

/* Give an actor a mailbox of its own.  False: there is no memory. */
static bool
defer(Shard *shard, uint32 number)
{
	MailBlock *block = block_create(BLOCK_CAPACITY);
	Mailbox *mailbox = block == NULL ? NULL : mailbox_create(number);

	if (mailbox == NULL)
	{
		if (block != NULL)
			arena_free(block);
		return false;
	}
	mailbox->first = mailbox->last = block;
	deferred_link(shard, number);
	return true;
}

static void
deferred_unlink(Shard *shard, Mailbox *mailbox)
{
	if (mailbox->previous_deferred != 0)
		mailbox_of(mailbox->previous_deferred)->next_deferred = mailbox->next_deferred;
	else
		shard->first_deferred = mailbox->next_deferred;
	if (mailbox->next_deferred != 0)
		mailbox_of(mailbox->next_deferred)->previous_deferred = mailbox->previous_deferred;
	else
		shard->last_deferred = mailbox->previous_deferred;
}

/* Its turn is over: the others come first now. */
static void
deferred_rotate(Shard *shard, uint32 number)
{
	Mailbox *mailbox = mailbox_of(number);

	if (shard->last_deferred == number)
		return;
	deferred_unlink(shard, mailbox);
	mailbox->next_deferred = 0;
	mailbox->previous_deferred = shard->last_deferred;
	mailbox_of(shard->last_deferred)->next_deferred = number;
	shard->last_deferred = number;
}

/* Free blocks.  What is left in them is answered. */
static void
blocks_discard(MailBlock *block)
{
	while (block != NULL)
	{
		MailBlock *next = block->next;

		while (block->read < block->count)
			mail_undelivered(&block->mail[block->read++], SEND_NO_ACTOR);
		block_free(block);
		block = next;
	}
}

static void
mailbox_discard(Mailbox *mailbox)
{
	MailBlock *stashed = mailbox->first_stashed;
	MailBlock *waiting = mailbox->first;

	arena_free(mailbox);
	blocks_discard(stashed);
	blocks_discard(waiting);
}

/* Nothing waits for it any more, but what it has stashed. */
static void
undefer(Shard *shard, uint32 number)
{
	Mailbox *mailbox = mailbox_of(number);
	MailBlock *empty = mailbox->first;

	deferred_unlink(shard, mailbox);
	slots[number].flags &= ~ACTOR_IS_DEFERRED;
	mailbox->first = mailbox->last = NULL;
	actor_cold(number)->depth = mailbox->n_stashed;
	if (mailbox->n_stashed == 0)
	{
		actor_cold(number)->extra = NULL;
		arena_free(mailbox);
	}
	blocks_discard(empty);
}

/*
 * native_actor_stash
 *		Called in its handler: put this message aside.
 *
 * The payload stays where it is until the handler returns.  ERROR 53400 when
 * there is no room.
 */
void
native_actor_stash(NativeActor *self)
{
	const NativeMessage *message = self->message;
	ActorCold *cold = actor_cold(self->address.slot);
	Mailbox *mailbox;
	MailBlock *block;
	Mail *mail;

	if (message == NULL)
		elog(ERROR, "the message is stashed already");
	if (cold->extra != NULL && cold->depth >= mailbox_limit(self->slot))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many messages are stashed"),
				 errdetail("%u messages wait for the actor.", cold->depth),
				 errhint("Raise dlog.mailbox_limit.")));
	mailbox = mailbox_create(self->address.slot);
	block = mailbox == NULL ? NULL : mailbox->last_stashed;
	if (mailbox != NULL && (block == NULL || block_is_full(block)))
	{
		/* most who stash do so with a few messages */
		block = block_create(block == NULL ? SMALL_CAPACITY : BLOCK_CAPACITY);
		if (block != NULL && mailbox->last_stashed != NULL)
			mailbox->last_stashed->next = block;
		else if (block != NULL)
			mailbox->first_stashed = block;
		if (block != NULL)
			mailbox->last_stashed = block;
	}
	if (block == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("out of dlog's shared memory"),
				 errhint("Raise dlog.shared_memory_size; the view dlog.memory tells what is used.")));

	mail = &block->mail[block->count++];
	mail_fill(mail, self->address, message->from, message->type);
	if (current_message != NULL)
	{
		mail->size = NOT_INLINE;
		mail->u.message = current_message;
	}
	else
	{
		mail->size = message->size;
		memcpy(mail->u.payload, message->payload, message->size);
	}
	mailbox->n_stashed++;
	cold->depth++;
	self->slot->high_water = Max(self->slot->high_water, cold->depth);

	/* The message and what is in it are the stash's now. */
	self->message = NULL;
	current_message = NULL;
	current_mail = NULL;
}

/*
 * native_actor_unstash
 *		Called in its handler: what was stashed comes next, in its order.
 */
void
native_actor_unstash(NativeActor *self)
{
	uint32 number = self->address.slot;
	Mailbox *mailbox = mailbox_of(number);

	if (mailbox == NULL || mailbox->first_stashed == NULL)
		return;
	mailbox->last_stashed->next = mailbox->first;
	if (mailbox->last == NULL)
		mailbox->last = mailbox->last_stashed;
	mailbox->first = mailbox->first_stashed;
	mailbox->first_stashed = mailbox->last_stashed = NULL;
	mailbox->n_stashed = 0;
	if ((self->slot->flags & ACTOR_IS_DEFERRED) == 0)
	{
		deferred_link(&shards->shard[SHARD_OF(number)], number);
		runnable |= BIT(SHARD_OF(number));
	}
}

/* Is all that is left in this block for the same actor? */
static bool
block_is_of_one(const MailBlock *block)
{
	const Mail *first = &block->mail[block->read];
	uint32 i;

	for (i = block->read + 1; i < block->count; i++)
		if (block->mail[i].slot != first->slot || block->mail[i].incarnation != first->incarnation)
			return false;
	return true;
}

/*
 * Move the next message of the queue's first block to the mailbox of its
 * actor, which is deferred; or the block itself.  True if the block is gone.
 */
static bool
move_to_mailbox(Shard *shard)
{
	MailBlock *block = shard->first;
	Mail *mail = &block->mail[block->read];
	ActorSlot *slot = &slots[mail->slot];
	ActorCold *cold = actor_cold(mail->slot);
	Mailbox *mailbox = cold->extra;
	uint32 limit = mailbox_limit(slot);
	uint32 left = block->count - block->read;
	MailBlock *last;

	if (cold->depth + left <= limit && block->next != NULL && block_is_of_one(block))
	{
		(void) queue_shift(shard);
		block->next = NULL;
		mailbox->last->next = block;
		mailbox->last = block;
		cold->depth += left;
		slot->high_water = Max(slot->high_water, cold->depth);
		return true;
	}

	block->read++;
	if (cold->depth >= limit)
	{
		mail_undelivered(mail, SEND_MAILBOX_FULL);
		return false;
	}
	if (block_is_full(mailbox->last))
	{
		last = block_create(BLOCK_CAPACITY);
		if (last == NULL)
		{
			mail_undelivered(mail, SEND_NO_MEMORY);
			return false;
		}
		mailbox->last->next = last;
		mailbox->last = last;
	}
	last = mailbox->last;
	last->mail[last->count++] = *mail;
	cold->depth++;
	slot->high_water = Max(slot->high_water, cold->depth);
	return false;
}

/* -------------------------------------------------------- running, really */

/* The current message has been handled; with a reason, its actor exits. */
/* Was the actor ended by what it did, or with the process that ran it? */
static bool
reason_is_failure(const char *reason)
{
	return strncmp(reason, "error: ", 7) == 0 || strcmp(reason, REASON_PROCESS_EXITED) == 0;
}

static void
end_mail(const char *reason)
{
	ActorSlot *slot = current.slot;
	Message *message = current_message;
	Mail *mail = current_mail;

	current.slot = NULL;
	current_message = NULL;
	current_mail = NULL;

	/* Inline, it may lie in the actor's own mailbox, which goes with it. */
	if (message != NULL)
		message_free(message);
	else if (mail != NULL)
		objects_release(mail->type, mail->u.payload, mail->size);
	if (slot != NULL && reason != NULL)
	{
		uint32 number = current.address.slot;
		bool is_deferred = (slot->flags & ACTOR_IS_DEFERRED) != 0;
		Mailbox *mailbox = mailbox_of(number);

		/* What waits is answered once nothing more can be sent to it. */
		if (is_deferred)
			deferred_unlink(&shards->shard[SHARD_OF(number)], mailbox);
		actor_cold(number)->extra = NULL;
		statistics_exited(slot->behavior_number, slot->received, reason_is_failure(reason));
		actor_exit(current.address, reason);
		if (mailbox != NULL)
			mailbox_discard(mailbox);
	}
}

/* An exit signal ends the actor, or is a message for it, or nothing. */
static bool
is_for_handler(const NativeMessage *message)
{
	bool as_message;
	const char *reason = exit_signal_reason(message->payload, message->size,
											(current.slot->flags & ACTOR_TRAPS_EXITS) != 0, &as_message);

	if (reason != NULL)
		native_actor_stop(&current, reason);
	return as_message;
}

/* Call the handler, and measure how long it takes; see statistics.c. */
static void
handle_sampled(ActorSlot *slot, const NativeMessage *message)
{
	int behavior = slot->behavior_number;
	ActorCold *cold = actor_cold(current.address.slot);
	struct timespec begun;
	struct timespec ended;
	uint64 ns;

	/* the next one at random, so that no pattern of messages hides */
	clock_gettime(CLOCK_MONOTONIC, &begun);
	sampled_next = done + SAMPLE_EVERY / 2 + begun.tv_nsec / 7 % SAMPLE_EVERY;
	behaviors[behavior].handler(&current, slot->u.state, message);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	ns = (ended.tv_sec - begun.tv_sec) * INT64CONST(1000000000) + ended.tv_nsec - begun.tv_nsec;
	statistics_sampled(behavior, ns);

	/* a fraction of a millisecond counts as one, as often as that is due */
	cold->run_ms += (ns * SAMPLE_EVERY + ended.tv_nsec % 1000000) / 1000000;
}

/* Let an actor that is alive handle a message. */
static inline void
handle(ActorSlot *slot, ActorAddress to, const NativeMessage *message)
{
	STOP_POINT("shard-message");
	current.address = to;
	current.slot = slot;
	current.exits = false;
	current.message = message;
	slot->received++;
	done++;
	if (unlikely(done >= sampled_next && message->type != MESSAGE_EXIT))
		handle_sampled(slot, message);
	else if (likely(message->type != MESSAGE_EXIT) || is_for_handler(message))
		behaviors[slot->behavior_number].handler(&current, slot->u.state, message);
	STOP_POINT("shard-handled");
	if (unlikely(current.exits || current_message != NULL || current_mail != NULL))
		end_mail(current.exits ? current.reason : NULL);
	else
		current.slot = NULL;
}

/* The caller has taken it out of its block's unread part. */
static inline void
handle_mail(ActorSlot *slot, Mail *mail)
{
	NativeMessage message = {
		.type = mail->type,
		.from = mail->from,
		.size = mail->size,
		.payload = mail->u.payload,
	};

	if (unlikely(mail->size == NOT_INLINE))
	{
		current_message = mail->u.message;
		message.size = current_message->size;
		message.payload = current_message->payload;
	}
	else if (unlikely(MESSAGE_OBJECTS(mail->type) > 0))
		current_mail = mail;
	handle(slot, (ActorAddress){THIS_NODE, mail->slot, mail->incarnation}, &message);
}

static inline bool
is_alive(const ActorSlot *slot, uint32 incarnation)
{
	return pg_atomic_read_u64((pg_atomic_uint64 *) &slot->identity) ==
		   ((uint64) incarnation << 32 | ACTOR_ALIVE);
}

static void
run_control(Shard *shard)
{
	Message *newest;
	Message *oldest = NULL;
	Message **end = &shard->first_control;

	if (likely(pg_atomic_read_u64(&shard->control) == 0 && shard->first_control == NULL))
		return;
	newest = (Message *) pg_atomic_exchange_u64(&shard->control, 0);
	while (newest != NULL)
	{
		Message *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}

	/* An ERROR in a handler leaves the rest of them there. */
	while (*end != NULL)
		end = &(*end)->next;
	*end = oldest;
	while (shard->first_control != NULL)
	{
		Message *message = shard->first_control;
		ActorSlot *slot = &slots[message->to.slot];
		NativeMessage as_native = {
			.type = message->type,
			.from = message->from,
			.size = message->size,
			.payload = message->payload,
		};

		shard->first_control = message->next;
		if (!is_alive(slot, message->to.incarnation))
			actor_send_undelivered(message, SEND_NO_ACTOR);
		else
		{
			current_message = message;
			handle(slot, message->to, &as_native);
		}
	}
}

/* Run what is in the queue, until so many messages have been run. */
static void
run_queue(Shard *shard, uint64 until)
{
	int moves = 0;

	while (shard->first != NULL && done < until && moves < MOVES_PER_TURN)
	{
		MailBlock *block = shard->first;
		MailBlock *next = block->next;
		bool is_gone = false;

		if (next != NULL)
			__builtin_prefetch(next);

		/* the last block may grow while it is run */
		while (block->read < block->count)
		{
			uint32 read = block->read;
			Mail *mail = &block->mail[read];
			ActorSlot *slot = &slots[mail->slot];

			if (next != NULL)
				__builtin_prefetch(&next->mail[read]);
			if (likely(read + PREFETCH < block->count))
				__builtin_prefetch(&slots[mail[PREFETCH].slot], 1);
			else if (next != NULL && read + PREFETCH - block->count < next->count)
				__builtin_prefetch(&slots[next->mail[read + PREFETCH - block->count].slot], 1);
			if (unlikely(!is_alive(slot, mail->incarnation)))
			{
				block->read++;
				mail_undelivered(mail, SEND_NO_ACTOR);
				continue;
			}
			if (slot->turn != shard->turn)
			{
				slot->turn = shard->turn;
				slot->run_in_turn = 0;
			}
			if (unlikely((slot->flags & ACTOR_IS_DEFERRED) != 0 ||
						 (slot->run_in_turn >= BUDGET && defer(shard, mail->slot))))
			{
				is_gone = move_to_mailbox(shard);
				if (is_gone)
					break;
				continue;
			}
			slot->run_in_turn++;
			block->read++;
			handle_mail(slot, mail);
		}
		if (is_gone)
		{
			moves++;
			continue;
		}
		if (block->next == NULL)
		{
			/* keep it for what comes next */
			block->read = block->count = 0;
			return;
		}
		block_free(queue_shift(shard));
	}
}

/* Run what waits for the first deferred actor, a budget of it. */
static void
run_deferred(Shard *shard)
{
	uint32 number = shard->first_deferred;
	ActorSlot *slot = &slots[number];
	ActorCold *cold = actor_cold(number);
	Mailbox *mailbox = cold->extra;
	uint64 until = done + BUDGET;
	uint64 identity = pg_atomic_read_u64(&slot->identity);

	while (done < until)
	{
		MailBlock *block = mailbox->first;

		if (block->read == block->count)
		{
			if (block->next == NULL)
			{
				undefer(shard, number);
				return;
			}
			mailbox->first = block->next;
			block_free(block);
			continue;
		}
		cold->depth--;
		handle_mail(slot, &block->mail[block->read++]);
		if (pg_atomic_read_u64(&slot->identity) != identity)
			return;
	}
	deferred_rotate(shard, number);
}

static void
run_shard(int number)
{
	Shard *shard = &shards->shard[number];
	uint64 until = done + TURN;

	drain(number);
	shard->turn++;
	run_control(shard);
	run_queue(shard, until);
	while (unlikely(shard->first_deferred != 0))
	{
		uint32 first = shard->first_deferred;

		run_deferred(shard);
		if (done >= until || shard->first_deferred == first)
			break;
	}
	if (queue_is_empty(shard) && shard->first_deferred == 0)
	{
		runnable &= ~BIT(number);
		if (unlikely(pg_atomic_read_u64(&shard->control) != 0))
			runnable |= BIT(number); /* of our own */
	}
	if (!native_context->isReset)
		MemoryContextReset(native_context);
}

/* Let others see how much we did. */
static void
count(void)
{
	process_count_received(done - counted_done);
	process_count_sent_many(sent - counted_sent);
	counted_done = done;
	counted_sent = sent;
}

/* Look at the shards that others told us of. */
static void
serve_notified(void)
{
	uint64 notified;

	if (pg_atomic_read_u64(&shards->runner[me].notified) == 0)
		return;
	notified = pg_atomic_exchange_u64(&shards->runner[me].notified, 0);
	for (; notified != 0; notified &= notified - 1)
	{
		int number = pg_rightmost_one_pos64(notified);
		Shard *shard = &shards->shard[number];
		uint32 given = HOLDER(me) | IN_TRANSIT;

		STOP_POINT("shard-notified");
		if (held & BIT(number))
			drain(number);
		else if (pg_atomic_compare_exchange_u32(&shard->holder, &given, HOLDER(me)))
			shard_taken(number);
		else if (has_arrivals(shard))
			route(number);
	}
}

static void
take_orphans(void)
{
	uint64 orphans;

	if (pg_atomic_read_u64(&shards->orphans) == 0)
		return;
	orphans = pg_atomic_exchange_u64(&shards->orphans, 0);
	for (; orphans != 0; orphans &= orphans - 1)
		acquire(pg_rightmost_one_pos64(orphans));
}

/*
 * Give half of the shards with work to an idle scheduler, if the work that
 * waits here is worth waking it.
 */
static void
give_some(uint64 elapsed_us, uint64 messages)
{
	uint64 waiting = 0;
	uint64 left;
	int scheduler;
	int n;

	if (pg_atomic_read_u32(&shards->n_running) >= shards->most_running)
		return;
	for (left = runnable; left != 0; left &= left - 1)
	{
		Shard *shard = &shards->shard[pg_rightmost_one_pos64(left)];

		if (shard->last != NULL)
			waiting += (uint64) (shard->n_blocks - 1) * BLOCK_CAPACITY + shard->last->count;
		if (shard->first_deferred != 0)
			waiting += actor_cold(shard->first_deferred)->depth;
	}
	my_runner->statistics.waiting = waiting;
	if (waiting * elapsed_us < GIVE_US * messages)
		return;
	scheduler = database_any_idle();
	if (scheduler < 0 || scheduler == me)
		return;
	flush();
	for (n = pg_popcount64(runnable) / 2; n > 0; n--)
	{
		int number = pg_rightmost_one_pos64(runnable);
		uint32 given = HOLDER(scheduler) | IN_TRANSIT;

		held &= ~BIT(number);
		runnable &= ~BIT(number);
		pg_atomic_exchange_u32(&shards->shard[number].holder, given);
		STOP_POINT("shard-given");
		my_runner->statistics.given++;
		notify(scheduler, number);
		pg_memory_barrier();
		if (!accepts(scheduler))
		{
			if (pg_atomic_compare_exchange_u32(&shards->shard[number].holder, &given, HOLDER(me)))
				shard_taken(number);
			return;
		}
	}
}

/*
 * shards_have_work
 *		Is there something for shards_run() to do?
 */
bool
shards_have_work(void)
{
	return runnable != 0 || pg_atomic_read_u64(&shards->runner[me].notified) != 0 ||
		   pg_atomic_read_u64(&shards->orphans) != 0;
}

static void
end_running(void)
{
	if (!is_running)
		return;
	is_running = false;
	pg_atomic_write_u32(&shards->runner[me].is_running, 0);
	pg_atomic_fetch_sub_u32(&shards->n_running, 1);
}

/* Out of work: let go of everything.  True if something has come. */
static bool
find_work(void)
{
	uint64 left;

	flush();
	if (runnable != 0)
		return true;
	for (left = held; left != 0; left &= left - 1)
		release(pg_rightmost_one_pos64(left));
	spare_blocks_free();
	return shards_have_work();
}

static int
next_shard(int last)
{
	uint64 after = runnable & ~((BIT(last) << 1) - 1);

	return pg_rightmost_one_pos64(after != 0 ? after : runnable);
}

/*
 * Run until "is_interrupted" says so or there is nothing left.  An ERROR of a
 * handler jumps out of it; it may be called again then.
 */
static void
run(bool (*is_interrupted)(void))
{
	int turn = SHARDS - 1;
	uint64 clock_every = 1;
	uint64 looked_at = done;
	uint64 looked_us = clock_now_us();
	uint64 flushed_at = done;
	uint64 flushed_us = looked_us;

	for (;;)
	{
		serve_notified();
		take_orphans();
		if (is_interrupted())
			break;
		if (runnable == 0)
		{
			if (!find_work())
				break;
			flushed_at = done;
			continue;
		}
		turn = next_shard(turn);
		run_shard(turn);
		if (done - looked_at >= clock_every)
		{
			uint64 now_us = clock_now_us();
			uint64 us = now_us - looked_us;

			if (us > 0 && pg_popcount64(runnable) > 1)
				give_some(us, done - looked_at);
			clock_every = us > CLOCK_US ? Max(1, (done - looked_at) * CLOCK_US / us) : CLOCK_EVERY;
			looked_us = now_us;
			looked_at = done;
			if (outboxes != 0 && (now_us - flushed_us >= FLUSH_US || done - flushed_at >= FLUSH_EVERY))
			{
				flush();
				flushed_us = now_us;
				flushed_at = done;
			}
			count();
		}
	}
}

/*
 * shards_run
 *		Run native actors until there is nothing left to run for us, or
 *		until "is_interrupted" says so.
 */
void
shards_run(bool (*is_interrupted)(void))
{
	volatile bool again = true;

	MemoryContextSwitchTo(native_context);
	is_running = true;
	my_runner->statistics.wakeups++;
	pg_atomic_fetch_add_u32(&shards->n_running, 1);
	pg_atomic_write_u32(&shards->runner[me].is_running, 1);
	while (again)
	{
		PG_TRY();
		{
			run(is_interrupted);
			again = false;
		}
		PG_CATCH();
		{
			/* An ERROR in a handler ends its actor. */
			MemoryContextSwitchTo(native_context);
			snprintf(current.reason, EXIT_REASON_LENGTH, "error: %s", CopyErrorData()->message);
			recover_from_error();
			end_mail(current.reason);
		}
		PG_END_TRY();
	}
	count();
	spare_blocks_free();
	end_running();
}

/*
 * shards_accept
 *		This scheduler, by its number, is there for native actors.
 */
void
shards_accept(int scheduler)
{
	if (native_context == NULL)
		native_context = AllocSetContextCreate(TopMemoryContext, "dlog native actors", ALLOCSET_DEFAULT_SIZES);
	me = scheduler;
	my_runner = &shards->runner[me];
	slots = actor_slot(0);
	n_slots = actor_slots_limit();
	pg_atomic_exchange_u32(&shards->runner[me].accepts, 1);
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

	if (me < 0)
		return;
	end_running();
	end_mail(REASON_PROCESS_EXITED);
	pg_atomic_exchange_u32(&shards->runner[me].accepts, 0);
	flush();
	spare_blocks_free();
	for (number = 0; number < SHARDS; number++)
	{
		uint32 given = HOLDER(me) | IN_TRANSIT;

		if (pg_atomic_read_u32(&shards->shard[number].holder) == given &&
			pg_atomic_compare_exchange_u32(&shards->shard[number].holder, &given, HOLDER(me)))
			held |= BIT(number);
		if (held & BIT(number))
			release(number);
	}
}

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
		if (has_arrivals(&shards->shard[number]))
			route(number);
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
