/*
 * shard.c
 *		Native actors: C handlers that run without a transaction, in shards.
 *
 * Words.  A native actor belongs to a *shard* by its slot's number.  A shard
 * is *held* by one scheduler at a time, which alone runs its actors and
 * appends to its *queue*, blocks of messages that lie inline; others push
 * blocks onto what has *arrived*.  A scheduler gathers what its actors send
 * to shards that it does not hold in an *outbox* block per shard.
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
#include "runtime/runtime_internal.h"

#define SHARDS 16
#define SHARD_OF(slot) ((int) ((slot) % SHARDS))
#define BIT(shard) (UINT64CONST(1) << (shard))

#define NOBODY 0
#define IN_TRANSIT ((uint32) 1 << 31)
#define HOLDER(scheduler) ((uint32) (scheduler) + 1)
#define SCHEDULER_OF(holder) ((int) ((holder) & ~IN_TRANSIT) - 1)

/* Blocks that a shard may run before it is another's turn. */
#define BLOCKS_PER_TURN 4
/* Messages between two looks at the outboxes. */
#define FLUSH_EVERY 4096
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
	char padding[56 - 8 - 3 * sizeof(uint32)];
	Mail mail[FLEXIBLE_ARRAY_MEMBER];
} MailBlock;

StaticAssertDecl(offsetof(MailBlock, mail) == 56, "mail starts a cache line");

#define BLOCK_CAPACITY 63 /* together 4 kB */

typedef struct Shard
{
	pg_attribute_aligned(64) pg_atomic_uint64 arrived; /* newest MailBlock */
	pg_atomic_uint32 holder;
	/* the queue; the holder's alone */
	pg_attribute_aligned(64) MailBlock *first;
	MailBlock *last;
	uint64 waiting; /* messages in it */
} Shard;

/* A scheduler as others see it. */
typedef struct Runner
{
	pg_attribute_aligned(64) pg_atomic_uint64 notified; /* shards to look at */
	pg_atomic_uint32 accepts;
	pg_atomic_uint32 is_running; /* in shards_run() */
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

/* Behaviors, registered in the postmaster. */
#define MAX_BEHAVIORS 64
static struct
{
	const char *name;
	NativeHandler handler;
	uint32 mailbox_limit; /* 0: dlog.mailbox_limit */
} behaviors[MAX_BEHAVIORS + 1];
static int n_behaviors = 0;

/* Of this process, if it is a scheduler. */
static int me = -1;
static bool is_running = false; /* in shards_run() */
static uint64 held = 0;
static uint64 runnable = 0; /* held, with messages in the queue */
static uint64 outboxes = 0; /* with messages in them */
static MailBlock *outbox[SHARDS];
static uint64 done = 0;
static MemoryContext native_context;

struct NativeActor
{
	ActorAddress address;
	ActorSlot *slot;
	bool exits;
	char reason[EXIT_REASON_LENGTH];
};

static NativeActor current;		 /* whose handler runs; slot NULL: nobody's */
static Message *current_message; /* that it is at, if not inline */

static void route(int number);

/* -------------------------------------------------------------- behaviors */

/*
 * runtime_register_behavior
 *		Name the handler of a kind of native actors.  From _PG_init.
 */
void
runtime_register_behavior(const char *name, NativeHandler handler)
{
	if (n_behaviors == MAX_BEHAVIORS)
		elog(ERROR, "too many behaviors");
	behaviors[++n_behaviors].name = name;
	behaviors[n_behaviors].handler = handler;
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
	int i;

	if (size > NATIVE_STATE_SIZE)
		elog(ERROR, "state of %zu bytes is too long", size);
	process_attach();
	for (i = 1; i <= n_behaviors; i++)
		if (strcmp(behaviors[i].name, behavior) == 0)
			return actor_claim_native(i, state, size);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("behavior \"%s\" does not exist", behavior)));
	return (ActorAddress){0};
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

ActorAddress
native_actor_address(NativeActor *self)
{
	return self->address;
}

/* ----------------------------------------------------------------- blocks */

static MailBlock *
block_create(uint32 capacity)
{
	MailBlock *block = arena_try_alloc(offsetof(MailBlock, mail) + capacity * sizeof(Mail));

	if (block != NULL)
	{
		block->next = NULL;
		block->read = block->count = 0;
		block->capacity = capacity;
	}
	return block;
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
	shard->waiting += block->count;
	runnable |= BIT(number);
}

/* Arrived blocks of a shard that we hold, oldest first, into its queue. */
static void
drain(int number)
{
	MailBlock *newest;
	MailBlock *oldest = NULL;

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

		queue_append(number, oldest);
		oldest = next;
	}
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

	held |= BIT(number);
	for (left = held; left != 0; left &= left - 1)
		drain(pg_rightmost_one_pos64(left));
	if (outboxes & BIT(number))
	{
		queue_append(number, outbox[number]);
		outbox[number] = NULL;
		outboxes &= ~BIT(number);
	}
	if (shards->shard[number].first != NULL)
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
		block->next = (MailBlock *) newest;
	while (!pg_atomic_compare_exchange_u64(arrived, &newest, (uint64) block));

	/* Otherwise the one who pushed first sees to it. */
	if (newest == 0)
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
	bool has_mail = shard->first != NULL;

	held &= ~BIT(number);
	runnable &= ~BIT(number);
	pg_atomic_exchange_u32(&shard->holder, NOBODY);
	if (has_mail || pg_atomic_read_u64(&shard->arrived) != 0)
		route(number);
}

/* ---------------------------------------------------------------- sending */

/* Where the next message to a shard goes, or NULL when the arena is full. */
static Mail *
mail_place(int number)
{
	MailBlock *block;

	if ((held & BIT(number)) == 0 &&
		pg_atomic_read_u32(&shards->shard[number].holder) == NOBODY)
		acquire(number);
	if (held & BIT(number))
	{
		Shard *shard = &shards->shard[number];

		block = shard->last;
		if (block == NULL || block->count == block->capacity)
		{
			block = block_create(BLOCK_CAPACITY);
			if (block == NULL)
				return NULL;
			queue_append(number, block);
		}
		shard->waiting++;
		return &block->mail[block->count++];
	}
	block = outbox[number];
	if (block != NULL && block->count == block->capacity)
	{
		flush_one(number);
		return mail_place(number);
	}
	if (block == NULL)
	{
		block = block_create(BLOCK_CAPACITY);
		if (block == NULL)
			return NULL;
		outbox[number] = block;
		outboxes |= BIT(number);
	}
	return &block->mail[block->count++];
}

static void
mail_fill(Mail *mail, ActorAddress to, ActorAddress from, uint16 type)
{
	mail->slot = to.slot;
	mail->incarnation = to.incarnation;
	mail->from = from;
	mail->type = type;
}

/*
 * shard_send
 *		Give a message to a native actor of this node.  Any process.
 *
 * On failure (the arena is full) the message is still the caller's.
 */
SendResult
shard_send(ActorAddress to, Message *message)
{
	int number = SHARD_OF(to.slot);
	MailBlock *block = NULL;
	Mail *mail;

	if (is_running)
		mail = mail_place(number);
	else
	{
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
	{
		if (my_process_slot == PROCESS_NETWORK)
		{
			if (mail->size == NOT_INLINE)
				arena_set_owner(message, ARENA_NO_OWNER);
			arena_set_owner(block, ARENA_NO_OWNER);
		}
		push(number, block);
	}
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

	if (to.node != THIS_NODE || !INCARNATION_IS_NATIVE(to.incarnation) ||
		actor_slot(to.slot) == NULL)
		return NULL;
	mail = mail_place(SHARD_OF(to.slot));
	if (mail == NULL)
		return NULL;
	mail_fill(mail, to, self->address, type);
	mail->size = size;
	process_count_sent();
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
		return SEND_NO_MEMORY;
	memcpy(message->payload, payload, size);
	message->from = self->address;
	return actor_send(to, message);
}

/* ---------------------------------------------------------------- running */

/* Nobody is there any more: answer as for any other message. */
static void
mail_undelivered(Mail *mail)
{
	ActorAddress to = {THIS_NODE, mail->slot, mail->incarnation};
	Message *message = mail->u.message;

	if (mail->size != NOT_INLINE)
	{
		message = message_try_create(mail->type, mail->size);
		if (message == NULL)
		{
			objects_release(mail->type, mail->u.payload, mail->size);
			return;
		}
		memcpy(message->payload, mail->u.payload, mail->size);
	}
	message->to = to;
	message->from = mail->from;
	actor_send_undelivered(message, SEND_NO_ACTOR);
}

/* The current message has been handled; with a reason, its actor exits. */
static void
end_mail(const char *reason)
{
	ActorSlot *slot = current.slot;
	Message *message = current_message;

	current.slot = NULL;
	current_message = NULL;
	if (slot != NULL && reason != NULL)
		actor_exit(current.address, reason);
	if (message != NULL)
		message_free(message);
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

static void
run_mail(Mail *mail)
{
	ActorAddress to = {THIS_NODE, mail->slot, mail->incarnation};
	ActorSlot *slot = actor_slot(mail->slot);
	NativeMessage message;

	if (!actor_exists(to) || slot->behavior_number == 0)
	{
		mail_undelivered(mail);
		return;
	}
	message.type = mail->type;
	message.from = mail->from;
	message.size = mail->size;
	message.payload = mail->u.payload;
	if (mail->size == NOT_INLINE)
	{
		current_message = mail->u.message;
		message.size = current_message->size;
		message.payload = current_message->payload;
	}
	current.address = to;
	current.slot = slot;
	current.exits = false;
	slot->received++;
	if (message.type != MESSAGE_EXIT || is_for_handler(&message))
		behaviors[slot->behavior_number].handler(&current, slot->u.state, &message);
	end_mail(current.exits ? current.reason : NULL);
}

/* An ERROR in a handler ends its actor. */
static void
run_block(MailBlock *block)
{
	while (block->read < block->count)
	{
		PG_TRY();
		{
			while (block->read < block->count)
			{
				Mail *mail = &block->mail[block->read++];

				if (block->read + PREFETCH < block->count)
					__builtin_prefetch(actor_slot(mail[PREFETCH].slot), 1);
				run_mail(mail);
				done++;
			}
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(native_context);
			snprintf(current.reason, EXIT_REASON_LENGTH, "error: %s", CopyErrorData()->message);
			recover_from_error();
			end_mail(current.reason);
		}
		PG_END_TRY();
	}
}

static void
run_shard(int number)
{
	Shard *shard = &shards->shard[number];
	int blocks;

	drain(number);
	for (blocks = 0; blocks < BLOCKS_PER_TURN && shard->first != NULL; blocks++)
	{
		MailBlock *block = shard->first;

		/* the last block may grow while it is run */
		run_block(block);
		shard->waiting -= block->count;
		process_count_received(block->count);
		shard->first = block->next;
		if (shard->first == NULL)
			shard->last = NULL;
		arena_free(block);
	}
	if (shard->first == NULL)
		runnable &= ~BIT(number);
	MemoryContextReset(native_context);
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

		if (held & BIT(number))
			drain(number);
		else if (pg_atomic_compare_exchange_u32(&shard->holder, &given, HOLDER(me)))
			shard_taken(number);
		else if (pg_atomic_read_u64(&shard->arrived) != 0)
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
		waiting += shards->shard[pg_rightmost_one_pos64(left)].waiting;
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

/*
 * shards_run
 *		Run native actors until there is nothing left to run for us, or
 *		until "is_interrupted" says so.
 */
void
shards_run(bool (*is_interrupted)(void))
{
	int turn = 0;
	uint64 flushed_at = done;
	uint64 measured_at = done;
	uint64 measured_us = clock_now_us();

	MemoryContextSwitchTo(native_context);
	is_running = true;
	pg_atomic_fetch_add_u32(&shards->n_running, 1);
	pg_atomic_write_u32(&shards->runner[me].is_running, 1);
	for (;;)
	{
		serve_notified();
		take_orphans();
		if (is_interrupted())
			break;
		if (runnable == 0)
		{
			uint64 left;

			flush();
			if (runnable != 0)
				continue;
			for (left = held; left != 0; left &= left - 1)
				release(pg_rightmost_one_pos64(left));
			if (!shards_have_work())
				break;
			continue;
		}
		do
			turn = (turn + 1) % SHARDS;
		while ((runnable & BIT(turn)) == 0);
		run_shard(turn);
		if (done - flushed_at >= FLUSH_EVERY)
		{
			flush();
			flushed_at = done;
		}
		if (done - measured_at >= 256 && pg_popcount64(runnable) > 1)
		{
			uint64 now_us = clock_now_us();

			give_some(now_us - measured_us, done - measured_at);
			measured_us = now_us;
			measured_at = done;
		}
	}
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
	end_mail("process exited");
	pg_atomic_exchange_u32(&shards->runner[me].accepts, 0);
	flush();
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

/* The network process died, perhaps before it notified somebody. */
void
shards_wake_waiting(void)
{
	int number;

	for (number = 0; number < SHARDS; number++)
		if (pg_atomic_read_u64(&shards->shard[number].arrived) != 0)
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
	if (found)
		return;
	memset(shards, 0, sizeof(Shards));
	pg_atomic_init_u64(&shards->orphans, 0);
	pg_atomic_init_u32(&shards->n_running, 0);
	shards->most_running = Max(sysconf(_SC_NPROCESSORS_ONLN), 1);
	for (i = 0; i < SHARDS; i++)
	{
		pg_atomic_init_u64(&shards->shard[i].arrived, 0);
		pg_atomic_init_u32(&shards->shard[i].holder, NOBODY);
	}
	for (i = 0; i < MAX_SCHEDULERS; i++)
	{
		pg_atomic_init_u64(&shards->runner[i].notified, 0);
		pg_atomic_init_u32(&shards->runner[i].accepts, 0);
		pg_atomic_init_u32(&shards->runner[i].is_running, 0);
	}
}
