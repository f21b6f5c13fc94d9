/*
 * runtime.h
 *		Actors, their addresses and messages; the processes that run them.
 *
 * Words.  An *actor* has an address, a mailbox and a behavior, and handles
 * one message at a time.  A *process* here is any server process attached to
 * the runtime: a session's backend, a scheduler, the launcher, the transport
 * worker, and the network process.  Every attached process has a
 * ProcessSlot with a lock-free inbox into which anyone may push.
 *
 * An actor is *sharded* (run by whichever scheduler holds its shard, see
 * shard.c) or *bound* to one process (a session, a remote statement that a
 * scheduler runs in SQL).  Messages for a bound actor go to its process's
 * inbox; those for a sharded one to its shard's.
 *
 * Sharded actors are *native*: their handlers are C functions that run
 * without a transaction.
 *
 * A message always has one owner: whoever created it, the queue it is in, or
 * whoever took it out.  Sending gives it away, whatever the result.
 */
#ifndef DLOG_RUNTIME_H
#define DLOG_RUNTIME_H

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "utils/palloc.h"

#include "wire/wire.h"

/*
 * Where an actor lives.  "node" is an index into the node table of this
 * server (transport/transport.h), 0 for this node.  A slot is reused with a
 * new incarnation, so a stale address reaches nobody.
 *
 * Slot 0 is no actor: it stands for the dispatcher of a database, named by
 * the hash of the database's name in "incarnation" (database_address()).
 * What is sent there starts new work on a free scheduler.
 */
typedef struct ActorAddress
{
	uint32 node;
	uint32 slot;
	uint32 incarnation;
} ActorAddress;

#define THIS_NODE 0

typedef struct Message
{
	struct Message *next; /* link of the queue it is in */
	uint32 size;		  /* bytes of payload */
	uint16 type;		  /* MessageType, wire/messages.def */
	uint16 flags;
	ActorAddress to;
	ActorAddress from;
	char payload[FLEXIBLE_ARRAY_MEMBER]; /* encoded, see wire/wire.h */
} Message;

/* Flags of a message. */
#define MESSAGE_CONTROL 1	/* is never refused because a mailbox is full */
#define MESSAGE_URGENT 2	/* interrupts what its receiver's process does, if
						   * that takes interrupts */
#define MESSAGE_EPHEMERAL 4 /* of a conversation that either side may leave:
							 * that it reaches nobody is no dead letter */

#define MESSAGE_CHAINED 8	/* the payload begins with the address of a block of
							 * the arena, which begins with that of the next or
							 * NULL; they go with the message.  Never leaves
							 * this node */
#define MESSAGE_RESERVED 16 /* its receiver's host has counted it already */
#define MESSAGE_RUN 32		/* its receiver's host got others with it */

#define MESSAGE_MAX_PAYLOAD (64 * 1024 - 8 - offsetof(Message, payload))

typedef enum SendResult
{
	SEND_OK,
	SEND_NO_ACTOR,	   /* no such actor, or an older incarnation of it */
	SEND_MAILBOX_FULL, /* control messages are never refused for this */
	SEND_NODE_DOWN,	   /* the link to its node is not up */
	SEND_NO_MEMORY	   /* the arena is full */
} SendResult;

/*
 * message.c: any process.  message_create() raises 53400 when the arena is
 * full; message_try_create() returns NULL.  The payload is not cleared.
 */
extern Message *message_create(uint16 type, Size payload_size);
extern Message *message_try_create(uint16 type, Size payload_size);
extern void message_free(Message *message);
extern void message_free_chain(Message *message); /* what it is chained to */

/*
 * actor.c: any process, the network process too.  The sender may have set
 * message->from; what cannot be delivered later on is answered there with
 * MESSAGE_UNDELIVERED.  A message that is refused at once is freed, and
 * counted in dlog.dead_letters.
 */
extern SendResult actor_send(ActorAddress to, Message *message);
extern SendResult actor_post(ActorAddress from, ActorAddress to, uint16 type,
							 const void *payload, Size size);
extern void actor_send_undelivered(Message *message, SendResult reason);
extern bool actor_exists(ActorAddress address);
extern Oid actor_database(ActorAddress address); /* of this node; or invalid */
extern ActorAddress database_address(uint32 node, const char *database);

static inline bool
actor_address_equal(ActorAddress a, ActorAddress b)
{
	return a.node == b.node && a.slot == b.slot && a.incarnation == b.incarnation;
}

/*
 * actor.c: tell "watcher", wherever it lives, with MESSAGE_DOWN when the
 * actor "other" of this node exits (or now, if it is gone).  Whoever watched
 * an actor that lives longer takes the monitor back.
 */
extern void actor_monitor(ActorAddress watcher, ActorAddress other);
extern void actor_demonitor(ActorAddress watcher, ActorAddress other);

/*
 * Links and exit signals (link.c), between actors of this node, by any
 * process but the network process.  As in Erlang: a signal ends its receiver
 * with the same reason, unless that is "normal" or the receiver traps exits;
 * "kill" ends that, too.  Whoever runs actors asks exit_signal_reason() what
 * a MESSAGE_EXIT means for one; bound actors get it as a message.
 */
#define REASON_NORMAL "normal"
#define REASON_SHUTDOWN "shutdown"
#define REASON_KILL "kill"
#define REASON_KILLED "killed"
#define REASON_NO_ACTOR "no such actor"
#define REASON_PROCESS_EXITED "process exited" /* of who ran it */
#define EXIT_REASON_LENGTH 256				   /* longer ones are cut */

typedef enum ExitSignalKind
{
	EXIT_SIGNAL_OF_LINK, /* its sender has exited */
	EXIT_SIGNAL_SENT	 /* by actor_send_exit() */
} ExitSignalKind;

extern bool actor_link(ActorAddress one, ActorAddress other);
extern void actor_unlink(ActorAddress one, ActorAddress other);
extern void actor_send_exit(ActorAddress from, ActorAddress to, const char *reason);
extern const char *exit_signal_reason(const char *payload, Size size, bool traps_exits, bool *as_message);

/*
 * Objects (object.c): memory of any size that actors of this node hand to
 * each other.  All but object_refer() and what asks is for whoever runs the
 * actor that holds it.
 *
 * Message types from LOCAL_MESSAGES on, and before LOCAL_MESSAGES_END, never
 * leave their node, and the payloads of some begin with pointers to objects.
 */
typedef struct Object Object;

extern void *object_create(ActorAddress holder, Size size);
extern Size object_size(const void *content);
extern uint64 object_number(const void *content);
extern void object_keep(ActorAddress holder, void *content);
extern void object_leave(ActorAddress holder, void *content);
extern void object_share(void *content);
extern void object_refer(const void *content);
extern void object_drop(ActorAddress holder, void *content);
extern void objects_release(uint16 type, char *payload, Size size);

#define LOCAL_MESSAGES 0x4000
#define LOCAL_MESSAGES_END 0x8000
#define MESSAGE_IS_LOCAL(type) (((type) &0xC000) == LOCAL_MESSAGES)
#define LOCAL_MESSAGE(number, objects) (LOCAL_MESSAGES | (objects) << 11 | (number))
#define MESSAGE_OBJECTS(type) (MESSAGE_IS_LOCAL(type) ? (type) >> 11 & 7 : 0)

/*
 * Names (name.c): any process but the network process.  A name is one
 * actor's in its database, and free again when that exits.  It is taken by an
 * actor that is still being spawned, and found once that is alive.
 */
typedef enum NameResult
{
	NAME_OK,
	NAME_TAKEN, /* by another actor */
	NAME_NO_ACTOR
} NameResult;

extern NameResult name_register(Oid database, const char *name, ActorAddress actor);
extern bool name_unregister(Oid database, const char *name);
extern bool name_unregister_own(Oid database, const char *name, ActorAddress actor);
extern bool name_lookup(Oid database, const char *name, ActorAddress *actor);
extern bool name_of_actor(ActorAddress actor, char name[NAMEDATALEN]);

/*
 * Timers (timer.c): any process but the network process.  A timer belongs to
 * an actor of this node, of whatever kind, and vanishes with it.  It takes
 * the message, whose "from" the caller has set.
 */
typedef uint64 TimerId; /* 0: none; never used again */

extern TimerId timer_send_after(ActorAddress owner, ActorAddress to, Message *message, int64 delay_ms);
extern TimerId timer_send_every(ActorAddress owner, ActorAddress to, Message *message, int64 period_ms);
extern bool timer_cancel(TimerId id);
extern bool timer_cancel_own(ActorAddress owner, TimerId id, uint32 *n_fired);

/*
 * Bound actors (bound.c): an actor whose mailbox is this process.  It exits
 * with the memory context it was spawned in, so an ERROR leaves none behind.
 */
typedef struct BoundActor BoundActor;

extern BoundActor *bound_actor_spawn(MemoryContext context, const char *behavior);
extern void bound_actor_exit(BoundActor *actor);
extern ActorAddress bound_actor_address(BoundActor *actor);
extern Message *bound_actor_receive(BoundActor *actor); /* NULL: none now */

/*
 * The session's own actor (bound.c), which it keeps for life: it sends and
 * asks without any set-up.  session_ask() gives the answer, the caller's to
 * free; or NULL when the time is over (negative: never), or the actor is gone
 * or refuses it, as "result" tells.  Answers that come too late reach nobody.
 */
extern ActorAddress session_address(void);
extern SendResult session_send(ActorAddress to, uint16 type, const void *payload, Size size);
extern Message *session_ask(ActorAddress to, uint16 type, const void *payload, Size size,
							long timeout_ms, SendResult *result);

/*
 * Sleeps until something may have changed: a message for any actor of this
 * process has come, or its latch was set for another reason.  Look at
 * everything you wait for after it returned true; it may be for nothing.
 * False: the timeout has passed (negative: none).
 */
extern bool runtime_wait(long timeout_ms, uint32 wait_event_info);

/* The same, awake for a moment if the last answer came as soon (base/linger.h). */
extern bool runtime_wait_for_answer(long timeout_ms, uint32 wait_event_info);
extern bool runtime_wait_for_node(long timeout_ms, uint32 wait_event_info);

/*
 * Native actors (native.c).  A handler gets one message at a time, with the
 * actor's state, and must not block; an ERROR in it ends its actor.  Memory
 * that it allocates is gone when a turn of messages is over.  The payload is
 * good until it returns.
 */
typedef struct NativeActor NativeActor;

typedef struct NativeMessage
{
	uint16 type;
	ActorAddress from;
	uint32 size;
	const char *payload;
} NativeMessage;

typedef void (*NativeHandler)(NativeActor *self, void *state, const NativeMessage *message);

#define NATIVE_STATE_SIZE 96
/* Up to this size a payload lies in the queue itself. */
#define NATIVE_INLINE_PAYLOAD 40

extern int runtime_register_behavior(const char *name, NativeHandler handler); /* its number */
/* Messages that may wait for one actor of it; without: dlog.mailbox_limit. */
extern void runtime_limit_mailbox(const char *behavior, uint32 limit);
extern ActorAddress native_actor_spawn(const char *behavior, const void *state, Size size);
extern ActorAddress native_actor_spawn_as(int behavior, const void *state, Size size);

/*
 * In its handler only.  SEND_OK is no promise: should the receiver be gone or
 * its mailbox be full when the message gets there, an UNDELIVERED comes back.
 * native_send_place() is where the next message to this receiver of this node
 * goes; NULL: native_send_any() must do it.
 */
extern ActorAddress native_actor_address(NativeActor *self);
extern ActorAddress native_actor_sender(NativeActor *self); /* of the message */
extern void *native_send_place(NativeActor *self, uint32 slot, uint32 incarnation, uint16 type, Size size);
extern SendResult native_send_any(NativeActor *self, ActorAddress to, uint16 type,
								  const void *payload, Size size);
extern void native_actor_exit(NativeActor *self);
extern void native_actor_stop(NativeActor *self, const char *reason);
extern void native_actor_trap_exits(NativeActor *self, bool traps);
extern void native_actor_stash(NativeActor *self);
extern void native_actor_unstash(NativeActor *self);
extern void native_actor_become(NativeActor *self, int behavior);

static inline SendResult
native_send(NativeActor *self, ActorAddress to, uint16 type, const void *payload, Size size)
{
	void *place = NULL;

	if (size <= NATIVE_INLINE_PAYLOAD && to.node == THIS_NODE)
		place = native_send_place(self, to.slot, to.incarnation, type, size);
	if (place == NULL)
		return native_send_any(self, to, type, payload, size);
	memcpy(place, payload, size);
	return SEND_OK;
}

/*
 * Hosted actors (actor.c).  Their mailboxes are kept, and their messages run,
 * by a higher layer, the host, which has a table of its own beside that of
 * the slots.  There is one host.
 */
typedef struct HostedView
{
	uint32 depth;
	uint32 high_water;
	uint64 received;
	uint32 restarts;
	uint16 holder; /* process slot of who runs it now, or 0 */
} HostedView;

typedef struct ActorHost
{
	/*
	 * Any process, the network process too.  Takes the message if the result
	 * is SEND_OK.  The slot may be another actor's by now: look at message->to
	 * when it is received.
	 */
	SendResult (*send)(ActorAddress to, Message *message);
	void (*view)(uint32 slot, HostedView *view);
	const char *(*message_name)(uint16 type); /* for dlog.dead_letters; NULL: not one of the host's */

	/*
	 * In a scheduler of the database that has this number: is there something
	 * to run; run some of it, outside of a transaction, until the function
	 * says that the scheduler should look elsewhere; leave, for it exits.
	 */
	bool (*has_work)(int database);
	void (*run)(int database, bool (*is_wanted_elsewhere)(void));

	/* In how many milliseconds there will be something, of which nobody tells then; or -1. */
	long (*work_in_ms)(int database);
	void (*leave)(int database);

	/*
	 * It begins, or ends, a nap of a millisecond: whoever has nothing urgent
	 * need not wake it.
	 */
	void (*nap)(int database, bool naps);

	/* A database is gone; no scheduler of it runs, another may get its number. */
	void (*database_is_gone)(int database);
} ActorHost;

extern void runtime_register_host(const ActorHost *host);

/* A slot that is reserved for an actor; then one of the next two. */
extern ActorAddress hosted_actor_claim(const char *behavior, Oid database, Oid role);
extern void hosted_actor_is_alive(ActorAddress address);
extern void hosted_actor_abandon(ActorAddress address);
extern void hosted_actor_exit(ActorAddress address, const char *reason);

extern bool hosted_actor_exists(ActorAddress address);
extern bool hosted_actor_is_starting(ActorAddress address);
extern bool hosted_actor_in_slot(uint32 i, ActorAddress *address); /* the i'th one */
extern uint32 hosted_actor_slots(void);							   /* i is below this */
extern uint32 hosted_actor_numbers(void);						   /* and their slots below this */
extern Oid hosted_actor_role(ActorAddress address);
extern const char *hosted_actor_behavior(ActorAddress address);

/* The number of a database here, or -1; and have one of its schedulers look. */
extern int runtime_database(Oid database);
extern bool runtime_wake_scheduler(int database); /* false: none was idle */
extern void runtime_call_for_schedulers(void);	  /* the launcher shall look; signal safe */

/* In a scheduler: what it does now is short, or keeps it from other work. */
extern void runtime_scheduler_is_busy(bool is_busy);
extern void runtime_give_way(void);

#define RUNTIME_MAX_DATABASES 64

/*
 * Processes (process.c).  Any server process is attached when it first sends
 * or receives; process_attach() does so early.  Slots are small numbers,
 * valid as owners of the arena.
 */
extern void process_attach(void);
extern uint16 process_slot(void);
extern void process_count_sent_many(uint32 n); /* messages that actor_send() has not sent */
extern void process_hold_wakeups(void);
extern void process_release_wakeups(void); /* signal safe */

/*
 * Interrupts (process.c).  A process that runs long statements may let urgent
 * messages and changes of links cancel them as pg_cancel_backend() does.  The
 * function says whether what has happened concerns the statement at work; it
 * is called in a signal handler.
 */
extern void process_take_interrupts(bool (*is_concerned)(void));
extern void process_interrupt(int proc_number);
extern bool bound_actor_is_interrupted(BoundActor *actor); /* by a message */

/*
 * The network process (process.c).  It is forked by the transport worker,
 * which calls process_network_died() once it has seen it dead: what the dead
 * one owned is freed, what others sent to it stays in its inbox.  Others
 * reach it with process_network_send().
 */
extern void process_attach_network(void);
extern uint64 process_network_died(void);
extern void process_network_send(Message *message);

/*
 * In the network process: take all messages in the order of their arrival
 * (linked by next); sleep only between network_inbox_sleep() returning true
 * and network_inbox_awake(), watching process_wakeup_fd().
 */
extern Message *network_inbox_take(void);
extern bool network_inbox_sleep(void);
extern void network_inbox_awake(void);
extern int process_wakeup_fd(void);

/*
 * Hooks for higher layers, filled in by their _init functions.
 */

/* Sends a message to another node; transport fills it in. */
typedef SendResult (*GatewaySend)(ActorAddress to, Message *message);
extern GatewaySend runtime_gateway;

/*
 * Handles a message that was sent to a database's dispatcher, on a scheduler
 * connected to that database, outside of a transaction.  It may block in SQL
 * for as long as it likes: the launcher starts other schedulers meanwhile.
 * The current memory context lives as long as the work.  The message stays
 * the scheduler's, which frees it afterwards.  An ERROR is logged and ends
 * this work alone.  Then, or when the scheduler exits in the middle, the
 * sender gets a MESSAGE_DOWN from the dispatcher's address (slot 0).
 */
typedef void (*WorkHandler)(Message *message);
extern void runtime_register_work(uint16 type, WorkHandler handler);

/*
 * Called, in a transaction, by a scheduler when its database came up, and
 * again after each runtime_request_refresh().
 */
extern void runtime_register_scheduler_start(void (*callback)(void));

extern void runtime_request_refresh(Oid database);

/* What a scheduler does, for dlog.schedulers and pg_stat_activity. */
extern void runtime_report_activity(const char *activity);

/* preload check: ereports 55000 when dlog is not in shared_preload_libraries */
extern void runtime_require(void);

/* dlog.c's table of contents */
extern Size runtime_shmem_size(void);
extern void runtime_shmem_init(void);
extern void runtime_init(void);

#endif
