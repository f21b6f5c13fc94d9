/*
 * actor.h
 *		Actors whose handlers run in SQL: mailboxes, batches, sends, asks.
 *
 * An actor of a SQL behavior lives in a slot of the runtime's table, with a
 * mailbox of its own in the arena and its state, a flat datum, beside it.  An
 * actor with mail is in the *run queue* of its database, once.  A scheduler
 * takes actors from there one after the other and runs their messages in one
 * transaction, a *batch*, for as long as the batch may last.  What the
 * handlers sent leaves when the batch has committed.
 *
 * Besides behaviors of SQL there are *system behaviors*: C functions of dlog
 * itself, which run in the same way.  Supervisors are such actors.
 */
#ifndef DLOG_ACTOR_H
#define DLOG_ACTOR_H

#include "behavior/behavior.h"
#include "runtime/runtime.h"

/* How an actor ended.  Supervisors decide by it; monitors are told. */
typedef enum ExitKind
{
	EXIT_NORMAL,   /* stop('normal'), or a handler's end of work */
	EXIT_SHUTDOWN, /* its supervisor or dlog.stop() ended it */
	EXIT_ERROR,	   /* a handler failed */
	EXIT_KILLED	   /* dlog.kill(), or its scheduler was terminated at it */
} ExitKind;

typedef struct ActorExit
{
	ActorAddress actor;
	ExitKind kind;
	int sqlerrcode;		/* 0 unless EXIT_ERROR */
	const char *reason; /* the error's message, or what stop() said */
	uint32 attempts;	/* how often its failing message has failed by now; 0: no message */
} ActorExit;

/* What becomes of the message whose handler failed. */
typedef enum FailedMessage
{
	FAILED_MESSAGE_DROP,
	FAILED_MESSAGE_RETRY, /* it is the first after the restart */
	FAILED_MESSAGE_DEAD_LETTER
} FailedMessage;

/*
 * What an actor is spawned with.  The address is good at once; init runs,
 * in the batch of the first scheduler that gets to it, before any message.
 */
typedef struct ActorSpawn
{
	Oid behavior; /* Behavior.id; or invalid, and system_behavior */
	const char *system_behavior;
	const void *system_state; /* the first bytes of its state; the rest is zero */
	Size system_state_size;
	Oid owner;	 /* role that its handlers run as */
	Datum *args; /* of init */
	bool *args_null;
	int n_args;
	ActorAddress supervisor; /* is told of its start and exit; slot 0: nobody */
	uint64 child;			 /* what the supervisor knows it by */
	const char *name;		 /* or NULL */
	bool is_held;			 /* mail waits, and init too, until actor_restart() */
} ActorSpawn;

/*
 * In a transaction: the actor comes to life at commit.  Outside of one (the
 * supervisor, in a system behavior): at once.  ERROR 53400: no slot or no
 * memory; 42710: the name is taken.
 */
extern ActorAddress actor_spawn(const ActorSpawn *spawn);

/*
 * What a supervisor gets in its system behavior, beside messages.  These
 * functions run outside of a transaction.
 *
 * A supervised actor that has exited, however it did, stays with its slot,
 * address, name and waiting mail until its supervisor calls actor_restart() or
 * actor_release().  It goes with its supervisor, if that is gone first.
 */
typedef struct SystemBehavior
{
	const char *name;
	Size state_size; /* in the arena; pointers into the arena allowed */
	void (*start)(void *state, ActorAddress self);
	void (*message)(void *state, ActorAddress self, const Message *message);
	/* a session has spawned it (held) with this actor as supervisor; at commit */
	void (*child_spawned)(void *state, ActorAddress self, uint64 child, ActorAddress actor);
	void (*child_started)(void *state, ActorAddress self, uint64 child, ActorAddress actor);
	void (*child_exited)(void *state, ActorAddress self, uint64 child, const ActorExit *exit);
	void (*timer)(void *state, ActorAddress self, uint64 number);

	/*
	 * Somebody called actor_stop(), not to kill it: it calls
	 * system_actor_exit() in its time.  NULL: it exits at once.
	 */
	void (*stopping)(void *state, ActorAddress self, const char *reason);
	void (*stop)(void *state, ActorAddress self); /* frees what it has in the arena */
} SystemBehavior;

extern void actor_register_system_behavior(const SystemBehavior *behavior);

/* In a function of a system behavior: exit when it has returned. */
extern void system_actor_exit(ActorAddress self, ExitKind kind, const char *reason);

/*
 * For dlog.spawn(..., supervisor => name): checks that the present role may,
 * and fills in supervisor, child and is_held.  Supervision's; may be NULL.
 */
extern void (*actor_supervise_hook)(const char *supervisor, ActorSpawn *spawn);

/* Control, by anybody who may; takes effect at once, ahead of messages. */
extern void actor_stop(ActorAddress actor, ExitKind kind, const char *reason);
extern void actor_suspend(ActorAddress actor);
extern void actor_resume(ActorAddress actor);

/*
 * Restart: the slot, address, name and waiting messages stay; the state is
 * init's again.  For supervisors; "delay" in ms from now (backoff).
 */
extern void actor_restart(ActorAddress actor, int64 delay_ms, FailedMessage failed);

/* Let an actor that has exited, or is held, go for good.  For supervisors. */
extern void actor_release(ActorAddress actor, FailedMessage failed);

/*
 * A message of dlog's own types, in order with what SQL sends: it leaves when
 * this transaction commits, and is freed if that, or its subtransaction, does not.
 */
extern void actor_send_at_commit(ActorAddress to, Message *message);

/*
 * Called where the handler, or the init, of a SQL actor has failed, after the
 * rollback and outside of a transaction.  Supervision keeps the failures.
 */
typedef struct ActorFailure
{
	ActorAddress actor;
	const char *name; /* its registered one, or NULL */
	Oid behavior;
	Oid owner;
	Oid message_type;	 /* InvalidOid: its init failed */
	const char *message; /* as text, or NULL */
	const ErrorData *error;
} ActorFailure;

extern void (*actor_failed_hook)(const ActorFailure *failure);

/* A timer of a system behavior: timer(number) is called after that time, and never once it is cancelled. */
extern void actor_timer_set(ActorAddress self, uint64 number, int64 delay_ms);
extern void actor_timer_cancel(ActorAddress self, uint64 number);

/* Between the address that C knows and the reference that SQL knows. */
extern ActorRef actor_ref_of(ActorAddress address);
extern bool actor_address_of(const ActorRef *ref, ActorAddress *address); /* false: unknown node */

/* dlog.c's table of contents */
extern Size sql_actor_shmem_size(void);
extern void sql_actor_shmem_init(void);
extern void sql_actor_init(void);

#endif
