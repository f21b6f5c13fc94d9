/*
 * behavior.h
 *		Behaviors of actors that are written in SQL, and the type actor_ref.
 *
 * Words.  A *behavior* names the type of an actor's state, a function that
 * makes the first one (init), and for each *message type*, a composite type,
 * the *handler* that takes state and message and returns the next state.
 * Behaviors are rows of dlog.behavior with dependencies on what they name.
 *
 * A process keeps what it has looked up in a cache that invalidation empties,
 * as the server's relation cache does.
 */
#ifndef DLOG_BEHAVIOR_H
#define DLOG_BEHAVIOR_H

#include "fmgr.h"

/*
 * An actor as SQL knows it: 24 bytes, the same on every node.  "incarnation"
 * holds the number of the server's start in its high half, so that what was
 * before a restart is never taken for what came after.  Slot 0 is a durable
 * actor, whose number in dlog's tables is the incarnation.
 */
typedef struct ActorRef
{
	int64 node_id; /* dlog.node.node_id */
	uint64 incarnation;
	uint32 slot;
	Oid database; /* on that node */
} ActorRef;

#define DatumGetActorRefP(datum) ((ActorRef *) DatumGetPointer(datum))
#define ActorRefPGetDatum(ref) PointerGetDatum(ref)
#define PG_GETARG_ACTOR_REF_P(n) DatumGetActorRefP(PG_GETARG_DATUM(n))
#define PG_RETURN_ACTOR_REF_P(ref) return ActorRefPGetDatum(ref)

typedef struct BehaviorHandler
{
	Oid message_type;
	Oid function;
	FmgrInfo flinfo; /* looked up when first called; lives as long as the Behavior */
} BehaviorHandler;

/*
 * A behavior as the cache knows it.  It is good until behavior_release(),
 * whatever is altered meanwhile.
 */
typedef struct Behavior
{
	int32 id; /* dlog.behavior.id; never reused */
	NameData name;
	Oid owner; /* its handlers run as who spawned the actor */
	Oid state_type;
	Oid init; /* function of the arguments of spawn, or InvalidOid: NULL state */
	int n_handlers;
	BehaviorHandler *handlers; /* ordered by message_type */
	int mailbox_limit;		   /* messages; 0: dlog.mailbox_limit */
	int handler_timeout;	   /* ms; 0: none; -1: dlog.handler_timeout */
	bool is_durable;
	int references;
} Behavior;

extern Behavior *behavior_acquire(int32 id);				 /* ERROR 42704 if there is none */
extern Behavior *behavior_acquire_by_name(const char *name); /* same */
extern void behavior_release(Behavior *behavior);

/* Its handler for a type of message; NULL if it takes none such. */
extern BehaviorHandler *behavior_handler(Behavior *behavior, Oid message_type);

/* ERROR 42804 that names the types it takes. */
extern void behavior_refuse_message(Behavior *behavior, Oid message_type) pg_attribute_noreturn();

/* ERROR 42501 unless the role may spawn actors of it, send to such ones. */
extern void behavior_check_spawn(Behavior *behavior, Oid role);
extern void behavior_check_send(Behavior *behavior, Oid role);

/* dlog.c's table of contents */
extern void behavior_init(void);

#endif
