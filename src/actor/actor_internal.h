/*
 * actor_internal.h
 *		What the files of src/actor share.
 *
 * Words.  The *holder* of an actor is the scheduler that runs it now; what is
 * said to be the holder's has no lock.  A *turn* is what one actor does in a
 * batch.  *Mail* is what its handlers get, one at a time; *control* is what
 * its holder obeys: start, stop, suspend, a child's exit.
 *
 * Locks: ActorPool.lock or OwnQueue.lock, under which nothing else is taken.
 */
#ifndef DLOG_ACTOR_INTERNAL_H
#define DLOG_ACTOR_INTERNAL_H

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/elog.h"

#include "actor/actor.h"
#include "base/arena.h"
#include "base/pg_compat.h"

/* --- value.c -------------------------------------------------------------- */

/*
 * A datum in the arena, flat.  What does not fit into one block goes on in the
 * next, and is put together in local memory to be read.
 */
typedef struct Value
{
	struct Value *next; /* more of it; first, for MESSAGE_CHAINED */
	uint32 size;		/* bytes of data in all */
	int16 type_length;	/* as in pg_type */
	bool is_by_value;
	bool is_null;
	char data[FLEXIBLE_ARRAY_MEMBER];
} Value;

#define VALUE_BLOCK_DATA (ARENA_MAX_SIZE - offsetof(Value, data))

extern Value *value_create(Datum datum, ValueType type, bool is_null);
extern Value *value_of_bytes(const char *bytes, Size size);
extern void value_fill(Value *value, Size offset, const char *bytes, Size size);
extern Datum value_datum(const Value *value, bool *is_null);
extern const char *value_bytes(const Value *value);
extern bool value_equals(const Value *value, Datum flat, Size size, bool is_null);
extern void value_free(Value *value);

/* --- mail.c --------------------------------------------------------------- */

/* Types of messages that never leave this node. */
typedef enum LocalMessage
{
	LOCAL_MAIL = LOCAL_MESSAGE(1024, 0), /* Mail: a datum for a handler, or an answer */
	LOCAL_FAILURE,						 /* FailureAnswer: to an asker */
	LOCAL_SPAWN,						 /* no receiver: the actor it names shall live */
	LOCAL_NAME,							 /* the rest up to control have none either; they hold a
						 * PendingAction */
	LOCAL_MONITOR,
	LOCAL_DEMONITOR,
	LOCAL_TIMER_START,
	LOCAL_TIMER_CANCEL,
	/* control */
	LOCAL_STOP,
	LOCAL_SUSPEND,
	LOCAL_RESUME,
	LOCAL_RETRY, /* RetryControl */
	LOCAL_RESTART,
	LOCAL_RELEASE,
	LOCAL_ADOPT, /* AdoptControl: of a durable actor */
	LOCAL_CHILD_SPAWNED,
	LOCAL_CHILD_STARTED,
	LOCAL_CHILD_EXITED,
	LOCAL_TIMER,
	LOCAL_END
} LocalMessage;

/* The payload of LOCAL_MAIL. */
typedef struct Mail
{
	Value *more; /* the datum, if MESSAGE_CHAINED; first */
	Oid type;
	uint16 attempts; /* how often it has failed its handler */
	uint8 flags;
	bool is_null;
	uint32 size;
	int16 type_length;
	bool is_by_value;
	uint64 token; /* MAIL_TIMER: names it */
	char data[FLEXIBLE_ARRAY_MEMBER];
} Mail;

#define MAIL_HEADER MAXALIGN(offsetof(Mail, data))
#define MAIL_DURABLE_HEADER MAXALIGN(sizeof(DurableMail)) /* before the datum, of some */
#define message_mail(message) ((Mail *) (message)->payload)

extern bool message_is_local(const Message *message);
extern char *mail_text(const Message *message);
extern void refuse_message(Message *message);
extern void mail_deliver(ActorAddress to, Message *message);
extern void monitor_request(ActorAddress watcher, ActorAddress other);
extern void demonitor_request(ActorAddress watcher, ActorAddress other);

/* --- slot.c --------------------------------------------------------------- */

typedef enum RunState
{
	RUN_IDLE,	 /* no mail; next: QUEUED when mail or control comes */
	RUN_QUEUED,	 /* in its database's run queue; next: RUNNING */
	RUN_RUNNING, /* somebody holds it; next: any other */
	RUN_PARKED	 /* mail may wait, and shall; next: QUEUED when control comes */
} RunState;

typedef enum ActorPhase
{
	PHASE_NEW,	 /* init is to run; next: READY, DOWN */
	PHASE_READY, /* handles messages; next: DOWN, or gone */
	PHASE_HELD,	 /* waits for its supervisor to start it; next: NEW, or gone */
	PHASE_DOWN	 /* has exited; its supervisor decides; next: NEW, or gone */
} ActorPhase;

/* Of the processor's cache. */
#define PREFETCH_LINE 64

/* Set in a stack while its actor is not alive. */
#define MAIL_CLOSED ((uint64) 1)

typedef enum ActorKind
{
	ACTOR_OF_SQL,
	ACTOR_DURABLE, /* of SQL, too; its body has a DurableBody */
	ACTOR_OF_SYSTEM
} ActorKind;

/*
 * A SQL or system actor, in a table beside that of the runtime's slots: what
 * others need of it, in one cache line of its own.  The rest is in the body.
 */
typedef struct SqlActor
{
	pg_atomic_uint64 mail;	  /* no lock: newest Message, or MAIL_CLOSED */
	pg_atomic_uint64 control; /* same */
	pg_atomic_uint64 room;	  /* no lock: incarnation, and in the low half the
							   * messages that wait or are about to come */
	pg_atomic_uint32 run;	  /* no lock: RunState */
	uint32 next_run;		  /* whoever put it into the run queue, or the pool's lock */
	struct ActorBody *body;	  /* never changes while alive */
	/* the holder's */
	Value *state;	/* committed; NULL: none */
	uint32 version; /* grows before and after "state" changes */
	Oid behavior;
	uint8 database; /* its number; never changes while alive */
	uint8 phase;	/* ActorPhase */
	bool is_suspended;
	uint8 kind;	  /* ActorKind; never changes while alive */
	uint32 limit; /* of its mailbox; never changes while alive */
} SqlActor;

StaticAssertDecl(sizeof(SqlActor) == 64, "an actor fills a cache line");

typedef struct ActorBody
{
	/* what each turn needs */
	ActorAddress self;
	Oid role;		/* that its handlers run as */
	Message *first; /* mail in order; older than what is in SqlActor.mail */
	Message *last;
	uint32 high_water;
	uint64 received;
	uint16 holder; /* process slot; for views and interrupts */

	ActorAddress supervisor; /* slot 0: none */
	uint64 child;
	const SystemBehavior *system; /* NULL: a SQL actor */
	void *system_state;
	Value *args; /* of init; or the first bytes of a system actor's state */
	int n_args;
	Oid database;
	Oid first_behavior; /* what it was spawned with, and is again after a restart */
	Message *stash_first;
	Message *stash_last;
	Message *failed;				/* that its handler failed at, until the supervisor decides */
	struct HandlerFailure *failure; /* why; NULL: not known */
	uint32 restarts;
	bool restarts_later; /* a timer to start it runs */
	bool is_orphan;		 /* actor_orphan()'s, which only sets it */
	struct Revoked *revoked;
	struct SystemTimer *timers;	 /* of a system actor */
	struct DurableBody *durable; /* NULL: it is not */
	uint64 last_token;			 /* of its timers */
} ActorBody;

/* The holder's, but for the number. */
typedef struct DurableBody
{
	int64 id;
	JournalPosition position; /* committed */
	Value *failure;			  /* of the message in front: a PackedFailure */
	bool gives_up;			  /* that one is being put into quarantine */
	bool has_ended;			  /* for good: no supervisor starts it again */
	bool waits;				  /* it is suspended until a LOCAL_RETRY */
	uint64 retry;			  /* the number of that, if a timer sends it */
	uint32 breaks;			  /* so often in a row it could not be loaded; 0: it is not broken */
} DurableBody;

typedef struct SystemTimer
{
	struct SystemTimer *next;
	TimerId id;
	uint64 number;
	uint64 token;
} SystemTimer;

/* What a timer has sent that was set in a transaction that was rolled back. */
typedef struct Revoked
{
	struct Revoked *next;
	uint64 token;
	uint32 n_messages; /* that have not been looked at yet */
} Revoked;

/* One for each slot of the runtime's table. */
extern SqlActor *sql_actor_table;

static inline SqlActor *
sql_actor_at(uint32 slot)
{
	return &sql_actor_table[slot];
}

/* SqlActor.room of a mailbox with nothing in it. */
#define EMPTY_ROOM(incarnation) ((uint64) (incarnation) << 32)

extern SqlActor *sql_actor_find(ActorAddress address);
extern bool sql_actor_is_meant(ActorAddress address);
extern int64 sql_actor_durable(ActorAddress address);
extern void sql_actor_is_durable(ActorAddress address, int64 number);
extern SqlActor *sql_actor_claim(const char *behavior, Oid database, Oid role, ActorAddress *address);
extern void sql_actor_spawned(ActorAddress address);
extern void sql_actor_unspawned(ActorAddress address);
extern void sql_actor_tell_supervisor(ActorAddress address, const ActorBody *body);
extern void sql_actor_free_body(SqlActor *actor);
extern const ActorHost sql_actor_host;
extern Size slot_shmem_size(void);
extern void slot_shmem_init(void);

/* --- mailbox.c ------------------------------------------------------------ */

extern bool sql_actor_reserve(SqlActor *actor, ActorAddress address);
extern bool sql_actor_wait_for_room(SqlActor *actor, ActorAddress address);
extern void sql_actor_unreserve(SqlActor *actor, ActorAddress address);
extern void sql_actor_count_out(SqlActor *actor, Message *message);
extern bool sql_actor_try_queue(SqlActor *actor, uint32 slot, RunState from, bool is_urgent);
extern SendResult sql_actor_send(ActorAddress to, Message *message);
extern bool sql_actor_deliver(ActorAddress to, Message *first, Message *last, int n);
extern bool control_send(ActorAddress to, Message *message);
extern Message *sql_actor_peek(SqlActor *actor);
extern Message *sql_actor_take_first(SqlActor *actor);
extern void sql_actor_put_back(SqlActor *actor, Message *first, Message *last);
extern Message *sql_actor_take_control(SqlActor *actor);
extern Message *sql_actor_close(SqlActor *actor);
extern void sql_actor_release(SqlActor *actor);
extern bool sql_actor_has_turn(SqlActor *actor);
extern bool sql_actor_is_killed(SqlActor *actor);
extern void sql_actor_revoke(ActorAddress address, uint64 token, uint32 n_messages);
extern bool sql_actor_is_revoked(SqlActor *actor, uint64 token);

/* --- state.c -------------------------------------------------------------- */

extern void sql_actor_set_state(SqlActor *actor, Value *state);
extern Datum sql_actor_read_state(ActorAddress address, bool *is_null, Oid *behavior, bool *is_alive);

/* --- exit.c --------------------------------------------------------------- */

/* What LOCAL_CHILD_EXITED carries. */
typedef struct ChildExited
{
	uint64 child;
	ExitKind kind;
	int sqlerrcode;
	uint32 attempts;
	bool is_gone;
	char reason[FLEXIBLE_ARRAY_MEMBER];
} ChildExited;

extern const char *exit_kind_name(ExitKind kind);
extern void sql_actor_forget_failure(ActorBody *body);
extern void sql_actor_has_failed(SqlActor *actor, Message *message, const ErrorData *error);
extern void sql_actor_give_up(SqlActor *actor, FailedMessage what, const char *reason);
extern void free_all(Message *message);
extern void refuse_all(Message *first, const char *reason);
extern void sql_actor_bury(SqlActor *actor, const char *reason);
extern bool sql_actor_down(SqlActor *actor, ExitKind kind, int sqlerrcode, const char *reason);

/* --- control.c ------------------------------------------------------------ */

/* What LOCAL_STOP carries. */
typedef struct StopControl
{
	ExitKind kind;
	bool is_final; /* of a durable actor: not only until it is started again */
	char reason[FLEXIBLE_ARRAY_MEMBER];
} StopControl;

/* What LOCAL_RETRY carries. */
typedef struct RetryControl
{
	uint64 number; /* DurableBody.retry; 0: something was mended */
} RetryControl;

extern bool sql_actor_obey(SqlActor *actor); /* false: it is gone */
extern bool sql_actor_obey_one(SqlActor *actor, Message *message);

/* --- pool.c --------------------------------------------------------------- */

/*
 * What is to be run in a database and nobody's yet.  Any process pushes; a
 * scheduler takes.
 */
typedef struct ActorPool
{
	/* what senders change */
	pg_attribute_aligned(64) pg_atomic_uint64 arrived; /* no lock: newest slot */
	pg_atomic_uint64 inbox;							   /* no lock: mail that came from the network process */
	/* what is looked at often */
	pg_attribute_aligned(64) pg_atomic_uint32 active; /* no lock: schedulers that will look again soon */
	pg_atomic_uint32 napping;						  /* no lock: those that will in a millisecond */
	pg_atomic_uint32 system_waiting;				  /* no lock: system actors in the queue */
	/* the queue */
	pg_attribute_aligned(64) LWLock lock; /* guards the rest */
	uint32 first;						  /* slots in order, linked by next_run */
	uint32 last;
	uint32 waiting;
} ActorPool;

/* A power of two. */
#define OWN_SLOTS 16384

/*
 * What the commits of one scheduler have made runnable: an array, so that its
 * next actors can be fetched ahead.
 */
typedef struct OwnQueue
{
	pg_attribute_aligned(64) LWLock lock; /* guards what has no other word */
	uint32 head;						  /* counts what was taken */
	uint32 tail;						  /* counts what was pushed */
	pg_atomic_uint32 owner;				  /* no lock: process slot; 0: nobody's */
	int database;						  /* the owner's, or the last one's; changes while it is empty */
	bool is_active;						  /* the owner's: it will look again soon.  No lock */
	uint32 slot[OWN_SLOTS];
} OwnQueue;

extern bool pool_has_system_waiting(int database);
extern uint32 pool_waiting(int database);
extern void pool_push(SqlActor *actor, uint32 slot, bool is_urgent);
extern void pool_hurry(int database);
extern void pool_hold(void);
extern void pool_let_go(void);
extern SqlActor *pool_pop(int database, bool *wants_help);
extern void pool_give_back(int database);
extern bool pool_has_work(int database);
extern void pool_push_inbox(int database, Message *message);
extern void pool_enter(int database);
extern void pool_leave(int database);
extern void pool_exit(int database);
extern void pool_nap(int database, bool naps);
extern void pool_wake(int database);
extern void pool_clear(int database);
extern Size pool_shmem_size(void);
extern void pool_shmem_init(void);

/* --- pending.c ------------------------------------------------------------ */

/*
 * What leaves when this transaction commits, in order; what it holds is
 * given back when it, or its subtransaction, does not.
 */
typedef struct PendingAction
{
	ActorAddress other; /* of a monitor */
	Oid database;
	TimerId timer;
	uint64 token; /* of what the timer sends */
	char name[FLEXIBLE_ARRAY_MEMBER];
} PendingAction;

extern void pending_add(ActorAddress to, Message *message);
extern void pending_mark(void);
extern int pending_count(ActorAddress to);
extern int pending_added(void);
extern void pending_commit(void);
extern void pending_abort(void);
extern void pending_init(void);

/* --- turn.c --------------------------------------------------------------- */

/* What an actor does in a batch. */
typedef struct Turn
{
	SqlActor *actor;
	ActorAddress self;
	/* what this batch has done; undone by its rollback */
	bool is_in_batch;
	Message *done_first; /* messages handled, oldest first */
	Message *done_last;
	uint32 n_done;
	bool ran_init;
	bool has_state; /* "state" is what it will be */
	Value *state;
	Oid behavior; /* what it becomes; or invalid */
	bool unstashes;
	Message *started;		  /* tells its supervisor that init has run */
	JournalPosition position; /* of a durable actor: as it will be */
	uint32 n_entries;		  /* same: messages of this turn that will be in its journal */
	int n_timers;			  /* same: that the message at hand has set */
	/* what the batch that was rolled back had done */
	uint32 planned;
	bool plans_init;
	/* at the end of the batch */
	bool exits;
	ExitKind exit_kind;
	char *exit_reason; /* lives as long as the batch */
} Turn;

/* What a handler has said of its turn; a rollback to a savepoint takes it back. */
typedef struct TurnChoice
{
	Oid behavior;
	bool unstashes;
	bool exits;
	ExitKind exit_kind;
	char *exit_reason;
	bool is_stashed;
	Oid becomes; /* DurableMail's */
} TurnChoice;

extern Turn *current_turn;		 /* whose handler runs in this process; NULL: none does */
extern Message *current_message; /* that it handles; NULL: init */
extern bool current_is_stashed;

extern Turn *turn_add(SqlActor *actor);
extern void turn_rewind(Turn *turn);
extern void turn_release_all(void);
extern void turn_exit(Turn *turn, const char *reason);
extern Turn *turn_require(const char *function);
extern bool turn_commit_all(void);

/* --- handler.c ------------------------------------------------------------ */

extern void turn_run(Turn *turn, int limit);
extern void handler_leave_role(void);
extern void handler_forget(void);
extern void handler_prepare(void);

/* --- handler_clock.c ------------------------------------------------------ */

extern void handler_begins(int timeout_ms);
extern void handler_is_over(void);
extern bool handler_runs(void);
extern bool handler_has_failed(void);
extern void handler_clock_start(void);
extern void handler_clock_stop(void);
extern void handler_clock_leave(int database);
extern void handler_clock_prepare(void);

/* --- batch.c -------------------------------------------------------------- */

/* The batch at work in this process, and what is left of it while it is redone. */
typedef struct Batch
{
	int database;
	Turn *turns;
	int n_turns;
	int n_messages; /* that were handled */
	uint64 ends_us;
	MemoryContext context; /* lives as long as a batch */
} Batch;

extern Batch batch;

extern void batch_run(int database, bool (*is_wanted_elsewhere)(void));
extern void batch_leave(int database);

/* --- system.c ------------------------------------------------------------- */

extern const SystemBehavior *system_behavior_find(const char *name);
extern void system_run(SqlActor *actor);

/* --- ask.c ---------------------------------------------------------------- */

typedef struct FailureAnswer
{
	int sqlerrcode;
	int handler_sqlerrcode;				 /* 0: no handler failed at the question */
	char message[FLEXIBLE_ARRAY_MEMBER]; /* and then that of the handler's error */
} FailureAnswer;

/* The error of the handler that failed, for who asked; it may be cut. */
typedef struct HandlerFailure
{
	int sqlerrcode;
	char message[448];
} HandlerFailure;

extern Message *actor_ask(ActorAddress to, Message *message, long timeout_ms);
extern void answer_failure(ActorAddress asker, ActorAddress from, int sqlerrcode, const char *message,
						   const HandlerFailure *of_handler);

/* --- spawn.c -------------------------------------------------------------- */

extern Datum *args_read(const Value *value, int n_args, Oid init, bool **nulls);

/* --- arguments.c ---------------------------------------------------------- */

extern void require_argument(FunctionCallInfo fcinfo, int n, const char *name);
extern ActorRef *actor_argument(FunctionCallInfo fcinfo, int n);
extern int64 interval_argument(FunctionCallInfo fcinfo, int n, const char *name);
extern Oid message_type(FunctionCallInfo fcinfo, int n);
extern ActorAddress local_actor(const ActorRef *ref);
extern ActorAddress controlled_actor(const ActorRef *ref);
extern bool is_durable_elsewhere(const ActorRef *ref);
extern pg_noreturn void refuse_gone(const ActorRef *ref);
extern pg_noreturn void refuse_unknown_node(const ActorRef *ref);
extern void refuse_in_replay(const char *function);

/* --- actorfuncs.c --------------------------------------------------------- */

extern void wait_until_loaded(ActorAddress address);

/* --- messagefuncs.c ------------------------------------------------------- */

extern Message *message_argument(FunctionCallInfo fcinfo, int n, ActorAddress to, int flags);

/* --- durable.c ------------------------------------------------------------ */

extern bool durable_load(Turn *turn, Behavior *behavior, Datum *state, bool *is_null);
extern void durable_begin(Turn *turn, Behavior *behavior, Datum state, bool is_null);
extern void durable_append(Turn *turn, Behavior *behavior, Datum state, bool is_null);
extern void durable_check_apply(Behavior *behavior, BehaviorReplay *apply, const ActorReplay *as,
								NullableDatum before, NullableDatum message, NullableDatum after);
extern void durable_has_failed(SqlActor *actor, Message *message, const ErrorData *error);
extern void durable_is_mended(DurableBody *durable);
extern uint64 durable_next_seq(const Turn *turn);
extern int64 durable_next_timer(Turn *turn);
extern void durable_at_work(const Turn *turn, const Message *message);
extern void durable_is_done(const Turn *turn);
extern bool durable_gives_up(Turn *turn, Behavior *behavior, Message *message);
extern void durable_quarantine_unhandled(Turn *turn, Behavior *behavior, Message *message, Oid type);
extern void durable_tell_asker(SqlActor *actor, Message *message);

/* --- sqlactor.c ----------------------------------------------------------- */

extern uint32 sql_actor_server_start(void);

#endif
