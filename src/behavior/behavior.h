/*
 * behavior.h
 *		Behaviors of actors that are written in SQL, and the type actor_ref.
 *
 * Words.  A *behavior* names the type of an actor's state, a function that
 * makes the first one (init), and for each *message type*, a composite type,
 * the *handler* that takes state and message and returns the next state.
 *
 * A behavior is a domain over dlog.actor_ref: the type of references to its
 * actors.  So it has a schema, an owner, privileges (USAGE), a comment, and
 * is renamed, dumped and dropped as types are.  The rest is in its row of
 * dlog.behavior.
 *
 * A process keeps what it has looked up in a cache that invalidation empties,
 * as the server's relation cache does.
 */
#ifndef DLOG_BEHAVIOR_H
#define DLOG_BEHAVIOR_H

#include "fmgr.h"

#include "base/pg_compat.h"

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

/*
 * The text of a reference is dlog://node/database/actor.  Its canonical form
 * has numbers, dlog://<node_id>/<database>/<slot>.<start>.<incarnation>, so
 * that it can be read on any node and at any time.  People may write names
 * instead, percent-encoded; what those mean is found out by whoever asks.
 */
typedef struct ActorRefText
{
	bool is_name; /* then the names count, else "ref" */
	ActorRef ref;
	char *node; /* in the current memory context, decoded */
	char *database;
	char *name;
} ActorRefText;

/* False: it is neither. */
extern bool actor_ref_parse(const char *text, ActorRefText *result);
extern char *actor_ref_text(const ActorRef *ref);
/* The form with names. */
extern char *actor_ref_name_text(const char *node, const char *database, const char *name);
/* A palloc'd copy as a datum of type dlog.actor_ref. */
extern Datum actor_ref_datum(const ActorRef *ref);

typedef struct BehaviorHandler
{
	Oid message_type;
	Oid function;
	Oid checked_role; /* the caller's: who was last found to have EXECUTE */
	/* Volatile and in a language that takes a snapshot for each query, not C. */
	bool takes_snapshots;
	FmgrInfo flinfo; /* looked up by behavior_handler(); lives as long as the Behavior */
} BehaviorHandler;

/*
 * What makes states of journals: an apply function stands in for a handler
 * that cannot be called again, and has its arguments; an upcast makes a value
 * of today's type of one that was written before, and has one argument.
 */
typedef struct BehaviorReplay
{
	Oid from; /* message type, or the old type */
	Oid to;	  /* invalid: an apply function */
	Oid function;
	FmgrInfo flinfo;
} BehaviorReplay;

/*
 * A behavior as the cache knows it.  It is good until behavior_release(),
 * whatever is altered meanwhile.
 */
typedef struct Behavior
{
	Oid id; /* of its domain, in pg_type */
	NameData name;
	Oid owner; /* of the domain; its handlers run as who spawned the actor */
	Oid state_type;
	int16 state_length; /* of that type, as in pg_type */
	bool state_is_by_value;
	Oid init;			   /* function of the arguments of spawn, or InvalidOid: NULL state */
	FmgrInfo init_flinfo;  /* behavior_init_function() */
	Oid init_checked_role; /* the caller's: who was last found to have EXECUTE on it */
	int n_handlers;
	BehaviorHandler *handlers; /* ordered by message_type */
	int mailbox_limit;		   /* messages; 0: dlog.mailbox_limit */
	int handler_timeout;	   /* ms; 0: none; -1: dlog.handler_timeout */

	/* Of a durable one, whose messages are kept in a table, its journal. */
	Oid journal; /* invalid: it is not durable */
	int n_replay;
	BehaviorReplay *replay;
	int snapshot_every;	  /* messages; 0: never */
	int64 snapshot_bytes; /* 0: never */
	const char *retention;
	bool audit;
	int max_failures;
	/*
	 * Of its functions, as a value of search_path: pg_catalog, then the
	 * behavior's schema, unless everybody may create objects there.  Whoever
	 * sends cannot change what a handler's names mean.
	 */
	const char *search_path;
	Oid checked_sender; /* rights.c: who was last found to have USAGE */
	int references;
} Behavior;

extern Behavior *behavior_acquire(Oid id);					 /* ERROR 42704 if there is none */
extern Behavior *behavior_acquire_by_name(const char *name); /* same; may be qualified */
extern void behavior_release(Behavior *behavior);

/* Its init to call, NULL if it has none.  A STRICT one makes NULL of any null. */
extern FmgrInfo *behavior_init_function(Behavior *behavior);

/* Its handler for a type of message; NULL if it takes none such. */
extern BehaviorHandler *behavior_handler(Behavior *behavior, Oid message_type);

/* Its apply function for a type of message, and what makes the state of an old one; NULL: none. */
extern BehaviorReplay *behavior_apply_function(Behavior *behavior, Oid message_type);
extern BehaviorReplay *behavior_upcast_function(Behavior *behavior, Oid from);

/* What an actor that is brought back needs of a behavior, also if nobody can use that as it is.  ERROR 42704. */
typedef struct BehaviorOutline
{
	NameData name;
	int mailbox_limit;
} BehaviorOutline;

extern void behavior_outline(Oid id, BehaviorOutline *outline);

/* Filled in by the layer of journals: makes the table of a new durable behavior. */
extern Oid (*behavior_create_journal)(Oid behavior);
/* The same: a behavior, and with it its journal, is dropped. */
extern void (*behavior_dropped_hook)(Oid behavior);
/* The same: a behavior was created, altered or dropped. */
extern void (*behavior_changed_hook)(void);

/*
 * What values of a type are made of.  Kept beside a value, it tells whether
 * that can be read yet: ALTER TYPE may have changed the type of an attribute.
 */
extern const Oid *type_layout(Oid type, int *n); /* to be copied at once */
extern char *layout_difference(Oid type, const Oid *oids, int n);

/* The same, where the outer type is one that has taken the place of a dropped one. */
extern char *layout_difference_of_successor(Oid type, Oid dropped, const Oid *oids, int n);

/* A type that has been dropped, in a database with durable behaviors. */
typedef struct DroppedType
{
	char *schema;
	char *name;
	int16 length;
	bool is_by_value;
	char alignment;
} DroppedType;

extern bool type_dropped(Oid type, DroppedType *dropped);	 /* false: nothing is known of it */
extern Oid type_of_dropped_name(const DroppedType *dropped); /* composite; or invalid */
extern Oid behavior_successor(Oid behavior);				 /* that has its name, if it was dropped */
extern char *type_text(Oid type);							 /* its name, also of a dropped one */

/* ERROR 42804 that names the types it takes. */
extern pg_noreturn void behavior_refuse_message(Behavior *behavior, Oid message_type);

/*
 * ERROR 42501 unless the role may.  To spawn is to call the behavior's
 * functions: it takes EXECUTE on them.  To send takes USAGE on the behavior,
 * or to be a member of the role that owns the actor.
 */
extern void behavior_check_spawn(Behavior *behavior, Oid role);
extern void behavior_check_send(Behavior *behavior, Oid actor_owner, Oid role);
extern bool behavior_may_send(Behavior *behavior, Oid actor_owner, Oid role);
extern bool behavior_may_send_to_all(Behavior *behavior, Oid role);

/*
 * dlog.message_support() is the planner's support function for functions
 * whose first argument is an actor_ref and whose second is the message:
 * CREATE FUNCTION dlog.send(...) ... SUPPORT dlog.message_support.  It
 * refuses a wrong message type where the behavior can be known.  Filled in
 * by a higher layer: the behavior of an actor of this node, if it is known;
 * "waits" until a durable one has been loaded.
 */
extern Oid (*behavior_of_actor)(const ActorRef *ref, bool waits);

/* dlog.c's table of contents */
extern Size behavior_shmem_size(void);
extern void behavior_shmem_init(void);
extern void behavior_init(void);

#endif
