/*
 * shard_internal.h
 *		What the files that run native actors share: native.c, shard.c,
 *		shard_queue.c, shard_send.c, shard_run.c, mailbox.c.
 *
 * A native actor belongs to a *shard* by its slot's number: each shard has a
 * part of the table of actors for itself, so that what is touched in a turn
 * lies together and few pages of it have to be found.  A shard is *held* by
 * one scheduler at a time, which alone runs its actors and appends to its
 * *queue*, blocks of messages that lie inline; others push blocks onto what
 * has *arrived*.  A scheduler gathers what its actors send to shards that it
 * does not hold in an *outbox* block per shard.
 */
#ifndef DLOG_SHARD_INTERNAL_H
#define DLOG_SHARD_INTERNAL_H

#include "runtime/runtime_internal.h"

#define BIT(shard) (UINT64CONST(1) << (shard))

/* ------------------------------------------------------------- messages */

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
	struct MailBlock *run_last; /* of the run that it begins, see shard_queue.c; NULL: it does not */
	uint32 run_blocks;			/* of that */
	uint32 run_messages;		/* of that, with those of this block that have been run */
	uint32 read;				/* that many have been run */
	uint32 count;				/* of that many in it */
	uint32 capacity;			/* never changes */
	uint32 stacked;				/* messages in it and below, when it was pushed */
	uint32 alike;				/* that many at least, from the first, are for one actor */
	char padding[56 - 2 * 8 - 7 * sizeof(uint32)];
	Mail mail[FLEXIBLE_ARRAY_MEMBER];
} MailBlock;

StaticAssertDecl(offsetof(MailBlock, mail) == 56, "mail starts a cache line");

#define BLOCK_CAPACITY 63 /* together 4 kB */

static inline bool
block_is_full(const MailBlock *block)
{
	return block->count == block->capacity;
}

/* Blocks, oldest first. */
typedef struct MailChain
{
	MailBlock *first;
	MailBlock *last;
} MailChain;

/* --------------------------------------------------------------- shards */

/* What an actor may handle before the others of its shard; see shard_run.c. */
#define MESSAGES_PER_TURN 64

typedef struct Shard
{
	pg_attribute_aligned(64) pg_atomic_uint64 arrived; /* newest MailBlock */
	pg_atomic_uint64 control;						   /* newest control Message */
	pg_attribute_aligned(64) pg_atomic_uint32 holder;  /* see shard.c */
	/* the rest is the holder's alone; the queue may be one empty block */
	pg_attribute_aligned(64) MailBlock *first;
	MailBlock *last;
	Message *first_control; /* taken from "control", oldest first */
	MailBlock *last_run;	/* the run before the queue's last block; NULL: none */
	uint32 n_blocks;		/* in the queue */
	uint32 round;			/* see shard_run.c */
	uint32 left_in_round;	/* blocks */
	uint32 first_deferred;	/* a slot, or 0 */
	uint32 last_deferred;
	MailChain refused; /* messages to be answered that nobody gets them */
	uint64 n_refused;
} Shard;

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

/*
 * What divides a slot's number by the slots of a shard: it is multiplied by
 * this fraction.  Right for all numbers below 2^24, of which more there are not.
 */
#define SHARD_SHIFT 48
#define SHARD_OF(slot) ((int) ((uint64) (slot) *shards_per_slot >> SHARD_SHIFT))

/*
 * The mailbox of an actor that is deferred or has stashed messages;
 * ActorCold.extra.  Both kinds count as waiting.
 */
typedef struct Mailbox
{
	MailChain waiting;	  /* not empty but for a while; NULL: not deferred */
	uint32 next_deferred; /* slots of its shard's list, or 0 */
	uint32 previous_deferred;
	MailChain stashed;
	uint32 n_stashed;
	uint32 budget;	  /* messages of its next turn */
	uint32 n_waiting; /* in all; set when its actor exits */
} Mailbox;

/* ------------------------------------------------- one scheduler's own */

/* The actor whose handler runs.  dlog/actor.h knows its address, which comes first. */
struct NativeActor
{
	ActorAddress address;
	ActorSlot *slot;			  /* NULL: no handler runs */
	const NativeMessage *message; /* that it handles; NULL: has been stashed */
	bool exits;
	char reason[EXIT_REASON_LENGTH];
};

/* What this process has for itself, if it is a scheduler. */
typedef struct Running
{
	int number; /* of this scheduler; -1: it is none, or runs no actors */
	bool is_running;
	uint64 held;
	uint64 runnable; /* held, with something to run */
	uint64 outboxes; /* not held, with messages in the outbox */

	/*
	 * The block into which the next message to a shard goes: the outbox, or
	 * the last of the queue while the shard is runnable; no_room else.
	 */
	MailBlock *open[SHARDS];
	uint64 done; /* messages run */
	uint64 sent;
	uint64 look_at; /* number of the message at which it looks at the clock */

	struct NativeActor current;
	Message *current_message; /* that it is at, if not inline */
	Mail *current_mail;		  /* or this, if inline and there are objects in it */

	/* for speed */
	ActorSlot *slots;
	ActorWide *wide;
	uint32 n_slots;
	Runner *runner;
} Running;

/* Behaviors are registered in the postmaster. */
typedef struct NativeBehavior
{
	const char *name;
	NativeHandler handler;
	uint32 mailbox_limit; /* 0: dlog.mailbox_limit */
	int family;			  /* the behavior that it is a table of */
	const char *const *message_names;
	uint32 n_messages;
} NativeBehavior;

/* So that no table of offsets has to be asked where they are. */
#pragma GCC visibility push(hidden)
extern Running my;
extern Shards *shards;
extern uint64 shards_per_slot;
extern MailBlock no_room; /* full, and never written */
extern NativeBehavior behaviors[MAX_BEHAVIORS + 1];
#pragma GCC visibility pop

/* --- shard_queue.c -------------------------------------------------------- */

extern MailBlock *block_create(uint32 capacity);
extern void block_free(MailBlock *block);
extern void spare_blocks_free(void);
extern void block_compare(MailBlock *block);
extern void chain_append(MailChain *chain, MailBlock *first, MailBlock *last);
extern void queue_append(int number, MailBlock *block);
extern MailBlock *queue_shift(Shard *shard);
extern uint32 queue_move(Shard *shard, MailChain *to, uint32 room);
extern bool queue_is_empty(const Shard *shard);
extern uint64 queue_length(const Shard *shard);
extern void queue_drain(int number);
extern void queue_rest(int number);

/* --- shard.c -------------------------------------------------------------- */

extern bool shard_has_arrivals(const Shard *shard);
extern bool shard_is_at_rest(const Shard *shard);
extern bool shard_acquire(int number);
extern void shard_route(int number);
extern void shard_push(int number, MailBlock *block);
extern void shard_flush(int number);
extern void shards_flush(void);
extern void shards_release(void);
extern void shards_serve_notified(void);
extern void shards_take_orphans(void);
extern void shards_give(uint64 elapsed_us, uint64 messages);

/* --- shard_send.c --------------------------------------------------------- */

extern Mail *mail_place_in_new_block(int number);
extern void mail_undelivered(Mail *mail, SendResult reason);

/* Where the next message to a shard goes, or NULL when the arena is full. */
static inline Mail *
mail_place(int number)
{
	MailBlock *block = my.open[number];

	if (likely(block->count < BLOCK_CAPACITY))
		return &block->mail[block->count++];
	return mail_place_in_new_block(number);
}

static inline void
mail_fill(Mail *mail, ActorAddress to, ActorAddress from, uint16 type)
{
	mail->slot = to.slot;
	mail->incarnation = to.incarnation;
	mail->from = from;
	mail->type = type;
}

/* --- shard_run.c ---------------------------------------------------------- */

static inline bool
is_alive(const ActorSlot *slot, uint32 incarnation)
{
	return pg_atomic_read_u64((pg_atomic_uint64 *) &slot->identity) ==
		   ((uint64) incarnation << 32 | ACTOR_ALIVE);
}

extern void shards_stop_running(void);

/* --- mailbox.c ------------------------------------------------------------ */

extern uint32 mailbox_limit(const ActorSlot *slot);
extern bool mailbox_defer(Shard *shard, uint32 number, uint32 budget);
extern void mailbox_undefer(Shard *shard, uint32 number);
extern void mailbox_rotate(Shard *shard, uint32 number);
extern void mailbox_take_over(Shard *shard);
extern Mailbox *mailbox_detach(uint32 number);
extern void mailbox_discard(Shard *shard, Mailbox *mailbox);
extern void mail_refuse(Shard *shard);
extern void refused_answer(Shard *shard);

#endif
