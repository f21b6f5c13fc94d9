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

#include "storage/itemptr.h"

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
	bool is_gone;		/* it does not wait for its supervisor: a durable one that ended for good */
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
	int64 durable;			 /* its number in dlog's tables; 0: it is not durable */
	const char *arg_bytes;	 /* of a durable one that is loaded: actor_args() */
	Size arg_size;
	bool is_loaded;	   /* it is durable and comes to life at once */
	bool is_suspended; /* same, but dlog.resume() has to be called first */
	bool is_broken;	   /* same, and its behavior cannot be used as it is */
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

/* Have a durable actor that waits, since it could not be loaded, try again. */
extern void actor_retry(ActorAddress actor);

/*
 * Restart: the slot, address, name and waiting messages stay; the state is
 * init's again.  For supervisors; "delay" in ms from now (backoff).
 */
extern void actor_restart(ActorAddress actor, int64 delay_ms, FailedMessage failed);

/*
 * In a transaction: a durable actor that may be at work already becomes the
 * child of a supervisor once it commits, which hears of it as of one that was
 * spawned (held), and starts it.  False: it has stopped for good.
 */
extern bool actor_adopt(int64 durable, ActorAddress supervisor, uint64 child, ActorAddress *address);

/* Let an actor that has exited, or is held, go for good.  For supervisors. */
extern void actor_release(ActorAddress actor, FailedMessage failed);

/*
 * End it, whatever it does: its supervisor is gone.  A durable one lives on
 * without.  Never fails, as it needs no memory.
 */
extern void actor_orphan(ActorAddress actor);

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

/*
 * Durable actors.  A higher layer, the journal, keeps them and what is sent
 * to them in tables; it fills in actor_journal.  Such an actor is known by a
 * number; its reference has slot 0 and that number as incarnation, so it is
 * the same after a restart of the server.
 */

/* What a message to a durable actor carries besides its datum. */
typedef struct DurableMail
{
	int64 actor;
	ActorRef sender; /* actor_ref_is_none(): a session, or a timer */
	Oid role;		 /* that sent it */
	Oid becomes;	 /* the behavior that its handler turned the actor to; or invalid */
	TimestampTz sent_at;
	uint16 crashes;		 /* of the server while it was handled */
	int64 id;			 /* of its row in the mailbox */
	ItemPointerData tid; /* where that is; invalid: it has none */
	struct Message *run; /* MESSAGE_RUN, on a stack of mail: the first of those that came with it */
} DurableMail;

#define MAIL_ASK 1			/* its sender waits for an answer, and for nothing else */
#define MAIL_TIMER 2		/* an actor's timer sent it to its own mailbox */
#define MAIL_STASHED 4		/* its handler put it aside; the holder's */
#define MAIL_DURABLE 8		/* it has a DurableMail */
#define MAIL_QUARANTINED 16 /* it is given up; the holder's */
#define MAIL_UNHANDLED 32	/* and that because no handler takes it */

extern DurableMail *mail_durable(const Message *message); /* NULL: it has none */
extern int mail_flags(const Message *message);
extern bool mail_has_entry(const Message *message);
extern Datum message_read(const Message *message, Oid *type, bool *is_null);

/* A type, and how its datums lie in memory. */
typedef struct ValueType
{
	Oid oid;
	int16 length; /* as in pg_type */
	bool is_by_value;
} ValueType;

#define ROW_TYPE(oid) ((ValueType){(oid), -1, false})

extern ValueType value_type(Oid oid);
extern Message *mail_create(Datum datum, ValueType type, bool is_null, int flags);
extern Datum mail_datum(const Message *message, bool *is_null);

/* For who waits for an answer: is it one; why there will be none (NULL: no memory). */
extern bool ask_is_answer(Message *message);
extern Message *ask_failure(int sqlerrcode, const char *text);

/* The actor whose handler runs here, as others refer to it; false: none does. */
extern bool actor_self(ActorRef *self);

/* A SQL actor of this node and database; a durable one is loaded for it.  False: it is elsewhere, or gone. */
extern bool actor_of_ref(const ActorRef *ref, ActorAddress *address);

/* An actor of any kind that lives in this server now; false: it does not. */
extern bool actor_of_this_life(const ActorRef *ref, ActorAddress *address);

/*
 * The datum as flat bytes, and how many; one that is flat already is returned
 * as it is.
 */
extern Datum value_flatten(Datum datum, ValueType type, bool is_null, Size *size);

/* Where a durable actor's journal stands. */
typedef struct JournalPosition
{
	uint64 seq;			 /* of its last entry */
	uint64 snapshot_seq; /* that its last snapshot is of */
	int64 bytes;		 /* of messages since */
	TimestampTz at;		 /* of its last entry */
	uint8 hash[32];		 /* same, if the behavior is audited */
} JournalPosition;

/* What a durable actor has done in its turn of a batch. */
typedef struct JournalTurn
{
	int64 actor;
	ActorRef self;
	Oid owner;
	Oid home;				   /* the behavior that it was spawned with, whose journal is its */
	Behavior *behavior;		   /* that it has now */
	JournalPosition *position; /* read and written */
	Message *handled;		   /* those that it is done with, linked */
	Datum state;
	bool state_is_null;
	bool exits;
	const char *exit_reason;
} JournalTurn;

/* Why a message was given up. */
typedef struct MessageFailure
{
	int failures;
	int sqlerrcode;
	const char *message;
	const char *detail;	 /* or NULL */
	const char *context; /* or NULL */
} MessageFailure;

/* A timer that a durable actor sets. */
typedef struct JournalTimer
{
	int64 actor;
	int64 id; /* different from those that it has set before, the same in a replay */
	int64 delay_ms;
	bool repeats;
	Oid type;
	Datum message;
	bool is_null;
} JournalTimer;

/*
 * All but leave(), serve(), has_work() and work_in_ms() are called in a transaction.
 */
typedef struct ActorJournal
{
	/* Its address, once it is loaded; false: there is none, or it has stopped. */
	bool (*find)(int64 id, ActorAddress *address);
	bool (*find_name)(const char *name, int64 *id); /* that need not be loaded */
	bool (*was_here)(const ActorRef *ref);			/* it is of a database whose successor this one is */
	bool (*hold)(int64 id);							/* nobody stops it before this transaction ends; false: it has stopped */
	/* A new one's number; and whether it is entered as the one that is loaded. */
	int64 (*create)(const ActorSpawn *spawn, const char *args, Size args_size);
	bool (*enter)(int64 id, ActorAddress address, bool is_alive);
	void (*leave)(Oid database, int64 id, ActorAddress address);
	void (*stop)(int64 id, const char *reason);
	/* Before the commit: keep these, and fill in their tids; those of one actor are together then, in their order. */
	void (*send)(Message **messages, int n);
	/* The state that its journal makes now. */
	Datum (*state)(int64 id, Oid *type, bool *is_null);
	/* What it was when the server stopped; false: its init has not run yet. */
	bool (*load)(JournalTurn *turn, Oid *behavior);
	void (*begin)(JournalTurn *turn); /* its init has run */
	/* Its holder's: it cannot be loaded, and is tried again after that; it could be. */
	void (*is_broken)(int64 id, const ErrorData *error, uint32 tries, int64 delay_ms);
	void (*is_mended)(int64 id);
	/* Should the server crash between these two, it was this message, or loading (0). */
	void (*at_work)(int64 id, int64 message);
	void (*is_done)(void);
	void (*append)(JournalTurn *turn);
	void (*set_timer)(const JournalTimer *timer);
	void (*cancel_timer)(int64 actor, int64 id);
	void (*quarantine)(JournalTurn *turn, Message *message, const MessageFailure *failure);
	void (*prepare)(void); /* before a batch, outside of a transaction: makes what the last one found missing */
	void (*flush)(void);   /* before the commit of a batch */
	void (*forget)(void);  /* the batch was rolled back */
	/* In a scheduler, outside of a transaction: what there is to do beside batches. */
	bool (*has_work)(int database);
	long (*work_in_ms)(int database); /* when it will have some, of which nobody tells; or -1 */
	void (*serve)(int database);
	void (*sweep)(int database); /* a message was for one that has stopped; any process */
	void (*database_is_gone)(int database);
	/* Of durable actors of other nodes: a send, a question, an answer to a sender. */
	void (*send_elsewhere)(const ActorRef *to, Oid type, Datum message, bool is_null);
	Message *(*ask_elsewhere)(const ActorRef *to, Oid type, Datum message, bool is_null, long timeout_ms);
	void (*reply_elsewhere)(const ActorRef *to, Oid type, Datum message, bool is_null);
} ActorJournal;

extern const ActorJournal *actor_journal;

/* Spawn's, under the journal's lock: it lives from now on. */
extern void actor_is_loaded(ActorAddress address);

/* The number of a durable actor of this node and database; 0: it is not one. */
extern int64 actor_ref_durable(const ActorRef *ref);
extern ActorRef actor_ref_of_durable(int64 id);
extern bool actor_ref_is_none(const ActorRef *ref);

/*
 * In a transaction: a message to a durable actor, checked, with its place
 * reserved, for actor_send_at_commit().  ERROR as dlog.send() says.
 */
extern Message *actor_durable_message(ActorAddress to, Datum datum, Oid type, bool is_null,
									  Oid role, const ActorRef *sender);

/* In a transaction: once it commits, a durable actor that is loaded ends for good. */
extern void actor_end_at_commit(ActorAddress actor, const char *reason);

/* Put mail that has a DurableMail with a tid into its actor's mailbox, now.  False: it is the caller's. */
extern bool actor_deliver_mail(ActorAddress to, Message *message);

/*
 * While this is on, functions are called that stand in for what an actor has
 * done long ago: what they send, set or stop has no effect.
 */
typedef struct ActorReplay
{
	bool is_on;
	ActorRef self;
	ActorRef sender; /* or none */
	uint64 seq;		 /* of the message's entry */
	int n_timers;	 /* that it has set */
} ActorReplay;

/* The number of a timer that is the n-th, from 1, which a message sets. */
extern int64 actor_timer_number(uint64 seq, int n);

extern ActorReplay actor_replay;

/* Be the owner, and have the search path, that handlers have; the result undoes it at the end. */
typedef struct ActorRole
{
	Oid user;
	Oid session_user;
	int security_context;
	int settings;
} ActorRole;

extern void actor_role_enter(Oid role, const Behavior *behavior, ActorRole *before);
extern void actor_role_leave(const ActorRole *before);

/* dlog.c's table of contents */
extern Size sql_actor_shmem_size(void);
extern void sql_actor_shmem_init(void);
extern void sql_actor_init(void);

#endif
