/*
 * runtime_internal.h
 *		What the files of src/runtime share.
 *
 * Locks, in the order they are taken: DatabaseSlot.lock, SchedulerPool.lock;
 * those of links, names and timers, under which no other is taken.
 * The network process takes none of them.
 */
#ifndef DLOG_RUNTIME_INTERNAL_H
#define DLOG_RUNTIME_INTERNAL_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "base/arena.h"
#include "runtime/runtime.h"

/* --- process.c ----------------------------------------------------------- */

#define PROCESS_NONE ARENA_NO_OWNER
#define PROCESS_NETWORK ARENA_NETWORK_OWNER

/* Set in a slot's inbox while nobody is attached. */
#define INBOX_CLOSED ((uint64) 1)

typedef struct ProcessSlot
{
	pg_attribute_aligned(64) pg_atomic_uint64 inbox; /* newest Message, or CLOSED */
	pg_atomic_uint32 is_signalled;					 /* its latch was set since it last looked */
	pg_atomic_uint32 queued;						 /* messages not yet received by an actor */
	Latch *latch;									 /* never changes while attached */
	int pid;										 /* same */
	bool takes_interrupts;							 /* written by the process alone */
	pg_atomic_uint64 sent;							 /* written by the process alone */
	pg_atomic_uint64 received;
} ProcessSlot;

extern uint16 my_process_slot;
extern ProcessSlot *my_process;

extern ProcessSlot *process_at(uint16 slot);
extern bool process_push(uint16 slot, Message *message);
extern bool process_has_room(uint16 slot);
extern void process_wake(uint16 slot);
extern void process_signal(uint16 slot);
extern void process_awaits_mail(void);
extern Message *process_take(void);
extern bool process_has_mail(void);
extern void process_count_sent(void);
extern void process_count_received(uint32 n);

extern Size process_shmem_size(void);
extern void process_shmem_init(void);
extern void process_init(void);

/* --- actor.c ------------------------------------------------------------- */

typedef enum ActorState
{
	ACTOR_FREE,		/* next: STARTING */
	ACTOR_STARTING, /* its spawner fills it in; next: ALIVE */
	ACTOR_ALIVE,	/* next: EXITING */
	ACTOR_EXITING	/* its monitors are told; next: FREE */
} ActorState;

/* Set in an actor's list of monitors while it is not alive. */
#define MONITORS_CLOSED ((uint64) 1)
/* Set while somebody takes some out of it. */
#define MONITORS_BUSY ((uint64) 2)

#define HOSTED_ACTOR PG_UINT16_MAX

/* Parts of the table of actors that are run by one scheduler each; see shard.c. */
#define SHARDS 16

/* Flags of a living actor; written by whoever runs it. */
#define ACTOR_TRAPS_EXITS 1
#define ACTOR_IS_DEFERRED 2 /* a native one that has a mailbox of its own now */
#define ACTOR_IS_WIDE 4		/* it has an ActorWide */
#define ACTOR_WAS_WIDE 8	/* somebody in its slot had one: that memory is used */

/*
 * Whether an actor is native can be told from its address alone, so that a
 * sender need not touch the receiver's memory: its incarnation is odd.
 */
#define INCARNATION_IS_NATIVE(incarnation) (((incarnation) &1) != 0)

/* A state up to this size lies beside what running the actor touches anyway. */
#define SMALL_STATE_SIZE 32

/* What running an actor touches: a cache line. */
typedef struct ActorSlot
{
	/* incarnation in the high half, ActorState in the low half */
	pg_atomic_uint64 identity;
	/* never changes while alive, or is written by who runs it alone */
	uint64 received;
	uint32 round;			/* of its shard, in which it last ran */
	uint16 run_in_round;	/* messages that it got in that */
	uint16 flags;			/* ACTOR_... */
	uint16 process;			/* PROCESS_NONE: a native actor */
	uint16 behavior_number; /* 0: bound; HOSTED_ACTOR */
	uint32 high_water;		/* most that ever waited in a mailbox of its own */
	union
	{
		char state[SMALL_STATE_SIZE] pg_attribute_aligned(8);
		void *bound; /* BoundActor, an address in its process */
	} u;
} ActorSlot;

StaticAssertDecl(sizeof(ActorSlot) == 64, "the hot part of an actor is a cache line");

/*
 * What an actor has besides that is *wide*: its state is larger, or it is a
 * bound one, whose behavior has a name of its own.  In a table of its own.
 */
typedef union ActorWide
{
	char state[NATIVE_STATE_SIZE] pg_attribute_aligned(8);
	char behavior[NAMEDATALEN];
} ActorWide;

StaticAssertDecl(offsetof(ActorSlot, u) + sizeof(ActorWide) <= 128, "what running an actor touches is two cache lines' worth");

/* The rest of an actor, in a table of its own. */
typedef struct ActorCold
{
	pg_atomic_uint64 monitors; /* Monitor * and MONITORS_BUSY, or MONITORS_CLOSED */
	/* the rest never changes while alive, or is written by who runs it alone */
	union
	{
		uint32 next_free; /* while it is free */
		uint32 run_ms;	  /* of its handlers, while it is a native one; sampled */
	};
	pg_atomic_uint32 interrupted; /* incarnation that an urgent message was for */
	Oid database;
	Oid role;
	uint32 depth;  /* messages waiting in a mailbox of its own */
	uint32 timers; /* first of them; guarded by timer.c's lock */
	TimestampTz spawned_at;
	uint32 links;			 /* arena's number of the first; guarded by link.c's lock */
	uint32 objects;			 /* same of the first holding */
	struct ActorName *names; /* guarded by name.c's lock */
	void *extra;			 /* a block: native actors' Mailbox, see mailbox.c; hosted ones' behavior */
} ActorCold;

StaticAssertDecl(sizeof(ActorCold) == 64, "the cold part of an actor is small");

extern ActorAddress actor_claim_bound(const char *behavior, void *bound);
extern ActorAddress actor_claim_native(int number, const void *state, Size size);
extern bool actor_is_native(ActorAddress address);
extern bool actor_slot_is_hosted(const ActorSlot *slot);
extern const ActorHost *actor_host; /* NULL: none */
extern bool actor_is_coming(ActorAddress address);
extern void actor_exit(ActorAddress address, const char *reason);
extern ActorSlot *actor_slot(uint32 slot);
extern ActorCold *actor_cold(uint32 slot);
extern ActorWide *actor_wide(uint32 slot);
extern bool actors_are_wide(void); /* some native ones */
extern void actors_count_wide(uint32 *alive, uint32 *ever);
extern const char *actor_behavior(uint32 slot);
extern uint32 actor_slots_used(void);
extern uint32 actor_slot_number(uint32 i); /* of the i'th of them, from 1 */
extern uint32 actor_slots_per_shard(void);
extern uint32 actor_slots_limit(void);
extern uint32 actor_count(void);
extern uint64 actors_refused(void);
extern SendResult send_no_memory(ActorAddress from, ActorAddress to, uint16 type);

extern Size actor_shmem_size(void);
extern void actor_shmem_init(void);

/* --- link.c -------------------------------------------------------------- */

typedef struct ActorLink ActorLink;

extern void link_actor_exited(ActorAddress address, const char *reason);
extern uint32 link_count(void);

extern Size link_shmem_size(void);
extern void link_shmem_init(void);

/* --- name.c -------------------------------------------------------------- */

typedef struct ActorName ActorName;

extern void name_actor_exited(ActorCold *slot);
extern uint32 name_count(void);

extern Size name_shmem_size(void);
extern void name_shmem_init(void);

/* --- object.c ------------------------------------------------------------ */

typedef struct ObjectHolding ObjectHolding;

extern void object_actor_exited(ActorAddress address);

extern Size object_shmem_size(void);
extern void object_shmem_init(void);

/* --- timer.c ------------------------------------------------------------- */

extern void timer_actor_exited(ActorCold *slot);
extern long timers_serve(void);
extern bool timers_keep(bool in_any_case);
extern void timers_leave(void);
extern uint32 timer_count(void);
extern uint64 timers_fired(void);

extern Size timer_shmem_size(void);
extern void timer_shmem_init(void);

/* --- bound.c ------------------------------------------------------------- */

extern bool bound_sort_mail(void);
extern void bound_exit_all(const char *reason);
extern void bound_forget_all(void);

/* --- native.c, shard.c, shard_send.c, shard_run.c ------------------------- */

/* What a scheduler did for native actors since the server started. */
typedef struct ShardStatistics
{
	uint64 wakeups; /* began to run some */
	uint64 given;	/* shards to idle schedulers */
	uint64 taken;	/* shards from others */
	uint64 waiting; /* messages, when it last looked */
} ShardStatistics;

extern void shard_statistics(int scheduler, ShardStatistics *statistics);
extern SendResult shard_send(ActorAddress to, Message *message);
extern SendResult shard_post(ActorAddress from, ActorAddress to, uint16 type, const void *payload, Size size);
extern void shards_accept(int scheduler);
extern void shards_leave(void);
extern bool shards_have_work(void);
extern void shards_run(bool (*is_interrupted)(void));
extern void shards_wake_waiting(void);
extern int shard_holder(uint32 slot);
extern const char *shard_behavior_name(int number);
extern int shard_behaviors(void); /* their numbers are 1 to this */
extern bool shard_behavior_is(int number, int family);
extern const char *shard_message_name(int behavior, uint16 type);
extern int runtime_behavior(const char *name);
extern void runtime_behavior_describe(int number, int family, const char *const *message_names, uint32 n_messages);
extern ActorAddress native_actor_spawn_for(Oid database, Oid role, int behavior, const void *state, Size size);
extern Size shards_shmem_size(void);
extern void shards_shmem_init(void);

/* --- c_face.c ------------------------------------------------------------- */

extern void c_face_register_all(void);

/* --- statistics.c --------------------------------------------------------- */

#define MAX_BEHAVIORS 255
#define SAMPLE_EVERY 1024
#define HISTOGRAM_BUCKETS 36

typedef struct BehaviorStatistics
{
	uint64 spawned;
	uint64 exited;
	uint64 failed;
	uint64 handled; /* by those that have exited */
	uint64 run_us;
} BehaviorStatistics;

extern void statistics_spawned(int behavior);
extern void statistics_exited(int behavior, uint64 handled, bool has_failed);
extern void statistics_sampled(int behavior, uint64 ns);
extern void statistics_asked(uint64 ns);
extern void statistics_read(int behavior, BehaviorStatistics *result);
extern uint64 statistics_histogram(int behavior, int i);

extern Size statistics_shmem_size(void);
extern void statistics_shmem_init(void);

/* --- dead_letter.c -------------------------------------------------------- */

typedef enum DeadLetterReason
{
	DEAD_LETTER_NO_ACTOR,
	DEAD_LETTER_MAILBOX_FULL,
	DEAD_LETTER_NODE_DOWN,
	DEAD_LETTER_NO_DATABASE,
	DEAD_LETTER_NO_HANDLER,
	DEAD_LETTER_NO_MEMORY,
	DEAD_LETTER_REASONS
} DeadLetterReason;

typedef struct DeadLetter
{
	pg_atomic_uint64 number; /* of this letter, from 1; 0 while it is written */
	TimestampTz at;
	uint16 type;
	uint16 reason;
	ActorAddress to;
	ActorAddress from;
} DeadLetter;

#define DEAD_LETTERS_KEPT 256

extern DeadLetterReason dead_letter_reason(SendResult result); /* actor.c */
extern void dead_letter_record(const Message *message, DeadLetterReason reason);
extern bool dead_letter_read(uint32 i, DeadLetter *letter);
extern uint64 dead_letter_count(DeadLetterReason reason);
extern const char *dead_letter_reason_name(DeadLetterReason reason);
extern Size dead_letter_shmem_size(void);
extern void dead_letter_shmem_init(void);

/* --- database.c ------------------------------------------------------------ */

#define MAX_DATABASES RUNTIME_MAX_DATABASES
#define MAX_SCHEDULERS 1024

typedef enum DatabaseState
{
	DATABASE_UNUSED,
	DATABASE_UNKNOWN, /* a scheduler shall look for the extension; next: ACTIVE,
					   * ABSENT */
	DATABASE_ACTIVE,  /* it has the extension; next: UNKNOWN when that may have
					   * changed */
	DATABASE_ABSENT	  /* it has not; next: UNUSED, UNKNOWN */
} DatabaseState;

typedef struct DatabaseSlot
{
	LWLock lock;				/* guards all that has no other word */
	pg_atomic_uint32 state;		/* written under the lock */
	pg_atomic_uint32 name_hash; /* same */
	Oid oid;
	NameData name;
	uint32 asked;			  /* grows when the extension may have come or gone */
	int kept_away;			  /* statements that want no schedulers here */
	pg_atomic_uint64 arrived; /* no lock: newest Message, or CLOSED */
	Message *first;			  /* arrived and put into order */
	Message *last;
	pg_atomic_uint32 refresh;		  /* no lock: the start callbacks shall run */
	pg_atomic_uint64 start_failed_at; /* TimestampTz of the last such start */
	ConditionVariable scheduler_exited;
	pg_atomic_uint64 idle[MAX_SCHEDULERS / 64]; /* no lock: bit per scheduler */
} DatabaseSlot;

extern DatabaseSlot *database_at(int database);
extern int database_find(Oid oid);
extern int database_announce(Oid oid, const char *name);
extern void database_recheck(Oid oid);
extern void database_confirm(int database, uint32 asked, const char *name, bool has_extension);
extern bool database_close(int database);
extern SendResult database_dispatch(uint32 name_hash, Message *message);
extern Message *database_take(int database, bool *more);
extern bool database_has_work(int database);
extern uint32 database_waiting(int database);
extern void database_set_idle(int database, int scheduler, bool is_idle);
extern uint32 database_idle_count(int database);
extern bool database_wake_idle(int database);
extern int database_any_idle(void);
extern void database_wake_waiting(void);
extern void database_keep_away(int database);
extern void database_let_back(int database);
extern uint32 database_name_hash(const char *name);

extern Size database_shmem_size(void);
extern void database_shmem_init(void);

/* --- scheduler.c ----------------------------------------------------------- */

typedef enum SchedulerState
{
	SCHEDULER_FREE,
	SCHEDULER_STARTING, /* the launcher asked the postmaster for it */
	SCHEDULER_RUNNING
} SchedulerState;

#define ACTIVITY_LENGTH 128

typedef struct SchedulerSlot
{
	pg_atomic_uint32 state; /* guarded by SchedulerPool.lock */
	uint32 generation;		/* same; grows with each use of the slot */
	int database;			/* same */
	int pid;				/* same; 0 until it runs */
	uint16 process;			/* same */
	/* written by the scheduler alone, read without a lock */
	bool is_ready;
	bool is_busy;
	TimestampTz started_at;
	TimestampTz since; /* of being busy or idle */
	uint64 works;
	uint64 failed;
	uint64 busy_us;
	char activity[ACTIVITY_LENGTH];
} SchedulerSlot;

typedef struct SchedulerPool
{
	LWLock lock;
	pg_atomic_uint32 launcher;		   /* its process slot, or none */
	pg_atomic_uint32 rescan;		   /* databases may have come */
	pg_atomic_uint32 called;		   /* it has been woken to look at the pools, or will look soon */
	pg_atomic_uint32 at_work;		   /* schedulers that run a piece of work */
	pg_atomic_uint32 waiting_for_node; /* processes in runtime_wait_for_node() */
	int n_processors;				   /* never changes after start */
	int n_slots;					   /* same */
	SchedulerSlot slot[FLEXIBLE_ARRAY_MEMBER];
} SchedulerPool;

extern SchedulerPool *scheduler_pool;

/* The schedulers of a database, as the launcher sees them. */
typedef struct SchedulerCount
{
	int all;
	int free;	/* not busy, or still starting */
	int moving; /* busy, but only since a moment ago */
} SchedulerCount;

/*
 * Most work takes less than this.  A scheduler that has been at something for
 * longer may be at it for ever, so that others must be started.
 */
#define SHORT_WORK_MS 20

extern SchedulerCount scheduler_count(int database);
extern void launcher_call(void);
extern int scheduler_claim(int database, uint32 *generation);
extern bool scheduler_unclaim(int scheduler, uint32 generation);
extern void scheduler_terminate_all(int database);
extern void recover_from_error(void);
extern void launcher_wake(void);
extern void launcher_rescan(void);

extern Size scheduler_shmem_size(void);
extern void scheduler_shmem_init(void);

/* --- launcher.c ------------------------------------------------------------ */

extern void launcher_register(void);

/* --- utility.c ------------------------------------------------------------- */

extern void utility_init(void);
extern void utility_announce(void);

/* --- testfuncs.c ----------------------------------------------------------- */

#ifdef DLOG_STOP_POINTS
extern void testfuncs_init(void);
extern void testfuncs_victim_init(void); /* testfuncs_victim.c */
extern void testfuncs_flood_init(void);	 /* testfuncs_flood.c */
#endif

/* --- runtime.c ------------------------------------------------------------- */

extern int runtime_tranche;

#endif
